"""The servers that are compared and how each is started.

Every one runs as one worker process without an access log, with connections enough for the idle
scenarios and a keep-alive timeout that outlasts them; beyond that it has its defaults, unless other
settings serve it better: then those, with a word why.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import apps

LAUNCH = str(Path(__file__).with_name("launch.py"))
LAUNCH_WEBSOCKETS = str(Path(__file__).with_name("websockets_servers.py"))
KEEP_ALIVE = "75"
"""Seconds; to open 10,000 connections and to measure takes less than half of it."""

CONNECTIONS = "20000"
BACKLOG = "2048"
"""What gunicorn and uvicorn have; the load generators connect in bursts of a few hundred."""

STREAMS = 100
"""How many streams of one connection are open at once in ``h2-sleep`` and ``ws-h2-idle``."""

HTTP1, HTTP2, WEBSOCKET = "HTTP/1.1", "HTTP/2", "WebSocket"
INTERFACES = "Interfaces"


class Wire(Enum):
    """How requests travel: a protocol, in cleartext (HTTP/2 by prior knowledge) or over TLS.

    WebSockets, in cleartext, stand beside them: what travels there is messages. So do interfaces:
    the same requests over HTTP/1.1, to applications that are written in different ways.
    """

    HTTP = HTTP1, False
    HTTPS = HTTP1, True
    H2C = HTTP2, False
    H2 = HTTP2, True
    WS = WEBSOCKET, False
    INTERFACE = INTERFACES, False

    @property
    def protocol(self) -> str:
        """`HTTP1`, `HTTP2`, `WEBSOCKET` or `INTERFACES`."""
        return self.value[0]

    @property
    def tls(self) -> bool:
        """Whether it is TLS."""
        return self.value[1]


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
    protocol: str
    tls: Certificate | None
    folder: Path
    """An empty one, for what the server needs on disk; it goes when the server has ended."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server: its name, the packages whose versions matter, and its command line."""

    key: str
    title: str
    packages: Sequence[str]
    command: Callable[[Launch], list[str]]
    wires: Sequence[Wire] = (Wire.HTTP, Wire.HTTPS)
    without: Sequence[str] = ()
    """The applications that it cannot serve."""

    ours: bool = field(default=False, kw_only=True)


def _module(name: str, *arguments: str) -> list[str]:
    """Run a module with this interpreter, so that all servers run on the same one."""
    return [sys.executable, "-m", name, *arguments]


def _tls(launch: Launch, certificate_option: str, key_option: str) -> list[str]:
    if launch.tls is None:
        return []
    return [certificate_option, launch.tls.certfile, key_option, launch.tls.keyfile]


def _gserver(launch: Launch, *options: str) -> list[str]:
    application = f"benchmarks.apps:{launch.application}"
    if launch.protocol == WEBSOCKET:
        application = "benchmarks.websockets_gserver:application"
    return _module(
        "gserver",
        *(application, "--bind", f"127.0.0.1:{launch.port}"),
        *_tls(launch, "--certfile", "--keyfile"),
        *options,
    )


def _gserver_with(application: str) -> Callable[[Launch], list[str]]:
    """Return what runs gserver with one application, whatever the scenario's."""

    def command(launch: Launch) -> list[str]:
        return _module("gserver", application, "--bind", f"127.0.0.1:{launch.port}")

    return command


def _gunicorn_sync(application: str) -> Callable[[Launch], list[str]]:
    def command(launch: Launch) -> list[str]:
        return _module(
            "gunicorn",
            *("-k", "sync", "-w", "1", "--bind", f"127.0.0.1:{launch.port}"),
            *("--worker-tmp-dir", "/dev/shm", "--no-control-socket", application),
        )

    return command


def _gserver_nghttp2(launch: Launch) -> list[str]:
    return _gserver(launch, "--http2-engine", "nghttp2")


def _gserver_h2(launch: Launch) -> list[str]:
    return _gserver(launch, "--http2-engine", "h2")


def _gunicorn(launch: Launch) -> list[str]:
    return _module(
        "gunicorn",
        *("-k", "gevent", "-w", "1", "--bind", f"127.0.0.1:{launch.port}"),
        *("--keep-alive", KEEP_ALIVE, "--worker-connections", CONNECTIONS),
        # In memory, as its documentation advises; and no control socket in the home directory.
        *("--worker-tmp-dir", "/dev/shm", "--no-control-socket"),
        *("--http-protocols", "h2" if launch.protocol == HTTP2 else "h1"),
        *_tls(launch, "--certfile", "--keyfile"),
        f"benchmarks.apps:{launch.application}",
    )


def _pywsgi(launch: Launch) -> list[str]:
    tls = [launch.tls.certfile, launch.tls.keyfile] if launch.tls else []
    return [sys.executable, LAUNCH, "pywsgi", launch.application, str(launch.port), *tls]


def _granian(launch: Launch) -> list[str]:
    # Tried: 1, 2, 3, 4, 8, 16 and the default of thousands; 1 costs 12 % more than 4, the best.
    # Where all have to wait at once, each needs one.
    threads = STREAMS if launch.application == "sleep" else 4
    return _module(
        "granian",
        *("--interface", "wsgi", "--host", "127.0.0.1", "--port", str(launch.port)),
        *("--workers", "1", "--blocking-threads", str(threads)),
        # Without looking for HTTP/2 and upgrades, a connection takes 8 KiB instead of 20.
        *("--http", "2" if launch.protocol == HTTP2 else "1", "--no-ws"),
        # Without, many uploads at once never end: those that wait for a thread fill the
        # connection's window, 1 MiB, and those that have one get no more.
        *("--http2-initial-connection-window-size", str(32 * apps.MIB)),
        *("--backlog", CONNECTIONS, "--backpressure", CONNECTIONS),
        *_tls(launch, "--ssl-certificate", "--ssl-keyfile"),
        f"benchmarks.apps:{launch.application}",
    )


def _granian_rsgi(launch: Launch) -> list[str]:
    # Its own interface; ASGI costs it about the same.
    return _module(
        "granian",
        *("--interface", "rsgi", "--host", "127.0.0.1", "--port", str(launch.port)),
        *("--workers", "1", "--http", "1"),
        *("--backlog", CONNECTIONS, "--backpressure", CONNECTIONS),
        "benchmarks.websockets_apps:rsgi",
    )


def _bjoern(launch: Launch) -> list[str]:
    return [sys.executable, LAUNCH, "bjoern", launch.application, str(launch.port)]


def _uvicorn(launch: Launch) -> list[str]:
    application = f"benchmarks.apps:asgi_{launch.application}"
    websockets = ["--ws", "none"]
    if launch.protocol == WEBSOCKET:
        application = "benchmarks.websockets_apps:asgi"
        # The default where websockets is installed; the log would tell of each connection.
        websockets = ["--ws", "websockets-sansio", "--log-level", "warning"]
    return _module(
        "uvicorn",
        *("--loop", "uvloop", "--http", "httptools", *websockets, "--lifespan", "off"),
        *("--host", "127.0.0.1", "--port", str(launch.port)),
        *("--timeout-keep-alive", KEEP_ALIVE, "--no-access-log"),
        *_tls(launch, "--ssl-certfile", "--ssl-keyfile"),
        application,
    )


def _hypercorn(launch: Launch) -> list[str]:
    return _module(
        "hypercorn",
        *("--worker-class", "uvloop", "--workers", "1", "--bind", f"127.0.0.1:{launch.port}"),
        *("--keep-alive", KEEP_ALIVE, "--backlog", BACKLOG),
        *("--config", str(Path(__file__).with_name("hypercorn.toml"))),
        *_tls(launch, "--certfile", "--keyfile"),
        f"wsgi:benchmarks.apps:{launch.application}",
    )


def _nghttpd(launch: Launch) -> list[str]:
    """Serve a file of what the application would answer."""
    (launch.folder / "index.html").write_bytes(FILES[launch.application])
    tls = [launch.tls.keyfile, launch.tls.certfile] if launch.tls else ["--no-tls"]
    return [
        *("nghttpd", "--address", "127.0.0.1", "--htdocs", str(launch.folder)),
        *(str(launch.port), *tls),
    ]


def _websockets(launch: Launch) -> list[str]:
    return [sys.executable, LAUNCH_WEBSOCKETS, "websockets", str(launch.port)]


def _picows(launch: Launch) -> list[str]:
    return [sys.executable, LAUNCH_WEBSOCKETS, "picows", str(launch.port)]


def _gevent_websocket(launch: Launch) -> list[str]:
    return [sys.executable, LAUNCH_WEBSOCKETS, "gevent-websocket", str(launch.port)]


FILES = {
    "hello": apps.HELLO,
    "page": apps.PAGE,
    "part": bytes(apps.PART),
    "upload": b"%d" % apps.PART,
}

BOTH = (Wire.HTTP, Wire.HTTPS, Wire.H2C, Wire.H2)
HTTP2_ONLY = (Wire.H2C, Wire.H2)
HTTP1_AND_WEBSOCKET = (Wire.HTTP, Wire.HTTPS, Wire.WS)
WEBSOCKET_ONLY = (Wire.WS,)
INTERFACE_ONLY = (Wire.INTERFACE,)
OURS = ("gserver", "gevent", "greenlet", "httptools", "h2", "wsproto")

SERVERS = (
    Server("gserver", "gserver", OURS, _gserver, HTTP1_AND_WEBSOCKET, ours=True),
    Server("gserver-nghttp2", "gserver (nghttp2)", OURS, _gserver_nghttp2, HTTP2_ONLY, ours=True),
    Server("gserver-h2", "gserver (h2)", OURS, _gserver_h2, HTTP2_ONLY, ours=True),
    Server("bjoern", "bjoern", ("bjoern",), _bjoern, (Wire.HTTP,)),
    Server("granian", "granian (WSGI)", ("granian",), _granian, BOTH),
    Server(
        *("uvicorn", "uvicorn (ASGI)", ("uvicorn", "uvloop", "httptools", "websockets"), _uvicorn),
        (*HTTP1_AND_WEBSOCKET, Wire.INTERFACE),
    ),
    # The default executor of asyncio has too few threads for the application that sleeps.
    Server(
        *("hypercorn", "hypercorn (WSGI)", ("hypercorn", "uvloop", "h2"), _hypercorn, HTTP2_ONLY),
        without=("sleep",),
    ),
    # In cleartext, its documentation says, HTTP/2 is for a proxy that is trusted.
    Server(
        *("gunicorn", "gunicorn -k gevent", ("gunicorn", "gevent", "h2"), _gunicorn),
        wires=(Wire.HTTP, Wire.HTTPS, Wire.H2),
    ),
    Server("pywsgi", "gevent.pywsgi", ("gevent",), _pywsgi),
    Server("nghttpd", "nghttpd (files)", (), _nghttpd, HTTP2_ONLY, without=("sleep",)),
    Server("granian-rsgi", "granian (RSGI)", ("granian",), _granian_rsgi, WEBSOCKET_ONLY),
    Server("websockets", "websockets", ("websockets", "uvloop"), _websockets, WEBSOCKET_ONLY),
    Server("picows", "picows", ("picows", "aiofastnet", "uvloop"), _picows, WEBSOCKET_ONLY),
    Server(
        *("gevent-websocket", "gevent-websocket", ("gevent-websocket", "wsaccel", "gevent")),
        *(_gevent_websocket, WEBSOCKET_ONLY),
    ),
    *(
        Server(
            f"gserver-{key}",
            f"gserver ({title})",
            OURS,
            _gserver_with(application),
            INTERFACE_ONLY,
            ours=True,
        )
        for key, title, application in (
            ("wsgi", "WSGI", "benchmarks.interfaces:hello"),
            ("lite", "Lite", "benchmarks.interfaces:lite_hello"),
            ("lightened", "WSGI, lightened", "benchmarks.interfaces:lightened"),
            ("asgi", "ASGI", "benchmarks.interfaces:asgi_hello"),
            ("beside", "WSGI beside ASGI", "benchmarks.interfaces:beside_asgi()"),
        )
    ),
    *(
        Server(
            f"gunicorn-{key}",
            f"gunicorn -k sync ({title})",
            ("gunicorn",),
            _gunicorn_sync(application),
            INTERFACE_ONLY,
        )
        for key, title, application in (
            ("wsgi", "WSGI", "benchmarks.interfaces:hello"),
            ("lite", "Lite by to_wsgi", "benchmarks.interfaces:as_wsgi"),
        )
    ),
)
