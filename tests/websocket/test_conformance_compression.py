"""permessage-deflate (RFC 7692): what is agreed, and messages of all kinds under it.

Sections 12 and 13 of the Autobahn testsuite.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable
from functools import cache
from itertools import product

import pytest

from websocket_client import RSV1, Op, Open, Pong, WebSocketClient, cut, encode, fragments

LIMIT = 1 << 20
OPTIONS = {"websocket_context_takeover": True, "websocket_max_message_size": LIMIT}
DEFLATE = "permessage-deflate"


@pytest.fixture
def deflating(open_ws: Open) -> WebSocketClient:
    """Return a WebSocket with compression, and both contexts taken over."""
    ws = open_ws(extensions=DEFLATE)
    assert ws.deflate is not None
    assert ws.deflate.client_takeover
    return ws


@cache
def json_text(size: int) -> str:
    chooser = random.Random(size)
    rows = [
        {"id": number, "name": chooser.choice(("anna", "björn", "çelik")), "x": chooser.random()}
        for number in range(size // 40 + 1)
    ]
    return json.dumps(rows, ensure_ascii=False)


@cache
def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


KINDS: dict[str, Callable[[int], str | bytes]] = {
    "json": json_text,
    "noise": noise,
    "zeros": bytes,
    "words": lambda size: ("κόσμε and the like, " * (size // 20 + 1))[:size],
}
SIZES = (0, 1, 16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072)

# -- messages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_messages_of_all_sizes_and_kinds(deflating: WebSocketClient, size: int, kind: str) -> None:
    message = KINDS[kind](size)
    for _ in range(2):
        deflating.send_message(message)
        assert deflating.message() == message
    assert deflating.shut().code == 1000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("piece", [1, 7, 100, 1000])
def test_compressed_messages_in_many_frames(
    deflating: WebSocketClient, piece: int, kind: str
) -> None:
    message = KINDS[kind](piece * 50)
    for size in (piece, 0, piece):
        deflating.send_message(message, size=size)
        assert deflating.message() == message
    deflating.send(deflating.encode_message(message, size=piece), max(5, piece // 10))
    assert deflating.message() == message
    assert deflating.sync() == []


def test_pings_between_compressed_frames(deflating: WebSocketClient) -> None:
    assert deflating.deflate is not None
    first, *others = cut(deflating.deflate.compress(b"hello" * 20), 3)
    deflating.send_frame(Op.TEXT, first, fin=False, rsv=RSV1)
    for piece in others:
        deflating.send(encode(Op.PING, piece) + encode(Op.CONTINUATION, piece, fin=False))
        assert deflating.event() == Pong(piece)
    deflating.send_frame(Op.CONTINUATION)
    assert deflating.message() == "hello" * 20


def test_messages_need_not_be_compressed(deflating: WebSocketClient) -> None:
    """RFC 7692 6: each message for itself; those that are not leave the context alone."""
    for compress in (True, False, True, True, False, True):
        deflating.send_message("hello hello", compress=compress)
        assert deflating.message() == "hello hello"
        deflating.send_message(b"hello" * 9, compress=compress, size=4)
        assert deflating.message() == b"hello" * 9


def test_the_server_compresses(deflating: WebSocketClient) -> None:
    deflating.send_message("hello" * 1000)
    taken = deflating.frame()
    assert taken.rsv == RSV1
    assert len(taken.payload) < 100


# The examples of RFC 7692 7.2.3, and forms that any compressor may choose.
FORMS = {
    "one-block": "f2 48 cd c9 c9 07 00",
    "no-compression": "00 05 00 fa ff 48 65 6c 6c 6f 00",
    "final-block": "f3 48 cd c9 c9 07 00 00",
    "two-blocks": "f2 48 05 00 00 00 ff ff ca c9 c9 07 00",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_examples_of_the_rfc(deflating: WebSocketClient, form: str) -> None:
    data = bytes.fromhex(form)
    deflating.send_frame(Op.TEXT, data, rsv=RSV1)
    deflating.send(fragments(Op.TEXT, cut(data, 1), RSV1))
    assert [deflating.message(), deflating.message()] == ["Hello", "Hello"]
    deflating.send_message("still there")
    assert deflating.message() == "still there"


def test_a_message_may_refer_to_the_one_before(deflating: WebSocketClient) -> None:
    """RFC 7692 7.2.3.2."""
    deflating.send_frame(Op.TEXT, bytes.fromhex("f2 48 cd c9 c9 07 00"), rsv=RSV1)
    deflating.send_frame(Op.TEXT, bytes.fromhex("f2 00 11 00 00"), rsv=RSV1)
    assert [deflating.message(), deflating.message()] == ["Hello", "Hello"]


@pytest.mark.parametrize("data", ["00", "02 00", "01 00 00 ff ff 00"])
def test_an_empty_message_has_many_forms(deflating: WebSocketClient, data: str) -> None:
    deflating.send_frame(Op.TEXT, bytes.fromhex(data), rsv=RSV1)
    assert deflating.message() == ""
    assert deflating.sync() == []


@pytest.mark.parametrize("flush", [zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH], ids=["sync", "full"])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_any_compressor_will_do(deflating: WebSocketClient, level: int, flush: int) -> None:
    compressor = zlib.compressobj(level, wbits=-15)
    for message in ("x", json_text(3000), "", json_text(3000)):
        pieces = [compressor.compress(one) + compressor.flush(flush) for one in halves(message)]
        deflating.send_frame(Op.TEXT, b"".join(pieces)[:-4], rsv=RSV1)
        assert deflating.message() == message


def halves(message: str) -> list[bytes]:
    data = message.encode()
    return [data[: len(data) // 2], data[len(data) // 2 :] or b""]


# -- faults ---------------------------------------------------------------------------------------

HELLO = encode(Op.TEXT, b"hello")
PING = encode(Op.PING, b"never answered")
BEGUN = encode(Op.TEXT, bytes.fromhex("f2 48 cd"), fin=False, rsv=RSV1)

PROTOCOL_ERRORS = {
    "rsv1-on-a-continuation": BEGUN + encode(Op.CONTINUATION, b"\0", rsv=RSV1),
    "rsv1-on-a-continuation-only": fragments(Op.TEXT, [b"x", b"y"])[:7]
    + encode(Op.CONTINUATION, b"\0", rsv=RSV1),
    "rsv1-on-a-ping": encode(Op.PING, b"x", rsv=RSV1),
    "rsv1-on-a-pong": encode(Op.PONG, b"x", rsv=RSV1),
    "rsv1-on-a-close": encode(Op.CLOSE, b"\x03\xe8", rsv=RSV1),
    "rsv2": encode(Op.TEXT, b"x", rsv=2),
    "rsv3": encode(Op.TEXT, b"x", rsv=1),
    "rsv1-and-2": encode(Op.TEXT, bytes.fromhex(FORMS["one-block"]), rsv=6),
    "all-reserved-bits": encode(Op.BINARY, bytes.fromhex(FORMS["one-block"]), rsv=7),
}


@pytest.mark.parametrize("data", PROTOCOL_ERRORS.values(), ids=PROTOCOL_ERRORS)
def test_bits_that_were_not_agreed_fail(deflating: WebSocketClient, data: bytes) -> None:
    deflating.offer(HELLO + data + PING)
    assert deflating.verdict() == (["hello"], 1002)


CORRUPT = {
    "reserved-block-type": b"\x06\xff",
    "noise": b"\xff" * 20,
    "stored-length-and-its-complement": bytes.fromhex("00 05 00 05 00 48 65 6c 6c 6f 00"),
    "before-the-beginning": bytes.fromhex("f2 00 11 00 00"),
    "zlib-header": zlib.compress(b"hello"),
    "gzip": bytes.fromhex("1f 8b 08 00 00 00 00 00 00 03"),
}


@pytest.mark.parametrize("op", [Op.TEXT, Op.BINARY], ids=["text", "binary"])
@pytest.mark.parametrize("data", CORRUPT.values(), ids=CORRUPT)
def test_corrupt_data_fail(deflating: WebSocketClient, data: bytes, op: Op) -> None:
    deflating.offer(HELLO + encode(op, data, rsv=RSV1) + PING)
    assert deflating.verdict() == (["hello"], 1007)


@pytest.mark.parametrize("pieces", [False, True], ids=["one-frame", "frames"])
@pytest.mark.parametrize("text", [b"\xff", "κόσμε".encode() + b"\xed\xa0\x80", b"\xe2\x82"])
def test_compressed_text_is_utf_8_too(
    deflating: WebSocketClient, text: bytes, pieces: bool
) -> None:
    assert deflating.deflate is not None
    data = deflating.deflate.compress(text)
    deflating.offer(HELLO + fragments(Op.TEXT, cut(data, 1 if pieces else 100), RSV1) + HELLO)
    assert deflating.verdict() == (["hello"], 1007)


@pytest.mark.parametrize("size", [LIMIT + 1, 16 * LIMIT], ids=["one-byte", "a-bomb"])
def test_what_is_too_large_when_decompressed_is_refused(
    deflating: WebSocketClient, size: int
) -> None:
    compressor = zlib.compressobj(9, wbits=-15)
    data = compressor.compress(bytes(size)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    deflating.offer(HELLO + encode(Op.BINARY, data[:-4], rsv=RSV1))
    assert deflating.verdict() == (["hello"], 1009)


def test_a_message_of_the_largest_size_is_taken(deflating: WebSocketClient) -> None:
    deflating.send_message(bytes(LIMIT))
    assert deflating.message() == bytes(LIMIT)


# -- what is agreed (7.1) -------------------------------------------------------------------------

SERVER = ("", *(f"server_max_window_bits={bits}" for bits in range(8, 16)))
CLIENT = (
    *("", "client_max_window_bits"),
    *(f"client_max_window_bits={bits}" for bits in (8, 9, 12, 15)),
)
TAKEOVER = ("", "server_no_context_takeover", "client_no_context_takeover")


def talk(ws: WebSocketClient) -> None:
    """Exchange messages that refer to what was long ago, beyond small windows."""
    far = noise(700) + noise(4000)
    for message in ("hello", json_text(5000), far + far, "hello", noise(40_000) + far, ""):
        ws.send_message(message)
        assert ws.message() == message
    assert ws.shut().code == 1000


@pytest.mark.parametrize("server", SERVER)
@pytest.mark.parametrize("takeover", [*TAKEOVER, "; ".join(TAKEOVER[1:])])
def test_the_parameters_of_an_offer_are_kept_to(open_ws: Open, server: str, takeover: str) -> None:
    for client in CLIENT:
        offer = "; ".join(part for part in (DEFLATE, takeover, server, client) if part)
        ws = open_ws(extensions=offer)
        if ws.deflate is None:
            assert server.endswith("=8"), offer  # zlib cannot compress with so small a window
            continue
        agreed = ws.deflate.parameters
        if "server_no" in takeover:
            assert not ws.deflate.server_takeover
        if server:
            assert "server_max_window_bits" in agreed, offer
            assert ws.deflate.server_bits <= int(server.partition("=")[2])
        if not client:
            assert "client_max_window_bits" not in agreed, offer
        elif "=" in client:
            assert int(agreed.get("client_max_window_bits", "8")) <= int(client.partition("=")[2])
            # Without it in the answer the client may use any window, but need not.
            ws.deflate.limit(min(ws.deflate.client_bits, int(client.partition("=")[2])))
        talk(ws)


BAD_OFFERS = (
    f"{DEFLATE}; unknown",
    f"{DEFLATE}; server_max_window_bits",
    f"{DEFLATE}; server_max_window_bits=7",
    f"{DEFLATE}; server_max_window_bits=16",
    f"{DEFLATE}; server_max_window_bits=010",
    f"{DEFLATE}; server_max_window_bits=x",
    f"{DEFLATE}; server_max_window_bits=-9",
    f"{DEFLATE}; client_max_window_bits=7",
    f"{DEFLATE}; client_max_window_bits=16",
    f"{DEFLATE}; server_no_context_takeover=1",
    f"{DEFLATE}; client_no_context_takeover=true",
    f"{DEFLATE}; server_no_context_takeover; server_no_context_takeover",
    f"{DEFLATE}; server_max_window_bits=10; server_max_window_bits=10",
    "x-webkit-deflate-frame",
    "permessage-bzip2",
    "permessage-deflate2",
)


@pytest.mark.parametrize("offer", BAD_OFFERS)
def test_an_offer_that_is_not_understood_is_declined(open_ws: Open, offer: str) -> None:
    """RFC 7692 7.1: unknown, twice, or with a bad value; the next offer may be good."""
    ws = open_ws(extensions=offer)
    assert (ws.accepted, ws.deflate) == (True, None)
    ws.send_message("hello")
    assert ws.message() == "hello"
    ws = open_ws(extensions=f"{offer}, {DEFLATE}; server_max_window_bits=12")
    assert ws.deflate is not None
    assert ws.deflate.server_bits == 12
    talk(ws)


def test_the_first_good_offer_is_taken(open_ws: Open) -> None:
    offers = [f"{DEFLATE}; server_max_window_bits={bits}" for bits in (10, 11)]
    ws = open_ws(extensions=", ".join([*offers, DEFLATE]))
    assert ws.deflate is not None
    assert ws.deflate.server_bits == 10
    talk(ws)


def test_offers_may_stand_in_several_lines(open_ws: Open) -> None:
    name = "Sec-WebSocket-Extensions"
    ws = open_ws("/", (name, "unknown"), (name, DEFLATE))
    assert ws.deflate is not None
    talk(ws)


@pytest.mark.parametrize(
    "offer",
    [
        f"{DEFLATE};server_max_window_bits=10",
        f"{DEFLATE}  ;  server_max_window_bits = 10",
        f'{DEFLATE}; server_max_window_bits="10"',
    ],
    ids=["no-space", "much-space", "quoted"],
)
def test_an_offer_may_be_written_in_many_ways(open_ws: Open, offer: str) -> None:
    """RFC 6455 9.1, with the white space and quotes of RFC 9110 5.6."""
    ws = open_ws(extensions=offer)
    assert ws.deflate is not None
    assert ws.deflate.server_bits == 10


def test_all_window_sizes_of_the_client(open_ws: Open) -> None:
    """The client may use a smaller window than it must."""
    for own, offered in product(range(9, 16), (9, 15)):
        ws = open_ws(extensions=f"{DEFLATE}; client_max_window_bits={offered}")
        assert ws.deflate is not None
        ws.deflate.limit(min(own, ws.deflate.client_bits, offered))
        talk(ws)
