"""``wsgi.input``: the request's content as a binary file (PEP 3333, input and error streams)."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator
from typing import Any

import gevent.event
import pytest

from clients import RawClient
from conftest import Serve, StartPeer
from exchange import request
from gserver.api import BodyTimeout, Disconnected, RemoteProtocolError

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Any]

LINES = b"one\ntwo\n\nfour\nlast"


def reading(read: Callable[[Any], Any], results: list[Any]) -> Application:
    """Return an application that keeps what `read` makes of its input."""

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        results.append(read(environ["wsgi.input"]))
        start_response("200 OK", [])
        return [b"read"]

    return app


def echo(environ: Environ, start_response: StartResponse) -> list[bytes]:
    content = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [content]


def deaf(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Leave the content where it is."""
    start_response("200 OK", [])
    return [b"deaf"]


# -- the methods of the file ---------------------------------------------------------------------

READS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "read all": (lambda f: f.read(), LINES),
    "read -1": (lambda f: f.read(-1), LINES),
    "read None": (lambda f: f.read(None), LINES),
    "read more than there is": (lambda f: f.read(1000), LINES),
    "read 0": (lambda f: f.read(0), b""),
    "read pieces": (lambda f: [f.read(7), f.read(7), f.read(7)], [LINES[:7], LINES[7:14], b"last"]),
    "read at the end": (lambda f: [f.read(), f.read(), f.read(1), f.read(-1)], [LINES] + [b""] * 3),
    "readline": (lambda f: [f.readline() for _ in range(3)], [b"one\n", b"two\n", b"\n"]),
    "readline with a size": (lambda f: [f.readline(2), f.readline(9)], [b"on", b"e\n"]),
    "readline -1": (lambda f: f.readline(-1), b"one\n"),
    "readline at the end": (lambda f: [f.read(), f.readline(), f.readline(3)], [LINES, b"", b""]),
    "readlines": (lambda f: f.readlines(), LINES.splitlines(keepends=True)),
    "readlines with a hint": (lambda f: [f.readlines(5), f.read(1)], [[b"one\n", b"two\n"], b"\n"]),
    "readlines at the end": (lambda f: [f.read(), f.readlines()], [LINES, []]),
    "iteration": (lambda f: list(f), LINES.splitlines(keepends=True)),
    "all of them": (
        lambda f: [f.read(1), f.readline(), next(f, b""), f.readlines(1), f.read()],
        [b"o", b"ne\n", b"two\n", [b"\n"], b"four\nlast"],
    ),
    "TextIOWrapper": (lambda f: io.TextIOWrapper(f, "ascii").read(), LINES.decode()),
    "BufferedReader": (lambda f: io.BufferedReader(f).readline(), b"one\n"),
    "codecs": (lambda f: codecs.getreader("ascii")(f).read(), LINES.decode()),
    "csv": (
        lambda f: list(csv.reader(io.TextIOWrapper(f, "ascii", newline=""))),
        [["one"], ["two"], [], ["four"], ["last"]],
    ),
}


@pytest.mark.parametrize("announced", [True, False], ids=["with length", "without length"])
@pytest.mark.parametrize(("read", "expected"), READS.values(), ids=READS)
def test_reading(
    peer: StartPeer, read: Callable[[Any], Any], expected: Any, announced: bool
) -> None:
    results: list[Any] = []
    running = peer(reading(read, results))
    exchange = running.open("/", method="POST", length=len(LINES) if announced else -1)
    exchange.send(LINES[:6])
    exchange.send(LINES[6:])
    exchange.end()
    assert exchange.answer().status == 200
    assert results == [expected]


@pytest.mark.parametrize("read", [pair[0] for pair in READS.values()], ids=READS)
def test_reading_a_request_without_content_finds_the_end(
    peer: StartPeer, read: Callable[[Any], Any]
) -> None:
    """It is an empty file, and none of the methods waits for the client."""
    results: list[Any] = []
    assert request(peer(reading(read, results))).status == 200
    (result,) = results
    flat = result if isinstance(result, list) else [result]
    assert not any(flat)


def test_reading_does_not_wait_for_more_than_was_asked_for(peer: StartPeer) -> None:
    """What has come is handed over while the rest is still to be sent."""

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        stream = environ["wsgi.input"]
        yield stream.read(3)
        yield stream.readline()
        yield stream.read1(100)
        yield stream.read()

    exchange = peer(app).open("/", method="POST", length=-1)
    exchange.send(b"abc")
    exchange.head()
    assert exchange.data() == b"abc"
    exchange.send(b"line\n")
    assert exchange.data() == b"line\n"
    exchange.send(b"de")
    assert exchange.data() == b"de"
    exchange.send(b"f")
    exchange.end()
    assert exchange.data() == b"f"
    assert exchange.data() == b""


def test_large_content_arrives_unaltered(peer: StartPeer) -> None:
    body = bytes(range(256)) * 8192  # 2 MiB: more than socket buffers and pieces
    results: list[Any] = []
    running = peer(reading(lambda f: f.read() == body, results))
    assert request(running, method="PUT", body=body).status == 200
    assert results == [True]


# -- where the content ends ----------------------------------------------------------------------


def test_content_length_is_the_end_of_the_file(serve: Serve) -> None:
    """What follows is the next request's, even if it came with the same packet."""
    with serve(echo).client() as client:
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nde"
        )
        assert client.response().body == b"abc"
        assert client.response().body == b"de"


CHUNKED = {
    "one chunk": (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
    "several": (b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"abc"),
    "none": (b"0\r\n\r\n", b""),
    "extensions": (b"3;a=b;c\r\nabc\r\n0;d\r\n\r\n", b"abc"),
    "upper-case and leading zeros": (b"00A\r\n0123456789\r\n000\r\n\r\n", b"0123456789"),
    "framing as content": (b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
    "trailers": (b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", b"abc"),
}


@pytest.mark.parametrize(("sent", "expected"), CHUNKED.values(), ids=CHUNKED)
def test_transfer_encoding_is_decoded(serve: Serve, sent: bytes, expected: bytes) -> None:
    """RFC 9112 7.1; the application sees plain content, and the connection goes on."""
    with serve(echo).client() as client:
        response = client.get_with_body("/", sent, "Transfer-Encoding: chunked")
        assert response.body == expected
        assert client.post("/", b"next").body == b"next"


def test_content_beyond_its_length_is_not_the_applications(serve: Serve) -> None:
    """It is taken for a request, and a bad one ends the connection."""
    with serve(echo).client() as client:
        response = client.get_with_body("/", b"abc!!\r\n\r\n", "Content-Length: 3")
        assert response.body == b"abc"
        assert client.response().status == 400
        assert client.closed()


# -- content that does not come ------------------------------------------------------------------

METHODS: dict[str, Callable[[Any], Any]] = {
    "read": lambda f: f.read(),
    "read a size": lambda f: f.read(100),
    "read1": lambda f: [f.read1(), f.read1()],
    "readline": lambda f: f.readline(),
    "readlines": lambda f: f.readlines(),
    "iteration": lambda f: list(f),
    "readinto": lambda f: [f.readinto(bytearray(9)), f.readinto(bytearray(9))],
}


def catching(
    read: Callable[[Any], Any], results: list[Any], begun: gevent.event.Event
) -> Application:
    """Return an application that keeps the error of reading, and that of reading again."""

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        begun.set()
        for _ in range(2):
            try:
                results.append(read(environ["wsgi.input"]))
            except Exception as exc:  # noqa: BLE001 - which one is what the test is about
                results.append(exc)
        start_response("200 OK", [])
        return []

    return app


@pytest.mark.parametrize("length", [100, -1], ids=["with length", "without length"])
@pytest.mark.parametrize("read", METHODS.values(), ids=METHODS)
def test_a_client_that_leaves_in_mid_content_raises(
    peer: StartPeer, read: Callable[[Any], Any], length: int
) -> None:
    """It must not look like the end of the content."""
    results: list[Any] = []
    begun = gevent.event.Event()
    running = peer(catching(read, results, begun))
    exchange = running.open("/", method="POST", length=length)
    exchange.send(b"half")
    running.call(lambda: begun.wait(5))
    exchange.vanish()
    running.stop()
    assert [type(result) for result in results] == [Disconnected, Disconnected]
    assert isinstance(results[0], ConnectionError)


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 100\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n9\r\nhalf"]
)
def test_a_half_closed_connection_in_mid_content_raises(serve: Serve, framing: bytes) -> None:
    """A clean end of the TCP stream is no end of the content either."""
    results: list[Any] = []
    running = serve(catching(lambda f: f.read(), results, gevent.event.Event()))
    with running.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing)
        client.sock.shutdown(1)
        assert client.response()["Connection"] == "close"
        assert client.closed()
    assert [type(result) for result in results] == [Disconnected, Disconnected]


@pytest.mark.parametrize("length", [100, -1], ids=["with length", "without length"])
@pytest.mark.parametrize("read", METHODS.values(), ids=METHODS)
def test_content_that_stops_coming_raises_a_timeout(
    peer: StartPeer, read: Callable[[Any], Any], length: int
) -> None:
    """A length larger than the content must not block for ever."""
    results: list[Any] = []
    running = peer(catching(read, results, gevent.event.Event()), body_timeout=0.1, body_min_rate=0)
    exchange = running.open("/", method="POST", length=length)
    exchange.send(b"half")
    assert exchange.answer().status == 200
    assert [type(result) for result in results] == [BodyTimeout, BodyTimeout]
    assert isinstance(results[0], TimeoutError)


def test_malformed_content_raises(serve: Serve) -> None:
    """In mid-content, so that the application had to be called before."""
    results: list[Any] = []
    begun = gevent.event.Event()
    running = serve(catching(lambda f: f.read(), results, begun), body_timeout=0.2)
    with running.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc")
        running.call(lambda: begun.wait(5))
        client.send(b"d\r\n")
        response = client.response()
        assert response.status == 200
        assert response["Connection"] == "close"
        assert client.closed()
    first, second = results
    assert type(first) is RemoteProtocolError
    assert first.status == 400
    assert isinstance(second, Exception)


# -- Expect: 100-continue (RFC 9110 10.1.1) ------------------------------------------------------

EXPECT = "POST / HTTP/{}\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n{}\r\n"


def expect(client: RawClient, version: str = "1.1", *lines: str) -> None:
    extra = "".join(line + "\r\n" for line in lines)
    client.send(EXPECT.format(version, extra).encode())


def test_100_continue_is_sent_once_at_the_first_read(serve: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        stream = environ["wsgi.input"]
        content = [stream.read(1), stream.read(1), stream.readline(), stream.read()]
        start_response("200 OK", [])
        return [b",".join(content)]

    with serve(app).client() as client:
        for _ in range(2):
            expect(client)
            interim = client.head()
            assert (interim.status, interim.headers) == (100, [])
            client.send(b"ab")
            client.send(b"cd")
            response = client.response()
            assert (response.status, response.body) == (200, b"a,b,cd,")


def test_no_100_continue_where_nothing_is_read(serve: Serve) -> None:
    """The client may send its content all the same or not: the connection ends."""
    with serve(deaf).client() as client:
        expect(client)
        response = client.response()
        assert (response.status, response.body) == (200, b"deaf")
        assert response["Connection"] == "close"
        assert client.closed()


def test_no_100_continue_once_the_response_has_begun(serve: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"begun"
        yield environ["wsgi.input"].read()

    with serve(app).client() as client:
        expect(client)
        response = client.head()
        assert response.status == 200
        assert client.chunk(response) == b"begun"
        client.send(b"abcd")
        assert client.chunk(response) == b"abcd"
        assert client.chunk(response) == b""


def test_no_100_continue_to_http10(serve: Serve) -> None:
    """RFC 9110 10.1.1: the expectation of an HTTP/1.0 client is ignored."""
    with serve(echo).client() as client:
        expect(client, "1.0")
        client.send(b"abcd")
        response = client.response()
        assert (response.status, response.body) == (200, b"abcd")


def test_no_100_continue_when_the_content_has_come(serve: Serve) -> None:
    with serve(echo).client() as client:
        client.send(EXPECT.format("1.1", "").encode() + b"abcd")
        response = client.response()
        assert (response.status, response.body) == (200, b"abcd")


def test_100_continue_for_chunked_content(serve: Serve) -> None:
    with serve(echo).client() as client:
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
            b"Expect: 100-Continue\r\n\r\n"
        )
        assert client.head().status == 100
        client.send(b"2\r\nab\r\n0\r\n\r\n")
        assert client.response().body == b"ab"


def test_other_expectations_fail(serve: Serve) -> None:
    with serve(echo).client() as client:
        assert client.get("/", "Expect: the impossible").status == 417


# -- content that the application leaves ---------------------------------------------------------

UNREAD: dict[str, Application] = {
    "none read": deaf,
    "some read": reading(lambda f: f.read(3), []),
    "a line read": reading(lambda f: f.readline(), []),
}
LEFT = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n" * 100


@pytest.mark.parametrize("late", [False, True], ids=["with the head", "after the response"])
@pytest.mark.parametrize("chunked", [False, True], ids=["counted", "chunked"])
@pytest.mark.parametrize("app", UNREAD.values(), ids=UNREAD)
def test_unread_content_does_not_become_the_next_request(
    serve: Serve, app: Application, chunked: bool, late: bool
) -> None:
    head = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(LEFT)}"
    content = b"%x\r\n%b\r\n0\r\n\r\n" % (len(LEFT), LEFT) if chunked else LEFT
    split = 60 if late else len(content)
    with serve(app).client() as client:
        response = client.get_with_body("/", content[:split], head)
        assert response.status == 200
        client.send(content[split:])
        if "Connection" in response:
            # Who has read nothing cannot know how much is to come.
            assert (app, chunked, late) == (deaf, True, True)
            assert response["Connection"] == "close"
            assert client.closed()
        else:
            assert client.post("/", b"next").status == 200


def test_more_unread_content_than_the_limit_closes_the_connection(serve: Serve) -> None:
    with serve(deaf, limit_unread_body=1000).client() as client:
        response = client.get_with_body("/", b"x" * 100, "Content-Length: 1101")
        assert response.body == b"deaf"
        assert response["Connection"] == "close"
        assert client.closed()


def test_endless_unread_content_closes_the_connection(serve: Serve) -> None:
    """Without an announced length the limit shows only while the content is read away."""
    with serve(deaf, limit_unread_body=1000).client() as client:
        response = client.get_with_body("/", b"", "Transfer-Encoding: chunked")
        assert response.body == b"deaf"
        client.send(b"400\r\n%b\r\n" % (b"x" * 1024))
        assert client.closed()
