"""Push and early hints: start it with ``gserver examples.push:app``.

While the page is still being made, the client learns what it will need: ``nghttp -v URL`` gets the
style sheet pushed; others, ``curl -v URL`` for one, are told by a 103.
"""

import time
from typing import Any

from gserver.api import lite, push

STYLE = b"body { font: 2em serif; background: linen }\n"
PAGE = b'<!doctype html><link rel="stylesheet" href="/style.css"><p>That took a moment.\n'


@lite
def app(environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], list[bytes]]:
    if environ["PATH_INFO"] == "/style.css":
        return "200 OK", [("Content-Type", "text/css"), ("Cache-Control", "max-age=60")], [STYLE]
    result = push(environ, "/style.css")
    time.sleep(0.2)  # the database is thinking
    headers = [("Content-Type", "text/html"), ("Style-Sheet", result.value)]
    return "200 OK", headers, [PAGE]
