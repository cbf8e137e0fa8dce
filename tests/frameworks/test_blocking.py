"""Handlers that block the ordinary way do not stop each other, in one process."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from clients import RawClient
from conftest import Launch, ServerProcess, need

GATES = (
    "socket",
    "tcp",
    "select",
    "selectors",
    "event",
    "lock",
    "condition",
    "queue",
    "simple-queue",
    "future",
    "executor",
    "thread",
    "subprocess",
)


@pytest.fixture(scope="module")
def server(launch: Launch) -> ServerProcess:
    return launch("blocking_app:app")


def ask(client: RawClient, target: str) -> None:
    client.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


def test_a_hundred_handlers_sleep_at_the_same_time(server: ServerProcess) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(server.client()) for _ in range(100)]
        begin = time.monotonic()
        for client in clients:
            ask(client, "/sleep")
        answers = [client.response().body for client in clients]
        duration = time.monotonic() - begin
    assert answers == [b"100"] * 100
    # One after the other they would take 100. A busy machine is allowed a few.
    assert 1 <= duration < 5


@pytest.mark.parametrize("kind", GATES)
def test_a_handler_waits_for_another(server: ServerProcess, kind: str) -> None:
    with server.client() as waiting, server.client() as client:
        assert client.get(f"/make?{kind}").body == b"made"
        ask(waiting, f"/wait?{kind}")
        # A handler that stops the process would leave this unanswered.
        assert client.get("/nested?0").body == b"bottom"
        assert client.get(f"/open?{kind}").body == b"opened"
        assert waiting.response().body == b"passed"


def test_a_handler_asks_its_own_server(server: ServerProcess) -> None:
    with server.client() as client:
        assert client.get("/nested?5").body == b"5 4 3 2 1 bottom"


@pytest.fixture(scope="module")
def with_redis(launch: Launch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Return a server whose handlers speak with a Redis of their own."""
    need("redis-server")
    folder = tmp_path_factory.mktemp("redis")
    for _ in range(5):  # somebody else may take the port in between
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        redis = start_redis(folder, port)
        if redis is not None:
            break
    assert redis is not None
    try:
        yield launch("blocking_app:app", REDIS_PORT=str(port))
    finally:
        redis.terminate()
        redis.communicate(timeout=10)


def start_redis(folder: Path, port: int) -> subprocess.Popen[str] | None:
    process = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "Ready to accept connections" in line:
            return process
    process.communicate(timeout=10)
    return None


def test_redis_clients_cooperate(with_redis: ServerProcess) -> None:
    with ExitStack() as stack:
        blocked = [stack.enter_context(with_redis.client()) for _ in range(20)]
        client = stack.enter_context(with_redis.client())
        for one in blocked:
            ask(one, "/pop?list")
        deadline = time.monotonic() + 10
        while client.get("/waiting").body != b"20":
            assert time.monotonic() < deadline
        assert client.get("/nested?1").body == b"1 bottom"
        for number in range(20):
            assert client.get(f"/push?list={number}").body in (b"0", b"1")
        answers = [one.response().body for one in blocked]
    assert sorted(answers, key=int) == [b"%d" % number for number in range(20)]
