"""WebOb without a framework on top: what every framework here can do."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from webob import Request, Response
from webob.dec import wsgify
from webob.exc import HTTPFound, HTTPNoContent
from webob.static import FileApp

FILE = os.environ["SERVED_FILE"]
released: defaultdict[str, threading.Event] = defaultdict(threading.Event)


def describe(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def greet(request: Request) -> Response:
    text = f"{request.params['word']}, {request.path_info_pop()}!"
    return Response(text, content_type="text/plain", charset="utf-8")


def form(request: Request) -> Response:
    fields: Any = request.POST
    return Response(json=dict(fields))


def upload(request: Request) -> Response:
    fields: Any = request.POST
    part = fields["file"]
    return Response(json={"name": part.filename, **describe(part.file.read())})


def raw(request: Request) -> Response:
    return Response(json=describe(request.body))


def drip(request: Request) -> Response:
    name = request.path_info

    def produce() -> Iterator[bytes]:
        yield b"first\n"
        if name == "/broken":
            raise RuntimeError("in the middle")
        released[name].wait(20)
        yield b"second\n"

    return Response(app_iter=produce(), content_type="text/plain")


def release(request: Request) -> Response:
    released[request.path_info].set()
    return Response()


def file(request: Request) -> Any:
    return FileApp(FILE, content_type="application/octet-stream")


def cookies(request: Request) -> Response:
    if request.path_info_pop() == "get":
        return Response(json=dict(request.cookies))
    response = Response()
    response.set_cookie("one", "1")
    response.set_cookie("two", "2; two", httponly=True)
    return response


def moved(request: Request) -> Response:
    request.script_name = request.script_name.removesuffix("/moved")
    return HTTPFound(location=f"{request.application_url}/greet/you?word=hello")


def nothing(request: Request) -> Response:
    return HTTPNoContent()


def unknown(request: Request) -> Response:
    return Response(status=404)


def error(request: Request) -> Response:
    raise RuntimeError("internals that no client may see")


VIEWS: dict[str | None, Callable[[Request], Any]] = {
    "greet": greet,
    "form": form,
    "upload": upload,
    "raw": raw,
    "drip": drip,
    "release": release,
    "file": file,
    "cookies": cookies,
    "moved": moved,
    "nothing": nothing,
    "error": error,
}


@wsgify
def app(request: Request) -> Any:
    return VIEWS.get(request.path_info_pop(), unknown)(request)
