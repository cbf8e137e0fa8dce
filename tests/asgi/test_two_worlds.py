"""A blocking Flask application and an asyncio FastAPI application, side by side on one port."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from websockets.sync.client import connect

from conftest import ServerProcess

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(launch: Callable[..., ServerProcess]) -> ServerProcess:
    return launch("worlds_app:app")


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    limits = httpx.Limits(max_connections=100)
    url = f"http://127.0.0.1:{server.port}"
    with httpx.Client(base_url=url, timeout=20, limits=limits) as made:
        yield made


def at_once(client: httpx.Client, *paths: str) -> float:
    """Ask for each 20 times; return how long all of that takes."""
    wanted = list(paths) * 20
    begin = time.monotonic()
    with ThreadPoolExecutor(len(wanted)) as pool:
        assert [one.status_code for one in pool.map(client.get, wanted)] == [200] * len(wanted)
    return time.monotonic() - begin


def test_each_sleeps_at_its_own_speed(client: httpx.Client) -> None:
    """Forty requests of 0.2 seconds; one after the other they would take eight."""
    client.get("/sleep")
    assert at_once(client, "/sleep", "/api/sleep", "/lite/sleep") < 2


def test_a_coroutine_that_blocks_holds_up_only_coroutines(client: httpx.Client) -> None:
    with ThreadPoolExecutor(1) as pool:
        rude = [pool.submit(client.get, "/api/rude")]
        rude += [pool.submit(client.get, "/api/rude")]
        begin = time.monotonic()
        while not rude[0].done():
            assert client.get("/loop").text == "looped"
        assert time.monotonic() - begin < 2
        assert [one.result().json() for one in rude] == ["rude", "rude"]


def test_loops_of_requests_beside_the_one_of_the_application(client: httpx.Client) -> None:
    assert at_once(client, "/loop", "/api/sleep") < 2


def test_contexts(client: httpx.Client) -> None:
    """A coroutine gets a copy of its request's; nothing of it comes back."""
    for _ in range(3):
        assert client.get("/api/context").json() == "lite"
        assert client.get("/context").text == "lite"


def test_each_knows_where_it_is(client: httpx.Client) -> None:
    assert client.get("/api/root").json() == {
        "path": "/api/root",
        "url": str(client.base_url.join("/api/root")),
    }
    assert client.get("/api/nowhere").json() == {"detail": "Not Found"}
    assert "Werkzeug" not in client.get("/nowhere").headers.get("server", "")
    assert client.get("/nowhere").status_code == 404


def test_a_websocket_on_each_side(server: ServerProcess) -> None:
    address = f"ws://127.0.0.1:{server.port}"
    with connect(f"{address}/ws") as one, connect(f"{address}/api/ws") as other:
        for ws, name in ((one, "flask"), (other, "fastapi"), (one, "flask")):
            ws.send("hello")
            assert ws.recv(10) == f"{name}: hello"
