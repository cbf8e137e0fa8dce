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
    ConfigError,
    Disconnected,
    GServerError,
    LocalProtocolError,
    NotSupported,
    ProtocolError,
    RemoteProtocolError,
    RequestTimeout,
    RequestTooLarge,
)
from gserver.api.lite import is_lite, lighten, lite, mark_lite

__all__ = [
    "BodyTimeout",
    "ConfigError",
    "Disconnected",
    "Features",
    "GServerError",
    "LocalProtocolError",
    "NotSupported",
    "Priority",
    "ProtocolError",
    "PushResult",
    "RemoteProtocolError",
    "RequestTimeout",
    "RequestTooLarge",
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
]
