# cython: language_level=3, annotation_typing=False
"""The response of an HTTP/2 exchange, and the content of its request.

Runs in the handler's greenlet. What is sent goes to the engine, and from there, together with what
the other streams send in the same turn of the loop, to the socket. A greenlet that sends content
blocks until the engine has taken it, which the client's windows decide; one that receives opens
the window as it reads.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from gevent import getcurrent

from gserver.api.capabilities import parse_priority
from gserver.api.errors import (
    BodyTimeout,
    Disconnected,
    LocalProtocolError,
    RemoteProtocolError,
    RequestTooLarge,
)
from gserver.body import RequestBody
from gserver.clock import NEVER, Patience
from gserver.environ import Environ
from gserver.fields import BODYLESS, CONTENT_LENGTH, DATE, SERVER, FieldCache
from gserver.files import FileSender, read_cached
from gserver.http2.engine import ErrorCode, Field
from gserver.http2.request import NO_KEY
from gserver.http2.tunnel import Http2Tunnel
from gserver.stream import ABORTED, BODY, DONE, Stream

if TYPE_CHECKING:
    from gserver.http2.protocol import Http2

# Content up to this length stays with the engine when the greenlet has gone on: what a client
# that does not read can make a hundred streams hold is not much.
_LEFT_BEHIND: Final = 16384
# A DATA frame of the default size holds so much; more is worth being gathered by the engine.
_FRAME: Final = 16384
# So much at a time: it is set aside for a client that may never send it.
_GATHERED: Final = 65536
# Content that comes in pieces below this is put together as it comes.
_SMALL: Final = 1024

_CONTINUE: Final = (b":status", b"100", False)
_STATUS_OK: Final = (b":status", b"200", False)
# RFC 7541 7.1.3: what is secret must not be found out by compressing guesses beside it.
_SECRET: Final = frozenset({"set-cookie", "authorization"})


def _encode(name: str, value: str) -> Field:
    lower = name.lower()
    # White space around a value would make the response malformed (RFC 9113 8.2.1).
    return lower.encode("ascii"), value.strip(" \t").encode("latin-1"), lower in _SECRET


_FIELDS: Final = FieldCache(_encode)
_STATUSES: Final[dict[str, Field]] = {}
_MAX_STATUSES: Final = 256


def _status_field(status: str) -> Field:
    field = (b":status", status[:3].encode("ascii"), False)
    if len(_STATUSES) < _MAX_STATUSES:
        _STATUSES[status] = field
    return field


class _Stalled(Exception):
    """Nothing happened on the stream for as long as a client may let it wait."""


class Http2Stream(Stream):
    """One exchange on an HTTP/2 connection; also the source of its request's content.

    Attributes:
        id: The stream's number.
        incomplete: The end of the request's content was not received yet.
        gone: The client has reset the stream, or left: nothing can be sent any more.
        trailers_received: Where the request's trailer fields go.
    """

    # Compiled code is slow to call __init__: `open` does its work.

    def open(self, protocol: Http2, id: int, environ: Environ) -> None:
        """Set all to the beginning; called in the hub, once and first of all."""
        self.begin(environ, _FIELDS)
        self._protocol = protocol
        self._engine = protocol.engine
        self.id = id
        self.gone = False
        self.incomplete = False
        self._body: RequestBody | None = None
        self._reader: Any = None  # the greenlet that waits for content
        self._writer: Any = None  # the greenlet that waits until content was taken
        self._priority: tuple[int, bool] | None = None  # once it is known
        self._tunnel: Http2Tunnel | None = None
        if environ["REQUEST_METHOD"] == "HEAD":
            self.head_request = True

    # -- the request's content ---------------------------------------------------------------

    def expect_content(self) -> None:
        """Offer the request's content to the application; called in the hub."""
        environ = self.environ
        config = self._protocol.connection.config
        self.incomplete = True
        trailers: list[tuple[str, str]] = []
        environ["wsgi.input"] = self._body = RequestBody(self)
        environ["gserver.trailers"] = self.trailers_received = trailers
        self._chunks: list[bytes | bytearray] = []
        self._held = 0  # bytes in them
        self._least = 1  # so many are worth waking the greenlet that waits
        self._received = 0
        self._failure: Exception | None = None
        self._patience = Patience(config.body_timeout, config.body_min_rate)
        self._expects_continue = "HTTP_EXPECT" in environ
        self._widened = False

    def take(self, data: bytes) -> None:
        """Take content; called in the hub."""
        chunks = self._chunks
        if chunks and len(data) < _SMALL and len(chunks[-1]) < _LEFT_BEHIND:
            # A client may cut content into single bytes, each of which would be an object.
            last = chunks[-1]
            if type(last) is not bytearray:
                chunks[-1] = last = bytearray(last)
            last += data
        else:
            chunks.append(data)
        self._held += len(data)
        if self._reader is not None:
            self._count_wait()
        self._patience.received(len(data))

    def take_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """Note that all content has come; called in the hub."""
        self.incomplete = False
        self.trailers_received.extend(
            (name.decode("ascii"), value.decode("latin-1")) for name, value in trailers
        )

    def wake_reader(self) -> None:
        """Let who waits for content have it, if it is enough; called in the hub."""
        reader = self._reader
        if reader is not None and (self._held >= self._least or not self.incomplete):
            self._reader = None
            reader.switch()

    def receive(self, size: int, least: int = 1) -> bytes:
        """Return the next of the request's content; see `gserver.body.BodySource`."""
        self._protocol.connection.end_turn()
        limit = self._protocol.connection.config.limit_request_body
        if limit:
            least = min(least, limit + 1 - self._received)
        # Never all of the window, which the client needs to send more.
        self._least = max(1, min(least, self._protocol.window // 2))
        if self._held < self._least and self.incomplete:
            self._await_content()
        data = self._take_held(size)
        self._received += len(data)
        if limit and self._received > limit:
            raise RequestTooLarge("content too large")
        if data and self.incomplete:
            self._engine.consume(self.id, len(data))
            self._protocol.schedule()
        return data

    def _take_held(self, size: int) -> bytes:
        """Return what has come, `size` bytes at most: more would be copied once more."""
        chunks = self._chunks
        if self._held <= size:
            data = b"".join(chunks)
            chunks.clear()
        else:
            taken = count = 0
            while taken < size:
                taken += len(chunks[count])
                count += 1
            pieces = chunks[:count]
            del chunks[:count]
            if taken > size:
                last = pieces[-1]
                cut = len(last) - (taken - size)
                pieces[-1] = last[:cut]
                chunks.insert(0, last[cut:])
            data = b"".join(pieces)
        self._held -= len(data)
        return data

    def _await_content(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._reader is not None:
            raise LocalProtocolError("another greenlet is receiving on this stream")
        if self._expects_continue:
            self._expects_continue = False
            self._engine.send_informational(self.id, [_CONTINUE])
        if not self._widened:
            self._widened = True
            self._engine.widen(self.id, self._protocol.window)
        self._protocol.schedule()
        try:
            while self._held < self._least and self.incomplete:
                self._wait_for_more()
        except (OSError, RemoteProtocolError) as exc:
            self._failure = exc
            raise

    def _wait_for_more(self) -> None:
        self._check_gone("the client left before all of the content had come")
        held = self._held
        stalled = False
        missing = self._least - held
        if missing > _FRAME:
            self._engine.gather(self.id, min(missing, _GATHERED))
        self._since = time.monotonic()
        self._reader = getcurrent()
        try:
            self._protocol.connection.clock.park(self._since + self._patience.left, _Stalled)
        except _Stalled:
            stalled = True
        finally:
            self._reader = None
            self._count_wait()
            # What came of it, if it was not all: an error, or a client that is slow.
            rest = self._engine.gathered(self.id)
            if rest:
                self.take(rest)
        if stalled and (self._patience.left <= 0 or self._held == held):
            raise BodyTimeout("the content came too slowly")

    def _count_wait(self) -> None:
        now = time.monotonic()
        self._patience.waited(now - self._since)
        self._since = now

    # -- a WebSocket -------------------------------------------------------------------------

    def open_tunnel(self) -> Http2Tunnel:
        """Return what takes the request's content, which is not the application's."""
        self._tunnel = Http2Tunnel(self, self._protocol)
        return self._tunnel

    def send_switch(self, fields: list[Field]) -> Http2Tunnel:
        """Send 200 (RFC 8441 5), and leave the stream to the WebSocket."""
        self._check_gone()
        assert self._tunnel is not None
        self.status = "200 OK"
        if self.environ["HTTP_SEC_WEBSOCKET_KEY"] == NO_KEY:
            fields = [field for field in fields if field[0] != b"sec-websocket-accept"]
        added = self._protocol.connection.clock.fields
        self._engine.send_head(self.id, [_STATUS_OK, *fields, *added])
        self._protocol.schedule()
        return self._tunnel

    def drain(self) -> None:
        """Go on: a stream that the client has begun is finished."""

    # -- the response ------------------------------------------------------------------------

    def respond(self, body: bytes) -> None:
        """Send a whole response."""
        length = len(body)
        fields = self._finish_head(length)
        self.state = DONE
        if self.bodyless():
            body = b""
        else:
            self.sent = length
        self._check_gone()
        engine = self._engine
        if not self.trailers and (length <= _LEFT_BEHIND or not body):
            engine.respond(self.id, fields, body)
            self._protocol.schedule()
        else:
            engine.send_head(self.id, fields)
            engine.send_data(self.id, body)
            engine.send_end(self.id, self._mark(self.trailers or []))
            self._await_taken()

    def send_head(self, data: bytes) -> None:
        """Send the head and the first block."""
        self._check_gone()
        fields = self._finish_head(-1)
        if self.bodyless():
            self._engine.respond(self.id, fields, b"")
            self._protocol.schedule()
        else:
            self._engine.send_head(self.id, fields)
            self.send_data(data)

    def send_data(self, data: bytes) -> None:
        """Send a further block."""
        self._check_gone()
        if self._writer is not None:
            raise LocalProtocolError("another greenlet is sending on this stream")
        if data:
            self._engine.send_data(self.id, data)
            self._await_taken()

    def send_file(self, descriptor: int, offset: int, size: int) -> None:
        """Send the head and a region of a file, which threads read."""
        if self.length < 0 and not self.kinds & BODYLESS:
            self.length = size
            assert self.fields is not None
            self.fields.append((b"content-length", b"%d" % size, False))
        self.state = BODY
        first = b"" if self.bodyless() else read_cached(descriptor, offset, self.length)
        self.send_head(first)
        if self.bodyless():
            return
        end = offset + self.length
        offset += len(first)
        if offset < end:
            with FileSender(self._protocol.connection.threadpool, descriptor, None) as sender:
                while offset < end:
                    data = sender.read(offset, end - offset)
                    if not data:
                        raise LocalProtocolError("the file ended before its announced length")
                    self.send_data(data)
                    offset += len(data)
        self.sent = self.length

    def send_end(self) -> None:
        """Send the end of the content."""
        self._check_gone()
        if not self.bodyless():
            self._engine.send_end(self.id, self._mark(self.trailers or []))
            self._protocol.schedule()

    def send_informational(self, status: int, fields: list[Field]) -> None:
        """Send an interim response."""
        self._check_gone()
        field = (b":status", b"%d" % status, False)
        self._engine.send_informational(self.id, [field, *self._mark(fields)])
        self._protocol.schedule()

    def _finish_head(self, length: int) -> list[Field]:
        """Return the field section of the response; `length` of its content, -1 if not known."""
        fields = self.fields
        assert fields is not None
        kinds = self.kinds
        status = self.status
        if self._tunnel is not None and status[0] == "2":
            # To a CONNECT that would mean: accepted, and content would be frames (RFC 9113 8.5).
            self.status = status = "501 Not Implemented"
        fields[0] = _STATUSES.get(status) or _status_field(status)
        if kinds & BODYLESS:
            if kinds & CONTENT_LENGTH and status.startswith("204"):
                # RFC 9110 8.6 forbids it.
                fields[:] = [field for field in fields if field[0] != b"content-length"]
        elif length >= 0 and not kinds & CONTENT_LENGTH and (length or not self.head_request):
            fields.append((b"content-length", b"%d" % length, False))
        added = self._protocol.connection.clock.fields
        if kinds & (SERVER | DATE):
            given = {field[0] for field in fields}
            added = [field for field in added if field[0] not in given]
        fields += added
        return fields if self.never_indexed is None else self._mark(fields)

    def _mark(self, fields: list[Field]) -> list[Field]:
        """Return fields, with those marked that the application keeps out of the context."""
        secret = {name.encode("latin-1") for name in self.never_indexed or ()}
        return [(name, value, kept or name in secret) for name, value, kept in fields]

    def _await_taken(self) -> None:
        """Block until the engine has taken all content; `write_timeout` bounds each pause."""
        protocol = self._protocol
        protocol.schedule()
        connection = protocol.connection
        while left := self._engine.unsent(self.id):
            self._check_gone()
            deadline = time.monotonic() + (connection.config.write_timeout or NEVER)
            self._writer = getcurrent()
            try:
                connection.clock.park(deadline, _Stalled)
            except _Stalled:
                if self._engine.unsent(self.id) == left:
                    raise Disconnected("the client does not read the response") from None
            finally:
                self._writer = None
        self._check_gone()

    def taken(self) -> None:
        """Go on: the engine has taken what was sent; called in the hub."""
        writer = self._writer
        if writer is not None:
            self._writer = None
            writer.switch()

    # -- what HTTP/2 can do ------------------------------------------------------------------

    @property
    def can_keep_out(self) -> bool:
        """Header fields are compressed (RFC 7541)."""
        return True

    @property
    def can_inform(self) -> bool:
        """Interim responses can be sent; not before a pushed one, which h2 knows nothing of."""
        return self.id % 2 == 1 and super().can_inform

    @property
    def can_push(self) -> bool:
        """The client takes pushed responses; a pushed one leads to none itself (RFC 9113 8.4)."""
        return not self.gone and self.id % 2 == 1 and self._engine.can_push

    def push(self, path: str, headers: Sequence[tuple[str, str]]) -> bool:
        """Promise the response to a GET of `path`, and have it handled as a request of its own."""
        environ = self.environ
        own = [
            (b":method", b"GET", False),
            (b":scheme", environ["wsgi.url_scheme"].encode("ascii"), False),
            (b":authority", environ["HTTP_HOST"].encode("latin-1"), False),
            (b":path", path.encode("latin-1"), False),
        ]
        fields = own + [_FIELDS.encode(header) for header in headers]
        return self._protocol.promise(self.id, fields)

    def priority(self) -> tuple[int, bool]:
        """Return urgency and incremental as the client wants them (RFC 9218)."""
        if self._priority is None:
            self._priority = parse_priority(self.environ.get("HTTP_PRIORITY", ""))
        return self._priority

    def set_priority(self, value: bytes) -> None:
        """Take the value of a PRIORITY_UPDATE frame; called in the hub."""
        self._priority = parse_priority(value.decode("latin-1"))
        self._engine.prioritise(self.id, *self._priority)

    # -- the end -----------------------------------------------------------------------------

    def _check_gone(self, reason: str = "the client has reset the stream") -> None:
        if self.gone:
            raise Disconnected(reason)

    def lost(self) -> bool:
        """Tell whether the client has reset the stream, or left."""
        return self.gone or self._protocol.connection.left()

    def note_loss(self) -> None:
        """Have the application's next call raise Disconnected; called in the hub."""
        self.gone = True

    def lose(self) -> None:
        """Tell the application that the client has gone; called in the hub."""
        self.gone = True
        self.tell_loss()
        for greenlet in (self._reader, self._writer):
            if greenlet is not None:
                greenlet.throw(Disconnected("the client has reset the stream"))

    def abort(self) -> None:
        """Break the response off."""
        self.state = ABORTED
        if not self.gone:
            self.gone = True
            self._engine.reset(self.id, ErrorCode.INTERNAL_ERROR)
            self._protocol.schedule()

    def finished(self) -> None:
        """Take leave; what a client still sends is read away, to a point."""
        if self._body is not None:
            self._body.detach()
            if self.incomplete and not self.gone:
                if self._held:
                    # Room for what is taken from here on.
                    self._engine.consume(self.id, self._held)
                self._protocol.read_away(self.id, self._held)
            if self._reader is not None or self._writer is not None:
                # Another greenlet of the application is still at it.
                self._protocol.connection.defer(self.lose)
        elif self._tunnel is not None:
            self._tunnel.leave()
        self._protocol.release(self.id)
