"""What is measured: each scenario puts one server under one kind of load and returns figures.

The first figure of a scenario is the one that the summary and the chart show. For most it is the
processor time that the server used, divided by the work that it did.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import ClassVar

import apps
import h2load
import loader
import wrk
import wsload
from errors import Failed
from http2 import Client
from load import Load, Outcome
from process import Running
from servers import STREAMS, Server, Wire

WARM_UP_SECONDS = 1
SETTLE_SECONDS = 0.5
TIMEOUT_SECONDS = 10.0
IDLE_CONNECTIONS = 5_000
IDLE_HTTP2_CONNECTIONS = 1_000
WEBSOCKETS = 5_000
"""How many wait, or are told what is broadcast."""

OPEN_CONNECTIONS = 10_000

PER_REQUEST = "CPU us/request"

BROWSER_HEADERS = {
    "Connection": "keep-alive",
    "sec-ch-ua": '"Chromium";v="140", "Not=A?Brand";v="24", "Google Chrome";v="140"',
    "Upgrade-Insecure-Requests": "1",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/140.0.0.0 Safari/537.36",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,"
    "image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
    "Sec-Fetch-Mode": "navigate",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept-Language": "en-GB,en;q=0.9,de;q=0.8",
    "Cookie": "sessionid=f3a9c1d27b5e48d0a6c4e2b19d7f8035; csrftoken=Zk3vQ9sX1mB7pL5t; theme=dark",
}
"""What Chrome sends with a navigation, as far as ten headers go; the tenth is Host."""

BROWSER_FIELDS = {name: value for name, value in BROWSER_HEADERS.items() if name != "Connection"}
BROWSER_FIELDS |= {"Sec-Fetch-Site": "none", "Priority": "u=0, i"}
"""The same over HTTP/2: ten, beside the four pseudo-header fields."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures of one round; `errors` tells what the load generator complained of, if so."""

    figures: Mapping[str, float]
    errors: str = ""


@dataclass(frozen=True, slots=True)
class Scenario(ABC):
    """One kind of load. `figures` names what `measure` returns, the leading one first."""

    key: str
    title: str
    application: str
    wire: Wire = field(default=Wire.HTTP, kw_only=True)
    figures: ClassVar[tuple[str, ...]]

    def suits(self, server: Server) -> bool:
        """Tell whether a server can take part."""
        return self.wire in server.wires and self.application not in server.without

    @abstractmethod
    def measure(self, server: Running, seconds: int) -> Sample:
        """Check that the server answers right, then measure it.

        Raises:
            Failed: It did not, or it did not stand the load.
        """

    def sample(self, values: Iterable[float], errors: str = "") -> Sample:
        """Return the values under the names of the scenario's figures."""
        return Sample(dict(zip(self.figures, values, strict=True)), errors)


@dataclass(frozen=True, slots=True)
class Requests(Scenario):
    """Small requests over kept-alive connections, as many as the server answers."""

    answer: bytes
    load: Load = field(default_factory=Load)
    body: bytes | None = None
    figures: ClassVar = (PER_REQUEST, "requests/s")

    def measure(self, server: Running, seconds: int) -> Sample:
        """Return CPU time per request, and requests per second."""
        check_answer(server, self.answer, self.load.headers, self.body)
        wrk.run(server.url, self.load, WARM_UP_SECONDS)
        outcome, cpu = run_load(server, self.load, seconds)
        return self.sample((cpu, outcome.per_second), outcome.errors)


@dataclass(frozen=True, slots=True)
class Streams(Requests):
    """Small requests over HTTP/2, many at once on each of a few connections."""

    def measure(self, server: Running, seconds: int) -> Sample:
        """Return CPU time per request, and requests per second."""
        check_http2_answer(server, self.answer, self.load.headers)
        speed = h2load.warm_up(server.url, self.load, WARM_UP_SECONDS).per_second
        requests = _whole_rounds(speed * seconds)
        before = server.cpu_seconds()
        outcome = h2load.run(server.url, self.load, requests).outcome
        cpu = (server.cpu_seconds() - before) * 1e6 / requests
        return self.sample((cpu, outcome.per_second), outcome.errors)


@dataclass(frozen=True, slots=True)
class Transfer(Scenario):
    """A large body over one connection, the next as soon as one is through."""

    transfer: Callable[[int, float], int]
    figures: ClassVar = ("CPU us/MiB", "MiB/s")

    def measure(self, server: Running, seconds: int) -> Sample:
        """Return CPU time per MiB, and MiB per second; the loader checks each answer."""
        before, start = server.cpu_seconds(), time.monotonic()
        mib = self.transfer(server.port, seconds) * apps.TRANSFER / apps.MIB
        elapsed, cpu = time.monotonic() - start, server.cpu_seconds() - before
        return self.sample((cpu * 1e6 / mib, mib / elapsed))


@dataclass(frozen=True, slots=True)
class StreamTransfer(Scenario):
    """A body on each of many streams at once, the next as soon as one is through."""

    upload: bool
    figures: ClassVar = ("CPU us/MiB", "MiB/s")

    def measure(self, server: Running, seconds: int) -> Sample:
        """Return CPU time per MiB, and MiB per second; what goes through is checked."""
        with NamedTemporaryFile() as file:
            file.write(bytes(apps.PART))
            file.flush()
            path = Path(file.name) if self.upload else None
            speed = self._transfer(server, h2load.AT_ONCE, path).per_second
            requests = _whole_rounds(speed * seconds)
            before = server.cpu_seconds()
            outcome = self._transfer(server, requests, path)
            cpu = server.cpu_seconds() - before
        part = apps.PART / apps.MIB
        return self.sample((cpu * 1e6 / requests / part, outcome.per_second * part), outcome.errors)

    def _transfer(self, server: Running, requests: int, upload: Path | None) -> Outcome:
        report = h2load.run(server.url, Load(), requests, upload)
        if not upload and report.body_bytes != requests * apps.PART:
            raise Failed(f"{report.body_bytes} bytes came for {requests} requests")
        return report.outcome


@dataclass(frozen=True, slots=True)
class IdleMemory(Scenario):
    """What a connection keeps occupied between two requests."""

    connections: int = IDLE_CONNECTIONS
    hold: Callable[[int, int], AbstractContextManager[object]] = loader.idle_connections
    figures: ClassVar = ("KiB/connection",)

    def measure(self, server: Running, seconds: int) -> Sample:
        """Return the growth of the server's resident memory, for each connection."""
        # The first connections also pay for what is made once, such as a pool of threads.
        with self.hold(server.port, loader.BATCH):
            pass
        time.sleep(SETTLE_SECONDS)
        before = server.memory_bytes()
        with self.hold(server.port, self.connections):
            time.sleep(SETTLE_SECONDS)
            grown = server.memory_bytes() - before
        return self.sample((grown / 1024 / self.connections,))


@dataclass(frozen=True, slots=True)
class WaitingStreams(Scenario):
    """What a request of HTTP/2 keeps occupied while its application waits."""

    figures: ClassVar = ("KiB/stream",)

    def measure(self, server: Running, seconds: int) -> Sample:
        """Return the growth of the server's resident memory, for each stream of a connection.

        Raises:
            Failed: They did not all wait at the same time.
        """
        with loader.connect(server.port) as peer:
            client = Client(peer)
            client.ask()
            client.answers()
            time.sleep(SETTLE_SECONDS)
            before, start = server.memory_bytes(), time.monotonic()
            for _ in range(STREAMS):
                client.ask()
            time.sleep(apps.SLEEP_SECONDS / 2)
            grown = server.memory_bytes() - before
            client.answers()
        if time.monotonic() - start > apps.SLEEP_SECONDS * 1.5:
            raise Failed("some streams waited for others")
        return self.sample((grown / 1024 / STREAMS,))


@dataclass(frozen=True, slots=True)
class BusyAmongIdle(Scenario):
    """A few busy connections among many idle ones, against the same without the idle ones."""

    figures: ClassVar = (PER_REQUEST, "without idle ones", "ratio")

    def measure(self, server: Running, seconds: int) -> Sample:
        """Return CPU time per request with and without the idle connections, and their ratio."""
        check_answer(server, apps.HELLO)
        load = Load()
        wrk.run(server.url, load, WARM_UP_SECONDS)
        alone, cpu_alone = run_load(server, load, seconds)
        with loader.idle_connections(server.port, OPEN_CONNECTIONS - wrk.CONNECTIONS):
            time.sleep(SETTLE_SECONDS)
            among, cpu_among = run_load(server, load, seconds)
        errors = "; ".join(filter(None, (alone.errors, among.errors)))
        return self.sample((cpu_among, cpu_alone, cpu_among / cpu_alone), errors)


@dataclass(frozen=True, slots=True)
class WebSockets(Scenario):
    """WebSockets, as much as the server stands of what wsload does in a mode."""

    application: str = field(default="websockets", init=False)
    connections: int = wrk.CONNECTIONS
    size: int = 32
    binary: bool = False
    mode: ClassVar[str]
    path: ClassVar = "/echo"

    def measure(self, server: Running, seconds: int) -> Sample:
        """Return CPU time for each, and how many per second; wsload checks what comes."""
        options = {"path": self.path, "connections": self.connections, "size": self.size}
        if self.binary:
            options["binary"] = True
        with wsload.connect(self.mode, server.port, **options) as client:
            # So that applications have taken note of the last connections too.
            time.sleep(SETTLE_SECONDS)
            client.run(WARM_UP_SECONDS)
            before = server.cpu_seconds()
            outcome = client.run(seconds)
            cpu = (server.cpu_seconds() - before) * 1e6 / outcome.requests
        return self.sample((cpu, outcome.per_second))


@dataclass(frozen=True, slots=True)
class Messages(WebSockets):
    """Messages that come back, one under way on each WebSocket."""

    mode: ClassVar = "echo"
    figures: ClassVar = ("CPU us/message", "messages/s")


@dataclass(frozen=True, slots=True)
class Handshakes(WebSockets):
    """Connections that are opened, have a message echoed, and are closed."""

    mode: ClassVar = "connect"
    figures: ClassVar = ("CPU us/connection", "connections/s")


@dataclass(frozen=True, slots=True)
class Broadcast(WebSockets):
    """A message from one that goes to all, the next as soon as it has come everywhere."""

    mode: ClassVar = "broadcast"
    path: ClassVar = "/broadcast"
    figures: ClassVar = ("CPU us/delivery", "deliveries/s")


@dataclass(frozen=True, slots=True)
class IdleStreams(IdleMemory):
    """What a WebSocket over HTTP/2 keeps occupied while it waits."""

    figures: ClassVar = ("KiB/WebSocket",)

    def suits(self, server: Server) -> bool:
        """Tell whether a server can take part: of these, only ours can."""
        return server.ours and IdleMemory.suits(self, server)


SCENARIOS: tuple[Scenario, ...] = (
    Requests("hello", "hello", "hello", apps.HELLO),
    Requests(
        "headers", "hello, browser's headers", "hello", apps.HELLO, load=Load(BROWSER_HEADERS)
    ),
    Requests("page", "10 KiB page", "page", apps.PAGE),
    Requests(
        "echo",
        "POST, 1 KiB echoed",
        "echo",
        b"x" * 1024,
        load=Load(script=Path(__file__).with_name("post.lua")),
        body=b"x" * 1024,
    ),
    Requests("tls", "hello over TLS", "hello", apps.HELLO, wire=Wire.HTTPS),
    Transfer("download", "256 MiB download", "download", loader.download),
    Transfer("upload", "256 MiB upload", "upload", loader.upload),
    IdleMemory("idle", f"idle connection, one of {IDLE_CONNECTIONS:,}", "hello"),
    BusyAmongIdle(
        "busy", f"hello, {wrk.CONNECTIONS} busy of {OPEN_CONNECTIONS:,} connections", "hello"
    ),
    Requests("interfaces", "hello", "hello", apps.HELLO, wire=Wire.INTERFACE),
    Streams("h2-hello", "hello", "hello", apps.HELLO, wire=Wire.H2C),
    Streams(
        *("h2-headers", "hello, browser's headers", "hello", apps.HELLO),
        load=Load(BROWSER_FIELDS),
        wire=Wire.H2C,
    ),
    Streams("h2-page", "10 KiB page", "page", apps.PAGE, wire=Wire.H2C),
    Streams("h2-tls", "hello over TLS", "hello", apps.HELLO, wire=Wire.H2),
    StreamTransfer("h2-download", "512 KiB downloads", "part", upload=False, wire=Wire.H2C),
    StreamTransfer("h2-upload", "512 KiB uploads", "upload", upload=True, wire=Wire.H2C),
    IdleMemory(
        *("h2-idle", f"idle connection, one of {IDLE_HTTP2_CONNECTIONS:,}", "hello"),
        *(IDLE_HTTP2_CONNECTIONS, loader.idle_http2_connections),
        wire=Wire.H2C,
    ),
    WaitingStreams(
        "h2-sleep", f"waiting stream, one of {STREAMS} of a connection", "sleep", wire=Wire.H2C
    ),
    Messages("ws-echo-32", "32 bytes echoed", wire=Wire.WS),
    Messages("ws-echo-16k", "16 KiB echoed", size=16 << 10, wire=Wire.WS),
    Messages("ws-echo-1m", "1 MiB echoed", connections=8, size=apps.MIB, binary=True, wire=Wire.WS),
    Handshakes("ws-connect", "open, one message, close", wire=Wire.WS),
    IdleMemory(
        *("ws-idle", f"idle WebSocket, one of {WEBSOCKETS:,}", "websockets"),
        *(WEBSOCKETS, wsload.idle_websockets),
        wire=Wire.WS,
    ),
    Broadcast("ws-broadcast", f"32 bytes to {WEBSOCKETS:,}", connections=WEBSOCKETS, wire=Wire.WS),
    IdleStreams(
        *("ws-h2-idle", f"idle WebSocket over HTTP/2, one of {WEBSOCKETS:,}", "websockets"),
        *(WEBSOCKETS, loader.idle_websocket_streams),
        wire=Wire.WS,
    ),
)


def _whole_rounds(requests: float) -> int:
    """Return about so many requests, so that each stream makes as many as the others."""
    return max(1, round(requests / h2load.AT_ONCE)) * h2load.AT_ONCE


def run_load(server: Running, load: Load, seconds: int) -> tuple[Outcome, float]:
    """Run wrk; return what it got and the server's CPU microseconds for each request."""
    before = server.cpu_seconds()
    outcome = wrk.run(server.url, load, seconds)
    return outcome, (server.cpu_seconds() - before) * 1e6 / outcome.requests


def check_answer(
    server: Running,
    answer: bytes,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> None:
    """Make one request: a wrong answer is not worth measuring.

    Raises:
        Failed: Status or body are not what they have to be.
    """
    connection = (
        http.client.HTTPSConnection(
            "127.0.0.1",
            server.port,
            timeout=TIMEOUT_SECONDS,
            context=ssl._create_unverified_context(),
        )
        if server.tls
        else http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_SECONDS)
    )
    try:
        connection.request("GET" if body is None else "POST", "/", body, dict(headers or {}))
        response = connection.getresponse()
        received = response.read()
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK or received != answer:
        raise Failed(f"answered {response.status} with {len(received)} bytes")


def check_http2_answer(server: Running, answer: bytes, headers: Mapping[str, str]) -> None:
    """Make one request over HTTP/2.

    Raises:
        Failed: Status or body are not what they have to be, or it is not HTTP/2.
    """
    with loader.connect(server.port) as plain:
        peer: socket.socket = plain
        if server.tls:
            context = ssl._create_unverified_context()
            context.set_alpn_protocols(["h2"])
            peer = context.wrap_socket(plain)
            if peer.selected_alpn_protocol() != "h2":
                raise Failed("does not offer HTTP/2")
        client = Client(peer)
        client.ask(headers)
        (got,) = client.answers()
        peer.close()
    if got.body != answer:
        raise Failed(f"answered with {len(got.body)} bytes")
