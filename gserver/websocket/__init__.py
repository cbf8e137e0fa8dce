"""WebSocket as blocking reads and writes: what handlers get, and what sends to many of them."""

from gserver.api.handshake import accept, websocket
from gserver.websocket.broadcast import broadcast
from gserver.websocket.websocket import WebSocket

__all__ = ["WebSocket", "accept", "broadcast", "websocket"]
