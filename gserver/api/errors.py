"""The errors that gserver raises, as one small tree.

Data is in attributes; the text is made in ``__str__``. Applications meet `Disconnected`,
`BodyTimeout`, `RequestTooLarge` and `RemoteProtocolError` in their blocking reads and writes,
`LocalProtocolError` when they break WSGI themselves, and `RequestTimeout` when the operator set
a limit to how long a request may run::

    GServerError
      ConfigError            also ValueError
      NotSupported           a capability that this protocol, peer or server lacks
      Disconnected           also ConnectionError: the peer has gone
      ProtocolError          status: the HTTP status that answers it
        LocalProtocolError   the application broke the rules (500)
        RemoteProtocolError  the peer broke them (400)
          RequestTooLarge    413, 414, 431
          BodyTimeout        also TimeoutError: the peer sent its body too slowly (408)
      WebSocketError         also ConnectionError
        HandshakeError       status, headers: the request is not accepted as a WebSocket
        ConnectionClosed     code, reason, by_peer: no more messages either way
          ClosedOK           in good order
          ClosedError        not so
            MessageTooBig    a message of the peer exceeded the limit (1009)
    RequestTimeout           a BaseException, see there
"""

from __future__ import annotations

from http import HTTPStatus

__all__ = [
    "BodyTimeout",
    "ClosedError",
    "ClosedOK",
    "ConfigError",
    "ConnectionClosed",
    "Disconnected",
    "GServerError",
    "HandshakeError",
    "LocalProtocolError",
    "MessageTooBig",
    "NotSupported",
    "ProtocolError",
    "RemoteProtocolError",
    "RequestTimeout",
    "RequestTooLarge",
    "WebSocketError",
]


class GServerError(Exception):
    """The base of everything that gserver raises, except `RequestTimeout`."""


class ConfigError(GServerError, ValueError):
    """An option, a file or an application name that cannot be used, and how to mend it."""


class NotSupported(GServerError):
    """A capability that this protocol, this peer or this server does not have."""


class Disconnected(GServerError, ConnectionError):
    """The client has gone; raised in the application's blocking read or write.

    It is no error of the application: let it pass, and `close()` and the objects registered
    with ``wsgi_lite.closing`` are closed as always.
    """

    def __str__(self) -> str:
        return self.args[0] if self.args else "the client has disconnected"


class ProtocolError(GServerError):
    """Somebody broke the rules of HTTP or WSGI.

    Attributes:
        status: The HTTP status code that answers it.
        reason: What was wrong, in words that may be sent to the peer.
    """

    default_status = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = int(self.default_status if status is None else status)

    def __str__(self) -> str:
        return self.reason


class LocalProtocolError(ProtocolError):
    """The application broke the rules of PEP 3333, of Lite or of HTTP."""


class RemoteProtocolError(ProtocolError):
    """The client broke the rules of HTTP; answered with a 4xx or 5xx status."""

    default_status = HTTPStatus.BAD_REQUEST


class RequestTooLarge(RemoteProtocolError):
    """The target, the header section or the content exceeds a limit (414, 431, 413)."""

    default_status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class BodyTimeout(RemoteProtocolError, TimeoutError):
    """The client sends its content too slowly (408, RFC 9110 15.5.9)."""

    default_status = HTTPStatus.REQUEST_TIMEOUT


class WebSocketError(GServerError, ConnectionError):
    """A WebSocket could not be opened, or cannot go on."""


class HandshakeError(WebSocketError):
    """A request is not accepted as a WebSocket.

    Attributes:
        status: The HTTP status code that answers it.
        reason: What was wrong, in words that may be sent to the client.
        headers: Header fields that belong to the answer.
    """

    def __init__(self, status: int, reason: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = headers

    def __str__(self) -> str:
        return self.reason

    @property
    def response(self) -> tuple[str, list[tuple[str, str]], list[bytes]]:
        """The answer, as a Lite application returns it."""
        body = f"{self.reason}\n".encode()
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            *self.headers,
        ]
        return f"{self.status} {HTTPStatus(self.status).phrase}", headers, [body]


class ConnectionClosed(WebSocketError):
    """The WebSocket is closed; raised in the blocking call of whoever sends or receives.

    Attributes:
        code: The close code (RFC 6455 7.4.1); 1005 if the peer gave none, 1006 if there was no
            closing handshake.
        reason: The words that came with it.
        by_peer: The peer was the first to close.
    """

    def __init__(self, code: int, reason: str = "", by_peer: bool = False) -> None:
        super().__init__(code, reason, by_peer)
        self.code = code
        self.reason = reason
        self.by_peer = by_peer

    def __str__(self) -> str:
        who = "the peer" if self.by_peer else "this side"
        text = f"the WebSocket was closed by {who} with code {self.code}"
        return f"{text}: {self.reason}" if self.reason else text


class ClosedOK(ConnectionClosed):
    """It was closed in good order: 1000, 1001 (going away), or without a code."""


class ClosedError(ConnectionClosed):
    """It was closed for an error, or broke (1006)."""


class MessageTooBig(ClosedError):
    """A message of the peer is longer than ``websocket_max_message_size`` (1009)."""


class RequestTimeout(BaseException):
    """The request ran longer than ``request_timeout`` allows; answered with 503.

    Raised in the handler's greenlet wherever it blocks. Not an `Exception`, for the same reason
    as `gevent.Timeout`: frameworks turn every `Exception` into a page of their own, and the
    operator's limit must end the request instead. Should a handler swallow it, it is raised again
    after each further period.

    Attributes:
        seconds: The limit that was exceeded.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"the request took longer than {self.seconds:g} seconds"
