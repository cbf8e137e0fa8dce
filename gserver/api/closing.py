"""``wsgi_lite.closing`` where no server and no outer application provides it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from gserver.api.adapter import Body, Environ, StartResponse

__all__ = ["CLOSING", "Closer", "serve_lite", "serve_wsgi"]

CLOSING: Final = "wsgi_lite.closing"


def serve_lite(
    application: Callable[[Environ], Any], environ: Environ, start_response: StartResponse
) -> Body:
    """Answer a call of WSGI by calling a Lite application."""
    closer = Closer(environ)
    try:
        status, headers, closer.body = application(environ)
        start_response(status, headers)
    except BaseException:
        closer.close()  # there will be no body to do it
        raise
    return closer.as_body()


def serve_wsgi(
    application: Callable[[Environ, StartResponse], Body],
    environ: Environ,
    start_response: StartResponse,
) -> Body:
    """Answer a call of WSGI by calling a WSGI application."""
    closer = Closer(environ)
    try:
        closer.body = application(environ, start_response)
    except BaseException:
        closer.close()
        raise
    return closer.as_body()


class Closer:
    """Provides ``wsgi_lite.closing`` unless it is in the environ; then the body that closes all.

    Attributes:
        body: The application's body; closed first, as servers close it.
    """

    __slots__ = ("_needed", "_over", "_things", "body")

    def __init__(self, environ: Environ) -> None:
        self.body: Any = ()
        self._things: list[Any] = []
        self._over = False
        self._needed = environ.setdefault(CLOSING, self) is self

    def __call__(self, thing: Any) -> Any:
        """Close `thing` when the response is over, now if it is; returns it."""
        if self._over:
            thing.close()
        else:
            self._things.append(thing)
        return thing

    def as_body(self) -> Body:
        """Return what is the body from now on."""
        body: Body = self.body
        if not self._needed:
            return body
        if hasattr(body, "__len__"):
            # Where there is none, the mere method would make asking for the truth fail.
            self.__class__ = _SizedBody
        return self

    def __iter__(self) -> Iterator[bytes]:
        yield from self.body
        self.close()  # some middleware forgets to

    def close(self) -> None:
        """Close body and what was registered, the last first, all of it even if some raise."""
        if self._over:
            return
        body, self.body = self.body, ()
        if hasattr(body, "close"):
            self._things.append(body)
        try:
            while self._things:
                self._things.pop().close()
        finally:
            if self._things:
                self.close()  # one has raised: on with the others, in its context
            self._over = True


class _SizedBody(Closer):
    __slots__ = ()

    def __len__(self) -> int:
        return len(self.body)
