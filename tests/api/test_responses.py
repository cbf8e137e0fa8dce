"""`gserver.api.responses`: triples as they should be, files and their parts, streams and events."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import threading
from collections.abc import Iterator
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.http import is_resource_modified, parse_options_header

from conftest import StartPeer
from exchange import request
from gserver.api import HandshakeError, LocalProtocolError, RemoteProtocolError, lite, responses
from gserver.api.conditional import choose_part, evaluate
from gserver.api.responses import Event
from gserver.files import FileWrapper as OurWrapper

Environ = dict[str, Any]
Response = tuple[str, list[tuple[str, str]], Any]


def get(method: str = "GET", **fields: str) -> Environ:
    return {"REQUEST_METHOD": method, **{f"HTTP_{name}": value for name, value in fields.items()}}


def content(response: Response) -> bytes:
    """Return the content of a response, and close it as a server does."""
    body = response[2]
    try:
        return b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()


# -- what is known whole -------------------------------------------------------------------------


def test_text() -> None:
    status, headers, body = responses.text("Tee für 2 €", "201 Created", [("X-Name", "1")])
    assert (status, body) == ("201 Created", ["Tee für 2 €".encode()])
    assert headers == [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", "14"),
        ("X-Name", "1"),
    ]
    assert responses.text("a {}", content_type="text/css")[1][0] == ("Content-Type", "text/css")


def test_html() -> None:
    status, headers, body = responses.html("<p>ä")
    assert (status, body) == ("200 OK", ["<p>ä".encode()])
    assert headers == [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", "5")]


def test_json() -> None:
    status, headers, body = responses.json({"a": [1, None, "ä"]})
    assert (status, body) == ("200 OK", [b'{"a":[1,null,"\\u00e4"]}'])
    assert headers == [("Content-Type", "application/json"), ("Content-Length", "23")]
    problem = responses.json({}, "400 Bad Request", content_type="application/problem+json")
    assert problem[:2] == (
        "400 Bad Request",
        [("Content-Type", "application/problem+json"), ("Content-Length", "2")],
    )


def test_json_takes_what_json_gave() -> None:
    value = json.loads('"\\ud800"')  # half a character, which UTF-8 does not have
    assert json.loads(content(responses.json(value))) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, b"bytes"])
def test_what_json_does_not_have(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        responses.json([value])


@pytest.mark.parametrize(
    ("location", "sent"),
    [
        ("/", "/"),
        ("notes?a=%20&b#c", "notes?a=%20&b#c"),
        ("https://[2001:db8::1]:8000/~a", "https://[2001:db8::1]:8000/~a"),
        ("/Zähne & Co", "/Z%C3%A4hne%20&%20Co"),
        ("/a\r\nSet-Cookie: b=1", "/a%0D%0ASet-Cookie:%20b=1"),
        ("/\\example.com", "/%5Cexample.com"),
        ("\t//example.com", "%09//example.com"),
        ("/\ud800", "/?"),
    ],
)
def test_redirect(location: str, sent: str) -> None:
    status, headers, body = responses.redirect(location)
    assert (status, dict(headers)["Location"]) == ("303 See Other", sent)
    assert body == [sent.encode() + b"\n"]


@given(st.text())
def test_a_redirect_leads_to_a_url(location: str) -> None:
    sent = dict(responses.redirect(location)[1])["Location"]
    assert re.fullmatch(r"[!#$%&-;=?@\[\]_a-zA-Z~']*", sent)


def test_redirect_with_another_status() -> None:
    status, headers, _ = responses.redirect("/", "308 Permanent Redirect", [("X-Name", "1")])
    assert (status, headers[-1]) == ("308 Permanent Redirect", ("X-Name", "1"))
    with pytest.raises(LocalProtocolError, match="no redirection"):
        responses.redirect("/", "200 OK")


def test_error() -> None:
    status, headers, body = responses.error(RemoteProtocolError("no", 415))
    assert (status, body) == ("415 Unsupported Media Type", [b"no\n"])
    assert ("Content-Type", "text/plain; charset=utf-8") in headers
    refused = responses.error(HandshakeError(405, "GET it", (("Allow", "GET"),)))
    assert refused[1][-1] == ("Allow", "GET")
    assert responses.error(RemoteProtocolError("odd", 499))[0] == "499 "


RESPONSES = {
    "text": lambda environ: responses.text("a"),
    "html": lambda environ: responses.html("a"),
    "json": lambda environ: responses.json(1),
    "redirect": lambda environ: responses.redirect("/"),
    "stream": lambda environ: responses.stream(["a", b"b"]),
    "sse": lambda environ: responses.sse(["a"]),
    "file": lambda environ: responses.file(environ, __file__),
    "no file": lambda environ: responses.file(environ, "/nowhere"),
}


@pytest.mark.parametrize("name", RESPONSES)
def test_responses_are_wsgi(name: str) -> None:
    environ: Environ = {"QUERY_STRING": ""}
    setup_testing_defaults(environ)
    heads: list[str] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        heads.append(status)

    body: Any = validator(lite(RESPONSES[name]))(environ, start_response)
    for _ in body:
        assert heads
    body.close()


# -- streams -------------------------------------------------------------------------------------


class Lines:
    """Lines that say when they are no longer needed."""

    def __init__(self, *lines: Any) -> None:
        self.lines = iter(lines)
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        return self.lines

    def close(self) -> None:
        self.closed += 1


def test_stream() -> None:
    lines = Lines("ä", b"\xff", "")
    status, headers, body = response = responses.stream(
        lines, "text/csv", "203 OK", [("X-Name", "1")]
    )
    assert (status, headers) == ("203 OK", [("Content-Type", "text/csv"), ("X-Name", "1")])
    assert not hasattr(body, "__len__")
    assert content(response) == b"\xc3\xa4\xff"
    assert lines.closed == 1
    assert content(responses.stream(["a", "b"])) == b"ab"  # has no close()


def test_what_is_never_sent_is_closed_too() -> None:
    lines = Lines("a")
    body: Any = responses.stream(lines)[2]
    body.close()
    assert lines.closed == 1


@pytest.mark.parametrize("make", [responses.stream, responses.sse])
def test_who_leaves_ends_the_stream(peer: StartPeer, make: Any) -> None:
    left = threading.Event()

    def blocks() -> Iterator[str]:
        try:
            while True:
                yield "x" * 100_000
        finally:
            left.set()

    exchange = peer(lite(lambda environ: make(blocks()))).open()
    assert exchange.head().status == 200
    assert exchange.data()
    exchange.vanish()
    assert left.wait(10)


# -- server-sent events --------------------------------------------------------------------------


def parse_events(data: str) -> list[Event]:
    """Return the events of a stream, by the letter of WHATWG HTML 9.2.6."""
    events = []
    values: dict[str, str] = {}
    text = ""
    for line in re.split(r"\r\n|\r|\n", data):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if text:
                retry = values.get("retry")
                events.append(
                    Event(
                        text[:-1],
                        values.get("event"),
                        values.get("id"),
                        None if retry is None else int(retry),
                    )
                )
            values, text = {}, ""
        elif name == "data":
            text += value + "\n"
        elif name:
            values[name] = value
    return events


def test_events() -> None:
    status, headers, body = response = responses.sse(
        ["one\ntwo", None, Event("", "added", "7", 5000)], [("X-Name", "1")]
    )
    assert status == "200 OK"
    assert headers == [
        ("Content-Type", "text/event-stream"),
        ("Cache-Control", "no-store"),
        ("X-Accel-Buffering", "no"),
        ("X-Name", "1"),
    ]
    assert list(body) == [
        b":\n\n",
        b"data: one\ndata: two\n\n",
        b":\n\n",
        b"event: added\nid: 7\nretry: 5000\ndata: \n\n",
    ]
    assert content(response) == b""


LINE = st.text().filter(lambda text: not re.search(r"[\r\n\0]", text))
WHOLE = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\r\n :\u2028\x0b"))


@given(
    st.lists(
        st.builds(
            Event,
            WHOLE,
            st.none() | LINE,
            st.none() | LINE,
            st.none() | st.integers(min_value=0),
        )
    )
)
def test_every_event_arrives(events: list[Event]) -> None:
    expected = [one._replace(data=re.sub(r"\r\n|\r", "\n", one.data)) for one in events]
    assert parse_events(content(responses.sse(events)).decode()) == expected


@pytest.mark.parametrize("text", ["a\nb", "a\rdata: b", "a\0"])
@pytest.mark.parametrize("field", ["event", "id"])
def test_an_event_s_fields_are_lines(field: str, text: str) -> None:
    with pytest.raises(LocalProtocolError, match=f"^{field} of an event must be one line"):
        content(responses.sse([Event("data", **{field: text})]))  # type: ignore[arg-type]


def test_events_come_one_by_one(peer: StartPeer) -> None:
    gate = threading.Semaphore(0)

    def events() -> Iterator[str | Event]:
        yield "first"
        while not gate.acquire(blocking=False):
            yield ""
        yield Event("last", "end")

    exchange = peer(lite(lambda environ: responses.sse(events()))).open()
    head = exchange.head()
    assert head["Content-Type"] == "text/event-stream"
    received = exchange.data()
    while b"first" not in received:
        received += exchange.data()
    gate.release()  # only now can the rest come
    while data := exchange.data():
        received += data
    came = parse_events(received.decode())
    assert (came[0], came[-1]) == (Event("first"), Event("last", "end"))


# -- files ---------------------------------------------------------------------------------------

CONTENT = bytes(range(256)) * 400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    path.write_bytes(CONTENT)
    os.utime(path, (1_000_000_000.5, 1_000_000_000.5))
    return path


MODIFIED = "Sun, 09 Sep 2001 01:46:40 GMT"


def etag(path: Path) -> str:
    return dict(responses.file(get("HEAD"), path)[1])["ETag"]


def test_file(path: Path) -> None:
    opened: list[Any] = []

    def wrap(file: Any, size: int) -> FileWrapper:
        opened.append(file)
        return FileWrapper(file, size)

    environ = {**get(), "wsgi.file_wrapper": wrap}
    status, headers, _ = response = responses.file(environ, path, headers=[("X-Name", "1")])
    assert status == "200 OK"
    assert headers == [
        ("X-Name", "1"),
        ("ETag", etag(path)),
        ("Last-Modified", MODIFIED),
        ("Accept-Ranges", "bytes"),
        ("Content-Type", "application/octet-stream"),
        ("Content-Length", "102400"),
    ]
    assert isinstance(opened[0], io.BufferedReader)  # as it is: servers have the kernel send it
    assert content(response) == CONTENT
    assert opened[0].closed


def test_a_server_needs_no_file_wrapper(path: Path) -> None:
    assert content(responses.file(get(), str(path))) == CONTENT


def test_head_of_a_file(path: Path) -> None:
    status, headers, body = responses.file(get("HEAD", RANGE="bytes=0-1"), path)
    assert (status, dict(headers)["Content-Length"], body) == ("200 OK", "102400", [])


def test_the_tag_tells_versions_apart(path: Path) -> None:
    tags = {etag(path)}
    path.write_bytes(CONTENT + b"x")
    tags.add(etag(path))
    os.utime(path, ns=(0, 1))
    tags.add(etag(path))
    os.utime(path, ns=(0, 2))
    tags.add(etag(path))
    assert len(tags) == 4
    assert all(re.fullmatch(r'"[0-9a-f-]+"', tag) for tag in tags)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("A.PNG", "image/png"),
        ("a.svg", "image/svg+xml"),
        ("a.json", "application/json"),
        ("a.tar.gz", "application/gzip"),
        ("a.txt.bz2", "application/octet-stream"),
        ("data:text;.png", "image/png"),
        ("a", "application/octet-stream"),
    ],
)
def test_the_type_of_a_file(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).touch()
    response = responses.file(get("HEAD"), tmp_path / name)
    assert dict(response[1])["Content-Type"] == kind
    given = responses.file(get("HEAD"), tmp_path / name, content_type="x/y")
    assert dict(given[1])["Content-Type"] == "x/y"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("report 1.pdf", 'attachment; filename="report 1.pdf"'),
        ("Zähne.txt", "attachment; filename=\"Zahne.txt\"; filename*=UTF-8''Z%C3%A4hne.txt"),
        ('a"b\\c.txt', "attachment; filename=\"a_b_c.txt\"; filename*=UTF-8''a%22b%5Cc.txt"),
        ("歯", "attachment; filename=\"_\"; filename*=UTF-8''%E6%AD%AF"),
        ("a\r\nX: b", "attachment; filename=\"a__X_ b\"; filename*=UTF-8''a%0D%0AX%3A%20b"),
        ("\ud800", "attachment; filename=\"_\"; filename*=UTF-8''%3F"),
    ],
)
def test_the_name_of_a_download(path: Path, name: str, value: str) -> None:
    headers = dict(responses.file(get("HEAD"), path, download=name)[1])
    assert headers["Content-Disposition"] == value


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_clients_understand_the_name_of_a_download(name: str) -> None:
    headers = dict(responses.file(get("HEAD"), __file__, download=name)[1])
    value = headers["Content-Disposition"]
    assert value.isascii()
    assert value.isprintable()
    assert parse_options_header(value) == ("attachment", {"filename": name})


def test_where_there_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "a").touch()
    for name in ("", "none", "fifo", "loop", "a/b", "a\0b", "x" * 300, "\ud800", "."):
        status, headers, body = responses.file(get(), f"{tmp_path}/{name}")
        assert (status, body) == ("404 Not Found", [b"Not Found\n"]), name
        assert dict(headers)["Content-Length"] == "10"


def test_a_file_that_cannot_be_read_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> int:
        raise PermissionError(errno.EACCES, "no")  # root may read all there is

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        responses.file(get(), path)


def test_nothing_leads_out_of_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (root / "in" / "a").write_text("a")
    (tmp_path / "rooted").write_text("secret")
    (root / "out").symlink_to("../rooted")
    (root / "up").symlink_to("..")
    (root / "here").symlink_to("in")
    for name in ("in/a", "/in/a", "//in//a", "in/../in/./a", "here/a", "../root/in/a"):
        assert content(responses.file(get(), name, root=root)) == b"a", name
    for name in (
        *("../rooted", "/../rooted", "in/../../rooted", "out", "up/rooted", "..ed"),
        *(str(tmp_path / "rooted"), "", "/", "in", "..", "in/a\0", "none"),
    ):
        assert responses.file(get(), name, root=root)[0] == "404 Not Found", name
    assert responses.file(get(), "a", root=tmp_path / "none")[0] == "404 Not Found"
    monkeypatch.chdir(root)
    assert content(responses.file(get(), "in/a", root=".")) == b"a"


# What changed at 100 and has the tag "a" is asked for.
EARLIER, THEN, LATER = (formatdate(moment, usegmt=True) for moment in (99, 100, 101))


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({"IF_NONE_MATCH": '"a"'}, 304),
        ({"IF_NONE_MATCH": 'W/"a"'}, 304),
        ({"IF_NONE_MATCH": '"b", "a"'}, 304),
        ({"IF_NONE_MATCH": " * "}, 304),
        ({"IF_NONE_MATCH": '"b"'}, 200),
        ({"IF_NONE_MATCH": "a"}, 200),
        ({"IF_NONE_MATCH": '"b"', "IF_MODIFIED_SINCE": LATER}, 200),
        ({"IF_MODIFIED_SINCE": EARLIER}, 200),
        ({"IF_MODIFIED_SINCE": THEN}, 304),
        ({"IF_MODIFIED_SINCE": "Thu Jan  1 00:01:40 1970"}, 304),
        ({"IF_MODIFIED_SINCE": "Thursday, 01-Jan-70 00:01:40 GMT"}, 304),
        ({"IF_MODIFIED_SINCE": "yesterday"}, 200),
        ({"IF_MATCH": '"a"'}, 200),
        ({"IF_MATCH": "*"}, 200),
        ({"IF_MATCH": '"b"'}, 412),
        ({"IF_MATCH": 'W/"a"'}, 412),
        ({"IF_MATCH": '"a"', "IF_UNMODIFIED_SINCE": EARLIER}, 200),
        ({"IF_MATCH": '"a"', "IF_NONE_MATCH": '"a"'}, 304),
        ({"IF_UNMODIFIED_SINCE": EARLIER}, 412),
        ({"IF_UNMODIFIED_SINCE": THEN}, 200),
        ({"IF_UNMODIFIED_SINCE": "yesterday"}, 200),
    ],
)
def test_conditions(fields: dict[str, str], status: int) -> None:
    assert evaluate(get(**fields), '"a"', 100) == status


@given(st.text(st.characters(max_codepoint=255)) | st.just(THEN))
def test_conditions_of_any_text(text: str) -> None:
    for name in ("IF_MATCH", "IF_NONE_MATCH", "IF_MODIFIED_SINCE", "IF_UNMODIFIED_SINCE"):
        assert evaluate(get(**{name: text}), '"a"', 100) in (200, 304, 412)


TAGS = st.lists(st.sampled_from(['"a"', 'W/"a"', '"b"', "*", '"c,d"', '"'])).map(", ".join)


@given(TAGS)
def test_werkzeug_agrees_on_tags(value: str) -> None:
    modified = is_resource_modified(get(IF_NONE_MATCH=value), etag="a")
    if value.strip() and not re.search(r'\*.|.\*|(^|[ ,])"(,|$)', value):  # what is well-formed
        assert evaluate(get(IF_NONE_MATCH=value), '"a"', 100) == (200 if modified else 304)


def test_conditional_request_of_a_file(path: Path) -> None:
    tag = etag(path)
    more = [("Cache-Control", "max-age=60")]
    known = responses.file(get(IF_NONE_MATCH=tag, RANGE="bytes=0-1"), path, headers=more)
    assert known == (
        "304 Not Modified",
        [*more, ("ETag", tag), ("Last-Modified", MODIFIED), ("Accept-Ranges", "bytes")],
        [],
    )
    assert responses.file(get(IF_MODIFIED_SINCE=MODIFIED), path)[0] == "304 Not Modified"
    other = responses.file(get(IF_MATCH='"b"'), path)
    assert (other[0], content(other)) == ("412 Precondition Failed", b"Precondition Failed\n")
    posted = responses.file(get("POST", IF_NONE_MATCH=tag, RANGE="bytes=0-1"), path)
    assert posted[0] == "200 OK"
    assert content(posted) == CONTENT


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("bytes=0-0", "0-0"),
        ("bytes=1-2", "1-2"),
        ("BYTES= 100-", "100-102399"),
        ("bytes=102399-", "102399-102399"),
        ("bytes=0-999999", "0-102399"),
        ("bytes=-1", "102399-102399"),
        ("bytes=-999999", "0-102399"),
        ("bytes=102400-", "*"),
        ("bytes=-0", "*"),
        ("bytes=2-1", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("bytes=a-b", None),
        ("lines=0-1", None),
        ("bytes=" + "9" * 5000 + "-", None),
        ("bytes=\u0661-", None),
    ],
)
def test_part_of_a_file(path: Path, value: str, part: str | None) -> None:
    status, headers, _ = response = responses.file(get(RANGE=value), path)
    fields, sent = dict(headers), content(response)
    assert fields["Content-Length"] == str(len(sent))
    if part is None:
        assert (status, sent) == ("200 OK", CONTENT)
        assert "Content-Range" not in fields
    elif part == "*":
        assert (status[:3], sent) == ("416", f"{status[4:]}\n".encode())
        assert fields["Content-Range"] == "bytes */102400"
    else:
        first, last = map(int, part.split("-"))
        assert (status, sent) == ("206 Partial Content", CONTENT[first : last + 1])
        assert fields["Content-Range"] == f"bytes {part}/102400"


@pytest.mark.parametrize("value", ["bytes=0-0", "bytes=-1", "bytes=-0"])
def test_part_of_an_empty_file(tmp_path: Path, value: str) -> None:
    (tmp_path / "a").touch()
    response = responses.file(get(RANGE=value), tmp_path / "a")
    assert response[0][:3] == ("416" if value == "bytes=0-0" else "200")
    assert (content(response) == b"") is (value != "bytes=0-0")


def test_part_if_it_is_still_the_same(path: Path) -> None:
    def status(condition: str) -> str:
        response = responses.file(get(RANGE="bytes=0-1", IF_RANGE=condition), path)
        content(response)
        return response[0][:3]

    assert status(etag(path)) == status(MODIFIED) == "206"
    assert status('"b"') == status("W/" + etag(path)) == status(LATER) == "200"


NUMBER = st.integers(0, 30).map(str) | st.just("")


@given(NUMBER, NUMBER, st.integers(1, 20))
def test_ranges_by_the_letter(first: str, last: str, size: int) -> None:
    part = choose_part(get(RANGE=f"bytes={first}-{last}"), size, '"a"', THEN)
    everything = list(range(size))
    if first:
        wanted = everything[int(first) :]
        if last:
            wanted = [one for one in wanted if one <= int(last)]
        valid = not last or int(first) <= int(last)
    else:
        wanted = everything[-int(last) :] if last and int(last) else []
        valid = last != ""
    assert (part is None) is not valid
    assert list(part or ()) == (wanted if valid else [])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("value", ["", "bytes=1000-70999", "bytes=1000-", "bytes=200000-"])
def test_files_over_each_protocol(peer: StartPeer, path: Path, method: str, value: str) -> None:
    app = lite(lambda environ: responses.file(environ, path))
    answer = request(peer(app), "/", [("Range", value)] if value else [], method=method)
    assert answer.complete
    if method == "HEAD":
        assert (answer.status, answer.body, answer["Content-Length"]) == (200, b"", "102400")
        return
    expected = {
        "": (200, CONTENT),
        "bytes=1000-70999": (206, CONTENT[1000:71000]),
        "bytes=1000-": (206, CONTENT[1000:]),
        "bytes=200000-": (416, f"{HTTPStatus(416).phrase}\n".encode()),
    }
    assert (answer.status, answer.body) == expected[value]


def test_gserver_has_the_kernel_send_a_part(path: Path) -> None:
    environ = {**get(RANGE="bytes=1000-1999"), "wsgi.file_wrapper": OurWrapper}
    body: Any = responses.file(environ, path)[2]
    descriptor, offset, _ = body.region()
    assert os.pread(descriptor, 10, offset) == CONTENT[1000:1010]
    assert content(("", [], body)) == CONTENT[1000:2000]  # and whoever takes it apart gets no more
