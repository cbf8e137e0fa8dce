"""The access log: gunicorn's format strings, written without stalling requests.

A request adds its line to a list, in its own greenlet and after its response. Now and then the hub
hands the list to a thread, which writes it. A disk or a pipe that is slow delays the log, nothing
else; when too much has gathered, lines are dropped and counted.
"""

from __future__ import annotations

import base64
import logging
import os
import re
import select
import sys
import time
from _queue import SimpleQueue
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from gevent import monkey

from gserver.api.errors import ConfigError
from gserver.config import Config

if TYPE_CHECKING:
    from gevent.hub import Hub

    from gserver.stream import Stream

logger = logging.getLogger("gserver.error")

# Seconds that lines gather before they are written together.
_GATHER: Final = 0.1
# Characters of lines that wait for a slow reader; twice as many can be in memory.
_MAX_WAITING: Final = 4 * 2**20
# Seconds that a stopping server waits for the log to be written.
_LAST_WORDS: Final = 1.0

_YELLOW, _RED, _PLAIN = "\033[33m", "\033[31m", "\033[0m"
_MONTHS: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"

# The writer is a thread of the system, whether or not gevent has patched what makes threads.
_start_thread: Any = monkey.get_original("_thread", "start_new_thread")
_make_lock: Any = monkey.get_original("_thread", "allocate_lock")
_make_poll: Any = monkey.get_original("select", "poll")

Atom: TypeAlias = "Callable[[Stream, float], str]"
"""Returns a piece of a log line, given an exchange and the seconds that it took."""


def coloured(descriptor: int) -> bool:
    """Return whether colours are welcome there: a terminal, and no NO_COLOR (no-color.org)."""
    return os.isatty(descriptor) and not os.environ.get("NO_COLOR")


# -- the format ------------------------------------------------------------------------------


def _variable(*names: str) -> Atom:
    """Return an atom for the first of these environ keys that is there."""

    def read(stream: Stream, seconds: float) -> str:
        environ = stream.environ
        for name in names:
            if name in environ:
                return str(environ[name])
        return "-"

    return read


def _host(stream: Stream, seconds: float) -> str:
    return str(stream.environ.get("REMOTE_ADDR") or "-")


def _status(stream: Stream, seconds: float) -> str:
    return stream.status[:3] or "-"


def _user(stream: Stream, seconds: float) -> str:
    scheme, _, credentials = stream.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "basic":
        return "-"
    try:
        name = base64.b64decode(credentials).decode().partition(":")[0]
    except ValueError:
        return "-"
    # The format does not quote it.
    return name.replace(" ", "%20") or "-"


@lru_cache(maxsize=1)
def _time(second: int) -> str:
    now = time.localtime(second)
    # Not %b, which speaks the language that the application has set.
    month = _MONTHS[3 * now.tm_mon - 3 : 3 * now.tm_mon]
    return time.strftime(f"[%d/{month}/%Y:%H:%M:%S %z]", now)


def _request_line(stream: Stream, seconds: float) -> str:
    return f"{_method(stream, 0)} {_target(stream, 0)} {_protocol(stream, 0)}"


def _sent(stream: Stream, seconds: float) -> str:
    return str(0 if stream.bodyless() else stream.sent)


def _sent_or_dash(stream: Stream, seconds: float) -> str:
    sent = _sent(stream, seconds)
    return "-" if sent == "0" else sent


def _response_header(name: str) -> Atom:
    def read(stream: Stream, seconds: float) -> str:
        found = [str(value) for key, value in stream.headers if key.lower() == name]
        return ", ".join(found) or "-"

    return read


_method = _variable("REQUEST_METHOD")
_target = _variable("RAW_URI")
_protocol = _variable("SERVER_PROTOCOL")

_ATOMS: Final[dict[str, Atom]] = {
    "h": _host,
    "l": lambda stream, seconds: "-",
    "u": _user,
    "t": lambda stream, seconds: _time(int(time.time())),
    "r": _request_line,
    "m": _method,
    "U": _variable("PATH_INFO"),
    "q": _variable("QUERY_STRING"),
    "H": _protocol,
    "s": _status,
    "B": _sent,
    "b": _sent_or_dash,
    "f": _variable("HTTP_REFERER"),
    "a": _variable("HTTP_USER_AGENT"),
    "T": lambda stream, seconds: f"{int(seconds)}",
    "M": lambda stream, seconds: f"{int(seconds * 1e3)}",
    "D": lambda stream, seconds: f"{int(seconds * 1e6)}",
    "L": lambda stream, seconds: f"{seconds:.6f}",
    "p": lambda stream, seconds: f"<{os.getpid()}>",
}
_FIND_ATOM: Final = re.compile(r"%(?:\(([^)]*)\)s|(%)|)")
_NAMED_ATOM: Final = re.compile(r"\{([^}]+)\}([ioe])").fullmatch


def _atom(name: str) -> Atom:
    if name in _ATOMS:
        return _ATOMS[name]
    match = _NAMED_ATOM(name)
    if match is None:
        raise ConfigError(
            f"access_logformat: there is no %({name})s, only {' '.join(_ATOMS)} "
            "and {header}i, {header}o, {variable}e"
        )
    if match[2] == "o":
        return _response_header(match[1].lower())
    if match[2] == "e":
        return _variable(match[1], match[1].upper())
    key = match[1].upper().replace("-", "_")
    return _variable(key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}")


class Format:
    """A compiled format string.

    Raises:
        ConfigError: It names an atom that does not exist.
    """

    def __init__(self, text: str) -> None:
        self._atoms: list[Atom] = []
        self._template = _FIND_ATOM.sub(self._compile, text) + "\n"

    def _compile(self, match: re.Match[str]) -> str:
        if match[2]:
            return "%%"
        if match[1] is None:
            rest = match.string[match.start() :]
            raise ConfigError(
                f"access_logformat: {rest:.10}: after % comes an atom, such as %(h)s, or another %"
            )
        self._atoms.append(_atom(match[1]))
        return "%s"

    def line(self, stream: Stream, seconds: float) -> str:
        """Return the line for an exchange; what the client sent cannot forge a second one."""
        values = [atom(stream, seconds) for atom in self._atoms]
        joined = "".join(values)
        if not joined.isascii() or not joined.isprintable() or '"' in joined or "\\" in joined:
            values = [_UNSAFE.sub(_escape, value) for value in values]
        return self._template % tuple(values)


_UNSAFE: Final = re.compile(r"[^ !#-\[\]-~]")


def _escape(match: re.Match[str]) -> str:
    """Return the character as Apache writes it: behind a backslash."""
    character = match[0]
    return '\\"' if character == '"' else character.encode("unicode_escape").decode("ascii")


# -- the log ---------------------------------------------------------------------------------


class AccessLog:
    """Writes a line for each request that was handled.

    Args:
        descriptor: Of an open file; the log closes it.
        format: What the lines look like.
        colour: Lines of client errors are yellow, those of server errors red.
    """

    def __init__(self, descriptor: int, format: Format, colour: bool = False) -> None:
        self._descriptor = descriptor
        self._format = format
        self._colours = {"4": _YELLOW, "5": _RED} if colour else {}
        self._lines: list[str] = []
        self._waiting = 0  # characters of them
        self._dropped = 0
        self._timer: Any = None
        self._scheduled = False
        self._closed = False
        self._batches: SimpleQueue[bytes | None] = SimpleQueue()
        self._trouble = self._reported = ""  # why the thread cannot write
        self._written = _make_lock()  # held until the thread has written everything

    @classmethod
    def from_config(cls, config: Config) -> AccessLog | None:
        """Return the log that the options ask for, if any.

        Raises:
            ConfigError: The file cannot be written, or the format is wrong.
        """
        format = Format(config.access_logformat)
        path = config.access_logfile
        if path == "auto":
            path = "-" if sys.stdout is not None and sys.stdout.isatty() else "off"
        if path in ("off", ""):
            return None
        try:
            descriptor = os.dup(1) if path == "-" else _open(path)
        except OSError as exc:
            raise ConfigError(f"access_logfile {path}: {exc.strerror}") from exc
        return cls(descriptor, format, coloured(descriptor))

    def around(self, run: Callable[[Stream], None], hub: Hub) -> Callable[[Stream], None]:
        """Start the log; return a `Handler.run` that logs what `run` has handled."""
        # Repeating: libev starts another kind a second time with what was left the first time.
        self._timer = hub.loop.timer(_GATHER, _GATHER)
        self._written.acquire()
        _start_thread(self._write_batches, ())

        def logged(stream: Stream) -> None:
            begin = time.perf_counter()
            try:
                run(stream)
            finally:
                self.add(stream, time.perf_counter() - begin)

        return logged

    def add(self, stream: Stream, seconds: float) -> None:
        """Have a line written soon.

        Args:
            stream: The exchange, which is over.
            seconds: How long it took.
        """
        if self._closed:
            return  # a request that was cut, and took long over it
        if self._waiting > _MAX_WAITING:
            self._drop()
            return
        try:
            line = self._format.line(stream, seconds)
        except Exception:
            # The environ and the headers are the application's to spoil; it has its response.
            logger.exception("access log: no line for a request")
            return
        if self._colours and (colour := self._colours.get(stream.status[:1])):
            line = f"{colour}{line[:-1]}{_PLAIN}\n"
        self._lines.append(line)
        self._waiting += len(line)
        if not self._scheduled:
            self._scheduled = True
            self._timer.start(self._flush)

    def _drop(self) -> None:
        if not self._dropped:
            logger.warning("access log: lines are dropped, it takes them too slowly")
        self._dropped += 1

    # -- in the hub --------------------------------------------------------------------------

    def _flush(self) -> None:
        if self._batches.empty():  # else the thread is behind, and the timer rings again
            self._timer.stop()
            self._scheduled = False
            self._hand_over()

    def _hand_over(self) -> None:
        self._report()
        if self._dropped:
            logger.warning("access log: %d lines were dropped", self._dropped)
            self._dropped = 0
        self._batches.put("".join(self._lines).encode("utf-8", "backslashreplace"))
        self._lines.clear()
        self._waiting = 0

    def _report(self) -> None:
        trouble = self._trouble
        if trouble and trouble != self._reported:
            logger.error("access log: cannot write: %s", trouble)
        self._reported = trouble

    def close(self) -> None:
        """Write what is left and close the file; blocks the thread, though not for long."""
        self._closed = True
        if self._timer is None:
            os.close(self._descriptor)
            return
        self._timer.stop()
        self._timer.close()
        self._hand_over()
        self._batches.put(None)
        finished = self._written.acquire(timeout=_LAST_WORDS)
        self._report()
        if not finished:
            logger.warning("access log: nobody reads it, and the last lines are lost")

    # -- in the thread, which coverage does not see ------------------------------------------

    def _write_batches(self) -> None:  # pragma: no cover
        for batch in iter(self._batches.get, None):
            self._write(memoryview(batch))
        os.close(self._descriptor)
        self._written.release()

    def _write(self, data: memoryview) -> None:  # pragma: no cover
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # a pipe that somebody made non-blocking
                poll = _make_poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()
            except OSError as exc:
                # A full disk, a reader that has left: serving goes on without a log.
                self._trouble = exc.strerror or "unknown error"
                return
        self._trouble = ""


def _open(path: str) -> int:
    # Non-blocking, lest a FIFO that nobody reads yet stops the start.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o644)
    os.set_blocking(descriptor, True)
    return descriptor
