"""Six frameworks, unchanged, do the same things; alone, and inside `wsgiref.validate`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from conftest import Launch

FRAMEWORKS = ("bottle", "django", "falcon", "flask", "pyramid", "webob")

CONTENT = os.urandom(300_000)


def describe(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment that tells the applications which file they serve."""
    path: Path = tmp_path_factory.mktemp("served") / "file.bin"
    path.write_bytes(CONTENT)
    return {"SERVED_FILE": str(path), "SERVED_FOLDER": str(path.parent)}


@pytest.fixture(scope="module")
def mounted(launch: Launch, variables: dict[str, str]) -> str:
    """Return the URL under which all frameworks are, validated."""
    return f"http://127.0.0.1:{launch('validated:app', **variables).port}"


@pytest.fixture(scope="module", params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module", params=["alone", "validated"])
def url(
    request: pytest.FixtureRequest, framework: str, launch: Launch, variables: dict[str, str]
) -> str:
    """Return where the framework's application is."""
    if request.param == "validated":
        return f"{request.getfixturevalue('mounted')}/{framework}"
    return f"http://127.0.0.1:{launch(f'{framework}_app:app', **variables).port}"


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def test_text_in_path_and_query(url: str, session: requests.Session) -> None:
    response = session.get(f"{url}/greet/Jürgen", params={"word": "grüß"}, timeout=10)
    assert (response.status_code, response.text) == (200, "grüß, Jürgen!")
    assert response.headers["Content-Length"] == str(len(response.content))
    assert response.headers["Content-Type"].lower() == "text/plain; charset=utf-8"


def test_form(url: str, session: requests.Session) -> None:
    fields = {"one": "1", "ü": "ä & ö"}
    assert session.post(f"{url}/form", data=fields, timeout=10).json() == fields


def test_upload(url: str, session: requests.Session) -> None:
    files = {"file": ("data.bin", CONTENT)}
    told = session.post(f"{url}/upload", files=files, timeout=10).json()
    assert told.items() >= {"name": "data.bin", **describe(CONTENT)}.items()


def test_content(url: str, session: requests.Session) -> None:
    response = session.post(f"{url}/raw", data=CONTENT, timeout=10)
    assert response.json() == describe(CONTENT)


def test_chunked_content(framework: str, url: str, session: requests.Session) -> None:
    content = CONTENT[:100_000]
    pieces = (content[i : i + 7000] for i in range(0, len(content), 7000))
    response = session.post(f"{url}/raw", data=pieces, timeout=10)
    if framework == "bottle":
        # It insists on taking the chunks apart itself, which no WSGI server leaves to it.
        assert response.status_code == 400
        assert "chunked transfer body" in response.text
    elif framework == "django":
        # Under WSGI it reads as much as Content-Length says: nothing here, whatever the server.
        assert response.json() == describe(b"")
    else:
        assert response.json() == describe(content)
    assert session.get(f"{url}/greet/you?word=still", timeout=10).text == "still, you!"


def test_block_by_block(url: str, session: requests.Session, request: Any) -> None:
    """The first block reaches the client while the second cannot exist yet."""
    name = request.node.name.encode().hex()
    with session.get(f"{url}/drip/{name}", stream=True, timeout=10) as response:
        lines = response.iter_lines(chunk_size=1)
        assert next(lines) == b"first"
        requests.post(f"{url}/release/{name}", timeout=10)
        assert list(lines) == [b"second"]
    assert response.headers["Transfer-Encoding"] == "chunked"


def test_error_in_the_middle(url: str, session: requests.Session) -> None:
    """What is not whole does not look whole."""
    response = session.get(f"{url}/drip/broken", stream=True, timeout=10)
    assert response.status_code == 200
    with response, pytest.raises(requests.exceptions.ChunkedEncodingError):
        list(response.iter_lines())


def test_file(url: str, session: requests.Session) -> None:
    response = session.get(f"{url}/file", timeout=10)
    assert response.content == CONTENT
    assert response.headers["Content-Length"] == str(len(CONTENT))


def test_range_of_file(framework: str, url: str, session: requests.Session) -> None:
    ranged = {"Range": "bytes=1000-1999"}
    response = session.get(f"{url}/file", headers=ranged, timeout=10)
    if framework == "django":
        assert (response.status_code, response.content) == (200, CONTENT)  # it knows no ranges
    else:
        assert (response.status_code, response.content) == (206, CONTENT[1000:2000])
        assert response.headers["Content-Range"] == f"bytes 1000-1999/{len(CONTENT)}"


def test_file_not_modified(framework: str, url: str, session: requests.Session) -> None:
    first = session.head(f"{url}/file", timeout=10)
    assert (first.status_code, first.content) == (200, b"")
    if framework == "django":
        assert "Last-Modified" not in first.headers
        return
    fresh = {"If-Modified-Since": first.headers["Last-Modified"]}
    response = session.get(f"{url}/file", headers=fresh, timeout=10)
    assert (response.status_code, response.content) == (304, b"")
    # The connection is in order: nothing of a body came.
    assert session.get(f"{url}/file", timeout=10).content == CONTENT


def test_cookies(url: str, session: requests.Session) -> None:
    response = session.get(f"{url}/cookies/set", timeout=10)
    assert len(response.raw.headers.getlist("Set-Cookie")) == 2
    cookies = session.get(f"{url}/cookies/get", timeout=10).json()
    assert cookies["one"].strip('"') == "1"
    assert "two" in cookies


def test_redirect(url: str, session: requests.Session) -> None:
    response = session.get(f"{url}/moved", timeout=10)
    assert [one.status_code // 100 for one in response.history] == [3]
    assert response.text == "hello, you!"


def test_no_content(url: str, session: requests.Session) -> None:
    response = session.get(f"{url}/nothing", timeout=10)
    assert (response.status_code, response.content) == (204, b"")
    assert "Content-Length" not in response.headers


def test_error(url: str, session: requests.Session) -> None:
    response = session.get(f"{url}/error", timeout=10)
    assert response.status_code == 500
    assert "internals" not in response.text
    assert session.get(f"{url}/greet/you?word=still", timeout=10).text == "still, you!"


def test_unknown_path(url: str, session: requests.Session) -> None:
    assert session.get(f"{url}/unknown", timeout=10).status_code == 404
