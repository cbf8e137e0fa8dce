"""One WebSocket of an ASGI application, or the refusal of one.

The application decides on the handshake before anything is answered, so the decision can travel
through whatever middleware there is between this and the server: it is the response of a
`gserver.api.websocket` handler, which receives for the coroutine.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from greenlet import GreenletExit

from gserver.api.errors import ConnectionClosed, Disconnected, LocalProtocolError
from gserver.api.handshake import OFFER
from gserver.api.lite import Headers, Response
from gserver.api.websocket_base import ABNORMAL, INTERNAL_ERROR, NORMAL
from gserver.asgi.exchange import Exchange, to_content, to_headers, to_status
from gserver.asgi.loop import settle
from gserver.asgi.scope import websocket_scope
from gserver.environ import Environ
from gserver.fields import check_field

if TYPE_CHECKING:
    from gserver.api.asgi.types import Message
    from gserver.asgi.application import AsgiApplication
    from gserver.websocket import WebSocket

logger = logging.getLogger("gserver.error")

# Messages that wait for the coroutine; beyond these they wait in the WebSocket, and then with the
# client.
_MAX_QUEUE: Final = 16


class WebSocketExchange(Exchange):
    """A request that asks for a WebSocket, and what becomes of it."""

    def __init__(self, application: AsgiApplication, environ: Environ) -> None:
        super().__init__(application, environ)
        self.messages.append({"type": "websocket.connect"})
        self._websocket: WebSocket | None = None
        self._response: Response | None = None
        self._refusal: tuple[str, Headers] | None = None  # its head, of the extension
        self._body: list[bytes] = []
        self._opened: asyncio.Future[None] = self.loop.create_future()

    # -- in the request's greenlet -----------------------------------------------------------

    def respond(self) -> Response:
        """Run the application until it has accepted or refused; blocks."""
        self.environ["wsgi_lite.closing"](self)
        self.start(websocket_scope(self.environ, self._application.state))
        while self._response is None:
            self.raise_error()
            self.wait()
        return self._response

    def _converse(self, websocket: WebSocket) -> None:
        """Receive for the coroutine until the end; the handler of the WebSocket."""
        self._websocket = websocket
        self.loop.call_soon_threadsafe(settle, self._opened, None)
        try:
            while True:
                message = websocket.receive()
                kind = "text" if isinstance(message, str) else "bytes"
                self.messages.append({"type": "websocket.receive", kind: message})
                self.tell()
                while len(self.messages) > _MAX_QUEUE and not self._over:
                    self.wait()
        except ConnectionClosed as exc:
            self._end(exc.code, exc.reason)
        self.raise_error()

    def _end(self, code: int, reason: str) -> None:
        if not self._over:
            self._over = True
            self.messages.append({"type": "websocket.disconnect", "code": code, "reason": reason})
            self.tell()

    def close(self) -> None:
        """Note that the exchange is over; the server calls it, in every case."""
        self._end(ABNORMAL, "")
        self.loop.call_soon_threadsafe(settle, self._opened, None)

    # -- in the loop -------------------------------------------------------------------------

    def ended(self) -> None:
        """Close what the application has left open."""
        if self._response is None:
            self._error = LocalProtocolError(
                "the ASGI application neither accepted nor refused the WebSocket"
            )
        self._leave(NORMAL)

    def failed(self, exc: BaseException) -> None:
        """Close with 1011, or have the server answer, what the application raised."""
        if not self._over and (self._response is None or self._websocket is not None):
            self._error = exc  # the server's to log
        elif not isinstance(exc, (Disconnected, GreenletExit)):
            logger.error("WebSocket %s", self.environ.get("RAW_URI"), exc_info=exc)
        self._leave(INTERNAL_ERROR)

    def _leave(self, code: int) -> None:
        """Let the request's greenlet end, and close."""
        self._over = True
        self.wake()
        if self._websocket is not None:
            self.loop.in_greenlet(self._websocket.close, code)

    async def receive(self) -> Message:
        """Return what the client sent next, or that it has gone."""
        while not self.messages:
            if self._over:
                return {"type": "websocket.disconnect", "code": ABNORMAL, "reason": ""}
            await self.news()
        self.wake()
        return self.messages.popleft()

    async def send(self, message: Message) -> None:
        """Accept, refuse, send or close.

        Raises:
            Disconnected: The WebSocket is closed.
            LocalProtocolError: The message has no place here.
        """
        kind = message.get("type")
        if self._over:
            raise Disconnected
        if self._websocket is not None:
            await self._send_open(self._websocket, kind, message)
        elif self._response is None:
            await self._answer(kind, message)
        else:
            raise _misplaced(kind)

    async def _answer(self, kind: Any, message: Message) -> None:
        """Take a message that decides on the handshake."""
        if kind == "websocket.accept":
            subprotocol = message.get("subprotocol")
            if subprotocol is not None:
                check_field(("Sec-WebSocket-Protocol", subprotocol))
            headers = to_headers(message.get("headers", ()))
            promise = self.environ[OFFER].promise(self._converse, subprotocol)
            # Some middleware insists on a type, which the client never sees.
            headers += [("Content-Type", "text/plain"), promise]
            self._respond("101 Switching Protocols", headers)
            await self._opened
            if self._websocket is None:
                raise Disconnected("the WebSocket was refused on the way, or the client has gone")
        elif kind == "websocket.close":
            self._respond("403 Forbidden", [("Content-Length", "0")])
        elif kind == "websocket.http.response.start":
            self._refusal = to_status(message), to_headers(message.get("headers", ()))
        elif kind == "websocket.http.response.body" and self._refusal is not None:
            self._body.append(to_content(message))
            if not message.get("more_body", False):
                self._respond(*self._refusal)
        else:
            raise _misplaced(kind)

    def _respond(self, status: str, headers: Headers) -> None:
        self._response = status, headers, self._body
        self.wake()

    async def _send_open(self, websocket: WebSocket, kind: Any, message: Message) -> None:
        if kind == "websocket.send":
            data = message.get("bytes")
            if data is None:
                data = message["text"]
            try:
                # A greenlet for each message would cost as much as the message.
                if not websocket.try_send_message(data):
                    await self.loop.block(websocket.send, data)
            except ConnectionClosed as exc:
                raise Disconnected(str(exc)) from exc
        elif kind == "websocket.close":
            code, reason = message.get("code", NORMAL), message.get("reason") or ""
            await self.loop.block(websocket.close, code, reason)
        else:
            raise _misplaced(kind)


def _misplaced(kind: object) -> LocalProtocolError:
    return LocalProtocolError(f"an ASGI application cannot send {kind!r} here")
