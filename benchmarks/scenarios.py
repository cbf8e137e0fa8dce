"""What is measured: each scenario puts one server under one kind of load and returns figures.

The first figure of a scenario is the one that the summary and the chart show. For most it is the
processor time that the server used, divided by the work that it did.
"""

from __future__ import annotations

import http.client
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import apps
import loader
import wrk
from errors import Failed
from process import Running
from wrk import Load, Outcome

WARM_UP_SECONDS = 1
SETTLE_SECONDS = 0.5
TIMEOUT_SECONDS = 10.0
IDLE_CONNECTIONS = 5_000
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


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures of one round; `errors` tells what wrk complained of, if anything."""

    figures: Mapping[str, float]
    errors: str = ""


@dataclass(frozen=True, slots=True)
class Scenario(ABC):
    """One kind of load. `figures` names what `measure` returns, the leading one first."""

    key: str
    title: str
    application: str
    tls: bool = field(default=False, kw_only=True)
    figures: ClassVar[tuple[str, ...]]

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
class IdleMemory(Scenario):
    """What a connection keeps occupied between two requests."""

    figures: ClassVar = ("KiB/connection",)

    def measure(self, server: Running, seconds: int) -> Sample:
        """Return the growth of the server's resident memory, for each connection."""
        check_answer(server, apps.HELLO)
        # The first connections also pay for what is made once, such as a pool of threads.
        with loader.idle_connections(server.port, loader.BATCH):
            pass
        time.sleep(SETTLE_SECONDS)
        before = server.memory_bytes()
        with loader.idle_connections(server.port, IDLE_CONNECTIONS):
            time.sleep(SETTLE_SECONDS)
            grown = server.memory_bytes() - before
        return self.sample((grown / 1024 / IDLE_CONNECTIONS,))


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
    Requests("tls", "hello over TLS", "hello", apps.HELLO, tls=True),
    Transfer("download", "256 MiB download", "download", loader.download),
    Transfer("upload", "256 MiB upload", "upload", loader.upload),
    IdleMemory("idle", f"idle connection, one of {IDLE_CONNECTIONS:,}", "hello"),
    BusyAmongIdle(
        "busy", f"hello, {wrk.CONNECTIONS} busy of {OPEN_CONNECTIONS:,} connections", "hello"
    ),
)


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
