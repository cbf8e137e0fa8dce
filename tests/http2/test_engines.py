"""Both engines keep the contract of gserver.http2.engine: what comes and what goes."""

from __future__ import annotations

import hpack
import pytest
from hyperframe.frame import SettingsFrame

from gserver.http2.engine import (
    DATA,
    DRAINED,
    END,
    REQUEST,
    RESET,
    ErrorCode,
    Settings,
)
from http2_engines import (
    DEFAULT_WINDOW,
    GET,
    OK,
    POST,
    SETTINGS,
    MakeEngine,
    Wire,
    content,
    data,
    each_engine,
    raw,
    resets,
    window_update,
)

pytestmark = each_engine


# -- the greeting -----------------------------------------------------------------------------


def test_settings_are_announced(make: MakeEngine) -> None:
    engine = make(SETTINGS, lambda kind, length: True)
    wire = Wire(make)
    output = engine.pull(65536)
    first, *others = wire.parse(output)
    assert (first.kind, first.flags, first.stream) == (4, 0, 0)
    announced = {
        int.from_bytes(first.payload[at : at + 2], "big"): int.from_bytes(
            first.payload[at + 2 : at + 6], "big"
        )
        for at in range(0, len(first.payload), 6)
    }
    # HEADER_TABLE_SIZE may be left out where it is what RFC 9113 6.5.2 takes for granted.
    assert announced.pop(1, 4096) == 4096
    assert announced == {3: 20, 4: 65535, 5: 16384, 6: 4096, 8: 1, 9: 1}
    assert [(frame.kind, frame.stream, frame.number) for frame in others] == [
        (8, 0, SETTINGS.connection_window_size - DEFAULT_WINDOW)
    ]


def test_settings_of_the_client_are_acknowledged(make: MakeEngine) -> None:
    wire = Wire(make)
    answer = wire.exchange(SettingsFrame(settings={3: 7}))
    assert [(frame.kind, frame.flags, frame.payload) for frame in answer] == [(4, 1, b"")]


def test_bytes_may_come_one_by_one(make: MakeEngine) -> None:
    wire = Wire(make)
    request = wire.headers(1, POST) + data(1, b"hello", padding=3) + data(1, end=True)
    for at in range(len(request)):
        wire.send(request[at : at + 1])
    assert wire.take() == [(REQUEST, 1, (POST, False)), (DATA, 1, b"hello"), (END, 1, [])]


# -- requests ---------------------------------------------------------------------------------


def test_a_request_without_content(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.send(wire.headers(1, GET, end=True))
    assert wire.take() == [(REQUEST, 1, (GET, True))]
    assert wire.engine.active == 1
    assert wire.engine.last_stream == 1
    assert wire.charged == []


def test_fields_are_plain_tuples_of_bytes(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.send(wire.headers(1, [*GET, hpack.NeverIndexedHeaderTuple(b"cookie", b"a")], end=True))
    ((_, _, (fields, _)),) = wire.take()
    assert {type(field) for field in fields} == {tuple}
    assert {type(part) for field in fields for part in field} == {bytes}


def test_a_request_with_content_and_trailers(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.send(
        wire.headers(1, POST),
        data(1, b"one"),
        data(1, b"two", padding=9),
        wire.headers(1, [(b"checksum", b"x")], end=True),
    )
    assert wire.take() == [
        (REQUEST, 1, (POST, False)),
        (DATA, 1, b"onetwo"),
        (END, 1, [(b"checksum", b"x")]),
    ]


def test_content_ends_with_its_last_frame(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.send(wire.headers(1, POST), data(1, b"one", end=True))
    assert wire.take() == [(REQUEST, 1, (POST, False)), (DATA, 1, b"one"), (END, 1, [])]
    assert wire.charged == []


def test_a_section_may_take_several_frames(make: MakeEngine) -> None:
    wire = Wire(make)
    fields = [*GET, (b"cookie", b"a" * 100)]
    wire.send(wire.headers(1, fields, end=True, pieces=5))
    assert wire.take() == [(REQUEST, 1, (fields, True))]
    assert wire.charged == []


def test_padding_and_priority_of_headers_are_skipped(make: MakeEngine) -> None:
    wire = Wire(make)
    block = wire.encoder.encode(GET)
    payload = bytes([4]) + (3).to_bytes(4, "big") + b"\x10" + block + bytes(4)
    wire.send(raw(1, 0x1 | 0x4 | 0x8 | 0x20, 1, payload))
    assert wire.take() == [(REQUEST, 1, (GET, True))]


def test_streams_do_not_get_in_each_others_way(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.send(
        wire.headers(1, POST),
        wire.headers(3, POST),
        data(1, b"a"),
        data(3, b"b"),
        data(1, b"c", end=True),
        data(3, b"d", end=True),
    )
    assert [event for event in wire.take() if event[0] != REQUEST] == [
        (DATA, 1, b"a"),
        (DATA, 3, b"b"),
        (DATA, 1, b"c"),
        (END, 1, []),
        (DATA, 3, b"d"),
        (END, 3, []),
    ]


def test_connect_has_an_authority_only(make: MakeEngine) -> None:
    wire = Wire(make)
    fields = [(b":method", b"CONNECT"), (b":authority", b"example.org:443")]
    wire.send(wire.headers(1, fields))
    assert wire.take() == [(REQUEST, 1, (fields, False))]


def test_options_may_ask_for_the_whole_server(make: MakeEngine) -> None:
    wire = Wire(make)
    fields = [(b":method", b"OPTIONS"), (b":path", b"*"), *GET[1:3]]
    wire.send(wire.headers(1, fields, end=True))
    assert wire.take() == [(REQUEST, 1, (fields, True))]


def test_too_long_a_section_is_told_without_its_fields(make: MakeEngine) -> None:
    wire = Wire(make)
    exact = SETTINGS.max_header_list_size - sum(len(a) + len(b) + 32 for a, b in GET) - 32 - 1
    wire.send(
        wire.headers(1, [*GET, (b"x", b"a" * exact)], end=True),
        wire.headers(3, [*GET, (b"x", b"a" * (exact + 1))]),
        # The table has survived it.
        wire.headers(5, [*GET, (b"x", b"a" * exact)], end=True),
    )
    first, second, third = wire.take()
    assert first[2][0] == third[2][0] == [*GET, (b"x", b"a" * exact)]
    assert second == (REQUEST, 3, (None, False))
    wire.engine.respond(3, [(b":status", b"431", False)], b"")
    wire.engine.discard(3)
    assert resets(wire.pull()) == {3: ErrorCode.NO_ERROR}


def test_streams_beyond_the_limit_are_refused(make: MakeEngine) -> None:
    # What was sent before our SETTINGS came is refused. (Later it may break the connection.)
    engine = make(Settings(**{**vars(SETTINGS), "max_concurrent_streams": 2}), lambda *args: True)
    wire = Wire(make)
    wire.engine = engine
    answer = wire.exchange(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        SettingsFrame(),
        *[wire.headers(stream, GET, end=True) for stream in (1, 3, 5)],
    )
    assert [event[1] for event in wire.take()] == [1, 3]
    assert resets(answer) == {5: ErrorCode.REFUSED_STREAM}
    assert engine.active == 2


def test_a_finished_stream_makes_room(make: MakeEngine) -> None:
    wire = Wire(make, max_concurrent_streams=1)
    for stream in (1, 3, 5):
        wire.send(wire.headers(stream, GET, end=True))
        wire.engine.respond(stream, OK, b"hello")
        wire.pull()
    assert [event[:2] for event in wire.take()] == [(REQUEST, 1), (REQUEST, 3), (REQUEST, 5)]
    assert wire.engine.active == 0
    assert wire.engine.last_stream == 5


# -- responses --------------------------------------------------------------------------------


def test_a_response_without_content_is_one_frame(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request()
    wire.engine.respond(1, [*OK, (b"x", b"y", False)], b"")
    (frame,) = wire.pull()
    assert frame.kind == 1
    assert frame.ends
    assert frame.fields == [(b":status", b"200"), (b"x", b"y")]
    assert wire.engine.active == 0
    assert wire.take() == []


def test_a_whole_response_is_two_frames(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request()
    wire.engine.respond(1, OK, b"hello")
    head, body = wire.pull()
    assert (head.kind, head.ends) == (1, False)
    assert (body.kind, body.ends, body.payload) == (0, True, b"hello")
    assert wire.engine.active == 0
    assert [event for event in wire.take() if event[0] != DRAINED] == []


def test_a_response_in_pieces(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request()
    wire.engine.send_head(1, OK)
    assert [frame.kind for frame in wire.pull()] == [1]
    wire.engine.send_data(1, b"one")
    wire.engine.send_data(1, b"two")
    assert wire.engine.unsent(1) == 6
    assert wire.take() == []
    assert content(wire.pull()) == b"onetwo"
    assert wire.engine.unsent(1) == 0
    assert wire.take() == [(DRAINED, 1, None)]
    wire.engine.send_data(1, b"three")
    wire.engine.send_end(1, [])
    frames = wire.pull()
    assert content(frames) == b"three"
    assert [frame.ends for frame in frames][-1]
    assert wire.take() == [(DRAINED, 1, None)]
    assert wire.engine.active == 0


def test_a_response_may_end_long_after_its_content(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request()
    wire.engine.send_head(1, OK)
    wire.engine.send_data(1, b"one")
    wire.pull()
    wire.engine.send_end(1, [])
    (frame,) = wire.pull()
    assert (frame.kind, frame.ends, frame.payload) == (0, True, b"")


@pytest.mark.parametrize("body", [b"", b"content"])
def test_trailers_end_a_response(make: MakeEngine, body: bytes) -> None:
    wire = Wire(make)
    wire.request()
    wire.engine.send_head(1, OK)
    if body:
        wire.engine.send_data(1, body)
    wire.engine.send_end(1, [(b"grpc-status", b"0", False)])
    frames = wire.pull()
    assert content(frames) == body
    assert [frame.ends for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert frames[-1].kind == 1
    assert frames[-1].fields == [(b"grpc-status", b"0")]
    assert wire.engine.active == 0


def test_interim_responses_come_first(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request()
    wire.engine.send_informational(1, [(b":status", b"103", False), (b"link", b"</x>", False)])
    wire.engine.send_informational(1, [(b":status", b"102", False)])
    wire.engine.respond(1, OK, b"hello")
    frames = wire.pull()
    assert [frame.fields[0][1] for frame in frames if frame.kind == 1] == [b"103", b"102", b"200"]
    assert [frame.ends for frame in frames] == [False, False, False, True]


def test_fields_stay_out_of_the_table_where_they_shall(make: MakeEngine) -> None:
    wire = Wire(make)
    for stream in (1, 3):
        wire.request(stream)
        fields = [*OK, (b"set-cookie", b"secret", True), (b"x-open", b"yes", False)]
        wire.engine.respond(stream, fields, b"")
        (frame,) = wire.pull()
        kinds = {field[0]: type(field) for field in frame.fields}
        assert kinds[b"set-cookie"] is hpack.NeverIndexedHeaderTuple
        assert kinds[b"x-open"] is not hpack.NeverIndexedHeaderTuple
    table = wire.decoder.header_table.dynamic_entries
    assert (b"x-open", b"yes") in table
    assert all(name != b"set-cookie" for name, _ in table)


def test_long_sections_are_split(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request()
    wire.engine.respond(1, [*OK, (b"x", b"\xff" * 40000, True)], b"")
    output = b""
    while part := wire.engine.pull(65536):
        output += part
    longest = at = 0
    while at < len(output):
        length = int.from_bytes(output[at : at + 3], "big")
        longest = max(longest, length)
        at += 9 + length
    assert longest <= 16384
    (frame,) = wire.parse(output)
    assert frame.fields[1] == (b"x", b"\xff" * 40000)
    assert frame.ends


def test_what_is_sent_on_gone_streams_is_nothing(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request()
    wire.send(raw(3, 0, 1, bytes(4)))
    wire.take()
    engine = wire.engine
    engine.send_informational(1, OK)
    engine.send_head(1, OK)
    engine.respond(1, OK, b"x")
    engine.send_data(1, b"x")
    engine.send_end(1, [])
    engine.reset(1, 8)
    engine.discard(1)
    engine.consume(1, 5)
    engine.widen(1, 500000)
    engine.prioritise(1, 0, True)
    assert engine.unsent(1) == 0
    assert wire.pull() == []
    assert wire.take() == []


def test_the_client_decides_on_the_table(make: MakeEngine) -> None:
    wire = Wire(make, settings={1: 0})
    wire.decoder.max_allowed_table_size = 0
    for stream in (1, 3):
        wire.request(stream)
        wire.engine.respond(stream, [*OK, (b"x-open", b"yes", False)], b"")
        (frame,) = wire.pull()
        assert frame.fields == [(b":status", b"200"), (b"x-open", b"yes")]
    wire.send(SettingsFrame(settings={1: 0}), SettingsFrame(settings={1: 4096}))
    wire.decoder.max_allowed_table_size = 4096
    for stream in (5, 7):
        wire.request(stream)
        wire.engine.respond(stream, [*OK, (b"x-open", b"yes", False)], b"")
        assert wire.pull()[-1].fields == [(b":status", b"200"), (b"x-open", b"yes")]


def test_the_table_is_no_larger_than_the_server_wants(make: MakeEngine) -> None:
    wire = Wire(make, settings={1: 2**31}, encoder_table_size=256)
    wire.decoder.max_allowed_table_size = 2**31
    for number in range(20):
        stream = 2 * number + 1
        wire.request(stream)
        wire.engine.respond(stream, [*OK, (b"x-%d" % number, b"y" * 100, False)], b"")
        wire.pull()
    assert wire.decoder.header_table_size == 256


# -- both ends, and neither -------------------------------------------------------------------


def test_the_client_may_go_on_after_the_response(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request(1, POST, end=False)
    wire.engine.respond(1, OK, b"early")
    assert [frame.kind for frame in wire.pull()] == [1, 0]
    assert wire.engine.active == 1
    wire.send(data(1, b"late", end=True))
    assert [event for event in wire.take() if event[0] != DRAINED] == [
        (DATA, 1, b"late"),
        (END, 1, []),
    ]
    assert wire.engine.active == 0


def test_discarded_content_makes_no_events(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request(1, POST, end=False)
    wire.engine.discard(1)
    wire.send(data(1, b"unwanted"), data(1, end=True))
    assert wire.take() == []
    wire.engine.respond(1, OK, b"hello")
    frames = wire.pull()
    assert resets(frames) == {}
    assert content(frames) == b"hello"
    assert wire.engine.active == 0


def test_a_client_that_still_sends_is_stopped(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request(1, POST, end=False)
    wire.engine.discard(1)
    wire.engine.respond(1, OK, b"hello")
    frames = wire.pull()
    assert [frame.kind for frame in frames] == [1, 0, 3]
    assert frames[1].ends
    assert resets(frames) == {1: ErrorCode.NO_ERROR}
    assert wire.engine.active == 0
    # What is under way is no error, and counts for the connection's window only.
    assert wire.exchange(data(1, b"x" * 100), wire.headers(1, [(b"a", b"b")], end=True)) == []
    assert wire.take() == []


def test_discarding_after_the_response_stops_the_client_too(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request(1, POST, end=False)
    wire.engine.respond(1, OK, b"hello")
    assert resets(wire.pull()) == {}
    wire.engine.discard(1)
    assert resets(wire.pull()) == {1: ErrorCode.NO_ERROR}
    assert wire.engine.active == 0


def test_the_client_resets(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request()
    wire.engine.send_head(1, OK)
    wire.engine.send_data(1, b"x" * 100000)
    wire.pull()
    wire.send(raw(3, 0, 1, (8).to_bytes(4, "big")))
    assert [event for event in wire.take() if event[0] != DRAINED] == [(RESET, 1, 8)]
    assert wire.engine.active == 0
    assert wire.exchange(window_update(0, 100000), window_update(1, 100000)) == []
    assert (3, 4) in wire.charged


def test_the_server_resets(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request(1, POST, end=False)
    wire.engine.send_head(1, OK)
    wire.engine.send_data(1, b"x" * 100000)
    wire.engine.reset(1, ErrorCode.INTERNAL_ERROR)
    assert resets(wire.pull()) == {1: ErrorCode.INTERNAL_ERROR}
    assert wire.engine.active == 0
    assert wire.take() == []
    # Of what is under way nothing is told, and nothing is answered.
    late = [data(1, b"x"), window_update(1, 5), raw(3, 0, 1, bytes(4))]
    assert wire.exchange(*late, wire.headers(1, [(b"a", b"b")], end=True)) == []
    assert wire.take() == []
    assert (3, 4) in wire.charged
    # The compression table has kept up.
    fields = [*GET, (b"a", b"b")]
    wire.send(wire.headers(3, fields, end=True))
    assert wire.take() == [(REQUEST, 3, (fields, True))]
