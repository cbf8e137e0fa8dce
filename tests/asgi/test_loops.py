"""asyncio and asgiref in blocking applications, where each request may run a loop of its own.

The checks are in apps/loops_app.py: they run in requests of a server that is patched.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clients import RawClient
from conftest import ServerProcess

SOURCE = Path(__file__).parent / "apps" / "loops_app.py"
CHECKS = re.findall(r"^@check\ndef (\w+)", SOURCE.read_text("utf-8"), re.MULTILINE)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(launch: Callable[..., ServerProcess]) -> ServerProcess:
    return launch("loops_app:app")


def outcome(client: RawClient, name: str) -> str:
    with client:
        return client.get(f"/{name}").text


@pytest.mark.parametrize("name", CHECKS)
def test_in_a_request(server: ServerProcess, name: str) -> None:
    assert outcome(server.client(timeout=30), name) == ""


def test_all_of_them_at_the_same_time(server: ServerProcess) -> None:
    """Signals aside, which are one process's."""
    together = [name for name in CHECKS if name != "signals"]
    with ThreadPoolExecutor(len(together)) as pool:
        outcomes = pool.map(lambda name: outcome(server.client(timeout=30), name), together)
        assert list(outcomes) == [""] * len(together)
