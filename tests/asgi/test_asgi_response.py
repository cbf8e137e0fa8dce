"""Responses: what the coroutine sends is what the client gets, no faster than it reads."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import itertools
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

from conftest import Serve, StartPeer
from exchange import request
from from_asgi_stage import (
    TIMEOUT,
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
from http2_client import ENABLE_PUSH, PUSH_PROMISE, RawHttp2

BLOCK = bytes(range(256)) * 256


def body(data: bytes = b"", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def test_status_headers_and_content(peer: StartPeer) -> None:
    fields = [
        (b"Content-Type", b"a/b"),
        (b"x-latin", b"caf\xe9"),
        (b"x-two", b"1"),
        (b"X-Two", b"2"),
    ]

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, b"hello", 404, fields)

    server = peer(app)
    answer = request(server)
    assert (answer.status, answer.reason) == (404, server.reason("Not Found"))
    assert answer.body == b"hello"
    assert answer["content-type"] == "a/b"
    assert answer["x-latin"] == "caf\xe9"
    assert answer.all("x-two") == ["1", "2"]
    assert answer["content-length"] == "5"  # told by the server, as the content is one block


def test_a_status_without_a_name(peer: StartPeer) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, status=299)

    assert request(peer(app)).status == 299


def test_framing_is_the_server_s(peer: StartPeer) -> None:
    """What frameworks say of it is left out, as elsewhere."""
    fields = [(b"connection", b"close"), (b"Transfer-Encoding", b"chunked"), (b"keep-alive", b"1")]

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, b"x", headers=fields)

    answer = request(peer(app))
    assert answer.body == b"x"
    assert not any(name in answer for name in ("Connection", "Transfer-Encoding", "Keep-Alive"))


def test_blocks_leave_as_they_are_sent(peer: StartPeer) -> None:
    gate = Gate()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await send(body(b"one", more=True))
        await gate.passed()
        await send(body(b"two", more=True))
        await send(body())

    exchange = peer(app).open()
    exchange.head()
    assert exchange.data() == b"one"
    gate.open()
    assert exchange.data() == b"two"
    assert exchange.data() == b""


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_responses_without_content(peer: StartPeer, method: str) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        status, blocks = scope["path"][1:].split("/")
        await start(send, int(status))
        for _ in range(int(blocks)):
            await send(body(b"content", more=True))
        await send(body())

    server = peer(app)
    for status, blocks in itertools.product((200, 204, 304), (0, 1, 3)):
        answer = request(server, f"/{status}/{blocks}", method=method)
        content = b"content" * blocks if (method, status) == ("GET", 200) else b""
        assert (answer.status, answer.body, answer.complete) == (status, content, True)


def test_empty_blocks_end_nothing(peer: StartPeer) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await send(body(b"", more=True))
        await send(body(b"one", more=True))
        await send(body(b"", more=True))
        await send({"type": "http.response.body", "body": bytearray(b" two"), "more_body": True})
        await send({"type": "http.response.body", "body": memoryview(b" three")})

    assert request(peer(app)).body == b"one two three"


def test_the_application_s_length_counts(peer: StartPeer) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send, headers=[(b"content-length", b"6")])
        await send(body(b"one", more=True))
        await send(body(b"two"))

    answer = request(peer(app))
    assert (answer["Content-Length"], answer.body) == ("6", b"onetwo")
    assert "Transfer-Encoding" not in answer


@pytest.mark.parametrize("peer", ["http1", "http2-h2"], indirect=True)
def test_the_coroutine_waits_for_a_client_that_does_not_read(peer: StartPeer) -> None:
    total = 150
    sent = [0]
    still = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)

        async def watch() -> None:
            seen = -1
            while seen != sent[0]:
                seen = sent[0]
                await asyncio.sleep(0.05)
            still.put(seen)

        watching = asyncio.ensure_future(watch())
        for _ in range(total):
            await send(body(BLOCK, more=True))
            sent[0] += 1
        await send(body())
        await watching

    exchange = peer(app).open()
    assert still.next() < total - 20  # the kernel takes some MiB
    answer = exchange.answer()
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(BLOCK * total).digest()


def test_several_coroutines_may_send(peer: StartPeer) -> None:
    """Each of them waits for room, one of them for ever."""

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await asyncio.gather(*[send(body(BLOCK, more=True)) for _ in range(10)])
        await send(body())

    assert request(peer(app)).body == BLOCK * 10


def test_who_is_cancelled_while_sending_goes_on_later(peer: StartPeer) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        sending = asyncio.ensure_future(send(body(BLOCK * 2, more=True)))
        await asyncio.sleep(0)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await send(body(BLOCK, more=True))
        await send(body(b"end"))

    assert request(peer(app)).body == BLOCK * 3 + b"end"


def test_what_comes_behind_the_response(peer: StartPeer) -> None:
    """Background tasks: the client does not wait for them."""
    gate, heard = Gate(), Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, b"now")
        await gate.passed()
        heard.put("later")

    server = peer(app)
    assert request(server).body == b"now"
    assert request(server).body == b"now"
    gate.open()
    assert [heard.next(), heard.next()] == ["later", "later"]


def test_many_at_the_same_time(peer: StartPeer) -> None:
    barrier: list[Any] = []

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if not barrier:
            barrier.extend([asyncio.Event(), 0])
        barrier[1] += 1
        if barrier[1] == 50:
            barrier[0].set()
        await barrier[0].wait()
        await respond(send, scope["path"].encode())

    server = peer(app)
    exchanges = [server.open(f"/{number}") for number in range(50)]
    assert [one.answer().body for one in exchanges] == [b"/%d" % n for n in range(50)]


# -- a file as content ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 10, 300000])
def test_path_send(peer: StartPeer, tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes((BLOCK * 5)[:size])

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send, headers=[(b"content-length", b"%d" % size), (b"content-type", b"a/b")])
        await send({"type": "http.response.pathsend", "path": str(path)})

    server = peer(app)
    for method in ("GET", "HEAD", "GET"):
        answer = request(server, method=method)
        assert answer["Content-Length"] == str(size)
        assert answer.body == (path.read_bytes() if method == "GET" else b"")


def test_path_send_of_nothing(peer: StartPeer, tmp_path: Path) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        with pytest.raises(FileNotFoundError):
            await send({"type": "http.response.pathsend", "path": str(tmp_path / "missing")})
        heard.put("raised")
        await send(body(b"none"))

    assert request(peer(app)).body == b"none"
    assert heard.next() == "raised"


# -- other extensions -----------------------------------------------------------------------------


def test_trailers(peer: StartPeer) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert "http.response.trailers" in scope["extensions"]
        await start(send, trailers=True)
        for block in (b"one", b"two"):
            await send(body(block, more=block == b"one"))
        message = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]}
        await send({**message, "more_trailers": True})
        await send({"type": "http.response.trailers", "headers": [(b"x-more", b"2")]})

    answer = request(peer(app))
    assert answer.body == b"onetwo"
    assert answer.trailers == [("x-sum", "1"), ("x-more", "2")]


@pytest.mark.parametrize("blocks", [0, 1])
def test_trailers_behind_little(peer: StartPeer, blocks: int) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send, trailers=True)
        await send(body(b"one" * blocks))
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]})

    answer = request(peer(app))
    assert answer.body == b"one" * blocks
    assert answer.trailers == [("x-sum", "1")]


def test_early_hints(peer: StartPeer) -> None:
    gate = Gate()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert "http.response.early_hint" in scope["extensions"]
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
        await gate.passed()
        await respond(send, b"page")

    exchange = peer(app).open()
    gate.open()
    answer = exchange.answer()
    assert [one["link"] for one in answer.interim] == ["</a.css>; rel=preload"]
    assert answer.body == b"page"


def test_a_hint_leaves_at_once(serve: Serve) -> None:
    gate = Gate()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
        await gate.passed()
        await respond(send, b"page")

    with serve(app).client() as client:
        assert client.get().status == 103
        gate.open()
        assert client.response().body == b"page"


def test_push(serve: Serve, engine: str) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if "http.response.push" in scope["extensions"]:
            headers = [(b"accept", b"text/css")]
            message = {"type": "http.response.push", "path": "/style.css", "headers": headers}
            await send(message)
        await respond(send, scope["path"].encode())

    running = serve(app, http2_engine=engine)
    with RawHttp2(running.address) as client:
        stream = client.request("/")
        promise = client.until(PUSH_PROMISE, stream)
        assert promise.fields is not None
        assert {(":path", "/style.css"), ("accept", "text/css")} <= set(promise.fields)
        assert client.response(stream).body == b"/"
        assert client.response(promise.promised).body == b"/style.css"
    with RawHttp2(running.address, settings={ENABLE_PUSH: 0}) as client:
        assert client.response(client.request("/")).body == b"/"


# -- where it runs ---------------------------------------------------------------------------------


def test_all_of_it_runs_in_one_thread(peer: StartPeer) -> None:
    threads = set()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        threads.add(threading.get_ident())
        await respond(send)

    server = peer(app)
    for _ in range(3):
        request(server)
    assert threads == {server.call(threading.get_ident)}


def test_a_request_that_watched_its_client_is_no_garbage(peer: StartPeer) -> None:
    """Nothing is left for the collector of cycles to find."""
    gone = threading.Event()

    class Thing:
        pass

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        watching = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await respond(send, b"done")
        assert (await watching)["type"] == "http.disconnect"

    mounted = from_asgi(app)

    def marked(environ: dict[str, Any], start_response: Any) -> Any:
        environ["thing"] = thing = Thing()
        weakref.finalize(thing, gone.set)
        return mounted(environ, start_response)

    server = peer(marked)
    assert request(server).body == b"done"  # the first one also starts the application
    gc.collect()
    gc.disable()
    try:
        gone.clear()
        assert request(server).body == b"done"
        assert gone.wait(TIMEOUT)
    finally:
        gc.enable()
