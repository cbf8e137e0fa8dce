"""The content of requests: piece by piece, no faster than the coroutine takes it, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
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

DISCONNECT = {"type": "http.disconnect"}
PIECE = bytes(range(256)) * 256


async def read(receive: Receive) -> bytes:
    """Return all of a request's content."""
    content = bytearray()
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        content += message["body"]
        if not message["more_body"]:
            return bytes(content)


@requests
async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, await read(receive))


@pytest.mark.parametrize("size", [0, 1, 1000, 65536, 65537, 300000])
def test_all_of_it_comes(peer: StartPeer, size: int) -> None:
    content = (PIECE * 5)[:size]
    assert request(peer(echo), method="POST", body=content).body == content


def test_content_without_a_length_comes_too(peer: StartPeer) -> None:
    exchange = peer(echo).open(method="POST", length=-1)
    for piece in (b"one ", b"two ", b"three"):
        exchange.send(piece)
    exchange.end()
    assert exchange.answer().body == b"one two three"


def test_a_request_without_content_says_so_at_once(peer: StartPeer) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.put(await receive())
        await respond(send)

    request(peer(app))
    assert heard.next() == {"type": "http.request", "body": b"", "more_body": False}


def test_pieces_come_as_the_client_sends_them(peer: StartPeer) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["more_body"]:
            heard.put(message["body"])
        heard.put(message["body"])
        await respond(send)

    exchange = peer(app).open(method="POST", length=8)
    exchange.send(b"1234")
    assert heard.next() == b"1234"
    exchange.send(b"5678")
    assert heard.next() == b"5678"
    assert exchange.answer().status == 200


def test_content_and_response_at_the_same_time(peer: StartPeer) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send(
                {"type": "http.response.body", "body": message["body"].upper(), "more_body": more}
            )

    exchange = peer(app).open(method="POST", length=6)
    exchange.send(b"one")
    exchange.head()
    assert exchange.data() == b"ONE"
    exchange.send(b"two")
    assert exchange.data() == b"TWO"
    assert exchange.data() == b""


def test_the_client_waits_while_the_coroutine_does_not_receive(serve: Serve) -> None:
    gate, heard = Gate(), Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.put(len((await receive())["body"]))
        await gate.passed()
        digest, size = hashlib.sha256(), 0
        while True:
            message = await receive()
            size += len(message["body"])
            digest.update(message["body"])
            if not message["more_body"]:
                break
        heard.put(size)
        await respond(send, digest.hexdigest().encode())

    content = PIECE * 200
    with serve(app).client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(content))
        first = client.sock.send(content)
        taken = heard.next()
        client.sock.settimeout(0.2)
        with contextlib.suppress(TimeoutError):  # what the kernel keeps is full some time
            while first < len(content):
                first += client.sock.send(content[first:])
        assert first < len(content)
        client.sock.settimeout(TIMEOUT)
        gate.open()
        client.send(content[first:])
        digest = client.response().body
        assert heard.next() == len(content) - taken
    assert digest.decode() == hashlib.sha256(content[taken:]).hexdigest()


def test_who_is_cancelled_while_receiving_loses_nothing(peer: StartPeer) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        first = await receive()
        for _ in range(3):
            waiting = asyncio.ensure_future(receive())
            await asyncio.sleep(0.005)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        heard.put("ready")
        await respond(send, first["body"] + await read(receive))

    exchange = peer(app).open(method="POST", length=8)
    exchange.send(b"1234")
    assert heard.next() == "ready"
    exchange.send(b"5678")
    assert exchange.answer().body == b"12345678"


def test_several_who_receive_share(peer: StartPeer) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.put("ready")
        pieces = []
        for ended in asyncio.as_completed([receive() for _ in range(3)]):
            pieces.append((await ended)["body"])
            heard.put("ready")
        await respond(send, b" ".join(pieces))

    exchange = peer(app).open(method="POST", length=3)
    for number in b"123":
        heard.next()
        exchange.send(bytes([number]))
    assert exchange.answer().body == b"1 2 3"


# -- what the application leaves ----------------------------------------------------------------


def test_unread_content_is_read_away(serve: Serve) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, scope["path"].encode())

    with serve(app).client() as client:
        assert client.post("/a", PIECE).body == b"/a"
        assert client.post("/b", PIECE).body == b"/b"


def test_who_still_receives_when_the_response_is_out(peer: StartPeer) -> None:
    """Starlette listens beside each stream; the connection goes on to the next request."""
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def listen() -> None:
            message: Message = {"type": ""}
            while message["type"] != "http.disconnect":
                message = await receive()
                heard.put(message["type"])

        listening = asyncio.ensure_future(listen())
        await asyncio.sleep(0.01)
        await respond(send, scope["path"].encode())
        await listening

    server = peer(app)
    exchange = server.open("/a", method="POST", length=6)
    exchange.send(b"123")
    assert exchange.answer().body == b"/a"
    assert heard.next() == "http.request"
    assert heard.next() == "http.disconnect"
    exchange.send(b"456")
    assert request(server, "/b").body == b"/b"


def test_the_connection_of_an_early_response_goes_on(serve: Serve) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        listening = asyncio.ensure_future(receive())
        if scope["method"] == "POST":
            await listening
            listening = asyncio.ensure_future(receive())
            await asyncio.sleep(0.01)
        await respond(send, scope["path"].encode())
        heard.put(await listening)

    with serve(app).client() as client:
        client.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n123")
        assert client.response().body == b"/a"
        assert heard.next() == DISCONNECT
        client.send(b"456")
        assert client.get("/b").body == b"/b"


# -- limits --------------------------------------------------------------------------------------


def test_too_much_content(peer: StartPeer) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        message: Message = {}
        while message != DISCONNECT:
            message = await receive()
        heard.put(message)
        with pytest.raises(OSError, match="disconnected"):
            await respond(send)
        heard.put("raised")

    server = peer(app, limit_request_body=10000)
    exchange = server.open(method="POST", length=-1)
    for _ in range(3):
        exchange.send(b"x" * 5000)
    assert exchange.answer().status == 413
    assert heard.next() == DISCONNECT
    assert heard.next() == "raised"


def test_content_that_is_too_slow(peer: StartPeer) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.put(await receive())
        heard.put(await receive())

    exchange = peer(app, body_timeout=0.2).open(method="POST", length=2)
    exchange.send(b"x")
    assert heard.next()["body"] == b"x"
    assert exchange.answer().status == 408
    assert heard.next() == DISCONNECT


def test_malformed_content(serve: Serve) -> None:
    with serve(echo).client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        assert client.response().status == 400


def test_who_asks_first_is_told_to_go_on_when_the_coroutine_receives(serve: Serve) -> None:
    gate = Gate()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.passed()
        await respond(send, await read(receive))

    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    with serve(app).client() as client:
        client.send(head)
        client.sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.head()
        client.sock.settimeout(TIMEOUT)
        gate.open()
        assert client.head().status == 100
        client.send(b"ok")
        assert client.response().body == b"ok"


# -- the client leaves ----------------------------------------------------------------------------


async def leave_notes(heard: Heard, receive: Receive) -> None:
    try:
        while (await receive())["type"] != "http.disconnect":
            pass
        heard.put("http.disconnect")
    except BaseException as exc:
        heard.put(exc)
        raise


def test_amid_the_content(peer: StartPeer) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.put(await receive())
        await leave_notes(heard, receive)

    exchange = peer(app).open(method="POST", length=100)
    exchange.send(b"1234")
    assert heard.next()["body"] == b"1234"
    exchange.vanish()
    assert heard.next() == "http.disconnect"


def test_before_the_response(peer: StartPeer) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.put(await receive())
        await leave_notes(heard, receive)
        with pytest.raises(OSError, match="disconnected"):
            await start(send)
        heard.put("raised")

    exchange = peer(app).open()
    assert heard.next()["more_body"] is False
    exchange.vanish()
    assert heard.next() == "http.disconnect"
    assert heard.next() == "raised"


def test_before_anybody_listens(peer: StartPeer) -> None:
    """`is_disconnected` of Starlette looks what receive() has to say at once."""
    heard, gate = Heard(), Gate()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        heard.put("here")
        await gate.passed()
        if scope["path"] == "/":
            coroutine: Any = receive()
            with pytest.raises(StopIteration) as raised:
                coroutine.send(None)
            heard.put(raised.value.value)
        await respond(send)

    server = peer(app)
    exchange = server.open()
    assert heard.next() == "here"
    exchange.vanish()
    bystander = server.open("/other")  # heard of later than that
    assert heard.next() == "here"
    gate.open()
    assert bystander.answer().status == 200
    assert heard.next() == DISCONNECT


def test_while_the_response_idles(peer: StartPeer) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await leave_notes(heard, receive)

    exchange = peer(app).open()
    exchange.head()
    assert exchange.data() == b"x"
    exchange.vanish()
    assert heard.next() == "http.disconnect"


def test_while_the_coroutine_sends(peer: StartPeer) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        try:
            while True:
                await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        except OSError as exc:
            heard.put(type(exc).__name__)

    exchange = peer(app).open()
    exchange.head()
    assert exchange.data()
    exchange.vanish()
    assert heard.next() == "Disconnected"


def test_who_ends_its_half_has_gone(serve: Serve) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.put(await receive())
        heard.put(await receive())

    with serve(app).client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert heard.next()["more_body"] is False
        client.sock.shutdown(socket.SHUT_WR)
        assert heard.next() == DISCONNECT


def test_who_ends_its_half_gets_the_response_of_who_does_not_listen(serve: Serve) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.02)
        await respond(send, b"still here")

    with serve(app).client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        client.sock.shutdown(socket.SHUT_WR)
        assert client.response().body == b"still here"


def test_the_next_request_may_come_while_one_listens(serve: Serve) -> None:
    """Pipelining (RFC 9112 9.3.2)."""
    heard, gate = Heard(), Gate()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        listening = asyncio.ensure_future(receive())
        heard.put(scope["path"])
        if scope["path"] == "/a":
            await gate.passed()
        await respond(send, scope["path"].encode())
        assert await listening == DISCONNECT

    with serve(app).client() as client:
        client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        assert heard.next() == "/a"
        client.send(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\nGET /c HTTP/1.1\r\nHost: a\r\n\r\n")
        gate.open()
        assert [client.response().body for _ in range(3)] == [b"/a", b"/b", b"/c"]


def test_disconnect_comes_when_the_response_is_out(peer: StartPeer) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await respond(send)
        heard.put(await receive())
        heard.put(await receive())

    server = peer(app)
    assert request(server).status == 200
    assert heard.next() == DISCONNECT
    assert heard.next() == DISCONNECT
