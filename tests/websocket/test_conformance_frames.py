"""Single frames: sizes, lengths and masks, reserved bits, reserved opcodes (RFC 6455 5.2 and 5.3).

Sections 1, 3 and 4 of the Autobahn testsuite. What came before a fault is answered, what comes
after it is not.
"""

from __future__ import annotations

import pytest

from websocket_client import Op, WebSocketClient, encode

SIZES = (0, 125, 126, 127, 128, 65535, 65536)
CUTS = {0: "whole", 1: "byte-by-byte", 997: "by-997"}

PING = encode(Op.PING, b"never answered")
HELLO = encode(Op.TEXT, b"hello")
ASCII = bytes(range(32, 127))


def payload(size: int) -> bytes:
    return (ASCII * (size // len(ASCII) + 1))[:size]


@pytest.mark.parametrize("cut", CUTS, ids=CUTS.get)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("op", [Op.TEXT, Op.BINARY], ids=["text", "binary"])
def test_a_message_of_any_size_is_echoed(ws: WebSocketClient, op: Op, size: int, cut: int) -> None:
    if cut == 1 and size > 1000:
        size //= 64
    data = payload(size)
    ws.send(encode(op, data), cut)
    assert ws.message() == (data.decode() if op == Op.TEXT else data)
    assert ws.sync() == []


@pytest.mark.parametrize("size", [125, 126, 65535, 65536])
def test_messages_that_come_in_one_packet_are_echoed_in_order(
    ws: WebSocketClient, size: int
) -> None:
    messages: list[str | bytes] = [b"\0" * size, "1", payload(size).decode(), b"", "", b"2"]
    ws.send(b"".join(ws.encode_message(message) for message in messages))
    assert [ws.message() for _ in messages] == messages
    assert ws.shut().code == 1000


@pytest.mark.parametrize("key", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1", b"abcd"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 31, 130, 1000])
def test_every_mask_is_taken_off(ws: WebSocketClient, key: bytes, size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    ws.send_frame(Op.BINARY, data, key=key)
    ws.send(encode(Op.BINARY, data, key=key), 3)
    assert [ws.message(), ws.message()] == [data, data]


# -- lengths and masks that are not allowed (5.1, 5.2) --------------------------------------------

BAD_FRAMES = {
    "unmasked-text": encode(Op.TEXT, b"x", key=None),
    "unmasked-empty": encode(Op.TEXT, key=None),
    "unmasked-ping": encode(Op.PING, b"x", key=None),
    "unmasked-close": encode(Op.CLOSE, b"\x03\xe8", key=None),
    "0-in-16-bits": encode(Op.TEXT, bits=16),
    "125-in-16-bits": encode(Op.TEXT, payload(125), bits=16),
    "0-in-64-bits": encode(Op.BINARY, bits=64),
    "126-in-64-bits": encode(Op.BINARY, payload(126), bits=64),
    "65535-in-64-bits": encode(Op.BINARY, payload(65535), bits=64),
    "ping-of-5-in-16-bits": encode(Op.PING, b"12345", bits=16),
    "highest-bit-of-64": encode(Op.BINARY, b"x", length=1 << 63, bits=64),
    "all-64-bits": encode(Op.BINARY, b"x", length=(1 << 64) - 1, bits=64),
}


@pytest.mark.parametrize("cut", [0, 1], ids=CUTS.get)
@pytest.mark.parametrize("frame", BAD_FRAMES.values(), ids=BAD_FRAMES)
def test_a_length_or_mask_that_is_not_allowed_fails(
    ws: WebSocketClient, frame: bytes, cut: int
) -> None:
    if cut and len(frame) > 1000:
        frame = frame[:100]  # the head tells
    ws.offer(HELLO + frame + PING, cut)
    assert ws.verdict() == (["hello"], 1002)


@pytest.mark.parametrize(
    "head",
    [
        encode(Op.TEXT, length=125, bits=16)[:4],
        encode(Op.TEXT, length=65535, bits=64)[:10],
        encode(Op.TEXT, length=1 << 63, bits=64)[:10],
        encode(Op.TEXT, length=5, key=None)[:2],
    ],
    ids=["16-bits-for-125", "64-bits-for-65535", "highest-bit-of-64", "unmasked"],
)
def test_the_head_of_a_bad_frame_is_enough(ws: WebSocketClient, head: bytes) -> None:
    ws.send(head)
    assert ws.verdict() == ([], 1002)


# -- reserved bits (5.2) --------------------------------------------------------------------------


@pytest.mark.parametrize("op", [op for op in Op if op != Op.CONTINUATION], ids=lambda op: op.name)
@pytest.mark.parametrize("rsv", range(1, 8))
def test_a_reserved_bit_fails(ws: WebSocketClient, rsv: int, op: Op) -> None:
    data = b"\x03\xe8" if op == Op.CLOSE else b"x"
    ws.offer(HELLO + encode(op, data, rsv=rsv) + PING)
    assert ws.verdict() == (["hello"], 1002)


@pytest.mark.parametrize("rsv", range(1, 8))
def test_a_reserved_bit_of_a_continuation_fails(ws: WebSocketClient, rsv: int) -> None:
    begun = encode(Op.TEXT, b"begun", fin=False)
    ws.offer(HELLO + begun + encode(Op.CONTINUATION, b"x", rsv=rsv) + PING)
    assert ws.verdict() == (["hello"], 1002)


@pytest.mark.parametrize("rsv", [1, 2, 4])
def test_a_reserved_bit_fails_when_all_comes_byte_by_byte(ws: WebSocketClient, rsv: int) -> None:
    ws.offer(HELLO + encode(Op.BINARY, payload(20), rsv=rsv), 1)
    assert ws.verdict() == (["hello"], 1002)


# -- reserved opcodes (5.2) -----------------------------------------------------------------------

RESERVED = (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)


@pytest.mark.parametrize("size", [0, 5, 200])
@pytest.mark.parametrize("op", RESERVED)
def test_a_reserved_opcode_fails(ws: WebSocketClient, op: int, size: int) -> None:
    ws.offer(HELLO + encode(op, payload(size)) + PING)
    assert ws.verdict() == (["hello"], 1002)


@pytest.mark.parametrize("op", RESERVED)
def test_a_reserved_opcode_fails_when_all_comes_byte_by_byte(ws: WebSocketClient, op: int) -> None:
    ws.offer(HELLO + encode(op, payload(5)), 1)
    assert ws.verdict() == (["hello"], 1002)


@pytest.mark.parametrize("op", RESERVED)
def test_a_reserved_opcode_fails_within_a_message(ws: WebSocketClient, op: int) -> None:
    ws.offer(encode(Op.TEXT, b"begun", fin=False) + encode(op, b"x", fin=False) + PING)
    assert ws.verdict() == ([], 1002)
