"""Django: asynchronous views, under WSGI and as ASGI application, and Channels."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from conftest import ServerProcess

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["wsgi", "asgi"])
def site(
    request: pytest.FixtureRequest,
    launch: Callable[..., ServerProcess],
    tmp_path_factory: pytest.TempPathFactory,
) -> ServerProcess:
    """Return a server of the site by one of its two applications."""
    path: Path = tmp_path_factory.mktemp("database")
    return launch(f"django_site:{request.param}", DATABASE=str(path / "database"))


@pytest.fixture
def client(site: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{site.port}", timeout=20) as made:
        yield made


@pytest.mark.parametrize("path", ["/blocking", "/sleeping"])
def test_views_of_either_kind_wait_side_by_side(client: httpx.Client, path: str) -> None:
    assert client.get(path).text == path[1:]
    begin = time.monotonic()
    with ThreadPoolExecutor(10) as pool:
        assert [one.text for one in pool.map(client.get, [path] * 10)] == [path[1:]] * 10
    assert time.monotonic() - begin < 0.9  # one after the other it would be a second


def test_all_kinds_at_the_same_time(client: httpx.Client) -> None:
    """Nobody takes a loop that waits for one of its own."""
    expected = {
        "/query": ["ada"],
        "/asynchronous-query": ["ada", 1],
        "/bridged": True,
    }
    with ThreadPoolExecutor(15) as pool:
        for path, answer in zip(
            list(expected) * 20, pool.map(client.get, list(expected) * 20), strict=True
        ):
            assert (path, answer.json()) == (path, expected[path])


def test_what_must_not_be_done_in_a_coroutine_is_refused(client: httpx.Client) -> None:
    assert client.get("/unsafe").text == "refused"


def test_content_and_streams(client: httpx.Client) -> None:
    assert client.post("/content", content=b"x" * 100000).text == "100000"
    assert client.get("/stream").text == "0\n1\n2\n"
    assert client.get("/missing").status_code == 404


# -- Channels --------------------------------------------------------------------------------------

channels = pytest.mark.parametrize("site", ["asgi"], indirect=True)


def talk(site: ServerProcess, path: str) -> Any:
    return connect(f"ws://127.0.0.1:{site.port}{path}", open_timeout=20)


@channels
def test_a_chat(site: ServerProcess, client: httpx.Client) -> None:
    with talk(site, "/chat/attic") as ada, talk(site, "/chat/attic") as bob:
        with talk(site, "/chat/cellar") as eve:
            ada.send("hello")
            assert [ada.recv(10), bob.recv(10)] == ["hello", "hello"]
            assert client.get("/announce/attic", params={"text": "listen"}).text == "announced"
            assert [ada.recv(10), bob.recv(10)] == ["listen", "listen"]
            eve.send("alone")
            assert eve.recv(10) == "alone"
        bob.close(4321)
        assert ada.recv(10) == "left with 4321"


@channels
def test_a_chat_whose_consumers_block(site: ServerProcess, client: httpx.Client) -> None:
    with talk(site, "/blocking-chat/attic") as ada, talk(site, "/blocking-chat/attic") as bob:
        bob.send("hello")
        assert [ada.recv(10), bob.recv(10)] == ["ada: hello", "ada: hello"]
        assert client.get("/announce/attic", params={"text": "listen"}).text == "announced"
        assert [ada.recv(10), bob.recv(10)] == ["listen", "listen"]


@channels
def test_consumers_refuse_and_ask_the_database(site: ServerProcess) -> None:
    with pytest.raises(InvalidStatus) as raised:
        talk(site, "/json")
    assert raised.value.response.status_code == 403
    with talk(site, "/json?token") as ws:
        ws.send('{"a": 1}')
        assert json.loads(ws.recv(10)) == {"echo": {"a": 1}, "users": 1}


@channels
def test_a_consumer_of_requests(client: httpx.Client) -> None:
    assert client.post("/poll", content=b"two").text == "one two"
