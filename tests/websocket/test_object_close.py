"""The end of a WebSocket: who closes, with what, and what those learn who send and receive."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from conftest import StartCarrier
from gserver.api import ClosedError, ClosedOK, ConnectionClosed, WebSocketError
from websocket_client import NO_CODE, RSV1, Close, Op, WebSocketClient, close_payload, encode
from websocket_stage import Role, StartStage, stages, until

# Nothing here depends on the transport, except where it says so.
one_carrier = pytest.mark.parametrize("carrier", ["http1"], indirect=True)


@pytest.fixture
def stage(carrier: StartCarrier) -> Iterator[StartStage]:
    with stages(carrier) as start:
        yield start


@dataclass
class End:
    """What a peer does, and what the handler learns of it."""

    data: bytes
    code: int
    reason: str = ""
    by_peer: bool = True

    def act(self, client: WebSocketClient) -> None:
        client.send(self.data)


@dataclass
class Leave(End):
    data: bytes = b""
    code: int = 1006
    reason: str = "the peer left without closing"

    def act(self, client: WebSocketClient) -> None:
        client.finish()


class Vanish(Leave):
    def act(self, client: WebSocketClient) -> None:
        client.vanish()


def closing(code: int, reason: str = "") -> End:
    return End(encode(Op.CLOSE, close_payload(code, reason)), code, reason)


def broken(data: bytes, code: int, reason: str) -> End:
    return End(data, code, reason, by_peer=False)


TRANSPORTED = {
    "close": closing(1000, "good-bye"),
    "half-close": Leave(),
    "vanish": Vanish(),
    "close-and-half-close": closing(3000),
    "unmasked": broken(encode(Op.TEXT, key=None), 1002, "frames of a client must be masked"),
}
OTHERS = {
    "no-code": End(encode(Op.CLOSE), NO_CODE),
    "going-away": closing(1001),
    "error": closing(1011, "défaut"),
    "library": closing(3999),
    "application": closing(4000, "x" * 123),
    "text": broken(encode(Op.TEXT, b"\xff"), 1007, "text is not UTF-8"),
    "opcode": broken(encode(3), 1002, "reserved opcode 3"),
    "bits": broken(encode(Op.TEXT, rsv=RSV1), 1002, "a reserved bit is set"),
    "size": broken(encode(Op.TEXT, length=1 << 32), 1009, "a frame is too long"),
    "half-a-code": broken(encode(Op.CLOSE, b"\x03"), 1002, "a Close frame without a valid code"),
}


def check(end: End, exc: ConnectionClosed) -> None:
    kind = ClosedOK if end.code in (1000, 1001, NO_CODE) else ClosedError
    assert isinstance(exc, kind)
    assert isinstance(exc, WebSocketError)
    assert (exc.code, exc.reason, exc.by_peer) == (end.code, end.reason, end.by_peer)
    assert ("the peer" if end.by_peer else "this side") in str(exc)


def check_end(role: Role, end: End) -> None:
    receiving = role.begin(role.ws.receive)
    pinging = role.begin(role.ws.ping)
    role.client.event()
    assert (role.ws.closed, role.ws.close_code) == (False, None)
    end.act(role.client)
    if end == TRANSPORTED["close-and-half-close"]:
        role.client.finish()
    for one in (receiving, pinging):
        with pytest.raises(ConnectionClosed) as caught:
            one.result()
        check(end, caught.value)
    ws = role.ws
    assert (ws.closed, ws.close_code, ws.close_reason) == (True, end.code, end.reason)
    calls: list[Any] = [ws.receive, ws.ping, lambda: next(ws.receive_pieces())]
    calls += [lambda: ws.send("x"), lambda: ws.send_pieces(["x"]), lambda: ws.send_json(1)]
    for call in calls:
        with pytest.raises(ConnectionClosed) as caught:
            role.do(call)
        check(end, caught.value)
    role.do(ws.close)
    assert ws.close_code == end.code
    assert str(end.code) in repr(ws)
    if not isinstance(end, Leave):
        reason = "" if end.by_peer else end.reason
        assert role.client.rest() == [Close(end.code, reason)]


@pytest.mark.parametrize("end", TRANSPORTED.values(), ids=TRANSPORTED)
def test_all_who_wait_learn_of_the_end(stage: StartStage, end: End) -> None:
    check_end(stage().open(), end)


@one_carrier
@pytest.mark.parametrize("end", OTHERS.values(), ids=OTHERS)
def test_the_end_tells_code_and_reason(stage: StartStage, end: End) -> None:
    check_end(stage().open(), end)


# -- what came before -----------------------------------------------------------------------------


@one_carrier
def test_what_came_before_a_close_is_received_and_can_be_answered(stage: StartStage) -> None:
    role = stage().open()
    ws = role.ws
    role.client.send_message("one")
    role.client.send_message("two")
    role.client.close_frame(3000, "reason")
    assert role.do(ws.receive) == "one"
    assert not ws.closed
    role.do(ws.send, "answer")
    assert role.client.message() == "answer"
    assert role.do(ws.receive) == "two"
    with pytest.raises(ClosedError) as caught:
        role.do(ws.receive)
    check(closing(3000, "reason"), caught.value)
    assert role.client.rest() == [Close(3000)]


def test_a_close_is_answered_although_the_peer_sends_no_more(stage: StartStage) -> None:
    """It reads on; and what came before its Close is received."""
    role = stage().open()
    role.client.send_message("one")
    role.client.close_frame(3000)
    role.client.finish()
    assert role.do(role.ws.receive) == "one"
    with pytest.raises(ClosedError) as caught:
        role.do(role.ws.receive)
    check(closing(3000), caught.value)
    assert role.client.rest() == [Close(3000)]


def test_what_came_before_the_peer_vanished_is_received(stage: StartStage) -> None:
    role = stage().open()
    role.client.send_message("one")
    role.client.send_message("two")
    assert role.client.sync() == []
    role.client.vanish()
    until(lambda: role.ws.closed)
    assert role.do(role.ws.receive) == "one"
    assert role.do(role.ws.receive) == "two"
    with pytest.raises(ClosedError):
        role.do(role.ws.receive)


@one_carrier
def test_a_close_is_answered_though_nobody_receives(stage: StartStage) -> None:
    """Later, because of what waits to be received: that can be received still."""
    role = stage(websocket_close_timeout=0.2).open()
    role.client.send_message("one")
    begin = time.monotonic()
    assert role.client.shut(1001) == Close(1001)
    assert 0.2 <= time.monotonic() - begin < 1
    assert (role.ws.closed, role.ws.close_code) == (True, 1001)
    assert role.do(role.ws.receive) == "one"
    with pytest.raises(ClosedOK):
        role.do(role.ws.receive)


@one_carrier
def test_a_close_is_answered_at_once_if_nothing_is_to_be_waited_for(stage: StartStage) -> None:
    role = stage(websocket_close_timeout=0.0).open()
    role.client.send_message("one")
    assert role.client.shut(1001) == Close(1001)
    assert role.do(role.ws.receive) == "one"


# -- closing --------------------------------------------------------------------------------------


@one_carrier
@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, "going"), (1011, "é" * 61), (4999, "x" * 123)]
)
def test_close_waits_for_the_peer(stage: StartStage, code: int, reason: str) -> None:
    role = stage().open()
    ws = role.ws
    receiving = role.begin(ws.receive)
    closed = role.begin(ws.close, code, reason)
    again = role.begin(ws.close, 3000, "another")
    assert role.client.event() == Close(code, reason)
    assert ws.closed
    assert not closed.over
    for call in (lambda: ws.send("x"), ws.ping):
        with pytest.raises(ConnectionClosed) as caught:
            role.do(call)
        assert (caught.value.code, caught.value.by_peer) == (code, False)
    role.client.send_message("too late")
    role.client.close_frame(code)
    for one in (closed, again):
        one.result()
    with pytest.raises(ConnectionClosed) as caught:
        receiving.result()
    end = broken(b"", code, reason)
    check(end, caught.value)
    assert (ws.close_code, ws.close_reason) == (code, reason)
    assert role.client.rest() == []


def test_the_first_close_counts_when_both_sides_close(stage: StartStage) -> None:
    role = stage().open()
    closed = role.begin(role.ws.close, 3000, "ours")
    role.client.close_frame(4000, "theirs")  # sent before ours was read
    closed.result()
    assert (role.ws.close_code, role.ws.close_reason) == (3000, "ours")
    with pytest.raises(ClosedError) as caught:
        role.do(role.ws.receive)
    assert (caught.value.code, caught.value.by_peer) == (3000, False)
    assert role.client.rest() == [Close(3000, "ours")]


@pytest.mark.slow
def test_close_does_not_wait_for_ever(stage: StartStage) -> None:
    role = stage(websocket_close_timeout=0.3).open()
    begin = time.monotonic()
    role.do(role.ws.close, 1001, "reason")
    assert 0.3 <= time.monotonic() - begin < 1.5
    assert (role.ws.close_code, role.ws.close_reason) == (1001, "reason")
    assert role.client.rest() == [Close(1001, "reason")]


def test_close_waits_for_nothing_with_a_timeout_of_0(stage: StartStage) -> None:
    role = stage(websocket_close_timeout=0.0).open()
    receiving = role.begin(role.ws.receive)
    role.do(role.ws.close)
    with pytest.raises(ClosedOK):
        receiving.result()
    assert role.client.rest() == [Close(1000)]


def test_closing_a_peer_that_leaves_instead(stage: StartStage) -> None:
    role = stage().open()
    closed = role.begin(role.ws.close, 1001)
    assert role.client.event() == Close(1001)
    role.client.vanish()
    closed.result()
    assert role.ws.close_code == 1001


@pytest.mark.slow
def test_a_peer_that_sends_on_is_closed_all_the_same(stage: StartStage) -> None:
    """Though its messages fill the queue, and it is not read when the close begins."""
    role = stage(websocket_max_queue=1000).open()
    role.client.send_message("received")
    role.client.send_message(bytes(2000))
    # Two packets, or more than what is read at once: the second has to wait.
    role.client.send_message(bytes(50_000))
    assert role.do(role.ws.receive) == "received"
    closed = role.begin(role.ws.close)
    for _ in range(100):
        role.client.send_message(bytes(1000))
    assert role.client.event() == Close(1000)
    role.client.close_frame()
    closed.result()
    assert role.do(role.ws.receive) == bytes(2000)


@one_carrier
def test_codes_and_reasons_that_must_not_be_sent_are_refused(stage: StartStage) -> None:
    role = stage().open()
    for code in (-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2999, 5000, 65536):
        with pytest.raises(ValueError, match=str(code)):
            role.do(role.ws.close, code)
    for reason in ("x" * 124, "é" * 62, "\ud800"):
        with pytest.raises(ValueError, match=r"reason|surrogates"):
            role.do(role.ws.close, 1000, reason)
    assert not role.ws.closed
    assert role.client.sync() == []


# -- attributes -----------------------------------------------------------------------------------


def test_attributes_of_an_open_websocket(stage: StartStage) -> None:
    role = stage().open("/a%20b?c=d", ("X-Own", "value"))
    ws = role.ws
    assert (ws.closed, ws.close_code, ws.close_reason, ws.subprotocol) == (False, None, "", None)
    assert ws.peer.startswith("127.0.0.1:")
    host, _, port = ws.peer.split()[0].partition(":")
    assert (ws.environ["REMOTE_ADDR"], ws.environ["REMOTE_PORT"]) == (host, port)
    assert (ws.environ["PATH_INFO"], ws.environ["QUERY_STRING"]) == ("/a b", "c=d")
    assert ws.environ["HTTP_X_OWN"] == "value"
    assert repr(ws) == f"<WebSocket /a b of {ws.peer}: open>"
