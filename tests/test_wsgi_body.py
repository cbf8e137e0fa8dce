"""The response's content: what may be returned, when it is sent, and how its end is told."""

from __future__ import annotations

import collections
import io
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.validate import validator

import gevent.event
import pytest

from clients import Response
from conftest import Serve, StartPeer
from exchange import request
from gserver.api import LocalProtocolError

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Any]
Headers = list[tuple[str, str]]


def returning(body: Callable[[], Any], headers: Headers | None = None) -> Application:
    """Return an application whose body is what `body` makes."""

    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", list(headers or []))
        return body()

    return app


def generate(*blocks: Any) -> Iterator[Any]:
    yield from blocks


class Sequence:
    """An iterable of the oldest kind, without __iter__."""

    def __getitem__(self, index: int) -> bytes:
        return [b"a", b"bc"][index]


class Sized:
    """An iterable with a length, true or not."""

    def __init__(self, blocks: list[bytes], length: Any) -> None:
        self.blocks = blocks
        self.length = length

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.blocks)

    def __len__(self) -> int:
        if isinstance(self.length, BaseException):
            raise self.length
        return int(self.length)


# -- iterables and blocks ------------------------------------------------------------------------

ITERABLES: dict[str, Callable[[], Any]] = {
    "list": lambda: [b"a", b"bc"],
    "list of one": lambda: [b"abc"],
    "tuple": lambda: (b"a", b"bc"),
    "tuple of one": lambda: (b"abc",),
    "generator": lambda: generate(b"a", b"bc"),
    "iterator": lambda: iter([b"a", b"bc"]),
    "map": lambda: map(bytes.lower, [b"A", b"BC"]),
    "deque": lambda: collections.deque([b"a", b"bc"]),
    "dict": lambda: {b"a": 1, b"bc": 2},
    "file": lambda: io.BytesIO(b"abc"),
    "sequence": Sequence,
    "sized one": lambda: Sized([b"abc"], 1),
    "sized two": lambda: Sized([b"a", b"bc"], 2),
    "no length after all": lambda: Sized([b"a", b"bc"], TypeError()),
    "length not implemented": lambda: Sized([b"a", b"bc"], NotImplementedError()),
    "empty blocks first": lambda: [b"", b"", b"abc"],
    "empty blocks between": lambda: generate(b"a", b"", b"", b"bc"),
    "empty blocks last": lambda: generate(b"abc", b"", b""),
    "empty blocks all over": lambda: Sized([b"", b"a", b"", b"bc", b""], 5),
}


@pytest.mark.parametrize("with_length", [False, True], ids=["", "Content-Length"])
@pytest.mark.parametrize("body", ITERABLES.values(), ids=ITERABLES)
def test_any_iterable_of_bytes_is_sent(
    peer: StartPeer, body: Callable[[], Any], with_length: bool
) -> None:
    app = returning(body, [("Content-Length", "3")] if with_length else [])
    answer = request(peer(app))
    assert (answer.status, answer.body, answer.complete) == (200, b"abc", True)


EMPTY: dict[str, Callable[[], Any]] = {
    "list": list,
    "tuple": tuple,
    "generator": generate,
    "one empty block": lambda: [b""],
    "empty blocks": lambda: generate(b"", b"", b""),
    "sized": lambda: Sized([], 0),
    "sized one": lambda: Sized([b""], 1),
}


@pytest.mark.parametrize("with_length", [False, True], ids=["", "Content-Length"])
@pytest.mark.parametrize("body", EMPTY.values(), ids=EMPTY)
def test_an_empty_body_is_sent(peer: StartPeer, body: Callable[[], Any], with_length: bool) -> None:
    app = returning(body, [("Content-Length", "0")] if with_length else [])
    answer = request(peer(app))
    assert (answer.status, answer.body, answer.complete) == (200, b"", True)


@pytest.mark.parametrize(
    "blocks",
    [[bytes(range(256))], [b"\r\n", b"0\r\n\r\n"], [b"x" * 100_000, b"y", b"z" * 3_000_000]],
    ids=["all bytes", "framing", "large"],
)
@pytest.mark.parametrize("kind", [list, iter], ids=["list", "iterator"])
def test_blocks_go_out_unaltered(
    peer: StartPeer, blocks: list[bytes], kind: Callable[[list[bytes]], Any]
) -> None:
    assert request(peer(returning(lambda: kind(blocks)))).body == b"".join(blocks)


BAD_BLOCKS: dict[str, Any] = {
    "str": "text",
    "bytearray": bytearray(b"abc"),
    "memoryview": memoryview(b"abc"),
    "number": 65,
    "none": None,
    "list": [b"abc"],
}


@pytest.mark.parametrize("headers", [[], [("Content-Length", "3")]], ids=["", "Content-Length"])
@pytest.mark.parametrize("kind", [list, tuple, iter], ids=["list", "tuple", "iterator"])
@pytest.mark.parametrize("block", BAD_BLOCKS.values(), ids=BAD_BLOCKS)
def test_blocks_that_are_not_bytes_are_the_applications_error(
    peer: StartPeer, block: Any, kind: Callable[[list[Any]], Any], headers: Headers
) -> None:
    answer = request(peer(returning(lambda: kind([block]), headers)))
    assert (answer.status, answer.complete) == (500, True)


@pytest.mark.parametrize("block", BAD_BLOCKS.values(), ids=BAD_BLOCKS)
def test_blocks_that_are_not_bytes_break_a_response_that_has_begun(
    peer: StartPeer, block: Any
) -> None:
    answer = request(peer(returning(lambda: generate(b"begun", block))))
    assert (answer.status, answer.body, answer.complete) == (200, b"begun", False)


@pytest.mark.parametrize("body", [None, "text", b"bytes", 65, object()], ids=type)
def test_bodies_that_are_no_iterables_of_bytes_are_the_applications_error(
    peer: StartPeer, body: Any
) -> None:
    assert request(peer(returning(lambda: body))).status == 500


class Watched:
    """Knows which of its attributes somebody has asked for."""

    def __init__(self, asked: set[str]) -> None:
        self._asked = asked

    def __getattribute__(self, name: str) -> Any:
        object.__getattribute__(self, "_asked").add(name)
        return object.__getattribute__(self, name)

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"a", b"b"])


def test_nothing_but_iteration_and_close_is_used(peer: StartPeer) -> None:
    asked: set[str] = set()
    body = Watched(asked)
    asked.clear()
    running = peer(returning(lambda: body))
    assert request(running).body == b"ab"
    running.stop()
    assert asked <= {"close", "__class__"}


# -- when it is sent -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["yield", "write"])
@pytest.mark.parametrize("headers", [[], [("Content-Length", "3")]], ids=["", "Content-Length"])
def test_each_block_is_sent_before_the_next_is_asked_for(
    peer: StartPeer, method: str, headers: Headers
) -> None:
    """The client has the block in hand when it lets the application go on."""
    arrived = [gevent.event.Event() for _ in range(3)]

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", headers)
        for event, block in zip(arrived, (b"a", b"b", b"c"), strict=True):
            if method == "write":
                write(block)
            else:
                yield block
            assert event.wait(5)

    def returned(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return list(app(environ, start_response))

    running = peer(app if method == "yield" else returned)
    exchange = running.open()
    exchange.head()
    for event, block in zip(arrived, (b"a", b"b", b"c"), strict=True):
        assert exchange.data() == block
        running.call(event.set)
    assert exchange.data() == b""


def test_iteration_is_lazy(peer: StartPeer) -> None:
    """An endless body is sent as long as somebody reads it."""

    def endless() -> Iterator[bytes]:
        while True:
            yield b"block"

    running = peer(returning(endless))
    exchange = running.open()
    exchange.head()
    assert exchange.data().startswith(b"block")
    exchange.vanish()
    running.stop()


def test_nothing_behind_the_head_is_asked_for_where_no_content_is_sent(peer: StartPeer) -> None:
    """The answer to HEAD: a stream of events would never end, and nobody would notice."""
    closed = threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            yield b"block"
            pytest.fail("the second block was asked for")
        finally:
            closed.set()

    assert request(peer(returning(endless)), method="HEAD").body == b""
    assert closed.wait(5)


# -- Content-Length ------------------------------------------------------------------------------

ONE_BLOCK: dict[str, Callable[[], Any]] = {
    "list": lambda: [b"abc"],
    "tuple": lambda: (b"abc",),
    "sized": lambda: Sized([b"abc"], 1),
    "dict": lambda: {b"abc": 1},
}


@pytest.mark.parametrize("body", ONE_BLOCK.values(), ids=ONE_BLOCK)
def test_a_single_block_tells_the_content_length(peer: StartPeer, body: Callable[[], Any]) -> None:
    assert request(peer(returning(body)))["Content-Length"] == "3"


def test_a_single_block_after_write_does_not_tell_the_content_length(peer: StartPeer) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])(b"written")
        return [b"abc"]

    answer = request(peer(app))
    assert answer.body == b"writtenabc"
    assert "Content-Length" not in answer


MORE: dict[str, Callable[[], Any]] = {
    "one block": lambda: [b"abcdef"],
    "at a border": lambda: [b"abc", b"def"],
    "across": lambda: generate(b"ab", b"cd", b"ef"),
    "sized": lambda: Sized([b"abcdef"], 1),
    "blocks behind": lambda: generate(b"abc", b"", b"d", b"never"),
}


@pytest.mark.parametrize("body", MORE.values(), ids=MORE)
def test_more_than_content_length_never_reaches_the_wire(
    serve: Serve, body: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It would be taken for the next response."""
    with serve(returning(body, [("Content-Length", "3")])).client() as client:
        for _ in range(2):
            assert client.get().body == b"abc"
    assert "more than its Content-Length" in caplog.text


def test_iteration_stops_at_content_length(peer: StartPeer) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"abcd"

    answer = request(peer(returning(endless, [("Content-Length", "10")])))
    assert (answer.body, answer.complete) == (b"abcdabcdab", True)


@pytest.mark.parametrize(
    ("blocks", "wire"),
    [([b"abcdef"], b"abc"), ([b"ab", b"cd"], b"abc"), ([b"abc", b"d"], b"abc")],
)
def test_write_beyond_content_length_raises(
    peer: StartPeer, blocks: list[bytes], wire: bytes
) -> None:
    raised: list[Exception] = []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        write = start_response("200 OK", [("Content-Length", "3")])
        try:
            for block in blocks:
                write(block)
        except LocalProtocolError as exc:
            raised.append(exc)
        return []

    running = peer(app)
    answer = request(running)
    assert (answer.status, answer.body, answer.complete) == (200, wire, True)
    running.stop()
    assert len(raised) == 1


LESS: dict[str, Callable[[], Any]] = {
    "one block": lambda: [b"abc"],
    "two": lambda: [b"a", b"bc"],
    "generator": lambda: generate(b"abc"),
    "sized": lambda: Sized([b"abc"], 1),
}


@pytest.mark.parametrize("body", LESS.values(), ids=LESS)
def test_less_than_content_length_breaks_the_response(
    peer: StartPeer, body: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    answer = request(peer(returning(body, [("Content-Length", "10")])))
    assert (answer.status, answer.body, answer.complete) == (200, b"abc", False)
    assert "Content-Length announced 10 bytes, 3 were sent" in caplog.text


def test_nothing_where_content_was_announced_is_a_500(peer: StartPeer) -> None:
    answer = request(peer(returning(list, [("Content-Length", "10")])))
    assert (answer.status, answer.complete) == (500, True)


# -- framing on HTTP/1 (RFC 9112 6) --------------------------------------------------------------

UNSIZED: dict[str, Callable[[], Any]] = {
    "two blocks": lambda: [b"a", b"bc"],
    "generator": lambda: generate(b"a", b"bc"),
    "with empty blocks": lambda: generate(b"", b"a", b"", b"bc", b""),
}


@pytest.mark.parametrize("body", UNSIZED.values(), ids=UNSIZED)
def test_content_without_length_is_chunked(serve: Serve, body: Callable[[], Any]) -> None:
    """One chunk for each block; an empty one must not end the content."""
    with serve(returning(body)).client() as client:
        for _ in range(2):
            response = client.get()
            assert response["Transfer-Encoding"] == "chunked"
            assert response.chunks == [b"a", b"bc"]


@pytest.mark.parametrize("body", UNSIZED.values(), ids=UNSIZED)
def test_content_without_length_ends_with_an_http10_connection(
    serve: Serve, body: Callable[[], Any]
) -> None:
    with serve(returning(body)).client() as client:
        response = client.get("/", "Connection: keep-alive", version="1.0")
        assert "Transfer-Encoding" not in response
        assert "Content-Length" not in response
        assert response["Connection"] == "close"
        assert response.body == b"abc"


def test_content_with_length_keeps_an_http10_connection(serve: Serve) -> None:
    with serve(returning(lambda: [b"abc"])).client() as client:
        for _ in range(2):
            response = client.get("/", "Connection: keep-alive", version="1.0")
            assert response["Connection"] == "keep-alive"
            assert response.body == b"abc"
        assert client.get(version="1.0")["Connection"] == "close"
        assert client.closed()


# -- responses without content -------------------------------------------------------------------

HEADS: dict[str, tuple[Callable[[], Any], Headers]] = {
    "one block": (lambda: [b"abc"], []),
    "two blocks": (lambda: [b"a", b"bc"], []),
    "generator": (lambda: generate(b"a", b"bc"), []),
    "empty blocks": (lambda: generate(b"", b"abc", b""), []),
    "with length": (lambda: [b"a", b"bc"], [("Content-Length", "3")]),
    "one with length": (lambda: [b"abc"], [("Content-Length", "3")]),
    "too long": (lambda: [b"abcd"], [("Content-Length", "3")]),
}


def without_date(response: Response) -> Headers:
    return [(name, value) for name, value in response.headers if name != "Date"]


@pytest.mark.parametrize(("body", "headers"), HEADS.values(), ids=HEADS)
def test_head_sends_the_headers_of_get_and_no_content(
    serve: Serve, body: Callable[[], Any], headers: Headers
) -> None:
    """RFC 9110 9.3.2; what followed the head would be taken for the next response."""
    methods: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Any:
        methods.append(environ["REQUEST_METHOD"])
        start_response("200 OK", [("X-A", "1"), *headers])
        return body()

    with serve(app).client() as client:
        head = client.get(method="HEAD")
        assert client.get(method="HEAD").status == 200
        assert methods == ["HEAD", "HEAD"]
        get = client.get()
    assert (head.status, head["X-A"]) == (200, "1")
    assert without_date(head) == without_date(get)


@pytest.mark.parametrize("blocks", [[], [b"a"], [b"a", b"b"]], ids=["none", "one", "two"])
def test_head_may_leave_out_the_content_that_it_announces(
    peer: StartPeer, blocks: list[bytes]
) -> None:
    answer = request(peer(returning(lambda: blocks, [("Content-Length", "9")])), method="HEAD")
    assert (answer.status, answer["Content-Length"]) == (200, "9")


@pytest.mark.parametrize("body", EMPTY.values(), ids=EMPTY)
def test_head_does_not_invent_a_content_length(peer: StartPeer, body: Callable[[], Any]) -> None:
    """An application that leaves the body out knows no more of GET's length than this."""
    answer = request(peer(returning(body)), method="HEAD")
    assert answer.status == 200
    assert "Content-Length" not in answer


def test_head_with_write(serve: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"a")
        write(b"b")
        return [b"c"]

    with serve(app).client() as client:
        for _ in range(2):
            assert client.get(method="HEAD").status == 200
        assert client.get().body == b"abc"


@pytest.mark.parametrize("body", [pair[0] for pair in HEADS.values()], ids=HEADS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_204_and_304_have_no_content(
    serve: Serve, status: str, method: str, body: Callable[[], Any]
) -> None:
    """RFC 9110 15.3.5 and 15.4.5."""

    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response(status, [])
        return body()

    with serve(app).client() as client:
        for _ in range(2):
            response = client.get(method=method)
            assert f"{response.status} {response.reason}" == status
            assert "Content-Length" not in response
            assert "Transfer-Encoding" not in response


@pytest.mark.parametrize(
    ("status", "length"), [("204 No Content", []), ("304 Not Modified", ["3"])]
)
@pytest.mark.parametrize("blocks", [[], [b"abc"], [b"a", b"bc"]], ids=["none", "one", "two"])
def test_only_304_has_a_content_length(
    serve: Serve, status: str, length: list[str], blocks: list[bytes]
) -> None:
    """RFC 9110 8.6: never in a 204; in a 304 it is that of the 200."""

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response(status, [("Content-Length", "3")])
        return blocks

    with serve(app).client() as client:
        for _ in range(2):
            assert client.get().all("Content-Length") == length


# -- write() -------------------------------------------------------------------------------------


def test_written_content_comes_before_the_iterable(peer: StartPeer) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"1")
        write(b"")
        write(b"2")
        return [b"3", b"4"]

    answer = request(peer(validator(app)))
    assert (answer.status, answer.body, answer.complete) == (200, b"1234", True)


def test_written_content_may_be_all(peer: StartPeer) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "3")])(b"abc")
        return []

    answer = request(peer(app))
    assert (answer.body, answer.complete) == (b"abc", True)


def test_writing_while_the_iterable_runs_keeps_the_order(peer: StartPeer) -> None:
    """An error of the application; other servers let it pass, and it does no harm here."""

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        write = start_response("200 OK", [])
        yield b"1"
        write(b"2")
        yield b"3"

    assert request(peer(app)).body == b"123"


@pytest.mark.parametrize("block", BAD_BLOCKS.values(), ids=BAD_BLOCKS)
def test_write_takes_nothing_but_bytes(peer: StartPeer, block: Any) -> None:
    raised: list[Exception] = []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        write = start_response("200 OK", [])
        try:
            write(block)
        except LocalProtocolError as exc:
            raised.append(exc)
        return [b"fine"]

    assert request(peer(app)).body == b"fine"
    assert len(raised) == 1


class WritesWhenClosed:
    """A body that still writes when the response is over."""

    def __init__(self, blocks: list[bytes], raised: list[Exception]) -> None:
        self.blocks = blocks
        self.raised = raised
        self.write: Any = None

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.blocks)

    def close(self) -> None:
        try:
            self.write(b"HTTP/1.1 200 Smuggled\r\n\r\n")
        except Exception as exc:
            self.raised.append(exc)
            raise


@pytest.mark.parametrize("headers", [[], [("Content-Length", "2")]], ids=["", "Content-Length"])
@pytest.mark.parametrize("blocks", [[b"ab"], [b"a", b"b"]], ids=["one block", "two blocks"])
def test_writing_after_the_end_raises_and_sends_nothing(
    serve: Serve, blocks: list[bytes], headers: Headers
) -> None:
    """The bytes would be the beginning of the next response."""
    raised: list[Exception] = []

    def app(environ: Environ, start_response: StartResponse) -> Any:
        body = WritesWhenClosed(blocks, raised)
        body.write = start_response("200 OK", headers)
        return body

    running = serve(app)
    with running.client() as client:
        for _ in range(2):
            assert client.get().body == b"ab"
    running.stop()
    assert [type(exc) for exc in raised] == [LocalProtocolError] * 2


def test_a_greenlet_that_outlives_its_request_cannot_write_any_more(serve: Serve) -> None:
    """Not even while a later exchange of the same connection is going on."""
    kept: list[Any] = []
    raised: list[Exception] = []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        write = start_response("200 OK", [])
        if environ["PATH_INFO"] == "/later":
            try:
                kept[0](b"late")
            except LocalProtocolError as exc:
                raised.append(exc)
        kept.append(write)
        return [b"a", b"b"]

    with serve(app).client() as client:
        assert client.get().body == b"ab"
        assert client.get("/later").body == b"ab"
    assert len(raised) == 1


def test_what_the_application_logs_is_not_the_servers_error(
    peer: StartPeer, caplog: pytest.LogCaptureFixture
) -> None:
    """An ordinary response leaves no trace in the error log."""
    with caplog.at_level(logging.INFO):
        running = peer(returning(lambda: [b"a", b"b"]))
        assert request(running).complete
        running.stop()
    assert caplog.records == []
