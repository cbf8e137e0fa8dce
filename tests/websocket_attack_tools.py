"""What attacks on WebSockets have in common: their target, and how they reach it."""

from __future__ import annotations

import select
import socket
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from attack_tools import unharmed
from clients import TIMEOUT
from conftest import ServerProcess
from http2_attack_tools import ask
from websocket_client import Carrier, Op, WebSocketClient, encode
from websocket_wires import Http1Wire

BIND = ("--bind", "http://127.0.0.1:0")
IMPATIENT = (
    *("--write-timeout", "1", "--header-timeout", "1", "--websocket-close-timeout", "0.1"),
    *("--websocket-ping-interval", "1", "--websocket-ping-timeout", "1"),
)
TAKEOVER = ("--websocket-context-takeover",)

MIB = 1 << 20
"""The default of websocket_max_message_size, and of websocket_max_frame_size."""
PACKET = 65536
"""Bytes that the server receives at once, over HTTP/1.1."""
DEFLATE = "permessage-deflate; client_max_window_bits"

APP = """
import gc, json, os
from collections import Counter
from urllib.parse import parse_qsl

import gevent
from gevent.event import Event
from gserver.api import ConnectionClosed, lite, websocket
from gserver.websocket import WebSocket, broadcast

MEBIBYTE = b"x" * 1048576

class Seen:
    numbers = Counter()
    changed = Event()
    gate = Event()

    @classmethod
    def change(cls, name, by=1):
        cls.numbers[name] += by
        cls.changed.set()
        cls.changed.clear()

def echo(ws):
    for message in ws:
        ws.send(message)

def sink(ws):
    for message in ws:
        pass

def deaf(ws):  # receives nothing
    Seen.gate.wait()

def late(ws):
    Seen.gate.wait()
    echo(ws)

def pieces(ws):
    while True:
        ws.send("%d" % sum(len(piece) for piece in ws.receive_pieces()))

def endless(ws):
    while True:
        ws.send(MEBIBYTE[:16384])

def some(ws):  # less than what a greenlet has to wait for
    ws.send(MEBIBYTE[:60000])

def spread(ws):
    while not ws.closed:
        if broadcast([ws], MEBIBYTE[:16384]):
            gevent.sleep(0.05)

def close(ws):
    ws.close()

handlers = {
    one.__name__: one for one in (echo, sink, deaf, late, pieces, endless, some, spread, close)
}

def counted(handler):
    @websocket
    def run(ws):
        Seen.change("begun")
        Seen.change("running")
        try:
            handler(ws)
        finally:
            Seen.change("running", -1)
            Seen.change("ended")
    return run

applications = {"/" + name: counted(one) for name, one in handlers.items()}

# -- libraries that speak WebSocket themselves

ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\\r\\n\\r\\n"
)

def raw_garbage(sock):
    sock.sendall(b"\\xff\\x00\\r\\n\\r\\n" + bytes(100))

def raw_garbled(sock):
    sock.sendall(b"HTTP/1.1 Switching Protocols\\r\\n\\r\\n")

def raw_refusing(sock):
    sock.sendall(b"HTTP/1.1 403 Forbidden\\r\\nContent-Length: 5\\r\\n\\r\\nhello")

def raw_endless(sock):
    while True:
        sock.sendall(bytes(65536))

def raw_silent(sock):
    Seen.gate.wait()

def raw_closing(sock):
    sock.close()

def raw_leaving(sock):
    sock.sendall(ACCEPTED)

def raw_echo(sock):
    sock.sendall(ACCEPTED)
    while data := sock.recv(65536):
        sock.sendall(data)

def raw_sending(sock):
    sock.sendall(ACCEPTED)
    while True:
        sock.sendall(MEBIBYTE[:16384])

def raw_deaf(sock):
    sock.sendall(ACCEPTED)
    Seen.gate.wait()

libraries = {
    "/" + one.__name__: one
    for one in (raw_garbage, raw_garbled, raw_refusing, raw_endless, raw_silent, raw_closing,
                raw_leaving, raw_echo, raw_sending, raw_deaf)
}

def speak(library, environ):
    if "gunicorn.socket" not in environ:
        return "426 Upgrade Required", [], [b"no socket"]
    Seen.change("begun")
    Seen.change("running")
    try:
        library(environ["gunicorn.socket"])
    except OSError:
        pass
    finally:
        Seen.change("running", -1)
        Seen.change("ended")
    return "200 OK", [], []

# -- what the tests ask

def control(path, query):
    wanted = {name: int(value) for name, value in parse_qsl(query)}
    if path == "/release":
        Seen.gate.set()
        wanted["running"] = 0
    if "running" in wanted:
        while Seen.numbers["running"] > wanted["running"]:
            Seen.changed.wait()
    while any(Seen.numbers[name] < value for name, value in wanted.items() if name != "running"):
        Seen.changed.wait()
    if path == "/release":
        Seen.gate.clear()
        Seen.numbers.clear()
    return dict(Seen.numbers)

def kept():
    gc.collect()
    kinds = Counter(type(one).__name__ for one in gc.get_objects())
    names = ("WebSocket", "Offer", "Tunnel", "Http2Tunnel", "RawSocket", "FrameReader", "Http2",
             "GeventWebSocket")
    kept = {name: kinds[name] for name in names}
    kept["greenlets"] = kinds["greenlet"]
    kept["descriptors"] = len(os.listdir("/proc/self/fd"))
    return kept

@lite
def app(environ):
    path = environ["PATH_INFO"]
    if path in applications:
        return applications[path](environ)
    if path in libraries:
        return speak(libraries[path], environ)
    if path in ("/seen", "/release"):
        answer = control(path, environ["QUERY_STRING"])
        return "200 OK", [], [json.dumps(answer).encode()]
    if path == "/kept":
        return "200 OK", [], [json.dumps(kept()).encode()]
    if path == "/blocks":  # refuses, at length
        return "403 Forbidden", [], iter([b"x" * int(environ["QUERY_STRING"])] * 20)
    if path == "/method":
        return "200 OK", [], [environ["REQUEST_METHOD"].encode()]
    return "200 OK", [], [b"hello"]
"""


# -- the target ----------------------------------------------------------------------------------


@contextmanager
def started(folder: Path, *options: str) -> Iterator[ServerProcess]:
    """Run a server with `APP`, and have it do once what costs memory."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc, to see how much memory the server takes")
    (folder / "app.py").write_text(APP)
    server = ServerProcess([sys.executable, "-m", "gserver", "app:app", *BIND, *options], folder)
    try:
        server.wait_ready()
        for http2 in (False, True):
            for extensions in ("", DEFLATE):
                ws = attacker(server, http2=http2).open("/echo", extensions=extensions)
                ws.send_message("x" * MIB)
                assert len(ws.message()) == MIB
                ws.shut()
                ws.close()
        yield server
    finally:
        server.kill()


def attacker(server: ServerProcess, *, http2: bool = False) -> Carrier:
    """Return what opens WebSockets to a server process."""
    address = ("127.0.0.1", server.port)
    return Carrier(SimpleNamespace(address=address, call=None), http2=http2)


@contextmanager
def besieged(server: ServerProcess, *, http2: bool = False) -> Iterator[Carrier]:
    """Yield what opens WebSockets; check that nobody else suffers, and that all ends well."""
    carrier = attacker(server, http2=http2)
    ask(server, "/release")
    with unharmed(server):
        try:
            yield carrier
        finally:
            carrier.close()
    ask(server, "/release")


# -- attacks -------------------------------------------------------------------------------------


def packet(unit: bytes, size: int = PACKET) -> bytes:
    """Return as many copies as fit."""
    return unit * (size // len(unit))


def squeeze(data: bytes) -> bytes:
    """Return the payload of a compressed message, without looking back to another one."""
    deflate = zlib.compressobj(9, wbits=-15)
    return (deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


def sock_of(ws: WebSocketClient) -> socket.socket:
    """Return the socket of a WebSocket over HTTP/1.1."""
    assert isinstance(ws.wire, Http1Wire)
    return ws.wire.client.sock


class Pressed:
    """What one connection still has to send, and what it has read last."""

    def __init__(self, sock: socket.socket, data: bytes) -> None:
        self.left = memoryview(data + encode(Op.PING, b"behind it"))
        self._sock = sock
        self._last = b""

    def go_on(self, readable: bool, writable: bool, read: bool) -> bool:
        """Read or send, or both; return whether that was all."""
        if writable:
            self.left = self.left[self._sock.send(self.left) :]
        if not read:
            return not self.left
        if not readable:
            return False
        got = self._sock.recv(PACKET)
        self._last = (self._last + got)[-11:]
        return not got or self._last == b"\x8a\x09behind it"


def press(
    clients: Sequence[WebSocketClient], data: bytes, *, read: bool = True, stuck: bool = False
) -> int:
    """Send `data` on all at once, as fast as the server takes it, and a ping behind it.

    Returns how many of them are stuck: the server does not take it all. The others have read the
    answer to that ping, if they read, or were cut off.

    Args:
        clients: Over HTTP/1.1.
        data: To be sent.
        read: What the server answers.
        stuck: That is what is expected, so that a second without progress shows it.
    """
    waiting = {sock_of(one): Pressed(sock_of(one), data) for one in clients}
    every = list(waiting)
    deadline = time.monotonic() + 20
    for sock in every:
        sock.setblocking(False)
    while waiting and time.monotonic() < deadline:
        sending = [sock for sock, one in waiting.items() if one.left]
        ready = select.select(waiting if read else (), sending, (), 1 if stuck else 10)
        if not any(ready):
            break
        for sock in {*ready[0], *ready[1]}:
            try:
                done = waiting[sock].go_on(sock in ready[0], sock in ready[1], read)
            except ConnectionError:  # it was cut off
                done = True
            if done:
                del waiting[sock]
    for sock in every:
        sock.settimeout(TIMEOUT)
    return len(waiting)


def seconds_until_closed(clients: Sequence[WebSocketClient], most: float) -> list[float]:
    """Wait until the server has closed all connections; return how long each took."""
    begin = time.monotonic()
    took: list[float] = []
    waiting = {sock_of(one) for one in clients}
    while waiting:
        left = begin + most - time.monotonic()
        assert left > 0, f"{len(waiting)} of {len(clients)} are open after {most} seconds"
        for sock in select.select(waiting, (), (), left)[0]:
            try:
                ended = not sock.recv(PACKET)
            except ConnectionError:
                ended = True
            if ended:
                waiting.remove(sock)
                took.append(time.monotonic() - begin)
    return took
