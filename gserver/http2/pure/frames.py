"""From bytes to whole frames, of which no more than one waits for its end."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, TypeAlias

from gserver.http2.engine import ConnectionBroken, ErrorCode

Frame: TypeAlias = tuple[int, int, int, bytes]
"""Type, flags, stream, payload."""

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Types and flags of frames (RFC 9113 6, RFC 9218 7.1)
DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9
PRIORITY_UPDATE: Final = 16
ACK: Final = 1
END_STREAM: Final = 1
END_HEADERS: Final = 4
PADDED: Final = 8
WITH_PRIORITY: Final = 32

_HEADER: Final = struct.Struct(">HBBBL")
_STREAM: Final = 2**31 - 1


def pack(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame as it goes over the wire."""
    return pack_header(len(payload), kind, flags, stream) + payload


def pack_header(length: int, kind: int, flags: int, stream: int) -> bytes:
    """Return what comes before a frame's payload."""
    return _HEADER.pack(length >> 8, length & 255, kind, flags, stream)


class FrameReader:
    """Takes a client's bytes apart.

    HEADERS come out whole: with what their CONTINUATION frames brought, and without padding and
    priority. The others come out as they are.

    Args:
        max_size: The longest payload (FRAME_SIZE_ERROR).
        max_continuations: CONTINUATION frames of one field section (ENHANCE_YOUR_CALM).
    """

    def __init__(self, max_size: int, max_continuations: int) -> None:
        self._max_size = max_size
        self._max_continuations = max_continuations
        self._preface = PREFACE
        self._greeted = False  # the client's SETTINGS have come
        self._buffer = bytearray()  # the beginning of a frame
        # The field section that is being received: its stream, its flags and its pieces.
        self._section: tuple[int, int, list[bytes]] | None = None

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that have come whole. To be used up before it is called again.

        Raises:
            ConnectionBroken: The bytes are not frames that may follow each other.
        """
        source: bytes | bytearray = data
        if self._buffer:
            self._buffer += data
            source = self._buffer
        at = self._take_preface(source) if self._preface else 0
        size = len(source)
        while size - at >= 9:
            high, low, kind, flags, stream = _HEADER.unpack_from(source, at)
            length = high << 8 | low
            if length > self._max_size:
                raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, f"frame of {length} bytes")
            start = at + 9
            if start + length > size:
                break
            at = start + length
            frame = kind, flags, stream & _STREAM, bytes(source[start:at])
            if kind in (CONTINUATION, HEADERS) or self._section or not self._greeted:
                whole = self._assemble(*frame)
                if whole is not None:
                    yield whole
            else:
                yield frame
        if source is data:
            self._buffer += data[at:]
        else:
            del self._buffer[:at]

    def _take_preface(self, data: bytes | bytearray) -> int:
        part = bytes(data[: len(self._preface)])
        if not self._preface.startswith(part):
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "preface")
        self._preface = self._preface[len(part) :]
        return len(part)

    def _assemble(self, kind: int, flags: int, stream: int, payload: bytes) -> Frame | None:
        """Return the frame, or the field section that it completes, if it does."""
        if self._section is not None:
            if kind != CONTINUATION or stream != self._section[0]:
                raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "field section cut short")
            return self._continue(flags, payload)
        if not self._greeted:
            if kind != SETTINGS or flags & ACK:
                raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "first frame is not SETTINGS")
            self._greeted = True
            return kind, flags, stream, payload
        if kind == CONTINUATION:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        if flags & (PADDED | WITH_PRIORITY):
            payload = unpad(payload, flags & PADDED, 5 if flags & WITH_PRIORITY else 0)
        if flags & END_HEADERS:
            return kind, flags, stream, payload
        self._section = stream, flags, [payload]
        return None

    def _continue(self, flags: int, payload: bytes) -> Frame | None:
        assert self._section is not None
        stream, first_flags, pieces = self._section
        if len(pieces) > self._max_continuations:
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, "too many CONTINUATION frames")
        pieces.append(payload)
        if not flags & END_HEADERS:
            return None
        self._section = None
        return HEADERS, first_flags, stream, b"".join(pieces)


def unpad(payload: bytes, padded: int, skip: int = 0) -> bytes:
    """Return a payload without its padding, and without `skip` bytes in front.

    Raises:
        ConnectionBroken: It has no room for them.
    """
    start = skip + 1 if padded else skip
    if len(payload) < start:
        raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "no room for padding or priority")
    stop = len(payload) - payload[0] if padded else len(payload)
    if stop < start:
        raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
    return payload[start:stop]
