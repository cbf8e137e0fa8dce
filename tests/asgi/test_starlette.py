"""Starlette and FastAPI run unchanged: their own features over real sockets."""

from __future__ import annotations

import gzip
import io
import json
import re
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

APP = Path(__file__).parent / "apps" / "starlette_app.py"


@pytest.fixture(scope="module")
def server(launch: Callable[..., ServerProcess]) -> ServerProcess:
    return launch("starlette_app:app", PYTHONASYNCIODEBUG="1")


@pytest.fixture(params=["http1", "http2"])
def client(request: pytest.FixtureRequest, server: ServerProcess) -> Iterator[httpx.Client]:
    http2 = request.param == "http2"
    url = f"http://127.0.0.1:{server.port}"
    with httpx.Client(base_url=url, http1=not http2, http2=http2, timeout=20) as made:
        yield made


def wait_noted(client: httpx.Client, *wanted: str) -> None:
    """Wait until the application has noted these, in this order."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        noted = iter(client.get("/noted").json())
        if all(one in noted for one in wanted):
            return
        time.sleep(0.01)
    raise AssertionError(client.get("/noted").json())


def test_pages(client: httpx.Client) -> None:
    answer = client.get("/page/a%20b?c")
    assert answer.text == "GET /page/a b state"
    assert client.get("/timed/page").headers["x-middleware"] == "passed"
    assert client.get("/endpoint").text == "endpoint"
    assert client.get("/redirect", follow_redirects=True).text == "endpoint"
    assert client.get("/missing").status_code == 404
    assert client.post("/endpoint").status_code == 405
    assert client.head("/page/a").status_code == 200


def test_content(client: httpx.Client) -> None:
    assert client.post("/content", content=b"x" * 300000).json()["size"] == 300000

    def pieces() -> Iterator[bytes]:
        for _ in range(3):
            yield b"piece"

    assert client.post("/content", content=pieces()).json()["size"] == 15


def test_forms(client: httpx.Client) -> None:
    file = ("name.bin", io.BytesIO(b"x" * 200000))
    assert client.post("/form", files={"file": file}).json() == {"name": "name.bin", "size": 200000}


def test_streams(client: httpx.Client) -> None:
    assert client.get("/stream").text == "0\n1\n2\n3\n4\n"


def test_files(client: httpx.Client) -> None:
    """With the extension path send, conditions and ranges."""
    for path in ("/static/starlette_app.py", "/file"):
        answer = client.get(path, headers={"Accept-Encoding": "identity"})
        assert answer.content == APP.read_bytes()
        assert answer.headers["content-length"] == str(APP.stat().st_size)
        head = client.head(path, headers={"Accept-Encoding": "identity"})
        assert head.headers["content-length"] == str(APP.stat().st_size)
        etag = answer.headers["etag"]
    fresh = client.get("/static/starlette_app.py", headers={"If-None-Match": etag})
    assert fresh.status_code == 304
    part = client.get("/file", headers={"Range": "bytes=2-4", "Accept-Encoding": "identity"})
    assert (part.status_code, part.content) == (206, APP.read_bytes()[2:5])
    assert client.get("/static/../conftest.py").status_code == 404


def test_middleware_compresses(client: httpx.Client) -> None:
    with client.stream("GET", "/file", headers={"Accept-Encoding": "gzip"}) as answer:
        if answer.headers.get("content-encoding") == "gzip":
            assert gzip.decompress(b"".join(answer.iter_raw())) == APP.read_bytes()
        else:
            assert APP.stat().st_size < 10000


@pytest.mark.parametrize("client", ["http1"], indirect=True)  # httpx mixes up concurrent streams
def test_what_blocks_runs_in_threads(client: httpx.Client) -> None:
    begin = time.monotonic()
    with ThreadPoolExecutor(10) as pool:
        paths = ["/blocking", "/fast/blocking"] * 5
        assert [one.status_code for one in pool.map(client.get, paths)] == [200] * 10
    assert time.monotonic() - begin < 0.9  # one after the other it would be a second


def test_more_threads_than_there_are(client: httpx.Client) -> None:
    assert float(client.get("/many-threads").text) < 2


def test_tasks_behind_the_response(client: httpx.Client) -> None:
    assert client.get("/behind").text == "now"
    assert client.get("/fast/task").json() == "now"
    wait_noted(client, "task")
    wait_noted(client, "blocking task")


def test_subprocesses(client: httpx.Client) -> None:
    assert client.get("/subprocess").text == "hello\n0"


def test_errors(client: httpx.Client) -> None:
    assert client.get("/fast/teapot").json() == {"detail": "short and stout"}
    assert client.get("/fast/items/word").status_code == 422


# -- clients that leave ----------------------------------------------------------------------------


def test_a_stream_that_idles_ends_with_its_client(client: httpx.Client) -> None:
    with client.stream("GET", "/events") as answer:
        assert next(answer.iter_text()) == "data: first\n\n"
    wait_noted(client, "stream ended")


def test_who_asks_learns_that_the_client_has_gone(
    server: ServerProcess, client: httpx.Client
) -> None:
    leaving = server.client()
    leaving.send(b"GET /polled HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_noted(client, "polling")
    leaving.close()
    wait_noted(client, "polling", "has gone")


def test_who_reads_learns_that_the_client_has_gone(
    server: ServerProcess, client: httpx.Client
) -> None:
    leaving = server.client()
    leaving.send(b"POST /cut-off HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf")
    wait_noted(client, "reading")
    leaving.close()
    wait_noted(client, "reading", "cut off")


# -- FastAPI ---------------------------------------------------------------------------------------


def test_fastapi(client: httpx.Client) -> None:
    answer = client.get("/fast/items/5", params={"words": ["a", "b"]})
    assert answer.json() == {"number": 5, "words": ["a", "b"]}
    made = client.post("/fast/items", json={"name": "tea"})
    assert (made.status_code, made.json()) == (201, {"name": "tea", "price": 1.5})
    assert "/items/{number}" in client.get("/fast/openapi.json").json()["paths"]
    assert "swagger" in client.get("/fast/docs").text


def test_dependencies(client: httpx.Client) -> None:
    assert client.get("/fast/blocking").json() == {"name": "session"}
    wait_noted(client, "opened", "closed")


def test_uploads(client: httpx.Client) -> None:
    file = ("name.bin", io.BytesIO(b"x" * 2000000))
    answer = client.post("/fast/upload", files={"file": file}, data={"comment": "thanks"})
    assert answer.json() == {"size": 2000000, "name": "name.bin", "comment": "thanks"}


# -- WebSocket -------------------------------------------------------------------------------------


def talk(server: ServerProcess, path: str, **options: Any) -> Any:
    return connect(f"ws://127.0.0.1:{server.port}{path}", **options)


def test_a_websocket_of_starlette(server: ServerProcess) -> None:
    with talk(server, "/echo") as ws:
        for text in ("one", "two", "x" * 100000):
            ws.send(text)
            assert ws.recv(10) == f"state: {text}"


def test_a_websocket_of_fastapi(server: ServerProcess) -> None:
    with talk(server, "/fast/ws/ada?token=secret") as ws:
        ws.send("hello")
        assert json.loads(ws.recv(10)) == {"name": "ada", "text": "hello"}


def test_a_websocket_that_is_refused(server: ServerProcess) -> None:
    with pytest.raises(InvalidStatus) as raised:
        talk(server, "/fast/ws/ada")
    assert raised.value.response.status_code == 403
    with pytest.raises(InvalidStatus) as raised:
        talk(server, "/nowhere")
    assert raised.value.response.status_code == 403


def test_the_lifespan_began_before_all_that(server: ServerProcess) -> None:
    assert re.search(r"startup\n(?s:.*) serves ", server.text)
