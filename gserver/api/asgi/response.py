"""The response to one ASGI scope: ``start_response`` and what follows it (PEP 3333).

Runs in the application's thread; everything that sends blocks until the server has taken it. The
head is held back until there is content, so that start_response can be called again with exc_info
until then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

from gserver.api.asgi.bridge import Bridge
from gserver.api.asgi.files import FileWrapper
from gserver.api.asgi.types import Message, Scope
from gserver.api.errors import Disconnected, LocalProtocolError, RemoteProtocolError
from gserver.api.fields import (
    NOT_INTERIM,
    NOT_PROMISED,
    NOT_TRAILERS,
    check_status,
    encode_fields,
    status_text,
)
from gserver.api.lite import ExcInfo

__all__ = ["Response"]

logger = logging.getLogger("gserver.error")

_Fields = list[tuple[bytes, bytes]]
_Headers = Iterable[tuple[str, str]]

_WITHOUT_CONTENT: Final = frozenset({204, 304})


class Response:
    """The response to a request.

    Attributes:
        bridge: The way to the server.
        begun: The head was sent.
        over: Nothing more will be sent.
    """

    kind = "http.response"

    def __init__(self, bridge: Bridge, scope: Scope) -> None:
        self.bridge = bridge
        self.begun = False
        self.over = False
        self._offered = scope.get("extensions") or {}
        self._head_request = scope.get("method") == "HEAD"
        self._takes_trailers = _accepts_trailers(scope["headers"])
        self._started = False  # start_response was called
        self._status = 0
        self._fields: _Fields | None = None  # once they passed the checks
        self._room: int | None = None  # bytes of content that may follow; None: any number
        self._trailers: _Fields = []
        self._trailed = False  # the server was told that trailers will follow

    # -- what the application calls ----------------------------------------------------------

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
    ) -> Callable[[bytes], None]:
        """Begin the response; sends nothing yet.

        Raises:
            LocalProtocolError: Status or headers cannot be sent, or a response was begun before.
        """
        if exc_info is not None:
            try:
                if self.begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # it would keep the frames of the traceback alive
            self._trailers = []
        elif self._started:
            raise LocalProtocolError("start_response was called a second time without exc_info")
        # Before the checks: an application whose headers are refused has had its one call.
        self._started = True
        self._fields = None
        self._room = None
        self._take_head(status, headers)
        return self.write

    def _take_head(self, status: str, headers: list[tuple[str, str]]) -> None:
        code = int(check_status(status))
        if type(headers) is not list:
            raise LocalProtocolError(f"headers must be a list, not {type(headers).__name__}")
        fields = encode_fields(headers)
        lengths = [int(value) for name, value in fields if name == b"content-length"]
        if len(lengths) > 1:
            raise LocalProtocolError("Content-Length was given more than once")
        self._status = code
        self._fields = fields
        self._room = lengths[0] if lengths else None

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
        if self.over:
            raise LocalProtocolError("content after the end of the response")
        fits = data if self._room is None else data[: self._room]
        if fits:
            self._send(fits, True)
        if len(fits) < len(data):
            raise LocalProtocolError("more content than the Content-Length has announced")

    # -- what is called for it ---------------------------------------------------------------

    def send_body(self, body: Iterable[bytes]) -> None:
        """Send what the application has returned, in the way that suits it, and the end."""
        if isinstance(body, (str, bytes)):
            # Either would be sent character by character, or fail at the first.
            raise LocalProtocolError(
                f"the body must be an iterable of bytes, not {type(body).__name__}"
            )
        if self._fields is not None and not self.begun:
            if isinstance(body, FileWrapper) and self._send_file(body):
                return
            if _is_single(body):
                self._send_single(next(iter(body), b""))
                return
        self._send_blocks(body)
        self.end()

    def _send_file(self, body: FileWrapper) -> bool:
        """Tell the length of a file, and have the server send it, if it can; False if not."""
        rest = body.rest()
        if rest is None or self._room is not None:
            return False
        size, path = rest
        self._add_length(size)
        if self._bodyless:
            self.end()
        elif path is None or self._trailers or "http.response.pathsend" not in self._offered:
            return False
        else:
            self.over = True
            self._emit(*self._begin(), {"type": "http.response.pathsend", "path": path})
        return True

    def _send_single(self, block: bytes) -> None:
        """Send the one block of a body, all in one trip; PEP 3333 lets one tell its length."""
        if type(block) is bytes and self._room is None:
            self._add_length(len(block))
        if type(block) is bytes and block and self._room == len(block):
            self._send(block, False)
            return
        self._send_blocks((block,))
        self.end()

    def _send_blocks(self, body: Iterable[bytes]) -> None:
        for block in body:
            if self._room is not None and len(block) > self._room:
                # More than announced never reaches the wire (PEP 3333).
                logger.warning("the application sent more than its Content-Length")
                self.write(block[: self._room])
                break
            self.write(block)

    def end(self) -> None:
        """End the response; sends the head if no content came."""
        if not self.over:
            self._send(b"", False)

    def fail(self, exc: BaseException, where: str) -> Exception | None:
        """Answer what the application has raised, or return what the server must be told instead.

        Args:
            exc: What it has raised.
            where: Which request it was, for the log.
        """
        if isinstance(exc, Disconnected) and self.bridge.end is not None:
            logger.debug("%s: %s", where, exc)
            return None
        if self.begun:
            # The server breaks the response off, so that the client can tell, and logs it.
            return exc if isinstance(exc, Exception) else RuntimeError(f"{where}: {exc!r}")
        if isinstance(exc, RemoteProtocolError):
            logger.info("%s: %d %s", where, exc.status, exc)
            code, text = exc.status, exc.reason
        else:
            logger.error("%s: error in the application", where, exc_info=exc)
            code, text = 500, "The server could not answer this request."
        self.answer(code, text)
        return None

    def answer(self, code: int, text: str) -> None:
        """Send a text instead of the response, if the client is still there."""
        self._started = False
        self._trailers = []
        try:
            self.start_response(status_text(code), [("Content-Type", "text/plain; charset=utf-8")])
            self.send_body([f"{text}\n".encode()])
        except Disconnected as exc:
            logger.debug("the error was not sent: %s", exc)

    def conclude(self) -> None:
        """Do what is left to do when the application has returned, and its body is closed."""

    def _add_length(self, length: int) -> None:
        assert self._fields is not None
        if self._status not in _WITHOUT_CONTENT and (length or not self._head_request):
            self._fields.append((b"content-length", b"%d" % length))
            self._room = length

    @property
    def _bodyless(self) -> bool:
        return self._head_request or self._status in _WITHOUT_CONTENT

    def _send(self, data: bytes, more: bool) -> None:
        """Send content, the head before it and the trailers behind it, as they are due."""
        if self._room is not None:
            self._room -= len(data)
        messages = [] if self.begun else self._begin()
        if self._bodyless:
            data = b""
        if data or not more:
            messages.append({"type": f"{self.kind}.body", "body": data, "more_body": more})
        if not more:
            messages += self._end_messages()
        elif messages:
            self.bridge.watch()
        if messages:
            self._emit(*messages)

    def _end_messages(self) -> list[Message]:
        self.over = True
        if not self._trailed:
            return []
        if not self._trailers:
            # Not every server can send none.
            raise LocalProtocolError("the field Trailer was sent, and none came")
        return [{"type": "http.response.trailers", "headers": self._trailers}]

    def _begin(self) -> list[Message]:
        """Return the head as a message."""
        if self._fields is None:
            raise LocalProtocolError("content, or its end, came before start_response was called")
        named = any(name == b"trailer" for name, _ in self._fields)
        self._trailed = self.can_trail and (named or bool(self._trailers))
        self.begun = True
        head: Message = {"type": f"{self.kind}.start", "status": self._status}
        head["headers"] = self._fields
        if self._trailed:
            head["trailers"] = True
        return [head]

    def _emit(self, *messages: Message) -> None:
        self.bridge.send(*messages)

    # -- what it calls through the environ ---------------------------------------------------

    @property
    def can_inform(self) -> bool:
        """Interim responses can be sent."""
        return not self.begun and "http.response.early_hint" in self._offered

    @property
    def can_trail(self) -> bool:
        """Trailers can be sent: the client asks for them, and the head does not rule them out."""
        offered = self._takes_trailers and "http.response.trailers" in self._offered
        if self.over or self._bodyless or not offered:
            return False
        return self._trailed or not self.begun

    @property
    def can_push(self) -> bool:
        """The server can push; whether the client wants it, only the server knows."""
        return not self.over and "http.response.push" in self._offered

    def inform(self, headers: _Headers) -> bool:
        """Send 103 Early Hints, if it can be; of the fields, ASGI knows Link only."""
        fields = encode_fields(headers, NOT_INTERIM)
        links = [value for name, value in fields if name == b"link"]
        if not links or not self.can_inform:
            return False
        self.bridge.send({"type": "http.response.early_hint", "links": links})
        return True

    def set_trailers(self, trailers: _Headers) -> bool:
        """Add fields to those that are sent behind the content, if there can be any."""
        fields = encode_fields(trailers, NOT_TRAILERS)
        if not self.can_trail:
            return False
        self._trailers += fields
        return True

    def push(self, path: str, headers: _Headers) -> bool:
        """Push the response to a GET of `path`, if it can be."""
        fields = encode_fields(headers, NOT_PROMISED)
        if not self.can_push:
            return False
        self.bridge.send({"type": "http.response.push", "path": path, "headers": fields})
        return True


def _is_single(body: Iterable[bytes]) -> bool:
    try:
        return len(body) == 1  # type: ignore[arg-type]
    except (TypeError, AttributeError, NotImplementedError):
        return False


def _accepts_trailers(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Tell whether the client asks for trailers (RFC 9110 10.1.4)."""
    wanted = b",".join(value for name, value in headers if name == b"te").split(b",")
    return any(token.strip().lower() == b"trailers" for token in wanted)
