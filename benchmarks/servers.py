"""The servers that are compared and how each is started.

Every one runs as one worker process without an access log, with connections enough for the idle
scenarios and a keep-alive timeout that outlasts them; beyond that it has its defaults, unless other
settings serve it better: then those, with a word why.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

LAUNCH = str(Path(__file__).with_name("launch.py"))
KEEP_ALIVE = "75"
"""Seconds; to open 10,000 connections and to measure takes less than half of it."""

CONNECTIONS = "20000"


@dataclass(frozen=True, slots=True)
class Certificate:
    """The files of a server's certificate and of its key."""

    certfile: str
    keyfile: str


@dataclass(frozen=True, slots=True)
class Launch:
    """What a server is to serve, and where."""

    application: str
    port: int
    tls: Certificate | None


@dataclass(frozen=True, slots=True)
class Server:
    """One server: its name, the packages whose versions matter, and its command line."""

    key: str
    title: str
    packages: Sequence[str]
    command: Callable[[Launch], list[str]]
    tls: bool = True
    asgi: bool = False


def _module(name: str, *arguments: str) -> list[str]:
    """Run a module with this interpreter, so that all servers run on the same one."""
    return [sys.executable, "-m", name, *arguments]


def _tls(launch: Launch, certificate_option: str, key_option: str) -> list[str]:
    if launch.tls is None:
        return []
    return [certificate_option, launch.tls.certfile, key_option, launch.tls.keyfile]


def _gserver(launch: Launch) -> list[str]:
    return _module(
        "gserver",
        *(f"benchmarks.apps:{launch.application}", "--bind", f"127.0.0.1:{launch.port}"),
        *_tls(launch, "--certfile", "--keyfile"),
    )


def _gunicorn(launch: Launch) -> list[str]:
    return _module(
        "gunicorn",
        *("-k", "gevent", "-w", "1", "--bind", f"127.0.0.1:{launch.port}"),
        *("--keep-alive", KEEP_ALIVE, "--worker-connections", CONNECTIONS),
        # In memory, as its documentation advises; and no control socket in the home directory.
        *("--worker-tmp-dir", "/dev/shm", "--no-control-socket"),
        *_tls(launch, "--certfile", "--keyfile"),
        f"benchmarks.apps:{launch.application}",
    )


def _pywsgi(launch: Launch) -> list[str]:
    tls = [launch.tls.certfile, launch.tls.keyfile] if launch.tls else []
    return [sys.executable, LAUNCH, "pywsgi", launch.application, str(launch.port), *tls]


def _granian(launch: Launch) -> list[str]:
    return _module(
        "granian",
        *("--interface", "wsgi", "--host", "127.0.0.1", "--port", str(launch.port)),
        # Tried: 1, 2, 3, 4, 8, 16 and the default of thousands; 1 costs 12 % more than 4, the best.
        *("--workers", "1", "--blocking-threads", "4"),
        # Without looking for HTTP/2 and upgrades, a connection takes 8 KiB instead of 20.
        *("--http", "1", "--no-ws"),
        *("--backlog", CONNECTIONS, "--backpressure", CONNECTIONS),
        *_tls(launch, "--ssl-certificate", "--ssl-keyfile"),
        f"benchmarks.apps:{launch.application}",
    )


def _bjoern(launch: Launch) -> list[str]:
    return [sys.executable, LAUNCH, "bjoern", launch.application, str(launch.port)]


def _uvicorn(launch: Launch) -> list[str]:
    return _module(
        "uvicorn",
        *("--loop", "uvloop", "--http", "httptools", "--ws", "none", "--lifespan", "off"),
        *("--host", "127.0.0.1", "--port", str(launch.port)),
        *("--timeout-keep-alive", KEEP_ALIVE, "--no-access-log"),
        *_tls(launch, "--ssl-certfile", "--ssl-keyfile"),
        f"benchmarks.apps:asgi_{launch.application}",
    )


SERVERS = (
    Server("gserver", "gserver", ("gserver", "gevent", "greenlet", "httptools"), _gserver),
    Server("bjoern", "bjoern", ("bjoern",), _bjoern, tls=False),
    Server("granian", "granian (WSGI)", ("granian",), _granian),
    Server("uvicorn", "uvicorn (ASGI)", ("uvicorn", "uvloop", "httptools"), _uvicorn, asgi=True),
    Server("gunicorn", "gunicorn -k gevent", ("gunicorn", "gevent"), _gunicorn),
    Server("pywsgi", "gevent.pywsgi", ("gevent",), _pywsgi),
)
