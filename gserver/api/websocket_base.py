"""What WebSockets have in common, whichever server carries them: the interface, and its rules."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol

from gserver.api.errors import ClosedError, ClosedOK, ConnectionClosed, LocalProtocolError

__all__ = ["PROMISE", "WebSocket", "check_close", "closed_error", "confirm_promise"]

# RFC 6455 7.4.1. The last two are never sent.
NORMAL: Final = 1000
GOING_AWAY: Final = 1001
INTERNAL_ERROR: Final = 1011
NO_CODE: Final = 1005
ABNORMAL: Final = 1006

LONGEST_REASON: Final = 123
"""Bytes of a reason that fit into a Close frame."""

# RFC 6455 7.4.1, and the registry of IANA.
_CODES: Final = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})

PROMISE: Final = "GServer-WebSocket"
"""The header of a response that means: accept, and run the handler that it names."""

# What frameworks say of content, which there is none of, and what the server says itself.
_NOT_SWITCHING: Final = frozenset(
    {PROMISE.lower(), "content-length", "content-type", "date", "server"}
)


class WebSocket(Protocol):
    """What a handler is given: messages as blocking reads and writes.

    `gserver.websocket.WebSocket` says what each method does. Under an ASGI server threads take the
    place of greenlets.
    """

    @property
    def environ(self) -> dict[str, Any]:
        """The request that it began with."""

    @property
    def subprotocol(self) -> str | None:
        """What was agreed on; None if nothing was."""

    @property
    def close_code(self) -> int | None:
        """The code that it was closed with; None while it is open."""

    @property
    def close_reason(self) -> str:
        """The words that came with it."""

    @property
    def closed(self) -> bool:
        """Nothing can be sent any more."""

    @property
    def peer(self) -> str:
        """The client's address and port, for people to read."""

    def receive(self, timeout: float | None = None) -> str | bytes:
        """Return the next message; blocks until it is whole."""

    def receive_pieces(self, timeout: float | None = None) -> Iterator[Any]:
        """Return an iterator of the next message's pieces, as they come."""

    def send(self, message: str | bytes | bytearray | memoryview) -> None:
        """Send a message; blocks while the peer is slow."""

    def send_pieces(self, pieces: Iterable[str] | Iterable[bytes]) -> None:
        """Send one message, as the iterable gives it."""

    def ping(self, timeout: float | None = None) -> float:
        """Send a Ping, block until its answer comes, and return the seconds of the round trip."""

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close; nothing if it is closed already."""

    def receive_json(self, timeout: float | None = None) -> Any:
        """Return what the next message means as JSON; raises like `receive`, and ValueError."""
        return json.loads(self.receive(timeout))

    def send_json(self, value: Any) -> None:
        """Send a value as JSON text; raises like `send`, and TypeError for what JSON cannot say."""
        self.send(json.dumps(value, separators=(",", ":"), ensure_ascii=False))

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


def is_close_code(code: int) -> bool:
    """Tell whether a Close frame may hold this code (RFC 6455 7.4)."""
    return 3000 <= code <= 4999 or code in _CODES


def check_close(code: int, reason: str) -> None:
    """Check what somebody wants to close with.

    Raises:
        ValueError: The code must not be sent, or the reason is too long.
    """
    if not is_close_code(code):
        raise ValueError(f"close code {code!r} may not be sent: 1000 to 1014 or 3000 to 4999")
    if len(reason.encode()) > LONGEST_REASON:
        raise ValueError(f"a reason of more than {LONGEST_REASON} bytes does not fit")


def closed_error(code: int, reason: str, by_peer: bool) -> ConnectionClosed:
    """Return the error that says how a WebSocket was closed."""
    kind = ClosedOK if code in (NORMAL, GOING_AWAY, NO_CODE) else ClosedError
    return kind(code, reason, by_peer)


def confirm_promise(headers: list[tuple[str, str]], token: str) -> list[tuple[str, str]]:
    """Return what else is in the headers of a response with status 101, for the handshake.

    Args:
        headers: Those that came back from the application.
        token: The value of the header that was promised; empty if none was.

    Raises:
        LocalProtocolError: The promise is not among them.
    """
    promises = [value for name, value in headers if name.lower() == PROMISE.lower()]
    if not token or promises != [token]:
        raise LocalProtocolError(
            "101 is no status of a response: return that of a @websocket handler"
        )
    return [header for header in headers if header[0].lower() not in _NOT_SWITCHING]
