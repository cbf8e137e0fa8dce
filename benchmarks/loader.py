"""The load that wrk and h2load cannot make: very large bodies, and connections that stay open.

Plain sockets in this process, which lives on the core of the load: the kernel does nearly all of
the work. Every wait is bounded by a time-out of the socket.
"""

from __future__ import annotations

import re
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from apps import TRANSFER
from errors import Failed
from http2 import Client
from servers import STREAMS

TIMEOUT_SECONDS = 30.0
BATCH = 250
"""Connections opened at once: fewer than any server's backlog, enough that none waits for us."""

BUFFER = bytearray(1 << 18)
MAX_HEAD = 1 << 16
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
UPLOAD = (
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\n"
    b"Content-Length: %d\r\n\r\n" % TRANSFER
)


def download(port: int, seconds: float) -> int:
    """Fetch `TRANSFER` bytes again and again over one connection; return how many times."""
    with connect(port) as peer:
        return _repeat(lambda: _download(peer), seconds)


def upload(port: int, seconds: float) -> int:
    """Send `TRANSFER` bytes again and again over one connection; return how many times."""
    with connect(port) as peer:
        return _repeat(lambda: _upload(peer), seconds)


@contextmanager
def idle_connections(port: int, count: int) -> Iterator[Sequence[socket.socket]]:
    """Hold connections open that each made one request.

    Raises:
        Failed: At the end, some of them were found closed by the server.
    """
    with ExitStack() as stack:
        connections: list[socket.socket] = []
        while len(connections) < count:
            batch = [
                stack.enter_context(connect(port))
                for _ in range(min(BATCH, count - len(connections)))
            ]
            for peer in batch:
                peer.sendall(REQUEST)
            for peer in batch:
                _read_response(peer)
            connections += batch
        yield connections
        if closed := _count_readable(connections):
            raise Failed(f"{closed} of {count} idle connections were closed")


@contextmanager
def idle_http2_connections(port: int, count: int) -> Iterator[Sequence[Client]]:
    """Hold HTTP/2 connections open that each made one request.

    Raises:
        Failed: At the end, some of them were found closed by the server.
    """
    with ExitStack() as stack:
        clients: list[Client] = []
        while len(clients) < count:
            batch = [
                Client(stack.enter_context(connect(port)))
                for _ in range(min(BATCH, count - len(clients)))
            ]
            for client in batch:
                client.ask()
            for client in batch:
                client.answers()
            clients += batch
        yield clients
        if closed := sum(client.has_ended() for client in clients):
            raise Failed(f"{closed} of {count} idle connections were closed")


@contextmanager
def idle_websocket_streams(port: int, count: int) -> Iterator[Sequence[Client]]:
    """Hold WebSockets open over HTTP/2, many on each connection, with one message echoed on each.

    Raises:
        Failed: At the end, some connections or WebSockets were found closed by the server.
    """
    with ExitStack() as stack:
        clients: list[Client] = []
        for before in range(0, count, STREAMS):
            client = Client(stack.enter_context(connect(port)))
            client.open_websockets(min(STREAMS, count - before))
            clients.append(client)
        yield clients
        if closed := sum(client.has_ended() for client in clients):
            raise Failed(f"on {closed} of {len(clients)} connections something was closed")


def connect(port: int) -> socket.socket:
    """Connect so that closing resets: no TIME-WAIT that would use up the ports of later rounds."""
    peer = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer


def _repeat(transfer: Callable[[], None], seconds: float) -> int:
    """Do a transfer until the time is over: a single one may take but a few clock ticks."""
    deadline = time.monotonic() + seconds
    done = 0
    while not done or time.monotonic() < deadline:
        transfer()
        done += 1
    return done


def _download(peer: socket.socket) -> None:
    peer.sendall(REQUEST)
    length, start = _read_head(peer)
    received = len(start)
    while received < length:
        read = peer.recv_into(BUFFER)
        if not read:
            break
        received += read
    if received != TRANSFER:
        raise Failed(f"{received} bytes came instead of {TRANSFER}")


def _upload(peer: socket.socket) -> None:
    peer.sendall(UPLOAD)
    for _ in range(TRANSFER // len(BUFFER)):
        peer.sendall(BUFFER)
    body = _read_response(peer)
    if body != b"%d" % TRANSFER:
        raise Failed(f"the application read {body!r} bytes instead of {TRANSFER}")


def _read_response(peer: socket.socket) -> bytes:
    length, body = _read_head(peer)
    while len(body) < length:
        piece = peer.recv(length - len(body))
        if not piece:
            raise Failed("the connection closed within a response")
        body += piece
    return body


def _read_head(peer: socket.socket) -> tuple[int, bytes]:
    """Read a response's head; return the length of its body and what came of it already.

    Raises:
        Failed: It is not 200, or has no Content-Length although the application gives it.
    """
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        piece = peer.recv(MAX_HEAD)
        if not piece or len(data) > MAX_HEAD:
            raise Failed(f"no whole response head came: {data[:80]!r}")
        data += piece
    length = re.search(rb"\r\ncontent-length:[ \t]*(\d+)", data[:end], re.IGNORECASE)
    if not length or not re.match(rb"HTTP/1\.1 200 ", data):
        raise Failed(f"unexpected response head: {data[:end]!r}")
    return int(length[1]), data[end + 4 :]


def _count_readable(connections: Sequence[socket.socket]) -> int:
    """Count the connections with something to read: nothing was asked, so they have ended."""
    poll = select.poll()
    for peer in connections:
        poll.register(peer, select.POLLIN)
    return len(poll.poll(0))
