"""WebSockets over HTTP/2: what their streams, windows and the connection can be used for."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator

import pytest

from clients import ConnectionEnded
from conftest import ServerProcess
from exchange import ENGINES
from http2_attack_tools import ask, connect, literal, reset, strike, window_update
from http2_client import (
    CANCEL,
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    ENHANCE_YOUR_CALM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    WINDOW_UPDATE,
    RawHttp2,
    frame,
)
from websocket_attack_tools import (
    DEFLATE,
    IMPATIENT,
    MIB,
    besieged,
    packet,
    squeeze,
    started,
)
from websocket_client import RSV1, Close, Op, Ping, Pong, cut, encode, http2_fields, replaced

STREAMS = 100
"""The default of http2_max_concurrent_streams."""
RESETS = 200
"""The default of http2_max_resets."""
WINDOW = 262144
"""The default of http2_max_window_size."""


@pytest.fixture(scope="module", params=ENGINES)
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """Return a server with the default options, which tests share."""
    folder = tmp_path_factory.mktemp("target")
    with started(folder, "--http2-engine", request.param) as server:
        yield server


@pytest.fixture(scope="module", params=ENGINES)
def impatient(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """Return a server whose timeouts are one second each."""
    folder = tmp_path_factory.mktemp("impatient")
    with started(folder, *IMPATIENT, "--http2-engine", request.param) as server:
        yield server


def extended(path: str) -> list[tuple[str, str]]:
    """Return the fields of an extended CONNECT."""
    return replaced(http2_fields(path), ())


def open_stream(client: RawHttp2, path: str) -> int:
    """Open a WebSocket on the next stream."""
    stream = client._next
    client.headers(stream, extended(path))
    client.wait(lambda: client.progress(stream).status == 200)
    return stream


def feed(client: RawHttp2, stream: int, data: bytes) -> None:
    """Send bytes as the window of the stream allows it."""
    seen = len(client.frames)
    room = DEFAULT_WINDOW
    for piece in cut(data, 16384):
        while room < len(piece):
            client.read()
            for taken in client.frames[seen:]:
                if (taken.kind, taken.stream) == (WINDOW_UPDATE, stream):
                    room += taken.increment
            seen = len(client.frames)
        client.data(stream, piece)
        room -= len(piece)


# -- windows --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_windows_of_nothing_are_cut_off_in_time(impatient: ServerProcess) -> None:
    with besieged(impatient), connect(impatient, settings={INITIAL_WINDOW_SIZE: 0}) as client:
        begin = time.monotonic()
        # One lives, so that the connection is no idle one.
        alive = open_stream(client, "/echo")
        client.window_update(alive, 65535)
        streams = {
            name: open_stream(client, f"/{name}")
            for name in ("endless", "spread", "some", "echo", "raw_sending")
        }
        client.data(streams["echo"], encode(Op.PING, b"whose answer is never taken"))
        silent = open_stream(client, "/echo")
        waiting = {*streams.values(), silent}
        while waiting:
            assert time.monotonic() - begin < 6, {
                name for name, one in streams.items() if one in waiting
            }
            client.data(alive, encode(Op.PONG))
            client.sync()
            waiting -= {one for one in waiting if client.progress(one).code >= 0}
            select.select([client.sock], [], [], 0.1)
        assert time.monotonic() - begin > 1
        assert {client.progress(one).code for one in streams.values()} == {CANCEL}
        assert client.progress(alive).code == -1


@pytest.mark.slow
def test_answers_to_pings_without_a_window(target: ServerProcess) -> None:
    """They wait, but only the last of them need ever be sent."""
    with besieged(target), connect(target, settings={INITIAL_WINDOW_SIZE: 0}) as client:
        client.grant = False
        streams = [open_stream(client, "/sink") for _ in range(16)]
        for stream in streams:
            feed(client, stream, packet(encode(Op.PING), 230_000))
            client.data(stream, encode(Op.PING, b"last"))
        begin = time.monotonic()
        for stream in streams:
            client.window_update(stream, MIB)
        client.window_update(0, 16 * MIB)
        for stream in streams:
            while not client.progress(stream).body.endswith(b"\x8a\x04last"):
                client.read()
        assert time.monotonic() - begin < 2


def test_windows_that_change_while_it_sends(target: ServerProcess) -> None:
    with besieged(target), connect(target) as client:
        client.grant = False
        client.window_update(0, 1 << 30)
        stream = open_stream(client, "/endless")
        for size in (0, 1, 65535, 10, 100_000, 0, 16384, 70_000):
            client.settings({INITIAL_WINDOW_SIZE: size})
            client.sync()
        client.window_update(stream, 4 * MIB)
        client.wait(lambda: len(client.progress(stream).body) >= 4 * MIB)
        message = bytes([0x82, 126, 0x40, 0]) + b"x" * 16384
        body = client.progress(stream).body
        assert body == (message * (len(body) // len(message) + 1))[: len(body)]
        client.rst(stream)
        assert ask(target, "/seen?running=0")["ended"] == 1


def test_windows_of_one_byte(target: ServerProcess) -> None:
    with besieged(target), connect(target, settings={INITIAL_WINDOW_SIZE: 0}) as client:
        client.grant = False
        stream = open_stream(client, "/endless")
        for _ in range(20_000):
            if not strike(client, window_update(stream, 1)):
                break
        assert client.broken() == ENHANCE_YOUR_CALM


def test_a_stream_that_is_stopped_stops_no_other(target: ServerProcess) -> None:
    with besieged(target, http2=True) as carrier:
        deaf = carrier.open("/deaf")
        wire = deaf.wire
        stopped = [deaf, *(carrier.open("/deaf", beside=deaf) for _ in range(20))]
        for ws in stopped:
            ws.send(encode(Op.BINARY, bytes(16000)) * 4)
        other = carrier.open("/echo", beside=deaf)
        for _ in range(10):
            other.send_message(bytes(200_000))
            assert other.message() == bytes(200_000)
        wire.leave()


# -- streams --------------------------------------------------------------------------------------

EXTENDED = b"".join(literal(name.encode(), value.encode()) for name, value in extended("/endless"))


@pytest.mark.parametrize("then", ["", "message", "half-a-frame"])
def test_rapid_reset(target: ServerProcess, then: str) -> None:
    sent = {"": b"", "message": encode(Op.TEXT, b"x"), "half-a-frame": encode(Op.TEXT, length=9)}
    with besieged(target):
        clients = [connect(target) for _ in range(2)]
        fighting = list(clients)
        for number in range(3 * RESETS):
            stream = 2 * number + 1
            data = frame(HEADERS, END_HEADERS, stream, EXTENDED)
            data += (frame(DATA, 0, stream, sent[then]) if then else b"") + reset(stream)
            fighting = [one for one in fighting if strike(one, data, number % 50 == 49)]
        assert not fighting
        assert {one.broken() for one in clients} == {ENHANCE_YOUR_CALM}
        for client in clients:
            client.close()
        assert ask(target, "/seen?running=0").get("begun", 0) <= 2 * (RESETS + STREAMS)


def test_as_many_websockets_as_there_may_be(target: ServerProcess) -> None:
    """Those beyond are refused, also while handlers of streams that were reset still run."""
    with besieged(target, http2=True) as carrier:
        first = carrier.open("/deaf")
        more = [carrier.open("/deaf", beside=first) for _ in range(STREAMS - 1)]
        for ws in more[:50]:
            ws.vanish()
        with pytest.raises(ConnectionEnded):
            carrier.open("/echo", beside=first)
        assert ask(target, "/seen")["running"] == STREAMS
        with target.client() as client:  # not /release, which ends the others' numbers too
            client.send(b"GET /release HTTP/1.1\r\nHost: localhost\r\n\r\n")
            events = [ws.event() for ws in [first, *more[50:]]]
            assert events == [Close(1000)] * 50
            for ws in [first, *more[50:]]:
                ws.leave()
            assert client.response().status == 200
        ws = carrier.open("/echo", beside=first)
        ws.send_message("room again")
        assert ws.message() == "room again"


HALVES = [b"\x82", encode(Op.BINARY, length=1000)[:6], encode(Op.BINARY, b"x", length=1000)]


def test_ends_in_the_middle_of_a_frame(target: ServerProcess) -> None:
    with besieged(target, http2=True) as carrier:
        first = carrier.open("/echo")
        for path in ("/echo", "/pieces", "/endless", "/raw_echo"):
            for half in HALVES:
                ws = carrier.open(path, beside=first)
                ws.send(half)
                ws.finish()
        assert ask(target, "/seen?running=1&ended=12")["ended"] == 12
        first.send_message("alive")
        assert first.message() == "alive"


@pytest.mark.slow
@pytest.mark.parametrize("impatient", ENGINES[:1], indirect=True)
def test_half_frames_are_cut_off_in_time(impatient: ServerProcess) -> None:
    with besieged(impatient, http2=True) as carrier:
        first = carrier.open("/echo")
        halves = [carrier.open("/echo", beside=first) for _ in HALVES]
        for ws, half in zip(halves, HALVES, strict=True):
            ws.send(half)
        # All are on one connection, but only this one answers.
        assert [ws.event() for ws in [first, *halves]] == [Ping()] * (1 + len(halves))
        first.send_frame(Op.PONG)
        assert not any(ws.end() for ws in halves)
        first.send_message("alive")
        while first.event() != "alive":
            pass


@pytest.mark.parametrize("length", [1, 10_000])
def test_a_handshake_that_is_refused_is_answered_whole(target: ServerProcess, length: int) -> None:
    with besieged(target, http2=True) as carrier:
        ws = carrier.open(f"/blocks?{length}")
        assert ws.status == 403
        assert ws.response.body == b"x" * length * 20


# -- floods ---------------------------------------------------------------------------------------

FLOODS = {
    "compressed-empty-messages": encode(Op.TEXT, b"\0", rsv=RSV1),
    "inflated-messages": encode(Op.BINARY, squeeze(bytes(MIB)), rsv=RSV1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOODS)
def test_nobody_waits_for_a_flood(target: ServerProcess, name: str) -> None:
    """A window is more than a packet."""
    data = packet(FLOODS[name], 16384)
    with besieged(target, http2=True) as carrier:
        clients = [carrier.open("/sink", extensions=DEFLATE) for _ in range(2)]
        for ws in clients:
            ws.send(data)
            assert ws.sync() is not None
        for ws in clients:
            ws.send(packet(FLOODS[name], WINDOW // 2))
        for ws in clients:
            ws.ping(b"behind it")
            while ws.event() != Pong(b"behind it"):
                pass


def test_frames_of_one_byte(target: ServerProcess) -> None:
    """They move something forward: nobody is cut off for them."""
    with besieged(target, http2=True) as carrier:
        ws = carrier.open("/echo")
        for _ in range(5):
            ws.send(ws.encode_message("x" * 500, size=100), 1)
            assert ws.message() == "x" * 500


def test_empty_frames(target: ServerProcess) -> None:
    with besieged(target), connect(target) as client:
        stream = client._next
        client.headers(stream, extended("/echo"))
        for _ in range(5000):
            if not strike(client, frame(DATA, 0, stream)):
                break
        assert client.broken() == ENHANCE_YOUR_CALM
