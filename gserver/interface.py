"""What kind of application a callable is, and what a server makes of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

from gserver.api.errors import ConfigError
from gserver.api.lite import is_lite

_VARIADIC: Final = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def adapt(application: Callable[..., Any], interface: str) -> Callable[..., Any]:
    """Return a Lite or WSGI application for what may be an ASGI application.

    Args:
        application: Any of the three.
        interface: "asgi", "wsgi" (Lite counts as that), or "auto" to find out.

    Raises:
        ConfigError: It is certainly not what `interface` says.
    """
    found = is_asgi(application)
    if found and interface == "wsgi":
        raise ConfigError(f"the interface is wsgi, but {application!r:.80} is an ASGI application")
    if not found and interface != "asgi":
        _check_arguments(application)
        return application
    # Not before it is needed: asyncio is a heavy import.
    from gserver.asgi import AsgiApplication, from_asgi  # noqa: PLC0415

    if isinstance(application, AsgiApplication):
        return application
    try:
        return from_asgi(application)
    except TypeError as exc:
        raise ConfigError(f"the interface is asgi, but {exc}") from None


def _check_arguments(application: Callable[..., Any]) -> None:
    """Refuse a function whose every call would fail: one for the environ that is not marked."""
    if is_lite(application):
        return
    try:
        signature = inspect.signature(application, follow_wrapped=False)
    except (TypeError, ValueError):
        return
    if not _takes(signature, 2) and _takes(signature, 1):
        raise ConfigError(
            f"{application!r:.80} takes one argument: is @lite, or @websocket, missing before it?"
        )


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def start(application: Callable[..., Any]) -> None:
    """Let an application start that has something to do before it serves; blocks.

    Raises:
        ConfigError: It cannot start.
    """
    startup = getattr(application, "__startup__", None)
    if startup is not None:
        startup()


def is_asgi(application: object) -> bool:
    """Tell whether a callable is an ASGI application, without calling it.

    Coroutine functions are, and objects whose ``__call__`` is one; and what takes three arguments,
    none of which may be left out, where WSGI has two.
    """
    if is_lite(application) or not callable(application):
        return False
    found = _looks_asgi(application, False)
    # A wrapper that would take anything is what it wraps.
    return bool(_looks_asgi(application, True) if found is None else found)


def _looks_asgi(application: Callable[..., Any], unwrapped: bool) -> bool | None:
    """Tell whether it has ASGI's form; None if it has none."""
    forms: list[Any] = [application]
    if not inspect.isclass(application):
        forms.append(application.__call__)  # type: ignore[operator]
    if any(inspect.iscoroutinefunction(inspect.unwrap(one) if unwrapped else one) for one in forms):
        return True
    try:
        signature = inspect.signature(application, follow_wrapped=unwrapped)
    except (TypeError, ValueError):
        return False
    kinds = [one.kind for one in signature.parameters.values() if one.default is one.empty]
    if inspect.Parameter.VAR_POSITIONAL in kinds and set(kinds) <= _VARIADIC:
        return None
    needed = [kind for kind in kinds if kind not in _VARIADIC]
    return len(needed) == 3 and inspect.Parameter.KEYWORD_ONLY not in needed
