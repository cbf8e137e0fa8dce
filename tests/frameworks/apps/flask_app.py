"""Flask: what every framework here can do, and what is Flask's own."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import (
    Flask,
    Response,
    g,
    jsonify,
    redirect,
    request,
    send_file,
    session,
    stream_with_context,
    url_for,
)
from werkzeug.wrappers import Response as BaseResponse

app = Flask(__name__)
app.secret_key = "not a secret"
# With a limit, Werkzeug always says how much it reads, as wsgiref.validate wants it.
app.config["MAX_CONTENT_LENGTH"] = 10_000_000
FILE = Path(os.environ["SERVED_FILE"])
released: defaultdict[str, threading.Event] = defaultdict(threading.Event)


def describe(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@app.get("/greet/<name>")
def greet(name: str) -> Response:
    return Response(f"{request.args['word']}, {name}!", content_type="text/plain; charset=utf-8")


@app.post("/form")
def form() -> Response:
    return jsonify(request.form)


@app.post("/upload")
def upload() -> Response:
    file = request.files["file"]
    return jsonify(name=file.filename, **describe(file.read()))


@app.post("/raw")
def raw() -> Response:
    return jsonify(describe(request.get_data()))


@app.get("/drip/<name>")
def drip(name: str) -> Response:
    def produce() -> Iterator[str]:
        yield "first\n"
        if name == "broken":
            raise RuntimeError("in the middle")
        released[name].wait(20)
        yield "second\n"

    return Response(produce(), content_type="text/plain")


@app.post("/release/<name>")
def release(name: str) -> str:
    released[name].set()
    return ""


@app.get("/file")
def file() -> Response:
    return send_file(FILE, "application/octet-stream")


@app.get("/cookies/set")
def set_cookies() -> Response:
    response = Response()
    response.set_cookie("one", "1")
    response.set_cookie("two", "2; two", httponly=True)
    return response


@app.get("/cookies/get")
def get_cookies() -> Response:
    return jsonify(request.cookies)


@app.get("/moved")
def moved() -> BaseResponse:
    return redirect(url_for("greet", name="you", word="hello"))


@app.get("/nothing")
def nothing() -> Response:
    response = Response(status=204)
    del response.headers["Content-Type"]  # wsgiref.validate wants none without content
    return response


@app.get("/error")
def error() -> str:
    raise RuntimeError("internals that no client may see")


# -- Flask's own -------------------------------------------------------------------------------

torn_down: defaultdict[str, threading.Event] = defaultdict(threading.Event)


@app.teardown_appcontext
def note_teardown(error: BaseException | None) -> None:
    if "name" in g:
        torn_down[g.name].set()


@app.route("/count", methods=["GET", "POST"])
def count() -> str:
    """Count the visits of a browser, whose session is a signed cookie."""
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


@app.get("/context/<name>")
def context(name: str) -> Response:
    """Stream while the request's context lasts."""
    g.name = name

    def produce() -> Iterator[str]:
        yield f"{request.path} {g.name}\n"
        released[name].wait(20)
        yield f"{request.args['word']} {g.name}\n"

    return Response(stream_with_context(produce()), content_type="text/plain")


@app.get("/endless/<name>")
def endless(name: str) -> Response:
    """Stream until the client has had enough."""
    g.name = name

    def produce() -> Iterator[bytes]:
        while True:
            yield bytes(65536)

    return Response(stream_with_context(produce()))


@app.post("/take/<name>")
def take(name: str) -> Response:
    """Take content, as long as it may need to come."""
    g.name = name
    return jsonify(describe(request.get_data()))


@app.get("/torn-down/<name>")
def await_teardown(name: str) -> str:
    return str(torn_down[name].wait(20))


@app.get("/attachment")
def attachment() -> Response:
    return send_file(FILE, as_attachment=True, download_name="Prüfung.bin", max_age=60)


@app.post("/small")
def small() -> Response:
    """Take no more than 1000 bytes, which Flask checks."""
    request.max_content_length = 1000
    return jsonify(describe(request.get_data()))
