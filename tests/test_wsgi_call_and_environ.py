"""How the application is called, and what the environ holds (PEP 3333, environ variables)."""

from __future__ import annotations

import functools
import io
import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import gevent.event
import pytest

from clients import RawClient
from conftest import Serve, StartPeer
from exchange import Headers, request
from gserver.config import Config
from gserver.environ import ErrorStream, decode_path, field_key, template

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


def environ_of(
    start: StartPeer,
    target: str = "/",
    headers: Headers = (),
    *,
    method: str = "GET",
    body: bytes = b"",
    **options: Any,
) -> Environ:
    """Return the environ that a request makes."""
    seen: list[Environ] = []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        seen.append(environ)
        start_response("200 OK", [])
        return []

    answer = request(start(app, **options), target, headers, method=method, body=body)
    assert answer.status == 200
    (environ,) = seen
    return environ


# -- the call ------------------------------------------------------------------------------------


def plain(environ: Environ, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"called"]


def with_prefix(prefix: bytes, environ: Environ, start_response: StartResponse) -> list[bytes]:
    return [prefix, *plain(environ, start_response)]


class Instance:
    __slots__ = ()

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        return plain(environ, start_response)

    def method(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        return plain(environ, start_response)


class Iterated:
    """PEP 3333's AppClass: calling the class makes the iterable."""

    def __init__(self, environ: Environ, start_response: StartResponse) -> None:
        self.start_response = start_response

    def __iter__(self) -> Iterator[bytes]:
        self.start_response("200 OK", [])
        yield b"called"


class Evasive:
    """Has nothing that introspection could go by."""

    def __call__(self, *args: Any, **kwargs: Any) -> list[bytes]:
        assert not kwargs
        environ, start_response = args
        return plain(environ, start_response)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


@pytest.mark.parametrize(
    "app",
    [
        plain,
        functools.partial(with_prefix, b""),
        Instance(),
        Instance().method,
        Iterated,
        Evasive(),
        lambda e, s, /: plain(e, s),
    ],
    ids=["function", "partial", "instance", "method", "class", "evasive", "positional-only"],
)
def test_any_callable_is_called_with_two_positional_arguments(peer: StartPeer, app: Any) -> None:
    answer = request(peer(app))
    assert (answer.status, answer.body) == (200, b"called")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
def test_wsgiref_validate_finds_nothing_to_complain_about(peer: StartPeer, method: str) -> None:
    received: list[bytes] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        received.append(environ["wsgi.input"].read(7))
        environ["wsgi.errors"].write("")
        environ["wsgi.errors"].writelines([""])
        environ["wsgi.errors"].flush()
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"one"
        yield b"two"

    body = b"content" if method in ("POST", "DELETE") else b""
    headers = [("X-Field", "a, b")]
    answer = request(peer(validator(app)), "/a/b?c=d", headers, method=method, body=body)
    assert answer.complete
    assert (answer.status, answer.body) == (200, b"" if method == "HEAD" else b"onetwo")
    assert received == [body]


# -- the dictionary ------------------------------------------------------------------------------


def test_environ_is_a_plain_dict(peer: StartPeer) -> None:
    assert type(environ_of(peer)) is dict


def test_environ_is_the_applications_to_change(serve: Serve) -> None:
    """What it does to one request's environ is not seen by the next."""
    kept: list[Environ] = []
    first_keys: list[set[str]] = []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        first_keys.append(set(environ))
        kept.append(environ)
        start_response("200 OK", [])
        environ["mine"] = 1
        environ["wsgi.version"] = None
        for key in [key for key in environ if key.startswith("wsgi.")]:
            del environ[key]
        environ["REQUEST_METHOD"] = "CHANGED"
        return [b"fine"]

    with serve(app).client() as client:
        assert client.get().body == b"fine"
        assert client.get().body == b"fine"
    first, second = kept
    assert first is not second
    assert first_keys[0] == first_keys[1]


def test_environ_may_be_emptied(peer: StartPeer) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        environ.clear()
        start_response("200 OK", [])
        return [b"a", b"b"]

    assert request(peer(app)).body == b"ab"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_request_method(peer: StartPeer, method: str) -> None:
    assert environ_of(peer, method=method)["REQUEST_METHOD"] == method


def test_server_name_and_port_are_non_empty_str(peer: StartPeer) -> None:
    environ = environ_of(peer)
    assert environ["SERVER_NAME"] == "127.0.0.1"
    assert type(environ["SERVER_PORT"]) is str
    assert 0 < int(environ["SERVER_PORT"]) < 65536


def test_server_name_and_port_are_non_empty_at_a_unix_socket(serve: Serve, tmp_path: Path) -> None:
    seen: list[Environ] = []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        seen.append(environ)
        return plain(environ, start_response)

    path = str(tmp_path / "socket")
    serve(validator(app), bind=f"unix:{path}")
    with RawClient(path) as client:
        assert client.get().body == b"called"
    for key in ("SERVER_NAME", "SERVER_PORT"):
        assert type(seen[0][key]) is str
        assert seen[0][key]
    assert seen[0]["REMOTE_ADDR"] == ""


def test_server_protocol_is_that_of_the_client(peer: StartPeer) -> None:
    versions: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        versions.append(environ["SERVER_PROTOCOL"])
        start_response("200 OK", [])
        return []

    running = peer(app)
    request(running)
    assert versions == [running.version]


def test_server_protocol_of_an_http10_client(serve: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["SERVER_PROTOCOL"].encode()]

    with serve(app).client() as client:
        assert client.get(version="1.0").body == b"HTTP/1.0"


# Target, PATH_INFO and QUERY_STRING.
TARGETS = {
    "root": ("/", "/", ""),
    "path": ("/a/b.html", "/a/b.html", ""),
    "query": ("/a?b=c&d", "/a", "b=c&d"),
    "empty query": ("/a?", "/a", ""),
    "second question mark": ("/a?b?c", "/a", "b?c"),
    "escaped letter": ("/%41", "/A", ""),
    "escaped slash": ("/a%2Fb", "/a/b", ""),
    "escaped question mark": ("/a%3Fb?c", "/a?b", "c"),
    "escaped percent sign": ("/%2541", "/%41", ""),
    "no escape": ("/100%", "/100%", ""),
    "utf-8": ("/%E2%82%AC", "/\xe2\x82\xac", ""),
    "not utf-8": ("/%FF%00", "/\xff\x00", ""),
    "query stays escaped": ("/?a=%E2%82%AC+%20", "/", "a=%E2%82%AC+%20"),
    "double slash": ("//a//b", "//a//b", ""),
    "dot segments": ("/a/../b/./c", "/a/../b/./c", ""),
    "semicolon": ("/a;v=1", "/a;v=1", ""),
    "plus": ("/a+b", "/a+b", ""),
}


@pytest.mark.parametrize(("target", "path", "query"), TARGETS.values(), ids=TARGETS)
def test_target_becomes_path_and_query(peer: StartPeer, target: str, path: str, query: str) -> None:
    environ = environ_of(peer, target)
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == (path, query)
    # What decoding loses: whether %2F or / was sent.
    assert environ["RAW_URI"] == environ["REQUEST_URI"] == target
    # Always present, and empty at the root, never "/".
    assert environ["SCRIPT_NAME"] == ""


@pytest.mark.parametrize(
    ("path", "decoded"),
    [("/%e2%82%ac", "/\xe2\x82\xac"), ("/%zz", "/%zz"), ("/%4", "/%4"), ("/%", "/%"), ("", "")],
)
def test_decode_path(path: str, decoded: str) -> None:
    assert decode_path(path) == decoded


def test_options_asterisk_has_no_path(peer: StartPeer) -> None:
    """RFC 9112 3.2.4; the validator wants SCRIPT_NAME or PATH_INFO to be there."""
    environ = environ_of(peer, "*", method="OPTIONS")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", "")
    assert environ["RAW_URI"] == "*"


def test_every_cgi_value_is_a_native_latin_1_string(peer: StartPeer) -> None:
    headers = [("X-Bytes", "\xff\xe4\x80"), ("Cookie", "n=\xc3\xa9"), ("Content-Type", "a/\xe9")]
    environ = environ_of(peer, "/%80%ff?%ff", headers)
    texts = {key: value for key, value in environ.items() if "." not in key}
    for key, value in texts.items():
        assert type(key) is str
        assert type(value) is str, key
        assert value.encode("latin-1").decode("latin-1") == value
    assert texts["HTTP_X_BYTES"] == "\xff\xe4\x80"
    assert texts["HTTP_COOKIE"] == "n=\xc3\xa9"
    assert texts["CONTENT_TYPE"] == "a/\xe9"


def test_http_keys_are_those_headers_that_were_sent(peer: StartPeer) -> None:
    headers = [
        ("Accept", "*/*"),
        ("accept-language", "de"),
        ("X-EMPTY", ""),
        ("X_Underscore", "no"),
        ("Content-Type", "text/plain"),
    ]
    environ = environ_of(peer, "/", headers, method="POST", body=b"123")
    assert {key: value for key, value in environ.items() if key.startswith("HTTP_")} == {
        "HTTP_HOST": "localhost",
        "HTTP_ACCEPT": "*/*",
        "HTTP_ACCEPT_LANGUAGE": "de",
        "HTTP_X_EMPTY": "",
    }
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("text/plain", "3")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (b"Accept", "HTTP_ACCEPT"),
        (b"x-forwarded-FOR", "HTTP_X_FORWARDED_FOR"),
        (b"content-type", "CONTENT_TYPE"),
        (b"Content-Length", "CONTENT_LENGTH"),
        (b"Content-Encoding", "HTTP_CONTENT_ENCODING"),
        (b"!#$%&'*+.^`|~9", "HTTP_!#$%&'*+.^`|~9"),
    ],
)
def test_field_key(name: bytes, key: str) -> None:
    assert field_key(name) == key


def test_absent_values_are_left_out(peer: StartPeer) -> None:
    environ = environ_of(peer)
    assert "CONTENT_TYPE" not in environ
    assert "CONTENT_LENGTH" not in environ
    assert None not in environ.values()


REPEATED = {
    "list": ([("Accept", "a"), ("ACCEPT", "b, c")], "HTTP_ACCEPT", "a,b, c"),
    "three": ([("X-A", "1"), ("X-A", ""), ("X-A", "3")], "HTTP_X_A", "1,,3"),
    "cookies": ([("Cookie", "a=1"), ("Cookie", "b=2")], "HTTP_COOKIE", "a=1; b=2"),
}


@pytest.mark.parametrize(("headers", "key", "value"), REPEATED.values(), ids=REPEATED)
def test_repeated_headers_are_joined(
    peer: StartPeer, headers: Headers, key: str, value: str
) -> None:
    """RFC 9110 5.3; RFC 6265 5.4 for cookies."""
    assert environ_of(peer, "/", headers)[key] == value


def test_surrounding_white_space_is_no_part_of_a_value(serve: Serve) -> None:
    """RFC 9110 5.5; over HTTP/2 it is an error (RFC 9113 8.2.1)."""

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["HTTP_X_A"].encode()]

    with serve(app).client() as client:
        assert client.get("/", "X-A:  \t b c \t ").body == b"b c"


def test_hop_by_hop_request_headers_are_the_servers_affair(serve: Serve) -> None:
    """The application sees plain content, and the connection ends though it said nothing."""

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    with serve(app).client() as client:
        response = client.get_with_body(
            "/", b"2\r\nab\r\n0\r\n\r\n", "Transfer-Encoding: chunked", "Connection: close"
        )
        assert response.body == b"ab"
        assert response["Connection"] == "close"
        assert client.closed()


# -- keys of WSGI itself -------------------------------------------------------------------------


def test_values_of_the_wsgi_keys(peer: StartPeer) -> None:
    environ = environ_of(peer)
    assert environ["wsgi.version"] == (1, 0)
    assert type(environ["wsgi.version"]) is tuple
    assert environ["wsgi.url_scheme"] == "http"
    # True: greenlets enter the application at the same time.
    assert environ["wsgi.multithread"] is True
    assert environ["wsgi.multiprocess"] is False
    assert environ["wsgi.run_once"] is False
    assert environ["wsgi.input_terminated"] is True
    for name in ("read", "readline", "readlines", "__iter__"):
        assert callable(getattr(environ["wsgi.input"], name))
    for name in ("flush", "write", "writelines"):
        assert callable(getattr(environ["wsgi.errors"], name))
    assert callable(environ["wsgi.file_wrapper"])
    assert callable(environ["wsgi_lite.closing"])
    assert environ["SERVER_SOFTWARE"].startswith("gserver/")
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert environ["REMOTE_PORT"].isdecimal()


def test_multiprocess_is_what_the_host_says(peer: StartPeer) -> None:
    assert environ_of(peer, multiprocess=True)["wsgi.multiprocess"] is True


def test_multithread_is_true_to_the_word(peer: StartPeer) -> None:
    """Two requests are in the application at the same time."""
    inside: list[str] = []
    both = gevent.event.Event()

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        inside.append(environ["PATH_INFO"])
        if len(inside) == 2:
            both.set()
        met = both.wait(5)
        start_response("200 OK", [])
        return [b"met" if met else b"alone"]

    running = peer(app)
    first, second = running.open("/1"), running.open("/2")
    assert first.answer().body == second.answer().body == b"met"


def test_names_of_other_keys_are_lower_case_with_a_prefix(peer: StartPeer) -> None:
    """PEP 3333: lower-case letters, numbers, dots and underscores, and a prefix of their own."""
    environ = environ_of(peer, "/", [("X-Other", "1")], method="POST", body=b"1")
    cgi = re.compile(r"[A-Z][A-Z0-9_]*")
    ours = re.compile(r"(wsgi|wsgi_lite|gserver)\.[a-z0-9_.]+")
    for key in environ:
        assert cgi.fullmatch(key) or ours.fullmatch(key), key


def test_https_and_ssl_keys_with_tls(serve: Serve, certificate: tuple[str, str]) -> None:
    cert, key = certificate
    seen: list[Environ] = []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        seen.append(environ)
        return plain(environ, start_response)

    context = ssl.create_default_context(cafile=cert)
    running = serve(validator(app), certfile=cert, keyfile=key)
    with running.client(tls=context) as client:
        assert client.get().body == b"called"
    (environ,) = seen
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["HTTPS"] == "on"
    assert environ["SSL_PROTOCOL"] == "TLSv1.3"
    assert environ["SSL_CIPHER"].startswith("TLS_")
    assert environ["SSL_CLIENT_VERIFY"] == "NONE"
    assert "SSL_CLIENT_CERT" not in environ


def test_ssl_values_are_native_strings_too(
    serve: Serve, certificate: tuple[str, str], tmp_path: Path
) -> None:
    """A client certificate may name anybody: UTF-8, each byte as one latin-1 character."""
    cert, key = certificate
    client_cert, client_key = str(tmp_path / "client.pem"), str(tmp_path / "client.key")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -utf8 -subj /CN=\u0141ukasz"
    subprocess.run(
        [*command.split(), "-keyout", client_key, "-out", client_cert],
        check=True,
        capture_output=True,
    )
    seen: list[Environ] = []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        seen.append(environ)
        return plain(environ, start_response)

    context = ssl.create_default_context(cafile=cert)
    context.load_cert_chain(client_cert, client_key)
    running = serve(app, certfile=cert, keyfile=key, ca_certs=client_cert, cert_reqs="required")
    with running.client(tls=context) as client:
        assert client.get().body == b"called"
    (environ,) = seen
    assert environ["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert environ["SSL_CLIENT_S_DN_CN"] == "\u0141ukasz".encode().decode("latin-1")


def test_no_https_key_without_tls(peer: StartPeer) -> None:
    environ = environ_of(peer, "/", [("HTTPS", "on")])
    assert "HTTPS" not in environ
    assert not [key for key in environ if key.startswith("SSL_")]


def test_template_is_complete_but_for_the_request() -> None:
    environ = template(Config(), "https", ("name", "443"))
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("name", "443")
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["HTTPS"] == "on"
    assert environ["wsgi.input"].read() == b""


# -- wsgi.errors ---------------------------------------------------------------------------------


def test_errors_stream_writes_to_standard_error(
    peer: StartPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        errors = environ["wsgi.errors"]
        errors.write("one\n")
        errors.writelines(["two\n", "three \u20ac \ud800\n"])
        errors.flush()
        start_response("200 OK", [])
        return []

    assert request(peer(app)).status == 200
    assert stream.getvalue() == "one\ntwo\nthree \u20ac \ud800\n"


@pytest.mark.parametrize(
    ("encoding", "text", "written"),
    [
        ("ascii", "a\u20acb", b"a\\u20acb"),
        ("latin-1", "\xe4\u20ac", b"\xe4\\u20ac"),
        ("utf-8", "\u20ac", b"\xe2\x82\xac"),
        ("utf-8", "a\ud800", b"a\\ud800"),
    ],
)
def test_errors_stream_takes_any_text(
    monkeypatch: pytest.MonkeyPatch, encoding: str, text: str, written: bytes
) -> None:
    """An error message must not raise an error of its own, whatever the terminal can show."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, "stderr", stream)
    errors = ErrorStream()
    errors.write(text)
    errors.writelines([text])
    errors.flush()
    assert stream.buffer.getvalue() == written * 2


def test_errors_stream_refuses_what_is_no_text() -> None:
    with pytest.raises(TypeError):
        ErrorStream().write(b"bytes")  # type: ignore[arg-type]
