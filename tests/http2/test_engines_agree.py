"""Both engines see the same in the same frames, valid ones and others, however they are cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import hpack
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gserver.http2.engine import (
    DATA,
    DRAINED,
    GOAWAY,
    REQUEST,
    RESET,
    ConnectionBroken,
    ErrorCode,
    Event,
)
from http2_engines import ENGINES, GET, OK, POST, Received, Wire, data, raw, window_update

STREAMS: Final = st.sampled_from([1, 3, 5, 7, 9])
ANY_STREAM: Final = st.sampled_from([0, 1, 2, 3, 5, 7, 9, 11])
WORDS: Final = st.sampled_from(
    [b"", b"x", b"trailers", b"a b", b" x", b"x\t", b"x\0", b"5", b"0", b"close", b"\xe9", b"X"]
)
NAMES: Final = st.sampled_from(
    [b"a", b"te", b"cookie", b"content-length", b"host", b"A", b"", b":path", b"connection", b":x"]
)
SECTIONS: Final = st.one_of(
    st.just(GET),
    st.just(POST),
    st.just([*POST, (b"content-length", b"5")]),
    st.just([*GET, (b"x", b"y" * 4000)]),
    st.just([*GET[:2], *GET[3:], (b"host", b"example.org")]),
    st.just([(b":method", b"CONNECT"), (b":authority", b"example.org:1")]),
    st.lists(st.tuples(NAMES, WORDS), max_size=3),
    st.lists(st.tuples(NAMES, WORDS), max_size=2).map(lambda more: [*GET, *more]),
)
NUMBERS: Final = st.sampled_from([0, 1, 5, 100, 65535, 2**31 - 1, 2**31])

# A frame may have several faults at once, and each engine name another.
FAULTS: Final = {
    ErrorCode.PROTOCOL_ERROR,
    ErrorCode.FRAME_SIZE_ERROR,
    ErrorCode.STREAM_CLOSED,
    ErrorCode.COMPRESSION_ERROR,
}

# A step is a function of the wires: what it returns is sent to each, what it does it does to each.
Step = Callable[[hpack.Encoder], bytes]
Action = Callable[[Wire], None]


def section(fields: Any, stream: int, end: bool, cut: int) -> Step:
    def encode(encoder: hpack.Encoder) -> bytes:
        block = encoder.encode(fields)
        if not cut:
            return raw(1, 4 | end, stream, block)
        return raw(1, int(end), stream, block[:cut]) + raw(9, 4, stream, block[cut:])

    return encode


class Constant:
    """A frame that does not depend on those before it."""

    def __init__(self, frame: bytes) -> None:
        self.frame = frame

    def __call__(self, encoder: hpack.Encoder) -> bytes:
        return self.frame

    def __repr__(self) -> str:
        return f"Constant({self.frame!r})"


def number(value: int) -> bytes:
    return (value & 0xFFFFFFFF).to_bytes(4, "big")


FRAMES: Final = st.one_of(
    st.builds(section, SECTIONS, STREAMS, st.booleans(), st.just(0)),
    st.builds(
        lambda stream, content, end, padding: Constant(
            data(stream, content, end=end, padding=padding)
        ),
        STREAMS,
        st.sampled_from([b"", b"hello", b"world" * 500]),
        st.booleans(),
        st.sampled_from([-1, -1, 0, 7]),
    ),
    st.builds(lambda stream, code: Constant(raw(3, 0, stream, number(code))), STREAMS, NUMBERS),
    st.builds(
        lambda name, value: Constant(raw(4, 0, 0, bytes([0, name]) + number(value))),
        st.integers(1, 9),
        NUMBERS,
    ),
    st.just(Constant(raw(6, 0, 0, b"12345678"))),
    st.just(Constant(raw(6, 1, 0, b"12345678"))),
    st.just(Constant(raw(7, 0, 0, bytes(8)))),
    st.builds(lambda stream, size: Constant(window_update(stream, size)), ANY_STREAM, NUMBERS),
    st.builds(lambda stream: Constant(raw(2, 0, stream, bytes(4) + b"\x10")), ANY_STREAM),
    st.builds(lambda stream: Constant(raw(16, 0, 0, number(stream) + b"u=1")), ANY_STREAM),
    st.builds(
        lambda kind, flags, stream, payload: Constant(raw(kind, flags, stream, payload)),
        st.integers(0, 17),
        st.sampled_from([0, 1, 4, 5, 8, 13, 32, 255]),
        ANY_STREAM,
        st.binary(max_size=12),
    ),
)


def mutate(step: Step, at: int, value: int) -> Step:
    """Change a byte of a frame; never its length, behind which all would be something else."""

    def encode(encoder: hpack.Encoder) -> bytes:
        frame = bytearray(step(encoder))
        where = 3 + at % (len(frame) - 3)
        length = int.from_bytes(frame[:3], "big")
        if where < 9 + length:
            frame[where] = value
        return bytes(frame)

    return encode


def respond(stream: int, body: bytes) -> Action:
    def act(wire: Wire) -> None:
        # Once, as the protocol does.
        if stream in wire.open:
            wire.open.remove(stream)
            wire.engine.respond(stream, OK, body)

    return act


ACTIONS: Final = st.one_of(
    st.builds(respond, STREAMS, st.sampled_from([b"", b"hello", b"x" * 70000])),
    st.builds(
        lambda stream, code: lambda wire: wire.engine.reset(stream, code),
        STREAMS,
        st.sampled_from([2, 8]),
    ),
    st.builds(lambda stream: lambda wire: wire.engine.discard(stream), STREAMS),
    st.builds(lambda stream: lambda wire: wire.engine.consume(stream, 2500), STREAMS),
    st.just(lambda wire: wire.engine.ping()),
)
STEPS: Final = st.lists(
    st.one_of(
        FRAMES,
        FRAMES,
        st.builds(section, SECTIONS, STREAMS, st.booleans(), st.sampled_from([1, 4])),
        st.builds(mutate, FRAMES, st.integers(0, 60), st.integers(0, 255)),
        ACTIONS.map(lambda act: [act]),
    ),
    max_size=12,
)


class Side:
    """One engine, and what it made of a step."""

    def __init__(self, name: str) -> None:
        self.wire = Wire(ENGINES[name])
        self.broken: int | None = None
        self.events: list[Event] = []
        self.frames: list[Received] = []

    def step(self, frame: bytes, action: Action | None, cuts: list[int]) -> None:
        try:
            if action is not None:
                action(self.wire)
            at = 0
            for cut in sorted(cut % (len(frame) + 1) for cut in cuts):
                self.wire.send(frame[at:cut])
                at = cut
            self.wire.send(frame[at:])
        except ConnectionBroken as exc:
            self.broken = exc.code
        self.frames += self.wire.pull()
        events = [event for event in self.wire.take() if event[0] != DRAINED]
        self.events += events
        self.wire.open |= {event[1] for event in events if event[0] == REQUEST}

    def forget(self) -> None:
        """Begin with the next step."""
        self.events.clear()
        self.frames.clear()

    @property
    def ends(self) -> dict[int, int]:
        """The streams that were reset, and why; the connection is stream 0."""
        ends = {frame.stream: frame.number for frame in self.frames if frame.kind == 3}
        return ends if self.broken is None else {0: self.broken}

    def seen(self) -> Any:
        """What the protocol sees; without what nghttp2 takes of a frame that it then refuses."""
        gone = {stream for kind, stream, _ in self.events if kind == RESET}
        return sorted(
            (stream, kind, repr(int(what) if kind == RESET else what))
            for kind, stream, what in self.events
            if kind != DATA or stream not in gone
        )

    def sent(self) -> Any:
        """What the client sees, whatever frames it came in; windows are each engine's own."""
        content: dict[int, bytes] = {}
        others = []
        for frame in self.frames:
            if frame.kind == 0:
                content[frame.stream] = content.get(frame.stream, b"") + frame.payload
                others += [("end", frame.stream)] * frame.ends
            elif frame.kind == 1:
                others.append((repr(frame.fields) + str(frame.ends), frame.stream))
            elif frame.kind == 3:
                others.append((f"reset {frame.number}", frame.stream))
            elif frame.kind != 8:
                others.append((f"{frame.kind} {frame.flags}", frame.stream))
        return content, sorted(others)


def leaves_section(frames: bytes) -> bool:
    """Tell whether the last of the frames lets its field section go on."""
    while (end := 9 + int.from_bytes(frames[:3], "big")) < len(frames):
        frames = frames[end:]
    return frames[3] in (1, 9) and not frames[4] & 4


def may_be_either(one: Side, other: Side) -> bool:
    """Tell whether one broke the connection where the other reset a stream (RFC 9113 5.4.2)."""
    codes = {*one.ends.values(), *other.ends.values()}
    both = bool(one.ends and other.ends)
    return both and 0 in {*one.ends, *other.ends} and (len(codes) == 1 or codes <= FAULTS)


@pytest.mark.skipif(len(ENGINES) < 2, reason="nghttp2 was not built")
@settings(
    max_examples=1000,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(STEPS, st.lists(st.integers(0, 100), max_size=3))
@pytest.mark.slow
def test_both_engines_see_the_same(steps: list[Any], cuts: list[int]) -> None:
    encoder = hpack.Encoder()
    one, other = Side("h2"), Side("nghttp2")
    within = False
    for step in steps:
        action = step[0] if isinstance(step, list) else None
        frame = b"" if action else step(encoder)
        one.step(frame, action, cuts)
        other.step(frame, action, cuts)
        if frame:
            within = leaves_section(frame)
        if GOAWAY in {event[0] for event in one.events}:
            return  # nghttp2 does not listen any more when it thinks that all streams have ended
        if within and one.broken is None:
            if other.broken is not None:
                return
            continue  # nghttp2 does not wait for the end of a section to look into it
        if may_be_either(one, other):
            return
        assert one.seen() == other.seen()
        assert one.ends == other.ends
        assert one.sent() == other.sent()
        assert one.wire.engine.active == other.wire.engine.active
        assert one.wire.engine.last_stream == other.wire.engine.last_stream
        assert one.wire.engine.can_push == other.wire.engine.can_push
        one.forget()
        other.forget()
