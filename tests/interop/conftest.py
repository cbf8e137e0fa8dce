"""A server for each engine, in clear and with TLS, and other people's programs as its clients."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, Serve, ServerProcess, ServerThread, need
from interop.site import Site


class Place:
    """A site, and where it is served."""

    def __init__(self, site: Site, server: ServerThread, certificate: str) -> None:
        self.site = site
        self.clear, self.secure = server.server.urls
        self.certificate = certificate


Open = Callable[..., Place]


@pytest.fixture
def open_site(serve: Serve, engine: str, certificate: tuple[str, str]) -> Open:
    """Return a function that serves a new site; keyword arguments are options of Config."""
    cert, key = certificate

    def start(**options: Any) -> Place:
        site = Site()
        addresses = ("http://127.0.0.1:0", "https://127.0.0.1:0")
        options |= {"bind": addresses, "certfile": cert, "keyfile": key, "http2_engine": engine}
        return Place(site, serve(site.application, **options), cert)

    return start


@pytest.fixture
def place(open_site: Open) -> Place:
    """Return a site that is served with the default options."""
    return open_site()


@contextmanager
def example(name: str, certificate: tuple[str, str], *options: str) -> Iterator[ServerProcess]:
    """Run an example as its first line says, in clear and with TLS; it must end in good order."""
    command = [sys.executable, "-m", "gserver", f"examples.{name}:app", "--graceful-timeout", "0.2"]
    command += ["--bind", "http://127.0.0.1:0", "--bind", "https://127.0.0.1:0"]
    command += ["--certfile", certificate[0], "--keyfile", certificate[1]]
    running = ServerProcess([*command, *options], ROOT)
    try:
        running.wait_ready()
        yield running
        running.signal(signal.SIGTERM)
        assert running.wait() == 0, running.text
        assert "Traceback" not in running.text, running.text
    finally:
        running.kill()


CLIENTS = ROOT / "build" / "clients"


def need_client(name: str, place: str) -> str:
    """Return the path of a client that stands aside; skip the test, like `need`, without it."""
    path = CLIENTS / place
    if not path.exists():
        need(f"{name} (by scripts/install-websocket-clients.sh)")  # no program has this name
    return str(path)


Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a function that runs a program and returns what it prints.

    Keyword arguments: `content`, for its standard input; `errors`, to get what it prints to
    standard error too.
    """

    def start(program: str, *arguments: str, content: bytes = b"", errors: bool = False) -> str:
        need(program)
        # A file, for curl and nghttp want to know the size of what they upload.
        source = tmp_path / "content"
        source.write_bytes(content)
        with source.open("rb") as stdin:
            done = subprocess.run(
                [program, *arguments],
                stdin=stdin,
                capture_output=True,
                timeout=30,
                cwd=tmp_path,
                check=False,
            )
        output, complaints = done.stdout.decode(errors="replace"), done.stderr.decode()
        assert done.returncode == 0, f"{done.returncode}: {output[-5000:]}\n{complaints[-5000:]}"
        return output + complaints if errors else output

    return start
