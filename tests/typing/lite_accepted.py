"""What a type checker must accept; never run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from typing_extensions import assert_type

from gserver.api import Disconnected, RequestTooLarge, is_lite, lighten, lite, mark_lite
from gserver.api.lite import LiteApplication, Response

Environ = dict[str, Any]


@lite
def of_list(environ: Environ) -> tuple[str, list[tuple[str, str]], list[bytes]]:
    return "200 OK", [], [b"content"]


@lite
def of_generator(environ: Environ) -> tuple[str, list[tuple[str, str]], Iterator[bytes]]:
    return "200 OK", [("Content-Type", "text/plain")], (block for block in [b"content"])


@lite
def of_alias(environ: Environ) -> Response:
    return of_list(environ)


class Site:
    @lite
    def page(self, environ: Environ) -> Response:
        return "200 OK", [], []

    @lite
    def __call__(self, environ: Environ) -> Response:
        return self.page(environ)


def start_response(status: str, headers: list[tuple[str, str]]) -> Callable[[bytes], None]:
    raise NotImplementedError


def wsgi(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [])
    return [b"content"]


assert_type(of_list, LiteApplication)
assert_type(of_list({}), Response)
assert_type(of_list({}, None), Response)
status, headers, body = of_list({})
assert_type(status, str)
assert_type(headers, list[tuple[str, str]])
for block in of_list({}, start_response):
    assert_type(block, bytes)
for block in Site().page({}, start_response):
    assert_type(block, bytes)
assert_type(Site().page({}), Response)
assert_type(Site()({}), Response)
assert_type(is_lite(wsgi), bool)
lighten(wsgi)({})
lite(lambda environ: ("200 OK", [], [b"content"]))
mark_lite(wsgi)(1, 2)

try:
    wsgi({}, start_response)
except ConnectionError as exc:
    if isinstance(exc, Disconnected):
        print(exc)
except RequestTooLarge as exc:
    assert_type(exc.status, int)
    assert_type(exc.reason, str)
