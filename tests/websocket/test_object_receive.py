"""What a handler receives: messages, pieces of them, JSON, timeouts, limits and the queue."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from conftest import StartCarrier
from gserver.api import ClosedError, ConnectionClosed, MessageTooBig
from http2_client import request_fields
from websocket_client import NO_CODE, Op, Ping, Pong, close_payload, encode, fragments
from websocket_stage import Doing, Role, StartStage, stages
from websocket_wires import Http1Wire, Http2Wire

# Nothing here depends on the transport, except where it says so.
one_carrier = pytest.mark.parametrize("carrier", ["http1"], indirect=True)


@pytest.fixture
def stage(carrier: StartCarrier) -> Iterator[StartStage]:
    with stages(carrier) as start:
        yield start


@one_carrier
@pytest.mark.parametrize("message", ["", b"", "héllo \U0001f409", b"\x00\xff", "x" * 70_000])
def test_a_message_is_received(stage: StartStage, message: str | bytes) -> None:
    role = stage().open()
    role.client.send_message(message)
    assert role.do(role.ws.receive) == message
    role.client.send_message(message, size=7)
    assert role.do(role.ws.receive) == message


@one_carrier
def test_json_is_received_as_text_and_as_bytes(stage: StartStage) -> None:
    role = stage().open()
    role.client.send_message('{"é": [1, null]}')
    role.client.send_message(b"[true]")
    role.client.send_message("{")
    role.client.send_message("1")
    assert role.do(role.ws.receive_json) == {"é": [1, None]}
    assert role.do(role.ws.receive_json, 1.0) == [True]
    with pytest.raises(ValueError, match="Expecting"):
        role.do(role.ws.receive_json)
    assert role.do(role.ws.receive_json) == 1
    with pytest.raises(TimeoutError):
        role.do(role.ws.receive_json, 0)


# -- timeouts -------------------------------------------------------------------------------------


@one_carrier
def test_receiving_waits_as_long_as_it_was_asked_to(stage: StartStage) -> None:
    """Not by the server's clock, which ticks twice a second."""
    role = stage().open()
    waited = []
    for _ in range(3):
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            role.do(role.ws.receive, 0.1)
        waited.append(time.monotonic() - begin)
    assert min(waited) >= 0.1
    assert sorted(waited)[1] < 0.4  # whatever else the machine has to do
    role.client.send_message("late")
    assert role.do(role.ws.receive, 5.0) == "late"


@one_carrier
@pytest.mark.parametrize("timeout", [0, -1.0])
def test_receiving_without_waiting_takes_what_is_there(stage: StartStage, timeout: float) -> None:
    role = stage().open()
    with pytest.raises(TimeoutError):
        role.do(role.ws.receive, timeout)
    role.client.send_message("here")
    assert role.client.sync() == []
    assert role.do(role.ws.receive, timeout) == "here"


@one_carrier
def test_a_timeout_counts_from_the_call_however_long_the_handler_has_worked(
    stage: StartStage,
) -> None:
    """The loop's own time is that of its last turn."""
    role = stage().open()

    def work() -> float:
        role.ws.receive()
        time.sleep(0.15)  # not gevent's: it holds the loop up
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            role.ws.receive(0.2)
        return time.monotonic() - begin

    working = role.begin(work)
    role.client.send_message("go")
    assert 0.2 <= working.result(timeout=3) < 2


# -- greenlets ------------------------------------------------------------------------------------


@one_carrier
def test_a_second_receiver_is_refused_and_the_first_goes_on(stage: StartStage) -> None:
    role = stage().open()
    ws = role.ws
    first = role.begin(ws.receive)
    others = [ws.receive, ws.receive_json, lambda: next(ws), lambda: next(ws.receive_pieces())]
    for other in others:
        with pytest.raises(RuntimeError, match="another greenlet"):
            role.do(other)
    assert not first.over
    role.client.send_message("for the first")
    assert first.result() == "for the first"
    role.client.send_message("for another")
    assert role.do(ws.receive) == "for another"


@one_carrier
def test_a_receiver_that_was_killed_leaves_its_place(stage: StartStage) -> None:
    role = stage().open()
    role.begin(role.ws.receive).kill()
    role.client.send_message("for another")
    assert role.do(role.ws.receive) == "for another"


def lose(role: Role) -> None:
    role.client.vanish()


def close(role: Role) -> None:
    role.client.close_frame()


def close_here(role: Role) -> None:
    role.begin(role.ws.close)
    role.client.close_frame()


def break_rules(role: Role) -> None:
    role.client.send_frame(3)


@one_carrier
@pytest.mark.parametrize("end", [lose, close, close_here, break_rules])
@pytest.mark.parametrize("what", ["receive", "pieces", "ping"])
def test_who_learns_of_the_end_is_not_woken_again(stage: StartStage, end: Any, what: str) -> None:
    """A second switch would go into whatever the greenlet blocks in by then."""
    role = stage().open()
    ws = role.ws
    calls = {"receive": ws.receive, "pieces": lambda: next(ws.receive_pieces()), "ping": ws.ping}

    def wait() -> str:
        with pytest.raises(ConnectionClosed):
            calls[what]()
        gevent.sleep(0.03)
        return "slept"

    waiting = role.begin(wait)
    if what == "ping":
        assert isinstance(role.client.event(), Ping)
    end(role)
    assert waiting.result() == "slept"


# -- iteration ------------------------------------------------------------------------------------


@one_carrier
@pytest.mark.parametrize("code", [1000, 1001, NO_CODE])
def test_iteration_ends_when_the_peer_closes_in_good_order(stage: StartStage, code: int) -> None:
    role = stage().open()
    receiving = role.begin(lambda: list(role.ws))
    role.client.send_message("one")
    role.client.send_message(b"two")
    assert role.client.shut(code).code == code
    assert receiving.result() == ["one", b"two"]
    assert role.do(lambda: list(role.ws)) == []


@one_carrier
@pytest.mark.parametrize("code", [1002, 1011, 3000, 4999])
def test_iteration_raises_if_the_peer_closes_for_an_error(stage: StartStage, code: int) -> None:
    role = stage().open()
    messages = iter(role.ws)
    role.client.send_message("one")
    role.client.close_frame(code)
    assert role.do(next, messages) == "one"
    with pytest.raises(ClosedError) as caught:
        role.do(next, messages)
    assert caught.value.code == code


# -- pieces ---------------------------------------------------------------------------------------


@one_carrier
@pytest.mark.parametrize("kind", [str, bytes])
def test_pieces_are_received_as_they_come(stage: StartStage, kind: Any) -> None:
    role = stage().open()
    op = Op.TEXT if kind is str else Op.BINARY
    pieces = role.ws.receive_pieces()
    waiting = role.begin(next, pieces)
    role.client.send_frame(op, b"one", fin=False)
    assert waiting.result() in ("one", b"one")
    role.client.send_frame(Op.CONTINUATION, b"two", fin=False)
    role.client.send_frame(Op.CONTINUATION, b"three")
    role.client.send_message("next")
    assert role.client.sync() == []
    rest: list[Any] = role.do(list, pieces)
    assert all(isinstance(piece, kind) for piece in rest)
    assert kind().join(rest) in ("twothree", b"twothree")
    assert role.do(role.ws.receive) == "next"


@one_carrier
def test_pieces_of_a_message_that_is_whole_already(stage: StartStage) -> None:
    role = stage().open()
    role.client.send_message("hello", size=2)
    role.client.send_message("")
    assert role.client.sync() == []
    assert "".join(role.do(list, role.ws.receive_pieces())) == "hello"
    assert "".join(role.do(list, role.ws.receive_pieces())) == ""


@one_carrier
def test_one_frame_is_received_in_pieces_too(stage: StartStage) -> None:
    role = stage().open()
    pieces = role.ws.receive_pieces()
    data = encode(Op.TEXT, "aéb".encode())
    role.client.send(data[:-2])
    assert role.do(next, pieces) == "a"  # é is incomplete
    role.client.send(data[-2:])
    assert "".join(role.do(list, pieces)) == "éb"


@pytest.mark.slow
def test_a_message_beyond_the_limit_is_received_in_pieces(stage: StartStage) -> None:
    role = stage(websocket_max_message_size=1000).open()
    size = 3_000_000

    def count() -> int:
        return sum(len(piece) for piece in role.ws.receive_pieces())

    counting = role.begin(count)
    role.client.send_message(bytes(size), size=50_000)
    assert counting.result() == size
    role.client.send_message("next")
    assert role.do(role.ws.receive) == "next"


@one_carrier
@pytest.mark.parametrize("size", [0, 1500], ids=["one-frame", "fragments"])
@pytest.mark.parametrize("whole", [True, False])
def test_pieces_know_no_limit_whenever_they_are_asked_for(
    stage: StartStage, size: int, whole: bool
) -> None:
    """Whether all of it came before the call is a matter of luck."""
    role = stage(websocket_max_message_size=1000).open()
    data = role.client.encode_message("x" * 5000, size=size)
    role.client.send(data if whole else data[:-1])
    if whole:
        assert role.client.sync() == []
    receiving = role.begin(lambda: "".join(role.ws.receive_pieces()))
    role.client.send(b"" if whole else data[-1:])
    assert receiving.result() == "x" * 5000


@one_carrier
@pytest.mark.parametrize("pause", [False, True], ids=["rest-is-there", "rest-is-to-come"])
def test_what_an_abandoned_iterator_leaves_is_dropped(stage: StartStage, pause: bool) -> None:
    role = stage(websocket_max_queue=2000).open()

    def begin() -> str:
        for piece in role.ws.receive_pieces():
            return str(piece)
        return ""

    frames = fragments(Op.TEXT, [b"first", *[b"x" * 500] * 20, b"last"])
    role.client.send(frames[:600] if pause else frames)
    assert role.do(begin).startswith("first")
    if pause:
        role.client.send(frames[600:])
    role.client.send_message("next")
    assert role.do(role.ws.receive) == "next"
    assert role.client.sync() == []


@one_carrier
def test_nothing_else_is_received_amid_pieces(stage: StartStage) -> None:
    role = stage().open()
    pieces = role.ws.receive_pieces()
    role.client.send_frame(Op.TEXT, b"one", fin=False)
    assert role.do(next, pieces) == "one"
    for other in (role.ws.receive, lambda: next(role.ws.receive_pieces())):
        with pytest.raises(RuntimeError, match="from this WebSocket"):
            role.do(other)
    role.client.send_frame(Op.CONTINUATION, b"two")
    role.client.send_message("next")
    assert "".join(role.do(list, pieces)) == "two"
    assert role.do(role.ws.receive) == "next"


@one_carrier
def test_pieces_time_out_one_by_one(stage: StartStage) -> None:
    role = stage().open()
    pieces = role.ws.receive_pieces(0.05)
    role.client.send_frame(Op.TEXT, b"one", fin=False)
    assert role.do(next, pieces) == "one"
    with pytest.raises(TimeoutError):
        role.do(next, pieces)
    role.client.send_frame(Op.CONTINUATION, b"two")
    role.client.send_message("next")
    assert role.do(role.ws.receive) == "next"


@one_carrier
@pytest.mark.parametrize(
    ("end", "code"),
    [
        (encode(Op.CLOSE, close_payload(1000)), 1000),
        (encode(Op.CONTINUATION, b"\xff"), 1007),
        (encode(Op.TEXT), 1002),
    ],
)
def test_an_end_amid_pieces_comes_behind_them(stage: StartStage, end: bytes, code: int) -> None:
    role = stage().open()
    role.client.send(encode(Op.TEXT, b"one", fin=False) + encode(Op.CONTINUATION, b"2", fin=False))
    role.client.send(end)
    got: list[Any] = []
    with pytest.raises(ConnectionClosed) as caught:
        role.do(lambda: got.extend(role.ws.receive_pieces()))
    assert caught.value.code == code
    assert role.client.verdict() == ([], code)


# -- limits ---------------------------------------------------------------------------------------


@one_carrier
@pytest.mark.parametrize("waiting", [True, False], ids=["is-awaited", "is-there"])
@pytest.mark.parametrize("size", [0, 100], ids=["one-frame", "fragments"])
@pytest.mark.parametrize("message", [b"x" * 1001, "é" * 501], ids=["binary", "text"])
def test_a_message_beyond_the_limit_is_refused(
    stage: StartStage, message: str | bytes, size: int, waiting: bool
) -> None:
    """The limit counts bytes, of text too; what came before is received."""
    role = stage(websocket_max_message_size=1000).open()
    receiving: Doing[Any] | None = role.begin(list, role.ws) if waiting else None
    role.client.send_message("fits")
    role.client.send_message(message, size=size)
    if receiving is None:
        assert role.client.sync() == []
        assert role.do(role.ws.receive) == "fits"
        receiving = role.begin(role.ws.receive)
    with pytest.raises(MessageTooBig) as caught:
        receiving.result()
    assert (caught.value.code, caught.value.by_peer) == (1009, False)
    assert role.client.verdict() == ([], 1009)
    with pytest.raises(MessageTooBig):
        role.do(role.ws.receive)


@one_carrier
def test_a_message_up_to_the_limit_is_taken(stage: StartStage) -> None:
    role = stage(websocket_max_message_size=1000).open()
    for size in (0, 1, 999):
        role.client.send_message(b"x" * 1000, size=size)
        assert role.do(role.ws.receive) == b"x" * 1000


# -- the queue ------------------------------------------------------------------------------------


def stuff(role: Role, frame: bytes, limit: int) -> tuple[int, bytes]:
    """Send frames until the server takes no more; return how many, and the rest of the last."""
    wire = role.client.wire
    count = 0
    if isinstance(wire, Http1Wire):
        sock = wire.client.sock
        rest = b""
        while count < limit and select.select([], [sock], [], 0.2)[1]:
            data = rest or frame * 16
            sent = sock.send(data)
            whole = -(-(sent) // len(frame))
            count += whole - bool(rest)
            rest = data[sent : whole * len(frame)]
        return count, rest
    assert isinstance(wire, Http2Wire)
    connection = wire.connection
    while count < limit:
        if connection._room(wire.stream) < len(frame):
            # A wider window would come before the answer to another request.
            connection.whole(connection.open(request_fields("/"), end=True))
            if connection._room(wire.stream) < len(frame):
                break
        role.client.send(frame)
        count += 1
    return count, b""


@pytest.mark.slow
def test_a_handler_that_does_not_receive_stops_the_peer(stage: StartStage) -> None:
    """And it goes on when the handler does; nothing is lost."""
    role = stage(websocket_max_queue=20_000).open()
    limit = 40_000
    count, rest = stuff(role, encode(Op.BINARY, bytes(1000)), limit)
    assert 20 <= count < limit

    taking = role.begin(lambda: {len(role.ws.receive()) for _ in range(count)})
    role.client.send(rest)
    assert taking.result() == {1000}
    role.client.send_message("goes on")
    assert role.do(role.ws.receive) == "goes on"


@one_carrier
def test_empty_messages_fill_the_queue_too(stage: StartStage) -> None:
    """What is held for each counts, or memory would know no bound."""
    role = stage(websocket_max_queue=10_000).open()
    wire = role.client.wire
    assert isinstance(wire, Http1Wire)
    role.client.send(encode(Op.TEXT) * 30_000)  # more than what is read at once
    role.client.ping(b"unread")
    wire.client.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        role.client.frame()
    assert role.do(lambda: {role.ws.receive() for _ in range(30_000)}) == {""}
    assert role.client.event() == Pong(b"unread")
