"""An application for gserver, and the same one for ASGI servers: `app` and `asgi`."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from gserver.api import (
    Disconnected,
    early_hints,
    lighten,
    lite,
    push,
    send_trailers,
    to_asgi,
    websocket,
)

Environ = dict[str, Any]
Triple = tuple[str, list[tuple[str, str]], Any]
Start = Callable[..., Callable[[bytes], None]]

PLAIN = ("Content-Type", "text/plain")
BLOCK = bytes(65536)
FLOOD = 512  # blocks

released = threading.Event()
produced = 0
notes: list[str] = []


def request_keys(environ: Environ) -> Triple:
    """Tell what came with the request, in the words of CGI."""
    names = ["REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "RAW_URI"]
    names += ["SERVER_PROTOCOL", "CONTENT_TYPE", "CONTENT_LENGTH", "wsgi.url_scheme"]
    names += sorted(name for name in environ if name.startswith("HTTP_X_"))
    names += ["HTTP_COOKIE", "REMOTE_ADDR", "wsgi.input_terminated"]
    lines = [f"{name}={environ[name]!r}\n" for name in names if name in environ]
    return "200 OK", [PLAIN], ["".join(lines).encode()]


def echo_content(environ: Environ) -> Triple:
    return "200 OK", [PLAIN, ("X-Echo", "yes")], iter(environ["wsgi.input"].read1, b"")


def digest(environ: Environ) -> Triple:
    size, found = 0, hashlib.sha256()
    for line in environ["wsgi.input"]:
        size += len(line)
        found.update(line)
    return "200 OK", [PLAIN], [f"{found.hexdigest()} {size}".encode()]


def cookies(environ: Environ) -> Triple:
    headers = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Name", "Zähne")]
    return "404 Not Found", headers, [b"one", b"", b"two"]


def nothing(environ: Environ) -> Triple:
    return "204 No Content", [("X-Empty", "yes")], []


def a_file(environ: Environ) -> Triple:
    file = open(__file__, "rb")  # noqa: SIM115 - the server closes it
    return "200 OK", [PLAIN], environ["wsgi.file_wrapper"](file)


def fail(environ: Environ) -> Triple:
    raise ValueError("as planned")


def broken(environ: Environ) -> Triple:
    def body() -> Iterator[bytes]:
        yield b"half"
        raise ValueError("as planned")

    return "200 OK", [PLAIN], body()


def gate(environ: Environ) -> Triple:
    """Send one block, and the next when somebody has asked for /release."""
    released.clear()

    def body() -> Iterator[bytes]:
        yield b"first"
        assert released.wait(10)
        yield b"second"

    return "200 OK", [PLAIN], body()


def gated_upload(environ: Environ) -> Triple:
    """Read when somebody has asked for /release."""
    released.clear()
    assert released.wait(10)
    return digest(environ)


def release(environ: Environ) -> Triple:
    released.set()
    return "200 OK", [PLAIN], [b"released"]


def flood(environ: Environ) -> Triple:
    global produced
    produced = 0

    def body() -> Iterator[bytes]:
        global produced
        for _ in range(FLOOD):
            produced += len(BLOCK)
            yield BLOCK

    return "200 OK", [PLAIN], body()


class Endless:
    """A body that notes that it is closed."""

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield BLOCK

    def close(self) -> None:
        notes.append("closed")


def endless(environ: Environ) -> Triple:
    return "200 OK", [PLAIN], Endless()


def half(environ: Environ) -> Triple:
    try:
        environ["wsgi.input"].read()
    except Disconnected as exc:
        notes.append(f"{exc}")
        raise
    return "200 OK", [], []


def take_notes(environ: Environ) -> Triple:
    text = f"{produced} {'; '.join(notes)}"
    return "200 OK", [PLAIN], [text.encode()]


def hints(environ: Environ) -> Triple:
    told = early_hints(environ, ["</style.css>; rel=preload; as=style"])
    return "200 OK", [PLAIN], [f"{told}".encode()]


def pushing(environ: Environ) -> Triple:
    return "200 OK", [PLAIN], [push(environ, "/request").value.encode()]


def trailers(environ: Environ) -> Triple:
    def body() -> Iterator[bytes]:
        yield b"content"
        send_trailers(environ, [("X-Sum", "1")])

    return "200 OK", [PLAIN, ("Trailer", "X-Sum")], body()


@lighten
def writing(environ: Environ, start_response: Start) -> Any:
    write = start_response("200 OK", [PLAIN])
    write(b"written, ")
    return [b"returned"]


@lighten
def late(environ: Environ, start_response: Start) -> Iterator[bytes]:
    yield b""
    start_response("500 Oh", [("X-First", "1")])
    try:
        raise ValueError
    except ValueError:
        start_response("202 Accepted", [PLAIN], sys.exc_info())
    yield b"late"


@websocket(subprotocols=["chat"])
def talk(ws: Any) -> None:
    for message in ws:
        if message == "close":
            ws.close(4000, "as you like")
        elif message == "fail":
            raise ValueError("as planned")
        else:
            ws.send(message)


PAGES: dict[str, Callable[[Environ], Triple]] = {
    "/request": request_keys,
    "/echo": echo_content,
    "/digest": digest,
    "/cookies": cookies,
    "/nothing": nothing,
    "/file": a_file,
    "/fail": fail,
    "/broken": broken,
    "/gate": gate,
    "/gated": gated_upload,
    "/release": release,
    "/flood": flood,
    "/endless": endless,
    "/half": half,
    "/notes": take_notes,
    "/hints": hints,
    "/pushing": pushing,
    "/trailers": trailers,
    "/writing": writing,
    "/late": late,
    "/talk": talk,
}


@lite
def app(environ: Environ) -> Triple:
    page = PAGES.get(environ["PATH_INFO"], request_keys)
    return page(environ)


asgi = to_asgi(app)
