"""An ASGI server in the hands of one test: it says what comes, and when what is sent is taken.

::

    def test_hello() -> None:
        answer = respond(app, path="/hello")
        assert (answer.status, answer.body) == (200, b"Hello!")

    @in_loop
    async def test_upload() -> None:
        visit = Visit(app, http_scope("POST"))
        visit.come(request(b"piece", more=True))
        ...
        await visit.over()
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from gserver.api.asgi import to_asgi
from gserver.api.asgi.types import Message

__all__ = [
    "TIMEOUT",
    "Answer",
    "Visit",
    "http_scope",
    "in_loop",
    "in_thread",
    "request",
    "respond",
    "websocket_scope",
]

TIMEOUT = 10.0
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="

T = TypeVar("T")
Application = Callable[..., Any]
Pairs = Iterable[tuple[str, str]]
Scope = dict[str, Any]


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make an ordinary test of a coroutine, which must end in time."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*arguments, **named), TIMEOUT))

    return run


def _scope(path: str, headers: Pairs, more: dict[str, Any]) -> Scope:
    target, _, query = path.partition("?")
    pairs = [("host", "localhost"), *headers]
    return {
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "path": target,
        "raw_path": target.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs],
        "client": ("192.0.2.1", 4711),
        "server": ("127.0.0.1", 8000),
        "extensions": {},
        **more,
    }


def http_scope(method: str = "GET", path: str = "/", headers: Pairs = (), **more: Any) -> Scope:
    scope: Scope = {"type": "http", "method": method, "scheme": "http"}
    return scope | _scope(path, headers, more)


def websocket_scope(path: str = "/", headers: Pairs = (), **more: Any) -> Scope:
    asking = [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY.decode()),
        *headers,
    ]
    more.setdefault("extensions", {"websocket.http.response": {}})
    scope: Scope = {"type": "websocket", "scheme": "ws", "subprotocols": []}
    return scope | _scope(path, asking, more)


def request(body: bytes = b"", more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


@dataclass
class Answer:
    """What was sent of a response."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    messages: list[Message]

    def __getitem__(self, name: str) -> str:
        (value,) = [value for key, value in self.headers if key.decode() == name.lower()]
        return value.decode("latin-1")

    def __contains__(self, name: str) -> bool:
        return any(key.decode() == name.lower() for key, _ in self.headers)


class Visit:
    """One scope, from the server's side; made and used in the loop.

    Attributes:
        sent: The messages that were taken.
        offered: How many were to be sent, taken or not.
        asked: How often ``receive`` was called.
        fault: Raised by ``send``, if it is set.
    """

    def __init__(self, application: Application, scope: Scope, **options: Any) -> None:
        self.sent: list[Message] = []
        self.offered = 0
        self.asked = 0
        self._room: asyncio.Semaphore | None = None
        self.fault: Exception | None = None
        self._coming: asyncio.Queue[Message] = asyncio.Queue()
        self._changed = asyncio.Event()
        if not inspect.iscoroutinefunction(type(application).__call__):
            application = to_asgi(application, **options)
        self._kind = "websocket" if scope["type"] == "websocket" else "http"
        self.task = asyncio.ensure_future(application(scope, self._receive, self._send))

    async def _receive(self) -> Message:
        self.asked += 1
        self._changed.set()
        return await self._coming.get()

    async def _send(self, message: Message) -> None:
        self.offered += 1
        self._changed.set()
        if self._room is not None:
            await self._room.acquire()
        if self.fault is not None:
            raise self.fault
        self.sent.append(message)
        self._changed.set()

    def hold(self) -> None:
        """Take nothing more that is sent, so that ``send`` blocks."""
        self._room = asyncio.Semaphore(0)

    def take(self, number: int = 1) -> None:
        """Take so many messages of what is sent."""
        assert self._room is not None
        for _ in range(number):
            self._room.release()

    def come(self, *messages: Message) -> None:
        """Have messages come from the client."""
        for message in messages:
            self._coming.put_nowait(message)

    def leave(self, **more: Any) -> None:
        """Have the client leave."""
        self.come({"type": f"{self._kind}.disconnect", **more})

    @property
    def waiting(self) -> int:
        """How many messages have come that nobody has asked for."""
        return self._coming.qsize()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for something that sending or receiving makes true."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def next(self, number: int = 0) -> Message:
        """Return the message that was sent as that number."""
        await self.until(lambda: len(self.sent) > number)
        return self.sent[number]

    async def over(self) -> Answer:
        """Wait for the end, raise what the application raised, and return the response."""
        await self.task
        return self.answer()

    def answer(self) -> Answer:
        """Return what was sent until now."""
        starts = [message for message in self.sent if message["type"].endswith(".start")]
        assert len(starts) <= 1, starts
        bodies = [message for message in self.sent if message["type"].endswith(".body")]
        assert all(message["more_body"] for message in bodies[:-1]), bodies
        start: Message = starts[0] if starts else {"status": 0, "headers": []}
        body = b"".join(message["body"] for message in bodies)
        return Answer(start["status"], list(start["headers"]), body, self.sent)


def respond(
    application: Application,
    method: str = "GET",
    path: str = "/",
    headers: Pairs = (),
    body: Iterable[bytes] = (),
    **more: Any,
) -> Answer:
    """Return the whole response to one request, whose client stays until it is over."""

    async def visit() -> Answer:
        one = Visit(application, http_scope(method, path, headers, **more))
        for piece in body:
            one.come(request(piece, more=True))
        one.come(request())
        return await one.over()

    return asyncio.run(asyncio.wait_for(visit(), TIMEOUT))


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Run what blocks, beside the loop."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)
