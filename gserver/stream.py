# cython: language_level=3, annotation_typing=False
"""Stream: one exchange of a request and its response, whatever protocol carries it.

This is the vocabulary between the protocols and the handler. A protocol makes a Stream when a
request's head is complete and hands it to the handler; the handler's greenlet runs the
application and speaks to the Stream from then on. Everything here runs in that greenlet, and
every method that sends may block it.

The response passes through START (nothing said), HEADERS (start_response was called, nothing
sent), BODY (the head is sent), DONE or ABORTED; or it is SWITCHED: the request becomes a
WebSocket, and what else the application says is not sent. PEP 3333 wants the head held back until
the first non-empty block, so that start_response can be called again with exc_info until then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from gserver.api.errors import HandshakeError, LocalProtocolError
from gserver.api.handshake import check_handshake
from gserver.environ import Environ
from gserver.exchange import AssociatedContent, EarlyHints, Exchange, SendTrailers
from gserver.fields import (
    BODYLESS,
    CONTENT_LENGTH,
    NOT_INTERIM,
    NOT_TRAILERS,
    STATUSES,
    FieldCache,
    check_field,
    check_status,
    encode_fields,
)
from gserver.websocket.offer import Offer

if TYPE_CHECKING:
    from gserver.transport import Transport
    from gserver.websocket.carrier import Carrier

logger = logging.getLogger("gserver.error")

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]


class State(Enum):
    """How far the response has come."""

    START = "start"
    HEADERS = "headers"
    BODY = "body"
    DONE = "done"
    ABORTED = "aborted"
    SWITCHED = "switched"


# Names of the module are a few nanoseconds cheaper than members of the enum, on the path that
# every request takes.
START, HEADERS, BODY, DONE, ABORTED, SWITCHED = State


class Stream:
    """One request and its response.

    Attributes:
        environ: The request, as the application sees it.
        state: How far the response has come.
        head_request: The request's method is HEAD: the response has no content.
        status: The status as the application gave it.
        headers: The headers as the application gave them.
        length: The Content-Length that the application announced; -1 if it did not.
        sent: Bytes of content that were sent.
        trailers: Fields to be sent behind the content, in the protocol's encoding.
        never_indexed: Lower-case names of fields that the application keeps out of the
            compression context.
        fields_known: The protocol's encoding of header fields.
        exchange: What the environ knows of the stream.
        offer: The chance to make a WebSocket of it; None if the client does not ask for one.
    """

    # Made by __new__ too.

    def begin(self, environ: Environ, fields_known: FieldCache) -> None:
        """Set all to the beginning.

        Args:
            environ: The request.
            fields_known: The protocol's encoding of header fields.
        """
        self.environ = environ
        self.state = START
        self.status = ""
        self.headers: Sequence[tuple[str, str]] = ()
        self.length = -1
        self.sent = 0
        # Status and headers in the protocol's encoding; None until they passed the checks.
        self.fields: list[Any] | None = None
        self.kinds = 0
        self.head_request = False
        self.trailers: list[Any] | None = None
        self.never_indexed: frozenset[str] | None = None
        self.fields_known = fields_known
        self.offer: Offer | None = None
        self.exchange = exchange = Exchange.__new__(Exchange)
        exchange.stream = self
        exchange.things = None
        exchange.watcher = None
        environ["wsgi_lite.closing"] = exchange
        hints = EarlyHints.__new__(EarlyHints)
        hints.exchange = exchange
        environ["wsgi.early_hints"] = hints
        trailers = SendTrailers.__new__(SendTrailers)
        trailers.exchange = exchange
        environ["wsgi.ext.http.send_trailers"] = trailers
        content = AssociatedContent.__new__(AssociatedContent)
        content.exchange = exchange
        environ["wsgi.associated_content"] = content

    # -- what the application calls ----------------------------------------------------------

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
    ) -> Callable[[bytes], None]:
        """Begin the response (PEP 3333); sends nothing yet.

        Raises:
            LocalProtocolError: Status or headers cannot be sent, or a response was begun before.
        """
        if self.state is not START or exc_info is not None:
            self._start_again(exc_info)
            if self.state is SWITCHED:
                return self
        # Before the checks: an application whose headers are refused has had its one call.
        self.state = HEADERS
        self._take_head(status, headers)
        return self

    def _take_head(self, status: str, headers: list[tuple[str, str]]) -> None:
        try:
            status_line, kinds = STATUSES[status]
        except (KeyError, TypeError):
            if self.offer is not None and self._take_promise(status, headers):
                return
            status_line, kinds = check_status(status)
        if type(headers) is not list:
            raise LocalProtocolError(f"headers must be a list, not {type(headers).__name__}")
        known = self.fields_known.known
        fields: list[Any] = [status_line]
        for header in headers:
            try:
                entry = known.get(header) or self.fields_known.learn(header)
            except TypeError:
                check_field(header)  # unhashable: it says what it should have been
                raise
            encoded, kind, length = entry
            fields.append(encoded)
            if kind:
                if kind == CONTENT_LENGTH:
                    if kinds & CONTENT_LENGTH:
                        raise LocalProtocolError("Content-Length was given more than once")
                    self.length = length
                kinds |= kind
        if kinds & BODYLESS:
            self.trailers = None
        self.status = status
        self.headers = headers
        self.fields = fields
        self.kinds = kinds

    def _take_promise(self, status: Any, headers: list[tuple[str, str]]) -> bool:
        """Take the response of a WebSocket handler that has come back from the application."""
        if not str(status).startswith("101"):
            return False
        for header in headers:
            self.fields_known.encode(header)  # a wrong one is the application's error
        assert self.offer is not None
        self.offer.confirm(headers)
        self.state = SWITCHED
        return True

    def _start_again(self, exc_info: ExcInfo | None) -> None:
        """Allow a further call of start_response, or raise."""
        if self.state is SWITCHED:
            if self.offer is not None and self.offer.retract():
                self.state = HEADERS  # nothing was sent for the promise
            elif exc_info is None:
                return
        if exc_info is None:
            raise LocalProtocolError("start_response was called a second time without exc_info")
        try:
            if self.state is not START and self.state is not HEADERS:
                raise exc_info[1].with_traceback(exc_info[2])
        finally:
            del exc_info  # it would keep the frames of the traceback alive
        self.length = -1
        self.fields = None
        self.trailers = None

    def __call__(self, data: bytes) -> None:
        """Do what PEP 3333's write() does: a method made for each request would cost more."""
        self.write(data)

    def write(self, data: bytes) -> None:
        """Send a block of content, after the head if that has not been sent; blocks.

        Raises:
            LocalProtocolError: It is not bytes, or more than the Content-Length announced.
            Disconnected: The client has gone.
        """
        if not isinstance(data, bytes):
            raise LocalProtocolError(f"content must be bytes, not {type(data).__name__}")
        if not data:
            return  # PEP 3333 allows it anywhere, even before start_response
        if self.state is SWITCHED:
            return
        if self.fields is None:
            raise LocalProtocolError("content before start_response was called")
        if self.state is DONE or self.state is ABORTED:
            raise LocalProtocolError("content after the end of the response")
        if self.length < 0 or len(data) <= self.length - self.sent:
            self._send_block(data)
            return
        fits = data[: self.length - self.sent]
        if fits:
            self._send_block(fits)
        raise LocalProtocolError(f"more content than the Content-Length of {self.length}")

    def _send_block(self, data: bytes) -> None:
        bodyless = self.bodyless()
        if not bodyless:
            self.sent += len(data)
        if self.state is HEADERS:
            self.state = BODY
            self.send_head(data)
        elif not bodyless:
            self.send_data(data)

    # -- what it calls through the environ ---------------------------------------------------

    def inform(self, headers: Iterable[tuple[str, str]]) -> bool:
        """Send 103 Early Hints (RFC 8297) at once, if it can be; may block.

        Raises:
            LocalProtocolError: A field cannot be sent.
            Disconnected: The client has gone.
        """
        fields = encode_fields(self.fields_known, headers, NOT_INTERIM)
        if not fields or not self.can_inform:
            return False
        self.send_informational(103, fields)
        return True

    def set_trailers(self, trailers: Iterable[tuple[str, str]]) -> bool:
        """Add fields to those that are sent behind the content, if there can be any.

        Raises:
            LocalProtocolError: A field cannot be sent.
        """
        fields = encode_fields(self.fields_known, trailers, NOT_TRAILERS)
        if not self.can_trail:
            return False
        self.trailers = (self.trailers or []) + fields
        return True

    def keep_out(self, names: Iterable[str]) -> None:
        """Keep fields out of the compression context (RFC 7541 7.1.3)."""
        self.never_indexed = (self.never_indexed or frozenset()).union(map(str.lower, names))

    # -- what the handler calls --------------------------------------------------------------

    @property
    def over(self) -> bool:
        """The response has ended, well or not."""
        return self.state is DONE or self.state is ABORTED or self.state is SWITCHED

    @property
    def code(self) -> int:
        """The status code of the response; 0 until start_response was called."""
        return int(self.status[:3] or 0)

    def bodyless(self) -> bool:
        """No content may be sent, whatever the application returns (RFC 9110 6.4.1)."""
        return self.head_request or self.kinds & BODYLESS != 0

    def end(self) -> None:
        """End the response; sends the head if no content came; may block.

        Raises:
            LocalProtocolError: start_response was never called, or content is missing.
            Disconnected: The client has gone.
        """
        if self.state is SWITCHED:
            return
        if self.fields is None:
            raise LocalProtocolError("the application returned without calling start_response")
        if self.state is HEADERS and (self.length <= 0 or self.bodyless()):
            self.respond(b"")
            return
        if self.length > self.sent and not self.bodyless():
            raise LocalProtocolError(
                f"Content-Length announced {self.length} bytes, {self.sent} were sent"
            )
        self.send_end()
        self.state = DONE

    # -- what a protocol provides ------------------------------------------------------------

    # What is possible depends on the protocol, which adds to these answers.

    @property
    def can_inform(self) -> bool:
        """Interim responses can be sent."""
        return self.state is START or self.state is HEADERS

    @property
    def can_trail(self) -> bool:
        """Trailer fields can be sent behind the content."""
        return not self.over and not self.bodyless()

    @property
    def can_push(self) -> bool:
        """The client takes pushed responses."""
        return False

    @property
    def can_switch(self) -> bool:
        """The request can become a WebSocket."""
        return self.offer is not None and self.state is not BODY

    @property
    def can_keep_out(self) -> bool:
        """Header fields are compressed."""
        return False

    def priority(self) -> tuple[int, bool] | None:
        """Return urgency and incremental if the protocol goes by them (RFC 9218)."""
        return None

    def push(self, path: str, headers: Sequence[tuple[str, str]]) -> bool:
        """Promise the response to a GET of `path` and have it handled; `can_push` is true.

        `headers` have passed the checks. Returns whether the promise was made.
        """
        raise NotImplementedError

    def send_informational(self, status: int, fields: list[Any]) -> None:
        """Send an interim response; `can_inform` is true."""
        raise NotImplementedError

    def respond(self, body: bytes) -> None:
        """Send a whole response: the head, `body`, which is all its content, and the trailers."""
        raise NotImplementedError

    def send_head(self, data: bytes) -> None:
        """Send the head and the first block of content, which more may follow."""
        raise NotImplementedError

    def send_data(self, data: bytes) -> None:
        """Send a further block of content."""
        raise NotImplementedError

    def send_file(self, descriptor: int, offset: int, size: int) -> None:
        """Send the head and a region of a file as all of the content."""
        raise NotImplementedError

    def send_end(self) -> None:
        """Send the end of the content and the trailers, after `send_head`."""
        raise NotImplementedError

    def lost(self) -> bool:
        """Tell whether the client has gone, as far as is known; does not block."""
        raise NotImplementedError

    def watch(self) -> None:
        """Have `tell_loss` called when the client leaves."""

    def tell_loss(self) -> None:
        """Tell who watches that the client has gone; called in the hub."""
        if self.exchange.watcher is not None:
            self.exchange.watcher()

    # -- becoming a WebSocket ----------------------------------------------------------------

    def offer_websocket(self, transport: Transport) -> None:
        """Offer to the application to make a WebSocket of the request, if it asks rightly."""
        try:
            check_handshake(self.environ)
        except HandshakeError as exc:
            logger.debug("%s: %s", transport.peer, exc)
        else:
            self.offer = Offer(transport, self)

    # What follows is `gserver.websocket.carrier.Upgradable`, and says what it promises.

    def claim(self) -> None:
        """Send nothing of what the application says from here on."""
        if self.state not in (START, HEADERS, SWITCHED):
            raise LocalProtocolError("the response has begun: the request is no WebSocket any more")
        self.state = SWITCHED

    def switch(self, headers: list[tuple[str, str]]) -> Carrier:
        """Answer the handshake."""
        carrier = self.send_switch([self.fields_known.encode(header) for header in headers])
        self.headers = headers
        return carrier

    def answer(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        """Send an ordinary response."""
        self.state = START
        self.start_response(status, headers)
        self.write(body)
        self.end()

    def send_switch(self, fields: list[Any]) -> Carrier:
        """Send the answer to a WebSocket handshake; sets the status."""
        raise NotImplementedError

    def abort(self) -> None:
        """Break the response off so that the client can tell."""
        raise NotImplementedError

    def finished(self) -> None:
        """Take leave of the exchange: the handler is done with it."""
        raise NotImplementedError
