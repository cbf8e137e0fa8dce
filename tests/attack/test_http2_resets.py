"""HTTP/2 clients that open streams to have them reset: by themselves, or by the server.

CVE-2023-44487 (rapid reset), CVE-2019-9514 (reset flood) and CVE-2025-8671 (made you reset).
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from conftest import ServerProcess
from http2_attack_tools import (
    RESETS,
    STREAMS,
    Flood,
    ask,
    assault,
    besieged,
    block,
    connect,
    literal,
    request,
    reset,
    strike,
    window_update,
)
from http2_client import (
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    HEADERS,
    LARGEST_WINDOW,
    PRIORITY,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    frame,
)

MOST = 3 * RESETS
"""Streams that the server must not take."""
CALM = {ENHANCE_YOUR_CALM}
PAUSE = STREAMS // 2
"""Streams that are opened before the server's answers are waited for, lest there be too many."""


def on_new_stream(begin: bytes, *, end: bool, then: str = "") -> Flood:
    """Return a flood of requests with a field block, each followed by what provokes a reset.

    Args:
        begin: The field block.
        end: The request has no content.
        then: One of `PROVOCATIONS`.
    """
    flags = END_HEADERS | (END_STREAM if end else 0)

    def flood(number: int) -> bytes:
        stream = 2 * number + 1
        return frame(HEADERS, flags, stream, begin) + (PROVOCATIONS[then](stream) if then else b"")

    return flood


PROVOCATIONS: dict[str, Callable[[int], bytes]] = {
    "reset": reset,
    "zero": lambda stream: window_update(stream, 0),
    "overflow": lambda stream: window_update(stream, LARGEST_WINDOW),
    "half-priority": lambda stream: frame(PRIORITY, 0, stream, bytes(4)),
    "loop": lambda stream: frame(PRIORITY, 0, stream, struct.pack(">LB", stream, 15)),
    "data": lambda stream: frame(DATA, 0, stream, b"x"),
    "last-data": lambda stream: frame(DATA, END_STREAM, stream, b"xx"),
    "much-data": lambda stream: frame(DATA, 0, stream, bytes(16384)) * 5,
    "second-head": lambda stream: frame(HEADERS, END_HEADERS | END_STREAM, stream, block()),
    "endless-trailers": lambda stream: frame(HEADERS, END_HEADERS, stream, literal(b"x", b"y")),
}
GATE = block(b"/gate")
UPLOAD = block(b"/upload", method=b"POST")
FIVE = block(b"/upload", [(b"content-length", b"5")], method=b"POST")


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(on_new_stream(block(), end=True, then="reset"), id="answered-at-once"),
        pytest.param(on_new_stream(GATE, end=True, then="reset"), id="blocked"),
        pytest.param(on_new_stream(UPLOAD, end=False, then="reset"), id="upload"),
        pytest.param(
            on_new_stream(block(b"/endless"), end=True, then="reset"), id="endless-response"
        ),
        # The reset answers for the whole stream, however much is sent on it before.
        pytest.param(
            lambda number: (
                request(2 * number + 1, b"/upload", end=False)
                + frame(DATA, 0, 2 * number + 1, b"x")
                + reset(2 * number + 1)
            ),
            id="with-content",
        ),
    ],
)
def test_rapid_reset(target: ServerProcess, flood: Flood) -> None:
    with besieged(target) as clients:
        assert assault(clients, flood, MOST) == CALM
    # The last of what was sent was not even begun.
    assert ask(target, "/seen?running=0")["most"] <= len(clients) * STREAMS


@pytest.mark.parametrize(
    ("flood", "codes"),
    [
        pytest.param(on_new_stream(GATE, end=True, then="zero"), {PROTOCOL_ERROR}, id="zero"),
        pytest.param(
            on_new_stream(UPLOAD, end=False, then="zero"), {PROTOCOL_ERROR}, id="zero-on-upload"
        ),
        pytest.param(on_new_stream(GATE, end=True, then="overflow"), set(), id="overflow"),
        pytest.param(
            on_new_stream(GATE, end=True, then="half-priority"),
            {FRAME_SIZE_ERROR},
            id="half-priority",
        ),
        pytest.param(
            on_new_stream(GATE, end=True, then="loop"), {PROTOCOL_ERROR}, id="priority-loop"
        ),
        pytest.param(
            on_new_stream(GATE, end=True, then="data"), {STREAM_CLOSED}, id="data-behind-the-end"
        ),
        pytest.param(
            on_new_stream(GATE, end=True, then="second-head"),
            {STREAM_CLOSED, PROTOCOL_ERROR},
            id="head-behind-the-end",
        ),
        pytest.param(
            on_new_stream(UPLOAD, end=False, then="endless-trailers"),
            {PROTOCOL_ERROR},
            id="trailers-that-do-not-end",
        ),
        pytest.param(
            on_new_stream(FIVE, end=False, then="last-data"), set(), id="less-than-the-length"
        ),
        pytest.param(
            on_new_stream(FIVE, end=False, then="much-data"), set(), id="more-than-the-length"
        ),
        pytest.param(
            on_new_stream(block(b"/", [(b"X-Upper", b"")]), end=True), set(), id="upper-case"
        ),
        pytest.param(
            on_new_stream(block(b"/", [(b"connection", b"close")]), end=True),
            set(),
            id="connection",
        ),
        # CVE-2019-9516
        pytest.param(on_new_stream(block(b"/", [(b"", b"")]), end=True), set(), id="no-name"),
        pytest.param(on_new_stream(b"\x82", end=True), set(), id="hardly-a-head"),
        pytest.param(on_new_stream(b"", end=True), set(), id="no-head"),
        pytest.param(
            on_new_stream(block(b"/", [(b"te", b"gzip")]), end=False, then="data"),
            set(),
            id="malformed-with-content",
        ),
    ],
)
def test_made_you_reset(target: ServerProcess, flood: Flood, codes: set[int]) -> None:
    # Where the RFC, or the library by its leave, breaks the connection at once, that is as good.
    with besieged(target) as clients:
        assert assault(clients, flood, MOST, pause=PAUSE) <= CALM | codes
    assert ask(target, "/seen?running=0")["most"] <= len(clients) * STREAMS


def test_requests_beyond_the_concurrent_ones(target: ServerProcess) -> None:
    with besieged(target) as clients:
        flood = on_new_stream(GATE, end=True)
        # RFC 9113 5.1.2: PROTOCOL_ERROR or REFUSED_STREAM; nghttp2 does not stop at the stream.
        assert assault(clients, flood, STREAMS + MOST) <= CALM | {PROTOCOL_ERROR}
    assert ask(target, "/seen?running=0")["most"] <= len(clients) * STREAMS


def test_more_than_the_window(target: ServerProcess) -> None:
    with besieged(target, 2) as clients:
        flood = on_new_stream(block(b"/gate", method=b"POST"), end=False, then="much-data")
        codes = assault(clients, flood, MOST, pause=PAUSE)
    assert codes <= CALM | {FLOW_CONTROL_ERROR}


def test_handlers_that_still_run_count_though_their_streams_were_reset(
    target: ServerProcess,
) -> None:
    with besieged(target, 1) as (client,):
        first = [client.request("/gate") for _ in range(STREAMS)]
        ask(target, f"/seen?begun={STREAMS}")
        for stream in first:
            client.rst(stream)
        second = [client.request("/gate") for _ in range(STREAMS // 2)]
        client.sync()
        seen = ask(target, "/seen")
        assert seen["most"] == STREAMS
        # Once they end, there is room again.
        ask(target, "/release")
        later = client.get("/")
        assert later.status == 200
        assert {client.progress(one).code for one in second} <= {-1, REFUSED_STREAM}


def test_requests_beside_handlers_that_still_run(target: ServerProcess) -> None:
    with besieged(target) as clients:
        for client in clients:
            for _ in range(STREAMS):
                client.request("/gate")
        ask(target, f"/seen?begun={len(clients) * STREAMS}")
        for client in clients:
            for stream in list(range(1, 2 * STREAMS, 2)):
                client.rst(stream)
            client.sync()
        flood = on_new_stream(block(), end=True)
        assert assault(clients, lambda number: flood(number + STREAMS), MOST, pause=PAUSE) == CALM


def test_handlers_of_reset_streams_are_told_at_once(target: ServerProcess) -> None:
    with besieged(target, 1) as (client,):
        reading = [client.request("/upload", method="POST", end=False) for _ in range(STREAMS // 2)]
        client.grant = False
        writing = [client.request("/endless") for _ in range(STREAMS // 2)]
        ask(target, f"/seen?begun={STREAMS}")
        client.sync()
        for stream in reading + writing:
            client.rst(stream)
        # Far sooner than any timeout of the server.
        seen = ask(target, f"/seen?running=0&told={len(reading)}")
        assert seen["running"] == 0
        client.window_update(0, LARGEST_WINDOW - 65535)
        assert client.get("/").status == 200


def test_handlers_are_told_when_the_connection_is_broken(target: ServerProcess) -> None:
    with besieged(target) as clients:
        for client in clients:
            for _ in range(20):
                client.request("/upload", method="POST", end=False)
                client.request("/endless")
        ask(target, f"/seen?begun={40 * len(clients)}")
        assert assault(clients, lambda number: window_update(0, 0), 2) == {PROTOCOL_ERROR}
        assert ask(target, f"/seen?running=0&told={20 * len(clients)}")["running"] == 0


def test_handlers_are_told_when_an_offender_is_cut_off(target: ServerProcess) -> None:
    with besieged(target) as clients:
        for client in clients:
            for _ in range(20):
                client.request("/upload", method="POST", end=False)
        ask(target, f"/seen?begun={20 * len(clients)}")
        flood = on_new_stream(block(), end=True, then="reset")
        assert assault(clients, lambda number: flood(number + 1000), MOST) == CALM
        assert ask(target, f"/seen?running=0&told={20 * len(clients)}")["running"] == 0


def test_as_many_resets_as_allowed(target: ServerProcess) -> None:
    # A browser that leaves a page, and then another one.
    with connect(target) as client:
        for _ in range(RESETS // STREAMS):
            streams = [client.request("/endless") for _ in range(STREAMS)]
            for stream in streams:
                client.rst(stream)
            client.sync()
        assert client.get("/").status == 200
        assert strike(client, b"")
