"""Monkey-patching, and what came too early for it.

gevent replaces what blocks in the standard library. A module that took its own reference before,
with ``from time import sleep`` for instance, keeps the one that stops every request.
"""

from __future__ import annotations

import selectors
import sys
import warnings
from collections.abc import Iterable
from typing import Any

from gevent import monkey

from gserver.selector import HubSelector

_BLOCKING = ("socket", "ssl", "threading", "time", "select", "selectors", "subprocess", "queue")
# SocketType is what both kinds of sockets are built on.
_HARMLESS = ("socket.SocketType", "subprocess.CompletedProcess", "threading.get_ident")
# These keep the originals on purpose, or (gunicorn) can live with them.
_WANT_ORIGINALS = {
    "gserver.api.interruption",
    "gserver.log",
    "gserver.transport",
    "gevent",
    "gunicorn",
    "coverage",
    "pydevd",
    "_pydevd_bundle",
    "debugpy",
}


def patch() -> list[str]:
    """Patch the standard library; return what to tell the user about what came too early."""
    with warnings.catch_warnings():
        # gevent warns of ssl only, and does not say who imported it.
        warnings.simplefilter("ignore", monkey.MonkeyPatchWarning)
        monkey.patch_all()
    # gevent's own leaves its mark on all greenlets while a loop waits in one.
    selectors.DefaultSelector = HubSelector  # type: ignore[misc, assignment]
    lines = _left_behind()
    if lines:
        lines.append("import these modules later, or call gevent.monkey.patch_all() before them")
    return lines


def _left_behind() -> list[str]:
    originals = _originals()
    lines = []
    # Some modules are there under two names.
    for module in {id(one): one for one in list(sys.modules.values())}.values():
        names = _variables(module)
        name = str(names.get("__name__"))
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or not _WANT_ORIGINALS.isdisjoint((name, top)):
            continue
        held = {originals[i] for value in names.values() for i in _kinds(value) if i in originals}
        if held:
            lines.append(
                f"{name} was imported too early to be patched: it keeps the blocking "
                f"{', '.join(sorted(held))}"
            )
    return sorted(lines)


def _originals() -> dict[int, str]:
    """Return what gevent has replaced, by identity."""
    saved: dict[str, dict[str, Any]] = monkey.saved  # type: ignore[attr-defined]
    named = {
        id(value): f"{module}.{name}"
        for module in _BLOCKING
        for name, value in saved.get(module, {}).items()
        if callable(value) and not name.startswith("_")
    }
    named[id(type(monkey.get_original("threading", "Lock")()))] = "threading.Lock"
    return {key: name for key, name in named.items() if name not in _HARMLESS}


def _kinds(value: Any) -> Iterable[int]:
    """Return the identities of what `value` is, or inherits from, or is an instance of."""
    if not issubclass(type(value), type):  # not isinstance, which would wake lazy objects
        return id(value), id(type(value))
    bases = type.mro(value)
    if any(str(base.__module__).startswith("gevent.") for base in bases):
        return ()  # what gevent puts in place of a class may inherit from it
    return map(id, bases)


def _variables(module: Any) -> dict[str, Any]:
    try:
        return dict(vars(module))
    except TypeError:  # some put objects without a __dict__ into sys.modules
        return {}
