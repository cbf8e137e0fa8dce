"""RequestBody against io.BytesIO: the same file, whatever pieces it comes in."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gserver.api import Disconnected
from gserver.body import EMPTY, RequestBody


class Pieces:
    """A source that has its content in pieces, and is not bound to the size it is asked for."""

    def __init__(self, pieces: list[bytes], end: BaseException | None = None) -> None:
        self.pieces = [piece for piece in pieces if piece]
        self.end = end
        self.sizes: list[int] = []

    def receive(self, size: int, least: int = 1) -> bytes:
        assert size > 0
        self.sizes.append(size)
        if self.pieces:
            return self.pieces.pop(0)
        if self.end is not None:
            raise self.end
        return b""


class Exact(Pieces):
    """A source that never gives more than it is asked for, as one with a counted length."""

    def receive(self, size: int, least: int = 1) -> bytes:
        data = super().receive(size)
        if len(data) > size:
            self.pieces.insert(0, data[size:])
        return data[:size]


# Many line ends, and lengths around those that are asked for.
PIECES = st.lists(st.text("ab\n", max_size=12).map(str.encode), max_size=8)
SIZES = st.one_of(st.none(), st.integers(-2, 15))

OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "read": lambda file, size: file.read(size),
    "readline": lambda file, size: file.readline(size),
    "readlines": lambda file, size: file.readlines(size),
    "next": lambda file, size: next(file, b""),
    "readinto": lambda file, size: readinto(file, max(size or 0, 0)),
}


def readinto(file: Any, size: int) -> bytes:
    """Fill a buffer as a caller does who wants all of it."""
    buffer = bytearray(size)
    view = memoryview(buffer)
    total = 0
    while total < size and (length := file.readinto(view[total:])):
        total += length
    return bytes(buffer[:total])


@given(
    PIECES,
    st.lists(st.tuples(st.sampled_from(sorted(OPERATIONS)), SIZES), max_size=12),
    st.sampled_from([Pieces, Exact]),
)
def test_any_sequence_of_reads_gives_what_a_file_gives(
    pieces: list[bytes], operations: list[tuple[str, int | None]], kind: type[Pieces]
) -> None:
    body = RequestBody(kind(pieces))
    file = io.BytesIO(b"".join(pieces))
    for name, size in operations:
        operation = OPERATIONS[name]
        assert operation(body, size) == operation(file, size), (name, size)
    assert body.read() == file.read()
    assert body.read(1) == body.readline() == body.read() == b""


@given(PIECES, st.lists(st.integers(1, 15), max_size=12), st.sampled_from([Pieces, Exact]))
def test_read1_gives_what_has_come_in_order(
    pieces: list[bytes], sizes: list[int], kind: type[Pieces]
) -> None:
    """At least one byte unless the content has ended, at most as many as were asked for."""
    body = RequestBody(kind(pieces))
    content = b"".join(pieces)
    for size in sizes:
        data = body.read1(size)
        assert len(data) <= size
        assert bool(data) == bool(content)
        assert content.startswith(data)
        content = content[len(data) :]
    assert body.read() == content


@given(PIECES, st.sampled_from([Pieces, Exact]))
def test_a_text_wrapper_reads_it(pieces: list[bytes], kind: type[Pieces]) -> None:
    body: Any = RequestBody(kind(pieces))
    with io.TextIOWrapper(body, "ascii", newline="") as text:
        assert text.read().encode() == b"".join(pieces)


@given(PIECES, st.sampled_from([Pieces, Exact]))
def test_a_buffered_reader_reads_it(pieces: list[bytes], kind: type[Pieces]) -> None:
    body: Any = RequestBody(kind(pieces))
    reader = io.BufferedReader(body, 4)
    assert reader.readlines() == io.BytesIO(b"".join(pieces)).readlines()


# -- blocking ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lambda body: body.read(0), b""),
        (lambda body: body.readline(0), b""),
        (lambda body: body.read1(0), b""),
        (lambda body: body.readinto(bytearray()), 0),
    ],
)
def test_nothing_is_received_for_nothing(read: Callable[[Any], Any], expected: Any) -> None:
    source = Pieces([b"abc"])
    assert read(RequestBody(source)) == expected
    assert source.sizes == []


@pytest.mark.parametrize(
    ("read", "expected", "left"),
    [
        (lambda body: body.read(3), b"abc", [b"d\n", b"rest"]),
        (lambda body: body.read(4), b"abcd", [b"rest"]),
        (lambda body: body.read1(), b"abc", [b"d\n", b"rest"]),
        (lambda body: body.read1(None), b"abc", [b"d\n", b"rest"]),
        (lambda body: body.readline(), b"abcd\n", [b"rest"]),
        (lambda body: body.readline(2), b"ab", [b"d\n", b"rest"]),
        (lambda body: body.readlines(1), [b"abcd\n"], [b"rest"]),
        (lambda body: body.readinto(bytearray(9)), 3, [b"d\n", b"rest"]),
    ],
)
def test_no_more_is_received_than_is_needed(
    read: Callable[[Any], Any], expected: Any, left: list[bytes]
) -> None:
    """A call blocks only while it has not got what it was asked for."""
    source = Pieces([b"abc", b"d\n", b"rest"])
    assert read(RequestBody(source)) == expected
    assert source.pieces == left


def test_read_asks_for_what_is_missing() -> None:
    """So that a source with a counted length need not be kept in a buffer."""
    source = Exact([b"abc", b"defgh"])
    assert RequestBody(source).read(5) == b"abcde"
    assert source.sizes == [5, 2]


def test_an_error_of_the_source_loses_nothing_that_had_come() -> None:
    """Lines before it can be read; the error comes again."""
    body = RequestBody(Pieces([b"one\ntwo\nthr"], Disconnected()))
    assert body.readline() == b"one\n"
    assert next(body) == b"two\n"
    for _ in range(2):
        with pytest.raises(Disconnected):
            body.readline()


READERS: dict[str, Callable[[Any], Any]] = {
    "read": lambda body: body.read(),
    "read a size": lambda body: body.read(100),
    "readline": lambda body: body.readline(),
    "readlines": lambda body: body.readlines(),
    "iteration": list,
    "next": next,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_an_error_of_the_source_is_never_the_end(read: Callable[[Any], Any]) -> None:
    body = RequestBody(Pieces([b"abc"], Disconnected()))
    with pytest.raises(Disconnected):
        read(body)
    with pytest.raises(Disconnected):
        body.read1()


def test_many_short_lines_are_not_copied_again_and_again() -> None:
    """One piece with all of them: quadratic work would take minutes here."""
    lines = 200_000
    body = RequestBody(Pieces([b"x\n" * lines]))
    assert sum(1 for _ in body) == lines


# -- the rest of a file --------------------------------------------------------------------------


def test_it_is_a_readable_file_and_nothing_more() -> None:
    body = RequestBody(Pieces([]))
    assert body.readable()
    assert not body.writable()
    assert not body.seekable()
    assert iter(body) is body


def test_closing_it_is_the_servers() -> None:
    """PEP 3333: the application must not; frameworks do, and nothing happens."""
    body = RequestBody(Pieces([b"abc"]))
    body.close()
    body.flush()
    assert not body.closed
    assert body.read() == b"abc"


def test_detaching_ends_it() -> None:
    source = Pieces([b"one\ntwo\n", b"three"])
    body = RequestBody(source)
    assert body.readline() == b"one\n"
    body.detach()
    assert body.read() == body.readline() == b""
    assert source.pieces == [b"three"]


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_the_empty_body_keeps_nothing(read: Callable[[Any], Any]) -> None:
    """All requests without content share it."""
    before = dict(vars(EMPTY))
    try:
        assert not read(EMPTY)
    except StopIteration:
        pass
    assert vars(EMPTY) == before
