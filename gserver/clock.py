# cython: language_level=3, annotation_typing=False
"""One coarse timer for everything that has a deadline, and how patient to be with content.

A timer object for each request would cost more than the request; one pass over all connections
and blocked greenlets every half second costs nothing that shows. So a timeout is never early, but
late by up to two ticks. `Clock.wait` and `park` run in greenlets, everything else in the hub.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, Protocol

from gevent import getcurrent
from gevent.hub import Hub

NEVER = float("inf")


class Expiring(Protocol):
    """What the clock watches: it has a deadline and knows what to do when that has passed."""

    deadline: float

    def expire(self) -> None:
        """Act on the missed deadline; runs in the hub and must not block."""


class Clock:
    """The time, the Date field, and whose deadline has passed.

    Attributes:
        now: `time.monotonic()` as it will be at the next tick, so that no deadline counted from
            it is early; reading it costs no system call.
        date: The Date field line of this second (RFC 9110 6.6.1).
        server: The Server field line, or nothing.
        head_end: Both of them and the empty line that ends a head.
        fields: Both of them as HTTP/2 has them: name, value, never to be indexed.
    """

    def __init__(self, hub: Hub, period: float, server: str) -> None:
        self._period = period
        self.now = time.monotonic() + period
        self.watched: set[Expiring] = set()
        self._hub = hub
        # By whom it is for: when it rings, what is called then, and the greenlet in which the
        # exception that this makes is raised.
        self._alarms: dict[Any, tuple[float, Callable[[], Any], Any]] = {}
        self._second = 0
        self.server = f"Server: {server}\r\n".encode("latin-1") if server else b""
        self._server_fields = [(b"server", server.encode("latin-1"), False)] if server else []
        self._stamp()
        self._timer = hub.loop.timer(period, period, ref=False)
        self._timer.start(self._tick)

    def after(self, seconds: float) -> float:
        """Return the deadline of a timeout that starts now; 0 means that there is none."""
        return self.now + seconds if seconds else NEVER

    def stop(self) -> None:
        """Stop ticking; nothing expires from here on."""
        self._timer.stop()
        self._timer.close()

    def wait(self, watcher: Any, deadline: float, error: Callable[[], BaseException]) -> None:
        """Block this greenlet until `watcher` fires.

        It may also return early, so look again afterwards.

        Raises:
            BaseException: What `error` makes, once `deadline` has passed.
        """
        watcher.start(getcurrent().switch)
        try:
            self.park(deadline, error)
        finally:
            watcher.stop()

    def park(self, deadline: float, error: Callable[[], BaseException]) -> None:
        """Block this greenlet until somebody in the hub switches to it.

        Raises:
            BaseException: What `error` makes, once `deadline` has passed.
        """
        greenlet = getcurrent()
        self._alarms[greenlet] = (deadline, error, greenlet)
        try:
            self._hub.switch()
        finally:
            del self._alarms[greenlet]

    def pass_turn(self) -> None:
        """Block this greenlet for one turn of the loop, in which it sees to all other sockets.

        `gevent.sleep(0)` does not: gevent looks at the sockets after every fiftieth of those.
        """
        watcher = self._hub.loop.async_()
        watcher.start(getcurrent().switch)
        watcher.send()
        try:
            self._hub.switch()
        finally:
            watcher.stop()
            watcher.close()

    def hurry(self, greenlet: Any) -> None:
        """Have a greenlet that blocks in `wait` get its error at the next tick."""
        if greenlet in self._alarms:
            _, error, _ = self._alarms[greenlet]
            self._alarms[greenlet] = (0.0, error, greenlet)

    def set_alarm(self, key: object, seconds: float, ring: Callable[[], None]) -> None:
        """Call `ring` in the hub after `seconds`, and again after each further period."""

        def again() -> None:
            self._alarms[key] = (self.now + seconds, again, None)
            ring()

        self._alarms[key] = (time.monotonic() + seconds, again, None)

    def cancel_alarm(self, key: object) -> None:
        """Forget what `set_alarm` was told."""
        self._alarms.pop(key, None)

    def _stamp(self) -> None:
        second = int(time.time())
        if second != self._second:
            self._second = second
            date = formatdate(second, usegmt=True).encode("ascii")
            self.date = b"Date: %b\r\n" % date
            self.head_end = self.server + self.date + b"\r\n"
            self.fields = [*self._server_fields, (b"date", date, False)]

    def _tick(self) -> None:
        now = time.monotonic()
        self.now = now + self._period
        self._stamp()
        for expiring in [one for one in self.watched if one.deadline < now]:
            expiring.expire()
        for key, alarm in list(self._alarms.items()):
            deadline, call, greenlet = alarm
            # Looked up again: one that rang just now may have cancelled this one, or replaced it.
            if deadline < now and self._alarms.get(key) is alarm:
                if greenlet is None:
                    call()
                else:
                    greenlet.throw(call())


class Patience:
    """How long a client may still keep the application waiting for content.

    Waiting for content costs time; content that comes earns some, at ``body_min_rate``. So a
    client may pause, but not dribble. The application's own slowness costs the client nothing.

    Attributes:
        left: Seconds.
    """

    def __init__(self, timeout: float, rate: int) -> None:
        self._timeout = timeout
        self._rate = rate
        self.left = timeout or NEVER

    def waited(self, seconds: float) -> None:
        """Note that the application was kept waiting."""
        if self._rate:
            self.left -= seconds

    def received(self, size: int) -> None:
        """Note that content came."""
        if self._rate and self._timeout:
            self.left = min(self.left + size / self._rate, self._timeout)
