"""A selector that waits in gevent's hub; it is what lets asyncio loops run in greenlets.

asyncio notes "the running loop" for each thread, not for each greenlet: without more, every other
greenlet would seem to run inside a loop that only waits. So the note of it is taken away for the
time of a wait. Then several greenlets can run loops of their own at the same time: `asyncio.run`,
or asgiref's ``async_to_sync``, in several requests at once.

A coroutine may also block its loop's greenlet, if only for a lock. So while callbacks run each
switch of greenlets is traced, and the note stays behind with the greenlet that it is about.
"""

from __future__ import annotations

import selectors
import sys
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import gevent
from gevent import getcurrent, monkey
from gevent.hub import Hub
from greenlet import gettrace, greenlet, settrace

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

# Seconds that `select` may return at once, time and again, before the hub sees to its sockets.
_TURN: Final = 0.002


class HubSelector(selectors._BaseSelectorImpl):
    """Waits for descriptors in gevent's hub, where other greenlets run meanwhile.

    A selector as those of the selectors module; `select` blocks one greenlet.
    """

    def __init__(self) -> None:
        super().__init__()
        _leave_children_alone()
        self._hub: Hub = gevent.get_hub()
        self._watchers: dict[int, Any] = {}
        self._fired: dict[int, int] = {}
        self._told: list[int] = []  # descriptors that `select` returned the last time
        self._turn_end = 0.0
        self._waiter: Any = None  # the greenlet that is blocked in `select`
        self._woken = False

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> selectors.SelectorKey:
        """Watch a descriptor from now on."""
        key: selectors.SelectorKey = super().register(fileobj, events, data)
        # The selectors' EVENT_READ and EVENT_WRITE are libev's.
        self._watchers[key.fd] = self._hub.loop.io(key.fd, events)
        self._watch(key.fd)
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        """Watch it no longer; to be called before it is closed."""
        key: selectors.SelectorKey = super().unregister(fileobj)
        watcher = self._watchers.pop(key.fd)
        watcher.stop()
        watcher.close()
        self._fired.pop(key.fd, None)
        return key

    def _watch(self, descriptor: int) -> None:
        watcher = self._watchers.get(descriptor)
        if watcher is not None and not watcher.active:
            watcher.start(self._on_event, descriptor, pass_events=True)

    def _on_event(self, happened: int, descriptor: int) -> None:
        # Or it would happen again in every turn of the loop, until somebody has looked.
        self._watchers[descriptor].stop()
        self._fired[descriptor] = happened
        self._resume()

    def _resume(self) -> None:
        self._woken = False
        if self._waiter is not None:
            self._waiter.switch()

    @property
    def waiting(self) -> bool:
        """A greenlet is blocked in `select`."""
        return self._waiter is not None

    def wake(self) -> None:
        """End the wait of the greenlet that is blocked in `select`, in this turn of the hub."""
        if self._waiter is not None and not self._woken:
            self._woken = True
            self._hub.loop.run_callback(self._resume)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready, blocking this greenlet for `timeout` seconds at most."""
        for descriptor in self._told:
            self._watch(descriptor)
        self._told.clear()
        if timeout is None or timeout > 0:
            if not self._fired:
                self._wait(timeout)
        elif time.monotonic() > self._turn_end:
            self._wait(0.0)
        if not self._fired:
            return []
        fired, self._fired = self._fired, {}
        self._told.extend(fired)
        keys = self.get_map()
        return [
            (key, happened & key.events)
            for descriptor, happened in fired.items()
            if (key := keys.get(descriptor)) is not None and happened & key.events
        ]

    def _wait(self, timeout: float | None) -> None:
        note = _take_note()
        _untrace()
        timer: Any = None
        if timeout is not None:
            # libev takes 0 for "in the next turn", which is what a pass of the turn wants.
            timer = self._hub.loop.timer(timeout)
            timer.start(self._resume, update=True)  # from now on, not from when this turn began
        self._waiter = getcurrent()
        try:
            self._hub.switch()
        finally:
            self._waiter = None
            if timer is not None:
                timer.stop()
                timer.close()
            if note is not None:
                _put_note(note)
                if gettrace() is None:
                    settrace(_on_switch)
            self._turn_end = time.monotonic() + _TURN

    def close(self) -> None:
        """Watch nothing any more."""
        for watcher in self._watchers.values():
            watcher.stop()
            watcher.close()
        self._watchers.clear()
        self._fired.clear()
        _untrace()
        super().close()


def _leave_children_alone() -> None:
    """Have asyncio ask gevent's waitpid, and not the kernel, how a subprocess ended.

    gevent's Popen has its hub wait for it, which then is the only one to know.
    """
    unix: Any = sys.modules.get("asyncio.unix_events")
    if unix is not None and monkey.is_module_patched("subprocess"):
        unix.can_use_pidfd = lambda: False  # Python 3.12 and later ask


class _Note(NamedTuple):
    """What asyncio and the interpreter know of a running loop in this thread."""

    loop: Any
    task: Any
    hooks: Any  # of asynchronous generators


# Those of loops whose greenlets block amid a callback.
_notes: Final[WeakKeyDictionary[greenlet, _Note]] = WeakKeyDictionary()


def _take_note() -> _Note | None:
    events: Any = sys.modules.get("asyncio.events")
    loop = events and events._get_running_loop()
    if loop is None:
        return None
    note = _Note(loop, _swap_task(loop, None), sys.get_asyncgen_hooks())
    events._set_running_loop(None)
    sys.set_asyncgen_hooks(None, None)
    return note


def _put_note(note: _Note) -> None:
    events: Any = sys.modules["asyncio.events"]
    events._set_running_loop(note.loop)
    _swap_task(note.loop, note.task)
    sys.set_asyncgen_hooks(*note.hooks)


def _swap_task(loop: Any, task: Any) -> Any:
    # Since Python 3.12; from 3.14 on it is noted for each thread, before for each loop.
    tasks: Any = sys.modules.get("asyncio.tasks")
    swap = getattr(tasks, "_swap_current_task", None)
    return swap(loop, task) if swap is not None else None


def _on_switch(_: str, switch: tuple[greenlet, greenlet]) -> None:
    """Leave the note with its greenlet; greenlet calls this after each switch, while traced."""
    origin, target = switch
    note = _take_note()
    if note is not None:
        _notes[origin] = note
    note = _notes.pop(target, None)
    if note is not None:
        _put_note(note)


def _untrace() -> None:
    """Trace switches no longer, unless a loop's greenlet blocks amid a callback."""
    if not _notes and gettrace() is _on_switch:
        settrace(None)
