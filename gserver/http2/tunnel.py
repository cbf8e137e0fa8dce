# cython: language_level=3, annotation_typing=False
"""What an extended CONNECT carries (RFC 8441): the bytes of a WebSocket, as content of one stream.

Stands in for the stream in the connection's table from the beginning, because the content is never
the application's; see `gserver.websocket.carrier.Carrier`. The client's window opens as the
WebSocket takes what came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gserver.http2.engine import ErrorCode

if TYPE_CHECKING:
    from gserver.http2.protocol import Http2
    from gserver.http2.stream import Http2Stream
    from gserver.websocket.carrier import Receiver

# Seconds that a client has to end a stream that the server has ended.
_LINGER: Final = 5.0
# Who sends so much at once has more to send, and gets a larger window.
_BULK: Final = 16384


class Http2Tunnel:
    """Carries bytes both ways.

    Args:
        stream: Whose content they are.
        protocol: Its connection's.

    Attributes:
        id: The stream's number.
    """

    def __init__(self, stream: Http2Stream, protocol: Http2) -> None:
        self.id = stream.id
        self._stream = stream
        self._protocol = protocol
        self._engine = protocol.engine
        self._receiver: Receiver | None = None
        self._chunks: list[bytes] = []  # that came and were not handed on
        self._ended = self._told = False  # the client sends no more; the receiver knows
        self._widened = False
        self._paused = False
        self._finishing = False

    # -- for the WebSocket -------------------------------------------------------------------

    @property
    def unsent(self) -> int:
        """How many of the bytes that were written have not left yet."""
        return 0 if self._stream.gone else self._engine.unsent(self.id)

    @property
    def peer(self) -> str:
        """Who is at the other end."""
        return self._protocol.connection.peer

    def attach(self, receiver: Receiver) -> None:
        """Say who is told of what comes."""
        self._receiver = receiver
        self._protocol.connection.defer(self.wake_reader)
        if self._protocol.draining:
            self._protocol.connection.defer(receiver.drain)

    def write(self, data: bytes) -> None:
        """Send bytes behind what was written before."""
        if not self._finishing and not self._stream.gone:
            self._engine.send_data(self.id, data)
            self._protocol.schedule()

    def pause(self) -> None:
        """Keep what comes, and the window shut."""
        self._paused = True

    def resume(self) -> None:
        """Hand on what has come, in a turn of its own, and open the window."""
        if self._paused:
            self._paused = False
            self._protocol.connection.defer(self.wake_reader)

    def finish(self) -> None:
        """End the stream behind what was written."""
        if not self._finishing:
            self._finishing = True
            if not self._stream.gone:
                self._engine.send_end(self.id, [])
                self._protocol.schedule()
                _Rest(self._protocol, self.id)

    def abort(self) -> None:
        """Cut the client off."""
        if not self._stream.gone:
            self._stream.note_loss()
            self._engine.reset(self.id, ErrorCode.CANCEL)
            self._protocol.schedule()
        self._protocol.connection.defer(self._tell_loss)

    # -- what the connection calls, in the hub -----------------------------------------------

    def take(self, data: bytes) -> None:
        """Take what came."""
        self._chunks.append(data)

    def take_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """Note that the client sends no more."""
        self._ended = True

    def wake_reader(self) -> None:
        """Hand on what came."""
        receiver = self._receiver
        if receiver is None or self._paused:
            return
        if self._chunks:
            data = b"".join(self._chunks)
            self._chunks.clear()
            self._grant(len(data))
            if not self._finishing:
                receiver.receive_data(data)
        if self._ended and not self._told and not self._paused:
            self._told = True
            receiver.receive_eof()

    def _grant(self, size: int) -> None:
        if self._stream.gone or self._ended:
            return
        if size >= _BULK and not self._widened:
            self._widened = True
            self._engine.widen(self.id, self._protocol.window)
        self._engine.consume(self.id, size)
        self._protocol.schedule()

    def taken(self) -> None:
        """Tell that all has left."""
        if self._receiver is None:
            self._stream.taken()  # of an ordinary response
        elif not self._finishing and not self.unsent:
            self._receiver.drained()

    def set_priority(self, value: bytes) -> None:
        """Take the value of a PRIORITY_UPDATE frame."""
        self._stream.set_priority(value)

    def drain(self) -> None:
        """Take leave."""
        if self._receiver is not None:
            self._receiver.drain()

    def note_loss(self) -> None:
        """Have nothing more sent."""
        self._stream.note_loss()

    def lose(self) -> None:
        """Tell that the client has gone."""
        self._stream.lose()
        self._tell_loss()

    def _tell_loss(self) -> None:
        if self._receiver is not None:
            receiver, self._receiver = self._receiver, None
            receiver.lost()

    # -- what the stream calls ---------------------------------------------------------------

    def leave(self) -> None:
        """Drop what the client still sends: the handler has finished."""
        self._receiver = None
        if not self._ended and not self._stream.gone:
            if self._chunks:
                self._engine.consume(self.id, sum(map(len, self._chunks)))
            self._protocol.read_away(self.id)


class _Rest:
    """What is left of a stream once its WebSocket is over: bytes to be sent, an end to come.

    Nobody else would notice a client that takes none of them, or never ends the stream.
    """

    def __init__(self, protocol: Http2, number: int) -> None:
        self._protocol = protocol
        self._number = number
        self._watch()

    def _watch(self) -> None:
        connection = self._protocol.connection
        self._left = self._protocol.engine.unsent(self._number)
        timeout = connection.config.write_timeout if self._left else _LINGER
        self.deadline = connection.clock.after(timeout)
        connection.clock.watched.add(self)

    def expire(self) -> None:
        """Reset the stream if the client makes no progress."""
        protocol = self._protocol
        protocol.connection.clock.watched.discard(self)
        if protocol.connection.closed:
            return
        left = protocol.engine.unsent(self._number)
        if left < self._left:
            self._watch()
        else:
            protocol.give_up(self._number, ErrorCode.CANCEL if left else ErrorCode.NO_ERROR)
