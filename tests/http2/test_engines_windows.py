"""Both engines keep the contract of gserver.http2.engine: windows, turns, and the connection."""

from __future__ import annotations

import tracemalloc

from hyperframe.frame import PingFrame, SettingsFrame

from gserver.http2.engine import (
    DATA,
    DRAINED,
    END,
    GOAWAY,
    PONG,
    PRIORITY,
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
    goaways,
    raw,
    resets,
    window_update,
)

pytestmark = each_engine

LARGEST = 2**31 - 1


# -- windows, inwards -------------------------------------------------------------------------


def fill(wire: Wire, stream: int, size: int) -> int:
    """Send content; return by how much the connection's window was opened meanwhile."""
    opened = 0
    while size:
        part = min(size, 16384)
        size -= part
        answer = wire.exchange(data(stream, bytes(part)))
        assert all((frame.kind, frame.stream) == (8, 0) for frame in answer)
        opened += sum(frame.number for frame in answer)
    return opened


def test_content_that_nobody_reads_stops_its_stream_only(make: MakeEngine) -> None:
    wire = Wire(make)
    total = opened = 0
    for stream in range(1, 21, 2):
        wire.request(stream, POST, end=False)
        opened += fill(wire, stream, DEFAULT_WINDOW)
        total += DEFAULT_WINDOW
    assert total > SETTINGS.connection_window_size
    assert total - opened <= SETTINGS.connection_window_size // 2
    wire.take()
    answer = wire.exchange(data(1, b"x"))
    assert resets(answer) == {1: ErrorCode.FLOW_CONTROL_ERROR} or goaways(answer)


def test_reading_opens_the_window(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request(1, POST, end=False)
    fill(wire, 1, DEFAULT_WINDOW)
    wire.engine.consume(1, 1000)
    assert wire.pull() == []
    wire.engine.consume(1, DEFAULT_WINDOW // 2)
    (frame,) = wire.pull()
    assert (frame.kind, frame.stream) == (8, 1)
    assert frame.number == 1000 + DEFAULT_WINDOW // 2
    fill(wire, 1, frame.number)


def test_padding_needs_no_reading(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request(1, POST, end=False)
    opened = 0
    for _ in range(300):
        answer = wire.exchange(data(1, b"x", padding=255))
        opened += sum(frame.number for frame in answer if frame.stream == 1)
    assert opened >= 300 * 256 - DEFAULT_WINDOW // 2 - 256
    assert wire.take() == [(DATA, 1, b"x" * 300)]


def test_a_window_can_be_widened(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request(1, POST, end=False)
    fill(wire, 1, 10000)
    wire.engine.widen(1, 200000)
    (frame,) = wire.pull()
    assert (frame.kind, frame.stream, frame.number) == (8, 1, 200000 - DEFAULT_WINDOW)
    wire.engine.widen(1, 200000)
    assert wire.pull() == []
    fill(wire, 1, 190000)
    wire.engine.consume(1, 100000)
    assert [(frame.stream, frame.number) for frame in wire.pull()] == [(1, 100000)]


def test_gone_streams_do_not_eat_the_connections_window(make: MakeEngine) -> None:
    wire = Wire(make)
    opened = 0
    for stream in range(1, 21, 2):
        wire.request(stream, POST, end=False)
        wire.engine.reset(stream, ErrorCode.CANCEL)
        wire.pull()
        opened += fill(wire, stream, DEFAULT_WINDOW)
    assert 10 * DEFAULT_WINDOW - opened <= SETTINGS.connection_window_size // 2


def test_the_window_is_the_clients_until_it_knows_better(make: MakeEngine) -> None:
    engine_settings = Settings(**{**vars(SETTINGS), "initial_window_size": 1000})
    wire = Wire(make)
    wire.engine = make(engine_settings, lambda *args: True)
    wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", SettingsFrame(), wire.headers(1, POST))
    wire.pull()
    fill(wire, 1, 5000)
    assert wire.take() == [(REQUEST, 1, (POST, False)), (DATA, 1, bytes(5000))]
    wire.send(SettingsFrame(flags=["ACK"]), wire.headers(3, POST), data(3, bytes(1001)))
    assert resets(wire.pull()) == {3: ErrorCode.FLOW_CONTROL_ERROR}
    assert wire.take()[-1] == (RESET, 3, ErrorCode.FLOW_CONTROL_ERROR)


# -- windows, outwards ------------------------------------------------------------------------


def test_a_response_stops_at_the_streams_window(make: MakeEngine) -> None:
    wire = Wire(make, settings={4: 10})
    wire.request()
    wire.engine.respond(1, OK, b"0123456789abcdef")
    assert content(wire.pull()) == b"0123456789"
    assert wire.engine.unsent(1) == 6
    assert content(wire.exchange(window_update(1, 2))) == b"ab"
    # RFC 9113 6.9.2: what the setting adds is added to each window.
    frames = wire.exchange(SettingsFrame(settings={4: 100}))
    assert content(frames) == b"cdef"
    assert frames[-1].ends


def test_a_window_can_be_less_than_nothing(make: MakeEngine) -> None:
    wire = Wire(make, settings={4: 10})
    wire.request()
    wire.engine.respond(1, OK, b"0123456789abcdef")
    wire.pull()
    wire.send(SettingsFrame(settings={4: 5}))
    assert content(wire.exchange(window_update(1, 5))) == b""
    assert content(wire.exchange(window_update(1, 1))) == b"a"


def test_responses_stop_at_the_connections_window(make: MakeEngine) -> None:
    wire = Wire(make, settings={4: 1000000})
    for stream in (1, 3):
        wire.request(stream)
        wire.engine.respond(stream, OK, b"x" * 100000)
    frames = wire.pull()
    assert len(content(frames)) + len(content(frames, 3)) == DEFAULT_WINDOW
    # A response that has no content is not held up.
    wire.request(5)
    wire.engine.respond(5, OK, b"")
    assert [frame.stream for frame in wire.pull()] == [5]
    frames = wire.exchange(window_update(0, 200000))
    assert len(content(frames)) + len(content(frames, 3)) == 200000 - DEFAULT_WINDOW
    assert wire.engine.active == 0


def test_a_stream_without_window_holds_nobody_up(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.send(window_update(0, 1000000))
    for stream in (1, 3):
        wire.request(stream)
    wire.send(window_update(3, 100000))
    wire.engine.prioritise(1, 0, False)
    for stream in (1, 3):
        wire.engine.respond(stream, OK, b"x" * 100000)
    frames = wire.pull()
    assert len(content(frames)) == DEFAULT_WINDOW
    assert len(content(frames, 3)) == 100000


def test_frames_are_no_longer_than_the_client_takes(make: MakeEngine) -> None:
    wire = Wire(make, settings={4: 1000000})
    wire.send(window_update(0, 1000000))
    wire.request()
    wire.engine.respond(1, OK, b"x" * 200000)
    frames = wire.pull()
    assert max(len(frame.payload) for frame in frames) <= 16384
    assert len(content(frames)) == 200000


def test_many_small_pieces_share_frames(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request()
    wire.engine.send_head(1, OK)
    for number in range(1000):
        wire.engine.send_data(1, b"%04d" % number)
    frames = wire.pull()
    assert content(frames) == b"".join(b"%04d" % number for number in range(1000))
    assert len(frames) == 2
    assert wire.take() == [(DRAINED, 1, None)]


def test_drained_comes_when_all_was_pulled(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request()
    wire.engine.send_head(1, OK)
    wire.engine.send_data(1, b"x" * (DEFAULT_WINDOW + 1))
    wire.pull()
    assert wire.take() == []
    assert wire.engine.unsent(1) == 1
    wire.exchange(window_update(0, 1), window_update(1, 1))
    assert wire.take() == [(DRAINED, 1, None)]


def test_pull_gives_about_as_much_as_it_is_asked_for(make: MakeEngine) -> None:
    wire = Wire(make, settings={4: 1000000})
    wire.send(window_update(0, 1000000))
    wire.request()
    wire.engine.respond(1, OK, b"x" * 500000)
    assert 0 < len(wire.engine.pull(1000)) <= 1000 + 16384 + 100
    assert wire.engine.unsent(1) >= 500000 - 1000 - 16384


def test_control_frames_may_be_pulled_bit_by_bit(make: MakeEngine) -> None:
    wire = Wire(make)
    for _ in range(100):
        wire.send(PingFrame(opaque_data=b"12345678"))
    assert len(wire.pull(size=10)) == 100


# -- turns and priorities ---------------------------------------------------------------------


def order(wire: Wire) -> list[int]:
    """Return of which stream each DATA frame is."""
    return [frame.stream for frame in wire.pull() if frame.kind == 0 and frame.payload]


def start(wire: Wire, *streams: int, size: int = 60000) -> None:
    """Let streams send, in this order, and all have the window for it."""
    wire.send(window_update(0, 1000000))
    for stream in streams:
        wire.request(stream)
    for stream in streams:
        wire.engine.send_head(stream, OK)
    wire.pull()


def test_streams_of_one_urgency_take_turns(make: MakeEngine) -> None:
    wire = Wire(make)
    streams = (1, 3, 5)
    start(wire, *streams)
    for stream in streams:
        wire.engine.prioritise(stream, 3, True)
        wire.engine.send_data(stream, b"x" * 60000)
    turns = order(wire)
    assert sorted(turns[:3]) == sorted(turns[3:6]) == [1, 3, 5]


def test_no_stream_waits_for_the_end_of_a_large_one(make: MakeEngine) -> None:
    wire = Wire(make, settings={4: 1000000})
    start(wire, 1, 3)
    for stream in (1, 3):
        wire.engine.prioritise(stream, 3, True)
    wire.engine.send_data(1, b"x" * 500000)
    wire.engine.pull(20000)
    wire.engine.send_data(3, b"x" * 100)
    assert 3 in order(wire)[:3]


def test_the_more_urgent_comes_first(make: MakeEngine) -> None:
    wire = Wire(make)
    start(wire, 1, 3, 5)
    wire.engine.prioritise(1, 7, False)
    wire.engine.prioritise(5, 0, False)
    for stream in (1, 3, 5):
        wire.engine.send_data(stream, b"x" * 30000)
    assert order(wire) == [5, 5, 3, 3, 1, 1]


def test_priorities_may_change_meanwhile(make: MakeEngine) -> None:
    wire = Wire(make)
    start(wire, 1, 3)
    for stream in (1, 3):
        wire.engine.send_data(stream, b"x" * 60000)
    wire.engine.pull(1000)
    wire.engine.prioritise(3, 1, False)
    turns = order(wire)
    assert turns[: turns.index(1)] in ([3] * 4, [3] * 3)


def test_what_clients_say_of_priorities(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request(3, end=False)
    wire.send(
        raw(16, 0, 0, (3).to_bytes(4, "big") + b"u=1, i"),
        raw(16, 0, 0, (5).to_bytes(4, "big") + b"u=2"),
        raw(2, 0, 3, (3).to_bytes(4, "big") + b"\x10"),
    )
    assert wire.take() == [(PRIORITY, 3, b"u=1, i")]
    assert [kind for kind, _ in wire.charged] == [16, 16, 2]


def test_control_frames_come_before_content(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request()
    wire.engine.respond(1, OK, b"x" * 60000)
    wire.engine.pull(100)
    wire.send(PingFrame(opaque_data=b"12345678"))
    output = wire.engine.pull(100)
    assert output[3] == 6


# -- pushes -----------------------------------------------------------------------------------


def test_a_push(make: MakeEngine) -> None:
    wire = Wire(make)
    assert wire.engine.can_push
    wire.request()
    promised = wire.engine.push(1, [(name, value, False) for name, value in GET])
    assert promised == 2
    assert wire.engine.active == 2
    (promise,) = wire.pull()
    assert (promise.kind, promise.stream, promise.payload[:4]) == (5, 1, (2).to_bytes(4, "big"))
    assert promise.fields == GET
    wire.engine.respond(2, OK, b"pushed")
    wire.engine.respond(1, OK, b"hello")
    frames = wire.pull()
    assert content(frames, 2) == b"pushed"
    assert content(frames) == b"hello"
    assert wire.engine.active == 0
    assert wire.engine.last_stream == 1


def test_the_client_may_decline_a_push(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request()
    promised = wire.engine.push(1, [(name, value, False) for name, value in GET])
    wire.engine.send_head(promised, OK)
    wire.pull()
    wire.send(raw(3, 0, promised, (8).to_bytes(4, "big")))
    assert wire.take() == [(RESET, promised, 8)]
    assert wire.engine.active == 1


def test_not_every_client_takes_pushes(make: MakeEngine) -> None:
    assert not Wire(make, settings={2: 0}).engine.can_push
    assert not Wire(make, settings={3: 0}).engine.can_push
    wire = Wire(make, settings={3: 1})
    wire.request()
    assert wire.engine.can_push
    promised = wire.engine.push(1, [(name, value, False) for name, value in GET])
    assert not wire.engine.can_push
    wire.engine.respond(promised, OK, b"x")
    wire.pull()
    assert wire.engine.can_push


# -- the connection's own frames --------------------------------------------------------------


def test_ping_both_ways(make: MakeEngine) -> None:
    wire = Wire(make)
    (pong,) = wire.exchange(PingFrame(opaque_data=b"12345678"))
    assert (pong.kind, pong.flags, pong.payload) == (6, 1, b"12345678")
    assert wire.charged == [(6, 8)]
    wire.engine.ping()
    (ping,) = wire.pull()
    assert (ping.kind, ping.flags) == (6, 0)
    assert wire.take() == []
    wire.send(raw(6, 1, 0, ping.payload))
    assert wire.take() == [(PONG, 0, None)]


def test_the_client_leaves(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request()
    wire.send(raw(7, 0, 0, bytes(8) + b"bye"))
    assert wire.take() == [(GOAWAY, 0, 0)]
    assert not wire.engine.can_push
    wire.engine.respond(1, OK, b"hello")
    frames = wire.pull()
    assert content(frames) == b"hello"
    assert goaways(frames) == []


def test_the_server_leaves_in_two_steps(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request(1)
    wire.engine.announce_shutdown()
    assert goaways(wire.pull()) == [(LARGEST, 0)]
    wire.send(wire.headers(3, POST))
    assert wire.take() == [(REQUEST, 3, (POST, False))]
    wire.engine.go_away(0)
    assert goaways(wire.pull()) == [(3, 0)]
    fields = [*POST, (b"new", b"value")]
    assert wire.exchange(wire.headers(5, fields), data(5, b"x" * 100)) == []
    assert wire.take() == []
    assert wire.engine.last_stream == 3
    # Accepted streams go on, and the compression table has kept up.
    wire.send(data(3, b"late"), wire.headers(3, [(b"new", b"value")], end=True))
    assert wire.take() == [(DATA, 3, b"late"), (END, 3, [(b"new", b"value")])]
    for stream in (1, 3):
        wire.engine.respond(stream, OK, b"hello")
    frames = wire.pull()
    assert content(frames) == content(frames, 3) == b"hello"
    assert wire.engine.active == 0


def test_unknown_frames_are_ignored_and_counted(make: MakeEngine) -> None:
    wire = Wire(make)
    # ALTSVC and ORIGIN are known elsewhere, but have nothing to say to a server.
    assert wire.exchange(raw(77, 255, 0, b"abc"), raw(10, 0, 0, b"\0"), raw(12, 0, 1)) == []
    assert wire.take() == []
    assert wire.charged == [(77, 3), (10, 1), (12, 0)]


def test_the_client_may_give_up_the_priorities_of_old(make: MakeEngine) -> None:
    wire = Wire(make, settings={9: 1})
    (answer,) = wire.exchange(SettingsFrame(settings={9: 1}))
    assert (answer.kind, answer.flags) == (4, 1)


def test_settings_that_nobody_knows_are_ignored(make: MakeEngine) -> None:
    wire = Wire(make)
    (answer,) = wire.exchange(SettingsFrame(settings=dict.fromkeys(range(100, 132), 7)))
    assert (answer.kind, answer.flags) == (4, 1)


def test_settings_that_nobody_knows_are_not_kept(make: MakeEngine) -> None:
    wire = Wire(make)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for first in range(1000, 3000, 32):
            names = range(first, first + 32)
            payload = b"".join(name.to_bytes(2, "big") + bytes(4) for name in names)
            wire.exchange(raw(4, 0, 0, payload))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 100_000
