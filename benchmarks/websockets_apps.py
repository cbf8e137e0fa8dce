"""The WebSocket applications for servers that have an interface: ASGI and RSGI, no framework.

``/echo`` sends back what comes, ``/broadcast`` sends it to all that are open there: the same as in
``websockets_gserver.py`` and, for the libraries, in ``websockets_servers.py``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

CLOSED, TEXT = 0, 2
"""What RSGI calls the kinds of a message; the third is 1, bytes."""


class Message(Protocol):
    """What an RSGI server receives."""

    kind: int
    data: Any


class Transport(Protocol):
    """An RSGI server's WebSocket, accepted."""

    async def receive(self) -> Message: ...
    async def send_str(self, data: str) -> None: ...
    async def send_bytes(self, data: bytes) -> None: ...


asgi_open: set[Send] = set()
rsgi_open: set[Transport] = set()


async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one WebSocket."""
    await receive()
    await send({"type": "websocket.accept"})
    if scope["path"] == "/echo":
        while (event := await receive())["type"] == "websocket.receive":
            await send(_answer(event))
        return
    asgi_open.add(send)
    try:
        while (event := await receive())["type"] == "websocket.receive":
            answer = _answer(event)
            for send_to in list(asgi_open):
                await send_to(answer)
    finally:
        asgi_open.discard(send)


async def rsgi(scope: Any, protocol: Any) -> None:
    """Serve one WebSocket."""
    transport: Transport = await protocol.accept()
    if scope.path == "/echo":
        while (message := await transport.receive()).kind != CLOSED:
            await _send(transport, message)
    else:
        rsgi_open.add(transport)
        try:
            while (message := await transport.receive()).kind != CLOSED:
                for send_to in list(rsgi_open):
                    await _send(send_to, message)
        finally:
            rsgi_open.discard(transport)
    protocol.close()


def _answer(event: dict[str, Any]) -> dict[str, Any]:
    """Return the message; what it is not may be None or absent."""
    if (text := event.get("text")) is not None:
        return {"type": "websocket.send", "text": text}
    return {"type": "websocket.send", "bytes": event["bytes"]}


async def _send(transport: Transport, message: Message) -> None:
    if message.kind == TEXT:
        await transport.send_str(message.data)
    else:
        await transport.send_bytes(message.data)
