"""`gserver.api.Request`: what it reads from an environ, what it refuses, whom it believes."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from conftest import Serve, StartPeer, need
from exchange import request
from gserver.api import (
    LocalProtocolError,
    NotSupported,
    RemoteProtocolError,
    RequestTooLarge,
    lite,
    responses,
)
from gserver.api.forms import Fields, Upload
from gserver.api.request import Request

Environ = dict[str, Any]
LIBRARIES = ("werkzeug", "webob")
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = 'multipart/form-data; boundary="b"'


class Input(io.BytesIO):
    """Content of a server that does not end it: to read on would wait for ever."""

    def read(self, size: int | None = -1) -> bytes:
        left = len(self.getbuffer()) - self.tell()
        assert size is not None
        assert 0 <= size <= left, "this would block"
        return super().read(size)


def get(query: str = "", **more: Any) -> Environ:
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": query,
        "REMOTE_ADDR": "192.0.2.1",
        "wsgi.input": Input(),
        **more,
    }


def post(content: bytes, content_type: str = "", **more: Any) -> Environ:
    return get(
        **{
            "REQUEST_METHOD": "POST",
            "CONTENT_TYPE": content_type,
            "CONTENT_LENGTH": str(len(content)),
            "wsgi.input": Input(content),
            **more,
        }
    )


def without_length(content: bytes, content_type: str = "") -> Environ:
    environ = post(content, content_type)
    del environ["CONTENT_LENGTH"]
    return {**environ, "wsgi.input": io.BytesIO(content), "wsgi.input_terminated": True}


def status(read: Callable[[], object]) -> int:
    """Return the status of the error that reading something raises."""
    with pytest.raises(RemoteProtocolError) as caught:
        read()
    return caught.value.status


# -- the head ------------------------------------------------------------------------------------


def test_the_class_binds_itself() -> None:
    class Mine(Request):
        @property
        def user(self) -> str:
            return self.cookies["user"]

    @lite(request=Mine)
    def app(environ: Environ, request: Mine) -> Any:
        return "200 OK", [], [f"{request.user} {request!r}".encode()]

    environ = get(HTTP_COOKIE="user=ada", RAW_URI="/a?b")
    assert app(environ)[2] == [b"ada <Mine GET /a?b>"]
    heads: list[str] = []
    body = app(environ, lambda status, headers, exc_info=None: heads.append(status))
    assert (heads, b"".join(body)) == (["200 OK"], b"ada <Mine GET /a?b>")


@pytest.mark.parametrize(
    ("told", "target"),
    [
        ({"RAW_URI": "/%7ea?b", "REQUEST_URI": "/x"}, "/%7ea?b"),
        ({"REQUEST_URI": "/%7ea?b"}, "/%7ea?b"),
        (
            {"SCRIPT_NAME": "/a", "PATH_INFO": "/\xc3\xa4 b", "QUERY_STRING": "c=%20"},
            "/a/%C3%A4%20b?c=%20",
        ),
        ({"PATH_INFO": "/a"}, "/a"),
    ],
)
def test_target(told: Environ, target: str) -> None:
    assert Request(get(**told)).target == target


def test_path_is_decoded() -> None:
    asked = Request(get(SCRIPT_NAME="/shop", PATH_INFO="/\xc3\xa4\xff"))
    assert (asked.method, asked.path) == ("GET", "/ä\ufffd")


def test_headers_have_names_in_any_case() -> None:
    asked = Request(get(HTTP_X_TOKEN="1", CONTENT_TYPE="text/plain", CONTENT_LENGTH=""))
    assert asked.headers["x-token"] == asked.headers["X-Token"] == "1"
    assert asked.headers["content-type"] == "text/plain"
    assert dict(asked.headers) == {"X-Token": "1", "Content-Type": "text/plain"}
    assert len(asked.headers) == 2
    assert "content-length" not in asked.headers
    assert asked.headers.get("Accept", "none") == "none"
    assert repr(asked.headers) == "Headers({'X-Token': '1', 'Content-Type': 'text/plain'})"


def test_query_has_all_values() -> None:
    asked = Request(get("a=1&b=&a=%C3%A4+%26&c"))
    query = asked.query
    assert asked.query is query
    assert query["a"] == "1"
    assert query.all("a") == ["1", "ä &"]
    assert query.all("d") == []
    assert dict(query) == {"a": "1", "b": "", "c": ""}
    assert len(query) == 3
    assert repr(query) == "Fields({'a': ['1', 'ä &'], 'b': [''], 'c': ['']})"


def test_query_may_be_raw_utf_8() -> None:
    assert Request(get("a=\xc3\xa4")).query["a"] == "ä"


@pytest.mark.parametrize("query", ["a=%E4", "%ff", "a=\xe4"])
def test_query_must_be_utf_8(query: str) -> None:
    assert status(lambda: Request(get(query)).query) == 400


def test_cookies() -> None:
    header = 'a=1; b="x\\073 y"; broken; c=; a=2; d=\xc3\xa4; e={"f":1}'
    asked = Request(get(HTTP_COOKIE=header))
    cookies = asked.cookies
    assert asked.cookies is cookies
    assert dict(cookies) == {"a": "1", "b": "x; y", "c": "", "d": "ä", "e": '{"f":1}'}
    assert dict(Request(get()).cookies) == {}


@pytest.mark.parametrize("where", ["query", "cookies", "headers", "form", "files"])
def test_what_is_missing_is_the_client_s_fault(where: str) -> None:
    fields: Any = getattr(Request(get()), where)
    assert status(lambda: fields["X-Name"]) == 400
    with pytest.raises(KeyError, match=r"^X-Name is missing$"):
        fields["X-Name"]
    with pytest.raises(KeyError, match=r"^a field is missing$"):
        fields["<script>"]
    assert fields.get("X-Name") is None


# -- who asks ------------------------------------------------------------------------------------

INNER, OUTER, CLIENT = "10.0.0.2", "10.0.0.1", "203.0.113.7"


class Behind(Request):
    proxies = ("10.0.0.0/8", "2001:db8:aaaa::/48", "unix")


class BehindForwarded(Behind):
    proxies_header = "Forwarded"


def client(kind: type[Request], peer: str, told: str | None) -> str:
    key = "HTTP_" + kind.proxies_header.upper().replace("-", "_")
    return kind(get(REMOTE_ADDR=peer, **({} if told is None else {key: told}))).client


@pytest.mark.parametrize(
    ("peer", "told", "expected"),
    [
        pytest.param(CLIENT, None, CLIENT, id="no proxy"),
        pytest.param(CLIENT, "1.1.1.1", CLIENT, id="forged"),
        pytest.param(CLIENT, OUTER, CLIENT, id="forged as a proxy's"),
        pytest.param(OUTER, None, OUTER, id="the proxy itself"),
        pytest.param(OUTER, CLIENT, CLIENT, id="one proxy"),
        pytest.param(INNER, f"{CLIENT}, {OUTER}", CLIENT, id="two proxies"),
        pytest.param(INNER, f"1.1.1.1,{OUTER},{CLIENT} , {OUTER}", CLIENT, id="forged in front"),
        pytest.param(INNER, f"10.9.9.9,{OUTER}", "10.9.9.9", id="from within"),
        pytest.param("", CLIENT, CLIENT, id="Unix socket"),
        pytest.param("", None, "", id="Unix socket, nobody else"),
        pytest.param(OUTER, f"{CLIENT}:4711", CLIENT, id="port"),
        pytest.param(OUTER, "[2001:db8::1]:4711", "2001:db8::1", id="IPv6 with port"),
        pytest.param(OUTER, "2001:DB8::1", "2001:db8::1", id="IPv6"),
        pytest.param("2001:db8:aaaa::1", "2001:db8:aaaa::2", "2001:db8:aaaa::2", id="IPv6 proxy"),
        pytest.param(f"::ffff:{OUTER}", f"::ffff:{CLIENT}", CLIENT, id="mapped"),
        pytest.param(OUTER, "fe80::1%<b>", "fe80::1", id="zone"),
        pytest.param(OUTER, "unknown", "", id="unknown"),
        pytest.param(OUTER, f"{CLIENT}, nonsense", "", id="nonsense"),
        pytest.param(OUTER, f"{CLIENT},", "", id="empty element"),
    ],
)
def test_client_behind_proxies(peer: str, told: str | None, expected: str) -> None:
    assert client(Behind, peer, told) == expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (f"for={CLIENT}", CLIENT),
        (f'For="{CLIENT}:4711"; proto=https;by={OUTER}', CLIENT),
        ('proto=https; for="[2001:db8::1]:4711"', "2001:db8::1"),
        (f"for=1.1.1.1, for={CLIENT}, for={OUTER}", CLIENT),
        ("for=unknown", ""),
        ("for=_hidden", ""),
        ("proto=https", ""),
        (f'for="evil, for={CLIENT}', CLIENT),
    ],
)
def test_client_by_forwarded(told: str, expected: str) -> None:
    assert client(BehindForwarded, INNER, told) == expected


@given(st.text(st.characters(max_codepoint=255)))
def test_what_a_client_writes_does_not_change_who_it_is(written: str) -> None:
    assert client(Behind, INNER, f"{written}, {CLIENT}, {OUTER}") == CLIENT
    assert client(BehindForwarded, INNER, f"{written}, for={CLIENT}, for={OUTER}") == CLIENT
    client(Behind, INNER, written)
    client(BehindForwarded, INNER, f"for={written}")


def test_only_the_chosen_header_counts() -> None:
    environ = get(REMOTE_ADDR=OUTER, HTTP_FORWARDED="for=1.1.1.1", HTTP_X_FORWARDED_FOR=CLIENT)
    assert Behind(environ).client == CLIENT
    assert BehindForwarded(environ).client == "1.1.1.1"
    assert Request(environ).client == OUTER


@pytest.mark.parametrize(
    "settings",
    [{"proxies": ("10.0.0.1/8",)}, {"proxies": ("proxy",)}, {"proxies_header": "X-Real-IP"}],
)
def test_proxies_are_checked_when_the_class_is_made(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/8|proxy|X-Real-IP"):
        type("Mine", (Request,), settings)


def test_proxies_are_a_sequence() -> None:
    with pytest.raises(TypeError, match="not a str"):
        type("Mine", (Request,), {"proxies": "10.0.0.1"})


# -- content -------------------------------------------------------------------------------------


class Small(Request):
    max_content = 300_000
    max_memory = 1000
    max_fields = 3
    max_files = 2


@pytest.mark.parametrize("environ", [post(b"x" * 1000), without_length(b"x" * 1000)])
def test_body(environ: Environ) -> None:
    asked = Small(environ)
    assert asked.body == asked.body == b"x" * 1000


@pytest.mark.parametrize("environ", [post(b"x" * 1001), without_length(b"x" * 1001)])
def test_body_that_is_too_large(environ: Environ) -> None:
    asked = Small(environ)
    with pytest.raises(RequestTooLarge, match="larger than 1000 bytes"):
        asked.body  # noqa: B018
    with pytest.raises(LocalProtocolError):  # what is left makes no sense
        asked.body  # noqa: B018


def test_no_body() -> None:
    assert Request(get()).body == b""
    assert Request(get(CONTENT_LENGTH="")).body == b""


@pytest.mark.parametrize("length", ["-1", "1e3", "1_0", "+1", "9" * 5000, "\xb2"])
def test_content_length_that_is_none(length: str) -> None:
    assert status(lambda: Request(get(CONTENT_LENGTH=length)).body) == 400


def test_body_that_is_cut_off() -> None:
    environ = {**post(b"abc"), "wsgi.input": io.BytesIO(b"ab")}
    assert status(lambda: Request(environ).body) == 400


def test_middleware_and_application_may_both_look() -> None:
    environ = post(b"a=1", URLENCODED)
    assert Request(environ).form["a"] == "1"
    assert Request(dict(environ)).form["a"] == "1"
    assert Request(dict(environ)).body == b"a=1"
    replaced = {**environ, "wsgi.input": Input(b"a=2")}
    assert Request(replaced).form["a"] == "2"


@pytest.mark.parametrize("kind", ["application/json", "Application/Problem+JSON; charset=utf-8"])
def test_json(kind: str) -> None:
    asked = Request(post('{"ä": [1, null]}'.encode(), kind))
    assert asked.json() == asked.json() == {"ä": [1, None]}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="cut off"),
        pytest.param(b'"\xe4"', id="not UTF-8"),
        pytest.param('"a"'.encode("utf-16"), id="UTF-16"),
        pytest.param(b"[NaN]", id="NaN"),
        pytest.param(b"-Infinity", id="infinity"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"a":' * 100_000, id="deep objects"),
        pytest.param(b"1" * 5000, id="long number"),
    ],
)
def test_content_that_is_no_json(content: bytes) -> None:
    assert status(Request(post(content, "application/json")).json) == 400


@pytest.mark.parametrize("kind", ["", "text/plain", "application/jsonp", URLENCODED])
def test_json_must_be_called_so(kind: str) -> None:
    assert status(Request(post(b"{}", kind)).json) == 415


def test_form() -> None:
    asked = Request(
        post("name=Z%C3%A4hne+%26+Co&tag=1&tag=ü&empty=".encode(), f"{URLENCODED}; a=b")
    )
    assert asked.form.all("tag") == ["1", "ü"]
    assert dict(asked.form) == {"name": "Zähne & Co", "tag": "1", "empty": ""}
    assert asked.form is asked.form
    assert dict(asked.files) == {}


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"a=%E4", 400), (b"a=\xe4", 400), (b"&" * 3, 413), (b"a" * 1001, 413)],
)
def test_form_that_is_refused(content: bytes, expected: int) -> None:
    assert status(lambda: Small(post(content, URLENCODED)).form) == expected


@pytest.mark.parametrize("kind", ["application/json", "multipart/mixed; boundary=b"])
def test_content_that_is_no_form(kind: str) -> None:
    assert status(lambda: Request(post(b"x", kind)).form) == 415


# -- forms with files ----------------------------------------------------------------------------


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Ask = Callable[..., Request]


@pytest.fixture
def ask(library: str) -> Iterator[Ask]:
    """Return a function that makes a Request; its files are closed at the end of the test."""
    with ExitStack() as stack:

        def keep(thing: Any) -> Any:
            return stack.enter_context(closing(thing))

        def make(environ: Environ, kind: type[Request] = Request) -> Request:
            environ["wsgi_lite.closing"] = keep
            return type("Mine", (kind,), {"library": library})(environ)  # type: ignore[no-any-return]

        yield make


def part(head: str, content: bytes = b"x") -> bytes:
    return b"--b\r\n%b\r\n\r\n%b\r\n" % (head.encode(), content)


def field(name: str, content: bytes = b"x") -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"', content)


def upload(name: str, filename: str, content: bytes = b"x") -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"'
    return part(f"{disposition}\r\nContent-Type: image/png", content)


def multipart(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


def encoded(fields: dict[str, Any], files: Any) -> Environ:
    """Return the environ of a form as the library requests sends it."""
    sent = requests.Request("POST", "http://localhost", data=fields, files=files).prepare()
    assert isinstance(sent.body, bytes)
    return post(sent.body, str(sent.headers["Content-Type"]))


def test_form_with_files(ask: Ask) -> None:
    large = bytes(range(256)) * 2000
    files = [
        ("file", ("a.txt", b"small", "text/plain")),
        ("file", ("ä.bin", large, "application/x-thing; v=1")),
        ("bare", ("b", b"\r\n--not the boundary\r\n")),
        ("none", ("", b"", "application/octet-stream")),
    ]
    asked = ask(encoded({"name": ["Zähne", "& Co"], "long": "x" * 5000, "empty": ""}, files))
    assert asked.form.all("name") == ["Zähne", "& Co"]
    assert (asked.form["long"], asked.form["empty"]) == ("x" * 5000, "")
    assert set(asked.files) == {"file", "bare"}
    small, big = asked.files.all("file")
    assert isinstance(small, Upload)
    assert (small.filename, small.content_type, small.file.read()) == (
        "a.txt",
        "text/plain",
        b"small",
    )
    assert (big.filename, big.content_type) == ("ä.bin", "application/x-thing; v=1")
    assert big.file.read() == large
    big.file.seek(-3, io.SEEK_END)
    assert big.file.read() == large[-3:]
    bare = asked.files["bare"]
    assert (bare.content_type, bare.file.read()) == (
        "application/octet-stream",
        b"\r\n--not the boundary\r\n",
    )


def test_form_without_a_length(ask: Ask) -> None:
    asked = ask(without_length(multipart(field("a"), upload("b", "c")), MULTIPART))
    assert (asked.form["a"], asked.files["b"].file.read()) == ("x", b"x")


def test_empty_form(ask: Ask) -> None:
    asked = ask(post(multipart(), MULTIPART))
    assert (dict(asked.form), dict(asked.files)) == ({}, {})


def test_file_without_a_name(ask: Ask) -> None:
    (uploaded,) = ask(post(multipart(upload("a", "", b"content")), MULTIPART)).files.all("a")
    assert (uploaded.filename, uploaded.file.read()) == ("", b"content")


def test_form_where_nobody_closes_its_files(ask: Ask) -> None:
    environ = ask(post(multipart(upload("a", "b")), MULTIPART)).environ
    del environ["wsgi_lite.closing"]
    with Request(environ).files["a"].file as file:
        assert file.read() == b"x"


def test_form_is_shared(ask: Ask) -> None:
    asked = ask(post(multipart(field("a")), MULTIPART))
    assert asked.form["a"] == "x"
    assert Request(asked.environ).form["a"] == "x"
    with pytest.raises(LocalProtocolError, match="read already, as a form"):
        asked.body  # noqa: B018


def test_content_that_was_read_is_no_form(ask: Ask) -> None:
    asked = ask(post(multipart(field("a")), MULTIPART))
    assert asked.body.startswith(b"--b")
    with pytest.raises(LocalProtocolError, match="read already, as a body"):
        asked.form  # noqa: B018


@pytest.mark.parametrize(
    "kind", ["", "; boundary=", '; boundary="', "; boundary=\xe4", "; boundary=" + "b" * 71]
)
def test_form_without_a_boundary(ask: Ask, kind: str) -> None:
    assert (
        status(lambda: ask(post(multipart(field("a")), "multipart/form-data" + kind)).form) == 400
    )


BAD_FORMS = {
    "nothing": b"",
    "another boundary": b"--c\r\n\r\n--c--\r\n",
    "no disposition": multipart(part("X-Name: a")),
    "no name": multipart(part("Content-Disposition: form-data")),
    "long head": multipart(part("X-Long: " + "x" * 2_000_000)),
    "endless head": b"--b\r\n" + b"x\n" * 1_000_000 + b"--b--",
}


@pytest.mark.parametrize("name", BAD_FORMS)
def test_malformed_form(ask: Ask, name: str) -> None:
    assert status(lambda: ask(post(BAD_FORMS[name], MULTIPART)).form) == 400


def test_parts_have_no_parts(ask: Ask, library: str) -> None:
    head = "Content-Disposition: form-data; name=a\r\nContent-Type:\r\n multipart/mixed; boundary=c"
    nested = b"--c\r\n" * 3 + b"--c--\r\n"
    asked = ask(post(multipart(part(head, nested)), MULTIPART))
    if library == "werkzeug":
        assert asked.form["a"].encode() == nested
    else:  # WebOb would count none of them
        assert status(lambda: asked.form) == 400


def test_form_that_is_cut_off(ask: Ask) -> None:
    whole = multipart(field("a"), upload("b", "c", b"some content"))
    for size in range(len(whole) - 2):
        assert status(lambda: ask(without_length(whole[:size], MULTIPART)).form) == 400, size  # noqa: B023
    assert ask(without_length(whole[:-2], MULTIPART)).form["a"] == "x"


def test_fields_of_a_form_are_utf_8(ask: Ask, library: str) -> None:
    asked = ask(post(multipart(field("a", b"\xe4")), MULTIPART))
    if library == "werkzeug":
        assert status(lambda: asked.form) == 400
    else:  # WebOb has replaced it when we get to see it
        assert asked.form["a"] == "\ufffd"


BOUNDS = {
    "a field": ([field("a", b"x" * 1000)], [field("a", b"x" * 1001)]),
    "fields": ([field("a", b"x" * 500)] * 2, [field("a", b"x" * 501)] * 2),
    "many fields": ([field("a")] * 3, [field("a")] * 4),
    "many files": ([upload("a", "b")] * 2, [upload("a", "b")] * 3),
    "nothing": ([upload("a", "", b"")] * 2, [upload("a", "", b"")] * 500),
    "content": ([upload("a", "b", b"x" * 290_000)], [upload("a", "b", b"x" * 300_000)]),
}


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("environ", [post, without_length])
def test_forms_are_bounded(ask: Ask, name: str, environ: Callable[..., Environ]) -> None:
    small, large = BOUNDS[name]
    ask(environ(multipart(*small), MULTIPART), Small).form  # noqa: B018
    assert status(lambda: ask(environ(multipart(*large), MULTIPART), Small).form) == 413


PIECES = st.sampled_from(
    [
        *(b"--b", b"--", b"\r\n", b"\n", b"\r", b" ", b"x", b"\xff", b":", b";", b'"', b"=", b"\0"),
        *(b"--b\r\n", b"\r\n--b\r\n", b"\r\n--b--\r\n", b"\r\n\r\n", b"name=a", b'filename="b"'),
        b"Content-Disposition: form-data; name=a",
        b'Content-Disposition: form-data; name="a"; filename="b"',
        *(b"Content-Type: text/plain; charset=none", b"Content-Transfer-Encoding: base64"),
        *(
            b"Content-Type: multipart/mixed; boundary=b",
            b"Content-Length: 3",
            b"filename*=UTF-8''%E4",
        ),
    ]
)


@pytest.mark.parametrize("library", LIBRARIES)
@given(pieces=st.lists(PIECES, max_size=25))
def test_any_content_is_a_form_or_refused(library: Any, pieces: list[bytes]) -> None:
    class Mine(Request):
        pass

    Mine.library = library
    with ExitStack() as stack:
        environ = post(
            b"--b\r\n" + b"".join(pieces) + b"\r\n--b--\r\n",
            MULTIPART,
            **{"wsgi_lite.closing": lambda thing: stack.enter_context(closing(thing))},
        )
        try:
            form = Mine(environ).form
        except RemoteProtocolError as exc:
            refused = exc.status
        else:
            refused = 0
            assert isinstance(form, Fields)
        assert refused in (0, 400)


def test_one_of_the_libraries_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "werkzeug.exceptions", None)
    environ = post(multipart(field("a", b"\xe4")), MULTIPART)
    assert Request(environ).form["a"] == "\ufffd"  # WebOb's


def test_without_a_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "werkzeug.exceptions", None)
    monkeypatch.setitem(sys.modules, "webob", None)
    with pytest.raises(NotSupported, match="pip install werkzeug"):
        Request(post(multipart(field("a")), MULTIPART)).form  # noqa: B018
    chosen = type("Mine", (Request,), {"library": "webob"})
    with pytest.raises(NotSupported, match="pip install webob"):
        chosen(post(multipart(field("a")), MULTIPART)).form  # noqa: B018
    assert Request(post(b"a=1", URLENCODED)).form["a"] == "1"  # needs none


# -- through servers -----------------------------------------------------------------------------


class Limited(Request):
    max_content = 1_000_000
    max_memory = 1000


@lite(request=Limited)
def app(environ: Environ, request: Limited) -> Any:
    """Tell about a form, or about JSON."""
    if request.content_type == "application/json":
        return responses.json(request.json())
    files = {
        name: [upload.filename, len(upload.file.read())] for name, upload in request.files.items()
    }
    return responses.json({"name": request.form["name"], "files": files})


TOLD = {"name": "Zähne", "files": {"file": ["a.bin", 500_000]}}


def test_form_over_each_protocol(peer: StartPeer) -> None:
    sent = encoded({"name": "Zähne"}, {"file": ("a.bin", b"x" * 500_000)})
    headers = [("Content-Type", sent["CONTENT_TYPE"])]
    content = sent["wsgi.input"].getvalue()
    server = peer(app)
    answer = request(server, "/", headers, method="POST", body=content)
    assert responses.json(TOLD)[2] == [answer.body]
    chunked = server.open("/", headers, method="POST", length=-1)
    chunked.send(content)
    chunked.end()
    assert chunked.answer().body == answer.body


BAD_REQUESTS = [
    ("application/json", b"{", 400),
    ("application/json", b"[" * 1000, 400),
    (URLENCODED, b"", 400),
    (URLENCODED, b"name=" + b"x" * 1000, 413),
    (MULTIPART, b"--b", 400),
    ("text/plain", b"name=1", 415),
]


@pytest.mark.parametrize(("kind", "content", "expected"), BAD_REQUESTS)
def test_what_is_wrong_is_answered(
    peer: StartPeer, kind: str, content: bytes, expected: int
) -> None:
    answer = request(peer(app), "/", [("Content-Type", kind)], method="POST", body=content)
    assert answer.status == expected


def test_uploads_are_closed_with_the_response(serve: Serve) -> None:
    uploads: list[Upload] = []

    @lite(request=Request)
    def keep(environ: Environ, request: Request) -> Any:
        uploads.append(request.files["file"])
        return responses.stream(iter([uploads[0].file.read()]))

    sent = encoded({}, {"file": ("a.bin", b"x" * 100_000)})
    with serve(keep).client() as http:
        response = http.post(
            "/", sent["wsgi.input"].getvalue(), f"Content-Type: {sent['CONTENT_TYPE']}"
        )
        assert len(response.body) == 100_000
        assert http.get().status == 400  # and by now the first is over
    assert uploads[0].file.closed


def test_clients_of_today(serve: Serve, tmp_path: Path) -> None:
    url = serve(app).url
    content = b"x" * 500_000
    with requests.Session() as session:
        session.trust_env = False
        sent = session.post(
            url, data={"name": "Zähne"}, files={"file": ("a.bin", content)}, timeout=10
        )
        assert sent.json() == TOLD
        assert session.post(url, json={"a": ["ü"]}, timeout=10).json() == {"a": ["ü"]}
    with httpx.Client(http1=False, http2=True, trust_env=False, timeout=10) as http2:
        answer = http2.post(url, data={"name": "Zähne"}, files={"file": ("a.bin", content)})
        assert (answer.http_version, answer.json()) == ("HTTP/2", TOLD)
    need("curl")
    (tmp_path / "a.bin").write_bytes(content)
    command = ["curl", "-sS", "--max-time", "10", "--noproxy", "*", "-F", "name=Zähne"]
    command += ["-F", f"file=@{tmp_path / 'a.bin'}", url]
    done = subprocess.run(command, capture_output=True, check=True, timeout=20)
    assert [done.stdout] == responses.json(TOLD)[2]


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_under_another_server_errors_can_be_answered() -> None:
    @lite
    def outer(environ: Environ) -> Any:
        try:
            return app(environ)
        except RemoteProtocolError as exc:
            return responses.error(exc)

    def ask(content: bytes, kind: str) -> tuple[int, bytes]:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        asked = urllib.request.Request(url, content, {"Content-Type": kind})
        try:
            with urllib.request.urlopen(asked, timeout=10) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, exc.read()
        finally:
            thread.join(10)

    with make_server("127.0.0.1", 0, outer, handler_class=Quiet) as server:
        # This server's input does not end: whoever reads too far waits until the client leaves.
        sent = encoded({"name": "Zähne"}, {"file": ("a.bin", b"x" * 500_000)})
        content = sent["wsgi.input"].getvalue()
        assert ask(content, sent["CONTENT_TYPE"]) == (200, responses.json(TOLD)[2][0])  # type: ignore[index]
        assert ask(b"{", "application/json") == (400, b"the content is not JSON\n")
        assert ask(b"a=1", URLENCODED) == (400, b"name is missing\n")
