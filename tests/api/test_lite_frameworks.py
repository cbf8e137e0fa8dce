"""Adapters around frameworks change nothing that can be observed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT

APPS = ROOT / "tests" / "frameworks" / "apps"
FRAMEWORKS = ("bottle", "django", "falcon", "flask", "pyramid", "webob")

# Sends the same requests through each stack and prints what came back.
PROGRAM = """
import sys

if sys.argv[1] == "patched":
    from gevent import monkey

    monkey.patch_all()

import hashlib
import importlib
import json
from io import BytesIO, StringIO
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

from gserver.api import lighten, lite, to_wsgi

def through(app):
    lightened = lighten(app)

    @lite
    def middleware(environ):
        return lightened(environ)

    return middleware

def called_as_lite(app):
    lightened = lighten(lite(lighten(app)))

    def wsgi(environ, start_response):
        things = []
        environ["wsgi_lite.closing"] = lambda thing: things.append(thing) or thing
        status, headers, body = lightened(environ)
        start_response(status, headers)
        try:
            yield from body
        finally:
            for thing in reversed(things):
                thing.close()

    return wsgi

STACKS = {
    "alone": lambda app: app,
    "lighten(lite(lighten(app)))": lambda app: lighten(lite(lighten(app))),
    "called as Lite": called_as_lite,
    "to_wsgi": lambda app: to_wsgi(lighten(app)),
    "Lite middleware": through,
    "two of it": lambda app: through(through(app)),
    "WSGI between": lambda app: through(lambda environ, start: through(app)(environ, start)),
    "validated": lambda app: validator(through(validator(app))),
}

FORM = b"one=1&%C3%BC=%C3%A4+%26+%C3%B6"
PARTS = (
    b'--limit\\r\\nContent-Disposition: form-data; name="file"; filename="data.bin"\\r\\n'
    b"Content-Type: application/octet-stream\\r\\n\\r\\n" + bytes(range(256))
    + b"\\r\\n--limit--\\r\\n"
)
REQUESTS = {
    "greet": ("GET", "/greet/J\\u00c3\\u00bcrgen", {"QUERY_STRING": "word=hello"}, b""),
    "form": ("POST", "/form", {"CONTENT_TYPE": "application/x-www-form-urlencoded"}, FORM),
    "upload": ("POST", "/upload", {"CONTENT_TYPE": "multipart/form-data; boundary=limit"}, PARTS),
    "raw": ("POST", "/raw", {}, bytes(100_000)),
    "broken drip": ("GET", "/drip/broken", {}, b""),
    "file": ("GET", "/file", {}, b""),
    "head of file": ("HEAD", "/file", {}, b""),
    "range": ("GET", "/file", {"HTTP_RANGE": "bytes=10-19"}, b""),
    "set cookies": ("GET", "/cookies/set", {}, b""),
    "get cookies": ("GET", "/cookies/get", {"HTTP_COOKIE": "one=1; two=2"}, b""),
    "moved": ("GET", "/moved", {}, b""),
    "nothing": ("GET", "/nothing", {}, b""),
    "error": ("GET", "/error", {}, b""),
    "unknown": ("GET", "/unknown", {}, b""),
}

def ask(app, method, path, more, content):
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": "", **more}
    environ |= {"CONTENT_LENGTH": str(len(content)), "wsgi.input": BytesIO(content)}
    errors = StringIO()
    environ |= {"wsgi.errors": errors, "wsgi.file_wrapper": FileWrapper}
    environ |= {"SCRIPT_NAME": "", "SERVER_PROTOCOL": "HTTP/1.1"}
    setup_testing_defaults(environ)
    heads, blocks = [], []
    body = error = None
    try:
        body = app(environ, lambda *head: heads.append(head[:2]) or blocks.append)
        blocks += body
    except RuntimeError as exc:
        error = str(exc)
    finally:
        getattr(body, "close", lambda: None)()
    content = b"".join(blocks)
    told = errors.getvalue().splitlines()[-1:]
    # A second may have passed.
    last = [(head[0], [one for one in head[1] if one[0] != "Date"]) for head in heads[-1:]]
    return [last, len(heads), len(content), hashlib.sha256(content).hexdigest(), error, told]

results = {}
for name in sys.argv[2:]:
    app = importlib.import_module(f"{name}_app").app
    for stack, make in STACKS.items():
        made = make(app)
        results[f"{name}, {stack}"] = {what: ask(made, *call) for what, call in REQUESTS.items()}
print(json.dumps(results))
"""


@pytest.mark.slow
@pytest.mark.parametrize("patched", [False, True], ids=["plain", "patched"])
def test_responses_are_the_same_with_and_without_adapters(patched: bool, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(bytes(range(256)) * 100)
    variables = {
        "SERVED_FILE": str(tmp_path / "file.bin"),
        "SERVED_FOLDER": str(tmp_path),
        "PYTHONPATH": str(APPS),
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, "-c", PROGRAM, "patched" if patched else "plain", *FRAMEWORKS]
    result = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    results: dict[str, dict[str, Any]] = json.loads(result.stdout)
    statuses = Counter(
        head[0][0][:3] if head else "none"
        for name in FRAMEWORKS
        for head, *_ in results[f"{name}, alone"].values()
    )
    assert statuses.keys() >= {"200", "204", "206", "302", "404", "500"}, statuses
    for name, answers in results.items():
        assert answers == results[f"{name.partition(',')[0]}, alone"], name
