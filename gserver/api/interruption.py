"""A call that can be left in the middle and taken up again, in a greenlet of its own.

To the function that is called this makes as little difference as can be. It has the context
variables of its caller, not copies of them. What is thrown at the caller while the function runs, a
`gevent.Timeout` or `kill()`, is raised in the function, as it would be without the greenlet.
What is kept for each greenlet, such as `threading.local` under monkey-patching, it does not share.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import cache
from importlib import import_module
from typing import Any, Final
from weakref import ref

__all__ = ["Call", "Callee", "available", "thread_locals_are_shared"]

# Parked greenlets beyond these end instead; each keeps the greenlet alive that it last returned to.
# To make one takes ten times as long as a call does.
_PARKED: Final = 8


@cache
def available() -> Any:
    """Return the module greenlet where it is installed, else None."""
    try:
        return import_module("greenlet")
    except ImportError:
        return None


def _thread_local() -> Any:
    """Return `threading.local` as it was before gevent patched it."""
    monkey = sys.modules.get("gevent.monkey")
    return threading.local if monkey is None else monkey.get_original("threading", "local")


class _Thread(_thread_local()):  # type: ignore[misc]
    """What each thread has for itself, whatever greenlet runs."""

    def __init__(self) -> None:
        self.parked: list[Any] = []


_thread = _Thread()


def thread_locals_are_shared() -> bool:
    """Tell whether all greenlets of a thread share `threading.local`: it is not patched."""
    return threading.local.__module__ in ("_thread", "_threading_local")


class Callee:
    """The call as seen by the function, which may `pause`.

    The frames of the function refer to this, so it must not own the greenlet: that ends its
    function when nobody else does.

    Attributes:
        over: The function has returned or raised.
        result: What it has returned.
        error: What it has raised.
        exit: Is raised in it, once it is to end.
        call: The call as seen from outside, as long as somebody has that.
        waiting: The greenlet to return to.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self.over = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.exit: BaseException | None = None
        self.call: Callable[[], Call | None] = _nobody
        self.waiting: Any = None

    @property
    def is_current(self) -> bool:
        """Whether the function itself is running, not another greenlet of its making."""
        call = self.call()
        return call is not None and call.greenlet is available().getcurrent()

    def pause(self) -> None:
        """Return to whoever called `Call.proceed`, until that is called again.

        Raises:
            GreenletExit: The call has been closed.
        """
        if self.exit is None:
            struck = self._return()
            if struck is not None:
                raise struck
        if self.exit is not None:
            raise self.exit

    def _return(self) -> BaseException | None:
        """Return to the caller until that returns here; tell what a timer has thrown meanwhile."""
        target, struck = self.waiting, None
        while True:
            try:
                target.switch()
                return struck
            except BaseException as exc:
                if self.waiting is not None or self.call() is None:
                    raise
                target = _hub()
                if target is None:
                    raise
                if struck is None:
                    struck = exc  # for later: now the caller has other things to do

    def run(self) -> None:
        """Call the function; `Call` does it in the greenlet."""
        try:
            self.result = self._function()
        except BaseException as exc:  # noqa: BLE001 - raised where `proceed` was called
            self.error = exc
        self.over = True


class Call:
    """The call as seen from outside. Belongs to one thread, whose greenlets may all use it.

    The function ends when this is closed or forgotten.

    Attributes:
        greenlet: Where the function runs; None when it is over.
    """

    def __init__(self, callee: Callee) -> None:
        self._callee = callee
        callee.call = ref(self)
        copy_context()  # makes a context where there is none yet
        self.greenlet: Any = _thread.parked.pop() if _thread.parked else _start()
        self.greenlet.gr_context = available().getcurrent().gr_context

    def proceed(self) -> None:
        """Run the function until it pauses or is over; raises what it raises."""
        self._run(None)

    def close(self) -> None:
        """End the function by raising GreenletExit in it, unless it is over."""
        callee = self._callee
        if callee.over:
            return
        callee.exit = leave = available().GreenletExit()
        try:
            self._run(leave)
        except BaseException as exc:
            if exc is not leave:
                raise
        finally:
            callee.exit = None  # its traceback keeps this frame alive
            del leave

    def _run(self, thrown: BaseException | None) -> None:
        callee = self._callee
        callee.waiting = available().getcurrent()
        while not callee.over:
            try:
                if thrown is None:
                    self.greenlet.switch(callee)
                else:
                    self.greenlet.throw(thrown)
                break
            except BaseException as exc:
                if callee.over or isinstance(exc, available().error):
                    raise
                thrown = exc  # somebody threw it at us while the function waited for something
        callee.waiting = None
        if not callee.over:
            return
        _park(self.greenlet)
        self.greenlet = None
        error, callee.error = callee.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error, thrown  # so do theirs


def _nobody() -> None:
    return None


def _hub() -> Any:
    """Return gevent's hub, where the timers are that functions have started; None without one."""
    gevent = sys.modules.get("gevent")
    return None if gevent is None else gevent.get_hub()


def _is_parked() -> bool:
    return available().getcurrent() in _thread.parked


def _park(greenlet: Any) -> None:
    if len(_thread.parked) < _PARKED and not greenlet.dead:
        greenlet.gr_context = None
        _thread.parked.append(greenlet)


def _start() -> Any:
    """Return a new greenlet that is ready for a callee."""
    me = root = available().getcurrent()
    while root.parent is not None:
        root = root.parent
    # The parent, and what it is started with, it keeps for its life.
    greenlet = available().greenlet(_work, root)
    greenlet.switch([me])
    return greenlet


def _work(starter: list[Any]) -> None:
    """Run one callee after the other; in a greenlet, which must own neither them nor itself."""
    waiting = starter.pop()
    while True:
        try:
            callee = waiting.switch()
        except BaseException:  # noqa: BLE001 - a timer that the last callee has left behind
            del waiting
            if not _is_parked() or (waiting := _hub()) is None:
                break  # or the end
            continue
        del waiting
        callee.run()
        if callee.call() is None or callee.waiting is None:
            callee.error = None
            break  # forgotten in the middle: nobody is there to return to
        waiting = callee.waiting
        del callee
