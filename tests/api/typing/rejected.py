"""What type checkers must reject, in each line that ignores an error; never run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gserver.api import bind, is_lite, iter_bindings, lighten, lite, to_wsgi, with_bindings
from gserver.api.lite import Response

Environ = dict[str, Any]
Headers = list[tuple[str, str]]


def two_items(environ: Environ) -> tuple[str, Headers]:
    return "200 OK", []


def wrong_order(environ: Environ) -> tuple[list[bytes], str, Headers]:
    return [], "200 OK", []


def status_number(environ: Environ) -> tuple[int, Headers, list[bytes]]:
    return 200, [], []


def headers_dict(environ: Environ) -> tuple[str, dict[str, str], list[bytes]]:
    return "200 OK", {}, []


def body_of_text(environ: Environ) -> tuple[str, Headers, list[str]]:
    return "200 OK", [], ["text"]


def body_text(environ: Environ) -> tuple[str, Headers, str]:
    return "200 OK", [], "text"


def environ_text(environ: str) -> Response:
    return "200 OK", [], []


def nothing() -> Response:
    return "200 OK", [], []


def unbound(environ: Environ, path: str) -> Response:
    return "200 OK", [], []


def wsgi(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
    return []


@lite
def fine(environ: Environ) -> tuple[str, Headers, list[bytes]]:
    return "200 OK", [], []


class Site:
    @lite
    def page(self, environ: Environ) -> Response:
        return "200 OK", [], []

    @lite  # type: ignore[arg-type]
    def two_items(self, environ: Environ) -> tuple[str, Headers]:
        return "200 OK", []


lite(two_items)  # type: ignore[arg-type]
lite(wrong_order)  # type: ignore[arg-type]
lite(status_number)  # type: ignore[arg-type]
lite(headers_dict)  # type: ignore[arg-type]
lite(body_of_text)  # type: ignore[arg-type]
lite(body_text)  # type: ignore[arg-type]
lite(environ_text)  # type: ignore[arg-type]
lite(nothing)  # type: ignore[arg-type]
lite(unbound)  # type: ignore[arg-type]
lite(wsgi)  # type: ignore[arg-type]
lite(1)  # type: ignore[call-overload]
lite(fine, path="PATH_INFO")  # type: ignore[call-overload]
lite(path=1)  # type: ignore[call-overload]
lite(path=["PATH_INFO", 1])  # type: ignore[list-item]
lite(path="PATH_INFO")(nothing)  # type: ignore[arg-type]
lite(path="PATH_INFO")(two_items)  # type: ignore[arg-type]
lite(path="PATH_INFO")("name")  # type: ignore[arg-type]
lite.wraps()  # type: ignore[call-arg]
lite.wraps(fine, user=1)  # type: ignore[arg-type]
bind(path=1)  # type: ignore[arg-type]
bind(path="PATH_INFO")(nothing)  # type: ignore[arg-type]
bind(path="PATH_INFO")(unbound)({}, "/")  # type: ignore[call-arg]
iter_bindings(1, {})  # type: ignore[arg-type]
with_bindings({"path": 1}, unbound, {})  # type: ignore[dict-item]
lighten("name")  # type: ignore[arg-type]
to_wsgi("name")  # type: ignore[arg-type]
is_lite()  # type: ignore[call-arg]
fine()  # type: ignore[call-overload]
fine("environ")  # type: ignore[call-overload]
fine({}, "start_response")  # type: ignore[call-overload]
fine({}, path="/")  # type: ignore[call-overload]
Site().page()  # type: ignore[call-overload]
to_wsgi(fine)({})  # type: ignore[call-arg]
number: int = fine({})  # type: ignore[assignment]
