"""``wsgi.file_wrapper`` (PEP 3333, optional platform-specific file handling)."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import ssl
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest

from conftest import Serve, StartPeer
from exchange import request
from gserver.files import FileSender, FileWrapper, read_cached

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Any]
Headers = list[tuple[str, str]]

CONTENT = bytes(range(256)) * 1024  # 256 KiB: more than a block and than what goes with the head
LARGE = 64 * 1024 * 1024  # more than socket buffers hold


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file with CONTENT."""
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Return the path of a file of LARGE zeros that takes no room on the disk."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(LARGE)
    return path


def serving(open_file: Callable[[], Any], headers: Headers | None = None) -> Application:
    """Return an application that responds with a wrapped file."""

    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", list(headers or []))
        return environ["wsgi.file_wrapper"](open_file())

    return app


class WithoutDescriptor:
    """The least that PEP 3333 asks of a file: read()."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._stream.read(size)


class Proxy:
    """Hands out the attributes of a file, as Django's File does."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class Reversing:
    """Has a descriptor, and gives something else than what is in it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")

    def fileno(self) -> int:
        return self._file.fileno()

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int) -> bytes:
        return self._file.read()[::-1]

    def close(self) -> None:
        self._file.close()


def temporary(path: Path) -> Any:
    file = tempfile.NamedTemporaryFile(dir=path.parent)  # noqa: SIM115 - the server closes it
    file.write(path.read_bytes())
    file.seek(0)
    return file


def not_flushed(path: Path) -> Any:
    file = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 - the server closes it
    file.write(b"x" * 10)
    file.seek(0)
    file.read(1)
    file.seek(0)
    file.write(b"y" * 10)
    file.seek(0)
    return file


def at_position(path: Path) -> Any:
    file = path.open("rb")
    file.readline()  # reads ahead: the descriptor is elsewhere than the file
    return file


def compressed(path: Path, module: Any) -> Any:
    packed = path.with_suffix(".packed")
    with module.open(packed, "wb") as file:
        file.write(path.read_bytes())
    return module.open(packed)


FILES: dict[str, tuple[Callable[[Path], Any], bytes]] = {
    "file": (lambda path: path.open("rb"), CONTENT),
    "unbuffered": (lambda path: path.open("rb", buffering=0), CONTENT),
    "read and write": (lambda path: path.open("r+b"), CONTENT),
    "at a position": (at_position, CONTENT[11:]),
    "BytesIO": (lambda path: io.BytesIO(CONTENT), CONTENT),
    "BytesIO at a position": (lambda path: _sought(io.BytesIO(CONTENT), 5), CONTENT[5:]),
    "without descriptor": (lambda path: WithoutDescriptor(CONTENT), CONTENT),
    "proxy": (lambda path: Proxy(path.open("rb")), CONTENT),
    "named temporary file": (temporary, CONTENT),
    "not flushed": (not_flushed, b"y" * 10),
    "spooled": (lambda path: _spooled(), CONTENT),
    "gzip": (lambda path: compressed(path, gzip), CONTENT),
    "bz2": (lambda path: compressed(path, bz2), CONTENT),
    "lzma": (lambda path: compressed(path, lzma), CONTENT),
    "buffered gzip": (lambda path: io.BufferedReader(compressed(path, gzip)), CONTENT),
    "otherwise read": (lambda path: Reversing(path), CONTENT[::-1]),
    "empty": (lambda path: open(os.devnull, "rb"), b""),  # noqa: SIM115
    "at the end": (lambda path: _sought(path.open("rb"), len(CONTENT)), b""),
    "beyond the end": (lambda path: _sought(path.open("rb"), len(CONTENT) + 5), b""),
}


def _sought(file: Any, position: int) -> Any:
    file.seek(position)
    return file


def _spooled() -> Any:
    file = tempfile.SpooledTemporaryFile()  # noqa: SIM115 - the server closes it
    file.write(CONTENT)
    file.seek(0)
    return file


# -- what is sent --------------------------------------------------------------------------------


@pytest.mark.parametrize("with_length", [False, True], ids=["", "Content-Length"])
@pytest.mark.parametrize(("open_file", "content"), FILES.values(), ids=FILES)
def test_what_the_file_reads_is_sent(
    peer: StartPeer,
    path: Path,
    open_file: Callable[[Path], Any],
    content: bytes,
    with_length: bool,
) -> None:
    """From its position on, whatever kind of file it is."""
    headers = [("Content-Length", str(len(content)))] if with_length else []
    answer = request(peer(serving(lambda: open_file(path), headers)))
    assert (answer.status, answer.complete) == (200, True)
    assert answer.body == content


@pytest.mark.parametrize("length", [0, 1, 100, len(CONTENT) - 1])
@pytest.mark.parametrize("open_file", [FILES["file"][0], FILES["BytesIO"][0]], ids=["file", "io"])
def test_content_length_ends_it(
    serve: Serve, path: Path, open_file: Callable[[Path], Any], length: int
) -> None:
    app = serving(lambda: open_file(path), [("Content-Length", str(length))])
    with serve(app).client() as client:
        for _ in range(2):
            assert client.get().body == CONTENT[:length]


@pytest.mark.parametrize("open_file", [FILES["file"][0], FILES["BytesIO"][0]], ids=["file", "io"])
def test_a_file_shorter_than_content_length_breaks_the_response(
    peer: StartPeer, path: Path, open_file: Callable[[Path], Any]
) -> None:
    headers = [("Content-Length", str(len(CONTENT) + 1))]
    answer = request(peer(serving(lambda: open_file(path), headers)))
    assert (answer.body, answer.complete) == (CONTENT, False)


def test_the_length_of_a_file_is_told(peer: StartPeer, path: Path) -> None:
    answer = request(peer(serving(lambda: at_position(path))))
    assert answer["Content-Length"] == str(len(CONTENT) - 11)


def test_a_large_file_arrives(peer: StartPeer, large: Path) -> None:
    with large.open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"end")
    exchange = peer(serving(lambda: large.open("rb"))).open()
    assert exchange.head()["Content-Length"] == str(LARGE)
    total = 0
    last = b""
    while data := exchange.data():
        total += len(data)
        last = (last + data)[-3:]
    assert (total, last) == (LARGE, b"end")


def test_a_file_that_shrinks_breaks_the_response(peer: StartPeer, large: Path) -> None:
    exchange = peer(serving(lambda: large.open("rb"))).open()
    exchange.head()
    os.truncate(large, 1)  # while the server waits for its client to read on
    assert not exchange.answer().complete


def test_a_file_over_tls(serve: Serve, path: Path, certificate: tuple[str, str]) -> None:
    """The kernel does not encrypt it, so it is read through Python."""
    cert, key = certificate
    running = serve(serving(lambda: at_position(path)), certfile=cert, keyfile=key)
    with running.client(tls=ssl.create_default_context(cafile=cert)) as client:
        for _ in range(2):
            assert client.get().body == CONTENT[11:]


def test_a_file_to_an_http10_client(serve: Serve, path: Path) -> None:
    with serve(serving(lambda: path.open("rb"))).client() as client:
        response = client.get(version="1.0")
        assert response["Content-Length"] == str(len(CONTENT))
        assert response.body == CONTENT
        assert client.closed()


@pytest.mark.parametrize(
    ("status", "method"),
    [("200 OK", "HEAD"), ("204 No Content", "GET"), ("304 Not Modified", "GET")],
)
def test_a_response_without_content_does_not_read_the_file(
    serve: Serve, path: Path, status: str, method: str
) -> None:
    """It may be large, and reading it would keep the other clients waiting."""
    with path.open("rb") as file:
        # A duplicate has its position in common with the file, and outlives it.
        duplicate = os.dup(file.fileno())

        def app(environ: Environ, start_response: StartResponse) -> Any:
            start_response(status, [("X-A", "1")])
            return environ["wsgi.file_wrapper"](file)

        running = serve(app)
        with running.client() as client:
            response = client.get(method=method)
            assert (response.status, response["X-A"]) == (int(status[:3]), "1")
        running.stop()
        position = os.lseek(duplicate, 0, os.SEEK_CUR)
        os.close(duplicate)
        assert file.closed
    assert position == 0


# -- the wrapper as an ordinary iterable ---------------------------------------------------------


def test_nothing_is_sent_unless_it_is_returned(peer: StartPeer, path: Path) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        with path.open("rb") as file:
            environ["wsgi.file_wrapper"](file)
        return [b"something else"]

    assert request(peer(app)).body == b"something else"


def wrap_in_generator(body: Any) -> Iterator[bytes]:
    try:
        yield b"before"
        yield from body
        yield b"after"
    finally:
        body.close()  # PEP 3333: middleware hands it on


@pytest.mark.parametrize("name", ["file", "BytesIO", "gzip"])
def test_middleware_may_wrap_it(peer: StartPeer, path: Path, name: str) -> None:
    app = serving(lambda: FILES[name][0](path))
    answer = request(peer(lambda e, s: wrap_in_generator(app(e, s))))
    assert answer.body == b"before" + CONTENT + b"after"


def test_middleware_may_replace_it(peer: StartPeer, path: Path) -> None:
    """The server sends what its own wrapper holds; another class is iterated."""

    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](path.open("rb"))

    def middleware(environ: Environ, start_response: StartResponse) -> Any:
        environ["wsgi.file_wrapper"] = lambda file: [file.read(3), file.close() or b"."]
        return app(environ, start_response)

    assert request(peer(middleware)).body == CONTENT[:3] + b"."


def test_written_content_comes_before_it(peer: StartPeer, path: Path) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [])(b"written")
        return environ["wsgi.file_wrapper"](path.open("rb"))

    assert request(peer(app)).body == b"written" + CONTENT


def test_wsgiref_validate_accepts_it(peer: StartPeer, path: Path) -> None:
    app = validator(serving(lambda: path.open("rb"), [("Content-Type", "text/plain")]))
    assert request(peer(app)).body == CONTENT


def test_without_start_response_it_is_a_500(peer: StartPeer, path: Path) -> None:
    answer = request(peer(lambda e, s: e["wsgi.file_wrapper"](path.open("rb"))))
    assert answer.status == 500


def test_block_size() -> None:
    assert list(FileWrapper(io.BytesIO(b"abcde"), 2)) == [b"ab", b"cd", b"e"]
    assert list(FileWrapper(io.BytesIO(b"abcde"), block_size=9)) == [b"abcde"]
    assert len(next(iter(FileWrapper(io.BytesIO(bytes(10**6)))))) == 65536


# -- close() -------------------------------------------------------------------------------------


class Closable(Proxy):
    """Counts how often it is closed."""

    closed_times = 0

    def close(self) -> None:
        self.closed_times += 1
        self._file.close()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("name", ["file", "BytesIO", "gzip"])
def test_the_file_is_closed_once(peer: StartPeer, path: Path, name: str, method: str) -> None:
    file = Closable(FILES[name][0](path))
    running = peer(serving(lambda: file))
    assert request(running, method=method).complete
    running.stop()
    assert file.closed_times == 1


def test_the_file_is_closed_when_the_client_leaves(
    peer: StartPeer, large: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And that is no error of anybody's."""
    file = Closable(large.open("rb"))
    running = peer(serving(lambda: file))
    exchange = running.open()
    exchange.head()
    exchange.vanish()
    running.stop()
    assert file.closed_times == 1
    assert caplog.records == []


def test_the_file_is_closed_when_its_content_is_broken_off(peer: StartPeer, large: Path) -> None:
    file = Closable(large.open("rb"))
    running = peer(serving(lambda: file))
    exchange = running.open()
    exchange.head()
    running.stop(0)
    assert not exchange.answer().complete
    assert file.closed_times == 1


def test_a_file_without_close_is_fine() -> None:
    wrapper = FileWrapper(WithoutDescriptor(b"a"))
    wrapper.close()
    assert list(wrapper) == [b"a"]


# -- regions, the page cache and the threads -----------------------------------------------------


def test_region_is_what_is_left_of_the_file(path: Path) -> None:
    with path.open("rb") as file:
        file.read(7)
        assert FileWrapper(file).region() == (file.fileno(), 7, len(CONTENT) - 7)
        file.seek(len(CONTENT) + 1)
        assert FileWrapper(file).region() == (file.fileno(), len(CONTENT) + 1, 0)


def test_no_region_where_there_is_no_regular_file(path: Path) -> None:
    read, write = os.pipe()
    with open(read, "rb") as pipe, open(write, "wb"), path.open() as text:
        assert FileWrapper(pipe).region() is None
        assert FileWrapper(text).region() is None
    with open(os.devnull, "rb") as device:
        assert FileWrapper(device).region() is None
    file = path.open("rb")
    file.close()
    assert FileWrapper(file).region() is None
    assert FileWrapper(object()).region() is None


def test_read_cached_gives_the_beginning(path: Path) -> None:
    path.read_bytes()
    with path.open("rb") as file:
        descriptor = file.fileno()
        assert CONTENT.startswith(read_cached(descriptor, 0, len(CONTENT)))
        assert len(read_cached(descriptor, 0, len(CONTENT))) <= 65536
        assert read_cached(descriptor, 3, 4) in (CONTENT[3:7], b"")
        assert read_cached(descriptor, len(CONTENT), 4) == b""
    assert read_cached(descriptor, 0, 4) == b""  # closed meanwhile


def test_read_cached_gives_nothing_where_the_system_cannot_tell(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "RWF_NOWAIT", raising=False)
    with path.open("rb") as file:
        assert read_cached(file.fileno(), 0, 4) == b""


class Later:
    """A job for a thread that is done when the test says so."""

    def __init__(self) -> None:
        self.run: Callable[[], Any] = NotImplemented
        self.is_ready = False

    def get(self) -> Any:
        raise TimeoutError

    def ready(self) -> bool:
        return self.is_ready


class Pool:
    """Threads that never come to an end by themselves."""

    def __init__(self, job: Later) -> None:
        self.job = job

    def spawn(self, function: Any, *arguments: Any) -> Later:
        self.job.run = partial(function, *arguments)
        return self.job


@pytest.fixture
def duplicates(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return what os.dup has returned since."""
    made: list[int] = []
    dup = os.dup

    def recording(descriptor: int) -> int:
        made.append(dup(descriptor))
        return made[-1]

    monkeypatch.setattr(os, "dup", recording)
    return made


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def interrupted(path: Path, job: Later, method: str) -> None:
    """Send a file, until the greenlet that waits for the thread is interrupted."""
    with path.open("rb") as file, (path.parent / "out").open("wb") as out:
        target = out.fileno() if method == "send" else None
        with FileSender(Pool(job), file.fileno(), target) as sender:
            getattr(sender, method)(0, 10)


@pytest.mark.parametrize(("method", "number"), [("send", 2), ("read", 1)])
def test_descriptors_stay_open_for_a_thread_that_still_uses_them(
    path: Path, duplicates: list[int], method: str, number: int
) -> None:
    """Closed early, their numbers could be given to another client's connection meanwhile."""
    job = Later()
    with pytest.raises(TimeoutError):
        interrupted(path, job, method)
    assert len(duplicates) == number
    assert all(map(is_open, duplicates))
    assert job.run() == 10 if method == "send" else len(job.run()) == 10
    assert not any(map(is_open, duplicates))


def test_descriptors_are_closed_at_once_where_no_thread_uses_them(
    path: Path, duplicates: list[int]
) -> None:
    job = Later()
    job.is_ready = True
    with pytest.raises(TimeoutError):
        interrupted(path, job, "send")
    assert len(duplicates) == 2
    assert not any(map(is_open, duplicates))
