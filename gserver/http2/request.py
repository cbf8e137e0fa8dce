# cython: language_level=3, annotation_typing=False
"""The environ of an HTTP/2 request (RFC 9113 8.3, PEP 3333).

The engine has checked the rules that need nothing but the fields: which pseudo-header fields there
are and that they come first, lower-case names, clean values, a content-length that is a number.
What HTTP/1.1 checks as well is checked here, with the same code. Runs in the hub.
"""

from __future__ import annotations

from typing import Final

from gserver.api.errors import RemoteProtocolError, RequestTooLarge
from gserver.environ import Environ, decode_path, field_key
from gserver.request import (
    GOOD_HOSTS,
    GOOD_PATHS,
    HeaderMap,
    Limits,
    check_host,
    check_target,
    is_method,
)

NO_KEY: Final = "AAAAAAAAAAAAAAAAAAAAAA=="
"""HTTP_SEC_WEBSOCKET_KEY of a WebSocket whose client sent none: HTTP/2 needs none."""

_PROTOCOL: Final = "gserver.connect_protocol"
_COLON: Final = 0x3A
_GOOD_HOSTS: Final = GOOD_HOSTS
_GOOD_PATHS: Final = GOOD_PATHS

# Environ keys by field name; bounded, for the names are the client's choice.
_NAMES: Final[dict[bytes, str]] = {}
_MAX_NAMES: Final = 1024
_METHODS: Final = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
}


def build_environ(fields: list[tuple[bytes, bytes]], template: Environ, limits: Limits) -> Environ:
    """Return the environ of a request: a copy of `template` and what the fields say.

    Raises:
        RemoteProtocolError: It is no request that this server takes.
    """
    environ: Environ = template.copy()
    longest = limits.field
    dropped = 0
    for name, value in fields:
        if name[0] == _COLON:
            _take_pseudo(environ, name, value, limits)
            continue
        key = _NAMES.get(name) or _new_name(name, value, limits)
        if not key:
            dropped += 1
            continue
        text = value.decode("latin-1")
        if len(name) + len(text) > longest:
            raise RequestTooLarge("header field too long", 431)
        known = len(environ)
        environ.setdefault(key, text)  # one look-up where `in` and [] would be two
        if len(environ) == known:
            _repeated(environ, key, text)
            dropped += key != "HTTP_COOKIE"  # which clients cut into crumbs (RFC 9113 8.2.3)
    if len(environ) + dropped > len(template) + limits.fields:
        raise RequestTooLarge("too many header fields", 431)
    if environ["REQUEST_METHOD"] == "CONNECT":
        _take_connect(environ)
    if environ.get("HTTP_HOST") not in _GOOD_HOSTS:
        _check_authority(environ)
    return environ


def _take_pseudo(environ: Environ, name: bytes, value: bytes, limits: Limits) -> None:
    if name == b":path":
        path = _GOOD_PATHS.get(value)
        if path is None or len(value) > limits.line:
            _take_path(environ, value, limits)
        else:
            environ["RAW_URI"] = environ["REQUEST_URI"] = environ["PATH_INFO"] = path
    elif name == b":method":
        environ["REQUEST_METHOD"] = _METHODS.get(value) or _check_method(value)
    elif name == b":authority":
        environ["HTTP_HOST"] = value.decode("latin-1")
    elif name == b":protocol":
        environ[_PROTOCOL] = value


def _check_method(value: bytes) -> str:
    if not is_method(value):
        raise RemoteProtocolError("malformed method")
    return value.decode("ascii")


def _take_connect(environ: Environ) -> None:
    """Make an extended CONNECT (RFC 8441 5) look like the upgrade that it stands for."""
    if environ.pop(_PROTOCOL, None) != b"websocket":
        raise RemoteProtocolError("CONNECT is not supported here", 501)
    environ["REQUEST_METHOD"] = "GET"
    environ["HTTP_CONNECTION"] = "Upgrade"
    environ["HTTP_UPGRADE"] = "websocket"
    # Libraries want one; some clients send theirs.
    environ.setdefault("HTTP_SEC_WEBSOCKET_KEY", NO_KEY)


def _take_path(environ: Environ, value: bytes, limits: Limits) -> None:
    if len(value) > limits.line:
        raise RequestTooLarge("request target too long", 414)
    environ["RAW_URI"] = environ["REQUEST_URI"] = path = check_target(value)
    if "?" in path:
        path, _, environ["QUERY_STRING"] = path.partition("?")
    if not path.startswith("/"):
        if value != b"*":
            raise RemoteProtocolError("malformed request target")
        path = ""
    environ["PATH_INFO"] = decode_path(path) if "%" in path else path


def _new_name(name: bytes, value: bytes, limits: Limits) -> str:
    """Return the environ key of a name that is not known yet; "" drops the field."""
    key = field_key(name)
    if b"_" in name:
        # Not remembered: another server of this process may treat them otherwise.
        if limits.header_map is HeaderMap.REFUSE:
            raise RemoteProtocolError("header names with an underscore are refused here")
        if limits.header_map is HeaderMap.DANGEROUS and key != "CONTENT_LENGTH":
            return key
        return ""
    if key == "HTTP_EXPECT":
        # Not remembered either: instead of a look-up for each request.
        if value.lower() != b"100-continue":
            raise RemoteProtocolError("unknown expectation", 417)
    elif len(_NAMES) < _MAX_NAMES:
        _NAMES[name] = key
    return key


def _repeated(environ: Environ, key: str, text: str) -> None:
    if key == "HTTP_HOST":
        # RFC 9113 8.3.1: it may repeat the authority, but not name another.
        if environ["HTTP_HOST"] != text:
            raise RemoteProtocolError("Host is not the authority of the request")
    elif key == "CONTENT_LENGTH":
        pass  # the engine has seen that all of them are the same
    else:
        environ[key] += ("; " if key == "HTTP_COOKIE" else ",") + text


def _check_authority(environ: Environ) -> None:
    host = environ.get("HTTP_HOST")
    if host is None:
        raise RemoteProtocolError("no authority and no Host field")
    check_host(host)
