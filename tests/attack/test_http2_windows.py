"""HTTP/2 clients that ask for much and take nothing of it, or next to nothing.

CVE-2019-9511 (data dribble) and 9517 (internal data buffering) are among them.
"""

from __future__ import annotations

import struct

import pytest

from clients import ConnectionEnded
from conftest import ServerProcess
from http2_attack_tools import (
    CONTROL_FRAMES,
    STREAMS,
    Flood,
    StartTarget,
    ask,
    assault,
    besieged,
    bombard,
    connect,
    request,
    reset,
    wait_until_full,
    window_update,
)
from http2_client import (
    DATA,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    GOAWAY,
    INITIAL_WINDOW_SIZE,
    LARGEST_WINDOW,
    PING,
    RST_STREAM,
    SETTINGS,
    RawHttp2,
    frame,
)

CALM = {ENHANCE_YOUR_CALM}
ALL = range(1, 2 * STREAMS, 2)
"""The first streams, as many as may be open at once."""


def window(size: int) -> bytes:
    """Return the SETTINGS for a window of each stream."""
    return frame(SETTINGS, 0, 0, struct.pack(">HL", INITIAL_WINDOW_SIZE, size))


def is_cut_off(client: RawHttp2) -> bool:
    """Read until all streams were reset, or the connection is closed; whether no end was good."""
    client.grant = False
    try:
        return not any(one.ended for one in client.collect(ALL))
    except ConnectionEnded:
        return True


WAYS = [
    # What is sent before the requests, and what once they are being answered.
    (window(0), b""),
    (b"", b""),
    (window(10000) + window_update(0, LARGEST_WINDOW - 65535), b""),
    (b"", window(0)),
    # Windows as large as can be, but nothing is read from the socket.
    (window(LARGEST_WINDOW) + window_update(0, LARGEST_WINDOW - 65535), b""),
]


@pytest.mark.slow
def test_500_streams_ask_for_a_mebibyte_each_and_read_none(start_target: StartTarget) -> None:
    target = start_target("--write-timeout", "1")
    paths = [b"/mebibyte", b"/pieces"]  # as one block, and as many
    requests = b"".join(request(stream, paths[stream // 2 % 2]) for stream in ALL)
    with besieged(target, len(WAYS)) as clients:
        for client, (first, _) in zip(clients, WAYS, strict=True):
            client.send(first + requests)
        ask(target, f"/seen?begun={5 * STREAMS}")
        for client, (_, then) in zip(clients, WAYS, strict=True):
            client.send(then)
        assert ask(target, "/seen?running=0")["begun"] == 5 * STREAMS
        assert all(is_cut_off(client) for client in clients)


@pytest.mark.parametrize(
    "where", ["stream", "connection", pytest.param("settings", marks=pytest.mark.slow)]
)
def test_windows_of_one_byte(target: ServerProcess, where: str) -> None:
    # As many bytes in frames' heads as the client sends of its own, but it can go on for ever.
    first = b"".join(request(stream, b"/mebibyte") for stream in ALL[:50])
    if where == "connection":
        first = window(LARGEST_WINDOW) + first + request(101, b"/blocks?65535*1")
        flood = window_update(0, 1) * 50
    elif where == "stream":
        first = window(1) + window_update(0, 1 << 20) + first
        flood = b"".join(window_update(stream, 1) for stream in ALL[:50])
    else:
        first = window(1) + window_update(0, 1 << 20) + first

    def piece(number: int) -> bytes:
        if not number:
            return first
        return window(number + 1) if where == "settings" else flood

    most = 3 * CONTROL_FRAMES if where == "settings" else 200
    with besieged(target) as clients:
        for client in clients:
            client.grant = False
        assert assault(clients, piece, most) == CALM


def test_one_window_of_one_byte_after_the_other(target: ServerProcess) -> None:
    # Each byte is waited for, so that each has a packet of its own.
    with besieged(target, 1) as (client,):
        client.grant = False
        client.send(window(1) + request(1, b"/mebibyte"))
        client.until(DATA)
        codes = assault([client], lambda number: window_update(1, 1), 3 * CONTROL_FRAMES, pause=1)
        assert codes == CALM


@pytest.mark.slow
def test_short_responses_that_nobody_takes(start_target: StartTarget) -> None:
    # Their handlers have left long ago.
    target = start_target("--write-timeout", "1")
    with besieged(target) as clients:
        for client in clients:
            client.send(window(0) + b"".join(request(stream, b"/") for stream in ALL))
        assert all(is_cut_off(client) for client in clients)


def test_many_small_responses_through_windows_of_one_byte(target: ServerProcess) -> None:
    with besieged(target) as clients:

        def piece(number: int) -> bytes:
            stream = 2 * number + 1
            start = window(1) if not number else b""
            return start + request(stream) + window_update(stream, 1) * 10

        for client in clients:
            client.grant = False
        assert assault(clients, piece, 1000) == CALM


# What has come earns control frames, but not while the answers to those pile up.
BYTE = frame(DATA, 0, 3, b"x")
UNREAD: list[Flood] = [
    lambda number: (BYTE + frame(PING, 0, 0, bytes(8))) * 50,
    lambda number: (BYTE + frame(SETTINGS, 0, 0)) * 50,
    lambda number: request(2 * number + 5, method=b"HEAD"),
    lambda number: request(2 * number + 5) + reset(2 * number + 5),
    lambda number: request(2 * number + 5, b"malformed"),
]


@pytest.mark.slow
def test_control_frames_of_which_the_answers_are_not_read(target: ServerProcess) -> None:
    with besieged(target, len(UNREAD)) as clients:
        for client in clients:
            client.send(window(LARGEST_WINDOW) + window_update(0, LARGEST_WINDOW - 65535))
            client.send(request(1, b"/endless"))
            client.send(request(3, b"/upload", end=False, method=b"POST"))
        wait_until_full(target)
        bombard(clients, UNREAD, 3 * CONTROL_FRAMES)


@pytest.mark.slow
def test_heads_of_responses_that_are_not_read(target: ServerProcess) -> None:
    # One at a time: each has been answered before the next one comes.
    with besieged(target, 1) as (client,), connect(target) as other:
        client.send(window(LARGEST_WINDOW) + window_update(0, LARGEST_WINDOW - 65535))
        client.send(request(1, b"/endless"))
        wait_until_full(target)

        def piece(number: int) -> bytes:
            assert other.get().status == 200
            return request(2 * number + 3, method=b"HEAD")

        bombard([client], [piece], 2 * CONTROL_FRAMES)


@pytest.mark.slow
def test_content_in_the_smallest_pieces_that_nobody_reads(target: ServerProcess) -> None:
    # 11 bytes on the wire for each two: that must not become hundreds in the memory.
    size = 65000
    with besieged(target, 1) as (client,):
        client.send(request(1, b"/gate", end=False, method=b"POST"))
        client.sync()
        before = target.resident
        client.send(frame(DATA, 0, 1, b"xx") * (size // 2))
        client.sync()
        assert target.resident - before < 15 * size


@pytest.mark.parametrize("stream", [0, 1])
def test_windows_that_overflow(target: ServerProcess, stream: int) -> None:
    with besieged(target, 1) as (client,):
        client.request("/upload", end=False, method="POST")
        client.window_update(stream, LARGEST_WINDOW)
        if stream:
            assert client.response(1).code == FLOW_CONTROL_ERROR
            assert client.get("/").status == 200
        else:
            assert client.broken() == FLOW_CONTROL_ERROR


def test_windows_that_overflow_by_settings(target: ServerProcess) -> None:
    with besieged(target, 1) as (client,):
        client.request("/upload", end=False, method="POST")
        client.window_update(1, LARGEST_WINDOW - 65535)
        client.send(window(65536))
        # The connection (RFC 9113 6.9.2), though nghttp2 leaves it at the stream.
        while (taken := client.read()).kind not in (RST_STREAM, GOAWAY):
            pass
        assert taken.code == FLOW_CONTROL_ERROR


def test_an_unread_response_does_not_keep_others_waiting(target: ServerProcess) -> None:
    with besieged(target, 1) as (client,):
        client.send(window_update(0, LARGEST_WINDOW - 65535))
        client.grant = False
        client.send(b"".join(request(stream, b"/endless") for stream in ALL[:50]))
        ask(target, "/seen?begun=50")
        client.send(request(101, b"/blocks?30000*2"))
        assert len(client.response(101).body) == 60000
