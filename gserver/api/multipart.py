"""Forms with files: multipart/form-data (RFC 7578).

The standard library cannot parse it. Werkzeug does, piece by piece as it comes, or else WebOb,
which wants all of it first.
"""

from __future__ import annotations

import io
import mmap
import re
from collections.abc import Callable
from tempfile import SpooledTemporaryFile, TemporaryFile
from typing import IO, Any, Final

from gserver.api.errors import NotSupported, RemoteProtocolError, RequestTooLarge
from gserver.api.forms import Content, Fields, Form, Limits, Upload, too_many

__all__ = ["LIBRARIES", "parse_multipart"]

_IN_MEMORY: Final = 65536  # of a file; a larger one goes to the disk
_LONGEST_HEAD: Final = 8192  # of a part
_WHAT_IT_IS: Final = "application/octet-stream"  # where the client does not say

_boundary: Final = re.compile(
    r";[ \t]*boundary=(\"?)([0-9a-z'()+_,./:=? -]{0,69}[0-9a-z'()+_,./:=?-])\1[ \t]*(?:;|$)",
    re.IGNORECASE,
).search


def parse_multipart(
    content: Content,
    content_type: str,
    limits: Limits,
    library: str | None,
    closing: Callable[[Any], Any],
) -> Form:
    """Read a form; blocks until it has come.

    Args:
        content: The request's.
        content_type: Its type, with the boundary.
        limits: How much of it to accept.
        library: One of `LIBRARIES`; None for the first that is installed.
        closing: Is given what must be closed in the end.

    Raises:
        RequestTooLarge: It exceeds a limit.
        RemoteProtocolError: It is malformed.
        NotSupported: The library is not installed.
    """
    match = _boundary(content_type)
    if match is None:
        raise RemoteProtocolError("the form has no boundary")
    parts = _Parts(limits, closing)
    parse = _find(library)
    try:
        parse(content, match[2], parts)
    except (ValueError, LookupError):
        raise RemoteProtocolError("the form is malformed") from None
    return Form(Fields(parts.fields), Fields(parts.files))


class _Parts:
    """The parts of a form as they come: `begin`, `write` any number of times, `end`."""

    def __init__(self, limits: Limits, closing: Callable[[Any], Any]) -> None:
        self.limits = limits
        self.fields: list[tuple[str, str]] = []
        self.files: list[tuple[str, Upload]] = []
        self._closing = closing
        self._room = limits.max_memory
        self._begun = 0  # files; those that turn out to be none count, too
        self._name = ""
        self._field: io.BytesIO | None = None
        self._upload: Upload | None = None

    def begin(
        self,
        name: str | None,
        filename: str | None = None,
        content_type: str | None = None,
        file: IO[bytes] | None = None,
    ) -> None:
        """Take a field or, if there is a filename, a file."""
        if not isinstance(name, str):
            raise ValueError("a part has no name")
        self._name = name
        if filename is None:
            if len(self.fields) >= self.limits.max_fields:
                raise too_many("fields", self.limits.max_fields)
            self._field = io.BytesIO()
            return
        self._begun += 1
        if self._begun > self.limits.max_files:
            raise too_many("files", self.limits.max_files)
        if file is None:
            file = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed with the response
        self._field = None
        self._upload = Upload(filename, content_type or _WHAT_IT_IS, self._closing(file))

    def write(self, data: bytes) -> None:
        """Take bytes of it."""
        if self._field is None:
            assert self._upload is not None
            self._upload.file.write(data)
            return
        self._room -= len(data)
        if self._room < 0:
            raise RequestTooLarge(f"the fields are larger than {self.limits.max_memory} bytes")
        self._field.write(data)

    def end(self) -> None:
        """Take it as complete."""
        if self._field is not None:
            self.fields.append((self._name, self._field.getvalue().decode()))
            return
        assert self._upload is not None
        file = self._upload.file
        file.seek(0, io.SEEK_END)
        if self._upload.filename or file.tell():  # else nothing was chosen to be sent
            self.files.append((self._name, self._upload))
        file.seek(0)


_Parse = Callable[[Content, str, _Parts], None]


def _find(library: str | None) -> _Parse:
    for name in LIBRARIES if library is None else (library,):
        try:
            return LIBRARIES[name]()
        except ImportError:
            continue
    needed = "Werkzeug or WebOb" if library is None else library
    raise NotSupported(f"forms with files need {needed}: pip install {library or 'werkzeug'}")


def _werkzeug() -> _Parse:
    from werkzeug.exceptions import RequestEntityTooLarge  # noqa: PLC0415 - if it is installed
    from werkzeug.sansio.multipart import (  # noqa: PLC0415
        Data,
        Epilogue,
        Field,
        File,
        MultipartDecoder,
        NeedData,
    )

    def parse(content: Content, boundary: str, parts: _Parts) -> None:
        # Its limit is for what is not decoded yet: a piece of content, or a part's head.
        limit = parts.limits.max_memory + (1 << 17)
        decoder = MultipartDecoder(boundary.encode(), limit)
        data: bytes | None = b""
        while data is not None:
            data = content.read() or None
            try:
                decoder.receive_data(data)
            except RequestEntityTooLarge:
                raise ValueError("no boundary, or the head of a part does not end") from None
            while not isinstance(event := decoder.next_event(), (NeedData, Epilogue)):
                if isinstance(event, File):
                    parts.begin(event.name, event.filename, event.headers.get("Content-Type"))
                elif isinstance(event, Field):
                    parts.begin(event.name)
                elif isinstance(event, Data):
                    parts.write(event.data)
                    if not event.more_data:
                        parts.end()

    return parse


def _webob() -> _Parse:
    from webob import Request  # noqa: PLC0415 - if it is installed

    def parse(content: Content, boundary: str, parts: _Parts) -> None:
        with TemporaryFile() as file:
            size = sum(map(file.write, iter(content.read, b"")))
            _check_parts(file, boundary.encode(), parts.limits)
            environ = {
                "REQUEST_METHOD": "POST",
                "CONTENT_TYPE": f'multipart/form-data; boundary="{boundary}"',
                "CONTENT_LENGTH": str(size),
                "wsgi.input": file,
                "webob.is_body_seekable": True,
            }
            for name, value in Request(environ).POST.items():
                if isinstance(value, str):
                    parts.begin(name)
                    parts.write(value.encode())
                elif isinstance(value, bytes):  # of a file without a name
                    parts.begin(name, "", None)
                    parts.write(value)
                else:
                    upload = vars(value).pop("file")  # else it would be closed with `value`
                    parts.begin(name, value.filename, value.headers.get("Content-Type"), upload)
                parts.end()

    return parse


def _check_parts(file: IO[bytes], boundary: bytes, limits: Limits) -> None:
    """Refuse what WebOb would take, or spend too much on: parts without number, or within parts."""
    file.flush()
    delimiter = b"--" + re.escape(boundary)
    blank = rb"[ \t\r\x0b\x0c]*\n"
    heads = re.compile(rb"%b%b((?:(?!%b)[^\n]*\n)*)" % (delimiter, blank, blank))
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data.find(b"--" + boundary + b"--") < 0:
            raise ValueError("the end is missing")
        for count, match in enumerate(heads.finditer(data)):
            if count >= limits.max_fields + limits.max_files:
                raise too_many("parts", count)
            head = match[1]
            if len(head) > _LONGEST_HEAD or b"multipart/" in head.lower():
                raise ValueError("a part's head is too long, or it has parts itself")


LIBRARIES: Final[dict[str, Callable[[], _Parse]]] = {"werkzeug": _werkzeug, "webob": _webob}
"""Those that can parse it, the preferred one first."""
