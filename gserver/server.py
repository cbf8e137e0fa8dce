"""Server: listeners, connections, start, drain, stop.

    with Server(app, Config(bind="127.0.0.1:0")) as server:
        print(server.urls)

A server lives in the thread that starts it: in that thread's gevent hub.
"""

from __future__ import annotations

import _socket
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import gevent
from gevent.event import Event
from greenlet import GreenletExit

from gserver.api.errors import ConfigError
from gserver.clock import NEVER, Clock
from gserver.config import Config
from gserver.connection import Connection, Endpoint
from gserver.environ import template
from gserver.guests import House
from gserver.handler import Handler
from gserver.http2.engines import engine_type
from gserver.interface import adapt, start
from gserver.listener import Address, Listener, listen
from gserver.log import AccessLog
from gserver.request import Limits
from gserver.transport import READ
from gserver.turn import Turn

if TYPE_CHECKING:
    from gserver.tls import TlsContext

logger = logging.getLogger("gserver.error")

# Connections accepted in one turn of the loop: a storm of them must not stop those that exist.
_ACCEPTED_AT_ONCE: Final = 64
# After accepting failed, seconds until it is tried again.
_ACCEPT_PAUSE: Final = 0.1
# How often the deadlines are looked at; also how old the Date field may be.
_TICK: Final = 0.5
# How often a server that stops looks whether it is done.
_POLL: Final = 0.02
# Seconds that requests which were cut have for their close().
_LAST_WORDS: Final = 1.0

_TIMEOUTS: Final = (
    "handshake_timeout",
    "header_timeout",
    "body_timeout",
    "keepalive",
    "write_timeout",
    "request_timeout",
    "websocket_close_timeout",
    "websocket_ping_interval",
    "websocket_ping_timeout",
)


class Server:
    """Serves one application.

    Args:
        application: A WSGI or Lite application.
        config: The options; the defaults listen at 127.0.0.1:8000.
        listeners: Already listening sockets, instead of those that ``config.bind`` names.
        tls: The host's own TLS context, instead of the one that ``config.certfile`` makes.
        environ: What the host has in every request's environ, beside the server's keys.

    Attributes:
        config: The options.
        listeners: Where the server listens, once it was started.
        handler: Runs the application; exists once the server was started.
    """

    def __init__(
        self,
        application: Callable[..., Any],
        config: Config | None = None,
        listeners: Sequence[Listener] | None = None,
        *,
        tls: TlsContext | None = None,
        environ: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        if not callable(application):
            raise ConfigError(f"the application must be callable, not {application!r}")
        self.config = config or Config()
        self.application = adapt(application, self.config.interface)
        self.listeners: list[Listener] = []
        self._given = listeners
        self._tls = tls
        self._environ = dict(environ)
        self._acceptors: list[_Acceptor] = []
        self._connections: set[Connection] = set()
        self._limits = Limits(self.config)
        self._stopped = Event()
        self._started = self._stopping = False
        self._starter: Any = None  # the greenlet in which the application starts
        self._deadline = NEVER  # of a stop that goes on
        self._access_log: AccessLog | None = None
        self.handler: Handler

    @property
    def urls(self) -> list[str]:
        """Where the server listens."""
        return [listener.url for listener in self.listeners]

    @property
    def port(self) -> int:
        """The TCP port of the first listener; what a test needs after binding to port 0."""
        return int(self.listeners[0].server[1])

    @property
    def active(self) -> int:
        """How many requests are being handled, WebSockets among them."""
        return self.handler.active if self._started else 0

    def start(self) -> None:
        """Begin to accept connections, in the hub of this thread.

        Raises:
            ConfigError: An address, a certificate, a log file or an engine cannot be used.
            RuntimeError: It was started or stopped before.
        """
        if self._started or self._stopping:
            raise RuntimeError("a server starts only once: make another one")
        config = self.config
        if config.http2:
            engine_type(config.http2_engine)
        tls = self._tls
        if tls is None and config.certfile:
            # Not before it is needed: ssl is a heavy import.
            from gserver.tls import TlsContext  # noqa: PLC0415

            tls = TlsContext(config)
        self._house = House.of_hub()
        self._house.open()
        try:
            self._start_application()
            if not self._stopping:
                self._access_log = AccessLog.from_config(config)
                if self._given is not None:
                    self.listeners = list(self._given)
                else:
                    self._listen([Address.parse(text) for text in config.bind])
                self._started = True
        finally:
            if not self._started:
                self._house.close(_LAST_WORDS)
        if not self._started:
            return  # it was stopped meanwhile
        hub = gevent.get_hub()
        shortest = min((t for t in map(config.__getattribute__, _TIMEOUTS) if t), default=_TICK)
        self._clock = Clock(hub, min(_TICK, shortest / 4), config.server_header)
        self.handler = Handler(self.application, hub, self._clock, config.request_timeout)
        if self._access_log is not None:
            self.handler.run = self._access_log.around(self.handler.run, hub)
        turn = Turn(hub)
        for listener in self.listeners:
            scheme = "https" if listener.tls else "http"
            environ = template(config, scheme, listener.server) | self._environ
            endpoint = Endpoint(
                config=config,
                hub=hub,
                clock=self._clock,
                dispatch=self.handler.dispatch,
                released=self._released,
                turn=turn,
                template=environ,
                limits=self._limits,
                tls=tls if listener.tls else None,
            )
            self._acceptors.append(_Acceptor(endpoint, listener, self._connections))

    def _start_application(self) -> None:
        self._starter = gevent.getcurrent()
        try:
            start(self.application)
        except GreenletExit:
            if not self._stopping:
                raise
        finally:
            self._starter = None

    def _listen(self, addresses: list[Address]) -> None:
        try:
            for address in addresses:
                self.listeners.append(listen(address, self.config))
        except ConfigError:
            for listener in self.listeners:
                listener.close()
            self.listeners.clear()
            if self._access_log is not None:
                self._access_log.close()
            raise

    def serve_forever(self) -> None:
        """Start, unless that was done, and block until `stop` has finished."""
        if not self._started and not self._stopping:
            self.start()
        self._stopped.wait()

    def stop(self, timeout: float | None = None, idle: float = 0) -> None:
        """Stop accepting, let running requests finish, then cut what is left; blocks.

        Call it in a greenlet of the server's thread, but not in a handler, which would wait for
        itself. A second call, with a shorter timeout, cuts the first one short.

        Args:
            timeout: Seconds for running requests; None takes ``graceful_timeout``.
            idle: Seconds, at most `timeout`, that idle connections are kept: their next request
                may be on its way, and is answered as their last.
        """
        if timeout is None:
            timeout = self.config.graceful_timeout
        if not self._started:
            self._stopping = True
            if self._starter is not None:
                # In the hub, which the application's startup comes back to.
                gevent.get_hub().loop.run_callback(self._starter.throw, GreenletExit)
            self._stopped.set()
            return
        begin = now = time.monotonic()
        self._deadline = min(self._deadline, begin + timeout)
        if self._stopping:
            self._stopped.wait()
            return
        self._stopping = True
        self._drain()
        close_idle = begin + min(idle, timeout)
        while self._connections or self.handler.active:
            if now >= close_idle:
                close_idle = NEVER
                self._close_idle()
            if now >= self._deadline:
                self._cut(self._deadline - begin)
                break
            gevent.sleep(_POLL)
            now = time.monotonic()
        self._house.close(max(self._deadline - now, 0))
        self._clock.stop()
        if self._access_log is not None:
            self._access_log.close()
        self._stopped.set()

    def _drain(self) -> None:
        """Accept nothing more, and make the next response of each connection its last."""
        for acceptor in self._acceptors:
            acceptor.close()
        self._limits.requests = 1  # a head that is being received is the last one
        for connection in list(self._connections):
            connection.protocol.drain()

    def _close_idle(self) -> None:
        for connection in list(self._connections):
            if connection.idle:
                connection.close()

    def _cut(self, timeout: float) -> None:
        """End what did not finish in time."""
        logger.warning(
            "%d connections with %d requests did not finish in %.3g seconds and are cut",
            len(self._connections),
            self.handler.active,
            timeout,
        )
        # In the hub, where a handler that blocks on its way out comes back to.
        gevent.get_hub().loop.run_callback(self.handler.cut)
        gevent.sleep(0)
        gevent.sleep(0)  # what is sent over HTTP/2 leaves at the end of a turn
        for connection in list(self._connections):
            connection.abort()
        deadline = time.monotonic() + _LAST_WORDS
        while self.handler.active and time.monotonic() < deadline:
            gevent.sleep(_POLL)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _released(self, connection: Connection) -> None:
        self._clock.watched.discard(connection)
        self._connections.discard(connection)
        if self._stopping:
            return
        if len(self._connections) == self.config.worker_connections - 1:
            for acceptor in self._acceptors:
                acceptor.resume()


class _Acceptor:
    """Accepts connections at one listener; all of it runs in the hub."""

    def __init__(
        self, endpoint: Endpoint, listener: Listener, connections: set[Connection]
    ) -> None:
        self._endpoint = endpoint
        self._listener = listener
        self._connections = connections
        self._limit = endpoint.config.worker_connections
        # gunicorn #2266: a process that takes all at once leaves its siblings idle.
        self._at_once = 1 if endpoint.config.multiprocess else _ACCEPTED_AT_ONCE
        loop = endpoint.hub.loop
        self._watcher = loop.io(listener.socket.fileno(), READ)
        # Repeating: libev starts another kind a second time with what was left the first time.
        self._pause = loop.timer(_ACCEPT_PAUSE, _ACCEPT_PAUSE)
        self._kind = (listener.socket.family, listener.socket.type, listener.socket.proto)
        self._socket_type: type[_socket.socket] = (
            endpoint.tls.socket_type if endpoint.tls is not None else _socket.socket
        )
        self.resume()

    def resume(self) -> None:
        """Accept from now on."""
        self._pause.stop()
        self._watcher.start(self._accept)

    def _accept(self) -> None:
        for _ in range(self._at_once):
            if len(self._connections) >= self._limit:
                self._watcher.stop()  # `Server._released` goes on
                return
            try:
                # typeshed leaves it out: accept() of the socket module is built on it.
                descriptor, address = self._listener.socket._accept()  # type: ignore[attr-defined]
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as exc:
                # Out of descriptors, most likely: it would fail again at once.
                logger.error("cannot accept connections: %s", exc.strerror)
                self._watcher.stop()
                self._pause.start(self.resume)
                return
            sock = self._socket_type(*self._kind, descriptor)
            sock.setblocking(False)
            self._connections.add(Connection(self._endpoint, sock, address))

    def close(self) -> None:
        """Stop accepting and close the listener."""
        for watcher in (self._watcher, self._pause):
            watcher.stop()
            watcher.close()
        self._listener.close()
