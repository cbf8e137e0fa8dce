"""Django's own: the admin on SQLite, files, and database connections that are given back."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from clients import RawClient
from conftest import Launch, ServerProcess

CONTENT = os.urandom(3_000_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the database, the served file and temporary files of uploads are."""
    return tmp_path_factory.mktemp("django")


@pytest.fixture(scope="module")
def django(launch: Launch, folder: Path) -> ServerProcess:
    (folder / "file.bin").write_bytes(CONTENT)
    (folder / "uploads").mkdir()
    return launch(
        "django_app:app",
        DATABASE=str(folder / "database.sqlite3"),
        SERVED_FILE=str(folder / "file.bin"),
        TMPDIR=str(folder / "uploads"),
    )


@pytest.fixture
def url(django: ServerProcess) -> str:
    return f"http://127.0.0.1:{django.port}"


@pytest.fixture
def client(django: ServerProcess) -> Iterator[RawClient]:
    with django.client() as client:
        yield client


@pytest.fixture
def browser() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def token(page: requests.Response) -> str:
    """Return the CSRF token of the form in a page."""
    match = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert match, page.text
    return match[1]


def log_in(browser: requests.Session, url: str) -> requests.Response:
    page = browser.get(f"{url}/admin/", timeout=10)
    assert [one.status_code for one in page.history] == [302]
    assert "/admin/login/?next=/admin/" in page.url
    fields = {"username": "ada", "password": "lovelace", "csrfmiddlewaretoken": token(page)}
    return browser.post(page.url, data=fields, timeout=10)


def test_admin_login(url: str, browser: requests.Session) -> None:
    page = log_in(browser, url)
    assert (page.status_code, page.url) == (200, f"{url}/admin/")
    assert "Site administration" in page.text
    assert "ada" in page.text


def test_admin_login_without_csrf_token(url: str, browser: requests.Session) -> None:
    page = browser.get(f"{url}/admin/login/", timeout=10)
    fields = {"username": "ada", "password": "lovelace"}
    assert browser.post(page.url, data=fields, timeout=10).status_code == 403
    assert "sessionid" not in browser.cookies


def test_admin_login_with_wrong_password(url: str, browser: requests.Session) -> None:
    page = browser.get(f"{url}/admin/login/", timeout=10)
    fields = {"username": "ada", "password": "byron", "csrfmiddlewaretoken": token(page)}
    page = browser.post(page.url, data=fields, timeout=10)
    assert "Please enter the correct username and password" in page.text
    assert "sessionid" not in browser.cookies


def test_admin_adds_and_deletes(url: str, browser: requests.Session) -> None:
    log_in(browser, url)
    form = browser.get(f"{url}/admin/auth/group/add/", timeout=10)
    fields = {"name": "Zäune & Co", "csrfmiddlewaretoken": token(form)}
    page = browser.post(form.url, data=fields, timeout=10)
    assert page.url == f"{url}/admin/auth/group/"
    assert "was added successfully" in page.text
    match = re.search(r'href="(/admin/auth/group/\d+/)change/[^"]*">Zäune &amp; Co<', page.text)
    assert match, page.text
    delete = browser.get(f"{url}{match[1]}delete/", timeout=10)
    fields = {"post": "yes", "csrfmiddlewaretoken": token(delete)}
    page = browser.post(delete.url, data=fields, timeout=10)
    assert "was deleted successfully" in page.text


def test_admin_logout(url: str, browser: requests.Session) -> None:
    fields = {"csrfmiddlewaretoken": token(log_in(browser, url))}
    assert "Logged out" in browser.post(f"{url}/admin/logout/", data=fields, timeout=10).text
    assert "/admin/login/" in browser.get(f"{url}/admin/", timeout=10).url


def test_file_is_sent_and_closed(client: RawClient) -> None:
    response = client.get("/watched-file/sent")
    assert response.body == CONTENT
    assert response["Content-Length"] == str(len(CONTENT))
    assert response["Content-Disposition"] == "attachment; filename*=utf-8''Pr%C3%BCfung.bin"
    assert client.get("/finished/sent").body == b"True"


def test_file_is_closed_after_head(client: RawClient) -> None:
    response = client.get("/watched-file/head", method="HEAD")
    assert response["Content-Length"] == str(len(CONTENT))
    assert client.get("/finished/head").body == b"True"


def test_file_is_closed_when_the_client_leaves(django: ServerProcess, client: RawClient) -> None:
    with django.client() as leaving:
        leaving.send(b"GET /watched-file/left HTTP/1.1\r\nHost: localhost\r\n\r\n")
        leaving.exactly(1000)
    assert client.get("/finished/left").body == b"True"


@pytest.mark.parametrize(("size", "on_disk"), [(1_000_000, False), (3_000_000, True)])
def test_upload(
    url: str, browser: requests.Session, folder: Path, size: int, on_disk: bool
) -> None:
    data = CONTENT[:size]
    told = browser.post(f"{url}/upload", files={"file": ("a.bin", data)}, timeout=10).json()
    digest = hashlib.sha256(data).hexdigest()
    assert told == {"name": "a.bin", "on_disk": on_disk, "size": size, "sha256": digest}
    browser.get(f"{url}/nothing", timeout=10)  # what ends a request follows its answer
    assert list((folder / "uploads").iterdir()) == []


def ask(client: RawClient, path: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(client.get(path).body)
    return answer


def meet(django: ServerProcess, alias: str) -> list[dict[str, Any]]:
    """Send ten requests that wait for each other in the middle; return the answers."""
    with ExitStack() as stack:
        clients = [stack.enter_context(django.client()) for _ in range(10)]
        for client in clients:
            client.send(f"GET /meet/{alias} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return [json.loads(client.response().body) for client in clients]


def test_requests_at_the_same_time_have_connections_of_their_own(
    django: ServerProcess, client: RawClient
) -> None:
    answers = meet(django, "default")
    assert [one["users"] for one in answers] == [1] * 10
    assert len({one["connection"] for one in answers}) == 10
    assert ask(client, "/still-open/default")["open"] == 0


def test_connections_are_closed_when_the_request_has_finished(client: RawClient) -> None:
    for _ in range(3):
        assert ask(client, "/users/default")["users"] == 1
    assert ask(client, "/still-open/default")["open"] == 0


def test_kept_connections_are_reused(django: ServerProcess, client: RawClient) -> None:
    """CONN_MAX_AGE means what it means on a pool of threads: a greenlet keeps its connection."""
    meet(django, "kept")
    first = ask(client, "/users/kept")
    assert all(ask(client, "/users/kept") == first for _ in range(5))
    known = {one["connection"] for one in meet(django, "kept")}
    assert known == {one["connection"] for one in meet(django, "kept")}
    assert ask(client, "/still-open/kept")["closed"] == 0


def test_connection_of_a_stream_is_closed_when_the_client_leaves(
    django: ServerProcess, client: RawClient
) -> None:
    with django.client() as leaving:
        leaving.send(b"GET /stream-users/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert leaving.chunk(leaving.head()) == b"1\n" * 10000
    assert client.get("/finished/stream").body == b"True"
    assert ask(client, "/still-open/default")["open"] == 0


def test_what_a_request_activates_ends_with_it(client: RawClient) -> None:
    """Django keeps the language in a context variable: here it does not leak, as on threads."""
    for _ in range(3):
        assert client.get("/speak/de").body == b"en-us de"
