"""What a test and the ASGI application that it serves, in another thread, tell each other.

::

    def test_it_waits(peer: StartPeer) -> None:
        heard, gate = Heard(), Gate()

        @requests
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            heard.put("here")
            await gate.passed()
            await respond(send, b"done")

        exchange = peer(app).open()
        assert heard.next() == "here"
        gate.open()
        assert exchange.answer().body == b"done"

"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from typing import Any, TypeAlias

__all__ = [
    "TIMEOUT",
    "App",
    "Gate",
    "Heard",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "requests",
    "respond",
    "start",
]

TIMEOUT = 10.0
"""Seconds after which a test that waits fails."""

Scope: TypeAlias = dict[str, Any]
Message: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Fields: TypeAlias = Iterable[tuple[bytes, bytes]]


class Heard(queue.SimpleQueue[Any]):
    """What the application says, for the test."""

    def next(self) -> Any:
        """Return what it says next."""
        return self.get(timeout=TIMEOUT)


class Gate:
    """Where coroutines wait until the test lets them pass."""

    def __init__(self) -> None:
        self._opened: Future[None] = Future()

    async def passed(self) -> None:
        """Wait until it is open."""
        # Who is cancelled here must not close it for others.
        await asyncio.shield(asyncio.wrap_future(self._opened))

    def open(self) -> None:
        """Let all pass."""
        self._opened.set_result(None)


def requests(app: App) -> App:
    """Make an application, which has no lifespan, of a function that answers requests."""

    async def without_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await app(scope, receive, send)

    return without_lifespan


async def start(send: Send, status: int = 200, headers: Fields = (), **more: Any) -> None:
    """Send the head of a response."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers), **more})


async def respond(send: Send, body: bytes = b"", status: int = 200, headers: Fields = ()) -> None:
    """Send a whole response."""
    await start(send, status, headers)
    await send({"type": "http.response.body", "body": body})
