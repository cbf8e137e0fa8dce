"""The server's life: start, stop, draining, cutting, and how many connections it takes."""

from __future__ import annotations

import errno
import os
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import Event
from greenlet import GreenletExit

from clients import ConnectionEnded, RawClient
from conftest import Serve, ServerThread
from gserver.api import lite
from gserver.api.errors import ConfigError
from gserver.config import Config
from gserver.listener import Listener
from gserver.server import Server


@lite
def hello(environ: dict[str, Any]) -> Any:
    return "200 OK", [], [b"hello"]


def make(application: Callable[..., Any] = hello, **options: Any) -> Server:
    options = {"bind": "127.0.0.1:0", "access_logfile": "off"} | options
    return Server(application, Config(**options))


def ask(port: int) -> bytes:
    """Get a response, blocking a thread meanwhile, and not the hub."""

    def get() -> bytes:
        with RawClient(("127.0.0.1", port)) as client:
            return client.get().body

    body: bytes = gevent.get_hub().threadpool.apply(get)
    return body


def refuses(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(5)
        return sock.connect_ex(("127.0.0.1", port)) != 0


def wait_until_refused(port: int) -> None:
    deadline = time.monotonic() + 5
    while not refuses(port):
        assert time.monotonic() < deadline


class Application:
    """Requests that go on until the test lets them, and what happened to them."""

    def __init__(self) -> None:
        self.started: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.events: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.go_on = Event()
        self._server: ServerThread

    def serve(self, serve: Serve, **options: Any) -> ServerThread:
        self._server = serve(lite(self), **options)
        return self._server

    def release(self) -> None:
        self._server.call(self.go_on.set)

    def __call__(self, environ: dict[str, Any]) -> Any:
        path = environ["PATH_INFO"]
        if path == "/":
            return "200 OK", [], [b"hello"]
        environ["wsgi_lite.closing"](Closing(self.events))
        if path == "/body":
            return "200 OK", [], Body(self)
        self.started.put(path)
        self.wait(path)
        return "200 OK", [], [b"finished"]

    def wait(self, path: str) -> None:
        try:
            self.go_on.wait()
        except GreenletExit:
            self.events.put("GreenletExit")
            if path == "/stubborn":
                self.go_on.wait()
            raise

    def happened(self, count: int) -> list[str]:
        return [self.events.get(timeout=5) for _ in range(count)]


class Closing:
    """Something to close after the response, which takes a while."""

    def __init__(self, events: queue.SimpleQueue[str]) -> None:
        self._events = events

    def close(self) -> None:
        gevent.sleep(0.1)
        self._events.put("closing")


class Body:
    """A block, and then no more until the test says so."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __iter__(self) -> Iterator[bytes]:
        yield b"first"
        self._application.started.put("body")
        self._application.wait("body")
        yield b"last"

    def close(self) -> None:
        self._application.events.put("close")


@pytest.fixture
def application() -> Application:
    return Application()


def begin(client: RawClient, path: str) -> None:
    client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


class Stopping(threading.Thread):
    """A stop that goes on in the background."""

    def __init__(self, server: ServerThread, *arguments: float) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._arguments = arguments
        self.start()

    def run(self) -> None:
        self._server.call(lambda: self._server.server.stop(*self._arguments))

    def seconds(self) -> float:
        """Wait for its end, which must come within a few seconds; returns how many it took."""
        start = time.monotonic()
        self.join(10)
        assert not self.is_alive()
        return time.monotonic() - start


# -- start and stop --------------------------------------------------------------------------


def test_as_a_context_manager() -> None:
    with make() as server:
        assert server.urls == [f"http://127.0.0.1:{server.port}"]
        assert ask(server.port) == b"hello"
    assert refuses(server.port)


def test_the_context_manager_stops_after_an_error_too() -> None:
    server = make()

    def fail() -> None:
        with server:
            assert ask(server.port) == b"hello"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert refuses(server.port)


def test_serve_forever_starts_and_returns_after_stop() -> None:
    server = make()
    serving = gevent.spawn(server.serve_forever)
    gevent.sleep(0)
    assert ask(server.port) == b"hello"
    assert not serving.ready()
    server.stop()
    serving.get(timeout=5)
    assert refuses(server.port)


def test_serve_forever_after_start() -> None:
    server = make()
    server.start()
    port = server.port
    serving = gevent.spawn(server.serve_forever)
    gevent.sleep(0)
    assert server.port == port
    assert ask(port) == b"hello"
    server.stop()
    serving.get(timeout=5)


def test_a_server_starts_only_once() -> None:
    with make() as server:
        with pytest.raises(RuntimeError, match="only once"):
            server.start()
        assert ask(server.port) == b"hello"
    with pytest.raises(RuntimeError, match="only once"):
        server.start()


def test_stop_twice() -> None:
    server = make()
    server.start()
    server.stop()
    server.stop()
    server.serve_forever()
    assert refuses(server.port)


def test_stop_before_start() -> None:
    server = make()
    server.stop()
    server.serve_forever()  # a signal that came this early still means to stop
    assert server.urls == []
    with pytest.raises(RuntimeError, match="only once"):
        server.start()


def test_two_servers_in_one_thread() -> None:
    @lite
    def other(environ: dict[str, Any]) -> Any:
        return "200 OK", [], [b"other"]

    with make() as first:
        with make(other) as second:
            assert (ask(first.port), ask(second.port)) == (b"hello", b"other")
        assert ask(first.port) == b"hello"


def test_several_addresses(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with make(bind=("127.0.0.1:0", f"unix:{path}", "http://127.0.0.1:0")) as server:
        first, unix, second = server.urls
        assert first == f"http://127.0.0.1:{server.port}"
        assert unix == f"http+unix:{path}"
        assert ask(int(second.rpartition(":")[2])) == b"hello"
    assert not path.exists()


def test_given_listeners() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    with Server(hello, Config(access_logfile="off"), [Listener(sock, tls=False)]) as server:
        assert server.port == port
        assert ask(port) == b"hello"
    assert sock.fileno() == -1


def test_an_application_must_be_callable() -> None:
    application: Any = "hello:app"
    with pytest.raises(ConfigError, match="must be callable, not 'hello:app'"):
        Server(application)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_start_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    gevent.get_hub()
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        before = descriptors()
        server = make(
            bind=(f"unix:{tmp_path / 'socket'}", f"127.0.0.1:{occupied.getsockname()[1]}"),
            access_logfile=str(tmp_path / "log"),
        )
        with pytest.raises(ConfigError, match="is another server running there"):
            server.start()
        assert descriptors() == before
        assert not (tmp_path / "socket").exists()


# -- stop, while there is something to do ----------------------------------------------------


def test_running_requests_are_finished(serve: Serve, application: Application) -> None:
    server = application.serve(serve)
    with server.client() as waiting, server.client() as streaming:
        begin(waiting, "/wait")
        begin(streaming, "/body")
        assert {application.started.get(timeout=5) for _ in range(2)} == {"/wait", "body"}
        port = server.server.port
        stopping = Stopping(server, 30)
        wait_until_refused(port)
        application.release()
        response = waiting.response()
        assert (response.body, response["Connection"]) == (b"finished", "close")
        assert streaming.response().body == b"firstlast"
        assert waiting.closed()
        assert streaming.closed()
        assert stopping.seconds() < 5
    assert sorted(application.happened(3)) == ["close", "closing", "closing"]


@pytest.mark.parametrize("requests", [0, 1])
def test_idle_connections_are_closed_at_once(
    serve: Serve, application: Application, requests: int
) -> None:
    server = application.serve(serve)
    with server.client() as idle, server.client() as waiting:
        for _ in range(requests):
            assert idle.get().status == 200
        begin(waiting, "/wait")
        application.started.get(timeout=5)
        stopping = Stopping(server, 30)
        assert idle.closed()
        assert stopping.is_alive()
        application.release()
        assert waiting.response().body == b"finished"
        stopping.seconds()


def test_a_handshake_is_not_waited_for(
    serve: Serve, application: Application, certificate: tuple[str, str]
) -> None:
    server = application.serve(serve, certfile=certificate[0], keyfile=certificate[1])
    context = ssl.create_default_context(cafile=certificate[0])
    with server.client() as silent:
        with server.client(tls=context) as client:
            assert client.get().status == 200  # so the silent one was accepted before
        stopping = Stopping(server, 30)
        assert silent.closed()
        assert stopping.seconds() < 5


def test_idle_connections_may_be_kept_for_a_while(serve: Serve, application: Application) -> None:
    server = application.serve(serve)
    with server.client() as asking, server.client() as silent, server.client() as waiting:
        for client in (asking, silent):
            assert client.get().status == 200
        begin(waiting, "/wait")
        application.started.get(timeout=5)
        port = server.server.port
        stopping = Stopping(server, 30, 0.5)
        wait_until_refused(port)
        response = asking.get()
        assert (response.body, response["Connection"]) == (b"hello", "close")
        assert asking.closed()
        assert silent.closed()
        application.release()
        assert waiting.response().body == b"finished"
        stopping.seconds()


def test_a_head_that_is_being_received_is_the_last(serve: Serve, application: Application) -> None:
    server = application.serve(serve)
    with server.client() as client, server.client() as idle:
        client.send(b"GET / HTTP/1.1\r\nHo")
        assert idle.get().status == 200  # so the piece has arrived
        stopping = Stopping(server, 30)
        assert idle.closed()
        client.send(b"st: localhost\r\n\r\n")
        response = client.response()
        assert (response.body, response["Connection"]) == (b"hello", "close")
        assert client.closed()
        assert stopping.seconds() < 5


def test_past_the_timeout_requests_are_cut(serve: Serve, application: Application) -> None:
    server = application.serve(serve)
    with server.client() as waiting, server.client() as streaming:
        begin(waiting, "/wait")
        application.started.get(timeout=5)
        begin(streaming, "/body")
        application.started.get(timeout=5)
        stopping = Stopping(server, 0.1)
        # Nothing was sent yet: a clear answer. Something was: a visible break.
        assert waiting.response().status == 503
        assert waiting.closed()
        with pytest.raises((ConnectionEnded, ConnectionResetError)):
            streaming.response()
        assert stopping.seconds() < 5
    # What was to be closed is closed, even if that takes a while, before stop returns.
    assert application.events.qsize() == 5
    assert sorted(application.happened(5)) == [
        "GreenletExit",
        "GreenletExit",
        "close",
        "closing",
        "closing",
    ]


def test_a_handler_that_does_not_end_is_not_waited_for(
    serve: Serve, application: Application
) -> None:
    server = application.serve(serve)
    with server.client() as client:
        begin(client, "/stubborn")
        application.started.get(timeout=5)
        stopping = Stopping(server, 0)
        try:
            assert client.until_closed() == b""
        except ConnectionResetError:
            pass
        assert stopping.seconds() < 5
    assert application.happened(1) == ["GreenletExit"]


def test_a_request_whose_client_has_left_is_finished_too(
    serve: Serve, application: Application
) -> None:
    server = application.serve(serve)
    with server.client() as client:
        begin(client, "/wait")
        application.started.get(timeout=5)
    port = server.server.port
    stopping = Stopping(server, 30)
    wait_until_refused(port)
    assert stopping.is_alive()
    application.release()
    assert stopping.seconds() < 5
    assert application.events.qsize() == 1


def test_a_second_stop_cuts_the_first_short(serve: Serve, application: Application) -> None:
    server = application.serve(serve)
    with server.client() as client:
        begin(client, "/wait")
        application.started.get(timeout=5)
        first = Stopping(server, 30)
        second = Stopping(server, 0)
        assert client.response().status == 503
        assert second.seconds() < 5
        assert first.seconds() < 5


def test_a_lingering_client_gets_its_answer(serve: Serve, application: Application) -> None:
    server = application.serve(serve)
    with server.client() as client, server.client() as idle:
        client.send(b"GET\r\n\r\n")
        assert idle.get().status == 200  # so the refusal is out
        stopping = Stopping(server, 30)
        assert idle.closed()
        client.send(b"x" * 100_000)
        assert client.response().status == 400
        assert client.closed()
    assert stopping.seconds() < 5


# -- how many --------------------------------------------------------------------------------


def test_worker_connections_limits_them(serve: Serve) -> None:
    server = serve(hello, worker_connections=3)
    clients = [server.client() for _ in range(3)]
    for client in clients:
        assert client.get().status == 200
    with server.client() as waiting:
        begin(waiting, "/")
        waiting.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            waiting.head()
        waiting.sock.settimeout(10)
        for client in clients:
            assert client.get().status == 200
        clients.pop().close()
        assert waiting.response().body == b"hello"
    for client in clients:
        client.close()


def test_worker_connections_is_for_all_addresses_together(serve: Serve) -> None:
    server = serve(hello, worker_connections=1, bind=("127.0.0.1:0", "127.0.0.1:0"))
    ports = [int(url.rpartition(":")[2]) for url in server.server.urls]
    for _ in range(3):
        with RawClient(("127.0.0.1", ports[0])) as first:
            assert first.get().status == 200
            second = RawClient(("127.0.0.1", ports[1]))
            begin(second, "/")
        with second:
            assert second.response().status == 200


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EPROTO])
def test_accepting_goes_on_after_an_error(caplog: pytest.LogCaptureFixture, number: int) -> None:
    failures = [OSError(number, os.strerror(number)), ConnectionAbortedError(), BlockingIOError()]

    class Failing(socket.socket):
        def _accept(self) -> Any:
            if failures:
                raise failures.pop(0)
            return super()._accept()  # type: ignore[misc]

    with Failing() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        with Server(hello, Config(access_logfile="off"), [Listener(sock, tls=False)]) as server:
            for _ in range(3):
                assert ask(server.port) == b"hello"
    assert not failures
    assert [record.message for record in caplog.records] == [
        f"cannot accept connections: {os.strerror(number)}"
    ]
