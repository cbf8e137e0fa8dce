"""Large messages, many messages, and the limits on their size.

Section 9 of the Autobahn testsuite.
"""

from __future__ import annotations

from functools import cache

import pytest

from websocket_client import Op, Open, WebSocketClient, cut, encode, fragments

KIB = 1024
MIB = 1024 * KIB
LIMIT = 4 * MIB
OPTIONS = {"websocket_max_message_size": LIMIT, "websocket_max_frame_size": LIMIT}

TEXT = "BAsd7&jh23é\U0001f409"


@cache
def message(kind: str, size: int) -> str | bytes:
    """Return a message of `size` bytes."""
    unit = len(TEXT.encode())
    text = TEXT * (size // unit) + "x" * (size % unit)
    return text if kind == "text" else text.encode()


def size_name(size: int) -> str:
    return f"{size // KIB}K" if size >= KIB else str(size)


kinds = pytest.mark.parametrize("kind", ["text", "binary"])


@kinds
@pytest.mark.parametrize("size", [64 * KIB, 256 * KIB, MIB, LIMIT], ids=size_name)
def test_a_large_message_in_one_frame(ws: WebSocketClient, kind: str, size: int) -> None:
    sent = message(kind, size)
    ws.send_message(sent)
    assert ws.message() == sent
    assert ws.shut().code == 1000


@kinds
@pytest.mark.parametrize("piece", [64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB], ids=size_name)
def test_a_large_message_in_many_frames(ws: WebSocketClient, kind: str, piece: int) -> None:
    sent = message(kind, min(LIMIT, 4096 * piece))
    ws.send_message(sent, size=piece)
    assert ws.message() == sent
    assert ws.shut().code == 1000


@kinds
@pytest.mark.parametrize("chop", [64, 128, 512, KIB, 2 * KIB, 16 * KIB], ids=size_name)
def test_a_large_message_that_is_sent_in_chops(ws: WebSocketClient, kind: str, chop: int) -> None:
    sent = message(kind, min(MIB, 2048 * chop))
    ws.send(ws.encode_message(sent), chop)
    assert ws.message() == sent
    assert ws.shut().code == 1000


@kinds
@pytest.mark.parametrize("size", [0, 16, 64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB], ids=size_name)
def test_many_messages_there_and_back(ws: WebSocketClient, kind: str, size: int) -> None:
    sent = message(kind, size)
    for _ in range(50):
        ws.send_message(sent)
        assert ws.message() == sent
    assert ws.shut().code == 1000


# -- beyond the limits ----------------------------------------------------------------------------

HELLO = encode(Op.TEXT, b"hello")


@kinds
def test_a_frame_beyond_the_limit_is_refused_by_its_head(ws: WebSocketClient, kind: str) -> None:
    op = Op.TEXT if kind == "text" else Op.BINARY
    ws.send(HELLO + encode(op, length=LIMIT + 1))
    assert ws.verdict() == (["hello"], 1009)


@pytest.mark.parametrize("length", [1 << 32, (1 << 63) - 1])
def test_a_frame_of_any_length_is_refused_by_its_head(ws: WebSocketClient, length: int) -> None:
    ws.send(HELLO + encode(Op.BINARY, length=length))
    assert ws.verdict() == (["hello"], 1009)


@kinds
@pytest.mark.parametrize("piece", [64 * KIB, MIB], ids=size_name)
def test_frames_that_are_too_large_together_are_refused(
    ws: WebSocketClient, kind: str, piece: int
) -> None:
    """The first byte beyond the limit tells, wherever the message would have ended."""
    op = Op.TEXT if kind == "text" else Op.BINARY
    pieces = [b"x" * piece] * (LIMIT // piece)
    ws.send(fragments(op, [*pieces, b""])[: -len(encode(Op.CONTINUATION))])
    assert ws.sync() == []
    ws.send_frame(Op.CONTINUATION, b"x", fin=False)
    assert ws.verdict() == ([], 1009)


def test_the_rest_of_what_is_refused_is_taken_away(open_ws: Open) -> None:
    """The Close reaches a client that goes on sending, and on HTTP/2 others are not held up."""
    other = open_ws()
    ws = open_ws()
    frame = encode(Op.BINARY, bytes(LIMIT + 1))
    for piece in cut(frame, 64 * KIB):
        ws.offer(piece)
    assert ws.verdict() == ([], 1009)
    other.send_message("hello")
    assert other.message() == "hello"
