"""The command: what it serves, what it says, and how it ends when it cannot."""

from __future__ import annotations

import os
import pty
import re
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import gserver
from clients import RawClient
from conftest import Command
from gserver.cli import main
from gserver.config import OPTIONS

SCRIPT = str(Path(sys.executable).with_name("gserver"))
MODULE = [sys.executable, "-m", "gserver"]

APP = """
from gserver.api import lite

@lite
def app(environ):
    path = environ["PATH_INFO"].strip("/")
    if path == "error":
        raise ValueError("the reason")
    status = f"{path} Status" if path.isdigit() else "200 OK"
    return status, [], [environ["wsgi.url_scheme"].encode()]

def make(word, times=1):
    return lite(lambda environ: ("200 OK", [], [word.encode() * times]))

"""

# -- errors of use, which need nothing but the arguments -------------------------------------


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "which application? give MODULE:APP, for example hello:app"),
        (["--keepalive", "3"], "which application? give MODULE:APP, for example hello:app"),
        (["hello.py"], "'hello.py' is not of the form MODULE:APP; try hello:app"),
        (["a:b", "c:d"], "unknown argument c:d; gserver --help lists all"),
        (
            ["a:b", "--keepalve", "3"],
            "unknown argument --keepalve; did you mean --keepalive?; gserver --help lists all",
        ),
        (
            ["a:b", "--limit_request_line=3"],
            "unknown argument --limit_request_line; did you mean --limit-request-line?; "
            "gserver --help lists all",
        ),
        (["a:b", "-x"], "unknown argument -x; gserver --help lists all"),
        (["a:b", "--port=1"], "unknown argument --port; give --bind HOST:PORT; gserver --help"),
        (["a:b", "-w", "4"], "unknown argument -w; one gserver is one process: gunicorn -k "),
        (["a:b", "--keep"], "unknown argument --keep"),  # no abbreviations
        (["a:b", "--backlog"], "argument --backlog: expected one argument"),
        (["a:b", "--backlog", "many"], "--backlog must be a whole number, not 'many'"),
        (["a:b", "--backlog=-1"], "--backlog must be 0 or more, not -1"),
        (["a:b", "--keep-alive=x"], "--keepalive must be a number of seconds, not 'x'"),
        (["a:b", "--header-map", "keep"], "--header-map must be one of drop, refuse, dangerous"),
        (["a:b", "--reuse-port=yes"], "argument --reuse-port/--no-reuse-port: ignored explicit"),
        (["a:b", "-b", "here"], "cannot listen at 'here': write HOST:PORT, [IPV6]:PORT, "),
        (["a:b", "-b", "h:1", "-b", "https://h:2"], "https://h:2 asks for TLS: give certfile and"),
        (["a:b", "--keyfile", "k"], "keyfile without certfile: give the certificate too"),
        (["a:b", "--access-logformat", "%h"], "access_logformat: %h: after % comes an atom"),
        (["a:b", "-c", "none.toml"], "cannot read none.toml: No such file or directory"),
        (["a:b", "--server-header", "a\nb"], "server_header must be printable ASCII"),
    ],
)
def test_error_of_use_is_one_line_and_status_2(
    argv: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"gserver: {message}")
    assert printed.err.count("\n") == 1


def test_wrong_variable_is_an_error_of_use(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GSERVER_BACKLOGG", "1")
    assert main(["a:b"]) == 2
    expected = "gserver: GSERVER_BACKLOGG: unknown option backlogg; did you mean backlog?\n"
    assert capfd.readouterr().err == expected


def test_help_teaches(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: gserver MODULE:APP [OPTION ...]\n")
    assert max(map(len, text.splitlines())) <= 100
    words = " ".join(text.split())
    for option in OPTIONS.values():
        assert f"--{option.name.replace('_', '-')}" in words
        assert " ".join(option.help.split()) in words
        assert all(choice in words for choice in option.choices)
    for part in (
        "gserver hello:app",
        "--bind unix:/run/shop.sock",
        "GSERVER_KEEPALIVE=30",
        "(default: 127.0.0.1:8000)",
        "(default: 75)",
        '"%(f)s" "%(a)s")',
        "The command line wins over the environment",
    ):
        assert part in text


@pytest.mark.parametrize("program", [MODULE, [SCRIPT]], ids=["module", "script"])
def test_version_names_the_engines(program: list[str]) -> None:
    done = subprocess.run(
        [*program, "--version"], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stderr == ""
    assert re.fullmatch(
        rf"gserver {re.escape(gserver.__version__)}; HTTP/1\.1: httptools [\d.]+( \(.*\))?; "
        r"HTTP/2: (nghttp2|h2) [\d.]+( \(.*\))?; "
        r"gevent [\d.]+; CPython [\d.]+\S*\n",
        done.stdout,
    )


# -- serving ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "environment"),
    [(MODULE, {}), ([SCRIPT], {}), (MODULE, {"PYTHONSAFEPATH": "1"})],
    ids=["module", "script", "safe-path"],
)
def test_application_in_the_current_folder(
    program: list[str], environment: dict[str, str], command: Command
) -> None:
    running = command(
        *("app:app", "--bind", "127.0.0.1:0"), app=APP, program=program, environment=environment
    ).wait_ready()
    with running.client() as client:
        assert client.get().body == b"http"


def test_application_of_a_factory(command: Command) -> None:
    running = command("app:make('ab', times=2)", "-b127.0.0.1:0", app=APP).wait_ready()
    with running.client() as client:
        assert client.get().body == b"abab"


def test_start_up_says_what_where_and_with_which_engines(
    command: Command, certificate: tuple[str, str], tmp_path: Path
) -> None:
    running = command(
        *("app:app", "--certfile", certificate[0], "--keyfile", certificate[1]),
        *("-b", "http://127.0.0.1:0", "-b", "127.0.0.1:0", "-b", "http://unix:app.sock"),
        app=APP,
    ).wait_ready()
    first, *urls, engines, last = running.text.splitlines()
    assert first == f"gserver {gserver.__version__} serves app:app"
    assert re.fullmatch(r"  http://127\.0\.0\.1:\d+", urls[0])
    assert re.fullmatch(r"  https://127\.0\.0\.1:\d+", urls[1])
    assert urls[2:] == ["  http+unix:app.sock"]
    assert re.match(r"  HTTP/1\.1: httptools .*; gevent .*; CPython ", engines)
    assert last == f"  process {running.process.pid}; stop with Ctrl-C or SIGTERM"
    with RawClient(str(tmp_path / "app.sock")) as client:
        assert client.get().body == b"http"


def test_options_from_everywhere(command: Command, tmp_path: Path) -> None:
    (tmp_path / "gserver.toml").write_text('server_header = "file"\nbind = "127.0.0.1:1"\n')
    running = command(
        *("app:app", "--bind", "127.0.0.1:0"),
        app=APP,
        environment={"GSERVER_CONFIG": "gserver.toml", "GSERVER_KEEPALIVE_REQUESTS": "1"},
    ).wait_ready()
    with running.client() as client:
        response = client.get()
        assert (response["Server"], response["Connection"]) == ("file", "close")


INHERITED = """
import os, socket, sys
sock = socket.create_server(("127.0.0.1", 0))
sock.set_inheritable(True)
os.execv(sys.executable, [sys.executable, *sys.argv[1:], "--bind", f"fd://{sock.fileno()}"])
"""


def test_inherited_socket(command: Command) -> None:
    program = [sys.executable, "-c", INHERITED, *MODULE[1:]]
    running = command("app:app", app=APP, program=program).wait_ready()
    with running.client() as client:
        assert client.get().body == b"http"


def test_as_many_descriptors_as_the_system_allows(command: Command) -> None:
    app = (
        "import resource\nfrom gserver.api import lite\n"
        "limits = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "app = lite(lambda e: ('200 OK', [], ['{} {}'.format("
        "*resource.getrlimit(resource.RLIMIT_NOFILE)).encode()]))"
    )
    program = ["sh", "-c", 'ulimit -Sn 64; exec "$@"', "-", *MODULE]
    running = command("app:app", "-b127.0.0.1:0", app=app, program=program).wait_ready()
    with running.client() as client:
        soft, hard = client.get().text.split()
    assert soft == hard
    assert soft != "64"
    running.signal(15)
    assert running.wait() == 0


def test_error_of_the_application_is_told_once(command: Command) -> None:
    app = f"import logging; logging.basicConfig()\n{APP}"
    running = command("app:app", "-b127.0.0.1:0", app=app).wait_ready()
    with running.client() as client:
        assert client.get("/error").status == 500
    running.wait_output("the reason")
    running.signal(15)
    assert running.wait() == 0
    assert running.text.count("error in the application") == 1
    assert running.text.count("ValueError: the reason") == 1


# -- what cannot be served -------------------------------------------------------------------


@contextmanager
def listening(address: tuple[str, int] | str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as sock:
        sock.bind(address)
        sock.listen()
        yield sock


def refused(command: Command, *arguments: str, app: str = APP) -> tuple[str, list[str]]:
    """Return the message, and the lines of the traceback before it."""
    running = command(*arguments, app=app, ready="nothing")
    assert running.wait() == 1
    *traceback, message = running.text.splitlines()
    assert message.startswith("gserver: ")
    assert "gserver/" not in running.text
    return message.removeprefix("gserver: "), traceback


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ap:app", "there is no module 'ap' in {} or on the Python path; did you mean app?"),
        ("app:ap", "app has no attribute 'ap'; did you mean app?"),
    ],
)
def test_application_that_is_not_there(
    name: str, message: str, command: Command, tmp_path: Path
) -> None:
    assert refused(command, name) == (message.format(tmp_path), [])


@pytest.mark.parametrize(
    ("app", "message", "line"),
    [
        ("def app(:", "importing app failed: SyntaxError: invalid syntax (app.py, line 1)", 1),
        ("\n\nraise SystemExit(0)", "importing app failed: SystemExit: 0", 3),
    ],
)
def test_application_that_cannot_be_imported(
    app: str, message: str, line: int, command: Command
) -> None:
    said, traceback = refused(command, "app:app", app=app)
    assert said == message
    frames = [one for one in traceback if one.startswith("  File")]
    assert len(frames) == 1
    assert f'app.py", line {line}' in frames[0]


@pytest.mark.slow
def test_address_in_use(command: Command, tmp_path: Path) -> None:
    with listening(("127.0.0.1", 0)) as sock, listening(str(tmp_path / "app.sock")):
        for address in (f"127.0.0.1:{sock.getsockname()[1]}", "unix:app.sock"):
            message = (
                f"cannot listen at {address}: Address already in use; "
                "is another server running there?"
            )
            assert refused(command, "app:app", "--bind", address) == (message, [])


@pytest.mark.slow
def test_certificate_that_cannot_be_used(
    command: Command, certificate: tuple[str, str], tmp_path: Path
) -> None:
    good, key = certificate
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    for arguments, expected in {
        ("--certfile", "none.pem"): "certfile none.pem: No such file or directory",
        ("--certfile", good, "--keyfile", str(bad)): "no usable PEM certificate and key",
        ("--certfile", good, "--keyfile", key, "--ca-certs", str(bad)): "ca_certs",
    }.items():
        message, traceback = refused(command, "app:app", "-b127.0.0.1:0", *arguments)
        assert expected in message
        assert traceback == []


def test_access_log_that_cannot_be_written(command: Command, tmp_path: Path) -> None:
    arguments = ("app:app", "-b127.0.0.1:0", "--access-logfile", ".")
    assert refused(command, *arguments) == ("access_logfile .: Is a directory", [])


# -- the access log and colours, which depend on what standard output is ---------------------


def test_access_log_on_standard_output(command: Command) -> None:
    running = command("app:app", "-b127.0.0.1:0", "--access-logfile", "-", app=APP).wait_ready()
    with running.client() as client:
        client.get("/x")
    running.wait_output(r'127\.0\.0\.1 - - \[.*\] "GET /x HTTP/1.1" 200 4 "-" "-"\n')


@pytest.mark.parametrize("arguments", [[], ["--access-logfile=off"]])
def test_no_access_log_unless_on_a_terminal(arguments: list[str], command: Command) -> None:
    running = command("app:app", "-b127.0.0.1:0", *arguments, app=APP).wait_ready()
    with running.client() as client:
        client.get("/x")
    running.signal(15)
    assert running.wait() == 0
    assert "GET" not in running.text


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self._master, slave = pty.openpty()
        variables = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
        self.process = subprocess.Popen(
            [*MODULE, *arguments],
            cwd=folder,
            env={**variables, **environment},
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        self.text = ""

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until the pattern matches."""
        while not (match := re.search(pattern, self.text)):
            ready, _, _ = select.select([self._master], [], [], 20)
            assert ready, self.text
            self.text += os.read(self._master, 65536).decode()
        return match

    def close(self) -> None:
        """End the process."""
        self.process.terminate()
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            os.close(self._master)


@pytest.mark.parametrize(
    ("no_color", "bold", "red", "yellow", "plain"),
    [("", "\033[1m", "\033[31m", "\033[33m", "\033[0m"), ("1", "", "", "", "")],
)
def test_on_a_terminal(
    no_color: str, bold: str, red: str, yellow: str, plain: str, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(APP)
    terminal = Terminal(tmp_path, "app:app", "-b127.0.0.1:0", NO_COLOR=no_color)
    try:
        port = terminal.wait_for(r"http://127\.0\.0\.1:(\d+)")[1]
        terminal.wait_for("SIGTERM")
        assert f"serves {bold}app:app{plain}\r\n" in terminal.text
        with RawClient(("127.0.0.1", int(port))) as client:
            for status, colour in ((200, ""), (404, yellow), (503, red)):
                client.get(f"/{status}")
                line = terminal.wait_for(rf'\n([^\n]*) \[.*\] "GET /{status} (.*)\r\n')
                assert line[1] == f"{colour}127.0.0.1 - -"
                assert line[2] == f'HTTP/1.1" {status} 4 "-" "-"{plain if colour else ""}'
    finally:
        terminal.close()


@pytest.mark.parametrize(("no_color", "red"), [("", "\033[31m"), ("1", "")])
def test_error_on_a_terminal(no_color: str, red: str, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "app:app", "--backlog=x", NO_COLOR=no_color)
    try:
        said = terminal.wait_for("(.*gserver: --backlog must be a whole number.*)\r\n")[1]
        assert said.startswith(f"{red}gserver: ")
        assert terminal.process.wait(10) == 2
    finally:
        terminal.close()
