"""``wsgi.input`` under an ASGI server: content as it is read, and no more of it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from gserver.api.asgi.bridge import Bridge
from gserver.api.errors import Disconnected

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["request_body"]

_PIECE = 65536


class _Content(io.RawIOBase):
    """The pieces of content, as the server hands them over."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._piece = memoryview(b"")
        self._complete = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer).cast("B")
        piece = self._next()[: len(target)]
        target[: len(piece)] = piece
        self._piece = self._piece[len(piece) :]
        return len(piece)

    def readall(self) -> bytes:
        pieces = []
        while piece := self._next():
            pieces.append(piece)
            self._piece = memoryview(b"")
        return b"".join(pieces)

    def _next(self) -> memoryview:
        """Return what has come and was not read, at least a byte unless all has come; blocks."""
        while not self._piece and not self._complete:
            message = self._bridge.receive()
            if message["type"] != "http.request":
                raise Disconnected("the client left before all of the content had come")
            self._piece = memoryview(message.get("body", b""))
            self._complete = not message.get("more_body", False)
        return self._piece


class _RequestBody(io.BufferedReader):
    def close(self) -> None:
        """Do nothing: the input is the server's to close (PEP 3333)."""


def request_body(bridge: Bridge) -> io.BufferedReader:
    """Return the content of a request as a binary file, which blocks the thread that reads it.

    Reading raises `Disconnected` if the client leaves before the end.
    """
    return _RequestBody(_Content(bridge), _PIECE)
