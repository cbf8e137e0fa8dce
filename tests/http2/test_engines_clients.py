"""Both engines get on with a client made by others, upgraded or not."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.events

from gserver.http2.engine import (
    DATA,
    END,
    REQUEST,
)
from http2_engines import (
    GET,
    OK,
    POST,
    SETTINGS,
    MakeEngine,
    Wire,
    content,
    each_engine,
)

pytestmark = each_engine


def h2_client() -> h2.connection.H2Connection:
    return h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))


def test_upgraded_connections_begin_with_stream_1(make: MakeEngine) -> None:
    wire = Wire(make)
    engine = wire.engine = make(SETTINGS, lambda kind, length: True)
    client = h2_client()
    client.local_settings.initial_window_size = 20
    header = client.initiate_upgrade_connection()
    assert header is not None
    # Window of 3, and a setting that nobody knows
    engine.upgrade(b"\0\4\0\0\0\3" + b"\x77\x77\0\0\0\1", False)
    assert engine.active == engine.last_stream == 1
    engine.respond(1, OK, b"hello")
    first = engine.pull(65536)
    assert content(wire.parse(first)) == b"hel"
    events = client.receive_data(first)
    engine.receive(client.data_to_send())
    # The client's own SETTINGS came behind its preface.
    events += client.receive_data(engine.pull(65536))
    body = b"".join(event.data for event in events if isinstance(event, h2.events.DataReceived))
    assert body == b"hello"
    assert any(isinstance(event, h2.events.StreamEnded) for event in events)
    assert wire.take() == []
    engine.receive(wire.headers(3, GET, end=True))
    assert wire.take() == [(REQUEST, 3, (GET, True))]


def test_large_bodies_both_ways_with_a_real_client(make: MakeEngine) -> None:
    engine = make(SETTINGS, lambda kind, length: True)
    client = h2_client()
    client.initiate_connection()
    client.send_headers(1, POST)
    upload = bytes(range(256)) * 2000
    sent = received = 0
    echo = bytearray()
    done = False
    while not done:
        room = min(client.local_flow_control_window(1), client.max_outbound_frame_size)
        part = upload[sent : sent + room]
        if part:
            sent += len(part)
            client.send_data(1, part, end_stream=sent == len(upload))
        engine.receive(client.data_to_send())
        for kind, stream, what in [*engine.events]:
            if kind == REQUEST:
                engine.send_head(stream, OK)
            elif kind == DATA:
                received += len(what)
                engine.consume(stream, len(what))
                engine.send_data(stream, what)
            elif kind == END:
                engine.send_end(stream, [(b"received", b"%d" % received, False)])
        engine.events.clear()
        for event in client.receive_data(engine.pull(65536)):
            if isinstance(event, h2.events.DataReceived):
                echo += event.data
                client.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, h2.events.TrailersReceived):
                assert event.headers == [(b"received", b"%d" % len(upload))]
                done = True
    assert bytes(echo) == upload
    assert engine.active == 0
