# cython: language_level=3, annotation_typing=False
"""What an HTTP/1.1 connection carries after its upgrade (RFC 9110 7.8): a WebSocket's bytes.

Takes the place of the protocol on the connection; see `gserver.websocket.carrier.Carrier`. What a
greenlet writes goes to the socket at once, and what the socket does not take waits here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gserver.clock import NEVER
from gserver.transport import Transport

if TYPE_CHECKING:
    from gserver.websocket.carrier import Receiver

# Bytes that are received at once: few while messages are small, for the room costs time.
_PACKET: Final = 32768
_BULK: Final = 131072
# Blocks below this are put together while they wait.
_SMALL: Final = 4096
# So many packets that would have fitted into the smaller room end the use of the larger.
_SMALL_IN_A_ROW: Final = 8


class Tunnel:
    """Carries bytes both ways.

    Args:
        connection: Whose protocol it becomes.
        early: What the client has sent already.
        draining: The server stops.
    """

    idle = False

    def __init__(self, connection: Transport, early: bytes, draining: bool) -> None:
        self._connection = connection
        self._early = early
        self._waiting: list[bytes] | None = None  # behind what the connection has not sent
        self._size = 0  # of them
        self._receiver: Receiver | None = None
        self._draining = draining
        self._paused = False
        self._finishing = False
        self._small = 0
        connection.protocol = self
        connection.deadline = NEVER
        connection.packet = _PACKET

    # -- for the WebSocket -------------------------------------------------------------------

    @property
    def unsent(self) -> int:
        """How many of the bytes that were written have not left yet."""
        connection = self._connection
        return self._size + connection.unsent if connection.blocked else 0

    @property
    def peer(self) -> str:
        """Who is at the other end."""
        return self._connection.peer

    def attach(self, receiver: Receiver) -> None:
        """Say who is told of what comes."""
        self._receiver = receiver
        if self._early:
            self._connection.pause_reading()
            self._connection.defer(self._receive_early)
        else:
            self._connection.resume_reading()
        if self._draining:
            self._connection.defer(receiver.drain)

    def write(self, data: bytes) -> None:
        """Send bytes behind what was written before."""
        connection = self._connection
        if self._finishing or connection.closed:
            return
        if connection.blocked:
            if self._waiting is None:
                self._waiting = []
            if self._waiting and len(self._waiting[-1]) < _SMALL:
                # Small ones would be many objects.
                self._waiting[-1] += data
            else:
                self._waiting.append(data)
            self._size += len(data)
        else:
            connection.offer(data)

    def pause(self) -> None:
        """Read nothing more from the socket."""
        self._paused = True
        self._connection.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        if not self._early and not self._finishing:
            self._connection.resume_reading()

    def finish(self) -> None:
        """End the connection behind what was written."""
        if not self._finishing:
            self._finishing = True
            if not self._connection.blocked:
                # The server is the first to close (RFC 6455 7.1.1); but with unread bytes that
                # would be a reset, and the client might lose the Close frame.
                self._connection.linger()

    def abort(self) -> None:
        """Cut the client off."""
        self._connection.abort()

    def _receive_early(self) -> None:
        data, self._early = self._early, b""
        if not self._connection.closed and not self._finishing:
            self._connection.hand_over(data)
            if not self._paused and self._connection.protocol is self:
                self._connection.resume_reading()

    # -- what the connection calls -----------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Hand on what came."""
        connection = self._connection
        if len(data) >= _PACKET:
            connection.packet = _BULK
            self._small = 0
        elif connection.packet != _PACKET:
            self._small += 1
            if self._small == _SMALL_IN_A_ROW:
                connection.packet = _PACKET
        if self._finishing:
            return
        if self._receiver is None:
            self._early += data
            connection.pause_reading()
        else:
            self._receiver.receive_data(data)

    def receive_eof(self) -> None:
        """Tell that the client has ended."""
        self._connection.pause_reading()  # the end would be announced again and again
        if self._receiver is not None:
            self._receiver.receive_eof()

    def resume_sending(self) -> None:
        """Send what waits."""
        if self._waiting:
            data = b"".join(self._waiting)
            self._waiting = None
            self._size = 0
            self._connection.offer(data)
        if self._connection.blocked or self._connection.closed:
            return
        if self._finishing:
            self._connection.linger()
        elif self._receiver is not None:
            self._receiver.drained()

    def expire(self) -> None:
        """Cut off a client that does not read what comes last; before, that is noticed above."""
        if self._finishing:
            self._connection.abort()

    def drain(self) -> None:
        """Take leave."""
        if self._receiver is not None:
            self._receiver.drain()

    def closed(self) -> None:
        """Tell in a turn of its own: this may be anywhere."""
        self._connection.defer(self._tell_loss)

    def _tell_loss(self) -> None:
        if self._receiver is not None:
            receiver, self._receiver = self._receiver, None
            receiver.lost()
