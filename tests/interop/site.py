"""The application that the clients visit; it keeps a record of who came, and how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from gserver.api import Disconnected, early_hints, lite, priority, push, send_trailers

Environ = dict[str, Any]
Result = tuple[str, list[tuple[str, str]], Iterable[bytes]]

BLOCK = bytes(range(256)) * 64
TEXT = [("Content-Type", "text/plain")]
STYLE = ("Link", "</style.css>; rel=preload; as=style")
RESOURCES = 200

PAGE = """<!doctype html><title>Many</title><link rel="icon" href="data:,"><body>
<script>
let loaded = 0, failed = 0;
function done(worked) {
  if (worked) loaded++; else failed++;
  if (loaded + failed === TOTAL) document.title = `${loaded} loaded, ${failed} failed`;
}
for (let n = 0; n < TOTAL; n++) {
  const script = document.createElement("script");
  script.src = `/resource/${n}`;
  script.onerror = () => done(false);
  document.body.append(script);
}
</script>
""".replace("TOTAL", str(RESOURCES))


class Site:
    """Serves each path by the method of that name.

    Attributes:
        requests: Method, path and protocol of each request.
        connections: The clients' ports.
        broken: Paths of requests whose client left before the end.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str]] = []
        self.connections: set[str] = set()
        self.broken: list[str] = []
        self.application = lite(self.respond)

    @property
    def protocols(self) -> set[str]:
        """SERVER_PROTOCOL of all requests."""
        return {protocol for _, _, protocol in self.requests}

    def respond(self, environ: Environ) -> Result:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append((method, path, environ["SERVER_PROTOCOL"]))
        self.connections.add(environ["REMOTE_PORT"])
        handler = getattr(self, path.split("/")[1] or "hello", None)
        return handler(environ) if handler else ("404 Not Found", TEXT, [b"nothing here\n"])

    def hello(self, environ: Environ) -> Result:
        return "200 OK", TEXT, [f"hello over {environ['SERVER_PROTOCOL']}\n".encode()]

    def page(self, environ: Environ) -> Result:
        return "200 OK", [("Content-Type", "text/html; charset=utf-8")], [PAGE.encode()]

    def resource(self, environ: Environ) -> Result:
        return "200 OK", [("Content-Type", "text/javascript")], [b"done(true);\n"]

    def blocks(self, environ: Environ) -> Result:
        return "200 OK", TEXT, self._blocks(environ)

    def _blocks(self, environ: Environ) -> Iterator[bytes]:
        try:
            for _ in range(int(environ["QUERY_STRING"])):
                yield BLOCK
        except GeneratorExit:
            self.broken.append(environ["PATH_INFO"])
            raise

    def sized(self, environ: Environ) -> Result:
        return "200 OK", TEXT, [BLOCK * int(environ["QUERY_STRING"])]

    def digest(self, environ: Environ) -> Result:
        size, sha = 0, hashlib.sha256()
        while piece := environ["wsgi.input"].read1():
            size += len(piece)
            sha.update(piece)
        return "200 OK", TEXT, [json.dumps([size, sha.hexdigest()]).encode()]

    def refuse(self, environ: Environ) -> Result:
        return "403 Forbidden", TEXT, [b"no"]

    def echo(self, environ: Environ) -> Result:
        return "200 OK", TEXT, self._echo(environ)

    def _echo(self, environ: Environ) -> Iterator[bytes]:
        try:
            while piece := environ["wsgi.input"].read1():
                yield piece
        except Disconnected:
            self.broken.append(environ["PATH_INFO"])
            raise

    def trailers(self, environ: Environ) -> Result:
        return "200 OK", [("Trailer", "sha256, told"), *TEXT], self._trailers(environ)

    def _trailers(self, environ: Environ) -> Iterator[bytes]:
        sha = hashlib.sha256()
        while piece := environ["wsgi.input"].read1():
            sha.update(piece)
            yield piece
        told = dict(environ.get("gserver.trailers", ()))
        send_trailers(environ, [("sha256", sha.hexdigest()), ("told", json.dumps(told))])

    def hints(self, environ: Environ) -> Result:
        early_hints(environ, [STYLE[1]])
        return "200 OK", [("Content-Type", "text/html"), STYLE], [b"<!doctype html>\n"]

    def pushes(self, environ: Environ) -> Result:
        told = [push(environ, f"/pushed/{n}").value for n in range(3)]
        return "200 OK", TEXT, [" ".join(told).encode()]

    def pushed(self, environ: Environ) -> Result:
        return "200 OK", TEXT, [environ["PATH_INFO"].encode() + b"\n" + BLOCK]

    def priority(self, environ: Environ) -> Result:
        return "200 OK", TEXT, [str(tuple(priority(environ))).encode()]
