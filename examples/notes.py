"""Notes, no framework: ``gserver examples.notes:app``; its form needs Werkzeug or WebOb."""

import time
from collections.abc import Iterator
from itertools import count
from typing import Any

from gserver.api import Request, lite, responses

PAGE = """<!doctype html><form method=post enctype=multipart/form-data><input name=text autofocus>
<input name=file type=file multiple><button>Add</button></form><pre id=list></pre><script>
let news = new EventSource("/news"); news.onopen = () => { list.innerText = "" }
news.onmessage = event => list.append(event.data, "\\n")</script>"""
notes: list[str] = []


def news() -> Iterator[str | None]:
    for number in count():
        while number == len(notes):
            time.sleep(0.5)
            yield None  # nobody sees it; it is how we learn that the reader has gone
        yield notes[number]


@lite(request=Request)
def app(environ: dict[str, Any], request: Request) -> Any:
    match request.method, request.path:
        case "GET", "/":
            return responses.html(PAGE)
        case "GET", "/news":
            return responses.sse(news())
        case "GET", "/notes":
            return responses.json(notes)
        case "POST", "/":
            sizes = [len(upload.file.read()) for upload in request.files.all("file")]
            notes.append(f"{request.form['text']} {sizes}")
            return responses.redirect("/")
    return responses.text("There is nothing here.\n", "404 Not Found")
