"""Pyramid: what every framework here can do."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound, HTTPNoContent
from pyramid.request import Request
from pyramid.response import FileResponse, Response

FILE = os.environ["SERVED_FILE"]
released: defaultdict[str, threading.Event] = defaultdict(threading.Event)


def describe(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def greet(request: Request) -> Response:
    text = f"{request.params['word']}, {request.matchdict['name']}!"
    return Response(text, content_type="text/plain", charset="utf-8")


def form(request: Request) -> dict[str, str]:
    return dict(request.POST)


def upload(request: Request) -> dict[str, Any]:
    part = request.POST["file"]
    return {"name": part.filename, **describe(part.file.read())}


def raw(request: Request) -> dict[str, Any]:
    return describe(request.body)


def drip(request: Request) -> Response:
    def produce() -> Iterator[bytes]:
        yield b"first\n"
        if request.matchdict["name"] == "broken":
            raise RuntimeError("in the middle")
        released[request.matchdict["name"]].wait(20)
        yield b"second\n"

    return Response(app_iter=produce(), content_type="text/plain")


def release(request: Request) -> Response:
    released[request.matchdict["name"]].set()
    return Response()


def file(request: Request) -> Response:
    response = FileResponse(
        os.environ["SERVED_FILE"], request, content_type="application/octet-stream"
    )
    response.conditional_response = True
    return response


def set_cookies(request: Request) -> Response:
    response = Response()
    response.set_cookie("one", "1")
    response.set_cookie("two", "2; two", httponly=True)
    return response


def get_cookies(request: Request) -> dict[str, str]:
    return dict(request.cookies)


def moved(request: Request) -> Response:
    return HTTPFound(request.route_url("greet", name="you", _query={"word": "hello"}))


def nothing(request: Request) -> Response:
    return HTTPNoContent()


def error(request: Request) -> Response:
    raise RuntimeError("internals that no client may see")


ROUTES = {
    "greet": ("/greet/{name}", greet),
    "form": ("/form", form),
    "upload": ("/upload", upload),
    "raw": ("/raw", raw),
    "drip": ("/drip/{name}", drip),
    "release": ("/release/{name}", release),
    "file": ("/file", file),
    "set_cookies": ("/cookies/set", set_cookies),
    "get_cookies": ("/cookies/get", get_cookies),
    "moved": ("/moved", moved),
    "nothing": ("/nothing", nothing),
    "error": ("/error", error),
}

with Configurator() as config:
    for name, (pattern, view) in ROUTES.items():
        config.add_route(name, pattern)
        config.add_view(view, route_name=name, renderer="json")
    app = config.make_wsgi_app()
