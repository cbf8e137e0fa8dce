"""What a handler sends: messages, JSON, pieces and pings, one or many greenlets at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from conftest import StartCarrier
from gserver.api import ClosedError, ConnectionClosed
from gserver.websocket import WebSocket, broadcast
from websocket_client import Close, Frame, Op, Ping, Pong
from websocket_stage import Doing, Role, StartStage, stages, until
from websocket_wires import Http1Wire

KIB = 1024
# Nothing here depends on the transport, except where it says so.
one_carrier = pytest.mark.parametrize("carrier", ["http1"], indirect=True)


class Boom(Exception):
    """An error of the application."""


@pytest.fixture
def stage(carrier: StartCarrier) -> Iterator[StartStage]:
    with stages(carrier) as start:
        yield start


# -- messages -------------------------------------------------------------------------------------


@one_carrier
@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("", ""),
        ("héllo \U0001f409", "héllo \U0001f409"),
        (b"", b""),
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"abc"), b"abc"),
        (memoryview(b"abcdef")[::2], b"ace"),
        ("x" * 70_000, "x" * 70_000),
    ],
    ids=["empty", "text", "no-bytes", "bytes", "bytearray", "memoryview", "long"],
)
def test_a_message_is_sent(stage: StartStage, message: Any, expected: str | bytes) -> None:
    role = stage().open()
    role.do(role.ws.send, message)
    assert role.client.message() == expected


@one_carrier
def test_json_is_sent_as_text(stage: StartStage) -> None:
    role = stage().open()
    role.do(role.ws.send_json, {"é": [1, None, "\U0001f409"]})
    assert role.client.message() == '{"é":[1,null,"\U0001f409"]}'


WRONG = [
    ("send", None, TypeError),
    ("send", 5, TypeError),
    ("send", ["text"], TypeError),
    ("send", "lone \ud800 surrogate", ValueError),
    ("send_json", object(), TypeError),
    ("send_json", "\udc80", ValueError),
    ("send_pieces", "text", TypeError),
    ("send_pieces", b"bytes", TypeError),
    ("send_pieces", None, TypeError),
    ("send_pieces", [5], TypeError),
    ("send_pieces", ["text", b"bytes"], TypeError),
    ("send_pieces", [b"bytes", "text"], TypeError),
    ("send_pieces", ["\ud800", "text"], ValueError),
]


@one_carrier
def test_what_is_no_message_is_refused_and_nothing_is_sent(stage: StartStage) -> None:
    role = stage().open()
    for method, wrong, error in WRONG:
        with pytest.raises(error):
            role.do(getattr(role.ws, method), wrong)
    assert role.client.sync() == []
    role.do(role.ws.send, "right")
    assert role.client.message() == "right"


@one_carrier
@pytest.mark.parametrize("extensions", ["", "permessage-deflate"])
def test_many_greenlets_send(stage: StartStage, extensions: str) -> None:
    """Every message arrives whole, and those of each greenlet in order."""
    role = stage().open(extensions=extensions)

    def send(who: int) -> None:
        for number in range(20):
            text = f"{who} {number} ".ljust(number * 300, "x")
            if number % 5 == who % 5:
                role.ws.send_pieces(text[at : at + 100] for at in range(0, len(text), 100))
            else:
                role.ws.send(text)
            gevent.sleep(0)

    sending = [role.begin(send, who) for who in range(10)]
    seen: dict[str, list[int]] = {}
    for _ in range(200):
        message = role.client.message()
        assert isinstance(message, str)
        who, number, filling = message.split(" ", 2)
        assert set(filling) <= {"x"}
        seen.setdefault(who, []).append(int(number))
    assert seen == {str(who): list(range(20)) for who in range(10)}
    for one in sending:
        one.result()


# -- pieces ---------------------------------------------------------------------------------------


@one_carrier
@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["one"], [Frame(Op.TEXT, b"one")]),
        (
            [b"one", bytearray(b"two"), memoryview(b"three")],
            [
                Frame(Op.BINARY, b"one", False),
                Frame(Op.CONTINUATION, b"two", False),
                Frame(Op.CONTINUATION, b"three"),
            ],
        ),
        (
            iter(["", "é", ""]),
            [
                Frame(Op.TEXT, b"", False),
                Frame(Op.CONTINUATION, "é".encode(), False),
                Frame(Op.CONTINUATION, b""),
            ],
        ),
        ([], [Frame(Op.TEXT, b"")]),
    ],
    ids=["one", "binary", "text", "none"],
)
def test_pieces_are_fragments_of_one_message(
    stage: StartStage, pieces: Any, expected: list[Frame]
) -> None:
    role = stage().open()
    role.do(role.ws.send_pieces, pieces)
    assert [role.client.frame() for _ in expected] == expected
    assert role.client.sync() == []


def pieces_until(event: Event) -> Iterator[str]:
    yield from ("one ", "two ", "three ")
    event.wait()
    yield "four"


@one_carrier
def test_other_messages_wait_for_the_end_of_a_fragmented_one(stage: StartStage) -> None:
    """Control frames do not."""
    role = stage().open()
    ws = role.ws
    go_on = Event()
    sending = role.begin(ws.send_pieces, pieces_until(go_on))
    others = [
        role.begin(ws.send, "whole"),
        role.begin(ws.send_pieces, ["more ", "pieces"]),
        role.begin(ws.send_json, 1),
    ]
    pinging = role.begin(ws.ping)
    assert role.do(broadcast, [ws], "to all") == [ws]
    role.client.ping(b"amid")
    control = [role.client.event(), role.client.event()]
    ping = next(one for one in control if isinstance(one, Ping))
    assert Pong(b"amid") in control
    role.client.send_frame(Op.PONG, ping.payload)
    pinging.result()
    assert not any(one.over for one in [sending, *others])
    role.do(go_on.set)
    assert role.client.message() == "one two three four"
    assert {role.client.message() for _ in others} == {"whole", "more pieces", "1"}
    for one in [sending, *others]:
        one.result()
    assert role.do(broadcast, [ws], "to all") == []
    assert role.client.message() == "to all"


def raising(pieces: list[Any]) -> Iterator[Any]:
    yield from pieces
    raise Boom


@one_carrier
@pytest.mark.parametrize("extensions", ["", "permessage-deflate"])
@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        (raising(["one", "two"]), Boom),
        (["one", "two", b"three"], TypeError),
        ([b"one", b"two", 3], TypeError),
        (["one", "two", "\ud800"], ValueError),
    ],
    ids=["raises", "mixed", "no-piece", "surrogate"],
)
def test_a_message_that_breaks_off_ends_the_websocket(
    stage: StartStage, pieces: Any, error: type[Exception], extensions: str
) -> None:
    role = stage().open(extensions=extensions)
    if not isinstance(pieces, list):
        pieces = raising(["one", "two"])
    with pytest.raises(error):
        role.do(role.ws.send_pieces, pieces)
    with pytest.raises(ClosedError) as caught:
        role.do(role.ws.send, "more")
    assert (caught.value.code, caught.value.by_peer) == (1011, False)
    first = role.client.frame()
    assert (first.op in (Op.TEXT, Op.BINARY), first.fin) == (True, False)
    while (last := role.client.frame()).op == Op.CONTINUATION:
        assert not last.fin
    assert (last.op, last.payload[:2]) == (Op.CLOSE, (1011).to_bytes(2, "big"))


@one_carrier
def test_pieces_that_fail_before_anything_was_sent_end_nothing(stage: StartStage) -> None:
    role = stage().open()
    with pytest.raises(Boom):
        role.do(role.ws.send_pieces, raising(["held back"]))
    role.do(role.ws.send, "goes on")
    assert role.client.message() == "goes on"


@one_carrier
@pytest.mark.parametrize("method", ["send", "send_pieces"])
def test_what_makes_the_pieces_cannot_send_amid_them(stage: StartStage, method: str) -> None:
    """The greenlet would wait for itself; and a message amid another breaks the protocol."""
    role = stage().open()

    def pieces() -> Iterator[str]:
        yield "one"
        yield "two"
        getattr(role.ws, method)(["amid"] if method == "send_pieces" else "amid")
        yield "three"

    with pytest.raises(RuntimeError):
        role.do(role.ws.send_pieces, pieces())
    assert role.client.frame() == Frame(Op.TEXT, b"one", False)
    assert role.client.frame().op == Op.CLOSE


# -- pings ----------------------------------------------------------------------------------------


@one_carrier
def test_a_ping_tells_the_round_trip(stage: StartStage) -> None:
    role = stage().open()
    pinging = role.begin(role.ws.ping, 5.0)
    begin = time.monotonic()
    ping = role.client.event()
    assert isinstance(ping, Ping)
    role.client.send_frame(Op.PONG, b"another")
    role.client.send_frame(Op.PONG, b"")
    assert role.client.sync() == []
    assert not pinging.over
    waited = time.monotonic() - begin
    role.client.send_frame(Op.PONG, ping.payload)
    assert waited < pinging.result() < waited + 1


@one_carrier
def test_a_later_answer_answers_earlier_pings(stage: StartStage) -> None:
    role = stage().open()
    pinging = [role.begin(role.ws.ping) for _ in range(4)]
    pings = [role.client.event() for _ in pinging]
    payloads = [ping.payload for ping in pings if isinstance(ping, Ping)]
    assert len(set(payloads)) == 4
    role.client.send_frame(Op.PONG, payloads[2])
    assert all(one.result() > 0 for one in pinging[:3])
    assert not pinging[3].over
    role.client.send_frame(Op.PONG, payloads[3])
    assert pinging[3].result() > 0


@one_carrier
def test_a_ping_times_out(stage: StartStage) -> None:
    role = stage().open()
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        role.do(role.ws.ping, 0.1)
    assert 0.1 <= time.monotonic() - begin < 1
    ping = role.client.event()
    assert isinstance(ping, Ping)
    role.client.send_frame(Op.PONG, ping.payload)  # nobody waits for it
    assert role.client.sync() == []


@one_carrier
def test_a_ping_raises_at_the_end(stage: StartStage) -> None:
    role = stage().open()
    pinging = role.begin(role.ws.ping)
    role.client.vanish()
    with pytest.raises(ClosedError) as caught:
        pinging.result()
    assert caught.value.code == 1006
    with pytest.raises(ConnectionClosed):
        role.do(role.ws.ping)


# -- a peer that does not read --------------------------------------------------------------------


def fill(role: Role, message: bytes = bytes(256 * KIB)) -> tuple[Doing[None], list[bytes], int]:
    """Send until the peer would have to read.

    Returns:
        Who sends, what it has sent, and how many messages that will be.
    """
    # The kernel takes up to ten megabytes for a peer that does not read, a window 64 kilobytes.
    count = (2 if role.carrier.http2 else 20) * 1_000_000 // len(message)
    sent: list[bytes] = []

    def send() -> None:
        for _ in range(count):
            role.ws.send(message)
            sent.append(message)

    def stuck() -> bool:
        before = len(sent)
        for _ in range(30):
            gevent.sleep(0.001)
        return len(sent) == before

    sending = role.begin(send)
    until(lambda: role.carrier.call(stuck))
    assert not sending.over
    return sending, sent, count


@pytest.mark.slow
def test_a_peer_that_does_not_read_blocks_who_sends(stage: StartStage) -> None:
    role = stage().open()
    sending, sent, count = fill(role)
    assert len(sent) < count - 1
    # What need not wait does not; of pings that came meanwhile the last one is answered.
    role.client.ping(b"first")
    role.client.ping(b"last")
    assert role.do(broadcast, [role.ws], b"to all") == [role.ws]
    received = 0
    pongs: list[Pong] = []
    while received < count or not pongs:
        event = role.client.event()
        if isinstance(event, Pong):
            pongs.append(event)
        else:
            assert event == bytes(256 * KIB)
            received += 1
    assert pongs[-1] == Pong(b"last")
    sending.result()


@pytest.mark.slow
def test_a_peer_that_does_not_read_is_cut_off(stage: StartStage) -> None:
    role = stage(write_timeout=0.3).open()
    sending, _, _ = fill(role)
    receiving = role.begin(role.ws.receive)
    for one in (sending, receiving):
        with pytest.raises(ClosedError) as caught:
            one.result()
        assert caught.value.code == 1006
    assert role.ws.close_code == 1006
    with pytest.raises(ClosedError):
        role.do(role.ws.send, "more")


@pytest.mark.slow
@one_carrier
def test_a_ping_times_out_though_the_peer_does_not_read(stage: StartStage) -> None:
    role = stage().open()
    fill(role)
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        role.begin(role.ws.ping, 0.1).result(timeout=3)
    assert time.monotonic() - begin < 1


@pytest.mark.slow
@pytest.mark.parametrize("carrier", ["http1", "http2-h2"], indirect=True)
def test_a_peer_that_reads_is_not_cut_off_however_much_is_sent(stage: StartStage) -> None:
    """What counts is that something has left, not how much still waits."""
    timeout = 0.5
    role = stage(write_timeout=timeout).open()
    message = bytes(16 * KIB)
    fill(role, message)
    wire = role.client.wire
    deadline = time.monotonic() + 2.5 * timeout
    while time.monotonic() < deadline:
        # Two greenlets send while one message is read.
        for _ in range(2):
            role.begin(role.ws.send, message)
        if isinstance(wire, Http1Wire):
            assert wire.client.sock.recv(len(message))
        else:
            assert role.client.message() == message
    assert role.ws.close_code is None
    role.client.close()


# -- broadcast ------------------------------------------------------------------------------------


class Counted(str):
    """Text that counts how often it is encoded."""

    encoded = 0

    def encode(self, *arguments: Any, **options: Any) -> bytes:
        Counted.encoded += 1
        return super().encode(*arguments, **options)


@pytest.mark.slow
def test_broadcast_sends_to_all_that_take_it(stage: StartStage) -> None:
    running = stage()
    slow = running.open()
    closed, *fine = [running.open(extensions="permessage-deflate") for _ in range(4)]
    roles = [slow, closed, *fine]
    fill(slow)
    closed.client.close_frame()
    until(lambda: closed.ws.closed)
    message = Counted("to all")
    Counted.encoded = 0
    websockets: Iterator[WebSocket] = iter([role.ws for role in roles])
    assert slow.do(broadcast, websockets, message) == [slow.ws, closed.ws]
    assert Counted.encoded == 1
    for role in fine:
        assert role.client.message() == "to all"
        assert role.client.sync() == []
    assert closed.client.rest() == [Close(1000)]


@one_carrier
def test_broadcast_takes_messages_only(stage: StartStage) -> None:
    role = stage().open()
    for wrong in (None, 5, ["text"]):
        with pytest.raises(TypeError):
            role.do(broadcast, [role.ws], wrong)
    with pytest.raises(ValueError, match="surrogates"):
        role.do(broadcast, [role.ws], "\ud800")
    assert role.do(broadcast, [], "to nobody") == []
    assert role.do(broadcast, [role.ws], memoryview(b"bytes")) == []
    assert role.client.message() == b"bytes"
