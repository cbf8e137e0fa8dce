"""The access log: what lines say, that nobody can forge them, and that they stall no request."""

from __future__ import annotations

import base64
import fcntl
import os
import re
import select
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import gevent
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clients import RawClient
from conftest import Serve
from gserver import log
from gserver.api.errors import ConfigError
from gserver.config import COMBINED, Config
from gserver.fields import FieldCache, encode_line
from gserver.log import AccessLog, Format
from gserver.stream import Stream

REQUEST: dict[str, Any] = {
    "REMOTE_ADDR": "192.0.2.7",
    "REQUEST_METHOD": "GET",
    "RAW_URI": "/a%20b?c=d",
    "PATH_INFO": "/a b",
    "QUERY_STRING": "c=d",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "CONTENT_TYPE": "text/plain",
    "HTTP_CONTENT_ENCODING": "br",
    "HTTP_REFERER": "http://example.org/",
    "HTTP_USER_AGENT": "curl/8",
    "HTTP_X_FORWARDED_FOR": "198.51.100.1",
    "wsgi.url_scheme": "https",
}
# A line of the combined format, as log analysers read it.
COMBINED_LINE = re.compile(
    r"(?P<h>[^ ]+) - (?P<u>[^ ]+) \[(?P<t>[^]]+)\] "
    r'"(?P<r>(?:[^"\\]|\\.)*)" (?P<s>\d{3}|-) (?P<b>\d+|-) '
    r'"(?P<f>(?:[^"\\]|\\.)*)" "(?P<a>(?:[^"\\]|\\.)*)"'
).fullmatch


def exchange(
    environ: dict[str, Any],
    status: str = "200 OK",
    headers: list[tuple[str, str]] | None = None,
    sent: int = 5,
) -> Stream:
    stream = Stream()
    stream.begin(dict(environ), FieldCache(encode_line))
    stream.status = status
    stream.headers = headers or []
    stream.sent = sent
    return stream


def line(format: str, stream: Stream | None = None, seconds: float = 1.2345678) -> str:
    text = Format(format).line(stream or exchange(REQUEST), seconds)
    assert text.endswith("\n")
    return text[:-1]


def basic(user: bytes) -> dict[str, Any]:
    return {**REQUEST, "HTTP_AUTHORIZATION": "Basic " + base64.b64encode(user).decode()}


# -- the format ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("atom", "expected"),
    [
        ("h", "192.0.2.7"),
        ("l", "-"),
        ("u", "-"),
        ("r", "GET /a%20b?c=d HTTP/1.1"),
        ("m", "GET"),
        ("U", "/a b"),
        ("q", "c=d"),
        ("H", "HTTP/1.1"),
        ("s", "200"),
        ("B", "5"),
        ("b", "5"),
        ("f", "http://example.org/"),
        ("a", "curl/8"),
        ("T", "1"),
        ("M", "1234"),
        ("D", "1234567"),
        ("L", "1.234568"),
        pytest.param("p", f"<{os.getpid()}>", id="p"),
        ("{x-forwarded-for}i", "198.51.100.1"),
        ("{X-Forwarded-For}i", "198.51.100.1"),
        ("{content-type}i", "text/plain"),
        ("{content-encoding}i", "br"),
        ("{accept}i", "-"),
        ("{x-id}o", "7"),
        ("{Set-Cookie}o", "a=1, b=2"),
        ("{etag}o", "-"),
        ("{wsgi.url_scheme}e", "https"),
        ("{request_method}e", "GET"),
        ("{REQUEST_METHOD}e", "GET"),
        ("{xyzzy}e", "-"),
    ],
)
def test_atom(atom: str, expected: str) -> None:
    headers = [("X-ID", "7"), ("Set-Cookie", "a=1"), ("set-cookie", "b=2")]
    assert line(f"<%({atom})s>", exchange(REQUEST, headers=headers)) == f"<{expected}>"


def test_every_atom_of_gunicorn_is_there() -> None:
    for atom in "hlutrmUqHsBbfaTMDLp":
        line(f"%({atom})s")


def test_what_is_not_there_is_a_dash() -> None:
    atoms = "hursmUHsbfa"
    nothing = line(" ".join(f"%({atom})s" for atom in atoms), exchange({}, status="", sent=0))
    assert nothing == "- - - - - - - - - - - - -"
    assert line("%(B)s", exchange({}, sent=0)) == "0"
    assert line("%(h)s", exchange({"REMOTE_ADDR": ""})) == "-"  # a Unix socket


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        (b"Basic", "-"),
        (b"Bearer YWRhOmI=", "-"),
        (b"Basic YWRhOmI=", "ada"),
        (b"BASIC YWRh", "ada"),
        (b"Basic OmI=", "-"),
        (b"Basic YQ", "-"),
        (b"Basic \xe9\xe9", "-"),
        (b"Basic //8=", "-"),
        (b"Basic " + base64.b64encode("ж".encode()), "\\u0436"),
        (b"Basic " + base64.b64encode(b"ada [1]"), "ada%20[1]"),
    ],
)
def test_user_of_basic_authentication(authorization: bytes, expected: str) -> None:
    environ = {"HTTP_AUTHORIZATION": authorization.decode("latin-1")}
    assert line("%(u)s", exchange(environ)) == expected


def test_time_is_that_of_the_common_log_format() -> None:
    before = int(time.time())
    text = line("%(t)s")
    assert text[0] + text[-1] == "[]"
    stamp = time.strptime(text[1:-7], "%d/%b/%Y:%H:%M:%S")
    assert before <= time.mktime(stamp) <= time.time()
    assert text[-6:-1] == time.strftime("%z")


def test_text_between_atoms_is_kept() -> None:
    assert line('100 %% é {}\\ "%(m)s%(s)s"%%(m)s') == '100 % é {}\\ "GET200"%(m)s'


@pytest.mark.parametrize(
    ("format", "message"),
    [
        (
            "%(Z)s",
            "there is no %(Z)s, only h l u t r m U q H s B b f a T M D L p and "
            "{header}i, {header}o, {variable}e",
        ),
        ("%()s", "there is no %()s, only"),
        ("%(hh)s", "there is no %(hh)s, only"),
        ("%({x}z)s", "there is no %({x}z)s, only"),
        ("%({}i)s", "there is no %({}i)s, only"),
        ("%h", "%h: after % comes an atom, such as %(h)s, or another %"),
        ("100%", "%: after %"),
        ("%(D)d", "%(D)d: after %"),
        ("%%%", "%: after %"),
        ("%(h", "%(h: after %"),
    ],
)
def test_wrong_format(format: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Format(format)
    assert str(caught.value).startswith(f"access_logformat: {message}")


# -- unforgeable -----------------------------------------------------------------------------

anything = st.text(st.characters(codec="latin-1")) | st.text()


@given(anything, anything, anything, st.binary())
@example("\n", '" 200 1 "-" "-"\n::1 - ', "\x1b[2J\x9b\u202e", b'x\n::1 - "')
def test_no_client_can_forge_a_line(target: str, agent: str, referer: str, user: bytes) -> None:
    environ = basic(user) | {
        "RAW_URI": target,
        "HTTP_USER_AGENT": agent,
        "HTTP_REFERER": referer,
    }
    text = line(COMBINED, exchange(environ))
    assert text.isascii()
    assert text.isprintable()
    match = COMBINED_LINE(text)
    assert match
    for name, value in (("a", agent), ("f", referer), ("r", f"GET {target} HTTP/1.1")):
        assert match[name].encode().decode("unicode_escape") == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain [ok] #!~", "plain [ok] #!~"),
        ('a"b', 'a\\"b'),
        ("a\\nb", "a\\\\nb"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x00\x1b\x7f\x85\xe9", "\\x00\\x1b\\x7f\\x85\\xe9"),
    ],
)
def test_unsafe_characters_are_escaped_as_apache_does(value: str, expected: str) -> None:
    assert line("%(a)s", exchange({"HTTP_USER_AGENT": value})) == expected


# -- served ----------------------------------------------------------------------------------


def page(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer as the path says: /404 with that status, /stream in two blocks."""
    path = environ["PATH_INFO"].strip("/")
    if path == "error":
        raise ValueError
    if path == "slow":
        gevent.sleep(0.05)
    if path == "ever":
        gevent.sleep(60)
    if path == "spoiled":
        environ.clear()
    if path == "strange":
        environ.update(REMOTE_ADDR=1, RAW_URI=None, HTTP_USER_AGENT=b"x")
    status = f"{path} Status" if path.isdigit() else "200 OK"
    start_response(status, [("Content-Type", "text/plain")])
    return [b"one", b"three"] if path == "stream" else [b"hello"]


def fields(text: str) -> dict[str, str]:
    match = COMBINED_LINE(text)
    assert match, text
    return match.groupdict()


@pytest.fixture
def logged(serve: Serve, tmp_path: Path) -> Callable[..., list[str]]:
    """Return a function that makes requests and returns the lines that they left."""

    def run(*requests: tuple[str, ...], **options: Any) -> list[str]:
        file = tmp_path / "access.log"
        server = serve(page, access_logfile=str(file), **options)
        for target, *lines in requests:
            method, _, target = target.rpartition(" ")
            with server.client() as client:
                client.get(target, *lines, method=method or "GET")
        server.stop()
        return file.read_text("ascii").splitlines()

    return run


def test_default_is_the_combined_format_of_apache(logged: Callable[..., list[str]]) -> None:
    lines = logged(
        ("/a?b=c", "User-Agent: test/1", "Referer: http://example.org/"),
        ("/404", "Authorization: Basic YWRhOg=="),
        ("POST /",),
    )
    first, second, third = map(fields, lines)
    time.strptime(first.pop("t"), "%d/%b/%Y:%H:%M:%S %z")
    assert first == {
        "h": "127.0.0.1",
        "u": "-",
        "r": "GET /a?b=c HTTP/1.1",
        "s": "200",
        "b": "5",
        "f": "http://example.org/",
        "a": "test/1",
    }
    assert (second["u"], second["s"], second["a"], second["f"]) == ("ada", "404", "-", "-")
    assert third["r"] == "POST / HTTP/1.1"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ("/", "200 5 5"),
        ("HEAD /", "200 - 0"),
        ("/304", "304 - 0"),
        ("/204", "204 - 0"),
        ("/stream", "200 8 8"),
    ],
)
def test_status_and_bytes_are_those_that_were_sent(
    request_: str, expected: str, logged: Callable[..., list[str]]
) -> None:
    assert logged((request_,), access_logformat="%(s)s %(b)s %(B)s") == [expected]


def test_error_of_the_application_is_logged_as_500(logged: Callable[..., list[str]]) -> None:
    line = fields(logged(("/error",))[0])
    assert line["s"] == "500"
    assert int(line["b"]) > 0


def test_duration(logged: Callable[..., list[str]]) -> None:
    (line,) = logged(("/slow",), access_logformat="%(D)s %(M)s %(L)s %(T)s")
    micro, milli, decimal, whole = line.split()
    assert 50_000 <= int(micro) < 5_000_000
    assert int(milli) == int(micro) // 1000
    assert abs(float(decimal) - int(micro) / 1e6) < 2e-6
    assert int(whole) == int(float(decimal))


def test_no_client_can_forge_a_line_over_the_wire(logged: Callable[..., list[str]]) -> None:
    user = base64.b64encode(b'x\n127.0.0.1 - admin "').decode()
    (line,) = logged(
        (
            "/",
            f"Authorization: Basic {user}",
            'User-Agent: a" 200 1 "-" "b\t\x80\\',
            'Referer: "',
        )
    )
    found = fields(line)
    assert found["u"] == 'x\\n127.0.0.1%20-%20admin%20\\"'
    assert found["a"] == 'a\\" 200 1 \\"-\\" \\"b\\t\\x80\\\\'
    assert found["f"] == '\\"'


@pytest.mark.parametrize(
    ("target", "expected"), [("/spoiled", "- - - - 200"), ("/strange", "1 GET None b'x' 200")]
)
def test_application_may_spoil_its_environ(
    target: str, expected: str, logged: Callable[..., list[str]]
) -> None:
    format = "%(h)s %(m)s %({raw_uri}e)s %(a)s %(s)s"
    assert logged((target,), access_logformat=format) == [expected]


def test_application_may_spoil_its_headers(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        headers: list[Any] = [("Content-Type", "text/plain")]
        start_response("200 OK", headers)
        headers.append(None)
        return [b"hello"]

    file = tmp_path / "access.log"
    server = serve(app, access_logfile=str(file), access_logformat="%({x}o)s")
    with server.client() as client:
        assert client.get().body == b"hello"
        assert client.get().body == b"hello"
    server.stop()
    assert file.read_text() == ""
    assert [one.message for one in caplog.records] == ["access log: no line for a request"] * 2


def test_unix_socket_has_no_remote_host(serve: Serve, tmp_path: Path) -> None:
    file, path = tmp_path / "access.log", str(tmp_path / "app.sock")
    server = serve(page, bind=f"unix:{path}", access_logfile=str(file))
    with RawClient(path) as client:
        client.get()
    server.stop()
    assert fields(file.read_text()[:-1])["h"] == "-"


def test_request_that_is_cut_is_logged(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    server = serve(page, access_logfile=str(file))
    with server.client() as client:
        client.get()
        client.send(b"GET /ever HTTP/1.1\r\nHost: a\r\n\r\n")
        while server.call(lambda: server.server.handler.active) == 0:
            pass
        server.stop(timeout=0)
    assert [fields(one)["s"] for one in file.read_text().splitlines()] == ["200", "503"]


def test_lines_of_concurrent_requests_are_complete(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    server = serve(page, access_logfile=str(file))
    agent = "x" * 500

    def ask(client_number: int) -> None:
        with server.client() as client:
            for number in range(25):
                path = "slow" if number == client_number else "stream"
                client.get(f"/{path}?{client_number}.{number}", f"User-Agent: {agent}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    server.stop()
    lines = [fields(one) for one in file.read_text("ascii").splitlines()]
    assert {one["a"] for one in lines} == {agent}
    queries = [one["r"].split()[1].partition("?")[2] for one in lines]
    assert sorted(queries) == sorted(f"{a}.{b}" for a in range(8) for b in range(25))
    for client_number in range(8):  # each client's in their order
        own = [query for query in queries if query.startswith(f"{client_number}.")]
        assert own == [f"{client_number}.{number}" for number in range(25)]


# -- slow and broken readers -----------------------------------------------------------------


FILLER = "x" * 4095


class Fifo:
    """A pipe, full of one line, and its reading end."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, len(FILLER) + 1)
        path.write_text(f"{FILLER}\n")
        self._text = ""

    def line(self) -> str:
        """Read a line."""
        while "\n" not in self._text:
            ready, _, _ = select.select([self._descriptor], [], [], 10)
            assert ready, "no line came"
            self._text += os.read(self._descriptor, 65536).decode("ascii")
        line, _, self._text = self._text.partition("\n")
        return line

    def close(self) -> None:
        os.close(self._descriptor)


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Fifo]:
    with closing(Fifo(tmp_path / "access.fifo")) as fifo:
        yield fifo


def test_lines_appear_while_the_server_runs(serve: Serve, fifo: Fifo) -> None:
    assert fifo.line() == FILLER
    with serve(page, access_logfile=fifo.path).client() as client:
        for number in range(3):
            client.get(f"/?{number}")
            assert fields(fifo.line())["r"] == f"GET /?{number} HTTP/1.1"


def check_that_full_pipe_stalls_nothing(client: RawClient, fifo: Fifo) -> None:
    count = 0
    enough = time.monotonic() + 0.3  # lines are written ten times a second
    while time.monotonic() < enough:
        assert client.get(f"/?{count}").body == b"hello"
        count += 1
    assert fifo.line() == FILLER
    for number in range(count):
        assert fields(fifo.line())["r"] == f"GET /?{number} HTTP/1.1"


def test_full_pipe_stalls_no_request_and_loses_no_line(serve: Serve, fifo: Fifo) -> None:
    with serve(page, access_logfile=fifo.path).client() as client:
        check_that_full_pipe_stalls_nothing(client, fifo)


def test_full_pipe_that_does_not_block_loses_no_line(serve: Serve, fifo: Fifo) -> None:
    server = serve(page)
    handler = server.server.handler
    log = AccessLog(os.open(fifo.path, os.O_WRONLY | os.O_NONBLOCK), Format(COMBINED))

    def start() -> None:
        handler.run = log.around(handler.run, gevent.get_hub())

    server.call(start)
    with server.client() as client:
        check_that_full_pipe_stalls_nothing(client, fifo)
    server.call(log.close)


@pytest.mark.slow
def test_full_pipe_does_not_keep_the_server_from_stopping(
    serve: Serve, fifo: Fifo, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(page, access_logfile=fifo.path)
    with server.client() as client:
        client.get()
    server.stop()
    assert "access log: nobody reads it, and the last lines are lost" in caplog.messages


def test_what_a_slow_reader_does_not_take_is_dropped_and_counted(
    serve: Serve, fifo: Fifo, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_MAX_WAITING", 2000)
    count = 0
    with serve(page, access_logfile=fifo.path).client() as client:
        while "access log: lines are dropped, it takes them too slowly" not in caplog.messages:
            client.get(f"/?{count}")
            count += 1
        for _ in range(10):
            client.get(f"/?{count}")
            count += 1
        assert fifo.line() == FILLER
        written = 0
        while not (dropped := dropped_lines(caplog.messages)):
            fifo.line()
            written += 1
        client.get("/?last")
        while "/?last " not in fifo.line():
            written += 1
    assert dropped >= 10
    assert written + dropped == count
    assert dropped_lines(caplog.messages) == dropped


def dropped_lines(messages: list[str]) -> int:
    matches = map(re.compile(r"access log: (\d+) lines were dropped").fullmatch, messages)
    return sum(int(match[1]) for match in matches if match)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has it")
def test_full_disk_is_reported_and_stalls_no_request(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(page, access_logfile="/dev/full").client() as client:
        while "access log: cannot write: No space left on device" not in caplog.messages:
            assert client.get().body == b"hello"
        enough = time.monotonic() + 0.3  # lines are written ten times a second
        while time.monotonic() < enough:
            assert client.get().body == b"hello"
    assert len(caplog.messages) == 1  # not ten times a second


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (".", "Is a directory"),
        ("none/access.log", "No such file or directory"),
        ("fifo", "No such device or address"),  # nobody reads it
    ],
)
def test_file_that_cannot_be_written(name: str, reason: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    path = tmp_path / name
    with pytest.raises(ConfigError) as caught:
        AccessLog.from_config(Config(access_logfile=str(path)))
    assert str(caught.value) == f"access_logfile {path}: {reason}"


def test_file_is_appended_to(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    file.write_text("before\n")
    server = serve(page, access_logfile=str(file), access_logformat="%(s)s")
    with server.client() as client:
        client.get()
    server.stop()
    assert file.read_text() == "before\n200\n"


def test_request_that_ends_after_the_log_leaves_no_line(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    log = AccessLog.from_config(Config(access_logfile=str(file)))
    assert log is not None
    log.close()
    log.add(exchange(REQUEST), 0)
    assert file.read_text() == ""


def test_format_is_checked_even_if_nothing_is_logged() -> None:
    with pytest.raises(ConfigError, match="access_logformat"):
        AccessLog.from_config(Config(access_logfile="off", access_logformat="%"))
    assert AccessLog.from_config(Config(access_logfile="off")) is None
    assert AccessLog.from_config(Config(access_logfile="")) is None
