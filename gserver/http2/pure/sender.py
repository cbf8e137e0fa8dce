"""What the engine sends: heads and content, windows, and the end of it all."""

# ruff: noqa: D102 - what the methods promise is in gserver.http2.engine.

from __future__ import annotations

from typing import Final

from hyperframe.frame import Frame, GoAwayFrame, WindowUpdateFrame

from gserver.http2 import engine as events
from gserver.http2.engine import ErrorCode, Event, Field, Settings
from gserver.http2.pure.connection import DEFAULT_WINDOW, LARGEST_WINDOW, Connection, to_hpack
from gserver.http2.pure.frames import DATA, pack_header
from gserver.http2.pure.turns import Stream, Turns

# What one stream may send at once: a client that takes larger frames still gets its other streams.
_LARGEST_DATA: Final = 16384


class Sender:
    """The half of the engine that speaks, and what both halves know."""

    def __init__(self, settings: Settings) -> None:
        self.events: list[Event] = []
        self.last_stream = 0
        self._settings = settings
        self._streams: dict[int, Stream] = {}
        self._pushed = 0
        self._leaving = False  # newer streams are ignored
        self._no_pushes = False
        self._turns = Turns()
        self._control = b""  # goes out before what h2 has made
        self._initial_window = DEFAULT_WINDOW  # until our SETTINGS are acknowledged
        self._conn = Connection(settings)
        self._announce()

    def _announce(self) -> None:
        self._conn.announce(self._settings)
        if self._settings.connection_window_size > DEFAULT_WINDOW:
            self._open_window(0, self._settings.connection_window_size - DEFAULT_WINDOW)

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

    def _send(self, frame: Frame) -> None:
        """Queue a frame that h2 would not make, behind those that it has made."""
        self._control += self._conn.data_to_send() + frame.serialize()

    def _open_window(self, id: int, size: int) -> None:
        """Let the client send so much more. Of content that comes h2 is told its end only."""
        self._send(WindowUpdateFrame(id, size))

    def _break(self, code: int) -> None:
        self._send(GoAwayFrame(0, self.last_stream, code))
        self._turns.clear()

    def pull(self, size: int) -> bytes:
        output = self._control + self._conn.data_to_send()
        self._control = output[size:]
        if self._control:
            return output[:size]
        if not self._turns:
            return output
        parts = [output]
        self._pull_content(parts, size - len(output))
        return b"".join(parts)

    def _pull_content(self, parts: list[bytes], room: int) -> None:
        """Make DATA frames, as far as the windows allow."""
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
            self._send_content(stream, size, parts)

    def _send_content(self, stream: Stream, size: int, parts: list[bytes]) -> None:
        data = stream.take(size)
        ends = not stream.unsent and stream.ending and not stream.trailers
        if ends:
            self._conn.send_data(stream.id, data, end_stream=True)
        elif data:
            # h2 would do this, and copy the content seven times.
            self._conn.outbound_flow_control_window -= size
            self._conn.streams[stream.id].outbound_flow_control_window -= size
            parts += pack_header(size, DATA, 0, stream.id), data
        if not stream.unsent:
            self._turns.remove(stream)
            if stream.tell:
                stream.tell = False
                self.events.append((events.DRAINED, stream.id, None))
            if stream.ending:
                self._send_end(stream, ended=ends)
            parts.append(self._conn.data_to_send())

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

    def gather(self, stream: int, size: int) -> None:
        """Do nothing: h2 has made an object of each frame before it is seen here."""

    def gathered(self, stream: int) -> bytes:
        return b""

    def consume(self, stream: int, size: int) -> None:
        state = self._streams.get(stream)
        if state is None or state.remote_ended:
            return
        state.read += size
        # Half of the window at once: a WINDOW_UPDATE for each read would cost more than the read.
        if 2 * state.read >= state.window:
            self._open_window(stream, state.read)
            state.held -= state.read
            state.read = 0

    def widen(self, stream: int, size: int) -> None:
        state = self._streams.get(stream)
        if state is not None and not state.remote_ended and size > state.window:
            self._open_window(stream, size - state.window)
            state.window = size

    def push(self, stream: int, fields: list[Field]) -> int:
        promised = self._conn.get_next_available_stream_id()
        self._conn.push_stream(stream, promised, to_hpack(fields))
        self._streams[promised] = Stream(promised, 0, -1, True, pushed=True)
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

    def _forget(self, stream: Stream) -> None:
        del self._streams[stream.id]
        self._conn.streams.pop(stream.id, None)
        self._pushed -= stream.pushed
        self._turns.remove(stream)
