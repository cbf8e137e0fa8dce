"""Whatever an application is, and whatever it is put into: the response is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gserver.api import bind, lighten, lite, to_wsgi
from gserver.api.lite import native
from lite_tools import CLOSING, Body, Closer, Environ, StartResponse, run_wsgi

STATUS = "200 OK"


class Source:
    """Makes an application of blocks that closes what it registers; in one of several ways."""

    def __init__(self, blocks: list[bytes]) -> None:
        self.blocks = blocks
        self.events: list[str] = []

    def register(self, environ: Environ) -> None:
        if closing := environ.get(CLOSING):
            closing(Closer(self.events, "first"))
            closing(Closer(self.events, "second"))

    @lite
    def as_lite(self, environ: Environ) -> Any:
        self.register(environ)
        return STATUS, [], Body(self.events, self.blocks)

    @lite(closing=CLOSING)
    def bound(self, environ: Environ, closing: Any) -> Any:
        self.register({CLOSING: closing})
        return STATUS, [], Body(self.events, self.blocks)

    def wsgi(self, environ: Environ, start_response: StartResponse) -> Any:
        self.register(environ)
        start_response(STATUS, [])
        return Body(self.events, self.blocks)

    def late(self, environ: Environ, start_response: StartResponse) -> Any:
        def produce() -> Iterator[bytes]:
            yield b""
            start_response(STATUS, [])
            yield from self.blocks

        self.register(environ)
        return Body(self.events, produce())

    def writing(self, environ: Environ, start_response: StartResponse) -> Any:
        self.register(environ)
        write = start_response(STATUS, [])
        half = len(self.blocks) // 2
        for block in self.blocks[:half]:
            write(block)
        return Body(self.events, self.blocks[half:])


def through_lite(app: Any) -> Any:
    inner = lighten(app)
    return lite(lambda environ: inner(environ))


def through_bound(app: Any) -> Any:
    @lite(closing=CLOSING)
    @bind(closing=CLOSING)
    def middleware(environ: Environ, closing: Any) -> Any:
        return lighten(app)(environ)

    return middleware


def through_wraps(app: Any) -> Any:
    @lite.wraps(lighten(app), closing=CLOSING)
    def middleware(app: Any, environ: Environ, closing: Any) -> Any:
        return app(environ)

    return middleware


def through_class(app: Any) -> Any:
    class Middleware(lite.app):
        def app(self, environ: Environ) -> Any:
            return lighten(app)(environ)

    return Middleware


def through_wsgi(app: Any) -> Any:
    return lambda environ, start_response: to_wsgi(app)(environ, start_response)


def through_native(app: Any) -> Any:
    """What a server makes of it."""
    call, as_lite = native(app)
    return lite(lambda environ: call(environ)) if as_lite else call


LAYERS: list[Callable[[Any], Any]] = [
    lighten,
    to_wsgi,
    through_lite,
    through_bound,
    through_wraps,
    through_class,
    through_wsgi,
    through_native,
]


@given(
    blocks=st.lists(st.binary(max_size=3), max_size=5),
    kind=st.sampled_from(["as_lite", "bound", "wsgi", "late", "writing"]),
    layers=st.lists(st.sampled_from(LAYERS), max_size=5),
)
@settings(max_examples=150, deadline=None)
def test_responses_are_the_same_in_any_stack(
    blocks: list[bytes], kind: str, layers: list[Callable[[Any], Any]]
) -> None:
    source = Source(blocks)
    app = getattr(source, kind)
    for layer in [*layers, lighten]:
        app = layer(app)
    assert run_wsgi(app) == (STATUS, [], b"".join(blocks))
    # The body may be closed by who has it, and by whom it was registered with.
    once = list(dict.fromkeys(source.events))
    assert once == ["body", "second", "first"]
    assert source.events.count("first") == source.events.count("second") == 1
