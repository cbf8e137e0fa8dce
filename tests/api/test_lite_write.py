"""write() of a WSGI application that is called as Lite: block by block, as if it were called."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from typing import Any
from weakref import ref
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import gevent
import gevent.event
import greenlet
import pytest

from gserver.api import WSGIViolation, interruption, lighten, lite
from lite_tools import (
    CLOSING,
    Body,
    Boom,
    Closer,
    Environ,
    StartResponse,
    fail,
    run_wsgi,
    with_closing,
)

variable: ContextVar[str] = ContextVar("variable", default="default")


class Case:
    """A WSGI application that writes; `events` tells how far it has come."""

    def __init__(self, *steps: Any, returns: Any = ()) -> None:
        self.events: list[Any] = []
        self.registered: list[Any] = []
        self._steps = steps
        self._returns = returns

    def __call__(self, environ: Environ, start_response: StartResponse) -> Any:
        write = start_response("200 OK", [("X-A", "1")])
        try:
            for step in self._steps:
                if isinstance(step, bytes):
                    write(step)
                    self.events.append(step)
                else:
                    step(start_response, write)
        except BaseException as exc:
            self.events.append(type(exc))
            raise
        finally:
            self.events.append("finally")
        return self._returns

    def body(self) -> Any:
        """Call it as Lite and return the body."""
        status, headers, body = lighten(self)(with_closing(self.registered))
        assert (status, headers) == ("200 OK", [("X-A", "1")])
        return body


def step(action: Callable[[], object]) -> Any:
    return lambda start_response, write: action()


@pytest.fixture
def without_greenlet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "greenlet", None)
    interruption.available.cache_clear()
    yield
    monkeypatch.undo()
    interruption.available.cache_clear()


def never(start_response: Any, write: Any) -> None:
    raise NotImplementedError


# -- what comes out, and when ----------------------------------------------------------------------


def test_each_block_comes_out_as_it_is_written() -> None:
    case = Case(b"1", b"", b"2", returns=[b"3", b"4"])
    blocks = iter(case.body())
    assert case.events == []  # the first write() has not yet returned
    assert next(blocks) == b"1"
    assert case.events == []
    assert next(blocks) == b"2"
    assert case.events == [b"1", b""]
    assert next(blocks) == b"3"
    assert case.events == [b"1", b"", b"2", "finally"]
    assert list(blocks) == [b"4"]


def test_an_endless_application_is_read_block_by_block() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Any:
        write = start_response("200 OK", [])
        while True:
            write(b"again")

    _, _, body = lighten(app)({})
    blocks = iter(body)
    assert [next(blocks) for _ in range(1000)] == [b"again"] * 1000
    body.close()  # type: ignore[attr-defined]


def test_a_generator_may_follow_what_is_written() -> None:
    events: list[str] = []

    def rest() -> Iterator[bytes]:
        try:
            yield b""
            yield b"2"
        finally:
            events.append("finally")

    case = Case(b"1", returns=rest())
    body = case.body()
    assert list(body) == [b"1", b"", b"2"]
    assert events == ["finally"]
    assert case.registered == [body, case._returns]


def test_a_body_that_is_not_written_to_is_the_application_s_own() -> None:
    case = Case(b"", returns=[b"1"])
    assert case.body() is case._returns
    assert case.registered == []


@pytest.mark.usefixtures("without_greenlet")
def test_without_greenlet_blocks_are_collected() -> None:
    """The original answered with an error."""
    case = Case(b"1", b"2", returns=[b"3"])
    body = case.body()
    assert case.events == [b"1", b"2", "finally"]
    assert list(body) == [b"1", b"2", b"3"]


def test_the_application_runs_in_no_greenlet_of_its_own_as_wsgi() -> None:
    seen: list[Any] = []
    case = Case(step(lambda: seen.append(greenlet.getcurrent())))
    run_wsgi(lighten(case))
    assert seen == [greenlet.getcurrent()]


# -- the rules of PEP 3333 -------------------------------------------------------------------------


def test_write_in_the_returned_iterable_is_a_violation() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        write = start_response("200 OK", [])
        write(b"1")
        return rest(write)

    def rest(write: Any) -> Iterator[bytes]:
        yield b"2"
        write(b"3")

    blocks = iter(lighten(app)(with_closing([]))[2])
    assert [next(blocks), next(blocks)] == [b"1", b"2"]
    with pytest.raises(WSGIViolation, match="after the application had returned"):
        next(blocks)


def raise_boom() -> None:
    raise Boom("deep")


def restart(start_response: Any, write: Any) -> None:
    try:
        raise_boom()
    except Boom:
        start_response("500 Late", [], sys.exc_info())


def test_exc_info_after_content_is_raised_where_it_is_given() -> None:
    """And, if the application lets it pass, where the next block is asked for."""
    case = Case(b"1", restart, never)
    blocks = iter(case.body())
    assert next(blocks) == b"1"
    with pytest.raises(Boom) as caught:
        next(blocks)
    assert "raise_boom" in [frame.name for frame in traceback.extract_tb(caught.tb)]
    assert case.events == [b"1", Boom, "finally"]


def test_a_second_start_response_after_content_is_a_violation() -> None:
    case = Case(b"1", lambda start_response, write: start_response("200 OK", []), never)
    with pytest.raises(WSGIViolation, match="a second time"):
        list(case.body())


def test_an_error_before_content_is_raised_at_once() -> None:
    case = Case(step(fail))
    with pytest.raises(Boom):
        case.body()
    assert case.registered == []


def test_an_error_after_content_is_raised_in_its_place() -> None:
    case = Case(b"1", step(fail))
    blocks = iter(case.body())
    assert next(blocks) == b"1"
    with pytest.raises(Boom):
        next(blocks)


@pytest.mark.parametrize("end", ["return", "error", "close", "forgotten"])
def test_nothing_is_left_for_the_collector_of_cycles(
    end: str, request: pytest.FixtureRequest
) -> None:
    gc.disable()
    request.addfinalizer(gc.enable)
    gone: list[Any] = []

    def app(environ: Environ, start_response: StartResponse) -> Any:
        thing = Closer([], "thing")
        gone.append(ref(thing))
        start_response("200 OK", [])(b"1")
        if end == "error":
            raise Boom
        return []

    for _ in range(2):
        body: Any = lighten(app)({})[2]
        if end == "close":
            body.close()
        elif end == "error":
            with pytest.raises(Boom):
                list(body)
        elif end == "return":
            list(body)
        gone.append(ref(body._call))
        del body
    assert [thing() for thing in gone] == [None] * 4


# -- what ends it ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "registered", "forgotten"])
def test_an_application_whose_body_is_abandoned_ends(how: str) -> None:
    case = Case(b"1", never)
    body = case.body()
    assert next(iter(body)) == b"1"
    if how == "close":
        body.close()
    elif how == "registered":
        assert case.registered == [body]
        case.registered[0].close()
    case.registered.clear()
    del body
    assert case.events == [greenlet.GreenletExit, "finally"]


def test_it_ends_once() -> None:
    case = Case(b"1", never)
    body = case.body()
    for _ in range(3):
        body.close()
    assert case.events == [greenlet.GreenletExit, "finally"]


def test_a_body_that_was_read_to_its_end_needs_no_close() -> None:
    case = Case(b"1")
    body = case.body()
    assert list(body) == [b"1"]
    body.close()
    assert case.events == [b"1", "finally"]


def test_what_is_closed_first_is_the_body() -> None:
    """Then what the application registered: that may still be needed, by the body."""
    events: list[str] = []

    @lite
    def outer(environ: Environ) -> Any:
        environ[CLOSING](Closer(events, "lent"))
        return lighten(app)(environ)

    def app(environ: Environ, start_response: StartResponse) -> Any:
        environ[CLOSING](Closer(events, "before"))
        start_response("200 OK", [])(b"1")
        environ[CLOSING](Closer(events, "after"))
        return Body(events, [b"2"])

    assert run_wsgi(outer)[2] == b"12"
    assert events == ["body", "after", "before", "lent"]


@pytest.mark.parametrize("provided", [True, False])
def test_what_an_application_returns_that_will_not_end_is_closed(provided: bool) -> None:
    events: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Any:
        write = start_response("200 OK", [])
        for _ in range(3):
            try:
                write(b"1")
            except greenlet.GreenletExit:
                events.append("exit")
        return Body(events, [])

    registered: list[Any] = []
    body: Any = lighten(app)(with_closing(registered) if provided else {})[2]
    body.close()
    assert events[:3] == ["exit"] * 3
    if provided:
        assert [type(thing) for thing in registered] == [type(body), Body]
    else:
        assert events[3:] == ["body"]


def test_what_follows_is_closed_even_if_nobody_provides_closing() -> None:
    events: list[str] = []
    case = Case(b"1", returns=Body(events, [b"2"]))
    _, _, body = lighten(case)({})
    assert list(body) == [b"1", b"2"]
    body.close()  # type: ignore[attr-defined]
    assert events == ["body"]


def test_an_error_while_it_ends_is_raised_by_close() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Any:
        try:
            start_response("200 OK", [])(b"1")
        finally:
            raise Boom

    body: Any = lighten(app)(with_closing([]))[2]
    with pytest.raises(Boom):
        body.close()
    body.close()


# -- as if it were called --------------------------------------------------------------------------


@pytest.mark.parametrize("set_before", [False, True], ids=["no context yet", "context"])
def test_context_variables_are_shared(set_before: bool) -> None:
    seen: list[str] = []

    def outer() -> None:
        if set_before:
            variable.set("outer")
        case = Case(
            step(lambda: seen.append(variable.get())),
            step(lambda: variable.set("app 1")),
            b"1",
            step(lambda: seen.append(variable.get())),
            step(lambda: variable.set("app 2")),
            b"2",
        )
        blocks = iter(case.body())
        seen.append(variable.get())
        variable.set("between")
        assert list(blocks) == [b"1", b"2"]
        seen.append(variable.get())

    greenlet.greenlet(outer).switch()  # each begins without a context
    assert seen == ["outer" if set_before else "default", "app 1", "between", "app 2"]


def test_a_token_of_the_caller_s_is_good_in_the_application() -> None:
    def outer() -> None:
        token = variable.set("outer")
        case = Case(b"1", step(lambda: variable.reset(token)))
        assert list(case.body()) == [b"1"]
        assert variable.get() == "default"

    copy_context().run(outer)


def test_thread_locals_are_shared_unless_they_are_patched() -> None:
    local = threading.local()
    local.name = "outer"
    seen: list[str] = []
    case = Case(step(lambda: seen.append(local.name)), b"1", step(lambda: setattr(local, "x", 1)))
    assert list(case.body()) == [b"1"]
    assert seen == ["outer"]
    assert local.x == 1


def wait_for_ever() -> None:
    gevent.event.Event().wait()


PLACES: dict[str, tuple[Any, ...]] = {
    "before content": (step(wait_for_ever), b"1"),
    "after content": (b"1", step(wait_for_ever), b"2"),
}
at_both_places = pytest.mark.parametrize("steps", PLACES.values(), ids=PLACES)


@at_both_places
def test_a_timeout_of_the_caller_strikes_the_application(steps: tuple[Any, ...]) -> None:
    case = Case(*steps)
    with gevent.Timeout(0.01) as timeout, pytest.raises(gevent.Timeout) as caught:
        list(case.body())
    assert caught.value is timeout
    assert case.events[-2:] == [gevent.Timeout, "finally"]


@at_both_places
def test_killing_the_caller_kills_the_application(steps: tuple[Any, ...]) -> None:
    case = Case(*steps)
    running = gevent.spawn(lambda: list(case.body()))
    gevent.sleep(0)
    running.kill()
    assert isinstance(running.value, greenlet.GreenletExit)
    assert case.events[-2:] == [greenlet.GreenletExit, "finally"]


def test_an_application_may_answer_to_a_timeout() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Any:
        write = start_response("200 OK", [])
        write(b"1")
        try:
            wait_for_ever()
        except gevent.Timeout:
            gevent.sleep(0)
            write(b"too late")
        return [b"."]

    with gevent.Timeout(0.01):
        assert list(lighten(app)(with_closing([]))[2]) == [b"1", b"too late", b"."]


def test_a_second_timeout_strikes_while_it_tidies_up() -> None:
    events: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [])(b"1")
        try:
            wait_for_ever()
        finally:
            events.append("first")
            try:
                wait_for_ever()
            finally:
                events.append("second")

    with (
        gevent.Timeout(0.02) as second,
        gevent.Timeout(0.01),
        pytest.raises(gevent.Timeout) as caught,
    ):
        list(lighten(app)(with_closing([]))[2])
    assert caught.value is second
    assert events == ["first", "second"]


def test_a_timeout_strikes_while_an_abandoned_application_tidies_up() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Any:
        try:
            start_response("200 OK", [])(b"1")
        finally:
            wait_for_ever()

    body: Any = lighten(app)(with_closing([]))[2]
    with gevent.Timeout(0.01), pytest.raises(gevent.Timeout):
        body.close()


@pytest.mark.parametrize("outer", ["greenlet", "main greenlet"])
def test_a_timeout_of_the_application_s_own_strikes_where_it_writes(outer: str) -> None:
    """As soon as it may run again: till then its caller sends, say, the last block."""
    events: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Any:
        write = start_response("200 OK", [])
        try:
            with gevent.Timeout(0.005):
                write(b"1")
                events.append("written")
        except gevent.Timeout:
            events.append("timeout")
        with gevent.Timeout(10):
            write(b"2")
        return [b"3"]

    def read() -> None:
        blocks = iter(lighten(app)(with_closing([]))[2])
        assert next(blocks) == b"1"
        gevent.sleep(0.02)
        assert events == []
        assert list(blocks) == [b"2", b"3"]
        assert events == ["timeout"]

    if outer == "greenlet":
        gevent.spawn(read).get(timeout=5)
    else:
        read()


def test_a_timer_that_an_application_leaves_behind_strikes_nobody() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Any:
        timers.append(gevent.Timeout(0.005))
        timers[0].start()
        start_response("200 OK", [])(b"1")
        return []

    def read() -> None:
        assert list(lighten(app)(with_closing([]))[2]) == [b"1"]
        gevent.sleep(0.02)
        assert list(Case(b"1").body()) == [b"1"]

    timers: list[Any] = []
    gevent.spawn(read).get(timeout=5)
    assert not timers[0].pending


def test_an_application_that_is_killed_while_it_is_paused_ends_later() -> None:
    greenlets: list[Any] = []
    case = Case(step(lambda: greenlets.append(greenlet.getcurrent())), b"1", never)
    blocks = iter(case.body())
    assert next(blocks) == b"1"
    gevent.kill(greenlets[0])
    gevent.sleep(0)
    assert case.events == []
    with pytest.raises(greenlet.GreenletExit):
        next(blocks)
    assert case.events == [greenlet.GreenletExit, "finally"]
    gevent.kill(greenlets[0])  # which waits for others now
    gevent.sleep(0)
    assert list(Case(b"1").body()) == [b"1"]


def test_another_thread_may_not_read_on() -> None:
    case = Case(b"1", b"2")
    blocks = iter(case.body())
    assert next(blocks) == b"1"
    errors: list[BaseException] = []

    def read() -> None:
        try:
            next(blocks)
        except greenlet.error as exc:
            errors.append(exc)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join(5)
    assert len(errors) == 1


def test_another_greenlet_may_read_on() -> None:
    case = Case(b"1", step(lambda: gevent.sleep(0)), b"2", returns=[b"3"])
    body = case.body()
    blocks = iter(body)
    assert next(blocks) == b"1"
    assert gevent.spawn(next, blocks).get(timeout=5) == b"2"
    assert list(blocks) == [b"3"]


def test_several_requests_at_once_do_not_meet() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Any:
        write = start_response("200 OK", [])
        for number in range(3):
            write(b"%d%d " % (environ["number"], number))
            gevent.sleep(0)
        return []

    def read(number: int) -> bytes:
        return b"".join(lighten(app)({"number": number})[2])

    running = [gevent.spawn(read, number) for number in range(40)]
    assert [one.get(timeout=5) for one in running] == [
        b"%d0 %d1 %d2 " % (n, n, n) for n in range(40)
    ]


def test_a_greenlet_of_the_application_s_may_write() -> None:
    """Its blocks come out at the next occasion."""

    def app(environ: Environ, start_response: StartResponse) -> Any:
        write = start_response("200 OK", [])
        write(b"1")
        gevent.spawn(write, b"2").get()
        write(b"3")
        return []

    assert list(lighten(app)({})[2]) == [b"1", b"2", b"3"]


def test_an_application_inside_of_an_application_writes() -> None:
    def inner(environ: Environ, start_response: StartResponse) -> Any:
        write = start_response("200 OK", [])
        write(b"1")
        write(b"2")
        return []

    def middle(environ: Environ, start_response: StartResponse) -> Any:
        status, headers, body = lighten(inner)(environ)
        write = start_response(status, headers)
        for block in body:
            write(b"<%b>" % block)
        return []

    blocks = iter(lighten(middle)(with_closing([]))[2])
    assert next(blocks) == b"<1>"
    assert list(blocks) == [b"<2>"]


# -- greenlets are used again ----------------------------------------------------------------------


def test_greenlets_are_parked_and_keep_no_request_alive() -> None:
    gone: list[Any] = []

    def app(environ: Environ, start_response: StartResponse) -> Any:
        thing = Closer([], "thing")
        gone.append(ref(thing))
        seen.append(greenlet.getcurrent())
        variable.set("app")
        start_response("200 OK", [])(b"1")
        return [b"2"]

    seen: list[Any] = []
    for _ in range(3):
        assert b"".join(lighten(app)({})[2]) == b"12"
    assert len(set(seen)) == 1
    assert [thing() for thing in gone] == [None] * 3
    assert seen[0].gr_context is None


def test_no_more_are_parked_than_are_needed() -> None:
    bodies = [Case(b"1").body() for _ in range(100)]
    assert [list(body) for body in bodies] == [[b"1"]] * 100
    assert len(interruption._thread.parked) <= 8


def test_the_end_of_a_thread_ends_what_is_parked_there() -> None:
    seen: list[Any] = []

    def run() -> None:
        case = Case(b"1", step(lambda: seen.append(ref(greenlet.getcurrent()))))
        assert list(case.body()) == [b"1"]

    for _ in range(3):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join(5)
    gc.collect()
    list(Case(b"1").body())  # greenlet does it when it is used next
    assert [one() for one in seen] == [None] * 3


# -- with monkey-patching --------------------------------------------------------------------------

PATCHED = """
from gevent import monkey

monkey.patch_all()

import json
import threading
from gserver.api import lighten

local = threading.local()

def app(environ, start_response):
    events.append(getattr(local, "name", None))
    write = start_response("200 OK", [])
    if environ["writes"]:
        write(b"1")
        events.append("written")
    return []

def call(lightened, writes):
    global events
    events = []
    body = iter(lightened({"writes": writes})[2])
    first = next(body, b"")
    return [first.decode(), *events, *(block.decode() for block in body)]

local.name = "outer"
learned = lighten(app)
class Site:
    def method(self, environ, start_response):
        return app(environ, start_response)
    page = lighten(method)
print(json.dumps([
    call(learned, False),
    call(learned, True),
    call(learned, True),
    call(lighten(app, writes=True), True),
    call(lighten(app), False),
    call(Site().page, True),
    call(Site().page, True),
]))
"""


@pytest.mark.slow
def test_with_monkey_patching_only_who_writes_runs_apart() -> None:
    """The first time it does, its blocks are collected: it shares the caller's thread-locals."""
    command = [sys.executable, "-c", PATCHED]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    together, apart = ["1", "outer", "written"], ["1", None]
    assert json.loads(result.stdout) == [
        ["", "outer"],
        together,
        apart,
        apart,
        ["", "outer"],
        together,
        apart,
    ]


# -- stacks of both conventions --------------------------------------------------------------------

TEXT = [("Content-Type", "text/plain")]


def one_write(environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", list(TEXT))(b"hello world")
    return []


def two_writes(environ: Environ, start_response: StartResponse) -> Any:
    write = start_response("200 OK", list(TEXT))
    write(b"hello ")
    write(b"world")
    return []


def write_and_iterable(environ: Environ, start_response: StartResponse) -> Any:
    write = start_response("200 OK", list(TEXT))
    write(b"hello ")
    return [b"wor", b"ld"]


def write_and_generator(environ: Environ, start_response: StartResponse) -> Any:
    write = start_response("200 OK", list(TEXT))
    write(b"hello ")
    return (block for block in [b"wor", b"ld"])


def no_write(environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", list(TEXT))
    return [b"hello world"]


def write_in_vain(environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", list(TEXT))(b"")
    return [b"hello world"]


WRITERS = [one_write, two_writes, write_and_iterable, write_and_generator, no_write, write_in_vain]


def dilute(app: Any) -> Any:
    """Have a WSGI application called as Lite, and nothing else."""
    inner = lighten(app)

    @lite
    def outer(environ: Environ) -> Any:
        return inner(environ)

    return outer


def shout(app: Any) -> Any:
    inner = lighten(app)

    @lite
    def outer(environ: Environ) -> Any:
        status, headers, body = inner(environ)
        return status, headers, (block.upper() for block in body)

    return outer


STACKS: dict[str, Callable[[Any], Any]] = {
    "dilute": dilute,
    "shout(dilute)": lambda app: shout(dilute(app)),
    "dilute(shout)": lambda app: dilute(shout(app)),
    "dilute, validated": lambda app: validator(dilute(validator(app))),
    "shout(dilute), validated": lambda app: validator(shout(validator(dilute(validator(app))))),
    "dilute(shout), validated": lambda app: validator(dilute(validator(shout(validator(app))))),
}


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("app", WRITERS, ids=lambda app: str(app.__name__))
@pytest.mark.parametrize("greenlets", [True, False], ids=["", "without greenlet"])
def test_stacks_give_what_was_written(
    stack: Any, app: Any, greenlets: bool, request: pytest.FixtureRequest
) -> None:
    if not greenlets:
        request.getfixturevalue("without_greenlet")
    environ: Environ = {"QUERY_STRING": ""}
    setup_testing_defaults(environ)
    status, headers, content = run_wsgi(stack(app), environ)
    assert (status, headers) == ("200 OK", TEXT)
    assert content.lower() == b"hello world"
