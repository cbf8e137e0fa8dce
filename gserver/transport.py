# cython: language_level=3, annotation_typing=False
"""Transport: the socket of one connection, and the only code that touches it.

The hub reads: a watcher stays armed, and what arrives goes to the protocol in the same turn of
the loop. Greenlets write: `send` and its kin try at once and block only when the socket is full.
An idle connection owns no greenlet and no buffer. Each method says who may call it.
"""

from __future__ import annotations

import _socket
import logging
import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from gevent import getcurrent, monkey
from gevent.hub import Hub

from gserver.api.errors import Disconnected, LocalProtocolError
from gserver.clock import NEVER, Clock
from gserver.config import Config
from gserver.environ import Environ
from gserver.files import FileSender, read_cached
from gserver.stream import Stream
from gserver.turn import Turn

try:
    from gserver.syscalls import Calls
except ImportError:  # not compiled: the socket's own methods do

    def Calls(sock: _socket.socket) -> _socket.socket:  # type: ignore[no-redef]
        """Return what receives and sends."""
        return sock


if TYPE_CHECKING:
    from gserver.tls import TlsSession

logger = logging.getLogger("gserver.error")

READ: Final = 1  # libev's names for what a watcher waits for
WRITE: Final = 2

# A head fits, and what a client pipelines beyond waits in the kernel. Also the bound on what one
# connection can make the hub parse in one turn.
_PACKET: Final = 16384
# Below this, copying pieces together is cheaper than telling the kernel about each.
_GATHER: Final = 16384
# The same with TLS, where each piece is at least one record. Beyond it, copies would weigh on the
# memory for as long as clients do not read.
_COPIED: Final = 131072
# Sends that succeed at once before the greenlet lets others have a turn.
_STREAK: Final = 32
# Seconds after which a greenlet that receives does so: what it does with a packet may take long.
_TURN: Final = 0.005
# How long a connection is kept after an error response, for the client to stop sending and read
# it. nginx: lingering_timeout.
_LINGER: Final = 5.0
_RESET: Final = struct.pack("ii", 1, 0)

# gevent's would go through the hub.
_make_poll: Final = monkey.get_original("select", "poll")
# Where the second is missing (macOS), POLLHUP says the same if one asks for POLLIN.
_COMING: Final = select.POLLIN | getattr(select, "POLLRDHUP", 0)


class ConnectionProtocol(Protocol):
    """What a connection asks of the protocol it speaks; all of it is called in the hub."""

    @property
    def idle(self) -> bool:
        """Nothing is going on: the connection may be closed without loss."""

    def receive_data(self, data: bytes) -> None:
        """Take bytes."""

    def receive_eof(self) -> None:
        """Note that no more will come."""

    def expire(self) -> None:
        """Act on a deadline that the protocol set."""

    def drain(self) -> None:
        """Finish what is going on and start nothing new."""

    def resume_sending(self) -> None:
        """Offer more: all of what was offered before has been sent."""

    def closed(self) -> None:
        """Take leave: the connection has been closed; unlike the others, called anywhere."""


@dataclass(frozen=True)
class Context:
    """What all connections of one listener share."""

    config: Config
    hub: Hub
    clock: Clock
    dispatch: Callable[[Stream], None]
    released: Callable[[Any], None]
    turn: Turn


class Transport:
    """One accepted socket.

    Attributes:
        protocol: What is spoken on it.
        dispatch: Takes each new Stream.
        deadline: When the protocol's `expire` is called; see `gserver.clock`.
        remote: REMOTE_ADDR and REMOTE_PORT.
        packet: Bytes that are received at once.
        blocked: The socket is full, and what `offer` was given has not been sent yet.
        reading: The hub reads from the socket.
        held: A packet waits for the end of the turn.
        closed: The socket is closed.
        hub: gevent's hub, in which all of this runs.
        tls: The TLS session, if there is one.
    """

    def __init__(self, context: Context, sock: _socket.socket, address: Any) -> None:
        self.config = context.config
        self.clock = context.clock
        self.dispatch = context.dispatch
        self._released = context.released
        self._turn = context.turn
        self.hub = context.hub
        self._socket = sock
        self._descriptor = sock.fileno()
        self._calls = Calls(sock)
        self._receive: Callable[[int], bytes] = self._calls.recv
        self._send: Callable[[Any], int] = self._calls.send
        self._writable: Any = None  # the watcher of a greenlet that waits until the client reads
        self._sending: Any = None  # that greenlet
        self._receiving: Any = None  # the greenlet that waits until the client sends
        self._streak = 0
        self._turn_end = 0.0
        # AF_UNIX has no addresses: an empty REMOTE_ADDR, as nginx and gunicorn have it.
        self.remote = (address[0], str(address[1])) if isinstance(address, tuple) else ("", "")
        self.closed = False
        self.packet = _PACKET
        self.blocked = False
        self._unsent = memoryview(b"")
        self.reading = True
        self.held = False
        self.tls: TlsSession | None = None
        self.deadline = NEVER
        self.protocol: ConnectionProtocol
        self._watcher = context.hub.loop.io(self._descriptor, READ)
        self.clock.watched.add(self)

    # -- in the hub --------------------------------------------------------------------------

    def start_reading(
        self, protocol: ConnectionProtocol, on_readable: Callable[[], None] | None = None
    ) -> None:
        """Have the hub read for `protocol`, or call `on_readable`, when something has come."""
        self.protocol = protocol
        self._watcher.start(on_readable or self.on_readable)

    def encrypt(self, session: TlsSession) -> None:
        """Send and receive through a TLS session from now on."""
        self.tls = session
        self._receive = session.receive
        self._send = session.send

    def decrypt(self) -> None:
        """Send and receive in clear again."""
        self.tls = None
        self._receive = self._calls.recv
        self._send = self._calls.send

    def on_readable(self) -> None:
        """Take what has come, and hand it to the protocol."""
        try:
            data = self._receive(self.packet)
        except BlockingIOError:
            return
        except OSError:
            self.abort()
            return
        # While something goes on, a handler may read the next packet itself, and overtake.
        if self.tls is not None and self.protocol.idle:
            self.held = True
            self._turn.hold(self, data)
        else:
            self.hand_over(data)

    @property
    def idle(self) -> bool:
        """Nothing is going on: the connection may be closed without loss."""
        return not self.held and self.protocol.idle

    def hand_over(self, data: bytes) -> None:
        """Give the protocol what has come; b"" is the end."""
        try:
            if data:
                self.protocol.receive_data(data)
            else:
                self.protocol.receive_eof()
        except Exception:
            # A defect of ours must not take the hub's other connections along.
            logger.exception("error in the connection with %s", self.peer)
            self.abort()

    def expire(self) -> None:
        """Act on the deadline."""
        self.deadline = NEVER
        self.protocol.expire()

    def speak_upgraded(self, settings: str, request: Environ, data: bytes) -> None:
        """Go on with HTTP/2, in which `request` is answered (RFC 7540 3.2).

        Args:
            settings: The request's HTTP2-Settings field.
            request: Its environ.
            data: Bytes that came behind it.
        """
        raise NotImplementedError

    def pause_reading(self) -> None:
        """Stop reading from the socket, until `resume_reading`."""
        if self.reading:
            self.reading = False
            self._watcher.stop()

    def resume_reading(self) -> None:
        """Read in the hub again."""
        if not self.reading and not self.closed:
            self.reading = True
            self._watcher.start(self.on_readable)
            if self.tls is not None and self.tls.pending:
                # The rest of a record of which the application took only a part: the kernel has
                # nothing more to announce.
                self.defer(self._read_pending)

    def _read_pending(self) -> None:
        if self.reading:
            self.on_readable()

    def defer(self, function: Callable[..., None], *args: Any) -> None:
        """Call `function` in the next turn of the loop."""
        self.hub.loop.run_callback(function, *args)

    def send_now(self, data: bytes) -> None:
        """Send what the socket takes at once; the rest is lost. For last words."""
        try:
            self._send(data)
        except OSError:
            pass  # the client is gone or does not read: it will miss nothing else

    def offer(self, data: bytes) -> None:
        """Send `data` as far as the socket takes it, and the rest as soon as it takes more.

        For protocols that send from the hub. While `blocked`, offer nothing; the protocol's
        `resume_sending` tells when that is over.
        """
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.abort()
            return
        if sent != len(data):
            self.blocked = True
            self._unsent = memoryview(data)[sent:]
            self._writable = self.hub.loop.io(self._descriptor, WRITE)
            self._writable.start(self._on_writable)
            self.deadline = self.clock.after(self.config.write_timeout)

    def _on_writable(self) -> None:
        try:
            sent = self._send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            self.abort()
            return
        self._unsent = self._unsent[sent:]
        if self._unsent:
            self.deadline = self.clock.after(self.config.write_timeout)
            return
        self._writable.stop()
        self._writable.close()
        self._writable = None
        self.blocked = False
        self.deadline = NEVER
        self.protocol.resume_sending()

    # -- in greenlets ------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send all of `data`; blocks while the client does not read.

        Raises:
            Disconnected: The client has gone, or did not read for `write_timeout`.
        """
        if self._sending is not None:
            raise LocalProtocolError("another greenlet is sending on this connection")
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            raise Disconnected from exc
        if sent != len(data):
            self._send_rest(memoryview(data)[sent:])

    def send_block(self, data: bytes) -> None:
        """Send `data`, of which more will come; blocks like `send`."""
        self.send(data)
        self._rest_from_sending()

    def send_pieces(self, pieces: list[bytes]) -> None:
        """Send `pieces` one after the other, in one system call if possible; blocks like `send`."""
        size = 0
        for piece in pieces:
            size += len(piece)
        if len(pieces) == 1:
            self.send(pieces[0])
        elif size < _GATHER or (self.tls is not None and size < _COPIED):
            self.send(b"".join(pieces))
        elif self.tls is None:
            self._gather(pieces)
        else:
            for piece in pieces:
                self.send(piece)
        self._rest_from_sending()

    def _rest_from_sending(self) -> None:
        """Let others have a turn now and then.

        After a send, not before: whoever checked that it may send has to be the next to do so.
        """
        self._streak += 1
        if self._streak > _STREAK:
            self._streak = 0
            self.clock.pass_turn()

    def _gather(self, pieces: list[bytes]) -> None:
        if self._sending is not None:
            raise LocalProtocolError("another greenlet is sending on this connection")
        try:
            sent = self._socket.sendmsg(pieces)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            raise Disconnected from exc
        for piece in pieces:
            if sent >= len(piece):
                sent -= len(piece)
            else:
                self._send_rest(memoryview(piece)[sent:])
                sent = 0

    def _send_rest(self, data: memoryview) -> None:
        try:
            while data:
                self._wait_writable()
                try:
                    data = data[self._send(data) :]
                except BlockingIOError:
                    continue
                except OSError as exc:
                    raise Disconnected from exc
        except BaseException:
            # Half a block was sent: nothing sensible can follow, whoever catches this.
            self.abort()
            raise

    def _wait_writable(self) -> None:
        """Block until the socket takes more, `write_timeout` at most."""
        if self.closed:
            raise Disconnected
        self._writable = watcher = self.hub.loop.io(self._descriptor, WRITE)
        self._sending = getcurrent()
        self._streak = 0
        try:
            deadline = time.monotonic() + (self.config.write_timeout or NEVER)
            self.clock.wait(watcher, deadline, _not_read)
        finally:
            watcher.close()
            self._writable = self._sending = None

    def send_file(self, head: bytes, descriptor: int, offset: int, size: int) -> None:
        """Send `head` and a region of a file; blocks like `send`.

        The disk is waited for in a thread, never in the hub; what is in the page cache and small
        leaves together with the head.

        Raises:
            LocalProtocolError: The file ended early.
        """
        first = read_cached(descriptor, offset, size)
        self.send_pieces([head, first])
        offset += len(first)
        end = offset + size - len(first)
        if offset == end:
            return
        pool = self.threadpool
        target = None if self.tls is not None else self._descriptor
        with FileSender(pool, descriptor, target) as sender:
            while offset < end:
                if target is None:
                    data = sender.read(offset, end - offset)
                    self.send(data)
                    sent = len(data)
                else:
                    sent = self._sendfile(sender, offset, end - offset)
                if not sent:
                    raise LocalProtocolError("the file ended before its announced length")
                offset += sent

    def _sendfile(self, sender: FileSender, offset: int, size: int) -> int:
        while True:
            try:
                return sender.send(offset, size)
            except BlockingIOError:
                self._wait_writable()
            except OSError as exc:
                raise Disconnected from exc

    def end_turn(self) -> None:
        """Let others have a turn, if it is long since this greenlet did so."""
        if time.monotonic() > self._turn_end:
            self.clock.pass_turn()
            self._turn_end = time.monotonic() + _TURN

    def receive_now(self, size: int) -> bytes | None:
        """Return at most `size` bytes, b"" at the end, None if there is nothing yet.

        Only while the hub does not read.

        Raises:
            Disconnected: The client has gone.
        """
        if self._receiving is not None:
            raise LocalProtocolError("another greenlet is receiving on this connection")
        try:
            return self._receive(size)
        except BlockingIOError:
            return None
        except OSError as exc:
            raise Disconnected from exc

    def wait_readable(self, deadline: float, error: Callable[[], BaseException]) -> None:
        """Block until there may be something to receive, or raise `error` past `deadline`."""
        if self.closed:
            raise Disconnected
        self._receiving = getcurrent()
        try:
            self.clock.wait(self._watcher, deadline, error)
        finally:
            self._receiving = None

    # -- the end; anywhere -------------------------------------------------------------------

    def close(self) -> None:
        """Close the connection in good order."""
        if not self.closed and self.tls is not None:
            self.tls.close_notify()
        self.abort()

    def linger(self) -> None:
        """Close, but read on for a while so that the client gets what was sent last."""
        if self.closed:
            return
        if self.tls is not None:
            self.tls.close_notify()
            # OpenSSL takes data behind the end for an error; it is only discarded anyway.
            self.decrypt()
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.abort()
            return
        self.protocol = _Lingering(self)
        self.deadline = self.clock.now + _LINGER
        self.resume_reading()

    def reset(self) -> None:
        """Close with a reset: the client must not take it for the end of the content."""
        if not self.closed:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.abort()

    def abort(self) -> None:
        """Close at once."""
        if self.closed:
            return
        self.closed = True
        self.reading = False
        self._watcher.stop()
        self._watcher.close()
        if self._writable is not None:
            self._writable.stop()  # libev aborts the process over a watcher of a closed socket
            if self.blocked:
                self._writable.close()
        self._unsent = memoryview(b"")
        self._calls.close()
        self._socket.close()
        for greenlet in (self._sending, self._receiving):
            if greenlet is not None:
                self.clock.hurry(greenlet)  # nothing else will ever wake it
        self.protocol.closed()
        self._released(self)

    def left(self) -> bool:
        """Tell whether the client has closed the connection, or its half of it; does not block.

        Asks the kernel: what has been read, or waits to be read, says nothing of the end.
        """
        if self.closed:
            return True
        poll = _make_poll()
        poll.register(self._descriptor, _COMING)
        return any(events & ~select.POLLIN for _, events in poll.poll(0))

    @property
    def unsent(self) -> int:
        """Bytes that were offered and not sent."""
        return len(self._unsent)

    @property
    def threadpool(self) -> Any:
        """The hub's threads, for what would block."""
        return self.hub.threadpool

    @property
    def awaited(self) -> bool:
        """A greenlet is blocked in sending or receiving."""
        return self._sending is not None or self._receiving is not None

    @property
    def peer(self) -> str:
        """Who is at the other end, for the log."""
        host, port = self.remote
        return f"{host}:{port}" if port else "unix"


class _Lingering:
    """The protocol of a connection that is only waiting for the client to read and leave."""

    idle = False

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def receive_data(self, data: bytes) -> None:
        """Discard what the client still sends; the deadline bounds it."""

    def receive_eof(self) -> None:
        """Close: the client has read it all, and left."""
        self._transport.abort()

    expire = receive_eof

    def drain(self) -> None:
        """Let the client read on; the deadline is near."""

    def resume_sending(self) -> None:
        """Nothing more is sent."""

    closed = resume_sending


def _not_read() -> Disconnected:
    return Disconnected("the client does not read the response")
