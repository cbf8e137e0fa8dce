"""Uploads of any size in constant memory: start it with ``gserver examples.upload:app``.

curl --upload-file film.mkv http://127.0.0.1:8000/ tells the digest. The client can send no faster
than the handler reads. To bound the size, start it with ``--limit-request-body``.
"""

import hashlib
from typing import Any

from gserver.api import lite


@lite
def app(environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], list[bytes]]:
    if environ["REQUEST_METHOD"] not in ("POST", "PUT"):
        return "405 Method Not Allowed", [("Allow", "POST, PUT")], [b"Send me a file.\n"]
    size, digest = 0, hashlib.sha256()
    while block := environ["wsgi.input"].read1():
        size += len(block)
        digest.update(block)
    return "200 OK", [("Content-Type", "text/plain")], [f"{digest.hexdigest()} {size}\n".encode()]
