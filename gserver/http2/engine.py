"""Engine: the HTTP/2 of one connection, bytes in, events out, bytes out (RFC 9113, 7541, 9218).

An engine knows frames, header compression, flow control and the states of streams. It does no
I/O, knows no greenlets and decides nothing: what is asked for, how much one client may and who
handles a request is the affair of `gserver.http2.protocol`. Nothing here blocks, and all of it is
called in the hub or in handlers' greenlets that run in the hub's thread.

There are two: `gserver.http2.nghttp2`, a binding to libnghttp2, when it was built, and
`gserver.http2.pure`, on the h2 library. They do the same, and pass the same tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Protocol, TypeAlias

Field: TypeAlias = tuple[bytes, bytes, bool]
"""Name, value, and whether it must stay out of the compression context (RFC 7541 7.1.3)."""

Event: TypeAlias = tuple[int, int, Any]
"""What happened, on which stream, and what belongs to it.

REQUEST   ``(fields, ended)``: a request's field section has come whole, as a list of (name,
          value) of bytes, pseudo-header fields first; `ended` tells that no content follows. The
          rules that need nothing but the fields themselves have been checked (RFC 9113 8.1 to
          8.3). `fields` is None if the list was longer than ``max_header_list_size``.
DATA      bytes of content, without padding, never empty.
END       the trailer fields, a list like `fields`: the request's content has ended.
RESET     the error code: the stream is gone before both sides ended it, and the engine has
          forgotten it. Reset by the client, or by the engine because the client broke a rule.
DRAINED   None: what `Engine.send_data` was given has been pulled, all of it.
PRIORITY  bytes: the value of a PRIORITY_UPDATE frame (RFC 9218 7.1). Of streams that exist.
PONG      None: the answer to `Engine.ping`; stream 0.
GOAWAY    the error code: the client will open no more streams; stream 0.
"""

REQUEST: Final = 1
DATA: Final = 2
END: Final = 3
RESET: Final = 4
DRAINED: Final = 5
PRIORITY: Final = 6
PONG: Final = 7
GOAWAY: Final = 8


class ErrorCode(IntEnum):
    """RFC 9113 7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class ConnectionBroken(Exception):
    """The connection cannot go on (RFC 9113 5.4.1); a GOAWAY is ready to be pulled.

    Attributes:
        code: The error code of that GOAWAY.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        name = ErrorCode(self.code).name if self.code in set(ErrorCode) else f"{self.code:#x}"
        return f"{name}: {self.reason}" if self.reason else name


@dataclass(frozen=True)
class Settings:
    """What the server announces, and bounds that the engine itself must keep.

    Attributes:
        max_concurrent_streams: SETTINGS_MAX_CONCURRENT_STREAMS; streams beyond are refused.
        initial_window_size: SETTINGS_INITIAL_WINDOW_SIZE: content of one stream that may come
            before anybody reads it.
        connection_window_size: The same of all streams together.
        max_frame_size: SETTINGS_MAX_FRAME_SIZE.
        header_table_size: SETTINGS_HEADER_TABLE_SIZE, of the decoder.
        encoder_table_size: The most that the encoder's table may hold, whatever the client allows.
        max_header_list_size: SETTINGS_MAX_HEADER_LIST_SIZE, counted as RFC 9113 6.5.2 does. A
            list up to four times as long is still decoded and dropped; a longer one breaks the
            connection (ENHANCE_YOUR_CALM).
        max_continuations: CONTINUATION frames of one field block; more break the connection.
        connect_protocol: SETTINGS_ENABLE_CONNECT_PROTOCOL: requests may be an extended CONNECT
            (RFC 8441), whose content is not the request's.
    """

    max_concurrent_streams: int
    initial_window_size: int
    connection_window_size: int
    max_frame_size: int
    header_table_size: int
    encoder_table_size: int
    max_header_list_size: int
    max_continuations: int
    connect_protocol: bool


Charge: TypeAlias = Callable[[int, int], bool]
"""Told of each received frame that moves nothing forward: its type and its payload's length.

Those are all frames but HEADERS that open a stream, DATA with content or END_STREAM, and
CONTINUATION (which the engine bounds itself). False means: this is too much; the engine then
breaks the connection with ENHANCE_YOUR_CALM. Also called with type RST_STREAM (3) for each
stream that the engine itself resets because the client broke a rule (CVE-2025-8671).
"""


class Engine(Protocol):
    """The HTTP/2 of one connection.

    Attributes:
        events: What happened and was not taken yet. `receive` and `pull` append to it.
        active: Streams that either side has not ended yet, pushed ones among them.
        can_push: The client takes pushed responses, and has room for one more.
        last_stream: The highest stream that the client has opened.
    """

    events: list[Event]

    @property
    def active(self) -> int:
        """See above, like the next two."""

    @property
    def can_push(self) -> bool:
        """Whether `push` may be called."""

    @property
    def last_stream(self) -> int:
        """The stream's number, 0 if there was none."""

    # -- the client's bytes -------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes that came; the client's preface is the first of them.

        Raises:
            ConnectionBroken: They break a rule that the connection does not survive. Call
                nothing but `pull` from there on.
        """

    def upgrade(self, settings: bytes, head: bool) -> None:
        """Begin with stream 1 open and ended by the client: its request came over HTTP/1.1.

        Call it first of all. `settings` is the decoded HTTP2-Settings field; `head` tells that
        it was a HEAD request.

        Raises:
            ConnectionBroken: The settings are malformed.
        """

    # -- our bytes ----------------------------------------------------------------------------

    def pull(self, size: int) -> bytes:
        """Return what is to be sent next, about `size` bytes at most; b"" if there is nothing.

        Control frames first; then the content of the streams by urgency (RFC 9218 10), those of
        one urgency in turns, as far as the client's windows allow.
        """

    def respond(self, stream: int, fields: list[Field], body: bytes) -> None:
        """Send a whole response; `fields` begins with ``:status``."""

    def send_head(self, stream: int, fields: list[Field]) -> None:
        """Send the field section of a response whose content follows."""

    def send_informational(self, stream: int, fields: list[Field]) -> None:
        """Send an interim response (RFC 9110 15.2)."""

    def send_data(self, stream: int, data: bytes) -> None:
        """Send content, behind what was given before; a DRAINED event tells when it was pulled.

        The engine keeps no copy: `data` is held until then.
        """

    def send_end(self, stream: int, trailers: list[Field]) -> None:
        """End a response behind its content, with trailer fields if there are any."""

    def unsent(self, stream: int) -> int:
        """Return how many bytes of the stream's content were not pulled yet."""

    def reset(self, stream: int, code: int) -> None:
        """Send RST_STREAM and forget the stream; no event follows. Nothing if it is gone."""

    def discard(self, stream: int) -> None:
        """Drop the request's content that still comes; no more DATA or END events.

        Once the response has ended, a client that still sends is told to stop, by
        RST_STREAM(NO_ERROR) (RFC 9113 8.1).
        """

    def gather(self, stream: int, size: int) -> None:
        """Give the next `size` bytes of the request's content out in one DATA event, if it can.

        In fewer bytes if the content ends before. Each frame is copied to its place at once,
        not first into an object of its own. Ignored while the engine gathers already.
        """

    def gathered(self, stream: int) -> bytes:
        """Return what was gathered so far, instead of giving it out, and gather no more."""

    def consume(self, stream: int, size: int) -> None:
        """Let the client send so much more on this stream: the application has read it.

        The connection's window the engine opens by itself, as DATA comes: a stream that nobody
        reads must not stall the others.
        """

    def widen(self, stream: int, size: int) -> None:
        """Make the stream's window at least `size`: somebody reads it."""

    def push(self, stream: int, fields: list[Field]) -> int:
        """Promise a response (PUSH_PROMISE on `stream`); return the promised stream.

        Only while `can_push`. `fields` is the request's section. Respond on the promised stream.
        """

    def prioritise(self, stream: int, urgency: int, incremental: bool) -> None:
        """Set the stream's priority; 3 and False are the defaults (RFC 9218 4)."""

    def ping(self) -> None:
        """Send a PING; its answer is a PONG event."""

    def announce_shutdown(self) -> None:
        """Send the first GOAWAY of a graceful end, which still allows every stream (6.8)."""

    def go_away(self, code: int) -> None:
        """Send the GOAWAY that names the last stream which is honoured; newer ones are ignored."""
