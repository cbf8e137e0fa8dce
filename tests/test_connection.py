"""One connection: sending in parts, blocking and being woken, and the ways to end."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import gevent
import gevent.socket
import pytest
from gevent.event import Event
from hypothesis import given
from hypothesis import strategies as st

from gserver.api.errors import Disconnected
from gserver.clock import NEVER, Clock
from gserver.config import Config
from gserver.transport import Context, Transport
from gserver.turn import Turn

Pair = tuple[Transport, socket.socket]


class Recorder:
    """A protocol that notes what it is told."""

    idle = True

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.expired = 0
        self.fails = False

    def receive_data(self, data: bytes) -> None:
        if self.fails:
            raise ZeroDivisionError
        self.received.append(data)

    def receive_eof(self) -> None:
        raise NotImplementedError

    def expire(self) -> None:
        self.expired += 1

    def drain(self) -> None:
        raise NotImplementedError

    def resume_sending(self) -> None:
        raise NotImplementedError

    def closed(self) -> None:
        self.was_closed = True


class Ends:
    """Makes transports and keeps what they need and tell."""

    def __init__(self) -> None:
        self.clock = Clock(gevent.get_hub(), 0.02, "")
        self.turn = Turn(gevent.get_hub())
        self.released: list[Transport] = []
        self.gone = Event()
        self._sockets: list[socket.socket] = []
        self.transports: list[Transport] = []

    def make(self, sock: Any, **options: Any) -> Transport:
        context = Context(
            config=Config(**options),
            hub=gevent.get_hub(),
            clock=self.clock,
            dispatch=NotImplemented,
            released=self._release,
            turn=self.turn,
        )
        transport = Transport(context, sock, ("192.0.2.1", 4711))
        transport.protocol = Recorder()
        self.transports.append(transport)
        return transport

    def _release(self, transport: Transport) -> None:
        self.released.append(transport)
        self.gone.set()

    def pair(self, **options: Any) -> Pair:
        """Return a transport and the client's end, a socket of gevent's."""
        ours, theirs = gevent.socket.socketpair()
        theirs.settimeout(5)
        sock = socket.socket(fileno=ours.detach())
        sock.setblocking(False)
        self._sockets += [sock, theirs]
        self.last_socket = sock
        return self.make(sock, **options), theirs

    def look_around(self) -> None:
        """Let the hub see to what there is to do."""
        for _ in range(2):  # in one turn this greenlet may come first
            self.clock.pass_turn()

    def close(self) -> None:
        for transport in self.transports:
            transport.abort()
        for sock in self._sockets:
            sock.close()
        self.clock.stop()


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    ends.close()


def read_all(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += sock.recv(1 << 20)
    return data


# -- sending ---------------------------------------------------------------------------------


class Reluctant:
    """A socket that takes as many bytes at a time as the test says; 0: it is full."""

    def __init__(self, descriptor: int, takes: list[int]) -> None:
        self._descriptor = descriptor
        self._takes = takes
        self.taken = b""

    def fileno(self) -> int:
        return self._descriptor

    def recv(self, size: int) -> bytes:
        raise NotImplementedError

    def send(self, data: bytes | memoryview) -> int:
        take = self._takes.pop(0) if self._takes else len(data)
        if not take:
            raise BlockingIOError
        sent = bytes(data[:take])
        self.taken += sent
        return len(sent)

    def sendmsg(self, pieces: tuple[bytes, ...]) -> int:
        return self.send(b"".join(pieces))

    def close(self) -> None:
        pass


@given(
    sizes=st.lists(st.sampled_from([0, 1, 7, 5000, 16383, 16384, 40000]), min_size=1, max_size=6),
    takes=st.lists(st.sampled_from([0, 1, 6, 7, 8, 5001, 16384, 60000]), max_size=8),
)
def test_pieces_arrive_whole_however_the_socket_takes_them(
    sizes: list[int], takes: list[int]
) -> None:
    pieces = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    ours, theirs = socket.socketpair()  # always writable
    ends = Ends()
    # Compiled, system calls pass by the socket object: this one shall be asked all the same.
    with ours, theirs, patch("gserver.transport.Calls", lambda sock: sock):
        sock = Reluctant(ours.fileno(), takes)
        transport = ends.make(sock)
        gevent.spawn(transport.send_pieces, list(pieces)).get(timeout=5)
        assert sock.taken == b"".join(pieces)
        gevent.spawn(transport.send, b"after").get(timeout=5)
        assert sock.taken == b"".join(pieces) + b"after"
        ends.close()


@pytest.mark.parametrize("size", [1, 16384, 5_000_000])
def test_what_is_sent_arrives(ends: Ends, size: int) -> None:
    transport, client = ends.pair()
    data = bytes(index % 251 for index in range(size))
    sending = gevent.spawn(transport.send, data)
    assert read_all(client, size) == data
    sending.get(timeout=5)


def test_others_run_while_a_client_takes_all_at_once(ends: Ends) -> None:
    transport, client = ends.pair()
    turns = 0

    def count() -> None:
        nonlocal turns
        while True:
            ends.clock.pass_turn()
            turns += 1

    def send() -> None:
        for _ in range(200):
            transport.send_pieces([b"x"])

    counting = gevent.spawn(count)
    gevent.spawn(send).get(timeout=5)
    counting.kill()
    assert turns >= 5
    assert read_all(client, 200) == b"x" * 200


@pytest.mark.parametrize("data", [b"x", b"x" * 5_000_000])
def test_sending_to_a_client_that_has_left(ends: Ends, data: bytes) -> None:
    transport, client = ends.pair()
    client.close()
    for send in (transport.send, lambda data: transport.send_pieces([data])):
        sending = gevent.spawn(send, data)
        sending.join(5)
        assert isinstance(sending.exception, Disconnected)


def test_last_words_do_not_block(ends: Ends) -> None:
    transport, client = ends.pair()
    transport.send_now(b"x" * 50_000_000)
    transport.send_now(b"lost")
    client.close()
    transport.send_now(b"lost")


# -- blocking --------------------------------------------------------------------------------


def send_too_much(transport: Transport) -> None:
    transport.send(b"x" * 50_000_000)


def send_too_many_pieces(transport: Transport) -> None:
    transport.send_pieces([b"x", b"x" * 50_000_000])


def receive(transport: Transport) -> None:
    transport.wait_readable(NEVER, TimeoutError)


BLOCKING = pytest.mark.parametrize("block", [send_too_much, send_too_many_pieces, receive])


@pytest.mark.parametrize("block", [send_too_much, send_too_many_pieces])
def test_a_client_that_does_not_read_is_given_up(
    ends: Ends, block: Callable[[Transport], None]
) -> None:
    transport, _ = ends.pair(write_timeout=0.1)
    blocking = gevent.spawn(block, transport)
    blocking.join(5)
    assert isinstance(blocking.exception, Disconnected)
    assert transport.closed  # half a block was sent: nothing can follow


@BLOCKING
def test_closing_wakes_who_blocks(ends: Ends, block: Callable[[Transport], None]) -> None:
    # libev aborts the process when a socket is closed that somebody still waits for.
    transport, _ = ends.pair()
    blocking = gevent.spawn(block, transport)
    ends.look_around()
    assert not blocking.ready()
    transport.abort()
    other, client = ends.pair()  # may get the same descriptor
    client.sendall(b"something")
    blocking.join(5)
    assert isinstance(blocking.exception, (Disconnected, TimeoutError))
    assert other.receive_now(100) == b"something"


@BLOCKING
def test_an_interrupted_greenlet_leaves_nothing_behind(
    ends: Ends, block: Callable[[Transport], None]
) -> None:
    transport, client = ends.pair()
    blocking = gevent.spawn(block, transport)
    ends.look_around()
    blocking.kill()
    if block is receive:
        client.sendall(b"something")
        assert transport.receive_now(100) == b"something"
    else:
        assert transport.closed  # half a block was sent: nothing can follow


def test_receiving_in_a_greenlet(ends: Ends) -> None:
    transport, client = ends.pair()
    assert transport.receive_now(10) is None
    receiving = gevent.spawn(receive, transport)
    ends.look_around()
    client.sendall(b"0123456789abc")
    receiving.get(timeout=5)
    assert transport.receive_now(10) == b"0123456789"
    assert transport.receive_now(10) == b"abc"
    client.close()
    assert transport.receive_now(10) == b""
    transport.abort()
    with pytest.raises(Disconnected):
        transport.receive_now(10)
    with pytest.raises(Disconnected):
        receive(transport)


# -- in the hub ------------------------------------------------------------------------------


def test_the_hub_reads_for_the_protocol_unless_it_is_paused(ends: Ends) -> None:
    transport, client = ends.pair()
    protocol = Recorder()
    transport.start_reading(protocol)
    client.sendall(b"one")
    ends.look_around()
    transport.pause_reading()
    transport.pause_reading()
    client.sendall(b"two")
    ends.look_around()
    assert protocol.received == [b"one"]
    transport.resume_reading()
    transport.resume_reading()
    ends.look_around()
    transport.abort()
    transport.resume_reading()
    assert protocol.received == [b"one", b"two"]


def test_an_error_of_ours_ends_this_connection_only(
    ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    transport, client = ends.pair()
    protocol = Recorder()
    protocol.fails = True
    transport.start_reading(protocol)
    with caplog.at_level(logging.ERROR, "gserver.error"):
        client.sendall(b"x")
        assert client.recv(1) == b""
    assert transport.closed
    assert ends.released == [transport]
    (record,) = caplog.records
    assert "192.0.2.1:4711" in record.message
    assert record.exc_info


def test_a_deadline_counts_once(ends: Ends) -> None:
    transport, _ = ends.pair()
    protocol = Recorder()
    transport.start_reading(protocol)
    transport.deadline = 1.0
    transport.expire()
    assert protocol.expired == 1
    assert transport.deadline == NEVER


# -- the end ---------------------------------------------------------------------------------


def test_closing_counts_once(ends: Ends) -> None:
    transport, client = ends.pair()
    for end in (
        transport.close,
        transport.close,
        transport.abort,
        transport.linger,
        transport.reset,
    ):
        end()
    assert ends.released == [transport]
    assert client.recv(1) == b""


def test_lingering_reads_on_until_the_client_leaves(ends: Ends) -> None:
    transport, client = ends.pair()
    protocol = Recorder()
    transport.start_reading(protocol)
    transport.send(b"the answer")
    transport.linger()
    client.sendall(b"x" * 1_000_000)
    assert read_all(client, 10) == b"the answer"
    assert client.recv(1) == b""
    assert not transport.closed
    assert protocol.received == []
    client.close()
    ends.gone.wait(5)
    assert transport.closed


def test_lingering_does_not_last(ends: Ends) -> None:
    transport, _ = ends.pair()
    transport.start_reading(Recorder())
    transport.linger()
    assert ends.clock.now < transport.deadline < ends.clock.now + 10
    transport.expire()
    assert transport.closed


def test_lingering_with_a_client_that_has_left(ends: Ends) -> None:
    transport, client = ends.pair()
    transport.start_reading(Recorder())
    client.close()
    transport.linger()
    ends.look_around()
    assert transport.closed


def test_a_client_without_an_address(ends: Ends) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = Transport(
            Context(
                config=Config(),
                hub=gevent.get_hub(),
                clock=ends.clock,
                dispatch=NotImplemented,
                released=ends.released.append,
                turn=ends.turn,
            ),
            ours,
            "",
        )
        transport.protocol = Recorder()
        assert transport.remote == ("", "")
        assert transport.peer == "unix"
        transport.abort()


# -- packets of one turn ---------------------------------------------------------------------


class Cipher:
    """A TLS session that changes nothing, and notes in which order it was used."""

    pending = False

    def __init__(self, sock: Any, log: list[str]) -> None:
        self._sock = sock
        self._log = log

    def receive(self, size: int) -> bytes:
        self._log.append("decrypted")
        data: bytes = self._sock.recv(size)
        return data

    def send(self, data: bytes) -> int:
        return len(data)


class Logging(Recorder):
    """Notes in the same log what it is handed."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.log = log

    def receive_data(self, data: bytes) -> None:
        self.log.append(data.decode())

    def receive_eof(self) -> None:
        self.log.append("end")


def secure(ends: Ends, log: list[str]) -> tuple[Transport, Logging, socket.socket]:
    transport, client = ends.pair()
    transport.encrypt(Cipher(ends.last_socket, log))  # type: ignore[arg-type]
    transport.protocol = protocol = Logging(log)
    return transport, protocol, client


def test_all_packets_of_a_turn_are_decrypted_before_one_is_handled(ends: Ends) -> None:
    log: list[str] = []
    transports = [secure(ends, log) for _ in range(3)]
    for number, (transport, _, client) in enumerate(transports):
        client.sendall(b"%d" % number)
        transport.on_readable()
        assert not transport.idle, "it must not be closed as if nothing had come"
    assert log == ["decrypted"] * 3
    ends.look_around()
    assert log[3:] == ["0", "1", "2"]
    assert all(transport.idle for transport, _, _ in transports)


def test_where_a_handler_may_read_nothing_is_held_back(ends: Ends) -> None:
    log: list[str] = []
    transport, protocol, client = secure(ends, log)
    protocol.idle = False
    client.sendall(b"now")
    transport.on_readable()
    assert log == ["decrypted", "now"]


def test_packets_of_one_connection_keep_their_order(ends: Ends) -> None:
    log: list[str] = []
    transport, _, client = secure(ends, log)
    client.sendall(b"first")
    transport.on_readable()
    client.close()
    transport.on_readable()
    ends.look_around()
    assert log == ["decrypted", "decrypted", "first", "end"]


def test_what_a_connection_closed_meanwhile_has_sent_is_dropped(ends: Ends) -> None:
    log: list[str] = []
    transport, _, client = secure(ends, log)
    other, _, second = secure(ends, log)
    client.sendall(b"lost")
    second.sendall(b"kept")
    transport.on_readable()
    other.on_readable()
    transport.abort()
    ends.look_around()
    assert log[2:] == ["kept"]
