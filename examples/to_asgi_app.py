"""One blocking application everywhere: start it with ``gserver examples.to_asgi_app:app``.

Or with an ASGI server: ``uvicorn examples.to_asgi_app:asgi``. What is typed comes back.
"""

import time
from collections.abc import Iterator
from typing import Any

from gserver.api import lite, to_asgi, websocket

PAGE = b"""<!doctype html><input onchange="ws.send(this.value)"><script>
  const ws = new WebSocket(location.origin.replace("http", "ws") + "/echo")
  ws.onmessage = event => document.body.append(event.data, " ")
</script>"""


def count() -> Iterator[bytes]:
    for number in b"12345":
        yield b"%c\n" % number
        time.sleep(0.1)


@websocket
def echo(ws: Any) -> None:
    for message in ws:
        ws.send(message)


@lite
def app(environ: dict[str, Any]) -> Any:
    if environ["PATH_INFO"] == "/echo":
        return echo(environ)
    if environ["PATH_INFO"] == "/count":
        return "200 OK", [("Content-Type", "text/plain")], count()
    return "200 OK", [("Content-Type", "text/html")], [PAGE]


asgi = to_asgi(app)
