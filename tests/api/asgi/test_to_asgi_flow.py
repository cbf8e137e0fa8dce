"""Who waits for whom: back-pressure both ways, threads, contexts, and clients that leave."""

from __future__ import annotations

import asyncio
import os
import queue
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

import httpx
import pytest
from asgiref.testing import ApplicationCommunicator
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Mount

from conftest import ROOT
from gserver.api import Disconnected, NotSupported, early_hints, lite
from gserver.api.asgi import to_asgi
from gserver.api.asgi.bridge import Bridge
from to_asgi_stage import TIMEOUT, Visit, http_scope, in_loop, in_thread, request, respond

Environ = dict[str, Any]
Start = Callable[..., Callable[[bytes], None]]


class Talk:
    """What an application does, step by step: it puts what it has done, and waits to go on."""

    def __init__(self) -> None:
        self.done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.ended: list[BaseException | None] = []
        self.closed = 0

    async def next(self) -> Any:
        return await in_thread(self.done.get, True, TIMEOUT)

    @property
    def idle(self) -> bool:
        return self.done.empty()

    def close(self) -> None:
        self.closed += 1


class Blocks(Talk):
    """A body of many blocks."""

    def __init__(self, number: int = 1000) -> None:
        super().__init__()
        self.number = number

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self.number):
            self.done.put(number)
            yield b"%03d" % number


def serving(body: Any) -> Any:
    def app(environ: Environ, start_response: Start) -> Any:
        start_response("200 OK", [])
        return body

    return app


async def settle() -> None:
    """Let the loop do what it has to do."""
    for _ in range(20):
        await asyncio.sleep(0)


def has_offered(visit: Visit, number: int) -> bool:
    return visit.offered == number


# -- writing ---------------------------------------------------------------------------------


@in_loop
async def test_a_block_is_made_when_the_one_before_was_taken() -> None:
    blocks = Blocks(3)
    visit = Visit(serving(blocks), http_scope())
    visit.hold()
    for number, messages in enumerate((2, 1, 1)):  # the head comes with the first
        assert await blocks.next() == number
        visit.take(messages - 1)
        await visit.until(partial(has_offered, visit, number + 2))
        await settle()
        assert blocks.idle
        visit.take()
    visit.take()
    assert (await visit.over()).body == b"000001002"
    assert blocks.closed == 1


@in_loop
async def test_write_waits_as_well() -> None:
    talk = Talk()

    def app(environ: Environ, start_response: Start) -> Any:
        write = start_response("200 OK", [])
        for number in range(2):
            write(b"x")
            talk.done.put(number)
        return []

    visit = Visit(app, http_scope())
    visit.hold()
    await visit.until(lambda: visit.offered)
    await settle()
    assert talk.idle
    visit.take(4)
    assert [await talk.next(), await talk.next()] == [0, 1]
    await visit.over()


@in_loop
async def test_a_client_that_leaves_ends_the_response() -> None:
    blocks = Blocks()
    visit = Visit(serving(blocks), http_scope())
    visit.come(request())
    await visit.until(lambda: len(visit.sent) > 3)
    visit.leave()
    answer = await visit.over()
    assert blocks.closed == 1
    assert len(answer.body) < 3000
    assert answer.messages[-1]["more_body"]


@pytest.mark.parametrize("unread", [b"", b"content"])
@in_loop
async def test_writing_raises_once_the_client_has_left(unread: bytes) -> None:
    """Even if the request has content that the application does not read."""
    talk = Talk()

    def app(environ: Environ, start_response: Start) -> Any:
        write = start_response("200 OK", [])
        try:
            while True:
                write(b"x")
        except Disconnected as exc:
            talk.done.put(exc)
            raise

    visit = Visit(app, http_scope("POST"))
    visit.come(request(unread))
    await visit.until(lambda: visit.sent)
    visit.leave()
    assert isinstance(await talk.next(), ConnectionError)
    await visit.over()


@in_loop
async def test_what_comes_unread_is_not_piled_up() -> None:
    blocks = Blocks(50)
    visit = Visit(serving(blocks), http_scope("POST"))
    visit.come(*[request(b"x", more=True)] * 100)
    await visit.over()
    assert visit.asked == 1
    assert visit.waiting == 99


@in_loop
async def test_servers_may_raise_instead() -> None:
    """ASGI 2.4: send() raises OSError when the client has gone."""
    blocks = Blocks()
    visit = Visit(serving(blocks), http_scope())
    await visit.until(lambda: visit.sent)
    visit.fault = BrokenPipeError()
    await visit.over()
    assert blocks.closed == 1


@in_loop
async def test_what_else_a_server_raises_comes_back_to_it() -> None:
    blocks = Blocks()
    visit = Visit(serving(blocks), http_scope())
    await visit.until(lambda: visit.sent)
    visit.fault = RuntimeError("Response content longer than Content-Length")
    with pytest.raises(RuntimeError, match="longer"):
        await visit.over()
    assert blocks.closed == 1


def test_disconnected_out_of_nowhere_is_no_clean_end() -> None:
    """Nobody has left: it came from another connection of the application."""

    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"half"
        raise Disconnected

    with pytest.raises(Disconnected):
        respond(app)


# -- reading ---------------------------------------------------------------------------------


@in_loop
async def test_content_is_taken_when_it_is_read() -> None:
    talk = Talk()
    steps: queue.SimpleQueue[int] = queue.SimpleQueue()

    @lite
    def app(environ: Environ) -> Any:
        while size := steps.get(timeout=TIMEOUT):
            talk.done.put(environ["wsgi.input"].read(size))
        return "200 OK", [], [b"content"]

    visit = Visit(app, http_scope("POST"))
    visit.come(*[request(b"abcd", more=True)] * 5, request())
    await settle()
    assert visit.asked == 0
    for size, asked, expected in ((4, 1, b"abcd"), (6, 3, b"abcdab"), (2, 3, b"cd")):
        steps.put(size)
        assert await talk.next() == expected
        await settle()
        assert visit.asked == asked
    steps.put(100)
    assert await talk.next() == b"abcdabcd"
    steps.put(0)
    assert (await visit.over()).body == b"content"
    assert visit.asked == 6


@pytest.mark.parametrize("method", ["read", "readline", "read1", "readlines"])
@in_loop
async def test_reading_raises_if_the_client_leaves_before_the_end(method: str) -> None:
    caught: list[Any] = []

    @lite
    def app(environ: Environ) -> Any:
        for _ in range(2):
            try:
                while getattr(environ["wsgi.input"], method)():
                    pass
            except Disconnected as exc:
                caught.append(exc)
        raise caught[-1]

    visit = Visit(app, http_scope("POST"))
    visit.come(request(b"line\nhalf", more=True))
    visit.leave()
    await visit.over()
    assert [str(exc) for exc in caught] == [
        "the client left before all of the content had come"
    ] * 2
    assert visit.sent == []


@in_loop
async def test_an_error_that_nobody_waits_for_any_more(caplog: pytest.LogCaptureFixture) -> None:
    @lite
    def app(environ: Environ) -> Any:
        try:
            environ["wsgi.input"].read()
        except Disconnected:
            raise ValueError("cannot do without") from None

    visit = Visit(app, http_scope("POST"))
    visit.leave()
    await visit.over()
    assert visit.sent == []
    assert "cannot do without" in caplog.text


@in_loop
async def test_reading_goes_on_while_the_response_is_sent() -> None:
    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield from environ["wsgi.input"]

    visit = Visit(app, http_scope("POST"))
    for number, line in enumerate((b"one\n", b"two\n", b"three\n")):
        visit.come(request(line, more=True))
        await visit.next(number + 1)
    visit.come(request())
    assert (await visit.over()).body == b"one\ntwo\nthree\n"


@in_loop
async def test_a_server_whose_receive_fails() -> None:
    @lite
    def app(environ: Environ) -> Any:
        environ["wsgi.input"].read()

    async def receive() -> Any:
        raise RuntimeError("receive failed")

    async def send(message: Any) -> None:
        raise AssertionError(message)

    await to_asgi(app)(http_scope("POST"), receive, send)


# -- threads ---------------------------------------------------------------------------------


class Pool:
    """An application whose requests all wait until they are let go."""

    def __init__(self) -> None:
        self.inside: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.go = threading.Event()

    def __call__(self, environ: Environ, start_response: Start) -> Any:
        self.inside.put(environ["PATH_INFO"])
        assert self.go.wait(TIMEOUT)
        start_response("200 OK", [])
        return [threading.current_thread().name.encode()]


@in_loop
async def test_requests_run_in_so_many_threads_and_others_wait() -> None:
    pool = Pool()
    app = to_asgi(pool, threads=3)
    visits = [Visit(app, http_scope(path=f"/{number}")) for number in range(7)]
    first = {await in_thread(pool.inside.get, True, TIMEOUT) for _ in range(3)}
    await settle()
    assert len(first) == 3
    assert pool.inside.empty()
    pool.go.set()
    names = {(await visit.over()).body for visit in visits}
    assert len(names) <= 3
    assert all(name.startswith(b"gserver-asgi") for name in names)


@pytest.mark.parametrize("options", [{"threads": 0}, {"websockets": 0}, {"threads": -1}])
def test_there_must_be_threads(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        to_asgi(serving([]), **options)


@in_loop
async def test_a_request_that_is_cancelled_in_the_queue_never_runs() -> None:
    pool = Pool()
    app = to_asgi(pool, threads=1)
    one, two = Visit(app, http_scope(path="/1")), Visit(app, http_scope(path="/2"))
    assert await in_thread(pool.inside.get, True, TIMEOUT) == "/1"
    two.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await two.over()
    pool.go.set()
    await one.over()
    assert pool.inside.empty()


@in_loop
async def test_a_request_that_is_cancelled_is_told() -> None:
    blocks = Blocks()
    visit = Visit(serving(blocks), http_scope())
    visit.hold()
    await visit.until(lambda: visit.offered)
    visit.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await visit.over()
    while not blocks.closed:  # within the bound that in_loop sets
        await asyncio.sleep(0.001)
    assert visit.sent == []


def test_a_loop_that_has_ended_is_a_client_that_has_left() -> None:
    async def make() -> Bridge:
        return Bridge(nothing, nothing)

    async def nothing(*message: Any) -> Any:
        raise AssertionError

    bridge = asyncio.run(make())
    assert bridge.receive() is bridge.end
    with pytest.raises(Disconnected):
        bridge.send({"type": "http.response.start"})
    bridge = asyncio.run(make())
    with pytest.raises(Disconnected):
        bridge.send({"type": "http.response.start"})


NAME: ContextVar[str] = ContextVar("NAME")


@in_loop
async def test_context_variables_of_the_task_reach_the_application() -> None:
    seen: list[str] = []

    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        seen.append(NAME.get())
        NAME.set("the application's")
        start_response("200 OK", [])
        yield b"x"
        seen.append(NAME.get())

    adapted = to_asgi(app)
    sent_in: list[str] = []

    async def receive() -> Any:
        return request()

    async def send(message: Any) -> None:
        sent_in.append(NAME.get())

    async def serve(name: str) -> None:
        NAME.set(name)
        await adapted(http_scope(), receive, send)
        assert NAME.get() == name

    await asyncio.gather(*[asyncio.create_task(serve(name)) for name in ("one", "two")])
    assert sorted(seen) == ["one", "the application's", "the application's", "two"]
    assert sorted(set(sent_in)) == ["one", "two"]


# -- the lifespan, and what is neither --------------------------------------------------------


lifespan: Any = ApplicationCommunicator  # which has no types


@in_loop
async def test_the_lifespan_ends_the_threads_and_may_begin_again() -> None:
    threads: list[threading.Thread] = []

    @lite
    def where(environ: Environ) -> Any:
        threads.append(threading.current_thread())
        return "204 No Content", [], []

    app = to_asgi(where, threads=1)
    for _ in range(2):
        talk: Any = lifespan(app, {"type": "lifespan", "asgi": {"version": "3.0"}})
        await talk.send_input({"type": "lifespan.startup"})
        assert await talk.receive_output() == {"type": "lifespan.startup.complete"}
        assert (await Visit(app, http_scope()).over()).status == 204
        assert threads[-1].is_alive()
        await talk.send_input({"type": "lifespan.shutdown"})
        assert await talk.receive_output() == {"type": "lifespan.shutdown.complete"}
        await talk.wait()
        await in_thread(threads[-1].join, TIMEOUT)
        assert not threads[-1].is_alive()
    assert len(set(threads)) == 2


@in_loop
async def test_other_scopes_are_an_error() -> None:
    with pytest.raises(NotSupported, match="'webtransport'"):
        await Visit(serving([]), {"type": "webtransport"}).over()


# -- under asynchronous middleware -------------------------------------------------------------


@in_loop
async def test_inside_of_starlette_s_middleware() -> None:
    @lite
    def app(environ: Environ) -> Any:
        early_hints(environ, ["</a.css>"])
        lines = [NAME.get().encode(), environ["wsgi.input"].read()]
        return "200 OK", [("X-Inner", "1")], iter(lines)

    async def dispatch(asked: Any, call_next: Any) -> Any:
        NAME.set("outer ")
        response = await call_next(asked)
        response.headers["X-Outer"] = "2"
        return response

    site = Starlette(
        routes=[Mount("/", to_asgi(app))],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)],
    )
    transport = httpx.ASGITransport(site)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        response = await client.post("/", content=b"content")
    assert response.text == "outer content"
    assert (response.headers["X-Inner"], response.headers["X-Outer"]) == ("1", "2")


@in_loop
async def test_the_page_s_shop_has_tea() -> None:
    page = (ROOT / "docs" / "to_asgi.rst").read_text("utf-8")
    (code,) = re.findall(r"   :caption: site.py\n\n((?:   .*\n|\n)+)", page)
    names: dict[str, Any] = {"__name__": __name__}
    exec(textwrap.dedent(code), names)
    transport = httpx.ASGITransport(names["app"])
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/shop/tea")).text == "Tea\n"
        assert (await client.get("/tea")).status_code == 404


# -- what importing it costs -------------------------------------------------------------------

IMPORTED = """
import sys
import gserver.api
assert "asyncio" not in sys.modules
assert "gserver.api.asgi" not in sys.modules
from gserver.api import to_asgi
assert "asyncio" in sys.modules
for name in ("gevent", "greenlet", "asgiref", "starlette", "anyio"):
    assert name not in sys.modules, name
print(to_asgi.__module__)
"""


def test_asyncio_is_imported_by_those_who_use_it() -> None:
    command = [sys.executable, "-c", IMPORTED]
    # Coverage imports greenlet, which is what must not be imported.
    variables = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    done = subprocess.run(
        command, env=variables, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr) == ("gserver.api.asgi.blocking\n", "")
