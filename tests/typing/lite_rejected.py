"""What a type checker must reject, in each line that ignores an error; never run."""

from __future__ import annotations

from typing import Any

from gserver.api import RequestTimeout, is_lite, lighten, lite

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


@lite
def fine(environ: Environ) -> tuple[str, Headers, list[bytes]]:
    return "200 OK", [], []


lite(two_items)  # type: ignore[arg-type]
lite(wrong_order)  # type: ignore[arg-type]
lite(status_number)  # type: ignore[arg-type]
lite(headers_dict)  # type: ignore[arg-type]
lite(body_of_text)  # type: ignore[arg-type]
lite(body_text)  # type: ignore[arg-type]
lite("name")  # type: ignore[arg-type]
lite()  # type: ignore[call-arg]
lighten("name")  # type: ignore[arg-type]
is_lite()  # type: ignore[call-arg]
fine()  # type: ignore[call-overload]
fine("environ")  # type: ignore[call-overload]
fine({}, "start_response")  # type: ignore[call-overload]
RequestTimeout()  # type: ignore[call-arg]
number: int = fine({})  # type: ignore[assignment]

try:
    fine({})
except RequestTimeout as exc:
    text: str = exc.seconds  # type: ignore[assignment]
