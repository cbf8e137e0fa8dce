"""What RFC 9113 demands of a server, in the order of its sections, on both engines.

A connection error is a GOAWAY with the code that the RFC names, and the end of the connection. A
stream error is a RST_STREAM, and a request on another stream of the connection goes on. Where the
RFC leaves a choice, every choice is accepted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import gevent.event
import pytest

from clients import ConnectionEnded
from conftest import Serve
from http2_client import (
    ACK,
    CANCEL,
    COMPRESSION_ERROR,
    DATA,
    DEFAULT_WINDOW,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_WINDOW,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    NO_ERROR,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    RawHttp2,
    frame,
    request_fields,
)

UNKNOWN = 0xBE  # a frame type that nobody has defined


class Target:
    """A server to be tested.

    "/" answers with the request's content, "/<n>" with so many bytes, "/wait" when `release` was
    called.

    Attributes:
        paths: Of the requests that reached the application.
    """

    def __init__(self, serve: Serve, engine: str) -> None:
        self.paths: list[str] = []
        self._released = gevent.event.Event()
        self._serve = serve
        self._options = {"http2_engine": engine}
        self._server: Any = None
        self._clients: list[RawHttp2] = []

    def _app(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        path = environ["PATH_INFO"]
        self.paths.append(path)
        if path == "/wait":
            self._released.wait()
        body = environ["wsgi.input"].read()
        if path[1:].isdigit():
            body = bytes(int(path[1:]))
        start_response("200 OK", [("X-A", "1")])
        return [body]

    def connect(self, settings: dict[int, int] | None = None, **options: Any) -> RawHttp2:
        """Return a connection on which the server's SETTINGS have been read."""
        client = self.connect_raw(**options)
        client.preface(settings)
        assert client.read().kind == SETTINGS
        return client

    def connect_raw(self, **options: Any) -> RawHttp2:
        """Return a connection on which nothing was said yet.

        Keyword arguments are options of the server, which the first call starts.
        """
        if self._server is None:
            self._server = self._serve(self._app, **self._options, **options)
        client = RawHttp2(self._server.address, preface=False)
        self._clients.append(client)
        return client

    def release(self) -> None:
        """Let the requests of "/wait" go on."""
        self._server.call(self._released.set)

    def close(self) -> None:
        """Leave nothing that keeps the server from stopping."""
        for client in self._clients:
            client.close()
        if self._server is not None:
            self.release()


@pytest.fixture
def target(serve: Serve, engine: str) -> Iterator[Target]:
    running = Target(serve, engine)
    yield running
    running.close()


def fault(client: RawHttp2, stream: int) -> tuple[str, int]:
    """Read until something breaks; return whether it was the stream or the connection, and why."""
    seen = len(client.frames)
    try:
        while True:
            taken = client.read()
            if taken.kind == RST_STREAM and taken.stream == stream:
                return "stream", taken.code
            if taken.kind == GOAWAY:
                client.rest()
                return "connection", client.broken()
    except ConnectionEnded:
        kinds = [taken.kind for taken in client.frames[seen:]]
        pytest.fail(f"the connection ended without a GOAWAY, after frames of types {kinds}")


Fault = Callable[[RawHttp2], None]
CONNECTION_ERRORS: dict[str, tuple[Fault, set[int]]] = {}
STREAM_ERRORS: dict[str, tuple[Fault, set[int]]] = {}
EITHER: dict[str, tuple[Fault, set[int]]] = {}


def _register(
    table: dict[str, tuple[Fault, set[int]]], codes: tuple[int, ...]
) -> Callable[[Fault], Fault]:
    def register(function: Fault) -> Fault:
        table[function.__name__] = (function, set(codes))
        return function

    return register


def connection_error(*codes: int) -> Callable[[Fault], Fault]:
    """The function causes a connection error with one of `codes`."""
    return _register(CONNECTION_ERRORS, codes)


def stream_error(*codes: int) -> Callable[[Fault], Fault]:
    """The function causes an error of stream 3 with one of `codes`."""
    return _register(STREAM_ERRORS, codes)


def either_error(*codes: int) -> Callable[[Fault], Fault]:
    """The function causes an error of stream 3, or of the connection, with one of `codes`."""
    return _register(EITHER, codes)


def test_the_connection_works_to_which_the_others_are_compared(target: Target) -> None:
    client = target.connect()
    stream = client.request(method="POST", end=False)
    client.data(stream, b"content", end=True)
    response = client.response(stream)
    assert (response.status, response.body, response.code) == (200, b"content", -1)
    assert client.sync() == []


# -- 3.4 the preface ------------------------------------------------------------------------------


def test_the_server_speaks_first_of_its_settings(target: Target) -> None:
    client = target.connect_raw()
    client.preface()
    taken = client.read()
    assert (taken.kind, taken.ack, taken.stream) == (SETTINGS, False, 0)
    assert client.until(SETTINGS).ack


def test_the_server_does_not_wait_for_the_client_s_settings(target: Target) -> None:
    client = target.connect_raw()
    client.send(PREFACE)
    taken = client.read()
    assert (taken.kind, taken.ack) == (SETTINGS, False)


def test_the_preface_may_come_byte_by_byte(target: Target) -> None:
    client = target.connect_raw()
    for byte in PREFACE + frame(SETTINGS, 0, 0):
        client.send(bytes([byte]))
    assert client.get().status == 200


def test_a_request_may_come_with_the_preface(target: Target) -> None:
    client = target.connect_raw()
    block = client.encode(request_fields())
    request = frame(HEADERS, END_STREAM | END_HEADERS, 1, block)
    client.send(PREFACE + frame(SETTINGS, 0, 0) + request)
    assert client.response(1).status == 200


def test_a_wrong_preface_closes_the_connection(target: Target) -> None:
    client = target.connect_raw()
    client.send(PREFACE.replace(b"SM", b"XX") + frame(SETTINGS, 0, 0))
    client.sock.settimeout(5)
    while client.sock.recv(65536):  # whatever it says
        pass
    assert target.paths == []


@pytest.mark.parametrize("kind", [PING, HEADERS, WINDOW_UPDATE, UNKNOWN])
def test_settings_must_follow_the_preface(target: Target, kind: int) -> None:
    client = target.connect_raw()
    payload = {PING: bytes(8), WINDOW_UPDATE: b"\0\0\0\1"}.get(kind, b"")
    stream = 0
    if kind == HEADERS:
        stream, payload = 1, client.encode(request_fields())
    client.send(PREFACE + frame(kind, END_HEADERS if stream else 0, stream, payload))
    assert client.broken() == PROTOCOL_ERROR


def test_an_acknowledgement_is_no_preface(target: Target) -> None:
    client = target.connect_raw()
    client.send(PREFACE + frame(SETTINGS, ACK, 0))
    assert client.broken() == PROTOCOL_ERROR


# -- 4.1 frames -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [0, 1, 2, 101])
@pytest.mark.parametrize("size", [0, 1, 16384])
def test_unknown_frames_are_ignored(target: Target, stream: int, size: int) -> None:
    client = target.connect()
    client.frame(UNKNOWN, 0xFF, stream, bytes(size))
    assert client.get().status == 200


def test_unknown_frames_within_a_request_are_ignored(target: Target) -> None:
    client = target.connect()
    stream = client.request(method="POST", end=False)
    client.frame(UNKNOWN, 0xFF, stream, bytes(100))
    client.data(stream, b"content", end=True)
    assert client.response(stream).body == b"content"


def test_undefined_flags_are_ignored(target: Target) -> None:
    client = target.connect()
    client.frame(PING, 0xFE, 0, b"undefine")
    taken = client.until(PING)
    assert (taken.ack, taken.data) == (True, b"undefine")
    client.frame(WINDOW_UPDATE, 0xFF, 0, b"\0\0\0\1")
    client.frame(SETTINGS, 0xFE, 0)
    block = client.encode(request_fields(method="POST"))
    client.frame(HEADERS, END_HEADERS | 0xD2, 1, block)
    client.frame(DATA, END_STREAM | 0xF6, 1, b"content")
    assert client.response(1).body == b"content"


def test_the_reserved_bit_of_a_stream_is_ignored(target: Target) -> None:
    client = target.connect()
    client.frame(PING, 0, 1 << 31, b"reserved")
    assert client.until(PING).data == b"reserved"
    block = client.encode(request_fields())
    client.frame(HEADERS, END_STREAM | END_HEADERS, 1 << 31 | 1, block)
    assert client.response(1).status == 200


def test_frames_may_be_cut_anywhere(target: Target) -> None:
    client = target.connect()
    block = client.encode(request_fields(method="POST"))
    data = frame(HEADERS, END_HEADERS, 1, block) + frame(DATA, END_STREAM, 1, b"content")
    for byte in data:
        client.send(bytes([byte]))
    assert client.response(1).body == b"content"


# -- 4.2 frame size -------------------------------------------------------------------------------


def test_a_frame_of_the_largest_size_is_taken(target: Target) -> None:
    client = target.connect()
    stream = client.request(method="POST", end=False)
    client.data(stream, bytes(16384), end=True)
    assert client.response(stream).body == bytes(16384)


def test_the_largest_size_is_an_option(target: Target) -> None:
    client = target.connect(http2_max_frame_size=20000)
    assert client.frames[0].settings[MAX_FRAME_SIZE] == 20000
    client.sync()
    stream = client.request(method="POST", end=False)
    client.data(stream, bytes(20000), end=True)
    assert client.response(stream).body == bytes(20000)


@either_error(FRAME_SIZE_ERROR)
def too_large_data(client: RawHttp2) -> None:
    client.request(method="POST", end=False)
    client.data(3, bytes(16385), end=True)


@connection_error(FRAME_SIZE_ERROR)
def too_large_headers(client: RawHttp2) -> None:
    client.block(3, bytes(16385), end=True)


@connection_error(FRAME_SIZE_ERROR)
def too_large_settings(client: RawHttp2) -> None:
    client.frame(SETTINGS, 0, 0, struct.pack(">HL", 0x99, 1) * 2731)


@connection_error(FRAME_SIZE_ERROR)
def too_large_unknown_frame(client: RawHttp2) -> None:
    client.frame(UNKNOWN, 0, 0, bytes(16385))


# -- 4.3 compression ------------------------------------------------------------------------------


@connection_error(COMPRESSION_ERROR)
def index_zero(client: RawHttp2) -> None:
    client.block(3, b"\x80", end=True)


@connection_error(COMPRESSION_ERROR)
def index_beyond_the_table(client: RawHttp2) -> None:
    client.block(3, client.encode(request_fields()) + b"\xff\xff\x03", end=True)


@connection_error(COMPRESSION_ERROR)
def index_that_never_ends(client: RawHttp2) -> None:
    client.block(3, b"\xff" * 100, end=True)


@connection_error(COMPRESSION_ERROR)
def index_that_is_cut(client: RawHttp2) -> None:
    client.block(3, client.encode(request_fields()) + b"\xff\xff", end=True)


@connection_error(COMPRESSION_ERROR)
def literal_that_is_cut(client: RawHttp2) -> None:
    client.block(3, client.encode(request_fields()) + b"\x00\x03x-a\x05on", end=True)


@connection_error(COMPRESSION_ERROR)
def huffman_with_the_end_symbol(client: RawHttp2) -> None:
    """RFC 7541 5.2."""
    client.block(3, client.encode(request_fields()) + b"\x00\x03x-a\x84\xff\xff\xff\xff", end=True)


@connection_error(COMPRESSION_ERROR)
def huffman_with_eight_bits_of_padding(client: RawHttp2) -> None:
    """RFC 7541 5.2: "a" is 00011; three bits of padding are right, eleven are too many."""
    client.block(3, client.encode(request_fields()) + b"\x00\x03x-a\x82\x1f\xff", end=True)


@connection_error(COMPRESSION_ERROR)
def huffman_padded_with_zeros(client: RawHttp2) -> None:
    client.block(3, client.encode(request_fields()) + b"\x00\x03x-a\x81\x18", end=True)


@connection_error(COMPRESSION_ERROR)
def table_larger_than_allowed(client: RawHttp2) -> None:
    """RFC 7541 6.3."""
    size = b"\x3f" + _integer(4097 - 31)
    client.block(3, size + client.encode(request_fields()), end=True)


@connection_error(COMPRESSION_ERROR)
def table_resized_behind_a_field(client: RawHttp2) -> None:
    """RFC 7541 4.2."""
    client.block(3, client.encode(request_fields()) + b"\x20", end=True)


@connection_error(COMPRESSION_ERROR)
def garbage_in_the_trailers(client: RawHttp2) -> None:
    client.request(method="POST", end=False)
    client.block(3, b"\x80", end=True)


def _integer(value: int) -> bytes:
    """Encode the rest of an HPACK integer, beyond its prefix."""
    data = b""
    while value > 127:
        data += bytes([value & 127 | 128])
        value >>= 7
    return data + bytes([value])


def test_the_compression_context_survives_a_refused_request(target: Target) -> None:
    client = target.connect()
    client.headers(1, [*request_fields("/first"), ("Upper", "case"), ("x-kept", "1")], end=True)
    assert client.response(1).code == PROTOCOL_ERROR
    client.headers(3, [*request_fields("/second"), ("x-kept", "1")], end=True)
    assert client.response(3).status == 200
    assert target.paths == ["/second"]


def test_the_compression_context_survives_fields_on_a_stream_that_was_reset(
    target: Target,
) -> None:
    """RFC 9113 5.1, "closed": what comes for it is decoded all the same."""
    client = target.connect()
    stream = client.request(method="POST", end=False)
    client.rst(stream)
    client.headers(stream, [("x-trailer", "1")], end=True)
    try:
        client.headers(3, [*request_fields("/second"), ("x-trailer", "1")], end=True)
        assert client.response(3).status == 200
    except ConnectionEnded:
        assert client.broken() == STREAM_CLOSED
    assert target.paths[-1:] != ["/"] or client.broken() == STREAM_CLOSED


def test_the_server_s_table_is_no_larger_than_allowed(target: Target) -> None:
    client = target.connect_raw()
    client.decoder.max_allowed_table_size = 0  # the decoder demands to hear of it, too
    client.preface({HEADER_TABLE_SIZE: 0})
    client.until(SETTINGS)
    client.sync()
    for _ in range(2):
        assert client.get()["x-a"] == "1"
    assert client.decoder.header_table.maxsize == 0


def test_the_table_may_be_resized(target: Target) -> None:
    client = target.connect()
    for size in (0, 4096, 100):
        client.encoder.header_table_size = size
        assert client.get("/", ("x-b", "x" * 50)).status == 200


def test_the_size_of_the_table_is_an_option(target: Target) -> None:
    client = target.connect(http2_header_table_size=128)
    assert client.frames[0].settings[HEADER_TABLE_SIZE] == 128
    client.sync()
    client.encoder.header_table_size = 128
    assert client.get("/", ("x-b", "x" * 50)).status == 200
    client.block(3, b"\x3f" + _integer(129 - 31) + client.encode(request_fields()), end=True)
    assert client.broken() == COMPRESSION_ERROR


# -- 5.1 the states of streams --------------------------------------------------------------------


@connection_error(PROTOCOL_ERROR)
def data_on_an_idle_stream(client: RawHttp2) -> None:
    client.data(3, b"x", end=True)


@connection_error(PROTOCOL_ERROR)
def reset_of_an_idle_stream(client: RawHttp2) -> None:
    client.rst(3)


@connection_error(PROTOCOL_ERROR)
def window_of_an_idle_stream(client: RawHttp2) -> None:
    client.window_update(3, 1)


@connection_error(PROTOCOL_ERROR)
def continuation_on_an_idle_stream(client: RawHttp2) -> None:
    client.continuation(3, client.encode(request_fields()))


@either_error(STREAM_CLOSED)
def data_behind_the_end(client: RawHttp2) -> None:
    """Half-closed (remote)."""
    client.request("/wait")
    client.data(3, b"x", end=True)


@either_error(STREAM_CLOSED)
def headers_behind_the_end(client: RawHttp2) -> None:
    """Half-closed (remote)."""
    client.request("/wait")
    client.headers(3, [("x-trailer", "1")], end=True)


def test_control_frames_behind_the_end_are_allowed(target: Target) -> None:
    client = target.connect()
    stream = client.request("/wait")
    client.window_update(stream, 100)
    client.priority(stream)
    client.sync()
    target.release()
    assert client.response(stream).status == 200


CLOSED_FRAMES: dict[str, Fault] = {
    "DATA": lambda client: client.data(1, b"x", end=True),
    "empty DATA": lambda client: client.data(1, b""),
    "HEADERS": lambda client: client.headers(1, request_fields("/again"), end=True),
    "trailers": lambda client: client.headers(1, [("x-trailer", "1")], end=True),
}


@pytest.mark.parametrize("send", CLOSED_FRAMES.values(), ids=CLOSED_FRAMES)
@pytest.mark.parametrize("reset", [False, True], ids=["ended", "reset"])
def test_frames_on_a_closed_stream_do_nothing_or_break_the_connection(
    target: Target, send: Fault, reset: bool
) -> None:
    """RFC 9113 5.1, "closed": they are discarded, or an error of type STREAM_CLOSED."""
    client = target.connect()
    if reset:
        client.rst(client.request("/wait", method="POST", end=False))
    else:
        assert client.get().status == 200
    client.sync()
    before = list(target.paths)
    send(client)
    try:
        new = client.get("/other")
    except ConnectionEnded:
        assert client.broken() == STREAM_CLOSED
        assert target.paths == before
    else:
        assert new.status == 200
        assert client.progress(1).code in (-1, STREAM_CLOSED)
        assert target.paths == [*before, "/other"]


@pytest.mark.parametrize("reset", [False, True], ids=["ended", "reset"])
def test_frames_that_crossed_the_end_are_ignored(target: Target, reset: bool) -> None:
    """RFC 9113 5.1, "closed": WINDOW_UPDATE, RST_STREAM and PRIORITY may still come."""
    client = target.connect()
    if reset:
        client.rst(client.request("/wait", method="POST", end=False))
    else:
        assert client.get().status == 200
    client.window_update(1, 100)
    client.priority(1)
    client.rst(1)
    assert client.get("/other").status == 200


@connection_error(PROTOCOL_ERROR)
def even_stream(client: RawHttp2) -> None:
    """5.1.1."""
    client.headers(2, request_fields(), end=True)


def test_a_stream_below_the_last_one_is_closed(target: Target) -> None:
    """5.1.1: the use of a stream closes all below it, so a request there is never answered."""
    client = target.connect()
    client.headers(5, request_fields(), end=True)
    assert client.response(5).status == 200
    client.headers(3, request_fields("/below"), end=True)
    try:
        assert client.get("/next").status == 200
    except ConnectionEnded:
        assert client.broken() in (PROTOCOL_ERROR, STREAM_CLOSED)
    assert "/below" not in target.paths


def test_streams_may_be_skipped(target: Target) -> None:
    client = target.connect()
    for stream in (5, 7, 2**31 - 1):
        client.headers(stream, request_fields(), end=True)
        assert client.response(stream).status == 200


def test_streams_beyond_the_limit_are_refused(target: Target) -> None:
    """5.1.2. The client may not have read of the limit yet."""
    client = target.connect_raw(http2_max_concurrent_streams=2)
    client.polite = False
    client.preface()
    assert client.read().settings[MAX_CONCURRENT_STREAMS] == 2
    running = [client.request("/wait") for _ in range(2)]
    refused = [client.request("/refused") for _ in range(2)]
    for stream in refused:
        assert client.response(stream).code == REFUSED_STREAM
    target.release()
    assert [response.status for response in client.collect(running)] == [200, 200]
    assert client.get("/more").status == 200
    assert target.paths == ["/wait", "/wait", "/more"]


def test_streams_beyond_a_limit_that_was_acknowledged(target: Target) -> None:
    """5.1.2, and 5.4.1: the connection may be broken for it."""
    client = target.connect(http2_max_concurrent_streams=1)
    client.sync()
    client.request("/wait")
    refused = client.request("/refused")
    try:
        assert client.response(refused).code in (REFUSED_STREAM, PROTOCOL_ERROR)
    except ConnectionEnded:
        assert client.broken() == PROTOCOL_ERROR
    assert "/refused" not in target.paths


def test_a_reset_stream_makes_room_for_another(target: Target) -> None:
    """5.1.2: the client counts it no more; nor may the server, once its handler has ended."""
    client = target.connect(http2_max_concurrent_streams=1)
    client.sync()
    for _ in range(3):
        client.rst(client.request(method="POST", end=False))
        client.sync()
    assert client.get().status == 200


# -- 5.3 priority, which is deprecated ------------------------------------------------------------


@either_error(FRAME_SIZE_ERROR)
def priority_that_is_short(client: RawHttp2) -> None:
    """6.3."""
    client.request("/wait")
    client.frame(PRIORITY, 0, 3, bytes(4))


@either_error(FRAME_SIZE_ERROR)
def priority_that_is_long(client: RawHttp2) -> None:
    client.request("/wait")
    client.frame(PRIORITY, 0, 3, bytes(6))


@connection_error(PROTOCOL_ERROR)
def priority_of_the_connection(client: RawHttp2) -> None:
    client.frame(PRIORITY, 0, 0, bytes(5))


@pytest.mark.parametrize("frame_of_its_own", [False, True])
def test_a_stream_that_depends_on_itself(target: Target, frame_of_its_own: bool) -> None:
    """An error of RFC 7540 5.3.1, which RFC 9113 has no more."""
    client = target.connect()
    if frame_of_its_own:
        client.headers(1, request_fields())
        client.priority(1, depends_on=1)
        client.data(1, b"", end=True)
    else:
        client.headers(1, request_fields(), end=True, priority=(1, 15))
    try:
        response = client.response(1)
    except ConnectionEnded:
        assert client.broken() == PROTOCOL_ERROR
    else:
        assert response.code in (-1, PROTOCOL_ERROR)
        assert client.get().status == 200


def test_priority_is_taken_in_every_state(target: Target) -> None:
    client = target.connect()
    client.priority(1)
    client.priority(99, depends_on=1 << 31 | 1, weight=255)
    assert client.get().status == 200
    client.priority(1, depends_on=99)
    client.headers(3, request_fields(), end=True, priority=(1, 0))
    assert client.response(3).status == 200


# -- 5.4 errors -----------------------------------------------------------------------------------


def test_goaway_names_the_last_stream(target: Target) -> None:
    client = target.connect()
    for _ in range(3):
        client.get()
    client.frame(PING, 0, 0, b"short")
    assert client.broken() == FRAME_SIZE_ERROR
    assert client.frames[-1].last_stream == 5


def test_other_connections_do_not_notice(target: Target) -> None:
    client, other = target.connect(), target.connect()
    stream = other.request("/wait")
    other.sync()
    client.frame(PING, 0, 0, b"short")
    assert client.broken() == FRAME_SIZE_ERROR
    target.release()
    assert other.response(stream).status == 200


# -- 5.5 extensions -------------------------------------------------------------------------------


@connection_error(PROTOCOL_ERROR)
def unknown_frame_in_a_field_block(client: RawHttp2) -> None:
    block = client.encode(request_fields())
    client.block(3, block[:2], end=True, end_headers=False)
    client.frame(UNKNOWN, 0, 3, b"x")
    client.continuation(3, block[2:])


# -- 6.1 DATA -------------------------------------------------------------------------------------


@connection_error(PROTOCOL_ERROR)
def data_of_the_connection(client: RawHttp2) -> None:
    client.data(0, b"x")


@connection_error(PROTOCOL_ERROR)
def data_with_too_much_padding(client: RawHttp2) -> None:
    client.request(method="POST", end=False)
    client.frame(DATA, PADDED | END_STREAM, 3, b"\x06hello")


@connection_error(PROTOCOL_ERROR, FRAME_SIZE_ERROR)
def padded_data_without_a_length(client: RawHttp2) -> None:
    client.request(method="POST", end=False)
    client.frame(DATA, PADDED | END_STREAM, 3)


@pytest.mark.parametrize("pad", [0, 1, 255])
def test_padding_is_no_content(target: Target, pad: int) -> None:
    client = target.connect()
    stream = client.request("/", ("content-length", "7"), method="POST", end=False)
    client.data(stream, b"con", pad=pad)
    client.data(stream, b"tent", pad=pad, end=True)
    assert client.response(stream).body == b"content"


def test_data_of_padding_only(target: Target) -> None:
    client = target.connect()
    stream = client.request(method="POST", end=False)
    client.data(stream, b"", pad=10)
    client.data(stream, b"content")
    client.data(stream, b"", pad=0, end=True)
    assert client.response(stream).body == b"content"


def test_padding_takes_of_the_window_and_is_given_back(target: Target) -> None:
    """More padding than the window holds, while the application reads."""
    client = target.connect(http2_initial_window_size=2000, http2_max_window_size=2000)
    room = 2000
    stream = client.request(method="POST", end=False)
    for _ in range(50):
        while room < 257:
            taken = client.read()
            if taken.kind == WINDOW_UPDATE and taken.stream == stream:
                room += taken.increment
        client.data(stream, b"x", pad=255)
        room -= 257
    client.data(stream, b"", end=True)
    assert client.response(stream).body == b"x" * 50


# -- 6.2 HEADERS ----------------------------------------------------------------------------------


@connection_error(PROTOCOL_ERROR)
def headers_of_the_connection(client: RawHttp2) -> None:
    client.headers(0, request_fields(), end=True)


@connection_error(PROTOCOL_ERROR, FRAME_SIZE_ERROR)
def headers_with_too_much_padding(client: RawHttp2) -> None:
    block = client.encode(request_fields())
    client.frame(HEADERS, PADDED | END_HEADERS | END_STREAM, 3, b"\xff" + block)


@connection_error(PROTOCOL_ERROR, FRAME_SIZE_ERROR)
def headers_too_short_for_their_priority(client: RawHttp2) -> None:
    client.frame(HEADERS, WITH_PRIORITY | END_HEADERS | END_STREAM, 3, b"\0\0\0")


@pytest.mark.parametrize("pad", [None, 0, 255])
@pytest.mark.parametrize("priority", [None, (0, 255), (1 << 31, 0)])
def test_headers_may_have_padding_and_priority(
    target: Target, pad: int | None, priority: tuple[int, int] | None
) -> None:
    client = target.connect()
    client.headers(1, request_fields(), end=True, pad=pad, priority=priority)
    assert client.response(1).status == 200


# -- 6.4 RST_STREAM -------------------------------------------------------------------------------


@connection_error(PROTOCOL_ERROR)
def reset_of_the_connection(client: RawHttp2) -> None:
    client.rst(0)


@connection_error(FRAME_SIZE_ERROR)
def reset_that_is_short(client: RawHttp2) -> None:
    client.request("/wait")
    client.frame(RST_STREAM, 0, 3, bytes(3))


@connection_error(FRAME_SIZE_ERROR)
def reset_that_is_long(client: RawHttp2) -> None:
    client.request("/wait")
    client.frame(RST_STREAM, 0, 3, bytes(5))


# -- 6.5 SETTINGS ---------------------------------------------------------------------------------


@connection_error(FRAME_SIZE_ERROR)
def acknowledgement_with_settings(client: RawHttp2) -> None:
    client.settings({INITIAL_WINDOW_SIZE: 1}, ack=True)


@connection_error(PROTOCOL_ERROR)
def settings_of_a_stream(client: RawHttp2) -> None:
    client.frame(SETTINGS, 0, 3)


@connection_error(FRAME_SIZE_ERROR)
def settings_of_an_odd_length(client: RawHttp2) -> None:
    client.frame(SETTINGS, 0, 0, bytes(5))


@connection_error(PROTOCOL_ERROR)
def enable_push_of_two(client: RawHttp2) -> None:
    client.settings({ENABLE_PUSH: 2})


@connection_error(FLOW_CONTROL_ERROR)
def initial_window_too_large(client: RawHttp2) -> None:
    client.settings({INITIAL_WINDOW_SIZE: 2**31})


@connection_error(PROTOCOL_ERROR)
def largest_frame_too_small(client: RawHttp2) -> None:
    client.settings({MAX_FRAME_SIZE: 16383})


@connection_error(PROTOCOL_ERROR)
def largest_frame_too_large(client: RawHttp2) -> None:
    client.settings({MAX_FRAME_SIZE: 2**24})


@either_error(FLOW_CONTROL_ERROR)
def initial_window_that_overflows_a_stream_s(client: RawHttp2) -> None:
    """6.9.2 wants a connection error; nghttp2 is content with the stream."""
    client.request("/wait")
    client.window_update(3, LARGEST_WINDOW - DEFAULT_WINDOW)
    client.settings({INITIAL_WINDOW_SIZE: DEFAULT_WINDOW + 1})


def test_settings_are_acknowledged_each(target: Target) -> None:
    client = target.connect()
    for _ in range(3):
        client.settings({MAX_CONCURRENT_STREAMS: 1})
    acknowledged = [taken for taken in client.sync() if taken.kind == SETTINGS and taken.ack]
    assert [taken.size for taken in acknowledged] == [0] * 4


def test_unknown_settings_are_ignored(target: Target) -> None:
    client = target.connect()
    client.settings({0x99: 7, 0xFFFF: 2**32 - 1})
    assert client.get().status == 200


def test_the_last_of_several_values_counts(target: Target) -> None:
    client = target.connect()
    values = struct.pack(">HLHLHL", 4, 5, 4, 2**31 - 1, 4, 3)
    client.frame(SETTINGS, 0, 0, values)
    stream = client.request("/10")
    client.sync()
    client.wait(lambda: bool(client.progress(stream).body))
    client.sync()
    assert client.progress(stream).blocks[0] == bytes(3)


def test_limits_of_all_kinds_are_taken(target: Target) -> None:
    client = target.connect()
    client.settings(
        {
            HEADER_TABLE_SIZE: 2**32 - 1,
            ENABLE_PUSH: 1,
            MAX_CONCURRENT_STREAMS: 0,
            INITIAL_WINDOW_SIZE: LARGEST_WINDOW,
            MAX_FRAME_SIZE: 2**24 - 1,
            MAX_HEADER_LIST_SIZE: 0,
        }
    )
    client.decoder.max_allowed_table_size = 2**32 - 1
    assert client.get("/100000").body == bytes(100000)


def test_frames_are_no_larger_than_the_client_takes(target: Target) -> None:
    client = target.connect()
    client.window_update(0, 1_000_000)
    client.settings({INITIAL_WINDOW_SIZE: 1_000_000})
    assert max(map(len, client.get("/100000").blocks)) <= 16384


# -- 6.6 PUSH_PROMISE -----------------------------------------------------------------------------


@connection_error(PROTOCOL_ERROR)
def promise_of_a_client(client: RawHttp2) -> None:
    client.request("/wait")
    block = client.encode(request_fields())
    client.frame(PUSH_PROMISE, END_HEADERS, 3, struct.pack(">L", 2) + block)


# -- 6.7 PING -------------------------------------------------------------------------------------


def test_ping_is_answered_with_its_data(target: Target) -> None:
    client = target.connect()
    client.ping(b"\0\1\2\3\xfc\xfd\xfe\xff")
    taken = client.until(PING)
    assert (taken.ack, taken.data) == (True, b"\0\1\2\3\xfc\xfd\xfe\xff")


def test_an_answer_to_ping_is_not_answered(target: Target) -> None:
    client = target.connect()
    client.ping(b"unasked!", ack=True)
    assert not [taken for taken in client.sync() if taken.kind == PING]


def test_ping_is_answered_while_requests_run(target: Target) -> None:
    client = target.connect()
    client.request("/wait")
    client.ping()
    assert client.until(PING).ack


@connection_error(PROTOCOL_ERROR)
def ping_of_a_stream(client: RawHttp2) -> None:
    client.frame(PING, 0, 3, bytes(8))


@connection_error(FRAME_SIZE_ERROR)
def ping_that_is_short(client: RawHttp2) -> None:
    client.frame(PING, 0, 0, bytes(7))


@connection_error(FRAME_SIZE_ERROR)
def ping_that_is_long(client: RawHttp2) -> None:
    client.frame(PING, 0, 0, bytes(9))


# -- 6.8 GOAWAY -----------------------------------------------------------------------------------


@connection_error(PROTOCOL_ERROR)
def goaway_of_a_stream(client: RawHttp2) -> None:
    client.frame(GOAWAY, 0, 3, bytes(8))


@connection_error(FRAME_SIZE_ERROR)
def goaway_that_is_short(client: RawHttp2) -> None:
    client.frame(GOAWAY, 0, 0, bytes(7))


@pytest.mark.parametrize("code", [NO_ERROR, PROTOCOL_ERROR, 0xFFFF])
def test_what_runs_is_finished_after_the_client_s_goaway(target: Target, code: int) -> None:
    client = target.connect()
    stream = client.request("/wait")
    client.goaway(code=code, debug=b"bye")
    client.sync()
    target.release()
    assert client.response(stream).status == 200
    client.rest()


def test_an_idle_connection_is_closed_after_the_client_s_goaway(target: Target) -> None:
    client = target.connect()
    assert client.get().status == 200
    client.goaway()
    client.rest()


# -- 6.9 WINDOW_UPDATE ----------------------------------------------------------------------------


@connection_error(PROTOCOL_ERROR)
def increment_of_zero(client: RawHttp2) -> None:
    client.window_update(0, 0)


@either_error(PROTOCOL_ERROR)
def increment_of_zero_on_a_stream(client: RawHttp2) -> None:
    client.request("/wait")
    client.window_update(3, 0)


@connection_error(FRAME_SIZE_ERROR)
def window_update_that_is_short(client: RawHttp2) -> None:
    client.frame(WINDOW_UPDATE, 0, 0, bytes(3))


@connection_error(FRAME_SIZE_ERROR)
def window_update_that_is_long(client: RawHttp2) -> None:
    client.frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1\0")


@connection_error(FLOW_CONTROL_ERROR)
def window_that_overflows(client: RawHttp2) -> None:
    """6.9.1."""
    client.window_update(0, LARGEST_WINDOW)
    client.window_update(0, LARGEST_WINDOW)


@stream_error(FLOW_CONTROL_ERROR)
def window_of_a_stream_that_overflows(client: RawHttp2) -> None:
    """6.9.1."""
    client.request("/wait")
    client.window_update(3, LARGEST_WINDOW)


@either_error(FLOW_CONTROL_ERROR)
def more_content_than_the_stream_s_window(client: RawHttp2) -> None:
    """6.9.1."""
    client.request("/wait", method="POST", end=False)
    for _ in range(4):
        client.data(3, bytes(16384))


def test_more_content_than_the_connection_s_window(target: Target) -> None:
    """6.9.1. The connection's window opens by itself, but not before the server reads."""
    client = target.connect(http2_connection_window_size=65535, http2_initial_window_size=200_000)
    stream = client.request("/wait", method="POST", end=False)
    client.send(b"".join(frame(DATA, 0, stream, bytes(16384)) for _ in range(5)))
    client.sync()
    granted = sum(t.increment for t in client.frames if t.kind == WINDOW_UPDATE and not t.stream)
    assert granted >= 5 * 16384 - 65535


def test_the_reserved_bit_of_an_increment_is_ignored(target: Target) -> None:
    client = target.connect()
    client.frame(WINDOW_UPDATE, 0, 0, struct.pack(">L", 1 << 31 | 5))
    assert client.get().status == 200


def test_content_comes_as_the_stream_s_window_allows(target: Target) -> None:
    client = target.connect(settings={INITIAL_WINDOW_SIZE: 1})
    client.grant = False
    stream = client.request("/5")
    for size in range(1, 5):
        client.wait(lambda size=size: len(client.progress(stream).body) >= size)  # type: ignore[misc]
        client.sync()
        assert len(client.progress(stream).body) == size
        client.window_update(stream, 1)
    assert client.response(stream).body == bytes(5)


def test_content_comes_as_the_connection_s_window_allows(target: Target) -> None:
    client = target.connect(settings={INITIAL_WINDOW_SIZE: LARGEST_WINDOW})
    client.grant = False
    stream = client.request("/70000")
    client.wait(lambda: len(client.progress(stream).body) >= DEFAULT_WINDOW)
    client.sync()
    assert len(client.progress(stream).body) == DEFAULT_WINDOW
    client.window_update(0, 70000 - DEFAULT_WINDOW)
    assert client.response(stream).body == bytes(70000)


def test_a_response_without_content_needs_no_window(target: Target) -> None:
    client = target.connect(settings={INITIAL_WINDOW_SIZE: 0})
    client.grant = False
    assert client.get("/0").status == 200
    assert client.get("/100", method="HEAD").status == 200


def test_a_new_initial_window_changes_that_of_open_streams(target: Target) -> None:
    """6.9.2."""
    client = target.connect(settings={INITIAL_WINDOW_SIZE: 0})
    client.grant = False
    stream = client.request("/10")
    client.until(HEADERS, stream)
    client.sync()
    assert client.progress(stream).body == b""
    client.settings({INITIAL_WINDOW_SIZE: 3})
    client.wait(lambda: len(client.progress(stream).body) == 3)
    client.settings({INITIAL_WINDOW_SIZE: 10})
    assert client.response(stream).body == bytes(10)


def test_a_window_may_become_negative(target: Target) -> None:
    """6.9.2."""
    client = target.connect(settings={INITIAL_WINDOW_SIZE: 3})
    client.grant = False
    stream = client.request("/10")
    client.wait(lambda: len(client.progress(stream).body) == 3)
    client.settings({INITIAL_WINDOW_SIZE: 1})  # now -2
    client.window_update(stream, 2)  # now 0
    client.sync()
    assert client.progress(stream).body == bytes(3)
    client.window_update(stream, 1)
    client.wait(lambda: len(client.progress(stream).body) > 3)
    client.sync()
    assert client.progress(stream).body == bytes(4)
    client.window_update(stream, 6)
    assert client.response(stream).body == bytes(10)


# -- 6.10 CONTINUATION ----------------------------------------------------------------------------


def test_a_field_block_may_come_in_pieces(target: Target) -> None:
    client = target.connect()
    block = client.encode(request_fields("/", ("x-b", "1")))
    client.block(1, block[:1], end=True, end_headers=False)
    client.continuation(1, b"", end_headers=False)
    client.continuation(1, block[1:7], end_headers=False)
    client.continuation(1, block[7:])
    assert client.response(1).status == 200
    client.block(3, b"", end=True, end_headers=False)
    client.continuation(3, client.encode(request_fields()))
    assert client.response(3).status == 200


def test_trailers_may_come_in_pieces(target: Target) -> None:
    client = target.connect()
    stream = client.request(method="POST", end=False)
    client.data(stream, b"content")
    block = client.encode([("x-b", "1")])
    client.block(stream, block[:2], end=True, end_headers=False)
    client.continuation(stream, block[2:])
    assert client.response(stream).body == b"content"


@connection_error(PROTOCOL_ERROR)
def continuation_of_the_connection(client: RawHttp2) -> None:
    client.block(3, client.encode(request_fields()), end=True, end_headers=False)
    client.continuation(0, b"")


@connection_error(PROTOCOL_ERROR)
def continuation_of_another_stream(client: RawHttp2) -> None:
    client.block(3, client.encode(request_fields()), end=True, end_headers=False)
    client.continuation(5, b"")


@connection_error(PROTOCOL_ERROR, STREAM_CLOSED)
def continuation_of_a_whole_block(client: RawHttp2) -> None:
    client.request("/wait")
    client.continuation(3, client.encode([("x-b", "1")]))


@connection_error(PROTOCOL_ERROR)
def continuation_behind_the_last_one(client: RawHttp2) -> None:
    client.block(3, client.encode(request_fields("/wait")), end_headers=False)
    client.continuation(3, b"")
    client.continuation(3, b"")


@connection_error(PROTOCOL_ERROR)
def continuation_behind_data(client: RawHttp2) -> None:
    client.request("/wait", method="POST", end=False)
    client.data(3, b"x")
    client.continuation(3, client.encode([("x-b", "1")]))


BETWEEN: dict[str, Fault] = {
    "DATA": lambda client: client.data(1, b"x"),
    "HEADERS": lambda client: client.headers(5, request_fields(), end=True),
    "HEADERS of the same": lambda client: client.headers(3, request_fields(), end=True),
    "PRIORITY": lambda client: client.priority(3),
    "RST_STREAM": lambda client: client.rst(3),
    "SETTINGS": lambda client: client.settings(),
    "PING": lambda client: client.ping(),
    "GOAWAY": lambda client: client.goaway(),
    "WINDOW_UPDATE": lambda client: client.window_update(0, 1),
}


@pytest.mark.parametrize("send", BETWEEN.values(), ids=BETWEEN)
def test_nothing_may_come_between_the_pieces_of_a_field_block(target: Target, send: Fault) -> None:
    client = target.connect()
    client.request("/wait", method="POST", end=False)
    client.block(3, client.encode(request_fields()), end=True, end_headers=False)
    send(client)
    assert client.broken() == PROTOCOL_ERROR


# -- 7 error codes --------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [NO_ERROR, CANCEL, 0xE, 2**32 - 1])
def test_a_stream_may_be_reset_with_any_code(target: Target, code: int) -> None:
    client = target.connect()
    client.rst(client.request("/wait"), code)
    assert client.get().status == 200


# -- 8.1 messages ---------------------------------------------------------------------------------


@stream_error(PROTOCOL_ERROR)
def head_in_the_place_of_trailers(client: RawHttp2) -> None:
    client.request("/wait", method="POST", end=False)
    client.headers(3, request_fields(), end=True)


@stream_error(PROTOCOL_ERROR)
def trailers_that_do_not_end_the_stream(client: RawHttp2) -> None:
    client.request("/wait", method="POST", end=False)
    client.headers(3, [("x-trailer", "1")])


@stream_error(PROTOCOL_ERROR)
def pseudo_header_field_in_the_trailers(client: RawHttp2) -> None:
    client.request("/wait", method="POST", end=False)
    client.headers(3, [("x-trailer", "1"), (":path", "/")], end=True)


@stream_error(PROTOCOL_ERROR)
def upper_case_in_the_trailers(client: RawHttp2) -> None:
    client.request("/wait", method="POST", end=False)
    client.headers(3, [("X-Trailer", "1")], end=True)


@stream_error(PROTOCOL_ERROR)
def connection_field_in_the_trailers(client: RawHttp2) -> None:
    client.request("/wait", method="POST", end=False)
    client.headers(3, [("connection", "close")], end=True)


@stream_error(PROTOCOL_ERROR)
def less_content_than_announced(client: RawHttp2) -> None:
    """8.1.1."""
    client.request("/wait", ("content-length", "8"), method="POST", end=False)
    client.data(3, b"content", end=True)


@stream_error(PROTOCOL_ERROR)
def less_content_than_announced_before_trailers(client: RawHttp2) -> None:
    client.request("/wait", ("content-length", "8"), method="POST", end=False)
    client.data(3, b"content")
    client.headers(3, [("x-trailer", "1")], end=True)


@stream_error(PROTOCOL_ERROR)
def more_content_than_announced(client: RawHttp2) -> None:
    client.request("/wait", ("content-length", "6"), method="POST", end=False)
    client.data(3, b"content", end=True)


@stream_error(PROTOCOL_ERROR)
def more_content_than_announced_in_several_frames(client: RawHttp2) -> None:
    client.request("/wait", ("content-length", "6"), method="POST", end=False)
    client.data(3, b"con")
    client.data(3, b"tent")


@stream_error(PROTOCOL_ERROR)
def no_content_although_announced(client: RawHttp2) -> None:
    client.request("/wait", ("content-length", "8"), method="POST")


# -- 8.2 and 8.3 fields ---------------------------------------------------------------------------


def _pseudo(**changes: str | None) -> list[tuple[str, str]]:
    """Return a request's fields with some pseudo-header fields changed or, by None, removed."""
    fields = dict(request_fields())
    for name, value in changes.items():
        if value is None:
            del fields[":" + name]
        else:
            fields[":" + name] = value
    return list(fields.items())


GET = request_fields()

MALFORMED: dict[str, list[tuple[str, str]]] = {
    # 8.2.1
    "upper-case name": [*GET, ("X-A", "1")],
    "one upper-case letter": [*GET, ("x-A", "1")],
    "empty name": [*GET, ("", "1")],
    "space in a name": [*GET, ("x a", "1")],
    "colon in a name": [*GET, ("x:a", "1")],
    "control character in a name": [*GET, ("x\x01a", "1")],
    "NUL in a name": [*GET, ("x\0a", "1")],
    "DEL in a name": [*GET, ("x\x7fa", "1")],
    "beyond ASCII in a name": [*GET, ("x\xe4", "1")],
    "line in a name": [*GET, ("x: 1\r\ny", "1")],
    "delimiter in a name": [*GET, ("x(a)", "1")],
    "NUL in a value": [*GET, ("x-a", "1\x002")],
    "LF in a value": [*GET, ("x-a", "1\n2")],
    "CR in a value": [*GET, ("x-a", "1\r2")],
    "line in a value": [*GET, ("x-a", "1\r\nx-b: 2")],
    "space before a value": [*GET, ("x-a", " 1")],
    "space behind a value": [*GET, ("x-a", "1 ")],
    "tab before a value": [*GET, ("x-a", "\t1")],
    "tab behind a value": [*GET, ("x-a", "1\t")],
    # 8.2.2
    "connection": [*GET, ("connection", "close")],
    "connection: keep-alive": [*GET, ("connection", "keep-alive")],
    "keep-alive": [*GET, ("keep-alive", "timeout=5")],
    "proxy-connection": [*GET, ("proxy-connection", "keep-alive")],
    "transfer-encoding": [*GET, ("transfer-encoding", "chunked")],
    "upgrade": [*GET, ("upgrade", "websocket")],
    "te: gzip": [*GET, ("te", "gzip")],
    "te: trailers and more": [*GET, ("te", "trailers, deflate;q=0.5")],
    # 8.3
    "unknown pseudo-header field": [*GET, (":test", "1")],
    "unknown pseudo-header field first": [(":test", "1"), *GET],
    "pseudo-header field of a response": [*GET, (":status", "200")],
    "pseudo-header field of no name": [*GET, (":", "1")],
    "pseudo-header field behind a field": [*GET[:3], ("x-a", "1"), GET[3]],
    # 8.3.1
    "no method": _pseudo(method=None),
    "no scheme": _pseudo(scheme=None),
    "no path": _pseudo(path=None),
    "nothing": [],
    "no pseudo-header fields": [("x-a", "1")],
    "two methods": [*GET, (":method", "GET")],
    "two schemes": [*GET, (":scheme", "http")],
    "two paths": [*GET, (":path", "/")],
    "two authorities": [*GET, (":authority", "localhost")],
    "empty method": _pseudo(method=""),
    "empty scheme": _pseudo(scheme=""),
    "empty path": _pseudo(path=""),
    "empty authority": _pseudo(authority=""),
    "asterisk of another method than OPTIONS": _pseudo(path="*"),
    "scheme with a space": _pseudo(scheme="http "),
    # 8.1.1
    "content-length that is no number": [*GET, ("content-length", "five")],
    "content-length with a sign": [*GET, ("content-length", "+0")],
    "content-length below zero": [*GET, ("content-length", "-1")],
    "empty content-length": [*GET, ("content-length", "")],
    "content-length of several values": [*GET, ("content-length", "0, 0")],
    "two lengths": [*GET, ("content-length", "0"), ("content-length", "5")],
    # 8.5
    "CONNECT with scheme and path": _pseudo(method="CONNECT"),
    "CONNECT without authority": [(":method", "CONNECT")],
    # RFC 8441 4
    "protocol without CONNECT": [*GET, (":protocol", "websocket")],
    "extended CONNECT without a path": [
        *_pseudo(method="CONNECT", path=None),
        (":protocol", "websocket"),
    ],
}


# Malformed as well, but what is wrong is wrong over HTTP/1.1 too, and may be answered likewise.
REFUSED: dict[str, list[tuple[str, str]]] = {
    "no authority": _pseudo(authority=None),
    "authority with user information": _pseudo(authority="user@localhost"),
    "host that is another": [*GET, ("host", "example.org")],
    "method with a space": _pseudo(method="GET /x HTTP/1.1"),
    "method with a line": _pseudo(method="GET\r\n"),
    "path without a slash": _pseudo(path="index.html"),
    "path with a space": _pseudo(path="/a b"),
    "path with a line": _pseudo(path="/ HTTP/1.1\r\nx-a: 1"),
    "path with NUL": _pseudo(path="/\0"),
    "path with DEL": _pseudo(path="/\x7f"),
    "authority with a space": _pseudo(authority="local host"),
    "authority with a line": _pseudo(authority="localhost\r\nx-a: 1"),
    "authority with a path": _pseudo(authority="localhost/path"),
    "two hosts": [*GET, ("host", "localhost"), ("host", "localhost")],
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_malformed_requests_are_reset_and_never_reach_the_application(
    target: Target, fields: list[tuple[str, str]]
) -> None:
    """8.1.1."""
    client = target.connect()
    other = client.request("/other", method="POST", end=False)
    client.block(3, _literal(fields), end=True)
    response = client.response(3)
    assert (response.status, response.code) == (0, PROTOCOL_ERROR)
    client.data(other, b"content", end=True)
    assert client.response(other).body == b"content"
    assert target.paths == ["/other"]


def _literal(fields: list[tuple[str, str]]) -> bytes:
    """Encode without an opinion: literal, not indexed, not compressed."""
    block = b""
    for pair in fields:
        block += b"\0"
        for text in pair:
            data = text.encode("latin-1")
            assert len(data) < 127
            block += bytes([len(data)]) + data
    return block


WELL_FORMED: dict[str, list[tuple[str, str]]] = {
    "host and authority": [*GET, ("host", "localhost")],
    "host for authority": [*_pseudo(authority=None), ("host", "localhost")],
    "pseudo-header fields in any order": GET[::-1],
    "te: trailers": [*GET, ("te", "trailers")],
    "empty value": [*GET, ("x-a", "")],
    "tab and space in a value": [*GET, ("x-a", "1 \t2")],
    "beyond ASCII in a value": [*GET, ("x-a", "\x80\xe4\xff")],
    "every character of a name": [*GET, ("!#$%&'*+-.^`|~0123456789az", "1")],
    "content-length of 0": [*GET, ("content-length", "0")],
    "another scheme": _pseudo(scheme="https"),
    "path with all that is allowed": _pseudo(path="/a-._~!$&'()*+,;=:@%20/?a=b/?&c[]"),
    "authority with a port": _pseudo(authority="[::1]:8080"),
    "unknown method": _pseudo(method="M-SEARCH"),
    "asterisk of OPTIONS": _pseudo(method="OPTIONS", path="*"),
}


@pytest.mark.parametrize("fields", WELL_FORMED.values(), ids=WELL_FORMED)
def test_well_formed_requests_reach_the_application(
    target: Target, fields: list[tuple[str, str]]
) -> None:
    client = target.connect()
    client.block(1, _literal(fields), end=True)
    response = client.response(1)
    assert (response.status, response.code) == (200, -1)


@pytest.mark.parametrize("fields", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_a_request_is_reset_or_answered(
    target: Target, fields: list[tuple[str, str]]
) -> None:
    """8.1.1: a server may send a response before it resets the stream."""
    client = target.connect()
    client.block(1, _literal(fields), end=True)
    response = client.response(1)
    assert (response.status, response.code) in ((0, PROTOCOL_ERROR), (400, -1))
    assert client.get("/other").status == 200
    assert target.paths == ["/other"]


# -- the tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("cause", "codes"), CONNECTION_ERRORS.values(), ids=CONNECTION_ERRORS)
def test_connection_errors(target: Target, cause: Fault, codes: set[int]) -> None:
    """5.4.1."""
    client = target.connect()
    client.request("/other", method="POST", end=False)
    cause(client)
    assert client.broken() in codes
    assert target.connect().get().status == 200


@pytest.mark.parametrize(("cause", "codes"), STREAM_ERRORS.values(), ids=STREAM_ERRORS)
def test_stream_errors(target: Target, cause: Fault, codes: set[int]) -> None:
    """5.4.2."""
    client = target.connect()
    other = client.request("/other", method="POST", end=False)
    cause(client)
    response = client.response(3)
    assert (response.status, response.code in codes) == (0, True), response
    client.data(other, b"content", end=True)
    assert client.response(other).body == b"content"


@pytest.mark.parametrize(("cause", "codes"), EITHER.values(), ids=EITHER)
def test_errors_of_the_stream_or_the_connection(
    target: Target, cause: Fault, codes: set[int]
) -> None:
    """5.4.1: a stream error may be taken for a connection error."""
    client = target.connect()
    other = client.request("/other", method="POST", end=False)
    cause(client)
    where, code = fault(client, 3)
    assert code in codes
    if where == "stream":
        client.data(other, b"content", end=True)
        assert client.response(other).body == b"content"
