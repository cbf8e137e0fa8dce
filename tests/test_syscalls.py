"""recv and send as they are: the same as a socket's own, which do where nothing compiles."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

syscalls = pytest.importorskip("gserver.syscalls", reason="not compiled: cc or Cython is missing")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return both ends of a connection; neither blocks."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


@pytest.fixture(params=["compiled", "socket"])
def calls(request: pytest.FixtureRequest, pair: tuple[socket.socket, socket.socket]) -> object:
    """Return what receives and sends at our end."""
    return syscalls.Calls(pair[0]) if request.param == "compiled" else pair[0]


Pair = tuple[socket.socket, socket.socket]


@pytest.mark.parametrize("size", [1, 16384, 16385, 100_000])
def test_no_more_is_received_than_asked_for(pair: Pair, calls: socket.socket, size: int) -> None:
    sent = bytes(range(256)) * 400
    taken = pair[1].send(sent)
    received = calls.recv(size)
    assert 0 < len(received) <= min(size, taken)
    assert sent.startswith(received)


@pytest.mark.parametrize("size", [10, 100_000])
def test_nothing_yet_is_an_error_and_the_end_is_empty(
    pair: Pair, calls: socket.socket, size: int
) -> None:
    with pytest.raises(BlockingIOError):
        calls.recv(size)
    pair[1].close()
    assert calls.recv(size) == b""


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_what_is_sent_arrives(pair: Pair, calls: socket.socket, kind: type) -> None:
    assert calls.send(kind(b"abc")) == 3
    assert pair[1].recv(10) == b"abc"


def test_only_bytes_are_sent(calls: socket.socket) -> None:
    with pytest.raises(TypeError):
        calls.send("abc")  # type: ignore[arg-type]


def test_a_full_socket_takes_a_part_and_then_nothing(calls: socket.socket) -> None:
    block = bytes(1 << 24)
    sent = calls.send(block)
    assert 0 < sent < len(block)
    with pytest.raises(BlockingIOError):
        calls.send(block)


def test_a_peer_that_left_is_an_error(pair: Pair, calls: socket.socket) -> None:
    pair[1].close()
    with pytest.raises(BrokenPipeError):
        calls.send(b"abc")


def test_a_closed_socket_is_never_mistaken_for_the_next_with_its_number(
    pair: Pair, calls: socket.socket
) -> None:
    calls.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        calls.recv(10)
    with pytest.raises(OSError, match="Bad file descriptor"):
        calls.send(b"abc")
