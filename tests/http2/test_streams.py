"""Streams of one connection as the application and the client see them, on both engines."""

from __future__ import annotations

import queue
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import pytest

from clients import ConnectionEnded, RawClient
from conftest import Serve, ServerThread
from gserver.api import lite
from gserver.api.errors import Disconnected, RemoteProtocolError
from http2_client import (
    DATA,
    DEFAULT_WINDOW,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    INTERNAL_ERROR,
    LARGEST_WINDOW,
    NO_ERROR,
    PING,
    PROTOCOL_ERROR,
    SETTINGS,
    WINDOW_UPDATE,
    Http2Client,
    Http2Response,
    RawHttp2,
    frame,
    request_fields,
    tls_context,
)

Environ = dict[str, Any]


class Site:
    """A server with one application, and its clients."""

    def __init__(self, server: ServerThread, clients: ExitStack, threads: ExitStack) -> None:
        self.server = server
        self._clients = clients
        self._threads = threads
        self.call = server.call

    def connect(self, settings: dict[int, int] | None = None, **options: Any) -> RawHttp2:
        """Return a new connection, on which the server's SETTINGS have been read."""
        client = self._clients.enter_context(
            RawHttp2(self.server.address, settings=settings, **options)
        )
        assert client.read().kind == SETTINGS
        return client

    def stop(self, *arguments: float) -> threading.Thread:
        """Stop the server in the background."""
        thread = threading.Thread(target=self.server.stop, args=arguments, daemon=True)
        thread.start()
        self._threads.callback(thread.join, 10)
        return thread


Start = Callable[..., Site]


@pytest.fixture
def start(serve: Serve, engine: str) -> Iterator[Start]:
    """Return a function that serves an application; keyword arguments are options of Config."""
    # Clients leave first: the server waits for them.
    with ExitStack() as threads, ExitStack() as clients:

        def begin(application: Callable[..., Any], **options: Any) -> Site:
            return Site(serve(application, http2_engine=engine, **options), clients, threads)

        yield begin


def take(events: queue.SimpleQueue[Any]) -> Any:
    """Return the next of what an application has noted."""
    return events.get(timeout=5)


def granted(client: RawHttp2, stream: int) -> int:
    """Return how much more the server has allowed on a stream, or with 0 on the connection."""
    return sum(
        taken.increment
        for taken in client.frames
        if taken.kind == WINDOW_UPDATE and taken.stream == stream
    )


@lite
def echo(environ: Environ) -> Any:
    return "200 OK", [], [environ["wsgi.input"].read() or b"hello"]


@lite
def show(environ: Environ) -> Any:
    """Answer with the environ's text, a line for each key."""
    lines = [f"{key}={value}" for key, value in environ.items() if isinstance(value, str)]
    return "200 OK", [], ["\0".join(lines).encode("latin-1")]


def shown(response: Http2Response) -> dict[str, str]:
    """Return what `show` told."""
    assert response.status == 200
    return dict(line.split("=", 1) for line in response.body.decode("latin-1").split("\0"))


# -- many at once ---------------------------------------------------------------------------------


def test_requests_of_one_connection_run_at_once(start: Start) -> None:
    """None of the four would end before all have begun."""
    begun: list[str] = []
    all_there = gevent.event.Event()

    @lite
    def app(environ: Environ) -> Any:
        begun.append(environ["PATH_INFO"])
        if len(begun) == 4:
            all_there.set()
        assert all_there.wait(5)
        return "200 OK", [], [environ["PATH_INFO"].encode()]

    client = start(app).connect()
    streams = [client.request(f"/{number}") for number in range(4)]
    bodies = [response.body for response in client.collect(streams)]
    assert bodies == [b"/0", b"/1", b"/2", b"/3"]


def test_a_later_request_may_be_answered_first(start: Start) -> None:
    released = gevent.event.Event()

    @lite
    def app(environ: Environ) -> Any:
        if environ["PATH_INFO"] == "/slow":
            assert released.wait(5)
        return "200 OK", [], []

    site = start(app)
    client = site.connect()
    slow = client.request("/slow")
    assert client.get("/fast").status == 200
    assert not client.progress(slow).status
    site.call(released.set)
    assert client.response(slow).status == 200


def test_many_streams_with_content_both_ways(start: Start) -> None:
    site = start(echo)
    with Http2Client(site.server.address) as client:
        fields = request_fields(method="POST")
        streams = [client.open(fields, end=False) for _ in range(50)]
        for piece in range(4):
            for stream in streams:
                client.send(stream, b"%d" % stream * 1000, end=piece == 3)
        for stream in streams:
            assert client.whole(stream).body == b"%d" % stream * 4000


def test_many_connections_with_many_streams(start: Start) -> None:
    site = start(echo)
    clients = [site.connect() for _ in range(10)]
    streams = [[client.request() for _ in range(20)] for client in clients]
    for client, own in zip(clients, streams, strict=True):
        assert {response.body for response in client.collect(own)} == {b"hello"}


def test_small_responses_of_one_turn_leave_together(start: Start) -> None:
    """One packet with all requests is answered by few packets: no delay, no packet for each."""
    client = start(echo).connect()
    client.sync()
    requests = b""
    for stream in range(1, 41, 2):
        block = client.encode(request_fields())
        requests += frame(HEADERS, 5, stream, block)
    client.send(requests)
    reads = 0
    while not all(client.progress(stream).over for stream in range(1, 41, 2)):
        if not client.buffer:
            client.buffer = client.sock.recv(262144)
            reads += 1
        client.read()
    assert reads < 5


# -- content of requests --------------------------------------------------------------------------


def test_content_is_read_as_it_comes(start: Start) -> None:
    events: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    @lite
    def app(environ: Environ) -> Any:
        content = environ["wsgi.input"]
        for size in (5, 1, 100):
            events.put(content.read1(size))
        events.put(content.readline())
        events.put(content.read())
        return "200 OK", [], []

    client = start(app).connect()
    stream = client.request(method="POST", end=False)
    client.data(stream, b"hello!")
    assert (take(events), take(events)) == (b"hello", b"!")
    client.data(stream, b"world")
    assert take(events) == b"world"
    client.data(stream, b"a li")
    client.data(stream, b"ne\nthe")
    assert take(events) == b"a line\n"
    client.data(stream, b" rest", end=True)
    assert take(events) == b"the rest"
    assert client.response(stream).status == 200


def test_an_upload_that_nobody_reads_stops_at_its_window(start: Start) -> None:
    """And the other streams of the connection do not notice, not even other uploads."""
    released = gevent.event.Event()

    @lite
    def app(environ: Environ) -> Any:
        if environ["PATH_INFO"] == "/unread":
            assert released.wait(5)
        return echo(environ)

    site = start(app, http2_initial_window_size=20_000)
    client = site.connect()
    assert client.frames[0].settings[INITIAL_WINDOW_SIZE] == 20_000
    unread = [client.request("/unread", method="POST", end=False) for _ in range(6)]
    for stream in unread:
        client.data(stream, bytes(10_000))
        client.data(stream, bytes(10_000))
    client.sync()
    assert [granted(client, stream) for stream in unread] == [0] * 6
    other = client.request("/read", method="POST", end=False)
    client.data(other, b"other", end=True)
    assert client.response(other).body == b"other"
    site.call(released.set)
    for stream in unread:
        client.data(stream, b"", end=True)
        assert client.response(stream).body == bytes(20_000)


def test_the_window_opens_as_the_application_reads(start: Start) -> None:
    """By no more than it has read, beyond what one may send ahead."""
    sizes: queue.SimpleQueue[int] = queue.SimpleQueue()
    go = gevent.event.Event()

    @lite
    def app(environ: Environ) -> Any:
        content = environ["wsgi.input"]
        assert go.wait(5)
        for _ in range(4):
            sizes.put(len(content.read(250)))
        return "200 OK", [], [content.read()]

    site = start(app, http2_initial_window_size=1000, http2_max_window_size=1000)
    client = site.connect()
    stream = client.request(method="POST", end=False)
    client.data(stream, bytes(1000))
    client.sync()
    assert granted(client, stream) == 0
    site.call(go.set)
    assert [take(sizes) for _ in range(4)] == [250] * 4
    client.wait(lambda: granted(client, stream) >= 500)
    client.sync()
    room = granted(client, stream)
    assert room <= 1000
    client.data(stream, bytes(room), end=True)
    assert client.response(stream).body == bytes(room)


def test_the_window_widens_once_somebody_reads(start: Start) -> None:
    reading = gevent.event.Event()

    @lite
    def app(environ: Environ) -> Any:
        reading.set()
        return echo(environ)

    site = start(app, http2_initial_window_size=1000, http2_max_window_size=50_000)
    client = site.connect()
    stream = client.request(method="POST", end=False)
    client.wait(lambda: granted(client, stream) == 49_000)
    for _ in range(5):
        client.data(stream, bytes(10_000))
    client.data(stream, b"", end=True)
    assert client.response(stream).body == bytes(50_000)


@pytest.mark.parametrize("length", [False, True])
def test_a_large_upload(start: Start, length: bool) -> None:
    @lite
    def app(environ: Environ) -> Any:
        size = 0
        while data := environ["wsgi.input"].read(10_000):
            size += len(data)
        return "200 OK", [], [b"%d" % size]

    site = start(app)
    with Http2Client(site.server.address) as client:
        fields = request_fields(method="PUT")
        if length:
            fields.append(("content-length", "3000000"))
        stream = client.open(fields, end=False)
        client.send(stream, bytes(3_000_000), end=True)
        assert client.whole(stream).body == b"3000000"


def test_both_directions_of_a_stream_at_once(start: Start) -> None:
    @lite
    def app(environ: Environ) -> Any:
        def blocks() -> Iterator[bytes]:
            yield b"begin"
            while data := environ["wsgi.input"].read1(100):
                yield data.upper()

        return "200 OK", [], blocks()

    client = start(app).connect()
    stream = client.request(method="POST", end=False)
    client.wait(lambda: client.progress(stream).body == b"begin")
    for piece in (b"one", b"two", b"three"):
        client.data(stream, piece)
        client.wait(lambda piece=piece: client.progress(stream).body.endswith(piece.upper()))  # type: ignore[misc]
    client.data(stream, b"", end=True)
    response = client.response(stream)
    assert (response.body, response.code) == (b"beginONETWOTHREE", -1)


def test_one_greenlet_sends_while_another_receives(start: Start) -> None:
    """Either blocks, and neither keeps the other from going on."""

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        content = environ["wsgi.input"]
        reader = gevent.spawn(content.read)
        write(bytes(100_000))
        write(reader.get())
        return []

    client = start(app).connect()
    client.grant = False
    stream = client.request(method="POST", end=False)
    client.wait(lambda: len(client.progress(stream).body) == DEFAULT_WINDOW)
    client.data(stream, b"received", end=True)
    client.window_update(0, 100_000)
    client.window_update(stream, 100_000)
    assert client.response(stream).body == bytes(100_000) + b"received"


def test_trailers_are_there_once_the_content_is_read(start: Start) -> None:
    seen: list[Any] = []

    @lite
    def app(environ: Environ) -> Any:
        seen.append(list(environ["gserver.trailers"]))
        body = environ["wsgi.input"].read()
        seen.append(list(environ["gserver.trailers"]))
        return "200 OK", [], [body]

    client = start(app).connect()
    stream = client.request(method="POST", end=False)
    client.data(stream, b"content")
    client.sync()
    client.headers(stream, [("x-sum", "1"), ("x-sum", "\xe4")], end=True)
    assert client.response(stream).body == b"content"
    assert seen == [[], [("x-sum", "1"), ("x-sum", "\xe4")]]


def test_trailers_without_content(start: Start) -> None:
    @lite
    def app(environ: Environ) -> Any:
        body = environ["wsgi.input"].read()
        return "200 OK", [], [repr((body, environ["gserver.trailers"])).encode()]

    client = start(app).connect()
    stream = client.request(method="POST", end=False)
    client.headers(stream, [("x-sum", "1")], end=True)
    assert client.response(stream).body == b"(b'', [('x-sum', '1')])"


def test_continue_is_sent_when_the_content_is_wanted(start: Start) -> None:
    """RFC 9110 10.1.1."""

    @lite
    def app(environ: Environ) -> Any:
        if environ["PATH_INFO"] == "/read":
            return echo(environ)
        return "403 Forbidden", [], []

    client = start(app).connect()
    stream = client.request("/read", ("expect", "100-continue"), method="POST", end=False)
    client.wait(lambda: bool(client.progress(stream).interim))
    client.data(stream, b"content", end=True)
    response = client.response(stream)
    assert (response.status, response.body) == (200, b"content")
    assert [(one.status, one.headers) for one in response.interim] == [(100, [])]
    unwanted = client.request("/", ("expect", "100-continue"), method="POST", end=False)
    response = client.response(unwanted)
    assert (response.status, response.interim) == (403, [])


def test_unread_content_is_refused_after_the_response(start: Start) -> None:
    """RFC 9113 8.1: a RST_STREAM with NO_ERROR, behind a complete response."""

    @lite
    def app(environ: Environ) -> Any:
        return "403 Forbidden", [], [b"no"]

    client = start(app, limit_unread_body=999).connect()
    stream = client.request(method="POST", end=False)
    client.data(stream, bytes(1000))
    response = client.response(stream)
    assert (response.status, response.body, response.ended) == (403, b"no", True)
    client.wait(lambda: response.code >= 0)
    assert response.code == NO_ERROR
    assert client.get().status == 403


def test_content_that_came_before_the_response_counts_as_unread_too(start: Start) -> None:
    @lite
    def app(environ: Environ) -> Any:
        assert environ["wsgi.input"].read(1) == b"x"  # the others have come as well
        return "403 Forbidden", [], [b"no"]

    client = start(app, limit_unread_body=999).connect()
    stream = client.request(method="POST", end=False)
    client.data(stream, b"x" * 1001)
    response = client.response(stream)
    client.wait(lambda: response.code >= 0)
    assert (response.status, response.ended, response.code) == (403, True, NO_ERROR)


def test_no_reset_follows_where_all_content_has_come(start: Start) -> None:
    @lite
    def app(environ: Environ) -> Any:
        return "403 Forbidden", [], [b"no"]

    client = start(app).connect()
    stream = client.request(method="POST", end=False)
    client.data(stream, bytes(1000), end=True)
    client.response(stream)
    client.sync()
    assert client.progress(stream).code in (-1, NO_ERROR)  # the handler may have been faster
    assert client.get().code == -1


def test_unread_content_opens_the_connection_s_window_again(start: Start) -> None:
    """Far more than the connection's window in uploads that nobody wants."""

    @lite
    def app(environ: Environ) -> Any:
        return "403 Forbidden", [], [b"no"]

    client = start(app, http2_connection_window_size=65535).connect()
    room = DEFAULT_WINDOW
    for _ in range(20):
        stream = client.request(method="POST", end=False)
        for _ in range(3):
            client.wait(lambda room=room: room + granted(client, 0) >= 16384)  # type: ignore[misc]
            client.data(stream, bytes(16384))
            room -= 16384
        assert client.response(stream).body == b"no"


# -- content of responses -------------------------------------------------------------------------


def test_a_response_blocks_on_the_client_s_window(start: Start) -> None:
    """The greenlet of this one stream, and only that."""
    made: list[int] = []

    @lite
    def app(environ: Environ) -> Any:
        def blocks() -> Iterator[bytes]:
            for number in range(100):
                made.append(number)
                yield bytes(1000)

        return "200 OK", [], blocks() if environ["PATH_INFO"] == "/blocks" else [b"x"]

    client = start(app).connect(settings={INITIAL_WINDOW_SIZE: 10_000})
    client.grant = False
    stream = client.request("/blocks")
    client.wait(lambda: len(client.progress(stream).body) == 10_000)
    client.sync()
    assert len(made) < 30
    assert client.get("/other").body == b"x"
    assert len(client.progress(stream).body) == 10_000
    client.window_update(stream, 1_000_000)
    client.window_update(0, 1_000_000)
    assert client.response(stream).body == bytes(100_000)


@pytest.mark.parametrize("fields", [[], [("priority", "i")]], ids=["default", "incremental"])
def test_streams_share_the_connection_s_window_fairly(
    start: Start, fields: list[tuple[str, str]]
) -> None:
    @lite
    def app(environ: Environ) -> Any:
        return "200 OK", [], (bytes(100_000) for _ in range(10))

    client = start(app).connect(settings={INITIAL_WINDOW_SIZE: LARGEST_WINDOW})
    client.grant = False
    streams = [client.request("/", *fields) for _ in range(4)]

    def received() -> list[int]:
        return [len(client.progress(stream).body) for stream in streams]

    client.wait(lambda: all(client.progress(stream).status for stream in streams))
    client.wait(lambda: sum(received()) == DEFAULT_WINDOW)
    before = received()
    client.window_update(0, 400_000)
    client.wait(lambda: sum(received()) == DEFAULT_WINDOW + 400_000)
    shares = [now - then for now, then in zip(received(), before, strict=True)]
    assert min(shares) > 30_000, shares


def test_a_stream_that_is_not_read_does_not_stall_the_others(start: Start) -> None:
    @lite
    def app(environ: Environ) -> Any:
        return "200 OK", [], [bytes(1_000_000)]

    site = start(app)
    with Http2Client(site.server.address) as client:
        unread = [client.open(request_fields(), end=True) for _ in range(5)]
        read = client.open(request_fields(), end=True)
        assert client.whole(read).body == bytes(1_000_000)
        for stream in unread:
            assert client.whole(stream).body == bytes(1_000_000)


@pytest.mark.slow
def test_a_client_that_grants_nothing_is_given_up(start: Start) -> None:
    """After write_timeout; the connection and its other streams live on."""
    raised: queue.SimpleQueue[BaseException] = queue.SimpleQueue()

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        if environ["PATH_INFO"] == "/large":
            try:
                write(bytes(100_000))
            except BaseException as exc:
                raised.put(exc)
                raise
        return []

    client = start(app, write_timeout=0.2).connect(settings={INITIAL_WINDOW_SIZE: 100})
    client.grant = False
    stream = client.request("/large")
    response = client.response(stream)
    assert (response.status, response.body, response.ended) == (200, bytes(100), False)
    assert response.code > 0
    assert type(take(raised)) is Disconnected
    assert client.get().status == 200


@pytest.mark.slow
def test_a_client_that_grants_little_by_little_is_served(start: Start) -> None:
    """write_timeout measures the pauses."""

    @lite
    def app(environ: Environ) -> Any:
        return "200 OK", [], [bytes(20), bytes(100_000)]

    client = start(app, write_timeout=0.3).connect(settings={INITIAL_WINDOW_SIZE: 0})
    client.grant = False
    stream = client.request()
    for size in range(1, 10):
        with pytest.raises(TimeoutError):
            client.until(DATA, timeout=0.1)  # a pause
        client.window_update(stream, 1)
        client.wait(lambda size=size: len(client.progress(stream).body) == size)  # type: ignore[misc]
    client.window_update(stream, 200_000)
    client.window_update(0, 200_000)
    assert client.response(stream).body == bytes(100_020)


def test_a_client_that_does_not_read_stops_its_own_connection_only(start: Start) -> None:
    """Its windows are open, but the socket is full."""
    made: list[int] = []

    @lite
    def app(environ: Environ) -> Any:
        def blocks() -> Iterator[bytes]:
            for number in range(1000):
                made.append(number)
                yield bytes(100_000)

        return "200 OK", [], blocks() if environ["PATH_INFO"] == "/blocks" else [b"x"]

    site = start(app)
    client = site.connect(settings={INITIAL_WINDOW_SIZE: LARGEST_WINDOW})
    client.window_update(0, LARGEST_WINDOW - DEFAULT_WINDOW)
    client.request("/blocks")
    client.until(DATA)
    other = site.connect()
    before = -1
    while before != len(made):
        before = len(made)
        for _ in range(20):
            assert other.get().body == b"x"
    assert len(made) < 900


def test_each_block_is_sent_at_once(start: Start) -> None:
    go: queue.SimpleQueue[gevent.event.Event] = queue.SimpleQueue()

    @lite
    def app(environ: Environ) -> Any:
        def blocks() -> Iterator[bytes]:
            for letter in (b"a", b"b", b"c"):
                event = gevent.event.Event()
                go.put(event)
                yield letter
                assert event.wait(5)

        return "200 OK", [], blocks()

    site = start(app)
    client = site.connect()
    stream = client.request()
    for body in (b"a", b"ab", b"abc"):
        client.wait(lambda body=body: client.progress(stream).body == body)  # type: ignore[misc]
        site.call(take(go).set)
    assert client.response(stream).blocks[:3] == [b"a", b"b", b"c"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("blocks", [[], [b"content"], [b"con", b"tent"]])
def test_responses_without_content(
    start: Start, method: str, status: str, blocks: list[bytes]
) -> None:
    @lite
    def app(environ: Environ) -> Any:
        return status, [("X-A", "1")], iter(blocks)

    client = start(app).connect()
    response = client.get(method=method)
    assert f"{response.status} " == status[:4]
    assert (response["x-a"], response.ended) == ("1", True)
    if method == "HEAD" or status != "200 OK":
        frames = [taken for taken in client.frames if taken.stream == 1]
        assert [(taken.kind, taken.ends) for taken in frames] == [(HEADERS, True)]
        assert "content-length" not in response
    else:
        assert response.body == b"".join(blocks)


def test_a_length_that_the_application_gives_is_told_of_head_too(start: Start) -> None:
    @lite
    def app(environ: Environ) -> Any:
        return "200 OK", [("Content-Length", "7")], [b"content"]

    client = start(app).connect()
    for method, body in (("GET", b"content"), ("HEAD", b"")):
        response = client.get(method=method)
        assert (response["content-length"], response.body) == ("7", body)


def test_the_length_of_one_block_is_told(start: Start) -> None:
    response = start(echo).connect().get()
    assert response["content-length"] == "5"


def test_date_and_server(start: Start) -> None:
    @lite
    def app(environ: Environ) -> Any:
        if environ["PATH_INFO"] == "/own":
            return "200 OK", [("Date", "today"), ("Server", "mine")], []
        return "200 OK", [], []

    client = start(app, server_header="gserver").connect()
    response = client.get()
    assert response["date"].endswith(" GMT")
    assert response["server"] == "gserver"
    response = client.get("/own")
    assert (response["date"], response["server"]) == ("today", "mine")


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 1_000_000])
def test_a_file(start: Start, tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * (size // 256 + 1))
    content = path.read_bytes()[:size]
    path.write_bytes(content)

    @lite
    def app(environ: Environ) -> Any:
        return "200 OK", [], environ["wsgi.file_wrapper"](path.open("rb"))

    client = start(app).connect()
    for method, body in (("GET", content), ("HEAD", b"")):
        response = client.get(method=method)
        assert (response["content-length"], response.body) == (str(size), body)


def test_frames_of_a_large_response_are_full(start: Start) -> None:
    """Little blocks cost the client little frames; a large block makes large ones."""

    @lite
    def app(environ: Environ) -> Any:
        return "200 OK", [], [bytes(160_000)]

    client = start(app).connect(settings={INITIAL_WINDOW_SIZE: 1_000_000})
    client.window_update(0, 1_000_000)
    assert len(client.get().blocks) <= 12


# -- what the environ says ------------------------------------------------------------------------


def test_the_environ(start: Start) -> None:
    client = start(show).connect()
    environ = shown(client.get("/a%20b/c?d=%20e", ("x-a", "1"), ("x-a", "2")))
    assert environ["SERVER_PROTOCOL"] == "HTTP/2"
    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["RAW_URI"] == environ["REQUEST_URI"] == "/a%20b/c?d=%20e"
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/a b/c", "d=%20e")
    assert (environ["SCRIPT_NAME"], environ["HTTP_HOST"]) == ("", "localhost")
    assert environ["HTTP_X_A"] == "1,2"
    host, port = client.sock.getsockname()
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == (host, str(port))
    assert not [key for key in environ if ":" in key]


def test_the_authority_is_the_host(start: Start) -> None:
    client = start(show).connect()
    client.headers(1, request_fields(authority="example.org:81"), end=True)
    assert shown(client.response(1))["HTTP_HOST"] == "example.org:81"
    client.headers(3, [*request_fields(authority="a.org"), ("host", "a.org")], end=True)
    assert shown(client.response(3))["HTTP_HOST"] == "a.org"
    fields = [pair for pair in request_fields() if pair[0] != ":authority"]
    client.headers(5, [*fields, ("host", "b.org")], end=True)
    assert shown(client.response(5))["HTTP_HOST"] == "b.org"


def test_the_scheme_is_the_connection_s(start: Start) -> None:
    """Not what the client says: https in clear would be a lie."""
    client = start(show).connect()
    client.headers(1, request_fields(scheme="https"), end=True)
    assert shown(client.response(1))["wsgi.url_scheme"] == "http"


def test_split_cookies_are_joined(start: Start) -> None:
    """RFC 9113 8.2.3; they are not counted as fields, for browsers split them all."""
    client = start(show, limit_request_fields=6).connect()
    cookies = [("cookie", f"c{number}={number}") for number in range(20)]
    environ = shown(client.get("/", *cookies))
    assert environ["HTTP_COOKIE"] == "; ".join(value for _, value in cookies)


def test_content_type_and_length(start: Start) -> None:
    client = start(show).connect()
    fields = (("content-type", "a/b"), ("content-length", "3"))
    stream = client.request("/", *fields, method="POST", end=False)
    client.data(stream, b"abc", end=True)
    environ = shown(client.response(stream))
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("a/b", "3")
    assert "HTTP_CONTENT_LENGTH" not in environ


@pytest.mark.parametrize(
    ("header_map", "status", "value"),
    [("drop", 200, "1"), ("refuse", 400, None), ("dangerous", 200, "1,2")],
)
def test_header_map(start: Start, header_map: str, status: int, value: str | None) -> None:
    client = start(show, header_map=header_map).connect()
    for _ in range(2):
        response = client.get("/", ("x-a", "1"), ("x_a", "2"))
        assert response.status == status
        if value is not None:
            assert shown(response)["HTTP_X_A"] == value


# -- errors ---------------------------------------------------------------------------------------


def test_an_error_before_the_head_is_a_500(start: Start) -> None:
    @lite
    def app(environ: Environ) -> Any:
        raise ValueError

    client = start(app).connect()
    for _ in range(2):
        response = client.get()
        assert (response.status, response.ended, response.code) == (500, True, -1)
        assert b"500 Internal Server Error" in response.body


def test_an_error_after_the_head_resets_the_stream(start: Start) -> None:
    """And the connection lives on."""

    @lite
    def app(environ: Environ) -> Any:
        def blocks() -> Iterator[bytes]:
            yield b"begun"
            raise ValueError

        return "200 OK", [], blocks() if environ["PATH_INFO"] == "/fail" else [b"fine"]

    client = start(app).connect()
    for _ in range(3):
        response = client.get("/fail")
        assert (response.status, response.ended) == (200, False)
        assert response.code == INTERNAL_ERROR
        assert client.get().body == b"fine"


@pytest.mark.parametrize("kind", ["less", "more", "file"])
def test_a_length_that_the_application_does_not_keep(
    start: Start, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100_000))

    @lite
    def app(environ: Environ) -> Any:
        headers = [("Content-Length", "200000" if kind == "file" else "5")]
        if kind == "file":
            return "200 OK", headers, environ["wsgi.file_wrapper"](path.open("rb"))
        return "200 OK", headers, iter([b"abc", b"" if kind == "less" else b"defghi"])

    client = start(app).connect()
    response = client.get()
    if kind == "more":  # what is too much never leaves
        assert (response.body, response.ended, response.code) == (b"abcde", True, -1)
    else:
        assert (response.ended, response.code) == (False, INTERNAL_ERROR)


def test_a_length_that_the_client_does_not_keep(start: Start) -> None:
    """RFC 9113 8.1.1: the stream is reset, and the application hears of it."""
    raised: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
    reading = gevent.event.Event()

    @lite
    def app(environ: Environ) -> Any:
        reading.set()
        try:
            return echo(environ)
        except BaseException as exc:
            raised.put(exc)
            raise

    site = start(app)
    client = site.connect()
    stream = client.request("/", ("content-length", "10"), method="POST", end=False)
    site.call(lambda: reading.wait(5))
    client.data(stream, b"content", end=True)
    response = client.response(stream)
    assert (response.status, response.code) == (0, PROTOCOL_ERROR)
    assert isinstance(take(raised), (Disconnected, RemoteProtocolError))


def blocked_read(environ: Environ, start_response: Any) -> list[bytes]:
    environ["wsgi.input"].read()
    raise AssertionError("it came to an end")


def blocked_read_after_the_head(environ: Environ, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])(b"begun")
    return blocked_read(environ, start_response)


def blocked_write(environ: Environ, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])(bytes(1_000_000))
    raise AssertionError("it came to an end")


@pytest.mark.parametrize("block", [blocked_read, blocked_read_after_the_head, blocked_write])
@pytest.mark.parametrize("how", ["reset", "closed"])
def test_a_client_that_leaves_raises_in_what_blocks(start: Start, block: Any, how: str) -> None:
    raised: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
    begun: queue.SimpleQueue[None] = queue.SimpleQueue()

    def app(environ: Environ, start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/block":
            start_response("200 OK", [])
            return [b"fine"]
        begun.put(None)
        try:
            return block(environ, start_response)
        except BaseException as exc:
            raised.put(exc)
            raise

    client = start(app).connect()
    client.grant = False
    stream = client.request("/block", method="POST", end=False)
    take(begun)
    client.sync()
    if how == "closed":
        client.close()
    else:
        client.rst(stream)
    assert type(take(raised)) is Disconnected
    if how == "reset":
        client.window_update(0, 1000)
        assert client.get().body == b"fine"


def test_a_reset_stream_is_silent(start: Start) -> None:
    """What the application still does with it is lost, and nothing is sent for it."""
    raised: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    begun: queue.SimpleQueue[None] = queue.SimpleQueue()
    released = gevent.event.Event()

    def app(environ: Environ, start_response: Any) -> Any:
        begun.put(None)
        assert released.wait(5)
        try:
            start_response("200 OK", [])(b"content")
        except BaseException as exc:
            raised.put(exc)
            raise
        raised.put(None)
        return []

    site = start(app)
    client = site.connect()
    stream = client.request()
    take(begun)
    client.rst(stream)
    client.sync()
    site.call(released.set)
    assert type(take(raised)) is Disconnected
    assert not [taken for taken in client.sync() if taken.stream == stream]


def test_a_stream_that_was_reset_before_it_was_handled(start: Start) -> None:
    """HEADERS and RST_STREAM in one packet."""
    client = start(echo).connect()
    block = client.encode(request_fields(method="POST"))
    client.send(frame(HEADERS, 4, 1, block) + frame(3, 0, 1, b"\0\0\0\x08"))
    client.headers(3, request_fields(), end=True)
    assert client.response(3).body == b"hello"


# -- limits and timeouts --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "path", "fields", "status"),
    [
        ({"limit_request_fields": 5}, "/", [("x", "a")] * 4, 200),
        ({"limit_request_fields": 5}, "/", [("x", "a")] * 5, 431),
        ({"limit_request_fields": 5}, "/", [(f"x{i}", "a") for i in range(5)], 431),
        ({"limit_request_field_size": 200}, "/", [("x", "a" * 150)], 200),
        ({"limit_request_field_size": 200}, "/", [("x", "a" * 201)], 431),
        ({"limit_request_head": 2000}, "/", [("x", "a" * 1000)], 200),
        ({"limit_request_head": 2000}, "/", [("x", "a" * 1000)] * 3, 431),
        ({"limit_request_line": 200}, "/" + "a" * 199, [], 200),
        ({"limit_request_line": 200}, "/" + "a" * 200, [], 414),
    ],
)
def test_limits_of_the_head(
    start: Start,
    options: dict[str, int],
    path: str,
    fields: list[tuple[str, str]],
    status: int,
) -> None:
    """As over HTTP/1.1, but the connection lives on."""
    client = start(echo, **options).connect()
    response = client.get(path, *fields)
    assert (response.status, response.ended) == (status, True)
    assert client.get().status == 200


def test_the_limit_of_the_head_is_announced(start: Start) -> None:
    client = start(echo, limit_request_head=5000).connect()
    assert client.frames[0].settings[6] == 5000


@pytest.mark.parametrize("length", [False, True])
def test_too_much_content_is_413(start: Start, length: bool) -> None:
    client = start(echo, limit_request_body=1000).connect()
    fields = [("content-length", "1001")] if length else []
    stream = client.request("/", *fields, method="POST", end=False)
    if not length:
        client.data(stream, bytes(1001))
    response = client.response(stream)
    assert (response.status, response.ended) == (413, True)
    other = client.request(method="POST", end=False)
    client.data(other, bytes(1000), end=True)
    assert client.response(other).body == bytes(1000)


@pytest.mark.slow
def test_content_that_does_not_come_is_408(start: Start) -> None:
    client = start(echo, body_timeout=0.2).connect()
    stream = client.request(method="POST", end=False)
    client.data(stream, b"a")
    response = client.response(stream)
    assert (response.status, response.ended) == (408, True)
    assert client.get().status == 200


@pytest.mark.slow
def test_content_that_comes_too_slowly_is_408(start: Start) -> None:
    client = start(echo, body_timeout=0.3, body_min_rate=1000).connect(timeout=5)
    stream = client.request(method="POST", end=False)
    for _ in range(200):
        if client.progress(stream).status:
            break
        client.data(stream, b"a")
        try:
            client.read(0.02)
        except TimeoutError:
            continue
    assert client.response(stream).status == 408


@pytest.mark.slow
def test_content_that_comes_fast_enough_may_take_its_time(start: Start) -> None:
    # The application waits for all of it, and so for longer than body_timeout.
    client = start(echo, body_timeout=0.4, body_min_rate=500).connect(timeout=5)
    stream = client.request(method="POST", end=False)
    for _ in range(24):
        client.data(stream, bytes(100))
        try:
            client.read(0.05)
        except TimeoutError:
            continue
    client.data(stream, b"", end=True)
    response = client.response(stream)
    assert (response.status, len(response.body)) == (200, 2400)


@pytest.mark.slow
def test_an_idle_connection_is_closed_with_a_word(start: Start) -> None:
    client = start(echo, keepalive=0.2).connect()
    assert client.get().status == 200
    assert client.broken() == NO_ERROR
    assert client.frames[-1].last_stream == 1


@pytest.mark.slow
def test_pings_keep_nothing_alive(start: Start) -> None:
    client = start(echo, keepalive=0.3).connect()
    assert client.get().status == 200
    for _ in range(500):
        try:
            client.ping()
            client.until(PING)
            client.read(0.01)  # a pause
        except TimeoutError:
            continue
        except (ConnectionEnded, ConnectionError):
            break
    assert client.broken() == NO_ERROR


@pytest.mark.slow
def test_a_running_request_keeps_its_connection(start: Start) -> None:
    released = gevent.event.Event()

    @lite
    def app(environ: Environ) -> Any:
        if environ["PATH_INFO"] == "/wait":
            assert released.wait(5)
        return "200 OK", [], []

    site = start(app, keepalive=0.1)
    client = site.connect()
    stream = client.request("/wait")
    with pytest.raises(TimeoutError):
        client.until(GOAWAY, timeout=0.4)
    site.call(released.set)
    assert client.response(stream).status == 200
    assert client.broken() == NO_ERROR


@pytest.mark.slow
@pytest.mark.parametrize("sent", ["preface", "nothing", "half", "part of a head"])
def test_a_client_that_asks_for_nothing_is_let_go(start: Start, sent: str) -> None:
    site = start(echo, header_timeout=0.2, keepalive=30)
    with RawHttp2(site.server.address, preface=False) as client:
        if sent in ("preface", "part of a head"):
            client.preface()
            if sent != "preface":
                client.block(1, client.encode(request_fields())[:1], end_headers=False)
        elif sent == "half":
            client.send(b"PRI * HTTP/2.0\r\n")
            while client.sock.recv(65536):  # as HTTP/1.1 it is half a request
                pass
            return
        client.rest()


@pytest.mark.slow
def test_a_head_that_does_not_end_keeps_nothing_alive(start: Start) -> None:
    client = start(echo, keepalive=0.2).connect()
    assert client.get().status == 200
    client.block(3, client.encode(request_fields())[:1], end_headers=False)
    assert client.broken() == NO_ERROR


def test_keepalive_requests_limits_a_connection(start: Start) -> None:
    """By a GOAWAY; what was sent before it arrived is answered."""
    client = start(echo, keepalive_requests=3).connect()
    streams = [client.request() for _ in range(3)]
    assert [response.status for response in client.collect(streams)] == [200] * 3
    assert client.broken() == NO_ERROR


# -- the end --------------------------------------------------------------------------------------


class Waiting:
    """An application whose requests wait until they are released."""

    def __init__(self) -> None:
        self.begun: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.released = gevent.event.Event()
        self.app = lite(self._app)

    def _app(self, environ: Environ) -> Any:
        self.begun.put(environ["PATH_INFO"])
        self.released.wait()
        return "200 OK", [], [b"finished"]


def test_a_graceful_stop_takes_two_steps(start: Start) -> None:
    """RFC 9113 6.8: the first GOAWAY refuses nothing; the second one names the last stream."""
    waiting = Waiting()
    site = start(waiting.app)
    client = site.connect()
    client.polite = False  # the PING behind the first GOAWAY is answered late
    first = client.request("/first")
    assert take(waiting.begun) == "/first"
    site.stop(30)
    goaway = client.until(GOAWAY)
    assert (goaway.code, goaway.last_stream) == (NO_ERROR, 2**31 - 1)
    crossing = client.request("/crossing")
    assert take(waiting.begun) == "/crossing"
    client.wait(lambda: any(taken.kind == PING for taken in client.frames))
    (ping,) = (taken for taken in client.frames if taken.kind == PING)
    client.ping(ping.data, ack=True)
    goaway = client.until(GOAWAY)
    assert (goaway.code, goaway.last_stream) == (NO_ERROR, crossing)
    client.request("/late")
    site.call(waiting.released.set)
    assert [r.body for r in client.collect([first, crossing])] == [b"finished"] * 2
    client.rest()
    assert waiting.begun.empty()


def test_uploads_and_downloads_are_finished_by_a_graceful_stop(start: Start) -> None:
    """Whole, although the client goes on sending WINDOW_UPDATEs until it has read all."""
    begun: queue.SimpleQueue[None] = queue.SimpleQueue()

    @lite
    def app(environ: Environ) -> Any:
        begun.put(None)
        size = len(environ["wsgi.input"].read())
        return "200 OK", [], (bytes(size) for _ in range(20))

    site = start(app)
    with Http2Client(site.server.address) as client:
        stream = client.open(request_fields(method="POST"), end=False)
        take(begun)
        stopping = site.stop(30)
        client.wait(lambda: client.goaway >= 0)
        client.send(stream, bytes(100_000), end=True)
        response = client.whole(stream)
        assert (len(response.body), response.ended) == (2_000_000, True)
    stopping.join(10)
    assert not stopping.is_alive()


@pytest.mark.parametrize("requests", [0, 1])
def test_an_idle_connection_is_closed_by_a_graceful_stop(start: Start, requests: int) -> None:
    waiting = Waiting()
    site = start(waiting.app)
    idle, busy = site.connect(), site.connect()
    site.call(waiting.released.set)
    for _ in range(requests):
        assert idle.get().status == 200
        assert take(waiting.begun) == "/"
    site.call(waiting.released.clear)
    stream = busy.request("/busy")
    assert take(waiting.begun) == "/busy"
    stopping = site.stop(30)
    assert idle.broken() == NO_ERROR
    assert stopping.is_alive()
    site.call(waiting.released.set)
    assert busy.response(stream).body == b"finished"
    assert busy.broken() == NO_ERROR


@pytest.mark.slow
def test_a_client_that_never_answers_does_not_keep_the_server(start: Start) -> None:
    """It leaves the PING behind the first GOAWAY unanswered."""
    site = start(echo)
    client = site.connect()
    assert client.get().status == 200
    client.polite = False
    stopping = site.stop(30)
    assert client.broken() == NO_ERROR
    client.close()
    stopping.join(10)
    assert not stopping.is_alive()


def test_past_the_timeout_streams_are_cut(start: Start) -> None:
    waiting = Waiting()
    site = start(waiting.app)
    client = site.connect()
    stream = client.request("/wait")
    assert take(waiting.begun) == "/wait"
    stopping = site.stop(0)
    response = client.response(stream)
    assert (response.status, response.ended) == (503, True)
    client.rest()
    stopping.join(10)
    assert not stopping.is_alive()


# -- which protocol is spoken ---------------------------------------------------------------------


def test_http1_and_http2_in_clear_on_one_port(start: Start) -> None:
    site = start(show)
    with site.server.client() as old:
        new = site.connect()
        assert b"SERVER_PROTOCOL=HTTP/1.1" in old.get().body
        assert shown(new.get())["SERVER_PROTOCOL"] == "HTTP/2"
        assert b"SERVER_PROTOCOL=HTTP/1.1" in old.get().body


def test_a_request_that_begins_like_the_preface(start: Start) -> None:
    """PROPFIND and PRI begin alike."""
    with start(echo).server.client() as client:
        for byte in b"PROPFIND / HTTP/1.1\r\nHost: localhost\r\n\r\n":
            client.send(bytes([byte]))
        assert client.response().status == 200
        assert client.get().status == 200


def test_without_http2_the_preface_is_refused(start: Start) -> None:
    with start(echo, http2=False).server.client() as client:
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))
        assert client.response().status == 505
        assert client.closed()


def test_the_preface_is_no_request_that_may_come_later(start: Start) -> None:
    with start(echo).server.client() as client:
        assert client.get().status == 200
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))
        assert client.response().status == 505
        assert client.closed()


@pytest.fixture
def encrypted(certificate: tuple[str, str]) -> dict[str, str]:
    """Options of a server that encrypts."""
    return {"certfile": certificate[0], "keyfile": certificate[1]}


def test_alpn_chooses_h2(start: Start, encrypted: dict[str, str]) -> None:
    site = start(show, **encrypted)
    client = site.connect(tls=tls_context(encrypted["certfile"], "http/1.1", "h2"))
    environ = shown(client.get())
    assert environ["SERVER_PROTOCOL"] == "HTTP/2"
    assert (environ["wsgi.url_scheme"], environ["HTTPS"]) == ("https", "on")
    assert environ["SSL_PROTOCOL"] == "TLSv1.3"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_content_both_ways_over_tls(
    start: Start, encrypted: dict[str, str], version: ssl.TLSVersion
) -> None:
    context = tls_context(encrypted["certfile"])
    context.minimum_version = context.maximum_version = version
    site = start(echo, **encrypted)
    with Http2Client(site.server.address, context) as client:
        fields = request_fields(method="POST", scheme="https")
        streams = [client.open(fields, end=False) for _ in range(3)]
        for stream in streams:
            client.send(stream, bytes(300_000), end=True)
        for stream in streams:
            assert client.whole(stream).body == bytes(300_000)


@pytest.mark.parametrize("offered", [[], ["http/1.1"], ["foo", "http/1.1"], ["foo"]])
def test_others_get_http1_over_tls(
    start: Start, encrypted: dict[str, str], offered: list[str]
) -> None:
    context = ssl.create_default_context(cafile=encrypted["certfile"])
    if offered:
        context.set_alpn_protocols(offered)
    with start(show, **encrypted).server.client(tls=context) as client:
        assert b"SERVER_PROTOCOL=HTTP/1.1" in client.get().body


def test_without_http2_alpn_does_not_offer_it(start: Start, encrypted: dict[str, str]) -> None:
    context = tls_context(encrypted["certfile"], "h2", "http/1.1")
    with start(show, http2=False, **encrypted).server.client(tls=context) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        assert client.sock.selected_alpn_protocol() == "http/1.1"
        assert b"SERVER_PROTOCOL=HTTP/1.1" in client.get().body


def test_a_client_that_speaks_http1_after_h2_was_chosen(
    start: Start, encrypted: dict[str, str]
) -> None:
    context = tls_context(encrypted["certfile"], "h2")
    with start(show, **encrypted).server.client(tls=context) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"SERVER_PROTOCOL" not in client.until_closed()


# -- Upgrade: h2c ---------------------------------------------------------------------------------

SETTINGS_FIELD = "HTTP2-Settings: AAMAAABkAAQAAP__"  # 100 streams, windows of 65535
UPGRADE = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", SETTINGS_FIELD]


def upgrade(client: RawClient, target: str = "/", method: str = "GET") -> RawHttp2:
    """Ask for HTTP/2, and return a client that goes on with it."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *UPGRADE, "", ""]
    client.send("\r\n".join(lines).encode())
    head = client.head()
    assert (head.status, head["Connection"].lower(), head["Upgrade"]) == (101, "upgrade", "h2c")
    new = RawHttp2(client.sock, preface=False)
    new.buffer = client.buffer
    return new


def test_the_upgrade_is_ignored_by_default(start: Start) -> None:
    with start(show).server.client() as client:
        response = client.get("/", *UPGRADE)
        assert response.status == 200
        assert b"SERVER_PROTOCOL=HTTP/1.1" in response.body
        assert client.get().status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_request_that_asks_for_the_upgrade_is_stream_1(start: Start, method: str) -> None:
    site = start(show, http2_upgrade=True)
    with site.server.client() as client:
        new = upgrade(client, "/first?q", method)
        new.preface()
        assert new.read().kind == SETTINGS
        response = new.response(1)
        assert (response.status, response.ended) == (200, True)
        if method == "GET":
            environ = shown(response)
            assert (environ["SERVER_PROTOCOL"], environ["RAW_URI"]) == ("HTTP/2", "/first?q")
        else:
            assert response.body == b""
        new.headers(3, request_fields("/second"), end=True)
        assert shown(new.response(3))["RAW_URI"] == "/second"


def test_the_settings_of_the_upgrade_count(start: Start) -> None:
    @lite
    def app(environ: Environ) -> Any:
        return "200 OK", [], [bytes(10)]

    site = start(app, http2_upgrade=True)
    with site.server.client() as client:
        lines = [UPGRADE[0], UPGRADE[1], "HTTP2-Settings: AAQAAAAD"]  # windows of 3
        client.send("\r\n".join(["GET / HTTP/1.1", "Host: a", *lines, "", ""]).encode())
        assert client.head().status == 101
        new = RawHttp2(client.sock, preface=False)
        new.buffer = client.buffer
        new.grant = False
        new.preface({INITIAL_WINDOW_SIZE: 3})
        new.wait(lambda: len(new.progress(1).body) == 3)
        new.sync()
        assert new.progress(1).body == bytes(3)
        new.window_update(1, 7)
        assert new.response(1).body == bytes(10)


def test_a_request_with_content_is_not_upgraded(start: Start) -> None:
    """It would have to be read before the protocol can change."""
    site = start(echo, http2_upgrade=True)
    with site.server.client() as client:
        response = client.post("/", b"content", *UPGRADE)
        assert (response.status, response.body) == (200, b"content")
        assert client.get().body == b"hello"


@pytest.mark.parametrize(
    "lines",
    [
        ["Connection: Upgrade", "Upgrade: h2c"],
        ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", SETTINGS_FIELD, SETTINGS_FIELD],
        ["Connection: Upgrade", "Upgrade: h2c", SETTINGS_FIELD],
        ["Upgrade: h2c", SETTINGS_FIELD],
        ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2", SETTINGS_FIELD],
        ["Connection: Upgrade, HTTP2-Settings", "Upgrade: websocket", SETTINGS_FIELD],
    ],
)
def test_what_is_no_proper_upgrade_is_none(start: Start, lines: list[str]) -> None:
    """RFC 7540 3.2.1: exactly one HTTP2-Settings field, which Connection names too."""
    site = start(show, http2_upgrade=True)
    with site.server.client() as client:
        response = client.get("/", *lines)
        assert response.status in (200, 400)
        assert b"SERVER_PROTOCOL=HTTP/2" not in response.body


def test_there_is_no_upgrade_over_tls(start: Start, encrypted: dict[str, str]) -> None:
    """RFC 7540 3.3: over TLS it is ALPN that chooses."""
    context = ssl.create_default_context(cafile=encrypted["certfile"])
    with start(show, http2_upgrade=True, **encrypted).server.client(tls=context) as client:
        assert b"SERVER_PROTOCOL=HTTP/1.1" in client.get("/", *UPGRADE).body
