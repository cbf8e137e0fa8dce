"""Responses of blocking applications, as ASGI messages."""

from __future__ import annotations

import asyncio
import gc
import gzip
import io
import logging
import os
import sys
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gserver.api import (
    Features,
    LocalProtocolError,
    PushResult,
    RemoteProtocolError,
    RequestTooLarge,
    disconnected,
    early_hints,
    features,
    lighten,
    lite,
    never_index,
    push,
    send_trailers,
)
from to_asgi_stage import Answer, Visit, http_scope, in_loop, request, respond

Environ = dict[str, Any]
Extensions = dict[str, dict[str, Any]]
Start = Callable[..., Callable[[bytes], None]]
PLAIN = ("Content-Type", "text/plain")


def test_a_response_of_one_block_is_two_messages() -> None:
    @lite
    def app(environ: Environ) -> Any:
        return "201 Created", [PLAIN, ("X-Name", "Zähne")], [b"content"]

    assert respond(app).messages == [
        {
            "type": "http.response.start",
            "status": 201,
            "headers": [
                (b"content-type", b"text/plain"),
                (b"x-name", b"Z\xe4hne"),
                (b"content-length", b"7"),
            ],
        },
        {"type": "http.response.body", "body": b"content", "more_body": False},
    ]


def writing(environ: Environ, start_response: Start) -> Iterable[bytes]:
    write = start_response("200 OK", [PLAIN])
    write(b"a")
    write(b"")
    write(b"b")
    return [b"c"]


def generating(environ: Environ, start_response: Start) -> Iterator[bytes]:
    yield b""
    start_response("200 OK", [PLAIN])
    yield b""
    yield b"a"
    yield b"bc"


def starting_twice(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("404 Not Found", [("X-First", "1"), ("Content-Length", "1")])
    yield b""
    try:
        raise ValueError
    except ValueError:
        start_response("200 OK", [PLAIN], sys.exc_info())
    yield b"abc"


@lite
def triple(environ: Environ) -> Any:
    return "200 OK", [PLAIN], iter([b"a", b"", b"bc"])


@pytest.mark.parametrize("app", [writing, generating, starting_twice, triple, lighten(writing)])
def test_ways_to_say_it(app: Any) -> None:
    answer = respond(app)
    assert (answer.status, answer.body) == (200, b"abc")
    assert answer.headers == [(b"content-type", b"text/plain")]


def test_each_block_is_a_message_of_its_own() -> None:
    messages = respond(generating).messages[1:]
    assert [(one["body"], one["more_body"]) for one in messages] == [
        (b"a", True),
        (b"bc", True),
        (b"", False),
    ]


# The body, other headers, status and method; the Content-Length and the content that are sent.
LENGTHS: dict[str, tuple[Any, Any, str, str, str | None, bytes]] = {
    "one block": ([b"abc"], [], "200 OK", "GET", "3", b"abc"),
    "a tuple": ((b"abc",), [], "200 OK", "GET", "3", b"abc"),
    "an empty block": ([b""], [], "200 OK", "GET", "0", b""),
    "no block": ([], [], "200 OK", "GET", None, b""),
    "two blocks": ([b"ab", b"c"], [], "200 OK", "GET", None, b"abc"),
    "announced": ([b"ab", b"c"], [("Content-Length", "3")], "200 OK", "GET", "3", b"abc"),
    "announced, one": ([b"abc"], [("Content-Length", "3")], "200 OK", "GET", "3", b"abc"),
    "too much": ([b"ab", b"c"], [("Content-Length", "1")], "200 OK", "GET", "1", b"a"),
    "too much, one": ([b"abc"], [("Content-Length", "1")], "200 OK", "GET", "1", b"a"),
    "head, one block": ([b"abc"], [], "200 OK", "HEAD", "3", b""),
    "head, nothing": ([b""], [], "200 OK", "HEAD", None, b""),
    "head, two blocks": ([b"ab", b"c"], [], "200 OK", "HEAD", None, b""),
    "head, announced": ([], [("Content-Length", "3")], "200 OK", "HEAD", "3", b""),
    "204": ([b"abc"], [], "204 No Content", "GET", None, b""),
    "304": ([], [("Content-Length", "3")], "304 Not Modified", "GET", "3", b""),
}


@pytest.mark.parametrize("case", LENGTHS)
def test_lengths(case: str) -> None:
    body, headers, status, method, length, content = LENGTHS[case]

    @lite
    def app(environ: Environ) -> Any:
        return status, headers, body

    answer = respond(app, method)
    assert answer.status == int(status[:3])
    assert answer.body == content
    assert ("content-length" in answer) == (length is not None)
    assert length is None or answer["content-length"] == length
    assert answer.messages[-1]["more_body"] is False


# -- what breaks the rules -------------------------------------------------------------------


def respond_to(*arguments: Any) -> Callable[..., Any]:
    def app(environ: Environ, start_response: Start) -> Any:
        start_response(*arguments)
        return [b"never"]

    return app


WRONG: dict[str, Callable[..., Any]] = {
    "status of no str": respond_to(200, []),
    "status without reason": respond_to("200", []),
    "status with a line break": respond_to("200 OK\r\nX: y", []),
    "interim status": respond_to("101 Switching Protocols", []),
    "headers of no list": respond_to("200 OK", ()),
    "header of no tuple": respond_to("200 OK", [["X", "y"]]),
    "header of bytes": respond_to("200 OK", [(b"X", b"y")]),
    "name with a space": respond_to("200 OK", [("X Y", "z")]),
    "value with a line break": respond_to("200 OK", [("X", "y\r\nSet-Cookie: z")]),
    "value beyond latin-1": respond_to("200 OK", [("X", "€")]),
    "hop-by-hop header": respond_to("200 OK", [("Transfer-Encoding", "chunked")]),
    "length of no number": respond_to("200 OK", [("Content-Length", "three")]),
    "two lengths": respond_to("200 OK", [("Content-Length", "3"), ("Content-Length", "4")]),
    "two heads": lambda environ, start: [start("200 OK", []), start("200 OK", [])],
    "no head": lambda environ, start: [b"content"],
    "nothing at all": lambda environ, start: [],
    "body of bytes": lambda environ, start: start("200 OK", []) and b"content",
    "body of str": lambda environ, start: start("200 OK", []) and "content",
    "one block of str": lambda environ, start: start("200 OK", []) and ["content"],
    "blocks of str": lambda environ, start: start("200 OK", []) and iter(["a", "b"]),
    "no body": lambda environ, start: start("200 OK", []) and None,
    "no triple": lite(lambda environ: ("200 OK", [])),  # type: ignore[arg-type]
    "an error": lambda environ, start: 1 / 0,
    "an error in the body": lambda environ, start: start("200 OK", []) and (1 / 0 for _ in "a"),
    "an exit": lambda environ, start: sys.exit(1),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_error_before_the_head_is_a_500(case: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = respond(WRONG[case], path="/tea")
    assert (answer.status, answer["content-type"]) == (500, "text/plain; charset=utf-8")
    assert answer.body == b"The server could not answer this request.\n"
    assert answer["content-length"] == str(len(answer.body))
    (record,) = caplog.records
    assert record.getMessage() == "GET /tea: error in the application"
    assert record.exc_info


@pytest.mark.parametrize(
    ("error", "status"), [(RequestTooLarge("too much"), 413), (RemoteProtocolError("no", 499), 499)]
)
def test_what_the_client_did_wrong_is_its_fault(error: Exception, status: int) -> None:
    def app(environ: Environ, start_response: Start) -> Any:
        raise error

    answer = respond(app)
    assert (answer.status, answer.body) == (status, f"{error}\n".encode())


def broken(environ: Environ, start_response: Start) -> Iterator[bytes]:
    start_response("200 OK", [PLAIN])
    yield b"content"
    raise EXCEPTIONS[environ["QUERY_STRING"]]


EXCEPTIONS: dict[str, BaseException] = {"error": ValueError("broken"), "exit": SystemExit(1)}


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_error_behind_the_head_is_the_server_s_to_show(name: str) -> None:
    kind = ValueError if name == "error" else RuntimeError
    messages: list[Any] = []

    async def visit() -> None:
        one = Visit(broken, http_scope(path=f"/?{name}"))
        one.sent = messages
        await one.over()

    with pytest.raises(kind, match=r"broken|SystemExit"):
        asyncio.run(visit())
    assert [message.get("more_body") for message in messages] == [None, True]


def test_exc_info_behind_the_head_is_raised_again() -> None:
    seen: list[Any] = []

    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"content"
        try:
            raise ValueError("mine")
        except ValueError:
            seen.append(sys.exc_info()[2])
            start_response("500 Oh", [], sys.exc_info())

    with pytest.raises(ValueError, match="mine") as caught:
        respond(app)
    assert seen[0].tb_frame in [frame for frame, _ in traceback.walk_tb(caught.tb)]


@pytest.mark.parametrize("late", ["write", "longer"])
def test_writing_what_does_not_belong_there(late: str) -> None:
    caught: list[str] = []

    def app(environ: Environ, start_response: Start) -> Any:
        write = start_response("200 OK", [("Content-Length", "3")])
        try:
            if late == "longer":
                write(b"abcd")
            else:
                write("abc")  # type: ignore[arg-type]
        except LocalProtocolError as exc:
            caught.append(str(exc))
        return [b"abc"] if late == "write" else []

    assert respond(app).body == b"abc"
    assert len(caught) == 1


def test_content_behind_the_end_is_an_error() -> None:
    kept: list[Callable[[bytes], None]] = []

    def app(environ: Environ, start_response: Start) -> Any:
        kept.append(start_response("200 OK", []))
        return [b"content"]

    respond(app)
    kept[0](b"")
    with pytest.raises(LocalProtocolError, match="after the end"):
        kept[0](b"late")


# -- close() ---------------------------------------------------------------------------------


class Body:
    """A body that notes how often it is closed."""

    def __init__(self, blocks: Iterable[bytes], error: Exception | None = None) -> None:
        self.blocks = blocks
        self.error = error
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield from self.blocks
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed += 1


def test_close_is_called_however_it_ends() -> None:
    bodies = {
        "200 OK": Body([b"a", b"b"]),
        "204 No Content": Body([]),
        "500 Oh": Body([], ValueError("early")),
    }
    for status, body in bodies.items():
        respond(lambda environ, start, s=status, b=body: start(s, []) and b)
        assert body.closed == 1
    late = Body([b"a"], ValueError("late"))
    with pytest.raises(ValueError, match="late"):
        respond(lambda environ, start: start("200 OK", []) and late)
    assert late.closed == 1


def test_things_are_closed_in_order_and_all_of_them(caplog: pytest.LogCaptureFixture) -> None:
    closed: list[str] = []

    class Thing:
        def __init__(self, name: str) -> None:
            self.name = name

        def close(self) -> None:
            closed.append(self.name)
            if self.name == "wrong":
                closing[0](Thing("late"))
                raise ValueError("cannot close")

    closing: list[Any] = []

    def app(environ: Environ, start_response: Start) -> Any:
        closing.append(environ["wsgi_lite.closing"])
        for name in ("first", "wrong", "last"):
            thing = Thing(name)
            assert environ["wsgi_lite.closing"](thing) is thing
        start_response("200 OK", [])
        body = Body([b"content"])
        body.close = lambda: closed.append("body")  # type: ignore[method-assign]
        return body

    assert respond(app).body == b"content"
    assert closed == ["body", "last", "wrong", "late", "first"]
    assert "closing failed" in caplog.text
    closing[0](Thing("after all"))
    assert closed[-1] == "after all"


# -- files -----------------------------------------------------------------------------------


def serve_file(open_file: Callable[[], Any], *, length: int | None = None, read: int = 0) -> Any:
    @lite
    def app(environ: Environ) -> Any:
        file = open_file()
        file.read(read)
        headers = [] if length is None else [("Content-Length", str(length))]
        return "200 OK", headers, environ["wsgi.file_wrapper"](file)

    return app


PATHSEND: Extensions = {"http.response.pathsend": {}}


def test_a_server_that_can_sends_a_file_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "film"
    path.write_bytes(b"content")
    monkeypatch.chdir(tmp_path)
    app = serve_file(partial(Path("film").open, "rb"))
    start, send = respond(app, extensions=PATHSEND).messages
    assert (b"content-length", b"7") in start["headers"]
    assert send == {"type": "http.response.pathsend", "path": str(path)}
    head = respond(app, "HEAD", extensions=PATHSEND)
    assert (head["content-length"], head.body) == ("7", b"")
    assert respond(app).body == b"content"


def unlinked(path: Path) -> Any:
    file = path.open("rb")
    path.unlink()
    return file


# How to open it, and what of it is left.
FILES: dict[str, tuple[Callable[[Path], Any], int, int | None, bytes, str | None]] = {
    "no file": (lambda path: io.BytesIO(b"content"), 0, None, b"content", None),
    "not from its beginning": (lambda path: path.open("rb"), 3, None, b"tent", "4"),
    "announced shorter": (lambda path: path.open("rb"), 0, 3, b"con", "3"),
    "unbuffered": (lambda path: path.open("rb", 0), 0, None, b"content", None),
    "without a path": (unlinked, 0, None, b"content", "7"),
    "by descriptor": (lambda path: os.fdopen(os.open(path, 0), "rb"), 0, None, b"content", "7"),
    "decompressed": (lambda path: gzip.GzipFile(path), 0, None, b"unpacked", None),
}


@pytest.mark.parametrize("case", FILES)
def test_other_files_are_read(case: str, tmp_path: Path) -> None:
    open_file, read, length, content, announced = FILES[case]
    path = tmp_path / "film"
    path.write_bytes(gzip.compress(b"unpacked") if case == "decompressed" else b"content")
    opened: list[Any] = []

    def opening() -> Any:
        opened.append(open_file(path))
        return opened[0]

    answer = respond(serve_file(opening, length=length, read=read), extensions=PATHSEND)
    assert answer.body == content
    assert ("content-length" in answer) == (announced is not None)
    assert announced is None or answer["content-length"] == announced
    assert opened[0].closed


def test_a_closed_file_is_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "film").write_bytes(b"content")

    @lite
    def app(environ: Environ) -> Any:
        with (tmp_path / "film").open("rb") as file:
            pass
        return "200 OK", [], environ["wsgi.file_wrapper"](file)

    assert respond(app).status == 500


# -- capabilities ----------------------------------------------------------------------------

HINTS: Extensions = {"http.response.early_hint": {}}
TRAILERS: Extensions = {"http.response.trailers": {}}
PUSH: Extensions = {"http.response.push": {}}
EVERYTHING = HINTS | TRAILERS | PUSH
ASKING = [("te", "gzip, trailers")]
LINK = "</a.css>; rel=preload; as=style"


def results(extensions: Any, function: Callable[[Environ], Any], **more: Any) -> tuple[Any, Answer]:
    """Return what a function returns in an application, and the response."""
    found: list[Any] = []

    @lite
    def app(environ: Environ) -> Any:
        found.append(function(environ))
        return "200 OK", [], [b"content"]

    more.setdefault("headers", ASKING)
    return found, respond(app, extensions=extensions, **more)


def test_features() -> None:
    seen: list[Features] = []

    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        seen.append(features(environ))
        start_response("200 OK", [])
        yield b"content"
        seen.append(features(environ))

    respond(app, headers=ASKING, extensions=EVERYTHING, http_version="2")
    respond(app)
    able = {"early_hints": True, "trailers": True, "push": True}
    assert seen == [
        Features("HTTP/2", disconnected=True, **able),
        Features("HTTP/2", disconnected=True, push=True),
        Features("HTTP/1.1", disconnected=True),
        Features("HTTP/1.1", disconnected=True),
    ]


def test_early_hints() -> None:
    links: list[Any] = [LINK, ("X-Other", "1"), ("link", "<b>")]
    (sent,), answer = results(HINTS, lambda environ: early_hints(environ, links))
    assert sent is True
    hint, start, _ = answer.messages
    wanted = [LINK.encode(), b"<b>"]
    assert hint == {"type": "http.response.early_hint", "links": wanted}
    assert start["type"] == "http.response.start"


@pytest.mark.parametrize(
    ("extensions", "links", "version"),
    [({}, [LINK], "2"), (HINTS, [("X-Other", "1")], "2"), (HINTS, [LINK], "1.0")],
)
def test_early_hints_that_cannot_be_sent(extensions: Any, links: Any, version: str) -> None:
    (sent,), answer = results(
        extensions, lambda environ: early_hints(environ, links), http_version=version
    )
    assert sent is False
    assert len(answer.messages) == 2


def test_push() -> None:
    (pushed,), answer = results(
        EVERYTHING, lambda environ: push(environ, "/a.css?v=1", [("Accept", "text/css")])
    )
    assert pushed is PushResult.PUSHED
    assert answer.messages[0] == {
        "type": "http.response.push",
        "path": "/a.css?v=1",
        "headers": [(b"accept", b"text/css")],
    }


def test_push_becomes_a_hint_where_it_must() -> None:
    (pushed,), answer = results(HINTS, lambda environ: push(environ, "/a.css"))
    assert pushed is PushResult.HINTED
    assert answer.messages[0]["links"] == [LINK.encode()]
    assert results({}, lambda environ: push(environ, "/a.css"))[0] == [PushResult.IGNORED]


def test_associated_content_pushes() -> None:
    kept: list[Any] = []

    def associate(environ: Environ) -> Any:
        kept.append(environ["wsgi.associated_content"])
        return kept[0]("/a.css", 16)

    (pushed,), answer = results(PUSH, associate)
    assert pushed is True
    assert answer.messages[0]["type"] == "http.response.push"
    assert kept[0]("/b.css") is False  # the response is over


@pytest.mark.parametrize("single", [True, False])
def test_trailers_announced_in_time(single: bool) -> None:
    @lite
    def app(environ: Environ) -> Any:
        assert send_trailers(environ, [("X-Sum", "1")])

        def body() -> Iterator[bytes]:
            yield b"content"
            assert send_trailers(environ, [("X-More", "2")])

        return "200 OK", [], [b"content"] if single else body()

    answer = respond(app, headers=ASKING, extensions=TRAILERS)
    assert answer.messages[0]["trailers"] is True
    assert answer.messages[-2]["more_body"] is False
    more = [] if single else [(b"x-more", b"2")]
    assert answer.messages[-1] == {
        "type": "http.response.trailers",
        "headers": [(b"x-sum", b"1"), *more],
    }
    assert answer.body == b"content"


def summing(environ: Environ, start_response: Start) -> Iterator[bytes]:
    start_response("200 OK", [("Trailer", "X-Sum")])
    yield b"content"
    if environ["QUERY_STRING"] != "none":
        assert send_trailers(environ, [("X-Sum", "1")])


def test_trailers_that_the_head_names_may_come_late() -> None:
    answer = respond(summing, headers=ASKING, extensions=TRAILERS)
    assert answer.messages[-1]["headers"] == [(b"x-sum", b"1")]
    with pytest.raises(LocalProtocolError, match="none came"):
        respond(summing, path="/?none", headers=ASKING, extensions=TRAILERS)


@pytest.mark.parametrize(("extensions", "asking"), [({}, ASKING), (TRAILERS, [])])
def test_trailers_that_cannot_be_sent(extensions: Any, asking: Any) -> None:
    function = lambda environ: send_trailers(environ, [("X-Sum", "1")])  # noqa: E731
    (sent,), answer = results(extensions, function, headers=asking)
    assert sent is False
    assert "trailers" not in answer.messages[0]
    for method in ("HEAD", "GET"):
        found, _ = results(TRAILERS, function, method=method)
        assert found == [method == "GET"]


def test_trailers_come_too_late_for_a_head_that_is_out() -> None:
    late: list[Any] = []

    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"content"
        late.append(features(environ).trailers)
        late.append(send_trailers(environ, [("X-Sum", "1")]))

    assert "trailers" not in respond(app, headers=ASKING, extensions=TRAILERS).messages[0]
    assert late == [False, False]


def test_an_error_page_has_no_trailers() -> None:
    @lite
    def app(environ: Environ) -> Any:
        send_trailers(environ, [("X-Sum", "1")])
        raise ValueError

    answer = respond(app, headers=ASKING, extensions=TRAILERS)
    assert answer.status == 500
    assert "trailers" not in answer.messages[0]


@pytest.mark.parametrize(
    "function",
    [
        lambda environ: early_hints(environ, [("X", "a\nb")]),
        lambda environ: early_hints(environ, [("Content-Length", "1")]),
        lambda environ: send_trailers(environ, [("Content-Type", "a/b")]),
        lambda environ: push(environ, "/a", [("Host", "b")]),
    ],
)
def test_fields_that_do_not_belong_there(function: Callable[[Environ], Any]) -> None:
    found: list[Any] = []

    def trying(environ: Environ) -> Any:
        with pytest.raises(LocalProtocolError):
            function(environ)
        found.append(True)

    results(EVERYTHING, trying)
    assert found == [True]


def test_what_asgi_has_no_words_for() -> None:
    found, _ = results(EVERYTHING, lambda environ: never_index(environ, "X-Secret"))
    assert found == [False]


def test_over_is_over() -> None:
    kept: list[Environ] = []
    results(EVERYTHING, kept.append)
    (environ,) = kept
    assert early_hints(environ, [LINK]) is False
    assert send_trailers(environ, [("X", "y")]) is False
    assert push(environ, "/a.css") is PushResult.IGNORED
    assert disconnected(environ) is False
    assert features(environ) == Features("HTTP/1.1")


@in_loop
async def test_disconnected_tells_when_the_client_has_gone() -> None:
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    seen: list[bool] = []

    @lite
    def app(environ: Environ) -> Any:
        seen.append(disconnected(environ))
        while not disconnected(environ):
            pass
        loop.call_soon_threadsafe(gone.set)
        return "200 OK", [], [b"content"]

    visit = Visit(app, http_scope("POST"))
    await visit.until(lambda: visit.asked)
    visit.come(request(b"unread"))
    visit.leave()
    await gone.wait()
    await visit.over()
    assert seen == [False]
    assert visit.sent == []


def test_no_request_leaves_a_cycle_behind() -> None:
    """What a request held is free when it is over, not when the collector comes."""

    class Held:
        pass

    kept: list[Any] = []

    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        environ["test.held"] = held = Held()
        kept.append(weakref.ref(held))
        start_response("200 OK", [])
        yield b"a"
        yield b"b"

    gc.collect()
    gc.disable()
    try:
        respond(app, extensions=EVERYTHING, headers=ASKING)
        assert kept[0]() is None
    finally:
        gc.enable()


def test_logs_are_those_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "gserver.error"):
        respond(lambda environ, start: start("200 OK", [("Content-Length", "1")]) and [b"ab", b"c"])
    assert "more than its Content-Length" in caplog.text
