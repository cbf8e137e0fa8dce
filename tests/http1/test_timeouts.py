"""Timeouts on the wire: handshake, header, content, keep-alive, write, and the request's own.

Each is set to a fraction of a second. A client that dribbles paces itself by waiting for bytes
that must not come yet.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event
import pytest

from clients import ConnectionEnded, RawClient
from conftest import Serve
from gserver.api.errors import BodyTimeout, Disconnected, RequestTimeout

pytestmark = pytest.mark.slow

MIB = bytes(1 << 20)


def read(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Tell how long the content is."""
    size = len(environ["wsgi.input"].read())
    start_response("200 OK", [])
    return [str(size).encode()]


def dribble(client: RawClient, data: bytes, pause: float, limit: int = 200) -> int:
    """Send `data` again and again until the server says something; return how often."""
    client.sock.settimeout(pause)
    for i in range(limit):
        try:
            client.send(data)
            client._more()
        except TimeoutError:
            continue
        client.sock.settimeout(10)
        return i
    pytest.fail(f"the server endured it {limit} times")


# -- heads -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "begin", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: "]
)
def test_a_head_that_does_not_end_is_408(serve: Serve, begin: bytes) -> None:
    """RFC 9110 15.5.9."""
    with serve(read, header_timeout=0.2).client() as client:
        client.send(begin)
        response = client.response()
        assert (response.status, response["Connection"]) == (408, "close")
        assert client.closed()


def test_dribbling_buys_no_time_for_a_head(serve: Serve) -> None:
    with serve(read, header_timeout=0.3).client() as client:
        start = time.monotonic()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        dribble(client, b"a", 0.02)
        assert client.response().status == 408
        assert 0.25 < time.monotonic() - start < 3


def test_a_slow_second_head_is_408_too(serve: Serve) -> None:
    """Its time begins with its first byte, not with the end of the request before it."""
    with serve(read, header_timeout=0.2, keepalive=30).client() as client:
        for _ in range(2):
            assert client.get().status == 200
        client.send(b"GET / HTTP")
        assert client.response().status == 408
        assert client.closed()


def test_a_connection_that_says_nothing_is_closed_without_a_word(serve: Serve) -> None:
    """A browser that connects in advance would take a 408 for the answer to its request."""
    with serve(read, header_timeout=0.2).client() as client:
        assert client.closed()


def test_a_head_in_time_is_no_longer_measured(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        gevent.sleep(0.5)
        return read(environ, start_response)

    with serve(app, header_timeout=0.1, keepalive=0.1).client() as client:
        assert client.get().status == 200


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01\x00"], ids=["nothing", "half"])
def test_a_handshake_that_does_not_end_is_closed(
    serve: Serve, certificate: tuple[str, str], sent: bytes
) -> None:
    server = serve(read, certfile=certificate[0], keyfile=certificate[1], handshake_timeout=0.2)
    with server.client() as client:
        client.send(sent)
        assert client.closed()


def test_the_handshake_s_time_is_its_own(serve: Serve, certificate: tuple[str, str]) -> None:
    """After it the head has header_timeout, and is answered 408 within TLS."""
    context = ssl.create_default_context(cafile=certificate[0])
    server = serve(
        read,
        certfile=certificate[0],
        keyfile=certificate[1],
        handshake_timeout=0.2,
        header_timeout=0.6,
    )
    with server.client(tls=context) as client:
        client.send(b"GET /")
        start = time.monotonic()
        assert client.response().status == 408
        assert time.monotonic() - start > 0.4
        assert client.closed()


# -- keep-alive --------------------------------------------------------------------------------


def test_an_idle_connection_is_closed_without_a_word(serve: Serve) -> None:
    with serve(read, keepalive=0.2, header_timeout=30).client() as client:
        for _ in range(2):
            assert client.get().status == 200
        start = time.monotonic()
        assert client.closed()
        assert time.monotonic() - start < 3


def test_keepalive_measures_the_pause_only(serve: Serve) -> None:
    with serve(read, keepalive=0.5).client() as client:
        client.sock.settimeout(0.1)
        for _ in range(6):  # 0.6 seconds in all
            assert client.get().status == 200
            with pytest.raises(TimeoutError):
                client._more()


# -- content -----------------------------------------------------------------------------------

HEADS = [
    pytest.param("Content-Length: 100000", b"a", id="counted"),
    pytest.param("Transfer-Encoding: chunked", b"1\r\na\r\n", id="chunked"),
]


def post(client: RawClient, framing: str) -> None:
    client.send(f"POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode())


@pytest.mark.parametrize(("framing", "piece"), HEADS)
@pytest.mark.parametrize("begun", [False, True])
def test_content_that_does_not_come_is_408(
    serve: Serve, framing: str, piece: bytes, begun: bool
) -> None:
    with serve(read, body_timeout=0.2).client() as client:
        post(client, framing)
        client.send(piece * begun)
        response = client.response()
        assert (response.status, response["Connection"]) == (408, "close")
        assert client.closed()


@pytest.mark.parametrize(("framing", "piece"), HEADS)
def test_content_below_the_minimum_rate_is_408(serve: Serve, framing: str, piece: bytes) -> None:
    """50 bytes a second where 1000 are wanted: each pause is short, together they are not."""
    with serve(read, body_timeout=0.3, body_min_rate=1000).client() as client:
        post(client, framing)
        assert dribble(client, piece, 0.02) < 100
        assert client.response().status == 408
        assert client.closed()


@pytest.mark.parametrize(("framing", "piece"), HEADS)
def test_content_above_the_minimum_rate_takes_as_long_as_it_takes(
    serve: Serve, framing: str, piece: bytes
) -> None:
    """Longer than body_timeout here."""
    with serve(read, body_timeout=0.3, body_min_rate=10).client() as client:
        post(client, framing)
        client.sock.settimeout(0.02)
        for _ in range(20):
            client.send(piece)
            with pytest.raises(TimeoutError):
                client._more()


@pytest.mark.parametrize(("framing", "piece"), HEADS)
def test_without_a_minimum_rate_only_pauses_count(serve: Serve, framing: str, piece: bytes) -> None:
    with serve(read, body_timeout=0.3, body_min_rate=0).client() as client:
        post(client, framing)
        client.sock.settimeout(0.02)
        for _ in range(20):
            client.send(piece)
            with pytest.raises(TimeoutError):
                client._more()
        client.sock.settimeout(10)
        assert client.response().status == 408


def test_the_slowness_of_the_application_is_not_the_client_s(serve: Serve) -> None:
    """While nobody waits for content, its time stands still."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        first = environ["wsgi.input"].read(1)
        gevent.sleep(0.6)
        rest = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [first + rest]

    with serve(app, body_timeout=0.2, body_min_rate=10000).client() as client:
        post(client, "Content-Length: 5")
        client.send(b"hello")
        assert client.response().body == b"hello"


def test_the_application_sees_the_timeout(serve: Serve) -> None:
    """As an error of its own class that is also a TimeoutError, and may answer it."""
    errors: list[BaseException] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except TimeoutError as exc:
            errors.append(exc)
        start_response("400 Mine", [])
        return [b"mine"]

    with serve(app, body_timeout=0.2).client() as client:
        post(client, "Content-Length: 5")
        response = client.response()
        assert (response.status, response.body, response["Connection"]) == (400, b"mine", "close")
        assert client.closed()
    assert isinstance(errors[0], BodyTimeout)
    assert errors[0].status == 408


def test_a_slow_client_does_not_get_408_after_the_head(serve: Serve) -> None:
    """The response has begun, so it is broken off."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"begin"
        yield environ["wsgi.input"].read()

    with serve(app, body_timeout=0.2).client() as client:
        post(client, "Content-Length: 5")
        response = client.head()
        assert client.chunk(response) == b"begin"
        assert client.closed()


# -- write -------------------------------------------------------------------------------------

LARGE = [
    pytest.param(lambda: [MIB * 64], id="one block"),
    pytest.param(lambda: iter([MIB * 64]), id="chunk"),
    pytest.param(lambda: (MIB for _ in range(64)), id="chunks"),
]


@pytest.mark.parametrize("body", LARGE)
def test_a_client_that_does_not_read_is_given_up(serve: Serve, body: Callable[[], Any]) -> None:
    """The application's write raises Disconnected, everything is closed, nobody else suffers."""
    closed = threading.Event()
    errors: list[BaseException] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            try:
                yield from body()
            except BaseException as exc:
                errors.append(exc)
                raise

        def close(self) -> None:
            closed.set()

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/small":
            return read(environ, start_response)
        environ["wsgi_lite.closing"](Body())
        start_response("200 OK", [])
        return Body()

    server = serve(app, write_timeout=0.3)
    with server.client() as client, server.client() as other:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert not closed.wait(0.1)
        assert other.get("/small").status == 200
        assert closed.wait(10)
        assert server.call(lambda: server.server.handler.active) == 0
        with pytest.raises((ConnectionEnded, ConnectionResetError)):
            client.response()
        assert other.get("/small").status == 200


def test_write_raises_disconnected(serve: Serve) -> None:
    errors: list[BaseException] = []
    done = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        for _ in range(2):  # and again: nothing can follow half a block
            try:
                write(MIB * 64)
            except ConnectionError as exc:
                errors.append(exc)
        done.set()
        return []

    with serve(app, write_timeout=0.2).client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert done.wait(10)
    assert [type(error) for error in errors] == [Disconnected, Disconnected]


def test_a_client_that_reads_slowly_is_served(serve: Serve) -> None:
    """write_timeout is for taking nothing at all; this takes three times as long in all.

    By default Linux calls a socket writable only when a third of its buffer, of 4 MB, is free.
    """

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", str(len(MIB) * 8))])
        return iter([MIB] * 8)

    with serve(app, write_timeout=0.4).client() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        missing = int(client.head()["Content-Length"])
        never = threading.Event()
        for _ in range(12):
            assert not never.wait(0.1)
            missing -= len(client.exactly(400_000))
        client.exactly(missing)
        assert client.get().status == 200


# -- the request's own -------------------------------------------------------------------------


class Stuck:
    """An application that blocks in `block`, and notes what happens to it."""

    def __init__(self, block: Callable[[dict[str, Any], Any], None], swallow: int = 0) -> None:
        self.errors: list[BaseException] = []
        self.closed: list[str] = []
        self.done = threading.Event()
        self._block = block
        self._swallow = swallow

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/fine":
            return read(environ, start_response)
        environ["wsgi_lite.closing"](Closing(self, "registered"))
        return StuckBody(self, environ, start_response)

    def run(self, environ: dict[str, Any], start_response: Any) -> None:
        while True:
            try:
                self._block(environ, start_response)
            except BaseException as exc:
                self.errors.append(exc)
                if len(self.errors) > self._swallow:
                    raise
            else:
                return


class Closing:
    def __init__(self, stuck: Stuck, name: str) -> None:
        self._stuck = stuck
        self._name = name

    def close(self) -> None:
        self._stuck.closed.append(self._name)
        if self._name == "registered":
            self._stuck.done.set()


class StuckBody(Closing):
    def __init__(self, stuck: Stuck, environ: dict[str, Any], start_response: Any) -> None:
        super().__init__(stuck, "body")
        self._arguments = environ, start_response

    def __iter__(self) -> Iterator[bytes]:
        self._stuck.run(*self._arguments)
        return iter(())


def sleep(environ: dict[str, Any], start_response: Any) -> None:
    gevent.sleep(30)


def wait(environ: dict[str, Any], start_response: Any) -> None:
    gevent.event.Event().wait()


def receive(environ: dict[str, Any], start_response: Any) -> None:
    environ["wsgi.input"].read()


def send(environ: dict[str, Any], start_response: Any) -> None:
    write = start_response("200 OK", [])
    write(MIB * 64)


def send_then_sleep(environ: dict[str, Any], start_response: Any) -> None:
    write = start_response("200 OK", [])
    write(b"begin")
    gevent.sleep(30)


def begin_then_sleep(environ: dict[str, Any], start_response: Any) -> None:
    start_response("200 OK", [("X-Mine", "1")])
    gevent.sleep(30)


REQUEST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"


@pytest.mark.parametrize("block", [sleep, wait, receive, begin_then_sleep])
def test_a_request_past_its_time_is_503(serve: Serve, block: Any) -> None:
    app = Stuck(block)
    server = serve(app, request_timeout=0.2)
    with server.client() as client, server.client() as other:
        client.send(REQUEST)
        response = client.response()
        assert (response.status, "X-Mine" in response) == (503, False)
        assert app.done.wait(10)
        assert [str(error) for error in app.errors] == ["the request took longer than 0.2 seconds"]
        assert isinstance(app.errors[0], RequestTimeout)
        assert app.closed == ["body", "registered"]
        for _ in range(3):
            assert other.get("/fine").status == 200


def test_the_connection_goes_on_after_503(serve: Serve) -> None:
    """Nothing is wrong with it: the request was complete."""
    with serve(Stuck(sleep), request_timeout=0.2).client() as client:
        response = client.get()
        assert response.status == 503
        assert client.get("/fine").status == 200


@pytest.mark.parametrize("block", [send, send_then_sleep])
def test_a_response_past_its_time_is_broken(serve: Serve, block: Any) -> None:
    app = Stuck(block)
    server = serve(app, request_timeout=0.3)
    with server.client() as client, server.client() as other:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert app.done.wait(10)
        with pytest.raises((ConnectionEnded, ConnectionResetError)):
            client.response()
        assert [type(error) for error in app.errors] == [RequestTimeout]
        assert app.closed == ["body", "registered"]
        assert other.get("/fine").status == 200


@pytest.mark.parametrize("block", [sleep, receive])
def test_a_handler_that_swallows_it_gets_it_again(serve: Serve, block: Any) -> None:
    app = Stuck(block, swallow=2)
    with serve(app, request_timeout=0.15).client() as client:
        client.send(REQUEST)
        assert client.response().status == 503
        assert app.done.wait(10)
    assert [type(error) for error in app.errors] == [RequestTimeout] * 3


def test_except_exception_does_not_swallow_it(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            gevent.sleep(30)
        except Exception:  # noqa: BLE001 - as frameworks do
            start_response("500 Mine", [])
            return [b"mine"]
        return []

    with serve(app, request_timeout=0.2).client() as client:
        assert client.get().status == 503


def test_a_request_in_time_hears_nothing_of_it(serve: Serve) -> None:
    """Nor does the next one on the same greenlet: the alarm goes with the request."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        gevent.sleep(0.15)
        start_response("200 OK", [])
        return [b"fine"]

    with serve(app, request_timeout=0.4).client() as client:
        for _ in range(4):
            assert client.get().body == b"fine"


def test_requests_have_their_times_apart(serve: Serve) -> None:
    """Of many at once each has all of its own."""
    app = Stuck(sleep)
    server = serve(app, request_timeout=0.3)
    clients = [server.client() for _ in range(20)]
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    with server.client() as other:
        assert other.get("/fine").status == 200
    for client in clients:
        assert client.response().status == 503
        client.close()
    assert len(app.errors) == 20
    assert server.call(lambda: server.server.handler.active) == 0


def test_time_in_close_counts_too(serve: Serve) -> None:
    """A close() that blocks is interrupted; what else is to be closed still is."""
    closed = threading.Event()
    errors: list[BaseException] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"fine"])

        def close(self) -> None:
            try:
                gevent.sleep(30)
            except BaseException as exc:
                errors.append(exc)
                raise

    class Other:
        def close(self) -> None:
            closed.set()

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        environ["wsgi_lite.closing"](Other())
        start_response("200 OK", [])
        return Body()

    with serve(app, request_timeout=0.2).client() as client:
        assert client.get().body == b"fine"
        assert closed.wait(10)
    assert [type(error) for error in errors] == [RequestTimeout]
