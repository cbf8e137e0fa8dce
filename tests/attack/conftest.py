"""Targets of attacks over HTTP/2: server processes, one for each engine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Command, ServerProcess
from exchange import ENGINES
from http2_attack_tools import APP, StartTarget, warm_up

BIND = ("--bind", "http://127.0.0.1:0")


@pytest.fixture(scope="module", params=ENGINES)
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """Return a server with the default options, which the tests of a module share."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc, to see how much memory the server takes")
    folder = tmp_path_factory.mktemp("target")
    (folder / "app.py").write_text(APP)
    arguments = ["-m", "gserver", "app:app", *BIND, "--http2-engine", request.param]
    server = ServerProcess([sys.executable, *arguments], folder)
    try:
        yield warm_up(server.wait_ready())
    finally:
        server.kill()


@pytest.fixture
def start_target(engine: str, command: Command) -> StartTarget:
    """Return a function that starts a server with options of its own."""

    def start(*options: str) -> ServerProcess:
        server = command("app:app", *BIND, "--http2-engine", engine, *options, app=APP)
        return warm_up(server.wait_ready())

    return start
