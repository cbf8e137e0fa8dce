"""The engines of HTTP/2 that there are, and a client's side for them in memory.

`Wire` knows frames and header compression and nothing else: it sends what it is told to, and
takes apart what comes back by the letter of RFC 9113.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import hpack
import pytest
from hyperframe.frame import Frame, SettingsFrame

from gserver.http2.engine import DATA, REQUEST, Charge, Engine, Event, Settings
from gserver.http2.pure import PureEngine

MakeEngine = Callable[[Settings, Charge], Engine]

ENGINES: Final[dict[str, MakeEngine]] = {"h2": PureEngine}
try:
    from gserver.http2.nghttp2 import NghttpEngine
except ImportError:
    if "CI" in os.environ:
        raise
else:
    ENGINES["nghttp2"] = NghttpEngine

each_engine = pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES)

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEFAULT_WINDOW: Final = 65535
SETTINGS: Final = Settings(
    max_concurrent_streams=20,
    initial_window_size=DEFAULT_WINDOW,
    connection_window_size=262144,
    max_frame_size=16384,
    header_table_size=4096,
    encoder_table_size=4096,
    max_header_list_size=4096,
    max_continuations=4,
    connect_protocol=True,
)

GET: Final = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":authority", b"example.org"),
    (b":path", b"/"),
]
POST: Final = [(b":method", b"POST"), *GET[1:]]
OK: Final = [(b":status", b"200", False)]

Fields = list[tuple[bytes, bytes]]


@dataclass
class Received:
    """A frame that the engine sent; `fields` are those of a field section."""

    kind: int
    flags: int
    stream: int
    payload: bytes
    fields: list[Any] = field(default_factory=list)

    @property
    def ends(self) -> bool:
        return bool(self.flags & 1)

    @property
    def number(self) -> int:
        """The error code, or the increment, at the end of the payload."""
        return int.from_bytes(self.payload[-4:], "big")


class Wire:
    """A connection of which one side is an engine, and the other one is the test.

    Args:
        make: The engine's class.
        settings: What the client announces.
        changes: Other values than those of `SETTINGS`.
    """

    def __init__(
        self, make: MakeEngine, settings: dict[int, int] | None = None, **changes: int
    ) -> None:
        self.settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
        self.open: set[int] = set()  # for tests to note streams in
        self.charged: list[tuple[int, int]] = []
        self.allowed = 1000
        self.engine = make(self.settings, self._charge)
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder(2**20)
        self.greeting = self.exchange(
            PREFACE, SettingsFrame(settings=settings or {}), SettingsFrame(flags=["ACK"])
        )
        self.charged.clear()

    def _charge(self, kind: int, length: int) -> bool:
        self.charged.append((kind, length))
        return len(self.charged) <= self.allowed

    def send(self, *frames: Frame | bytes) -> None:
        """Let the engine receive frames, or bytes."""
        self.engine.receive(
            b"".join(frame if isinstance(frame, bytes) else frame.serialize() for frame in frames)
        )

    def exchange(self, *frames: Frame | bytes) -> list[Received]:
        """Send, and return all that comes back."""
        self.send(*frames)
        return self.pull()

    def pull(self, size: int = 65536) -> list[Received]:
        """Return all that the engine wants to send."""
        output = b""
        while part := self.engine.pull(size):
            output += part
        return self.parse(output)

    def parse(self, output: bytes) -> list[Received]:
        """Take frames apart, of which the last is whole."""
        frames = []
        while output:
            high, low, kind, flags, stream = struct.unpack(">HBBBL", output[:9])
            end = 9 + (high << 8 | low)
            assert len(output) >= end
            frames.append(Received(kind, flags, stream, output[9:end]))
            output = output[end:]
        return list(self._decoded(frames))

    def _decoded(self, frames: list[Received]) -> Iterable[Received]:
        section: Received | None = None
        for frame in frames:
            if frame.kind == 9:
                assert section is not None
                section.payload += frame.payload
                section.flags |= frame.flags
            else:
                assert section is None
                yield frame
            if frame.kind in (1, 5):
                section = frame
            if section is not None and section.flags & 4:
                block = section.payload[4 if section.kind == 5 else 0 :]
                section.fields = list(self.decoder.decode(block, raw=True))
                section = None

    def headers(
        self, stream: int, fields: Iterable[Any], *, end: bool = False, pieces: int = 1
    ) -> bytes:
        """Return HEADERS, and as many CONTINUATION frames that there are `pieces`."""
        block = self.encoder.encode(fields)
        size = -(-len(block) // pieces)
        frames = b""
        for number in range(pieces):
            flags = (0 if number else end) | (4 if number == pieces - 1 else 0)
            part = block[number * size : (number + 1) * size]
            frames += raw(9 if number else 1, flags, stream, part)
        return frames

    def take(self) -> list[Event]:
        """Return the events since the last call; what comes of a body at a time is one event."""
        events: list[Event] = []
        for kind, stream, what in self.engine.events:
            if kind == DATA and events and events[-1][:2] == (DATA, stream):
                events[-1] = (DATA, stream, events[-1][2] + what)
            else:
                events.append((kind, stream, what))
        self.engine.events.clear()
        return events

    def request(self, stream: int = 1, fields: Iterable[Any] = GET, *, end: bool = True) -> None:
        """Send a request, and forget what the engine says of it."""
        self.send(self.headers(stream, fields, end=end))
        self.take()


def raw(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame, whatever it means."""
    length = len(payload)
    return struct.pack(">HBBBL", length >> 8, length & 255, kind, flags, stream) + payload


def data(stream: int, content: bytes = b"", *, end: bool = False, padding: int = -1) -> bytes:
    """Return a DATA frame; a `padding` of zero bytes takes one."""
    if padding < 0:
        return raw(0, end, stream, content)
    return raw(0, end | 8, stream, bytes([padding]) + content + bytes(padding))


def window_update(stream: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame."""
    return raw(8, 0, stream, increment.to_bytes(4, "big"))


def content(frames: list[Received], stream: int = 1) -> bytes:
    """Return the content of a stream's DATA frames."""
    return b"".join(frame.payload for frame in frames if frame.kind == 0 and frame.stream == stream)


def resets(frames: list[Received]) -> dict[int, int]:
    """Return which streams were reset, and why."""
    return {frame.stream: frame.number for frame in frames if frame.kind == 3}


def goaways(frames: list[Received]) -> list[tuple[int, int]]:
    """Return the last stream and the code of each GOAWAY."""
    return [struct.unpack(">LL", frame.payload[:8]) for frame in frames if frame.kind == 7]


def lives(wire: Wire, stream: int = 101) -> bool:
    """Tell whether the connection still takes requests, and in the right compression table."""
    fields = [*GET, (b"x-last", b"%d" % stream)]
    wire.send(wire.headers(stream, fields, end=True))
    return wire.take() == [(REQUEST, stream, (fields, True))]
