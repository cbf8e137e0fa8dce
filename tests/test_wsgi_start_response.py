"""start_response: when it may be called, with what, and what becomes of it (PEP 3333)."""

from __future__ import annotations

import email.utils
import gc
import sys
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.validate import validator

import pytest

from conftest import StartPeer
from exchange import Answer, Headers, request
from gserver.api import LocalProtocolError

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class Boom(Exception):
    """An error of the application."""


def is_error_page(answer: Answer) -> bool:
    """Tell whether it is the server's 500, with nothing of the application in it."""
    return (
        answer.status == 500
        and answer.complete
        and answer["Content-Type"].startswith("text/html")
        and b"500 Internal Server Error" in answer.body
        and b"Traceback" not in answer.body
    )


# -- the calls -----------------------------------------------------------------------------------


def test_two_positional_arguments_are_enough(peer: StartPeer) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("201 Made here", [("X-A", "1"), ("x-a", "2"), ("X-Empty", "")])
        return [b"made"]

    running = peer(app)
    answer = request(running)
    assert (answer.status, answer.body) == (201, b"made")
    assert answer.reason == running.reason("Made here")
    assert answer.all("X-A") == ["1", "2"]
    assert answer["X-Empty"] == ""


def test_third_argument_may_be_none(peer: StartPeer) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [], None)
        return [b"fine"]

    assert request(peer(app)).body == b"fine"


def test_a_callable_comes_back(peer: StartPeer) -> None:
    results: list[Any] = []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        results.append(start_response("200 OK", []))
        return [b"fine"]

    assert request(peer(app)).body == b"fine"
    assert callable(results[0])


def test_the_list_of_headers_is_copied(peer: StartPeer) -> None:
    headers = [("X-A", "1")]

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", headers)
        headers.append(("X-B", "\n"))
        headers[0] = ("X-A", "changed")
        return [b"fine"]

    running = peer(app)
    assert request(running)["X-A"] == "1"
    # Nor did the server put anything of its own into it.
    assert headers == [("X-A", "changed"), ("X-B", "\n")]


# -- what is refused, inside start_response ------------------------------------------------------

BAD_STATUSES = {
    "bytes": b"200 OK",
    "number": 200,
    "none": None,
    "tuple": (200, "OK"),
    "list": ["200 OK"],
    "empty": "",
    "no reason": "200",
    "no code": "OK",
    "two digits": "20 OK",
    "four digits": "2000 OK",
    "hyphen": "200-OK",
    "tab for space": "200\tOK",
    "leading space": " 200 OK",
    "newline at the end": "200 OK\n",
    "header injection": "200 OK\r\nX-Evil: 1",
    "bare CR": "200 O\rK",
    "NUL": "200 O\x00K",
    "DEL": "200 O\x7fK",
    "escape": "200 \x1b[31mOK",
    "not latin-1": "200 \u20ac",
    "other digits": "\u0662\u0660\u0660 OK",
    "informational": "100 Continue",
    "switching": "101 Switching Protocols",
    "zero": "099 Low",
}

BAD_HEADERS: dict[str, Any] = {
    "no list": (("X-A", "1"),),
    "dict": {"X-A": "1"},
    "none": None,
    "iterator": iter([("X-A", "1")]),
    "list for tuple": [["X-A", "1"]],
    "str for tuple": ["ab"],
    "three items": [("X-A", "1", "2")],
    "one item": [("X-A",)],
    "bytes name": [(b"X-A", "1")],
    "bytes value": [("X-A", b"1")],
    "number": [("X-A", 1)],
    "no value": [("X-A", None)],
    "unhashable value": [("X-A", ["1"])],
    "empty name": [("", "1")],
    "space in name": [("X A", "1")],
    "space behind name": [("X-A ", "1")],
    "colon in name": [("X-A:", "1")],
    "newline in name": [("X-A\n", "1")],
    "CRLF in name": [("X-A: 1\r\nX-Evil", "1")],
    "non-ASCII name": [("X-\xc4", "1")],
    "LF in value": [("X-A", "1\n2")],
    "LF at the end": [("X-A", "1\n")],
    "CR in value": [("X-A", "1\r2")],
    "obs-fold": [("X-A", "1\r\n 2")],
    "header injection": [("X-A", "1\r\nX-Evil: 2")],
    "response splitting": [("X-A", "\r\n\r\n<script>")],
    "NUL": [("X-A", "1\x002")],
    "bell": [("X-A", "\a")],
    "tab": [("X-A", "1\t2")],
    "DEL": [("X-A", "\x7f")],
    "not latin-1": [("X-A", "\u20ac")],
    "surrogate": [("X-A", "\udc80")],
    "second of two": [("X-A", "1"), ("X-B", "\n")],
    "length no number": [("Content-Length", "ten")],
    "length negative": [("Content-Length", "-1")],
    "length signed": [("Content-Length", "+1")],
    "length empty": [("Content-Length", "")],
    "length other digits": [("Content-Length", "\xb2")],
    "length beyond 8 bytes": [("Content-Length", "9" * 19)],
    "length list": [("Content-Length", "1, 1")],
    "length hexadecimal": [("Content-Length", "0x1")],
    "length twice": [("Content-Length", "1"), ("content-length", "1")],
    # RFC 9110 7.6.1 and PEP 3333: these are the server's.
    "hop-by-hop Connection": [("Connection", "close")],
    "hop-by-hop in lower case": [("connection", "keep-alive")],
    "hop-by-hop Keep-Alive": [("Keep-Alive", "timeout=5")],
    "hop-by-hop Proxy-Authenticate": [("Proxy-Authenticate", "Basic")],
    "hop-by-hop Proxy-Authorization": [("Proxy-Authorization", "Basic x")],
    "hop-by-hop Proxy-Connection": [("Proxy-Connection", "close")],
    "hop-by-hop TE": [("TE", "trailers")],
    "hop-by-hop Transfer-Encoding": [("Transfer-Encoding", "chunked")],
    "hop-by-hop Upgrade": [("Upgrade", "h2c")],
}

CALLS: dict[str, tuple[Any, Any]] = {
    **{f"status: {name}": (status, []) for name, status in BAD_STATUSES.items()},
    **{f"headers: {name}": ("200 OK", headers) for name, headers in BAD_HEADERS.items()},
}


@pytest.mark.parametrize(("status", "headers"), CALLS.values(), ids=CALLS)
def test_what_http_cannot_carry_is_refused(peer: StartPeer, status: Any, headers: Any) -> None:
    """The application sees the exception; letting it pass makes a 500."""
    raised: list[Exception] = []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        try:
            start_response(status, headers)
        except Exception as exc:
            raised.append(exc)
            raise
        return [b"sent"]

    answer = request(peer(app))
    assert [type(exc) for exc in raised] == [LocalProtocolError]
    assert str(raised[0])
    assert is_error_page(answer)
    assert "X-Evil" not in answer


GOOD_CALLS: dict[str, tuple[str, Headers]] = {
    "empty reason": ("200 ", []),
    "no registered code": ("299 Strange", []),
    "high code": ("999 High", []),
    "latin-1 reason": ("404 Nicht gefunden \xe4\xff", []),
    "latin-1 value": ("200 OK", [("X-A", "\x80\xe4\xff")]),
    "all of a token": ("200 OK", [("!#$%&'*+-.^_`|~09azAZ", "1")]),
    "spaces and quotes": ("200 OK", [("X-A", 'a b; c="d, e"')]),
    "long value": ("200 OK", [("X-A", "x" * 5000)]),
    "many": ("200 OK", [(f"X-{n}", str(n)) for n in range(200)]),
}


@pytest.mark.parametrize(("status", "headers"), GOOD_CALLS.values(), ids=GOOD_CALLS)
@pytest.mark.parametrize("times", [1, 2], ids=["first", "remembered"])
def test_what_http_can_carry_arrives(
    peer: StartPeer, status: str, headers: list[tuple[str, str]], times: int
) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response(status, headers)
        return [b"sent"]

    running = peer(app)
    for _ in range(times):
        answer = request(running)
        assert f"{answer.status} {answer.reason}" == status[:4] + running.reason(status[4:])
        assert answer.headers[: len(headers)] == running.fields(headers)
        assert answer.body == b"sent"


def test_subclasses_of_str_are_taken(peer: StartPeer) -> None:
    """Markup-safe strings of template engines, and enums of names."""

    class Text(str):
        __slots__ = ()

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response(Text("200 OK"), [(Text("X-A"), Text("1"))])
        return [b"sent"]

    assert request(peer(app))["X-A"] == "1"


def test_refused_headers_use_up_the_one_call(peer: StartPeer) -> None:
    """If start_response raised, a second call needs exc_info as well."""
    raised: list[Exception] = []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        for headers in ([("X-A", "\n")], []):
            try:
                start_response("200 OK", headers)
            except LocalProtocolError as exc:
                raised.append(exc)
        return [b"sent"]

    assert is_error_page(request(peer(app)))
    assert len(raised) == 2
    assert "second time" in str(raised[1])


def test_refused_headers_can_be_replaced_with_exc_info(peer: StartPeer) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        try:
            start_response("200 OK", [("Content-Length", "100"), ("X-A", "\n")])
        except LocalProtocolError:
            start_response("500 Mine", [("X-B", "1")], sys.exc_info())
        return [b"replaced"]

    running = peer(app)
    answer = request(running)
    assert (answer.status, answer.body) == (500, b"replaced")
    assert answer.reason == running.reason("Mine")
    assert answer["X-B"] == "1"
    assert "X-A" not in answer
    assert answer.complete


def test_refused_headers_are_not_sent_when_the_refusal_is_ignored(peer: StartPeer) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        try:
            start_response("200 OK", [("X-A", "1"), ("X-B", "\n")])
        except LocalProtocolError:
            pass
        return [b"sent"]

    assert is_error_page(request(peer(app)))


def test_a_refused_replacement_does_not_bring_the_first_headers_back(peer: StartPeer) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [("X-A", "1"), ("Content-Length", "2")])
        try:
            raise Boom
        except Boom:
            try:
                start_response("500 Mine", [("X-B", "\n")], sys.exc_info())
            except LocalProtocolError:
                pass
        return [b"sent"]

    assert is_error_page(request(peer(app)))


# -- what the server adds ------------------------------------------------------------------------


def test_date_and_server_are_added(peer: StartPeer) -> None:
    """RFC 9110 6.6.1: an origin server with a clock sends Date."""

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        return [b"fine"]

    answer = request(peer(app))
    date = email.utils.parsedate_to_datetime(answer["Date"])
    assert abs(date.timestamp() - time.time()) < 10
    assert answer["Date"].endswith(" GMT")
    assert answer["Server"] == "gserver"


@pytest.mark.parametrize("blocks", [[b"one"], [b"one", b"two"], []], ids=["one", "two", "none"])
@pytest.mark.parametrize("name", ["Date", "date", "Server", "SERVER"])
def test_date_and_server_of_the_application_stand(
    peer: StartPeer, name: str, blocks: list[bytes]
) -> None:
    """Names are compared without regard to case, and nothing is sent twice."""

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [(name, "mine")])
        return blocks

    answer = request(peer(app))
    assert answer[name] == "mine"
    assert len(answer.all("Date")) == len(answer.all("Server")) == 1


def test_no_server_field_where_the_operator_wants_none(peer: StartPeer) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        return [b"one"] if environ["PATH_INFO"] == "/1" else [b"one", b"two"]

    running = peer(app, server_header="")
    for target in ("/1", "/2"):
        answer = request(running, target)
        assert "Server" not in answer
        assert "Date" in answer


# -- when ----------------------------------------------------------------------------------------


def late_empty_blocks(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    yield b""
    yield b""
    start_response("200 Late", [("X-A", "1")])
    yield b"content"


def late_at_the_first_block(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 Late", [("X-A", "1")])
    yield b"content"


def late_before_more_empty_blocks(
    environ: Environ, start_response: StartResponse
) -> Iterator[bytes]:
    yield b""
    start_response("200 Late", [("X-A", "1")])
    yield b""
    yield b"content"
    yield b""


class LateWithLength:
    """Its length is known, and it calls start_response only when it is iterated."""

    def __init__(self, environ: Environ, start_response: StartResponse) -> None:
        self.start_response = start_response

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[bytes]:
        self.start_response("200 Late", [("X-A", "1")])
        yield b"content"


@pytest.mark.parametrize(
    "app",
    [
        late_empty_blocks,
        late_at_the_first_block,
        late_before_more_empty_blocks,
        LateWithLength,
    ],
)
def test_it_may_be_called_while_the_body_is_iterated(peer: StartPeer, app: Any) -> None:
    running = peer(app)
    answer = request(running)
    assert (answer.status, answer["X-A"]) == (200, "1")
    assert answer.reason == running.reason("Late")
    assert answer.body == b"content"
    assert answer.complete


def test_wsgiref_validate_allows_a_late_call(peer: StartPeer) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b""
        yield b"content"

    assert request(peer(validator(app))).body == b"content"


def never_list(environ: Environ, start_response: StartResponse) -> list[bytes]:
    return []


def never_block(environ: Environ, start_response: StartResponse) -> list[bytes]:
    return [b"content"]


def never_empty_blocks(environ: Environ, start_response: StartResponse) -> list[bytes]:
    return [b"", b""]


def never_generator(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    yield from ()


def never_before_content(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    yield b"content"
    start_response("200 OK", [])


@pytest.mark.parametrize(
    "app", [never_list, never_block, never_empty_blocks, never_generator, never_before_content]
)
def test_a_response_without_it_is_a_500(peer: StartPeer, app: Any) -> None:
    """Not a hang, not an empty 200."""
    assert is_error_page(request(peer(app)))


def test_a_second_call_without_exc_info_is_fatal(peer: StartPeer) -> None:
    """Even before any content."""
    raised: list[Exception] = []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [("X-A", "1")])
        try:
            start_response("201 Created", [])
        except Exception as exc:
            raised.append(exc)
            raise
        return [b"content"]

    answer = request(peer(app))
    assert is_error_page(answer)
    assert "X-A" not in answer
    assert [type(exc) for exc in raised] == [LocalProtocolError]


def test_a_second_call_without_exc_info_breaks_a_response_that_has_begun(peer: StartPeer) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"begun"
        start_response("200 OK", [])
        yield b"more"

    answer = request(peer(app))
    assert (answer.status, answer.body) == (200, b"begun")
    assert not answer.complete


# -- exc_info ------------------------------------------------------------------------------------


def replace_at_once(environ: Environ, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("X-A", "1"), ("Content-Length", "100")])
    try:
        raise Boom
    except Boom:
        start_response("502 Replaced", [("X-B", "2")], sys.exc_info())
    return [b"sorry"]


def replace_after_empty_blocks(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    """Headers are held back until the first block that is not empty, so this is in time."""
    start_response("200 OK", [("X-A", "1"), ("Content-Length", "100")])
    yield b""
    yield b""
    try:
        raise Boom
    except Boom:
        start_response("502 Replaced", [("X-B", "2")], sys.exc_info())
    yield b"sorry"


def replace_after_empty_write(environ: Environ, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("X-A", "1")])(b"")
    try:
        raise Boom
    except Boom:
        start_response("502 Replaced", [("X-B", "2")], sys.exc_info())(b"sorry")
    return []


def replace_twice(environ: Environ, start_response: StartResponse) -> list[bytes]:
    try:
        raise Boom
    except Boom:
        start_response("500 First", [("X-A", "1")], sys.exc_info())
        start_response("502 Replaced", [("X-B", "2")], sys.exc_info())
    return [b"sorry"]


@pytest.mark.parametrize(
    "app",
    [
        replace_at_once,
        replace_after_empty_blocks,
        replace_after_empty_write,
        replace_twice,
    ],
)
def test_exc_info_replaces_status_and_headers_that_were_not_sent(peer: StartPeer, app: Any) -> None:
    running = peer(app)
    answer = request(running)
    assert (answer.status, answer.body) == (502, b"sorry")
    assert answer.reason == running.reason("Replaced")
    assert answer["X-B"] == "2"
    assert "X-A" not in answer
    assert answer.complete


def reraise_after_block(
    environ: Environ, start_response: StartResponse, raised: list[Exception]
) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b"begun"
    try:
        raise_boom()
    except Boom:
        try:
            start_response("500 Late", [], sys.exc_info())
        except Boom as exc:
            raised.append(exc)
            raise
    yield b"not reached"


def reraise_after_write(
    environ: Environ, start_response: StartResponse, raised: list[Exception]
) -> list[bytes]:
    start_response("200 OK", [])(b"begun")
    try:
        raise_boom()
    except Boom:
        try:
            start_response("500 Late", [], sys.exc_info())
        except Boom as exc:
            raised.append(exc)
            raise
    return [b"not reached"]


def raise_boom() -> None:
    raise Boom("deep")


@pytest.mark.parametrize("app", [reraise_after_block, reraise_after_write])
def test_exc_info_is_raised_again_once_headers_were_sent(peer: StartPeer, app: Any) -> None:
    """With its own traceback, and what was sent is visibly broken."""
    raised: list[Exception] = []
    answer = request(peer(lambda e, s: app(e, s, raised)))
    assert (answer.status, answer.body) == (200, b"begun")
    assert not answer.complete
    (exc,) = raised
    assert str(exc) == "deep"
    assert "raise_boom" in [frame.name for frame in traceback.extract_tb(exc.__traceback__)]


@pytest.mark.parametrize("before", [True, False], ids=["before headers", "after headers"])
def test_no_reference_to_exc_info_is_kept(peer: StartPeer, before: bool) -> None:
    """It would keep the frames of the traceback alive, and all that is in them."""
    references: list[weakref.ref[Boom]] = []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        if environ["PATH_INFO"] == "/second":
            gc.collect()
            alive = [reference for reference in references if reference() is not None]
            start_response("200 OK", [])
            return [str(len(alive)).encode()]
        write = start_response("200 OK", [])
        if not before:
            write(b"begun")
        try:
            raise Boom
        except Boom as exc:
            references.append(weakref.ref(exc))
            try:
                start_response("500 Replaced", [], sys.exc_info())
            except Boom:
                pass
        return [b"end"]

    running = peer(app)
    assert request(running).body == (b"end" if before else b"begunend")
    assert request(running, "/second").body == b"0"
    assert len(references) == 1
