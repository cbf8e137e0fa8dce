"""Falcon: what every framework here can do."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import falcon
from falcon import App, Request, Response

released: defaultdict[str, threading.Event] = defaultdict(threading.Event)


def describe(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def greet(req: Request, resp: Response, name: str) -> None:
    resp.content_type = falcon.MEDIA_TEXT
    resp.text = f"{req.get_param('word')}, {name}!"


def form(req: Request, resp: Response) -> None:
    resp.media = req.get_media()


def upload(req: Request, resp: Response) -> None:
    for part in req.get_media():
        if part.name == "file":
            resp.media = {"name": part.filename, **describe(part.stream.read())}


def raw(req: Request, resp: Response) -> None:
    # In pieces, because wsgiref.validate refuses read() without a size.
    resp.media = describe(b"".join(iter(lambda: req.stream.read(65536), b"")))


def drip(req: Request, resp: Response, name: str) -> None:
    def produce() -> Iterator[bytes]:
        yield b"first\n"
        if name == "broken":
            raise RuntimeError("in the middle")
        released[name].wait(20)
        yield b"second\n"

    resp.content_type = falcon.MEDIA_TEXT
    resp.stream = produce()


def release(req: Request, resp: Response, name: str) -> None:
    released[name].set()


def set_cookies(req: Request, resp: Response) -> None:
    resp.set_cookie("one", "1", secure=False)
    resp.set_cookie("two", "2; two", secure=False, http_only=True)


def get_cookies(req: Request, resp: Response) -> None:
    resp.media = req.cookies


def moved(req: Request, resp: Response) -> None:
    raise falcon.HTTPFound(f"{req.prefix}/greet/you?word=hello")


def nothing(req: Request, resp: Response) -> None:
    resp.status = falcon.HTTP_NO_CONTENT


def error(req: Request, resp: Response) -> None:
    raise RuntimeError("internals that no client may see")


class Resource:
    """One function for one method, the shape that Falcon routes to."""

    def __init__(self, method: str, function: Callable[..., None]) -> None:
        setattr(self, f"on_{method}", function)


app = App()
app.add_route("/greet/{name}", Resource("get", greet))
app.add_route("/form", Resource("post", form))
app.add_route("/upload", Resource("post", upload))
app.add_route("/raw", Resource("post", raw))
app.add_route("/drip/{name}", Resource("get", drip))
app.add_route("/release/{name}", Resource("post", release))
app.add_route("/cookies/set", Resource("get", set_cookies))
app.add_route("/cookies/get", Resource("get", get_cookies))
app.add_route("/moved", Resource("get", moved))
app.add_route("/nothing", Resource("get", nothing))
app.add_route("/error", Resource("get", error))
app.add_static_route("/file", os.environ["SERVED_FOLDER"], fallback_filename="file.bin")
