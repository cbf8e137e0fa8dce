# cython: language_level=3, annotation_typing=False
"""The application's status and header fields: checked once, encoded once, remembered.

The checks of PEP 3333 and RFC 9110 5.5 cost about half a microsecond a field. Applications send
the same few fields again and again, so a `FieldCache` remembers what it has checked, in the
encoding of its protocol. Runs in the handler's greenlet; nothing here blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from gserver.api import fields
from gserver.api.errors import LocalProtocolError
from gserver.api.fields import HOP_BY_HOP, NOT_INTERIM, NOT_PROMISED, NOT_TRAILERS, status_text

__all__ = [
    "BODYLESS",
    "CONTENT_LENGTH",
    "DATE",
    "HOP_BY_HOP",
    "NOT_INTERIM",
    "NOT_PROMISED",
    "NOT_TRAILERS",
    "SERVER",
    "STATUSES",
    "UPGRADE",
    "FieldCache",
    "check_field",
    "check_status",
    "encode_fields",
    "encode_line",
    "status_text",
]

# What the server must know about a field beyond its bytes; bits, so that one int tells all.
CONTENT_LENGTH: Final = 1
DATE: Final = 2
SERVER: Final = 4
BODYLESS: Final = 8  # a status whose response has no content (RFC 9110 15.3.5, 15.4.5)
UPGRADE: Final = 16  # a status that asks for another protocol (RFC 9110 15.5.22)

_STATUS_KINDS: Final = {"204": BODYLESS, "304": BODYLESS, "426": UPGRADE}
_KINDS: Final = {"content-length": CONTENT_LENGTH, "date": DATE, "server": SERVER}

# Values that are secrets, or new in each response: kept out of the caches.
_UNCACHED: Final = frozenset(
    {
        "authorization",
        "etag",
        "gserver-websocket",
        "last-modified",
        "location",
        "sec-websocket-accept",
        "set-cookie",
    }
)
_CACHED_FIELDS: Final = 1024
_CACHED_LENGTH: Final = 128


def check_field(header: Any) -> tuple[str, str, int]:
    """Return name, value and kind of one header of the application.

    Raises:
        LocalProtocolError: It is not a pair of native strings that HTTP can carry.
    """
    name, value = fields.check_field(header)
    return name, value, _KINDS.get(name.lower(), 0)


class FieldCache:
    """Checked fields in the encoding of one protocol.

    Attributes:
        known: By (name, value): encoding, kind and Content-Length, which is -1 for other fields.
    """

    def __init__(self, encode: Callable[[str, str], Any]) -> None:
        self.known: dict[Any, tuple[Any, int, int]] = {}
        self._encode = encode

    def encode(self, header: Any) -> Any:
        """Check and encode a field, if that is not known yet."""
        return (self.known.get(header) or self.learn(header))[0]

    def learn(self, header: Any) -> tuple[Any, int, int]:
        """Check and encode a field, and remember it if it may come again."""
        name, value, kind = check_field(header)
        length = int(value) if kind == CONTENT_LENGTH else -1
        entry = (self._encode(name, value), kind, length)
        if len(value) <= _CACHED_LENGTH and name.lower() not in _UNCACHED:
            if len(self.known) >= _CACHED_FIELDS:
                self.known.clear()
            self.known[header] = entry
        return entry


def encode_fields(
    known: FieldCache, headers: Iterable[Any], forbidden: frozenset[str]
) -> list[Any]:
    """Return fields that are not those of a response's head in a protocol's encoding.

    Raises:
        LocalProtocolError: One cannot be sent, or is `forbidden`.
    """
    fields: list[Any] = []
    for header in headers:
        name, value, _ = check_field(header)
        if name.lower() in forbidden:
            raise LocalProtocolError(f"{name} belongs into the head of the response")
        fields.append(known.encode((name, value)))
    return fields


def encode_line(name: str, value: str) -> bytes:
    """Return a field line as HTTP/1.1 sends it."""
    return f"{name}: {value}\r\n".encode("latin-1")


STATUSES: Final[dict[str, tuple[bytes, int]]] = {}
"""Status strings that have been checked: HTTP/1.1 status line and kind."""


def check_status(status: Any) -> tuple[bytes, int]:
    """Return HTTP/1.1 status line and kind of the application's status string.

    Raises:
        LocalProtocolError: It is not a str like "200 OK".
    """
    code = fields.check_status(status)
    entry = (
        f"HTTP/1.1 {status}\r\n".encode("latin-1"),
        _STATUS_KINDS.get(code, 0),
    )
    if len(STATUSES) >= _CACHED_FIELDS:
        STATUSES.clear()
    STATUSES[status] = entry
    return entry
