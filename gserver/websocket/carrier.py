"""What a WebSocket asks of the server: bytes carried both ways, a clock, and its limits.

An HTTP/1.1 connection after its upgrade is a carrier (RFC 6455), and so is one stream of an HTTP/2
connection (RFC 8441); a WebSocket cannot tell which one it lives on.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias


class Receiver(Protocol):
    """Who is told what happens on a carrier; all of it is called in the hub."""

    def receive_data(self, data: bytes) -> None:
        """Take bytes."""

    def receive_eof(self) -> None:
        """Note that no more will come, in good order."""

    def lost(self) -> None:
        """Note that the carrier is gone; the last call."""

    def drained(self) -> None:
        """Go on writing: all that was written has left."""

    def drain(self) -> None:
        """Take leave: the server stops."""


class Carrier(Protocol):
    """Carries bytes to one client and back; its methods never block and may be called anywhere."""

    @property
    def unsent(self) -> int:
        """How many of the bytes that were written have not left yet."""

    @property
    def peer(self) -> str:
        """Who is at the other end, for people to read."""

    def attach(self, receiver: Receiver) -> None:
        """Say who is told; what has come already follows in the next turn of the loop."""

    def write(self, data: bytes) -> None:
        """Send bytes, behind what was written before."""

    def pause(self) -> None:
        """Take no more from the client, so that it has to wait."""

    def resume(self) -> None:
        """Take more."""

    def finish(self) -> None:
        """Send nothing behind what was written, and drop what still comes."""

    def abort(self) -> None:
        """Cut the client off."""


class Clock(Protocol):
    """See `gserver.clock.Clock`."""

    now: float
    watched: set[Any]

    def after(self, seconds: float) -> float:
        """Return the deadline of a timeout that starts now."""

    def pass_turn(self) -> None:
        """Block this greenlet for one turn of the loop."""


class Options(Protocol):
    """What `gserver.Config` says of WebSockets."""

    @property
    def websocket_max_message_size(self) -> int: ...  # noqa: D102
    @property
    def websocket_max_frame_size(self) -> int: ...  # noqa: D102
    @property
    def websocket_max_queue(self) -> int: ...  # noqa: D102
    @property
    def websocket_ping_interval(self) -> float: ...  # noqa: D102
    @property
    def websocket_ping_timeout(self) -> float: ...  # noqa: D102
    @property
    def websocket_close_timeout(self) -> float: ...  # noqa: D102
    @property
    def websocket_compression(self) -> bool: ...  # noqa: D102
    @property
    def websocket_context_takeover(self) -> bool: ...  # noqa: D102
    @property
    def write_timeout(self) -> float: ...  # noqa: D102


class Server(Protocol):
    """What all WebSockets of one server share.

    Attributes:
        config: The server's Config.
        clock: The server's clock.
        hub: gevent's hub, which the server runs in.
    """

    @property
    def config(self) -> Options: ...  # noqa: D102
    @property
    def clock(self) -> Clock: ...  # noqa: D102
    @property
    def hub(self) -> Any: ...  # noqa: D102


Headers: TypeAlias = list[tuple[str, str]]


class Upgradable(Protocol):
    """A request that asks for a WebSocket, and has not been answered.

    Attributes:
        environ: The request as the application sees it.
    """

    environ: dict[str, Any]

    def claim(self) -> None:
        """Send nothing of what the application says from here on.

        Raises:
            LocalProtocolError: The response has begun.
        """

    def switch(self, headers: Headers) -> Carrier:
        """Answer the handshake, with these fields beside those of the protocol; after `claim`.

        Never blocks, and may be called in the hub.

        Raises:
            Disconnected: The client has gone.
            LocalProtocolError: A field cannot be sent.
        """

    def answer(self, status: str, headers: Headers, body: bytes) -> None:
        """Send an ordinary response instead; after `claim`; may block."""
