"""Tools for tests of Lite without a server: the caller's side, and things that are closed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Headers = list[tuple[str, str]]

CLOSING = "wsgi_lite.closing"


class Boom(Exception):
    """An error of the application."""


class Closer:
    """Notes that it was closed."""

    def __init__(self, events: list[str], name: str, then: Callable[[], object] = str) -> None:
        self.events = events
        self.name = name
        self.then = then

    def close(self) -> None:
        self.events.append(self.name)
        self.then()


class Body:
    """A body with close(); without a length."""

    def __init__(self, events: list[str], blocks: Iterable[bytes]) -> None:
        self.events = events
        self.blocks = blocks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.blocks)

    def close(self) -> None:
        self.events.append("body")


def fail() -> None:
    raise Boom("in close()")


def run_wsgi(app: Any, environ: Environ | None = None) -> tuple[str, Headers, bytes]:
    """Do what a plain WSGI server does."""
    heads: list[tuple[str, Headers]] = []
    written: list[bytes] = []

    def start_response(status: str, headers: Headers, exc_info: Any = None) -> Any:
        heads.append((status, headers))
        return written.append

    body = app({} if environ is None else environ, start_response)
    try:
        content = b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()
    return (*heads[-1], b"".join(written) + content)


def with_closing(events: list[Any]) -> Environ:
    """Return an environ whose provider only notes what is registered."""

    def register(thing: Any) -> Any:
        events.append(thing)
        return thing

    return {CLOSING: register}
