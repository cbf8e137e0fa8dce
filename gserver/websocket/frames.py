# cython: language_level=3, annotation_typing=False
"""Frames: a WebSocket's bytes in, pieces of messages and control frames out, and back.

RFC 6455 5, with the rules of a server's side. Whole messages of one frame, which almost all are,
are taken apart here; wsproto puts fragments together and inflates, and its frame decoder, which
this one stands in for, has neither bounds nor a short way. Nothing here blocks or knows a socket.
"""

from __future__ import annotations

import struct
from typing import Any, Final, TypeAlias

from wsproto.frame_protocol import CloseReason, Frame, MessageDecoder, Opcode, ParseFailed, RsvBits

from gserver.api.websocket_base import LONGEST_REASON, is_close_code
from gserver.websocket.deflate import Deflate

try:
    from gserver.websocket.masking import unmask
except ImportError:  # not compiled

    def unmask(data: bytes, start: int, end: int, key: bytes) -> bytes:
        """Return ``data[start:end]`` without its mask."""
        size = end - start
        mask = (key * (size // 4 + 1))[:size]
        masked = int.from_bytes(data[start:end], "little")
        return (masked ^ int.from_bytes(mask, "little")).to_bytes(size, "little")


Event: TypeAlias = tuple[int, Any, bool]
"""Opcode, payload and whether it ends there.

TEXT and BINARY: a piece of a message, str or bytes; the last ends it. PING, PONG: the payload.
CLOSE: code and reason.
"""

TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

_FIN: Final = 0x80
_RSV1: Final = 0x40
_RSV: Final = 0x70
_CONTROL: Final = 8
_OPCODES: Final = (Opcode.CONTINUATION, Opcode.TEXT, Opcode.BINARY)

_NO_RSV: Final = RsvBits(False, False, False)


class Broken(Exception):
    """The peer broke the rules; nothing behind this can be understood.

    Attributes:
        code: The close code that says so.
        reason: What was wrong.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = int(code)
        self.reason = reason


class FrameReader:
    """Finds the pieces of messages in what it is fed.

    Args:
        limit: Bytes of the longest frame that is taken.
        deflate: The extension, if it was agreed on.
    """

    # What wsproto asks of who calls an extension.
    client = False

    def __init__(self, limit: int, deflate: Deflate | None) -> None:
        self._limit = limit
        self._deflate = deflate
        self._data = b""
        self._at = 0
        self._between = True  # the next byte begins a message, or a control frame
        self._left = -1  # bytes of the current frame's payload that have not come; -1 outside
        self._first = 0  # its first byte
        self._key = b""
        self._control = b""  # what has come of a control frame's payload
        self._begun = False  # a piece of the current frame was given out
        self._messages: MessageDecoder | None = None

    def feed(self, data: bytes) -> None:
        """Take what came; call `next` until that returns None, before the next packet."""
        if self._at < len(self._data):
            self._data = self._data[self._at :] + data
        else:
            self._data = data
        self._at = 0

    def next(self) -> Event | None:
        """Return what comes next; None if more bytes are needed.

        Raises:
            Broken: The peer broke the rules.
        """
        data = self._data
        at = self._at
        if self._left < 0:
            size = len(data) - at
            if size < 2:
                if not size:
                    # What waits for its peer should not hold on to the last packet.
                    self._data = b""
                    self._at = 0
                return None
            first = data[at]
            second = data[at + 1]
            length = second & 0x7F
            # The short way: a whole message in one frame, uncompressed, all of which is here.
            if (first == 0x81 or first == 0x82) and self._between and second & 0x80:
                start = at + 6
                if length == 126 and size >= 4:
                    length = data[at + 2] << 8 | data[at + 3]
                    start = at + 8
                    if length < 126:
                        length = 127  # not minimal: for the long way to say
                if length != 127 and start + length <= len(data) and length <= self._limit:
                    end = start + length
                    payload = unmask(data, start, end, data[start - 4 : start])
                    self._at = end
                    if first == 0x82:
                        return BINARY, payload, True
                    return TEXT, _decode(payload), True
            if not self._take_head(first, second):
                return None
        return self._take_payload()

    # -- off the short way -------------------------------------------------------------------

    def _take_head(self, first: int, second: int) -> bool:
        """Take a frame's head (RFC 6455 5.2), if all of it is here."""
        opcode = first & 0x0F
        length = second & 0x7F
        # As soon as it can be told, whatever is still missing.
        self._check(first, opcode)
        if not second & 0x80:
            raise Broken(CloseReason.PROTOCOL_ERROR, "frames of a client must be masked")
        if opcode >= _CONTROL and (length > 125 or not first & _FIN):
            raise Broken(CloseReason.PROTOCOL_ERROR, "a control frame is too long, or fragmented")
        at = self._at + 2
        if length >= 126:
            size = 2 if length == 126 else 8
            if len(self._data) < at + size:
                return False
            length = int.from_bytes(self._data[at : at + size], "big")
            at += size
            if length < 126 or (size == 8 and length < 65536) or length >> 63:
                raise Broken(CloseReason.PROTOCOL_ERROR, "a length is not in its shortest form")
        if length > self._limit:
            raise Broken(CloseReason.MESSAGE_TOO_BIG, "a frame is too long")
        if len(self._data) < at + 4:
            return False
        self._key = self._data[at : at + 4]
        self._at = at + 4
        self._first = first
        self._left = length
        self._begun = False
        return True

    def _check(self, first: int, opcode: int) -> None:
        if opcode > PONG or BINARY < opcode < CLOSE:
            raise Broken(CloseReason.PROTOCOL_ERROR, f"reserved opcode {opcode}")
        rsv = first & _RSV
        # RFC 7692 6.1: on the first frame of a message only.
        if rsv and (rsv != _RSV1 or self._deflate is None or opcode not in (TEXT, BINARY)):
            raise Broken(CloseReason.PROTOCOL_ERROR, "a reserved bit is set")
        if opcode < _CONTROL and (opcode == 0) == self._between:
            what = "a continuation of no message" if self._between else "a message within another"
            raise Broken(CloseReason.PROTOCOL_ERROR, what)

    def _take_payload(self) -> Event | None:
        data = self._data
        start = self._at
        end = min(start + self._left, len(data))
        if start == end and self._left:
            return None
        payload = unmask(data, start, end, self._key)
        self._at = end
        self._left -= end - start
        if self._left:
            # The mask goes on where it was.
            turn = (end - start) % 4
            self._key = self._key[turn:] + self._key[:turn]
        if self._first & 0x0F < _CONTROL:
            return self._take_piece(payload)
        self._control += payload
        if self._left:
            return None
        self._left = -1
        payload, self._control = self._control, b""
        opcode = self._first & 0x0F
        if opcode == CLOSE:
            return CLOSE, _parse_close(payload), True
        return opcode, payload, True

    def _take_piece(self, payload: bytes) -> Event:
        """Return a piece of a message, put into order by wsproto."""
        frame_ended = not self._left
        fin = self._first & _FIN != 0
        opcode = Opcode.CONTINUATION if self._begun else _OPCODES[self._first & 0x0F]
        if self._deflate is not None:
            payload = self._inflate(payload, fin, frame_ended)
        self._begun = True
        if self._messages is None:
            self._messages = MessageDecoder()
        try:
            piece = self._messages.process_frame(Frame(opcode, payload, frame_ended, fin))
        except ParseFailed as exc:
            raise Broken(exc.code, "text is not UTF-8") from exc
        if isinstance(piece.payload, str) and not piece.message_finished:
            self._check_surrogate()
        if frame_ended:
            self._left = -1
            self._between = fin
            if fin:
                self._messages = None
        else:
            self._between = False
        return int(piece.opcode), piece.payload, piece.message_finished

    def _check_surrogate(self) -> None:
        """Refuse half a surrogate, which Python's decoder keeps until the third byte has come."""
        assert self._messages is not None
        assert self._messages.decoder is not None
        held = self._messages.decoder.getstate()[0]
        if len(held) == 2 and held[0] == 0xED and held[1] >= 0xA0:
            raise Broken(CloseReason.INVALID_FRAME_PAYLOAD_DATA, "text is not UTF-8")

    def _inflate(self, payload: bytes, fin: bool, ended: bool) -> bytes:
        deflate = self._deflate
        assert deflate is not None
        if not self._begun:
            opcode = _OPCODES[self._first & 0x0F]
            rsv = RsvBits(self._first & _RSV1 != 0, False, False)
            deflate.frame_inbound_header(self, opcode, rsv, len(payload))  # type: ignore[arg-type]
        result = deflate.frame_inbound_payload_data(self, payload)
        if ended and not isinstance(result, CloseReason):
            rest = deflate.frame_inbound_complete(self, fin)
            result = rest if isinstance(rest, CloseReason) else result + (rest or b"")
        if isinstance(result, CloseReason):
            raise Broken(result, "a compressed message is corrupt, or too long")
        return result


def _decode(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as exc:
        raise Broken(CloseReason.INVALID_FRAME_PAYLOAD_DATA, "text is not UTF-8") from exc


def _parse_close(payload: bytes) -> tuple[int, str]:
    """Return code and reason of a Close frame (RFC 6455 5.5.1)."""
    if not payload:
        return int(CloseReason.NO_STATUS_RCVD), ""
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not is_close_code(code):
        raise Broken(CloseReason.PROTOCOL_ERROR, "a Close frame without a valid code")
    return code, _decode(payload[2:])


class FrameWriter:
    """Makes the frames of one WebSocket.

    Args:
        deflate: The extension, if it was agreed on.
    """

    client = False

    def __init__(self, deflate: Deflate | None) -> None:
        self._deflate = deflate

    def message(self, message: str | bytes | bytearray | memoryview) -> bytes:
        """Return a message in one frame.

        Raises:
            TypeError: It is no message.
            UnicodeEncodeError: It holds lone surrogates.
        """
        if self._deflate is None:
            return encode_message(message)
        return self.fragment(message, True, True)

    def fragment(
        self, piece: str | bytes | bytearray | memoryview, first: bool, last: bool
    ) -> bytes:
        """Return a frame of a message that may be fragmented."""
        opcode, payload = _payload(piece)
        if not first:
            opcode = 0
        rsv = 0
        if self._deflate is not None:
            bits, payload = self._deflate.frame_outbound(
                self,  # type: ignore[arg-type]
                _OPCODES[opcode],
                _NO_RSV,
                payload,
                last,
            )
            rsv = _RSV1 if bits.rsv1 else 0
        return _frame((_FIN if last else 0) | rsv | opcode, payload)


def encode_message(message: str | bytes | bytearray | memoryview) -> bytes:
    """Return a message in one uncompressed frame, which every client takes."""
    opcode, payload = _payload(message)
    return _frame(_FIN | opcode, payload)


def encode_ping(payload: bytes) -> bytes:
    """Return a Ping frame."""
    return _frame(_FIN | PING, payload)


def encode_pong(payload: bytes) -> bytes:
    """Return a Pong frame."""
    return _frame(_FIN | PONG, payload)


def encode_close(code: int, reason: str) -> bytes:
    """Return a Close frame; 1005 means that it holds no code."""
    if code == CloseReason.NO_STATUS_RCVD:
        return _frame(_FIN | CLOSE, b"")
    return _frame(_FIN | CLOSE, struct.pack("!H", code) + reason.encode()[:LONGEST_REASON])


def _payload(message: str | bytes | bytearray | memoryview) -> tuple[int, bytes]:
    if isinstance(message, str):
        return TEXT, message.encode()
    if isinstance(message, bytes):
        return BINARY, message
    if isinstance(message, (bytearray, memoryview)):
        return BINARY, bytes(message)
    raise TypeError(
        f"a message is str, bytes, bytearray or memoryview, not {type(message).__name__}"
    )


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return b"%c%c%b" % (first, size, payload)
    if size < 65536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload
