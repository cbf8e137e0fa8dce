"""Lite applications on the server itself, without an adapter in between."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import gevent
import gevent.event
import pytest

from conftest import Serve, StartPeer
from exchange import Answer, Exchange, Peer, request
from gserver.api import LocalProtocolError, lighten, lite, mark_lite
from lite_tools import CLOSING, Boom, Closer, Environ, StartResponse


class Body:
    """A body that notes that it was closed."""

    def __init__(self, events: list[str], blocks: Callable[[], Iterator[Any]]) -> None:
        self._events = events
        self._blocks = blocks

    def __iter__(self) -> Iterator[Any]:
        return self._blocks()

    def close(self) -> None:
        self._events.append("body")


def fail() -> None:
    raise Boom


def wait_for_ever() -> None:
    gevent.event.Event().wait()


# -- the call and the response -------------------------------------------------------------------


def function(environ: Environ) -> Any:
    return "200 OK", [("X-A", "1")], [environ["PATH_INFO"].encode()]


class Site:
    @lite
    def method(self, environ: Environ) -> Any:
        return function(environ)

    @classmethod
    @lite
    def of_class(cls, environ: Environ) -> Any:
        return function(environ)

    @staticmethod
    @lite
    def static(environ: Environ) -> Any:
        return function(environ)


class Instance:
    @lite
    def __call__(self, environ: Environ) -> Any:
        return function(environ)


@mark_lite
def marked(*args: Any) -> Any:
    """Takes the environ alone, or fails."""
    (environ,) = args
    return function(environ)


def wsgi(environ: Environ, start_response: StartResponse) -> list[bytes]:
    status, headers, body = function(environ)
    start_response(status, headers)
    return list(body)


@lite
def middleware(environ: Environ) -> Any:
    return lighten(wsgi)(environ)


APPLICATIONS: dict[str, Any] = {
    "function": lite(function),
    "method": Site().method,
    "classmethod": Site.of_class,
    "staticmethod": Site.static,
    "instance": Instance(),
    "marked": marked,
    "lightened WSGI": lighten(wsgi),
    "middleware around WSGI": middleware,
    "plain WSGI": wsgi,
    "under WSGI middleware": lambda environ, start: lite(function)(environ, start),
    "under a validator": validator(
        lite(lambda e: ("200 OK", [("X-A", "1"), ("Content-Type", "a/b")], [b"/path"]))
    ),
}


@pytest.mark.parametrize("app", APPLICATIONS.values(), ids=APPLICATIONS)
def test_every_kind_of_application_is_served(peer: StartPeer, app: Any) -> None:
    answer = request(peer(app), "/path")
    assert (answer.status, answer["X-A"], answer.body) == (200, "1", b"/path")


def test_the_environ_is_the_only_argument_and_there_is_no_wrapper(peer: StartPeer) -> None:
    calls: list[tuple[Any, ...]] = []
    callers: set[str] = set()

    def app(*args: Any, **kwargs: Any) -> Any:
        calls.append((args, kwargs))
        callers.update(
            frame.f_globals.get("__name__", "")
            for frame, _ in traceback.walk_stack(sys._getframe())
        )
        return "200 OK", [], []

    assert request(peer(lite(app))).status == 200
    ((args, kwargs),) = calls
    assert len(args) == 1
    assert type(args[0]) is dict
    assert kwargs == {}
    assert "gserver.api.lite" not in callers


@pytest.mark.parametrize("kind", [tuple, list], ids=["tuple", "list"])
def test_the_response_is_a_sequence_of_three(peer: StartPeer, kind: Any) -> None:
    app = lite(lambda environ: kind(("201 Made", [("X-A", "1")], (b"a", b"b"))))
    running = peer(app)
    answer = request(running)
    assert (answer.status, answer.reason) == (201, running.reason("Made"))
    assert answer["X-A"] == "1"
    assert (answer.body, answer.complete) == (b"ab", True)


BODIES: dict[str, Callable[[], Any]] = {
    "list": lambda: [b"a", b"b"],
    "one block": lambda: [b"ab"],
    "generator": lambda: (block for block in (b"a", b"", b"b")),
    "object": lambda: Body([], lambda: iter([b"a", b"b"])),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_bodies(peer: StartPeer, body: Callable[[], Any]) -> None:
    assert request(peer(lite(lambda environ: ("200 OK", [], body())))).body == b"ab"


def test_a_file_wrapper_is_sent_as_a_file(peer: StartPeer, tmp_path: Path) -> None:
    """Also through layers of Lite: since the server provides closing, none of them wraps it."""
    path = tmp_path / "file"
    path.write_bytes(b"content")

    @lite
    def app(environ: Environ) -> Any:
        return "200 OK", [], environ["wsgi.file_wrapper"](path.open("rb"))

    @lite
    def layer(environ: Environ) -> Any:
        return app(environ)

    for served in (app, layer, lambda e, s: app(e, s), lambda e, s: lighten(layer)(e, s)):
        answer = request(peer(served))
        assert answer.body == b"content"
        # Iterated, it would have no length.
        assert answer["Content-Length"] == "7"


BAD_RESULTS: dict[str, Any] = {
    "nothing": None,
    "two items": ("200 OK", []),
    "four items": ("200 OK", [], [], None),
    "three letters": "abc",
    "bytes": b"200",
    "number": 200,
    "WSGI's body": [b"hello"],
    "web3's order": ([b"hello"], "200 OK", []),
    "status number": (200, [], []),
    "headers dict": ("200 OK", {}, []),
    "bad header": ("200 OK", [("X-A", "\n")], []),
    "body None": ("200 OK", [], None),
    "body str": ("200 OK", [], "text"),
    "body bytes": ("200 OK", [], b"bytes"),
    "block str": ("200 OK", [], ["text"]),
}


@pytest.mark.parametrize("result", BAD_RESULTS.values(), ids=BAD_RESULTS)
def test_other_results_are_the_applications_error(
    peer: StartPeer, result: Any, caplog: pytest.LogCaptureFixture
) -> None:
    answer = request(peer(lite(lambda environ: result)))
    assert (answer.status, answer.complete) == (500, True)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert record.exc_info[0] in (LocalProtocolError, TypeError)


def test_a_wrong_result_is_named_in_the_log(
    peer: StartPeer, caplog: pytest.LogCaptureFixture
) -> None:
    result: Any = ("200 OK", ["x" * 10_000])
    request(peer(lite(lambda environ: result)))
    assert "must return (status, headers, body), not ('200 OK'" in caplog.text
    assert "x" * 1000 not in caplog.text


# -- wsgi_lite.closing ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lite", "lightened", "plain"])
def test_closing_is_provided_on_every_request(peer: StartPeer, kind: str) -> None:
    things: list[Any] = []

    def as_lite(environ: Environ) -> Any:
        thing = Closer([], "thing")
        things.append(environ[CLOSING](thing) is thing)
        return "200 OK", [], []

    def as_wsgi(environ: Environ, start_response: StartResponse) -> Any:
        status, headers, body = as_lite(environ)
        start_response(status, headers)
        return body

    apps = {"lite": lite(as_lite), "lightened": lighten(as_wsgi), "plain": as_wsgi}
    running = peer(apps[kind])
    assert request(running).status == 200
    assert request(running).status == 200
    assert things == [True, True]


def test_all_layers_have_one_provider(peer: StartPeer) -> None:
    seen: list[Any] = []
    events: list[str] = []

    @lite
    def inner(environ: Environ) -> Any:
        seen.append(environ[CLOSING])
        environ[CLOSING](Closer(events, "borrowed"))
        return "200 OK", [], Body(events, lambda: iter([b"a"]))

    def between(environ: Environ, start_response: StartResponse) -> Any:
        """WSGI middleware that loses close()."""
        return list(inner(environ, start_response))

    @lite
    def outer(environ: Environ) -> Any:
        seen.append(environ[CLOSING])
        environ[CLOSING](Closer(events, "lent"))
        return lighten(between)(environ)

    running = peer(outer)
    assert request(running).body == b"a"
    running.stop()
    assert seen[0] is seen[1]
    # What an outer layer lends is there until the inner ones have tidied up.
    assert events == ["borrowed", "lent"]


class Case:
    """One way for an exchange to end; what is closed in it is in `events`."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.begun = gevent.event.Event()

    def body(self, *content: Any, then: Callable[[], object] = lambda: None) -> Body:
        def run() -> Iterator[Any]:
            yield from content
            self.begun.set()
            then()

        return Body(self.events, run)

    def endless(self) -> Body:
        def run() -> Iterator[bytes]:
            while True:
                self.begun.set()
                yield b"x" * 10_000

        return Body(self.events, run)


Run = Callable[[Case, Environ], Any]


def without_body(case: Case, then: Callable[[], object]) -> Any:
    case.events.append("body")  # there is none to close
    case.begun.set()
    return then()


RUNS: dict[str, Run] = {
    "normal": lambda case, environ: ("200 OK", [], case.body(b"a", b"b")),
    "length reached": lambda case, environ: (
        "200 OK",
        [("Content-Length", "1")],
        case.body(b"a", b"b"),
    ),
    "no content": lambda case, environ: ("204 No Content", [], case.body(b"a")),
    "raises": lambda case, environ: without_body(case, fail),
    "no triple": lambda case, environ: without_body(case, lambda: ("200 OK", [])),
    "bad status": lambda case, environ: (200, [], case.body(b"a")),
    "bad header": lambda case, environ: ("200 OK", [("X-A", "\n")], case.body(b"a")),
    "bad block": lambda case, environ: ("200 OK", [], case.body("text")),
    "first block fails": lambda case, environ: ("200 OK", [], case.body(then=fail)),
    "later block fails": lambda case, environ: ("200 OK", [], case.body(b"a", then=fail)),
    "hangs": lambda case, environ: without_body(case, wait_for_ever),
    "hangs before content": lambda case, environ: ("200 OK", [], case.body(then=wait_for_ever)),
    "hangs in content": lambda case, environ: ("200 OK", [], case.body(b"a", then=wait_for_ever)),
    "sends for ever": lambda case, environ: ("200 OK", [], case.endless()),
    "reads": lambda case, environ: ("200 OK", [], case.body(then=environ["wsgi.input"].read)),
}


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


# Name of the run, the end, options, the status and completeness of the answer.
ENDS: list[tuple[str, Any, dict[str, Any], int, bool]] = [
    ("normal", answered, {}, 200, True),
    ("length reached", answered, {}, 200, True),
    ("no content", answered, {}, 204, True),
    ("raises", answered, {}, 500, True),
    ("no triple", answered, {}, 500, True),
    ("bad status", answered, {}, 500, True),
    ("bad header", answered, {}, 500, True),
    ("bad block", answered, {}, 500, True),
    ("first block fails", answered, {}, 500, True),
    ("later block fails", answered, {}, 200, False),
    ("hangs", answered, {"request_timeout": 0.1}, 503, True),
    ("hangs before content", answered, {"request_timeout": 0.1}, 503, True),
    ("hangs in content", answered, {"request_timeout": 0.1}, 200, False),
    ("sends for ever", left, {}, 0, False),
    ("reads", left, {}, 0, False),
    ("hangs", cut, {}, 503, True),
    ("hangs before content", cut, {}, 503, True),
    ("hangs in content", cut, {}, 200, False),
    ("reads", cut, {}, 503, True),
]


@pytest.mark.parametrize("failing", [False, True], ids=["", "one fails"])
@pytest.mark.parametrize(
    ("run", "end", "options", "status", "complete"),
    ENDS,
    ids=[f"{end[0]}, {end[1].__name__}" for end in ENDS],
)
def test_everything_is_closed_once_and_in_order(
    peer: StartPeer,
    run: str,
    end: Callable[[Peer, Exchange, Case], Answer | None],
    options: dict[str, Any],
    status: int,
    complete: bool,
    failing: bool,
) -> None:
    """First the body, then what was registered, the last registered first, all of it."""
    case = Case()

    @lite
    def app(environ: Environ) -> Any:
        closing = environ[CLOSING]
        closing(Closer(case.events, "first"))
        closing(Closer(case.events, "second", fail if failing else str))
        closing(Closer(case.events, "third"))
        return RUNS[run](case, environ)

    running = peer(app, **options)
    content = run == "reads"
    exchange = running.open(method="POST" if content else "GET", length=5 * content)
    answer = end(running, exchange, case)
    if answer is not None:
        assert (answer.status, answer.complete) == (status, complete)
    assert case.events == ["body", "third", "second", "first"]


def test_things_registered_by_the_body_are_closed_too(peer: StartPeer) -> None:
    events: list[str] = []

    @lite
    def app(environ: Environ) -> Any:
        def blocks() -> Iterator[bytes]:
            environ[CLOSING](Closer(events, "of the first block"))
            yield b"a"
            environ[CLOSING](Closer(events, "of the second block"))
            yield b"b"

        return "200 OK", [], blocks()

    running = peer(app)
    assert request(running).body == b"ab"
    running.stop()
    assert events == ["of the second block", "of the first block"]


def test_things_registered_while_closing_are_closed_next(peer: StartPeer) -> None:
    events: list[str] = []

    @lite
    def app(environ: Environ) -> Any:
        closing = environ[CLOSING]
        closing(Closer(events, "first"))
        closing(Closer(events, "second", lambda: closing(Closer(events, "third"))))
        return "200 OK", [], [b"a"]

    running = peer(app)
    assert request(running).body == b"a"
    running.stop()
    assert events == ["second", "third", "first"]


@pytest.mark.parametrize("used", [False, True], ids=["never used before", "used before"])
def test_things_registered_after_the_end_are_closed_at_once(serve: Serve, used: bool) -> None:
    """By a greenlet, say, that has outlived its request."""
    events: list[str] = []
    kept: list[Any] = []

    @lite
    def app(environ: Environ) -> Any:
        closing = environ[CLOSING]
        if environ["PATH_INFO"] == "/second":
            thing = Closer(events, "late")
            events.append("same" if kept[0](thing) is thing else "other")
        elif used:
            closing(Closer(events, "in time"))
        kept.append(closing)
        return "200 OK", [], [b"a"]

    running = serve(app)
    with running.client() as client:
        client.get()
        client.get("/second")
    running.stop()
    assert events == ["in time"] * used + ["late", "same"]


def test_an_error_of_a_thing_closed_late_is_for_who_registered_it(serve: Serve) -> None:
    kept: list[Any] = []
    raised: list[str] = []

    @lite
    def app(environ: Environ) -> Any:
        if kept:
            try:
                kept[0](Closer([], "late", fail))
            except Boom:
                raised.append("Boom")
        kept.append(environ[CLOSING])
        return "200 OK", [], [b"a"]

    with serve(app).client() as client:
        client.get()
        assert client.get().status == 200
    assert raised == ["Boom"]


def test_closing_may_block(serve: Serve) -> None:
    """It runs in the handler's greenlet; the client has its response meanwhile."""
    release = gevent.event.Event()
    events: list[str] = []

    @lite
    def app(environ: Environ) -> Any:
        environ[CLOSING](Closer(events, "closed", release.wait))
        return "200 OK", [], [b"a"]

    running = serve(app)
    with running.client() as client:
        assert client.get().body == b"a"
        running.call(release.set)
        assert client.get().body == b"a"
    running.stop()
    assert events == ["closed", "closed"]
