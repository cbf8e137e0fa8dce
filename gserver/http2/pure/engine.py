"""The engine: what each frame of the client does."""

# ruff: noqa: D102 - what the methods promise is in gserver.http2.engine.

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

from h2.exceptions import ProtocolError
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import RstStreamFrame

from gserver.http2 import engine as events
from gserver.http2.engine import (
    Charge,
    ConnectionBroken,
    ErrorCode,
    Settings,
)
from gserver.http2.pure import frames
from gserver.http2.pure.connection import (
    LARGEST_WINDOW,
    Connection,
    known_settings,
    no_priorities,
)
from gserver.http2.pure.frames import END_STREAM, FrameReader
from gserver.http2.pure.rules import Malformed, check_request, check_trailers
from gserver.http2.pure.sender import Sender
from gserver.http2.pure.turns import Stream

# What one stream may send at once: a client that takes larger frames still gets its other streams.
_LARGEST_DATA: Final = 16384
_LONGEST_PRIORITY: Final = 256
_MOST_SETTINGS: Final = 32


class PureEngine(Sender):
    """See `gserver.http2.engine.Engine`.

    Args:
        settings: What the server announces, and bounds.
        charge: Is told of frames that move nothing forward.
    """

    def __init__(self, settings: Settings, charge: Charge) -> None:
        super().__init__(settings)
        self._charge = charge
        self._reader = FrameReader(settings.max_frame_size, settings.max_continuations)
        self._acknowledged = False  # our SETTINGS are
        self._no_priorities: int | None = None  # what the client's first SETTINGS say of them
        self._held = 0  # bytes taken off the connection's window and not granted again

    def receive(self, data: bytes) -> None:
        try:
            for kind, flags, id, payload in self._reader.feed(data):
                take = _TAKE.get(kind)
                if take is not None:
                    take(self, flags, id, payload)
                else:
                    self._count(kind, payload)
        except ConnectionBroken as exc:
            self._break(exc.code)
            raise
        except ProtocolError as exc:
            # h2 has made the GOAWAY.
            self._turns.clear()
            raise ConnectionBroken(int(exc.error_code), str(exc)) from None

    def _count(self, kind: int, payload: bytes) -> None:
        if not self._charge(kind, len(payload)):
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, "too many frames of no use")

    def _find(self, id: int) -> Stream | None:
        """Return the stream of a received frame, or None if it is gone."""
        stream = self._streams.get(id)
        if stream is None:
            if id & 1:
                idle = id > self.last_stream and not self._leaving
            else:
                idle = not id or id > self._conn.highest_outbound_stream_id
            if idle:
                raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, f"frame on idle stream {id}")
        return stream

    def _take_data(self, flags: int, id: int, payload: bytes) -> None:
        stream = self._find(id)
        length = len(payload)
        self._held += length
        if self._held > self._settings.connection_window_size:
            raise ConnectionBroken(ErrorCode.FLOW_CONTROL_ERROR, "connection's window")
        if 2 * self._held >= self._settings.connection_window_size:
            self._open_window(0, self._held)
            self._held = 0
        if stream is None:
            if not payload:
                self._count(frames.DATA, payload)
            return
        content = frames.unpad(payload, True) if flags & frames.PADDED else payload
        if not content and not flags & END_STREAM:
            self._count(frames.DATA, payload)
        stream.held += length
        if stream.remote_ended:
            self._violated(stream, ErrorCode.STREAM_CLOSED)
        elif stream.held > stream.window:
            self._violated(stream, ErrorCode.FLOW_CONTROL_ERROR)
        else:
            self._take_content(stream, content, length - len(content), flags & END_STREAM)

    def _take_content(self, stream: Stream, content: bytes, padding: int, ended: int) -> None:
        stream.received += len(content)
        if stream.expected >= 0 and (
            stream.received > stream.expected or (ended and stream.received < stream.expected)
        ):
            self._violated(stream, ErrorCode.PROTOCOL_ERROR)
            return
        if content and not stream.discarded:
            self.events.append((events.DATA, stream.id, content))
        if ended:
            self._conn.receive_data(frames.pack(frames.DATA, END_STREAM, stream.id, b""))
            self._take_end(stream, [])
        elif padding:
            self.consume(stream.id, padding)

    def _take_headers(self, flags: int, id: int, block: bytes) -> None:
        if not id & 1:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, f"HEADERS on stream {id}")
        opens = id > self.last_stream and not self._leaving
        if not opens:
            self._count(frames.HEADERS, block)
        try:
            fields = self._conn.decoder.decode(block, raw=True)
        except OversizedHeaderListError:
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, "field section") from None
        except HPACKError as exc:
            raise ConnectionBroken(ErrorCode.COMPRESSION_ERROR, str(exc)) from None
        names = [name for name, _ in fields]
        values = [value for _, value in fields]
        if opens:
            self.last_stream = id
            self._open(id, names, values, flags & END_STREAM)
        elif id in self._streams:
            self._take_trailers(self._streams[id], names, values, flags & END_STREAM)

    def _open(self, id: int, names: list[bytes], values: list[bytes], ended: int) -> None:
        if len(self._streams) - self._pushed >= self._settings.max_concurrent_streams:
            self._refuse(id, ErrorCode.REFUSED_STREAM)
            return
        try:
            expected = check_request(names, values, self._settings.connect_protocol)
            if ended and expected > 0:
                raise Malformed("content-length")
        except Malformed:
            self._refuse(id, ErrorCode.PROTOCOL_ERROR)
            return
        fields = list(zip(names, values, strict=True)) if self._fits(names, values) else None
        self._tell_section(id, ended)
        self._streams[id] = Stream(id, self._initial_window, expected, bool(ended))
        self.events.append((events.REQUEST, id, (fields, bool(ended))))

    def _fits(self, names: list[bytes], values: list[bytes]) -> bool:
        size = sum(map(len, names)) + sum(map(len, values)) + 32 * len(names)
        return size <= self._settings.max_header_list_size

    def _tell_section(self, id: int, ended: int) -> None:
        """Let h2 know that fields have come, but not which."""
        flags = frames.END_HEADERS | ended
        self._conn.receive_data(frames.pack(frames.HEADERS, flags, id, b""))

    def _take_trailers(
        self, stream: Stream, names: list[bytes], values: list[bytes], ended: int
    ) -> None:
        if stream.remote_ended:
            self._violated(stream, ErrorCode.STREAM_CLOSED)
            return
        try:
            if not ended:
                raise Malformed("trailer fields without END_STREAM")
            if 0 <= stream.expected != stream.received:
                raise Malformed("content-length")
            check_trailers(names, values)
        except Malformed:
            self._violated(stream, ErrorCode.PROTOCOL_ERROR)
            return
        fits = self._fits(names, values)
        self._tell_section(stream.id, END_STREAM)
        self._take_end(stream, list(zip(names, values, strict=True)) if fits else [])

    def _take_end(self, stream: Stream, trailers: list[tuple[bytes, bytes]]) -> None:
        stream.remote_ended = True
        if not stream.discarded:
            self.events.append((events.END, stream.id, trailers))
        if stream.local_ended:
            self._forget(stream)

    def _refuse(self, id: int, code: int) -> None:
        """Reset a stream that neither h2 nor anybody else was told of."""
        frame = RstStreamFrame(id, code)
        self._send(frame)
        self._count(frames.RST_STREAM, frame.serialize_body())

    def _violated(self, stream: Stream, code: int) -> None:
        """Reset a stream because the client broke a rule."""
        self.reset(stream.id, code)
        self.events.append((events.RESET, stream.id, code))
        self._count(frames.RST_STREAM, bytes(4))

    def _take_priority(self, flags: int, id: int, payload: bytes) -> None:
        """Nobody wants these any more (RFC 9113 5.3.2)."""
        self._count(frames.PRIORITY, payload)
        if not id:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) != 5:
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY")

    def _take_reset(self, flags: int, id: int, payload: bytes) -> None:
        self._count(frames.RST_STREAM, payload)
        if len(payload) != 4:
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM")
        stream = self._find(id)
        if stream is not None:
            self._conn.receive_data(frames.pack(frames.RST_STREAM, flags, id, payload))
            self._forget(stream)
            self.events.append((events.RESET, id, int.from_bytes(payload, "big")))

    def _take_settings(self, flags: int, id: int, payload: bytes) -> None:
        self._count(frames.SETTINGS, payload)
        if len(payload) % 6 or (flags & frames.ACK and payload):
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS")
        if len(payload) > 6 * _MOST_SETTINGS:
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, "too many settings")
        if flags & frames.ACK and self._acknowledged:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "ACK of SETTINGS that were not sent")
        self._no_priorities = no_priorities(payload, self._no_priorities)
        known = known_settings(payload)
        self._conn.receive_data(frames.pack(frames.SETTINGS, flags, id, known))
        if flags & frames.ACK:
            self._acknowledge()
            # h2 has just made it what was announced.
            self._conn.decoder.max_header_list_size = 4 * self._settings.max_header_list_size
            return
        for stream in self._streams.values():
            if stream.unsent:
                self._turns.add(stream)

    def _acknowledge(self) -> None:
        """Our SETTINGS hold now."""
        self._acknowledged = True
        for stream in self._streams.values():
            stream.window += self._settings.initial_window_size - self._initial_window
        self._initial_window = self._settings.initial_window_size

    def _take_push_promise(self, flags: int, id: int, payload: bytes) -> None:
        raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE from a client")

    def _take_ping(self, flags: int, id: int, payload: bytes) -> None:
        self._count(frames.PING, payload)
        self._conn.receive_data(frames.pack(frames.PING, flags, id, payload))
        if flags & frames.ACK:
            self.events.append((events.PONG, 0, None))

    def _take_goaway(self, flags: int, id: int, payload: bytes) -> None:
        self._count(frames.GOAWAY, payload)
        if id:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, f"GOAWAY on stream {id}")
        if len(payload) < 8:
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY")
        self._no_pushes = True
        self.events.append((events.GOAWAY, 0, int.from_bytes(payload[4:8], "big")))

    def _take_window_update(self, flags: int, id: int, payload: bytes) -> None:
        self._count(frames.WINDOW_UPDATE, payload)
        if payload:
            payload = bytes([payload[0] & 0x7F]) + payload[1:]  # a reserved bit, to be ignored
        frame = frames.pack(frames.WINDOW_UPDATE, flags, id, payload)
        if not id or len(payload) != 4:
            self._conn.receive_data(frame)
            return
        stream = self._find(id)
        if stream is None:
            return
        increment = int.from_bytes(payload, "big")
        if not increment:
            self._violated(stream, ErrorCode.PROTOCOL_ERROR)
        elif self._conn.streams[id].outbound_flow_control_window + increment > LARGEST_WINDOW:
            self._violated(stream, ErrorCode.FLOW_CONTROL_ERROR)
        else:
            self._conn.receive_data(frame)
            if stream.unsent:
                self._turns.add(stream)

    def _take_priority_update(self, flags: int, id: int, payload: bytes) -> None:
        self._count(frames.PRIORITY_UPDATE, payload)
        if len(payload) < 4:
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY_UPDATE")
        prioritised = int.from_bytes(payload[:4], "big") & LARGEST_WINDOW
        # A stream that the client has yet to open may have one, an idle one of ours not.
        idle_push = not prioritised & 1 and prioritised > self._conn.highest_outbound_stream_id
        if id or not prioritised or idle_push:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "PRIORITY_UPDATE")
        if prioritised in self._streams and len(payload) - 4 <= _LONGEST_PRIORITY:
            self.events.append((events.PRIORITY, prioritised, payload[4:]))

    def upgrade(self, settings: bytes, head: bool) -> None:
        self._conn = Connection(self._settings)
        try:
            if len(settings) % 6:
                raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "HTTP2-Settings")
            header = base64.urlsafe_b64encode(known_settings(settings))
            self._conn.initiate_upgrade_connection(header)
        except ConnectionBroken as exc:
            self._break(exc.code)
            raise
        except (ProtocolError, HyperframeError) as exc:
            self._break(ErrorCode.PROTOCOL_ERROR)
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, str(exc)) from None
        # What was announced before, and h2's own settings, are nobody's now.
        self._conn.clear_outbound_data_buffer()
        self._control = b""
        self._announce()
        self.last_stream = 1
        self._streams[1] = Stream(1, self._initial_window, -1, True)


_TAKE: Final[dict[int, Callable[[PureEngine, int, int, bytes], None]]] = {
    frames.DATA: PureEngine._take_data,
    frames.HEADERS: PureEngine._take_headers,
    frames.PRIORITY: PureEngine._take_priority,
    frames.RST_STREAM: PureEngine._take_reset,
    frames.SETTINGS: PureEngine._take_settings,
    frames.PUSH_PROMISE: PureEngine._take_push_promise,
    frames.PING: PureEngine._take_ping,
    frames.GOAWAY: PureEngine._take_goaway,
    frames.WINDOW_UPDATE: PureEngine._take_window_update,
    frames.PRIORITY_UPDATE: PureEngine._take_priority_update,
}
