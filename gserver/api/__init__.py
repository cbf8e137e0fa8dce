"""What application code imports: the Lite convention, capabilities, errors of blocking calls.

Standard library only, so that an application written to it runs under any WSGI server. What needs
asyncio is imported when it is first used.
"""

import importlib
import typing

from gserver.api.bindings import bind, iter_bindings, with_bindings
from gserver.api.capabilities import (
    Features,
    Priority,
    PushResult,
    disconnected,
    early_hints,
    features,
    never_index,
    priority,
    protocol,
    push,
    send_trailers,
)
from gserver.api.errors import (
    BodyTimeout,
    ClosedError,
    ClosedOK,
    ConfigError,
    ConnectionClosed,
    Disconnected,
    GServerError,
    HandshakeError,
    LocalProtocolError,
    MessageTooBig,
    NotSupported,
    ProtocolError,
    RemoteProtocolError,
    RequestTimeout,
    RequestTooLarge,
    WebSocketError,
)
from gserver.api.handshake import accept, websocket
from gserver.api.lite import is_lite, lighten, lite, mark_lite, to_wsgi
from gserver.api.request import Request
from gserver.api.translation import WSGIViolation

if typing.TYPE_CHECKING:
    from gserver.api.asgi import to_asgi as to_asgi

__all__ = [
    "BodyTimeout",
    "ClosedError",
    "ClosedOK",
    "ConfigError",
    "ConnectionClosed",
    "Disconnected",
    "Features",
    "GServerError",
    "HandshakeError",
    "LocalProtocolError",
    "MessageTooBig",
    "NotSupported",
    "Priority",
    "ProtocolError",
    "PushResult",
    "RemoteProtocolError",
    "Request",
    "RequestTimeout",
    "RequestTooLarge",
    "WSGIViolation",
    "WebSocketError",
    "accept",
    "bind",
    "disconnected",
    "early_hints",
    "features",
    "is_lite",
    "iter_bindings",
    "lighten",
    "lite",
    "mark_lite",
    "never_index",
    "priority",
    "protocol",
    "push",
    "send_trailers",
    "to_asgi",
    "to_wsgi",
    "websocket",
    "with_bindings",
]

_MODULES = {"to_asgi": "gserver.api.asgi"}


def __getattr__(name: str) -> typing.Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
