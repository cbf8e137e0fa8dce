"""One message to many WebSockets."""

from __future__ import annotations

from collections.abc import Iterable

from gserver.websocket.blocking import WebSocket
from gserver.websocket.frames import encode_message


def broadcast(
    websockets: Iterable[WebSocket], message: str | bytes | bytearray | memoryview
) -> list[WebSocket]:
    """Send one message to all of `websockets`; never blocks.

    The message is encoded once, and not compressed.

    Returns:
        Those that it was not sent to, for they are closed, or read too slowly, or another greenlet
        is in the middle of a fragmented message. It is for the caller to close them or let them be.

    Raises:
        TypeError: It is no message.
    """
    frame = encode_message(message)
    return [websocket for websocket in list(websockets) if not websocket.try_send(frame)]
