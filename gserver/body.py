"""``wsgi.input``: the content of a request as an ordinary blocking binary file.

Runs in the handler's greenlet. Where the bytes come from is the protocol's affair: a
`BodySource` hands them over piece by piece, and blocks only in `receive`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

_PIECE = 65536


class BodySource(Protocol):
    """The protocol's end of a request's content."""

    def receive(self, size: int, least: int = 1) -> bytes:
        """Return the next bytes, at most about `size` of them; b"" once all have come.

        Blocks this greenlet. The caller can do nothing with fewer than `least` bytes; it may get
        fewer all the same, where the source must give what it has before it can take more.

        Raises:
            Disconnected: The client left before the end.
            RemoteProtocolError: The content is malformed, too large or too slow.
        """


class RequestBody:
    """The content of a request (PEP 3333, input stream).

    `read`, `readline`, `readlines` and iteration as of any binary file. All of them block this
    greenlet until they have what they were asked for or the content has ended, and return b""
    from there on. `read1` returns as soon as there is anything.
    """

    def __init__(self, source: BodySource) -> None:
        self._source = source
        # What has come and was not asked for yet is _buffer[_start:]: cutting the buffer for
        # each line would make reading lines quadratic.
        self._buffer = b""
        self._start = 0

    def read1(self, size: int | None = -1) -> bytes:
        """Return what there is, at least one byte unless the content has ended."""
        if size is None or size < 0:
            size = _PIECE
        return self._next(size, 1)

    def _next(self, size: int, least: int) -> bytes:
        """Return up to `size` bytes, b"" only at the end; see `BodySource.receive`."""
        if not size:
            return b""
        if self._start == len(self._buffer):
            data = self._source.receive(size, least)
            if len(data) <= size:
                return data
            self._buffer = data
            self._start = 0
        return self._take(self._start + size)

    def _take(self, end: int) -> bytes:
        data = self._buffer[self._start : end]
        self._start += len(data)
        if self._start == len(self._buffer):
            self._buffer = b""
            self._start = 0
        return data

    def read(self, size: int | None = -1) -> bytes:
        """Return `size` bytes, fewer only at the end; without size all that is left."""
        if size is None or size < 0:
            pieces = [self._take(len(self._buffer))]
            while data := self._source.receive(_PIECE, _PIECE):
                pieces.append(data)
            return b"".join(pieces)
        data = self._next(size, size)
        if len(data) == size or not data:
            return data
        pieces = [data]
        missing = size - len(data)
        while missing and (data := self._next(missing, missing)):
            pieces.append(data)
            missing -= len(data)
        return b"".join(pieces)

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Put what there is into `buffer`; return how many bytes that were, 0 at the end."""
        view = memoryview(buffer).cast("B")
        data = self.read1(len(view))
        view[: len(data)] = data
        return len(data)

    def readline(self, size: int | None = -1) -> bytes:
        """Return the next line with its newline, or its first `size` bytes."""
        limit = size if size is not None and size >= 0 else None
        pieces: list[bytes] = []
        while limit is None or limit > 0:
            if self._start == len(self._buffer):
                self._buffer = self._source.receive(_PIECE)
                self._start = 0
            end = self._buffer.find(b"\n", self._start) + 1 or len(self._buffer)
            if limit is not None:
                end = min(end, self._start + limit)
                limit -= end - self._start
            line = self._take(end)
            pieces.append(line)
            if not line or line.endswith(b"\n"):
                break
        return b"".join(pieces)

    def readlines(self, hint: int | None = None) -> list[bytes]:
        """Return the remaining lines; with a hint, about that many bytes of them."""
        lines: list[bytes] = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint and 0 < hint <= total:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def detach(self) -> None:
        """End the content here: the exchange is over, and its source is let go."""
        self._source = _NoSource()
        self._buffer = b""
        self._start = 0

    def readable(self) -> bool:
        """Return True, as `io.BufferedReader` asks."""
        return True

    def writable(self) -> bool:
        """Return False, as `io.TextIOWrapper` asks."""
        return False

    seekable = writable

    def flush(self) -> None:
        """Do nothing; `io.TextIOWrapper` calls it at its end."""

    def close(self) -> None:
        """Do nothing: the input is the server's to close (PEP 3333)."""

    @property
    def closed(self) -> bool:
        """False, as `io.TextIOWrapper` asks."""
        return False


class _NoSource:
    def receive(self, size: int, least: int = 1) -> bytes:
        return b""


EMPTY = RequestBody(_NoSource())
"""The input of every request without content; it has no state, so all of them share it."""
