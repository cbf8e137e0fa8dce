"""WebSockets of ASGI applications: the handshake, messages, and every way in which they end."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from conftest import StartCarrier
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
)
from gserver import from_asgi
from websocket_client import Carrier, Close, Event, WebSocketClient

CONNECT: Message = {"type": "websocket.connect"}
ACCEPT: Message = {"type": "websocket.accept"}


def text(data: str) -> Message:
    return {"type": "websocket.send", "text": data}


@requests
async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    assert await receive() == CONNECT
    await send(ACCEPT)
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


def rest(ws: WebSocketClient) -> list[Event]:
    """Return what comes up to the server's Close, and answer that."""
    events: list[Event] = []
    while not events or not isinstance(events[-1], Close):
        events.append(ws.event())
    ws.close_frame(events[-1].code)
    assert ws.end()
    return events


def works(ws: WebSocketClient) -> bool:
    if not ws.accepted:
        return False
    ws.send_message("hello")
    return ws.message() == "hello" and ws.shut() == Close(1000)


def finish(server: Carrier) -> None:
    """Wait until all is over."""
    server.stop()
    server.close()


def errors_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]


# -- the handshake ---------------------------------------------------------------------------------


def test_it_is_accepted(carrier: StartCarrier, caplog: pytest.LogCaptureFixture) -> None:
    assert works(carrier(echo).open())
    assert not errors_in(caplog)


def test_subprotocol_and_headers(carrier: StartCarrier) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        chosen = scope["subprotocols"][1]
        fields = [(b"X-A", b"b"), (b"set-cookie", b"a=b"), (b"set-cookie", b"c=d")]
        await send({**ACCEPT, "subprotocol": chosen, "headers": fields})
        await receive()
        await receive()

    ws = carrier(app).open(subprotocols=["one", "two"])
    assert ws.accepted
    assert ws.subprotocol == "two"
    assert ws.response["x-a"] == "b"
    assert ws.response.all("set-cookie") == ["a=b", "c=d"]
    assert "content-type" not in ws.response


def test_nothing_is_answered_before_the_coroutine_has_decided(carrier: StartCarrier) -> None:
    gate, heard = Gate(), Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.put(await receive())
        await gate.passed()
        await send(ACCEPT)
        heard.put(await receive())

    ws = carrier(app).open(wait=False)
    assert heard.next() == CONNECT
    gate.open()
    assert ws.answer().status == (200 if ws.wire.http2 else 101)
    ws.send_message("hello")
    assert heard.next() == {"type": "websocket.receive", "text": "hello"}


def test_a_refusal(carrier: StartCarrier, caplog: pytest.LogCaptureFixture) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 4000, "reason": "no"})

    server = carrier(app)
    ws = server.open()
    assert (ws.status, ws.response.body) == (403, b"")
    assert server.open(beside=ws).status == 403
    assert not errors_in(caplog)


def test_a_refusal_in_words(carrier: StartCarrier) -> None:
    """The extension websocket.http.response."""

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert "websocket.http.response" in scope["extensions"]
        kind = "websocket.http.response"
        await send({"type": f"{kind}.start", "status": 401, "headers": [(b"x-a", b"b")]})
        await send({"type": f"{kind}.body", "body": b"who ", "more_body": True})
        await send({"type": f"{kind}.body", "body": b"are you?"})

    ws = carrier(app).open()
    assert (ws.status, ws.response.body) == (401, b"who are you?")
    assert ws.response["x-a"] == "b"


def test_an_ordinary_request_is_no_websocket(carrier: StartCarrier) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, scope["type"].encode())

    with carrier(app).server.client() as client:
        assert client.get().body == b"http"
        # Nor is one that does not ask in the right way.
        assert client.get("/", "Upgrade: websocket", "Connection: Upgrade").body == b"http"


# -- messages --------------------------------------------------------------------------------------


def test_text_and_bytes(carrier: StartCarrier) -> None:
    ws = carrier(echo).open()
    for message in ("", "h\u00e9llo", b"", b"\x00\xff", "x" * 100000, b"y" * 100000):
        ws.send_message(message)
        assert ws.message() == message


def test_either_of_two_keys_may_be_none(carrier: StartCarrier) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await send({"type": "websocket.send", "text": "text", "bytes": None})
        await send({"type": "websocket.send", "text": None, "bytes": b"bytes"})

    ws = carrier(app).open()
    assert rest(ws) == ["text", b"bytes", Close(1000)]


def test_messages_in_order_from_many(carrier: StartCarrier) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        for number in range(500):
            await send(text(str(number)))

    ws = carrier(app).open()
    assert rest(ws) == [*map(str, range(500)), Close(1000)]


def test_both_ways_at_the_same_time(carrier: StartCarrier) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)

        async def listen() -> list[str]:
            return [(await receive())["text"] for _ in range(3)]

        listening = asyncio.ensure_future(listen())
        await send(text("first"))
        await send(text(" ".join(await listening)))

    ws = carrier(app).open()
    assert ws.message() == "first"
    for number in range(3):
        ws.send_message(str(number))
    assert rest(ws) == ["0 1 2", Close(1000)]


@pytest.mark.parametrize("carrier", ["http1", "http2-h2"], indirect=True)
def test_the_coroutine_waits_for_a_client_that_does_not_read(carrier: StartCarrier) -> None:
    sent, total, still = [0], 150, Heard()
    message = "x" * 65536

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)

        async def watch() -> None:
            seen = -1
            while seen != sent[0]:
                seen = sent[0]
                await asyncio.sleep(0.05)
            still.put(seen)

        watching = asyncio.ensure_future(watch())
        for _ in range(total):
            await send(text(message))
            sent[0] += 1
        await watching

    ws = carrier(app).open()
    assert still.next() < total - 20
    assert rest(ws) == [message] * total + [Close(1000)]


@pytest.mark.parametrize("carrier", ["http1", "http2-h2"], indirect=True)
def test_the_client_waits_for_a_coroutine_that_does_not_receive(carrier: StartCarrier) -> None:
    gate, heard = Gate(), Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await gate.passed()
        while (message := await receive())["type"] == "websocket.receive":
            heard.put(message["bytes"])

    ws = carrier(app).open()
    message, total = b"x" * 65536, 150

    def send_all() -> None:
        for _ in range(total):
            ws.send_message(message)

    sending = threading.Thread(target=send_all, daemon=True)
    sending.start()
    sending.join(0.2)
    assert sending.is_alive()  # the kernel takes some MiB
    gate.open()
    for _ in range(total):
        assert heard.next() == message
    sending.join(TIMEOUT)
    assert not sending.is_alive()


def test_many(carrier: StartCarrier) -> None:
    server = carrier(echo)
    sockets = [server.open()]
    sockets += [server.open(beside=sockets[0] if server.http2 else None) for _ in range(20)]
    for number, ws in enumerate(sockets):
        ws.send_message(str(number))
    assert [ws.message() for ws in sockets] == [str(number) for number in range(21)]
    assert all(ws.shut() == Close(1000) for ws in sockets)


# -- the end ---------------------------------------------------------------------------------------


def test_the_application_closes(carrier: StartCarrier) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await send({"type": "websocket.close", "code": 4321, "reason": "enough"})
        with pytest.raises(ConnectionError):
            await send(text("more"))
        heard.put(await receive())
        heard.put(await receive())

    ws = carrier(app).open()
    assert ws.event() == Close(4321, "enough")
    ws.close_frame(4321)
    ended = heard.next()
    assert (ended["type"], ended["code"]) == ("websocket.disconnect", 4321)
    assert heard.next()["type"] == "websocket.disconnect"


@pytest.mark.parametrize("reason", [None, ""])
def test_a_close_without_a_code(carrier: StartCarrier, reason: str | None) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await send({"type": "websocket.close", "reason": reason})

    assert rest(carrier(app).open()) == [Close(1000)]


def test_the_application_returns(carrier: StartCarrier, caplog: pytest.LogCaptureFixture) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)

    assert rest(carrier(app).open()) == [Close(1000)]
    assert not errors_in(caplog)


def test_the_client_closes(carrier: StartCarrier) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        heard.put(await receive())
        with pytest.raises(OSError, match="disconnected"):
            await send(text("more"))
        heard.put("raised")

    ws = carrier(app).open()
    assert ws.shut(4001, "bye").code == 4001
    assert heard.next() == {"type": "websocket.disconnect", "code": 4001, "reason": "bye"}
    assert heard.next() == "raised"


@pytest.mark.parametrize("how", ["vanish", "leave"])
def test_the_client_leaves(carrier: StartCarrier, how: str) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        heard.put(await receive())

    ws = carrier(app).open()
    getattr(ws, how)()
    ended = heard.next()
    assert (ended["type"], ended["code"]) == ("websocket.disconnect", 1006)


def test_what_the_client_said_last_comes_first(carrier: StartCarrier) -> None:
    gate, heard = Gate(), Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await gate.passed()
        while (message := await receive())["type"] == "websocket.receive":
            heard.put(message["text"])
        heard.put(message["code"])

    ws = carrier(app).open()
    for number in range(40):
        ws.send_message(str(number))
    ws.close_frame(4000)
    gate.open()
    assert [heard.next() for _ in range(41)] == [*map(str, range(40)), 4000]


def test_the_server_stops(carrier: StartCarrier) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        heard.put(await receive())

    server = carrier(app)
    ws = server.open()
    server.stop()
    assert ws.event() == Close(1001)
    ws.close_frame(1001)
    ended = heard.next()
    assert (ended["type"], ended["code"]) == ("websocket.disconnect", 1001)


def test_the_server_stops_without_waiting(carrier: StartCarrier) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        try:
            heard.put(await receive())
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            heard.put("cancelled")
            raise

    server = carrier(app)
    ws = server.open()
    server.stop(0)
    assert ws.event() == Close(1001)
    assert heard.next()["type"] == "websocket.disconnect"
    assert heard.next() == "cancelled"


# -- errors ----------------------------------------------------------------------------------------


class Broken(Exception):
    pass


def test_an_exception_before_the_decision(
    carrier: StartCarrier, caplog: pytest.LogCaptureFixture
) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise Broken

    assert carrier(app).open("/broken").status == 500
    assert errors_in(caplog) == ["GET /broken: error in the application"]


def test_an_exception_later(carrier: StartCarrier, caplog: pytest.LogCaptureFixture) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await receive()
        raise Broken

    server = carrier(app)
    ws = server.open("/broken")
    ws.send_message("x")
    assert rest(ws) == [Close(1011)]
    finish(server)
    assert errors_in(caplog) == ["WebSocket /broken: error in the handler"]


def test_an_exception_when_the_client_has_gone(
    carrier: StartCarrier, caplog: pytest.LogCaptureFixture
) -> None:
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await receive()
        heard.put("gone")
        raise Broken

    server = carrier(app)
    server.open("/broken").leave()
    heard.next()
    finish(server)
    assert errors_in(caplog) == ["WebSocket /broken"]


def test_an_exception_behind_a_refusal(
    carrier: StartCarrier, caplog: pytest.LogCaptureFixture
) -> None:
    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.close"})
        raise Broken

    server = carrier(app)
    assert server.open("/broken").status == 403
    finish(server)
    assert errors_in(caplog) == ["WebSocket /broken"]


def test_an_exception_with_much_to_be_received(
    carrier: StartCarrier, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await gate.passed()
        raise Broken

    server = carrier(app)
    ws = server.open()
    for _ in range(100):
        ws.send_message("x")
    assert ws.sync() == []
    gate.open()
    assert rest(ws) == [Close(1011)]
    finish(server)
    assert len(errors_in(caplog)) == 1


WRONG: dict[str, tuple[list[Message], str, int]] = {
    "nothing": ([], "neither accepted nor refused", 500),
    "half a refusal": (
        [{"type": "websocket.http.response.start", "status": 401}],
        "neither accepted nor refused",
        500,
    ),
    "an early message": ([text("x")], "cannot send 'websocket.send' here", 500),
    "a response": (
        [{"type": "http.response.start", "status": 200}],
        "cannot send 'http.response.start' here",
        500,
    ),
    "two acceptances": ([ACCEPT, ACCEPT], "cannot send 'websocket.accept' here", 1011),
    "two refusals": (
        [{"type": "websocket.close"}, {"type": "websocket.close"}],
        "cannot send 'websocket.close' here",
        403,
    ),
    "no type": ([{}], "cannot send None here", 500),
    "headers as text": ([{**ACCEPT, "headers": [("a", "b")]}], "pairs of bytes", 500),
    "injected header": ([{**ACCEPT, "headers": [(b"a", b"b\r\nc: d")]}], "header", 500),
    "injected subprotocol": ([{**ACCEPT, "subprotocol": "a\r\nb: c"}], "header", 500),
    "subprotocol as bytes": ([{**ACCEPT, "subprotocol": b"a"}], "str", 500),
    "no message": ([ACCEPT, {"type": "websocket.send"}], "'text'", 1011),
    "a number": ([ACCEPT, {"type": "websocket.send", "bytes": 5}], "int", 1011),
    "a code": ([ACCEPT, {"type": "websocket.close", "code": 1005}], "1005", 1011),
    "a long reason": (
        [ACCEPT, {"type": "websocket.close", "reason": "x" * 124}],
        "more than 123 bytes",
        1011,
    ),
}


@pytest.mark.parametrize("carrier", ["http1"], indirect=True)
@pytest.mark.parametrize("name", WRONG)
def test_wrong_messages(carrier: StartCarrier, caplog: pytest.LogCaptureFixture, name: str) -> None:
    messages, told, code = WRONG[name]

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    server = carrier(app)
    ws = server.open("/wrong")
    if code < 1000:
        assert ws.status == code
    else:
        assert rest(ws) == [Close(code)]
    finish(server)
    said = [one.getMessage() + str(one.exc_info and one.exc_info[1]) for one in caplog.records]
    assert any(told in one for one in said), said


# -- through middleware ----------------------------------------------------------------------------


def make_flask() -> Any:
    app = Flask(__name__)

    @app.get("/")
    def page() -> str:
        return "page"

    app.wsgi_app = DispatcherMiddleware(  # type: ignore[method-assign]
        app.wsgi_app, {"/ws": from_asgi(echo)}
    )
    return app


def test_beside_flask(carrier: StartCarrier) -> None:
    server = carrier(make_flask())
    with server.server.client() as client:
        assert client.get().text == "page"
    assert works(server.open("/ws/any"))
    assert server.open("/other").status == 404


def test_middleware_may_refuse(carrier: StartCarrier, caplog: pytest.LogCaptureFixture) -> None:
    """It replaces the response that stands for the acceptance; the coroutine hears of it."""
    heard = Heard()

    @requests
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await send(ACCEPT)
        except OSError as exc:
            heard.put(str(exc))
            raise

    mounted = from_asgi(app)

    def guard(environ: Any, start_response: Callable[..., Any]) -> Any:
        mounted(environ)
        start_response("401 Unauthorized", [])
        return [b"no"]

    ws = carrier(guard).open()
    assert (ws.status, ws.response.body) == (401, b"no")
    assert "refused on the way" in heard.next()
    assert not errors_in(caplog)
