"""Both engines reset the streams of malformed requests, and nothing else (RFC 9113 8.1.1)."""

from __future__ import annotations

import pytest

from gserver.http2.engine import DATA, END, REQUEST, RESET, ErrorCode
from http2_engines import (
    GET,
    OK,
    POST,
    Fields,
    MakeEngine,
    Wire,
    data,
    each_engine,
    goaways,
    lives,
    resets,
    window_update,
)

pytestmark = each_engine


def without(*names: bytes) -> Fields:
    return [field for field in GET if field[0] not in names]


MALFORMED: dict[str, Fields] = {
    "no fields": [],
    "no method": without(b":method"),
    "no scheme": without(b":scheme"),
    "no path": without(b":path"),
    "no authority, no host": without(b":authority"),
    "method twice": [GET[0], *GET],
    "path twice": [*GET, (b":path", b"/other")],
    "status": [*GET, (b":status", b"200")],
    "unknown pseudo-header": [*GET, (b":unknown", b"x")],
    "protocol without being asked": [*GET, (b":protocol", b"websocket")],
    "pseudo-header behind fields": [*GET[:3], (b"accept", b"*/*"), GET[3]],
    "empty path": [*without(b":path"), (b":path", b"")],
    "path without slash": [*without(b":path"), (b":path", b"x")],
    "star": [*without(b":path"), (b":path", b"*")],
    "empty method": [*without(b":method"), (b":method", b"")],
    "method with space": [*without(b":method"), (b":method", b"GET /")],
    "empty scheme": [*without(b":scheme"), (b":scheme", b"")],
    "empty authority": [*without(b":authority"), (b":authority", b"")],
    "authority with space": [*without(b":authority"), (b":authority", b"a b")],
    "path with space": [*without(b":path"), (b":path", b"/a b")],
    "path with NUL": [*without(b":path"), (b":path", b"/a\0b")],
    "CONNECT with path": [(b":method", b"CONNECT"), *GET[1:]],
    "CONNECT without authority": [(b":method", b"CONNECT")],
    "upper-case name": [*GET, (b"Accept", b"*/*")],
    "empty name": [*GET, (b"", b"x")],
    "name with space": [*GET, (b"a b", b"x")],
    "name with colon": [*GET, (b"a:b", b"x")],
    "name with line feed": [*GET, (b"a\nb", b"x")],
    "name with NUL": [*GET, (b"a\0", b"x")],
    "name beyond ASCII": [*GET, (b"caf\xe9", b"x")],
    "name with DEL": [*GET, (b"a\x7f", b"x")],
    "value with NUL": [*GET, (b"a", b"x\0y")],
    "value with CR": [*GET, (b"a", b"x\ry")],
    "value with LF": [*GET, (b"a", b"x\ny")],
    "value with control": [*GET, (b"a", b"x\x01y")],
    "value behind space": [*GET, (b"a", b" x")],
    "value before space": [*GET, (b"a", b"x ")],
    "value behind tab": [*GET, (b"a", b"\tx")],
    "value before tab": [*GET, (b"a", b"x\t"), (b"b", b"y")],
    "value of space": [*GET, (b"a", b" ")],
    "connection": [*GET, (b"connection", b"close")],
    "proxy-connection": [*GET, (b"proxy-connection", b"close")],
    "keep-alive": [*GET, (b"keep-alive", b"timeout=5")],
    "transfer-encoding": [*GET, (b"transfer-encoding", b"chunked")],
    "upgrade": [*GET, (b"upgrade", b"websocket")],
    "te": [*GET, (b"te", b"gzip")],
    "te with more": [*GET, (b"te", b"trailers, gzip")],
    "length of words": [*GET, (b"content-length", b"ten")],
    "negative length": [*GET, (b"content-length", b"-1")],
    "length with sign": [*GET, (b"content-length", b"+1")],
    "empty length": [*GET, (b"content-length", b"")],
    "several lengths": [*GET, (b"content-length", b"1"), (b"content-length", b"2")],
    "length and no content": [*GET, (b"content-length", b"1")],
    "host with space": [*GET, (b"host", b"a b")],
    "host twice": [*GET, (b"host", b"example.org"), (b"host", b"example.net")],
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_requests_are_reset(make: MakeEngine, case: str) -> None:
    wire = Wire(make)
    before = wire.encoder.header_table.maxsize
    answer = wire.exchange(wire.headers(1, MALFORMED[case], end=True))
    assert wire.take() == []
    assert resets(answer) == {1: ErrorCode.PROTOCOL_ERROR}
    assert goaways(answer) == []
    assert wire.charged == [(3, 4)]
    assert wire.engine.active == 0
    assert before
    assert lives(wire)


FINE: dict[str, Fields] = {
    "te": [*GET, (b"te", b"trailers")],
    "te in capitals": [*GET, (b"te", b"Trailers")],
    "empty value": [*GET, (b"a", b"")],
    "tab": [*GET, (b"a", b"x\ty")],
    "obs-text": [*GET, (b"a", b"\xe9\xff")],
    "path beyond ASCII": [*without(b":path"), (b":path", b"/caf\xe9")],
    "host instead of authority": [*without(b":authority"), (b"host", b"example.org")],
    "host like authority": [*GET, (b"host", b"example.org")],
    "length of nothing": [*GET, (b"content-length", b"0")],
    "IPv6": [*without(b":authority"), (b":authority", b"[::1]:8000")],
    "unusual method": [*without(b":method"), (b":method", b"M-SEARCH")],
    "cookies": [*GET, (b"cookie", b"a=1"), (b"cookie", b"b=2")],
}


@pytest.mark.parametrize("case", FINE)
def test_what_looks_odd_but_is_not_malformed(make: MakeEngine, case: str) -> None:
    wire = Wire(make)
    fields = sorted(FINE[case], key=lambda field: not field[0].startswith(b":"))
    wire.send(wire.headers(1, fields, end=True))
    assert wire.take() == [(REQUEST, 1, (fields, True))]


def expect_reset(wire: Wire, *frames: bytes, code: int = ErrorCode.PROTOCOL_ERROR) -> None:
    """Send what is the end of stream 1, and of nothing else; it was given out before."""
    answer = wire.exchange(*frames)
    assert resets(answer) == {1: code}
    assert goaways(answer) == []
    assert wire.take()[-1] == (RESET, 1, code)
    assert (3, 4) in wire.charged
    assert wire.engine.active == 0
    assert lives(wire)


@pytest.mark.parametrize(
    "frames",
    [
        [data(1, b"12345", end=True)],
        [data(1, b"12345"), data(1, end=True)],
        [data(1, b"1234567890"), data(1, b"1")],
        [data(1, b"12345678901")],
        [data(1, end=True)],
    ],
    ids=["short", "short, empty end", "long, in two", "long", "nothing"],
)
def test_content_must_match_its_length(make: MakeEngine, frames: list[bytes]) -> None:
    wire = Wire(make)
    wire.request(1, [*POST, (b"content-length", b"10")], end=False)
    expect_reset(wire, *frames)


def test_content_before_trailers_must_match_its_length(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request(1, [*POST, (b"content-length", b"10")], end=False)
    expect_reset(wire, data(1, b"12345"), wire.headers(1, [(b"a", b"b")], end=True))


def test_padding_is_no_content(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request(1, [*POST, (b"content-length", b"10")], end=False)
    wire.send(data(1, b"12345", padding=5), data(1, b"67890", padding=0, end=True))
    assert wire.take() == [(DATA, 1, b"1234567890"), (END, 1, [])]


@pytest.mark.parametrize(
    "trailers",
    [
        [(b":path", b"/")],
        [(b"a", b"b"), (b":status", b"200")],
        [(b"Upper", b"x")],
        [(b"a", b"x\0")],
        [(b"connection", b"close")],
        [(b"a", b" x")],
    ],
)
def test_trailers_have_rules_too(make: MakeEngine, trailers: Fields) -> None:
    wire = Wire(make)
    wire.request(1, POST, end=False)
    expect_reset(wire, wire.headers(1, trailers, end=True))


def test_trailers_end_the_request(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request(1, POST, end=False)
    expect_reset(wire, wire.headers(1, [(b"a", b"b")]))


def test_trailers_may_be_empty(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request(1, POST, end=False)
    wire.send(wire.headers(1, [], end=True))
    assert wire.take() == [(END, 1, [])]


def test_malformed_requests_do_not_hurt_the_others(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request(1, POST, end=False)
    wire.exchange(wire.headers(3, MALFORMED["te"]), data(3, b"late"), window_update(3, 5))
    wire.send(data(1, b"hello", end=True))
    assert wire.take() == [(DATA, 1, b"hello"), (END, 1, [])]


def test_the_client_is_not_charged_for_our_own_resets(make: MakeEngine) -> None:
    wire = Wire(make)
    wire.request(1, POST, end=False)
    wire.engine.reset(1, ErrorCode.INTERNAL_ERROR)
    wire.request(3, POST, end=False)
    wire.engine.discard(3)
    wire.engine.respond(3, OK, b"")
    assert resets(wire.pull()) == {1: ErrorCode.INTERNAL_ERROR, 3: ErrorCode.NO_ERROR}
    assert wire.charged == []
