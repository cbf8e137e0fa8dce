"""``environ["gunicorn.socket"]``: for libraries that speak WebSocket themselves.

They look for the socket of the connection, write the answer to the handshake to it and go on with
frames. What they get is one end of a pair of sockets: a real one, with a descriptor to wait for,
that carries the bytes of their WebSocket and nothing else, also where TLS or the other streams of
an HTTP/2 connection are on the wire. The other end is pumped in the hub. The handshake's answer is
read, checked and sent as the protocol has it.
"""

from __future__ import annotations

import _socket
import logging
import re
from typing import TYPE_CHECKING, Any, Final

from gevent import getcurrent, socket
from gevent.lock import RLock

from gserver.websocket.carrier import Carrier, Headers, Server, Upgradable

if TYPE_CHECKING:
    from gserver.websocket.offer import Offer

logger = logging.getLogger("gserver.error")

_READ: Final = 1
_WRITE: Final = 2
_PACKET: Final = 65536
# Bytes that may wait for a client that does not read, or for a library that does not.
_HIGH_WATER: Final = 65536
_LONGEST_HEAD: Final = 65536
_STATUS_LINE: Final = re.compile(r"HTTP/1\.[01] ([1-5][0-9]{2} [ -~]*)").fullmatch
_END: Final = b"\r\n\r\n"
# The server's to send, on the protocol that it speaks.
_OWN: Final = frozenset({"connection", "upgrade", "content-length", "transfer-encoding", "date"})


class LazySocket:
    """Opens the `RawSocket` when something of it is used."""

    __slots__ = ("_offer", "_opened")

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        self._opened: Any = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self._opened is None:
            self._opened = self._offer.open_socket().socket
        # Also when the request is over: a library's threads may end later than its handler.
        return getattr(self._opened, name)

    def get_socket(self) -> Any:
        """Return the socket, as eventlet's input does."""
        return self


class _Socket(socket.socket):
    """A socket whose `send` sends all, and whose frames stay whole.

    Libraries use it as if it were a blocking one of the kernel's, from several greenlets.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._turn = RLock()

    def send(self, data: Any, flags: int = 0) -> int:
        """Send all of `data`; blocks."""
        view = memoryview(data).cast("B")
        sent = 0
        with self._turn:
            while sent < len(view):
                sent += super().send(view[sent:], flags)
        return sent

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of `data`; blocks."""
        self.send(data, flags)


class RawSocket:
    """A socket that carries one WebSocket's bytes.

    Args:
        server: What WebSockets of this server share.
        request: What the library answers.

    Attributes:
        socket: The library's end.
    """

    def __init__(self, server: Server, request: Upgradable) -> None:
        self._server = server
        self._request = request
        self._refusal: tuple[str, Headers, bytes] | None = None
        self._carrier: Carrier | None = None
        ours, theirs = _socket.socketpair()
        ours.setblocking(False)
        self._ours = ours
        self.socket = _Socket(fileno=theirs.detach())
        self._head = b""  # what the library has written of its answer
        self._inbound = b""  # what the library has not taken
        self._unsent = 0  # at the last look
        self._eof = False  # the client sends no more
        self._ended = False
        self._waiting: Any = None
        loop = server.hub.loop
        self._readable = loop.io(ours.fileno(), _READ)
        self._writable = loop.io(ours.fileno(), _WRITE)
        self._readable.start(self._pump)
        server.clock.watched.add(self)
        self.deadline = float("inf")

    # -- from the library to the client ------------------------------------------------------

    def _pump(self) -> None:
        """Send on what the library has written; in the hub, and at the end."""
        while not self._ended:
            try:
                data = self._ours.recv(_PACKET)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._end()
                return
            if self._carrier is None:
                data = self._take_head(data)
            if self._carrier is not None and data:
                self._carrier.write(data)
                if self._carrier.unsent > _HIGH_WATER:
                    self._readable.stop()
                    self._watch_unsent()
                    return

    def _watch_unsent(self) -> None:
        """See that the client takes some of what was sent; nothing is added meanwhile."""
        assert self._carrier is not None
        self._unsent = self._carrier.unsent
        self.deadline = self._server.clock.after(self._server.config.write_timeout)

    def _take_head(self, data: bytes) -> bytes:
        """Take the library's answer to the handshake; return what comes behind it."""
        self._head += data
        head, end, rest = self._head.partition(_END)
        if not end:
            if len(self._head) > _LONGEST_HEAD:
                self._end()
            return b""
        try:
            line, *lines = head.decode("latin-1").split("\r\n")
            match = _STATUS_LINE(line)
            if match is None:
                raise ValueError(f"malformed status line {line[:99]!r}")
            status = match[1]
            pairs = [line.partition(":")[::2] for line in lines]
            headers = [(name, value.strip()) for name, value in pairs if name.lower() not in _OWN]
            if status.startswith("101"):
                self._carrier = self._request.switch(headers)
                self._carrier.attach(self)
                return rest
            self._refusal = (status, headers, rest)
        except Exception:
            logger.exception("a library's answer to a WebSocket handshake cannot be sent")
        self._end()
        return b""

    # -- from the client to the library ------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Take bytes; see `gserver.websocket.carrier.Receiver`, like the next four."""
        if self._ended:
            return
        self._inbound += data
        self._deliver()

    def _deliver(self) -> None:
        assert self._carrier is not None
        while self._inbound:
            try:
                sent = self._ours.send(self._inbound)
            except BlockingIOError:
                self._carrier.pause()
                self._writable.start(self._deliver)
                return
            except OSError:
                self._end()
                return
            self._inbound = self._inbound[sent:]
        self._writable.stop()
        if self._eof:
            self._shut()
        else:
            self._carrier.resume()

    def receive_eof(self) -> None:
        """Let the library read the end."""
        self._eof = True
        if not self._inbound and not self._ended:
            self._shut()

    def lost(self) -> None:
        """End both directions: the library's next send fails, too."""
        self._end()

    def _shut(self) -> None:
        try:
            self._ours.shutdown(_socket.SHUT_WR)
        except OSError:
            pass  # the library has closed its end

    def drained(self) -> None:
        """Read on what the library writes."""
        self.deadline = float("inf")
        if not self._ended:
            self._readable.start(self._pump)
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.switch()

    def drain(self) -> None:
        """End what the library reads: it knows how to close."""
        self.receive_eof()

    def expire(self) -> None:
        """Cut off a client that does not read."""
        self.deadline = float("inf")
        assert self._carrier is not None
        if 0 < self._carrier.unsent < self._unsent:
            self._watch_unsent()
        elif self._carrier.unsent:
            logger.info("%s: the client does not read", self._carrier.peer)
            self._carrier.abort()
            self._end()

    # -- the end -----------------------------------------------------------------------------

    def conclude(self) -> None:
        """End, once what the library has written is on its way; blocks while it is not."""
        self._pump()
        while self._carrier is not None and not self._ended and self._carrier.unsent > _HIGH_WATER:
            self._waiting = getcurrent()
            self._server.hub.switch()
            self._pump()
        self._end()
        self.socket.close()
        if self._refusal is not None:
            self._request.answer(*self._refusal)
        elif self._carrier is None:
            self._request.answer("500 Internal Server Error", [], b"")

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._server.clock.watched.discard(self)
        for watcher in (self._readable, self._writable):
            watcher.stop()
            watcher.close()
        self._ours.close()
        if self._carrier is not None:
            self._carrier.finish()
        if self._waiting is not None:
            self._server.hub.loop.run_callback(self._waiting.switch)
            self._waiting = None
