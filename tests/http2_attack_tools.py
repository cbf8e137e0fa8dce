"""What attacks over HTTP/2 have in common: their target, their frames, and how they are cut off."""

from __future__ import annotations

import itertools
import json
import select
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from attack_tools import unharmed
from clients import ConnectionEnded
from conftest import ServerProcess
from http2_client import (
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    RST_STREAM,
    WINDOW_UPDATE,
    RawHttp2,
    frame,
)

StartTarget = Callable[..., ServerProcess]
"""Starts a server with options of its own."""

Flood = Callable[[int], bytes]
"""Returns the piece with this number of what an attacker sends."""

ATTACKERS = 4

STREAMS = 100
"""The default of http2_max_concurrent_streams."""
RESETS = 200
"""The default of http2_max_resets."""
CONTROL_FRAMES = 1000
"""The default of http2_max_control_frames."""

APP = """
import json
from urllib.parse import parse_qsl
from gevent.event import Event
from gserver.api import lite
from gserver.api.errors import Disconnected

MEBIBYTE = b"x" * 1048576

class Seen:
    begun = running = most = told = pieces = 0
    changed = Event()
    gate = Event()

    @classmethod
    def change(cls, name, by):
        setattr(cls, name, getattr(cls, name) + by)
        cls.most = max(cls.most, cls.running)
        cls.changed.set()
        cls.changed.clear()

class Exchange:
    def __init__(self):
        Seen.change("begun", 1)
        Seen.change("running", 1)

    def close(self):
        Seen.change("running", -1)

SEEN = ("begun", "running", "most", "told", "pieces")

def pieces(size, count):
    for _ in range(count):
        Seen.pieces += 1
        yield bytes(size)  # made for this request only

def echo(environ):
    while data := environ["wsgi.input"].read1(65536):
        yield data

def control(path, wanted):
    if path == "/seen":  # answers when all is as wanted
        while any(getattr(Seen, name) < int(value) for name, value in wanted if name != "running"):
            Seen.changed.wait()
        while Seen.running > dict(wanted).get("running", 1e9):
            Seen.changed.wait()
    elif path == "/release":
        Seen.gate.set()
        while Seen.running:
            Seen.changed.wait()
        Seen.gate.clear()
    elif path == "/forget":
        Seen.begun = Seen.most = Seen.told = 0
    seen = {name: getattr(Seen, name) for name in SEEN}
    return "200 OK", [], [json.dumps(seen).encode()]

def read_all(environ):
    received = 0
    while data := environ["wsgi.input"].read(65536):
        received += len(data)
    return b"%d" % received

@lite
def app(environ):
    path = environ["PATH_INFO"]
    if path in ("/seen", "/release", "/forget"):
        wanted = [(name, int(value)) for name, value in parse_qsl(environ["QUERY_STRING"])]
        return control(path, wanted)
    if path == "/innocent":
        return "200 OK", [], [b"hello"]
    environ["wsgi_lite.closing"](Exchange())
    if path == "/upload":
        try:
            return "200 OK", [], [read_all(environ)]
        except Disconnected:
            Seen.change("told", 1)
            raise
    if path == "/gate":  # waits for something else than the client
        Seen.gate.wait()
    if path == "/mebibyte":
        return "200 OK", [], [MEBIBYTE]
    if path == "/pieces":
        return "200 OK", [], pieces(16384, 64)
    if path == "/echo":
        return "200 OK", [], echo(environ)
    if path == "/blocks":  # SIZE*COUNT
        return "200 OK", [], pieces(*map(int, environ["QUERY_STRING"].split("*")))
    if path == "/endless":
        return "200 OK", [], pieces(16384, 1 << 40)
    if path == "/unique":
        value = ("%08d" % Seen.begun) * 128
        return "200 OK", [("X-Unique-%d" % Seen.begun, value)], [b"hello"]
    return "200 OK", [], [b"hello"]
"""

# As the innocent of `attack_tools`, over HTTP/2.
INNOCENT = """
import json, select, socket, struct, sys, time
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 30)
sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
received = b""

def exactly(size):
    global received
    while len(received) < size:
        data = sock.recv(65536)
        assert data, received
        received += data
    data, received = received[:size], received[size:]
    return data

def frame(kind, flags, stream, payload):
    return struct.pack(">BHBBL", 0, len(payload), kind, flags, stream) + payload

sock.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + frame(4, 0, 0, b""))
sock.sendall(frame(8, 0, 0, struct.pack(">L", 1 << 30)))
request = b"\\x82\\x86\\x04\\x09/innocent\\x01\\x09localhost"
worst = stream = count = 0
while True:
    begin = time.perf_counter()
    stream = 2 * count + 1
    sock.sendall(frame(1, 5, stream, request))
    content = b""
    ended = False
    while not ended:
        high, low, kind, flags, target = struct.unpack(">BHBBL", exactly(9))
        payload = exactly(high << 16 | low)
        assert kind not in (3, 7), (kind, payload)
        if kind == 4 and not flags:
            sock.sendall(frame(4, 1, 0, b""))
        if target == stream and kind == 0:
            content += payload
        ended = target == stream and kind in (0, 1) and flags & 1
    assert content == b"hello", content
    worst = max(worst, time.perf_counter() - begin)
    count += 1
    if count == 1:
        print("asking", flush=True)
    if select.select([sys.stdin], [], [], 0.003)[0]:
        break
print(json.dumps([worst, count]))
"""


# -- the target ----------------------------------------------------------------------------------


def connect(server: ServerProcess, **options: Any) -> RawHttp2:
    """Return a new connection; the caller closes it."""
    return RawHttp2(("127.0.0.1", server.port), **options)


def ask(server: ServerProcess, target: str) -> dict[str, int]:
    """Send a request on a connection of its own over HTTP/1.1; return what the target has seen."""
    with server.client() as client:
        seen: dict[str, int] = json.loads(client.get(target).body)
        return seen


def wait_until_full(server: ServerProcess) -> None:
    """Wait until none of the responses in pieces makes progress: all sockets are full."""
    before = -1
    deadline = time.monotonic() + 10
    while (now := ask(server, "/seen")["pieces"]) != before:
        assert time.monotonic() < deadline
        before = now
        time.sleep(0.1)


def bombard(clients: Sequence[RawHttp2], floods: Sequence[Flood], most: int) -> None:
    """Send pieces on each connection, and read nothing, until the server has broken them all."""
    for client, flood in zip(clients, floods, strict=True):
        deadline = 0.0
        for count in itertools.count():
            try:
                client.send(flood(count))
            except ConnectionError:
                break
            if count == most:
                deadline = time.monotonic() + 10
            elif count > most:  # time for the server to take what lies in the sockets
                assert time.monotonic() < deadline, f"the server takes it all: {flood(0)[:99]!r}"
                time.sleep(0.01)


def warm_up(server: ServerProcess) -> ServerProcess:
    """Have the server do what costs memory once."""
    with connect(server) as client:
        streams = [client.request(path) for path in ("/", "/mebibyte", "/pieces")]
        streams.append(client.request("/upload", method="POST", end=False))
        client.data(streams[-1], bytes(10000), end=True)
        assert {one.status for one in client.collect(streams)} == {200}
    return server


@contextmanager
def besieged(server: ServerProcess, attackers: int = ATTACKERS) -> Iterator[list[RawHttp2]]:
    """Yield connections to attack with; check that nobody else suffers, and that all ends well."""
    ask(server, "/forget")
    with ExitStack() as stack, unharmed(server, INNOCENT):
        clients = [stack.enter_context(connect(server)) for _ in range(attackers)]
        for client in clients:
            client.sync()  # all greetings are exchanged
        yield clients
    seen = ask(server, "/release")
    assert seen["running"] == 0


# -- frames --------------------------------------------------------------------------------------


def literal(name: bytes, value: bytes) -> bytes:
    """Return a header field that leaves the compression tables alone, so that order is free."""
    return b"\x00" + _text(name) + _text(value)


def _text(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes([len(text)]) + text
    size, length = len(text) - 127, b"\x7f"
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return length + bytes([size]) + text


Pairs = Sequence[tuple[bytes, bytes]]


def block(path: bytes = b"/", fields: Pairs = (), method: bytes = b"GET") -> bytes:
    """Return the field block of a request."""
    pseudo = [(b":method", method), (b":scheme", b"http"), (b":authority", b"x"), (b":path", path)]
    return b"".join(literal(name, value) for name, value in [*pseudo, *fields])


def request(stream: int, path: bytes = b"/", *, end: bool = True, **options: Any) -> bytes:
    """Return the HEADERS of a request."""
    flags = END_HEADERS | (END_STREAM if end else 0)
    return frame(HEADERS, flags, stream, block(path, **options))


def number(value: int) -> bytes:
    """Return the content of WINDOW_UPDATE and RST_STREAM."""
    return struct.pack(">L", value)


def window_update(stream: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE."""
    return frame(WINDOW_UPDATE, 0, stream, number(increment))


def reset(stream: int, code: int = 8) -> bytes:
    """Return a RST_STREAM."""
    return frame(RST_STREAM, 0, stream, number(code))


# -- attacks -------------------------------------------------------------------------------------


def assault(clients: Sequence[RawHttp2], flood: Flood, most: int, *, pause: int = 0) -> set[int]:
    """Send pieces on all connections in turn, until the server has closed them.

    Returns the error codes of its GOAWAYs, -1 for none. The server must not take `most` pieces;
    after each `pause` of them its answers are waited for.
    """
    fighting = list(clients)
    for count in range(most):
        patient = bool(pause) and count % pause == pause - 1
        for client in list(fighting):
            if not strike(client, flood(count), patient):
                fighting.remove(client)
        if not fighting:
            break
    return {client.broken() for client in clients}


def strike(client: RawHttp2, data: bytes, patient: bool = False) -> bool:
    """Send `data`, and read what has come; False if the server has had enough."""
    try:
        client.send(data)
        if patient:
            client.sync()
        while client.buffer or select.select([client.sock], [], [], 0)[0]:
            if client.read().kind == GOAWAY:
                return False
    except (ConnectionError, ConnectionEnded):
        return False
    return True
