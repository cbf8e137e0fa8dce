"""The servers, each started when a test first asks for it, and kept for the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from elsewhere.servers import NATIVE, RECIPES, Running

Find = Callable[[str], Running]


@pytest.fixture(scope="session")
def find() -> Iterator[Find]:
    """Return a function that returns the server of a name; "native" is `NATIVE`."""
    with ExitStack() as stack:
        servers: dict[str, Running] = {}

        def find_server(name: str) -> Running:
            if name not in servers:
                servers[name] = Running(NATIVE if name == "native" else RECIPES[name])
                stack.callback(servers[name].close)
            return servers[name]

        yield find_server


@pytest.fixture(scope="session")
def native(find: Find) -> Running:
    """Return gserver, serving the Lite applications without a detour."""
    return find("native")
