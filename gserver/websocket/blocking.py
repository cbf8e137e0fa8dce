# cython: language_level=3, annotation_typing=False
"""WebSocket: messages as blocking reads and writes.

What runs here runs in greenlets, and may block them; the hub's half is `gserver.websocket.session`.
What the peer does not take is kept up to a bound, past which greenlets that send block.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final

import greenlet
from gevent import getcurrent
from gevent.lock import RLock

from gserver.api.errors import ClosedOK
from gserver.api.websocket_base import INTERNAL_ERROR, NORMAL, check_close
from gserver.websocket.frames import Broken, encode_ping
from gserver.websocket.session import (
    HIGH_WATER,
    OVERHEAD,
    TOO_BIG,
    Session,
    size_of,
)

_switch: Final = greenlet.greenlet.switch

# Messages sent without a pause before the greenlet lets others have a turn.
_STREAK: Final = 32


class WebSocket(Session):
    """One WebSocket; made by the server when a request is accepted.

    Any greenlet may send, one at a time may receive. Every method that sends or receives may
    block, and raises `ConnectionClosed` once the WebSocket is closed.

    Attributes:
        environ: The request that it began with.
        subprotocol: What was agreed on; None if nothing was.
        close_code: The code of the first Close frame, whoever sent it (RFC 6455 7.4): 1005 if it
            had none, 1006 if the connection broke without one; None while it is open.
        close_reason: The words that came with it.
    """

    def __repr__(self) -> str:
        state = f"closed {self.close_code}" if self.closed else "open"
        return f"<WebSocket {self.environ.get('PATH_INFO', '')} of {self.peer}: {state}>"

    # -- receiving ---------------------------------------------------------------------------

    def receive(self, timeout: float | None = None) -> str | bytes:
        """Return the next message, blocking this greenlet until it is whole.

        Messages that came before a close are still returned after it.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Raises:
            ConnectionClosed: There are no more: `ClosedOK` or `ClosedError`.
            MessageTooBig: The peer's message is longer than ``websocket_max_message_size``.
            TimeoutError: None came in time; the next call goes on waiting for it.
            RuntimeError: Another greenlet is receiving.
        """
        if self._reader is not None:
            raise RuntimeError("another greenlet is receiving from this WebSocket")
        if self._stream is not None:
            raise RuntimeError("the pieces of a message are being received from this WebSocket")
        messages = self._messages
        if not messages:
            if self._size > self._limit:
                self._refuse_size()
            self._await(messages, timeout)
        message: str | bytes = messages.pop(0)
        self._taken(len(message))
        if size_of(message) > self._limit:
            self._refuse_size()
        return message

    def receive_json(self, timeout: float | None = None) -> Any:
        """Return what the next message means as JSON; raises like `receive`, and ValueError."""
        return json.loads(self.receive(timeout))

    def receive_pieces(self, timeout: float | None = None) -> Iterator[Any]:
        """Return an iterator of the next message's pieces, str or bytes, as they come.

        A message that is received so may be longer than ``websocket_max_message_size``; the peer
        sends no faster than the pieces are taken. What the iterator leaves is dropped.

        Args:
            timeout: Seconds to wait for each piece.

        Raises:
            ConnectionClosed: There are no more, as all below from the iterator.
            TimeoutError: No piece came in time.
            RuntimeError: Another greenlet is receiving.
        """
        if self._stream is not None or self._reader is not None:
            raise RuntimeError("another greenlet, or iterator, is receiving from this WebSocket")
        if self._messages:
            message = self._messages.pop(0)
            self._taken(len(message))
            yield message
            return
        stream: deque[tuple[Any, bool]] = deque((piece, False) for piece in self._pieces)
        self._queued += sum(len(piece) + OVERHEAD for piece in self._pieces)
        self._size = 0
        self._pieces.clear()
        self._stream = stream
        self._streaming = True
        last = False
        try:
            while not last:
                if not stream:
                    self._await(stream, timeout)
                piece, last = stream.popleft()
                self._taken(len(piece))
                if piece or last:
                    yield piece
        finally:
            self._dropping = self._streaming
            self._streaming = False
            self._stream = None
            for piece, _ in stream:
                self._taken(len(piece))

    def __iter__(self) -> Iterator[str | bytes]:
        """Return an iterator of messages, which ends when the peer closes in good order."""
        return self

    def __next__(self) -> str | bytes:
        """Return the next message.

        Raises:
            StopIteration: The WebSocket was closed in good order.
            ClosedError: It was closed otherwise.
        """
        try:
            return self.receive()
        except ClosedOK:
            raise StopIteration from None

    # -- sending -----------------------------------------------------------------------------

    def send(self, message: str | bytes | bytearray | memoryview) -> None:
        """Send a message, str as text and the others as binary; blocks while the peer is slow.

        Raises:
            ConnectionClosed: It cannot be sent any more, or the peer read nothing for
                ``write_timeout``.
            TypeError: It is no message.
            UnicodeEncodeError: The text holds lone surrogates, which UTF-8 does not have.
        """
        turn = self._turn
        if turn is not None:
            self._check_turn()
            with turn:
                self._send(self._writer.message(message))
        else:
            self._send(self._writer.message(message))

    def try_send_message(self, message: str | bytes) -> bool:
        """Send a message unless that would have to wait; never blocks, anywhere in the thread.

        Returns:
            False if it was not sent: `send` would block, or raise.
        """
        if self.closed or self._turn is not None or self._carrier.unsent > HIGH_WATER:
            return False
        self._write(self._writer.message(message))
        return True

    def send_json(self, value: Any) -> None:
        """Send a value as JSON text; raises like `send`, and TypeError for what JSON cannot say."""
        self.send(json.dumps(value, separators=(",", ":"), ensure_ascii=False))

    def send_pieces(self, pieces: Iterable[str] | Iterable[bytes]) -> None:
        """Send one message in fragments, as the iterable gives them; blocks like `send`.

        Other greenlets' messages wait until it is whole.

        Raises:
            ConnectionClosed: As for `send`.
            TypeError: Text and binary are mixed, or a piece is neither.
        """
        if isinstance(pieces, (str, bytes, bytearray, memoryview)):
            raise TypeError("send_pieces takes an iterable of pieces; send() takes one message")
        if self._turn is None:
            self._turn = RLock()
        self._check_turn()
        with self._turn:
            self._fragmenter = getcurrent()
            try:
                self._send_fragments(iter(pieces))
            finally:
                self._fragmenter = None

    def _check_turn(self) -> None:
        if self._fragmenter is getcurrent():
            raise RuntimeError("what makes the pieces of a message cannot send others amid them")

    def _send_fragments(self, pieces: Iterator[Any]) -> None:
        held: Any = next(pieces, "")  # one is held back: the last fragment says that it is
        first = True
        try:
            for piece in pieces:
                if isinstance(piece, str) != isinstance(held, str):
                    raise TypeError("the pieces of one message are all str, or all binary")
                self._send(self._writer.fragment(held, first, False))
                first = False
                held = piece
            self._send(self._writer.fragment(held, first, True))
        except BaseException:
            if not first:
                # Half a message: whatever followed would be taken for more of it.
                self._begin_close(INTERNAL_ERROR, "")
            raise

    def ping(self, timeout: float | None = None) -> float:
        """Send a Ping, block until its answer comes, and return the seconds of the round trip.

        The peer is pinged every ``websocket_ping_interval`` anyway.

        Raises:
            ConnectionClosed: As for `send`.
            TimeoutError: No answer came in time.
        """
        if self._pings is None:
            self._pings = {}
        payload = len(self._pings).to_bytes(2, "big") + time.monotonic_ns().to_bytes(8, "big")
        begin = time.monotonic()
        pings = self._pings
        pings[payload] = (getcurrent(), 0.0)
        try:
            # Past what waits for the peer to read: the timeout is for that, too.
            if self.closed:
                raise self._closed()
            self._write(encode_ping(payload))
            # An answer to a later one answers this one too (RFC 6455 5.5.3).
            self._wait(lambda: pings[payload][1] > 0 or self._over, timeout)
            came = pings[payload][1]
        finally:
            del pings[payload]
        if not came:
            raise self._closed()
        return came - begin

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close; blocks until the peer has agreed, ``websocket_close_timeout`` at most.

        Nothing if it is closed already.

        Args:
            code: 1000 to 1003, 1007 to 1014, or 3000 to 4999 (RFC 6455 7.4).
            reason: Up to 123 bytes of UTF-8.

        Raises:
            ValueError: The code must not be sent, or the reason is too long.
        """
        check_close(code, reason)
        self._begin_close(code, reason)
        self._await_close()

    # -- waiting -----------------------------------------------------------------------------

    def _await(self, come: Collection[Any], timeout: float | None) -> None:
        """Block as the one that receives until `come` holds something; raise at the end of all."""
        if self._reader is not None:
            raise RuntimeError("another greenlet is receiving from this WebSocket")
        if self._queued == 0 and self._paused:
            self._resume()
        self._streak = 0
        self._reader = getcurrent()
        try:
            if timeout is not None:
                self._await_until(come, timeout)
            while not come:
                self._check_end()
                _switch(self._hub)
        finally:
            self._reader = None

    def _await_until(self, come: Collection[Any], timeout: float) -> None:
        self._wait(lambda: bool(come) or self._check_end(), timeout)

    def _check_end(self) -> bool:
        """Raise if nothing more will come."""
        # All that came before it has been received, and perhaps answered.
        self._answer_end()
        if self._over:
            raise self._closed()
        return False

    def _wait(self, come: Callable[[], bool], timeout: float | None) -> None:
        """Block until `come` is true, which the hub's switches to this greenlet make it ask."""
        if timeout is None:
            while not come():
                _switch(self._hub)
            return
        if timeout <= 0:
            if not come():
                raise TimeoutError("nothing has come")
            return
        rung: list[bool] = []
        me = getcurrent()

        def ring() -> None:
            rung.append(True)
            me.switch()

        timer = self._hub.loop.timer(timeout)
        timer.start(ring, update=True)  # from now on, not from when this turn of the loop began
        try:
            while not come():
                if rung:
                    raise TimeoutError(f"nothing came in {timeout:g} seconds")
                _switch(self._hub)
        finally:
            timer.stop()
            timer.close()

    def _send(self, frame: bytes) -> None:
        if self._closing is not None or self._over:
            raise self._closed()
        if self._write(frame) > HIGH_WATER:
            self._await_room()
            return
        self._streak += 1
        if self._streak > _STREAK:
            self._streak = 0
            self._server.clock.pass_turn()

    def _await_room(self) -> None:
        """Block until the peer has taken what was sent."""
        if self._writers is None:
            self._writers = []
        self._writers.append(getcurrent())
        try:
            while self._carrier.unsent > HIGH_WATER and not self._over:
                _switch(self._hub)
        finally:
            self._writers.remove(getcurrent())
        if self._over:
            raise self._closed()

    def _await_close(self) -> None:
        """Block until it is over."""
        if self._over:
            return
        if self._closers is None:
            self._closers = []
        self._closers.append(getcurrent())
        try:
            while not self._over:
                _switch(self._hub)
        finally:
            self._closers.remove(getcurrent())

    def _refuse_size(self) -> None:
        """Close because the next message is too long, and raise."""
        self._messages.clear()
        self._break(Broken(TOO_BIG, "a message is too long"))
        raise self._closed()

    def leave(self, code: int) -> None:
        """Close because the handler has ended."""
        self._messages.clear()
        self._begin_close(code, "")
        self._await_close()
