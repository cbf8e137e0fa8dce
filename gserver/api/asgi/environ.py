"""The environ of a request that an ASGI server has received (PEP 3333).

ASGI decodes what WSGI wants as bytes, and the other way round. The keys are those of
`gserver.environ`, as far as a scope tells.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, unquote, unquote_to_bytes

from gserver.api.asgi.types import Scope

__all__ = ["build_environ"]

# Over HTTP/2 there is no key (RFC 8441 5), but who looks at the handshake wants one.
_NO_KEY = "AAAAAAAAAAAAAAAAAAAAAA=="


def build_environ(scope: Scope) -> dict[str, Any]:
    """Return the environ of a scope of HTTP or WebSocket, but for ``wsgi.input``."""
    secure = scope.get("scheme") in ("https", "wss")
    host, port = scope.get("server") or ("localhost", None)
    client = scope.get("client") or ("", "")
    query = scope.get("query_string", b"").decode("latin-1")
    environ: dict[str, Any] = {
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if secure else "http",
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,  # for all that one knows
        "wsgi.run_once": False,
        "asgi.scope": scope,
        "REQUEST_METHOD": scope.get("method", "GET"),
        "QUERY_STRING": query,
        "SERVER_NAME": host if port is not None else "localhost",  # or it is a socket's path
        "SERVER_PORT": str(port if port is not None else 443 if secure else 80),
        "SERVER_PROTOCOL": "HTTP/" + _version(scope),
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
    }
    if secure:
        environ["HTTPS"] = "on"
    _add_path(environ, scope, query)
    _add_fields(environ, scope["headers"])
    if scope["type"] == "websocket":
        _add_handshake(environ)
    return environ


def _version(scope: Scope) -> str:
    version: str = scope.get("http_version", "1.1")
    return version if version.startswith("1") else version.removesuffix(".0")


def _add_path(environ: dict[str, Any], scope: Scope, query: str) -> None:
    path: str = scope["path"]
    root: str = (scope.get("root_path") or "").rstrip("/")
    raw: bytes | None = scope.get("raw_path")
    if raw is not None:
        raw = raw.partition(b"?")[0]
    if raw is None or unquote(raw.decode("latin-1")) != path:
        # None there, or of before some middleware has changed the path.
        target = quote(path, safe="/~!$&'()*+,;=:@")
        octets = path.encode("utf-8", "surrogatepass")
    else:
        # What is not UTF-8 the path has lost.
        target = raw.decode("latin-1")
        octets = unquote_to_bytes(raw)
    mount = root.encode("utf-8", "surrogatepass")
    # Newer servers have it at the beginning of the path, some do not.
    if mount and (octets == mount or octets.startswith(mount + b"/")):
        octets = octets[len(mount) :]
    environ["SCRIPT_NAME"] = mount.decode("latin-1")
    environ["PATH_INFO"] = "" if octets == b"*" else octets.decode("latin-1")
    environ["RAW_URI"] = environ["REQUEST_URI"] = f"{target}?{query}" if query else target


def _add_fields(environ: dict[str, Any], headers: Iterable[tuple[bytes, bytes]]) -> None:
    values: dict[str, list[str]] = {}
    for name, value in headers:
        if b"_" not in name:  # it would look like one with a hyphen
            key = name.decode("latin-1").upper().replace("-", "_")
            values.setdefault(key, []).append(value.decode("latin-1"))
    for key, found in values.items():
        if key == "CONTENT_LENGTH":
            environ[key] = found[0]  # servers see to it that all of them are the same
        elif key == "CONTENT_TYPE":
            environ[key] = ",".join(found)
        else:
            environ["HTTP_" + key] = ("; " if key == "COOKIE" else ",").join(found)


def _add_handshake(environ: dict[str, Any]) -> None:
    """Make it look like an upgrade over HTTP/1.1, whatever it was; the server has checked it."""
    environ["HTTP_UPGRADE"] = "websocket"
    environ["HTTP_CONNECTION"] = "Upgrade"
    environ.setdefault("HTTP_SEC_WEBSOCKET_VERSION", "13")
    environ.setdefault("HTTP_SEC_WEBSOCKET_KEY", _NO_KEY)
