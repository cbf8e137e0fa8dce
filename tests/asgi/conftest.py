"""Server processes that live as long as a test module, as in tests/frameworks."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from conftest import ServerProcess

APPS = Path(__file__).parent / "apps"

Launch = Callable[..., ServerProcess]


@pytest.fixture(scope="module")
def launch() -> Iterator[Launch]:
    """Return a function that serves an application of ``apps/`` until the end of the module.

    It takes MODULE:APP and further arguments of the command; keyword arguments become variables
    of the environment.
    """
    with ExitStack() as stack:

        def start(name: str, *arguments: str, **environment: str) -> ServerProcess:
            command = [sys.executable, "-m", "gserver", name, *arguments]
            command += ["--bind", "127.0.0.1:0", "--graceful-timeout", "1"]
            running = ServerProcess(command, APPS, environment)
            stack.callback(running.kill)
            running.wait_ready()
            stack.callback(_stop, running)
            return running

        yield start


def _stop(running: ServerProcess) -> None:
    running.signal(signal.SIGTERM)
    assert running.wait() == 0, running.text
    for sign in ("Exception ignored", "Traceback", "was never awaited", "never retrieved"):
        assert sign not in running.text, running.text
