"""Clients that never come to the end of what they send, as fast as they can."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack

import pytest

from attack_tools import connect_many, send_endlessly, unharmed, victim
from conftest import Command

ATTACKERS = 20

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"POST /upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
NUMBERED = b"".join(b"X-%d: y\r\n" % number for number in range(1400))


@pytest.mark.parametrize(
    ("begin", "endless", "statuses"),
    [
        pytest.param(b"", b"A" * 16384, {400, 414, 501}, id="method"),
        pytest.param(b"GET /", b"a" * 16384, {414}, id="target"),
        pytest.param(b"", b"\r\n" * 8192, {400, 414, 431}, id="empty-lines"),
        pytest.param(b"", b"\n" * 16384, {400, 414, 431}, id="bare-line-feeds"),
        pytest.param(GET, b"X: y\r\n" * 2700, {431}, id="same-lines"),
        pytest.param(GET, NUMBERED, {431}, id="lines"),
        pytest.param(GET, b":\r\n" * 5400, {400}, id="nameless-lines"),
        pytest.param(GET, b"x_y: z\r\n" * 2000, {431}, id="dropped-lines"),
        pytest.param(GET, b"a" * 16384, {400, 431}, id="name"),
        pytest.param(GET + b"X: ", b"a" * 16384, {431}, id="value"),
        pytest.param(GET + b"X: ", b" " * 16384, {431}, id="white-space"),
        pytest.param(GET + b"Cookie: ", b"a=b; " * 3200, {431}, id="cookie"),
        pytest.param(CHUNKED, b"0" * 16384, {400}, id="chunk-size"),
        pytest.param(CHUNKED + b"1;", b"a" * 16384, {400}, id="extension-name"),
        pytest.param(CHUNKED + b"1", b";a=b" * 4096, {400}, id="extensions"),
        pytest.param(CHUNKED + b'1;a="', b"\\a" * 8192, {400}, id="extension-quoted"),
        pytest.param(CHUNKED, b"1;a=%b\r\nx\r\n" % (b"b" * 99) * 150, {400}, id="chunk-extensions"),
        pytest.param(CHUNKED + b"0\r\n", b"X: y\r\n" * 2700, {400, 431}, id="trailers"),
        pytest.param(CHUNKED + b"0\r\n", NUMBERED, {400, 431}, id="numbered-trailers"),
        pytest.param(CHUNKED + b"0\r\nX: ", b"a" * 16384, {400, 431}, id="trailer-value"),
    ],
)
def test_endless(command: Command, begin: bytes, endless: bytes, statuses: set[int]) -> None:
    server = victim(command)
    with ExitStack() as stack, unharmed(server):
        clients = connect_many(server, ATTACKERS)
        for client in clients:
            stack.callback(client.close)
            client.send(begin)
        assert send_endlessly(clients, endless) <= statuses


def test_chunks_of_one_byte(command: Command) -> None:
    server = victim(command)
    chunks = 200_000
    with server.client() as client, unharmed(server):
        client.send(CHUNKED)
        client.send(b"1\r\nx\r\n" * chunks + b"0\r\n\r\n")
        assert client.response().body == b"%d" % chunks


def test_content_of_nothing_but_empty_lines(command: Command) -> None:
    # An empty line is where the parser looks for the end of a message.
    server = victim(command)
    size = 256 * 1024
    with ExitStack() as stack, unharmed(server):
        for _ in range(2):
            client = stack.enter_context(server.client())
            client.send(CHUNKED)
            client.send(b"%x\r\n" % size + b"\r\n" * (size // 2) + b"\r\n0\r\n\r\n")
            assert client.response().body == b"%d" % size


def send_for_ever(sock: socket.socket, data: bytes) -> None:
    """Send until the server breaks the connection."""
    while True:
        try:
            sock.sendall(data)
        except ConnectionError:
            return


def test_pipelining_without_reading(command: Command) -> None:
    server = victim(command, "--write-timeout", "1")
    request = b"GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with ExitStack() as stack, unharmed(server):
        sockets = [stack.enter_context(socket.socket()) for _ in range(5)]

        def pipeline(sock: socket.socket, requests: bytes) -> None:
            # The server stops reading when its answers are not read, then gives up.
            sock.settimeout(10)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # it would grow
            sock.connect(("127.0.0.1", server.port))
            send_for_ever(sock, requests)

        threads = [
            threading.Thread(target=pipeline, args=(sock, request % path * 400))
            for sock, path in zip(sockets, [b"", *[b"mebibyte"] * 4], strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()


def test_sending_on_after_the_refusal(command: Command) -> None:
    # The server reads on for a while, so that the answer is not lost; but not for ever.
    server = victim(command)
    with ExitStack() as stack, unharmed(server):
        clients = [stack.enter_context(server.client()) for _ in range(2)]

        def insist(sock: socket.socket) -> None:
            send_for_ever(sock, b"no request " * 10_000)

        threads = [threading.Thread(target=insist, args=(one.sock,)) for one in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()


def test_a_fast_reader_of_many_small_blocks_does_not_keep_the_hub(command: Command) -> None:
    server = victim(command)
    with server.client() as client, unharmed(server):
        client.send(b"GET /pieces HTTP/1.1\r\nHost: localhost\r\n\r\n")
        missing = int(client.head()["Content-Length"]) - len(client.buffer)
        while missing:
            missing -= len(client.sock.recv(1 << 20))
