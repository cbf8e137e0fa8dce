"""The handler: which greenlet runs the application when, for streams that are only looked at."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import gevent
import pytest
from gevent.event import Event

from gserver.clock import Clock
from gserver.fields import FieldCache, encode_line
from gserver.handler import Handler
from gserver.stream import DONE, Stream

Environ = dict[str, Any]
WAIT = 5.0
GROUP = 32
"""How many requests are handled together at most."""

mark: ContextVar[str] = ContextVar("mark")


class Recorded(Stream):
    """A stream without a connection."""

    def __init__(self, number: int, ends: list[tuple[int, str]]) -> None:
        self.begin({"number": number, "REQUEST_METHOD": "GET"}, FieldCache(encode_line))
        self.number = number
        self.ends = ends
        self.outcome = "silent"

    def respond(self, body: bytes) -> None:
        self.state = DONE
        self.outcome = body.decode()

    def abort(self) -> None:
        self.outcome = "aborted"

    def finished(self) -> None:
        self.ends.append((self.number, self.outcome))


class Stage:
    """A handler in a running hub; `ends` tells how its streams ended, and in which order."""

    def __init__(self, application: Callable[[Environ], bytes]) -> None:
        def wsgi(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
            self.greenlets.append(gevent.getcurrent())
            body = application(environ)
            start_response("200 OK", [])
            return [body]

        hub = gevent.get_hub()
        self.greenlets: list[Any] = []
        self.ends: list[tuple[int, str]] = []
        self.clock = Clock(hub, 0.5, "test")
        self.handler = Handler(wsgi, hub, self.clock)

    def in_hub(self, function: Callable[[], None]) -> None:
        """Call a function in the hub, and let the hub go round."""
        failures: list[Exception] = []

        def call() -> None:
            try:
                function()
            except Exception as exc:  # noqa: BLE001 - the hub would only print it
                failures.append(exc)

        gevent.get_hub().loop.run_callback(call)
        gevent.sleep(0.001)
        assert failures == []

    def dispatch(self, *numbers: int) -> None:
        for number in numbers:
            self.handler.dispatch(Recorded(number, self.ends))


@pytest.fixture
def stage(request: pytest.FixtureRequest) -> Iterator[Callable[..., Stage]]:
    stages: list[Stage] = []

    def make(application: Callable[[Environ], bytes]) -> Stage:
        stages.append(Stage(application))
        return stages[-1]

    yield make
    for one in stages:
        one.clock.stop()


def number(environ: Environ) -> bytes:
    return b"%d" % environ["number"]


def test_what_came_together_is_handled_in_order_by_one_greenlet(
    stage: Callable[..., Stage],
) -> None:
    it = stage(number)

    def dispatch() -> None:
        it.dispatch(1, 2, 3)
        assert (it.ends, it.handler.active) == ([], 3)

    it.in_hub(dispatch)
    assert it.ends == [(1, "1"), (2, "2"), (3, "3")]
    assert len(set(it.greenlets)) == 1
    assert it.handler.active == 0
    it.in_hub(lambda: it.dispatch(4))
    assert it.ends[3:] == [(4, "4")]
    assert len(set(it.greenlets)) == 1, "the parked greenlet was not used"


def test_one_that_blocks_holds_up_no_other(stage: Callable[..., Stage]) -> None:
    go = Event()

    def application(environ: Environ) -> bytes:
        if environ["number"] % 2:
            assert go.wait(WAIT)
        return number(environ)

    it = stage(application)
    it.in_hub(lambda: it.dispatch(1, 2, 3, 4))
    assert it.ends == [(2, "2"), (4, "4")]
    assert it.handler.active == 2
    it.in_hub(lambda: it.dispatch(6))
    assert it.ends[2:] == [(6, "6")]
    go.set()
    gevent.sleep(0.001)
    assert sorted(it.ends[3:]) == [(1, "1"), (3, "3")]
    assert it.handler.active == 0


def test_a_group_is_bounded(stage: Callable[..., Stage]) -> None:
    it = stage(number)

    def dispatch() -> None:
        it.dispatch(*range(GROUP - 1))
        assert it.ends == []
        it.dispatch(GROUP - 1, GROUP)
        assert len(it.ends) == GROUP

    it.in_hub(dispatch)
    assert [one for one, _ in it.ends] == list(range(GROUP + 1))


def test_each_begins_with_a_context_of_its_own(stage: Callable[..., Stage]) -> None:
    seen = []

    def application(environ: Environ) -> bytes:
        seen.append(mark.get("none"))
        mark.set(f"of {environ['number']}")
        return b""

    it = stage(application)
    it.in_hub(lambda: it.dispatch(1, 2, 3))
    assert seen == ["none"] * 3


def test_an_error_costs_its_own_request_only(stage: Callable[..., Stage]) -> None:
    def application(environ: Environ) -> bytes:
        if environ["number"] == 2:
            raise ValueError("of the application")
        return number(environ)

    it = stage(application)
    it.in_hub(lambda: it.dispatch(1, 2, 3))
    assert [one for one, _ in it.ends] == [1, 2, 3]
    assert "500 Internal Server Error" in it.ends[1][1]
    assert it.ends[2] == (3, "3")


def test_what_waits_for_its_turn_is_cut_off_with_the_others(stage: Callable[..., Stage]) -> None:
    def application(environ: Environ) -> bytes:
        gevent.sleep(WAIT)
        return b""

    it = stage(application)
    it.in_hub(lambda: it.dispatch(1))
    assert it.handler.active == 1

    def cut() -> None:
        it.dispatch(2)
        it.handler.cut()

    it.in_hub(cut)
    assert it.ends[0] == (2, "aborted")
    assert "503" in it.ends[1][1]
    assert (len(it.greenlets), it.handler.active) == (1, 0)


def test_a_parked_greenlet_is_woken_by_the_handler_only(stage: Callable[..., Stage]) -> None:
    go = Event()

    def application(environ: Environ) -> bytes:
        if environ["number"] == 2:
            assert go.wait(WAIT)
        return number(environ)

    it = stage(application)
    it.in_hub(lambda: it.dispatch(1))
    parked = it.greenlets[0]
    it.in_hub(parked.switch)  # what a timer does that the request left behind
    it.in_hub(lambda: it.dispatch(2, 3))
    assert it.ends == [(1, "1"), (3, "3")]
    assert it.handler.active == 1
    go.set()
    gevent.sleep(0.001)
    assert it.ends[2:] == [(2, "2")]
    assert len(set(it.greenlets)) == 2


def test_a_parked_greenlet_keeps_no_request_alive(stage: Callable[..., Stage]) -> None:
    class Thing:
        pass

    things = []

    def application(environ: Environ) -> bytes:
        environ["thing"] = Thing()
        things.append(weakref.ref(environ["thing"]))
        return b""

    it = stage(application)
    gc.disable()
    try:
        it.in_hub(lambda: it.dispatch(1, 2))
        assert [one() for one in things] == [None, None]
    finally:
        gc.enable()
