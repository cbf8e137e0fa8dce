# cython: language_level=3, annotation_typing=False
"""One HTTP/2 connection: its streams, what they send in a turn of the loop, and how it ends.

Runs in the hub, except the methods that handlers' greenlets call: `schedule` and `release`.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from gserver.api.errors import RemoteProtocolError, RequestTooLarge
from gserver.clock import NEVER
from gserver.environ import Environ
from gserver.fields import status_text
from gserver.http2.defence import PER_BLOCK, PER_REQUEST, Defence
from gserver.http2.engine import (
    DATA,
    DRAINED,
    END,
    GOAWAY,
    PONG,
    PRIORITY,
    REQUEST,
    RESET,
    ConnectionBroken,
    Engine,
    ErrorCode,
    Event,
    Field,
    Settings,
)
from gserver.http2.engines import engine_type
from gserver.http2.request import build_environ
from gserver.http2.stream import Http2Stream
from gserver.http2.tunnel import Http2Tunnel
from gserver.request import Limits
from gserver.transport import Transport

logger = logging.getLogger("gserver.error")

# Bytes that leave in one send.
_OUTPUT: Final = 65536
# Sends in one turn of the loop: a client that reads fast must not keep the hub for itself.
_SENDS: Final = 4
# Bytes that are received at once: a few frames of an upload.
_PACKET: Final = 65536
# How long a client may take to answer the PING that follows the first GOAWAY: a round trip.
_GOODBYE: Final = 1.0
_HEADERS: Final = 1
_RST_STREAM: Final = 3


class Http2:
    """The protocol of one connection.

    Attributes:
        engine: Speaks HTTP/2.
        streams: The exchanges whose handlers have not finished, by the stream's number.
        window: How far ahead a client may send on a stream that is read.
        draining: The server stops, or has had enough of this connection.
    """

    def __init__(self, connection: Transport, limits: Limits, template: Environ) -> None:
        config = connection.config
        self.connection = connection
        self.window = max(config.http2_max_window_size, config.http2_initial_window_size)
        self._limits = limits
        self._template = template
        self._most = config.http2_max_concurrent_streams
        self._defence = Defence(config, connection.clock)
        settings = Settings(
            max_concurrent_streams=self._most,
            initial_window_size=config.http2_initial_window_size,
            connection_window_size=config.http2_connection_window_size,
            max_frame_size=config.http2_max_frame_size,
            header_table_size=config.http2_header_table_size,
            encoder_table_size=config.http2_header_table_size,
            max_header_list_size=limits.head,
            max_continuations=config.http2_max_continuations,
            connect_protocol=config.websocket,
        )
        make = engine_type(config.http2_engine)
        self.engine: Engine = make(settings, self._defence.charge)
        self.streams: dict[int, Http2Stream | Http2Tunnel] = {}
        # Streams that were answered before their content had come, and how much more may come.
        self._unread: dict[int, int] = {}
        self._requests = 0
        self._scheduled = False
        self.draining = self._leaving = self._broken = False
        connection.packet = _PACKET

    # -- what the connection calls -----------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the connection."""
        try:
            self.engine.receive(data)
        except ConnectionBroken as exc:
            self._break(exc)
            return
        if self.engine.events:
            self._act()
        self.schedule()

    def receive_eof(self) -> None:
        """Give up: who sends nothing more grants nothing more either."""
        self.connection.close()

    def expire(self) -> None:
        """Act on a deadline: nobody reads, or nothing goes on."""
        if self.connection.blocked:
            logger.info("%s: the client does not read", self.connection.peer)
            self.connection.abort()
        elif self.draining and not self._leaving:
            self._leave()
        else:
            self._give_up(ErrorCode.NO_ERROR)

    def drain(self) -> None:
        """Finish the streams that the client has begun or is beginning (RFC 9113 6.8)."""
        if not self.draining:
            self.draining = True
            self.engine.announce_shutdown()
            self.engine.ping()
            self.connection.deadline = self.connection.clock.after(_GOODBYE)
            for number in self._unread:
                self.engine.discard(number)
            self._unread.clear()
            for stream in list(self.streams.values()):
                stream.drain()
            self.schedule()

    def resume_sending(self) -> None:
        """Send what has gathered while the socket was full."""
        self._defence.pressed = False
        self._flush()

    def closed(self) -> None:
        """Tell the handlers."""
        self.connection.defer(self._lose_all)

    @property
    def idle(self) -> bool:
        """Nothing goes on; a connection that takes its leave closes by itself."""
        return not (self.streams or self.engine.active or self.draining)

    # -- what the streams call ---------------------------------------------------------------

    def schedule(self) -> None:
        """Have what the engine holds sent at the end of this turn of the loop."""
        if not self._scheduled:
            self._scheduled = True
            self.connection.defer(self._flush)

    def release(self, number: int) -> None:
        """Forget a stream whose handler has finished."""
        del self.streams[number]
        if not self.streams:
            self.schedule()  # perhaps the connection is idle now

    def promise(self, number: int, fields: list[Field]) -> bool:
        """Push the response to a request that the client has not made (RFC 9113 8.4).

        Returns whether it was promised: not if it is none that the server would take.
        """
        try:
            environ = build_environ(
                [(name, value) for name, value, _ in fields], self._template, self._limits
            )
        except RemoteProtocolError:
            return False
        promised = self.engine.push(number, fields)
        # In the hub: a handler starts there.
        self.connection.defer(self._dispatch_promised, promised, environ)
        self.schedule()
        return True

    def _dispatch_promised(self, number: int, environ: Environ) -> None:
        if not self.connection.closed:
            self._dispatch(number, environ)

    def read_away(self, number: int, held: int = 0) -> None:
        """Take and drop content that nobody wants, and stop a client that has too much of it.

        `held` bytes of it have come already.
        RFC 9113 8.1 lets a server stop it at once, by RST_STREAM(NO_ERROR); but a client in the
        middle of its upload may take that for a failure, and lose the response (curl 7.88 does).
        """
        left = self.connection.config.limit_unread_body - held
        if self.draining or left < 0:
            self.engine.discard(number)
        else:
            self._unread[number] = left
        self.schedule()

    def give_up(self, number: int, code: ErrorCode) -> None:
        """Reset a stream whose handler has finished, if it is still there."""
        if self._unread.pop(number, None) is not None or self.engine.unsent(number):
            self.engine.reset(number, code)
            self.schedule()

    # -- the rest ----------------------------------------------------------------------------

    def begin_upgraded(self, settings: bytes, environ: Environ) -> None:
        """Answer, as stream 1, the request that asked for the upgrade (RFC 7540 3.2)."""
        try:
            self.engine.upgrade(settings, environ["REQUEST_METHOD"] == "HEAD")
        except ConnectionBroken as exc:
            self._break(exc)
            return
        environ["SERVER_PROTOCOL"] = "HTTP/2"
        self._dispatch(1, environ)
        self.schedule()

    def _act(self) -> None:
        """Do what the engine has found."""
        happened = self.engine.events[:]
        self.engine.events.clear()
        lost = self._note_losses(happened)
        fed: dict[int, Http2Stream | Http2Tunnel] = {}
        for kind, number, payload in happened:
            if kind == REQUEST:
                if not lost or number not in lost:
                    fields, ended = payload
                    self._begin(number, fields, ended)
            elif kind == PONG:
                self._leave()
            elif kind == GOAWAY:
                self._leaving = True  # as soon as it has the answers that it still waits for
            elif (stream := self.streams.get(number)) is not None:
                self._tell(stream, kind, payload)
                if kind in (DATA, END):
                    fed[number] = stream
            elif number in self._unread:
                self._drop(number, kind, payload)
        # Not before: a greenlet that was woken for each frame would be switched to for each.
        for stream in fed.values():
            stream.wake_reader()

    def _note_losses(self, happened: list[Event]) -> set[int]:
        """Return the streams that are gone already, for whatever else has happened on them.

        The engine has forgotten them: what a handler sent there would never make it wait.
        """
        lost = {number for kind, number, _ in happened if kind == RESET}
        for number in lost:
            if (stream := self.streams.get(number)) is not None:
                stream.note_loss()
        return lost

    def _drop(self, number: int, kind: int, payload: Any) -> None:
        """Do what a stream asks for whose handler has finished."""
        if kind == DATA:
            self._unread[number] -= len(payload)
            if self._unread[number] >= 0:
                self.engine.consume(number, len(payload))
                return
            self.engine.discard(number)
        if kind in (DATA, END, RESET):
            del self._unread[number]

    def _tell(self, stream: Http2Stream | Http2Tunnel, kind: int, payload: Any) -> None:
        if kind == DATA:
            # What comes while nothing can be sent must not pay for answers that pile up.
            if not self.connection.blocked:
                self._defence.received(len(payload))
            if type(stream) is Http2Stream:
                request: Http2Stream = stream
                request.take(payload)  # compiled code calls it the short way
            else:
                stream.take(payload)
        elif kind == DRAINED:
            self._defence.earned += PER_BLOCK
            stream.taken()
        elif kind == END:
            stream.take_end(payload)
        elif kind == RESET:
            stream.lose()
        elif kind == PRIORITY:
            stream.set_priority(payload)

    def _begin(self, number: int, fields: list[tuple[bytes, bytes]] | None, ended: bool) -> None:
        """Have a request answered."""
        if self._broken:
            return
        if not self.connection.blocked:
            self._defence.earned += PER_REQUEST
        elif not self._defence.charge(_HEADERS, 0):
            # Heads of responses wait for no window: a client that reads none could gather them.
            self._give_up(ErrorCode.ENHANCE_YOUR_CALM, "too many requests whose answers wait")
            return
        if len(self.streams) >= self._most:
            # Handlers of streams that were reset still run: the client has no more to ask for.
            self.engine.reset(number, ErrorCode.REFUSED_STREAM)
            if not self._defence.charge(_RST_STREAM, 0):
                self._give_up(ErrorCode.ENHANCE_YOUR_CALM, "too many refused requests")
            return
        try:
            if fields is None:
                raise RequestTooLarge("header section too long", 431)
            environ = build_environ(fields, self._template, self._limits)
            if self._limits.body:
                self._check_length(environ)
        except RemoteProtocolError as exc:
            self._refuse(number, exc, ended)
            return
        self._dispatch(number, environ, ended)

    def _check_length(self, environ: Environ) -> None:
        length = environ.get("CONTENT_LENGTH")
        if length and int(length[:20]) > self._limits.body:
            raise RequestTooLarge("content too large")

    def _dispatch(self, number: int, environ: Environ, ended: bool = True) -> None:
        connection = self.connection
        connection.deadline = NEVER
        stream = Http2Stream.__new__(Http2Stream)
        stream.open(self, number, environ)
        self.streams[number] = stream
        if "HTTP_PRIORITY" in environ:
            self.engine.prioritise(number, *stream.priority())
        if not ended:
            if "HTTP_UPGRADE" in environ:
                self.streams[number] = stream.open_tunnel()
                stream.offer_websocket(connection)
            else:
                stream.expect_content()
        self._requests += 1
        if self._limits.requests and self._requests >= self._limits.requests:
            self.drain()
        connection.dispatch(stream)

    def _refuse(self, number: int, error: RemoteProtocolError, ended: bool) -> None:
        """Answer a request that no handler gets to see."""
        logger.info("%s: %d %s", self.connection.peer, error.status, error.reason)
        text = status_text(error.status)
        body = f"{text}: {error.reason}\n".encode("latin-1", "replace")
        fields = [
            (b":status", b"%d" % error.status, False),
            (b"content-type", b"text/plain; charset=latin-1", False),
            (b"content-length", b"%d" % len(body), False),
            *self.connection.clock.fields,
        ]
        self.engine.respond(number, fields, body)
        if not ended:
            self.read_away(number)

    def _flush(self) -> None:
        """Send what the engine has for the client, as far as the socket takes it."""
        self._scheduled = False
        connection = self.connection
        if connection.closed or self._broken:
            return
        engine = self.engine
        for _ in range(_SENDS):
            if connection.blocked:
                break
            data = engine.pull(_OUTPUT)
            if not data:
                break
            self._defence.sent(len(data))
            connection.offer(data)
            if connection.blocked:
                self._defence.press()
        else:
            self.schedule()
        if engine.events:
            self._act()
        if not (self.streams or connection.blocked or self._broken or self._scheduled):
            self._rest()

    def _rest(self) -> None:
        """Note that no handler is at work: all that goes on is up to the client."""
        connection = self.connection
        if self.engine.active:
            # What it does not take of short responses, or a header section that it has begun.
            if connection.deadline == NEVER:
                connection.deadline = connection.clock.after(connection.config.write_timeout)
        elif self._leaving:
            # A WINDOW_UPDATE that meets a closed socket would cost the client what it has not read.
            connection.linger()
        elif not self.draining and connection.deadline == NEVER:
            connection.deadline = connection.clock.now + self._limits.keepalive

    def _leave(self) -> None:
        """Take no more streams, and close when those that there are have finished."""
        if self.draining and not self._leaving:
            self._leaving = True
            self.connection.deadline = NEVER
            self.engine.go_away(ErrorCode.NO_ERROR)
            self.schedule()

    def _give_up(self, code: ErrorCode, reason: str = "") -> None:
        """Break the connection though the engine would go on."""
        self.engine.go_away(code)
        self._break(ConnectionBroken(code, reason))

    def _break(self, error: ConnectionBroken) -> None:
        """End the connection: with a GOAWAY that says why, and without waiting for anybody."""
        if error.code != ErrorCode.NO_ERROR:
            logger.info("%s: %s", self.connection.peer, error)
        self._broken = True
        # What the last bytes asked for is not begun any more.
        self.engine.events.clear()
        if self.connection.blocked:
            self.connection.abort()  # who does not read will not read this either
        else:
            self.connection.send_now(self.engine.pull(_OUTPUT))
            self.connection.linger()
        self._lose_all()

    def _lose_all(self) -> None:
        for stream in list(self.streams.values()):
            stream.lose()
