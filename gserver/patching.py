"""Monkey-patching, and what came too early for it.

gevent replaces what blocks in the standard library. A module that took its own reference before,
with ``from time import sleep`` for instance, keeps the one that stops every request.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

from gevent import monkey

_SOURCES = ("socket", "ssl", "threading", "time", "select", "selectors", "subprocess", "queue", "os")
_OURS = ("gevent", "greenlet", "gserver", "zope", "__main__", "_pytest", "pytest", "coverage")


def patch() -> list[str]:
    """Patch the standard library; return what was imported too early, a line for each module."""
    with warnings.catch_warnings():
        # gevent warns of ssl; `_left_behind` says it for every module, with the mend.
        warnings.simplefilter("ignore", monkey.MonkeyPatchWarning)
        monkey.patch_all()
    return _left_behind()


def _left_behind() -> list[str]:
    originals: dict[int, str] = {}
    for source, names in monkey.saved.items():
        if source in _SOURCES:
            for name, value in names.items():
                if callable(value):
                    originals[id(value)] = f"{source}.{name}"
    lines = []
    for module_name, module in sorted(sys.modules.items()):
        top = module_name.partition(".")[0]
        if top in sys.stdlib_module_names or top in _OURS:
            continue
        held = sorted(
            {originals[id(v)] for v in _values(module) if id(v) in originals}
        )
        if held:
            lines.append(
                f"{module_name} was imported before gserver could patch it and holds the blocking "
                f"{', '.join(held)}: import it later, or patch first"
            )
    return lines


def _values(module: Any) -> list[Any]:
    try:
        return list(vars(module).values())
    except TypeError:  # some put objects without a __dict__ into sys.modules
        return []
