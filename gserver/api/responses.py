"""What a Lite application returns: helpers that make the triple of status, headers and body.

::

    from gserver.api import responses

    return responses.json({"sum": 3}, "201 Created", [("Location", "/sums/3")])

Content-Length is there wherever the length is known. `headers` are added as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from itertools import chain
from json import JSONEncoder
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote

from gserver.api.adapter import Response
from gserver.api.errors import HandshakeError, LocalProtocolError, ProtocolError
from gserver.api.files import file

__all__ = ["Event", "error", "file", "html", "json", "redirect", "sse", "stream", "text"]

Pairs: TypeAlias = Iterable[tuple[str, str]]


def text(
    content: str,
    status: str = "200 OK",
    headers: Pairs = (),
    *,
    content_type: str = "text/plain; charset=utf-8",
) -> Response:
    """Return text, in UTF-8."""
    return _whole(content.encode(), content_type, status, headers)


def html(content: str, status: str = "200 OK", headers: Pairs = ()) -> Response:
    """Return a page. What comes from others must have been escaped (`html.escape`)."""
    return _whole(content.encode(), "text/html; charset=utf-8", status, headers)


# NaN and Infinity would not be JSON: an error here is better than one at the client.
_encode_json: Final = JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def json(
    value: Any,
    status: str = "200 OK",
    headers: Pairs = (),
    *,
    content_type: str = "application/json",
) -> Response:
    """Return a value as JSON.

    Raises:
        TypeError: It has something in it that JSON does not have.
        ValueError: The same, with NaN and infinities, or it contains itself.
    """
    return _whole(_encode_json(value).encode(), content_type, status, headers)


def _whole(body: bytes, content_type: str, status: str, headers: Pairs) -> Response:
    fields = [("Content-Type", content_type), ("Content-Length", str(len(body))), *headers]
    return status, fields, [body]


def redirect(location: str, status: str = "303 See Other", headers: Pairs = ()) -> Response:
    """Send the client elsewhere.

    With 303 it asks with GET, whatever it has asked with here: what follows a form. 307 and 308
    repeat the request, content and all; 301 and 308 are remembered.

    Args:
        location: A URL, or a part of one. Characters that are not of a URL are percent-encoded,
            backslashes and control characters among them; where it leads is not looked at.
        status: 301, 302, 303, 307 or 308.
        headers: More fields.
    """
    if status[:3] not in ("301", "302", "303", "307", "308"):
        raise LocalProtocolError(f"{status!r} is no redirection")
    url = quote(location, safe="!#$%&'()*+,/:;=?@[]~", errors="replace")
    # What it says is for readers whose client does not follow.
    return text(f"{url}\n", status, [("Location", url), *headers])


def error(exc: ProtocolError | HandshakeError) -> Response:
    """Return the answer to a request that has raised this, as gserver does itself.

    For other servers, to which all exceptions are defects of the application::

        except RemoteProtocolError as exc:
            return responses.error(exc)
    """
    return text(f"{exc.reason}\n", _status(exc.status), getattr(exc, "headers", ()))


def _status(code: int) -> str:
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return f"{code} "


# -- streams ---------------------------------------------------------------------------------


class Event(NamedTuple):
    """A server-sent event (WHATWG HTML 9.2)."""

    data: str
    """What happened; may have several lines."""
    event: str | None = None
    """Its type, for those who listen to that one only; "message" if none is given."""
    id: str | None = None
    """Comes back in the field Last-Event-ID when the client has to connect anew."""
    retry: int | None = None
    """After how many milliseconds it does so."""


class _Blocks:
    """A body whose blocks are made of the items of another iterable, which it closes."""

    def __init__(self, items: Iterable[Any], encode: Callable[[Any], bytes], *first: bytes) -> None:
        self._items = items
        self._blocks = chain(first, map(encode, items))

    def __iter__(self) -> Iterator[bytes]:
        return self._blocks

    def close(self) -> None:
        close = getattr(self._items, "close", None)
        if close is not None:
            close()


def stream(
    blocks: Iterable[str | bytes],
    content_type: str = "text/plain; charset=utf-8",
    status: str = "200 OK",
    headers: Pairs = (),
) -> Response:
    """Return what is made while it is sent, by a generator for example.

    Each block is sent before the next is asked for. Text is encoded in UTF-8. When the response is
    over, because the client has gone for example, ``close()`` of the iterable is called.
    """
    return status, [("Content-Type", content_type), *headers], _Blocks(blocks, _encode)


def _encode(block: str | bytes) -> bytes:
    return block.encode() if isinstance(block, str) else block


def sse(events: Iterable[str | Event | None], headers: Pairs = ()) -> Response:
    """Return server-sent events, which a page reads with ``new EventSource(url)``.

    A str is the data of an event. None sends a comment, which nobody sees: it keeps proxies from
    giving up a stream that is silent, and shows whether the client is still there. When it has
    gone, ``close()`` of the iterable is called. The head goes out at once.

    Raises:
        LocalProtocolError: While the events are sent: `event` or `id` does not fit on a line.
    """
    fields = [
        ("Content-Type", "text/event-stream"),
        ("Cache-Control", "no-store"),
        ("X-Accel-Buffering", "no"),  # nginx would collect them
        *headers,
    ]
    return "200 OK", fields, _Blocks(events, _encode_event, _COMMENT)


_COMMENT: Final = b":\n\n"
# Not str.splitlines: it knows more ends of lines than EventSource.
_lines: Final = re.compile(r"\r\n|\r|\n").split
_unfit: Final = re.compile(r"[\r\n\0]").search


def _encode_event(event: str | Event | None) -> bytes:
    if event is None:
        return _COMMENT
    if isinstance(event, str):
        event = Event(event)
    lines = []
    for name in ("event", "id"):
        value = getattr(event, name)
        if value is not None:
            if _unfit(value):
                raise LocalProtocolError(f"{name} of an event must be one line, not {value!r:.100}")
            lines.append(f"{name}: {value}\n")
    if event.retry is not None:
        lines.append(f"retry: {event.retry:d}\n")
    lines += [f"data: {line}\n" for line in _lines(event.data)]
    return "".join([*lines, "\n"]).encode()
