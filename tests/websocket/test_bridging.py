"""Responses of WebSocket handlers that come back through an application, and others instead."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any
from wsgiref.validate import validator

import gevent
import pytest

from clients import ConnectionEnded
from conftest import StartCarrier
from gserver.api import is_lite, lighten, lite, websocket
from gserver.websocket import WebSocket
from websocket_client import Close, Op, Pong, encode
from websocket_stage import echo, until, works

# Nothing here depends on the transport, except where it says so.
one_carrier = pytest.mark.parametrize("carrier", ["http1"], indirect=True)

Environ = dict[str, Any]
Start = Callable[..., Any]
Application = Callable[[Environ, Start], Iterable[bytes]]


# -- refusing by an ordinary response -------------------------------------------------------------


def test_an_application_refuses_as_it_likes(carrier: StartCarrier) -> None:
    """Where a WebSocket was to be, and the connection goes on."""
    answers = {
        "/login": ("302 Found", [("Location", "/"), ("Content-Length", "0")], b""),
        "/anonymous": ("401 Unauthorized", [("WWW-Authenticate", "Basic")], b"who?"),
        "/forbidden": ("403 Forbidden", [("Content-Type", "text/plain")], b"no"),
        "/missing": ("404 Not Found", [("Set-Cookie", "a=b")], b"nothing here" * 1000),
    }

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        if environ["PATH_INFO"] not in answers:
            return echo(environ, start_response)
        echo(environ)  # what it returns is thrown away
        status, headers, body = answers[environ["PATH_INFO"]]
        start_response(status, headers)
        return [body]

    server = carrier(app)
    ws = None
    for target, (status, headers, body) in answers.items():
        ws = server.open(target, beside=ws)
        assert ws.status == int(status[:3])
        assert ws.response.body == body
        name, value = headers[0]
        assert ws.response[name] == value
    assert works(server.open(beside=ws))


@pytest.mark.parametrize("shape", ["list", "iterator", "write"])
def test_an_ordinary_response_may_have_any_shape(carrier: StartCarrier, shape: str) -> None:
    blocks = {"/small": [b"small"], "/blocks": [b"x", b"y"], "/large": [bytes(300_000), b"end"]}

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        body = blocks[environ["PATH_INFO"]]
        write = start_response("404 Not Found", [("Content-Type", "text/plain")])
        if shape != "write":
            return iter(body) if shape == "iterator" else body
        for block in body:
            write(block)
        return []

    server = carrier(app)
    ws = None
    for target, body in blocks.items():
        ws = server.open(target, beside=ws)
        assert ws.status == 404
        assert ws.response.body == b"".join(body)


# -- responses that come back ---------------------------------------------------------------------


def answer_from(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Return what `echo` returns."""
    return echo(environ, start_response)


def generating(environ: Environ, start_response: Start) -> Iterator[bytes]:
    yield from echo(environ, start_response)


def writing(environ: Environ, start_response: Start) -> Iterable[bytes]:
    status, headers, body = echo(environ)
    write = start_response(status, headers)
    write(b"")
    return iter(body)


def adding(environ: Environ, start_response: Start) -> Iterable[bytes]:
    def started(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        added = [("Set-Cookie", "a=1"), ("X-Added", "é"), ("Set-Cookie", "b=2")]
        framework = [("Content-Type", "text/html"), ("Content-Length", "0"), ("Server", "x")]
        return start_response(status, headers + added + framework, exc_info)

    return echo(environ, started)


class Wrapped:
    """A body as middleware wraps it."""

    def __init__(self, body: Iterable[bytes], closed: list[bool]) -> None:
        self._body = iter(body)
        self._closed = closed

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._body)

    def close(self) -> None:
        self._closed.append(True)


def renamed(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Return a response whose names and status are spelt otherwise."""
    status, headers, body = echo(environ)
    start_response(status[:3] + " Anything", [(name.lower(), value) for name, value in headers])
    return tuple(body)


@lite
def lite_app(environ: Environ) -> Any:
    return echo(environ)


BRIDGES: dict[str, Any] = {
    "itself": echo,
    "plain": answer_from,
    "generator": generating,
    "iterator": writing,
    "lite": lite_app,
    "renamed": renamed,
    "lighten": lighten(answer_from),
    "lighten-generator": lighten(generating),
    "lite-lite": lite(lighten(echo)),
    "validator": validator(echo),
    "validated-plain": validator(answer_from),
    "lightened-validator": lighten(validator(lighten(answer_from))),
}


@one_carrier
@pytest.mark.parametrize("app", BRIDGES.values(), ids=BRIDGES)
def test_the_response_may_pass_through_anything(
    carrier: StartCarrier, app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert works(carrier(app).open())
    assert caplog.records == []


def test_headers_that_middleware_adds_are_in_the_answer(carrier: StartCarrier) -> None:
    ws = carrier(adding).open()
    assert ws.response.all("Set-Cookie") == ["a=1", "b=2"]
    assert ws.response["X-Added"] == "é"
    for name in ("Content-Type", "Content-Length", "GServer-WebSocket"):
        assert name not in ws.response
    assert ws.response.all("Server") == ["gserver"]
    assert works(ws)


@one_carrier
def test_an_answer_that_cannot_be_sent_leaves_nothing_open(
    carrier: StartCarrier, caplog: pytest.LogCaptureFixture
) -> None:
    closed: queue.Queue[bool] = queue.Queue()

    class Thing:
        def close(self) -> None:
            closed.put(True)

    @lite
    def app(environ: Environ) -> Any:
        if environ["PATH_INFO"] == "/good":
            return echo(environ)
        environ["wsgi_lite.closing"](Thing())
        promise = environ["gserver.websocket"].promise(echo, "no\ntoken")
        return "101 Switching Protocols", [promise], []

    server = carrier(app)
    with pytest.raises(ConnectionEnded):
        server.open("/bad")
    assert closed.get(timeout=5)
    assert "error in the server" in caplog.text
    assert works(server.open("/good"))


@one_carrier
def test_the_body_is_closed_before_the_handler_runs(carrier: StartCarrier) -> None:
    closed: list[bool] = []

    @websocket
    def handler(ws: WebSocket) -> None:
        ws.send(str(closed))

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        return Wrapped(handler(environ, start_response), closed)

    assert carrier(app).open().message() == "[True]"


def replacing(environ: Environ, start_response: Start) -> Iterable[bytes]:
    _, headers, _ = echo(environ)
    start_response("403 Forbidden", headers)
    return [b"replaced"]


def raising_in_the_body(environ: Environ, start_response: Start) -> Iterator[bytes]:
    echo(environ, start_response)
    yield b""
    raise ValueError


def raising_behind(environ: Environ, start_response: Start) -> Iterable[bytes]:
    echo(environ, start_response)
    raise ValueError


def starting_twice(environ: Environ, start_response: Start) -> Iterable[bytes]:
    echo(environ, start_response)
    start_response("403 Forbidden", [("Content-Type", "text/plain")])
    return [b"replaced"]


def starting_again(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Do what middleware for errors does (PEP 3333)."""
    echo(environ, start_response)
    try:
        raise ValueError
    except ValueError as exc:
        info = (type(exc), exc, exc.__traceback__)
        start_response("503 Service Unavailable", [("Content-Type", "text/plain")], info)
    return [b"replaced"]


def forged(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("101 Switching Protocols", [("GServer-WebSocket", "0123456789abcdef")])
    return []


def forged_over_a_promise(environ: Environ, start_response: Start) -> Iterable[bytes]:
    echo(environ)
    return forged(environ, start_response)


def twice(environ: Environ, start_response: Start) -> Iterable[bytes]:
    status, headers, body = echo(environ)
    start_response(status, headers * 2)
    return body


def without(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response(echo(environ)[0], [])
    return []


def bad_header(environ: Environ, start_response: Start) -> Iterable[bytes]:
    status, headers, body = echo(environ)
    start_response(status, [*headers, ("X-Bad", "a\r\nb: c")])
    return body


KEPT: list[Any] = []


def stale(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Return the response to the request before."""
    KEPT.append(echo(environ))
    start_response(*KEPT.pop(0)[:2])
    return []


REPLACED: dict[str, tuple[Application, int]] = {
    "replaced": (replacing, 403),
    "error-in-the-body": (raising_in_the_body, 500),
    "error": (raising_behind, 500),
    "second-start": (starting_twice, 500),
    "error-page": (starting_again, 503),
    "forged": (forged, 500),
    "forged-over-a-promise": (forged_over_a_promise, 500),
    "twice": (twice, 500),
    "without": (without, 500),
    "bad-header": (bad_header, 500),
    "stale": (stale, 500),
}


@one_carrier
@pytest.mark.parametrize(("app", "status"), REPLACED.values(), ids=REPLACED)
def test_what_does_not_come_back_unchanged_is_refused(
    carrier: StartCarrier, app: Application, status: int
) -> None:
    KEPT[:] = [("101 Switching Protocols", [("GServer-WebSocket", "stale")], [])]
    server = carrier(app)
    ws = server.open()
    assert ws.status == status
    again = server.open(beside=ws)
    assert again.status == status


@one_carrier
def test_101_is_no_status_of_an_ordinary_request(carrier: StartCarrier) -> None:
    server = carrier(forged)
    ws = server.open("/", ("Upgrade", None), ("Connection", None))
    assert ws.status == 500


@one_carrier
def test_the_last_of_several_responses_can_be_returned(carrier: StartCarrier) -> None:
    @websocket
    def other(ws: WebSocket) -> None:
        ws.send("other")

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        other(environ)
        return echo(environ, start_response)

    assert works(carrier(app).open())


# -- what can be a handler ------------------------------------------------------------------------


class Room:
    """Handlers that are methods."""

    name = "room"

    @websocket
    def talk(self, ws: WebSocket) -> None:
        ws.send(self.name)

    @websocket(subprotocols=["chat"])
    def chat(self, ws: WebSocket) -> None:
        ws.send(self.name)

    def plain(self, ws: WebSocket) -> None:
        ws.send(self.name)

    def __call__(self, ws: WebSocket) -> None:
        ws.send(self.name)


def greet(name: str, ws: WebSocket) -> None:
    ws.send(name)


HANDLERS: dict[str, Callable[[], Any]] = {
    "method": lambda: Room().talk,
    "method-with-arguments": lambda: Room().chat,
    "bound": lambda: websocket(Room().plain),
    "callable": lambda: websocket(Room()),
    "partial": lambda: websocket(partial(greet, "room")),
    "lambda": lambda: websocket(lambda ws: ws.send("room")),
}


@one_carrier
@pytest.mark.parametrize("make", HANDLERS.values(), ids=HANDLERS)
def test_any_callable_can_be_a_handler(carrier: StartCarrier, make: Callable[[], Any]) -> None:
    application = make()
    assert is_lite(application)
    ws = carrier(application).open()
    assert ws.accepted
    assert ws.message() == "room"


def test_the_application_has_the_name_of_its_handler() -> None:
    """Flask calls its endpoints by it."""

    @websocket
    def named(ws: WebSocket) -> None:
        """Say what it does."""

    assert named.__name__ == "named"
    assert named.__doc__ == "Say what it does."
    assert named.__module__ == __name__


@one_carrier
def test_a_ping_is_answered_while_the_handler_is_busy(carrier: StartCarrier) -> None:
    begun = queue.SimpleQueue[WebSocket]()

    @websocket
    def handler(ws: WebSocket) -> None:
        begun.put(ws)
        while not ws.closed:
            gevent.sleep(0.001)

    ws = carrier(handler).open(then=encode(Op.PING, b"one"))
    assert ws.event() == Pong(b"one")
    busy = begun.get(timeout=10)
    ws.close_frame()
    until(lambda: busy.closed)
    assert ws.rest() == [Close(1000)]
