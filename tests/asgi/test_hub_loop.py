"""The asyncio loop beside the hub, and the selector that lets loops run in greenlets."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import selectors
import socket
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import gevent
import greenlet
import pytest
from gevent.hub import get_hub

from conftest import Serve
from from_asgi_stage import TIMEOUT, Gate, Heard, Receive, Scope, Send, requests, respond
from gserver import from_asgi
from gserver.asgi.loop import HubLoop
from gserver.guests import House
from gserver.selector import HubSelector

T = TypeVar("T")


@pytest.fixture
def loop() -> Iterator[HubLoop]:
    """Return the loop of this thread, whose main greenlet is the test's."""
    made = HubLoop.of_hub()
    yield made
    made.shutdown(1)
    assert made.is_closed()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    assert asyncio._get_running_loop() is None
    assert sys.get_asyncgen_hooks() == (None, None)
    assert greenlet.gettrace() is None


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a loop of this greenlet's own, as `asyncio.run` does when patched."""
    made = asyncio.SelectorEventLoop(HubSelector())
    try:
        return made.run_until_complete(asyncio.wait_for(coroutine, TIMEOUT))
    finally:
        made.run_until_complete(made.shutdown_asyncgens())
        made.close()


def in_greenlets(functions: list[Callable[[], T]]) -> list[T]:
    running = [gevent.spawn(one) for one in functions]
    gevent.joinall(running, TIMEOUT, raise_error=True)
    assert all(one.ready() for one in running)
    return [one.get() for one in running]


# -- greenlets and coroutines ----------------------------------------------------------------------


def test_there_is_one_for_each_hub(loop: HubLoop) -> None:
    assert HubLoop.of_hub() is loop
    others: list[bool] = []

    def elsewhere() -> None:
        other = HubLoop.of_hub()
        others.append(other is loop)
        other.shutdown(1)
        get_hub().destroy(destroy_loop=True)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join(TIMEOUT)
    assert others == [False]


def test_it_is_not_kept_behind_its_end() -> None:
    House.of_hub().open()
    kept = weakref.ref(HubLoop.of_hub())
    HubLoop.of_hub().wait(asyncio.sleep(0))
    House.of_hub().close(1)
    gc.collect()
    assert kept() is None


def test_it_can_be_had_again() -> None:
    for _ in range(2):
        again = HubLoop.of_hub()
        assert again.wait(asyncio.sleep(0, "slept")) == "slept"
        again.shutdown(1)


def test_a_greenlet_waits_for_a_coroutine(loop: HubLoop) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("key")

    assert loop.wait(asyncio.sleep(0.01, "slept")) == "slept"
    with pytest.raises(KeyError):
        loop.wait(fail())


def test_a_greenlet_waits_so_long_and_no_longer(loop: HubLoop) -> None:
    heard = Heard()

    async def endless() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            heard.put("cancelled")

    with pytest.raises(TimeoutError):
        loop.wait(endless(), 0.01)
    gevent.sleep(0.01)
    assert heard.get_nowait() == "cancelled"


def test_a_greenlet_that_is_killed_cancels_its_coroutine(loop: HubLoop) -> None:
    heard = Heard()

    async def endless() -> None:
        try:
            heard.put("began")
            await asyncio.sleep(1000)
        finally:
            heard.put("cancelled")

    waiting = gevent.spawn(loop.wait, endless())
    gevent.sleep(0.01)
    waiting.kill()
    gevent.sleep(0.01)
    assert [heard.get_nowait(), heard.get_nowait()] == ["began", "cancelled"]


def test_a_coroutine_waits_for_a_greenlet(loop: HubLoop) -> None:
    async def ask() -> Any:
        with pytest.raises(ZeroDivisionError):
            await loop.block(lambda: 1 // 0)
        return await loop.block(blocking, "slept")

    def blocking(value: str) -> str:
        gevent.sleep(0.01)
        return value

    assert loop.wait(ask()) == "slept"


def test_they_take_turns(loop: HubLoop) -> None:
    said: list[str] = []

    async def coroutine() -> None:
        for _ in range(3):
            said.append("coroutine")
            await asyncio.sleep(0.02)

    def green() -> None:
        gevent.sleep(0.01)
        for _ in range(3):
            said.append("greenlet")
            gevent.sleep(0.02)

    other = gevent.spawn(green)
    loop.wait(coroutine())
    other.join(TIMEOUT)
    assert said == ["coroutine", "greenlet"] * 3


def test_the_context_of_a_coroutine_is_that_of_its_greenlet(loop: HubLoop) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")

    async def read() -> str:
        before = variable.get()
        await asyncio.sleep(0.005)
        assert variable.get() == before
        variable.set("other")
        return before

    def ask(name: str) -> str:
        variable.set(name)
        found = loop.wait(read())
        assert variable.get() == name
        return found

    names = [str(number) for number in range(10)]
    assert in_greenlets([lambda name=name: ask(name) for name in names]) == names  # type: ignore[misc]


# -- what asyncio does on it -----------------------------------------------------------------------


def test_timers_ring_in_order(loop: HubLoop) -> None:
    async def ring() -> list[int]:
        rung: list[int] = []
        for number in (3, 1, 2):
            loop.call_later(number / 100, rung.append, number)
        loop.call_later(0.02, rung.append, 0).cancel()
        await asyncio.sleep(0.05)
        return rung

    begin = time.monotonic()
    assert loop.wait(ring()) == [1, 2, 3]
    assert 0.05 <= time.monotonic() - begin < 1


async def echo_to_many(size: int, count: int) -> set[int]:
    """Return how much comes back from a server of asyncio's."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def ask(port: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def send() -> None:
            writer.write(b"x" * size)
            await writer.drain()
            writer.write_eof()

        _, answer = await asyncio.gather(send(), reader.read())
        writer.close()
        await writer.wait_closed()
        return len(answer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        return set(await asyncio.gather(*[ask(port) for _ in range(count)]))


@pytest.mark.parametrize(("size", "count"), [(10, 50), (3000000, 2)])
def test_sockets(loop: HubLoop, size: int, count: int) -> None:
    assert loop.wait(echo_to_many(size, count), TIMEOUT) == {size}


def test_readers_and_writers_of_a_descriptor(loop: HubLoop) -> None:
    """Both, one after the other, and again: what changes is watched anew."""
    one, other = socket.socketpair()

    happened: list[str] = []

    async def use() -> None:
        for _ in range(2):
            done = asyncio.Event()
            loop.add_reader(one, read, done)
            loop.add_writer(one, write)
            await asyncio.sleep(0.01)
            other.send(b"x")
            await done.wait()
            assert loop.remove_reader(one)
            other.send(b"left")
            await asyncio.sleep(0.01)
            one.recv(10)

    def read(done: asyncio.Event) -> None:
        happened.append("read")
        one.recv(10)
        done.set()

    def write() -> None:
        happened.append("write")
        loop.remove_writer(one)

    with one, other:
        one.setblocking(False)
        loop.wait(use(), TIMEOUT)
    assert happened == ["write", "read"] * 2


def test_what_is_not_read_is_told_again(loop: HubLoop) -> None:
    one, other = socket.socketpair()

    async def use() -> int:
        told = 0
        done = asyncio.Event()

        def note() -> None:
            nonlocal told
            told += 1
            if told == 3:
                loop.remove_reader(one)
                done.set()

        loop.add_reader(one, note)
        other.send(b"x")
        await done.wait()
        return told

    with one, other:
        assert loop.wait(use(), TIMEOUT) == 3


def test_threads(loop: HubLoop) -> None:
    async def ask() -> tuple[Any, ...]:
        me = threading.get_ident()
        answers = await asyncio.gather(
            asyncio.to_thread(threading.get_ident),
            loop.run_in_executor(None, threading.get_ident),
        )
        future = loop.create_future()
        get_hub().threadpool.spawn(loop.call_soon_threadsafe, future.set_result, "called")
        return (*[one != me for one in answers], await future)

    assert loop.wait(ask(), TIMEOUT) == (True, True, "called")


def test_a_coroutine_for_another_thread(loop: HubLoop) -> None:
    def elsewhere() -> Any:
        return asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "slept"), loop).result(TIMEOUT)

    assert get_hub().threadpool.apply(elsewhere) == "slept"


def test_asynchronous_generators_are_finished() -> None:
    loop = HubLoop.of_hub()
    closed: list[str] = []

    async def numbers(name: str) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append(name)

    async def dropped() -> None:
        async for _ in numbers("dropped"):
            break
        gc.collect()
        await asyncio.sleep(0.01)
        assert closed == ["dropped"]

    kept: list[Any] = []

    async def keep() -> None:
        kept.append(numbers("kept"))
        await kept[0].__anext__()

    loop.wait(dropped())
    loop.wait(keep())
    loop.shutdown(1)
    assert closed == ["dropped", "kept"]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_it_survives_what_ends_others(
    loop: HubLoop, caplog: pytest.LogCaptureFixture, kind: type[BaseException]
) -> None:
    async def leave() -> None:
        raise kind

    task = loop.begin(leave())
    assert loop.wait(asyncio.sleep(0.01, "slept")) == "slept"
    assert task.done()
    assert isinstance(task.exception(), kind)
    assert "the asyncio loop was interrupted" in caplog.text


def test_errors_in_callbacks_are_told(loop: HubLoop, caplog: pytest.LogCaptureFixture) -> None:
    loop.call_soon_threadsafe(lambda: 1 // 0)
    loop.wait(asyncio.sleep(0))
    assert "ZeroDivisionError" in caplog.text


# -- the note of the running loop ------------------------------------------------------------------


def running() -> Any:
    return asyncio._get_running_loop()


def test_greenlets_are_not_in_it(loop: HubLoop) -> None:
    async def look() -> Any:
        await asyncio.sleep(0.01)
        return running()

    seen: list[Any] = []

    def other() -> None:
        for _ in range(5):
            seen.append(running())
            gevent.sleep(0.003)

    beside = gevent.spawn(other)
    assert loop.wait(look()) is loop
    beside.join(TIMEOUT)
    assert seen == [None] * 5


def test_greenlets_are_not_in_one_that_blocks(loop: HubLoop) -> None:
    """A coroutine that blocks keeps its own note, task and context."""

    async def block() -> Any:
        before = (running(), asyncio.current_task(), sys.get_asyncgen_hooks())
        gevent.sleep(0.02)
        return before == (running(), asyncio.current_task(), sys.get_asyncgen_hooks())

    seen: list[Any] = []

    def other() -> None:
        gevent.sleep(0.005)
        seen.append(running())
        seen.append(run(asyncio.sleep(0.001, "slept")))
        seen.append(running())

    beside = gevent.spawn(other)
    assert loop.wait(block()) is True
    beside.join(TIMEOUT)
    assert seen == [None, "slept", None]


def test_many_loops_in_many_greenlets(loop: HubLoop) -> None:
    """All of them waiting, working, and blocking where they should not."""

    async def work(number: int) -> int:
        me = running()
        for _ in range(5):
            await asyncio.sleep(0.001 * (number % 3))
            assert running() is me
            gevent.sleep(0.001 * (number % 2))
            assert running() is me
        return number

    numbers = list(range(50))
    assert in_greenlets([lambda n=n: run(work(n)) for n in numbers]) == numbers  # type: ignore[misc]


def test_a_greenlet_that_dies_amid_a_callback(loop: HubLoop) -> None:
    """It takes its note with it."""

    async def block() -> None:
        gevent.sleep(1000)

    def alone() -> None:
        made = asyncio.SelectorEventLoop(HubSelector())
        try:
            made.run_until_complete(block())
        finally:
            made.close()

    blocked = gevent.spawn(alone)
    gevent.sleep(0.01)
    assert running() is None
    blocked.kill()
    assert running() is None


def test_who_traces_greenlets_is_left_alone(loop: HubLoop) -> None:
    def trace(*_: Any) -> None:
        pass

    greenlet.settrace(trace)
    try:
        assert loop.wait(asyncio.sleep(0.001, "slept")) == "slept"
        assert greenlet.gettrace() is trace
    finally:
        greenlet.settrace(None)


# -- fairness --------------------------------------------------------------------------------------


def test_a_coroutine_that_is_always_ready_lets_greenlets_run(loop: HubLoop) -> None:
    turns = 0

    async def busy() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = loop.begin(busy())
    begin = time.monotonic()
    for _ in range(20):
        gevent.sleep(0.001)
    assert time.monotonic() - begin < 1
    assert turns > 20
    loop.call_soon_threadsafe(task.cancel)


def test_greenlets_that_are_always_ready_let_coroutines_run(loop: HubLoop) -> None:
    def busy() -> None:
        while True:
            gevent.sleep(0)

    spinning = gevent.spawn(busy)

    async def work() -> str:
        for _ in range(20):
            await asyncio.sleep(0.001)
        return "done"

    assert loop.wait(work(), TIMEOUT) == "done"
    spinning.kill()


def test_a_busy_coroutine_keeps_no_connection_waiting(serve: Serve) -> None:
    """Blocking requests and the coroutine's own sockets go on beside it."""
    gate, heard = Gate(), Heard()

    @requests
    async def busy(scope: Scope, receive: Receive, send: Send) -> None:
        opened = asyncio.ensure_future(gate.passed())
        heard.put("busy")
        while not opened.done():
            await asyncio.sleep(0)
        await respond(send, b"done")

    mounted = from_asgi(busy)

    def app(environ: Any, start_response: Callable[..., Any]) -> Any:
        if environ["PATH_INFO"] == "/busy":
            return mounted(environ, start_response)
        gevent.sleep(0.001)
        start_response("200 OK", [])
        return [b"wsgi"]

    server = serve(app)
    with server.client() as one, server.client() as other:
        one.send(b"GET /busy HTTP/1.1\r\nHost: a\r\n\r\n")
        assert heard.next() == "busy"
        begin = time.monotonic()
        for _ in range(10):
            assert other.get().body == b"wsgi"
        assert time.monotonic() - begin < 2
        gate.open()
        assert one.response().body == b"done"


# -- the selector by itself ------------------------------------------------------------------------


def test_a_selector_waits_so_long_and_no_longer() -> None:
    with HubSelector() as selector:
        begin = time.monotonic()
        assert selector.select(0.02) == []
        assert 0.015 < time.monotonic() - begin < 1
        assert selector.select(0) == []
        assert selector.select(-1) == []


def test_a_selector_tells_what_is_ready() -> None:
    one, other = socket.socketpair()
    with HubSelector() as selector, one, other:
        key = selector.register(one, selectors.EVENT_READ, "data")
        assert selector.select(0.001) == []
        gevent.spawn_later(0.005, other.send, b"x")
        assert selector.select(TIMEOUT) == [(key, selectors.EVENT_READ)]
        assert selector.select(TIMEOUT) == [(key, selectors.EVENT_READ)]  # it is so still
        key = selector.modify(one, selectors.EVENT_READ | selectors.EVENT_WRITE)
        both = selectors.EVENT_READ | selectors.EVENT_WRITE
        assert selector.select(TIMEOUT) == [(key, both)]
        assert selector.unregister(one) == key
        assert selector.select(0.001) == []
        assert list(selector.get_map()) == []


def test_a_selector_lets_other_greenlets_run() -> None:
    said: list[str] = []
    with HubSelector() as selector:
        gevent.spawn(said.append, "other")
        selector.select(0.01)
    assert said == ["other"]


def test_a_selector_that_is_waited_on_can_be_woken() -> None:
    with HubSelector() as selector:
        assert not selector.waiting
        gevent.spawn_later(0.005, selector.wake)
        begin = time.monotonic()
        assert selector.select(TIMEOUT) == []
        assert time.monotonic() - begin < 5


def test_a_greenlet_that_is_killed_in_select() -> None:
    selector = HubSelector()
    waiting = gevent.spawn(selector.select)
    gevent.sleep(0.001)
    assert selector.waiting
    waiting.kill()
    assert not selector.waiting
    selector.wake()
    selector.close()
