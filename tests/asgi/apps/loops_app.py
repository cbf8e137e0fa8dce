"""asyncio and asgiref in the greenlets of blocking requests: one check for each path.

Each check returns, or raises what the response then tells.
"""
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, TypeVar

import gevent
import httpx
from asgiref.compatibility import guarantee_single_callable
from asgiref.local import Local
from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async
from asgiref.testing import ApplicationCommunicator

T = TypeVar("T")
Environ = dict[str, Any]
MANY = 50

checks: dict[str, Callable[[Environ], object]] = {}


def check(function: Callable[[Environ], object]) -> Callable[[Environ], object]:
    checks[function.__name__] = function
    return function


def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    status, text = "200 OK", ""
    try:
        with gevent.Timeout(20):
            checks[environ["PATH_INFO"][1:]](environ)
    except BaseException:  # noqa: BLE001 - gevent.Timeout, too
        status, text = "500 Failed", traceback.format_exc()
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [text.encode()]


def at_once(function: Callable[[int], T], count: int = MANY) -> list[T]:
    """Call a function in so many greenlets, with a number."""
    running = [gevent.spawn(function, number) for number in range(count)]
    gevent.joinall(running, raise_error=True)
    return [one.get() for one in running]


def no_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False


# -- loops of their own ----------------------------------------------------------------------------


async def double(number: int) -> int:
    assert asyncio.get_running_loop() is not None
    await asyncio.sleep(0.02)
    return 2 * number


@check
def runs(environ: Environ) -> None:
    begin = time.monotonic()
    assert at_once(lambda number: asyncio.run(double(number))) == [2 * n for n in range(MANY)]
    assert time.monotonic() - begin < 5  # not one after the other
    assert no_loop()


@check
def runs_in_debug_mode(environ: Environ) -> None:
    assert at_once(lambda number: asyncio.run(double(number), debug=True), 5) == [0, 2, 4, 6, 8]


@check
def errors(environ: Environ) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("key")

    for call in (lambda: asyncio.run(fail()), async_to_sync(fail)):
        try:
            call()
        except KeyError:
            assert no_loop()
        else:
            raise AssertionError


@check
def timeouts(environ: Environ) -> None:
    async def late() -> str:
        try:
            await asyncio.wait_for(asyncio.sleep(1000), 0.01)
        except asyncio.TimeoutError:
            return "late"
        return ""

    assert asyncio.run(late()) == "late"
    ended = []

    async def endless() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append(True)

    try:
        with gevent.Timeout(0.01):
            asyncio.run(endless())
    except gevent.Timeout:
        pass
    assert ended == [True]
    assert no_loop()


@check
def threads(environ: Environ) -> None:
    """They are greenlets: what blocks in one blocks nothing else."""

    def block() -> str:
        time.sleep(0.1)
        return threading.current_thread().name

    async def gather() -> list[str]:
        loop = asyncio.get_running_loop()
        calls = [asyncio.to_thread(block) for _ in range(5)]
        return await asyncio.gather(*calls, *[loop.run_in_executor(None, block) for _ in range(5)])

    begin = time.monotonic()
    names = asyncio.run(gather())
    assert len(names) == 10
    assert time.monotonic() - begin < 5
    assert threading.current_thread().name not in names


@check
def asynchronous_generators(environ: Environ) -> None:
    closed = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    async def first() -> None:
        kept.append(numbers())
        await kept[0].__anext__()

    kept: list[Any] = []
    asyncio.run(first())
    assert closed == [True]


@check
def contexts(environ: Environ) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")

    async def swap() -> int:
        before = variable.get()
        await asyncio.sleep(0.005)
        variable.set(-before)
        return before

    def ask(number: int) -> tuple[int, int]:
        variable.set(number)
        return async_to_sync(swap)(), variable.get()

    assert at_once(ask) == [(number, -number) for number in range(MANY)]


# -- the world outside -----------------------------------------------------------------------------


@check
def clients(environ: Environ) -> None:
    """Requests to this very server, from coroutines in its requests."""
    url = f"http://127.0.0.1:{environ['SERVER_PORT']}/names"

    async def ask() -> list[int]:
        async with httpx.AsyncClient() as client:
            answers = await asyncio.gather(*[client.get(url) for _ in range(3)])
            return [one.status_code for one in answers]

    assert at_once(lambda _: asyncio.run(ask()), 3) == [[200] * 3] * 3


@check
def names(environ: Environ) -> None:
    async def resolve() -> list[Any]:
        return await asyncio.get_running_loop().getaddrinfo("localhost", 80)

    assert asyncio.run(resolve())


@check
def subprocesses(environ: Environ) -> None:
    async def talk(text: bytes) -> tuple[bytes, int | None]:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec("cat", stdin=pipe, stdout=pipe)
        answer, _ = await process.communicate(text)
        return answer, process.returncode

    async def leave() -> int:
        process = await asyncio.create_subprocess_shell("exit 3")
        return await process.wait()

    async def end() -> int:
        process = await asyncio.create_subprocess_exec("sleep", "1000")
        process.kill()
        return await process.wait()

    text = b"x" * 200000
    assert at_once(lambda _: asyncio.run(talk(text)), 3) == [(text, 0)] * 3
    assert at_once(lambda _: asyncio.run(leave()), 3) == [3] * 3
    assert asyncio.run(end()) == -signal.SIGKILL


@check
def signals(environ: Environ) -> None:
    async def wait() -> str:
        loop = asyncio.get_running_loop()
        came = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, came.set)
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.wait_for(came.wait(), 10)
        loop.remove_signal_handler(signal.SIGUSR1)
        return "came"

    assert asyncio.run(wait()) == "came"


# -- asgiref ---------------------------------------------------------------------------------------


@check
def to_sync(environ: Environ) -> None:
    begin = time.monotonic()
    assert at_once(async_to_sync(double)) == [2 * number for number in range(MANY)]
    assert time.monotonic() - begin < 5
    assert no_loop()


@check
def to_sync_and_back(environ: Environ) -> None:
    """What is sensitive to threads runs in the greenlet that asked."""

    def where(number: int) -> tuple[int, int]:
        time.sleep(0.01)
        assert no_loop()
        return number, threading.get_ident()

    async def both(number: int) -> tuple[Any, Any]:
        mine = await sync_to_async(where)(number)
        other = await sync_to_async(where, thread_sensitive=False)(number)
        return mine, other

    def ask(number: int) -> bool:
        mine, other = async_to_sync(both)(number)
        me = (number, threading.get_ident())
        return bool(mine == me and other[0] == number and other != me)

    assert at_once(ask) == [True] * MANY


@check
def deeper(environ: Environ) -> None:
    def down(depth: int) -> int:
        time.sleep(0.001)
        return 0 if not depth else 1 + async_to_sync(step)(depth - 1)

    async def step(depth: int) -> int:
        await asyncio.sleep(0.001)
        return await sync_to_async(down)(depth)

    assert at_once(lambda _: down(4), 10) == [4] * 10


@check
def gathered(environ: Environ) -> None:
    """As Django's asynchronous views do it."""

    def query(number: int) -> int:
        time.sleep(0.002)
        return number

    async def view() -> list[int]:
        return await asyncio.gather(*[sync_to_async(query)(number) for number in range(5)])

    assert at_once(lambda _: async_to_sync(view)(), 10) == [[0, 1, 2, 3, 4]] * 10


@check
def sensitive_contexts(environ: Environ) -> None:
    async def ask() -> bool:
        async with ThreadSensitiveContext():
            one = await sync_to_async(threading.get_ident)()
            return one == await sync_to_async(threading.get_ident)()

    assert at_once(lambda _: asyncio.run(ask()), 10) == [True] * 10


@check
def locals_of_greenlets(environ: Environ) -> None:
    shared = Local()
    own = Local(thread_critical=True)

    async def look(number: int) -> bool:
        assert not hasattr(own, "number")
        assert shared.number == number
        await asyncio.sleep(0.005)
        shared.number = -number
        return True

    def ask(number: int) -> tuple[bool, int, int]:
        assert not hasattr(shared, "number")
        shared.number = own.number = number
        gevent.sleep(0.005)
        return async_to_sync(look)(number), shared.number, own.number

    assert at_once(ask) == [(True, -number, number) for number in range(MANY)]


@check
def not_within_a_coroutine(environ: Environ) -> None:
    """asgiref wants it awaited there; that is still noticed."""

    async def wrong() -> str:
        coroutine = double
        try:
            async_to_sync(coroutine)(1)
        except RuntimeError as exc:
            return str(exc)
        return ""

    assert "You cannot use AsyncToSync in the same thread" in asyncio.run(wrong())


@check
def communicators(environ: Environ) -> None:
    """asgiref's helper for tests, around an application of ASGI 2."""

    class Two:
        def __init__(self, scope: Any) -> None:
            self.scope = scope

        async def __call__(self, receive: Any, send: Any) -> None:
            message = await receive()
            await send({"type": self.scope["type"], "number": message["number"]})

    async def ask(number: int) -> int:
        single = guarantee_single_callable(Two)
        with_it = ApplicationCommunicator(single, {"type": "test"})
        await with_it.send_input({"type": "test", "number": number})
        answer = await with_it.receive_output(5)
        await with_it.wait()
        return int(answer["number"])

    assert at_once(async_to_sync(ask)) == list(range(MANY))
