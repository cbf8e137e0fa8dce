"""The client that the other tests see by: what it must not take from a server."""

from __future__ import annotations

import zlib

import pytest

from clients import Response
from websocket_client import (
    NO_CODE,
    RSV1,
    Close,
    Deflate,
    Fault,
    Frame,
    Op,
    Ping,
    Pong,
    TransportEnded,
    WebSocketClient,
    close_payload,
    cut,
    encode,
)

CLOSE = encode(Op.CLOSE, close_payload(1000), key=None)


class Script:
    """A wire on which a server says what it was told to."""

    http2 = True

    def __init__(self, *packets: bytes) -> None:
        self.packets = [packet for packet in packets if packet]
        self.sent = b""

    def answer(self) -> Response:
        return Response("HTTP/2", 200, "", [])

    def send(self, data: bytes) -> None:
        self.sent += data

    def receive(self) -> bytes:
        return self.packets.pop(0) if self.packets else b""

    def finish(self) -> None: ...
    def vanish(self) -> None: ...
    def leave(self) -> None: ...
    def close(self) -> None: ...


def client(*packets: bytes, deflate: bool = False) -> WebSocketClient:
    made = WebSocketClient(Script(*packets), None)
    if deflate:
        made.deflate = Deflate({"server_no_context_takeover": "", "server_max_window_bits": "9"})
    return made


def unmasked(op: int, payload: bytes = b"", **bits: bool | int) -> bytes:
    return encode(op, payload, key=None, **bits)  # type: ignore[arg-type]


GOOD = (
    unmasked(Op.TEXT, "κόσμε".encode())
    + unmasked(Op.BINARY, b"\xff" * 126)
    + unmasked(Op.TEXT, b"\xce", fin=False)
    + unmasked(Op.PING, b"x" * 125)
    + unmasked(Op.CONTINUATION, b"\xba", fin=False)
    + unmasked(Op.PONG)
    + unmasked(Op.CONTINUATION)
    + unmasked(Op.BINARY, bytes(65536))
    + unmasked(Op.CLOSE)
)


@pytest.mark.parametrize("size", [1, 3, 70000])
def test_what_a_server_may_send_is_read(size: int) -> None:
    events = ["κόσμε", b"\xff" * 126, Ping(b"x" * 125), Pong(), "κ", bytes(65536), Close(NO_CODE)]
    assert client(*cut(GOOD, size)).rest() == events


BAD = {
    "masked": encode(Op.TEXT, b"x"),
    "16-bits-for-125": unmasked(Op.TEXT, bytes(125), bits=16),
    "64-bits-for-65535": unmasked(Op.BINARY, bytes(65535), bits=64),
    "rsv1-not-agreed": unmasked(Op.TEXT, b"x", rsv=RSV1),
    "rsv3": unmasked(Op.TEXT, b"x", rsv=1),
    "reserved-opcode": unmasked(3),
    "fragmented-ping": unmasked(Op.PING, fin=False),
    "long-pong": unmasked(Op.PONG, bytes(126)),
    "continuation-of-nothing": unmasked(Op.CONTINUATION, b"x"),
    "message-within-a-message": unmasked(Op.TEXT, b"x", fin=False) + unmasked(Op.TEXT, b"y"),
    "half-a-code": unmasked(Op.CLOSE, b"\x03"),
    "message-after-close": CLOSE + unmasked(Op.TEXT, b"x"),
    "pong-after-close": CLOSE + unmasked(Op.PONG),
    "close-after-close": CLOSE + CLOSE,
    "half-a-frame": unmasked(Op.TEXT, b"hello")[:-1],
    "half-a-message": unmasked(Op.TEXT, b"x", fin=False),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_what_a_server_must_not_send_is_a_fault(data: bytes) -> None:
    with pytest.raises(Fault):
        client(unmasked(Op.TEXT, b"before") + data).rest()


def test_text_must_be_utf_8() -> None:
    with pytest.raises(UnicodeDecodeError):
        client(unmasked(Op.TEXT, b"\xff")).event()


def test_reading_ends_with_the_transport() -> None:
    reading = client(CLOSE)
    assert reading.frame() == Frame(Op.CLOSE, close_payload(1000))
    with pytest.raises(TransportEnded):
        reading.frame()
    assert client(unmasked(Op.TEXT, b"x") + CLOSE).verdict() == (["x"], 1000)
    with pytest.raises(Fault):
        client(unmasked(Op.TEXT, b"x")).verdict()


def deflated(data: bytes, bits: int) -> bytes:
    compressor = zlib.compressobj(wbits=-bits)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def test_compression_is_held_to_what_was_agreed() -> None:
    far = bytes(range(256)) * 3 + b"x" * 1000 + bytes(range(256)) * 3
    data = deflated(far, 9)
    assert client(unmasked(Op.BINARY, data, rsv=RSV1), deflate=True).message() == far
    with pytest.raises(Fault):
        client(unmasked(Op.BINARY, deflated(far, 15), rsv=RSV1), deflate=True).message()
    again = client(unmasked(Op.TEXT, b"\xf2\0\x11\0\0", rsv=RSV1), deflate=True)
    with pytest.raises(Fault):
        again.message()
    with pytest.raises(Fault):
        client(unmasked(Op.PING, data, rsv=RSV1), deflate=True).event()
