"""``environ["wsgi.websocket"]``: the object that gevent-websocket made the custom.

What differs from `WebSocket` is what its users rely on: it is accepted when it is first used, and
`receive` returns None at the end.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final, Protocol

from gserver.api.errors import ConnectionClosed, WebSocketError
from gserver.api.websocket_base import WebSocket

__all__ = ["GeventWebSocket"]

# By name: of a class that is not compiled, attributes cannot be asked for.
_SHARED: Final = frozenset(
    {
        "close_code",
        "close_reason",
        "peer",
        "ping",
        "receive_json",
        "receive_pieces",
        "send_json",
        "send_pieces",
        "subprotocol",
    }
)


class Offer(Protocol):
    """What makes the WebSocket when it is wanted."""

    @property
    def websocket(self) -> WebSocket | None:
        """The WebSocket, once it was accepted."""

    @property
    def over(self) -> bool:
        """The request has been answered, one way or the other."""

    def accept(self) -> WebSocket:
        """Answer the handshake; the same WebSocket from the second call on."""


class GeventWebSocket:
    """A WebSocket that is accepted on first use; see `gserver.websocket.WebSocket` for the rest.

    Attributes:
        environ: The request.
        origin: Its Origin field.
        path: Its PATH_INFO.
        protocol: Its Sec-WebSocket-Protocol field.
        version: Its Sec-WebSocket-Version field.
    """

    OPCODE_TEXT = 1
    OPCODE_BINARY = 2

    __slots__ = ("_ended", "_offer", "environ", "origin", "path", "protocol", "version")

    def __init__(self, offer: Offer, environ: dict[str, Any]) -> None:
        self._offer = offer
        self.environ = environ
        self.origin: str | None = environ.get("HTTP_ORIGIN")
        self.path: str = environ.get("PATH_INFO", "")
        self.protocol: str | None = environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL")
        self.version: str = environ["HTTP_SEC_WEBSOCKET_VERSION"]
        self._ended = False

    def _websocket(self) -> WebSocket:
        try:
            return self._offer.accept()
        except ConnectionClosed as exc:
            raise _error(str(exc)) from exc

    def __getattr__(self, name: str) -> Any:
        # Whatever else a WebSocket can. Who asks for what it cannot must not accept by that.
        if name not in _SHARED:
            raise AttributeError(name)
        return getattr(self._websocket(), name)

    @property
    def closed(self) -> bool:
        """Nothing can be sent any more; asking does not accept."""
        websocket = self._offer.websocket
        return self._ended or self._offer.over or (websocket is not None and websocket.closed)

    def receive(self) -> str | bytearray | None:
        """Return the next message, binary as bytearray; None once the WebSocket is closed.

        Raises:
            WebSocketError: It was closed before.
        """
        if self._ended:
            raise _error("the WebSocket is closed")
        try:
            message = self._websocket().receive()
        except ConnectionClosed:
            self._ended = True
            return None
        return message if isinstance(message, str) else bytearray(message)

    def send(self, message: Any, binary: bool | None = None) -> None:
        """Send a message: text unless it is bytes, or as `binary` says.

        Raises:
            WebSocketError: The WebSocket is closed.
        """
        if binary is None:
            binary = not isinstance(message, str)
        if binary and isinstance(message, str):
            message = message.encode()
        elif not binary and isinstance(message, (bytes, bytearray, memoryview)):
            message = bytes(message).decode()
        elif not isinstance(message, (str, bytes, bytearray, memoryview)):
            message = str(message)
        try:
            self._websocket().send(message)
        except ConnectionClosed as exc:
            raise _error(str(exc)) from exc

    def send_frame(self, message: Any, opcode: int) -> None:
        """Send a message by its opcode, 1 for text and 2 for binary; raises like `send`."""
        self.send(message, opcode != self.OPCODE_TEXT)

    def close(self, code: int = 1000, message: str | bytes | None = None) -> None:
        """Close the WebSocket; nothing if it is closed, or its request over."""
        reason = message.decode() if isinstance(message, bytes) else message
        if not self.closed:
            self._websocket().close(code, reason or "")

    def __iter__(self) -> Iterator[str | bytearray]:
        """Return an iterator of messages."""
        while (message := self.receive()) is not None:
            yield message


def _error(text: str) -> WebSocketError:
    """Return an error that who catches gevent-websocket's own catches too, if it is in use."""
    theirs = sys.modules.get("geventwebsocket.exceptions")
    if theirs is None:
        return WebSocketError(text)
    kind = type("WebSocketError", (WebSocketError, theirs.WebSocketError), {})
    error: WebSocketError = kind(text)
    return error
