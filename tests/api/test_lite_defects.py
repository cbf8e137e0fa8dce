"""What went wrong in WSGI Lite of 2011, and does not here.

Each test fails with that library, release 0.5a3-1, if its names are imported instead of ours. Two
things more were wrong, and not with its code: most of its own tests were for Python 2 only, see
test_lite_2011.py; and hardly anybody had tried it, see test_lite_frameworks.py.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterator, Sized
from contextvars import ContextVar
from typing import Any

import gevent
import gevent.event
import pytest

from gserver.api import WSGIViolation, bind, lighten, lite
from lite_tools import CLOSING, Body, Boom, Closer, Environ, StartResponse, fail, run_wsgi

variable: ContextVar[str] = ContextVar("variable", default="")


def provided() -> Environ:
    """Return the environ of a Lite call."""
    return {CLOSING: lambda thing: thing}


def test_1_what_was_registered_is_closed_when_the_application_raises() -> None:
    events: list[str] = []

    @lite
    def app(environ: Environ) -> Any:
        environ[CLOSING](Closer(events, "thing"))
        raise Boom

    with pytest.raises(Boom):
        run_wsgi(app)
    assert events == ["thing"]


def test_2_one_close_that_fails_does_not_lose_the_others() -> None:
    events: list[str] = []

    @lite
    def app(environ: Environ) -> Any:
        environ[CLOSING](Closer(events, "first"))
        environ[CLOSING](Closer(events, "second", fail))
        return "200 OK", [], []

    body: Any = app({}, lambda *_: None)
    with pytest.raises(Boom):
        body.close()
    assert events == ["second", "first"]


def test_3_exc_info_after_write_is_raised() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Any:
        write = start_response("200 OK", [])
        write(b"first")
        try:
            raise Boom
        except Boom:
            start_response("500 Internal Server Error", [], sys.exc_info())
        return [b"error"]

    with pytest.raises(Boom):
        list(lighten(app)(provided())[2])


def test_4_a_second_start_response_needs_exc_info() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [])
        start_response("201 Created", [])
        return []

    with pytest.raises(WSGIViolation):
        lighten(app)(provided())


def test_5_a_response_without_start_response_is_an_error() -> None:
    with pytest.raises(WSGIViolation):
        lighten(lambda environ, start_response: [])(provided())


def test_6_a_length_does_not_leave_out_the_first_block() -> None:
    class Late:
        """Calls start_response as late as it may; its length is that of what is left."""

        def __init__(self, environ: Environ, start_response: StartResponse) -> None:
            self.start = start_response
            self.left = [b"a", b"b"]

        def __len__(self) -> int:
            return len(self.left)

        def __iter__(self) -> Iterator[bytes]:
            self.start("200 OK", [])
            while self.left:
                yield self.left.pop(0)

    _, _, body = lighten(Late)(provided())
    length = len(body) if isinstance(body, Sized) else None
    assert length in (None, len(list(body)))


def test_7_the_body_is_closed_whatever_else_fails() -> None:
    events: list[str] = []

    @lite
    def app(environ: Environ) -> Any:
        environ[CLOSING](Closer(events, "thing", fail))
        return "200 OK", [], Body(events, [b"a"])

    body: Any = app({}, lambda *_: None)
    with pytest.raises(Boom):
        body.close()
    assert sorted(events) == ["body", "thing"]


@pytest.mark.parametrize("how", ["subclass of dict", "by keyword"])
def test_8_an_environ_is_not_taken_for_self(how: str) -> None:
    @lite
    def app(environ: Environ) -> Any:
        return environ["status"], [], []

    if how == "by keyword":
        assert app(environ={"status": "200 OK"})[0] == "200 OK"
    else:
        assert app(OrderedDict(status="200 OK"))[0] == "200 OK"


def test_9_bindings_work_on_this_python() -> None:
    @lite(path="PATH_INFO")
    def app(environ: Environ, path: str, *, user: str = "nobody") -> Any:
        return "200 OK", [], [path.encode(), user.encode()]

    @bind(path="PATH_INFO")
    def helper(environ: Environ, path: str) -> str:
        return path

    assert run_wsgi(app, {"PATH_INFO": "/tea"})[2] == b"/teanobody"
    assert helper({"PATH_INFO": "/tea"}) == "/tea"


def written(environ: Environ, start_response: StartResponse) -> Any:
    environ["seen"].append(variable.get())
    write = start_response("200 OK", [])
    try:
        write(b"first")
        gevent.event.Event().wait()
    finally:
        environ["seen"].append("finally")
    return []


def test_10_context_variables_reach_an_application_that_writes() -> None:
    environ = {**provided(), "seen": []}
    variable.set("outer")
    with gevent.Timeout(0.01), pytest.raises(gevent.Timeout):
        list(lighten(written)(environ)[2])
    assert environ["seen"][0] == "outer"


@pytest.mark.parametrize("how", ["timeout", "kill"])
def test_10_what_strikes_its_caller_ends_an_application_that_writes(how: str) -> None:
    environ = {**provided(), "seen": []}

    def call() -> None:
        list(lighten(written)(environ)[2])

    if how == "timeout":
        with gevent.Timeout(0.01), pytest.raises(gevent.Timeout):
            call()
    else:
        running = gevent.spawn(call)
        gevent.sleep(0)
        running.kill()
    assert environ["seen"][-1] == "finally"
