"""HTTP/2 clients that take their time: with the preface, a frame, a header section, or content."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from contextlib import ExitStack

import pytest

from clients import ConnectionEnded
from conftest import ServerProcess
from http2_attack_tools import StartTarget, ask, besieged, block, connect, literal
from http2_client import (
    CONTINUATION,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    NO_ERROR,
    PING,
    PREFACE,
    SETTINGS,
    RawHttp2,
    frame,
)

PACE = 0.05
"""Seconds between the bytes of a slow sender."""
EACH = 20
"""Connections of each kind."""

GREETING = PREFACE + frame(SETTINGS, 0, 0)
LONG_HEAD = frame(HEADERS, END_STREAM, 1, block())
# In one piece as far as its head: nghttp2 takes each piece of that for a frame, which are counted.
REST = literal(b"x", b"y" * 1000)
CONTINUED = frame(CONTINUATION, 0, 1, REST)[: -len(REST)]

SLOW = {
    # What is sent at once, and what is sent byte by byte.
    "preface": (b"", GREETING),
    "half-preface": (PREFACE[:10], b""),
    "no-settings": (PREFACE, b""),
    "slow-settings": (PREFACE, frame(SETTINGS, 0, 0, bytes(180))),
    "half-frame-head": (GREETING + bytes(4), b""),
    "half-ping": (GREETING + frame(PING, 0, 0, bytes(8))[:-1], b""),
    "slow-unknown": (GREETING, frame(0xFA, 0, 0, bytes(1000))),
    "half-head": (GREETING + frame(HEADERS, 5, 1, block())[:-1], b""),
    "slow-head": (GREETING, frame(HEADERS, 5, 1, block(b"/" + b"x" * 1000))),
    "no-continuation": (GREETING + LONG_HEAD, b""),
    "slow-continuation": (GREETING + LONG_HEAD + CONTINUED, REST),
}


def dribble(clients: Sequence[tuple[RawHttp2, bytes]], most: float) -> float:
    """Send a byte on each connection again and again, until the server has closed them all.

    Returns the seconds until the first.
    """
    begin = time.monotonic()
    slow = {client.sock: (client, data) for client, data in clients}
    first = 0.0
    count = 0
    while slow:
        assert time.monotonic() - begin < most, f"{len(slow)} were not closed in {most} seconds"
        for sock in select.select(list(slow), [], [], PACE)[0]:
            client, _ = slow[sock]
            try:
                client.sock.settimeout(0)
                received = client.sock.recv(65536)
            except ConnectionError:
                received = b""
            if not received:
                first = first or time.monotonic() - begin
                del slow[sock]
        for sock, (_, data) in slow.items():
            try:
                sock.send(data[count : count + 1])
            except ConnectionError:
                pass  # to be read in the next round
        count += 1
    return first


@pytest.mark.slow
def test_slow_beginnings_are_cut_off_in_time(start_target: StartTarget) -> None:
    target = start_target("--header-timeout", "1", "--keepalive", "30")
    with ExitStack() as stack, besieged(target, 0):
        clients = []
        for begin, rest in SLOW.values():
            for _ in range(EACH):
                client = stack.enter_context(connect(target, preface=False))
                client.send(begin)
                clients.append((client, rest))
        assert dribble(clients, 5) > 0.9


@pytest.mark.slow
def test_a_head_that_takes_its_time_between_requests(start_target: StartTarget) -> None:
    # Other streams of the connection being busy is no excuse.
    target = start_target("--header-timeout", "1", "--keepalive", "1", "--write-timeout", "1")
    with besieged(target, EACH) as clients:
        for client in clients:
            client.request("/gate")
            client.get("/")
            client.send(frame(HEADERS, END_STREAM, 5, block()))
            client.send(frame(CONTINUATION, 0, 5, REST)[: -len(REST)])
        ask(target, "/release")
        assert dribble([(client, REST) for client in clients], 5) > 0.9


@pytest.mark.slow
def test_slow_content_is_cut_off_in_time(start_target: StartTarget) -> None:
    target = start_target("--body-timeout", "1")
    with besieged(target, 5) as clients:
        for client in clients:
            for _ in range(EACH):
                client.request("/upload", end=False, method="POST")
        ask(target, f"/seen?begun={5 * EACH}")
        begin = time.monotonic()
        for _ in range(5):
            for client in clients:
                for number in range(EACH):
                    client.data(2 * number + 1, b"x")
            time.sleep(PACE)
        ask(target, "/seen?running=0")
        assert 0.9 < time.monotonic() - begin < 5
        for client in clients:
            answers = client.collect(range(1, 2 * EACH, 2))
            assert {answer.status for answer in answers} == {408}
            # The connection is as good as ever.
            assert client.get("/").status == 200


@pytest.mark.slow
def test_a_hundred_idle_connections_are_closed_in_time(start_target: StartTarget) -> None:
    target = start_target("--keepalive", "1", "--header-timeout", "1")
    with besieged(target, 101) as (busy, *clients):
        stream = busy.request("/gate")
        for number, client in enumerate(clients):
            if number % 2:
                assert client.get("/").status == 200
        for client in clients:
            assert client.broken() == NO_ERROR
        # While a request runs, a connection is not idle.
        ask(target, "/release")
        assert busy.response(stream).status == 200


def test_a_hundred_idle_connections_cost_little(target: ServerProcess) -> None:
    before = target.resident
    with besieged(target, 100) as clients:
        for client in clients:
            assert client.get("/").status == 200
        assert target.resident - before < 100 * 100 * 1024


def test_content_in_the_middle_of_which_the_client_leaves(target: ServerProcess) -> None:
    with besieged(target) as clients:
        for client in clients:
            stream = client.request("/upload", method="POST", end=False)
            client.send(frame(DATA, 0, stream, bytes(1000))[:500])
        ask(target, f"/seen?begun={len(clients)}")
        for client in clients:
            client.close()
        assert ask(target, f"/seen?running=0&told={len(clients)}")["running"] == 0


def test_requests_behind_a_goaway_of_the_client(target: ServerProcess) -> None:
    # It has promised not to push; what it asks for is answered or ignored, and then it is closed.
    with besieged(target, 1) as (client,):
        first = client.request("/gate")
        client.goaway()
        second = client.request("/")
        ask(target, "/seen?begun=1")
        ask(target, "/release")
        assert client.response(first).status == 200
        try:
            assert client.response(second).status in (0, 200)
        except ConnectionEnded:
            codes = {one.code for one in client.frames if one.kind == GOAWAY}
            assert codes <= {NO_ERROR}
