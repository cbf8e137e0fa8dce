"""Server: listeners, connections, start, drain, stop.

    with Server(app, Config(bind="127.0.0.1:0")) as server:
        print(server.urls)

A server lives in the thread that starts it: in that thread's gevent hub.
"""

from __future__ import annotations

import _socket
import errno
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import gevent
from gevent.event import Event

from gserver.api.errors import ConfigError
from gserver.clock import Clock
from gserver.config import Config
from gserver.connection import READ, Connection, Endpoint
from gserver.environ import template
from gserver.handler import Handler
from gserver.http1.parser import Limits
from gserver.listener import Address, Listener, listen
from gserver.log import AccessLog

logger = logging.getLogger("gserver.error")

# Connections accepted in one turn of the loop: a storm of them must not stop those that exist.
_ACCEPTED_AT_ONCE: Final = 64
# After the process ran out of descriptors, seconds until it accepts again.
_ACCEPT_PAUSE: Final = 0.1
# The longest a deadline is late by; also how old the Date field may be.
_TICK: Final = 0.5

_TIMEOUTS: Final = (
    "handshake_timeout",
    "header_timeout",
    "body_timeout",
    "keepalive",
    "write_timeout",
    "request_timeout",
)
_OUT_OF_DESCRIPTORS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Server:
    """Serves one application.

    Args:
        application: A WSGI or Lite application.
        config: The options; the defaults listen at 127.0.0.1:8000.
        listeners: Already listening sockets, instead of those that ``config.bind`` names.

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
    ) -> None:
        if not callable(application):
            raise ConfigError(f"the application must be callable, not {application!r}")
        self.application = application
        self.config = config or Config()
        self.listeners: list[Listener] = []
        self._given = listeners
        self._acceptors: list[_Acceptor] = []
        self._connections: set[Connection] = set()
        self._limits: list[Limits] = []
        self._all_closed = Event()
        self._stopped = Event()
        self._stopping = False
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

    def start(self) -> None:
        """Begin to accept connections, in the hub of this thread.

        Raises:
            ConfigError: An address, a certificate or a log file cannot be used.
        """
        config = self.config
        tls = None
        if config.certfile:
            # Not before it is needed: ssl is a heavy import.
            from gserver.tls import TlsContext

            tls = TlsContext(config)
        self._access_log = AccessLog.from_config(config)
        if self._given is not None:
            self.listeners = list(self._given)
        else:
            self._listen([Address.parse(text) for text in config.bind])
        hub = gevent.get_hub()
        shortest = min((t for t in map(config.__getattribute__, _TIMEOUTS) if t), default=_TICK)
        self._clock = Clock(hub, min(_TICK, shortest / 4), config.server_header)
        self.handler = Handler(self.application, hub, self._clock, config.request_timeout)
        if self._access_log is not None:
            self.handler.run = self._access_log.around(self.handler.run, hub)
        for listener in self.listeners:
            scheme = "https" if listener.tls else "http"
            limits = Limits(config, template(config, scheme, listener.server))
            self._limits.append(limits)
            endpoint = Endpoint(
                config,
                hub,
                self._clock,
                limits,
                tls if listener.tls else None,
                self.handler.dispatch,
                self._released,
            )
            self._acceptors.append(_Acceptor(endpoint, listener, self._connections))

    def _listen(self, addresses: list[Address]) -> None:
        try:
            for address in addresses:
                self.listeners.append(listen(address, self.config))
        except ConfigError:
            for listener in self.listeners:
                listener.close()
            self.listeners.clear()
            raise

    def serve_forever(self) -> None:
        """Start, unless that was done, and block until `stop` has finished."""
        if not self._acceptors:
            self.start()
        self._stopped.wait()

    def stop(self, timeout: float | None = None) -> None:
        """Stop accepting, let running requests finish, then cut what is left; blocks.

        Call it in a greenlet of the server's thread. A second call, with a shorter timeout, cuts
        the first one short.

        Args:
            timeout: Seconds for running requests; None takes ``graceful_timeout``.
        """
        if timeout is None:
            timeout = self.config.graceful_timeout
        if not self._stopping:
            self._stopping = True
            for acceptor in self._acceptors:
                acceptor.close()
            for limits in self._limits:
                limits.requests = 1  # a head that is being received is the last one
            for connection in list(self._connections):
                connection.protocol.drain()
                if connection.protocol.idle:
                    connection.close()
        if self._connections:
            self._all_closed.wait(timeout)
        if self._connections:
            logger.warning(
                "%d connections did not finish in %g seconds and are cut",
                len(self._connections),
                timeout,
            )
            self.handler.cut()
            for connection in list(self._connections):
                connection.abort()
        if not self._stopped.is_set():
            self._stopped.set()
            self._clock.stop()
            if self._access_log is not None:
                self._access_log.close()

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _released(self, connection: Connection) -> None:
        self._clock.watched.discard(connection)
        self._connections.discard(connection)
        if self._stopping:
            if not self._connections:
                self._all_closed.set()
        elif len(self._connections) == self.config.worker_connections - 1:
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
        self._pause = loop.timer(_ACCEPT_PAUSE)
        self._kind = (listener.socket.family, listener.socket.type, listener.socket.proto)
        self.resume()

    def resume(self) -> None:
        """Accept from now on."""
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
                if exc.errno in _OUT_OF_DESCRIPTORS:
                    logger.error("cannot accept connections: %s", exc.strerror)
                    self._watcher.stop()
                    self._pause.start(self.resume)
                    return
                raise
            sock = _socket.socket(*self._kind, descriptor)
            sock.setblocking(False)
            self._connections.add(Connection(self._endpoint, sock, address))

    def close(self) -> None:
        """Stop accepting and close the listener."""
        for watcher in (self._watcher, self._pause):
            watcher.stop()
            watcher.close()
        self._listener.close()
