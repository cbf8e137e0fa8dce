"""Worker: gunicorn runs the processes, gserver serves in them.

    gunicorn -k gserver.Worker app:app

gunicorn keeps its own: arbiter, sockets, signals, heartbeats, hooks, logs, and every setting that
it has. gserver's other options, the time for a request's head for example, come from the GSERVER_*
variables. Different from gunicorn's gevent worker, on purpose:

* ``proxy_protocol`` and the uwsgi ``protocol`` are refused at start-up.
* The scheme that a proxy tells (``forwarded_allow_ips``, ``secure_scheme_headers``) and
  ``forwarder_headers`` are ignored: wsgi.url_scheme is what the connection is. Frameworks, and
  Werkzeug's ProxyFix, know which proxies to believe.
* Requests are parsed strictly, whatever the ``permit_`` settings say.
* ``limit_request_line`` counts the target only; a whole head has a limit too.

The arbiter imports this module before it forks. Monkey-patching at that time would break its queue
of signals, and dead workers would never be replaced: nothing here imports gevent before a worker's
`init_process`, which patches.
"""

from __future__ import annotations

import _socket
import io
import logging
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from gunicorn.arbiter import Arbiter
from gunicorn.config import make_settings
from gunicorn.glogging import Logger
from gunicorn.http.wsgi import WSGIErrorsWrapper
from gunicorn.workers import base

from gserver.api.errors import ConfigError
from gserver.config import OPTIONS, Config, from_environment, from_file
from gserver.hooks import Hooks, ToGunicorn

if TYPE_CHECKING:
    from gserver.server import Server
    from gserver.tls import TlsContext

# gunicorn's settings that do nothing here, and why.
_IGNORED: Final = {
    "forwarded_allow_ips secure_scheme_headers forwarder_headers": (
        "tell the application's framework which proxies to believe"
    ),
    "permit_obsolete_folding permit_unconventional_http_method permit_unconventional_http_version "
    "strip_header_spaces casefold_http_method": "requests are parsed strictly",
    "http_protocols": "HTTP/2 is spoken with clients that ask for it, unless GSERVER_HTTP2=no",
    "http2_max_header_list_size": "GSERVER_LIMIT_REQUEST_HEAD is for both protocols",
    "sendfile": "the kernel sends files where it can",
}
_HTTP2: Final = (
    "http2_max_concurrent_streams",
    "http2_initial_window_size",
    "http2_max_frame_size",
)
_MESSAGE_SIZE: Final = "websocket_max_message_size"
# What gunicorn means by no limit to the number of fields.
_MAX_FIELDS: Final = 32768
# Seconds that a worker which stops keeps its idle connections. Closing at once would lose the
# requests that are on their way; gunicorn's gevent worker waits for its keepalive.
_IDLE: Final = 1.0
# The arbiter kills after graceful_timeout: cut before that, so that close() still runs.
_MARGIN: Final = 1.0


def config_from(cfg: Any) -> Config:
    """Return what gunicorn's settings, and GSERVER_* for the rest, mean.

    Raises:
        ConfigError: A setting is out of range, or cannot be had with this worker.
    """
    # gunicorn 23 has no protocol, and proxy_protocol is true or false there.
    if getattr(cfg, "protocol", "http") != "http" or cfg.proxy_protocol not in ("off", False):
        raise ConfigError("gserver.Worker supports neither proxy_protocol nor the protocol uwsgi")
    environment = dict(os.environ)
    path = environment.pop("GSERVER_CONFIG", None)
    values = (from_file(path) if path else {}) | from_environment(environment)
    settings = make_settings()
    for name in values.keys() & settings.keys() - {_MESSAGE_SIZE}:
        del values[name]
    target, field = cfg.limit_request_line, cfg.limit_request_field_size
    # A target and a field of the size that the settings allow fit into it.
    head = max(OPTIONS["limit_request_head"].default, target + field)
    head = values.setdefault("limit_request_head", head)
    values |= {
        "limit_request_line": target or head,
        "limit_request_fields": cfg.limit_request_fields or _MAX_FIELDS,
        "limit_request_field_size": field or head,
        "header_map": cfg.header_map,
        "worker_connections": cfg.worker_connections,
        "keepalive": cfg.keepalive,
        "graceful_timeout": cfg.graceful_timeout,
        "multiprocess": cfg.workers > 1,
        "access_logfile": "off",  # gunicorn's own logger writes it
    }
    if not cfg.keepalive:
        values["keepalive_requests"] = 1
    # Since gunicorn 27, whose default is 16 times ours.
    if _MESSAGE_SIZE in settings and getattr(cfg, _MESSAGE_SIZE) != settings[_MESSAGE_SIZE].value:
        values[_MESSAGE_SIZE] = getattr(cfg, _MESSAGE_SIZE)
    # Since gunicorn 25 and 26.2.
    for name in _HTTP2:
        if hasattr(cfg, name):
            values[name] = getattr(cfg, name)
    if getattr(cfg, "http2_cleartext", "off") in ("upgrade", "both"):
        values["http2_upgrade"] = True
    return Config(**values)


class Worker(base.Worker):
    """The class that gunicorn's ``-k`` names."""

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Refuse or mention what this worker does not do; in the arbiter, at start-up."""
        try:
            config_from(cfg)
        except ConfigError as exc:
            raise RuntimeError(str(exc)) from exc  # which gunicorn prints without a traceback
        defaults = make_settings()
        for names, reason in _IGNORED.items():
            for name in names.split():
                changed = name in defaults and cfg.settings[name].value != defaults[name].value
                if changed or name.upper() in os.environ:
                    log.warning("gserver.Worker ignores %s: %s", name, reason)

    # -- in the worker process ---------------------------------------------------------------

    def init_process(self) -> None:
        """Patch, take over the sockets, and let gunicorn load the application and run."""
        # A fork inherits the arbiter's handlers, which would swallow a TERM in its name.
        signal.pthread_sigmask(signal.SIG_BLOCK, self.SIGNALS)
        from gserver.patching import patch

        left_behind = patch()
        from gevent import event, hub

        hub.reinit()
        for line in left_behind:
            self.log.warning("%s", line)
        self._awake = event.Event()
        self._server: Server | None = None
        self._config = config_from(self.cfg)
        # Now, and not in run(): an error here stops gunicorn, there it would repeat for ever.
        self._tls = self._tls_context()
        logger = logging.getLogger("gserver")
        logger.addHandler(ToGunicorn(self.log))
        logger.setLevel(self.log.error_log.getEffectiveLevel())
        logger.propagate = False
        # The C class, which is what the hub reads from.
        self.sockets = [_socket.socket(fileno=one.detach()) for one in self.sockets]  # type: ignore[misc]
        super().init_process()

    def init_signals(self) -> None:
        """Install gunicorn's handlers, and let them have what came before they were there."""
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self.SIGNALS)

    def _tls_context(self) -> TlsContext | None:
        if not self.cfg.is_ssl:
            return None
        from gunicorn.sock import ssl_context

        from gserver.tls import TlsContext

        return TlsContext(self._config, ssl_context(self.cfg))

    def run(self) -> None:
        """Serve until gunicorn, or the number of requests, ends it."""
        import gevent

        from gserver.interface import adapt
        from gserver.listener import Listener
        from gserver.server import Server
        from gserver.transport import READ

        hooks = self._hooks()
        try:
            application = adapt(self.wsgi, self._config.interface)
            self._server = server = Server(
                hooks.before(application) if hooks else application,
                self._config,
                [Listener(one, self._tls is not None) for one in self.sockets],
                tls=self._tls,
                environ={"wsgi.errors": _ErrorLog(self.cfg)},
            )
            server.start()
        except ConfigError as exc:
            # An ASGI application that cannot start, for one: gunicorn would try for ever.
            self.log.error("%s", exc)
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
        if hooks:
            server.handler.run = hooks.around(server.handler.run)
        # In the hub: while an application keeps that from running there is no heartbeat.
        loop = gevent.get_hub().loop
        interval = min(1.0, self.timeout / 2) if self.timeout else 1.0
        heart, woken = loop.timer(interval, interval), loop.io(self.PIPE[0], READ)
        heart.start(self._beat)
        woken.start(self._signalled)
        try:
            self._beat()
            self._awake.wait()
            timeout = self._config.graceful_timeout
            server.stop(timeout - min(_MARGIN, timeout / 10), _IDLE)
        finally:
            heart.close()
            woken.close()

    def _beat(self) -> None:
        self.notify()
        if self.ppid != os.getppid() and self.alive:
            self.log.info("Parent changed, shutting down: %s", self)
            self.alive = False
        if not self.alive:
            self._awake.set()

    def _signalled(self) -> None:
        # Python writes a byte for every signal, whose handler has run by now; so does the reloader.
        os.read(self.PIPE[0], 4096)
        self._beat()

    # Signal handlers interrupt any greenlet, also the hub: what may block gets one of its own.

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Stop without waiting for requests."""
        import gevent

        gevent.spawn(self._quit)

    def _quit(self) -> None:
        if self.alive:
            self.cfg.worker_int(self)
        self.alive = False
        self._awake.set()
        if self._server is not None:
            self._server.stop(0)

    def handle_usr1(self, sig: int, frame: FrameType | None) -> None:
        """Reopen the log files."""
        import gevent

        gevent.spawn(super().handle_usr1, sig, frame)

    def _hooks(self) -> Hooks | None:
        """Return what is to be done for each request; None, at no cost, if that is nothing."""
        cfg, log, defaults = self.cfg, self.log, make_settings()
        asks = cfg.pre_request is not defaults["pre_request"].get()
        asks |= log.error_log.isEnabledFor(logging.DEBUG)  # the default logs the request then
        tells = cfg.post_request is not defaults["post_request"].get()
        # gunicorn's Logger may have nothing to write; Statsd, for one, counts all the same.
        logs = type(log).access is not Logger.access or getattr(log, "access_log_enabled", True)
        if not (asks or logs or tells or self.max_requests < sys.maxsize):
            return None
        return Hooks(
            self,
            cfg.pre_request if asks else None,
            log.access if logs else None,
            cfg.post_request if tells else None,
        )

    def count(self) -> None:
        """Count a request; the worker stops after `max_requests` of them."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
            self._awake.set()


class _ErrorLog(io.TextIOBase):
    """``wsgi.errors``: the files of gunicorn's error log."""

    def __init__(self, cfg: Any) -> None:
        self._cfg = cfg

    def write(self, text: str) -> int:
        # A new one for each text: the files are others once they were reopened.
        WSGIErrorsWrapper(self._cfg).write(text)  # type: ignore[arg-type]
        return len(text)
