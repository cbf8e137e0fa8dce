"""permessage-deflate (RFC 7692), with bounds that wsproto's does not have.

What the client offers is negotiated here, strictly; wsproto's extension does the compressing.
Nothing here blocks.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason

_NAME: Final = "permessage-deflate"
# With context takeover both windows stay for the life of the WebSocket. 4 KiB keep most of what
# compression gains on small messages.
_KEPT_BITS: Final = 12
# What a sender takes away from the end of each message (RFC 7692 7.2.1).
_TAIL: Final = b"\x00\x00\xff\xff"
# Each costs a new inflater, and none is of any use.
_MAX_FINAL_BLOCKS: Final = 16
# zlib cannot deflate with 8.
_LEAST_BITS: Final = 9


class Deflate(PerMessageDeflate):
    """The extension as it was agreed on.

    Args:
        response: The Sec-WebSocket-Extensions field of the answer.
        limit: Bytes that one piece of a frame may be inflated to.
    """

    def __init__(self, response: str, limit: int) -> None:
        super().__init__()
        self.finalize(response)
        self._limit = limit
        self._final_blocks = 0  # of the message that is coming

    def frame_inbound_payload_data(self, proto: Any, data: bytes) -> bytes | CloseReason:
        """Inflate what came, within the limit: a kilobyte may mean a megabyte."""
        return self._inflate(data) if self._inbound_compressed and data else data

    def frame_inbound_complete(self, proto: Any, fin: bool) -> bytes | CloseReason | None:
        """End the frame, and with the last one the message."""
        if not fin:
            return None
        result: bytes | CloseReason = b""
        if self._inbound_compressed and self._decompressor is not None:
            result = self._inflate(_TAIL)
        self._inbound_compressed = None
        self._final_blocks = 0
        if self.client_no_context_takeover:
            self._decompressor = None
        return result

    def _inflate(self, data: bytes) -> bytes | CloseReason:
        pieces = []
        room = self._limit + 1
        while data:
            if self._decompressor is None:
                self._decompressor = zlib.decompressobj(-15)
            inflater = self._decompressor
            try:
                piece = inflater.decompress(data, room)
            except zlib.error:
                return CloseReason.INVALID_FRAME_PAYLOAD_DATA
            pieces.append(piece)
            room -= len(piece)
            if not room:
                return CloseReason.MESSAGE_TOO_BIG
            data = b""
            if inflater.eof:
                # RFC 7692 7.2.3.4: a final block, behind which all begins anew.
                data = inflater.unused_data
                self._decompressor = None
                self._final_blocks += 1
                if self._final_blocks > _MAX_FINAL_BLOCKS:
                    return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        return b"".join(pieces)


def negotiate(offers: str, limit: int, takeover: bool) -> tuple[Deflate, str] | None:
    """Return the extension for the first acceptable offer, and the field that answers it.

    Args:
        offers: The client's Sec-WebSocket-Extensions field.
        limit: See `Deflate`.
        takeover: The windows may be kept from one message to the next.
    """
    for offer in offers.split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        if name.lower() == _NAME:
            answer = _answer(parameters, takeover)
            if answer is not None:
                response = "; ".join([_NAME, *answer])
                return Deflate(response, limit), response
    return None


def _answer(parameters: list[str], takeover: bool) -> list[str] | None:
    """Return the parameters of the answer; None declines (RFC 7692 7.1)."""
    asked: dict[str, int | None] = {}
    for parameter in parameters:
        name, equals, text = (part.strip() for part in parameter.partition("="))
        if name in asked or not _is_valid(name, bool(equals), text.strip('"')):
            return None
        asked[name] = int(text.strip('"')) if equals else None
    bits = asked.get("server_max_window_bits") or 15
    if bits < _LEAST_BITS:
        return None
    answer = []
    if not takeover or "server_no_context_takeover" in asked:
        answer.append("server_no_context_takeover")
    if not takeover or "client_no_context_takeover" in asked:
        answer.append("client_no_context_takeover")
    if takeover:
        bits = min(bits, _KEPT_BITS)
    if bits < 15:
        answer.append(f"server_max_window_bits={bits}")
    theirs = asked.get("client_max_window_bits", 0) or 15
    if takeover and "client_max_window_bits" in asked and theirs >= _LEAST_BITS:
        answer.append(f"client_max_window_bits={min(theirs, _KEPT_BITS)}")
    return answer


def _is_valid(name: str, has_value: bool, text: str) -> bool:
    if name in ("server_no_context_takeover", "client_no_context_takeover"):
        return not has_value
    if name == "client_max_window_bits" and not has_value:
        return True
    if name in ("server_max_window_bits", "client_max_window_bits"):
        return text in ("8", "9", "10", "11", "12", "13", "14", "15")
    return False
