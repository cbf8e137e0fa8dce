"""A plain application, for the sake of the clients that ask it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Response = tuple[str, list[tuple[str, str]], Iterable[bytes]]

BLOCK = bytes(range(256)) * 64


def connection(environ: dict[str, Any]) -> Response:
    """Tell which connection this is."""
    return "200 OK", [], [environ["REMOTE_PORT"].encode()]


def digest(environ: dict[str, Any]) -> Response:
    """Tell what content came."""
    size, digest = 0, hashlib.sha256()
    while data := environ["wsgi.input"].read(65536):
        size += len(data)
        digest.update(data)
    told = {
        "size": size,
        "sha256": digest.hexdigest(),
        "length": environ.get("CONTENT_LENGTH"),
        "scheme": environ["wsgi.url_scheme"],
    }
    return "200 OK", [("Content-Type", "application/json")], [json.dumps(told).encode()]


def echo(environ: dict[str, Any]) -> Response:
    """Send content back while it comes."""
    return "200 OK", [], iter(lambda: environ["wsgi.input"].read1(), b"")


def blocks(environ: dict[str, Any]) -> Response:
    """Send as many blocks as the query says, without a length."""

    def produce() -> Iterator[bytes]:
        for _ in range(int(environ["QUERY_STRING"])):
            yield BLOCK

    return "200 OK", [], produce()


def refuse(environ: dict[str, Any]) -> Response:
    """Answer without a look at the content."""
    return "403 Forbidden", [], [b"no"]


def status(environ: dict[str, Any]) -> Response:
    """Answer with the status that the query says, and content where that is allowed."""
    code = environ["QUERY_STRING"]
    headers = [("Location", "/connection")] if code == "303" else []
    return f"{code} As asked", headers, [] if code in ("204", "304") else [b"content"]


VIEWS: dict[str, Callable[[dict[str, Any]], Response]] = {
    f"/{view.__name__}": view for view in (connection, digest, echo, blocks, refuse, status)
}


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    status, headers, body = VIEWS[environ["PATH_INFO"]](environ)
    start_response(status, headers)
    return body
