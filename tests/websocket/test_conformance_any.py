"""Anything: valid frames however they are cut, and bytes that somebody has damaged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from websocket_client import (
    RSV1,
    Carrier,
    Event,
    Op,
    Ping,
    Pong,
    TransportEnded,
    WebSocketClient,
    close_payload,
    encode,
)

FEW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
DEFLATE = "permessage-deflate; client_max_window_bits"


@dataclass
class Message:
    """One message: where its payload is cut, and the pings before its frames."""

    content: str | bytes
    cuts: list[int]
    pings: list[bytes | None]
    compress: bool


def pieces_of(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Return `data`, cut at places that are taken modulo its length."""
    places = sorted({place % (len(data) + 1) for place in cuts})
    ends = [*places, len(data)]
    return [data[begin:end] for begin, end in zip([0, *places], ends, strict=True)]


PLACES = st.lists(st.integers(0, 1000), max_size=6)
SMALL = st.one_of(st.text(max_size=40), st.binary(max_size=40))
LARGE = st.builds(
    lambda unit, count: unit * count,
    st.sampled_from(["ab", "κό", "\U0001f409", b"\x00\xff", b"xyz"]),
    st.integers(30, 300),
)
MESSAGES = st.lists(
    st.builds(
        Message,
        st.one_of(SMALL, LARGE),
        PLACES,
        st.lists(st.none() | st.binary(max_size=125), max_size=4),
        st.booleans(),
    ),
    max_size=6,
)


def encode_all(ws: WebSocketClient, messages: list[Message]) -> tuple[bytes, list[bytes]]:
    """Return the frames of `messages` with pings between, and the payloads of the pings."""
    whole = b""
    sent = []
    for message in messages:
        op = Op.TEXT if isinstance(message.content, str) else Op.BINARY
        data = message.content.encode() if isinstance(message.content, str) else message.content
        rsv = 0
        if ws.deflate is not None and message.compress:
            data, rsv = ws.deflate.compress(data), RSV1
        frames = pieces_of(data, message.cuts)
        pings = [*message.pings, *[None] * len(frames)]
        for number, frame in enumerate(frames):
            ping = pings[number]
            if ping is not None:
                whole += encode(Op.PING, ping)
                sent.append(ping)
            fin = number == len(frames) - 1
            whole += encode(op, frame, fin=fin, rsv=rsv)
            op, rsv = Op.CONTINUATION, 0
    return whole, sent


def send_pieces(ws: WebSocketClient, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        if piece:
            ws.offer(piece)


@pytest.mark.slow
@FEW
@given(MESSAGES, PLACES, st.booleans())
def test_valid_frames_mean_the_same_wherever_they_are_cut(
    echo_server: Carrier,
    bystander: list[WebSocketClient],
    messages: list[Message],
    cuts: list[int],
    compress: bool,
) -> None:
    ws = beside(echo_server, bystander, DEFLATE if compress else "")
    data, pings = encode_all(ws, messages)
    data += encode(Op.CLOSE, close_payload(1000, "reason"))
    send_pieces(ws, pieces_of(data, cuts))
    events, code = ws.verdict()
    pongs = [one for one in events if isinstance(one, Pong)]
    assert [one for one in events if not isinstance(one, Pong)] == [
        message.content for message in messages
    ]
    assert (pongs, code) == ([Pong(payload) for payload in pings], 1000)
    ws.leave()


# What is done to one place of the bytes.
DAMAGE = st.lists(
    st.tuples(
        st.sampled_from(["flip", "drop", "insert", "repeat", "cut"]),
        st.integers(0, 1000),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=4,
)


def damaged(data: bytes, damage: list[tuple[str, int, bytes]]) -> bytes:
    for what, place, other in damage:
        place %= len(data) + 1
        before, after = data[:place], data[place:]
        count = len(other)
        match what:
            case "flip":
                head = bytes(a ^ b for a, b in zip(after, other, strict=False))
                data = before + head + after[count:]
            case "drop":
                data = before + after[count:]
            case "insert":
                data = before + other + after
            case "repeat":
                data = before + after[: count * 3] + after
            case _:
                data = before
    return data


@pytest.mark.slow
@FEW
@given(MESSAGES, DAMAGE, PLACES, st.booleans())
def test_damaged_frames_end_their_websocket_and_nothing_else(
    echo_server: Carrier,
    bystander: list[WebSocketClient],
    messages: list[Message],
    damage: list[tuple[str, int, bytes]],
    cuts: list[int],
    compress: bool,
) -> None:
    ws = beside(echo_server, bystander, DEFLATE if compress else "")
    data, _ = encode_all(ws, messages)
    send_pieces(ws, pieces_of(damaged(data, damage), cuts))
    ws.finish()
    events: list[Event] = []
    try:
        while True:
            events.append(ws.event())
    except TransportEnded:
        pass  # in what way is not for this test to say
    assert not any(isinstance(one, Ping) for one in events)
    ws.leave()
    fresh = beside(echo_server, bystander, "")
    fresh.send_message("hello")
    assert fresh.message() == "hello"
    assert fresh.shut().code == 1000
    fresh.leave()


def beside(server: Carrier, bystander: list[WebSocketClient], extensions: str) -> WebSocketClient:
    """Return a new WebSocket; on HTTP/2 they all share a connection."""
    if not bystander:
        bystander.append(server.open())
    return server.open(extensions=extensions, beside=bystander[0])
