"""The application's status and header fields: checked once, encoded once, remembered.

The checks of PEP 3333 and RFC 9110 5.5 cost about half a microsecond a field. Applications send
the same few fields again and again, so a `FieldCache` remembers what it has checked, in the
encoding of its protocol. Runs in the handler's greenlet; nothing here blocks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar

from gserver.api.errors import LocalProtocolError

Encoded = TypeVar("Encoded")

# What the server must know about a field beyond its bytes; bits, so that one int tells all.
CONTENT_LENGTH: Final = 1
DATE: Final = 2
SERVER: Final = 4
BODYLESS: Final = 8  # a status whose response has no content (RFC 9110 15.3.5, 15.4.5)
UPGRADE: Final = 16  # a status that asks for another protocol (RFC 9110 15.5.22)

_STATUS_KINDS: Final = {"204": BODYLESS, "304": BODYLESS, "426": UPGRADE}
_KINDS: Final = {"content-length": CONTENT_LENGTH, "date": DATE, "server": SERVER}

# RFC 9110 7.6.1 and PEP 3333: these belong to the connection, which is the server's.
HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
    }
)

# What the server says of the content: an interim response has none.
NOT_INTERIM: Final = frozenset({"content-length", "trailer"})

# The server makes them of the promised path, or they belong to content, which there is none of
# (RFC 9113 8.4).
NOT_PROMISED: Final = frozenset({"content-length", "content-type", "expect", "host", "trailer"})

# RFC 9110 6.5.1: who handles the message must know these before its content: framing, routing,
# conditions and authentication, and what says how the content is to be understood or kept.
NOT_TRAILERS: Final = frozenset(
    {
        "age",
        "authorization",
        "cache-control",
        "content-encoding",
        "content-language",
        "content-length",
        "content-location",
        "content-range",
        "content-type",
        "cookie",
        "date",
        "expect",
        "expires",
        "host",
        "location",
        "max-forwards",
        "pragma",
        "range",
        "retry-after",
        "set-cookie",
        "trailer",
        "vary",
        "www-authenticate",
    }
)

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

# `$` would also match before a final newline, hence fullmatch.
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_VALUE: Final = re.compile(r"[\x20-\x7e\x80-\xff]*").fullmatch
_STATUS: Final = re.compile(
    r"([2-9][0-9]{2}) (?:[!-~\x80-\xff](?:[ -~\x80-\xff]*[!-~\x80-\xff])?)?"
).fullmatch
_DIGITS: Final = re.compile(r"[0-9]+").fullmatch


def check_field(header: Any) -> tuple[str, str, int]:
    """Return name, value and kind of one header of the application.

    Raises:
        LocalProtocolError: It is not a pair of native strings that HTTP can carry.
    """
    if not isinstance(header, tuple) or len(header) != 2:
        raise LocalProtocolError(f"a header must be a (name, value) tuple, not {header!r}")
    name, value = header
    if not isinstance(name, str) or not isinstance(value, str):
        raise LocalProtocolError(f"header name and value must be str, not {header!r}")
    if not _TOKEN(name):
        raise LocalProtocolError(f"header name {name!r} is not a token (RFC 9110 5.1)")
    if not _VALUE(value):
        raise LocalProtocolError(
            f"value {value!r} of header {name} holds a control character or is not latin-1"
        )
    lower = name.lower()
    if lower in HOP_BY_HOP:
        raise LocalProtocolError(f"header {name} is hop-by-hop: it is the server's to send")
    kind = _KINDS.get(lower, 0)
    if kind == CONTENT_LENGTH and not _DIGITS(value):
        raise LocalProtocolError(f"Content-Length must be a number, not {value!r}")
    return name, value, kind


class FieldCache(Generic[Encoded]):
    """Checked fields in the encoding of one protocol.

    Attributes:
        known: By (name, value): encoding, kind and Content-Length, which is -1 for other fields.
    """

    def __init__(self, encode: Callable[[str, str], Encoded]) -> None:
        self.known: dict[Any, tuple[Encoded, int, int]] = {}
        self._encode = encode

    def encode(self, header: Any) -> Encoded:
        """Check and encode a field, if that is not known yet."""
        return (self.known.get(header) or self.learn(header))[0]

    def learn(self, header: Any) -> tuple[Encoded, int, int]:
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
    known: FieldCache[Encoded], headers: Iterable[Any], forbidden: frozenset[str]
) -> list[Encoded]:
    """Return fields that are not those of a response's head in a protocol's encoding.

    Raises:
        LocalProtocolError: One cannot be sent, or is `forbidden`.
    """
    fields: list[Encoded] = []
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
    if not isinstance(status, str):
        raise LocalProtocolError(f'the status must be a str like "200 OK", not {status!r}')
    match = _STATUS(status)
    if match is None:
        raise LocalProtocolError(f'the status must look like "200 OK", not {status!r}')
    entry = (
        f"HTTP/1.1 {status}\r\n".encode("latin-1"),
        _STATUS_KINDS.get(match[1], 0),
    )
    if len(STATUSES) >= _CACHED_FIELDS:
        STATUSES.clear()
    STATUSES[status] = entry
    return entry


def status_text(code: int) -> str:
    """Return "404 Not Found" for 404."""
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return f"{code} Unknown"
