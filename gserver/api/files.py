"""A file as a response; reached as `gserver.api.responses.file`."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from email.utils import formatdate
from errno import ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, ENXIO
from functools import wraps
from http import HTTPStatus
from mimetypes import guess_type
from typing import IO, Any, Final
from unicodedata import normalize
from urllib.parse import quote
from wsgiref.util import FileWrapper

from gserver.api.adapter import Response
from gserver.api.conditional import choose_part, evaluate

__all__ = ["file"]

_BLOCK: Final = 65536


def file(
    environ: dict[str, Any],
    path: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    download: str | None = None,
    content_type: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
) -> Response:
    """Return a file, or 404 if there is no regular file at `path`.

    Conditional requests are answered with 304 or 412, those for a range of bytes with 206 or 416
    (RFC 9110 13, 14). The file is sent by ``wsgi.file_wrapper``.

    Args:
        environ: The request's.
        path: Where it is. Without `root` this must come from the application, not from the client.
        root: The folder in which it must be, for a `path` that comes from the client: neither ".."
            nor a symbolic link leads out of it. Slashes in front of `path` do not count.
        download: Have the client save it, under this name.
        content_type: What it is; if not given, what its name says.
        headers: More fields, Cache-Control for example.

    Raises:
        OSError: It is there, but cannot be read.
    """
    path = os.fspath(path)
    content = _open(path, root)
    if content is None:
        return _refusal(404, [])
    method = environ["REQUEST_METHOD"]
    status = os.fstat(content.fileno())
    size = status.st_size
    etag = f'"{status.st_mtime_ns:x}-{size:x}"'
    modified = formatdate(int(status.st_mtime), usegmt=True)
    fields = [*headers, ("ETag", etag), ("Last-Modified", modified), ("Accept-Ranges", "bytes")]
    code = evaluate(environ, etag, int(status.st_mtime)) if method in ("GET", "HEAD") else 200
    if code != 200:
        content.close()
        return (_line(304), fields, []) if code == 304 else _refusal(code, fields)
    part = choose_part(environ, size, etag, modified)
    if part is None:
        part = range(size)
    elif part:
        code = 206
        fields.append(("Content-Range", f"bytes {part.start}-{part.stop - 1}/{size}"))
    else:
        content.close()
        return _refusal(416, [*fields, ("Content-Range", f"bytes */{size}")])
    fields.append(("Content-Type", content_type or _guess_type(path)))
    fields.append(("Content-Length", str(len(part))))
    if download is not None:
        fields.append(("Content-Disposition", _disposition(download)))
    if method == "HEAD":
        content.close()
        return _line(code), fields, []
    content.seek(part.start)
    wrap = environ.get("wsgi.file_wrapper", FileWrapper)
    rest = content if part.stop == size else _Part(content, len(part))
    return _line(code), fields, wrap(rest, _BLOCK)


def _line(code: int) -> str:
    return f"{code} {HTTPStatus(code).phrase}"


def _refusal(code: int, fields: list[tuple[str, str]]) -> Response:
    body = f"{HTTPStatus(code).phrase}\n".encode()
    more = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    return _line(code), [*fields, *more], [body]


def _open(path: str, root: str | os.PathLike[str] | None) -> IO[bytes] | None:
    """Open a regular file for reading; None if there is none."""
    try:
        if root is not None:
            root = os.path.realpath(root)
            path = os.path.realpath(os.path.join(root, path.lstrip("/")))
            if os.path.commonpath((root, path)) != root:
                return None
        # A FIFO would be waited for otherwise, by the whole process.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except ValueError:  # a NUL, or what is not UTF-8
        return None
    except OSError as exc:
        if exc.errno in (ENOENT, ENOTDIR, ENAMETOOLONG, ELOOP, ENXIO):
            return None
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    return None


class _Part:
    """The next bytes of a file, as a file; not every server stops at the Content-Length."""

    def __init__(self, content: IO[bytes], length: int) -> None:
        left = length

        # As a wrapper it tells gserver whose bytes these are; the kernel can send them then.
        @wraps(content.read)
        def read(size: int = -1) -> bytes:
            nonlocal left
            data = content.read(left if size < 0 else min(size, left))
            left -= len(data)
            return data

        self.read = read
        self.close = content.close


def _guess_type(path: str) -> str:
    # With a slash in front nothing in the name is taken for the scheme of a URL.
    kind, encoding = guess_type("/" + os.path.basename(path))
    if encoding is not None:  # its content is that of a compressed file
        return "application/gzip" if encoding == "gzip" else "application/octet-stream"
    if kind is None:
        return "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def _disposition(name: str) -> str:
    """Return a Content-Disposition that suggests a name (RFC 6266, RFC 8187)."""
    plain = normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^\w .()-]", "_", plain, flags=re.ASCII)
    value = f'attachment; filename="{plain or "_"}"'
    if plain != name:
        value += "; filename*=UTF-8''" + quote(name, safe="!#$&+^`|", errors="replace")
    return value
