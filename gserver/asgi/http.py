"""One HTTP request: the messages of its coroutine become a Lite response."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import gevent

from gserver.api.capabilities import early_hints, push, send_trailers
from gserver.api.errors import Disconnected, LocalProtocolError
from gserver.api.lite import Headers, Response
from gserver.asgi.exchange import Exchange, to_content, to_headers, to_status
from gserver.asgi.scope import http_scope
from gserver.body import EMPTY
from gserver.environ import Environ

if TYPE_CHECKING:
    from gserver.api.asgi.types import Message
    from gserver.asgi.application import AsgiApplication

logger = logging.getLogger("gserver.error")

_PIECE: Final = 65536
# Bytes that may wait for a client that does not read, before the coroutine waits too.
_HIGH_WATER: Final = 65536

# What may be sent next: a start; content, or a file for all of it; content; trailers; nothing.
_START, _HEAD, _BODY, _TRAILERS, _END = range(5)


class HttpExchange(Exchange):
    """An HTTP request and its response."""

    def __init__(self, application: AsgiApplication, environ: Environ) -> None:
        super().__init__(application, environ)
        content: Any = environ["wsgi.input"]
        # Middleware's own may lack the method that returns what there is.
        self._read_some = getattr(content, "read1", content.read)
        self._missing = int(environ.get("CONTENT_LENGTH") or -1)
        self._reading = content is not EMPTY  # there is more to be read
        self._reader: Any = None  # the greenlet that does
        self._watching = False  # whether the client leaves
        if not self._reading:
            self.messages.append({"type": "http.request", "body": b"", "more_body": False})
        self._stage = _START
        self._status = ""
        self._headers: Headers = []
        # What the coroutine sent and the greenlet has not taken: blocks, and calls that may block.
        self._items: deque[bytes | Callable[[], object]] = deque()
        self._held = 0  # bytes among them
        self._room: asyncio.Event | None = None  # for a coroutine that waits until they are fewer
        self._file: Any = None  # is all of the content
        self._trailers = False  # are to come

    # -- in the request's greenlet -----------------------------------------------------------

    def respond(self) -> Response:
        """Run the application until its response has begun; blocks."""
        environ = self.environ
        environ["wsgi_lite.closing"](self)
        self.start(http_scope(environ, self._application.state))
        first = self._next()
        if self._file is not None:
            body: Any = environ["wsgi.file_wrapper"](self._file, _PIECE)
        elif self._stage is _END and not self._items:
            body = [first] if first else []
        else:
            body = self._blocks(first)
        return self._status, self._headers, body

    def _blocks(self, block: bytes) -> Iterator[bytes]:
        while block:
            yield block
            block = self._next()

    def _next(self) -> bytes:
        """Return the next block of content, b"" at the end."""
        items = self._items
        while True:
            while items:
                item = items.popleft()
                if type(item) is not bytes:
                    item()  # type: ignore[operator]
                    continue
                self._held -= len(item)
                if self._room is not None and self._held < _HIGH_WATER:
                    self.loop.call_soon_threadsafe(self._room.set)
                if item:
                    return item
            if self._stage is _END:
                return b""
            self.raise_error()
            if self._over:
                raise Disconnected
            self.wait()

    def close(self) -> None:
        """Note that the exchange is over; the server calls it, in every case. May block."""
        if self._reader is not None:
            self._reader.kill()  # or it would take what belongs to the next request
        self.lost()

    # -- in any greenlet of the thread -------------------------------------------------------

    def lost(self) -> None:
        """Note that nobody waits for more of the response."""
        self._over = True
        self.wake()
        self.tell()
        if self._room is not None:
            self.loop.call_soon_threadsafe(self._room.set)

    # -- in the loop -------------------------------------------------------------------------

    def ended(self) -> None:
        """Note that the application has returned."""
        if self._stage is not _END:
            self.failed(LocalProtocolError("the ASGI application ended without a response"))

    def failed(self, exc: BaseException) -> None:
        """Have the server answer what the application raised, if the client waits for it."""
        if not self._over and self._stage is not _END:
            self._error = exc
            self.wake()
            return
        where = f"{self.environ.get('REQUEST_METHOD')} {self.environ.get('RAW_URI')}"
        expected = not isinstance(exc, Exception) or isinstance(exc, Disconnected)
        if self._stage is _END and not expected:
            logger.error("%s: error in the application after its response", where, exc_info=exc)
        else:
            logger.debug("%s: %r", where, exc)

    async def receive(self) -> Message:
        """Return the next piece of content, or wait until the client or the response is gone."""
        while not self.messages and not self._over:
            self._listen()
            if not self._over:
                await self.news()
        return self.messages.popleft() if self.messages else {"type": "http.disconnect"}

    def _listen(self) -> None:
        """See to it that the next message comes."""
        if self._reading:
            if self._reader is None:
                self._reader = gevent.spawn(self._read)
        elif not self._watching:
            self._watching = True
            watch = getattr(self.environ["wsgi_lite.closing"], "watch", None)
            if watch is not None:  # the server's own has it
                watch(self.lost)

    def _read(self) -> None:
        """Read the next of the request's content; blocks a greenlet of its own."""
        try:
            data: bytes = self._read_some(_PIECE)
        except Exception as exc:  # noqa: BLE001 - too large, too slow, or middleware's
            if not isinstance(exc, Disconnected):
                self._error = exc  # the server has the answer to it
            self._reader = None
            self.lost()
            return
        self._missing -= len(data)
        self._reading = bool(data) and self._missing != 0
        self._reader = None
        self.messages.append({"type": "http.request", "body": data, "more_body": self._reading})
        self.tell()

    async def send(self, message: Message) -> None:
        """Take the head, or a block of content; waits while the client does not read.

        Raises:
            Disconnected: The client has gone.
            LocalProtocolError: The message has no place here, or is malformed.
        """
        kind = message.get("type")
        stage = self._stage
        if stage is _END:
            raise LocalProtocolError(f"{kind!r} after the end of the response")
        if self._over:
            raise Disconnected
        if kind == "http.response.body" and (stage is _HEAD or stage is _BODY):
            await self._put(to_content(message), message.get("more_body", False))
        elif kind == "http.response.start" and stage is _START:
            self._headers = to_headers(message.get("headers", ()))
            self._status = to_status(message)
            self._trailers = message.get("trailers", False)
            self._stage = _HEAD
        else:
            self._extend(kind, message)
            self.wake()

    async def _put(self, data: bytes, more: bool) -> None:
        self._items.append(data)
        self._held += len(data)
        if more:
            self._stage = _BODY
        else:
            self._stage = _TRAILERS if self._trailers else _END
        if data or not more:
            self.wake()
        while more and self._held >= _HIGH_WATER:
            if self._room is None:
                self._room = asyncio.Event()
            self._room.clear()
            await self._room.wait()
            if self._over:
                raise Disconnected

    def _extend(self, kind: Any, message: Message) -> None:
        """Take a message of one of the extensions."""
        environ = self.environ
        if kind == "http.response.early_hint":
            links = [link.decode("latin-1") for link in message["links"]]
            self._items.append(partial(early_hints, environ, links))
        elif kind == "http.response.push":
            headers = to_headers(message["headers"])
            self._items.append(partial(push, environ, message["path"], headers=headers))
        elif kind == "http.response.trailers" and self._stage is _TRAILERS:
            self._items.append(partial(send_trailers, environ, to_headers(message["headers"])))
            if not message.get("more_trailers", False):
                self._stage = _END
        elif kind == "http.response.pathsend" and self._stage is _HEAD:
            self._file = open(message["path"], "rb")  # noqa: SIM115 - the file wrapper closes it
            self._stage = _END
        else:
            raise LocalProtocolError(f"an ASGI application cannot send {kind!r} here")
