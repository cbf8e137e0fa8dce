"""Both engines refuse what breaks RFC 9113, and no more of it than they must."""

from __future__ import annotations

import hpack
import pytest

from gserver.http2.engine import DATA, REQUEST, RESET, ConnectionBroken, ErrorCode
from http2_engines import (
    GET,
    POST,
    PREFACE,
    SETTINGS,
    MakeEngine,
    Wire,
    data,
    each_engine,
    goaways,
    lives,
    raw,
    resets,
    window_update,
)

pytestmark = each_engine


def broken(wire: Wire, *frames: bytes) -> int:
    """Send what breaks the connection; return the code of the GOAWAY."""
    with pytest.raises(ConnectionBroken) as caught:
        wire.send(*frames)
    ((_, code),) = goaways(wire.pull())
    assert caught.value.code == code
    assert str(caught.value)
    return code


# -- compression (RFC 7541) -------------------------------------------------------------------


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\xbe",
        b"\x00\x05abc",
        b"\x00\x81\xff\x00",
        b"\x82\x3f\xe1\x1f",
        b"\x3f\xe2\x1f",
        b"\x00",
    ],
    ids=[
        "index 0",
        "endless index",
        "index beyond the table",
        "short",
        "padding of Huffman",
        "size behind fields",
        "size beyond ours",
        "nothing behind",
    ],
)
def test_compression_errors_break_the_connection(make: MakeEngine, block: bytes) -> None:
    assert broken(Wire(make), raw(1, 5, 1, block)) == ErrorCode.COMPRESSION_ERROR


def test_the_table_must_shrink_when_we_said_so(make: MakeEngine) -> None:
    wire = Wire(make, header_table_size=256)
    wire.encoder.header_table_size = 256
    assert lives(wire)
    wire.encoder.header_table_size = 257
    assert broken(wire, wire.headers(103, GET, end=True)) == ErrorCode.COMPRESSION_ERROR


def test_a_section_beyond_all_measure_breaks_the_connection(make: MakeEngine) -> None:
    wire = Wire(make)
    # 4 KB that are mentioned a hundred times: the bomb of CVE-2016-6581.
    fields = [*GET, (b"x", b"a" * 3000)]
    wire.request(1, fields)
    wire.send(wire.headers(3, [*fields, *[(b"x", b"a" * 3000)] * 3], end=True))
    assert wire.take() == [(REQUEST, 3, (None, True))]
    bomb = wire.headers(5, [*fields, *[(b"x", b"a" * 3000)] * 100], end=True)
    assert len(bomb) < 200
    assert broken(wire, bomb) == ErrorCode.ENHANCE_YOUR_CALM


def test_the_bomb_may_come_before_our_settings_are_acknowledged(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.engine = make(SETTINGS, lambda *args: True)
    wire.encoder = hpack.Encoder()
    bomb = wire.headers(1, [*GET, *[(b"x", b"a" * 3000)] * 100])
    assert broken(wire, PREFACE, raw(4, 0, 0), bomb) == ErrorCode.ENHANCE_YOUR_CALM


@pytest.mark.parametrize("stop", [False, True])
def test_continuations_are_limited(make: MakeEngine, stop: bool) -> None:
    wire = Wire(make)
    start = raw(1, 1, 1, wire.encoder.encode(GET))
    more = [raw(9, 0, 1, wire.encoder.encode([(b"x", b"%d" % n)])) for n in range(4)]
    last = raw(9, 4 if stop else 0, 1, wire.encoder.encode([(b"y", b"")]))
    assert broken(wire, start, *more, last) == ErrorCode.ENHANCE_YOUR_CALM
    assert wire.take() == []


# -- frames that cannot be --------------------------------------------------------------------


def test_the_preface_must_be_right(make: MakeEngine) -> None:
    for preface in (b"GET / HTTP/1.1\r\n\r\n" + bytes(20), PREFACE[:-1] + b"x" + bytes(20)):
        wire = Wire(make)
        wire.engine = make(SETTINGS, lambda *args: True)
        assert broken(wire, preface) == ErrorCode.PROTOCOL_ERROR


def test_settings_come_first(make: MakeEngine) -> None:
    for first in (raw(6, 0, 0, bytes(8)), raw(4, 1, 0), raw(1, 5, 1, b"\x82")):
        wire = Wire(make)
        wire.engine = make(SETTINGS, lambda *args: True)
        assert broken(wire, PREFACE, first) == ErrorCode.PROTOCOL_ERROR


# Stream 1 has been opened and not been ended; 3 has been ended and waits for its response; 5 was
# reset by the server; 7 and 2 are idle.
BREAKING: dict[str, tuple[int, bytes]] = {
    "DATA on stream 0": (ErrorCode.PROTOCOL_ERROR, data(0, b"x")),
    "DATA on an idle stream": (ErrorCode.PROTOCOL_ERROR, data(7, b"x")),
    "DATA on a stream of ours": (ErrorCode.PROTOCOL_ERROR, data(2, b"x")),
    "DATA that is all padding": (ErrorCode.PROTOCOL_ERROR, raw(0, 8, 1, b"\x05abc")),
    "HEADERS on stream 0": (ErrorCode.PROTOCOL_ERROR, raw(1, 5, 0, b"\x82")),
    "HEADERS on an even stream": (ErrorCode.PROTOCOL_ERROR, raw(1, 5, 8, b"\x82")),
    "HEADERS that are all padding": (ErrorCode.PROTOCOL_ERROR, raw(1, 13, 7, b"\x05\x82")),
    "HEADERS without their priority": (ErrorCode.FRAME_SIZE_ERROR, raw(1, 0x24, 7, b"\x82")),
    "PRIORITY on stream 0": (ErrorCode.PROTOCOL_ERROR, raw(2, 0, 0, bytes(5))),
    "RST_STREAM on stream 0": (ErrorCode.PROTOCOL_ERROR, raw(3, 0, 0, bytes(4))),
    "RST_STREAM on an idle stream": (ErrorCode.PROTOCOL_ERROR, raw(3, 0, 7, bytes(4))),
    "RST_STREAM of 3 bytes": (ErrorCode.FRAME_SIZE_ERROR, raw(3, 0, 1, bytes(3))),
    "SETTINGS on a stream": (ErrorCode.PROTOCOL_ERROR, raw(4, 0, 1)),
    "SETTINGS of 5 bytes": (ErrorCode.FRAME_SIZE_ERROR, raw(4, 0, 0, bytes(5))),
    "SETTINGS with ACK and more": (ErrorCode.FRAME_SIZE_ERROR, raw(4, 1, 0, bytes(6))),
    "ENABLE_PUSH of 2": (ErrorCode.PROTOCOL_ERROR, raw(4, 0, 0, b"\0\2\0\0\0\2")),
    "too large a window": (ErrorCode.FLOW_CONTROL_ERROR, raw(4, 0, 0, b"\0\4\x80\0\0\0")),
    "too small a frame size": (ErrorCode.PROTOCOL_ERROR, raw(4, 0, 0, b"\0\5\0\0\0\1")),
    "SETTINGS with ACK of nothing": (ErrorCode.PROTOCOL_ERROR, raw(4, 1, 0)),
    "33 settings": (ErrorCode.ENHANCE_YOUR_CALM, raw(4, 0, 0, b"\0\x77\0\0\0\1" * 33)),
    "PUSH_PROMISE": (ErrorCode.PROTOCOL_ERROR, raw(5, 4, 1, b"\0\0\0\2\x82")),
    "PING on a stream": (ErrorCode.PROTOCOL_ERROR, raw(6, 0, 1, bytes(8))),
    "PING of 7 bytes": (ErrorCode.FRAME_SIZE_ERROR, raw(6, 0, 0, bytes(7))),
    "GOAWAY on a stream": (ErrorCode.PROTOCOL_ERROR, raw(7, 0, 1, bytes(8))),
    "GOAWAY of 7 bytes": (ErrorCode.FRAME_SIZE_ERROR, raw(7, 0, 0, bytes(7))),
    "WINDOW_UPDATE of nothing": (ErrorCode.PROTOCOL_ERROR, window_update(0, 0)),
    "WINDOW_UPDATE of 3 bytes": (ErrorCode.FRAME_SIZE_ERROR, raw(8, 0, 0, bytes(3))),
    "WINDOW_UPDATE beyond all": (ErrorCode.FLOW_CONTROL_ERROR, window_update(0, 2**31 - 1)),
    "WINDOW_UPDATE on an idle stream": (ErrorCode.PROTOCOL_ERROR, window_update(7, 5)),
    "CONTINUATION of nothing": (ErrorCode.PROTOCOL_ERROR, raw(9, 4, 1, b"\x82")),
    "PING within a section": (
        ErrorCode.PROTOCOL_ERROR,
        raw(1, 0, 7, b"\x82") + raw(6, 0, 0, bytes(8)),
    ),
    "DATA within a section": (ErrorCode.PROTOCOL_ERROR, raw(1, 0, 7, b"\x82") + data(1, b"x")),
    "unknown within a section": (ErrorCode.PROTOCOL_ERROR, raw(1, 0, 7, b"\x82") + raw(77, 0, 0)),
    "CONTINUATION of another": (
        ErrorCode.PROTOCOL_ERROR,
        raw(1, 0, 7, b"\x82") + raw(9, 4, 9, b"\x86"),
    ),
    "PRIORITY_UPDATE on a stream": (ErrorCode.PROTOCOL_ERROR, raw(16, 0, 1, bytes(3) + b"\1u=1")),
    "PRIORITY_UPDATE of stream 0": (ErrorCode.PROTOCOL_ERROR, raw(16, 0, 0, bytes(4) + b"u=1")),
    "PRIORITY_UPDATE of an idle push": (
        ErrorCode.PROTOCOL_ERROR,
        raw(16, 0, 0, bytes(3) + b"\2u=1"),
    ),
    "ENABLE_CONNECT_PROTOCOL of 2": (ErrorCode.PROTOCOL_ERROR, raw(4, 0, 0, b"\0\x08\0\0\0\2")),
    "NO_RFC7540_PRIORITIES of 2": (ErrorCode.PROTOCOL_ERROR, raw(4, 0, 0, b"\0\x09\0\0\0\2")),
    "NO_RFC7540_PRIORITIES later": (ErrorCode.PROTOCOL_ERROR, raw(4, 0, 0, b"\0\x09\0\0\0\1")),
    "PRIORITY_UPDATE of 3 bytes": (ErrorCode.FRAME_SIZE_ERROR, raw(16, 0, 0, bytes(3))),
}


def scene(make: MakeEngine) -> Wire:
    """Return a connection with the streams that `BREAKING` tells of."""
    wire = Wire(make)
    wire.request(1, POST, end=False)
    wire.request(3)
    wire.request(5, POST, end=False)
    wire.engine.reset(5, ErrorCode.CANCEL)
    wire.pull()
    return wire


@pytest.mark.parametrize("case", BREAKING)
def test_frames_that_break_the_connection(make: MakeEngine, case: str) -> None:
    code, frames = BREAKING[case]
    wire = scene(make)
    assert broken(wire, frames) == code
    assert wire.take() == []
    assert wire.pull() == []


@pytest.mark.parametrize("kind", [0, 1, 4, 6, 77])
def test_oversize_frames_are_refused_at_once(make: MakeEngine, kind: int) -> None:
    # Its header says all: nobody waits for the rest.
    wire = scene(make)
    assert broken(wire, raw(kind, 0, 1, bytes(16385))[:9]) == ErrorCode.FRAME_SIZE_ERROR


def test_larger_frames_can_be_taken(make: MakeEngine) -> None:
    wire = Wire(make, max_frame_size=20000)
    wire.request(1, POST, end=False)
    wire.send(data(1, b"x" * 20000))
    assert wire.take() == [(DATA, 1, b"x" * 20000)]
    assert broken(wire, data(1, b"x" * 20001)) == ErrorCode.FRAME_SIZE_ERROR


# What may be the end of the stream, or of the connection (RFC 9113 5.4.2).
ENDING: dict[str, tuple[int, int, bytes]] = {
    "DATA after the end": (3, ErrorCode.STREAM_CLOSED, data(3, b"x")),
    "empty DATA after the end": (3, ErrorCode.STREAM_CLOSED, data(3, end=True)),
    "HEADERS after the end": (3, ErrorCode.STREAM_CLOSED, raw(1, 5, 3, b"\x82")),
    "WINDOW_UPDATE of nothing": (1, ErrorCode.PROTOCOL_ERROR, window_update(1, 0)),
    "WINDOW_UPDATE beyond all": (1, ErrorCode.FLOW_CONTROL_ERROR, window_update(1, 2**31 - 1)),
    "DATA beyond the window": (
        1,
        ErrorCode.FLOW_CONTROL_ERROR,
        b"".join(data(1, bytes(16384)) for _ in range(4)),
    ),
}


@pytest.mark.parametrize("case", ENDING)
def test_frames_that_end_the_stream_at_least(make: MakeEngine, case: str) -> None:
    stream, code, frames = ENDING[case]
    wire = scene(make)
    broke = None
    try:
        wire.send(frames)
    except ConnectionBroken as exc:
        broke = exc.code
    answer = wire.pull()
    if broke is not None:
        assert goaways(answer)[0][1] == broke == code
    else:
        assert resets(answer) == {stream: code}
        assert wire.take()[-1] == (RESET, stream, code)
        assert (3, 4) in wire.charged
        assert lives(wire)


def test_the_connections_window_must_be_kept(make: MakeEngine) -> None:
    wire = Wire(make, initial_window_size=1000000, max_frame_size=1000000)
    wire.request(1, POST, end=False)
    size = wire.settings.connection_window_size
    assert broken(wire, data(1, bytes(size + 1))) == ErrorCode.FLOW_CONTROL_ERROR


# -- charges ----------------------------------------------------------------------------------

CHARGED: dict[str, tuple[list[tuple[int, int]], bytes]] = {
    "empty DATA": ([(0, 0)], data(1)),
    "DATA of padding": ([(0, 5)], data(1, padding=4)),
    "PRIORITY": ([(2, 5)], raw(2, 0, 1, bytes(5))),
    "RST_STREAM": ([(3, 4)], raw(3, 0, 1, bytes(4))),
    "SETTINGS": ([(4, 6)], raw(4, 0, 0, b"\0\3\0\0\0\7")),
    "PING": ([(6, 8)], raw(6, 0, 0, bytes(8))),
    "GOAWAY": ([(7, 8)], raw(7, 0, 0, bytes(8))),
    "WINDOW_UPDATE": ([(8, 4)], window_update(0, 5)),
    "PRIORITY_UPDATE": ([(16, 7)], raw(16, 0, 0, bytes(3) + b"\1u=1")),
    "HEADERS on a gone stream": ([(1, 1)], raw(1, 5, 5, b"\x82")),
    "DATA": ([], data(1, b"x")),
    "the end": ([], data(1, end=True)),
    "HEADERS that open a stream": ([], raw(1, 5, 7, hpack.Encoder().encode(GET))),
}


@pytest.mark.parametrize("case", CHARGED)
def test_frames_that_move_nothing_are_charged(make: MakeEngine, case: str) -> None:
    expected, frame = CHARGED[case]
    wire = scene(make)
    wire.send(frame)
    if case == "DATA of padding":
        # Its length is not the point: nothing came.
        assert [kind for kind, _ in wire.charged] == [0]
    else:
        assert wire.charged == expected


@pytest.mark.parametrize("case", [case for case, (counted, _) in CHARGED.items() if counted])
def test_too_much_is_too_much(make: MakeEngine, case: str) -> None:
    wire = scene(make)
    wire.allowed = 0
    assert broken(wire, CHARGED[case][1]) == ErrorCode.ENHANCE_YOUR_CALM


def test_resets_that_the_client_provokes_are_too_much_too(make: MakeEngine) -> None:
    # CVE-2025-8671
    wire = scene(make)
    wire.allowed = 5
    wire.charged.clear()
    try:
        for stream in range(7, 99, 2):
            wire.exchange(wire.headers(stream, [*GET, (b"te", b"gzip")], end=True))
    except ConnectionBroken as exc:
        code = exc.code
    else:
        code = broken(wire, wire.headers(99, [*GET, (b"te", b"gzip")]))
    assert code == ErrorCode.ENHANCE_YOUR_CALM
    assert len(wire.charged) <= 10


@pytest.mark.parametrize("settings", [b"\0\4\x80\0\0\0", b"\0\4\0"], ids=["window", "length"])
def test_malformed_settings_of_an_upgrade(make: MakeEngine, settings: bytes) -> None:
    wire = Wire(make)
    wire.engine = make(SETTINGS, lambda *args: True)
    with pytest.raises(ConnectionBroken) as caught:
        wire.engine.upgrade(settings, False)
    ((_, code),) = goaways(wire.pull())
    assert code == caught.value.code
