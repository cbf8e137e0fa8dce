"""Builds and drives wsload, the load generator of the WebSocket scenarios; ``wsload.c`` has more.

A client opens its connections before it makes load: so the handshakes are not charged to the
messages, and what it counts is complete when it tells.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from errors import Failed
from load import Outcome

SOURCE = Path(__file__).with_suffix(".c")
PROGRAM = SOURCE.parent.parent / "build" / "wsload"
COMPILE = ("cc", "-O2", "-std=gnu11", "-Wall", "-Wextra")
COMPILE_SECONDS = 60.0
SLACK_SECONDS = 80.0
"""How much longer than told it may take; it gives up sooner by itself."""


class Client:
    """A wsload that runs; its connections are open."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._answer(SLACK_SECONDS)

    def run(self, seconds: int) -> Outcome:
        """Make load for some seconds.

        Raises:
            Failed: The server did something wrong.
        """
        assert self._process.stdin
        try:
            self._process.stdin.write(b"%d\n" % seconds)
        except BrokenPipeError:
            pass  # it has ended, and the answer tells why
        report = self._answer(seconds + SLACK_SECONDS)
        return Outcome(report["count"], report["count"] / report["seconds"], "")

    def end(self) -> None:
        """Close the connections with the closing handshake.

        Raises:
            Failed: The server did something wrong, then or before.
        """
        assert self._process.stdin
        self._process.stdin.close()
        try:
            status = self._process.wait(SLACK_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise Failed("wsload did not end in time") from error
        if status:
            raise Failed(self._complaint())

    def _answer(self, seconds: float) -> Any:
        """Return the next line: it is written at once, so what is there is all of it."""
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            raise Failed("wsload did not answer in time")
        line = os.read(self._process.stdout.fileno(), 1 << 12)
        if not line:
            raise Failed(self._complaint())
        return json.loads(line)

    def _complaint(self) -> str:
        assert self._process.stderr
        told = self._process.stderr.read().decode(errors="replace").strip()
        return told or "wsload ended without a word"


@contextmanager
def connect(mode: str, port: int, **options: object) -> Iterator[Client]:
    """Run wsload for the time of the block; it inherits the core of this process.

    Raises:
        Failed: The server did something wrong.
    """
    command = [str(build()), mode, "--port", str(port), *_arguments(options)]
    with subprocess.Popen(
        command,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            client = Client(process)
            yield client
            client.end()
        finally:
            process.kill()


@contextmanager
def idle_websockets(port: int, count: int) -> Iterator[object]:
    """Hold WebSockets open that each had one message echoed.

    Raises:
        Failed: The server did something wrong, as to close one of them.
    """
    with connect("idle", port, path="/echo", connections=count) as client:
        yield client


def build() -> Path:
    """Compile wsload if that has not been done since it was changed; return the program.

    Raises:
        Failed: There is no compiler, or it failed.
    """
    if PROGRAM.exists() and PROGRAM.stat().st_mtime > SOURCE.stat().st_mtime:
        return PROGRAM
    PROGRAM.parent.mkdir(exist_ok=True)
    # Under another name first: a compiler that is interrupted leaves half a program.
    with NamedTemporaryFile(dir=PROGRAM.parent, prefix="wsload.", delete=False) as file:
        made = Path(file.name)
    try:
        subprocess.run(
            [*COMPILE, "-o", str(made), str(SOURCE)],
            check=True,
            capture_output=True,
            text=True,
            timeout=COMPILE_SECONDS,
        )
        made.replace(PROGRAM)
    except subprocess.CalledProcessError as error:
        raise Failed(f"wsload could not be compiled: {error.stderr.strip()}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"wsload needs cc (Debian: apt install build-essential): {error}") from error
    finally:
        made.unlink(missing_ok=True)
    return PROGRAM


def _arguments(options: Mapping[str, object]) -> Iterator[str]:
    for name, value in options.items():
        yield f"--{name}"
        if value is not True:
            yield str(value)
