"""The gunicorn worker class, in real gunicorn processes."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from gunicorn.config import Config as GunicornConfig
from gunicorn.config import make_settings

from clients import RawClient, Response
from conftest import Command, ServerProcess
from gserver.api.errors import ConfigError
from gserver.worker import Worker, config_from

APP = """
import os, sys, time

class Closing:
    def close(self):
        print("closed", file=sys.stderr, flush=True)

def app(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/closing":
        environ["wsgi_lite.closing"](Closing())
    body = environ["wsgi.input"].read()
    if path == "/fail":
        environ["wsgi.errors"].write("for wsgi.errors\\n")
        raise ValueError("on purpose")
    if path == "/sleep":
        time.sleep(float(query))
    if path == "/spin":
        while True:
            pass
    if path == "/environ":
        body = str(environ[query]).encode()
    if path == "/patched":
        body = time.sleep.__module__.encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Worker", str(os.getpid()))])
    return [body or b"hello"]
"""
BOOTING = r"Booting worker with pid: (\d+)"

SIZE = "websocket_max_message_size"

Gunicorn = Callable[..., ServerProcess]


@pytest.fixture
def gunicorn(command: Command, tmp_path: Path) -> Iterator[Gunicorn]:
    """Return a function that runs gunicorn with arguments until the end of the test.

    Keyword arguments: `app`, the source of the application; `conf`, that of gunicorn.conf.py.
    """

    started: list[ServerProcess] = []

    def start(*arguments: str, app: str = APP, conf: str = "", **options: Any) -> ServerProcess:
        (tmp_path / "gunicorn.conf.py").write_text(conf)
        program = [sys.executable, "-m", "gunicorn", "-k", "gserver.Worker", "-b", "127.0.0.1:0"]
        program += ["--control-socket", str(tmp_path / "control")]
        options |= {"program": program, "ready": BOOTING}
        started.append(command(*arguments, "app:app", app=app, **options))
        return started[-1]

    yield start
    for running in started:
        stop(running)


def stop(running: ServerProcess) -> None:
    """End gunicorn; not by SIGKILL, as `command` does: coverage is saved at a process's end."""
    if running.process.poll() is None:
        running.signal(signal.SIGTERM)
        try:
            running.process.wait(5)
        except subprocess.TimeoutExpired:
            # gunicorn passes the signal on once, and loses it on a worker that is only booting.
            for worker in re.findall(BOOTING, running.text):
                with suppress(ProcessLookupError):
                    os.kill(int(worker), signal.SIGTERM)
        running.wait()


def begin(client: RawClient, target: str = "/") -> None:
    """Send the head of a request and wait until the application reads its content."""
    lines = [f"POST {target} HTTP/1.1", "Host: localhost", "Expect: 100-continue"]
    client.send("\r\n".join([*lines, "Content-Length: 4", "", ""]).encode())
    assert client.head().status == 100


def finish(client: RawClient) -> Response:
    """Send the content, and return the response."""
    client.send(b"done")
    return client.response()


def worker_of(running: ServerProcess) -> int:
    """Return the process id of the worker that answers."""
    with running.client() as client:
        return int(client.get()["X-Worker"])


class Load:
    """Clients that ask without pause: some keep their connections as long as they are let."""

    def __init__(self, running: ServerProcess) -> None:
        self.answered = threading.Event()
        self.failures: list[str] = []
        self.workers: dict[int, int] = {}
        self._running = running
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(i % 2,)) for i in range(6)]

    def _ask(self, keep: int) -> None:
        with ExitStack() as stack:
            client = None
            while not self._stop.wait(0.002):
                try:
                    client = client or stack.enter_context(self._running.client())
                    response = client.get()
                    worker = int(response["X-Worker"])
                except (OSError, AssertionError) as exc:
                    self.failures.append(f"{exc!r}")
                    return
                self.workers[worker] = self.workers.get(worker, 0) + 1
                self.answered.set()
                if not keep or response.all("Connection") == ["close"]:
                    client.close()
                    client = None

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


# -- the process -----------------------------------------------------------------------------


def test_the_arbiter_gets_no_gevent() -> None:
    # Patched, or with a hub of its own, it would not notice when workers die.
    script = "import sys, gserver; gserver.Worker; print('gevent' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("False\n", "")


def test_what_the_application_sees(gunicorn: Gunicorn) -> None:
    running = gunicorn("-w", "2").wait_ready()
    with running.client() as client:
        assert client.get().body == b"hello"
        assert client.post("/", b"content").body == b"content"
        assert client.get("/patched").body == b"gevent.hub"
        assert client.get("/environ?wsgi.multiprocess").body == b"True"
        assert client.get("/environ?SERVER_PORT").body == str(running.port).encode()
    assert "WARNING" not in running.text


@pytest.mark.parametrize("conf", ["", "from gevent import monkey\nmonkey.patch_all()\n"])
def test_a_killed_worker_is_replaced(gunicorn: Gunicorn, conf: str) -> None:
    """Also when the configuration file patches, as --preload needs it."""
    running = gunicorn(*["--preload"] * bool(conf), conf=conf).wait_ready()
    first = worker_of(running)
    os.kill(first, signal.SIGKILL)
    second = int(running.wait_output(BOOTING, 2)[1])
    assert second != first
    assert worker_of(running) == second
    assert "too early" not in running.text


def test_unix_sockets_survive_their_workers(gunicorn: Gunicorn, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    running = gunicorn("-b", f"unix:{path}").wait_ready()
    with RawClient(path) as client:
        first = client.get()["X-Worker"]
        assert client.get("/environ?REMOTE_ADDR").body == b"hello"  # empty
    os.kill(int(first), signal.SIGTERM)
    running.wait_output(BOOTING, 2)
    with RawClient(path) as client:
        assert client.get()["X-Worker"] != first


def test_workers_end_when_the_arbiter_is_gone(gunicorn: Gunicorn) -> None:
    running = gunicorn("-w", "2").wait_ready()
    running.wait_output(BOOTING, 2)
    worker_of(running)
    running.signal(signal.SIGKILL)
    running.wait()  # until nobody has its standard output any more
    assert running.text.count("Parent changed, shutting down") == 2
    assert running.text.count("Worker exiting") == 2


# -- heartbeats ------------------------------------------------------------------------------


def test_requests_may_take_longer_than_the_timeout(gunicorn: Gunicorn) -> None:
    """`timeout` is about the process, not about a request: also while it drains."""
    running = gunicorn("--timeout", "1").wait_ready()
    with running.client() as client:
        first = client.get()["X-Worker"]
        client.send(b"GET /sleep?2.5 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        # Not by SIGHUP: the arbiter does not look at heartbeats while it reloads.
        os.kill(int(first), signal.SIGTERM)
        response = client.response()
    assert (response.status, response["X-Worker"]) == (200, first)
    assert response["Connection"] == "close"
    assert "WORKER TIMEOUT" not in running.text


def test_a_worker_whose_hub_stands_still_is_replaced(gunicorn: Gunicorn) -> None:
    running = gunicorn("--timeout", "1").wait_ready()
    with running.client() as client:
        # gunicorn's SIGABRT raises SystemExit where the worker is stuck.
        assert client.get("/spin").status == 500
    running.wait_output("WORKER TIMEOUT")
    second = int(running.wait_output(BOOTING, 2)[1])
    assert worker_of(running) == second


# -- the end, and the next one ---------------------------------------------------------------


def test_term_lets_requests_finish(gunicorn: Gunicorn) -> None:
    running = gunicorn().wait_ready()
    with running.client() as idle, running.client() as busy:
        idle.get()
        begin(busy)
        running.signal(signal.SIGTERM)
        assert idle.closed()
        response = finish(busy)
        assert (response.status, response.body) == (200, b"done")
        assert response["Connection"] == "close"
    assert running.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT])
def test_quit_cuts_requests(gunicorn: Gunicorn, number: int) -> None:
    """SIGINT comes as from a terminal, to the workers too, which then get QUIT as well."""
    conf = "def worker_int(worker): worker.log.info('worker_int')"
    running = gunicorn(conf=conf).wait_ready()
    with running.client() as client:
        begin(client, "/closing")
        start = time.monotonic()
        send = os.killpg if number == signal.SIGINT else os.kill
        send(running.process.pid, number)
        assert running.wait() == 0
    assert time.monotonic() - start < 10  # far below graceful_timeout
    assert running.text.count("worker_int") == 1
    assert "closed" in running.text


def test_graceful_timeout_cuts_requests_before_gunicorn_kills(gunicorn: Gunicorn) -> None:
    running = gunicorn("--graceful-timeout", "1").wait_ready()
    with running.client() as client:
        begin(client, "/closing")
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
    assert "closed" in running.text
    assert "SIGKILL" not in running.text


def test_reloading_loses_no_request(gunicorn: Gunicorn, tmp_path: Path) -> None:
    running = gunicorn("-w", "2").wait_ready()
    old = {int(worker) for worker in running.wait_output(BOOTING, 2)}
    with Load(running) as load:
        assert load.answered.wait(10)
        (tmp_path / "app.py").write_text(APP.replace("hello", "goodbye"))
        running.signal(signal.SIGHUP)
        running.wait_output("Worker exiting", 2)
    assert load.failures == []
    assert old & load.workers.keys()
    assert load.workers.keys() - old
    with running.client() as client:
        assert client.get().body == b"goodbye"


def test_max_requests_replaces_the_worker_and_loses_no_request(gunicorn: Gunicorn) -> None:
    running = gunicorn("--max-requests", "100").wait_ready()
    with Load(running) as load:
        exited = running.wait_output(r"Worker exiting \(pid: (\d+)\)", 2)
    assert load.failures == []
    # Those that the clients had on their way when the hundredth came are answered too.
    assert all(100 <= load.workers[int(worker)] < 130 for worker in exited)


def test_reload_follows_the_source(gunicorn: Gunicorn, tmp_path: Path) -> None:
    running = gunicorn("--reload", "--reload-engine", "poll").wait_ready()
    worker_of(running)
    (tmp_path / "app.py").write_text(APP.replace("hello", "goodbye"))
    running.wait_output("Worker reloading")
    running.wait_output(BOOTING, 2)
    with running.client() as client:
        assert client.get().body == b"goodbye"


def test_preload_works_and_tells_what_came_too_early(gunicorn: Gunicorn) -> None:
    running = gunicorn("--preload", app="from time import sleep\n" + APP).wait_ready()
    with running.client() as client:
        assert client.get("/patched").body == b"gevent.hub"
    assert "app was imported too early to be patched" in running.text


# -- TLS -------------------------------------------------------------------------------------

SSL_CONTEXT = """
import ssl

def ssl_context(conf, default_ssl_context_factory):
    context = default_ssl_context_factory()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    named = default_ssl_context_factory()

    def choose(sock, name, first):
        assert sock.context is context
        sock.context = named
        print("chosen for", name, sock.context is named, flush=True)

    context.sni_callback = choose
    return context
"""


def client_context(certificate: tuple[str, str], *protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificate[0])
    context.set_alpn_protocols(protocols)
    return context


def test_tls(gunicorn: Gunicorn, certificate: tuple[str, str]) -> None:
    cert, key = certificate
    arguments = ["--certfile", cert, "--keyfile", key, "--http-protocols", "h2,h1"]
    running = gunicorn(*arguments).wait_ready()
    with running.client(tls=client_context(certificate, "http/1.1")) as client:
        assert client.get("/environ?wsgi.url_scheme").body == b"https"
        assert isinstance(client.sock, ssl.SSLSocket)
        assert client.sock.selected_alpn_protocol() == "http/1.1"
    with running.client(tls=client_context(certificate, "h2", "http/1.1")) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        assert client.sock.selected_alpn_protocol() == "h2"


def test_the_ssl_context_hook(gunicorn: Gunicorn, certificate: tuple[str, str]) -> None:
    cert, key = certificate
    running = gunicorn("--certfile", cert, "--keyfile", key, conf=SSL_CONTEXT).wait_ready()
    context = client_context(certificate, "http/1.1")
    with running.client(tls=context) as client:
        assert client.get("/environ?SSL_PROTOCOL").body == b"TLSv1.3"
    running.wait_output("chosen for localhost True")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        running.client(tls=context)


def test_a_key_that_cannot_be_used_stops_gunicorn(
    gunicorn: Gunicorn, certificate: tuple[str, str]
) -> None:
    _, key = certificate
    running = gunicorn("--certfile", key, "--keyfile", key)
    assert running.wait() == 3
    assert "Worker failed to boot" in running.text


# -- logs and hooks --------------------------------------------------------------------------


def test_the_access_log_is_gunicorns(gunicorn: Gunicorn) -> None:
    atoms = (
        "%(h)s|%(r)s|%(s)s|%(b)s|%(B)s|%(m)s|%(U)s|%(q)s|%(H)s|%(f)s|%(a)s"
        "|%({x-asked}i)s|%({content-type}o)s|%({server_name}e)s|%(T)s|%(p)s"
    )
    running = gunicorn("--access-logfile", "-", "--access-logformat", atoms).wait_ready()
    with running.client() as client:
        client.get("/%41?b", "X-Asked: for", "User-Agent: raw", "Referer: there")
        worker = client.get("/", method="HEAD")["X-Worker"]
    found = running.wait_output(r"127\.0\.0\.1\|.*", 2)
    assert found[0] == (
        "127.0.0.1|GET /%41?b HTTP/1.1|200|5|5|GET|/A|b|HTTP/1.1|there|raw"
        f"|for|text/plain|127.0.0.1|0|<{worker}>"
    )
    assert found[1].startswith("127.0.0.1|HEAD / HTTP/1.1|200|0|0|HEAD|/||HTTP/1.1|-|-|-|")


def test_statsd_counts_requests_and_errors(gunicorn: Gunicorn) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.settimeout(10)
        sink.bind(("127.0.0.1", 0))
        running = gunicorn("--statsd-host", f"127.0.0.1:{sink.getsockname()[1]}").wait_ready()
        with running.client() as client:
            assert client.get("/fail").status == 500
        wanted = {"gunicorn.log.exception", "gunicorn.requests", "gunicorn.request.status.500"}
        while wanted:
            wanted.discard(sink.recv(1024).decode().partition(":")[0])


HOOKS = """
def pre_request(worker, req):
    req.number = worker.nr
    if req.path == "/refused":
        raise RuntimeError("refused by the hook")

def post_request(worker, req, environ, resp):
    worker.log.info("told|%s|%s|%s|%s|%s|%s|%s|%s|", req.number, req.method, req.path, req.query,
                    req.version, dict(req.headers).get("X-A"), resp.status, resp.sent)
    if req.path == "/broken":
        raise RuntimeError("broken hook")
"""
LITE = """
from gserver.api import lite
@lite
def app(environ): return "200 OK", [], [b"hello"]
"""


@pytest.mark.parametrize("app", [APP, LITE], ids=["wsgi", "lite"])
def test_hooks_around_requests(gunicorn: Gunicorn, app: str) -> None:
    running = gunicorn(conf=HOOKS, app=app).wait_ready()
    with running.client() as client:
        assert client.get("/path?query", "X-A: b").body == b"hello"
        assert client.get("/refused").status == 500
        assert client.get("/broken").status == 200
        assert client.get("/").status == 200
    assert running.wait_output(r"told\|(.*)\|", 4)[:2] == [
        "1|GET|/path|query|(1, 1)|b|200 OK|5",
        "2|GET|/refused||(1, 1)|None|500 Internal Server Error|"
        + running.wait_output(r"500 Internal Server Error\|(\d+)\|")[0],
    ]
    assert "RuntimeError: refused by the hook" in running.text
    assert "RuntimeError: broken hook" in running.text


def test_a_client_that_leaves_is_told_to_the_hook(gunicorn: Gunicorn) -> None:
    conf = """def post_request(worker, req, environ, resp):
    worker.log.info("told|%s|%s|%s|", resp.status, resp.status_code, resp.headers)"""
    arguments = ["--access-logfile", "-", "--access-logformat", "logged %(s)s"]
    running = gunicorn(*arguments, conf=conf).wait_ready()
    with running.client() as client:
        begin(client)
    running.wait_output(r"told\|None\|None\|\[\]\|")
    assert "logged" not in running.text


def test_the_default_hook_logs_requests_when_debugging(gunicorn: Gunicorn) -> None:
    running = gunicorn("--log-level", "debug").wait_ready()
    with running.client() as client:
        assert client.get("/path?query").status == 200
    running.wait_output(r"\[DEBUG\] GET /path\n")


def test_the_error_log_has_everything_and_can_be_reopened(
    gunicorn: Gunicorn, tmp_path: Path
) -> None:
    log = tmp_path / "error.log"
    running = gunicorn("-b", "127.0.0.1:0", "--error-logfile", str(log), conf=GREETING)
    running.wait_output("https?://")

    def cause_errors() -> str:
        with running.client() as client:
            assert client.get("/fail").status == 500
            assert client.get("/ /").status == 400
        return log.read_text() if log.exists() else ""

    for wanted in ("for wsgi.errors", "ValueError: on purpose", "400 malformed request"):
        assert wanted in cause_errors()
    log.rename(tmp_path / "error.log.1")
    running.signal(signal.SIGUSR1)
    # Each round is an answer of the worker's, which has the signal soon.
    assert any("for wsgi.errors" in cause_errors() for _ in range(1000))
    assert "ValueError: on purpose" in cause_errors()


# The port would be in the log file only.
GREETING = """
def when_ready(server):
    print("http://127.0.0.1:%d" % server.LISTENERS[0].getsockname()[1], flush=True)
"""

# -- settings --------------------------------------------------------------------------------


def test_limits(gunicorn: Gunicorn) -> None:
    running = gunicorn(
        *("--limit-request-line", "50", "--limit-request-fields", "3"),
        *("--limit-request-field_size", "60", "--header-map", "refuse", "--keep-alive", "0"),
        environment={"GSERVER_SERVER_HEADER": "mine", "GSERVER_KEEPALIVE": "60"},
    ).wait_ready()
    for status, *head in [
        (200, "/"),
        (414, "/" + 50 * "x"),
        (431, "/", "A: 1", "B: 2", "C: 3"),
        (431, "/", "A: " + 60 * "x"),
        (400, "/", "A_B: c"),
    ]:
        with running.client() as client:
            response = client.get(*map(str, head))
            assert (response.status, response["Connection"]) == (status, "close")
            if status == 200:
                assert response["Server"] == "mine"


def test_worker_connections(gunicorn: Gunicorn) -> None:
    running = gunicorn("--worker-connections", "1").wait_ready()
    with running.client() as first, running.client() as second:
        first.get()
        second.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        second.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            second.sock.recv(1)
        second.sock.settimeout(10)
        first.close()
        assert second.response().status == 200


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--proxy-protocol", "v1"], {}, "supports neither proxy_protocol"),
        (["--protocol", "uwsgi"], {}, "nor the protocol uwsgi"),
        ([], {"GSERVER_HEADER_TIMEOUT": "soon"}, "GSERVER_HEADER_TIMEOUT must be a number"),
    ],
)
def test_refused_at_start(
    gunicorn: Gunicorn, arguments: list[str], environment: dict[str, str], message: str
) -> None:
    running = gunicorn(*arguments, environment=environment)
    assert running.wait() == 1
    assert message in running.text
    assert "Traceback" not in running.text


@pytest.mark.parametrize(
    ("settings", "environment", "expected"),
    [
        ({}, {}, {"limit_request_line": 4094, "limit_request_head": 65536, "keepalive": 2}),
        ({}, {}, {"keepalive_requests": 0, "multiprocess": False, "worker_connections": 1000}),
        ({}, {}, {"header_map": "drop", "graceful_timeout": 30, "limit_request_fields": 100}),
        ({"workers": 2}, {}, {"multiprocess": True}),
        ({"keepalive": 0}, {}, {"keepalive_requests": 1}),
        ({"graceful_timeout": 5}, {}, {"graceful_timeout": 5}),
        ({"limit_request_line": 0}, {}, {"limit_request_line": 65536}),
        ({"limit_request_fields": 0}, {}, {"limit_request_fields": 32768}),
        ({"limit_request_field_size": 0}, {}, {"limit_request_field_size": 65536}),
        ({"limit_request_field_size": 100000}, {}, {"limit_request_head": 104094}),
        ({}, {"GSERVER_LIMIT_REQUEST_HEAD": "9000"}, {"limit_request_head": 9000}),
        ({}, {"GSERVER_KEEPALIVE": "9"}, {"keepalive": 2}),
        ({}, {"GSERVER_HEADER_TIMEOUT": "9"}, {"header_timeout": 9}),
        ({}, {"GSERVER_CERTFILE": "x", "GSERVER_MULTIPROCESS": "yes"}, {"certfile": None}),
        ({}, {"GSERVER_CONFIG": "options.toml"}, {"body_timeout": 7}),
        ({}, {"GSERVER_WEBSOCKET_MAX_MESSAGE_SIZE": "9"}, {"websocket_max_message_size": 9}),
        # gunicorn has had this one since 27.
        *[({SIZE: 7}, {"GSERVER_" + SIZE.upper(): "9"}, {SIZE: 7})] * (SIZE in make_settings()),
    ],
)
def test_settings_become_options(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    settings: dict[str, Any],
    environment: dict[str, str],
    expected: dict[str, Any],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("options.toml").write_text("body_timeout = 7\nkeepalive = 8\n")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    cfg = GunicornConfig()
    for name, value in settings.items():
        cfg.set(name, value)
    config = config_from(cfg)
    assert {name: getattr(config, name) for name in expected} == expected


def test_settings_out_of_range_are_refused() -> None:
    cfg = GunicornConfig()
    cfg.set("worker_connections", 0)
    with pytest.raises(ConfigError, match="worker_connections must be 1 or more"):
        config_from(cfg)


def test_settings_without_effect_are_mentioned(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = GunicornConfig()
    log = logging.getLogger("test_worker")
    Worker.check_config(cfg, log)
    assert caplog.messages == []
    cfg.set("strip_header_spaces", True)
    cfg.set("http_protocols", "h2,h1")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    Worker.check_config(cfg, log)
    ignored = [message.split()[2] for message in caplog.messages]
    assert ignored == ["forwarded_allow_ips:", "strip_header_spaces:", "http_protocols:"]
