"""How applications make WebSockets where they stand: `accept` and ``wsgi.websocket``."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import pytest
from gevent.event import Event

from conftest import StartCarrier
from gserver.api import ConnectionClosed, HandshakeError, accept, lite
from gserver.api.errors import LocalProtocolError, WebSocketError
from websocket_client import Close
from websocket_stage import echo, run_echo, works

# Nothing here depends on the transport, except where it says so.
one_carrier = pytest.mark.parametrize("carrier", ["http1"], indirect=True)

Environ = dict[str, Any]
Start = Callable[..., Any]
Application = Callable[[Environ, Start], Iterable[bytes]]


# -- accept ---------------------------------------------------------------------------------------


def accepting(environ: Environ, start_response: Start) -> Iterable[bytes]:
    run_echo(accept(environ))
    start_response("500 Ignored", [("Content-Type", "text/plain")])
    return [b"ignored"]


def accepting_twice(environ: Environ, start_response: Start) -> Iterable[bytes]:
    ws = accept(environ)
    assert accept(environ) is ws
    run_echo(ws)
    return []


def accepting_late(environ: Environ, start_response: Start) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "7")])
    run_echo(accept(environ))
    yield b"ignored"


@lite
def accepting_lite(environ: Environ) -> Any:
    run_echo(accept(environ))
    return "ignored"


@lite
def accepting_and_returning(environ: Environ) -> Any:
    run_echo(accept(environ))
    return echo(environ)


@one_carrier
@pytest.mark.parametrize(
    "app", [accepting, accepting_twice, accepting_late, accepting_lite, accepting_and_returning]
)
def test_an_application_accepts(
    carrier: StartCarrier, app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What it returns is not sent, whatever that is."""
    server = carrier(app)
    ws = server.open()
    ws.send_message("hello")
    assert ws.message() == "hello"
    assert ws.shut().code == 1000
    if app is not accepting_lite:
        assert caplog.records == []


def test_a_handshake_error_is_the_answer(carrier: StartCarrier) -> None:
    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        try:
            run_echo(accept(environ, origins=["https://a.example"]))
        except HandshakeError as exc:
            status, headers, body = exc.response
            start_response(status, headers)
            return body
        return []

    server = carrier(app)
    refused = server.open("/", ("Origin", "https://b.example"))
    assert refused.status == 403
    refused = server.open("/", ("Sec-WebSocket-Version", "8"), beside=refused)
    assert (refused.status, refused.response["Sec-WebSocket-Version"]) == (426, "13")
    assert works(server.open("/", ("Origin", "https://a.example"), beside=refused))


@one_carrier
def test_a_response_that_has_begun_cannot_become_a_websocket(carrier: StartCarrier) -> None:
    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "8")])
        yield b"begun"
        with pytest.raises(LocalProtocolError, match="begun"):
            accept(environ)
        yield b"end"

    ws = carrier(app).open()
    assert (ws.status, ws.response.body) == (200, b"begunend")


@one_carrier
def test_a_request_that_is_over_cannot_become_a_websocket(carrier: StartCarrier) -> None:
    kept: list[Environ] = []

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        kept.append(environ)
        start_response("204 No Content", [])
        return []

    server = carrier(app)
    ws = server.open()
    assert ws.status == 204
    # The answer to another request tells that the first is over.
    server.open(beside=ws)
    with pytest.raises(ConnectionClosed):
        server.call(lambda: accept(kept[0]))
    with pytest.raises(WebSocketError):
        server.call(lambda: kept[0]["wsgi.websocket"].send("late"))
    with pytest.raises(OSError, match=r".*"):
        server.call(lambda: kept[0]["gunicorn.socket"].fileno())


def test_a_client_that_has_gone_is_not_accepted(
    carrier: StartCarrier, caplog: pytest.LogCaptureFixture
) -> None:
    """That is no error of the application, which may let it pass."""
    raised: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
    begun: queue.SimpleQueue[bool] = queue.SimpleQueue()
    go_on = Event()

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/":
            begun.put(True)
            go_on.wait()
        try:
            accept(environ, origins=["https://a.example"])
        except HandshakeError as exc:
            start_response(*exc.response[:2])
            return exc.response[2]
        except ConnectionClosed as exc:
            raised.put(exc)
            raise
        return []

    server = carrier(app)
    ws = server.open(wait=False)
    assert begun.get(timeout=10)
    ws.vanish()
    # Its answer comes when the server has noticed; over HTTP/2 it is on the same connection.
    beside = ws if server.http2 else None
    assert server.open("/other", ("Sec-WebSocket-Version", "8"), beside=beside).status == 426
    server.call(go_on.set)
    caught = raised.get(timeout=10)
    assert isinstance(caught, ConnectionClosed)
    assert (caught.code, caught.by_peer) == (1006, True)
    server.close()
    server.server.stop()
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


# -- wsgi.websocket -------------------------------------------------------------------------------


class Lazy:
    """An application that uses ``wsgi.websocket``, and keeps what became of it."""

    def __init__(self, use: Callable[[Any], Any]) -> None:
        self.use = use
        self.results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.objects: list[Any] = []

    def __call__(self, environ: Environ, start_response: Start) -> Iterable[bytes]:
        self.objects.append(environ.get("wsgi.websocket"))
        try:
            self.results.put(self.use(environ.get("wsgi.websocket")))
        except BaseException as exc:  # noqa: BLE001 - for the test to see
            self.results.put(exc)
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"ordinary"]


def use_all(ws: Any) -> list[Any]:
    seen = [ws.receive(), ws.receive()]
    ws.send("text")
    ws.send(b"bytes")
    ws.send("text", binary=True)
    ws.send(b"bytes", binary=False)
    ws.send(bytearray(b"more"))
    ws.send(5, binary=False)
    ws.send_frame("frame", ws.OPCODE_TEXT)
    ws.send_frame(b"frame", ws.OPCODE_BINARY)
    assert not ws.closed
    seen += [ws.receive(), ws.closed]
    for late in (ws.receive, partial(ws.send, "late"), partial(ws.send_frame, "late", 1)):
        with pytest.raises(WebSocketError):
            late()
    ws.close()
    return seen


def test_the_object_behaves_as_gevent_websockets(carrier: StartCarrier) -> None:
    app = Lazy(use_all)
    ws = carrier(app).open("/chat")
    ws.send_message("one")
    ws.send_message(b"two")
    expected: list[str | bytes] = ["text", b"bytes", b"text", "bytes", b"more", "5"]
    expected += ["frame", b"frame"]
    assert [ws.message() for _ in expected] == expected
    assert ws.shut() == Close(1000)
    assert app.results.get(timeout=10) == ["one", bytearray(b"two"), None, True]


@one_carrier
def test_it_tells_what_the_client_asked_for(carrier: StartCarrier) -> None:
    def look(ws: Any) -> Any:
        names = ("path", "origin", "protocol", "version", "closed")
        return [getattr(ws, name) for name in names] + [ws.environ["wsgi.websocket"] is ws]

    app = Lazy(look)
    ws = carrier(app).open("/a%20b?c", ("Origin", "https://evil.example"), subprotocols=["a", "b"])
    assert (ws.status, ws.response.body) == (404, b"ordinary")
    expected = ["/a b", "https://evil.example", "a, b", "13", False, True]
    assert app.results.get(timeout=10) == expected


USES: dict[str, Callable[[Any], Any]] = {
    "receive": lambda ws: ws.receive(),
    "iterate": lambda ws: list(ws),
    "send": lambda ws: ws.send("hello"),
    "ping": lambda ws: ws.ping(0),
    "close": lambda ws: ws.close(1000, b"reason"),
}


@one_carrier
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_it_is_accepted_when_it_is_used(
    carrier: StartCarrier, use: Callable[[Any], Any], caplog: pytest.LogCaptureFixture
) -> None:
    ws = carrier(Lazy(use)).open()
    assert ws.accepted
    ws.close_frame()
    assert ws.rest()
    assert caplog.records == []


def test_it_is_not_accepted_when_it_is_not_used(carrier: StartCarrier) -> None:
    """The ordinary response goes out, and the connection goes on."""
    app = Lazy(lambda ws: ws.send("hello") if ws.path == "/use" else None)
    server = carrier(app)
    ws = None
    for _ in range(2):
        ws = server.open("/look", beside=ws)
        assert (ws.status, ws.response.body) == (404, b"ordinary")
    ws = server.open("/use", beside=ws)
    assert ws.message() == "hello"


@one_carrier
def test_it_is_there_for_valid_requests_only(carrier: StartCarrier) -> None:
    app = Lazy(lambda ws: ws)
    server = carrier(app)
    for header in ("Sec-WebSocket-Key", "Upgrade", "Sec-WebSocket-Version"):
        assert server.open("/", (header, None)).status == 404
        assert app.results.get(timeout=10) is None


@one_carrier
def test_it_is_closed_when_the_request_is_over(carrier: StartCarrier) -> None:
    """Others may have kept it: a list of all who chat, say."""
    app = Lazy(lambda ws: ws.send("hello") if ws.path == "/use" else None)
    server = carrier(app)
    used, unused = server.open("/use"), server.open("/look")
    assert used.message() == "hello"
    assert used.shut() == Close(1000)
    assert unused.status == 404
    server.close()
    server.server.stop()
    assert [one.closed for one in app.objects] == [True, True]


@one_carrier
def test_it_ends_with_none_when_the_client_vanishes(carrier: StartCarrier) -> None:
    app = Lazy(lambda ws: (ws.receive(), ws.receive(), ws.closed))
    ws = carrier(app).open()
    ws.send_message("one")
    assert ws.sync() == []
    ws.vanish()
    assert app.results.get(timeout=10) == ("one", None, True)


@one_carrier
def test_only_one_of_the_ways_can_be_taken(carrier: StartCarrier) -> None:
    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        environ["wsgi.websocket"].send("by the object")
        accept(environ).send("by accept")
        with pytest.raises(RuntimeError):
            environ["gunicorn.socket"].fileno()
        return []

    ws = carrier(app).open()
    assert [ws.message(), ws.message()] == ["by the object", "by accept"]
    assert ws.event() == Close(1000)


@one_carrier
def test_asking_what_it_can_do_accepts_nothing(carrier: StartCarrier) -> None:
    """Libraries look for methods of other servers' objects."""

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        ws = environ["wsgi.websocket"]
        assert not hasattr(ws, "settimeout")
        assert callable(ws.send)
        start_response("403 Forbidden", [])
        return [b"no"]

    assert carrier(app).open(wait=False).wire.answer().status == 403


@one_carrier
def test_closing_twice_or_late_is_nothing(carrier: StartCarrier) -> None:
    kept: list[Any] = []

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        ws = environ["wsgi.websocket"]
        kept.append(ws)
        assert ws.receive() == "hello"
        assert (ws.subprotocol, ws.close_code) == (None, None)
        ws.close(1000, None)
        ws.close()
        return []

    server = carrier(app)
    client = server.open()
    client.send_message("hello")
    assert client.event() == Close(1000)
    client.close_frame(1000)
    client.end()
    server.call(kept[0].close)
    assert kept[0].closed
