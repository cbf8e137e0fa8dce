"""Flask: start it with ``gserver examples.flask_app:app``.

A report that takes its time reaches the browser line by line; ``time.sleep`` stops nobody else.
"""

import time
from collections.abc import Iterator

from flask import Flask, Response, request, stream_with_context

app = Flask(__name__)


@app.get("/")
def index() -> str:
    return '<a href="/report?lines=5">A report that takes a second</a>\n'


@app.get("/report")
def report() -> Response:
    def produce() -> Iterator[str]:
        lines = request.args.get("lines", 3, int)
        for number in range(1, lines + 1):
            yield f"line {number} of {lines}\n"
            time.sleep(0.2)

    return Response(stream_with_context(produce()), content_type="text/plain")
