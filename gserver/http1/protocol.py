# cython: language_level=3, annotation_typing=False
"""One HTTP/1.x connection: which request is next, what comes early, how it ends.

Requests are answered one at a time and in order (RFC 9112 9.3.2). What a client pipelines beyond
one packet stays in the kernel until its turn has come, so it is the client that waits. Runs in the
hub, except `next_request`, which a handler's greenlet calls when it is done.
"""

from __future__ import annotations

import logging
import re
from typing import Final

from gserver.api.errors import RemoteProtocolError
from gserver.clock import NEVER
from gserver.environ import Environ
from gserver.fields import status_text
from gserver.http1.parser import RequestParser
from gserver.http1.stream import Http1Stream
from gserver.http1.tunnel import Tunnel
from gserver.request import Limits
from gserver.transport import Transport

logger = logging.getLogger("gserver.error")

_SWITCHING: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
)


# Whole settings, of six bytes each, in Base64: only one field that means something.
_IS_SETTINGS: Final = re.compile(r"(?:[A-Za-z0-9_-]{8})*").fullmatch


class Http1:
    """The protocol of one connection.

    Attributes:
        stream: The exchange that is going on; None between requests.
        early: Bytes that came while it was going on.
    """

    def __init__(self, connection: Transport, limits: Limits, template: Environ) -> None:
        self.connection = connection
        self._limits = limits
        self._parser = RequestParser(limits, template)
        self.stream: Http1Stream | None = None
        self.early = b""
        self._awaited = False  # part of a head has come
        self._draining = False
        self._requests = 0

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the connection."""
        if self.stream is not None:
            # One packet is kept, and shows whether the client is still there; no more is read.
            self.early += data
            self.connection.pause_reading()
            return
        parser = self._parser
        try:
            parser.feed(data)
        except RemoteProtocolError as exc:
            self.refuse(exc)
            return
        request = parser.request
        connection = self.connection
        if request is None:
            self._await_head()
            return
        connection.deadline = NEVER
        self._awaited = False
        if connection.tls is None:
            # With TLS it is in the template.
            request["REMOTE_ADDR"], request["REMOTE_PORT"] = connection.remote
        if parser.upgrade and self._upgrade(request):
            return
        self.stream = stream = Http1Stream.__new__(Http1Stream)
        stream.open(self, request, parser)
        if self._limits.requests:
            self._count(stream)
        if parser.unused:
            connection.pause_reading()
        if parser.length:
            stream.expect_content()
        elif parser.upgrade and connection.config.websocket:
            stream.offer_websocket(connection)
        connection.dispatch(stream)

    def receive_eof(self) -> None:
        """Note that the client will send no more; it may still read (RFC 9112 9.6)."""
        if self.stream is None:
            self.connection.close()
        else:
            self.connection.pause_reading()
            self.stream.close_after()
            self.stream.tell_loss()

    def expire(self) -> None:
        """Give up waiting for a request."""
        if self._parser.idle:
            self.connection.close()
        else:
            self.refuse(RemoteProtocolError("the request did not come in time", 408))

    def drain(self) -> None:
        """Make the exchange that is going on the last one."""
        self._draining = True
        if self.stream is not None:
            self.stream.close_after()

    def resume_sending(self) -> None:
        """Never called: the greenlets send, and wait themselves."""

    def closed(self) -> None:
        """Tell who watches; the greenlets find out by themselves."""
        if self.stream is not None:
            self.stream.tell_loss()

    @property
    def idle(self) -> bool:
        """No request is being received or handled."""
        return self.stream is None and self._parser.idle

    def refuse(self, error: RemoteProtocolError) -> None:
        """Answer what cannot be understood, and close."""
        connection = self.connection
        logger.info("%s: %d %s", connection.peer, error.status, error.reason)
        connection.send_now(_plain_response(error, connection.clock.head_end))
        connection.linger()

    def next_request(self) -> None:
        """Go on after an exchange that left the connection in order."""
        self.stream = None
        connection = self.connection
        if connection.closed:
            return
        parser = self._parser
        early = parser.unused + self.early
        parser.next()
        connection.deadline = connection.clock.now + self._limits.keepalive
        if early:
            self.early = b""
            # Not here: a client that pipelines would keep this greenlet, and the hub, for itself.
            connection.defer(self._receive_early, early)
        elif not connection.reading:
            connection.resume_reading()

    def open_tunnel(self) -> Tunnel:
        """Leave the connection to what the request was upgraded to."""
        early = self._parser.unused + self.early
        self.stream = None
        self.early = b""
        return Tunnel(self.connection, early, self._draining)

    def _receive_early(self, data: bytes) -> None:
        if not self.connection.closed:
            self.connection.resume_reading()
            self.connection.hand_over(data)

    def _upgrade(self, request: Environ) -> bool:
        """Change to HTTP/2 if the request asks for it (RFC 7540 3.2); else it may be ignored."""
        settings = request.get("HTTP_HTTP2_SETTINGS")
        options = {one.strip().lower() for one in request.get("HTTP_CONNECTION", "").split(",")}
        if (
            not self._limits.upgrade
            or self.connection.tls is not None
            or settings is None
            or not _IS_SETTINGS(settings)
            or request.get("HTTP_UPGRADE") != "h2c"
            or not options >= {"upgrade", "http2-settings"}
            or not self._parser.complete
            or self._parser.length
            or not self._parser.http11
        ):
            return False
        for key in ("HTTP_UPGRADE", "HTTP_CONNECTION", "HTTP_HTTP2_SETTINGS"):
            del request[key]
        self.connection.send_now(_SWITCHING)
        self.connection.speak_upgraded(settings, request, self._parser.unused)
        return True

    def _count(self, stream: Http1Stream) -> None:
        self._requests += 1
        if self._requests >= self._limits.requests:
            stream.close_after()

    def _await_head(self) -> None:
        if not self._awaited:
            # Once for each head: its later bytes buy no more time.
            self._awaited = True
            connection = self.connection
            connection.deadline = connection.clock.after(connection.config.header_timeout)


def _plain_response(error: RemoteProtocolError, head_end: bytes) -> bytes:
    """Return a whole response that says what is wrong and closes the connection."""
    text = status_text(error.status)
    body = f"{text}: {error.reason}\n".encode("latin-1", "replace")
    head = (
        f"HTTP/1.1 {text}\r\nContent-Type: text/plain; charset=latin-1\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n"
    )
    return head.encode("latin-1") + head_end + body
