# cython: language_level=3, annotation_typing=False
"""The response of an HTTP/1.x exchange, and the content of its request.

Runs in the handler's greenlet; whatever sends or receives may block it. Head and body leave in
one write where they fit, because each write is a system call and, to many clients, a packet.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from gserver.api.errors import BodyTimeout, Disconnected, RemoteProtocolError, RequestTooLarge
from gserver.body import RequestBody
from gserver.clock import Patience
from gserver.environ import Environ
from gserver.fields import (
    BODYLESS,
    CONTENT_LENGTH,
    DATE,
    SERVER,
    UPGRADE,
    FieldCache,
    encode_line,
    status_text,
)
from gserver.http1.parser import CHUNKED, RequestParser
from gserver.stream import ABORTED, BODY, DONE, SWITCHED, Stream

if TYPE_CHECKING:
    from gserver.http1.protocol import Http1
    from gserver.http1.tunnel import Tunnel

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE: Final = b"Connection: close\r\n"
_KEEP_ALIVE: Final = b"Connection: keep-alive\r\n"
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
_UPGRADE: Final = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"
_SWITCHING: Final = b"HTTP/1.1 101 Switching Protocols\r\n" + _UPGRADE

# Chunked content passes through the parser, which calls back for each chunk: a packet full of the
# smallest chunks must not take long.
_CHUNKED_PACKET: Final = 16384
# Blocks at least this long are handed to the kernel beside their framing rather than copied.
_GATHER: Final = 16384


_FIELDS: Final = FieldCache(encode_line)


class Http1Stream(Stream):
    """One exchange on an HTTP/1.x connection; also the source of its request's content.

    Attributes:
        keep_alive: The connection is kept after this exchange.
        incomplete: Not all of the request's content was received yet.
    """

    # Compiled code is slow to call __init__: `open` does its work.

    def open(self, protocol: Http1, environ: Environ, parser: RequestParser) -> None:
        """Begin with the request of `environ`."""
        self.begin(environ, _FIELDS)
        self._protocol = protocol
        self._connection = protocol.connection
        self._parser = parser
        self.keep_alive = parser.keep_alive
        self._http11 = parser.http11
        # What lets `respond` take the short way; almost every request has it.
        self._ordinary = parser.keep_alive and parser.http11
        self.incomplete = False
        self._chunked = False
        self._expects_continue = False
        self._body: RequestBody | None = None
        if environ["REQUEST_METHOD"] == "HEAD":
            self.head_request = True
            self._ordinary = False

    def close_after(self) -> None:
        """Close the connection after this exchange, and say so if the head is not sent yet."""
        self.keep_alive = self._ordinary = False

    # -- the request's content ---------------------------------------------------------------

    def expect_content(self) -> None:
        """Offer the request's content to the application; called in the hub."""
        parser = self._parser
        environ = self.environ
        config = self._connection.config
        environ["wsgi.input"] = self._body = RequestBody(self)
        self._chunks = parser.chunks
        self._received = 0
        self._failure: Exception | None = None
        self._patience = Patience(config.body_timeout, config.body_min_rate)
        if parser.length == CHUNKED:
            self._missing = CHUNKED
            environ["gserver.trailers"] = parser.trailers
        else:
            self._missing = parser.length - sum(map(len, parser.chunks))
        if not parser.complete:
            self.incomplete = True
            self._ordinary = False
            self._expects_continue = self._http11 and not parser.chunks and "HTTP_EXPECT" in environ
            self._connection.pause_reading()

    def receive(self, size: int, least: int = 1) -> bytes:
        """Return the next of the request's content; see `gserver.body.BodySource`."""
        self._connection.end_turn()
        if not self._chunks and self.incomplete:
            if self._expects_continue:
                self._expects_continue = False
                self._connection.send(_CONTINUE)
            if self._failure is not None:
                raise self._failure
            try:
                self._fill(size)
            except (OSError, RemoteProtocolError) as exc:
                self._failure = exc
                self.close_after()
                raise
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._received += len(data)
        limit = self._connection.config.limit_request_body
        if limit and self._received > limit:
            self.close_after()
            raise RequestTooLarge("content too large")
        return data

    def _fill(self, size: int) -> None:
        if self._missing == CHUNKED:
            while not self._chunks and self.incomplete:
                self._parser.feed_body(self._read(_CHUNKED_PACKET))
                self._chunks, self._parser.chunks = self._parser.chunks, []
                self.incomplete = not self._parser.complete
        else:
            data = self._read(min(size, self._missing))
            self._missing -= len(data)
            self._chunks.append(data)
            self.incomplete = self._missing > 0

    def _read(self, size: int) -> bytes:
        """Receive from the socket; see `gserver.clock.Patience` for how long that may take."""
        connection = self._connection
        data = connection.receive_now(size)
        while data is None:
            begin = time.monotonic()
            connection.wait_readable(begin + self._patience.left, _too_slow)
            self._patience.waited(time.monotonic() - begin)
            data = connection.receive_now(size)
        if not data:
            raise Disconnected("the client left before all of the content had come")
        self._patience.received(len(data))
        return data

    def _read_away(self) -> bool:
        """Receive what the application left, within bounds; return whether that was all."""
        left = self._connection.config.limit_unread_body
        try:
            while self.incomplete and left > 0:
                left -= len(self.receive(min(left, _CHUNKED_PACKET)))
        except BaseException:  # noqa: BLE001
            # Also RequestTimeout and GreenletExit: the response is out, and the connection, which
            # is all that is left to lose, is given up.
            return False
        return not self.incomplete

    # -- the response ------------------------------------------------------------------------

    def respond(self, body: bytes) -> None:
        """Send a whole response."""
        fields = self.fields
        assert fields is not None
        if self._ordinary and self.trailers is None and not self.kinds & ~CONTENT_LENGTH:
            self.state = DONE
            self.sent = length = len(body)
            if not self.kinds:
                fields.append(b"Content-Length: %d\r\n" % length)
            fields.append(self._connection.clock.head_end)
            if length < _GATHER:
                fields.append(body)
                self._connection.send(b"".join(fields))
            else:
                self._connection.send_pieces([b"".join(fields), body])
        else:
            self._respond_otherwise(fields, body)

    def _respond_otherwise(self, fields: list[bytes], body: bytes) -> None:
        bodyless = self.bodyless()
        if self.trailers:
            self._begin_chunks(fields)
        elif not self.kinds & (CONTENT_LENGTH | BODYLESS) and (body or not bodyless):
            fields.append(b"Content-Length: %d\r\n" % len(body))
        self._finish_head(fields)
        self.state = DONE
        self.sent = 0 if bodyless else len(body)
        pieces = [b"".join(fields), b"" if bodyless else body]
        if self._chunked:
            if body:
                pieces[0] += b"%x\r\n" % len(body)
                pieces.append(b"\r\n")
            pieces.append(self._last_chunk())
        self._connection.send_pieces(pieces)

    def send_head(self, data: bytes) -> None:
        """Send the head and the first block."""
        fields = self.fields
        assert fields is not None
        if (self.length < 0 or self.trailers) and not self.kinds & BODYLESS:
            if self._http11:
                self._begin_chunks(fields)
            else:
                self.close_after()  # the end of the connection is the end of the content
        self._finish_head(fields)
        head = b"".join(fields)
        if self.bodyless():
            self._connection.send(head)
        elif self._chunked:
            self._connection.send_pieces([b"%b%x\r\n" % (head, len(data)), data, b"\r\n"])
        else:
            self._connection.send_pieces([head, data])

    def send_data(self, data: bytes) -> None:
        """Send a further block."""
        if self._chunked:
            self._connection.send_pieces([b"%x\r\n" % len(data), data, b"\r\n"])
        else:
            self._connection.send_block(data)

    def send_file(self, descriptor: int, offset: int, size: int) -> None:
        """Send the head and a region of a file, which the kernel reads where it can."""
        fields = self.fields
        assert fields is not None
        bodyless = self.bodyless()
        if self.length < 0 and not self.kinds & BODYLESS:
            self.length = size
            fields.append(b"Content-Length: %d\r\n" % size)
            self.kinds |= CONTENT_LENGTH
        if self.trailers:
            self._begin_chunks(fields)
        self._finish_head(fields)
        self.state = BODY
        head = b"".join(fields)
        if bodyless:
            self._connection.send(head)
            return
        in_chunk = self._chunked and self.length > 0  # all of it in one; an empty one would end it
        if in_chunk:
            head += b"%x\r\n" % self.length
        self._connection.send_file(head, descriptor, offset, self.length)
        self.sent = self.length
        if in_chunk:
            self._connection.send(b"\r\n")

    def send_end(self) -> None:
        """Send the end of chunked content."""
        if self._chunked and not self.head_request:
            self._connection.send(self._last_chunk())

    @property
    def can_inform(self) -> bool:
        """Interim responses can be sent: HTTP/1.0 has none (RFC 9110 15.2)."""
        return self._http11 and super().can_inform

    @property
    def can_trail(self) -> bool:
        """Trailer fields can be sent: behind chunks only (RFC 9112 7.1.2)."""
        return self._http11 and super().can_trail and (self.state is not BODY or self._chunked)

    def send_informational(self, status: int, fields: list[bytes]) -> None:
        """Send an interim response, which leaves at once."""
        head = f"HTTP/1.1 {status_text(status)}\r\n".encode()
        self._connection.send(b"".join([head, *fields, b"\r\n"]))

    def _begin_chunks(self, fields: list[bytes]) -> None:
        """Send the content in chunks, whatever the application knows of its length."""
        self._chunked = True
        if self.trailers:
            if self.kinds & CONTENT_LENGTH:
                _remove(fields, b"content-length:")  # not beside chunks (RFC 9112 6.2)
            _announce(fields, self.trailers)
        fields.append(_CHUNKED)

    def _last_chunk(self) -> bytes:
        if not self.trailers:
            return _LAST_CHUNK
        return b"".join([b"0\r\n", *self.trailers, b"\r\n"])

    def _finish_head(self, fields: list[bytes]) -> None:
        """Append what the server adds to the head, and the empty line."""
        if self.kinds & BODYLESS and self.kinds & CONTENT_LENGTH and self.status.startswith("204"):
            _remove(fields, b"content-length:")  # RFC 9110 8.6 forbids it
        if self.incomplete and (
            self._expects_continue
            or self._missing > self._connection.config.limit_unread_body
            or (self._missing == CHUNKED and not self._received)
        ):
            # The client may send its content or not: what follows cannot be told apart. And
            # content that would not be read away, or of unknown length, may close the connection
            # anyway: RFC 9112 9.6 wants the client told.
            self.keep_alive = False
        self._expects_continue = False  # never after the final head
        if self.kinds & UPGRADE and self._http11:
            fields.append(_UPGRADE)  # RFC 9110 15.5.22 wants it, and WSGI leaves it to the server
        if not self.keep_alive:
            fields.append(_CLOSE)
        elif not self._http11:
            fields.append(_KEEP_ALIVE)
        clock = self._connection.clock
        if not self.kinds & SERVER:
            fields.append(clock.server)
        if not self.kinds & DATE:
            fields.append(clock.date)
        fields.append(b"\r\n")

    def send_switch(self, fields: list[bytes]) -> Tunnel:
        """Send 101, and leave the connection to the WebSocket."""
        connection = self._connection
        if connection.closed:
            raise Disconnected
        self.status = "101 Switching Protocols"
        tunnel = self._protocol.open_tunnel()
        # What idles for hours should not hold what its request needed.
        self._protocol = self._parser = None  # type: ignore[assignment]
        tunnel.write(b"".join([_SWITCHING, *fields, connection.clock.head_end]))
        return tunnel

    # -- the end -----------------------------------------------------------------------------

    def lost(self) -> bool:
        """Tell whether the client has gone; one that has ended only its half counts too."""
        return self._connection.left()

    def watch(self) -> None:
        """Read on, so that the end of the connection is seen."""
        if not self.incomplete and not self._protocol.early and not self._parser.unused:
            self._connection.resume_reading()

    def abort(self) -> None:
        """Break the response off: no last chunk, fewer bytes than announced, or a reset."""
        if self.state is BODY and not self._chunked and self.length < 0:
            # Only the end of the connection ends this content: a clean one would be a lie.
            self._connection.reset()
        if self.state is SWITCHED:
            self._connection.abort()
        self.keep_alive = False
        self.state = ABORTED

    def finished(self) -> None:
        """Go on with the next request, or close."""
        if self.state is SWITCHED:
            return  # the connection is the tunnel's
        if self._body is not None:
            self._body.detach()
        if self._connection.awaited:
            # Another greenlet of the application still reads or writes: what it would take or
            # send belongs to the next exchange.
            self._connection.abort()
            return
        if self.incomplete and self.keep_alive:
            self.keep_alive = self._read_away()
        if self.keep_alive:
            if self._body is not None:
                self._chunks.clear()  # for a greenlet that still waits for its turn to read
            self._protocol.next_request()
        elif self.incomplete or self._protocol.early:
            # Closing with unread bytes would reset the connection, and the client might lose the
            # response (RFC 9112 9.6).
            self._connection.linger()
        else:
            self._connection.close()


def _remove(fields: list[bytes], beginning: bytes) -> None:
    fields[:] = [one for one in fields if not one.lower().startswith(beginning)]


def _announce(fields: list[bytes], trailers: list[bytes]) -> None:
    """Tell the names of the trailers (RFC 9110 6.6.2) if the application has not."""
    if not any(one[:8].lower() == b"trailer:" for one in fields):
        names = dict.fromkeys(one.partition(b":")[0] for one in trailers)
        fields.append(b"Trailer: %b\r\n" % b", ".join(names))


def _too_slow() -> BodyTimeout:
    return BodyTimeout("the content came too slowly")
