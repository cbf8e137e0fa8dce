"""Control frames: pings and pongs, and the closing handshake (RFC 6455 5.5, 7.1 and 7.4).

Sections 2 and 7 of the Autobahn testsuite.
"""

from __future__ import annotations

import pytest

from websocket_client import (
    NO_CODE,
    Close,
    Op,
    Pong,
    WebSocketClient,
    close_payload,
    encode,
    fragments,
)

CUTS = {0: "whole", 1: "byte-by-byte"}
HELLO = encode(Op.TEXT, b"hello")
PING = encode(Op.PING, b"never answered")
CLOSE = encode(Op.CLOSE, close_payload(1000))

# -- pings and pongs (5.5.2 and 5.5.3) ------------------------------------------------------------

PAYLOADS = {
    "empty": b"",
    "text": b"hello",
    "not-utf-8": b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff",
    "like-a-frame": b"\x81\x85\x00",
    "125-bytes": b"\xfe" * 125,
}


@pytest.mark.parametrize("cut", CUTS, ids=CUTS.get)
@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_a_ping_is_answered_with_its_payload(ws: WebSocketClient, payload: bytes, cut: int) -> None:
    ws.send(encode(Op.PING, payload), cut)
    assert ws.event() == Pong(payload)
    assert ws.shut().code == 1000


@pytest.mark.parametrize("cut", CUTS, ids=CUTS.get)
def test_ten_pings_in_a_row_are_all_answered(ws: WebSocketClient, cut: int) -> None:
    payloads = [b"payload %d" % number for number in range(10)]
    ws.send(b"".join(encode(Op.PING, payload) for payload in payloads), cut)
    assert [ws.event() for _ in payloads] == [Pong(payload) for payload in payloads]
    assert ws.sync() == []


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_a_pong_that_answers_nothing_is_ignored(ws: WebSocketClient, payload: bytes) -> None:
    ws.send_frame(Op.PONG, payload)
    assert ws.sync() == []
    ws.send_message("still there")
    assert ws.message() == "still there"


def test_a_pong_between_pings_is_ignored(ws: WebSocketClient) -> None:
    ops = (Op.PONG, Op.PING, Op.PONG, Op.PING)
    ws.send(b"".join(encode(op, b"%d" % number) for number, op in enumerate(ops)))
    assert ws.sync() == [Pong(b"1"), Pong(b"3")]


TOO_LONG = {
    "126": encode(Op.PING, bytes(126)),
    "126-head": encode(Op.PING, length=126)[:4],
    "65536-head": encode(Op.PING, length=65536)[:10],
    "pong-126": encode(Op.PONG, bytes(126)),
    "close-126": encode(Op.CLOSE, close_payload(1000, "x" * 124)),
    "close-126-head": encode(Op.CLOSE, length=126)[:4],
}


@pytest.mark.parametrize("cut", CUTS, ids=CUTS.get)
@pytest.mark.parametrize("frame", TOO_LONG.values(), ids=TOO_LONG)
def test_a_control_frame_beyond_125_bytes_fails(
    ws: WebSocketClient, frame: bytes, cut: int
) -> None:
    ws.offer(HELLO + frame, cut)
    assert ws.verdict() == (["hello"], 1002)


@pytest.mark.parametrize("op", [Op.PING, Op.PONG, Op.CLOSE], ids=lambda op: op.name)
def test_a_fragmented_control_frame_fails(ws: WebSocketClient, op: Op) -> None:
    payload = close_payload(1000) if op == Op.CLOSE else b"one"
    ws.offer(HELLO + encode(op, payload, fin=False) + PING)
    assert ws.verdict() == (["hello"], 1002)


# -- the closing handshake (5.5.1) ----------------------------------------------------------------


def test_close_is_answered_and_the_server_ends_the_transport(ws: WebSocketClient) -> None:
    ws.send_message("hello")
    assert ws.message() == "hello"
    assert ws.shut(1000, "that was all").code == 1000


def test_the_echo_comes_before_the_close_that_was_sent_with_it(ws: WebSocketClient) -> None:
    ws.send(HELLO + encode(Op.PING, b"1") + HELLO + CLOSE)
    events, code = ws.verdict()
    assert [one for one in events if not isinstance(one, Pong)] == ["hello", "hello"]
    assert (events.count(Pong(b"1")), code) == (1, 1000)


def test_a_large_echo_comes_before_the_close_that_was_sent_with_it(ws: WebSocketClient) -> None:
    message = "x" * 262144
    ws.offer(ws.encode_message(message) + CLOSE + PING)
    assert ws.verdict() == ([message], 1000)


AFTER = {
    "close": encode(Op.CLOSE, close_payload(1001)),
    "ping": PING,
    "pong": encode(Op.PONG, b"x"),
    "text": HELLO,
    "fragments": fragments(Op.BINARY, [b"1", b"2", b"3"]),
    "reserved-opcode": encode(3),
    "invalid-utf-8": encode(Op.TEXT, b"\xff"),
    "half-a-frame": HELLO[:3],
    "garbage": bytes(range(256)),
    "a-lot": encode(Op.BINARY, bytes(300_000)),
}


@pytest.mark.parametrize("cut", [0, 4096], ids=["one-packet", "cut"])
@pytest.mark.parametrize("data", AFTER.values(), ids=AFTER)
def test_what_comes_after_close_is_ignored(ws: WebSocketClient, data: bytes, cut: int) -> None:
    ws.offer(CLOSE + data, cut)
    assert ws.verdict() == ([], 1000)


def test_close_within_a_message_drops_it(ws: WebSocketClient) -> None:
    begun, continued = encode(Op.TEXT, b"begun", fin=False), encode(Op.CONTINUATION, b"end")
    ws.offer(begun + CLOSE + continued)
    assert ws.verdict() == ([], 1000)


def test_close_without_a_code_is_answered_without_one(ws: WebSocketClient) -> None:
    assert ws.shut(NO_CODE) == Close(NO_CODE)


@pytest.mark.parametrize("cut", CUTS, ids=CUTS.get)
@pytest.mark.parametrize(
    "reason", ["", "x", "hasta la vista", "κόσμε", "x" * 123, "\U0001f409" * 30 + "abc"]
)
def test_close_with_a_reason_is_answered(ws: WebSocketClient, reason: str, cut: int) -> None:
    ws.send(encode(Op.CLOSE, close_payload(1000, reason)), cut)
    assert ws.verdict() == ([], 1000)


@pytest.mark.parametrize("byte", [b"\x03", b"\x00", b"a"])
def test_half_a_code_fails(ws: WebSocketClient, byte: bytes) -> None:
    ws.send(HELLO + encode(Op.CLOSE, byte))
    assert ws.verdict() == (["hello"], 1002)


BAD_REASONS = {
    "surrogate": "κόσμε".encode() + b"\xed\xa0\x80edited",
    "overlong": b"\xc0\xaf",
    "incomplete": b"reason\xe2\x82",
    "lone-continuation": b"\x80",
    "beyond-unicode": b"\xf4\x90\x80\x80",
}


@pytest.mark.parametrize("reason", BAD_REASONS.values(), ids=BAD_REASONS)
def test_a_reason_that_is_not_utf_8_fails(ws: WebSocketClient, reason: bytes) -> None:
    ws.send(HELLO + encode(Op.CLOSE, close_payload(1000, reason)))
    assert ws.verdict() == (["hello"], 1007)


VALID = (1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999)
# 1004 to 1006 and 1015 are reserved, 1016 to 2999 are for future RFCs, the rest is for nobody.
INVALID = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)


@pytest.mark.parametrize("code", VALID)
def test_a_valid_code_comes_back(ws: WebSocketClient, code: int) -> None:
    assert ws.shut(code).code == code


@pytest.mark.parametrize("reason", ["", "reason"], ids=["bare", "with-reason"])
@pytest.mark.parametrize("code", INVALID)
def test_an_invalid_code_fails(ws: WebSocketClient, code: int, reason: str) -> None:
    ws.send(HELLO + encode(Op.CLOSE, close_payload(code, reason)))
    assert ws.verdict() == (["hello"], 1002)
