"""Back-pressure: who does not take data stops the one who sends it, and nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event
import pytest

from clients import RawClient
from conftest import Serve, ServerThread

pytestmark = pytest.mark.slow

BLOCK = bytes(65536)
BLOCKS = 768
TOTAL = BLOCKS * len(BLOCK)  # 48 MiB
# What the kernel may hold of one connection: some MB on either side.
BUFFERED = 16 * 1024 * 1024


class Upload:
    """Sends pieces as long as the server takes them."""

    def __init__(self, client: RawClient, pieces: Iterator[bytes]) -> None:
        self._client = client
        self._pieces = pieces
        self._left = memoryview(b"")
        self.sent = 0

    def until_stuck(self) -> int:
        """Send until the server takes no more; return how many bytes it took in all."""
        self._client.sock.settimeout(0.3)
        try:
            self.finish()
        except TimeoutError:
            return self.sent
        finally:
            self._client.sock.settimeout(10)
        raise AssertionError("the server took everything")

    def finish(self) -> None:
        """Send all that is left."""
        while True:
            while self._left:
                size = self._client.sock.send(self._left)
                self.sent += size
                self._left = self._left[size:]
            piece = next(self._pieces, None)
            if piece is None:
                return
            self._left = memoryview(piece)


def counted() -> Iterator[bytes]:
    yield f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {TOTAL}\r\n\r\n".encode()
    for _ in range(BLOCKS):
        yield BLOCK


def in_chunks() -> Iterator[bytes]:
    yield b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _ in range(BLOCKS):
        yield b"%x\r\n%b\r\n" % (len(BLOCK), BLOCK)
    yield b"0\r\n\r\n"


def one_chunk() -> Iterator[bytes]:
    yield b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % TOTAL
    for _ in range(BLOCKS):
        yield BLOCK
    yield b"\r\n0\r\n\r\n"


def small(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"small"]


class Gated:
    """An application that waits at a gate, except for requests of /small.

    Attributes:
        entered: It waits.
    """

    def __init__(self, run: Callable[[Gated, dict[str, Any], Any], Any]) -> None:
        self.entered = threading.Event()
        self._run = run
        self._gate: gevent.event.Event

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/small":
            return small(environ, start_response)
        self._gate = gevent.event.Event()
        return self._run(self, environ, start_response)

    def wait(self) -> None:
        """Block until the test opens the gate."""
        self.entered.set()
        assert self._gate.wait(20)
        self._gate.clear()

    def open(self, server: ServerThread) -> None:
        """Let it go on; called in the test's thread."""
        server.call(self._gate.set)


@pytest.mark.parametrize("pieces", [counted, in_chunks, one_chunk])
@pytest.mark.parametrize("begun", [0, 100])
def test_an_application_that_does_not_read_stops_the_client(
    serve: Serve, pieces: Callable[[], Iterator[bytes]], begun: int
) -> None:
    """RFC 9112 says nothing of it; memory does."""

    def run(gated: Gated, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"]
        size = len(body.read(begun))
        gated.wait()
        while data := body.read(65536):
            size += len(data)
        start_response("200 OK", [])
        return [str(size).encode()]

    app = Gated(run)
    server = serve(app)
    with server.client() as client, server.client() as other:
        upload = Upload(client, pieces())
        assert upload.until_stuck() < BUFFERED
        assert other.get("/small").body == b"small"
        app.open(server)
        upload.finish()
        assert client.response().body == str(TOTAL).encode()
        assert client.get("/small").body == b"small"


def test_an_application_that_reads_slowly_sets_the_pace(serve: Serve) -> None:
    """What the client may send grows by what is read, not faster."""
    sizes: list[int] = []

    def run(gated: Gated, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"]
        for _ in range(2):
            gated.wait()
            sizes.append(len(body.read(4 << 20)))
        gated.wait()
        start_response("200 OK", [])
        return [b"enough"]

    app = Gated(run)
    server = serve(app)
    with server.client() as client:
        upload = Upload(client, counted())
        first = upload.until_stuck()
        app.open(server)
        second = upload.until_stuck()
        app.open(server)
        third = upload.until_stuck()
        assert sizes == [4 << 20] * 2
        # The kernel's buffers grow with what is read: on some machines to more than BUFFERED.
        assert first < second < third < TOTAL
        app.open(server)
        assert client.response().body == b"enough"


DOWNLOADS = [
    pytest.param([("Content-Length", str(TOTAL))], "1.1", id="counted"),
    pytest.param([], "1.1", id="chunked"),
    pytest.param([], "1.0", id="until closed"),
]


@pytest.mark.parametrize(("headers", "version"), DOWNLOADS)
def test_a_client_that_does_not_read_stops_its_greenlet_only(
    serve: Serve, headers: list[tuple[str, str]], version: str
) -> None:
    asked = 0

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        nonlocal asked
        if environ["PATH_INFO"] == "/small":
            yield from small(environ, start_response)
            return
        start_response("200 OK", headers)
        for _ in range(BLOCKS):
            asked += 1
            yield BLOCK

    server = serve(app)
    with server.client() as client, server.client() as other:
        client.send(f"GET / HTTP/{version}\r\nHost: a\r\n\r\n".encode())
        response = client.head()
        chunked = "Transfer-Encoding" in response
        for _ in range(50):
            assert other.get("/small").body == b"small"
        assert 0 < asked * len(BLOCK) < BUFFERED
        for _ in range(BLOCKS):
            block = client.chunk(response) if chunked else client.exactly(len(BLOCK))
            assert block == BLOCK
        assert not chunked or client.chunk(response) == b""
        assert asked == BLOCKS


def test_many_clients_that_do_not_read(serve: Serve) -> None:
    """Each stops its own greenlet; the others' requests go on as before."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/small":
            return small(environ, start_response)
        start_response("200 OK", [])
        return [BLOCK * 128]

    server = serve(app)
    clients = [server.client() for _ in range(10)]
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    with server.client() as other:
        for _ in range(50):
            assert other.get("/small").body == b"small"
        assert server.call(lambda: server.server.handler.active) == 10
    for client in clients:
        assert len(client.response().body) == 128 * len(BLOCK)
        client.close()


def test_pipelining_without_reading_stops_the_client(serve: Serve) -> None:
    """Requests are not taken faster than their responses are."""
    handled = 0

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        nonlocal handled
        handled += 1
        start_response("200 OK", [])
        return [BLOCK]

    def requests() -> Iterator[bytes]:
        for _ in range(1000):
            yield b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 1000

    server = serve(app)
    with server.client() as client, server.client() as other:
        assert Upload(client, requests()).until_stuck() < BUFFERED
        assert handled * len(BLOCK) < BUFFERED
        assert other.get().body == BLOCK
        for _ in range(handled):
            assert client.response().body == BLOCK


def test_a_client_that_sends_much_while_the_application_works(serve: Serve) -> None:
    """A packet is taken, to see whether the client is still there; the rest waits in the kernel."""

    def run(gated: Gated, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        gated.wait()
        return small(environ, start_response)

    def requests() -> Iterator[bytes]:
        for _ in range(1000):
            yield b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n" * 1000

    app = Gated(run)
    server = serve(app)
    with server.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert app.entered.wait(10)
        assert Upload(client, requests()).until_stuck() < BUFFERED
        app.open(server)
        for _ in range(100):
            assert client.response().body == b"small"
