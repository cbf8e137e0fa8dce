"""``wsgi.file_wrapper`` (PEP 3333, optional platform-specific file handling).

The wrapper is an ordinary iterable of blocks, so that middleware may take it apart. When it comes
back to the server untouched, the connection sends the file itself: see
`gserver.transport.Transport.send_file`.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from typing import Any

_BLOCK = 65536
_READ = 262144  # through Python, for TLS: memory for each download
_SEND = 4194304  # by the kernel: only as much as the socket takes anyway


class FileWrapper:
    """A file-like object as a response body.

    Attributes:
        file: The wrapped object.
        block_size: Bytes to read at a time where the file must be read through Python.
    """

    def __init__(self, file: Any, block_size: int = _BLOCK) -> None:
        self.file = file
        self.block_size = block_size

    def __iter__(self) -> Iterator[bytes]:
        while block := self.file.read(self.block_size):
            yield block

    def close(self) -> None:
        """Close the wrapped file, if it can be closed."""
        close = getattr(self.file, "close", None)
        if close is not None:
            close()

    def region(self) -> tuple[int, int, int] | None:
        """Return descriptor, offset and size of what is left of a regular file.

        None for anything else: a BytesIO, a pipe, a file that is decompressed in reading.
        """
        file = _plain_file(self.file)
        if file is None:
            return None
        try:
            file.flush()
            descriptor = file.fileno()
            offset = file.tell()
            status = os.fstat(descriptor)
        except (OSError, ValueError):  # it is a pipe, or closed
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return descriptor, offset, max(0, status.st_size - offset)


def _plain_file(file: Any) -> io.FileIO | io.BufferedReader | io.BufferedRandom | None:
    """Return the file whose bytes `file` gives as they are, if there is one.

    To have a fileno() does not tell: a GzipFile has that of what it decompresses. So look whose
    read() it is; the proxies of tempfile and of Django hand out that of the file behind them.
    """
    read = getattr(file, "read", None)
    reader: Any = getattr(getattr(read, "__wrapped__", read), "__self__", None)
    raw = reader.raw if type(reader) in (io.BufferedReader, io.BufferedRandom) else reader
    return reader if type(raw) is io.FileIO else None


def read_cached(descriptor: int, offset: int, size: int) -> bytes:
    """Return the beginning of a region, as far as reading it cannot block on the disk."""
    flag = getattr(os, "RWF_NOWAIT", 0)  # Linux only
    if not flag:
        return b""
    buffer = bytearray(min(size, _BLOCK))
    try:
        length = os.preadv(descriptor, [buffer], offset, flag)
    except OSError:  # EAGAIN: not in the page cache; EOPNOTSUPP: this file system cannot tell
        return b""
    return bytes(buffer[:length])


class FileSender:
    """Sends a file from threads, so that the disk never stops the hub.

    It works on duplicates of the descriptors. A greenlet that is interrupted leaves a thread
    behind which still uses them, and a number that was closed and given to the next connection
    would send one client's file to another.
    """

    def __init__(self, pool: Any, descriptor: int, target: int | None) -> None:
        self._pool = pool
        self._source = os.dup(descriptor)
        self._target = os.dup(target) if target is not None else -1
        self._running: Any = None
        self._turn: list[None] = []  # of the thread that runs; see `_comes_first`

    def __enter__(self) -> FileSender:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._running is None or self._running.ready() or not _comes_first(self._turn):
            self._close()

    def _close(self) -> None:
        os.close(self._source)
        if self._target >= 0:
            os.close(self._target)

    def _apply(self, function: Any, *args: Any) -> Any:
        self._turn = [None]
        self._running = self._pool.spawn(self._call, self._turn, function, *args)
        result = self._running.get()
        if isinstance(result, OSError):
            raise result
        return result

    def _call(self, turn: list[None], function: Any, *args: Any) -> Any:
        """Call `function`; runs in the thread, and closes if the greenlet has left."""
        try:
            return function(*args)
        except OSError as exc:  # returned: gevent prints what a thread raises
            return exc
        finally:
            if not _comes_first(turn):
                self._close()

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes of the file; blocks this greenlet."""
        data: bytes = self._apply(os.pread, self._source, min(size, _READ), offset)
        return data

    def send(self, offset: int, size: int) -> int:
        """Send bytes of the file to the target; return how many; blocks this greenlet.

        Raises:
            OSError: The socket is full (`BlockingIOError`) or broken.
        """
        sent: int = self._apply(os.sendfile, self._target, self._source, offset, min(size, _SEND))
        return sent


def _comes_first(turn: list[None]) -> bool:
    """Return whether the other side has yet to come here; needs no lock, nor a hub that lives."""
    try:
        turn.pop()
    except IndexError:
        return False
    return True
