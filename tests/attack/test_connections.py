"""Clients that come and go, in numbers and in bad manners."""

from __future__ import annotations

import socket
import ssl
import struct
import sys
from contextlib import ExitStack

import pytest

from attack_tools import unharmed, victim
from conftest import Command, ServerProcess

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with a timeout of nothing: close() sends RST instead of FIN."""

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPLOAD = b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\nxxx"
DOWNLOAD = b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n"


def connect(server: ServerProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), 10)


def leave_rudely(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


@pytest.mark.parametrize(
    ("count", "data", "answered"),
    [
        pytest.param(3000, b"", False, id="silent"),
        pytest.param(3000, b"GET / HT", False, id="half-a-head"),
        pytest.param(3000, GET, False, id="request"),
        pytest.param(1000, GET, True, id="answered"),
        pytest.param(2000, GET * 50, False, id="pipelined"),
        pytest.param(2000, UPLOAD, False, id="upload"),
        pytest.param(200, DOWNLOAD, True, id="download"),
    ],
)
def test_connect_and_reset_storm(command: Command, count: int, data: bytes, answered: bool) -> None:
    server = victim(command)
    with unharmed(server):
        for _ in range(count):
            sock = connect(server)
            sock.sendall(data)
            if answered:
                assert sock.recv(1) == b"H"
            leave_rudely(sock)
        if data is DOWNLOAD:
            with server.client() as client:
                assert client.get(f"/closed?{count}").status == 200


def test_more_connections_than_allowed_wait_for_their_turn(command: Command) -> None:
    server = victim(command, "--worker-connections", "100", "--header-timeout", "0.5")
    with ExitStack() as stack, unharmed(server):
        for _ in range(250):
            stack.enter_context(connect(server))  # 99 are accepted and soon cut off, and so on
        with server.client() as client:
            assert client.get().status == 200


def test_running_out_of_descriptors(command: Command) -> None:
    limit = 64
    launcher = (
        "import resource, runpy, sys;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}));"
        "sys.argv[0] = 'gserver';"
        "runpy.run_module('gserver', run_name='__main__')"
    )
    server = victim(command, program=[sys.executable, "-c", launcher])
    with unharmed(server):
        with ExitStack() as stack:
            for _ in range(2 * limit):
                stack.enter_context(connect(server))
            with pytest.raises(TimeoutError), server.client(timeout=0.3) as late:
                late.get()
        with server.client() as later:
            assert later.get().status == 200
    # Nothing is tried in a tight loop.
    assert 1 <= server.text.count("cannot accept connections: Too many open files") < 20


def test_tls_handshake_storms(command: Command, certificate: tuple[str, str]) -> None:
    cert, key = certificate
    options = ["--bind", "https://127.0.0.1:0", "--certfile", cert, "--keyfile", key]
    server = victim(command, *options)
    port = int(server.text.partition("https://127.0.0.1:")[2].partition("\n")[0])
    hello = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    client_hello = hello.read()
    with unharmed(server):
        for data in (b"", client_hello[:50], client_hello, b"\x16\x03\x01\xff\xff" + b"x" * 9999):
            for _ in range(150):
                sock = socket.create_connection(("127.0.0.1", port), 10)
                sock.sendall(data)
                leave_rudely(sock)
