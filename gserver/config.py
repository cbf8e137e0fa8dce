"""Config: every option of the server once, with its unit, its default and the reason.

The command line (see `gserver.cli`), the TOML file and the GSERVER_* variables derive from this
dataclass; a program passes keyword arguments. Where gunicorn has the option, it has gunicorn's
name.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gserver.api.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

COMBINED = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
"""The combined log format of Apache, in gunicorn's atoms."""

# RFC 9113 6.5.2 and 6.9.1.
_MAX_WINDOW = 2**31 - 1
_MAX_FRAME = 2**24 - 1
_MAX_SETTING = 2**32 - 1

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


def _option(
    default: Any,
    help: str,
    metavar: str | None = None,
    *,
    choices: tuple[str, ...] = (),
    least: int = 0,
    most: float = float("inf"),
) -> Any:
    metadata = {
        "help": help,
        "metavar": metavar,
        "choices": choices,
        "least": least,
        "most": most,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Config:
    """The options of a server; immutable.

    Times are in seconds and 0 switches a timeout off; sizes are in bytes.

    Raises:
        ConfigError: A value has the wrong type or is out of range.
    """

    # -- where to listen -------------------------------------------------------------------
    bind: Sequence[str] = _option(
        ("127.0.0.1:8000",),
        "where to listen: HOST:PORT, unix:PATH or fd://N; repeatable. With http:// or https:// "
        "in front, one server listens in clear and with TLS at once",
        "ADDRESS",
    )
    backlog: int = _option(2048, "connections that the kernel queues until they are accepted")
    reuse_port: bool = _option(
        False, "set SO_REUSEPORT, so that several processes share one address"
    )
    worker_connections: int = _option(
        # An idle connection costs about 2 KiB: this bounds descriptors rather than memory.
        16384,
        "connections open at once; more wait in the backlog",
        least=1,
    )

    # -- TLS -------------------------------------------------------------------------------
    certfile: str | None = _option(None, "TLS certificate chain (PEM); switches TLS on", "FILE")
    keyfile: str | None = _option(None, "private key of the certificate (PEM)", "FILE")
    ca_certs: str | None = _option(None, "CA certificates that vouch for clients (PEM)", "FILE")
    cert_reqs: str = _option(
        "none",
        "whether clients must show a certificate",
        choices=("none", "optional", "required"),
    )
    ciphers: str | None = _option(None, "OpenSSL cipher list for TLS 1.2", "LIST")

    # -- timeouts --------------------------------------------------------------------------
    handshake_timeout: float = _option(10.0, "for the TLS handshake")
    header_timeout: float = _option(
        # A browser on a bad line needs a few seconds; a slow sender costs 2 KiB meanwhile.
        20.0,
        "for a request's header section, from its first byte to its last (408)",
    )
    body_timeout: float = _option(
        30.0,
        "that the application may wait for content, beyond what body_min_rate grants (408)",
    )
    body_min_rate: int = _option(
        # Apache's mod_reqtimeout: body=20,MinRate=500.
        500,
        "bytes a second at which content must arrive while the application waits for it; "
        "0 measures only the pauses",
    )
    keepalive: float = _option(
        # Load balancers keep idle connections for 60 s: the server should not be first to close.
        75.0,
        "that an idle connection is kept open for the next request",
    )
    write_timeout: float = _option(60.0, "that a client may take none of the response")
    request_timeout: float = _option(
        0.0, "that a request may take in the application; past it 503 (off by default)"
    )
    graceful_timeout: float = _option(
        30.0,
        "for running requests to finish once the server was told to stop; 0 cuts them at once",
    )

    # -- limits ----------------------------------------------------------------------------
    limit_request_line: int = _option(8190, "bytes of the request target (414)", least=1)
    limit_request_fields: int = _option(100, "header fields of a request (431)", least=1)
    limit_request_field_size: int = _option(8190, "bytes of one header field (431)", least=1)
    limit_request_head: int = _option(
        # All of the above together would be 800 KB; Node.js allows 16 KiB, nginx 32 KiB.
        65536,
        "bytes of the whole header section (431)",
        least=1,
    )
    limit_request_body: int = _option(
        # Content is streamed and costs no memory of the server's: what is too much is for the
        # application to say.
        0,
        "bytes of content (413); 0 for no limit",
    )
    limit_unread_body: int = _option(
        # What Go's net/http reads away before it gives up on the connection.
        262144,
        "bytes of content that are read away when the application did not want them, to keep "
        "the connection; with more it is closed, or on HTTP/2 the stream is",
    )
    keepalive_requests: int = _option(
        0, "requests on one connection, after which it is closed; 0 for no limit"
    )
    header_map: str = _option(
        "drop",
        "what to do with header names that contain an underscore, which an application cannot "
        "tell from those with a hyphen",
        choices=("drop", "refuse", "dangerous"),
    )

    # -- HTTP/2 ----------------------------------------------------------------------------
    http2: bool = _option(
        True, "speak HTTP/2 with clients that ask for it: by ALPN with TLS, by its preface in clear"
    )
    http2_engine: str = _option(
        "auto",
        "what speaks HTTP/2: nghttp2 (fast, a C library), h2 (Python), or auto: nghttp2 if it was "
        "found when gserver was installed",
        choices=("auto", "nghttp2", "h2"),
    )
    http2_upgrade: bool = _option(
        # RFC 9113 3.1 retired it, and proxies that do not know it let requests be smuggled.
        False,
        "take HTTP/1.1 requests with Upgrade: h2c, too",
    )
    http2_max_concurrent_streams: int = _option(
        100,
        "requests of one HTTP/2 connection at once; more are refused",
        least=1,
        most=_MAX_SETTING,
    )
    http2_initial_window_size: int = _option(
        # The protocol's own default: enough for a form, and small times a hundred streams.
        65535,
        "bytes of content that a client may send on one stream before the application reads",
        least=1,
        most=_MAX_WINDOW,
    )
    http2_max_window_size: int = _option(
        # 5 MB/s over a line of 50 ms.
        262144,
        "bytes of content that a client may send ahead once the application reads",
        least=1,
        most=_MAX_WINDOW,
    )
    http2_connection_window_size: int = _option(
        1048576,
        "bytes of content that all streams together may send in one round trip",
        least=65535,
        most=_MAX_WINDOW,
    )
    http2_max_frame_size: int = _option(
        16384, "bytes of one frame that the server takes", least=16384, most=_MAX_FRAME
    )
    http2_header_table_size: int = _option(4096, "bytes of the header compression tables, each way")
    http2_max_continuations: int = _option(
        8, "CONTINUATION frames of one header section; more close the connection"
    )
    http2_max_resets: int = _option(
        # A browser that leaves a page resets what it had asked for, once.
        200,
        "streams of one connection that may be reset at once; a tenth is granted again each "
        "second, and more closes the connection",
        least=1,
    )
    http2_max_control_frames: int = _option(
        1000,
        "frames that move nothing forward (PING, SETTINGS, empty DATA, ...), counted like "
        "http2_max_resets",
        least=1,
    )

    # -- WebSocket -------------------------------------------------------------------------
    websocket: bool = _option(
        True, "let applications make WebSockets of requests that ask for it, on either protocol"
    )
    websocket_max_message_size: int = _option(
        1048576, "bytes of one WebSocket message, inflated (close code 1009)", least=1
    )
    websocket_max_frame_size: int = _option(
        1048576, "bytes of one WebSocket frame as it comes (close code 1009)", least=125
    )
    websocket_max_queue: int = _option(
        65536,
        "bytes of WebSocket messages that came and were not received; with more the client is "
        "not read",
        least=1,
    )
    websocket_ping_interval: float = _option(
        # Below the 60 s after which load balancers take a connection for idle.
        20.0,
        "between pings to each WebSocket",
    )
    websocket_ping_timeout: float = _option(
        20.0, "without a sign of life after a ping, until a WebSocket is cut off"
    )
    websocket_close_timeout: float = _option(
        10.0, "for a client to answer a WebSocket's close; 0 does not wait"
    )
    websocket_compression: bool = _option(
        True, "compress WebSocket messages if the client offers it (permessage-deflate)"
    )
    websocket_context_takeover: bool = _option(
        # Both windows would stay in memory: 150 KiB for each WebSocket.
        False,
        "keep what compression has learnt from one WebSocket message to the next",
    )

    # -- log -------------------------------------------------------------------------------
    access_logfile: str = _option(
        "auto",
        "access log: a file, - for standard output, off, or auto: standard output if that is a "
        "terminal",
        "FILE",
    )
    access_logformat: str = _option(COMBINED, "format of the access log, in gunicorn's atoms")
    log_level: str = _option(
        "info",
        "least severity that is logged",
        choices=("debug", "info", "warning", "error", "critical"),
    )

    # -- the rest --------------------------------------------------------------------------
    server_header: str = _option("gserver", "the Server field of responses; empty for none", "NAME")
    interface: str = _option(
        "auto",
        "what the application is; auto tells an ASGI application by its signature",
        choices=("auto", "wsgi", "asgi"),
    )
    multiprocess: bool = _option(
        False, "tell applications that other processes serve too (wsgi.multiprocess)"
    )

    def __post_init__(self) -> None:
        if isinstance(self.bind, str):
            object.__setattr__(self, "bind", (self.bind,))
        for option in OPTIONS.values():
            option.check(getattr(self, option.name), option.name)
        object.__setattr__(self, "bind", tuple(self.bind))
        if not self.bind:
            raise ConfigError("bind must name at least one address")
        if self.keyfile and not self.certfile:
            raise ConfigError("keyfile without certfile: give the certificate too")
        if not (self.server_header.isascii() and self.server_header.isprintable()):
            raise ConfigError(f"server_header must be printable ASCII, not {self.server_header!r}")


class Option:
    """One field of Config, as those who read values from text need it."""

    def __init__(self, field: dataclasses.Field[Any], annotation: Any) -> None:
        self.name = field.name
        self.default: Any = field.default
        self.help: str = field.metadata["help"]
        self.metavar: str | None = field.metadata["metavar"]
        self.choices: tuple[str, ...] = field.metadata["choices"]
        self.repeatable = typing.get_origin(annotation) is Sequence
        self.optional = isinstance(annotation, types.UnionType)
        self.type: type = str if self.repeatable or self.optional else annotation
        self.least: int = field.metadata["least"]
        self.most: float = field.metadata["most"]

    def check(self, value: Any, name: str) -> None:
        """Raise `ConfigError` unless `value` is one for this option.

        Args:
            value: Of the type that Config holds.
            name: What the user knows the option by.
        """
        if value is None and self.optional:
            return
        if self.repeatable and not isinstance(value, (list, tuple)):
            raise ConfigError(f"{name} must be a list of texts, not {value!r}")
        for one in value if self.repeatable else (value,):
            self._check(one, name)

    def _check(self, value: Any, name: str) -> None:
        if not self._fits(value):
            raise ConfigError(f"{name} must be {self._wanted()}, not {value!r}")
        if isinstance(value, str):
            if self.choices and value not in self.choices:
                raise ConfigError(f"{name} must be one of {', '.join(self.choices)}, not {value!r}")
            if "\0" in value:
                raise ConfigError(f"{name} must not contain a NUL character")
        elif not self.least <= value < float("inf"):
            raise ConfigError(f"{name} must be {self.least} or more, not {value!r}")
        elif value > self.most:
            raise ConfigError(f"{name} must be {self.most} or less, not {value!r}")

    def _fits(self, value: Any) -> bool:
        if isinstance(value, bool):  # an int to Python, but not to a user
            return self.type is bool
        return isinstance(value, (int, float) if self.type is float else self.type)

    def parse(self, text: str, name: str) -> Any:
        """Return the value that a text from command line or environment means.

        Raises:
            ConfigError: None that this option takes.
        """
        if self.type is bool:
            if text.lower() not in _TRUE | _FALSE:
                raise ConfigError(f"{name} must be {self._wanted()}, not {text!r}")
            return text.lower() in _TRUE
        try:
            value = self.type(text)
        except ValueError:
            raise ConfigError(f"{name} must be {self._wanted()}, not {text!r}") from None
        self._check(value, name)
        return value

    def _wanted(self) -> str:
        return {
            int: "a whole number",
            float: "a number of seconds",
            bool: "true or false",
            str: "a text",
        }[self.type]


def _options() -> dict[str, Option]:
    hints = typing.get_type_hints(Config)
    return {one.name: Option(one, hints[one.name]) for one in dataclasses.fields(Config)}


OPTIONS = _options()
"""All options by name, in the order in which Config declares them."""


def from_file(path: str) -> dict[str, Any]:
    """Return the options in a TOML file.

    Raises:
        ConfigError: It cannot be read, names an unknown option, or a value does not fit.
    """
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
    except OSError as exc:
        raise ConfigError(f"cannot read {path}: {exc.strerror}") from exc
    except ValueError as exc:  # not UTF-8, or not TOML
        raise ConfigError(f"{path} is not TOML: {exc}") from exc
    for name, value in values.items():
        option = _find(name, path)
        if option.repeatable and isinstance(value, str):
            values[name] = value = [value]
        option.check(value, f"{path}: {name}")
    return values


# Which file holds options, and which form of the modules is imported (see gserver/__init__.py).
_NO_OPTIONS = frozenset({"GSERVER_CONFIG", "GSERVER_PURE"})


def from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the options in GSERVER_* variables; repeatable ones are separated by commas.

    Raises:
        ConfigError: A variable names no option, or its value does not fit.
    """
    values: dict[str, Any] = {}
    for variable, text in environment.items():
        name = variable.removeprefix("GSERVER_").lower()
        if name == variable.lower() or variable in _NO_OPTIONS:
            continue
        if name.startswith(("port", "service_")) and "GSERVER_SERVICE_HOST" in environment:
            continue  # Kubernetes tells all pods so about a service that is called gserver
        option = _find(name, variable)
        if option.repeatable:
            parts = filter(None, map(str.strip, text.split(",")))
            values[name] = [option.parse(part, variable) for part in parts]
        else:
            values[name] = option.parse(text, variable)
    return values


def _find(name: str, where: str) -> Option:
    if name not in OPTIONS:
        raise ConfigError(f"{where}: unknown option {name}{suggestion(name)}")
    return OPTIONS[name]


def suggestion(name: str, spell: Callable[[str], str] = str) -> str:
    """Return which option an unknown name may have meant, as the end of a message.

    Args:
        name: What the user wrote.
        spell: Returns how the user should have written an option.
    """
    close = difflib.get_close_matches(name.strip("-").replace("-", "_"), OPTIONS, 1)
    return f"; did you mean {spell(close[0])}?" if close else ""
