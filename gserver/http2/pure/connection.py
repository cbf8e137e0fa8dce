"""h2's connection, as the engine wants it."""

from __future__ import annotations

import struct
from typing import Any, Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes
from h2.settings import Settings as H2Settings
from hpack import Encoder, NeverIndexedHeaderTuple

from gserver.http2.engine import ConnectionBroken, ErrorCode, Field, Settings
from gserver.http2.pure.frames import PREFACE

LARGEST_WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65535
_NO_RFC7540_PRIORITIES: Final = 9
_KNOWN_SETTINGS: Final = (1, 2, 3, 4, 5, 6, 8)
_SETTING: Final = struct.Struct(">HL")
_CONFIG: Final = H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_inbound_headers=False,
    normalize_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)


class Connection(H2Connection):
    """A server's side of a connection, of which the client's preface has come."""

    # Nobody asks how a stream was closed.
    MAX_CLOSED_STREAMS = 0

    def __init__(self, settings: Settings) -> None:
        super().__init__(_CONFIG)
        # Streams beyond the limit never come as far as h2.
        self.local_settings = H2Settings(
            client=False, initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: LARGEST_WINDOW}
        )
        self.max_inbound_frame_size = settings.max_frame_size
        self.encoder = _Encoder(settings.encoder_table_size)
        self.decoder.max_header_list_size = 4 * settings.max_header_list_size
        self.receive_data(PREFACE)

    def announce(self, settings: Settings) -> None:
        """Send our SETTINGS."""
        # What they take away from the client holds when it has acknowledged them: h2 knows.
        self.update_settings(
            {
                SettingCodes.HEADER_TABLE_SIZE: settings.header_table_size,
                SettingCodes.MAX_CONCURRENT_STREAMS: settings.max_concurrent_streams,
                SettingCodes.INITIAL_WINDOW_SIZE: settings.initial_window_size,
                SettingCodes.MAX_FRAME_SIZE: settings.max_frame_size,
                SettingCodes.MAX_HEADER_LIST_SIZE: settings.max_header_list_size,
                SettingCodes.ENABLE_CONNECT_PROTOCOL: int(settings.connect_protocol),
                _NO_RFC7540_PRIORITIES: 1,
            }
        )


class _Encoder(Encoder):
    """An encoder whose table is never larger than we want, and that does without Huffman's code.

    In Python that takes 0.3 us for each byte, and 0.1 s for 40 KB.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self.header_table_size = self.header_table.maxsize

    def encode(self, headers: Any, huffman: bool = False) -> bytes:
        return super().encode(headers, huffman)

    @property
    def header_table_size(self) -> int:
        return self.header_table.maxsize

    @header_table_size.setter
    def header_table_size(self, value: int) -> None:
        value = min(value, self._most)
        # hpack forgets to announce a change when it is told of the same size once more.
        if value != self.header_table.maxsize:
            self.header_table.maxsize = value
            self.table_size_changes.append(value)


def known_settings(payload: bytes) -> bytes:
    """Leave out settings that h2 would keep, although nobody knows them: there are 65536."""
    return b"".join(
        _SETTING.pack(name, value)
        for name, value in _SETTING.iter_unpack(payload)
        if name in _KNOWN_SETTINGS
    )


def no_priorities(payload: bytes, before: int | None) -> int:
    """Return SETTINGS_NO_RFC7540_PRIORITIES, which the first SETTINGS decide on (RFC 9218 2.1).

    Raises:
        ConnectionBroken: It is neither 0 nor 1, or not what it was.
    """
    for name, value in _SETTING.iter_unpack(payload):
        if name == _NO_RFC7540_PRIORITIES:
            if value > 1 or before not in (None, value):
                raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "NO_RFC7540_PRIORITIES")
            before = value
    return before or 0


def to_hpack(fields: list[Field]) -> list[tuple[bytes, bytes]]:
    """Return the fields as hpack wants them."""
    return [
        NeverIndexedHeaderTuple(name, value) if sensitive else (name, value)
        for name, value, sensitive in fields
    ]
