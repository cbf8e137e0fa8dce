"""Bottle: what every framework here can do."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bottle import Bottle, redirect, request, response, static_file

app = Bottle()
FILE = Path(os.environ["SERVED_FILE"])
released: defaultdict[str, threading.Event] = defaultdict(threading.Event)


def describe(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def greet(name: str) -> str:
    response.content_type = "text/plain; charset=utf-8"
    return f"{request.query.word}, {name}!"


def form() -> dict[str, str]:
    return dict(request.forms.decode())


def upload() -> dict[str, Any]:
    file = request.files.file
    return {"name": file.raw_filename, **describe(file.file.read())}


def raw() -> dict[str, Any]:
    return describe(request.body.read())


def drip(name: str) -> Iterator[str]:
    response.content_type = "text/plain"
    yield "first\n"
    if name == "broken":
        raise RuntimeError("in the middle")
    released[name].wait(20)
    yield "second\n"


def release(name: str) -> str:
    released[name].set()
    return ""


def file() -> Any:
    return static_file(FILE.name, FILE.parent, "application/octet-stream")


def set_cookies() -> str:
    response.set_cookie("one", "1")
    response.set_cookie("two", "2; two", httponly=True)
    return ""


def get_cookies() -> dict[str, str]:
    return dict(request.cookies)


def moved() -> None:
    redirect(app.get_url("greet", name="you", word="hello"))


def nothing() -> None:
    response.status = 204


def error() -> None:
    raise RuntimeError("internals that no client may see")


app.get("/greet/<name>", name="greet", callback=greet)
app.post("/form", callback=form)
app.post("/upload", callback=upload)
app.post("/raw", callback=raw)
app.get("/drip/<name>", callback=drip)
app.post("/release/<name>", callback=release)
app.get("/file", callback=file)
app.get("/cookies/set", callback=set_cookies)
app.get("/cookies/get", callback=get_cookies)
app.get("/moved", callback=moved)
app.get("/nothing", callback=nothing)
app.get("/error", callback=error)
