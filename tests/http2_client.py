"""Two blocking HTTP/2 clients on a plain socket, independent of the code under test.

`RawHttp2` sends whatever it is told to, frame by frame, and has no opinion about it; what the
server answers it reads by the letter of RFC 9113. `Http2Client` leaves frames and windows to the
h2 library: several requests on one connection, each step by step.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hpack
from hyperframe import frame as hyperframe

from clients import TIMEOUT, ConnectionEnded, Response

Address = tuple[str, int] | str
Fields = Iterable[tuple[str, str]]
T = TypeVar("T", bound="RawHttp2")

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9
PRIORITY_UPDATE: Final = 0x10

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6

NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
INTERNAL_ERROR: Final = 0x2
FLOW_CONTROL_ERROR: Final = 0x3
SETTINGS_TIMEOUT: Final = 0x4
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
CONNECT_ERROR: Final = 0xA
ENHANCE_YOUR_CALM: Final = 0xB
INADEQUATE_SECURITY: Final = 0xC
HTTP_1_1_REQUIRED: Final = 0xD

LARGEST_WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65535


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame as it goes over the wire."""
    size = len(payload)
    return struct.pack(">BHBBL", size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def request_fields(
    path: str = "/",
    *more: tuple[str, str],
    method: str = "GET",
    scheme: str = "http",
    authority: str = "localhost",
) -> list[tuple[str, str]]:
    """Return the field section of a request."""
    fields = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
    return [*fields, *more]


def tls_context(certificate: str | None = None, *protocols: str) -> ssl.SSLContext:
    """Return a client's context that trusts `certificate` and offers `protocols` by ALPN.

    Without a certificate every server is trusted; without protocols "h2" is offered.
    """
    context = ssl.create_default_context(cafile=certificate)
    if certificate is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols or ("h2",)))
    return context


def _connect(address: Address, tls: ssl.SSLContext | None, timeout: float) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    sock.settimeout(timeout)
    sock.connect(address)
    if not isinstance(address, str):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is not None:
        tls_socket = tls.wrap_socket(sock, server_hostname="localhost")
        assert tls_socket.selected_alpn_protocol() == "h2"
        return tls_socket
    return sock


@dataclass
class Http2Response(Response):
    """A response as far as it has come; `status` is 0 before its head.

    Attributes:
        interim: Interim responses that came before it.
        ended: It has ended in good order.
        code: The error code of its RST_STREAM, which may also follow the end; -1 without one.
        blocks: The content of each DATA frame.
    """

    interim: list[Response] = field(default_factory=list)
    ended: bool = False
    code: int = -1
    blocks: list[bytes] = field(default_factory=list)

    @classmethod
    def empty(cls) -> Http2Response:
        """Return one of which nothing has come."""
        return cls("HTTP/2", 0, "", [])

    @property
    def over(self) -> bool:
        """Nothing more will come."""
        return self.ended or self.code >= 0

    def take_fields(self, fields: list[tuple[str, str]]) -> None:
        """Note a field section: of an interim response, the head, or the trailers."""
        if self.status:
            self.trailers = fields
            assert not any(name.startswith(":") for name, _ in fields), fields
            return
        (name, status), *headers = fields
        assert name == ":status", fields
        assert not any(name.startswith(":") for name, _ in headers), fields
        assert all(name == name.lower() for name, _ in headers), fields
        if status.startswith("1"):
            self.interim.append(Response("HTTP/2", int(status), "", headers))
        else:
            self.status = int(status)
            self.headers = headers

    def take_data(self, data: bytes) -> None:
        """Note content."""
        self.blocks.append(data)
        self.body += data


@dataclass
class Frame:
    """A frame that the server sent, and what it holds.

    Attributes:
        data: Content; the opaque data of a PING; the debug data of a GOAWAY.
        fields: A whole field section, on the frame that ended it.
        code: Of RST_STREAM and GOAWAY.
        last_stream: Of GOAWAY.
        increment: Of WINDOW_UPDATE.
        promised: The stream of a PUSH_PROMISE.
    """

    kind: int
    stream: int
    flags: frozenset[str]
    size: int
    data: bytes = b""
    fields: list[tuple[str, str]] | None = None
    settings: dict[int, int] = field(default_factory=dict)
    code: int = -1
    last_stream: int = -1
    increment: int = 0
    promised: int = 0
    never_indexed: frozenset[str] = frozenset()

    @property
    def ends(self) -> bool:
        """It ends its stream."""
        return "END_STREAM" in self.flags

    @property
    def ack(self) -> bool:
        """It acknowledges."""
        return "ACK" in self.flags


class RawHttp2:
    """One connection, on which anything can be sent.

    Instead of an address it may be given a socket, on which something else was spoken before.
    Every frame that comes is also noted in `frames`, and in the `responses` by stream.

    Attributes:
        polite: SETTINGS and PING frames are acknowledged as they are read.
        grant: What content takes of the windows is granted again as it is read.
        encoder: What `headers` compresses with.
        decoder: Of the server's fields.
    """

    def __init__(
        self,
        address: Address | socket.socket,
        tls: ssl.SSLContext | None = None,
        timeout: float = TIMEOUT,
        *,
        settings: Mapping[int, int] | None = None,
        preface: bool = True,
    ) -> None:
        sock = address if isinstance(address, socket.socket) else _connect(address, tls, timeout)
        self.sock = sock
        self.timeout = timeout
        self.buffer = b""
        self.polite = True
        self.grant = True
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.frames: list[Frame] = []
        self.responses: dict[int, Http2Response] = {}
        self._block = b""
        self._block_ends = False
        self._next = 1
        if preface:
            self.preface(settings)

    def __enter__(self: T) -> T:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, without a GOAWAY."""
        self.sock.close()

    # -- sending -----------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.sock.sendall(data)

    def frame(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        """Send a frame of any type, with any flags and content."""
        self.send(frame(kind, flags, stream, payload))

    def preface(self, settings: Mapping[int, int] | None = None) -> None:
        """Send the preface and the SETTINGS that must follow it."""
        self.send(PREFACE + frame(SETTINGS, 0, 0, _pack_settings(settings or {})))

    def settings(self, settings: Mapping[int, int] | None = None, *, ack: bool = False) -> None:
        """Send SETTINGS."""
        self.frame(SETTINGS, ACK if ack else 0, 0, _pack_settings(settings or {}))

    def encode(self, fields: Fields) -> bytes:
        """Return a field block; the encoder's table changes, so it must be sent."""
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
        return self.encoder.encode(pairs)

    def request(
        self, path: str = "/", *more: tuple[str, str], end: bool = True, method: str = "GET"
    ) -> int:
        """Send the head of a request on the next stream and return that."""
        stream = self._next
        self.headers(stream, request_fields(path, *more, method=method), end=end)
        return stream

    def headers(
        self,
        stream: int,
        fields: Fields,
        *,
        end: bool = False,
        end_headers: bool = True,
        pad: int | None = None,
        priority: tuple[int, int] | None = None,
    ) -> None:
        """Send HEADERS.

        Args:
            stream: Where; the next one for `request` is after it.
            fields: As they are, in any case and any order.
            end: END_STREAM.
            end_headers: END_HEADERS.
            pad: Bytes of padding.
            priority: The stream it depends on, with or without the exclusive bit, and the weight.
        """
        self.block(
            stream,
            self.encode(fields),
            end=end,
            end_headers=end_headers,
            pad=pad,
            priority=priority,
        )

    def block(
        self,
        stream: int,
        block: bytes,
        *,
        end: bool = False,
        end_headers: bool = True,
        pad: int | None = None,
        priority: tuple[int, int] | None = None,
    ) -> None:
        """Send HEADERS with a field block, or a piece of one, that is there already."""
        self._next = max(self._next, stream + 2)
        flags = END_STREAM if end else 0
        if end_headers:
            flags |= END_HEADERS
        if priority is not None:
            flags |= WITH_PRIORITY
            block = struct.pack(">LB", *priority) + block
        if pad is not None:
            flags |= PADDED
            block = bytes([pad]) + block + bytes(pad)
        self.frame(HEADERS, flags, stream, block)

    def continuation(self, stream: int, block: bytes, *, end_headers: bool = True) -> None:
        """Send CONTINUATION."""
        self.frame(CONTINUATION, END_HEADERS if end_headers else 0, stream, block)

    def data(self, stream: int, data: bytes, *, end: bool = False, pad: int | None = None) -> None:
        """Send one DATA frame, whatever the windows allow."""
        flags = END_STREAM if end else 0
        if pad is not None:
            flags |= PADDED
            data = bytes([pad]) + data + bytes(pad)
        self.frame(DATA, flags, stream, data)

    def rst(self, stream: int, code: int = CANCEL) -> None:
        """Send RST_STREAM."""
        self.frame(RST_STREAM, 0, stream, struct.pack(">L", code))

    def priority(self, stream: int, depends_on: int = 0, weight: int = 15) -> None:
        """Send PRIORITY."""
        self.frame(PRIORITY, 0, stream, struct.pack(">LB", depends_on, weight))

    def priority_update(self, stream: int, value: str) -> None:
        """Send PRIORITY_UPDATE (RFC 9218 7.1)."""
        self.frame(PRIORITY_UPDATE, 0, 0, struct.pack(">L", stream) + value.encode())

    def window_update(self, stream: int, increment: int) -> None:
        """Send WINDOW_UPDATE."""
        self.frame(WINDOW_UPDATE, 0, stream, struct.pack(">L", increment))

    def ping(self, data: bytes = b"12345678", *, ack: bool = False) -> None:
        """Send PING."""
        self.frame(PING, ACK if ack else 0, 0, data)

    def goaway(self, last: int = 0, code: int = NO_ERROR, debug: bytes = b"") -> None:
        """Send GOAWAY."""
        self.frame(GOAWAY, 0, 0, struct.pack(">LL", last, code) + debug)

    # -- reading -----------------------------------------------------------------------------

    def read(self, timeout: float | None = None) -> Frame:
        """Read the next frame.

        Raises:
            ConnectionEnded: The server has closed, in good order or by a reset.
            TimeoutError: Nothing came.
        """
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        head = memoryview(self._exactly(9, deadline))
        parsed, length = hyperframe.Frame.parse_frame_header(head)
        parsed.parse_body(memoryview(self._exactly(length, deadline)))
        taken = self._describe(parsed, length)
        self.frames.append(taken)
        self._note(taken)
        return taken

    def until(self, kind: int, stream: int | None = None, timeout: float | None = None) -> Frame:
        """Read frames up to one of this type, on this stream if one is given."""
        while True:
            taken = self.read(timeout)
            if taken.kind == kind and stream in (None, taken.stream):
                return taken

    def response(self, stream: int) -> Http2Response:
        """Read frames until the response on `stream` is over, whole or not."""
        self.wait(lambda: self.progress(stream).over)
        return self.responses[stream]

    def collect(self, streams: Iterable[int]) -> list[Http2Response]:
        """Read frames until the responses on all `streams` are over."""
        return [self.response(stream) for stream in streams]

    def progress(self, stream: int) -> Http2Response:
        """Return what has been read of a response; reads nothing."""
        return self.responses.setdefault(stream, Http2Response.empty())

    def wait(self, condition: Callable[[], bool]) -> None:
        """Read frames until `condition` is true."""
        while not condition():
            self.read()

    def get(self, path: str = "/", *more: tuple[str, str], method: str = "GET") -> Http2Response:
        """Send a request without content and return the response."""
        return self.response(self.request(path, *more, method=method))

    def sync(self) -> list[Frame]:
        """Wait until the server has taken all that was sent; return what it sent meanwhile."""
        mark = struct.pack(">Q", 0xFEED_0000_0000 + len(self.frames))
        begin = len(self.frames)
        self.ping(mark)
        while True:
            taken = self.read()
            if taken.kind == PING and taken.ack and taken.data == mark:
                return self.frames[begin:-1]

    def rest(self) -> list[Frame]:
        """Read frames until the server closes the connection."""
        begin = len(self.frames)
        try:
            while True:
                self.read()
        except ConnectionEnded:
            return self.frames[begin:]

    def broken(self) -> int:
        """Read until the server closes; return the error code of its last GOAWAY, -1 without."""
        self.rest()
        codes = [taken.code for taken in self.frames if taken.kind == GOAWAY]
        return codes[-1] if codes else -1

    def _exactly(self, size: int, deadline: float) -> bytes:
        while len(self.buffer) < size:
            self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                data = self.sock.recv(262144)
            except (ConnectionResetError, BrokenPipeError):
                data = b""
            finally:
                self.sock.settimeout(self.timeout)
            if not data:
                raise ConnectionEnded(f"the server closed; unread: {self.buffer[:200]!r}")
            self.buffer += data
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def _describe(self, parsed: hyperframe.Frame, size: int) -> Frame:
        values: dict[str, Any] = vars(parsed)
        kind = parsed.type if parsed.type is not None else values["type"]
        taken = Frame(kind, parsed.stream_id, frozenset(parsed.flags), size)
        taken.code = values.get("error_code", -1)
        taken.last_stream = values.get("last_stream_id", -1)
        taken.increment = values.get("window_increment", 0)
        taken.promised = values.get("promised_stream_id", 0)
        taken.settings = dict(values.get("settings", {}))
        data = values.get("data", b"")
        if kind in (HEADERS, CONTINUATION, PUSH_PROMISE):
            self._decode(taken, data)
        else:
            taken.data = values.get("opaque_data") or values.get("additional_data") or data
        return taken

    def _decode(self, taken: Frame, block: bytes) -> None:
        self._block += block
        self._block_ends |= taken.ends
        if "END_HEADERS" not in taken.flags:
            return
        fields = list(self.decoder.decode(self._block, raw=True))
        taken.fields = [_text(one) for one in fields]
        taken.never_indexed = frozenset(
            _text(one)[0] for one in fields if not getattr(one, "indexable", True)
        )
        self._block = b""
        if self._block_ends:
            taken.flags |= {"END_STREAM"}
        self._block_ends = False

    def _note(self, taken: Frame) -> None:
        response = self.progress(taken.stream) if taken.stream else Http2Response.empty()
        if taken.kind == DATA:
            assert not response.over, f"DATA after the end of stream {taken.stream}"
            response.take_data(taken.data)
            if self.grant and taken.size:
                self._grant(taken)
        elif taken.kind in (HEADERS, CONTINUATION) and taken.fields is not None:
            assert not response.over, f"HEADERS after the end of stream {taken.stream}"
            response.take_fields(taken.fields)
        elif taken.kind == RST_STREAM:
            response.code = taken.code
        elif self.polite and taken.kind in (SETTINGS, PING) and not taken.ack:
            self._answer(frame(taken.kind, ACK, 0, taken.data))
        if taken.ends and (taken.kind == DATA or taken.fields is not None):
            response.ended = True

    def _grant(self, taken: Frame) -> None:
        increment = struct.pack(">L", taken.size)
        grants = frame(WINDOW_UPDATE, 0, 0, increment)
        if not taken.ends:
            grants += frame(WINDOW_UPDATE, 0, taken.stream, increment)
        self._answer(grants)

    def _answer(self, data: bytes) -> None:
        try:
            self.send(data)
        except ConnectionError:
            pass  # the server has closed; what it said before is there to be read


def _pack_settings(settings: Mapping[int, int]) -> bytes:
    return b"".join(struct.pack(">HL", name, value) for name, value in settings.items())


def _text(pair: tuple[Any, ...]) -> tuple[str, str]:
    return bytes(pair[0]).decode("latin-1"), bytes(pair[1]).decode("latin-1")


class _Connection(h2.connection.H2Connection):
    """h2, which takes a GOAWAY for the end, made to finish what had begun (RFC 9113 6.8)."""

    def _receive_goaway_frame(self, frame: Any) -> tuple[list[Any], list[h2.events.Event]]:
        event = h2.events.ConnectionTerminated()
        event.error_code = frame.error_code
        return [], [event]


class Http2Client:
    """One connection with several requests, on the h2 library.

    A stream's window is granted again as `data` returns its content, so a response that nobody
    reads comes to a halt; the connection's window is as large as can be.

    Attributes:
        responses: By stream; their content is for `data` or `whole` to return.
        goaway: The error code of the server's GOAWAY; -1 without one.
    """

    def __init__(
        self,
        address: Address,
        tls: ssl.SSLContext | None = None,
        timeout: float = TIMEOUT,
        *,
        settings: Mapping[int, int] | None = None,
    ) -> None:
        self.scheme = "http" if tls is None else "https"
        self.sock = _connect(address, tls, timeout)
        self.responses: dict[int, Http2Response] = {}
        self.goaway = -1
        self._unread: dict[int, list[tuple[bytes, int]]] = {}
        self._ended = False
        # What is sent is left as the test wants it; what comes is checked strictly.
        self._h2 = _Connection(
            h2.config.H2Configuration(
                client_side=True,
                header_encoding="latin-1",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        names = h2.settings.SettingCodes
        self._h2.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                names.ENABLE_PUSH: 0,
                names.MAX_CONCURRENT_STREAMS: 100,
                **{names(name): value for name, value in (settings or {}).items()},
            },
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(LARGEST_WINDOW - DEFAULT_WINDOW)
        self._flush()

    def __enter__(self) -> Http2Client:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, without a GOAWAY."""
        self.sock.close()

    # -- sending -----------------------------------------------------------------------------

    def open(self, fields: Fields, *, end: bool) -> int:
        """Send the head of a request and return its stream."""
        stream = self._h2.get_next_available_stream_id()
        self.responses[stream] = Http2Response.empty()
        self._unread[stream] = []
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
        self._h2.send_headers(stream, pairs, end_stream=end)
        self._flush()
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send content, as the windows allow it.

        Raises:
            ConnectionEnded: The server has reset the stream or closed the connection.
        """
        view = memoryview(data)
        while view:
            self.wait(lambda: self._room(stream) > 0 or self.responses[stream].code >= 0)
            if self.responses[stream].code >= 0:
                raise ConnectionEnded(f"the server has reset stream {stream}")
            size = self._room(stream)
            self._h2.send_data(stream, bytes(view[:size]))
            view = view[size:]
            self._flush()
        if end:
            self.end(stream)

    def end(self, stream: int, trailers: Fields = ()) -> None:
        """End the content of a request."""
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in trailers]
        if pairs:
            self._h2.send_headers(stream, pairs, end_stream=True)
        else:
            self._h2.end_stream(stream)
        self._flush()

    def reset(self, stream: int, code: int = CANCEL) -> None:
        """Send RST_STREAM."""
        self._h2.reset_stream(stream, h2.errors.ErrorCodes(code))
        self._flush()

    # -- reading -----------------------------------------------------------------------------

    def head(self, stream: int) -> Http2Response:
        """Return the response as soon as its head is there.

        Raises:
            ConnectionEnded: There will be none.
        """
        response = self.responses[stream]
        self.wait(lambda: bool(response.status) or response.over)
        if not response.status:
            raise ConnectionEnded(f"stream {stream} was reset: {response.code}")
        return response

    def data(self, stream: int) -> bytes:
        """Return the next content of the response, b"" at its end.

        Raises:
            ConnectionEnded: There will be no more, and this was no good end.
        """
        response = self.responses[stream]
        unread = self._unread[stream]
        self.wait(lambda: bool(unread) or response.over)
        if not unread:
            if not response.ended:
                raise ConnectionEnded(f"stream {stream} was reset: {response.code}")
            return b""
        content = b"".join(data for data, _ in unread)
        if not response.over:
            self._h2.acknowledge_received_data(sum(size for _, size in unread), stream)
            self._flush()
        unread.clear()
        return content

    def whole(self, stream: int) -> Http2Response:
        """Read the response to its end, good or bad."""
        response = self.responses[stream]
        try:
            self.head(stream)
            while data := self.data(stream):
                response.take_data(data)
        except ConnectionEnded:
            pass
        return response

    def wait(self, condition: Callable[[], bool]) -> None:
        """Receive until `condition` is true.

        Raises:
            ConnectionEnded: It cannot become true: the server has closed.
            TimeoutError: The server is silent.
        """
        while not condition():
            if self._ended:
                raise ConnectionEnded("the server has closed")
            self._receive()

    def drain(self) -> None:
        """Receive until the server closes, and say goodbye; nothing can be sent any more."""
        try:
            while not self._ended:
                self._receive()
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was a reset

    # -- the library -------------------------------------------------------------------------

    def _room(self, stream: int) -> int:
        if self.responses[stream].code >= 0:
            return 0
        return min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data:
            try:
                self.sock.sendall(data)
            except (ConnectionResetError, BrokenPipeError):
                pass  # what has come can still be read; its end tells

    def _receive(self) -> None:
        try:
            data = self.sock.recv(262144)
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        if not data:
            self._ended = True
            return
        for event in self._h2.receive_data(data):
            self._take(event)
        self._flush()

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ConnectionTerminated(error_code=code):
                self.goaway = int(code or 0)
            case h2.events.InformationalResponseReceived(stream_id=stream, headers=fields):
                self.responses[_known(stream)].take_fields(_pairs(fields))
            case h2.events.ResponseReceived(stream_id=stream, headers=fields):
                self.responses[_known(stream)].take_fields(_pairs(fields))
            case h2.events.TrailersReceived(stream_id=stream, headers=fields):
                self.responses[_known(stream)].take_fields(_pairs(fields))
            case h2.events.DataReceived(stream_id=stream, data=data, flow_controlled_length=size):
                self._unread[_known(stream)].append((data or b"", size or 0))
            case h2.events.StreamEnded(stream_id=stream):
                self.responses[_known(stream)].ended = True
            case h2.events.StreamReset(stream_id=stream, error_code=code):
                self.responses[_known(stream)].code = int(code or 0)


def _known(stream: int | None) -> int:
    assert stream is not None
    return stream


def _pairs(fields: Any) -> list[tuple[str, str]]:
    return [(str(name), str(value)) for name, value in fields]
