"""Text is UTF-8 (RFC 6455 8.1, RFC 3629), which is told as soon as it can be.

Section 6 of the Autobahn testsuite.
"""

from __future__ import annotations

import pytest

from websocket_client import Op, WebSocketClient, cut, encode, fragments

KOSME = "κόσμε"
NONCHARACTERS = [
    0xFDD0,
    0xFDEF,
    *(plane << 16 | low for plane in range(17) for low in (0xFFFE, 0xFFFF)),
]
POINTS = [
    *(0x00, 0x7F, 0x80, 0x7FF, 0x800, 0xFFF, 0x1000, 0xCFFF, 0xD7FF, 0xE000, 0xFEFF, 0xFFFD),
    *(0x10000, 0x3FFFF, 0x40000, 0xFFFFF, 0x100000, 0x10FFFF, *NONCHARACTERS),
]
TEXTS = {
    "kosme": KOSME,
    "hello": "Hello-µ@ßöäüàá-UTF-8!!",
    "many": (KOSME + " \U0001f409") * 100,
    **{f"U+{point:04X}": chr(point) for point in dict.fromkeys(POINTS)},
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_valid_text_is_echoed_however_it_comes(ws: WebSocketClient, text: str) -> None:
    data = text.encode()
    frame = encode(Op.TEXT, data)
    single = fragments(Op.TEXT, cut(data, 1))
    for number in range(1, len(data) if len(data) < 20 else 1):
        single += fragments(Op.TEXT, [data[:number], data[number:]])
    count = 3 + (len(data) - 1 if len(data) < 20 else 0)
    ws.send(frame)
    ws.send(frame, 1)
    ws.send(single)
    assert [ws.message() for _ in range(count)] == [text] * count
    assert ws.sync() == []


def test_a_ping_may_come_within_a_character(ws: WebSocketClient) -> None:
    for number, byte in enumerate(cut(KOSME.encode(), 1)):
        ws.send_frame(Op.CONTINUATION if number else Op.TEXT, byte, fin=False)
        assert ws.sync() == []
    ws.send_frame(Op.CONTINUATION)
    assert ws.message() == KOSME


# The bytes up to the first from which on no continuation could make it UTF-8.
BROKEN = (
    # continuation bytes without a beginning
    *("80", "bf", "61 80", "c3 a9 bf", "f0 9f 90 89 80"),
    # beginnings that are not continued
    *("c2 20", "df 41", "e1 80 20", "e2 c2", "f1 20", "f1 80 80 c2"),
    *("c3 c3", "e0 a0 e0", "f4 8f bf 20", "ef bf 7f"),
    # bytes that are never there
    *("c0", "c1", "f5", "f6", "f7", "f8", "fb", "fc", "fd", "fe", "ff"),
    # overlong forms
    *("e0 80", "e0 9f", "f0 80", "f0 8f"),
    # surrogates
    *("ed a0", "ed ad", "ed b0", "ed bf"),
    # beyond Unicode
    *("f4 90", "f4 bf"),
)
BEFORE = {"at-once": b"", "after-text": KOSME.encode()}
HELLO = encode(Op.TEXT, b"hello")


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
@pytest.mark.parametrize("broken", BROKEN)
def test_invalid_text_fails(ws: WebSocketClient, broken: str, before: bytes) -> None:
    ws.offer(HELLO + encode(Op.TEXT, before + bytes.fromhex(broken) + b"edited"))
    assert ws.verdict() == (["hello"], 1007)


@pytest.mark.parametrize("broken", BROKEN)
def test_invalid_text_fails_before_its_frame_has_come(ws: WebSocketClient, broken: str) -> None:
    data = KOSME.encode() + bytes.fromhex(broken)
    ws.send(HELLO + encode(Op.TEXT, data, length=len(data) + 100))
    assert ws.verdict() == (["hello"], 1007)


@pytest.mark.parametrize("broken", BROKEN)
def test_invalid_text_fails_before_its_message_has_come(ws: WebSocketClient, broken: str) -> None:
    """The last byte comes alone, when all before it has been read and found good."""
    data = KOSME.encode() + bytes.fromhex(broken)
    for number, byte in enumerate(cut(data[:-1], 1)):
        ws.send_frame(Op.CONTINUATION if number else Op.TEXT, byte, fin=False)
    assert ws.sync() == []
    ws.send_frame(Op.CONTINUATION, data[-1:], fin=False)
    assert ws.verdict() == ([], 1007)


@pytest.mark.parametrize("broken", BROKEN)
def test_invalid_text_fails_byte_by_byte(ws: WebSocketClient, broken: str) -> None:
    data = KOSME.encode() + bytes.fromhex(broken)
    ws.offer(HELLO + encode(Op.TEXT, data, length=len(data) + 1), 1)
    assert ws.verdict() == (["hello"], 1007)


INCOMPLETE = (
    "c2",
    "e0",
    "e0 a0",
    "e2 82",
    "ed 9f",
    "f0",
    "f0 90",
    "f0 9f 90",
    "f4 8f bf",
    "ce ba ce",
)


@pytest.mark.parametrize("pieces", ["whole", "last-frame-empty", "byte-by-byte"])
@pytest.mark.parametrize("end", INCOMPLETE)
def test_text_that_ends_within_a_character_fails(
    ws: WebSocketClient, end: str, pieces: str
) -> None:
    data = bytes.fromhex(end)
    if pieces == "last-frame-empty":
        ws.send_frame(Op.TEXT, data, fin=False)
        assert ws.sync() == []
        ws.offer(encode(Op.CONTINUATION) + HELLO)
        assert ws.verdict() == ([], 1007)
        return
    ws.offer(HELLO + encode(Op.TEXT, data) + HELLO, 1 if pieces == "byte-by-byte" else 0)
    assert ws.verdict() == (["hello"], 1007)


def test_a_character_does_not_go_on_in_the_next_message(ws: WebSocketClient) -> None:
    data = KOSME.encode()
    ws.offer(encode(Op.TEXT, data[:1]) + encode(Op.TEXT, data[1:]))
    assert ws.verdict() == ([], 1007)


@pytest.mark.parametrize("broken", BROKEN)
def test_bytes_need_not_be_utf_8(ws: WebSocketClient, broken: str) -> None:
    data = bytes.fromhex(broken)
    ws.send(encode(Op.BINARY, data) + fragments(Op.BINARY, cut(data, 1)))
    assert [ws.message(), ws.message()] == [data, data]
    assert ws.sync() == []


def test_a_large_text_fails_where_it_is_wrong(ws: WebSocketClient) -> None:
    data = (KOSME * 10_000).encode()
    ws.send(encode(Op.TEXT, data + b"\xff", length=len(data) * 2))
    assert ws.verdict() == ([], 1007)
