# cython: language_level=3, annotation_typing=False
"""Session: a WebSocket as the hub and the server know it (RFC 6455).

The hub takes frames apart as they come, answers pings and notices closes, whatever the handler is
doing. Messages wait in a queue until a greenlet receives them, and while that is full the peer is
not read. Nothing here blocks; what does is in `gserver.websocket.blocking`.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Any, Final

from gevent import getcurrent
from gevent.lock import RLock

from gserver.api.errors import ConnectionClosed, MessageTooBig
from gserver.api.websocket_base import ABNORMAL, GOING_AWAY, closed_error
from gserver.websocket.carrier import Carrier, Server
from gserver.websocket.deflate import Deflate
from gserver.websocket.frames import (
    BINARY,
    PING,
    PONG,
    Broken,
    FrameReader,
    FrameWriter,
    encode_close,
    encode_ping,
    encode_pong,
)

logger = logging.getLogger("gserver.error")

_NEVER: Final = float("inf")

TOO_BIG: Final = 1009  # RFC 6455 7.4.1

HIGH_WATER: Final = 65536
"""Bytes that may wait for a peer that does not read, before greenlets that send wait too."""

OVERHEAD: Final = 64
"""What a message in the queue costs beside its content: empty ones must count too."""

# What is taken in one turn of the loop: bytes, and a frame costs as much as so many of them, for a
# compressed one needs an inflater of its own.
_WORK: Final = 131072
_FRAME: Final = 1024
# Pieces of a message are put together when there are so many: a peer may send single bytes.
_PIECES: Final = 256


def size_of(message: Any) -> int:
    """Return how many bytes a message, or a piece of one, has on the wire."""
    if isinstance(message, str) and not message.isascii():
        return len(message.encode())
    return len(message)


class Session:
    """What the peer has sent and been sent, who waits for what, and how it ends.

    Attributes:
        deadline: When `expire` is called.
    """

    def __init__(
        self,
        server: Server,
        carrier: Carrier,
        environ: dict[str, Any],
        subprotocol: str | None,
        deflate: Deflate | None,
    ) -> None:
        options = server.config
        self.environ = environ
        self.subprotocol = subprotocol
        self.close_code: int | None = None
        self.close_reason = ""
        self.deadline = _NEVER
        self._server = server
        self._hub = server.hub
        self._carrier = carrier
        self._frames = FrameReader(options.websocket_max_frame_size, deflate)
        self._writer = FrameWriter(deflate)
        self._limit = options.websocket_max_message_size
        self._max_queue = options.websocket_max_queue

        # What came and was not received.
        self._messages: list[Any] = []
        self._pieces: list[Any] = []  # of the message that is coming
        self._queued = self._size = 0  # of the messages, of the pieces
        self._stream: deque[tuple[Any, bool]] | None = None  # its pieces, if somebody wants them
        self._streaming = False  # the last of them has not come
        self._dropping = False  # nobody wants the rest of it
        self._paused = False
        self._reader: Any = None  # the greenlet that receives

        self._writers: list[Any] | None = None  # greenlets that wait until the peer reads
        self._turn: RLock | None = None  # once somebody has sent fragments
        self._fragmenter: Any = None  # the greenlet that does
        self._streak = self._written = self._taken_off = 0  # sends; bytes; of them at a last look
        self._write_deadline = _NEVER
        self._pong: bytes | None = None  # for when the peer reads
        self._pongs = b""  # to the Pings of one packet
        self._behind = False  # frames have come that were not looked at

        # The end: what the queue ends with, whether a Close frame was sent, and who waits for it.
        self._end: tuple[int, str, bool] | None = None
        self._closing: tuple[int, str] | None = None
        self._over = False
        self._closers: list[Any] | None = None
        self._close_deadline = _NEVER

        self._alive = True  # something has come since the last ping
        self._pings: dict[bytes, tuple[Any, float]] | None = None
        self._next_ping = self.deadline = server.clock.after(options.websocket_ping_interval)
        self._pong_deadline = _NEVER
        server.clock.watched.add(self)
        carrier.attach(self)

    # -- anywhere ----------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Nothing can be sent any more, for either side has closed, or the connection broke."""
        return self._closing is not None or self._over

    @property
    def peer(self) -> str:
        """The client's address and port, for people to read."""
        return self._carrier.peer

    def _taken(self, size: int) -> None:
        self._queued -= size + OVERHEAD
        if self._paused and self._queued <= self._max_queue // 2:
            self._resume()

    def _resume(self) -> None:
        """Take more from the peer, in the next turn of the loop."""
        self._paused = False
        self._hub.loop.run_callback(self._catch_up)

    def _write(self, frame: bytes) -> int:
        """Write a frame, and return how much the peer has to take before it is through."""
        self._written += len(frame)
        self._carrier.write(frame)
        unsent = self._carrier.unsent
        if unsent and self._write_deadline == _NEVER:
            self._watch_unsent(unsent)
        return unsent

    def _begin_close(self, code: int, reason: str) -> None:
        """Send a Close frame, if none was sent; anywhere."""
        if self._closing is not None or self._over:
            return
        self._closing = (code, reason)
        self._write(encode_close(code, reason))
        timeout = self._server.config.websocket_close_timeout
        if self._end is not None:
            # That was the answer to the peer's, or its fault: nothing is left to wait for.
            self._finish(*self._end)
        elif not timeout:
            self._finish(code, reason, False)
        else:
            if self._paused:
                self._resume()  # the answer must be able to come
            self._close_deadline = self._server.clock.after(timeout)
            self._set_deadline()

    def _answer_end(self) -> None:
        """Answer the peer's Close frame, or its fault, if that was not done yet."""
        if self._end is not None and self._closing is None:
            code, reason, by_peer = self._end
            self._begin_close(code, "" if by_peer else reason)

    def _closed(self) -> ConnectionClosed:
        """Return the error that says how it was closed."""
        code, reason, by_peer = ABNORMAL, "", False
        if self._closing is not None:
            code, reason = self._closing
        if self._end is not None:
            code, reason, by_peer = self._end
        if code == TOO_BIG and not by_peer:
            return MessageTooBig(code, reason)
        return closed_error(code, reason, by_peer)

    def cut(self, code: int) -> None:
        """Close without waiting for the peer."""
        self._begin_close(code, "")
        self._finish(code, "", False)

    def try_send(self, frame: bytes) -> bool:
        """Send a frame unless it would have to wait; never blocks."""
        if self.closed or self._fragmenter is not None or self._carrier.unsent > HIGH_WATER:
            return False
        self._write(frame)
        return True

    # -- in the hub --------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Take bytes; see `gserver.websocket.carrier.Receiver`."""
        if self._end is not None:
            return  # what comes behind a Close frame, or an error, is no matter
        self._alive = True
        self._frames.feed(data)
        self._take_events()

    def _take_events(self) -> None:
        """Do what the frames say that have come, as many as may be taken in one turn."""
        frames = self._frames
        work = 0
        self._behind = False
        try:
            while (event := frames.next()) is not None:
                kind, payload, last = event
                if kind <= BINARY:
                    self._take_piece(payload, last)
                    work += len(payload)
                elif kind == PING:
                    self._answer(payload)
                elif kind == PONG:
                    self._take_pong(payload)
                else:
                    code, reason = payload
                    self._take_end(code, reason, True)
                    break
                work += _FRAME
                # A kilobyte may be inflated to a megabyte, and a packet hold a thousand of those.
                if work > _WORK or self._queued > self._max_queue:
                    self._behind = True
                    break
            self._send_pongs()
        except Broken as exc:
            self._break(exc)
        self._let_wait()
        # Not before: a greenlet that was woken for each message would be switched to for each.
        if self._reader and (self._messages or self._stream or self._end is not None):
            self._reader.switch()

    def _let_wait(self) -> None:
        """Take nothing more from the peer while this side is behind, or the queue full."""
        if self._paused:
            return
        if (
            self._reader is None
            and self._queued + self._size > self._max_queue
            and self._closing is None
        ):
            self._paused = True
            self._carrier.pause()
        elif self._behind:
            self._carrier.pause()
            self._hub.loop.run_callback(self._catch_up)

    def _catch_up(self) -> None:
        """Take what an earlier turn has left, and then more; unless the queue is full."""
        if self._paused or self._end is not None:
            return
        if self._behind:
            self._take_events()
        if not self._behind and not self._paused:
            self._carrier.resume()

    def _take_piece(self, payload: Any, last: bool) -> None:
        if self._dropping:
            self._dropping = not last
            return
        if self._closing is not None:
            return
        size = len(payload)
        if self._streaming and self._stream is not None:
            self._stream.append((payload, last))
            self._queued += size + OVERHEAD
            self._streaming = not last
            return
        if last and not self._pieces:
            self._messages.append(payload)
            self._queued += size + OVERHEAD
            return
        self._size += size_of(payload)
        if self._size > self._limit and self._reader is not None:
            # Only who receives it whole is not to have it: till then it may be wanted in pieces.
            raise Broken(TOO_BIG, "a message is too long")
        if payload or not self._pieces:
            self._pieces.append(payload)
        if last:
            message = type(payload)().join(self._pieces)
            self._messages.append(message)
            self._queued += len(message) + OVERHEAD
            self._pieces.clear()
            self._size = 0
        elif len(self._pieces) > _PIECES:
            self._pieces[:] = [type(payload)().join(self._pieces)]

    def _answer(self, payload: bytes) -> None:
        """Answer a Ping; only the last one, if the peer does not read (RFC 6455 5.5.3)."""
        if self._carrier.unsent:
            self._pong = payload
        elif self._closing is None:
            self._pongs += encode_pong(payload)

    def _send_pongs(self) -> None:
        """Send the answers to the Pings of one packet."""
        if self._pongs:
            pongs, self._pongs = self._pongs, b""
            self._write(pongs)

    def _take_pong(self, payload: bytes) -> None:
        if not self._pings or payload not in self._pings:
            return
        now = time.monotonic()
        for sent in list(self._pings):
            who, came = self._pings.get(sent, (None, 1.0))
            if not came:
                self._pings[sent] = (who, now)
                self._wake(who)
            if sent == payload:
                break

    def _break(self, broken: Broken) -> None:
        """Close for what the peer did wrong, behind what it did right."""
        logger.info("%s: WebSocket: %d %s", self.peer, broken.code, broken.reason)
        self._take_end(broken.code, broken.reason, False)

    def _take_end(self, code: int, reason: str, by_peer: bool) -> None:
        """End: at once, or when the handler has received what came before."""
        self._send_pongs()
        if self._closing is not None:
            self._finish(*self._closing, False)
            return
        self._end = (code, reason, by_peer)
        timeout = self._server.config.websocket_close_timeout
        if timeout and (self._messages or self._stream):
            self._close_deadline = self._server.clock.after(timeout)
            self._set_deadline()
        else:
            self._answer_end()

    def receive_eof(self) -> None:
        """End, with or without a Close frame."""
        if self._end is not None:
            self._answer_end()  # it may still read
        elif self._closing is not None:
            self._finish(*self._closing, False)
        else:
            self._finish(ABNORMAL, "the peer left without closing", True)

    lost = receive_eof

    def drained(self) -> None:
        """Go on sending."""
        self._write_deadline = _NEVER
        if self._pong is not None and self._closing is None:
            payload, self._pong = self._pong, None
            self._write(encode_pong(payload))
        for writer in list(self._writers or ()):
            self._wake(writer)

    def drain(self) -> None:
        """Close because the server stops."""
        self._begin_close(GOING_AWAY, "")

    def expire(self) -> None:
        """Act on whichever deadline has passed."""
        now = self._server.clock.now
        if now > self._close_deadline:
            self._close_deadline = _NEVER
            if self._closing is None:
                self._answer_end()  # the handler does not receive; the peer has waited enough
            else:
                self._finish(*self._closing, False)
        if now > self._write_deadline:
            self._expire_write()
        if now > self._pong_deadline or now > self._next_ping:
            self._expire_ping(now)
        self._set_deadline()

    def _expire_write(self) -> None:
        unsent = self._carrier.unsent
        self._write_deadline = _NEVER
        if unsent and self._written - unsent <= self._taken_off:
            self._give_up("the peer does not read")
        elif unsent:
            self._watch_unsent(unsent)

    def _expire_ping(self, now: float) -> None:
        if now > self._pong_deadline:
            self._pong_deadline = _NEVER
            # What is not read cannot be told from what does not come.
            if not self._alive and not self._paused:
                self._give_up("the peer does not answer pings")
        if now > self._next_ping:
            options = self._server.config
            clock = self._server.clock
            self._next_ping = clock.after(options.websocket_ping_interval)
            if self._closing is None and not self._carrier.unsent:
                if self._pong_deadline == _NEVER:
                    self._alive = False
                    self._pong_deadline = clock.after(options.websocket_ping_timeout)
                self._write(encode_ping(b""))

    def _watch_unsent(self, unsent: int) -> None:
        """See that the peer takes some of it in time."""
        self._taken_off = self._written - unsent
        self._write_deadline = self._server.clock.after(self._server.config.write_timeout)
        self._set_deadline()

    def _give_up(self, why: str) -> None:
        logger.info("%s: WebSocket: %s", self.peer, why)
        self._carrier.abort()
        if not self._over:
            self._finish(ABNORMAL, why, False)

    def _set_deadline(self) -> None:
        self.deadline = min(
            self._close_deadline, self._write_deadline, self._next_ping, self._pong_deadline
        )

    def _finish(self, code: int, reason: str, by_peer: bool) -> None:
        """Be closed, and tell everybody who waits; anywhere."""
        if self._over:
            return
        self._over = True
        self._end = (code, reason, by_peer)
        self.close_code, self.close_reason = code, reason
        self._server.clock.watched.discard(self)
        self._carrier.finish()
        waiting = [self._reader, *(self._writers or ()), *(self._closers or ())]
        waiting += [who for who, came in (self._pings or {}).values() if not came]
        for who in waiting:
            if who is not None and who is not getcurrent():
                # In a turn of its own: this may be another greenlet's.
                self._hub.loop.run_callback(self._wake, who)

    def _wake(self, who: Any) -> None:
        """Switch to a greenlet if it still waits in one of the loops above; in the hub."""
        if (
            who is self._reader
            or (self._writers and who in self._writers)
            or (self._closers and who in self._closers)
            or (self._pings and any(who is one for one, _ in self._pings.values()))
        ):
            who.switch()
