"""Errors of the application, clients that leave, and that everything is closed in every case."""

from __future__ import annotations

import errno
import logging
import queue
import sys
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event
import pytest

from conftest import Serve, StartPeer
from exchange import Answer, Exchange, Peer, request
from gserver.api import (
    BodyTimeout,
    Disconnected,
    LocalProtocolError,
    NotSupported,
    RemoteProtocolError,
    RequestTimeout,
    RequestTooLarge,
)

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Any]


class Boom(Exception):
    """An error of the application."""


class WithoutText(Exception):
    """An error whose text cannot be made."""

    def __str__(self) -> str:
        raise Boom


def wait_for_ever() -> None:
    gevent.event.Event().wait()


def error_records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


# -- before the head -----------------------------------------------------------------------------


def raising(exc: BaseException, step: str) -> Application:
    """Return an application that raises `exc` at some step before its head is sent."""

    def app(environ: Environ, start_response: StartResponse) -> Any:
        if environ["PATH_INFO"] == "/fine":
            start_response("200 OK", [])
            return [b"fine"]
        if step == "at once":
            raise exc
        start_response("200 OK", [("X-A", "1"), ("Content-Length", "5")])
        if step == "after start_response":
            raise exc
        if step == "first block":
            return blocks(exc)
        if step == "iter()":
            return Body([], lambda: blocks(exc), iter_error=exc)
        return blocks(exc, b"", b"")

    return app


def blocks(exc: BaseException, *before: bytes) -> Iterator[bytes]:
    yield from before
    raise exc


class Body:
    """An iterable that keeps count of being closed."""

    def __init__(
        self,
        events: list[str],
        blocks: Callable[[], Iterator[bytes]],
        iter_error: BaseException | None = None,
        close_error: BaseException | None = None,
    ) -> None:
        self._events = events
        self._blocks = blocks
        self._iter_error = iter_error
        self._close_error = close_error

    def __iter__(self) -> Iterator[bytes]:
        if self._iter_error is not None:
            raise self._iter_error
        return self._blocks()

    def close(self) -> None:
        self._events.append("body")
        if self._close_error is not None:
            raise self._close_error


STEPS = ["at once", "after start_response", "first block", "after empty blocks", "iter()"]
ERRORS: dict[str, BaseException] = {
    "Exception": Boom("secret"),
    "without text": WithoutText("secret"),
    "SystemExit": SystemExit("secret"),
    "KeyboardInterrupt": KeyboardInterrupt("secret"),
    "gevent.Timeout": gevent.Timeout(1000),
    "BaseException": BaseException("secret"),
    "of ours": NotSupported("secret"),
    "against the rules": LocalProtocolError("secret"),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("exc", ERRORS.values(), ids=ERRORS)
def test_an_error_before_the_head_is_a_500(
    serve: Serve, exc: BaseException, step: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A plain page without internals; the traceback is in the log; the connection goes on."""
    with serve(raising(exc, step)).client() as client:
        response = client.get("/path")
        assert (response.status, response.reason) == (500, "Internal Server Error")
        assert response["Content-Type"] == "text/html; charset=utf-8"
        assert "X-A" not in response
        assert "<title>500 Internal Server Error</title>" in response.text
        for internal in ("secret", "Traceback", "Boom", ".py"):
            assert internal not in response.text
        (record,) = error_records(caplog)
        assert record.levelno == logging.ERROR
        assert "GET /path" in record.getMessage()
        assert record.exc_info
        assert record.exc_info[1] is exc
        assert client.get("/fine").body == b"fine"


def test_the_page_of_a_head_request_has_no_content(serve: Serve) -> None:
    with serve(raising(Boom(), "at once")).client() as client:
        for _ in range(2):
            assert client.get(method="HEAD").status == 500


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_error_does_not_break_a_connection_with_unread_content(
    serve: Serve, method: str
) -> None:
    with serve(raising(Boom(), "at once")).client() as client:
        assert client.post("/", b"GET / HTTP/1.1\r\n\r\n", method=method).status == 500
        assert client.get("/fine").body == b"fine"


@pytest.mark.parametrize("change", ["clear", "pop"])
def test_an_environ_that_the_application_spoilt_does_not_matter(
    peer: StartPeer, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is the application's to change, also before it raises."""
    events: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Any:
        environ["wsgi_lite.closing"](Closer(events, "registered"))
        start_response("200 OK", [])
        if change == "clear":
            environ.clear()
        else:
            del environ["REQUEST_METHOD"], environ["RAW_URI"]
        return Body(events, lambda: blocks(Boom()))

    running = peer(app)
    answer = request(running, "/path")
    running.stop()
    assert answer.status == 500
    assert events == ["body", "registered"]
    assert [record.exc_info and record.exc_info[0] for record in error_records(caplog)] == [Boom]


# -- after the head ------------------------------------------------------------------------------

BEGUN: dict[str, list[tuple[str, str]]] = {
    "without length": [],
    "with length": [("Content-Length", "100")],
}


@pytest.mark.parametrize("method", ["yield", "write"])
@pytest.mark.parametrize("headers", BEGUN.values(), ids=BEGUN)
@pytest.mark.parametrize("exc", ERRORS.values(), ids=ERRORS)
def test_an_error_after_the_head_visibly_breaks_the_response(
    peer: StartPeer,
    exc: BaseException,
    headers: list[tuple[str, str]],
    method: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Any:
        write = start_response("200 OK", headers)
        if method == "write":
            write(b"begun")
            raise exc
        return blocks(exc, b"begun")

    running = peer(app)
    answer = request(running)
    assert (answer.status, answer.body, answer.complete) == (200, b"begun", False)
    running.stop()
    (record,) = error_records(caplog)
    assert record.exc_info
    assert record.exc_info[1] is exc


def test_an_error_after_the_head_is_visible_to_an_http10_client(serve: Serve) -> None:
    """Only the end of the connection ends such content: it must not be a clean one."""

    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [])
        return blocks(Boom(), b"begun")

    with serve(app).client() as client, pytest.raises(ConnectionResetError):
        client.get(version="1.0")


def test_an_error_when_all_was_sent_does_not_harm_the_response(serve: Serve) -> None:
    """The client has it; what is wrong is for the log."""

    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [("Content-Length", "5")])
        return blocks(Boom(), b"whole")

    with serve(app).client() as client:
        assert client.get().body == b"whole"


# -- errors of the client that surface in the application ----------------------------------------

REMOTE: dict[str, tuple[RemoteProtocolError, int]] = {
    "malformed": (RemoteProtocolError("what is wrong"), 400),
    "too large": (RequestTooLarge("what is wrong"), 413),
    "too slow": (BodyTimeout("what is wrong"), 408),
    "other": (RemoteProtocolError("what is wrong", 422), 422),
}


@pytest.mark.parametrize(("exc", "status"), REMOTE.values(), ids=REMOTE)
def test_an_error_of_the_client_is_answered_with_its_status(
    peer: StartPeer, exc: RemoteProtocolError, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The application let it pass: a line in the log, no traceback."""

    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [])
        raise exc

    with caplog.at_level(logging.INFO):
        answer = request(peer(app))
    assert answer.status == status
    assert "what is wrong" in answer.text
    (record,) = caplog.records
    assert (record.levelno, record.exc_info) == (logging.INFO, None)
    assert f"{status} what is wrong" in record.getMessage()


def test_what_an_error_says_is_no_part_of_the_page(peer: StartPeer) -> None:
    """Applications tell what the client sent: on the page that must not become a script."""

    def app(environ: Environ, start_response: StartResponse) -> Any:
        raise RemoteProtocolError("no page <script>alert(1)</script>", 404)

    answer = request(peer(app))
    assert "no page &lt;script&gt;alert(1)&lt;/script&gt;" in answer.text


def test_an_error_of_the_client_breaks_a_response_that_has_begun(peer: StartPeer) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [])
        return blocks(RemoteProtocolError("late"), b"begun")

    answer = request(peer(app))
    assert (answer.status, answer.body, answer.complete) == (200, b"begun", False)


# -- clients that leave --------------------------------------------------------------------------


def endless(raised: list[BaseException]) -> Iterator[bytes]:
    try:
        while True:
            yield b"x" * 10_000
    except BaseException as exc:
        raised.append(exc)
        raise


def write_for_ever(write: Callable[[bytes], None], raised: list[BaseException]) -> None:
    try:
        while True:
            write(b"x" * 10_000)
    except BaseException as exc:
        raised.append(exc)
        raise


@pytest.mark.parametrize("method", ["yield", "write"])
@pytest.mark.parametrize("headers", [[], [("Content-Length", "999999999")]], ids=["", "length"])
def test_a_client_that_leaves_is_no_error(
    peer: StartPeer,
    method: str,
    headers: list[tuple[str, str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """write() raises, a generator is closed, and nothing is logged as an error."""
    raised: list[BaseException] = []
    events: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Any:
        environ["wsgi_lite.closing"](Closer(events, "registered"))
        write = start_response("200 OK", headers)
        if method == "write":
            write_for_ever(write, raised)
        return endless(raised)

    running = peer(app)
    exchange = running.open()
    exchange.head()
    exchange.vanish()
    running.stop()
    assert [type(exc) for exc in raised] == [Disconnected if method == "write" else GeneratorExit]
    assert events == ["registered"]
    assert error_records(caplog) == []


def test_a_client_that_leaves_during_a_read_is_no_error(
    peer: StartPeer, caplog: pytest.LogCaptureFixture
) -> None:
    begun = gevent.event.Event()
    raised: list[BaseException] = []

    def app(environ: Environ, start_response: StartResponse) -> Any:
        begun.set()
        try:
            environ["wsgi.input"].read()
        except ConnectionError as exc:
            raised.append(exc)
            raise

    running = peer(app)
    exchange = running.open(method="POST", length=100)
    running.call(lambda: begun.wait(5))
    exchange.vanish()
    running.stop()
    assert [type(exc) for exc in raised] == [Disconnected]
    assert error_records(caplog) == []


def test_a_client_that_has_left_is_no_error_in_closing_either(
    peer: StartPeer, caplog: pytest.LogCaptureFixture
) -> None:
    """Reading what is left of the content, say."""
    events: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Any:
        read = environ["wsgi.input"].read
        environ["wsgi_lite.closing"](Closer(events, "registered", read))
        start_response("200 OK", [])
        return Closing(events, read)

    running = peer(app)
    exchange = running.open(method="POST", length=100)
    exchange.head()
    exchange.vanish()
    running.stop()
    assert events == ["body", "registered"]
    assert error_records(caplog) == []


def test_writing_goes_on_failing_once_the_client_has_left(
    peer: StartPeer, caplog: pytest.LogCaptureFixture
) -> None:
    """An application may catch the error, try again, and tidy up."""
    raised: list[BaseException] = []

    def app(environ: Environ, start_response: StartResponse) -> Any:
        write = start_response("200 OK", [])
        for _ in range(3):
            try:
                write_for_ever(write, raised)
            except Disconnected:
                pass
        return []

    running = peer(app)
    exchange = running.open()
    exchange.head()
    exchange.vanish()
    running.stop()
    assert [type(exc) for exc in raised] == [Disconnected] * 3
    assert error_records(caplog) == []


def test_an_error_of_its_own_socket_is_the_applications(
    peer: StartPeer, caplog: pytest.LogCaptureFixture
) -> None:
    """A ConnectionError that is not ours: its database has gone, not its client."""

    def app(environ: Environ, start_response: StartResponse) -> Any:
        raise ConnectionResetError(errno.ECONNRESET, "the database")

    assert request(peer(app)).status == 500
    assert len(error_records(caplog)) == 1


def test_a_client_that_does_not_read_is_let_go(
    peer: StartPeer, caplog: pytest.LogCaptureFixture
) -> None:
    raised: queue.SimpleQueue[BaseException] = queue.SimpleQueue()

    def app(environ: Environ, start_response: StartResponse) -> Any:
        errors: list[BaseException] = []
        try:
            write_for_ever(start_response("200 OK", []), errors)
        finally:
            raised.put(errors[0])

    running = peer(app, write_timeout=0.2)
    exchange = running.open()
    assert type(raised.get(timeout=10)) is Disconnected
    assert not exchange.answer().complete
    running.stop()
    assert error_records(caplog) == []


# -- request_timeout -----------------------------------------------------------------------------


def test_a_request_that_takes_too_long_is_a_503(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    raised: list[BaseException] = []

    def app(environ: Environ, start_response: StartResponse) -> Any:
        if environ["PATH_INFO"] == "/long":
            try:
                wait_for_ever()
            except BaseException as exc:
                raised.append(exc)
                raise
        start_response("200 OK", [])
        return [b"short"]

    with serve(app, request_timeout=0.1).client() as client:
        assert client.get("/long").status == 503
        assert client.get("/").body == b"short"
    assert [type(exc) for exc in raised] == [RequestTimeout]
    assert isinstance(raised[0], RequestTimeout)
    assert raised[0].seconds == 0.1
    assert "GET /long: the request took longer than 0.1 seconds" in caplog.text


def test_a_request_that_takes_too_long_breaks_a_response_that_has_begun(peer: StartPeer) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"begun"
        wait_for_ever()

    answer = request(peer(app, request_timeout=0.1))
    assert (answer.status, answer.body, answer.complete) == (200, b"begun", False)


def test_a_swallowed_request_timeout_comes_again(peer: StartPeer) -> None:
    raised: list[BaseException] = []

    def app(environ: Environ, start_response: StartResponse) -> Any:
        while True:
            try:
                wait_for_ever()
            except BaseException as exc:
                raised.append(exc)
                if len(raised) == 3:
                    raise

    assert request(peer(app, request_timeout=0.05)).status == 503
    assert [type(exc) for exc in raised] == [RequestTimeout] * 3


# -- close() and wsgi_lite.closing ---------------------------------------------------------------


class Closer:
    """Something to register with ``wsgi_lite.closing``."""

    def __init__(
        self, events: list[str], name: str, then: Callable[[], object] = lambda: None
    ) -> None:
        self._events = events
        self._name = name
        self._then = then

    def close(self) -> None:
        self._events.append(self._name)
        self._then()


def fail() -> None:
    raise Boom("in close()")


def fail_hard() -> None:
    raise SystemExit


class Closing(Closer):
    """A body whose close() does more."""

    def __init__(self, events: list[str], then: Callable[[], object]) -> None:
        super().__init__(events, "body", then)

    def __iter__(self) -> Iterator[bytes]:
        return endless([])


class Case:
    """One way for an exchange to end; what happens in it is in `events`."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.begun = gevent.event.Event()

    def body(self, *content: Any, then: Callable[[], object] = lambda: None, **more: Any) -> Body:
        def run() -> Iterator[bytes]:
            yield from content
            self.begun.set()
            then()

        return Body(self.events, run, **more)


# What the application does once it has registered its things; returns what it returns.
Run = Callable[[Case, Environ, StartResponse], Any]


def normal(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", [])
    return case.body(b"a", b"b")


def with_length(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", [("Content-Length", "1")])
    return case.body(b"abc", b"def")


def without_content(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    start_response("204 No Content", [])
    return case.body(b"a", b"b")


def empty(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", [])
    return case.body()


def too_short(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", [("Content-Length", "10")])
    return case.body(b"a", b"b")


def never_started(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    return case.body(b"a", b"b")


def iter_fails(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", [])
    return case.body(iter_error=Boom())


def first_block_fails(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", [])
    return case.body(then=fail)


def later_block_fails(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", [])
    return case.body(b"a", then=fail)


def bad_block(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", [])
    return case.body("text")


def late_start_fails(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    return case.body(then=lambda: start_response("200 OK", [("X-A", "\n")]))


def close_fails(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", [])
    return case.body(b"a", b"b", close_error=Boom())


def close_fails_hard(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", [])
    return case.body(b"a", b"b", close_error=SystemExit())


def no_body(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", [])
    case.events.append("body")  # there is none to close
    return [b"a", b"b"]


def raises_at_once(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    case.events.append("body")
    raise Boom


def raises_after_write(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", [])(b"a")
    case.events.append("body")
    raise Boom


def start_fails(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    case.events.append("body")
    start_response("200 OK", [("X-A", "\n")])


def blocks_at_once(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    case.events.append("body")
    case.begun.set()
    wait_for_ever()


def blocks_before_content(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", [])
    return case.body(then=wait_for_ever)


def blocks_in_content(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", [])
    return case.body(b"a", then=wait_for_ever)


def sends_for_ever(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", [])
    case.begun.set()
    return Body(case.events, lambda: endless([]))


def reads(case: Case, environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", [])
    return case.body(then=environ["wsgi.input"].read)


# What the client, the operator or the clock does meanwhile.
End = Callable[[Peer, Exchange, Case], Answer | None]


def answered(running: Peer, exchange: Exchange, case: Case) -> Answer | None:
    answer = exchange.answer()
    running.stop()
    return answer


def left(running: Peer, exchange: Exchange, case: Case) -> Answer | None:
    running.call(lambda: case.begun.wait(5))
    exchange.vanish()
    running.stop()
    return None


def cut(running: Peer, exchange: Exchange, case: Case) -> Answer | None:
    running.call(lambda: case.begun.wait(5))
    running.stop(0)
    return exchange.answer()


# For each case the end, the status (0 where there is none or nobody sees it) and completeness.
CASES: dict[str, tuple[Run, End, int, bool]] = {
    "normal": (normal, answered, 200, True),
    "a list": (no_body, answered, 200, True),
    "Content-Length reached": (with_length, answered, 200, True),
    "204": (without_content, answered, 204, True),
    "empty": (empty, answered, 200, True),
    "too short": (too_short, answered, 200, False),
    "start_response never called": (never_started, answered, 500, True),
    "start_response fails": (start_fails, answered, 500, True),
    "start_response fails late": (late_start_fails, answered, 500, True),
    "iter() fails": (iter_fails, answered, 500, True),
    "first block fails": (first_block_fails, answered, 500, True),
    "later block fails": (later_block_fails, answered, 200, False),
    "a block is no bytes": (bad_block, answered, 500, True),
    "raises at once": (raises_at_once, answered, 500, True),
    "raises after write": (raises_after_write, answered, 200, False),
    "close() fails": (close_fails, answered, 200, True),
    "close() fails hard": (close_fails_hard, answered, 200, True),
    "request timeout": (blocks_at_once, answered, 503, True),
    "request timeout before content": (blocks_before_content, answered, 503, True),
    "request timeout in content": (blocks_in_content, answered, 200, False),
    "client leaves a sender": (sends_for_ever, left, 0, False),
    "client leaves a reader": (reads, left, 0, False),
    "server stops before the head": (blocks_at_once, cut, 503, True),
    "server stops before content": (blocks_before_content, cut, 503, True),
    "server stops in content": (blocks_in_content, cut, 200, False),
    "server stops a reader": (reads, cut, 503, True),
    "server stops a sender": (sends_for_ever, cut, 200, False),
}


@pytest.mark.parametrize("failing", [None, fail, fail_hard], ids=["", "one fails", "fails hard"])
@pytest.mark.parametrize(("run", "end", "status", "complete"), CASES.values(), ids=CASES)
def test_everything_is_closed_once_and_in_order(
    peer: StartPeer,
    run: Run,
    end: End,
    status: int,
    complete: bool,
    failing: Callable[[], None] | None,
) -> None:
    """First the body, then what was registered, the last registered first, all of it."""
    case = Case()

    def app(environ: Environ, start_response: StartResponse) -> Any:
        closing = environ["wsgi_lite.closing"]
        closing(Closer(case.events, "first"))
        closing(Closer(case.events, "second", failing or (lambda: None)))
        closing(Closer(case.events, "third"))
        return run(case, environ, start_response)

    timed = end is answered and run in (blocks_at_once, blocks_before_content, blocks_in_content)
    running = peer(app, request_timeout=0.1) if timed else peer(app)
    exchange = running.open(method="POST" if run is reads else "GET", length=5 * (run is reads))
    answer = end(running, exchange, case)
    if answer is not None:
        assert (answer.status, answer.complete) == (status, complete)
    assert case.events == ["body", "third", "second", "first"]


def test_a_generator_is_closed_where_it_stands(peer: StartPeer) -> None:
    events: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "1")])
        try:
            yield b"a"
            yield b"b"
            events.append("not reached")
        finally:
            events.append(type(sys.exc_info()[1]).__name__)

    running = peer(app)
    assert request(running).body == b"a"
    running.stop()
    assert events == ["GeneratorExit"]


def test_an_error_in_closing_is_logged_and_harms_nobody(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Any:
        environ["wsgi_lite.closing"](Closer(events, "registered", fail))
        start_response("200 OK", [])
        return Body(events, lambda: iter([b"a", b"b"]), close_error=Boom())

    running = serve(app)
    with running.client() as client:
        for _ in range(2):
            assert client.get().body == b"ab"
    running.stop()
    assert events == ["body", "registered"] * 2
    assert [record.exc_info and record.exc_info[0] for record in error_records(caplog)] == [
        Boom
    ] * 4


def test_the_next_request_waits_until_everything_is_closed(serve: Serve) -> None:
    events: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Any:
        events.append("request")
        environ["wsgi_lite.closing"](Closer(events, "closed", lambda: gevent.sleep(0)))
        start_response("200 OK", [])
        return [b"a"]

    running = serve(app)
    with running.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        client.response()
        client.response()
    running.stop()
    assert events == ["request", "closed"] * 2
