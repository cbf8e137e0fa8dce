"""The examples run as their first lines say."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.sync.client import connect

from clients import RawClient, Response
from conftest import ROOT, ServerProcess

EXAMPLES = {path.stem: path for path in (ROOT / "examples").glob("*.py")}

Run = Callable[[str], ServerProcess]


@pytest.fixture
def run() -> Iterator[Run]:
    """Return a function that serves an example, by its name, until the end of the test."""
    with ExitStack() as stack:

        def start(name: str) -> ServerProcess:
            command = [sys.executable, "-m", "gserver", f"examples.{name}:app"]
            command += ["--bind", "127.0.0.1:0", "--graceful-timeout", "0.2"]
            running = ServerProcess(command, ROOT)
            stack.callback(running.kill)
            running.wait_ready()
            stack.callback(stop, running)
            return running

        yield start


def stop(running: ServerProcess) -> None:
    running.signal(15)
    assert running.wait() == 0, running.text
    assert "Traceback" not in running.text, running.text


def check_hello(client: RawClient, server: ServerProcess) -> None:
    assert client.get().text == "Hello over HTTP/1.1, 127.0.0.1!\n"


def check_bottle_app(client: RawClient, server: ServerProcess) -> None:
    assert json.loads(client.get().body) == {"tea": 250, "coffee": 300}
    assert client.get("/tea").text == "tea: 2.50\n"
    assert client.post("/tea", b"275", method="PUT").text == "tea costs 275 from now on\n"
    assert client.get("/tea").text == "tea: 2.75\n"
    assert client.get("/beer").status == 404


def check_flask_app(client: RawClient, server: ServerProcess) -> None:
    assert "/report" in client.get().text
    lines = [f"line {number} of 3\n".encode() for number in (1, 2, 3)]
    assert client.get("/report").chunks == lines


def check_django_app(client: RawClient, server: ServerProcess) -> None:
    page = client.get()
    match = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert match, page.text
    cookie = "Cookie: " + page["Set-Cookie"].partition(";")[0]
    form = "Content-Type: application/x-www-form-urlencoded"
    body = f"csrfmiddlewaretoken={match[1]}&guest=Z%C3%A4hne+%26+Co".encode()
    assert client.post("/", body, form).status == 403
    assert "<li>Zähne &amp; Co</li>" in client.post("/", body, form, cookie).text
    assert "<li>Zähne &amp; Co</li>" in client.get().text


def check_upload(client: RawClient, server: ServerProcess) -> None:
    content = bytes(range(256)) * 4000
    digest = hashlib.sha256(content).hexdigest()
    assert client.post("/", content, method="PUT").text == f"{digest} {len(content)}\n"
    assert client.get()["Allow"] == "POST, PUT"


def check_lite_closing(client: RawClient, server: ServerProcess) -> None:
    rows = client.get().text.splitlines()
    assert len(rows) == 1000
    assert (rows[0], rows[-1]) == ("1,1", "1000,1000000")


def check_event_stream(client: RawClient, server: ServerProcess) -> None:
    assert "EventSource" in client.get().text
    with server.client() as ada, server.client() as bob:
        streams: list[tuple[RawClient, Response]] = []
        for listener in (ada, bob):
            listener.send(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = listener.head()
            assert head["Content-Type"] == "text/event-stream"
            assert listener.chunk(head) == b": welcome\n\n"
            streams.append((listener, head))
        assert client.post("/", b"good\nmorning").status == 200
        for listener, head in streams:
            assert listener.chunk(head) == b"data: good morning\n\n"
    # They have left; those who stay go on.
    assert client.post("/", b"anybody there?").status == 200


def check_notes(client: RawClient, server: ServerProcess) -> None:
    assert "EventSource" in client.get().text
    form = (
        b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\nZ\xc3\xa4hne\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n--b--\r\n'
    )
    posted = client.post("/", form, "Content-Type: multipart/form-data; boundary=b")
    assert (posted.status, posted["Location"]) == (303, "/")
    assert json.loads(client.get("/notes").body) == ["Zähne [3]"]
    assert client.post("/", b"{}", "Content-Type: application/json").status == 415
    assert client.get("/nothing").status == 404
    with server.client() as reader:
        reader.send(b"GET /news HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = reader.head()
        assert head["Content-Type"] == "text/event-stream"
        assert [reader.chunk(head), reader.chunk(head)] == [
            b":\n\n",
            "data: Zähne [3]\n\n".encode(),
        ]


def check_push(client: RawClient, server: ServerProcess) -> None:
    hint = client.get()
    assert hint.status == 103
    assert hint["Link"] == "</style.css>; rel=preload; as=style"
    page = client.response()
    assert page["Style-Sheet"] == "hinted"
    assert "/style.css" in page.text
    assert client.get("/style.css")["Content-Type"] == "text/css"


def check_to_asgi_app(client: RawClient, server: ServerProcess) -> None:
    """Under an ASGI server tests/api/asgi/test_to_asgi_servers.py runs it."""
    assert "<!doctype html>" in client.get().text
    assert client.get("/count").chunks == [b"1\n", b"2\n", b"3\n", b"4\n", b"5\n"]
    assert client.get("/echo").status == 426


def check_two_worlds(client: RawClient, server: ServerProcess) -> None:
    """Two that sleep a second, at the same time."""
    begin = time.monotonic()
    with server.client() as other:
        other.send(b"GET /api/sleep HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.get("/sleep").body == b"Flask has slept\n"
        assert other.response().body == b'"FastAPI has slept"'
    assert time.monotonic() - begin < 1.9


def check_asgi_chat(client: RawClient, server: ServerProcess) -> None:
    """Two WebSockets of Starlette, and a view of Flask that tells both."""
    address = f"ws://127.0.0.1:{server.port}/room/ws"
    with connect(address) as ada, connect(address) as bob:
        ada.send("hello")
        assert [ada.recv(10), bob.recv(10)] == ["hello", "hello"]
        assert client.post("/say", b"good morning").body == b"2 have heard it\n"
        assert [ada.recv(10), bob.recv(10)] == ["good morning", "good morning"]
    assert "WebSocket" in client.get().text


CHECKS = {
    "hello": check_hello,
    "bottle_app": check_bottle_app,
    "flask_app": check_flask_app,
    "django_app": check_django_app,
    "upload": check_upload,
    "lite_closing": check_lite_closing,
    "notes": check_notes,
    "event_stream": check_event_stream,
    "push": check_push,
    "to_asgi_app": check_to_asgi_app,
    "two_worlds": check_two_worlds,
    "asgi_chat": check_asgi_chat,
}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_example(name: str, run: Run) -> None:
    server = run(name)
    with server.client() as client:
        CHECKS[name](client, server)


@pytest.mark.parametrize("path", sorted(EXAMPLES.values()), ids=sorted(EXAMPLES))
def test_example_is_short_and_listed(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) < 40
    assert f"gserver examples.{path.stem}:app" in source
    listed = (ROOT / "examples" / "README.rst").read_text()
    assert re.search(rf"^{path.stem} ", listed, re.MULTILINE)
