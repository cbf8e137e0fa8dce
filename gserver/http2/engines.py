"""Which engine speaks HTTP/2."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import version

from gserver.api.errors import ConfigError
from gserver.http2.engine import Charge, Engine, Settings

_HOW = "install libnghttp2-dev and a C compiler, and gserver anew"


@cache
def engine_type(name: str) -> Callable[[Settings, Charge], Engine]:
    """Return what makes engines; `name` is a value of the option ``http2_engine``.

    Raises:
        ConfigError: There is no such engine here.
    """
    if name != "h2":
        try:
            from gserver.http2.nghttp2 import NghttpEngine  # noqa: PLC0415 - only if it was built
        except ImportError as exc:
            if name == "nghttp2":
                raise ConfigError(
                    f"http2_engine nghttp2 was not built ({exc}): {_HOW}; or take h2"
                ) from exc
        else:
            return NghttpEngine
    from gserver.http2.pure import PureEngine  # noqa: PLC0415 - h2 is a heavy import

    return PureEngine


def describe(name: str) -> str:
    """Return the engine's library and version, and how to get the faster one."""
    if engine_type(name).__module__ == "gserver.http2.nghttp2":
        from gserver.http2.nghttp2 import VERSION  # noqa: PLC0415 - only if it was built

        return f"nghttp2 {VERSION}"
    hint = "" if name == "h2" else f" (for a faster one {_HOW})"
    return f"h2 {version('h2')}{hint}"
