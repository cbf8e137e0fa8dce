"""WSGI called as Lite: the response of a WSGI application as a triple."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any

from gserver.api.adapter import Body, Environ, ExcInfo, Headers, Response, WSGIApplication
from gserver.api.closing import CLOSING
from gserver.api.errors import LocalProtocolError
from gserver.api.interruption import Call, Callee, available, thread_locals_are_shared

__all__ = ["Habits", "Translation", "WSGIViolation"]


class WSGIViolation(LocalProtocolError, AssertionError):
    """A WSGI application that was called as Lite broke the rules of PEP 3333."""


class Habits:
    """What is known of an application.

    Attributes:
        writes: It calls write().
    """

    def __init__(self, writes: bool) -> None:
        self.writes = writes


class Translation:
    """One call of a WSGI application, and its response as a triple.

    Where that can be, the application is called such that the response is handed over at the first
    write(), and the application continues when the next block is asked for. That must wait until
    the application has returned where greenlet is not installed; and, if `threading.local` is
    patched, where the application is not known to write: it does not share that with its caller.

    Attributes:
        written: What was written and not yet taken.
        callee: The application, if it can be left in the middle. Not the `Call`: this is referred
            to by its frames.
    """

    def __init__(self, application: WSGIApplication, environ: Environ, habits: Habits) -> None:
        self._application = application
        self._environ = environ
        self._habits = habits
        self._closing: Callable[[Any], Any] | None = environ.get(CLOSING)
        self._head: tuple[str, Headers] | None = None
        self._begun = False  # the head is in the caller's hands
        self._returned = False
        self.written: deque[bytes] = deque()
        self.callee: Callee | None = None

    def response(self) -> Response:
        """Call the application; returns as soon as the head is known and may not change."""
        run = partial(self._application, self._environ, self._start_response)
        if not (self._habits.writes or thread_locals_are_shared()) or available() is None:
            return self._complete(run())
        self.callee = Callee(run)
        call = Call(self.callee)
        call.proceed()
        if self.callee.over:
            return self._complete(self.callee.result)
        body = _WrittenBody(self, self.callee, call)
        if self._closing is not None:
            self._closing(body)
        return self._triple(body)

    def takes_care_of(self, body: Any) -> bool:
        """Take note that the application has returned; tell whether its body will be closed."""
        self._returned = True
        if not hasattr(body, "close"):
            return True
        if self._closing is None:
            return False
        self._closing(body)
        return True

    def _complete(self, body: Body) -> Response:
        """Return the triple after the application has returned."""
        if not self.takes_care_of(body):
            raise KeyError(CLOSING)
        if self._head is not None and not self.written:
            return self._triple(body)
        blocks = iter(body)
        if self._head is None:
            self.written.extend(_first(blocks))
        return self._triple(chain(self.written, blocks))

    def _triple(self, body: Body) -> Response:
        if self._head is None:
            raise WSGIViolation("content, or its end, came before start_response was called")
        self._begun = True
        return (*self._head, body)

    # -- what the application calls ----------------------------------------------------------

    def _start_response(
        self, status: str, headers: Headers, exc_info: ExcInfo | None = None, /
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            try:
                if self._begun or self.written:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # it would keep the frames of the traceback alive
        elif self._head is not None:
            raise WSGIViolation("start_response was called a second time without exc_info")
        self._head = (status, headers)
        return self._write

    def _write(self, data: bytes) -> None:
        if self._returned:
            raise WSGIViolation("write() was called after the application had returned")
        if data:
            self._habits.writes = True
            self.written.append(data)
            if self.callee is not None and self.callee.is_current:
                self.callee.pause()


class _WrittenBody:
    """The body of an application that has begun to write and not yet returned."""

    def __init__(self, translation: Translation, callee: Callee, call: Call) -> None:
        self._translation = translation
        self._callee = callee
        self._call = call
        self._returned = False
        self._owned: Any = None  # what the application has returned, if nobody else closes it

    def __iter__(self) -> Iterator[bytes]:
        written = self._translation.written
        while True:
            while written:
                yield written.popleft()
            if self._returned:
                break
            self._call.proceed()
            if self._callee.over:
                self._take()
        yield from self._callee.result

    def close(self) -> None:
        """End the application, if it has not yet returned, in its `finally` blocks."""
        if not self._returned:
            self._call.close()
            self._take()
        owned, self._owned = self._owned, None
        if owned is not None:
            owned.close()

    def _take(self) -> None:
        self._returned = True
        result = self._callee.result
        if not self._translation.takes_care_of(result):
            self._owned = result


def _first(blocks: Iterator[bytes]) -> list[bytes]:
    """Return the first block that is not empty, if there is one."""
    return next(([block] for block in blocks if block), [])
