"""What an engine was asked to gather comes whole, or as far as it came; see Engine.gather."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gserver.http2.engine import DATA, END, RESET, ErrorCode
from http2_engines import ENGINES, POST, MakeEngine, Wire, data, each_engine, raw

CONTENT = random.Random(7).randbytes(60000)


def begun(make: MakeEngine) -> Wire:
    wire = Wire(make)
    wire.request(1, POST, end=False)
    return wire


@each_engine
@given(
    cuts=st.lists(st.integers(0, 20000), max_size=12),
    wanted=st.lists(st.integers(1, 30000), max_size=12),
)
def test_all_of_the_content_comes_once_and_in_order(
    make: MakeEngine, cuts: list[int], wanted: list[int]
) -> None:
    wire = begun(make)
    got = b""
    edges = sorted({0, *cuts, 20000})
    for number, (start, end) in enumerate(pairwise(edges)):
        if number < len(wanted):
            wire.engine.gather(1, wanted[number])
        for piece in range(start, end, 16384):
            wire.send(data(1, CONTENT[piece : min(piece + 16384, end)]))
        if number % 3 == 2:
            got += b"".join(what for _, _, what in wire.take())
            got += wire.engine.gathered(1)
    wire.send(data(1, end=True))
    *contents, last = wire.take()
    got += b"".join(what for _, _, what in contents)
    assert got == CONTENT[:20000]
    assert last == (END, 1, [])
    assert wire.engine.gathered(1) == b""


@each_engine
def test_nothing_is_gathered_for_a_stream_that_is_not_there(make: MakeEngine) -> None:
    wire = begun(make)
    wire.engine.gather(3, 1000)
    assert wire.engine.gathered(3) == b""


@each_engine
def test_a_reset_ends_it(make: MakeEngine) -> None:
    wire = begun(make)
    wire.engine.gather(1, 40000)
    wire.send(data(1, CONTENT[:1000]), raw(3, 0, 1, bytes([0, 0, 0, ErrorCode.CANCEL])))
    assert wire.take()[-1][:2] == (RESET, 1)
    assert wire.engine.gathered(1) == b""


@pytest.mark.skipif("nghttp2" not in ENGINES, reason="the nghttp2 engine is not compiled")
def test_nghttp2_gives_it_out_at_once() -> None:
    wire = begun(ENGINES["nghttp2"])
    wire.engine.gather(1, 40000)
    for start in (0, 16384):
        wire.send(data(1, CONTENT[start : start + 16384]))
        assert wire.engine.events == []
    wire.send(data(1, CONTENT[32768:49152]), data(1, CONTENT[49152:]))
    assert wire.engine.events == [
        (DATA, 1, CONTENT[:40000]),
        (DATA, 1, CONTENT[40000:49152]),
        (DATA, 1, CONTENT[49152:]),
    ]
