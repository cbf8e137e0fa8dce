"""HTTP/2 clients that ask for much, or talk much, by right: they must not be cut off."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from conftest import ServerProcess
from http2_attack_tools import STREAMS, block, connect, request, window_update
from http2_client import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    PING,
    RST_STREAM,
    SETTINGS,
    WITH_PRIORITY,
    RawHttp2,
    frame,
)


def ask_for_many(client: RawHttp2, count: int, send: Callable[[int], None]) -> None:
    """Have `STREAMS` requests under way until all `count` are answered."""
    client.window_update(0, 1 << 24)
    client.grant = False
    begun = done = 0
    while done < count:
        while begun < count and begun - done < STREAMS:
            send(2 * begun + 1)
            begun += 1
        taken = client.read()
        assert taken.kind not in (GOAWAY, RST_STREAM), taken
        done += taken.ends
    assert {client.progress(2 * number + 1).status for number in range(count)} == {200}


def test_1000_requests_100_at_a_time(target: ServerProcess) -> None:
    with connect(target) as client:
        ask_for_many(client, 1000, lambda stream: client.send(request(stream)))


@pytest.mark.slow
def test_1000_requests_each_with_all_that_clients_add(target: ServerProcess) -> None:
    # Content ended by an empty DATA frame, a PRIORITY, and windows opened for the response.
    with connect(target) as client:

        def send(stream: int) -> None:
            client.send(
                request(stream, b"/upload", end=False, method=b"POST")
                + frame(DATA, 0, stream, b"x")
                + frame(DATA, END_STREAM, stream)
                + window_update(stream, 1000)
                + window_update(0, 5)
            )
            client.priority(stream, 0, stream % 256)

        ask_for_many(client, 1000, send)


def test_1000_requests_with_settings_now_and_then(target: ServerProcess) -> None:
    with connect(target) as client:

        def send(stream: int) -> None:
            if stream % 20 == 1:
                client.settings({INITIAL_WINDOW_SIZE: 65535 + stream, MAX_CONCURRENT_STREAMS: 100})
            if stream % 50 == 1:
                client.settings({MAX_FRAME_SIZE: 16384 + stream})
            client.send(request(stream))

        ask_for_many(client, 1000, send)


def test_priorities_as_firefox_sends_them(target: ServerProcess) -> None:
    tree = ((3, 0, 200), (5, 0, 100), (7, 0, 0), (9, 7, 0), (11, 3, 0), (13, 0, 240))
    fields = block(b"/", [(b"priority", b"u=2, i"), (b"te", b"trailers")])
    flags = END_HEADERS | END_STREAM | WITH_PRIORITY
    with connect(target, settings={INITIAL_WINDOW_SIZE: 131072}) as client:
        client.window_update(0, 12517377)
        for stream, depends_on, weight in tree:
            client.priority(stream, depends_on, weight)
        for first in range(15, 1015, 2 * STREAMS):
            streams = range(first, first + 2 * STREAMS, 2)
            for stream in streams:
                dependency = struct.pack(">LB", 3 + stream % 5 * 2, stream % 256)
                client.send(frame(HEADERS, flags, stream, dependency + fields))
                client.priority(stream, 13, 41)
                client.priority_update(stream, "u=1")
            assert {one.status for one in client.collect(streams)} == {200}


class Downloader:
    """Reads one response on stream 1, as fast as it can, with whatever windows and PINGs.

    Args:
        client: Has sent the request and read nothing.
        each: Grants windows for each DATA frame rather than for each packet.
        ping: Sends a PING with the first data after the answer to the last one, as gRPC does to
            measure the line.
    """

    def __init__(self, client: RawHttp2, each: bool, ping: bool = False) -> None:
        self._sock = client.sock
        self._each = each
        self._ping = ping
        self._pinging = False
        self._out: list[bytes] = []
        self.received = 0
        self.pings = 0
        self.ended = False

    def run(self) -> None:
        """Read to the end."""
        buffer = b""
        while not self.ended:
            packet = self._sock.recv(1 << 18)
            assert packet, "the server has closed"
            buffer += packet
            position = before = 0
            before = self.received
            while position + 9 <= len(buffer):
                high, low, kind, flags, _ = struct.unpack_from(">BHBBL", buffer, position)
                size = high << 16 | low
                if position + 9 + size > len(buffer):
                    break
                self._take(kind, flags, size)
                position += 9 + size
            buffer = buffer[position:]
            if not self._each:
                self._grant(self.received - before)
            if not self.ended:
                self._sock.sendall(b"".join(self._out))
            self._out.clear()

    def _take(self, kind: int, flags: int, size: int) -> None:
        assert kind not in (GOAWAY, RST_STREAM)
        if kind == DATA:
            self.received += size
            self.ended = bool(flags & END_STREAM)
            if self._each:
                self._grant(size)
            if self._ping and not self._pinging:
                self._pinging = True
                self.pings += 1
                self._out.append(frame(PING, 0, 0, bytes(8)))
        elif kind == PING:
            assert flags & ACK
            self._pinging = False
        elif kind == SETTINGS and not flags & ACK:
            self._out.append(frame(SETTINGS, ACK, 0))

    def _grant(self, size: int) -> None:
        if size:
            self._out.append(window_update(0, size) + window_update(1, size))


@pytest.mark.slow
def test_64_mib_with_windows_granted_for_each_frame(target: ServerProcess) -> None:
    with connect(target) as client:
        client.send(request(1, b"/blocks?65536*1024"))
        download = Downloader(client, each=True)
        download.run()
        assert download.received == 64 << 20


def test_many_small_blocks_with_windows_granted_for_each(target: ServerProcess) -> None:
    # Events of a chat, say: each is one DATA frame.
    with connect(target) as client:
        client.send(request(1, b"/blocks?50*3000"))
        download = Downloader(client, each=True)
        download.run()
        assert download.received == 50 * 3000


@pytest.mark.slow
@pytest.mark.parametrize("blocks", ["65536*256", "100*4000"])
def test_pings_with_each_burst_as_grpc_sends_them(target: ServerProcess, blocks: str) -> None:
    with connect(target) as client:
        client.send(request(1, b"/blocks?" + blocks.encode()))
        download = Downloader(client, each=False, ping=True)
        download.run()
        assert download.pings
        size, count = blocks.split("*")
        assert download.received == int(size) * int(count)


@pytest.mark.slow
def test_a_conversation_with_pings_and_windows(target: ServerProcess) -> None:
    with connect(target) as client:
        client.grant = False
        client.send(request(1, b"/echo", end=False, method=b"POST"))
        for _ in range(1500):
            client.send(frame(DATA, 0, 1, b"x" * 20))
            client.until(DATA, 1)
            client.send(frame(PING, 0, 0, bytes(8)) + window_update(0, 20) + window_update(1, 20))
        client.data(1, b"", end=True)
        response = client.response(1)
        assert response.ended
        assert len(response.body) == 1500 * 20


@pytest.mark.parametrize("padding", [b"", b"\x40" + bytes(64)], ids=["bare", "padded"])
@pytest.mark.slow
def test_4_mib_in_small_frames(target: ServerProcess, padding: bytes) -> None:
    size = 1024
    count = 4096
    flags = 0x8 if padding else 0
    data = frame(DATA, flags, 1, padding[:1] + bytes(size) + padding[1:])
    with connect(target) as client:
        client.send(request(1, b"/upload", end=False, method=b"POST"))
        room = connection_room = 65535
        for _ in range(count):
            while min(room, connection_room) < len(data):
                taken = client.read()
                if taken.increment and taken.stream:
                    room += taken.increment
                elif taken.increment:
                    connection_room += taken.increment
            client.send(data)
            room -= len(data) - 9
            connection_room -= len(data) - 9
        client.data(1, b"", end=True)
        assert client.response(1).body == b"%d" % (size * count)


def test_padded_requests_and_content(target: ServerProcess) -> None:
    fields = block(b"/upload", method=b"POST")
    with connect(target) as client:
        for number in range(300):
            stream = 2 * number + 1
            client.block(stream, fields, pad=number % 256)
            client.data(stream, bytes(100), pad=255 - number % 256)
            client.data(stream, bytes(100), pad=10, end=True)
            assert client.response(stream).body == b"200"


def test_settings_of_many_kinds_in_the_greeting(target: ServerProcess) -> None:
    # As Chromium does it, with values made up so that servers do not choke on new ones.
    settings = {1: 65536, 2: 0, 4: 6291456, 6: 262144, 0x8A8A: 12345, 0xF0F0: 1}
    with connect(target, settings=settings) as client:
        client.window_update(0, 15663105)
        for _ in range(10):
            assert client.get("/").status == 200
