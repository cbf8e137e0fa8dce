"""Starts a server on a core of its own and ends it, whatever happens."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

import measure
from errors import Failed
from servers import Certificate, Launch, Server, Wire

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 15.0
END_SECONDS = 10.0
POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Cores:
    """The core that serves and the core that makes the load; this process lives on the second."""

    server: int
    load: int


@dataclass(frozen=True, slots=True)
class Running:
    """A server that accepts connections."""

    session: int
    port: int
    tls: Certificate | None

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/"

    def cpu_seconds(self) -> float:
        """Return the processor time that the server has used since it was started."""
        return measure.cpu_seconds(self.session)

    def memory_bytes(self) -> int:
        """Return how much the server has resident in memory."""
        return measure.memory_bytes(self.session)


@contextmanager
def serve(
    server: Server, application: str, wire: Wire, certificate: Certificate, cores: Cores
) -> Iterator[Running]:
    """Run a server for the time of the block.

    Raises:
        Failed: It ended or refused connections instead of serving.
    """
    tls = certificate if wire.tls else None
    with TemporaryFile() as log, TemporaryDirectory() as folder:
        launch = Launch(application, _free_port(), wire.protocol, tls, Path(folder))
        process = _start(server.command(launch), log, cores)
        try:
            _wait_until_ready(process, launch.port, log)
            try:
                yield Running(process.pid, launch.port, tls)
            except Exception as error:
                if process.poll() is None:
                    raise
                raise Failed(f"ended while serving: {_last_line(log)}") from error
        finally:
            _end(process)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _start(command: list[str], log: IO[bytes], cores: Cores) -> subprocess.Popen[bytes]:
    """Start a process as the leader of a new session; children inherit both session and core."""
    os.sched_setaffinity(0, {cores.server})
    try:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.sched_setaffinity(0, {cores.load})


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failed(f"did not start: {_last_line(log)}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(POLL_SECONDS)
    raise Failed(f"took no connection in {START_SECONDS:.0f} s: {_last_line(log)}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill all of the server's processes; it holds nothing that would be worth a farewell."""
    deadline = time.monotonic() + END_SECONDS
    while (left := measure.processes(process.pid)) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.poll()
        time.sleep(POLL_SECONDS)
    process.wait(END_SECONDS)


def _last_line(log: IO[bytes]) -> str:
    """Return the last line that says something: of a traceback, the line of the exception."""
    log.seek(0)
    lines = log.read().decode(errors="replace").splitlines()
    told = (line for line in reversed(lines) if re.match(r"(?=\S).*[A-Za-z]", line))
    return next(told, "no output")
