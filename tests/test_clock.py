"""The clock: deadlines that are never early, alarms, and turns of the loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import gevent
import pytest

from gserver.clock import NEVER, Clock

PERIOD = 0.5


class Timer:
    """A timer that rings when the test says so."""

    def start(self, ring: Callable[[], None]) -> None:
        self.ring = ring

    def stop(self) -> None:
        del self.ring

    close = stop


class FakeHub:
    """A hub whose loop has one timer and nothing else."""

    def __init__(self) -> None:
        self.loop = self
        self.made = Timer()

    def timer(self, after: float, repeat: float, ref: bool) -> Timer:
        assert (after, repeat) == (PERIOD, PERIOD)
        assert not ref, "a clock alone must not keep a program running"
        return self.made


class Watched:
    """Something with a deadline."""

    def __init__(self, clock: Clock, deadline: float) -> None:
        self.deadline = deadline
        self.expired = 0
        clock.watched.add(self)

    def expire(self) -> None:
        self.expired += 1
        self.deadline = NEVER


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in a list of one, for tests to move on."""
    moment = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    return moment


@pytest.fixture
def ticking(now: list[float]) -> tuple[Clock, Callable[[float], None]]:
    """A clock, and a function that lets seconds pass in steps of its period."""
    hub: Any = FakeHub()
    clock = Clock(hub, PERIOD, "gserver")

    def advance(seconds: float) -> None:
        end = now[0] + seconds
        while now[0] < end:
            now[0] += PERIOD
            hub.made.ring()

    return clock, advance


Ticking = tuple[Clock, Callable[[float], None]]


@pytest.mark.parametrize("since_tick", [0.0, 0.1, 0.49])
@pytest.mark.parametrize("timeout", [0.1, 0.5, 1.0, 1.3])
def test_a_deadline_is_never_early_and_two_ticks_late_at_most(
    ticking: Ticking, now: list[float], since_tick: float, timeout: float
) -> None:
    clock, advance = ticking
    advance(PERIOD)
    last_tick = now[0]
    now[0] += since_tick
    watched = Watched(clock, clock.after(timeout))
    began, now[0] = now[0], last_tick
    while not watched.expired:
        advance(PERIOD)
    assert timeout < now[0] - began <= timeout + 2 * PERIOD + 1e-9


def test_no_timeout_never_expires(ticking: Ticking) -> None:
    clock, advance = ticking
    watched = Watched(clock, clock.after(0))
    advance(1e4)
    assert not watched.expired


def test_each_deadline_expires_once(ticking: Ticking) -> None:
    clock, advance = ticking
    late = Watched(clock, clock.after(3))
    soon = Watched(clock, clock.after(1))
    advance(2)
    assert (soon.expired, late.expired) == (1, 0)
    advance(4)
    assert (soon.expired, late.expired) == (1, 1)


def test_what_is_watched_no_longer_does_not_expire(ticking: Ticking) -> None:
    clock, advance = ticking
    watched = Watched(clock, clock.after(1))
    clock.watched.discard(watched)
    advance(5)
    assert not watched.expired


def test_an_alarm_rings_again_after_each_further_period(ticking: Ticking) -> None:
    clock, advance = ticking
    rung: list[None] = []
    clock.set_alarm("key", 2, lambda: rung.append(None))
    advance(2)
    assert len(rung) == 0
    advance(1)
    assert len(rung) == 1
    advance(4)
    assert len(rung) == 2
    clock.cancel_alarm("key")
    clock.cancel_alarm("key")
    advance(20)
    assert len(rung) == 2


def test_an_alarm_may_cancel_another_that_is_due(ticking: Ticking) -> None:
    clock, advance = ticking
    clock.set_alarm("first", 1, lambda: clock.cancel_alarm("second"))
    clock.set_alarm("second", 1, lambda: pytest.fail("it was cancelled"))
    advance(5)


def test_an_alarm_may_replace_another_that_is_due(ticking: Ticking) -> None:
    # A greenlet that a request_timeout strikes may block anew before its old wait is looked at.
    clock, advance = ticking
    rung: list[str] = []
    clock.set_alarm("first", 1, lambda: clock.set_alarm("second", 9, lambda: rung.append("new")))
    clock.set_alarm("second", 1, lambda: rung.append("old"))
    advance(2)
    assert rung == []


def test_the_date_is_of_the_present_second(
    ticking: Ticking, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, advance = ticking
    monkeypatch.setattr(time, "time", lambda: 784111777.9)
    advance(PERIOD)
    assert clock.date == b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    assert clock.head_end == b"Server: gserver\r\n" + clock.date + b"\r\n"
    monkeypatch.setattr(time, "time", lambda: 784111778.0)
    advance(PERIOD)
    assert parsedate_to_datetime(clock.date[6:].decode()).timestamp() == 784111778


def test_no_server_field_for_an_empty_name() -> None:
    hub: Any = FakeHub()
    clock = Clock(hub, PERIOD, "")
    assert clock.server == b""
    assert clock.head_end == clock.date + b"\r\n"


# -- in a real hub ---------------------------------------------------------------------------


def error() -> BaseException:
    return TimeoutError("late")


@pytest.fixture
def clock() -> Any:
    clock = Clock(gevent.get_hub(), 0.01, "")
    yield clock
    clock.stop()


def never_ready() -> Any:
    return gevent.get_hub().loop.async_()


def test_wait_returns_when_the_watcher_fires(clock: Clock) -> None:
    watcher = never_ready()
    waiting = gevent.spawn(clock.wait, watcher, NEVER, error)
    gevent.sleep(0)
    watcher.send()
    waiting.get(timeout=5)
    watcher.close()


def test_wait_raises_past_the_deadline(clock: Clock) -> None:
    watcher = never_ready()
    waiting = gevent.spawn(clock.wait, watcher, time.monotonic() + 0.02, error)
    waiting.join(5)
    assert isinstance(waiting.exception, TimeoutError)
    assert not watcher.active
    watcher.close()


def test_hurry_makes_wait_raise_at_once(clock: Clock) -> None:
    watcher = never_ready()
    waiting = gevent.spawn(clock.wait, watcher, NEVER, error)
    gevent.sleep(0)
    clock.hurry(waiting)
    waiting.join(5)
    assert isinstance(waiting.exception, TimeoutError)
    clock.hurry(waiting)  # it waits no longer: nothing to do
    watcher.close()


def test_a_greenlet_that_passes_its_turn_lets_sockets_be_served(clock: Clock) -> None:
    # gevent looks at sockets only after fifty callbacks: a greenlet that sleeps for 0 seconds
    # does fifty times as much before others get to run.
    watcher = never_ready()
    fired: list[None] = []
    watcher.start(lambda: fired.append(None))
    turns = 0

    def work() -> None:
        nonlocal turns
        watcher.send()
        while not fired:
            clock.pass_turn()
            turns += 1

    gevent.spawn(work).get(timeout=5)
    assert turns <= 2
    watcher.close()


def test_a_greenlet_killed_while_it_passes_its_turn_is_not_switched_to(clock: Clock) -> None:
    passing = gevent.spawn(clock.pass_turn)
    other = gevent.spawn(gevent.sleep, 0)
    gevent.sleep(0)
    passing.kill()
    other.get(timeout=5)
    assert passing.dead
