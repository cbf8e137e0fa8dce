"""The engine itself: what each frame does, and each method of the contract."""

# ruff: noqa: D102 - what the methods promise is in gserver.http2.engine.

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

from h2.exceptions import ProtocolError
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import Frame, GoAwayFrame, RstStreamFrame, WindowUpdateFrame

from gserver.http2 import engine as events
from gserver.http2.engine import (
    Charge,
    ConnectionBroken,
    ErrorCode,
    Event,
    Field,
    Settings,
)
from gserver.http2.pure import frames
from gserver.http2.pure.connection import LARGEST_WINDOW, Connection, known_settings, to_hpack
from gserver.http2.pure.frames import END_STREAM, FrameReader
from gserver.http2.pure.rules import Malformed, check_request, check_trailers
from gserver.http2.pure.turns import Stream, Turns

# What one stream may send at once: a client that takes larger frames still gets its other streams.
_LARGEST_DATA: Final = 16384
_LONGEST_PRIORITY: Final = 256


class PureEngine:
    """See `gserver.http2.engine.Engine`.

    Args:
        settings: What the server announces, and bounds.
        charge: Is told of frames that move nothing forward.
    """

    def __init__(self, settings: Settings, charge: Charge) -> None:
        self.events: list[Event] = []
        self.last_stream = 0
        self._settings = settings
        self._charge = charge
        self._streams: dict[int, Stream] = {}
        self._pushed = 0
        self._leaving = False  # newer streams are ignored
        self._no_pushes = False
        self._uncredited = 0  # bytes of content that the connection's window lacks
        self._unseen = 0  # those of them that h2 was not told of
        self._turns = Turns()
        self._control = b""  # goes out before what h2 has made
        self._reader = FrameReader(settings.max_frame_size, settings.max_continuations)
        self._conn = Connection(settings)
        self._conn.announce(settings)

    @property
    def active(self) -> int:
        return len(self._streams)

    @property
    def can_push(self) -> bool:
        remote = self._conn.remote_settings
        return (
            not self._no_pushes
            and bool(remote.enable_push)
            and self._pushed < remote.max_concurrent_streams
        )

    # -- the client's bytes -------------------------------------------------------------------

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
        length = len(payload)
        content = frames.unpad(payload, True) if flags & frames.PADDED else payload
        if not content and not flags & END_STREAM:
            self._count(frames.DATA, payload)
        stream = self._find(id)
        if length > self._conn.inbound_flow_control_window - self._unseen:
            raise ConnectionBroken(ErrorCode.FLOW_CONTROL_ERROR, "connection's window")
        self._uncredited += length
        code = self._data_error(stream, length)
        if code is not None:
            self._unseen += length
            if stream is not None:
                self._violated(stream, code)
        elif stream is not None:
            self._conn.receive_data(frames.pack(frames.DATA, flags, id, payload))
            self._take_content(stream, content, length, flags & END_STREAM)
        if 2 * self._uncredited >= self._settings.connection_window_size:
            self._credit()

    def _data_error(self, stream: Stream | None, length: int) -> int | None:
        if stream is None or stream.remote_ended:
            return ErrorCode.STREAM_CLOSED
        if length > self._conn.streams[stream.id].inbound_flow_control_window:
            return ErrorCode.FLOW_CONTROL_ERROR
        return None

    def _take_content(self, stream: Stream, content: bytes, length: int, ended: int) -> None:
        stream.held += length
        stream.received += len(content)
        if stream.expected >= 0 and (
            stream.received > stream.expected or (ended and stream.received < stream.expected)
        ):
            self._violated(stream, ErrorCode.PROTOCOL_ERROR)
            return
        if content and not stream.discarded:
            self.events.append((events.DATA, stream.id, content))
        if ended:
            self._take_end(stream, [])
        elif length > len(content):
            self.consume(stream.id, length - len(content))

    def _credit(self) -> None:
        """Open the connection's window again."""
        seen = self._uncredited - self._unseen
        if seen:
            self._conn.increment_flow_control_window(seen)
        if self._unseen:
            self._send(WindowUpdateFrame(0, self._unseen))
        self._uncredited = self._unseen = 0

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
        fields = None
        expected = -1
        if self._fits(names, values):
            try:
                expected = check_request(names, values)
                if ended and expected > 0:
                    raise Malformed("content-length")
            except Malformed:
                self._refuse(id, ErrorCode.PROTOCOL_ERROR)
                return
            fields = list(zip(names, values, strict=True))
        self._tell_section(id, ended)
        self._streams[id] = Stream(id, expected, bool(ended))
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

    def _forget(self, stream: Stream) -> None:
        del self._streams[stream.id]
        self._conn.streams.pop(stream.id, None)
        self._pushed -= stream.pushed
        self._turns.remove(stream)

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
        known = known_settings(payload)
        self._conn.receive_data(frames.pack(frames.SETTINGS, flags, id, known))
        if flags & frames.ACK:
            # h2 has just made it what was announced.
            self._conn.decoder.max_header_list_size = 4 * self._settings.max_header_list_size
            return
        for stream in self._streams.values():
            if stream.unsent:
                self._turns.add(stream)

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
        frame = frames.pack(frames.WINDOW_UPDATE, flags, id, payload)
        if not id or len(payload) != 4:
            self._conn.receive_data(frame)
            return
        stream = self._find(id)
        if stream is None:
            return
        increment = int.from_bytes(payload, "big") & LARGEST_WINDOW
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
        if id or not prioritised:
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
        # Those were h2's own settings.
        self._conn.clear_outbound_data_buffer()
        self._conn.announce(self._settings)
        self.last_stream = 1
        self._streams[1] = Stream(1, -1, True)

    # -- our bytes ----------------------------------------------------------------------------

    def _send(self, frame: Frame) -> None:
        """Queue a frame that h2 would not make, behind those that it has made."""
        self._control += self._conn.data_to_send() + frame.serialize()

    def _break(self, code: int) -> None:
        self._send(GoAwayFrame(0, self.last_stream, code))
        self._turns.clear()

    def pull(self, size: int) -> bytes:
        output = self._control + self._conn.data_to_send()
        self._control = output[size:]
        if self._control:
            return output[:size]
        if self._turns:
            self._pull_content(size - len(output))
            output += self._conn.data_to_send()
        return output

    def _pull_content(self, room: int) -> None:
        """Let h2 make DATA frames, as far as the windows allow."""
        conn = self._conn
        while room > 0 and self._turns:
            stream = self._turns.next()
            size = stream.unsent
            if size:
                size = min(
                    size,
                    conn.outbound_flow_control_window,
                    conn.streams[stream.id].outbound_flow_control_window,
                    conn.max_outbound_frame_size,
                    _LARGEST_DATA,
                )
                if conn.outbound_flow_control_window <= 0:
                    return
                if size <= 0:
                    # A WINDOW_UPDATE brings it back.
                    self._turns.remove(stream)
                    continue
            room -= size + 9
            self._turns.rotate(stream)
            self._send_content(stream, size)

    def _send_content(self, stream: Stream, size: int) -> None:
        data = stream.take(size)
        ends = not stream.unsent and stream.ending and not stream.trailers
        if data:
            self._conn.send_data(stream.id, data, end_stream=ends)
        if stream.unsent:
            return
        self._turns.remove(stream)
        if stream.tell:
            stream.tell = False
            self.events.append((events.DRAINED, stream.id, None))
        if stream.ending:
            self._send_end(stream, ended=ends and bool(data))

    def _send_end(self, stream: Stream, ended: bool) -> None:
        """Note the end of our side, and send it if `ended` does not say that it was."""
        if stream.trailers:
            self._conn.send_headers(stream.id, to_hpack(stream.trailers), end_stream=True)
        elif not ended:
            self._conn.end_stream(stream.id)
        stream.local_ended = True
        if stream.remote_ended:
            self._forget(stream)
        elif stream.discarded:
            self.reset(stream.id, ErrorCode.NO_ERROR)

    def respond(self, stream: int, fields: list[Field], body: bytes) -> None:
        state = self._streams.get(stream)
        if state is None:
            return
        self._conn.send_headers(stream, to_hpack(fields), end_stream=not body)
        if body:
            state.add(body)
            state.ending = True
            self._turns.add(state)
        else:
            self._send_end(state, ended=True)

    def send_head(self, stream: int, fields: list[Field]) -> None:
        if stream in self._streams:
            self._conn.send_headers(stream, to_hpack(fields))

    def send_informational(self, stream: int, fields: list[Field]) -> None:
        self.send_head(stream, fields)

    def send_data(self, stream: int, data: bytes) -> None:
        state = self._streams.get(stream)
        if state is not None:
            state.add(data)
            state.tell = True
            self._turns.add(state)

    def send_end(self, stream: int, trailers: list[Field]) -> None:
        state = self._streams.get(stream)
        if state is None:
            return
        state.trailers = trailers
        state.ending = True
        # What is waiting goes first.
        if not state.tell:
            self._send_end(state, ended=False)

    def unsent(self, stream: int) -> int:
        state = self._streams.get(stream)
        return 0 if state is None else state.unsent

    def reset(self, stream: int, code: int) -> None:
        state = self._streams.get(stream)
        if state is not None:
            self._conn.reset_stream(stream, code)
            self._forget(state)

    def discard(self, stream: int) -> None:
        state = self._streams.get(stream)
        if state is not None:
            state.discarded = True
            if state.local_ended:
                self.reset(stream, ErrorCode.NO_ERROR)

    def consume(self, stream: int, size: int) -> None:
        state = self._streams.get(stream)
        if state is None or state.remote_ended:
            return
        state.read += size
        # Half of the window at once: a WINDOW_UPDATE for each read would cost more than the read.
        if 2 * state.read >= self._window(state):
            self._conn.increment_flow_control_window(state.read, stream)
            state.held -= state.read
            state.read = 0

    def widen(self, stream: int, size: int) -> None:
        state = self._streams.get(stream)
        if state is not None and not state.remote_ended:
            lacking = size - self._window(state)
            if lacking > 0:
                self._conn.increment_flow_control_window(lacking, stream)

    def _window(self, stream: Stream) -> int:
        """Return how much may come before anybody reads."""
        return self._conn.streams[stream.id].inbound_flow_control_window + stream.held

    def push(self, stream: int, fields: list[Field]) -> int:
        promised = self._conn.get_next_available_stream_id()
        self._conn.push_stream(stream, promised, to_hpack(fields))
        self._streams[promised] = Stream(promised, -1, True, pushed=True)
        self._pushed += 1
        return promised

    def prioritise(self, stream: int, urgency: int, incremental: bool) -> None:
        state = self._streams.get(stream)
        if state is not None:
            self._turns.prioritise(state, urgency)

    def ping(self) -> None:
        self._conn.ping(bytes(8))

    def announce_shutdown(self) -> None:
        self._no_pushes = True
        self._send(GoAwayFrame(0, LARGEST_WINDOW, ErrorCode.NO_ERROR))

    def go_away(self, code: int) -> None:
        self._no_pushes = self._leaving = True
        self._send(GoAwayFrame(0, self.last_stream, code))


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
