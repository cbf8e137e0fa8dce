"""Content that is much larger than memory should ever be, both ways, and files.

The server is a process; `unharmed` watches its memory, and that the hub serves others meanwhile.
"""

from __future__ import annotations

import hashlib
import os
import queue
import re
import ssl
from pathlib import Path
from typing import Any

import pytest

from attack_tools import unharmed
from clients import RawClient
from conftest import Command, Serve, ServerProcess
from gserver.api import lite

MEBIBYTE = 1024 * 1024

APP = """
from gserver.api import lite

BLOCK = b"x" * 1048576

@lite
def app(environ):
    path = environ["PATH_INFO"]
    if path == "/innocent":
        return "200 OK", [], [b"hello"]
    if path == "/upload":
        received = 0
        while data := environ["wsgi.input"].read(1048576):
            received += len(data)
        return "200 OK", [], [b"%d" % received]
    if path == "/file":
        return "200 OK", [], environ["wsgi.file_wrapper"](open("large", "rb"))
    blocks = int(environ["QUERY_STRING"])
    length = [("Content-Length", str(blocks * len(BLOCK)))] if path == "/counted" else []
    return "200 OK", length, (BLOCK for _ in range(blocks))
"""


@pytest.fixture
def server(command: Command, certificate: tuple[str, str]) -> ServerProcess:
    """A server that has run once through all that it will do."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc, to see how much memory the server takes")
    cert, key = certificate
    binds = ["--bind", "http://127.0.0.1:0", "--bind", "https://127.0.0.1:0"]
    server = command("app:app", *binds, "--certfile", cert, "--keyfile", key, app=APP)
    server.wait_ready()
    for tls in (False, True):
        with connect(server, certificate, tls) as client:
            assert client.post("/upload", b"x" * 100_000).body == b"100000"
            for target in ("/counted?2", "/chunked?2"):
                assert len(client.get(target).body) == 2 * MEBIBYTE
    return server


def connect(server: ServerProcess, certificate: tuple[str, str], tls: bool) -> RawClient:
    if not tls:
        return server.client()
    port = re.search(r"https://127\.0\.0\.1:(\d+)", server.text)
    assert port
    context = ssl.create_default_context(cafile=certificate[0])
    return RawClient(("127.0.0.1", int(port[1])), tls=context)


def receive(client: RawClient, size: int) -> None:
    """Receive so many bytes."""
    buffer = memoryview(bytearray(MEBIBYTE))
    size -= len(client.buffer)
    client.buffer = b""
    while size:
        count = client.sock.recv_into(buffer, min(size, len(buffer)))
        assert count, f"{size} bytes are missing"
        size -= count


BOTH = pytest.mark.parametrize(
    ("tls", "size"),
    [
        pytest.param(False, 1024, id="clear", marks=pytest.mark.slow),
        pytest.param(True, 128, id="tls", marks=pytest.mark.slow),
    ],
)
"""In clear and with TLS, and how many MiB."""


@BOTH
@pytest.mark.parametrize("chunked", [False, True], ids=["counted", "chunked"])
def test_upload(
    server: ServerProcess, certificate: tuple[str, str], tls: bool, size: int, chunked: bool
) -> None:
    block = b"x" * MEBIBYTE
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size * MEBIBYTE}"
    with connect(server, certificate, tls) as client, unharmed(server):
        client.send(f"POST /upload HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n".encode())
        for _ in range(size):
            client.send(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
        if chunked:
            client.send(b"0\r\n\r\n")
        assert client.response().body == b"%d" % (size * MEBIBYTE)


@BOTH
@pytest.mark.parametrize("framing", ["counted", "chunked"])
def test_download(
    server: ServerProcess, certificate: tuple[str, str], tls: bool, size: int, framing: str
) -> None:
    with connect(server, certificate, tls) as client, unharmed(server):
        client.send(f"GET /{framing}?{size} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        client.head()
        around = len(b"100000\r\n" + b"\r\n") if framing == "chunked" else 0
        receive(client, size * (MEBIBYTE + around))
        if framing == "chunked":
            assert client.exactly(5) == b"0\r\n\r\n"
        assert client.get("/innocent").body == b"hello"


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_file(
    server: ServerProcess, certificate: tuple[str, str], tls: bool, tmp_path: Path
) -> None:
    size = 256 * MEBIBYTE
    with (tmp_path / "large").open("wb") as file:
        file.truncate(size - 3)
        file.seek(0, os.SEEK_END)
        file.write(b"end")
    with connect(server, certificate, tls) as client, unharmed(server):
        client.send(b"GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.head()["Content-Length"] == str(size)
        receive(client, size - 3)
        assert client.exactly(3) == b"end"
        assert client.get("/innocent").body == b"hello"
    # gevent prints what is raised in a thread: a socket that is full is no error.
    assert "Traceback" not in server.text


# -- files, closely --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def random_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "random"
    path.write_bytes(os.urandom(6 * MEBIBYTE + 12_345))
    return path


TLS = pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])


@TLS
def test_ranges_of_a_file(
    serve: Serve, certificate: tuple[str, str], random_file: Path, tls: bool
) -> None:
    content = random_file.read_bytes()

    @lite
    def app(environ: dict[str, Any]) -> Any:
        first, _, last = environ["HTTP_RANGE"].removeprefix("bytes=").partition("-")
        file = random_file.open("rb")
        file.seek(int(first))
        headers = [
            ("Content-Length", str(int(last) - int(first) + 1)),
            ("Content-Range", f"bytes {first}-{last}/{len(content)}"),
        ]
        return "206 Partial Content", headers, environ["wsgi.file_wrapper"](file)

    cert, key = certificate
    options = {"certfile": cert, "keyfile": key} if tls else {}
    context = ssl.create_default_context(cafile=cert) if tls else None
    end = len(content) - 1
    with serve(app, **options).client(tls=context) as client:
        for first, last in [(0, 0), (0, end), (5, 65_540), (65_536, 131_071), (1, end - 1)]:
            response = client.get("/", f"Range: bytes={first}-{last}")
            assert response.status == 206
            expected = content[first : last + 1]
            assert hashlib.sha256(response.body).digest() == hashlib.sha256(expected).digest()
        response = client.get("/", f"Range: bytes={end}-{end}")
        assert response.body == content[end:]


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="the system cannot tell what is cached")
def test_a_small_file_leaves_with_its_head(serve: Serve, random_file: Path) -> None:
    @lite
    def app(environ: dict[str, Any]) -> Any:
        file = random_file.open("rb")
        return "200 OK", [("Content-Length", "12345")], environ["wsgi.file_wrapper"](file)

    random_file.read_bytes()  # now it is cached
    with serve(app).client() as client:
        for _ in range(20):
            client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            # One send by the server is one packet here, and that comes whole or not at all.
            client.buffer = client.sock.recv(65536)
            _, _, content = client.buffer.partition(b"\r\n\r\n")
            assert len(content) == 12345
            client.buffer = b""


def open_descriptors(path: Path) -> int:
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            count += link.readlink() == path
        except FileNotFoundError:
            pass  # the one that lists the folder
    return count


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@TLS
def test_a_client_that_leaves_in_the_middle_of_a_file(
    serve: Serve, certificate: tuple[str, str], random_file: Path, tls: bool
) -> None:
    closed: queue.SimpleQueue[int] = queue.SimpleQueue()

    class File:
        def __init__(self) -> None:
            self._file = random_file.open("rb")
            self.read, self.fileno, self.tell = self._file.read, self._file.fileno, self._file.tell

        def close(self) -> None:
            self._file.close()
            closed.put(open_descriptors(random_file))

    @lite
    def app(environ: dict[str, Any]) -> Any:
        return "200 OK", [], environ["wsgi.file_wrapper"](File())

    cert, key = certificate
    options = {"certfile": cert, "keyfile": key} if tls else {}
    context = ssl.create_default_context(cafile=cert) if tls else None
    server = serve(app, **options)
    for _ in range(3):
        with server.client(tls=context) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            client.head()
        assert closed.get(timeout=5) == 0
