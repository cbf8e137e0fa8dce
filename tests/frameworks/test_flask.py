"""Flask's own: sessions, request contexts in streams, conditional and partial files, limits."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator

import pytest
import requests

from clients import RawClient, Response
from conftest import Launch, ServerProcess

CONTENT = os.urandom(1_000_000)


@pytest.fixture(scope="module")
def flask(launch: Launch, tmp_path_factory: pytest.TempPathFactory) -> ServerProcess:
    path = tmp_path_factory.mktemp("served") / "file.bin"
    path.write_bytes(CONTENT)
    return launch("flask_app:app", SERVED_FILE=str(path))


@pytest.fixture
def client(flask: ServerProcess) -> Iterator[RawClient]:
    with flask.client() as client:
        yield client


def test_session_belongs_to_the_browser(flask: ServerProcess) -> None:
    url = f"http://127.0.0.1:{flask.port}/count"
    with requests.Session() as ada, requests.Session() as bob:
        ada.trust_env = bob.trust_env = False
        assert [ada.get(url, timeout=10).text for _ in range(3)] == ["1", "2", "3"]
        assert bob.post(url, timeout=10).text == "1"
        assert ada.get(url, timeout=10).text == "4"


def test_stream_with_context_keeps_the_request(client: RawClient, flask: ServerProcess) -> None:
    """Two streams run at once; each sees its own request and g in every block."""
    with flask.client() as other, flask.client() as third:
        for one, name in ((client, "ada"), (other, "bob")):
            one.send(f"GET /context/{name}?word=hi-{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            response = one.head()
            assert one.chunk(response) == f"/context/{name} {name}\n".encode()
        for one, name in ((other, "bob"), (client, "ada")):
            assert third.post(f"/release/{name}", b"").status == 200
            assert one.chunk(response) == f"hi-{name} {name}\n".encode()
            assert one.chunk(response) == b""


def test_teardown_runs_when_the_stream_ends(client: RawClient, flask: ServerProcess) -> None:
    client.post("/release/ended", b"")
    assert len(client.get("/context/ended?word=x").chunks) == 2
    assert client.get("/torn-down/ended").body == b"True"


def test_teardown_runs_when_the_client_leaves(flask: ServerProcess) -> None:
    with flask.client() as leaving:
        leaving.send(b"GET /endless/left HTTP/1.1\r\nHost: x\r\n\r\n")
        assert leaving.chunk(leaving.head()) == bytes(65536)
    with flask.client() as client:
        assert client.get("/torn-down/left").body == b"True"


@pytest.mark.parametrize(
    ("wanted", "begin", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=500000-", 500_000, 1_000_000),
        ("bytes=-10", 999_990, 1_000_000),
        ("bytes=999990-2000000", 999_990, 1_000_000),
    ],
)
def test_range(client: RawClient, wanted: str, begin: int, end: int) -> None:
    response = client.get("/attachment", f"Range: {wanted}")
    assert response.status == 206
    assert response["Content-Range"] == f"bytes {begin}-{end - 1}/1000000"
    assert response["Content-Length"] == str(end - begin)
    assert response.body == CONTENT[begin:end]


def test_range_that_cannot_be(client: RawClient) -> None:
    response = client.get("/attachment", "Range: bytes=1000000-")
    assert (response.status, response["Content-Range"]) == (416, "bytes */1000000")


def test_range_only_of_what_the_client_knows(client: RawClient) -> None:
    etag = client.get("/attachment", method="HEAD")["ETag"]
    same = client.get("/attachment", "Range: bytes=5-9", f"If-Range: {etag}")
    assert (same.status, same.body) == (206, CONTENT[5:10])
    changed = client.get("/attachment", "Range: bytes=5-9", 'If-Range: "other"')
    assert (changed.status, changed.body) == (200, CONTENT)


def test_file_headers(client: RawClient) -> None:
    response = client.get("/attachment")
    assert response.body == CONTENT
    assert response["Content-Disposition"].endswith("filename*=UTF-8''Pr%C3%BCfung.bin")
    assert response["Cache-Control"] == "public, max-age=60"
    unchanged = client.get("/attachment", f"If-None-Match: {response['ETag']}")
    assert (unchanged.status, unchanged.body) == (304, b"")


def test_head_of_file_is_that_of_get(client: RawClient) -> None:
    head = client.get("/attachment", method="HEAD")
    get = client.get("/attachment")
    assert without_date(head) == without_date(get)
    assert head["Content-Length"] == str(len(CONTENT))


def without_date(response: Response) -> list[tuple[str, str]]:
    return [(name, value) for name, value in response.headers if name != "Date"]


def test_upload_larger_than_memory_buffers(flask: ServerProcess) -> None:
    """Werkzeug reads the form with readline-like access and spools large parts to disk."""
    data = CONTENT * 5
    with requests.Session() as session:
        session.trust_env = False
        url = f"http://127.0.0.1:{flask.port}/upload"
        told = session.post(url, files={"file": ("ü.bin", data)}, timeout=20).json()
    digest = hashlib.sha256(data).hexdigest()
    assert told == {"name": "ü.bin", "size": len(data), "sha256": digest}


def test_content_too_large_for_the_application(client: RawClient) -> None:
    assert client.post("/small", bytes(1001)).status == 413
    taken = client.post("/small", bytes(1000))
    assert json.loads(taken.body)["size"] == 1000


def test_client_that_leaves_in_mid_upload(flask: ServerProcess) -> None:
    with flask.client() as leaving:
        leaving.send(b"POST /take/half HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
    with flask.client() as client:
        assert client.get("/torn-down/half").body == b"True"
    assert "Traceback" not in flask.text


def test_methods(client: RawClient) -> None:
    refused = client.get("/greet/you", method="DELETE")
    assert refused.status == 405
    assert {"GET", "HEAD", "OPTIONS"} == set(refused["Allow"].split(", "))
    allowed = client.get("/count", method="OPTIONS")
    assert {"GET", "HEAD", "OPTIONS", "POST"} == set(allowed["Allow"].split(", "))
