"""What HTTP offers beyond a request and its response: hints, trailers, pushes, priorities.

Functions of the environ. They work under every WSGI server: where the server, the protocol or the
client cannot do what is asked for, they say so in what they return, and nothing breaks. They go on
working when a framework has copied the environ, and from any greenlet of the server's thread;
when the response is over they do nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

from gserver.api.errors import LocalProtocolError

__all__ = [
    "Features",
    "Priority",
    "PushResult",
    "disconnected",
    "early_hints",
    "features",
    "never_index",
    "parse_priority",
    "priority",
    "protocol",
    "push",
    "send_trailers",
]

Environ: TypeAlias = dict[str, Any]

_HINTS: Final = "wsgi.early_hints"
# connectrpc's and pyvoy's; gunicorn has a name of its own, on HTTP/2 only.
_TRAILERS: Final = ("wsgi.ext.http.send_trailers", "gunicorn.http2.send_trailers")
_DISCONNECTED: Final = "waitress.client_disconnected"


@dataclass(frozen=True)
class Features:
    """What is possible for one request, now.

    Attributes:
        protocol: What the client speaks: "HTTP/2", "HTTP/1.1" ...
        early_hints: `early_hints` would send them.
        trailers: `send_trailers` would send them.
        push: `push` would push. Where this is false and `early_hints` true, it sends a hint.
        priority: The response competes with others of its connection by its `priority`.
        never_index: Header compression is in use, and `never_index` keeps fields out of it.
        full_duplex: The response may be sent while the request's content still comes.
        websocket: The request can become a WebSocket.
        disconnected: `disconnected` would tell that the client has gone.
    """

    protocol: str
    early_hints: bool = False
    trailers: bool = False
    push: bool = False
    priority: bool = False
    never_index: bool = False
    full_duplex: bool = False
    websocket: bool = False
    disconnected: bool = False


class Priority(NamedTuple):
    """How urgent a response is to the client (RFC 9218 4)."""

    urgency: int
    """0, the most urgent, to 7; 3 if the client did not say."""
    incremental: bool
    """The client can use parts of the response as they come."""


class PushResult(Enum):
    """What became of a push; true only if it was pushed."""

    PUSHED = "pushed"
    """The response is promised to the client, and the request for it runs."""
    HINTED = "hinted"
    """The client was told by an Early Hint instead, and may ask for it."""
    IGNORED = "ignored"
    """Neither is possible."""

    def __bool__(self) -> bool:
        return self is PushResult.PUSHED


def protocol(environ: Environ) -> str:
    """Return what the client speaks: "HTTP/2", "HTTP/1.1" or "HTTP/1.0".

    It is SERVER_PROTOCOL, in one spelling where servers have two (mod_wsgi: "HTTP/2.0").
    """
    name: str = environ["SERVER_PROTOCOL"]
    return name.removesuffix(".0") if name in ("HTTP/2.0", "HTTP/3.0") else name


def _exchange(environ: Environ) -> Any:
    """Return gserver's side of the request; None under another server."""
    # Not a key of its own: each costs every request some nanoseconds.
    return getattr(environ.get("wsgi.associated_content"), "exchange", None)


def features(environ: Environ) -> Features:
    """Tell what is possible for this request, before one tries.

    It changes while the response goes out: behind its head there are no hints any more. Under
    another server, what its environ offers; whether the client takes it is not known then.
    """
    version = protocol(environ)
    exchange = _exchange(environ)
    if exchange is not None:
        return Features(version, *exchange.abilities())
    newer = version != "HTTP/1.0"
    return Features(
        version,
        early_hints=newer and _HINTS in environ,
        trailers=newer and any(key in environ for key in _TRAILERS),
        disconnected=_DISCONNECTED in environ,
    )


def early_hints(environ: Environ, links: Iterable[str | tuple[str, str]]) -> bool:
    """Tell the client what it will need while the response is still being made (RFC 8297).

    ::

        early_hints(environ, ["</style.css>; rel=preload; as=style"])

    An interim response with status 103 goes out at once. There may be several, until the head of
    the response goes out, and that should repeat the fields: not every client looks at a 103.
    Blocks while the client does not read.

    Args:
        environ: The request's.
        links: Values of Link fields, or (name, value) pairs of any fields.

    Returns:
        Whether it was sent. Not to HTTP/1.0, not behind the head of the response, not by servers
        without ``wsgi.early_hints``. Servers that do not tell (gunicorn) are believed to have.

    Raises:
        LocalProtocolError: A field cannot be sent, in a 103 or at all.
        Disconnected: The client has gone.
    """
    if isinstance(links, str):
        raise TypeError("links must be a list of Link values or (name, value) pairs, not a str")
    fields = [("Link", link) if isinstance(link, str) else link for link in links]
    return _hand_over(environ, environ.get(_HINTS), fields)


def send_trailers(environ: Environ, trailers: Iterable[tuple[str, str]]) -> bool:
    """Send fields behind the content: a checksum, a status that is known only then.

    May be called until the content has ended, by its iterable before it stops for example, and
    several times. To HTTP/1.1 trailers travel behind chunks: called before the head goes out, the
    content is sent in chunks, and a Content-Length is left out. Clients that did not ask with
    ``TE: trailers`` get them too, as with Go's net/http, and may ignore them.

    Returns:
        Whether they will be sent, unless the response turns out to have no content. Not to
        HTTP/1.0, not in answer to HEAD, not with status 204 or 304, not to HTTP/1.1 once a head
        with Content-Length has been sent, not by servers without ``wsgi.ext.http.send_trailers``.

    Raises:
        LocalProtocolError: A field cannot be sent, in trailers (RFC 9110 6.5.1) or at all.
    """
    send = next((environ[key] for key in _TRAILERS if key in environ), None)
    return _hand_over(environ, send, list(trailers))


def _hand_over(environ: Environ, send: Any, fields: list[tuple[str, str]]) -> bool:
    """Give `fields` to a server's function, if there is one and the client can take them."""
    if send is None or protocol(environ) == "HTTP/1.0":
        return False
    # Other servers return None, whatever happened.
    return send(fields) is not False


def push(environ: Environ, path: str, headers: Sequence[tuple[str, str]] = ()) -> PushResult:
    """Send the response to a request that the client has not made yet (RFC 9113 8.4).

    The server runs a GET of `path` through the application, as a request of its own. Call it
    before what makes the client ask is sent. Where there is no push - HTTP/1.1, another server,
    a client that does not want any, as today's browsers - an Early Hint is sent instead:
    ``Link: <path>; rel=preload``. Blocks while the client does not read.

    Args:
        environ: That of the request whose response leads to the other.
        path: Path and query as the client would ask for them, or a URL of the same origin.
        headers: Header fields of that request; none of this one's are taken over.

    Returns:
        What happened; true if it was pushed.

    Raises:
        LocalProtocolError: `path` belongs to another origin or is malformed, or a header is.
        Disconnected: The client has gone.
    """
    path = _promised_path(environ, path)
    exchange = _exchange(environ)
    if exchange is not None and exchange.push(path, headers):
        return PushResult.PUSHED
    return PushResult.HINTED if early_hints(environ, [_preload(path)]) else PushResult.IGNORED


_ABSOLUTE: Final = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?//([^/?#]*)([^#]*)").fullmatch
# Visible ASCII but what could end a Link's target, a request line or the path. Two slashes at the
# beginning would make it the name of a host.
_PATH: Final = re.compile(r"/(?!/)[!$-;=?-\[\]_a-z|~]*").fullmatch
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


def _promised_path(environ: Environ, url: str) -> str:
    """Return path and query of a URL of the request's origin."""
    path = url
    match = _ABSOLUTE(url)
    if match:
        scheme: str = environ["wsgi.url_scheme"]
        port = _DEFAULT_PORTS.get(scheme, "")
        host = environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
        same = match[2].lower().removesuffix(port) == host.lower().removesuffix(port)
        if not same or (match[1] or scheme).lower() != scheme:
            raise LocalProtocolError(f"only the request's own origin can be pushed, not {url!r}")
        path = match[3] if match[3].startswith("/") else "/" + match[3]
    if not _PATH(path):
        raise LocalProtocolError(f"{url!r} is no path that a request could ask for")
    return path


# What browsers want to know of a preload, else they ignore it.
_DESTINATIONS: Final = {
    "css": "style",
    "js": "script",
    "woff2": "font; crossorigin",
    **dict.fromkeys(("avif", "gif", "jpeg", "jpg", "png", "svg", "webp"), "image"),
}


def _preload(path: str) -> str:
    """Return the value of the Link field that stands for a push."""
    ending = path.partition("?")[0].rpartition(".")[2].lower()
    destination = _DESTINATIONS.get(ending)
    return f"<{path}>; rel=preload" + (f"; as={destination}" if destination else "")


def priority(environ: Environ) -> Priority:
    """Return how urgent the response is to the client (RFC 9218).

    From the header Priority, which HTTP/1.1 has too, and on HTTP/2 from what the client said
    since then. There it decides whose content goes first; elsewhere it is for the application.
    """
    exchange = _exchange(environ)
    current = None if exchange is None else exchange.priority()
    return Priority(*(current or parse_priority(environ.get("HTTP_PRIORITY", ""))))


def never_index(environ: Environ, *names: str) -> bool:
    """Keep fields of the response out of the table of HTTP/2's header compression.

    For secrets of few bits, which an attacker who shares the connection could find out by trying
    (RFC 7541 7.1). Set-Cookie and Authorization never enter it. Call it before the head goes out.

    Returns:
        Whether there is such a table, and the fields will stay out.
    """
    exchange = _exchange(environ)
    return exchange is not None and bool(exchange.keep_out(names))


def disconnected(environ: Environ) -> bool:
    """Tell whether the client has gone, as far as is known; does not block.

    For work that nobody may be waiting for any more. A response that is being sent needs no such
    question: who sends gets `Disconnected`. A client of HTTP/1.x that ends only its half of the
    connection counts as gone, though it would still get the response.

    Returns:
        False under servers that do not tell; waitress does if its `channel_request_lookahead` is
        set. False as well when the response is over.
    """
    exchange = _exchange(environ)
    if exchange is not None:
        return bool(exchange.disconnected())
    tell = environ.get(_DISCONNECTED)
    return tell is not None and bool(tell())


# A member of an RFC 8941 dictionary: a key and what follows up to the next comma outside quotes.
_MEMBER: Final = re.compile(r'[ \t]*([a-z*][a-z0-9_.*-]*)((?:[^,"]|"(?:[^"\\]|\\.)*")*)(?:,|$)')
_URGENCY: Final = re.compile(r"=([0-7])[ \t]*(?:;.*)?").fullmatch
_TRUE: Final = re.compile(r"(?:=\?1)?[ \t]*(?:;.*)?").fullmatch
_FALSE: Final = re.compile(r"=\?0[ \t]*(?:;.*)?").fullmatch
# Longer ones are nobody's real priority: not worth the memory of remembering them.
_USUAL_LENGTH: Final = 32


def parse_priority(value: str) -> tuple[int, bool]:
    """Return urgency and incremental of a Priority field (RFC 9218 4).

    What is malformed, unknown or out of range counts as not said.
    """
    if len(value) <= _USUAL_LENGTH:
        return _remembered_priority(value)
    return _parse_priority(value)


def _parse_priority(value: str) -> tuple[int, bool]:
    urgency, incremental = 3, False
    position = 0
    while match := _MEMBER.match(value, position):
        position = match.end()
        key, rest = match[1], match[2]
        if key == "u" and (digit := _URGENCY(rest)):
            urgency = int(digit[1])
        elif key == "i" and (_TRUE(rest) or _FALSE(rest)):
            incremental = not _FALSE(rest)
    return urgency, incremental


_remembered_priority = lru_cache(maxsize=256)(_parse_priority)
