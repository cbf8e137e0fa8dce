"""Clients that take their time: with heads, with content, with reading, or with anything at all."""

from __future__ import annotations

import resource
import select
import socket
import ssl
import time
from contextlib import ExitStack

import pytest

from attack_tools import connect_many, status_after, unharmed, victim
from clients import RawClient
from conftest import Command

PACE = 0.05
"""Seconds between the bytes of a slow sender."""


def dribble(clients: list[RawClient], byte: bytes, most: float) -> float:
    """Send a byte on each connection again and again, until the server answers on one.

    Returns how many seconds that took.
    """
    begin = time.monotonic()
    sockets = [client.sock for client in clients]
    while not select.select(sockets, [], [], PACE)[0]:
        assert time.monotonic() - begin < most, f"nothing was cut off in {most} seconds"
        for sock in sockets:
            sock.send(byte)
    return time.monotonic() - begin


def test_200_slow_heads_are_answered_408_in_time(command: Command) -> None:
    server = victim(command, "--header-timeout", "1")
    with ExitStack() as stack, unharmed(server):
        clients = connect_many(server, 200)
        for client in clients:
            stack.callback(client.close)
            client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        assert 0.9 < dribble(clients, b"x", 5) < 3
        assert {status_after(client) for client in clients} == {408}


def test_slow_request_lines_are_answered_408_in_time(command: Command) -> None:
    server = victim(command, "--header-timeout", "1")
    with ExitStack() as stack, unharmed(server):
        clients = connect_many(server, 50)
        for client in clients:
            stack.callback(client.close)
            client.send(b"GET /")
        assert 0.9 < dribble(clients, b"x", 5) < 3
        assert {status_after(client) for client in clients} == {408}


@pytest.mark.parametrize(
    "options",
    [
        # A byte every PACE seconds is far below the least rate: it buys no time.
        ("--body-timeout", "1", "--body-min-rate", "500"),
        # With the pauses as the only measure, stopping altogether is what is cut off.
        ("--body-timeout", "1", "--body-min-rate", "0"),
    ],
    ids=["rate", "pauses"],
)
def test_200_slow_bodies_are_answered_408_in_time(
    command: Command, options: tuple[str, ...]
) -> None:
    server = victim(command, *options)
    with ExitStack() as stack, unharmed(server):
        clients = connect_many(server, 200)
        for client in clients:
            stack.callback(client.close)
            client.send(
                b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nxxx"
            )
        byte = b"" if "0" in options else b"x"
        assert 0.9 < dribble(clients, byte, 5) < 4
        assert {status_after(client) for client in clients} == {408}


def test_200_slow_chunked_bodies_are_answered_408_in_time(command: Command) -> None:
    server = victim(command, "--body-timeout", "1")
    with ExitStack() as stack, unharmed(server):
        clients = connect_many(server, 200)
        for client in clients:
            stack.callback(client.close)
            client.send(
                b"POST /upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"ffff\r\n"
            )
        assert 0.9 < dribble(clients, b"x", 5) < 4
        assert {status_after(client) for client in clients} == {408}


def test_50_slow_readers_of_a_mebibyte(command: Command) -> None:
    server = victim(command, "--keepalive", "1")
    with ExitStack() as stack, unharmed(server):
        clients = [stack.enter_context(server.client()) for _ in range(50)]
        for client in clients:
            client.send(b"GET /mebibyte HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.sock.recv(1, socket.MSG_PEEK) == b"H"
        for client in clients:
            assert len(client.response().body) == 1048576
        assert all(client.closed() for client in clients)


def test_50_slow_readers_are_disconnected_in_time(command: Command) -> None:
    server = victim(command, "--write-timeout", "1")
    with ExitStack() as stack, unharmed(server):
        clients = [stack.enter_context(server.client()) for _ in range(50)]
        begin = time.monotonic()
        for client in clients:
            client.send(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.sock.recv(1, socket.MSG_PEEK) == b"H"
        with server.client() as client:
            assert client.get("/closed?50").status == 200
        assert 0.9 < time.monotonic() - begin < 4


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_slow_readers_do_not_cost_copies(
    command: Command, certificate: tuple[str, str], tls: bool
) -> None:
    cert, key = certificate
    options = ["--bind", "https://127.0.0.1:0", "--certfile", cert, "--keyfile", key]
    server = victim(command, *options)
    context = ssl.create_default_context(cafile=cert)
    port = int(server.text.partition("https://127.0.0.1:")[2].partition("\n")[0])
    with ExitStack() as stack, unharmed(server):
        for _ in range(50):
            client = RawClient(("127.0.0.1", port), tls=context) if tls else server.client()
            stack.enter_context(client)
            client.send(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.head().status == 200


@pytest.mark.slow
def test_5000_idle_connections_cost_little_and_are_closed_in_time(command: Command) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < 6000:
        pytest.skip(f"this process may open {hard} descriptors only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 6000), hard))
    server = victim(command, "--keepalive", "4", "--header-timeout", "6")
    try:
        with ExitStack() as stack, unharmed(server):
            clients = []
            for number in range(5000):
                client = stack.enter_context(server.client())
                clients.append(client)
                if number % 2:  # the other half never says a word
                    assert client.get().status == 200
            for client in clients:
                assert client.closed()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
