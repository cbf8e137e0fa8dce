"""WSGI Lite: applications without start_response.

A Lite application is called with the environ alone and returns ``(status, headers, body)``. It
carries the mark ``__wsgi_lite__`` and can also be called as plain WSGI, with a second argument, so
that it runs under any server and inside any middleware. gserver calls it directly.

``environ["wsgi_lite.closing"]`` takes an object with ``close()``, returns it, and closes it when
the response is over, the last registered first. gserver provides it for every request; under
other servers the outermost decorated application does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import update_wrapper
from types import TracebackType
from typing import Any, TypeAlias, TypeVar, overload

from gserver.api.errors import LocalProtocolError

__all__ = ["is_lite", "lighten", "lite", "mark_lite", "native"]

Environ: TypeAlias = dict[str, Any]
Headers: TypeAlias = list[tuple[str, str]]
Body: TypeAlias = Iterable[bytes]
Response: TypeAlias = tuple[str, Headers, Body]
ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]
WSGIApplication: TypeAlias = Callable[[Environ, Callable[..., Any]], Body]
_Self = TypeVar("_Self", bound="_Application")

_CLOSING = "wsgi_lite.closing"


class _Application:
    """What both kinds of adapter have in common: the mark, the name, and being a method."""

    __wsgi_lite__ = True
    __self__: object

    def __init__(self, wrapped: Callable[..., Any]) -> None:
        self.__wrapped__ = wrapped
        update_wrapper(self, wrapped, updated=())

    @overload
    def __call__(self, environ: Environ) -> Response: ...
    @overload
    def __call__(self, environ: Environ, start_response: None) -> Response: ...
    @overload
    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Body: ...
    def __call__(self, environ: Any, start_response: Any = None, *more: Any) -> Response | Body:
        """Run the application, in the manner that the second argument asks for."""
        if isinstance(environ, type):
            # Since Python 3.13 @classmethod does not bind what it decorates: the class comes first.
            bound: Callable[..., Response | Body] = self.__get__(environ)
            return bound(start_response, *more)
        if start_response is None:
            return self._run_lite(environ)
        return self._run_wsgi(environ, start_response)

    def _run_lite(self, environ: Environ) -> Response:
        raise NotImplementedError

    def _run_wsgi(self, environ: Environ, start_response: Callable[..., Any]) -> Body:
        raise NotImplementedError

    def __get__(self: _Self, instance: object, owner: type | None = None) -> _Self:
        if instance is None or not hasattr(self.__wrapped__, "__get__"):
            return self
        bound = type(self)(self.__wrapped__.__get__(instance, owner))
        bound.__self__ = instance
        return bound

    def __getattr__(self, name: str) -> Any:
        # What `lighten` is given may be more than a function: a WebOb response, say.
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)


class LiteApplication(_Application):
    """A Lite application that can also be called as WSGI; made by `lite`."""

    def _run_lite(self, environ: Environ) -> Response:
        response: Response = self.__wrapped__(environ)
        return response

    def _run_wsgi(self, environ: Environ, start_response: Callable[..., Any]) -> Body:
        with _Closer(environ) as closer:
            status, headers, closer.body = self.__wrapped__(environ)
            start_response(status, headers)
            return closer.hand_over()


class LightenedApplication(_Application):
    """A WSGI application that can also be called as Lite; made by `lighten`."""

    def _run_lite(self, environ: Environ) -> Response:
        return _Capture(self.__wrapped__, environ).response()

    def _run_wsgi(self, environ: Environ, start_response: Callable[..., Any]) -> Body:
        with _Closer(environ) as closer:
            closer.body = self.__wrapped__(environ, start_response)
            return closer.hand_over()


def lite(application: Callable[..., Response]) -> LiteApplication:
    """Mark a function of the environ as a Lite application that WSGI can call too.

    Works on functions, methods and callable objects. What is Lite already is returned as it is.
    """
    if is_lite(application):
        return application  # type: ignore[return-value]
    if not callable(application):
        raise TypeError(f"@lite takes one callable, not {application!r}")
    return LiteApplication(application)


def lighten(application: Callable[..., Any]) -> Callable[..., Any]:
    """Return a WSGI application in a form that can also be called as Lite.

    What is Lite already is returned as it is. Blocks that the application sends by write() come
    first in the body, once the application has returned.
    """
    if is_lite(application):
        return application
    if not callable(application):
        raise TypeError(f"lighten takes a WSGI application, not {application!r}")
    return LightenedApplication(application)


def mark_lite(application: Any) -> Any:
    """Mark an object that keeps to both calling conventions by itself; returns it."""
    application.__wsgi_lite__ = True
    return application


def is_lite(application: object) -> bool:
    """Tell whether `application` may be called with the environ alone."""
    if getattr(application, "__wsgi_lite__", False):
        return True
    if isinstance(application, type):
        return False  # its instances may be, calling the class makes one
    call = getattr(application, "__call__", None)  # noqa: B004 - the attribute is what counts
    return getattr(call, "__wsgi_lite__", False) and getattr(call, "__self__", None) is application


def native(application: Callable[..., Any]) -> tuple[Callable[..., Any], bool]:
    """Return what a server calls directly, and whether with the environ alone.

    The adapters are for servers and middleware that know one convention only.
    """
    if isinstance(application, _Application):
        return application.__wrapped__, isinstance(application, LiteApplication)
    return application, is_lite(application)


class _Closer:
    """Provides ``wsgi_lite.closing`` where no server or outer application has.

    As a context manager it closes everything when the application raises instead of returning a
    body: no body then carries the duty on.

    Attributes:
        body: The application's body; closed first, as servers close it.
    """

    def __init__(self, environ: Environ) -> None:
        self.body: Any = None
        self._things: list[Any] = []
        self._over = False
        self._needed = _CLOSING not in environ
        if self._needed:
            environ[_CLOSING] = self._register

    def _register(self, thing: Any) -> Any:
        if self._over:
            thing.close()
        else:
            self._things.append(thing)
        return thing

    def __enter__(self) -> _Closer:
        return self

    def __exit__(self, kind: object, exc: object, traceback: object) -> None:
        if exc is not None:
            self.close()

    def hand_over(self) -> Body:
        """Return a body that closes what was registered when it ends or is closed."""
        body: Body = self.body
        if not self._needed:
            return body
        return (_SizedBody if hasattr(body, "__len__") else _ClosingBody)(body, self)

    def close(self) -> None:
        """Close body and what was registered, the last first, all of it even if some raise."""
        body, self.body = self.body, None
        if hasattr(body, "close"):
            self._things.append(body)
        try:
            while self._things:
                self._things.pop().close()
        finally:
            if self._things:
                self.close()  # one has raised: on with the others, in its context
            self._over = True


class _ClosingBody:
    """A body that takes `_Closer`'s things along."""

    def __init__(self, body: Body, closer: _Closer) -> None:
        self._body = body
        self._closer = closer

    def __iter__(self) -> Iterator[bytes]:
        yield from self._body
        self.close()  # some middleware forgets to

    def close(self) -> None:
        self._closer.close()


class _SizedBody(_ClosingBody):
    """For a body that has a length; without one even asking for the truth would fail."""

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type]


class _Capture:
    """Runs a WSGI application and collects its response as a triple."""

    def __init__(self, application: WSGIApplication, environ: Environ) -> None:
        self._application = application
        self._environ = environ
        self._head: tuple[str, Headers] | None = None
        self._written: list[bytes] = []
        self._returned = False
        self._begun = False  # content has passed: the head is fixed

    def _start_response(
        self, status: str, headers: Headers, exc_info: ExcInfo | None = None, /
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            try:
                if self._begun or self._written:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # it would keep the frames of the traceback alive
        elif self._head is not None:
            raise LocalProtocolError("start_response was called a second time without exc_info")
        self._head = (status, headers)
        return self._write

    def _write(self, data: bytes) -> None:
        if self._returned:
            raise LocalProtocolError("write() was called after the application had returned")
        if data:
            self._written.append(data)

    def response(self) -> Response:
        """Return the triple; reads on to the first block if the head comes as late as that."""
        body = self._application(self._environ, self._start_response)
        self._returned = True
        if hasattr(body, "close"):
            self._environ[_CLOSING](body)
        if self._head is not None and not self._written:
            self._begun = True
            return (*self._head, body)
        blocks = iter(body)
        first = next((block for block in blocks if block), None)
        if self._head is None:
            raise LocalProtocolError("content, or its end, came before start_response was called")
        self._begun = True
        if first is not None:
            self._written.append(first)
        return (*self._head, _Prefixed(self._written, blocks))


class _Prefixed:
    """Blocks in front of an iterator; without a length, for that of the body would be wrong."""

    def __init__(self, first: list[bytes], rest: Iterator[bytes]) -> None:
        self._first = first
        self._rest = rest

    def __iter__(self) -> Iterator[bytes]:
        yield from self._first
        yield from self._rest
