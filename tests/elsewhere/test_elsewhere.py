"""The same applications are answered alike by gserver and by the WSGI servers of others.

Each is asked as Lite and as WSGI, and seen must be what the table says: status, header fields,
content, whether that came to its end, and what the application notes behind it. Left out is what
is the server's own to say (`OWN`). Where a server goes its own way, the tables below say so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from elsewhere.conftest import Find
from elsewhere.servers import RECIPES, Request, Running
from exchange import Answer, Headers

# The server's name, the connection, and how content is framed on it.
OWN = frozenset(
    {"connection", "content-length", "date", "keep-alive", "server", "trailer", "transfer-encoding",
     "upgrade"}
)  # fmt: skip

Fields = tuple[tuple[str, str], ...]
TEXT: Fields = (("content-type", "text/plain"),)
TYPE: Fields = (("content-type", "text/x"),)
ETAG: Fields = (("etag", '"a"'),)
BLOCK = bytes(65536)
ROWS = b"row 0\nrow 1\nrow 2\n" + BLOCK
LARGE = b"0123456789" * 50000
SENT: Headers = [("Content-Type", "text/x"), ("X-Long-Name", "v; w")]


@dataclass(frozen=True)
class Seen:
    """What comes of a request, without what is the server's own.

    Attributes:
        status: Code and reason.
        fields: By lower-case name; repeated ones joined by commas, but for Set-Cookie.
        body: The content.
        whole: It came to its end.
        notes: What the application noted.
    """

    body: bytes = b""
    status: str = "200 OK"
    fields: Fields = TEXT
    notes: tuple[str, ...] = ()
    whole: bool = True


CORRECTED = Seen(b"corrected\n", "503 Sorry")
PAGE = Seen(b"", "500 Internal Server Error", (), ("closed it",))
NEEDS_UPGRADE = Seen(
    b"this resource is a WebSocket\n",
    "426 Upgrade Required",
    (("content-type", "text/plain; charset=utf-8"), ("sec-websocket-version", "13")),
)
COOKIES = (
    ("content-type", "text/plain"),
    ("location", "/lite/plain"),
    ("set-cookie", "b=2; Path=/"),
    ("set-cookie", "a=1; HttpOnly"),
    ("x-empty", ""),
    ("x-upper", "caf\xe9"),
)
LAYERS = (*TEXT, ("x-lowered", "1"), ("x-signed", "inner, outer"))
CLOSED = ("closed body", "closed last", "closed first")
HINTED = (*TEXT, ("link", "</style.css>; rel=preload; as=style"), ("x-token", "t"))
PATH = "/caf%C3%A9%20/a+b?x=1&y=%20z"
ASKED = b'["/request/caf\\u00c3\\u00a9 /a+b", "PATCH", "", "x=1&y=%20z", "text/x", "v; w"]'

EXAMPLES: dict[str, tuple[Request, Seen]] = {
    "plain": (Request("plain"), Seen(b"plain\n")),
    "plain-head": (Request("plain", method="HEAD"), Seen()),
    "plain-http10": (Request("plain", version="1.0"), Seen(b"plain\n")),
    "plain-unread": (Request("plain", method="POST", body=b"unread"), Seen(b"plain\n")),
    "unsized": (Request("unsized"), Seen(b"one two\n")),
    "empty": (Request("empty"), Seen(b"", "404 Nothing Here")),
    "streamed": (Request("streamed"), Seen(ROWS)),
    "streamed-head": (Request("streamed", method="HEAD"), Seen()),
    "streamed-http10": (Request("streamed", version="1.0"), Seen(ROWS)),
    "counted": (Request("counted"), Seen(ROWS)),
    "file": (Request("file"), Seen(b"from a file\n" * 1000)),
    "nothing": (Request("nothing"), Seen(b"", "204 No Content", ETAG)),
    "unchanged": (Request("unchanged"), Seen(b"", "304 Not Modified", ETAG)),
    "cookies": (Request("cookies"), Seen(b"", "303 See Other", COOKIES)),
    "request": (Request("request", PATH, "PATCH", SENT), Seen(ASKED)),
    "bound": (Request("bound", "?a&b", "PUT", SENT), Seen(b"PUT v; w none a b")),
    "echo": (Request("echo", "", "POST", SENT, b"content"), Seen(b"content", fields=TYPE)),
    "echo-large": (Request("echo", "", "PUT", SENT, LARGE), Seen(LARGE, fields=TYPE)),
    "echo-chunked": (Request("echo", "", "POST", SENT, LARGE, True), Seen(LARGE, fields=TYPE)),
    "lines": (Request("lines", "", "POST", (), b"one\ntwo\n3"), Seen(b"\neno\nowt3")),
    "written": (
        Request("written"),
        Seen(b"written, written again, returned\n", notes=("closed body",)),
    ),
    "late": (Request("late"), Seen(b"late\n", "202 Accepted")),
    "corrected": (Request("corrected"), CORRECTED),
    "late_corrected": (Request("late_corrected"), CORRECTED),
    "too_late": (
        Request("too_late"),
        Seen(BLOCK, notes=("raised again: behind content",), whole=False),
    ),
    "closing": (Request("closing"), Seen(b"last", notes=CLOSED)),
    "finished": (Request("finished"), Seen(b"one two\n", notes=("finally",))),
    "failing": (Request("failing"), PAGE),
    "breaking": (Request("breaking"), Seen(BLOCK, notes=("finally",), whole=False)),
    "layers": (
        Request("layers"),
        Seen(
            b"three layers\n",
            fields=LAYERS,
            notes=("closed inner", "closed outer", "closed core"),
        ),
    ),
    "capable": (Request("capable"), Seen(b"capable\n", fields=HINTED)),
    "chat": (Request("chat"), NEEDS_UPGRADE),
}

# -- where servers go their own ways -------------------------------------------------------------

# No request with such content.
UNASKED = {
    ("uwsgi", "echo-chunked"),  # it has a function instead of wsgi.input
    ("wsgiref", "echo-chunked"),  # it does not know of that
}
# Content whose end is that of the connection, or that the server ends itself when it breaks off.
LOOKS_WHOLE = {"mod_wsgi", "uwsgi", "wsgiref"}
# Without a page for an application that fails: the server in front of it makes one.
NO_PAGE = {"uwsgi"}
# What start_response does when it is called again, and an empty block before that. Called as Lite,
# these applications are under every server what PEP 3333 has them be.
GUNICORN = {"gunicorn-sync", "gunicorn-gthread", "gunicorn-gevent"}
TWIN_ASIDE = {
    "corrected": {*GUNICORN, "cheroot", "uwsgi"},
    "late_corrected": {*GUNICORN, "cheroot", "uwsgi", "wsgiref"},
    "too_late": {"uwsgi"},
}
# Lite and WSGI are framed in different ways.
FRAMED_ASIDE = {
    ("gserver", "capable"),  # only the Lite one has trailers
    ("waitress", "file"),  # it measures the file that the WSGI one returns
}

# ------------------------------------------------------------------------------------------------

CASES = [
    pytest.param(server, name, id=f"{server}-{name}")
    for server in ["native", *RECIPES]
    for name in EXAMPLES
    if (server, name) not in UNASKED
]


def expected(server: str, name: str) -> Seen:
    """Return what must be seen of an example on a server."""
    seen = EXAMPLES[name][1]
    if seen is PAGE and server in NO_PAGE:
        return replace(seen, status="0 ", whole=False)
    return replace(seen, whole=seen.whole or server in LOOKS_WHOLE)


def see(answer: Answer, notes: list[str]) -> Seen:
    """Return what is to be compared of an answer."""
    fields: dict[str, list[str]] = {}
    for name, value in answer.headers:
        if name.lower() not in OWN:
            fields.setdefault(name.lower(), []).append(value)
    cookies = fields.pop("set-cookie", [])
    joined = [(name, ", ".join(values)) for name, values in fields.items()]
    joined += [("set-cookie", value) for value in cookies]
    return Seen(
        answer.body,
        f"{answer.status} {answer.reason}",
        tuple(sorted(joined, key=lambda field: field[0])),
        tuple(notes),
        answer.complete,
    )


def ask(server: Running, name: str, kind: str) -> tuple[Seen, Headers]:
    """Return what is seen of an example, and what is the server's own of its head."""
    request, wanted = EXAMPLES[name]
    with server.send(request, kind) as asked:
        answer = asked.answer()
        own = [one for one in answer.headers if one[0].lower() in OWN and one[0] != "Date"]
        if wanted is PAGE:
            answer.headers, answer.body = [], b""  # the server's
        return see(answer, asked.notes.wait(len(wanted.notes))), own


@pytest.mark.parametrize(("name", "example"), CASES)
def test_answered_alike(find: Find, name: str, example: str) -> None:
    server = find(name)
    seen, framing = ask(server, example, "lite")
    assert seen == expected(name, example)
    if name == "native" or name in TWIN_ASIDE.get(example, ()):
        return
    seen, twins_framing = ask(server, example, "wsgi")
    assert seen == expected(name, example)
    assert twins_framing == framing or (name, example) in FRAMED_ASIDE


@pytest.mark.parametrize("kind", ["lite", "wsgi"])
@pytest.mark.parametrize("name", RECIPES)
def test_a_client_that_leaves_ends_the_application(find: Find, name: str, kind: str) -> None:
    with find(name).send(Request("abandoned"), kind) as asked:
        assert asked.head().status == 200
        assert asked.data()
        asked.vanish()
        assert asked.notes.wait(1) == ["finally"]
