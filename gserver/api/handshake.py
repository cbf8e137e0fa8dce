"""The opening handshake: which request can become a WebSocket, and how an application says so.

RFC 6455 4.2, RFC 8441. Runs in the handler's greenlet and never blocks. What the server offers for
a request that can be upgraded is in the environ; without it, or under a server that cannot do
WebSocket, the functions here answer with the status that says what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, overload

from gserver.api.errors import HandshakeError
from gserver.api.lite import LiteApplication, lite

if TYPE_CHECKING:
    from gserver.websocket import WebSocket

__all__ = ["Offer", "accept", "check_handshake", "websocket"]

OFFER: Final = "gserver.websocket"
"""Where in the environ the server's `Offer` is."""

_VERSION: Final = (("Sec-WebSocket-Version", "13"),)
# 16 bytes in Base64.
_is_key: Final = re.compile(r"[A-Za-z0-9+/]{22}==").fullmatch

Environ: TypeAlias = dict[str, Any]
WebSocketHandler: TypeAlias = Callable[["WebSocket"], object]
Handler: TypeAlias = WebSocketHandler | Callable[[Any, "WebSocket"], object]  # or a method


class Offer(Protocol):
    """What a server puts into the environ of a request that can be upgraded."""

    def accept(self, subprotocol: str | None = None) -> WebSocket:
        """Accept at once; see `accept`."""

    def promise(self, handler: WebSocketHandler, subprotocol: str | None) -> tuple[str, str]:
        """Return the header that, in a response with status 101, means `handler`."""


@overload
def websocket(
    handler: Handler, *, subprotocols: Sequence[str] = (), origins: str | Iterable[str] = ()
) -> LiteApplication: ...
@overload
def websocket(
    *, subprotocols: Sequence[str] = (), origins: str | Iterable[str] = ()
) -> Callable[[Handler], LiteApplication]: ...
def websocket(
    handler: Handler | None = None,
    *,
    subprotocols: Sequence[str] = (),
    origins: str | Iterable[str] = (),
) -> Any:
    """Make an application, WSGI and Lite, of a blocking handler of WebSockets.

    Called with a request, the application returns a response that means: accept, and run this
    handler. It may be served as it is, or called anywhere inside another application, which
    returns its response. The handler runs when that response has come back to the server
    unchanged, through whatever middleware there is; middleware that replaces it has refused.
    Fields that middleware adds become part of the answer to the handshake.

    A request that cannot be upgraded gets 426, 405, 400, 403 or 501.

    Args:
        handler: Is called with the `gserver.websocket.WebSocket`, in the request's greenlet, when
            the application has returned; the WebSocket is closed when it returns.
        subprotocols: Those that the handler speaks; the first that the client asks for is chosen.
        origins: Sites whose pages may connect, beside the server's own: ``"https://a.example"``;
            ``"*"`` for all. Clients that are no browsers send no Origin, and may always.
    """
    _check_names(subprotocols)
    allowed = _origins(origins)

    def decorate(handler: Handler) -> LiteApplication:
        if not callable(handler):
            raise TypeError(f"@websocket takes one callable, not {handler!r}")

        def application(*arguments: Any) -> tuple[str, list[tuple[str, str]], list[bytes]]:
            *bound, environ = arguments  # a method gets its object first
            try:
                offer = _find_offer(environ, allowed)
            except HandshakeError as exc:
                return exc.response
            run: Any = partial(handler, *bound) if bound else handler
            header = offer.promise(run, choose_subprotocol(environ, subprotocols))
            # Some middleware insists on a type, which the client never sees.
            return "101 Switching Protocols", [("Content-Type", "text/plain"), header], []

        for name in ("__name__", "__qualname__", "__doc__", "__module__"):
            setattr(application, name, getattr(handler, name, None) or getattr(application, name))
        return lite(application)

    return decorate if handler is None else decorate(handler)


def accept(
    environ: Environ, *, subprotocols: Sequence[str] = (), origins: str | Iterable[str] = ()
) -> WebSocket:
    """Accept the request as a WebSocket at once, and return it.

    What the application returns afterwards is not sent; when it returns, the WebSocket is closed.

    Args:
        environ: The request.
        subprotocols: As for `websocket`.
        origins: As for `websocket`.

    Raises:
        HandshakeError: The request cannot be upgraded. Its `response` is the answer to return.
        ConnectionClosed: The client has gone.
    """
    _check_names(subprotocols)
    offer = _find_offer(environ, _origins(origins))
    return offer.accept(choose_subprotocol(environ, subprotocols))


def check_handshake(environ: Environ) -> None:
    """Check what the client sent (RFC 6455 4.2.1).

    Raises:
        HandshakeError: It asks for no WebSocket, or not in the right way.
    """
    if not is_upgrade(environ):
        raise HandshakeError(426, "this resource is a WebSocket", _VERSION)
    if environ["REQUEST_METHOD"] != "GET":
        raise HandshakeError(405, "a WebSocket is opened with GET", (("Allow", "GET"),))
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION") != "13":
        raise HandshakeError(426, "Sec-WebSocket-Version must be 13", _VERSION)
    if not _is_key(environ.get("HTTP_SEC_WEBSOCKET_KEY", "")):
        raise HandshakeError(400, "Sec-WebSocket-Key must be 16 bytes in Base64")


def is_upgrade(environ: Environ) -> bool:
    """Tell whether a request asks for a WebSocket, rightly or not."""
    return (
        "websocket" in _tokens(environ.get("HTTP_UPGRADE", ""))
        and "upgrade" in _tokens(environ.get("HTTP_CONNECTION", ""))
        and environ["SERVER_PROTOCOL"] != "HTTP/1.0"
    )


def choose_subprotocol(environ: Environ, ours: Sequence[str]) -> str | None:
    """Return the first of the client's subprotocols that is one of ours, too."""
    theirs = environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "").split(",")
    return next((name for name in map(str.strip, theirs) if name in ours), None)


def _find_offer(environ: Environ, origins: frozenset[str]) -> Offer:
    check_handshake(environ)
    offer: Offer | None = environ.get(OFFER)
    if offer is None:
        raise HandshakeError(501, "this server does not speak WebSocket")
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None and not _is_welcome(origin.lower(), environ, origins):
        raise HandshakeError(403, "pages of this origin may not connect")
    return offer


def _is_welcome(origin: str, environ: Environ, origins: frozenset[str]) -> bool:
    # Only the host and port: behind a proxy that ends TLS the scheme would differ.
    own = origin.partition("://")[2]
    return "*" in origins or origin in origins or own == environ.get("HTTP_HOST", "").lower() != ""


def _check_names(subprotocols: object) -> None:
    if isinstance(subprotocols, str):
        raise TypeError("subprotocols must be a sequence of names, not a str")


def _origins(origins: str | Iterable[str]) -> frozenset[str]:
    if isinstance(origins, str):
        origins = (origins,)
    return frozenset(one.lower().rstrip("/") for one in origins)


def _tokens(value: str) -> list[str]:
    return [token.strip().lower() for token in value.split(",")]
