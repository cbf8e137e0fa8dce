"""One request and its response, over any protocol that the server speaks.

What WSGI and Lite promise holds on every protocol, so their tests are written to `Peer` and
`Exchange`, and the fixture `peer` runs them once for each protocol. A new protocol needs a class
for each of the two and an entry in `PEERS`.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from clients import ConnectionEnded, RawClient, Response
from http2_client import Http2Client, request_fields

Headers = Sequence[tuple[str, str]]


@dataclass
class Answer(Response):
    """A response; `complete` tells whether the client can take it for the whole one.

    `interim` holds the interim responses that came before it (RFC 9110 15.2), without 100s.
    """

    complete: bool = True
    interim: list[Response] = field(default_factory=list)


class Exchange(Protocol):
    """One request and its response, step by step."""

    def send(self, data: bytes) -> None:
        """Send a piece of the request's content."""

    def end(self) -> None:
        """Say that the request's content has ended; needed where no length was announced."""

    def head(self) -> Answer:
        """Read the head of the response."""

    def data(self) -> bytes:
        """Read the next bytes of the response's content; b"" at a clean end."""

    def answer(self) -> Answer:
        """Read the response, as far as it comes; no status if not even the head did."""

    def vanish(self) -> None:
        """Leave without a word."""


class Peer(Protocol):
    """A server and a client that speaks one protocol with it."""

    version: str
    """SERVER_PROTOCOL of its requests."""

    def open(
        self, target: str = "/", headers: Headers = (), *, method: str = "GET", length: int = 0
    ) -> Exchange:
        """Send a head; a negative `length` promises content without telling how much."""

    def reason(self, phrase: str) -> str:
        """Return what the client sees of a status's reason phrase."""

    def fields(self, headers: Headers) -> list[tuple[str, str]]:
        """Return what the client sees of an application's headers."""

    def stop(self, timeout: float = 5) -> None:
        """Stop the server and wait until all is over."""

    def call(self, function: Callable[[], Any]) -> Any:
        """Run `function` in the server's thread, among its greenlets."""

    def close(self) -> None:
        """Close the client's connections."""


def request(
    peer: Peer,
    target: str = "/",
    headers: Headers = (),
    *,
    method: str = "GET",
    body: bytes = b"",
) -> Answer:
    """Send a whole request and return the response."""
    exchange = peer.open(target, headers, method=method, length=len(body))
    if body:
        exchange.send(body)
    return exchange.answer()


class Http1Exchange:
    """An exchange on an HTTP/1.1 connection of its own."""

    def __init__(self, client: RawClient, method: str, chunked: bool) -> None:
        self._client = client
        self._method = method
        self._chunked = chunked
        self._answer: Answer | None = None
        self._left: int | None = None  # bytes until the end; None if something else tells it

    def send(self, data: bytes) -> None:
        self._client.send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self) -> None:
        if self._chunked:
            self._client.send(b"0\r\n\r\n")

    def head(self) -> Answer:
        interim = []
        while (response := self._client.head()).status < 200:
            if response.status != 100:
                interim.append(response)
        self._answer = answer = Answer(**vars(response), interim=interim)
        if self._method == "HEAD" or answer.status in (204, 304):
            self._left = 0
        elif "Content-Length" in answer:
            self._left = int(answer["Content-Length"])
        return answer

    def data(self) -> bytes:
        assert self._answer is not None
        client = self._client
        if self._left == 0:
            return b""
        if "Transfer-Encoding" in self._answer:
            data = client.chunk(self._answer)
            if not data:
                self._left = 0
            return data
        if not client.buffer:
            client.buffer = client.sock.recv(65536)
        if self._left is None:
            return client.exactly(len(client.buffer))
        if not client.buffer:
            raise ConnectionEnded
        data = client.exactly(min(len(client.buffer), self._left))
        self._left -= len(data)
        return data

    def answer(self) -> Answer:
        try:
            answer = self._answer or self.head()
        except (ConnectionEnded, ConnectionResetError):
            return Answer("", 0, "", [], complete=False)
        try:
            while data := self.data():
                answer.body += data
        except (ConnectionEnded, ConnectionResetError):
            answer.complete = False
        return answer

    def vanish(self) -> None:
        # A reset, so that the server's next send fails too.
        linger = struct.pack("ii", 1, 0)
        self._client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._client.close()


class Http1Peer:
    """HTTP/1.1 in clear."""

    version = "HTTP/1.1"

    def __init__(self, server: Any) -> None:
        self._server = server
        self._clients: list[RawClient] = []
        self.stop: Callable[..., None] = server.stop
        self.call: Callable[..., Any] = server.call

    def reason(self, phrase: str) -> str:
        return phrase

    def fields(self, headers: Headers) -> list[tuple[str, str]]:
        return list(headers)

    def open(
        self, target: str = "/", headers: Headers = (), *, method: str = "GET", length: int = 0
    ) -> Http1Exchange:
        client: RawClient = self._server.client()
        self._clients.append(client)
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in headers]
        if length:
            framing = f"Content-Length: {length}" if length > 0 else "Transfer-Encoding: chunked"
            lines.append(framing)
        client.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return Http1Exchange(client, method, length < 0)

    def close(self) -> None:
        for client in self._clients:
            client.close()


class Http2Exchange:
    """An exchange on a stream of a connection that it shares with others."""

    def __init__(self, client: Http2Client, stream: int, length: int) -> None:
        self._client = client
        self._stream = stream
        self._missing = length  # of the announced content; negative without an announcement
        self._answer: Answer | None = None

    def send(self, data: bytes) -> None:
        self._client.send(self._stream, data, end=len(data) == self._missing)
        self._missing -= len(data)

    def end(self) -> None:
        if self._missing < 0:
            self._client.end(self._stream)

    def head(self) -> Answer:
        response = self._client.head(self._stream)
        self._answer = Answer(
            response.version,
            response.status,
            response.reason,
            response.headers,
            interim=[one for one in response.interim if one.status != 100],
        )
        return self._answer

    def data(self) -> bytes:
        data = self._client.data(self._stream)
        if not data and self._answer is not None:
            self._answer.trailers = self._client.responses[self._stream].trailers
        return data

    def answer(self) -> Answer:
        try:
            answer = self._answer or self.head()
        except ConnectionEnded:
            return Answer("", 0, "", [], complete=False)
        try:
            while data := self.data():
                answer.body += data
        except ConnectionEnded:
            answer.complete = False
        return answer

    def vanish(self) -> None:
        self._client.reset(self._stream)


class Http2Peer:
    """HTTP/2 in clear, by prior knowledge; all exchanges on one connection."""

    version = "HTTP/2"

    def __init__(self, server: Any) -> None:
        self._server = server
        self._client: Http2Client | None = None
        self.call: Callable[..., Any] = server.call

    def reason(self, phrase: str) -> str:
        return ""

    def fields(self, headers: Headers) -> list[tuple[str, str]]:
        return [(name.lower(), value) for name, value in headers]

    def open(
        self, target: str = "/", headers: Headers = (), *, method: str = "GET", length: int = 0
    ) -> Http2Exchange:
        if self._client is None:
            self._client = Http2Client(self._server.address)
        fields = request_fields(target, method=method)
        fields += [(name.lower(), value) for name, value in headers]
        if length > 0:
            fields.append(("content-length", str(length)))
        stream = self._client.open(fields, end=not length)
        return Http2Exchange(self._client, stream, length)

    def stop(self, timeout: float = 5) -> None:
        stopping = threading.Thread(target=self._server.stop, args=(timeout,), daemon=True)
        stopping.start()
        if self._client is not None:
            self._client.drain()  # the server waits a while for the answer to its PING
        stopping.join(30)
        self._server.stop()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


def _engines() -> tuple[str, ...]:
    # In CI it is an error if nghttp2 was not built, so its tests are not left out.
    if importlib.util.find_spec("gserver.http2.nghttp2") or os.environ.get("CI"):
        return ("nghttp2", "h2")
    return ("h2",)


ENGINES = _engines()
"""The values of the option http2_engine."""

PEERS: dict[str, tuple[Callable[[Any], Peer], dict[str, Any]]] = {
    "http1": (Http1Peer, {}),
    **{f"http2-{name}": (Http2Peer, {"http2_engine": name}) for name in ENGINES},
}
"""For each protocol the kind of peer, and the options with which to serve it."""
