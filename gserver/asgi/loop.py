"""The asyncio loop beside gevent's hub: both in one thread, and neither polls the other.

The loop runs in a greenlet of its own. Where it would wait in its selector it switches to the
hub, which watches its descriptors and its timer; so greenlets and coroutines hand each other work
by callbacks and switches, and nothing crosses threads.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

import gevent
import greenlet
from gevent.event import AsyncResult
from gevent.hub import Hub
from gevent.monkey import get_original
from greenlet import GreenletExit

from gserver.guests import House
from gserver.selector import HubSelector

logger = logging.getLogger("gserver.error")

# How often a loop that ends looks whether it has.
_POLL: Final = 0.02
# Seconds for what is cancelled, or cut off, to let go.
_LAST_WORDS: Final = 0.5

_T = TypeVar("_T")
_thread_id: Callable[[], int] = get_original("_thread", "get_ident")


class HubLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop on a `HubSelector`; `of_hub` returns the one of this thread.

    `call_soon_threadsafe` and what is built on it may be called in any greenlet and any thread;
    the methods here in any greenlet of the loop's thread.
    """

    def __init__(self) -> None:
        self._waits = HubSelector()
        self._hub = gevent.get_hub()
        self._thread = _thread_id()
        self._callbacks: list[Callable[[], object]] = []
        super().__init__(self._waits)
        self._greenlet = greenlet.greenlet(self._run, self._hub)
        self._end: asyncio.Future[None] = self.create_future()
        # anyio ties its threads to a task that lives as long as the loop.
        self._life = asyncio.Task(self._live(), loop=self)

    @classmethod
    def of_hub(cls) -> HubLoop:
        """Return the loop beside this thread's hub; made and started when it is first wanted."""
        hub = gevent.get_hub()
        loop = _LOOPS.get(hub)
        if loop is None:
            _LOOPS[hub] = loop = cls()
            House.of_hub().admit(loop)
            hub.loop.run_callback(loop._greenlet.switch)
        return loop

    def _run(self) -> None:
        while not self._life.done():
            try:
                self.run_until_complete(self._life)
            except BaseException:
                # SystemExit in a task, for one: asyncio lets it out of the loop.
                logger.exception("the asyncio loop was interrupted")

    async def _live(self) -> None:
        await self._end

    def _check_thread(self) -> None:
        # asyncio's debug mode takes greenlets for threads.
        if _thread_id() != self._thread:
            super()._check_thread()  # type: ignore[misc]

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Call back in the next iteration of the loop."""
        if _thread_id() != self._thread:
            return super().call_soon_threadsafe(callback, *args, context=context)
        handle = self.call_soon(callback, *args, context=context)
        self._waits.wake()
        return handle

    def begin(self, coroutine: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Return a task that runs `coroutine` in a copy of this greenlet's context."""
        task: asyncio.Task[_T] = asyncio.Task(coroutine, loop=self)
        self._waits.wake()
        return task

    def wait(self, coroutine: Coroutine[Any, Any, _T], timeout: float | None = None) -> _T:
        """Run a coroutine to its end, blocking this greenlet; raises what it raises.

        Raises:
            TimeoutError: It did not end in `timeout` seconds and was cancelled.
        """
        task = self.begin(coroutine)
        ended: AsyncResult[None] = AsyncResult()
        task.add_done_callback(lambda _: ended.set())
        try:
            with gevent.Timeout(timeout, TimeoutError):
                ended.get()
        except BaseException:
            task.cancel()
            self._waits.wake()
            raise
        return task.result()

    async def block(self, function: Callable[..., _T], *args: Any) -> _T:
        """Call what blocks in a greenlet, and wait for what it returns or raises."""
        future: asyncio.Future[_T] = self.create_future()

        def run() -> None:
            try:
                result = function(*args)
            except BaseException as exc:  # noqa: BLE001 - the coroutine's, whatever it is
                self.call_soon_threadsafe(_fail, future, exc)
            else:
                self.call_soon_threadsafe(settle, future, result)

        gevent.spawn_raw(run)
        return await future

    def in_greenlet(self, function: Callable[..., object], *args: Any) -> None:
        """Call what may block in a greenlet of its own."""
        gevent.spawn_raw(function, *args)

    def in_hub(self, callback: Callable[[], object]) -> None:
        """Have the hub call back in this turn; `callback` may switch to a greenlet."""
        if not self._callbacks:
            self._hub.loop.run_callback(self._call_back)
        self._callbacks.append(callback)

    def _call_back(self) -> None:
        # One callback of gevent's for all that coroutines have to tell costs less.
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def interrupt(self) -> None:
        """End what a coroutine blocks in, if one does, with GreenletExit."""
        if self.is_running() and not self._waits.waiting:
            # In the hub, where the loop's greenlet comes back to.
            self._hub.loop.run_callback(self._greenlet.throw, GreenletExit)

    def shutdown(self, timeout: float) -> None:
        """Cancel what runs, wait for it for `timeout` seconds or half of one, and close."""
        if self.is_closed():
            return
        _LOOPS.pop(self._hub, None)
        try:
            self.wait(self._cancel_all(), max(timeout, _LAST_WORDS))
        except TimeoutError:
            logger.warning("asyncio tasks did not end in time and are dropped")
        self.call_soon_threadsafe(settle, self._end, None)
        deadline = time.monotonic() + _LAST_WORDS
        while self.is_running() and time.monotonic() < deadline:
            self.interrupt()
            gevent.sleep(_POLL)
        if self.is_running():
            logger.error("the asyncio loop is blocked, and left alone")
        else:
            self.close()

    async def _cancel_all(self) -> None:
        """Cancel all tasks but this one and the loop's own, and wait for them."""
        tasks = asyncio.all_tasks() - {asyncio.current_task(), self._life}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.shutdown_asyncgens()


_LOOPS: WeakKeyDictionary[Hub, HubLoop] = WeakKeyDictionary()


def settle(future: asyncio.Future[Any], result: Any) -> None:
    """Give a future its result, unless it was cancelled or has one."""
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], exc: BaseException) -> None:
    if not future.done():
        future.set_exception(exc)
