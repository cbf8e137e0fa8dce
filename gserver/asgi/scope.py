"""ASGI scopes from environs (ASGI HTTP and WebSocket specification, 2.3 to 2.5).

The environ is what there is where an ASGI application is mounted in a WSGI tree: repeated header
fields have been joined, and names are as CGI spells them, which ASGI's lower case undoes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gserver.api.capabilities import features
from gserver.environ import Environ

if TYPE_CHECKING:
    from gserver.api.asgi.types import Scope

# 2.4 would have Starlette's streams wait for the next send before they notice that the client has
# gone.
_SPECIFICATIONS: Final = {"http": "2.3", "websocket": "2.4"}
_VERSIONS: Final = {"HTTP/1.1": "1.1", "HTTP/2": "2", "HTTP/1.0": "1.0"}
_PROTOCOLS: Final = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

_MAX_NAMES: Final = 1024


class _FieldNames(dict[str, bytes]):
    """The names of header fields by their keys in the environ; b"" for keys that are no fields."""

    def __missing__(self, key: str) -> bytes:
        name = b""
        if key.startswith("HTTP_"):
            name = key[5:].replace("_", "-").lower().encode("latin-1")
        if len(self) < _MAX_NAMES:
            self[key] = name
        return name


_names: Final = _FieldNames(CONTENT_TYPE=b"content-type", CONTENT_LENGTH=b"content-length")


def http_scope(environ: Environ, state: dict[str, Any] | None) -> Scope:
    """Return the scope of an HTTP request."""
    scope = _connection_scope("http", environ, environ["wsgi.url_scheme"], state)
    scope["method"] = environ["REQUEST_METHOD"]
    extensions = scope["extensions"]
    extensions["http.response.pathsend"] = {}
    if scope["http_version"] != "1.0":
        extensions["http.response.early_hint"] = {}
        extensions["http.response.trailers"] = {}
        if scope["http_version"] == "2" and features(environ).push:
            extensions["http.response.push"] = {}
    return scope


def websocket_scope(environ: Environ, state: dict[str, Any] | None) -> Scope:
    """Return the scope of a request that asks for a WebSocket."""
    scheme = "wss" if environ["wsgi.url_scheme"] == "https" else "ws"
    scope = _connection_scope("websocket", environ, scheme, state)
    asked = environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "")
    scope["subprotocols"] = [name for one in asked.split(",") if (name := one.strip())]
    scope["extensions"]["websocket.http.response"] = {}
    return scope


def _connection_scope(
    kind: str, environ: Environ, scheme: str, state: dict[str, Any] | None
) -> Scope:
    root = _decode(environ.get("SCRIPT_NAME", ""))
    names = _names
    headers = [
        (name, value.encode("latin-1")) for key, value in environ.items() if (name := names[key])
    ]
    scope: Scope = {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": _SPECIFICATIONS[kind]},
        "http_version": _VERSIONS.get(environ["SERVER_PROTOCOL"], "1.1"),
        "scheme": scheme,
        # ASGI wants the whole path, of which root_path is the beginning.
        "path": root + _decode(environ.get("PATH_INFO", "")),
        "raw_path": _raw_path(environ.get("RAW_URI", "")),
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
        "root_path": root,
        "headers": headers,
        "client": _client(environ),
        "server": (environ["SERVER_NAME"], int(environ["SERVER_PORT"] or 0)),
        "extensions": {},
    }
    if state is not None:
        scope["state"] = state.copy()
    if "SSL_PROTOCOL" in environ:
        scope["extensions"]["tls"] = _tls(environ)
    return scope


def _client(environ: Environ) -> tuple[str, int] | None:
    host = environ.get("REMOTE_ADDR")
    return (host, int(environ.get("REMOTE_PORT") or 0)) if host else None


def _raw_path(target: str) -> bytes:
    """Return the path of a request's target, which may be a whole URL (RFC 9112 3.2)."""
    path = target.partition("?")[0]
    if path[:1] not in ("/", "*"):
        path = "/" + path.partition("://")[2].partition("/")[2]
    return path.encode("latin-1")


def _decode(path: str) -> str:
    """Return a path as text: an environ has its bytes as latin-1 characters."""
    return path if path.isascii() else path.encode("latin-1").decode("utf-8", "replace")


def _tls(environ: Environ) -> dict[str, Any]:
    """Return the ``tls`` extension, as far as the environ tells."""
    certificate = environ.get("SSL_CLIENT_CERT")
    name = environ.get("SSL_CLIENT_S_DN_CN")
    return {
        "server_cert": None,
        "client_cert_chain": [certificate] if certificate else [],
        "client_cert_name": f"CN={name}" if name else None,
        "client_cert_error": None,
        "tls_version": _PROTOCOLS.get(environ["SSL_PROTOCOL"]),
        "cipher_suite": None,
    }
