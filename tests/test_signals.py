"""Signals: the server drains, cuts what takes too long, and always ends."""

from __future__ import annotations

import re
import signal
import socket
from pathlib import Path

import pytest

from clients import ConnectionEnded, RawClient
from conftest import Command, ServerProcess

pytestmark = pytest.mark.slow

APP = """
import sys, time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/read":
        sys.stderr.write("reading\\n")
        environ["wsgi.input"].read()
    elif path == "/ever":
        sys.stderr.write("waiting\\n")
        time.sleep(600)
    elif path == "/busy":
        sys.stderr.write("busy\\n")
        while True:
            pass
    start_response("200 OK", [("Content-Length", "4")])
    return [b"done"]
"""


@pytest.fixture
def start(command: Command) -> Command:
    """Return a function that starts a server with options and returns it once it serves."""

    def start(*arguments: str) -> ServerProcess:
        return command("app:app", "--bind", "127.0.0.1:0", *arguments, app=APP).wait_ready()

    return start


def messages(running: ServerProcess) -> list[str]:
    return re.findall(r"\[(?:INFO|WARNING|ERROR)\] (.*)", running.text)


def wait_until_refused(running: ServerProcess) -> None:
    """Return when the server has stopped listening."""
    port = running.port
    while True:
        with socket.socket() as client:
            client.settimeout(10)
            try:
                client.connect(("127.0.0.1", port))
            except ConnectionRefusedError:
                return
            except ConnectionResetError:
                pass  # it came when the listener was closed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_server_stops_at_once(number: signal.Signals, start: Command, tmp_path: Path) -> None:
    running = start("--bind", f"unix:{tmp_path / 'app.sock'}", "--graceful-timeout", "60")
    with running.client() as idle:
        assert idle.get().body == b"done"
        running.signal(number)
        assert idle.closed()
    assert running.wait(10) == 0
    assert messages(running) == [f"{number.name}: stopping", "stopped"]
    assert not (tmp_path / "app.sock").exists()


def test_what_runs_is_finished_and_nothing_new_is_accepted(start: Command) -> None:
    running = start("--graceful-timeout", "60")
    with running.client() as client:
        client.send(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        running.wait_output("reading")
        running.signal(signal.SIGTERM)
        wait_until_refused(running)
        client.send(b"cd")
        response = client.response()
        assert (response.status, response["Connection"]) == (200, "close")
        assert client.closed()
    assert running.wait(10) == 0
    assert messages(running) == [
        "SIGTERM: stopping; what runs has 60 seconds to finish (requests: 1), a second signal cuts "
        "it off",
        "stopped",
    ]


def cut(client: RawClient) -> bool:
    """Return whether the server has broken the request off, with 503 if it could say so."""
    try:
        return client.response().status == 503
    except ConnectionEnded:
        return True


def test_what_runs_longer_than_the_graceful_timeout_is_cut(start: Command) -> None:
    running = start("--graceful-timeout", "0.2")
    with running.client() as client:
        client.send(b"GET /ever HTTP/1.1\r\nHost: a\r\n\r\n")
        running.wait_output("waiting")
        running.signal(signal.SIGTERM)
        assert cut(client)
    assert running.wait(10) == 0
    assert any("did not finish in 0.2 seconds" in one for one in messages(running))
    assert messages(running)[-1] == "stopped"


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_cuts_at_once(second: signal.Signals, start: Command) -> None:
    running = start("--graceful-timeout", "600")
    with running.client() as client:
        client.send(b"GET /ever HTTP/1.1\r\nHost: a\r\n\r\n")
        running.wait_output("waiting")
        running.signal(signal.SIGINT)
        running.wait_output("SIGINT: stopping;")
        running.signal(second)
        assert cut(client)
    assert running.wait(10) == 0
    assert f"{second.name}: stopping at once" in messages(running)
    assert messages(running)[-1] == "stopped"


def test_application_that_never_lets_go_is_shown_and_ended(start: Command, tmp_path: Path) -> None:
    running = start("--graceful-timeout", "600")
    with running.client() as client:
        client.send(b"GET /busy HTTP/1.1\r\nHost: a\r\n\r\n")
        running.wait_output("busy")
        running.signal(signal.SIGTERM)
        running.signal(signal.SIGINT)
        assert running.wait(10) == 1
    assert re.search(rf'File "{tmp_path}/app.py", line 1\d in app', running.text)


def test_interrupt_while_the_application_is_imported(command: Command) -> None:
    # Said by another greenlet, so that this one is asleep when the signal comes.
    app = (
        "import gevent, sys, time\n"
        "gevent.spawn_later(0.01, sys.stderr.write, 'importing\\n')\n"
        "time.sleep(600)"
    )
    running = command("app:app", "--bind", "127.0.0.1:0", app=app)
    running.wait_output("importing")
    running.signal(signal.SIGINT)
    assert running.wait(10) == 128 + signal.SIGINT
    assert running.text == "importing\n"
