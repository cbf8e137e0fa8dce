"""The end of a handler: errors, logs, pings, time limits, and the server's stop."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import Event
from greenlet import GreenletExit

from conftest import Serve, StartCarrier, open_carrier
from gserver.api import ClosedOK, ConnectionClosed, Disconnected, accept, websocket
from gserver.websocket import WebSocket
from websocket_client import Carrier, Close, Op, Ping, WebSocketClient, encode
from websocket_stage import StartStage, echo, stages

# Nothing here depends on the transport, except where it says so.
one_carrier = pytest.mark.parametrize("carrier", ["http1"], indirect=True)


@pytest.fixture
def stage(carrier: StartCarrier) -> Iterator[StartStage]:
    with stages(carrier) as start:
        yield start


class Boom(Exception):
    """An error of the application."""


def problems(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


def raising(what: Callable[[], BaseException]) -> Callable[[WebSocket], None]:
    def handler(ws: WebSocket) -> None:
        ws.receive()
        raise what()

    return handler


# -- leaving the handler --------------------------------------------------------------------------


def test_leaving_the_handler_closes(carrier: StartCarrier) -> None:
    def handler(ws: WebSocket) -> str:
        ws.send("only this")
        return "ignored"

    ws = carrier(websocket(handler)).open()
    assert ws.message() == "only this"
    assert ws.event() == Close(1000)
    ws.close_frame()
    assert ws.end()


@one_carrier
def test_leaving_the_handler_drops_what_was_not_received(stage: StartStage) -> None:
    role = stage().open()
    role.client.send_message("one")
    role.client.close_frame(1000)
    role.leave()
    assert role.client.rest() == [Close(1000)]
    with pytest.raises(ClosedOK):
        role.do(role.ws.receive)


@one_carrier
def test_who_still_waits_when_the_handler_has_left_learns_of_it(stage: StartStage) -> None:
    role = stage().open()
    receiving = role.begin(role.ws.receive)
    role.leave()
    assert role.client.event() == Close(1000)
    role.client.close_frame()
    with pytest.raises(ClosedOK) as caught:
        receiving.result()
    assert not caught.value.by_peer
    with pytest.raises(ConnectionClosed):
        role.do(role.ws.send, "too late")


def test_an_error_closes_with_1011_and_is_logged(
    carrier: StartCarrier, caplog: pytest.LogCaptureFixture
) -> None:
    ws = carrier(websocket(raising(lambda: Boom("a secret")))).open("/chat?x")
    ws.send_message("go")
    assert ws.event() == Close(1011)
    ws.close_frame()
    assert ws.end()
    (record,) = problems(caplog)
    assert (record.name, record.levelno) == ("gserver.error", logging.ERROR)
    assert record.getMessage() == "WebSocket /chat?x: error in the handler"
    assert record.exc_info
    assert record.exc_info[0] is Boom
    assert "raise what()" in caplog.text


@one_carrier
@pytest.mark.parametrize("what", [StopIteration, gevent.Timeout, KeyboardInterrupt])
def test_odd_errors_are_errors_too(
    carrier: StartCarrier, caplog: pytest.LogCaptureFixture, what: type[BaseException]
) -> None:
    ws = carrier(websocket(raising(what))).open()
    ws.send_message("go")
    assert ws.event() == Close(1011)
    assert [record.levelno for record in problems(caplog)] == [logging.ERROR]


@one_carrier
@pytest.mark.parametrize("what", [lambda: ConnectionClosed(1006), Disconnected])
def test_a_lost_client_is_no_error_of_the_handler(
    carrier: StartCarrier, caplog: pytest.LogCaptureFixture, what: Callable[[], BaseException]
) -> None:
    ws = carrier(websocket(raising(what))).open()
    ws.send_message("go")
    assert ws.shut() == Close(1000)
    assert problems(caplog) == []


def test_a_client_that_vanishes_is_no_error(
    carrier: StartCarrier, caplog: pytest.LogCaptureFixture
) -> None:
    ended: queue.SimpleQueue[BaseException] = queue.SimpleQueue()

    def handler(ws: WebSocket) -> None:
        try:
            for message in ws:
                ws.send(message)
        except BaseException as exc:
            ended.put(exc)
            raise

    ws = carrier(websocket(handler)).open()
    ws.send_message("hello")
    assert ws.message() == "hello"
    ws.vanish()
    assert isinstance(ended.get(timeout=10), ConnectionClosed)
    assert problems(caplog) == []


@one_carrier
def test_an_error_after_accept_closes_with_1011(
    carrier: StartCarrier, caplog: pytest.LogCaptureFixture
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        accept(environ).send("accepted")
        raise Boom

    ws = carrier(app).open()
    assert ws.message() == "accepted"
    assert ws.event() == Close(1011)
    assert [record.levelno for record in problems(caplog)] == [logging.ERROR]


class Closable:
    def __init__(self, closed: queue.SimpleQueue[bool], ws: WebSocket) -> None:
        self._closed = closed
        self._ws = ws

    def close(self) -> None:
        self._closed.put(self._ws.closed)


@pytest.mark.parametrize("what", [None, Boom, GreenletExit])
def test_registered_objects_are_closed_behind_the_websocket(
    carrier: StartCarrier, what: type[BaseException] | None
) -> None:
    closed: queue.SimpleQueue[bool] = queue.SimpleQueue()

    @websocket
    def handler(ws: WebSocket) -> None:
        ws.environ["wsgi_lite.closing"](Closable(closed, ws))
        ws.receive()
        if what is not None:
            raise what

    ws = carrier(handler).open()
    assert ws.sync() == []
    assert closed.empty()
    ws.send_message("go")
    ws.shut()
    assert closed.get(timeout=10) is True


# -- the server stops -----------------------------------------------------------------------------


def stopped(server: Carrier, ws: WebSocketClient) -> float:
    """Stop the server, answer its Close, and return how long the stop took."""
    begin = time.monotonic()
    server.stop()
    assert ws.event() == Close(1001)
    ws.close_frame(1001)
    assert ws.end()
    server.close()
    return time.monotonic() - begin


def test_a_stop_closes_with_1001_and_is_quick(
    carrier: StartCarrier, caplog: pytest.LogCaptureFixture
) -> None:
    server = carrier(echo)
    ws = server.open()
    ws.send_message("hello")
    assert ws.message() == "hello"
    assert stopped(server, ws) < 2
    assert problems(caplog) == []


def test_a_handler_that_goes_on_can_tell_that_the_server_stops(carrier: StartCarrier) -> None:
    seen: queue.SimpleQueue[ConnectionClosed] = queue.SimpleQueue()

    @websocket
    def handler(ws: WebSocket) -> None:
        try:
            while True:
                ws.send("tick")
                gevent.sleep(0.001)
        except ConnectionClosed as exc:
            seen.put(exc)

    server = carrier(handler)
    ws = server.open()
    server.stop()
    while (event := ws.event()) == "tick":
        pass
    assert event == Close(1001)
    ws.close_frame(1001)
    caught = seen.get(timeout=10)
    assert (caught.code, caught.by_peer) == (1001, False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("carrier", "answer"),
    [("http1", True), ("http1", False), ("http2-h2", False)],
    indirect=["carrier"],
)
def test_a_handler_that_never_returns_is_cut(
    carrier: StartCarrier, caplog: pytest.LogCaptureFixture, answer: bool
) -> None:
    ended: queue.SimpleQueue[BaseException] = queue.SimpleQueue()

    @websocket
    def handler(ws: WebSocket) -> None:
        try:
            Event().wait()
        except BaseException as exc:
            ended.put(exc)
            raise

    server = carrier(handler)
    ws = server.open()
    begin = time.monotonic()
    server.stop(0.3)
    assert ws.event() == Close(1001)
    if answer:
        ws.close_frame(1001)
    assert isinstance(ended.get(timeout=10), GreenletExit)
    assert 0.3 <= time.monotonic() - begin < 2
    server.close()
    assert time.monotonic() - begin < 3
    assert any("cut off, the server stops" in one.getMessage() for one in problems(caplog))


@pytest.mark.slow
def test_a_client_that_does_not_answer_is_cut_when_the_server_stops(carrier: StartCarrier) -> None:
    server = carrier(echo)
    ws = server.open()
    begin = time.monotonic()
    server.stop(0.3)
    assert ws.event() == Close(1001)
    ws.end()
    server.close()
    assert time.monotonic() - begin < 3


@one_carrier
def test_a_handler_that_is_killed_closes_with_1001(
    carrier: StartCarrier, caplog: pytest.LogCaptureFixture
) -> None:
    ws = carrier(websocket(raising(GreenletExit))).open()
    ws.send_message("go")
    assert ws.rest() == [Close(1001)]
    assert [record.exc_info for record in problems(caplog)] == [None]


# -- time limits ----------------------------------------------------------------------------------


@pytest.mark.slow
@one_carrier
@pytest.mark.parametrize("blocking", [False, True], ids=["handler", "accept"])
def test_request_timeout_is_not_for_websockets(
    carrier: StartCarrier, caplog: pytest.LogCaptureFixture, blocking: bool
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        ws = accept(environ)
        for message in ws:
            ws.send(message)
        return []

    ws = carrier(app if blocking else echo, request_timeout=0.1).open()
    deadline = time.monotonic() + 0.4
    while time.monotonic() < deadline:
        ws.send_message("hello")
        assert ws.message() == "hello"
    assert ws.shut() == Close(1000)
    assert problems(caplog) == []


QUICK = {"websocket_ping_interval": 0.1, "websocket_ping_timeout": 0.1}


@pytest.mark.slow
def test_a_peer_that_answers_no_pings_is_cut_off(stage: StartStage) -> None:
    begin = time.monotonic()
    role = stage(**QUICK).open()
    receiving = role.begin(role.ws.receive)
    assert role.client.event() == Ping()
    with pytest.raises(ConnectionClosed) as caught:
        receiving.result()
    assert 0.2 <= time.monotonic() - begin < 2
    assert (caught.value.code, caught.value.reason, caught.value.by_peer) == (
        1006,
        "the peer does not answer pings",
        False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["pong", "message", "piece"])
@one_carrier
def test_a_peer_that_shows_life_is_not_cut_off(stage: StartStage, answer: str) -> None:
    role = stage(websocket_ping_interval=0.1, websocket_ping_timeout=0.3).open()
    if answer == "piece":
        role.client.send(encode(Op.BINARY, length=1000))
    for _ in range(6):
        assert role.client.event() == Ping()
        if answer == "pong":
            role.client.send_frame(Op.PONG)
        elif answer == "message":
            role.client.send_message("hello")
        else:
            role.client.send(b"more")
    assert not role.ws.closed


@pytest.mark.slow
@one_carrier
def test_without_an_interval_there_are_no_pings(stage: StartStage) -> None:
    role = stage(websocket_ping_interval=0.0, websocket_ping_timeout=0.1).open()
    with pytest.raises(TimeoutError):
        role.do(role.ws.receive, 0.4)
    assert role.client.sync() == []


@pytest.mark.slow
@one_carrier
def test_a_peer_that_is_not_read_is_not_cut_off(stage: StartStage) -> None:
    """Its pongs wait behind what the handler does not receive."""
    role = stage(websocket_max_queue=1000, **QUICK).open()
    role.client.send_message(bytes(2000))
    pings = [role.client.event() for _ in range(4)]
    assert pings == [Ping()] * 4
    assert len(role.do(role.ws.receive)) == 2000


# -- the access log -------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["http1", "http2-h2"])
def test_a_websocket_has_a_line_in_the_access_log(
    serve: Serve, tmp_path: Path, protocol: str
) -> None:
    """When it is over, as every request."""
    file = tmp_path / "access.log"
    options: dict[str, Any] = {"access_logfile": str(file)}
    options["access_logformat"] = "%(m)s %(U)s %(H)s %(s)s"
    server = open_carrier(protocol, lambda **needed: serve(echo, **needed, **options))
    ws = server.open("/chat")
    assert ws.sync() == []
    ws.shut()
    refused = server.open("/refused", ("Sec-WebSocket-Version", "8"))
    assert refused.status == 426
    server.close()
    server.server.stop()
    version, status = ("HTTP/2", 200) if server.http2 else ("HTTP/1.1", 101)
    assert sorted(file.read_text().splitlines()) == [
        f"GET /chat {version} {status}",
        f"GET /refused {version} 426",
    ]
