"""`apps.hello` in each of the forms that gserver's API makes of it.

It is written once more: servers import this module as a part of ``benchmarks``, where `apps` has
another name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from gserver.api import lighten, lite, to_wsgi
from gserver.asgi import from_asgi

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

HELLO = b"Hello, world!"


def headers() -> Headers:
    return [("Content-Type", "text/plain"), ("Content-Length", str(len(HELLO)))]


def hello(environ: Environ, start_response: Callable[[str, Headers], Any]) -> Iterable[bytes]:
    start_response("200 OK", headers())
    return [HELLO]


@lite
def lite_hello(environ: Environ) -> tuple[str, Headers, list[bytes]]:
    return "200 OK", headers(), [HELLO]


lightened = lighten(hello)
as_wsgi = to_wsgi(lite_hello)


async def asgi_hello(scope: dict[str, Any], receive: object, send: Send) -> None:
    fields = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(HELLO))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": HELLO})


def beside_asgi() -> Callable[..., Iterable[bytes]]:
    """Return `hello`, and `asgi_hello` below ``/asgi``, whose loop runs from the start."""
    asynchronous: Any = from_asgi(asgi_hello)
    asynchronous.__startup__()

    def application(environ: Environ, start_response: Any) -> Any:
        if environ["PATH_INFO"].startswith("/asgi"):
            return asynchronous(environ, start_response)
        return hello(environ, start_response)

    return application
