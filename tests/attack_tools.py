"""Bystanders of an attack: a client that keeps asking, and the memory of the server."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clients import TIMEOUT, RawClient
from conftest import Command, ServerProcess

LATENCY = 3.0 if "COVERAGE_RUN" in os.environ else 0.5
"""Seconds that no request of the innocent may take, on a machine that does other things too.

Code whose coverage is measured takes several times as long.
"""
MEMORY = 20 * 1024 * 1024
"""Bytes by which the server may grow."""

APP = """
from gevent.event import Event
from gserver.api import lite

PIECE = b"x" * 1024
MEBIBYTE = b"x" * 1048576
LARGE = b"x" * 8388608

class Endless:
    closed = 0
    changed = Event()

    def __iter__(self):
        while True:
            yield bytes(65536)  # made for this request only

    def close(self):
        Endless.closed += 1
        self.changed.set()

@lite
def app(environ):
    path = environ["PATH_INFO"]
    if path == "/upload":
        received = 0
        while data := environ["wsgi.input"].read(65536):
            received += len(data)
        return "200 OK", [], [b"%d" % received]
    if path == "/mebibyte":
        return "200 OK", [], [MEBIBYTE]
    if path == "/large":
        return "200 OK", [], [LARGE]
    if path == "/endless":
        return "200 OK", [], Endless()
    if path == "/closed":  # answers when so many endless responses came to an end
        while Endless.closed < int(environ["QUERY_STRING"]):
            Endless.changed.clear()
            Endless.changed.wait()
    if path == "/pieces":
        length = [("Content-Length", str(100_000 * len(PIECE)))]
        return "200 OK", length, (PIECE for _ in range(100_000))
    return "200 OK", [], [b"hello"]
"""

# A process of its own, so that the attacker's work in this one is not taken for the server's.
# It asks every few milliseconds on one connection until its input ends.
_INNOCENT = """
import json, select, socket, sys, time
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 30)
worst = count = 0
while True:
    begin = time.perf_counter()
    sock.sendall(b"GET /innocent HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    answer = b""
    while not answer.endswith(b"hello"):
        data = sock.recv(4096)
        assert data, answer
        answer += data
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    worst = max(worst, time.perf_counter() - begin)
    count += 1
    if count == 1:
        print("asking", flush=True)
    if select.select([sys.stdin], [], [], 0.003)[0]:
        break
print(json.dumps([worst, count]))
"""


def victim(command: Command, *options: str, program: list[str] | None = None) -> ServerProcess:
    """Start the server that will be attacked, and warm it up."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc, to see how much memory the server takes")
    arguments = ("app:app", "--bind", "http://127.0.0.1:0", *options)
    server = command(*arguments, app=APP, program=program).wait_ready()
    with server.client() as client:
        for path in ("/", "/mebibyte"):
            assert client.get(path).status == 200
        assert client.post("/upload", b"12345").body == b"5"
    return server


@contextmanager
def unharmed(server: ServerProcess, innocent_program: str = _INNOCENT) -> Iterator[None]:
    """Check that an innocent client hardly notices what happens meanwhile, nor does the memory."""
    process = Path(f"/proc/{server.process.pid}")
    before = server.resident
    printed = len(server.output)
    (process / "clear_refs").write_text("5")  # forget the peak
    innocent = subprocess.Popen(
        [sys.executable, "-S", "-c", innocent_program, str(server.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert innocent.stdout is not None
        assert innocent.stdout.readline() == "asking\n"
        yield
        result, _ = innocent.communicate(timeout=30)
    finally:
        innocent.kill()
        innocent.communicate()
    worst, count = json.loads(result)
    assert worst < LATENCY, f"the slowest of {count} innocent requests took {worst:.3f} s"
    match = re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
    assert match
    grown = int(match[1]) * 1024 - before
    assert grown < MEMORY, f"the server grew by {grown / 1048576:.1f} MiB"
    said = "".join(server.output[printed:])
    assert "Traceback" not in said, said
    with server.client() as client:
        assert client.get("/innocent").body == b"hello"


def status_after(client: RawClient) -> int:
    """Return the status of the answer, after which the server must close the connection."""
    status = client.response().status
    assert client.closed()
    return status


def send_endlessly(clients: list[RawClient], data: bytes, most: int = 64 * 1024 * 1024) -> set[int]:
    """Send `data` on all connections in turn, again and again, until each got its answer.

    Returns the statuses.
    """
    statuses = set()
    sending = {client.sock: client for client in clients}
    sent = 0
    while sending:
        readable, writable, _ = select.select(list(sending), list(sending), [], 10)
        assert readable or writable, f"{len(sending)} of {len(clients)} are stuck"
        for sock in readable:
            client = sending.pop(sock)
            client.sock.settimeout(TIMEOUT)
            statuses.add(status_after(client))
        for sock in writable:
            if sock in sending:
                sock.settimeout(0)
                sent += sock.send(data)
        assert sent < most * len(clients), f"the server wants more than {sent} bytes"
    return statuses


def connect_many(server: ServerProcess, count: int) -> list[RawClient]:
    """Open `count` connections."""
    return [server.client() for _ in range(count)]
