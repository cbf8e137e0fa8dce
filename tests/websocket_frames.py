"""Frames of WebSocket as they go over the wire, and compression of messages (RFC 7692)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

MASK: Final = b"\x37\xfa\x21\x3d"
RSV1: Final = 4
NO_CODE: Final = 1005


class Fault(AssertionError):
    """The server sent what the RFCs forbid."""


class Op(IntEnum):
    """The opcodes."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


@dataclass(frozen=True)
class Frame:
    """A frame that the server sent."""

    op: Op
    payload: bytes
    fin: bool = True
    rsv: int = 0


@dataclass(frozen=True)
class Ping:
    payload: bytes = b""


@dataclass(frozen=True)
class Pong:
    payload: bytes = b""


@dataclass(frozen=True)
class Close:
    code: int = NO_CODE
    reason: str = ""


Event = str | bytes | Ping | Pong | Close


def mask(data: bytes, key: bytes = MASK) -> bytes:
    """Return `data` masked, or unmasked."""
    size = len(data)
    repeated = (key * (size // 4 + 1))[:size]
    number = int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")
    return number.to_bytes(size, "little")


def encode(
    op: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = MASK,
    length: int | None = None,
    bits: int | None = None,
) -> bytes:
    """Return a frame as it goes over the wire.

    Args:
        op: 0 to 15.
        payload: As the server is to see it, unless that differs from `length`.
        fin: The last one of its message.
        rsv: 0 to 7; RSV1 is 4.
        key: To mask with; None leaves the payload unmasked.
        length: The length that is told, instead of the payload's.
        bits: Of the length: 7, 16 or 64; by default as few as there need be.
    """
    if length is None:
        length = len(payload)
    if bits is None:
        bits = 7 if length < 126 else 16 if length < 65536 else 64
    first = fin << 7 | rsv << 4 | op
    masked = 0 if key is None else 128
    if bits == 7:
        head = struct.pack(">BB", first, masked | length)
    elif bits == 16:
        head = struct.pack(">BBH", first, masked | 126, length)
    else:
        head = struct.pack(">BBQ", first, masked | 127, length)
    return head + payload if key is None else head + key + mask(payload, key)


def close_payload(code: int, reason: str | bytes = "") -> bytes:
    """Return the payload of a Close."""
    return struct.pack(">H", code) + (reason.encode() if isinstance(reason, str) else reason)


def fragments(op: int, pieces: Sequence[bytes], rsv: int = 0) -> bytes:
    """Return a message whose frames have these payloads; `rsv` is on the first."""
    last = len(pieces) - 1
    return b"".join(
        encode(Op.CONTINUATION if number else op, one, fin=number == last, rsv=0 if number else rsv)
        for number, one in enumerate(pieces)
    )


def cut(data: bytes, size: int) -> list[bytes]:
    """Return `data` in pieces of `size` bytes, at least one."""
    return [data[begin : begin + size] for begin in range(0, len(data) or 1, size)]


class Deflate:
    """permessage-deflate, as the server's answer has settled it.

    Attributes:
        parameters: Of the answer.
    """

    def __init__(self, parameters: dict[str, str]) -> None:
        self.parameters = parameters
        left = dict(parameters)
        self.server_takeover = left.pop("server_no_context_takeover", None) is None
        self.client_takeover = left.pop("client_no_context_takeover", None) is None
        self.server_bits = int(left.pop("server_max_window_bits", "15"))
        self.client_bits = int(left.pop("client_max_window_bits", "15"))
        if left or not (8 <= self.server_bits <= 15 and 8 <= self.client_bits <= 15):
            raise Fault(f"no such parameters: {parameters}")
        self._inflate = zlib.decompressobj(-self.server_bits)
        self._deflate = self._compressor()

    def limit(self, bits: int) -> None:
        """Compress with a smaller window than was agreed; only before the first message."""
        assert bits <= self.client_bits
        self.client_bits = bits
        self._deflate = self._compressor()

    def _compressor(self) -> zlib._Compress:
        # zlib has no raw deflate with a window of 256 bytes; at 9 bits no distance is above 250.
        return zlib.compressobj(wbits=-max(self.client_bits, 9))

    def compress(self, data: bytes) -> bytes:
        """Return the payload of a compressed message."""
        if not self.client_takeover:
            self._deflate = self._compressor()
        whole = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        assert whole.endswith(b"\0\0\xff\xff")
        return whole[:-4]

    def decompress(self, data: bytes) -> bytes:
        """Return the content of a compressed message."""
        if not self.server_takeover:
            self._inflate = zlib.decompressobj(-self.server_bits)
        try:
            return b"".join(self._inflated(data + b"\0\0\xff\xff"))
        except zlib.error as exc:
            raise Fault(f"corrupt, or beyond the agreed window: {exc}") from exc

    def _inflated(self, data: bytes) -> Iterator[bytes]:
        # zlib lets a distance reach back to the beginning of what one call puts out.
        step = 64 if self.server_bits < 15 else 65536
        for piece in cut(data, step):
            left = piece
            while left:
                yield self._inflate.decompress(left, step)
                left = self._inflate.unconsumed_tail
        while piece := self._inflate.decompress(b"", step):
            yield piece


def settled(extensions: str) -> Deflate:
    """Return what the server's Sec-WebSocket-Extensions says."""
    name, *parameters = (part.strip() for part in extensions.split(";"))
    if name != "permessage-deflate" or "," in extensions:
        raise Fault(f"an extension that was not offered: {extensions}")
    pairs = [one.partition("=")[::2] for one in parameters]
    if len(dict(pairs)) != len(pairs):
        raise Fault(f"a parameter twice: {extensions}")
    return Deflate(dict(pairs))
