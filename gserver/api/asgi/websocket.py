"""A WebSocket of an ASGI server as a blocking object, for threads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from threading import Lock
from typing import Any, Final

from gserver.api.asgi.bridge import Bridge
from gserver.api.asgi.types import Message
from gserver.api.errors import ConnectionClosed, NotSupported
from gserver.api.websocket_base import (
    ABNORMAL,
    NO_CODE,
    NORMAL,
    WebSocket,
    check_close,
    closed_error,
)

__all__ = ["ThreadWebSocket"]

_QUEUE: Final = 65536
"""Bytes of messages that may wait for the handler before the server's client has to."""


class ThreadWebSocket(WebSocket):
    """One WebSocket; made when a request is accepted.

    Any thread may send, one at a time may receive. What each method does, and raises, is that of
    `gserver.websocket.WebSocket`. Limits, pings and compression are the server's, and codes are
    those that it tells.
    """

    def __init__(self, bridge: Bridge, environ: dict[str, Any], subprotocol: str | None) -> None:
        self._environ = environ
        self._subprotocol = subprotocol
        self._bridge = bridge
        self._receiving = Lock()
        self._closing = Lock()
        bridge.watch(_QUEUE)

    def __repr__(self) -> str:
        state = f"closed {self.close_code}" if self.closed else "open"
        return f"<WebSocket {self.environ.get('PATH_INFO', '')} of {self.peer}: {state}>"

    @property
    def environ(self) -> dict[str, Any]:
        """The request that it began with."""
        return self._environ

    @property
    def subprotocol(self) -> str | None:
        """What was agreed on; None if nothing was."""
        return self._subprotocol

    @property
    def peer(self) -> str:
        """The client's address and port, for people to read."""
        host, port = self._environ["REMOTE_ADDR"], self._environ["REMOTE_PORT"]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def closed(self) -> bool:
        """Nothing can be sent any more, for either side has closed, or the connection broke."""
        return self._bridge.end is not None

    @property
    def close_code(self) -> int | None:
        """The code that it was closed with, as the server tells; None while it is open."""
        end = self._bridge.end
        if end is None:
            return None
        default = NO_CODE if end["type"] == "websocket.disconnect" else ABNORMAL
        code: int = end.get("code") or default
        return code

    @property
    def close_reason(self) -> str:
        """The words that came with it."""
        return (self._bridge.end or {}).get("reason") or ""

    def _closed(self) -> ConnectionClosed:
        """Return the error that says how it was closed."""
        by_peer = (self._bridge.end or {}).get("type") == "websocket.disconnect"
        return closed_error(self.close_code or ABNORMAL, self.close_reason, by_peer)

    # -- receiving ---------------------------------------------------------------------------

    def receive(self, timeout: float | None = None) -> str | bytes:
        """Return the next message, blocking this thread until it is whole.

        Raises:
            ConnectionClosed: There are no more: `ClosedOK` or `ClosedError`.
            TimeoutError: None came in time.
            RuntimeError: Another thread is receiving.
        """
        if not self._receiving.acquire(blocking=False):
            raise RuntimeError("another thread is receiving from this WebSocket")
        try:
            event = self._bridge.receive(timeout)
        finally:
            self._receiving.release()
        if event["type"] != "websocket.receive":
            raise self._closed()
        message: str | bytes | None = event.get("text")
        return event["bytes"] if message is None else message

    def receive_pieces(self, timeout: float | None = None) -> Iterator[Any]:
        """Return an iterator of the next message's pieces; there is one, as ASGI has it.

        Raises:
            ConnectionClosed: As for `receive`, all of it from the iterator.
        """
        yield self.receive(timeout)

    # -- sending -----------------------------------------------------------------------------

    def send(self, message: str | bytes | bytearray | memoryview) -> None:
        """Send a message, str as text and the others as binary; blocks as the server does.

        Raises:
            ConnectionClosed: It cannot be sent any more.
            TypeError: It is no message.
            UnicodeEncodeError: The text holds lone surrogates, which UTF-8 does not have.
        """
        if isinstance(message, str):
            if not message.isascii():
                message.encode()
            self._hand_over({"type": "websocket.send", "text": message})
        elif isinstance(message, (bytes, bytearray, memoryview)):
            self._hand_over({"type": "websocket.send", "bytes": bytes(message)})
        else:
            kind = type(message).__name__
            raise TypeError(f"a message is str, bytes, bytearray or memoryview, not {kind}")

    def _hand_over(self, message: Message) -> None:
        try:
            self._bridge.send(message)
        except Exception:
            # Closed meanwhile: some servers take what is sent then for a mistake.
            if self.closed:
                raise self._closed() from None
            raise

    def send_pieces(self, pieces: Iterable[str] | Iterable[bytes]) -> None:
        """Send one message, which ASGI wants whole: when the iterable has ended.

        Raises:
            ConnectionClosed: As for `send`.
            TypeError: Text and binary are mixed, or a piece is neither.
        """
        if isinstance(pieces, (str, bytes, bytearray, memoryview)):
            raise TypeError("send_pieces takes an iterable of pieces; send() takes one message")
        parts: list[Any] = list(pieces)
        text = all(isinstance(part, str) for part in parts)
        if not text and any(isinstance(part, str) for part in parts):
            raise TypeError("the pieces of one message are all str, or all binary")
        self.send("".join(parts) if text else b"".join(parts))

    def ping(self, timeout: float | None = None) -> float:
        """Raise `NotSupported`: pings are the server's, and ASGI tells nothing of them."""
        raise NotSupported("an application cannot ping through ASGI")

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close; nothing if it is closed already. The server waits for the peer to agree.

        Raises:
            ValueError: The code must not be sent, or the reason is too long.
        """
        check_close(code, reason)
        with self._closing:
            if self.closed:
                return
            try:
                self._hand_over({"type": "websocket.close", "code": code, "reason": reason})
            except ConnectionClosed:
                return
            self._bridge.finish({"type": "closed", "code": code, "reason": reason})
