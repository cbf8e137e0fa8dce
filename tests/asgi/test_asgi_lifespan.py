"""The lifespan of ASGI applications: what comes before the first request and behind the last."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import pytest

from conftest import Command, Serve, ServerThread
from from_asgi_stage import App, Gate, Heard, Message, Receive, Scope, Send, respond
from gserver import Config, Server, from_asgi
from gserver.api.errors import ConfigError


def living(heard: Heard, name: str = "") -> App:
    """Return an application that tells of its life."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            heard.put(name + "request")
            await respond(send, b"hello")
            return
        assert await receive() == {"type": "lifespan.startup"}
        heard.put(name + "startup")
        await send({"type": "lifespan.startup.complete"})
        assert await receive() == {"type": "lifespan.shutdown"}
        heard.put(name + "shutdown")
        await send({"type": "lifespan.shutdown.complete"})

    return app


def all_of(heard: Heard) -> list[Any]:
    return [heard.get_nowait() for _ in range(heard.qsize())]


def test_startup_requests_shutdown(serve: Serve) -> None:
    heard = Heard()
    running = serve(living(heard))
    assert all_of(heard) == ["startup"]
    with running.client() as client:
        client.get()
        client.get()
    running.stop()
    assert all_of(heard) == ["request", "request", "shutdown"]


def test_the_scope(serve: Serve) -> None:
    heard = Heard()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.put(scope)
        raise NotImplementedError

    serve(app)
    assert heard.next() == {
        "type": "lifespan",
        "asgi": {"version": "3.0", "spec_version": "2.0"},
        "state": {},
    }


def test_startup_is_over_before_anybody_can_connect() -> None:
    with socket.socket() as one:  # somebody else's port, in a moment
        one.bind(("127.0.0.1", 0))
        host, port = one.getsockname()
    refused = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await asyncio.open_connection(host, port)
        except ConnectionRefusedError as exc:
            refused.append(exc)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    running = ServerThread(app, bind=f"{host}:{port}")
    running.stop()
    assert len(refused) == 1


def failing(*messages: Message) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await receive()
            await send(message)

    return app


def test_a_startup_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    app = failing({"type": "lifespan.startup.failed", "message": "Traceback\nno database"})
    with pytest.raises(ConfigError, match=r"^the ASGI application failed to start: no database$"):
        ServerThread(app)
    assert "Traceback\nno database" in caplog.text


def test_a_startup_that_fails_without_a_word() -> None:
    with pytest.raises(ConfigError, match=r"^the ASGI application failed to start$"):
        ServerThread(failing({"type": "lifespan.startup.failed"}))


@pytest.mark.parametrize("kind", [Exception, NotImplementedError, AssertionError])
def test_who_raises_has_none(serve: Serve, kind: type[Exception]) -> None:
    """ASGI lifespan 2.0: the server goes on."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise kind("not my business")
        await respond(send, str("state" in scope).encode())

    with serve(app).client() as client:
        assert client.get().body == b"False"


def test_who_returns_at_once_has_none_either(serve: Serve) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await respond(send, b"hello")

    with serve(app).client() as client:
        assert client.get().body == b"hello"


def test_who_takes_it_for_a_request_has_none_either(serve: Serve) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, b"hello")

    with serve(app).client() as client:
        assert client.get().body == b"hello"


def test_a_shutdown_that_fails(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    running = serve(
        failing(
            {"type": "lifespan.startup.complete"},
            {"type": "lifespan.shutdown.failed", "message": "the disk is full"},
        )
    )
    running.stop()
    assert "the ASGI application failed to shut down\nthe disk is full" in caplog.text


def test_a_shutdown_that_raises(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise OSError("the disk is full")

    serve(app).stop()
    assert "error in the ASGI application's lifespan" in caplog.text
    assert "the disk is full" in caplog.text


@pytest.mark.slow
def test_a_shutdown_that_takes_too_long(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    heard = Heard()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        try:
            await asyncio.sleep(1000)
        finally:
            heard.put("cancelled")

    serve(app).stop(0)
    assert heard.get_nowait() == "cancelled"
    assert "the ASGI application did not shut down in 1 seconds" in caplog.text


def test_an_application_that_ends_early(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    running = serve(failing({"type": "lifespan.startup.complete"}))
    running.stop()
    assert not caplog.records


def test_a_message_that_has_no_place_there(serve: Serve) -> None:
    heard = Heard()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(RuntimeError, match=r"lifespan.shutdown.complete"):
            await send({"type": "lifespan.shutdown.complete"})
        heard.put("raised")

    serve(app)
    assert heard.next() == "raised"


def test_shutdown_comes_behind_the_last_request(serve: Serve) -> None:
    """And behind its background task; the connection of a client that stays does not matter."""
    heard, gate = Heard(), Gate()
    inner = living(heard)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await inner(scope, receive, send)
        if scope["type"] == "http":
            await gate.passed()
            await asyncio.sleep(0.02)
            heard.put("task")

    running = serve(app)
    with running.client() as client:
        client.get()
        gate.open()
        running.stop()
    assert all_of(heard) == ["startup", "request", "task", "shutdown"]


# -- mounted, and several --------------------------------------------------------------------------


def test_a_mounted_application_starts_with_its_first_request(serve: Serve) -> None:
    heard = Heard()
    mounted = from_asgi(living(heard))

    def app(environ: Any, start_response: Callable[..., Any]) -> Any:
        if environ["PATH_INFO"] == "/asgi":
            return mounted(environ, start_response)
        start_response("200 OK", [])
        return [b"wsgi"]

    running = serve(app)
    with running.client() as client:
        assert client.get("/").body == b"wsgi"
        assert all_of(heard) == []
        assert client.get("/asgi").body == b"hello"
        assert client.get("/asgi").body == b"hello"
    running.stop()
    assert all_of(heard) == ["startup", "request", "request", "shutdown"]


def test_first_requests_at_the_same_time_start_it_once(serve: Serve) -> None:
    heard, gate = Heard(), Gate()
    inner = living(heard)

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            heard.put("waits")
            await gate.passed()
        await inner(scope, receive, send)

    mounted = from_asgi(slow)
    running = serve(lambda environ, start_response: mounted(environ, start_response))
    clients = [running.client() for _ in range(3)]
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert heard.next() == "waits"
    gate.open()
    for client in clients:
        assert client.response().body == b"hello"
        client.close()
    assert all_of(heard) == ["startup", "request", "request", "request"]


def test_a_mounted_application_that_does_not_start(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    mounted = from_asgi(failing({"type": "lifespan.startup.failed", "message": "no database"}))
    with serve(lambda environ, start_response: mounted(environ, start_response)).client() as client:
        assert client.get().status == 500
        assert client.get().status == 500
    assert "failed to start: no database" in caplog.text


OPTIONS = Config(bind="127.0.0.1:0", access_logfile="off")


def test_two_servers_of_one_process() -> None:
    """The last that stops ends what both run beside."""
    heard = Heard()
    said: list[list[Any]] = []

    def both() -> None:
        first = Server(living(heard, "first "), OPTIONS)
        second = Server(living(heard, "second "), OPTIONS)
        first.start()
        second.start()
        said.append(all_of(heard))
        first.stop(0.1)
        said.append(all_of(heard))
        sock = gevent.socket.create_connection(("127.0.0.1", second.port))
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b"hello" in sock.recv(1000) + sock.recv(1000)
        sock.close()
        second.stop(0.1)
        said.append(all_of(heard))

    gevent.spawn(both).get(timeout=10)
    assert said == [
        ["first startup", "second startup"],
        [],
        ["second request", "second shutdown", "first shutdown"],
    ]


def test_one_application_of_two_servers_starts_once() -> None:
    heard = Heard()

    def both() -> None:
        app = from_asgi(living(heard))
        servers = [Server(app, OPTIONS) for _ in range(2)]
        for server in servers:
            server.start()
        for server in servers:
            server.stop(0.1)

    gevent.spawn(both).get(timeout=10)
    assert all_of(heard) == ["startup", "shutdown"]


def test_it_can_be_served_again(serve: Serve) -> None:
    heard = Heard()
    app = from_asgi(living(heard))
    for _ in range(2):
        running = serve(app)
        with running.client() as client:
            assert client.get().body == b"hello"
        running.stop()
        assert all_of(heard) == ["startup", "request", "shutdown"]


def test_not_in_two_threads_at_once(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    app = from_asgi(living(Heard()))
    serve(app)
    with serve(app).client() as client:
        assert client.get().status == 500
    assert "already runs in another thread" in caplog.text


# -- the command -----------------------------------------------------------------------------------

LIVING = """
async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    print("startup", flush=True)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("shutdown", flush=True)
    await send({"type": "lifespan.shutdown.complete"})
"""


@pytest.mark.slow
def test_the_command_starts_and_shuts_down(command: Command) -> None:
    running = command("app:app", "--bind", "127.0.0.1:0", app=LIVING).wait_ready()
    running.signal(signal.SIGTERM)
    assert running.wait() == 0
    startup, greeting, shutdown = map(running.text.index, ("startup", " serves ", "shutdown"))
    assert startup < greeting < shutdown


FAILING = """
from contextlib import asynccontextmanager
from starlette.applications import Starlette

@asynccontextmanager
async def lifespan(app):
    raise OSError("no database")
    yield

app = Starlette(lifespan=lifespan)
"""


@pytest.mark.slow
def test_the_command_ends_when_startup_fails(command: Command) -> None:
    running = command("app:app", "--bind", "127.0.0.1:0", app=FAILING)
    assert running.wait() == 1
    last = running.text.splitlines()[-1]
    assert last == "gserver: the ASGI application failed to start: OSError: no database"
    assert " serves " not in running.text
    assert running.text.count("Traceback") == 1


def test_what_has_started_is_shut_down_where_the_server_cannot_listen() -> None:
    heard = Heard()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match="cannot listen"):
            Server(living(heard), Config(bind=address)).start()
    assert all_of(heard) == ["startup", "shutdown"]


def test_a_stop_ends_a_startup_that_hangs() -> None:
    begun = gevent.event.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await asyncio.sleep(60)

    server = Server(app, Config(bind="127.0.0.1:0"))
    serving = gevent.spawn(server.serve_forever)
    assert begun.wait(10)
    server.stop()
    serving.get(timeout=10)
    assert server.listeners == []


def test_gunicorn_gives_up_when_startup_fails(command: Command) -> None:
    program = [sys.executable, "-m", "gunicorn", "-k", "gserver.Worker", "-b", "127.0.0.1:0"]
    source = """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
"""
    running = command("app:app", app=source, program=program)
    assert running.wait(30) != 0
    assert "no database" in running.text
    assert running.text.count("Booting worker") == 1
