"""What a request's fields must be, if nothing but the fields is known (RFC 9113 8.1 to 8.3).

The engine of `gserver.http2.pure` asks here; libnghttp2 checks the same by itself. Pure functions,
and in every request's way: they look at all names, and at all values, in one go.
"""

from __future__ import annotations

import re

_TOKEN = rb"[!#$%&'*+.^_`|~0-9a-z-]+"
# Names one a line. Each line can match in one way only, so this takes linear time.
_are_names = re.compile(rb"(?:%b\n)*%b" % (_TOKEN, _TOKEN)).fullmatch
_is_method = re.compile(rb"(?i:%b)" % _TOKEN).fullmatch
_is_scheme = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*").fullmatch
_is_path = re.compile(rb"/[\x21-\x7e\x80-\xff]*").fullmatch
# The characters of RFC 3986 3.2, without looking at their order.
_is_authority = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:@\[\]-]+").fullmatch
_is_length = re.compile(rb"[0-9]{1,18}").fullmatch
# RFC 9110 5.5; the line feed, of which the joined values have many, is counted.
_CONTROLS = bytes({*range(32), 127} - {ord("\t"), ord("\n")})
_CONNECTION_SPECIFIC = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
_REQUEST = frozenset((b":method", b":scheme", b":path"))
_REQUEST_TO = _REQUEST | {b":authority"}
_CONNECT = frozenset((b":method", b":authority"))
_SINGULAR = (b"host", b"content-length")


class Malformed(Exception):
    """The fields break a rule: the stream is to be reset with PROTOCOL_ERROR (RFC 9113 8.1.1)."""


def check_request(names: list[bytes], values: list[bytes], connect_protocol: bool) -> int:
    """Check a request's fields; return its content-length, or -1 if it has none.

    Args:
        names: Of the fields.
        values: Of the fields.
        connect_protocol: It may be an extended CONNECT (RFC 8441).

    Raises:
        Malformed: They break a rule.
    """
    count = 0
    for name in names:
        if not name.startswith(b":"):
            break
        count += 1
    pseudo = dict(zip(names[:count], values, strict=False))
    regular = names[count:]
    if len(pseudo) != count:
        raise Malformed("repeated pseudo-header field")
    _check_fields(regular, values)
    for name in _SINGULAR:
        if name in regular and regular.count(name) > 1:
            raise Malformed(f"repeated {name.decode()}")
    host = values[names.index(b"host")] if b"host" in regular else None
    if connect_protocol and pseudo.get(b":method") == b"CONNECT" and b":protocol" in pseudo:
        # With the fields of any other request (RFC 8441 4).
        rest = {name: value for name, value in pseudo.items() if name != b":protocol"}
        _check_pseudo(rest | {b":method": b"GET"}, host)
    else:
        _check_pseudo(pseudo, host)
    if b"content-length" not in regular:
        return -1
    length = values[names.index(b"content-length")]
    if not _is_length(length):
        raise Malformed("content-length")
    # A CONNECT request has no content; what follows is the tunnel's (RFC 9113 8.5).
    return -1 if pseudo[b":method"] == b"CONNECT" else int(length)


def check_trailers(names: list[bytes], values: list[bytes]) -> None:
    """Check trailer fields.

    Raises:
        Malformed: They break a rule.
    """
    _check_fields(names, values)


def _check_fields(names: list[bytes], values: list[bytes]) -> None:
    """Check names of fields that are not pseudo-header fields, and all values."""
    if not values:
        return
    if names:
        joined = b"\n".join(names)
        if joined.count(b"\n") >= len(names) or not _are_names(joined):
            raise Malformed("field name")
    lines = b"\n%b\n" % b"\n".join(values)
    if (
        lines.count(b"\n") != len(values) + 1
        or len(lines.translate(None, _CONTROLS)) != len(lines)
        or b"\n " in lines
        or b" \n" in lines
        or b"\n\t" in lines
        or b"\t\n" in lines
    ):
        raise Malformed("field value")
    if not _CONNECTION_SPECIFIC.isdisjoint(names):
        raise Malformed("connection-specific field")
    if b"te" in names:
        offset = len(values) - len(names)
        for at, name in enumerate(names):
            if name == b"te" and values[at + offset].lower() != b"trailers":
                raise Malformed("te")


def _check_pseudo(pseudo: dict[bytes, bytes], host: bytes | None) -> None:
    keys = pseudo.keys()
    authority = pseudo.get(b":authority", host)
    if authority is None or not _is_authority(authority):
        raise Malformed("no authority, or not one")
    if host is not None and host is not authority and not _is_authority(host):
        raise Malformed("host")
    if keys != _REQUEST_TO and keys != _REQUEST:
        if keys == _CONNECT and pseudo[b":method"] == b"CONNECT":
            return
        raise Malformed("pseudo-header fields unknown or missing")
    method = pseudo[b":method"]
    if method == b"CONNECT" or not _is_method(method):
        raise Malformed("method")
    scheme = pseudo[b":scheme"]
    if not _is_scheme(scheme):
        raise Malformed("scheme")
    path = pseudo[b":path"]
    if not _is_path(path) and not (path == b"*" and method == b"OPTIONS"):
        raise Malformed("path")
