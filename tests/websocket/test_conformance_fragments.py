"""Messages of several frames (RFC 6455 5.4).

Sections 5 and 10 of the Autobahn testsuite.
"""

from __future__ import annotations

from itertools import product

import pytest

from websocket_client import (
    Event,
    Op,
    Open,
    Pong,
    WebSocketClient,
    close_payload,
    encode,
    fragments,
)

CLOSE = encode(Op.CLOSE, close_payload(1000))

# -- all orders of data frames --------------------------------------------------------------------

# The letter is the opcode; a capital has FIN.
LETTERS = "tTbBcC"
OPS = {"t": Op.TEXT, "b": Op.BINARY, "c": Op.CONTINUATION, "p": Op.PING, "o": Op.PONG}


def frames_of(order: str) -> list[bytes]:
    """Return a frame for each letter, whose payload is the letter's place."""
    return [
        encode(OPS[letter.lower()], b"%d" % number, fin=letter.isupper())
        for number, letter in enumerate(order)
    ]


def expected(order: str) -> tuple[list[Event], int]:
    """Return what must come of it: the echoes, pongs and the code of the Close, 1000 for all."""
    events: list[Event] = []
    begun: str | None = None
    data = b""
    for number, letter in enumerate(order):
        payload = b"%d" % number
        op = letter.lower()
        if op == "p":
            events.append(Pong(payload))
        if op in "po":
            continue
        if (op == "c") != (begun is not None):
            return events, 1002
        begun, data = begun or op, data + payload
        if letter.isupper():
            events.append(data.decode() if begun == "t" else data)
            begun, data = None, b""
    return events, 1000


@pytest.mark.parametrize("order", ["".join(two) for two in product(LETTERS, repeat=2)])
def test_data_frames_in_any_order(open_ws: Open, order: str) -> None:
    for third in ("", *LETTERS):
        ws = open_ws()
        ws.offer(b"".join(frames_of(order + third)) + CLOSE)
        assert ws.verdict() == expected(order + third), order + third


# -- longer ones ----------------------------------------------------------------------------------

LONGER = (
    # pings between
    "tPC",
    "tPPcPC",
    "bPcPcPcPC",
    "PtOcPCP",
    "OOtOOCOO",
    "tcccccccccC",
    "tcPccPccCTbcPC",
    # without a beginning, with and without a message before
    "tCcT",
    "tCCT",
    "TcC",
    "PCP",
    "cTcT",
    # a new message within
    "tPT",
    "tcPb",
    "bcccT",
    # two messages
    "tCtC",
    "bCTtcCB",
)


@pytest.mark.parametrize("how", ["one-packet", "frame-by-frame", "byte-by-byte"])
@pytest.mark.parametrize("order", LONGER)
def test_frames_with_others_between(ws: WebSocketClient, order: str, how: str) -> None:
    frames = [*frames_of(order), CLOSE]
    if how == "one-packet":
        ws.offer(b"".join(frames))
    elif how == "byte-by-byte":
        ws.offer(b"".join(frames), 1)
    else:
        for frame in frames:
            ws.offer(frame)
    events, code = ws.verdict()
    # A pong may overtake an echo, for which the handler is asked.
    assert (apart(events), code) == (apart(expected(order)[0]), expected(order)[1])


def apart(events: list[Event]) -> tuple[list[Event], list[Event]]:
    """Return messages and pongs."""
    return (
        [one for one in events if not isinstance(one, Pong)],
        [one for one in events if isinstance(one, Pong)],
    )


def test_a_ping_within_a_message_is_answered_before_its_end(ws: WebSocketClient) -> None:
    ws.send_frame(Op.TEXT, b"one ", fin=False)
    assert ws.sync() == []
    ws.send_frame(Op.CONTINUATION, b"two ", fin=False)
    assert ws.sync() == []
    ws.send_frame(Op.CONTINUATION, b"three")
    assert ws.message() == "one two three"


@pytest.mark.parametrize("pieces", [[b""] * 3, [b"", b"x", b""], [b"", b"", b"x"], [b"x", b""]])
@pytest.mark.parametrize("op", [Op.TEXT, Op.BINARY], ids=["text", "binary"])
def test_frames_may_be_empty(ws: WebSocketClient, op: Op, pieces: list[bytes]) -> None:
    ws.send(fragments(op, pieces))
    data = b"".join(pieces)
    assert ws.message() == (data.decode() if op == Op.TEXT else data)
    assert ws.shut().code == 1000


def test_a_message_without_an_end_is_none(ws: WebSocketClient) -> None:
    ws.send(fragments(Op.TEXT, [b"x"] * 50)[: -len(encode(Op.CONTINUATION, b"x"))])
    assert ws.sync() == []
    assert ws.shut().code == 1000


# -- messages that a client cuts by itself --------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 125, 126, 1300, 65536])
@pytest.mark.parametrize("kind", ["text", "binary"])
def test_a_message_in_frames_of_one_size(ws: WebSocketClient, kind: str, size: int) -> None:
    text = "κόσμε " * (7282 if size > 100 else 200)
    message: str | bytes = text if kind == "text" else text.encode()
    ws.send_message(message, size=size)
    assert ws.message() == message
    assert ws.shut().code == 1000
