"""One application under gserver, uvicorn, hypercorn and daphne."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from clients import ConnectionEnded, RawClient, Response
from conftest import ROOT, ServerProcess
from http2_client import ENABLE_PUSH, PUSH_PROMISE, Http2Client, RawHttp2, request_fields
from websocket_client import Carrier, Close
from websocket_stage import until

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parent
TIMEOUT = 10.0

# The command, and what it prints before the port that it listens at.
COMMANDS: dict[str, tuple[list[str], str]] = {
    "gserver": (
        ["gserver", "served:app", "--bind", "127.0.0.1:0", "--graceful-timeout", "0.2"],
        r"http://127\.0\.0\.1:(\d+)",
    ),
    "uvicorn": (
        ["uvicorn", "served:asgi", "--port", "0", "--timeout-graceful-shutdown", "1"],
        r"running on http://127\.0\.0\.1:(\d+)",
    ),
    "hypercorn": (
        ["hypercorn", "served:asgi", "--bind", "127.0.0.1:0", "--workers", "0"],
        r"Running on http://127\.0\.0\.1:(\d+)",
    ),
    "daphne": (
        ["daphne", "served:asgi", "--port", "0", "--application-close-timeout", "1"],
        r"Listening on TCP address 127\.0\.0\.1:(\d+)",
    ),
}


class Place:
    """A server that runs."""

    def __init__(self, name: str, process: ServerProcess, port: int) -> None:
        self.name = name
        self.process = process
        self.address = ("127.0.0.1", port)

    def client(self) -> RawClient:
        """Return a new connection; the caller closes it."""
        return RawClient(self.address)

    def ask(self, target: str) -> str:
        with self.client() as client:
            return client.get(target).text

    def carrier(self, http2: bool = False) -> Carrier:
        return Carrier(SimpleNamespace(address=self.address, call=None), http2=http2)

    def open(self, target: str, **options: Any) -> ClientConnection:
        options.setdefault("open_timeout", TIMEOUT)
        url = f"ws://127.0.0.1:{self.address[1]}{target}"
        opened: ClientConnection = connect(url, proxy=None, **options)
        return opened

    def wait_note(self, pattern: str) -> None:
        """Wait until the application has taken a note."""
        until(lambda: re.search(pattern, self.ask("/notes")))


def start(name: str, application: str = "", folder: Path = FOLDER) -> Iterator[Place]:
    (module, served, *arguments), ready = COMMANDS[name]
    command = [sys.executable, "-m", module, application or served, *arguments]
    process = ServerProcess(command, folder, ready=ready)
    try:
        process.wait_ready()
        yield Place(name, process, int(process.wait_output(ready)[0]))
        process.signal(15)
        process.wait(10)
    finally:
        process.kill()


@pytest.fixture(scope="module")
def gserver() -> Iterator[Place]:
    yield from start("gserver")


@pytest.fixture(scope="module")
def uvicorn() -> Iterator[Place]:
    yield from start("uvicorn")


@pytest.fixture(scope="module")
def hypercorn() -> Iterator[Place]:
    yield from start("hypercorn")


@pytest.fixture(scope="module")
def daphne() -> Iterator[Place]:
    yield from start("daphne")


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    """Return a server; parametrised by its name."""
    running: Place = request.getfixturevalue(request.param)
    return running


ASGI = ("uvicorn", "hypercorn", "daphne")
# daphne has received all content before it calls the application, and takes whatever that sends.
PATIENT = ("uvicorn", "hypercorn")
everywhere = pytest.mark.parametrize("place", ASGI, indirect=True)
where_content_flows = pytest.mark.parametrize("place", PATIENT, indirect=True)


# -- the same answers ------------------------------------------------------------------------

Ask = Callable[[RawClient], Response]

REQUESTS: dict[str, Ask] = {
    "query": lambda client: client.get("/request?a=%20b&c"),
    "path": lambda client: client.get("/t%C3%A4%2Fb/%E4"),
    "fields": lambda client: client.get(
        "/request", "X-A: 1", "X-B:", "X-A: 2", "X_A: 3", "X-C: \xe4", "Cookie: a=1", "Cookie: b=2"
    ),
    "head": lambda client: client.get("/request", method="HEAD"),
    "head of blocks": lambda client: client.get("/cookies", method="HEAD"),
    "options": lambda client: client.get("/request", method="OPTIONS"),
    "counted content": lambda client: client.post(
        "/request", b"abc", "Content-Type: text/plain; x=y"
    ),
    "content comes back": lambda client: client.post("/echo", bytes(range(256)) * 800),
    "no content": lambda client: client.post("/digest", b""),
    "chunks": lambda client: client.get_with_body(
        "/digest", b"4\r\nab\nc\r\n3\r\ndef\r\n0\r\n\r\n", "Transfer-Encoding: chunked"
    ),
    "unread content": lambda client: client.post("/cookies", bytes(100_000)),
    "repeated headers": lambda client: client.get("/cookies"),
    "204": lambda client: client.get("/nothing"),
    "a file": lambda client: client.get("/file"),
    "head of a file": lambda client: client.get("/file", method="HEAD"),
    "write": lambda client: client.get("/writing"),
    "late start": lambda client: client.get("/late"),
    "no websocket": lambda client: client.get("/talk"),
}

# Each server's own, or about the connection.
FRAMING = {"connection", "date", "keep-alive", "server", "transfer-encoding", "upgrade"}


def essence(response: Response) -> tuple[int, list[tuple[str, str]], bytes]:
    headers = [(name.lower(), value) for name, value in response.headers]
    return response.status, [one for one in headers if one[0] not in FRAMING], response.body


@everywhere
@pytest.mark.parametrize("case", REQUESTS)
def test_answers_are_those_of_gserver(gserver: Place, place: Place, case: str) -> None:
    ask = REQUESTS[case]
    with gserver.client() as ours, place.client() as theirs:
        assert essence(ask(theirs)) == essence(ask(ours))
        if case != "unread content":
            assert ask(theirs).status  # the connection goes on


@everywhere
def test_an_error_is_a_500_and_the_connection_goes_on(place: Place) -> None:
    with place.client() as client:
        response = client.get("/fail")
        assert (response.status, response["Content-Type"]) == (500, "text/plain; charset=utf-8")
        assert client.get("/nothing").status == 204
    place.process.wait_output("as planned")


@pytest.mark.parametrize("place", ["gserver", "uvicorn", "hypercorn"], indirect=True)
def test_an_error_amid_the_response_breaks_it(place: Place) -> None:
    with place.client() as client:
        client.send(b"GET /broken HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = client.head()
        assert client.chunk(head) == b"half"
        with pytest.raises((ConnectionEnded, ConnectionResetError)):
            client.chunk(head)


@everywhere
def test_large_content_arrives_whole(place: Place) -> None:
    content = b"0123456789abcde\n" * 300_000
    expected = f"{hashlib.sha256(content).hexdigest()} {len(content)}"
    with place.client() as client:
        assert client.post("/digest", content).text == expected


def test_the_example_runs_as_its_first_lines_say() -> None:
    assert "uvicorn examples.to_asgi_app:asgi" in (ROOT / "examples/to_asgi_app.py").read_text()
    for place in start("uvicorn", "examples.to_asgi_app:asgi", ROOT):
        assert "<!doctype html>" in place.ask("/")
        assert place.ask("/count") == "1\n2\n3\n4\n5\n"
        with place.open("/echo") as ws:
            ws.send("hello")
            assert ws.recv(TIMEOUT) == "hello"


# -- flow ------------------------------------------------------------------------------------


@everywhere
def test_each_block_is_sent_before_the_next_is_made(place: Place) -> None:
    with place.client() as client:
        client.send(b"GET /gate HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = client.head()
        assert client.chunk(head) == b"first"
        assert place.ask("/release") == "released"
        assert client.chunk(head) == b"second"
        assert client.chunk(head) == b""


@where_content_flows
def test_a_slow_reader_makes_the_application_wait(place: Place) -> None:
    """What is made and was not read yet is no more than buffers of the system hold."""
    received = 0
    with place.client() as client:
        client.send(b"GET /flood HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = client.head()
        while data := client.chunk(head):
            received += len(data)
            if received % 4_194_304 < len(data):
                made = int(place.ask("/notes").partition(" ")[0])
                assert made - received < 12_000_000
    assert received == 512 * 65536


@where_content_flows
def test_an_application_that_does_not_read_makes_the_client_wait(place: Place) -> None:
    content = bytes(65536)
    sent = 0
    with place.client() as client:
        client.send(b"POST /gated HTTP/1.1\r\nHost: localhost\r\nContent-Length: 33554432\r\n\r\n")
        client.sock.settimeout(0.3)
        try:
            while sent < 33_554_432:
                sent += client.sock.send(content[: 33_554_432 - sent])
        except TimeoutError:
            client.sock.settimeout(TIMEOUT)
        assert sent < 20_000_000
        place.ask("/release")
        client.send(bytes(33_554_432 - sent))
        assert client.response().text.endswith(" 33554432")


@everywhere
def test_a_client_that_leaves_ends_the_response(place: Place) -> None:
    already = place.ask("/notes").count("closed")
    with place.client() as client:
        client.send(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.exactly(1000)
    place.wait_note("closed.*" * (already + 1))


@where_content_flows
def test_a_client_that_leaves_amid_its_content_is_told(place: Place) -> None:
    with place.client() as client:
        client.send(b"POST /half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc")
        place.ask("/nothing")
    place.wait_note("the client left before all of the content had come")


# -- HTTP/2 ----------------------------------------------------------------------------------


def test_over_http2(gserver: Place, hypercorn: Place) -> None:
    with httpx.Client(http1=False, http2=True, trust_env=False, timeout=TIMEOUT) as client:
        for target in ("/request?a=b", "/cookies", "/file", "/late", "/nothing", "/echo"):
            answers = []
            for place in (gserver, hypercorn):
                url = f"http://127.0.0.1:{place.address[1]}{target}"
                content = b"abc" if target == "/echo" else None
                response = client.request("POST" if content else "GET", url, content=content)
                assert response.http_version == "HTTP/2"
                fields = [one for one in response.headers.multi_items() if one[0] not in FRAMING]
                answers.append((response.status_code, fields, response.content))
            assert answers[0] == answers[1]


def test_early_hints_over_http2(hypercorn: Place) -> None:
    with Http2Client(hypercorn.address) as client:
        response = client.whole(client.open(request_fields("/hints"), end=True))
    (hint,) = response.interim
    assert (hint.status, hint["link"]) == (103, "</style.css>; rel=preload; as=style")
    assert response.body == b"True"


@pytest.mark.parametrize("asks", [True, False])
def test_trailers_over_http2(hypercorn: Place, asks: bool) -> None:
    fields = [*request_fields("/trailers"), *([("te", "trailers")] if asks else [])]
    with Http2Client(hypercorn.address) as client:
        response = client.whole(client.open(fields, end=True))
    assert (response.status, response.body, response.ended) == (200, b"content", True)
    assert response.trailers == ([("x-sum", "1")] if asks else [])


def test_push_over_http2(hypercorn: Place) -> None:
    with RawHttp2(hypercorn.address, settings={ENABLE_PUSH: 1}) as client:
        stream = client.request("/pushing")
        promise = client.until(PUSH_PROMISE, stream)
        assert (":path", "/request") in (promise.fields or [])
        assert client.response(stream).body == b"pushed"
        assert b"PATH_INFO='/request'" in client.response(promise.promised).body


# -- WebSocket -------------------------------------------------------------------------------


@everywhere
def test_a_websocket_echoes(place: Place) -> None:
    with place.open("/talk", subprotocols=["other", "chat"]) as ws:
        assert ws.subprotocol == "chat"
        for message in ("grün €😀", bytes(range(256)), "x" * 300_000, bytes(500_000)):
            ws.send(message)
            assert ws.recv(TIMEOUT) == message


@everywhere
def test_a_handler_closes(place: Place) -> None:
    for message, code in (("close", 4000), ("fail", 1011)):
        with place.open("/talk") as ws:
            ws.send(message)
            with pytest.raises(ConnectionClosed):
                ws.recv(TIMEOUT)
            assert ws.close_code == code


@everywhere
def test_a_client_closes(place: Place) -> None:
    with place.open("/talk") as ws:
        ws.send("hello")
        assert ws.recv(TIMEOUT) == "hello"
        ws.close(1000)
        assert ws.close_code == 1000


@everywhere
def test_a_handshake_is_refused(place: Place) -> None:
    with pytest.raises(InvalidStatus) as caught:
        place.open("/talk", origin="https://evil.example")
    response = caught.value.response
    assert response.status_code == 403
    if place.name != "daphne":  # which has no websocket.http.response
        assert bytes(response.body or b"") == b"pages of this origin may not connect\n"


@everywhere
def test_an_ordinary_response_where_a_websocket_was_asked_for(place: Place) -> None:
    with pytest.raises(InvalidStatus) as caught:
        place.open("/cookies")
    response = caught.value.response
    assert response.status_code == (403 if place.name == "daphne" else 404)
    if place.name != "daphne":
        assert response.headers.get_all("Set-Cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize(
    ("place", "http2"),
    [("uvicorn", False), ("hypercorn", False), ("hypercorn", True), ("daphne", False)],
    indirect=["place"],
)
def test_frames_of_a_websocket(place: Place, http2: bool) -> None:
    """By the letter of RFC 6455, over HTTP/2 RFC 8441."""
    carrier = place.carrier(http2)
    try:
        ws = carrier.open("/talk", subprotocols=["chat"])
        assert ws.accepted, ws.response
        assert ws.subprotocol == "chat"
        ws.send_message("hello")
        assert ws.message() == "hello"
        ws.send_message("close")
        assert ws.event() == Close(4000, "" if place.name == "daphne" else "as you like")
    finally:
        carrier.close()
