"""Server-sent events: start it with ``gserver examples.event_stream:app``, open it twice, talk."""

from collections.abc import Iterable, Iterator
from queue import Empty, Queue
from typing import Any

from gserver.api import lite

PAGE = b"""<!doctype html><title>Talk</title><input autofocus
 onchange="fetch('/', {method: 'POST', body: value}); value = ''"><pre id=talk></pre>
<script>new EventSource('/events').onmessage = event => talk.append(event.data, '\\n')</script>
"""
listeners: set[Queue[bytes]] = set()


def events() -> Iterator[bytes]:
    queue: Queue[bytes] = Queue()  # what waits in its get() is a greenlet, and costs little
    listeners.add(queue)
    try:
        yield b": welcome\n\n"
        while True:
            try:
                yield b"data: " + queue.get(timeout=15) + b"\n\n"
            except Empty:
                yield b": still there?\n\n"  # sending is what tells that a listener has left
    finally:
        listeners.remove(queue)


@lite
def app(environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], Iterable[bytes]]:
    if environ["PATH_INFO"] == "/events":
        return "200 OK", [("Content-Type", "text/event-stream")], events()
    text = b" ".join(environ["wsgi.input"].read(1000).split())
    for queue in list(listeners) if text else ():
        queue.put(text)
    return "200 OK", [("Content-Type", "text/html; charset=utf-8")], [PAGE]
