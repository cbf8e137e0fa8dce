"""Responses on the wire: framing, the server's own fields, large ones, full duplex, broken ones."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import gevent
import gevent.event
import pytest

from clients import ConnectionEnded, RawClient
from conftest import Serve, ServerThread
from gserver.api.errors import LocalProtocolError

Application = Callable[..., Any]


def answering(
    body: Callable[[], Iterable[bytes]], headers: Iterable[tuple[str, str]] = ()
) -> Application:
    """Return an application that answers with what `body` returns."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", list(headers))
        return body()

    return app


def writing(*blocks: bytes, headers: Iterable[tuple[str, str]] = ()) -> Application:
    """Return an application that answers by write()."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        write = start_response("200 OK", list(headers))
        for block in blocks:
            write(block)
        return []

    return app


class Blocks:
    """An iterable that has no length and is no generator either."""

    def __init__(self, *blocks: bytes) -> None:
        self._blocks = blocks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._blocks)


LENGTH = [("Content-Length", "6")]

# What the application does, and how its content is framed to HTTP/1.1 and to HTTP/1.0:
# "length", "chunked", "close" (the end of the connection).
FRAMINGS = [
    pytest.param(answering(lambda: [b"abcdef"]), "length", "length", id="one block"),
    pytest.param(answering(lambda: (b"abcdef",)), "length", "length", id="tuple of one"),
    pytest.param(answering(lambda: [b"abc", b"def"]), "chunked", "close", id="two blocks"),
    pytest.param(answering(lambda: iter([b"abcdef"])), "chunked", "close", id="iterator"),
    pytest.param(answering(lambda: Blocks(b"abc", b"def")), "chunked", "close", id="iterable"),
    pytest.param(answering(lambda: iter([b"", b"abc", b"", b"def", b""])), "chunked", "close",
                 id="empty blocks"),
    pytest.param(writing(b"abc", b"def"), "chunked", "close", id="write"),
    pytest.param(answering(lambda: [b"abcdef"], LENGTH), "length", "length", id="length of one"),
    pytest.param(answering(lambda: [b"abc", b"def"], LENGTH), "length", "length",
                 id="length of two"),
    pytest.param(answering(lambda: iter([b"a", b"", b"bcdef"]), LENGTH), "length", "length",
                 id="length of an iterator"),
    pytest.param(writing(b"abc", b"def", headers=LENGTH), "length", "length",
                 id="length of write"),
]  # fmt: skip


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
@pytest.mark.parametrize(("app", "http11", "http10"), FRAMINGS)
def test_framing_follows_the_content_and_the_version(
    serve: Serve, app: Application, http11: str, http10: str, connection: str
) -> None:
    """RFC 9112 6; HTTP/1.0 clients know no chunks."""
    server = serve(app)
    for version, framing in [("1.1", http11), ("1.0", http10)]:
        with server.client() as client:
            response = client.get("/", f"Connection: {connection}", version=version)
            assert (response.status, response.body) == (200, b"abcdef")
            assert response.all("Content-Length") == (["6"] if framing == "length" else [])
            assert response.all("Transfer-Encoding") == (
                ["chunked"] if framing == "chunked" else []
            )
            kept = connection == "keep-alive" and framing != "close"
            if kept:
                assert response.all("Connection") == (["keep-alive"] if version == "1.0" else [])
                assert client.get("/", version=version).body == b"abcdef"
            else:
                assert response["Connection"] == "close"
                assert client.closed()


@pytest.mark.parametrize(
    ("app", "length"),
    [
        (answering(list), ["0"]),
        (answering(lambda: [b""]), ["0"]),
        (answering(lambda: [b"", b""]), ["0"]),
        (answering(lambda: iter(())), ["0"]),
        (answering(list, [("Content-Length", "0")]), ["0"]),
        (writing(b""), ["0"]),
    ],
)
def test_empty_content_is_counted(serve: Serve, app: Application, length: list[str]) -> None:
    with serve(app).client() as client:
        for version in ["1.1", "1.0"]:
            response = client.get("/", "Connection: keep-alive", version=version)
            assert response.all("Content-Length") == length
            assert "Transfer-Encoding" not in response


@pytest.mark.parametrize(("app", "http11", "http10"), FRAMINGS)
def test_head_has_no_content_whatever_the_framing(
    serve: Serve, app: Application, http11: str, http10: str
) -> None:
    """RFC 9110 9.3.2; a length that is sent must be that of the content of a GET."""
    with serve(app).client() as client:
        for _ in range(2):
            response = client.get(method="HEAD")
            assert response.status == 200
            assert response.all("Content-Length") in ([], ["6"])
            if http11 == "length":
                assert "Transfer-Encoding" not in response
        assert client.get().body == b"abcdef"


def test_head_invents_no_length(serve: Serve) -> None:
    """An application that leaves the content out for HEAD has not said that it is empty."""
    with serve(answering(list)).client() as client:
        assert "Content-Length" not in client.get(method="HEAD")


# -- the server's own fields -------------------------------------------------------------------


def test_date_is_now(serve: Serve) -> None:
    """RFC 9110 6.6.1 and 5.6.7."""
    with serve(answering(lambda: [b"x"])).client() as client:
        date = client.get()["Date"]
    assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", date)
    assert abs(parsedate_to_datetime(date).timestamp() - time.time()) < 3


@pytest.mark.parametrize("body", [lambda: [b"x"], lambda: [b"x", b"y"]])
def test_date_and_server_of_the_application_stand_alone(
    serve: Serve, body: Callable[[], Iterable[bytes]]
) -> None:
    headers = [("date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("SERVER", "mine")]
    with serve(answering(body, headers)).client() as client:
        response = client.get()
        assert response["Date"] == "Thu, 01 Jan 1970 00:00:00 GMT"
        assert response["Server"] == "mine"


@pytest.mark.parametrize(("option", "values"), [("x/1", ["x/1"]), ("", [])])
def test_server_field_is_an_option(serve: Serve, option: str, values: list[str]) -> None:
    server = serve(answering(lambda: [b"x"]), server_header=option)
    with server.client() as client:
        for method in ["GET", "HEAD"]:
            assert client.get(method=method).all("Server") == values


def test_header_fields_arrive_as_given(serve: Serve) -> None:
    """In order, in the case given, repeated, as latin-1."""
    headers = [("X-B", "1"), ("x-a", "\xe4"), ("E", ""), ("Set-Cookie", "a"), ("Set-Cookie", "b")]
    with serve(answering(lambda: [b"x"], headers)).client() as client:
        for _ in range(2):
            assert client.get().headers[: len(headers)] == headers


def test_status_line_is_the_application_s(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(environ["QUERY_STRING"].replace("+", " "), [])
        return [b"x"]

    with serve(app).client() as client:
        for status in ["200 OK", "404 Not There", "299 Odd", "500 "]:
            response = client.get("/?" + status.replace(" ", "+"))
            assert f"{response.status} {response.reason}" == status


# -- sizes -------------------------------------------------------------------------------------

MIB = bytes(range(256)) * 4096


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize(
    "app",
    [
        pytest.param(answering(lambda: [MIB * 8]), id="one block"),
        pytest.param(answering(lambda: iter([MIB * 8])), id="chunked"),
        pytest.param(answering(lambda: iter([MIB] * 8)), id="blocks"),
        pytest.param(answering(lambda: iter([MIB] * 8), [("Content-Length", str(8 << 20))]),
                     id="counted blocks"),
        pytest.param(writing(MIB * 4, MIB * 4), id="write"),
    ],
)  # fmt: skip
def test_large_content_arrives_whole(serve: Serve, app: Application, version: str) -> None:
    with serve(app).client() as client:
        assert client.get(version=version).body == MIB * 8


@pytest.mark.parametrize("size", [16383, 16384, 16385, 65535, 65536])
@pytest.mark.parametrize("number", [1, 3])
def test_content_at_the_edges_of_the_ways_to_send(serve: Serve, size: int, number: int) -> None:
    blocks = [bytes([65 + i]) * size for i in range(number)]
    with serve(answering(lambda: list(blocks))).client() as client:
        for _ in range(2):
            assert client.get().body == b"".join(blocks)
            head = client.get(method="HEAD")
            assert head.status == 200


def test_each_block_is_a_chunk(serve: Serve) -> None:
    """Many small ones; empty ones must not end the content."""
    blocks = [b"%d" % i if i % 3 else b"" for i in range(3000)]
    with serve(answering(lambda: iter(blocks))).client() as client:
        assert client.get().chunks == [block for block in blocks if block]
        assert client.get().body == b"".join(blocks)


@pytest.mark.parametrize("headers", [[], [("Content-Length", "2000")]], ids=["chunked", "counted"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_many_small_blocks_leave_turns_to_others(
    serve: Serve, headers: list[tuple[str, str]], version: str
) -> None:
    """A socket that takes everything at once is no reason to keep the hub for oneself."""
    turns = 0
    over = False

    def count() -> None:
        nonlocal turns
        while not over:
            turns += 1
            gevent.sleep(0)

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        nonlocal over
        start_response("200 OK", headers)
        gevent.spawn(count)
        for _ in range(2000):
            yield b"x"
        over = True

    with serve(app).client() as client:
        assert client.get(version=version).body == b"x" * 2000
    assert turns > 10


def test_blocks_are_sent_without_delay(serve: Serve) -> None:
    """PEP 3333, "Buffering and Streaming": each is on its way before the next is asked for."""
    events: list[gevent.event.Event] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        for i in range(5):
            events.append(gevent.event.Event())
            yield b"%d" % i
            assert events[-1].wait(10)

    server = serve(app)
    with server.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        response = client.head()
        for i in range(5):
            assert client.chunk(response) == b"%d" % i
            server.call(events[i].set)
        assert client.chunk(response) == b""


# -- full duplex -------------------------------------------------------------------------------


def echo_by_block(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    while block := environ["wsgi.input"].read1(65536):
        yield block


def test_echo_chunk_by_chunk(serve: Serve) -> None:
    """The response begins, and goes on, while the request still arrives."""
    with serve(echo_by_block).client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        response = None
        for i in range(50):
            block = b"%d" % i * (i + 1)
            client.send(b"%x\r\n%b\r\n" % (len(block), block))
            response = response or client.head()
            assert client.chunk(response) == block
        assert response is not None
        client.send(b"0\r\n\r\n")
        assert client.chunk(response) == b""
        assert client.get().body == b""


def test_echo_of_counted_content_as_it_comes(serve: Serve) -> None:
    with serve(echo_by_block).client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n")
        response = None
        for i in range(10):
            client.send(b"%05d" % i)
            response = response or client.head()
            assert client.chunk(response) == b"%05d" % i
        assert response is not None
        assert client.chunk(response) == b""
        assert client.get().body == b""


def test_one_greenlet_sends_while_another_receives(serve: Serve) -> None:
    received: list[bytes] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        def receive() -> None:
            received.append(environ["wsgi.input"].read())

        reader = gevent.spawn(receive)
        write = start_response("200 OK", [])
        for _ in range(8):
            write(MIB)
            gevent.sleep(0)
        reader.join(10)
        return []

    with serve(app).client() as client:
        body = MIB * 8
        head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
        sender = gevent.get_hub().threadpool.spawn(client.send, head.encode() + body)
        response = client.response()
        sender.get()
        assert response.body == MIB * 8
    assert received == [body]


def test_another_greenlet_may_send(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])

        def send() -> None:
            for i in range(10):
                write(b"%d" % i)
                gevent.sleep(0)

        sender = gevent.spawn(send)
        sender.join(10)
        return [b"end"]

    with serve(app).client() as client:
        assert client.get().body == b"0123456789end"
        assert client.get().body == b"0123456789end"


def test_two_greenlets_cannot_send_at_the_same_time(serve: Serve) -> None:
    """Their bytes would mix; the one that comes second is told, and the first is not disturbed."""
    errors: list[BaseException] = []
    started: list[gevent.event.Event] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"begin")
        started.append(gevent.event.Event())
        sender = gevent.spawn(write, MIB * 16)
        gevent.sleep(0)  # it runs until the socket is full
        try:
            write(b"second")
        except LocalProtocolError as exc:
            errors.append(exc)
        started[0].set()
        sender.join(10)
        return [b"end"]

    server = serve(app)
    with server.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        response = client.head()
        assert client.chunk(response) == b"begin"
        assert server.call(lambda: started[0].wait(10))
        assert len(errors) == 1
        assert client.chunk(response) == MIB * 16
        assert client.chunk(response) == b"end"
        assert client.chunk(response) == b""


# -- broken responses --------------------------------------------------------------------------


def breaking(headers: Iterable[tuple[str, str]] = ()) -> Application:
    """Return an application that fails in the middle of its content."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", list(headers))
        yield b"begin"
        raise RuntimeError("broken on purpose")

    return app


REQUESTS = [
    pytest.param("GET", "", b"", id="no content"),
    pytest.param("POST", "Content-Length: 50\r\n", b"half", id="content unread"),
    pytest.param("POST", "Content-Length: 4\r\n", b"bodyGET /next", id="pipelined"),
]


def send_request(client: RawClient, version: str, method: str, lines: str, rest: bytes) -> None:
    head = f"{method} / HTTP/{version}\r\nHost: a\r\n{lines}\r\n"
    client.send(head.encode() + rest)


@pytest.mark.parametrize(("method", "lines", "rest"), REQUESTS)
def test_broken_chunked_response_has_no_last_chunk(
    serve: Serve, method: str, lines: str, rest: bytes
) -> None:
    with serve(breaking()).client() as client:
        send_request(client, "1.1", method, lines, rest)
        response = client.head()
        assert client.chunk(response) == b"begin"
        assert client.closed()


@pytest.mark.parametrize(("method", "lines", "rest"), REQUESTS)
def test_broken_counted_response_is_short(
    serve: Serve, method: str, lines: str, rest: bytes
) -> None:
    with serve(breaking([("Content-Length", "100")])).client() as client:
        send_request(client, "1.1", method, lines, rest)
        assert client.head()["Content-Length"] == "100"
        assert client.until_closed() == b"begin"


@pytest.mark.parametrize(("method", "lines", "rest"), REQUESTS)
def test_broken_response_that_only_closing_ends_is_reset(
    serve: Serve, method: str, lines: str, rest: bytes
) -> None:
    """RFC 9112 8: a clean end would say that the content is complete."""
    with serve(breaking()).client() as client:
        send_request(client, "1.0", method, lines, rest)
        with pytest.raises(ConnectionResetError):
            client.until_closed()


@pytest.mark.parametrize(("method", "lines", "rest"), REQUESTS)
def test_broken_response_over_tls_has_no_close_notify(
    serve: Serve, certificate: tuple[str, str], method: str, lines: str, rest: bytes
) -> None:
    """RFC 9112 9.8: close_notify is what tells a complete message from a truncated one."""
    context = ssl.create_default_context(cafile=certificate[0])
    server = serve(breaking(), certfile=certificate[0], keyfile=certificate[1])
    with server.client() as raw:
        raw.sock = context.wrap_socket(
            raw.sock, server_hostname="localhost", suppress_ragged_eofs=False
        )
        send_request(raw, "1.0", method, lines, rest)
        with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
            raw.until_closed()


def test_complete_response_that_closing_ends_is_closed_cleanly(serve: Serve) -> None:
    """Also when content of the request was not read: the end must not turn into a reset."""
    with serve(answering(lambda: iter([MIB, MIB]))).client() as client:
        head = b"POST / HTTP/1.0\r\nContent-Length: 5000000\r\n\r\n"
        client.send(head + MIB)
        response = client.response()
        assert response.body == MIB * 2


def test_error_before_the_head_is_a_plain_500(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("X-Mine", "1")])
        yield b""
        raise RuntimeError("secret")

    with serve(app).client() as client:
        for version in ["1.1", "1.0"]:
            response = client.get("/", "Connection: keep-alive", version=version)
            assert response.status == 500
            assert b"secret" not in response.body
            assert "X-Mine" not in response
        assert client.get(method="HEAD").status == 500
        assert client.get().status == 500


# -- clients that vanish -----------------------------------------------------------------------


def reset(client: RawClient) -> None:
    """Close with a reset, as a client that crashes."""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


def finished(server: ServerThread, done: gevent.event.Event) -> bool:
    return server.call(lambda: done.wait(10))


@pytest.mark.parametrize("leave", [reset, RawClient.close], ids=["reset", "close"])
def test_a_client_that_vanishes_wakes_a_blocked_write(
    serve: Serve, leave: Callable[[RawClient], None]
) -> None:
    """At once, not after write_timeout."""
    outcome: list[Any] = []
    events: list[gevent.event.Event] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        events.extend([gevent.event.Event(), gevent.event.Event()])
        write = start_response("200 OK", [])
        write(b"begin")
        try:
            write(MIB * 64)
        except BaseException as exc:
            outcome.append(exc)
            raise
        finally:
            events[0].set()
        return []

    server = serve(app)
    with server.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        response = client.head()
        assert client.chunk(response) == b"begin"
        leave(client)
    assert finished(server, events[0])
    assert isinstance(outcome[0], ConnectionError)


@pytest.mark.parametrize("leave", [reset, RawClient.close], ids=["reset", "close"])
@pytest.mark.parametrize("framing", ["Content-Length: 9", "Transfer-Encoding: chunked"])
def test_a_client_that_vanishes_wakes_a_blocked_read(
    serve: Serve, leave: Callable[[RawClient], None], framing: str
) -> None:
    outcome: list[Any] = []
    events: list[gevent.event.Event] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        events.append(gevent.event.Event())
        write = start_response("200 OK", [])
        write(b"begin")
        try:
            environ["wsgi.input"].read()
        except BaseException as exc:
            outcome.append(exc)
            raise
        finally:
            events[0].set()
        return []

    server = serve(app)
    with server.client() as client:
        client.send(f"POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode())
        response = client.head()
        assert client.chunk(response) == b"begin"
        leave(client)
    assert finished(server, events[0])
    assert isinstance(outcome[0], ConnectionError)


def test_two_greenlets_cannot_receive_at_the_same_time(serve: Serve) -> None:
    """Each would take what the other waits for, and one of them bytes of the next request."""
    outcomes: list[Any] = []
    waiting: list[gevent.event.Event] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        def receive() -> None:
            try:
                outcomes.append(environ["wsgi.input"].read())
            except LocalProtocolError as exc:
                outcomes.append(exc)

        if environ["REQUEST_METHOD"] == "POST":
            readers = [gevent.spawn(receive), gevent.spawn(receive)]
            gevent.joinall(readers, count=1)  # the one that is refused
            waiting[0].set()
            gevent.joinall(readers)
        start_response("200 OK", [])
        return [b"fine"]

    server = serve(app, body_timeout=2)
    waiting.append(server.call(gevent.event.Event))
    with server.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        server.call(lambda: waiting[0].wait(1))
        client.send(b"helloGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.response().body == b"fine"
        assert client.response().body == b"fine"
    assert isinstance(outcomes[0], LocalProtocolError)
    assert outcomes[1] == b"hello"


def test_a_reader_left_behind_does_not_disturb_the_next_request(serve: Serve) -> None:
    """A greenlet that the application forgot may wait on: the connection closes, or it works."""
    received: list[bytes] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        def receive() -> None:
            received.append(environ["wsgi.input"].read())

        if environ["REQUEST_METHOD"] == "POST":
            gevent.spawn(receive)
            gevent.sleep(0)  # it waits for the content now
        start_response("200 OK", [])
        return [b"fine"]

    with serve(app).client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        assert client.response().body == b"fine"
        client.send(b"helloGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        try:
            rest = client.until_closed()
        except ConnectionResetError:
            rest = b""
        assert rest == b"" or rest.startswith(b"HTTP/1.1 200 OK\r\n")
    assert all(b"hello".startswith(body) for body in received)


def test_a_writer_left_behind_does_not_disturb_the_next_response(serve: Serve) -> None:
    """What it still wants to send must not follow the end of its own response."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])

        def send() -> None:
            for _ in range(100):
                write(b"stray")

        if environ["PATH_INFO"] == "/first":
            write(b"begin")
            gevent.spawn(send)
            gevent.sleep(0)  # it sends until it has to leave a turn to others
        return [b"end"]

    with serve(app).client() as client:
        client.send(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        try:
            assert set(client.response().chunks) == {b"begin", b"stray", b"end"}
            assert client.response().body == b"end"
            assert client.get("/last").body == b"end"
        except (ConnectionEnded, ConnectionResetError):
            pass  # closing is fine too
