"""The example applications that all servers are given, each for Lite and, its twin, for WSGI.

``/lite/NAME`` and ``/wsgi/NAME`` must be answered alike. `router` is the Lite application of the
former alone, for gserver to call natively; `application` is what any WSGI server takes.

What happens behind the response, `close()` for example, is noted in a file for the test to read:
the one of the folder ``notes`` beside this module that the header X-Note names.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from gserver.api import (
    disconnected,
    early_hints,
    features,
    lighten,
    lite,
    never_index,
    priority,
    protocol,
    push,
    send_trailers,
    to_wsgi,
    websocket,
)

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
Response = tuple[str, Headers, Iterable[bytes]]
StartResponse = Callable[..., Callable[[bytes], object]]

NOTES = Path(__file__).parent / "notes"
PLAIN = ("Content-Type", "text/plain")
STYLE = "</style.css>; rel=preload; as=style"
BLOCK = bytes(65536)


def note(environ: Environ, text: str) -> None:
    """Tell the test what has happened."""
    with (NOTES / environ["HTTP_X_NOTE"]).open("a") as file:
        file.write(f"{text}\n")


class Closing:
    """Notes that it was closed."""

    def __init__(self, environ: Environ, name: str) -> None:
        self.environ = environ
        self.name = name

    def close(self) -> None:
        note(self.environ, f"closed {self.name}")


class Body(Closing):
    """Blocks with a close()."""

    def __init__(self, environ: Environ, name: str, blocks: Iterable[bytes]) -> None:
        super().__init__(environ, name)
        self._blocks = blocks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._blocks


# -- content in all forms ------------------------------------------------------------------------


def plain(environ: Environ) -> Response:
    return "200 OK", [PLAIN, ("Content-Length", "6")], [b"plain\n"]


def plain_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [PLAIN, ("Content-Length", "6")])
    return [b"plain\n"]


def unsized(environ: Environ) -> Response:
    return "200 OK", [PLAIN], [b"one ", b"", b"two\n"]


def unsized_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [PLAIN])
    return [b"one ", b"", b"two\n"]


def empty(environ: Environ) -> Response:
    return "404 Nothing Here", [PLAIN], []


def empty_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("404 Nothing Here", [PLAIN])
    return []


def rows() -> Iterator[bytes]:
    yield b""
    for number in range(3):
        yield b"row %d\n" % number
        yield b""
    yield BLOCK


def streamed(environ: Environ) -> Response:
    return "200 OK", [PLAIN], rows()


def streamed_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [PLAIN])
    yield from rows()


def counted(environ: Environ) -> Response:
    return "200 OK", [PLAIN, ("Content-Length", str(18 + len(BLOCK)))], rows()


def counted_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [PLAIN, ("Content-Length", str(18 + len(BLOCK)))])
    return rows()


def file(environ: Environ) -> Response:
    return "200 OK", [PLAIN], file_body(environ)


def file_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [PLAIN])
    return file_body(environ)


def file_body(environ: Environ) -> Iterable[bytes]:
    content = BytesIO(b"from a file\n" * 1000)
    wrap: Callable[[BytesIO], Iterable[bytes]] = environ.get("wsgi.file_wrapper", iter)
    return wrap(content)


# -- heads ---------------------------------------------------------------------------------------

NO_CONTENT: Headers = [("ETag", '"a"')]
COOKIES: Headers = [
    PLAIN,
    ("Set-Cookie", "b=2; Path=/"),
    ("X-Upper", "caf\xe9"),
    ("Set-Cookie", "a=1; HttpOnly"),
    ("x-empty", ""),
    ("Content-Length", "0"),
]


def nothing(environ: Environ) -> Response:
    return "204 No Content", NO_CONTENT, []


def nothing_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("204 No Content", NO_CONTENT)
    return []


def unchanged(environ: Environ) -> Response:
    return "304 Not Modified", NO_CONTENT, []


def unchanged_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("304 Not Modified", NO_CONTENT)
    return []


def cookies(environ: Environ) -> Response:
    return "303 See Other", [*COOKIES, ("Location", "/lite/plain")], []


def cookies_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("303 See Other", [*COOKIES, ("Location", "/lite/plain")])
    return []


# -- requests ------------------------------------------------------------------------------------

ASKED = ("REQUEST_METHOD", "SCRIPT_NAME", "QUERY_STRING", "CONTENT_TYPE", "HTTP_X_LONG_NAME")


def asked(environ: Environ) -> list[bytes]:
    path = environ["PATH_INFO"].removeprefix("/lite").removeprefix("/wsgi")
    return [json.dumps([path, *(environ.get(key, "") for key in ASKED)]).encode()]


def request(environ: Environ) -> Response:
    return "200 OK", [PLAIN], asked(environ)


def request_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [PLAIN])
    return asked(environ)


def read(environ: Environ) -> bytes:
    """Read counted content to its end, other content to the server's."""
    length = int(environ.get("CONTENT_LENGTH") or 1 << 20)
    blocks: list[bytes] = []
    while length and (block := environ["wsgi.input"].read(min(length, 10000))):
        blocks.append(block)
        length -= len(block)
    return b"".join(blocks)


def echo(environ: Environ) -> Response:
    return "200 OK", [("Content-Type", environ["CONTENT_TYPE"])], [read(environ)]


def echo_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    content = read(environ)
    start_response("200 OK", [("Content-Type", environ["CONTENT_TYPE"])])
    return [content]


def backwards(environ: Environ) -> list[bytes]:
    """Read all before the response begins: some servers drop then what was not read."""
    left = int(environ["CONTENT_LENGTH"])
    found: list[bytes] = []
    while left and (line := environ["wsgi.input"].readline(left)):
        found.append(line[::-1])
        left -= len(line)
    return found


def lines(environ: Environ) -> Response:
    return "200 OK", [PLAIN], backwards(environ)


def lines_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [PLAIN])
    return backwards(environ)


@lite(
    method="REQUEST_METHOD",
    name=["HTTP_X_SHORT_NAME", "HTTP_X_LONG_NAME"],
    words=lambda environ: [environ["QUERY_STRING"].split("&")],
)
def bound(
    environ: Environ, method: str, words: list[str], name: str = "", missing: str = "none"
) -> Response:
    return "200 OK", [PLAIN], [" ".join([method, name, missing, *words]).encode()]


def bound_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [PLAIN])
    words = environ["QUERY_STRING"].split("&")
    return [" ".join([environ["REQUEST_METHOD"], "v; w", "none", *words]).encode()]


# -- what only WSGI has; the Lite twins are `lighten`s ---------------------------------------------


def written(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    write = start_response("200 OK", [PLAIN])
    write(b"written, ")
    write(b"")
    write(b"written again, ")
    return Body(environ, "body", [b"returned\n"])


def late(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("202 Accepted", [PLAIN])
    yield b""
    yield b"late\n"


def corrected(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/html"), ("X-First", "1")])
    try:
        raise ValueError("before content")
    except ValueError as exc:
        start_response("503 Sorry", [PLAIN], (type(exc), exc, exc.__traceback__))
    return [b"corrected\n"]


def late_corrected(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/html")])
    yield b""
    try:
        raise ValueError("in the iterable")
    except ValueError as exc:
        start_response("503 Sorry", [PLAIN], (type(exc), exc, exc.__traceback__))
    yield b"corrected\n"


def too_late(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [PLAIN])
    yield BLOCK
    try:
        try:
            raise ValueError("behind content")
        except ValueError as exc:
            start_response("503 Sorry", [PLAIN], (type(exc), exc, exc.__traceback__))
    except ValueError as exc:
        note(environ, f"raised again: {exc}")
        raise
    yield b"never\n"


# -- the end -------------------------------------------------------------------------------------


def closing(environ: Environ) -> Response:
    register = environ["wsgi_lite.closing"]
    register(Closing(environ, "first"))
    last = register(Closing(environ, "last"))
    return "200 OK", [PLAIN], Body(environ, "body", [last.name.encode()])


class CloseAll(Body):
    """What `wsgi_lite.closing` does, by hand."""

    def close(self) -> None:
        for name in ("body", "last", "first"):
            note(self.environ, f"closed {name}")


def closing_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [PLAIN])
    return CloseAll(environ, "all", [b"last"])


def guarded(environ: Environ, blocks: Iterable[bytes]) -> Iterator[bytes]:
    try:
        yield from blocks
    finally:
        note(environ, "finally")


def finished(environ: Environ) -> Response:
    return "200 OK", [PLAIN], guarded(environ, [b"one ", b"two\n"])


def finished_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [PLAIN])
    return guarded(environ, [b"one ", b"two\n"])


def abandoned(environ: Environ) -> Response:
    return "200 OK", [PLAIN], guarded(environ, much())


def abandoned_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [PLAIN])
    return guarded(environ, much())


def much() -> Iterator[bytes]:
    """Yield more than any server holds back, in more time than a test has."""
    for _ in range(10000):
        yield BLOCK
        time.sleep(0.001)


def failing(environ: Environ) -> Response:
    environ["wsgi_lite.closing"](Closing(environ, "it"))
    raise RuntimeError("before the response")


def failing_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    note(environ, "closed it")
    raise RuntimeError("before the response")


def breaking(environ: Environ) -> Response:
    return "200 OK", [PLAIN], guarded(environ, fail_behind(BLOCK))


def breaking_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [PLAIN])
    return guarded(environ, fail_behind(BLOCK))


def fail_behind(block: bytes) -> Iterator[bytes]:
    yield block
    raise RuntimeError("behind content")


# -- one inside the other ------------------------------------------------------------------------


def signed(application: Any, name: str) -> Any:
    """Middleware, written for Lite."""
    inner = lighten(application)

    @lite
    def outer(environ: Environ) -> Response:
        status, headers, body = inner(environ)
        return status, [*headers, ("X-Signed", name)], Body(environ, name, body)

    return outer


def lowered(application: Any) -> Any:
    """Middleware, written for WSGI; knows nothing of Lite."""

    def outer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: Headers, exc_info: Any = None) -> Any:
            return start_response(status, [*headers, ("X-Lowered", "1")], exc_info)

        body = application(environ, start)
        try:
            yield from (block.lower() for block in body)
        finally:
            if hasattr(body, "close"):
                body.close()

    return outer


@lite
def core(environ: Environ) -> Response:
    environ["wsgi_lite.closing"](Closing(environ, "core"))
    return "200 OK", [PLAIN], [b"Three ", b"Layers\n"]


layers = signed(lowered(signed(core, "inner")), "outer")


def layers_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    signs = [("X-Signed", "inner"), ("X-Lowered", "1"), ("X-Signed", "outer")]
    start_response("200 OK", [PLAIN, *signs])
    return CloseLayers(environ, "all", [b"three ", b"layers\n"])


class CloseLayers(Body):
    def close(self) -> None:
        # `lowered` closes what is inside of it when its loop is over, the server what is outside.
        for name in ("inner", "outer", "core"):
            note(self.environ, f"closed {name}")


# -- capabilities --------------------------------------------------------------------------------


def capable(environ: Environ) -> Response:
    early_hints(environ, [STYLE])
    push(environ, "/lite/plain")
    send_trailers(environ, [("X-Sum", "1")])
    never_index(environ, "X-Token")
    return "200 OK", [PLAIN, ("X-Token", "t"), ("Link", STYLE)], [b"capable\n"]


def capable_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [PLAIN, ("X-Token", "t"), ("Link", STYLE)])
    return [b"capable\n"]


@websocket
def chat(ws: Any) -> None:
    for message in ws:
        ws.send(message)


def chat_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    body = b"this resource is a WebSocket\n"
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response("426 Upgrade Required", [*headers, ("Sec-WebSocket-Version", "13")])
    return [body]


def gone(environ: Environ) -> bool:
    """Ask whether the client has gone when it has, which a file says; again for some seconds."""
    note(environ, "began")
    deadline = time.monotonic() + 10
    left = NOTES / (environ["HTTP_X_NOTE"] + ".left")
    while not left.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    deadline = time.monotonic() + float(environ["HTTP_X_SECONDS"])
    while not (answer := disconnected(environ)) and time.monotonic() < deadline:
        time.sleep(0.005)
    return answer


FUNCTIONS: dict[str, Callable[[Environ], Any]] = {
    "protocol": protocol,
    "features": lambda environ: " ".join(
        name for name, possible in vars(features(environ)).items() if possible is True
    ),
    "early_hints": lambda environ: early_hints(environ, [STYLE]),
    "send_trailers": lambda environ: send_trailers(environ, [("X-Sum", "1")]),
    "push": lambda environ: push(environ, "/lite/plain").value,
    "priority": priority,
    "never_index": lambda environ: never_index(environ, "X-Token"),
    "disconnected": disconnected,
}


def call(environ: Environ) -> Response:
    """Answer with what a function says of the request, as JSON."""
    result = FUNCTIONS[environ["QUERY_STRING"]](environ)
    return "200 OK", [PLAIN, ("X-Token", "t")], [json.dumps(result).encode()]


def leave(environ: Environ) -> Response:
    note(environ, json.dumps(gone(environ)))
    return "200 OK", [PLAIN], []


# -- for servers ---------------------------------------------------------------------------------

TWINS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "plain": (plain, plain_wsgi),
    "unsized": (unsized, unsized_wsgi),
    "empty": (empty, empty_wsgi),
    "streamed": (streamed, streamed_wsgi),
    "counted": (counted, counted_wsgi),
    "file": (file, file_wsgi),
    "nothing": (nothing, nothing_wsgi),
    "unchanged": (unchanged, unchanged_wsgi),
    "cookies": (cookies, cookies_wsgi),
    "request": (request, request_wsgi),
    "echo": (echo, echo_wsgi),
    "lines": (lines, lines_wsgi),
    "bound": (bound, bound_wsgi),
    "written": (lighten(written), written),
    "late": (lighten(late), late),
    "corrected": (lighten(corrected), corrected),
    "late_corrected": (lighten(late_corrected), late_corrected),
    "too_late": (lighten(too_late), too_late),
    "closing": (closing, closing_wsgi),
    "finished": (finished, finished_wsgi),
    "abandoned": (abandoned, abandoned_wsgi),
    "failing": (failing, failing_wsgi),
    "breaking": (breaking, breaking_wsgi),
    "layers": (layers, layers_wsgi),
    "capable": (capable, capable_wsgi),
    "chat": (chat, chat_wsgi),
}
ALONE: dict[str, Callable[..., Any]] = {"call": call, "leave": leave}


@lite
def router(environ: Environ) -> Response:
    _, _, name, *_ = environ["PATH_INFO"].split("/")
    example = ALONE[name] if name in ALONE else TWINS[name][0]
    response: Response = example(environ)
    return response


as_wsgi = to_wsgi(router)


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    _, kind, name, *_ = environ["PATH_INFO"].split("/")
    run = as_wsgi if kind == "lite" else TWINS[name][1]
    return run(environ, start_response)
