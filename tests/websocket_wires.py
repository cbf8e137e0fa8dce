"""The transports of WebSocket, from the handshake's request on: HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from typing import Protocol

import h2.events

from clients import ConnectionEnded, RawClient, Response
from http2_client import Address, Http2Client


class TransportEnded(ConnectionEnded):
    """The transport has ended; `clean` if not by a reset."""

    def __init__(self, text: str, *, clean: bool) -> None:
        super().__init__(text)
        self.clean = clean


class Wire(Protocol):
    """Bytes both ways, after a handshake."""

    http2: bool

    def answer(self) -> Response:
        """Read the response to the handshake; its content too, if it is not accepted."""

    def send(self, data: bytes) -> None:
        """Send bytes, in one system call or one DATA frame if it may be."""

    def receive(self) -> bytes:
        """Return the next bytes, b"" at a clean end."""

    def finish(self) -> None:
        """Send no more, but read on."""

    def vanish(self) -> None:
        """Leave without a word."""

    def leave(self) -> None:
        """End this one and no other, in good order if the server lets it."""

    def close(self) -> None:
        """Close the whole connection."""


class Http1Wire:
    http2 = False

    def __init__(self, client: RawClient) -> None:
        self.client = client
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def answer(self) -> Response:
        return self.client.response()

    def send(self, data: bytes) -> None:
        try:
            self.client.send(data)
        except ConnectionError as exc:
            raise TransportEnded(str(exc), clean=False) from exc

    def receive(self) -> bytes:
        data, self.client.buffer = self.client.buffer, b""
        try:
            return data or self.client.sock.recv(262144)
        except ConnectionError as exc:
            raise TransportEnded(str(exc), clean=False) from exc

    def finish(self) -> None:
        self.client.sock.shutdown(socket.SHUT_WR)

    def vanish(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.client.close()

    def leave(self) -> None:
        self.client.close()

    def close(self) -> None:
        self.client.close()


class Http2Connection(Http2Client):
    """A connection that WebSockets share; not to be used by two threads."""

    def __init__(self, address: Address, settings: Mapping[int, int] | None = None) -> None:
        self._greeted = False
        super().__init__(address, settings=settings)

    @property
    def extended(self) -> bool:
        """Whether the server has announced extended CONNECT (RFC 8441 3)."""
        self.wait(lambda: self._greeted)
        return bool(self._h2.remote_settings.enable_connect_protocol)

    def push(self, stream: int, data: bytes) -> None:
        """Send bytes as the windows allow it, unless the server has ended the stream.

        Raises:
            ConnectionEnded: It takes no more.
        """
        response = self.responses[stream]
        view = memoryview(data)
        while view:
            self.wait(lambda: response.over or self._room(stream) > 0)
            size = self._room(stream)
            if not size:
                raise ConnectionEnded(f"stream {stream} is over: {response.code}")
            self._h2.send_data(stream, bytes(view[:size]))
            view = view[size:]
            self._flush()

    def _take(self, event: h2.events.Event) -> None:
        self._greeted |= isinstance(event, h2.events.RemoteSettingsChanged)
        super()._take(event)


class Http2Wire:
    http2 = True

    def __init__(self, connection: Http2Connection, stream: int) -> None:
        self.connection = connection
        self.stream = stream
        self._left = False

    def answer(self) -> Response:
        response = self.connection.head(self.stream)
        return response if response.status == 200 else self.connection.whole(self.stream)

    def send(self, data: bytes) -> None:
        try:
            self.connection.push(self.stream, data)
        except ConnectionEnded as exc:
            raise TransportEnded(str(exc), clean=False) from exc

    def receive(self) -> bytes:
        try:
            return self.connection.data(self.stream)
        except ConnectionEnded as exc:
            raise TransportEnded(str(exc), clean=False) from exc

    def finish(self) -> None:
        self._left = True
        self.connection.end(self.stream)

    def vanish(self) -> None:
        self._left = True
        self.connection.reset(self.stream)

    def leave(self) -> None:
        if not self._left and self.connection.responses[self.stream].code < 0:
            self.finish()

    def close(self) -> None:
        self.connection.close()
