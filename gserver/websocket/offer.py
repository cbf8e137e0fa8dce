# cython: language_level=3, annotation_typing=False
"""Offer: the chance to make a WebSocket of one request, taken once or not at all.

An application takes it by `gserver.api.accept`, by using ``environ["wsgi.websocket"]``, by speaking
WebSocket itself over ``environ["gunicorn.socket"]``, or by returning the response of a
`gserver.api.websocket` handler. Runs in the handler's greenlet.
"""

from __future__ import annotations

import logging
import secrets
from base64 import b64encode
from hashlib import sha1
from typing import Final

from greenlet import GreenletExit

from gserver.api.errors import (
    ConnectionClosed,
    Disconnected,
    WebSocketError,
)
from gserver.api.gevent_websocket import GeventWebSocket
from gserver.api.handshake import OFFER, WebSocketHandler
from gserver.api.websocket_base import (
    GOING_AWAY,
    INTERNAL_ERROR,
    NORMAL,
    PROMISE,
    confirm_promise,
)
from gserver.websocket.blocking import WebSocket
from gserver.websocket.carrier import Headers, Server, Upgradable
from gserver.websocket.deflate import negotiate
from gserver.websocket.rawsocket import LazySocket, RawSocket

logger = logging.getLogger("gserver.error")

# RFC 6455 1.3
_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Offer:
    """What `gserver.api.handshake` finds in the environ.

    Args:
        server: What WebSockets of this server share.
        request: The request, into whose environ the offer is put.
    """

    def __init__(self, server: Server, request: Upgradable) -> None:
        self._server = server
        self._request: Upgradable | None = request
        self._environ = environ = request.environ
        self._handler: WebSocketHandler | None = None  # whose response was returned
        self._subprotocol: str | None = None
        self._token = ""
        self._confirmed = False  # the response has come back
        self._headers: Headers = []  # that came with it
        self._socket: RawSocket | None = None
        self._code = NORMAL  # to close with
        self._cut = False
        self.websocket: WebSocket | None = None
        environ[OFFER] = self
        environ["wsgi.websocket"] = GeventWebSocket(self, environ)
        environ["wsgi.websocket_version"] = environ["HTTP_SEC_WEBSOCKET_VERSION"]
        environ["gunicorn.socket"] = LazySocket(self)

    # -- taking it ---------------------------------------------------------------------------

    def accept(self, subprotocol: str | None = None) -> WebSocket:
        """Answer the handshake and return the WebSocket; the same one from the second call on.

        Raises:
            ConnectionClosed: The client has gone, or the request is over.
            RuntimeError: The raw socket was taken.
        """
        if self.websocket is not None:
            return self.websocket
        request = self._take("the raw socket of this request is in use")
        environ = self._environ
        options = self._server.config
        headers = [("Sec-WebSocket-Accept", accept_value(environ["HTTP_SEC_WEBSOCKET_KEY"]))]
        if subprotocol is not None:
            headers.append(("Sec-WebSocket-Protocol", subprotocol))
        agreed = None
        offers = environ.get("HTTP_SEC_WEBSOCKET_EXTENSIONS")
        if offers and options.websocket_compression:
            limit = options.websocket_max_message_size
            agreed = negotiate(offers, limit, options.websocket_context_takeover)
        deflate = None
        if agreed is not None:
            deflate, response = agreed
            headers.append(("Sec-WebSocket-Extensions", response))
        try:
            carrier = request.switch(headers + self._headers)
        except Disconnected as exc:
            raise ConnectionClosed(1006, str(exc), True) from exc
        self.websocket = WebSocket(self._server, carrier, environ, subprotocol, deflate)
        return self.websocket

    def promise(self, handler: WebSocketHandler, subprotocol: str | None) -> tuple[str, str]:
        """Return the header that means `handler`, if it comes back to the server."""
        self._handler = handler
        self._subprotocol = subprotocol
        self._token = secrets.token_hex(8)
        return PROMISE, self._token

    def open_socket(self) -> RawSocket:
        """Return the raw socket, over which a library speaks WebSocket itself.

        Raises:
            ConnectionClosed: The request is over.
            RuntimeError: The request was accepted already.
        """
        if self._socket is None:
            request = self._take("this request was accepted as a WebSocket already")
            self._socket = RawSocket(self._server, request)
        return self._socket

    def _take(self, why_not: str) -> Upgradable:
        if self._socket is not None or self.websocket is not None:
            raise RuntimeError(why_not)
        if self._request is None:
            raise ConnectionClosed(1006, "the request is over")
        self._request.claim()
        return self._request

    @property
    def over(self) -> bool:
        """The request has been answered, one way or the other."""
        return self._request is None

    # -- for the server ----------------------------------------------------------------------

    def confirm(self, headers: Headers) -> None:
        """Take a response with status 101, which came back from the application.

        Raises:
            LocalProtocolError: It is not the one that `promise` was made for.
        """
        self._headers = confirm_promise(headers, self._token)
        self._confirmed = True
        self._token = ""

    def retract(self) -> bool:
        """Forget the response that was returned, unless it was acted upon."""
        if self.websocket is None and self._socket is None:
            self._confirmed = False
            return True
        return False

    def fail(self, exc: BaseException) -> bool:
        """Note what the application raised; False if the client can still be answered."""
        if self.retract():
            return False
        if isinstance(exc, StopIteration) and self._socket is not None:
            return True  # how libraries tell gunicorn that they have answered themselves
        self._judge(exc)
        return True

    def conclude(self) -> None:
        """Run the handler whose response has come back, and close what is open; blocks."""
        try:
            if self._confirmed and self._handler is not None:
                self._run(self._handler)
            elif self._socket is not None:
                self._socket.conclude()
            elif self.websocket is not None:
                self._leave(self.websocket)
        finally:
            # The environ leads here: what leads back would make a cycle.
            self._request = self.websocket = self._socket = self._handler = None

    def _run(self, handler: WebSocketHandler) -> None:
        try:
            websocket = self.accept(self._subprotocol)
        except ConnectionClosed as exc:
            logger.debug("%s: %s", self._environ.get("PATH_INFO"), exc)
            return
        try:
            handler(websocket)
        except BaseException as exc:  # noqa: BLE001 - GreenletExit and timeouts end it as well
            self._judge(exc)
        self._leave(websocket)

    def _judge(self, exc: BaseException) -> None:
        """Find the close code for what a handler raised."""
        where = f"WebSocket {self._environ.get('RAW_URI')}"
        if isinstance(exc, (WebSocketError, Disconnected)):
            logger.debug("%s: %s", where, exc)
        elif isinstance(exc, GreenletExit):
            logger.warning("%s: cut off, the server stops", where)
            self._code = GOING_AWAY
            self._cut = True
        else:
            logger.error("%s: error in the handler", where, exc_info=exc)
            self._code = INTERNAL_ERROR

    def _leave(self, websocket: WebSocket) -> None:
        if self._cut:
            websocket.cut(self._code)
            return
        try:
            websocket.leave(self._code)
        except BaseException as exc:  # noqa: BLE001 - nothing is left to be done but this
            logger.debug("%s: closing was cut off: %r", websocket, exc)
            websocket.cut(GOING_AWAY)


def accept_value(key: str) -> str:
    """Return Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 4.2.2)."""
    return b64encode(sha1((key + _GUID).encode(), usedforsecurity=False).digest()).decode()
