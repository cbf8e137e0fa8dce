"""The access log: gunicorn's format strings, written without stalling requests.

A request adds its line to a list; a thread writes what has gathered. A disk or a pipe that is slow
delays the log, nothing else; when too much has gathered, lines are dropped and counted.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from gevent.hub import Hub

from gserver.api.errors import ConfigError
from gserver.config import Config
from gserver.stream import Stream

# Seconds that lines gather before they are written together.
_GATHER: Final = 0.1
_MAX_WAITING: Final = 100_000

_ATOM: Final = re.compile(r"%(?:\(([A-Za-z]|\{[^}]+\}[ioe])\)s|%)")
_UNSAFE: Final = re.compile(r'[\x00-\x1f"\\\x7f-\x9f]')


class Exchange:
    """What a log line tells about, with one method for each of gunicorn's atoms."""

    def __init__(self, stream: Stream, seconds: float) -> None:
        self.stream = stream
        self.environ = stream.environ
        self.seconds = seconds

    def h(self) -> str:
        """Remote address."""
        return self.environ["REMOTE_ADDR"] or "-"

    def l(self) -> str:  # noqa: E743 - the atom's name
        """Always "-"."""
        return "-"

    def u(self) -> str:
        """User name of Basic authentication."""
        scheme, _, credentials = self.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "basic":
            return "-"
        try:
            decoded = base64.b64decode(credentials, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return "-"
        return decoded.partition(":")[0] or "-"

    def t(self) -> str:
        """Time of the log line."""
        return time.strftime("[%d/%b/%Y:%H:%M:%S %z]")

    def r(self) -> str:
        """Request line."""
        return f"{self.m()} {self.environ['RAW_URI']} {self.H()}"

    def m(self) -> str:
        """Method."""
        return str(self.environ["REQUEST_METHOD"])

    def U(self) -> str:
        """Path without the query."""
        return str(self.environ["PATH_INFO"])

    def q(self) -> str:
        """Query."""
        return str(self.environ["QUERY_STRING"])

    def H(self) -> str:
        """Protocol."""
        return str(self.environ["SERVER_PROTOCOL"])

    def s(self) -> str:
        """Status code."""
        return str(self.stream.code or "-")

    def B(self) -> str:
        """Bytes of content."""
        return str(self.stream.sent)

    def b(self) -> str:
        """Bytes of content, or "-"."""
        return str(self.stream.sent or "-")

    def f(self) -> str:
        """Referer."""
        return str(self.environ.get("HTTP_REFERER", "-"))

    def a(self) -> str:
        """User agent."""
        return str(self.environ.get("HTTP_USER_AGENT", "-"))

    def T(self) -> str:
        """Seconds the request took."""
        return str(int(self.seconds))

    def M(self) -> str:
        """Milliseconds the request took."""
        return str(int(self.seconds * 1e3))

    def D(self) -> str:
        """Microseconds the request took."""
        return str(int(self.seconds * 1e6))

    def L(self) -> str:
        """Seconds the request took, as a decimal."""
        return f"{self.seconds:.6f}"

    def p(self) -> str:
        """Process id, as gunicorn prints it."""
        return f"<{os.getpid()}>"

    def named(self, name: str, kind: str) -> str:
        """Request header (i), response header (o) or environ variable (e)."""
        if kind == "o":
            found = [v for k, v in self.stream.headers if k.lower() == name.lower()]
            return ",".join(found) or "-"
        if kind == "i":
            name = "HTTP_" + name.upper().replace("-", "_")
            name = name.removeprefix("HTTP_") if name.startswith("HTTP_CONTENT_") else name
        return str(self.environ.get(name, "-"))


class Format:
    """A compiled format string.

    Raises:
        ConfigError: It names an atom that does not exist.
    """

    def __init__(self, text: str) -> None:
        self._literals: list[str] = []
        self._atoms: list[Callable[[Exchange], str]] = []
        end = 0
        for match in _ATOM.finditer(text):
            literal = text[end : match.start()]
            end = match.end()
            atom = match[1]
            if atom is None:
                literal += "%"
            self._add(literal, _reader(atom) if atom else _nothing)
        self._tail = text[end:]
        if "%" in "".join(self._literals).replace("%", "", text.count("%%")) + self._tail:
            raise ConfigError(f"access_logformat: % must be %% or an atom such as %(h)s: {text!r}")

    def _add(self, literal: str, atom: Callable[[Exchange], str]) -> None:
        self._literals.append(literal)
        self._atoms.append(atom)

    def line(self, exchange: Exchange) -> str:
        """Return the line for an exchange; what the client sent cannot forge a second one."""
        pieces = []
        for literal, atom in zip(self._literals, self._atoms, strict=True):
            pieces.append(literal)
            pieces.append(_UNSAFE.sub(_escape, atom(exchange)))
        return "".join(pieces) + self._tail + "\n"


def _reader(atom: str) -> Callable[[Exchange], str]:
    if atom.startswith("{"):
        name, _, kind = atom[1:].rpartition("}")
        return lambda exchange: exchange.named(name, kind)
    if not hasattr(Exchange, atom):
        raise ConfigError(f"access_logformat: there is no atom %({atom})s")
    return getattr(Exchange, atom)  # type: ignore[no-any-return]


def _nothing(_: Exchange) -> str:
    return ""


def _escape(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"


class AccessLog:
    """Writes a line for each request that was handled."""

    def __init__(self, descriptor: int, format: Format) -> None:
        self._descriptor = descriptor
        self._format = format
        self._lines: list[str] = []
        self._dropped = 0
        self._hub: Hub | None = None
        self._timer: Any = None
        self._scheduled = False

    @classmethod
    def from_config(cls, config: Config) -> AccessLog | None:
        """Return the log that the options ask for, if any.

        Raises:
            ConfigError: The file cannot be written, or the format is wrong.
        """
        path = config.access_logfile
        if path == "auto":
            path = "-" if sys.stdout is not None and sys.stdout.isatty() else "off"
        format = Format(config.access_logformat)
        if path in ("off", ""):
            return None
        if path == "-":
            return cls(os.dup(1), format)
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            return cls(os.open(path, flags, 0o644), format)
        except OSError as exc:
            raise ConfigError(f"access_logfile {path}: {exc.strerror}") from exc

    def around(self, run: Callable[[Stream], None], hub: Hub) -> Callable[[Stream], None]:
        """Return a `Handler.run` that logs what `run` has handled."""
        self._hub = hub
        self._timer = hub.loop.timer(_GATHER)

        def logged(stream: Stream) -> None:
            begin = time.perf_counter()
            try:
                run(stream)
            finally:
                self.add(Exchange(stream, time.perf_counter() - begin))

        return logged

    def add(self, exchange: Exchange) -> None:
        """Have a line written soon."""
        if len(self._lines) >= _MAX_WAITING:
            self._dropped += 1
            return
        self._lines.append(self._format.line(exchange))
        if not self._scheduled:
            self._scheduled = True
            self._timer.start(self._flush)

    def _flush(self) -> None:
        # In the hub. The thread is waited for, so that lines stay in order.
        assert self._hub is not None
        self._hub.threadpool.spawn(self._write, self._take()).rawlink(self._written)

    def _written(self, _: object) -> None:
        self._scheduled = bool(self._lines)
        if self._scheduled:
            self._timer.start(self._flush)

    def _take(self) -> bytes:
        lines, self._lines = self._lines, []
        if self._dropped:
            lines.append(f"[{self._dropped} lines were dropped: the log is too slow]\n")
            self._dropped = 0
        return "".join(lines).encode("utf-8", "backslashreplace")

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:  # a pipe that somebody made non-blocking
                time.sleep(_GATHER)
            except OSError:
                return  # a full disk, a reader that has left: serving goes on without a log

    def close(self) -> None:
        """Write what is left and close the file; blocks."""
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
        self._write(self._take())
        os.close(self._descriptor)
