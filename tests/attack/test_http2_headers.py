"""HTTP/2 clients whose header sections are endless, or far larger than they look.

CVE-2024-27316 and its kin are floods of CONTINUATION; CVE-2016-6581 and 2016-1544 are HPACK bombs.
"""

from __future__ import annotations

import pytest

from clients import ConnectionEnded
from conftest import ServerProcess
from http2_attack_tools import (
    STREAMS,
    ask,
    assault,
    besieged,
    block,
    connect,
    literal,
    strike,
)
from http2_client import (
    COMPRESSION_ERROR,
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    HEADER_TABLE_SIZE,
    HEADERS,
    PADDED,
    PROTOCOL_ERROR,
    frame,
)

CALM = {ENHANCE_YOUR_CALM}
CONTINUATIONS = 8
"""The default of http2_max_continuations."""
LARGE = 4000
"""Bytes of a field that the compression table just holds."""

UNFINISHED = literal(b"x", b"y" * 60000)[:9]
"""The begin of a field whose value is long."""


@pytest.mark.parametrize(
    ("begin", "piece", "most"),
    [
        pytest.param(b"", b"", 4 * CONTINUATIONS, id="empty"),
        pytest.param(block(), b"", 4 * CONTINUATIONS, id="empty-behind-a-request"),
        pytest.param(block(), b"\x00", 4 * CONTINUATIONS, id="bytes"),
        pytest.param(block() + UNFINISHED, b"x", 4 * CONTINUATIONS, id="bytes-of-a-value"),
        pytest.param(block() + UNFINISHED, b"x" * 16384, 4 * CONTINUATIONS, id="a-long-value"),
        pytest.param(block(), literal(b"x", b"y" * 16000), 4 * CONTINUATIONS, id="long-values"),
        pytest.param(block(), literal(b"", b"") * 5000, 4 * CONTINUATIONS, id="no-names"),
        pytest.param(block(), b"\x82" * 16384, 4 * CONTINUATIONS, id="references"),
    ],
)
def test_endless_continuations(
    target: ServerProcess, begin: bytes, piece: bytes, most: int
) -> None:
    first = frame(HEADERS, END_STREAM, 1, begin)
    more = frame(CONTINUATION, 0, 1, piece)
    with besieged(target) as clients:
        codes = assault(clients, lambda number: more if number else first, most)
        # What is malformed may break the connection for that.
        assert codes <= CALM | {PROTOCOL_ERROR, COMPRESSION_ERROR}
        assert codes == CALM or piece not in (b"", b"x")


@pytest.mark.parametrize("padding", [b"", b"\xff" + bytes(255)], ids=["bare", "padded"])
def test_many_requests_in_as_many_frames_as_allowed(target: ServerProcess, padding: bytes) -> None:
    flags = END_STREAM | (PADDED if padding else 0)
    with connect(target) as client:
        for number in range(STREAMS):
            stream = 2 * number + 1
            client.send(frame(HEADERS, flags, stream, padding))
            whole = block()
            for index in range(CONTINUATIONS):
                last = index == CONTINUATIONS - 1
                piece = whole[index * 8 :] if last else whole[index * 8 : index * 8 + 8]
                client.continuation(stream, piece, end_headers=last)
            assert client.response(stream).status == 200


@pytest.mark.parametrize("where", ["header", "trailer"])
def test_references_to_a_large_field(target: ServerProcess, where: str) -> None:
    # 16 KiB on the wire, 60 MiB when it is decoded.
    bomb = block(b"/upload", method=b"POST") + b"\x40" + literal(b"x", b"y" * LARGE)[1:]
    references = b"\xbe" * (16384 - 1)

    def flood(number: int) -> bytes:
        stream = 2 * number + 1
        if where == "trailer":
            head = frame(HEADERS, END_HEADERS, stream, bomb)
            return head + frame(HEADERS, END_HEADERS | END_STREAM, stream, references)
        head = frame(HEADERS, END_STREAM, stream, bomb)
        return head + frame(CONTINUATION, END_HEADERS, stream, references)

    with besieged(target) as clients:
        assert assault(clients, flood, 20) == CALM


def test_references_that_just_pass(target: ServerProcess) -> None:
    # Each list is four times what is allowed, less a little: it is decoded, and refused.
    bomb = block() + b"\x40" + literal(b"x", b"y" * LARGE)[1:] + b"\xbe" * 60
    whole = frame(HEADERS, END_HEADERS | END_STREAM, 1, bomb)
    with besieged(target) as clients:
        for number in range(50):
            for client in clients:
                stream = 2 * number + 1
                client.send(whole[:5] + stream.to_bytes(4, "big") + whole[9:])
        for client in clients:
            try:
                answers = client.collect(range(1, 100, 2))
            except ConnectionEnded:
                assert client.broken() == ENHANCE_YOUR_CALM
            else:
                assert {answer.status for answer in answers} <= {0, 431}


def test_cookies_in_thousands_of_crumbs(target: ServerProcess) -> None:
    begin = block() + b"\x40" + literal(b"cookie", b"a=b")[1:]
    crumbs = b"\xbe" * 16000
    with besieged(target) as clients:

        def flood(number: int) -> bytes:
            return frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, begin + crumbs)

        codes = {strike(client, flood(0)) for client in clients}
        assert codes <= {True, False}
        assert assault(clients, lambda number: flood(number + 1), 300) <= CALM


@pytest.mark.parametrize(
    ("update", "codes"),
    [
        # 2**31 - 1 and 2**62: more than the server allowed.
        pytest.param(b"\x3f\xe0\xff\xff\xff\x07", {COMPRESSION_ERROR}, id="huge"),
        pytest.param(b"\x3f" + b"\xff" * 8 + b"\x3f", {COMPRESSION_ERROR}, id="overflow"),
        pytest.param(b"\x3f" + b"\xff" * 10000, {COMPRESSION_ERROR}, id="endless-number"),
        pytest.param(b"\x3f" + b"\x80" * 10000 + b"\x00", {COMPRESSION_ERROR}, id="endless-zeros"),
        pytest.param(b"\xff" * 10000, {COMPRESSION_ERROR}, id="endless-index"),
        pytest.param(b"\x00\x01x\x7f" + b"\xff" * 9000, {COMPRESSION_ERROR}, id="endless-length"),
    ],
)
def test_hostile_numbers(target: ServerProcess, update: bytes, codes: set[int]) -> None:
    with besieged(target) as clients:
        assert assault(
            clients, lambda number: frame(HEADERS, END_HEADERS | END_STREAM, 1, update), 5
        ) <= (codes | CALM)


def test_updates_of_the_table_size_over_and_over(target: ServerProcess) -> None:
    # Each pair empties the table; only the first of a section are allowed (RFC 7541 4.2).
    updates = b"\x20\x3f\xe1\x1f" * 3000
    with besieged(target) as clients:
        flood = frame(HEADERS, END_HEADERS | END_STREAM, 1, updates + block())
        for client in clients:
            client.send(flood)
        for client in clients:
            try:
                assert client.response(1).status in (0, 200)
            except ConnectionEnded:
                assert client.broken() == COMPRESSION_ERROR


def test_a_table_that_changes_with_every_request(target: ServerProcess) -> None:
    fields = b"".join(b"\x40" + literal(b"x-%d" % number, b"y" * 30)[1:] for number in range(90))
    with besieged(target) as clients:
        for number in range(50):
            stream = 2 * number + 1
            for client in clients:
                client.block(stream, block() + fields, end=True)
        for client in clients:
            assert {one.status for one in client.collect(range(1, 100, 2))} == {200}


def test_a_huge_table_for_the_responses(target: ServerProcess) -> None:
    # The server must not take the client's word for how much it may remember.
    with besieged(target, 1) as (client,):
        client.decoder.max_allowed_table_size = 2**32 - 1
        client.settings({HEADER_TABLE_SIZE: 2**32 - 1})
        for _ in range(20):
            assert client.get("/unique").status == 200
        assert client.decoder.header_table_size == 4096


def test_sections_of_which_the_end_never_comes(target: ServerProcess) -> None:
    # Each holds what it got until the header timeout; here the client leaves before.
    with besieged(target, 50) as clients:
        for client in clients:
            client.send(frame(HEADERS, END_STREAM, 1, block() + UNFINISHED + b"x" * 16000))
            for _ in range(CONTINUATIONS - 1):
                client.send(frame(CONTINUATION, 0, 1, b"x" * 16384))
        assert ask(target, "/seen")["begun"] == 0
