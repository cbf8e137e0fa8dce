"""HTTP/2 clients that send frames without end, which move nothing forward.

CVE-2019-9512 (PING), 9513 (PRIORITY), 9515 (SETTINGS) and 9518 (empty frames) are the known ones.
"""

from __future__ import annotations

import struct

import pytest

from conftest import ServerProcess
from http2_attack_tools import (
    CONTROL_FRAMES,
    STREAMS,
    Flood,
    assault,
    besieged,
    connect,
    request,
    reset,
    strike,
    window_update,
)
from http2_client import (
    ACK,
    DATA,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    INITIAL_WINDOW_SIZE,
    PADDED,
    PING,
    PRIORITY,
    PRIORITY_UPDATE,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    SETTINGS,
    STREAM_CLOSED,
    RawHttp2,
    frame,
)

FRAMES = 50
"""Frames that are sent at once."""
BATCHES = 3 * CONTROL_FRAMES // FRAMES
"""Batches of them, that the server must not take."""

CALM = {ENHANCE_YOUR_CALM}
OPEN = 1
"""A stream whose request has not ended, in `setting`s that say so."""
CLOSED = 3
"""A stream whose response has ended."""


def prepare(client: RawHttp2) -> None:
    """Open streams 1 and 5 to 63, whose responses wait for the content, and close stream 3."""
    client.request("/upload", method="POST", end=False)
    client.get("/")
    for _ in range(30):
        client.request("/upload", method="POST", end=False)
    client.sync()


def shuffled(number: int) -> bytes:
    """Return PRIORITY frames that turn the tree of dependencies over and over."""
    frames = []
    for step in range(FRAMES):
        stream = 5 + 2 * ((number + step) % 30)
        depends_on = 5 + 2 * ((number * 7 + step + 1) % 30)
        if depends_on == stream:
            depends_on = 0
        exclusive = 0x80000000 * (step % 2)
        frames.append(
            frame(PRIORITY, 0, stream, struct.pack(">LB", depends_on | exclusive, number % 256))
        )
    return b"".join(frames)


def unopened(number: int) -> bytes:
    """Return PRIORITY frames, each for another stream that was not opened yet."""
    first = 1001 + 2 * FRAMES * number
    streams = range(first, first + 2 * FRAMES, 2)
    return b"".join(
        frame(PRIORITY, 0, one, struct.pack(">LB", one - 2, one % 256)) for one in streams
    )


def announced(number: int) -> bytes:
    """Return PRIORITY_UPDATE frames, each for another stream that was not opened yet."""
    first = 1001 + 2 * FRAMES * number
    streams = range(first, first + 2 * FRAMES, 2)
    return b"".join(
        frame(PRIORITY_UPDATE, 0, 0, struct.pack(">L", one) + b"u=1") for one in streams
    )


def windows(number: int) -> bytes:
    """Return SETTINGS that change the windows of all open streams."""
    sizes = (100 + number, 200 + number)
    return b"".join(
        frame(SETTINGS, 0, 0, struct.pack(">HL", INITIAL_WINDOW_SIZE, sizes[step % 2]))
        for step in range(FRAMES)
    )


def same(data: bytes) -> Flood:
    """Return a flood of the same frame."""
    batch = data * FRAMES
    return lambda number: batch


@pytest.mark.parametrize(
    ("flood", "codes"),
    [
        pytest.param(same(frame(PING, 0, 0, bytes(8))), CALM, id="ping"),
        pytest.param(same(frame(PING, ACK, 0, bytes(8))), CALM, id="ping-ack"),
        pytest.param(same(frame(SETTINGS, 0, 0)), CALM, id="settings"),
        pytest.param(windows, CALM, id="settings-that-change-windows"),
        pytest.param(
            same(frame(SETTINGS, 0, 0, struct.pack(">HL", 0xF0F0, 1) * 20)),
            CALM,
            id="settings-unknown",
        ),
        pytest.param(same(frame(SETTINGS, ACK, 0)), CALM | {PROTOCOL_ERROR}, id="settings-ack"),
        pytest.param(
            same(frame(PRIORITY, 0, OPEN, struct.pack(">LB", 0, 15))), CALM, id="priority"
        ),
        pytest.param(shuffled, CALM, id="priority-churn"),
        pytest.param(unopened, CALM, id="priority-of-unopened-streams"),
        pytest.param(
            same(frame(PRIORITY_UPDATE, 0, 0, struct.pack(">L", OPEN) + b"u=1")),
            CALM,
            id="priority-update",
        ),
        pytest.param(announced, CALM | {PROTOCOL_ERROR}, id="priority-update-of-unopened-streams"),
        pytest.param(same(window_update(0, 1)), CALM, id="window-update"),
        pytest.param(same(window_update(OPEN, 1)), CALM, id="window-update-of-a-stream"),
        pytest.param(same(window_update(CLOSED, 1)), CALM, id="window-update-of-a-closed-stream"),
        pytest.param(same(frame(DATA, 0, OPEN)), CALM, id="empty-data"),
        pytest.param(same(frame(DATA, PADDED, OPEN, b"\x00")), CALM, id="padding-of-nothing"),
        pytest.param(
            same(frame(DATA, PADDED, OPEN, b"\x09" + bytes(9))), CALM, id="nothing-but-padding"
        ),
        pytest.param(same(reset(CLOSED)), CALM | {STREAM_CLOSED}, id="reset-of-a-closed-stream"),
        pytest.param(same(frame(0xFA, 0, 0)), CALM, id="unknown-empty"),
        pytest.param(same(frame(0xFA, 0xFF, OPEN, bytes(100))), CALM, id="unknown"),
        pytest.param(same(frame(0x0A, 0, 0, bytes(2) + b"h2=:1")), CALM, id="altsvc"),
        pytest.param(same(frame(0x0C, 0, 0, bytes(2))), CALM, id="origin"),
        pytest.param(same(frame(GOAWAY, 0, 0, bytes(8))), CALM, id="goaway"),
        pytest.param(
            same(frame(PUSH_PROMISE, 4, OPEN, struct.pack(">L", 2))),
            CALM | {PROTOCOL_ERROR},
            id="push-promise",
        ),
    ],
)
def test_flood(target: ServerProcess, flood: Flood, codes: set[int]) -> None:
    with besieged(target) as clients:
        for client in clients:
            prepare(client)
        assert assault(clients, flood, BATCHES) <= codes


def test_flood_of_frames_that_wait_for_their_answers(target: ServerProcess) -> None:
    # Each in a packet of its own: that it was answered has earned the client nothing.
    with besieged(target, 1) as clients:
        ping = frame(PING, 0, 0, bytes(8))
        assert assault(clients, lambda number: ping, 3 * CONTROL_FRAMES, pause=1) == CALM


@pytest.mark.parametrize("size", [0, 16384], ids=["empty", "full"])
def test_few_large_frames_of_unknown_type(target: ServerProcess, size: int) -> None:
    with besieged(target) as clients:
        unknown = frame(0xFA, 0, 0, bytes(size))
        assert assault(clients, lambda number: unknown, 3 * CONTROL_FRAMES) == CALM


@pytest.mark.slow
def test_content_in_single_bytes(target: ServerProcess) -> None:
    # It moves something forward, so it is not cut off; it must not keep the hub for long either.
    count = 20000
    data = frame(DATA, 0, OPEN, b"x") * count
    with besieged(target) as clients:
        for client in clients:
            client.request("/upload", method="POST", end=False)
        for client in clients:
            client.send(data)
            client.data(OPEN, b"", end=True)
        for client in clients:
            assert client.response(OPEN).body == b"%d" % count


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_data_of_a_closed_stream(target: ServerProcess, size: int) -> None:
    # It may have been under way when the stream was closed; dropping it costs next to nothing.
    data = frame(DATA, 0, CLOSED, bytes(size)) * FRAMES
    with besieged(target) as clients:
        for client in clients:
            prepare(client)
        for client in clients:
            if all(strike(client, data, patient=True) for _ in range(40)):
                assert client.get("/").status == 200
            else:
                assert client.broken() in CALM | {STREAM_CLOSED}


def test_settings_with_as_many_values_as_fit(target: ServerProcess) -> None:
    values = b"".join(
        struct.pack(">HL", INITIAL_WINDOW_SIZE, 1000 + number % 2) for number in range(2700)
    )
    with besieged(target) as clients:
        for client in clients:
            for _ in range(STREAMS):
                client.request("/gate")
        assert assault(clients, lambda number: frame(SETTINGS, 0, 0, values), 200) == CALM


def test_flood_behind_a_goaway(target: ServerProcess) -> None:
    # A client that has taken its leave may still have streams open, but no more rights.
    with besieged(target) as clients:
        for client in clients:
            prepare(client)
            client.goaway()
        flood = same(frame(PING, 0, 0, bytes(8)))
        assert assault(clients, flood, BATCHES) <= CALM


def test_more_requests_behind_a_goaway(target: ServerProcess) -> None:
    with besieged(target) as clients:
        for client in clients:
            client.goaway()
        codes = assault(
            clients, lambda number: request(2 * number + 1) + frame(GOAWAY, 0, 0, bytes(8)), 5000
        )
        assert codes <= {-1, 0, ENHANCE_YOUR_CALM}


def test_what_is_sent_behind_the_last_goaway_is_not_taken(target: ServerProcess) -> None:
    with besieged(target) as clients:
        for client in clients:
            client.send(frame(PING, 0, 0, bytes(8)) * 3 * CONTROL_FRAMES + request(1, b"/gate"))
            assert client.broken() == ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    ("control", "price"),
    [
        pytest.param(frame(PING, 0, 0, bytes(8)), 1, id="ping"),
        # Each may change the windows of all streams.
        pytest.param(frame(SETTINGS, 0, 0), 10, id="settings"),
    ],
)
def test_as_many_control_frames_as_allowed(
    target: ServerProcess, control: bytes, price: int
) -> None:
    with connect(target) as client:
        client.send(control * ((CONTROL_FRAMES - 100) // price))
        assert client.get("/").status == 200
