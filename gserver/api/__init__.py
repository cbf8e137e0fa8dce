"""What application code imports: the Lite convention and the errors of blocking calls.

Standard library only, so that an application written to it runs under any WSGI server.
"""

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
    "GServerError",
    "LocalProtocolError",
    "NotSupported",
    "ProtocolError",
    "RemoteProtocolError",
    "RequestTimeout",
    "RequestTooLarge",
    "is_lite",
    "lighten",
    "lite",
    "mark_lite",
]
