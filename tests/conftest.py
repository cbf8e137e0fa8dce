"""Fixtures: a server in a thread, a server process, and watching for what tests leave behind."""

from __future__ import annotations

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import gevent
import pytest

from clients import RawClient
from exchange import ENGINES, PEERS, Http1Peer, Peer
from gserver.config import Config
from gserver.server import Server
from websocket_client import Carrier

ROOT = Path(__file__).parent.parent

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell ignores it for what it runs in the background, and servers would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
T = TypeVar("T")


class ServerThread:
    """A server with a hub of its own, in a thread of its own, at an ephemeral port.

    The test's own thread stays an ordinary blocking one, so that any client can be used.
    """

    def __init__(self, application: Callable[..., Any], **options: Any) -> None:
        options.setdefault("bind", "127.0.0.1:0")
        options.setdefault("access_logfile", "off")
        self.server = Server(application, Config(**options))
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._running: list[gevent.Greenlet[..., None]] = []
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        if self._failed is not None:
            raise self._failed

    def _main(self) -> None:
        hub = gevent.get_hub()
        self._wake = hub.loop.async_()
        self._wake.start(self._run_calls)
        try:
            self.server.start()
        except BaseException as exc:  # noqa: BLE001 - raised again in the test's thread
            self._failed = exc
            return
        finally:
            self._ready.set()
        self.server.serve_forever()
        gevent.joinall(self._running, 10)  # who stopped it wants to know
        self._wake.stop()
        self._wake.close()
        hub.destroy(destroy_loop=True)

    def _run_calls(self) -> None:
        # All of them: the loop may take two wake-ups for one.
        while not self._calls.empty():
            self._running.append(gevent.spawn(self._calls.get_nowait()))

    def call(self, function: Callable[[], T]) -> T:
        """Run `function` in a greenlet of the server's thread and return what it returns."""
        results: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

        def run() -> None:
            try:
                results.put((True, function()))
            except BaseException as exc:  # noqa: BLE001 - raised again in the test's thread
                results.put((False, exc))

        self._calls.put(run)
        self._wake.send()
        fine, result = results.get(timeout=30)
        if not fine:
            raise result
        return result  # type: ignore[no-any-return]

    @property
    def address(self) -> tuple[str, int]:
        """Where to connect to."""
        return ("127.0.0.1", self.server.port)

    @property
    def url(self) -> str:
        """The first address as a URL."""
        return self.server.urls[0]

    def client(self, **options: Any) -> RawClient:
        """Return a new connection; the caller closes it."""
        return RawClient(self.address, **options)

    def stop(self, timeout: float | None = 5) -> None:
        """Stop the server and wait for its thread."""
        if self._thread.is_alive():
            self._calls.put(lambda: self.server.stop(timeout))
            self._wake.send()
            self._thread.join(30)
        assert not self._thread.is_alive()


Serve = Callable[..., ServerThread]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that serves an application until the end of the test.

    Keyword arguments are options of Config.
    """
    with ExitStack() as stack:

        def start(application: Callable[..., Any], **options: Any) -> ServerThread:
            running = ServerThread(application, **options)
            stack.callback(running.stop)
            return running

        yield start


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Return a value for the option http2_engine; the test runs with each."""
    return str(request.param)


StartPeer = Callable[..., Peer]


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest, serve: Serve) -> Iterator[StartPeer]:
    """Return a function like `serve`'s that returns a `Peer`; the test runs on each protocol."""
    kind, needed = PEERS[request.param]
    with ExitStack() as stack:

        def start(application: Callable[..., Any], **options: Any) -> Peer:
            running = kind(serve(application, **needed, **options))
            stack.callback(running.close)
            return running

        yield start


StartCarrier = Callable[..., Carrier]


@pytest.fixture(params=PEERS)
def carrier(request: pytest.FixtureRequest, serve: Serve) -> Iterator[StartCarrier]:
    """Return a function like `serve`'s that returns a `Carrier`; the test runs on each protocol."""
    with ExitStack() as stack:

        def start(handler: Callable[..., Any], **options: Any) -> Carrier:
            running = open_carrier(request.param, partial(serve, handler, **options))
            stack.callback(running.close)
            return running

        yield start


def open_carrier(protocol: str, start: Callable[..., ServerThread]) -> Carrier:
    """Return a carrier for one of `PEERS`, on a server that is started with what that needs."""
    kind, needed = PEERS[protocol]
    return Carrier(start(**needed), http2=kind is not Http1Peer)


class ServerProcess:
    """The command ``gserver`` (or another server) as a process of its own."""

    def __init__(
        self,
        arguments: list[str],
        folder: Path,
        environment: dict[str, str] | None = None,
        ready: str = r"process (\d+)",
    ) -> None:
        self.output: list[str] = []
        self._printed = threading.Condition()
        self._ready = threading.Event()
        self._pattern = re.compile(ready)
        self.process = subprocess.Popen(
            arguments,
            cwd=folder,
            env={**os.environ, "NO_COLOR": "1", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._printed:
                self.output.append(line)
                self._printed.notify_all()
            if self._pattern.search(line):
                self._ready.set()
        self._ready.set()  # it has ended

    def wait_ready(self) -> ServerProcess:
        """Wait until the server says that it serves."""
        assert self._ready.wait(30), "".join(self.output)
        assert self._pattern.search(self.text), self.text
        return self

    def wait_output(self, pattern: str, count: int = 1, timeout: float = 20) -> list[str]:
        """Wait until it has printed `count` matches; return them all, or their first groups."""

        def found() -> list[str]:
            return re.findall(pattern, "".join(self.output))

        with self._printed:
            assert self._printed.wait_for(lambda: len(found()) >= count, timeout), self.text
            return found()

    @property
    def text(self) -> str:
        """All that it has printed."""
        return "".join(self.output)

    @property
    def port(self) -> int:
        """The port of the first address that it printed."""
        match = re.search(r"https?://[^ \n]*?:(\d+)", self.text)
        assert match, self.text
        return int(match[1])

    def client(self, **options: Any) -> RawClient:
        """Return a new connection; the caller closes it."""
        return RawClient(("127.0.0.1", self.port), **options)

    @property
    def resident(self) -> int:
        """Bytes of memory that the process occupies (Linux)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert match
        return int(match[1]) * 1024

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, timeout: float = 30) -> int:
        """Wait for the end; return the exit status."""
        status = self.process.wait(timeout)
        self._reader.join(10)
        return status

    def kill(self) -> None:
        """End the process and its children, whatever they do."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(10)
        self._reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


Command = Callable[..., ServerProcess]


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    """Return a function that runs ``gserver`` with arguments until the end of the test.

    Keyword arguments: `app`, the source of a module that becomes ``app.py`` in the process's
    folder; `environment`; `program`, instead of gserver.
    """
    with ExitStack() as stack:

        def start(
            *arguments: str,
            app: str | None = None,
            environment: dict[str, str] | None = None,
            program: list[str] | None = None,
            **options: Any,
        ) -> ServerProcess:
            if app is not None:
                (tmp_path / "app.py").write_text(app)
            full = [*(program or [sys.executable, "-m", "gserver"]), *arguments]
            running = ServerProcess(full, tmp_path, environment, **options)
            stack.callback(running.kill)
            return running

        yield start


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return paths of a self-signed certificate for localhost and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", key, "-out", cert),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


def need(tool: str) -> None:
    """Skip the test where a tool is missing; in CI that is a failure."""
    if shutil.which(tool) is None:
        message = f"{tool} is not installed"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


# -- server processes that live as long as a test module, whose frameworks are slow to import -----

Launch = Callable[..., ServerProcess]


@pytest.fixture(scope="session")
def unwanted() -> tuple[str, ...]:
    """What no server that was launched may have said: what Python reports from destructors."""
    return ("Exception ignored",)


@pytest.fixture(scope="module")
def launch(request: pytest.FixtureRequest, unwanted: tuple[str, ...]) -> Iterator[Launch]:
    """Return a function that serves an application of ``apps/``, beside the module, until its end.

    It takes MODULE:APP and further arguments of the command; keyword arguments become variables
    of the environment.
    """
    with ExitStack() as stack:

        def stop(running: ServerProcess) -> None:
            running.signal(signal.SIGTERM)
            assert running.wait() == 0, running.text
            for sign in unwanted:
                assert sign not in running.text, running.text

        def start(name: str, *arguments: str, **environment: str) -> ServerProcess:
            if "--bind" not in arguments:
                arguments = (*arguments, "--bind", "127.0.0.1:0")
            # First, so that `arguments` may say otherwise.
            command = [sys.executable, "-m", "gserver", name, "--graceful-timeout", "1", *arguments]
            running = ServerProcess(command, request.path.parent / "apps", environment)
            stack.callback(running.kill)
            running.wait_ready()
            stack.callback(stop, running)
            return running

        yield start
