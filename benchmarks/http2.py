"""A client of HTTP/2 in as few words as the benchmarks need.

It makes requests without content, and opens WebSockets that wait (RFC 8441).
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import iter_unpack, pack, unpack

import hpack

from errors import Failed

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ENABLE_CONNECT_PROTOCOL = 0x8
MESSAGE = b"\x81\x85" + bytes(4) + b"hello"
"""A text frame; its mask changes nothing."""

ECHO = b"\x81\x05hello"
HEAD_BYTES = 9
RECEIVE_BYTES = 1 << 16


@dataclass(slots=True)
class Answer:
    """A response, as far as it has come."""

    status: str = ""
    body: bytes = b""


class Client:
    """One connection, over a socket that is connected; its time-out bounds every wait.

    It grants no more than the protocol's first window: answers of up to 64 KiB.
    """

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self._answers: dict[int, Answer] = {}
        self._waiting: set[int] = set()
        self._websockets: set[int] = set()
        self._settings: dict[int, int] = {}
        self._next_stream = 1
        self._received = b""
        self._block = b""
        self._decoder = hpack.Decoder()
        self._encoder = hpack.Encoder()
        peer.sendall(PREFACE + _frame(SETTINGS, 0, 0))

    def ask(self, headers: Mapping[str, str] | None = None) -> None:
        """Send a GET for /."""
        scheme = "https" if isinstance(self.peer, ssl.SSLSocket) else "http"
        fields = [(":method", "GET"), (":scheme", scheme), (":authority", "127.0.0.1")]
        fields += [(":path", "/"), *((name.lower(), it) for name, it in (headers or {}).items())]
        self._waiting.add(self._open(fields, END_STREAM))

    def answers(self) -> list[Answer]:
        """Return the answers to all that was asked since the last time.

        Raises:
            Failed: One is not 200, or the server reset a stream or closed the connection.
        """
        while self._waiting:
            self._receive()
        answers, self._answers = list(self._answers.values()), {}
        for answer in answers:
            if answer.status != "200":
                raise Failed(f"answered {answer.status} with {len(answer.body)} bytes")
        return answers

    def open_websockets(self, count: int) -> None:
        """Open WebSockets, each on a stream of its own, and have a message echoed on each.

        Raises:
            Failed: The server does not offer that, or it did something else.
        """
        while not self._settings:
            self._receive()
        if not self._settings.get(ENABLE_CONNECT_PROTOCOL):
            raise Failed("does not offer WebSockets over HTTP/2")
        fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http")]
        fields += [(":authority", "127.0.0.1"), (":path", "/echo"), ("sec-websocket-version", "13")]
        streams = [self._open(fields) for _ in range(count)]
        self._websockets.update(streams)
        while not all(stream in self._answers for stream in streams):
            self._receive()
        opened = [self._answers[stream] for stream in streams]
        if refused := [answer.status for answer in opened if answer.status != "200"]:
            raise Failed(f"answered {refused[0]} instead of opening a WebSocket")
        self.peer.sendall(b"".join(_frame(DATA, 0, stream, MESSAGE) for stream in streams))
        while any(len(answer.body) < len(ECHO) for answer in opened):
            self._receive()
        if wrong := [answer.body for answer in opened if answer.body != ECHO]:
            raise Failed(f"answered a message with {wrong[0]!r}")

    def has_ended(self) -> bool:
        """Tell whether the server has closed or is about to; read what it sent meanwhile."""
        self.peer.setblocking(False)
        try:
            while data := self.peer.recv(RECEIVE_BYTES):
                self._take(data)
        except BlockingIOError:
            return False
        except (OSError, Failed):
            return True
        return True

    def _open(self, fields: Sequence[tuple[str, str]], flags: int = 0) -> int:
        """Send HEADERS on the next stream, and return that."""
        stream = self._next_stream
        block = self._encoder.encode(fields)
        self.peer.sendall(_frame(HEADERS, flags | END_HEADERS, stream, block))
        self._next_stream += 2
        return stream

    def _receive(self) -> None:
        data = self.peer.recv(RECEIVE_BYTES)
        if not data:
            raise Failed("the connection closed within a response")
        self._take(data)

    def _take(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= HEAD_BYTES:
            high, low, kind, flags, stream = unpack(">BHBBL", self._received[:HEAD_BYTES])
            end = HEAD_BYTES + (high << 16 | low)
            if len(self._received) < end:
                return
            payload, self._received = self._received[HEAD_BYTES:end], self._received[end:]
            self._frame(kind, flags, stream, payload)

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in (DATA, HEADERS) and flags & PADDED:
            payload = payload[1 : len(payload) - payload[0]]
        if kind == DATA:
            self._answers[stream].body += payload
        elif kind in (HEADERS, CONTINUATION):
            self._fields(flags, stream, payload[5:] if flags & PRIORITY else payload)
        elif kind in (SETTINGS, PING) and not flags & ACK:
            if kind == SETTINGS:
                self._settings |= dict(iter_unpack(">HL", payload))
            self.peer.sendall(_frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind in (RST_STREAM, GOAWAY):
            raise Failed(f"{'stream reset' if kind == RST_STREAM else 'GOAWAY'}: {payload!r}")
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self._waiting.discard(stream)
            if stream in self._websockets:
                raise Failed("a WebSocket ended")

    def _fields(self, flags: int, stream: int, block: bytes) -> None:
        self._block += block
        if flags & END_HEADERS:
            fields = self._decoder.decode(self._block, raw=True)
            self._block = b""
            status = next(value for name, value in fields if name == b":status")
            self._answers.setdefault(stream, Answer()).status = bytes(status).decode()


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    head = pack(">BHBBL", len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream)
    return head + payload
