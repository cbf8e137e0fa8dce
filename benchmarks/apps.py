"""The applications that every server serves: the same work for each, and little of it.

What an application does itself would be charged to its server, so these do only what the scenario
needs. Each exists as WSGI and, under the name with ``asgi_`` before it, as ASGI without a
framework, for servers that speak only that.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

MIB = 1 << 20
HELLO = b"Hello, world!"
PAGE = b"0123456789abcdef" * 640
PIECE = bytes(64 << 10)
"""What the download yields at a time, and as much as the upload reads at a time."""

TRANSFER = 256 * MIB
"""Bytes of one download or upload: far more than any buffer on the way holds."""

PART = MIB // 2
"""Bytes of one download or upload where many are under way at once."""

SLEEP_SECONDS = 2.0


def hello(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with a few bytes, so that what is measured is the server."""
    start_response("200 OK", _wsgi_headers(len(HELLO)))
    return [HELLO]


def page(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with 10 KiB, the size of a small page."""
    start_response("200 OK", _wsgi_headers(len(PAGE)))
    return [PAGE]


def echo(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Send the request's body back."""
    body: bytes = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", _wsgi_headers(len(body)))
    return [body]


def download(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Stream `TRANSFER` bytes from a generator."""
    start_response("200 OK", _wsgi_headers(TRANSFER))
    return _pieces(TRANSFER)


def part(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Stream `PART` bytes from a generator."""
    start_response("200 OK", _wsgi_headers(PART))
    return _pieces(PART)


def upload(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Read the body piece by piece and answer with its length."""
    read: Callable[[int], bytes] = environ["wsgi.input"].read
    received = 0
    while piece := read(len(PIECE)):
        received += len(piece)
    body = b"%d" % received
    whole = received == int(environ["CONTENT_LENGTH"])
    start_response("200 OK" if whole else "400 Bad Request", _wsgi_headers(len(body)))
    return [body]


def sleep(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer like `hello`, but wait before."""
    time.sleep(SLEEP_SECONDS)
    return hello(environ, start_response)


async def asgi_hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Do as `hello` does."""
    await _respond(send, HELLO)


async def asgi_page(scope: Scope, receive: Receive, send: Send) -> None:
    """Do as `page` does."""
    await _respond(send, PAGE)


async def asgi_echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Do as `echo` does."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    await _respond(send, body)


async def asgi_download(scope: Scope, receive: Receive, send: Send) -> None:
    """Do as `download` does."""
    await _start(send, TRANSFER)
    for piece in _pieces(TRANSFER):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


async def asgi_upload(scope: Scope, receive: Receive, send: Send) -> None:
    """Do as `upload` does, in pieces of the server's choice: ASGI has no other."""
    received = 0
    more = True
    while more:
        message = await receive()
        received += len(message["body"])
        more = message["more_body"]
    await _respond(send, b"%d" % received)


def _wsgi_headers(length: int) -> list[tuple[str, str]]:
    return [("Content-Type", "text/plain"), ("Content-Length", str(length))]


def _pieces(length: int) -> Iterator[bytes]:
    for _ in range(length // len(PIECE)):
        yield PIECE


async def _start(send: Send, length: int) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _respond(send: Send, body: bytes) -> None:
    await _start(send, len(body))
    await send({"type": "http.response.body", "body": body})
