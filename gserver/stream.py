# cython: language_level=3, annotation_typing=False
"""Stream: one exchange of a request and its response, whatever protocol carries it.

This is the vocabulary between the protocols and the handler. A protocol makes a Stream when a
request's head is complete and hands it to the handler; the handler's greenlet runs the
application and speaks to the Stream from then on. Everything here runs in that greenlet, and
every method that sends may block it.

The response passes through START (nothing said), HEADERS (start_response was called, nothing
sent), BODY (the head is sent), DONE or ABORTED. PEP 3333 wants the head held back until the
first non-empty block, so that start_response can be called again with exc_info until then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from enum import Enum
from types import TracebackType
from typing import Any, TypeAlias

from gserver.api.errors import Disconnected, LocalProtocolError
from gserver.environ import Environ
from gserver.fields import BODYLESS, CONTENT_LENGTH, STATUSES, FieldCache, check_field, check_status

logger = logging.getLogger("gserver.error")

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]


class State(Enum):
    """How far the response has come."""

    START = "start"
    HEADERS = "headers"
    BODY = "body"
    DONE = "done"
    ABORTED = "aborted"


# Names of the module are a few nanoseconds cheaper than members of the enum, on the path that
# every request takes.
START, HEADERS, BODY, DONE, ABORTED = State


class Closing:
    """``wsgi_lite.closing``: takes objects with close() until the exchange is over.

    An object of its own: as a method of the Stream it would make a cycle with the environ, and
    the collector of cycles would have to take every request apart (6 % of the server's time).
    """

    def __init__(self) -> None:
        self._things: list[Any] | None = None
        self._over = False

    def __call__(self, thing: Any) -> Any:
        """Close `thing` when the exchange is over, now if it is; returns it.

        The last one registered is closed first.
        """
        if self._over:
            thing.close()
        elif self._things is None:
            self._things = [thing]
        else:
            self._things.append(thing)
        return thing

    def finish(self) -> None:
        """Close all of them, even if some raise; what they register meanwhile too."""
        while self._things:
            thing = self._things.pop()
            try:
                thing.close()
            except Disconnected as exc:
                logger.debug("closing %r: %s", thing, exc)
            except BaseException:
                # Also GreenletExit and timeouts: what was registered earlier still wants closing.
                logger.exception("closing %r failed", thing)
        self._over = True


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
        closing: What is closed when the exchange is over.
    """

    def __init__(self, environ: Environ, fields_known: FieldCache[Any]) -> None:
        self.begin(environ, fields_known)

    def begin(self, environ: Environ, fields_known: FieldCache[Any]) -> None:
        """Set all to the beginning; apart from `__init__`, which compiled code calls slowly.

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
        self._fields_known = fields_known
        self.closing = environ["wsgi_lite.closing"] = Closing()

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
        # Before the checks: an application whose headers are refused has had its one call.
        self.state = HEADERS
        try:
            status_line, kinds = STATUSES[status]
        except (KeyError, TypeError):
            status_line, kinds = check_status(status)
        if type(headers) is not list:
            raise LocalProtocolError(f"headers must be a list, not {type(headers).__name__}")
        known = self._fields_known
        fields: list[Any] = [status_line]
        for header in headers:
            try:
                encoded, kind = known[header]
            except TypeError:
                check_field(header)  # unhashable: it says what it should have been
                raise
            fields.append(encoded)
            if kind:
                if kind == CONTENT_LENGTH:
                    if kinds & CONTENT_LENGTH:
                        raise LocalProtocolError("Content-Length was given more than once")
                    self.length = int(header[1])
                kinds |= kind
        self.status = status
        self.headers = headers
        self.fields = fields
        self.kinds = kinds
        return self.write

    def _start_again(self, exc_info: ExcInfo | None) -> None:
        """Allow a further call of start_response, or raise."""
        if exc_info is None:
            raise LocalProtocolError("start_response was called a second time without exc_info")
        try:
            if self.state is not START and self.state is not HEADERS:
                raise exc_info[1].with_traceback(exc_info[2])
        finally:
            del exc_info  # it would keep the frames of the traceback alive
        self.length = -1
        self.fields = None

    def write(self, data: bytes) -> None:
        """Send a block of content, after the head if that has not been sent; blocks.

        This is also PEP 3333's write().

        Raises:
            LocalProtocolError: It is not bytes, or more than the Content-Length announced.
            Disconnected: The client has gone.
        """
        if not isinstance(data, bytes):
            raise LocalProtocolError(f"content must be bytes, not {type(data).__name__}")
        if not data:
            return  # PEP 3333 allows it anywhere, even before start_response
        if self.fields is None:
            raise LocalProtocolError("content before start_response was called")
        if self.state is DONE or self.state is ABORTED:
            raise LocalProtocolError("content after the end of the response")
        fits = data if self.length < 0 else data[: self.length - self.sent]
        if fits:
            self._send_block(fits)
        if len(fits) < len(data):
            raise LocalProtocolError(f"more content than the Content-Length of {self.length}")

    def _send_block(self, data: bytes) -> None:
        if not self.bodyless:
            self.sent += len(data)
        if self.state is HEADERS:
            self.state = BODY
            self.send_head(data)
        elif not self.bodyless:
            self.send_data(data)

    # -- what the handler calls --------------------------------------------------------------

    @property
    def code(self) -> int:
        """The status code of the response; 0 until start_response was called."""
        return int(self.status[:3] or 0)

    @property
    def bodyless(self) -> bool:
        """No content may be sent, whatever the application returns (RFC 9110 6.4.1)."""
        return self.head_request or bool(self.kinds & BODYLESS)

    def end(self) -> None:
        """End the response; sends the head if no content came; may block.

        Raises:
            LocalProtocolError: start_response was never called, or content is missing.
            Disconnected: The client has gone.
        """
        if self.fields is None:
            raise LocalProtocolError("the application returned without calling start_response")
        if self.state is HEADERS and (self.length <= 0 or self.bodyless):
            self.respond(b"")
            return
        if self.length > self.sent and not self.bodyless:
            raise LocalProtocolError(
                f"Content-Length announced {self.length} bytes, {self.sent} were sent"
            )
        self.send_end()
        self.state = DONE

    # -- what a protocol provides ------------------------------------------------------------

    def respond(self, body: bytes) -> None:
        """Send a whole response: the head and `body`, which is all its content."""
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
        """Send the end of the content, after `send_head`."""
        raise NotImplementedError

    def abort(self) -> None:
        """Break the response off so that the client can tell."""
        raise NotImplementedError

    def finished(self) -> None:
        """Take leave of the exchange: the handler is done with it."""
        raise NotImplementedError
