"""What applications do wrong, and what ends them: a clear answer, a clear line, never a hang."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import gevent
import pytest

from conftest import Serve, ServerThread, StartPeer
from exchange import Peer, request
from from_asgi_stage import (
    App,
    Gate,
    Heard,
    Message,
    Receive,
    Scope,
    Send,
    requests,
    respond,
    start,
)
from gserver import from_asgi
from gserver.api.errors import LocalProtocolError


def errors_in(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [one for one in caplog.records if one.levelno >= logging.ERROR]


def works(peer: Peer) -> bool:
    """Tell whether the server goes on; the application answers /fine."""
    return request(peer, "/fine").body == b"fine"


def fine_beside(app: App) -> App:
    """Return an application that answers /fine, and all else as `app`."""

    @requests
    async def both(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/fine":
            await respond(send, b"fine")
        else:
            await app(scope, receive, send)

    return both


# -- exceptions ----------------------------------------------------------------------------------


class Broken(Exception):
    pass


def test_an_exception_before_the_head(peer: StartPeer, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise Broken

    server = peer(fine_beside(app))
    assert request(server, "/broken").status == 500
    assert works(server)
    (error,) = errors_in(caplog)
    assert error.getMessage() == "GET /broken: error in the application"
    assert error.exc_info is not None
    assert error.exc_info[0] is Broken


def test_an_exception_behind_the_head(peer: StartPeer, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing has left yet: the client gets the error instead."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send, 204, [(b"x-a", b"b")])
        raise Broken

    server = peer(fine_beside(app))
    answer = request(server, "/broken")
    assert (answer.status, "x-a" in answer) == (500, False)
    assert works(server)
    assert len(errors_in(caplog)) == 1


def test_an_exception_amid_the_content(peer: StartPeer, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise Broken

    server = peer(fine_beside(app))
    answer = request(server, "/broken")
    assert (answer.status, answer.body, answer.complete) == (200, b"half", False)
    assert works(server)
    assert len(errors_in(caplog)) == 1


def test_an_exception_behind_the_response(
    peer: StartPeer, caplog: pytest.LogCaptureFixture
) -> None:
    """A background task, or the handler of errors of a framework, that raises again."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, b"done")
        raise Broken

    server = peer(fine_beside(app))
    answer = request(server, "/broken")
    assert (answer.body, answer.complete) == (b"done", True)
    assert works(server)
    (error,) = errors_in(caplog)
    assert error.getMessage() == "GET /broken: error in the application after its response"


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_is_meant_to_end_more(
    peer: StartPeer, caplog: pytest.LogCaptureFixture, kind: type[BaseException]
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise kind

    server = peer(fine_beside(app))
    assert request(server, "/broken").status == 500
    assert works(server)


# -- messages --------------------------------------------------------------------------------------

START: Message = {"type": "http.response.start", "status": 200, "headers": []}
END: Message = {"type": "http.response.body", "body": b"end"}
MORE: Message = {"type": "http.response.body", "body": b"more", "more_body": True}
PATH: Message = {"type": "http.response.pathsend", "path": __file__}

WRONG: dict[str, tuple[list[Message], str]] = {
    "nothing": ([], "ended without a response"),
    "no content": ([START], "ended without a response"),
    "no end": ([START, MORE], "ended without a response"),
    "no trailers": ([{**START, "trailers": True}, END], "ended without a response"),
    "content first": ([END], "cannot send 'http.response.body' here"),
    "two heads": ([START, START], "cannot send 'http.response.start' here"),
    "late head": ([START, MORE, START], "cannot send 'http.response.start' here"),
    "two ends": ([START, END, END], "'http.response.body' after the end of the response"),
    "status as text": ([{**START, "status": "200"}], "status of an ASGI response is an int"),
    "no status": ([{"type": "http.response.start"}], "'status'"),
    "impossible status": ([{**START, "status": 99}, END], "status"),
    "101": ([{**START, "status": 101}, END], "101"),
    "headers as text": ([{**START, "headers": [("a", "b")]}, END], "pairs of bytes"),
    "values as text": ([{**START, "headers": [(b"a", "b")]}, END], "pairs of bytes"),
    "headers as dict": ([{**START, "headers": {b"ab": b"cd"}}, END], "pairs of bytes"),
    "no headers": ([{**START, "headers": None}, END], "pairs of bytes"),
    "three in a header": ([{**START, "headers": [(b"a", b"b", b"c")]}, END], "pairs of bytes"),
    "injected header": ([{**START, "headers": [(b"a", b"b\r\nc: d")]}, END], "header"),
    "body as text": ([START, {**END, "body": "end"}], "body of an ASGI message is bytes, not str"),
    "body as number": ([START, {**END, "body": 5}], "body of an ASGI message is bytes, not int"),
    "no body": ([START, {**END, "body": None}], "is bytes, not NoneType"),
    "unknown": ([{"type": "http.response.end"}], "cannot send 'http.response.end' here"),
    "no type": ([{}], "cannot send None here"),
    "a WebSocket's": ([{"type": "websocket.accept"}], "cannot send 'websocket.accept' here"),
    "unannounced trailers": (
        [START, END, {"type": "http.response.trailers", "headers": []}],
        "'http.response.trailers' after the end of the response",
    ),
    "early trailers": (
        [{**START, "trailers": True}, {"type": "http.response.trailers", "headers": []}],
        "cannot send 'http.response.trailers' here",
    ),
    "content behind content": ([{**START, "trailers": True}, END, END], "response.body' here"),
    "a file first": ([PATH], "cannot send 'http.response.pathsend' here"),
    "a file behind content": ([START, MORE, PATH], "cannot send 'http.response.pathsend' here"),
    "two files": ([START, PATH, PATH], "'http.response.pathsend' after the end of the response"),
    "too long": (
        [{**START, "headers": [(b"content-length", b"1")]}, MORE, MORE, END],
        "Content-Length",
    ),
    "too short": ([{**START, "headers": [(b"content-length", b"9")]}, END], "Content-Length"),
}


@requests
async def wrong(scope: Scope, receive: Receive, send: Send) -> None:
    for message in WRONG[scope["path"][1:]][0]:
        await send(message)


@pytest.fixture(scope="module")
def wrong_server() -> Iterator[ServerThread]:
    running = ServerThread(fine_beside(wrong))
    yield running
    running.stop()


@pytest.mark.parametrize("name", WRONG)
def test_wrong_messages(
    wrong_server: ServerThread, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Whatever it is, the client is answered or cut off, and the log says what it was."""
    messages, told = WRONG[name]
    with wrong_server.client() as client:
        target = quote(name).encode()
        client.send(b"GET /%b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % target)
        sent = client.until_closed()
    started = sent.startswith(b"HTTP/1.1 200 OK")
    assert started or sent.startswith(b"HTTP/1.1 500 ")
    assert not started or any(one.get("body") for one in messages) or PATH in messages
    with wrong_server.client() as client:
        assert client.get("/fine").body == b"fine"
    said = [one.getMessage() + str(one.exc_info and one.exc_info[1]) for one in caplog.records]
    assert any(told in one for one in said), said


def test_an_application_may_mend_its_mistake(peer: StartPeer) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(LocalProtocolError, match="int"):
            await start(send, "200")  # type: ignore[arg-type]
        with pytest.raises(LocalProtocolError, match="bytes"):
            await start(send, headers=[("a", "b")])  # type: ignore[list-item]
        await start(send)
        with pytest.raises(LocalProtocolError, match="bytes"):
            await send({"type": "http.response.body", "body": "text"})
        await send({"type": "http.response.body", "body": b"bytes"})

    assert request(peer(app)).body == b"bytes"


# -- the server ends it ----------------------------------------------------------------------------


def test_a_request_that_takes_too_long(peer: StartPeer) -> None:
    heard = Heard()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            heard.put("cancelled")
            raise

    server = peer(fine_beside(app), request_timeout=0.1)
    assert request(server, "/slow").status == 503
    assert heard.next() == "cancelled"
    assert works(server)


def test_a_stop_waits_for_requests(peer: StartPeer) -> None:
    gate, heard = Gate(), Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.put("here")
        await gate.passed()
        await respond(send, b"done")

    server = peer(app)
    exchange = server.open()
    assert heard.next() == "here"
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    gate.open()
    assert exchange.answer().body == b"done"
    stopping.join(10)
    assert not stopping.is_alive()


def test_a_stop_waits_for_what_comes_behind_responses(peer: StartPeer) -> None:
    gate, heard = Gate(), Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, b"now")
        await gate.passed()
        await asyncio.sleep(0.05)
        heard.put("later")

    server = peer(app)
    assert request(server).body == b"now"
    gate.open()
    server.stop()
    assert heard.get_nowait() == "later"


def test_a_stop_cuts_off_what_does_not_end(
    peer: StartPeer, caplog: pytest.LogCaptureFixture
) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/behind":
            await respond(send)
        heard.put("here")
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.01)
            heard.put(scope["path"])

    server = peer(app)
    assert request(server, "/behind").status == 200
    assert heard.next() == "here"
    exchange = server.open("/before")
    assert heard.next() == "here"
    server.stop(0.1)
    assert exchange.answer().status in (0, 503)
    assert {heard.next(), heard.next()} == {"/before", "/behind"}
    assert not errors_in(caplog)


def test_a_task_that_does_not_let_itself_be_cancelled(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send)
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)
            heard.put("cancelled")

    running = serve(app)
    with running.client() as client:
        assert client.get().status == 200
    running.stop(0.05)
    assert heard.next() == "cancelled"
    assert "asyncio tasks did not end in time and are dropped" in caplog.text


def test_a_coroutine_that_blocks_does_not_hold_up_a_stop(serve: Serve) -> None:
    heard = Heard()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            heard.put((await receive())["type"])
            await send({"type": "lifespan.shutdown.complete"})
            return
        await respond(send)
        heard.put("blocks")
        try:
            gevent.sleep(1000)
        finally:
            heard.put("freed")

    running = serve(app)
    with running.client() as client:
        assert client.get().status == 200
    assert heard.next() == "blocks"
    running.stop(0.05)
    assert [heard.next(), heard.next()] == ["freed", "lifespan.shutdown"]


def test_what_blocks_besides_requests_does_not_either(serve: Serve) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asyncio.get_running_loop().call_soon(block)
        await respond(send)

    def block() -> None:
        heard.put("blocks")
        gevent.sleep(1000)

    running = serve(app)
    with running.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert heard.next() == "blocks"
    running.stop(0.05)


def test_timeouts_of_middleware_end_the_coroutine(peer: StartPeer) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            heard.put("cancelled")
            raise

    mounted = from_asgi(app)

    def middleware(environ: Any, start_response: Callable[..., Any]) -> Any:
        try:
            with gevent.Timeout(0.05):
                return mounted(environ, start_response)
        except gevent.Timeout:
            start_response("504 Gateway Timeout", [])
            return []

    assert request(peer(middleware)).status == 504
    assert heard.next() == "cancelled"
