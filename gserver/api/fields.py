"""What a status and a header field may look like (PEP 3333, RFC 9110 5.5).

For everything that sends what an application has said: each server, and each adapter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from gserver.api.errors import LocalProtocolError

__all__ = [
    "HOP_BY_HOP",
    "NOT_INTERIM",
    "NOT_PROMISED",
    "NOT_TRAILERS",
    "check_field",
    "check_status",
    "encode_fields",
    "status_text",
]

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

# `$` would also match before a final newline, hence fullmatch.
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_VALUE: Final = re.compile(r"[\x20-\x7e\x80-\xff]*").fullmatch
_STATUS: Final = re.compile(
    r"([2-9][0-9]{2}) (?:[!-~\x80-\xff](?:[ -~\x80-\xff]*[!-~\x80-\xff])?)?"
).fullmatch
# No more digits than 8 bytes hold.
_DIGITS: Final = re.compile(r"[0-9]{1,18}").fullmatch


def check_field(header: Any) -> tuple[str, str]:
    """Return name and value of one header of the application.

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
    if lower == "content-length" and not _DIGITS(value):
        raise LocalProtocolError(
            f"Content-Length must be a number of up to 18 digits, not {value!r}"
        )
    return name, value


def check_status(status: Any) -> str:
    """Return the code of the application's status string.

    Raises:
        LocalProtocolError: It is not a str like "200 OK".
    """
    if not isinstance(status, str):
        raise LocalProtocolError(f'the status must be a str like "200 OK", not {status!r}')
    match = _STATUS(status)
    if match is None:
        raise LocalProtocolError(f'the status must look like "200 OK", not {status!r}')
    return match[1]


def status_text(code: int) -> str:
    """Return "404 Not Found" for 404."""
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return f"{code} Unknown"


def encode_fields(
    headers: Iterable[Any], forbidden: frozenset[str] = frozenset()
) -> list[tuple[bytes, bytes]]:
    """Return fields as pairs of bytes, names in lower case, as ASGI and HTTP/2 have them.

    Raises:
        LocalProtocolError: One cannot be sent, or is `forbidden` here.
    """
    fields = []
    for header in headers:
        name, value = check_field(header)
        lower = name.lower()
        if lower in forbidden:
            raise LocalProtocolError(f"{name} belongs into the head of the response")
        fields.append((lower.encode("ascii"), value.encode("latin-1")))
    return fields
