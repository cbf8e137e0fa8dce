"""WebSocket as blocking reads and writes: what handlers get, and what sends to many of them."""

from gserver.api.handshake import accept, websocket
from gserver.websocket.blocking import WebSocket
from gserver.websocket.broadcast import broadcast

__all__ = ["WebSocket", "accept", "broadcast", "websocket"]
