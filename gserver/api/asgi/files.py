"""``wsgi.file_wrapper`` under an ASGI server, which may send a file by its path."""

from __future__ import annotations

import io
import os
import stat
import wsgiref.util
from typing import Any

__all__ = ["FileWrapper"]

_BLOCK = 65536  # each is a trip to the event loop and back


class FileWrapper(wsgiref.util.FileWrapper):
    """A file-like object as a response body."""

    def __init__(self, filelike: Any, blksize: int = _BLOCK) -> None:
        super().__init__(filelike, blksize)

    def rest(self) -> tuple[int, str | None] | None:
        """Return how much is left of a regular file, and the path if that is all of it.

        None for anything else: a BytesIO, a pipe, a file that is decompressed in reading.
        """
        file = self.filelike
        if type(file) is not io.BufferedReader or type(file.raw) is not io.FileIO:
            return None
        try:
            status = os.fstat(file.fileno())
            offset = file.tell()
        except (OSError, ValueError):  # it is a pipe, or closed
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        path = None if offset else _path_to(file.name, status)
        return max(0, status.st_size - offset), path


def _path_to(name: Any, status: os.stat_result) -> str | None:
    """Return the absolute path, if a file can still be opened by its name."""
    if not isinstance(name, str):
        return None
    path = os.path.abspath(name)
    try:
        return path if os.path.samestat(os.stat(path), status) else None
    except OSError:
        return None
