"""The chance to make a WebSocket of one request, under an ASGI server.

An application takes it by `gserver.api.accept`, or by returning the response of a
`gserver.api.websocket` handler; or it answers with an ordinary response.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from gserver.api.asgi.bridge import Bridge
from gserver.api.asgi.response import Response
from gserver.api.asgi.types import Message, Scope
from gserver.api.asgi.websocket import ThreadWebSocket
from gserver.api.errors import (
    ConnectionClosed,
    Disconnected,
    LocalProtocolError,
    WebSocketError,
)
from gserver.api.fields import encode_fields
from gserver.api.gevent_websocket import GeventWebSocket
from gserver.api.handshake import OFFER, WebSocketHandler
from gserver.api.lite import ExcInfo
from gserver.api.websocket_base import INTERNAL_ERROR, NORMAL, PROMISE, confirm_promise

if TYPE_CHECKING:
    from gserver.websocket import WebSocket

__all__ = ["Handshake"]

logger = logging.getLogger("gserver.error")


class Handshake(Response):
    """The answer to a request for a WebSocket: that it is one now, or an ordinary response.

    Where the server has no ``websocket.http.response``, any such response is a bare 403.
    """

    kind = "websocket.http.response"

    def __init__(self, bridge: Bridge, scope: Scope, environ: dict[str, Any]) -> None:
        super().__init__(bridge, scope)
        self._environ = environ
        self.websocket: ThreadWebSocket | None = None  # once it was accepted
        self._handler: WebSocketHandler | None = None  # whose response was returned
        self._subprotocol: str | None = None
        self._token = ""
        self._promised = False  # the response has come back
        self._added: list[tuple[str, str]] = []  # headers that came with it
        self._code = NORMAL  # to close with
        environ[OFFER] = self
        environ["wsgi.websocket"] = GeventWebSocket(self, environ)
        environ["wsgi.websocket_version"] = environ["HTTP_SEC_WEBSOCKET_VERSION"]

    # -- the offer: `gserver.api.handshake.Offer` ---------------------------------------------

    def accept(self, subprotocol: str | None = None) -> WebSocket:
        """Answer the handshake and return the WebSocket; the same one from the second call on.

        Raises:
            ConnectionClosed: The client has gone, or the request is over.
            LocalProtocolError: The response has begun.
        """
        if self.websocket is None:
            if self.over:
                raise ConnectionClosed(1006, "the request is over")
            if self.begun:
                raise LocalProtocolError(
                    "the response has begun: the request is no WebSocket any more"
                )
            message: Message = {"type": "websocket.accept", "subprotocol": subprotocol}
            message["headers"] = encode_fields(self._added)
            self.begun = True
            try:
                self.bridge.send(message)
            except Disconnected as exc:
                raise ConnectionClosed(1006, str(exc), True) from exc
            self.websocket = ThreadWebSocket(self.bridge, self._environ, subprotocol)
        return self.websocket  # type: ignore[return-value]

    def promise(self, handler: WebSocketHandler, subprotocol: str | None) -> tuple[str, str]:
        """Return the header that means `handler`, if it comes back."""
        self._handler = handler
        self._subprotocol = subprotocol
        self._token = secrets.token_hex(8)
        return PROMISE, self._token

    # -- the response -------------------------------------------------------------------------

    @property
    def _switched(self) -> bool:
        return self._promised or self.websocket is not None

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
    ) -> Callable[[bytes], None]:
        """Begin the response, or take a promise that has come back from the application."""
        if self.websocket is not None and exc_info is None:
            return self.write  # what comes behind it is not sent
        self._promised = False  # by exc_info only, else it raises
        return super().start_response(status, headers, exc_info)

    def _take_head(self, status: str, headers: list[tuple[str, str]]) -> None:
        if not str(status).startswith("101"):
            super()._take_head(status, headers)
            if self._status < 300 and self._environ.get("SERVER_PROTOCOL") == "HTTP/2":
                self._status = 501  # there, 2xx would mean: accepted (RFC 8441 5)
            return
        encode_fields(headers)  # a wrong one is the application's error
        self._added = confirm_promise(headers, self._token)
        self._token = ""
        self._promised = True

    def write(self, data: bytes) -> None:
        """Send a block of an ordinary response."""
        if not self._switched:
            super().write(data)

    def send_body(self, body: Iterable[bytes]) -> None:
        """Send the body of an ordinary response."""
        if not self._switched:
            super().send_body(body)

    def end(self) -> None:
        """End an ordinary response."""
        if not self._switched:
            super().end()

    def fail(self, exc: BaseException, where: str) -> Exception | None:
        """Answer what the application has raised, or choose the code to close with."""
        self._promised = False
        if self.websocket is None:
            return super().fail(exc, where)
        self._judge(exc)
        return None

    def conclude(self) -> None:
        """Run the handler whose response has come back, and close what is open; blocks."""
        try:
            if self._promised and self._handler is not None:
                self._run(self._handler)
            if self.websocket is not None:
                self.websocket.close(self._code)
        finally:
            self.over = True
            # The environ leads here: what leads back would make a cycle.
            self.websocket = self._handler = None
            self._environ = {}

    def _run(self, handler: WebSocketHandler) -> None:
        try:
            websocket = self.accept(self._subprotocol)
        except ConnectionClosed as exc:
            logger.debug("%s: %s", self._environ.get("RAW_URI"), exc)
            return
        try:
            handler(websocket)
        except BaseException as exc:  # noqa: BLE001 - SystemExit ends it as well
            self._judge(exc)

    def _judge(self, exc: BaseException) -> None:
        """Find the close code for what a handler raised."""
        where = f"WebSocket {self._environ.get('RAW_URI')}"
        if isinstance(exc, (WebSocketError, Disconnected)):
            logger.debug("%s: %s", where, exc)
        else:
            logger.error("%s: error in the handler", where, exc_info=exc)
            self._code = INTERNAL_ERROR

    def _emit(self, *messages: Message) -> None:
        if self.kind in self._offered:
            super()._emit(*messages)
        elif messages[0]["type"] == f"{self.kind}.start":
            super()._emit({"type": "websocket.close"})
