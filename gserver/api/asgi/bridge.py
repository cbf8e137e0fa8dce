"""Bridge: a blocking thread's way to the ``receive`` and ``send`` of one ASGI scope.

The application's thread sends by handing messages to the task that the server has made for the
scope, and blocks until ``send`` has returned there: what makes that wait makes the application
wait. What comes is taken by a task beside it, no faster than the thread takes it from here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextvars import copy_context
from threading import Condition
from typing import Final, TypeAlias

from gserver.api.asgi.types import Message, Receive, Send
from gserver.api.errors import Disconnected

__all__ = ["Bridge"]

# A WebSocket of a server that stops is "going away" (RFC 6455 7.4.1).
_OVER: Final[Message] = {"type": "over", "code": 1001}
_LOST: Final[Message] = {"type": "lost"}
# What a message that waits costs beside its content: empty ones must count too.
_OVERHEAD: Final = 64

_Call: TypeAlias = tuple["Future[None]", tuple[Message, ...]]


class Bridge:
    """One scope, as threads see it; made in the task that the server calls the application in.

    Attributes:
        end: The message behind which nothing comes and nothing can be sent; None before.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self.end: Message | None = None
        self._receive = receive
        self._send = send
        self._loop = asyncio.get_running_loop()
        # That of the task; the thread, which has a copy too, may change its own.
        self._context = copy_context()
        self._changed = Condition()  # guards what follows, and `end`
        self._inbox: deque[Message] = deque()
        self._held = 0  # what the messages there cost
        self._ahead: int | None = None  # so much may wait there unasked; None: nothing
        self._taking = False  # the reader takes messages, or was told to
        self._calls: deque[_Call] = deque()
        # For the loop only.
        self._called = asyncio.Event()
        self._wanted = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    # -- in the loop -------------------------------------------------------------------------

    async def run(self, pool: Executor, function: Callable[[], None]) -> None:
        """Run a function in a thread of `pool`, and do for it what it asks for.

        It begins with the context variables of the task. What it raises is raised here. If the
        task is cancelled, the function goes on until it asks for something next, and is told then
        that the client has gone.
        """
        done = pool.submit(copy_context().run, function)
        done.add_done_callback(lambda _: self._call_loop(self._called.set))
        try:
            while not done.done():
                await self._called.wait()
                self._called.clear()
                await self._make_calls()
        finally:
            done.cancel()  # if it still waits for a thread
            self.finish(_OVER)
            for call, _ in self._calls:
                call.set_exception(Disconnected())
            if self._reader is not None and not self._loop.is_closed():
                self._reader.cancel()
        done.result()

    async def _make_calls(self) -> None:
        while self._calls:
            call, messages = self._calls.popleft()
            try:
                for message in messages:
                    await self._send(message)
            except OSError as exc:
                # How servers tell since version 2.4 of the specification.
                self.finish(_LOST)
                error = Disconnected()
                error.__cause__ = exc
                call.set_exception(error)
            except Exception as exc:  # noqa: BLE001 - whatever it is, it is for the thread
                call.set_exception(exc)
            except BaseException:
                self.finish(_OVER)  # first: the thread asks what has ended
                call.set_exception(Disconnected("the server has ended the request"))
                raise
            else:
                call.set_result(None)

    def _want(self) -> None:
        self._wanted.set()
        if self._reader is None:
            self._reader = self._loop.create_task(self._read())

    async def _read(self) -> None:
        complete = False
        while self.end is None:
            await self._wanted.wait()
            try:
                message = await self._receive()
            except Exception:  # noqa: BLE001 - whatever it is, nothing more will come
                message = _LOST
            if message is _LOST or message["type"].endswith(".disconnect"):
                self.finish(message)
                return
            if complete:
                return  # the server does not know when the client leaves
            complete = message["type"] == "http.request" and not message.get("more_body")
            with self._changed:
                self._inbox.append(message)
                self._held += _cost(message)
                self._taking = self._ahead is not None and self._held <= self._ahead
                if not self._taking:
                    self._wanted.clear()
                self._changed.notify()

    # -- in threads --------------------------------------------------------------------------

    def send(self, *messages: Message) -> None:
        """Send messages; blocks until the server has taken the last of them.

        Raises:
            Disconnected: The client has gone, or the server has ended the request.
        """
        call: Future[None] = Future()
        with self._changed:
            if self.end is None:
                self._calls.append((call, messages))
                self._call_loop(self._called.set)
            if self.end is not None:
                raise Disconnected
        call.result()

    def receive(self, timeout: float | None = None) -> Message:
        """Return the next message; blocks until there is one. In the end that is `end`, each time.

        Raises:
            TimeoutError: None came in so many seconds.
        """
        with self._changed:
            if not self._inbox:
                self._take_more()
                if not self._changed.wait_for(self._has_something, timeout):
                    raise TimeoutError(f"nothing came in {timeout:g} seconds")
            if not self._inbox:
                assert self.end is not None
                return self.end
            message = self._inbox.popleft()
            self._held -= _cost(message)
            self._take_ahead()
            return message

    def watch(self, ahead: int = 0) -> None:
        """Take messages before they are asked for, to learn of the end; never blocks.

        Args:
            ahead: Bytes that may wait here before no more are taken.
        """
        with self._changed:
            self._ahead = ahead
            self._take_ahead()

    def finish(self, end: Message) -> None:
        """Let this be the end, unless there was one; never blocks, anywhere."""
        with self._changed:
            if self.end is None:
                self.end = end
                self._changed.notify_all()

    def _has_something(self) -> bool:
        return bool(self._inbox) or self.end is not None

    def _take_ahead(self) -> None:
        if self._ahead is not None and self._held <= self._ahead:
            self._take_more()

    def _take_more(self) -> None:
        if not self._taking and self.end is None:
            self._taking = True
            self._call_loop(self._want)

    def _call_loop(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, context=self._context)
        except RuntimeError:  # the loop is closed: the server has ended without a word
            self.finish(_LOST)


def _cost(message: Message) -> int:
    """Return what a message counts for as long as it waits."""
    if message["type"] == "http.request":
        # Behind the last piece of content only the end can come: that may always be waited for.
        return len(message.get("body", b"")) if message.get("more_body") else 0
    return _OVERHEAD + len(message.get("text") or message.get("bytes") or b"")
