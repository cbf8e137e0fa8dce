"""What application code imports: the Lite convention, capabilities, errors of blocking calls.

Standard library only, so that an application written to it runs under any WSGI server.
"""

from gserver.api.capabilities import (
    Features,
    Priority,
    PushResult,
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
from gserver.api.lite import is_lite, lighten, lite, mark_lite

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
    "RequestTimeout",
    "RequestTooLarge",
    "WebSocketError",
    "accept",
    "early_hints",
    "features",
    "is_lite",
    "lighten",
    "lite",
    "mark_lite",
    "never_index",
    "priority",
    "protocol",
    "push",
    "send_trailers",
    "websocket",
]
