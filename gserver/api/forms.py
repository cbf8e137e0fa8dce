"""The content of a request and the fields of a form, within limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, ClassVar, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl

from gserver.api.errors import RemoteProtocolError, RequestTooLarge

__all__ = [
    "Content",
    "Fields",
    "Form",
    "Limits",
    "MissingField",
    "Upload",
    "parse_urlencoded",
    "too_many",
]

T = TypeVar("T")
_PIECE: Final = 65536


class Limits:
    """How much of a request is accepted; the rest is answered with 413.

    Attributes:
        max_content: Bytes of the whole content, with the files in it.
        max_memory: Bytes of what is kept in memory: of content as such, as JSON, of the fields of
            a form.
        max_fields: Fields of a form or a query.
        max_files: Files of a form.
    """

    max_content: ClassVar[int] = 16 << 20
    max_memory: ClassVar[int] = 1 << 20
    max_fields: ClassVar[int] = 1000
    max_files: ClassVar[int] = 100


class MissingField(RemoteProtocolError, KeyError):
    """The application needs a field that the request does not have (400)."""

    def __init__(self, name: object) -> None:
        # A name that is no constant of the application must not become part of a page.
        known = isinstance(name, str) and name.replace("-", "_").isidentifier()
        super().__init__(f"{name if known else 'a field'} is missing")


class Fields(Mapping[str, T]):
    """Names and values; a name may have several.

    As a mapping it has the first value of each name. A name that is not there raises an exception
    which, if nobody catches it, answers the request with 400; it is a `KeyError`.
    """

    def __init__(self, pairs: Iterable[tuple[str, T]] = ()) -> None:
        self._values: dict[str, list[T]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> T:
        try:
            return self._values[name][0]
        except KeyError:
            raise MissingField(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._values})"

    def all(self, name: str) -> list[T]:
        """Return all values of a name, in the order in which they came."""
        return list(self._values.get(name, ()))


class Upload(NamedTuple):
    """A file of a form."""

    filename: str
    """What the client calls it: no path to be used without a look."""
    content_type: str
    """What the client says it is."""
    file: IO[bytes]
    """Its content, to be read and sought; closed when the response is over."""


class Form(NamedTuple):
    """What a form holds."""

    fields: Fields[str]
    files: Fields[Upload]


class Content:
    """What a request brings along, up to a limit.

    Under servers that do not end ``wsgi.input`` by themselves it is not read beyond its length.

    Raises:
        RequestTooLarge: More than the limit is announced.
    """

    def __init__(self, environ: dict[str, Any], limit: int) -> None:
        self._input = environ["wsgi.input"]
        self._limit = self._room = limit
        self._left = _announced(environ)
        if self._left is not None and self._left > limit:
            raise _too_large(limit)

    def read(self, size: int = _PIECE) -> bytes:
        """Return the next bytes, b"" at the end; blocks.

        Raises:
            RequestTooLarge: There is more than the limit.
            RemoteProtocolError: There is less than was announced.
        """
        if self._left is not None:
            size = min(size, self._left)
        data: bytes = self._input.read(size) if size else b""
        self._room -= len(data)
        if self._room < 0:
            raise _too_large(self._limit)
        if self._left is not None:
            self._left -= len(data)
            if size and not data:
                raise RemoteProtocolError("the content ended before its announced length")
        return data

    def read_all(self) -> bytes:
        """Return all of it; blocks."""
        return b"".join(iter(self.read, b""))


def _announced(environ: dict[str, Any]) -> int | None:
    """Return the length of the content; None if its end tells."""
    length: str = environ.get("CONTENT_LENGTH") or ""
    if not length:
        return None if environ.get("wsgi.input_terminated") else 0
    if not re.fullmatch("[0-9]{1,18}", length):
        raise RemoteProtocolError("Content-Length is not a number")
    return int(length)


def _too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(f"the content is larger than {limit} bytes")


def too_many(what: str, limit: int) -> RequestTooLarge:
    """Return the error for more than `limit` of something."""
    return RequestTooLarge(f"the request has more than {limit} {what}")


def parse_urlencoded(data: bytes, max_fields: int) -> Fields[str]:
    """Return the fields of a query or a form (WHATWG URL, application/x-www-form-urlencoded).

    Raises:
        RequestTooLarge: There are too many.
        RemoteProtocolError: Something is not UTF-8.
    """
    if data.count(b"&") >= max_fields:
        raise too_many("fields", max_fields)
    try:
        return Fields(parse_qsl(data.decode(), keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError:
        raise RemoteProtocolError("a field is not UTF-8") from None
