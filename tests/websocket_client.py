"""A WebSocket client at the level of frames, over HTTP/1.1 and HTTP/2, and what tests reach it by.

Independent of the code under test and of every WebSocket library: it sends whatever it is told to
and reads by the letter of RFC 6455, RFC 7692 and RFC 8441. What the server may not send is a
`Fault`.

The fixture `carrier` (tests/conftest.py) runs a test once over each transport. It is a function::

    def test_echo(carrier: StartCarrier) -> None:      # from conftest import StartCarrier
        server = carrier(echo, websocket_ping_interval=0.0)     # handler, options of Config
        ws = server.open("/chat", ("Origin", "http://localhost"), subprotocols=["chat"])
        assert (ws.accepted, ws.subprotocol) == (True, "chat")
        ws.send_message("hello")
        assert ws.message() == "hello"
        assert ws.shut() == Close(1000)

`Carrier.open` does the handshake; a header replaces the usual one of that name, or takes it away
(None); on HTTP/2 pseudo-fields are headers too. `beside=ws` opens on the connection of another one.
`Carrier.stop` stops the server in the background, `Carrier.call` runs a function in its thread.

`WebSocketClient` sends: `send` bytes, cut or not (`offer`: as far as they go); `send_frame` with
any bits; `send_message`, fragmented or not, compressed or not; `ping`, `close_frame`. The function
`encode` makes a frame.
It reads: `frame`; `event`, which is a message (str or bytes), `Ping`, `Pong` or `Close`;
`message`, the next event if it is one; `rest`, all events up to a clean end; `verdict`, those
before the Close and its code; `end`, nothing but the end; `sync`, all events up to the answer to
a ping; `shut` does the closing handshake. All wait for ten seconds at most.
It leaves: `finish` (half-close), `vanish` (reset), `leave` (this one), `close` (the connection).
Nothing is answered without being told to: neither pings nor Close.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from clients import RawClient, Response
from websocket_frames import (
    MASK,
    NO_CODE,
    RSV1,
    Close,
    Deflate,
    Event,
    Fault,
    Frame,
    Op,
    Ping,
    Pong,
    close_payload,
    cut,
    encode,
    fragments,
    mask,
    settled,
)
from websocket_wires import Http1Wire, Http2Connection, Http2Wire, TransportEnded, Wire

__all__ = [
    "MASK",
    "NO_CODE",
    "RSV1",
    "Carrier",
    "Close",
    "Deflate",
    "Event",
    "Fault",
    "Frame",
    "Header",
    "Op",
    "Open",
    "Ping",
    "Pong",
    "TransportEnded",
    "WebSocketClient",
    "close_payload",
    "cut",
    "encode",
    "fragments",
    "mask",
]

GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="

Header = tuple[str, str | None]


class WebSocketClient:
    """One WebSocket, from the handshake on.

    Attributes:
        response: To the handshake; read by `answer`.
        deflate: What was agreed of compression.
    """

    def __init__(self, wire: Wire, key: str | None) -> None:
        self.wire = wire
        self.response = Response("", 0, "", [])
        self.deflate: Deflate | None = None
        self._key = key
        self._buffer = bytearray()
        self._begun: Frame | None = None  # the first of a message whose last is still to come
        self._parts: list[bytes] = []
        self._closed = False
        self._syncs = 0

    # -- the handshake -----------------------------------------------------------------------

    def answer(self) -> Response:
        """Read the response to the handshake, and see that it is right if it accepts."""
        self.response = response = self.wire.answer()
        if not self.accepted:
            return response
        if self._key is not None:
            digest = hashlib.sha1(self._key.encode() + GUID.encode()).digest()
            assert response["Sec-WebSocket-Accept"] == base64.b64encode(digest).decode()
        for name in ("Content-Length", "Transfer-Encoding"):
            assert name not in response, response.headers
        if not self.wire.http2:
            assert response["Upgrade"].lower() == "websocket"
            assert response["Connection"].lower() == "upgrade"
        if "Sec-WebSocket-Extensions" in response:
            self.deflate = settled(response["Sec-WebSocket-Extensions"])
        return response

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def accepted(self) -> bool:
        return self.status == (200 if self.wire.http2 else 101)

    @property
    def subprotocol(self) -> str | None:
        names = self.response.all("Sec-WebSocket-Protocol")
        assert len(names) <= 1, names
        return names[0] if names else None

    # -- sending -----------------------------------------------------------------------------

    def send(self, data: bytes, size: int = 0) -> None:
        """Send bytes as they are, in pieces of `size` if that is given.

        Raises:
            TransportEnded: The server takes no more.
        """
        for piece in cut(data, size) if size else [data]:
            self.wire.send(piece)

    def offer(self, data: bytes, size: int = 0) -> None:
        """Send bytes like `send`, as far as the server takes them."""
        try:
            self.send(data, size)
        except TransportEnded:
            pass  # what it said before is there to be read

    def send_frame(self, op: int, payload: bytes = b"", **bits: Any) -> None:
        """Send a frame; the keyword arguments are those of `encode`."""
        self.send(encode(op, payload, **bits))

    def encode_message(
        self, message: str | bytes, *, size: int = 0, compress: bool | None = None
    ) -> bytes:
        """Return a message as it goes over the wire.

        Args:
            message: Text or bytes.
            size: Of the payload of each frame; by default there is one frame.
            compress: By default wherever it was agreed.
        """
        op = Op.TEXT if isinstance(message, str) else Op.BINARY
        data = message.encode() if isinstance(message, str) else message
        rsv = 0
        if self.deflate is not None and compress is not False:
            data, rsv = self.deflate.compress(data), RSV1
        return fragments(op, cut(data, size) if size else [data], rsv)

    def send_message(
        self, message: str | bytes, *, size: int = 0, compress: bool | None = None
    ) -> None:
        """Send a message; see `encode_message`."""
        self.send(self.encode_message(message, size=size, compress=compress))

    def ping(self, payload: bytes = b"") -> None:
        self.send_frame(Op.PING, payload)

    def close_frame(self, code: int = 1000, reason: str | bytes = "") -> None:
        """Send a Close; without a code if that is NO_CODE."""
        self.send_frame(Op.CLOSE, b"" if code == NO_CODE else close_payload(code, reason))

    def finish(self) -> None:
        """Say that nothing more will be sent: FIN, or END_STREAM."""
        self.wire.finish()

    def vanish(self) -> None:
        """Leave without a word: RST, or RST_STREAM."""
        self.wire.vanish()

    def leave(self) -> None:
        """End the transport of this WebSocket and no other, without a Close."""
        self.wire.leave()

    def close(self) -> None:
        """Close the transport, on HTTP/2 that of others too."""
        self.wire.close()

    # -- reading -----------------------------------------------------------------------------

    def _need(self, size: int) -> None:
        while len(self._buffer) < size:
            data = self.wire.receive()
            if not data:
                if self._buffer:
                    raise Fault(f"ended within a frame: {bytes(self._buffer[:200])!r}")
                raise TransportEnded("the server has ended the transport", clean=True)
            self._buffer += data

    def frame(self) -> Frame:
        """Read the next frame.

        Raises:
            Fault: It is not allowed.
            TransportEnded: There is none.
        """
        self._need(2)
        first, second = self._buffer[:2]
        if second & 128:
            raise Fault("a masked frame")
        length, head = second, 2
        if second >= 126:
            head = 4 if second == 126 else 10
            self._need(head)
            length = int.from_bytes(self._buffer[2:head], "big")
            if length < (126 if second == 126 else 65536) or length >> 63:
                raise Fault(f"a length in the wrong form: {length}")
        if first & 15 not in set(Op):
            raise Fault(f"a reserved opcode: {first & 15}")
        self._need(head + length)
        payload = bytes(self._buffer[head : head + length])
        del self._buffer[: head + length]
        taken = Frame(Op(first & 15), payload, bool(first & 128), first >> 4 & 7)
        self._check(taken)
        return taken

    def _check(self, taken: Frame) -> None:
        if self._closed:
            raise Fault(f"a frame after Close: {taken}")
        control = taken.op >= Op.CLOSE
        if control and (not taken.fin or len(taken.payload) > 125):
            raise Fault(f"a control frame that is fragmented or too long: {taken}")
        compressible = self.deflate is not None and taken.op in (Op.TEXT, Op.BINARY)
        if taken.rsv not in ((0, RSV1) if compressible else (0,)):
            raise Fault(f"reserved bits: {taken}")
        if not control:
            if (taken.op == Op.CONTINUATION) != (self._begun is not None):
                raise Fault(f"a frame out of order: {taken}")
            if not taken.fin:
                self._begun = self._begun or taken
        self._closed = taken.op == Op.CLOSE

    def event(self) -> Event:
        """Read the next message or control frame."""
        while True:
            taken = self.frame()
            if taken.op == Op.PING:
                return Ping(taken.payload)
            if taken.op == Op.PONG:
                return Pong(taken.payload)
            if taken.op == Op.CLOSE:
                return _close(taken.payload)
            self._parts.append(taken.payload)
            if taken.fin:
                return self._whole(taken)

    def _whole(self, last: Frame) -> str | bytes:
        first = self._begun or last
        data = b"".join(self._parts)
        self._begun = None
        self._parts.clear()
        if first.rsv:
            assert self.deflate is not None
            data = self.deflate.decompress(data)
        return data.decode() if first.op == Op.TEXT else data

    def message(self) -> str | bytes:
        """Read the next event, which is a message."""
        event = self.event()
        if not isinstance(event, (str, bytes)):
            raise Fault(f"no message: {event}")
        return event

    def events(self) -> Iterator[Event]:
        """Read to the end of the transport, which must be clean."""
        while True:
            try:
                event = self.event()
            except TransportEnded as exc:
                if not exc.clean or self._parts:
                    raise Fault("a reset, or the end within a message") from exc
                return
            yield event

    def rest(self) -> list[Event]:
        """Return all events up to the end of the transport, which must be clean."""
        return list(self.events())

    def verdict(self) -> tuple[list[Event], int]:
        """Read to the clean end; return what came before the server's Close, and its code."""
        events = self.rest()
        last = events.pop() if events else None
        if not isinstance(last, Close):
            raise Fault(f"no Close: {events}, {last!r}")
        return events, last.code

    def end(self) -> bool:
        """Wait for the end, before which nothing may come; tell whether it is clean."""
        try:
            raise Fault(f"not the end: {self.frame()}")
        except TransportEnded as exc:
            return exc.clean

    def sync(self) -> list[Event]:
        """Send a ping; return the events that come before the answer to it."""
        self._syncs += 1
        mark = b"sync %d" % self._syncs
        self.ping(mark)
        events: list[Event] = []
        while (event := self.event()) != Pong(mark):
            events.append(event)
        return events

    def shut(self, code: int = 1000, reason: str = "") -> Close:
        """Do the closing handshake to the end of the transport; return the server's Close."""
        self.close_frame(code, reason)
        *others, answer = self.rest()
        if others or not isinstance(answer, Close):
            raise Fault(f"more than the answer to Close: {[*others, answer]}")
        return answer


def _close(payload: bytes) -> Close:
    if not payload:
        return Close()
    if len(payload) == 1:
        raise Fault("half a code")
    return Close(int.from_bytes(payload[:2], "big"), payload[2:].decode())


Open = Callable[..., WebSocketClient]
"""Opens a WebSocket; takes the arguments of `Carrier.open`."""


class Carrier:
    """A server, and WebSockets to it over one transport.

    Attributes:
        server: The `ServerThread`.
        http2: They go over HTTP/2.
    """

    def __init__(self, server: Any, *, http2: bool) -> None:
        self.server = server
        self.http2 = http2
        self.call: Callable[..., Any] = server.call
        self._open: list[Wire] = []
        self._stopping: threading.Thread | None = None

    def open(
        self,
        target: str = "/",
        *headers: Header,
        subprotocols: Iterable[str] = (),
        extensions: str = "",
        beside: WebSocketClient | None = None,
        wait: bool = True,
        then: bytes = b"",
    ) -> WebSocketClient:
        """Do the handshake and return a WebSocket, accepted or not.

        Args:
            target: Path and query.
            headers: Replace those of the same names, in order; None takes away.
            subprotocols: Sec-WebSocket-Protocol.
            extensions: Sec-WebSocket-Extensions.
            beside: Whose connection to use: on HTTP/1.1 of one that was refused.
            wait: For the response; else `answer` is to be called.
            then: Sent right behind the handshake, on HTTP/1.1 in the same packet.
        """
        more = list(headers)
        if subprotocols:
            more.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
        if extensions:
            more.append(("Sec-WebSocket-Extensions", extensions))
        wire: Wire
        if self.http2:
            fields = replaced(http2_fields(target), [(one.lower(), value) for one, value in more])
            wire = self._connect2(beside, fields)
            if then:
                wire.send(then)
        else:
            fields = replaced(http1_fields(), more)
            wire = self._connect1(beside, target, fields, then)
        self._open.append(wire)
        keys = [value for name, value in fields if name.lower() == "sec-websocket-key"]
        client = WebSocketClient(wire, keys[0] if keys else None)
        if wait:
            client.answer()
        return client

    def _connect1(
        self,
        beside: WebSocketClient | None,
        target: str,
        fields: list[tuple[str, str]],
        then: bytes,
    ) -> Http1Wire:
        if beside is not None and not beside.accepted:
            assert isinstance(beside.wire, Http1Wire)
            wire = Http1Wire(beside.wire.client)
        else:
            wire = Http1Wire(RawClient(self.server.address))
        method = dict(fields).get(":method", "GET")
        lines = [f"{name}: {value}" for name, value in fields if name != ":method"]
        head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""])
        wire.send(head.encode("latin-1") + then)
        return wire

    def _connect2(self, beside: WebSocketClient | None, fields: list[tuple[str, str]]) -> Http2Wire:
        if beside is not None:
            assert isinstance(beside.wire, Http2Wire)
            connection = beside.wire.connection
        else:
            connection = Http2Connection(self.server.address)
            assert connection.extended, "the server has not announced extended CONNECT"
        return Http2Wire(connection, connection.open(fields, end=False))

    def stop(self, timeout: float = 5) -> None:
        """Begin to stop the server; read on to see what it says."""
        self._stopping = threading.Thread(target=self.server.stop, args=(timeout,), daemon=True)
        self._stopping.start()

    def close(self) -> None:
        """Close all connections, and wait for a server that stops."""
        for wire in self._open:
            wire.close()
        if self._stopping is not None:
            self._stopping.join(30)


def http1_fields() -> list[Header]:
    """Return the usual headers of a handshake."""
    return [
        ("Host", "localhost"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
    ]


def http2_fields(target: str) -> list[Header]:
    """Return the usual fields of an extended CONNECT."""
    return [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", target),
        (":authority", "localhost"),
        ("sec-websocket-version", "13"),
    ]


def replaced(usual: Iterable[Header], headers: Sequence[Header]) -> list[tuple[str, str]]:
    """Return the usual headers, with those replaced or taken away that are in `headers`."""
    names = {name.lower() for name, _ in headers}
    left = [one for one in usual if one[0].lower() not in names]
    both = [*left, *headers]
    both.sort(key=lambda one: not one[0].startswith(":"))  # pseudo-fields come first
    return [(name, value) for name, value in both if value is not None]
