"""The access log: what lines say, that nobody can forge them, and that they stall no request."""

from __future__ import annotations

import base64
import fcntl
import logging
import os
import re
import select
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gevent
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clients import RawClient
from conftest import Command, Serve
from gserver import log
from gserver.api.errors import ConfigError
from gserver.config import COMBINED, Config
from gserver.fields import FieldCache
from gserver.log import AccessLog, Format
from gserver.stream import Stream

REQUEST: dict[str, Any] = {
    "REMOTE_ADDR": "192.0.2.7",
    "REQUEST_METHOD": "GET",
    "RAW_URI": "/a%20b?c=d",
    "PATH_INFO": "/a b",
    "QUERY_STRING": "c=d",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "CONTENT_TYPE": "text/plain",
    "HTTP_CONTENT_ENCODING": "br",
    "HTTP_REFERER": "http://example.org/",
    "HTTP_USER_AGENT": "curl/8",
    "HTTP_X_FORWARDED_FOR": "198.51.100.1",
    "wsgi.url_scheme": "https",
}
# A line of the combined format, as log analysers read it.
COMBINED_LINE = re.compile(
    r"(?P<h>[^ ]+) - (?P<u>[^ ]+) \[(?P<t>[^]]+)\] "
    r'"(?P<r>(?:[^"\\]|\\.)*)" (?P<s>\d{3}|-) (?P<b>\d+|-) '
    r'"(?P<f>(?:[^"\\]|\\.)*)" "(?P<a>(?:[^"\\]|\\.)*)"'
).fullmatch


def exchange(
    environ: dict[str, Any],
    status: str = "200 OK",
    headers: list[tuple[str, str]] | None = None,
    sent: int = 5,
) -> Stream:
    stream = Stream(dict(environ), FieldCache(lambda header: header))
    stream.status = status
    stream.headers = headers or []
    stream.sent = sent
    return stream


def line(format: str, stream: Stream | None = None, seconds: float = 1.2345678) -> str:
    text = Format(format).line(stream or exchange(REQUEST), seconds)
    assert text.endswith("\n")
    return text[:-1]


def basic(user: bytes) -> dict[str, Any]:
    return {**REQUEST, "HTTP_AUTHORIZATION": "Basic " + base64.b64encode(user).decode()}


# -- the format ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("atom", "expected"),
    [
        ("h", "192.0.2.7"),
        ("l", "-"),
        ("u", "-"),
        ("r", "GET /a%20b?c=d HTTP/1.1"),
        ("m", "GET"),
        ("U", "/a b"),
        ("q", "c=d"),
        ("H", "HTTP/1.1"),
        ("s", "200"),
        ("B", "5"),
        ("b", "5"),
        ("f", "http://example.org/"),
        ("a", "curl/8"),
        ("T", "1"),
        ("M", "1234"),
        ("D", "1234567"),
        ("L", "1.234568"),
        ("p", f"<{os.getpid()}>"),
        ("{x-forwarded-for}i", "198.51.100.1"),
        ("{X-Forwarded-For}i", "198.51.100.1"),
        ("{content-type}i", "text/plain"),
        ("{content-encoding}i", "br"),
        ("{accept}i", "-"),
        ("{x-id}o", "7"),
        ("{Set-Cookie}o", "a=1, b=2"),
        ("{etag}o", "-"),
        ("{wsgi.url_scheme}e", "https"),
        ("{request_method}e", "GET"),
        ("{REQUEST_METHOD}e", "GET"),
        ("{xyzzy}e", "-"),
    ],
)
def test_atom(atom: str, expected: str) -> None:
    headers = [("X-ID", "7"), ("Set-Cookie", "a=1"), ("set-cookie", "b=2")]
    assert line(f"<%({atom})s>", exchange(REQUEST, headers=headers)) == f"<{expected}>"


def test_every_atom_of_gunicorn_is_there() -> None:
    for atom in "hlutrmUqHsBbfaTMDLp":
        line(f"%({atom})s")


def test_what_is_not_there_is_a_dash() -> None:
    atoms = "hursmUHsbfa"
    nothing = line(" ".join(f"%({atom})s" for atom in atoms), exchange({}, status="", sent=0))
    assert nothing == "- - - - - - - - - - - - -"
    assert line("%(B)s", exchange({}, sent=0)) == "0"
    assert line("%(h)s", exchange({"REMOTE_ADDR": ""})) == "-"  # a Unix socket


@pytest.mark.parametrize(
    ("status", "head_request", "expected"),
    [("200 OK", False, "5 5"), ("200 OK", True, "0 -"), ("200 OK", False, "5 5")],
)
def test_bytes_are_those_that_were_sent(status: str, head_request: bool, expected: str) -> None:
    stream = exchange(REQUEST, status)
    stream.head_request = head_request
    assert line("%(B)s %(b)s", stream) == expected


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        (b"Basic", "-"),
        (b"Bearer YWRhOmI=", "-"),
        (b"Basic YWRhOmI=", "ada"),
        (b"BASIC YWRh", "ada"),
        (b"Basic OmI=", "-"),
        (b"Basic YQ", "-"),
        (b"Basic \xe9\xe9", "-"),
        (b"Basic //8=", "-"),
        (b"Basic " + base64.b64encode("ж".encode()), "\\u0436"),
        (b"Basic " + base64.b64encode(b"ada [1]"), "ada%20[1]"),
    ],
)
def test_user_of_basic_authentication(authorization: bytes, expected: str) -> None:
    environ = {"HTTP_AUTHORIZATION": authorization.decode("latin-1")}
    assert line("%(u)s", exchange(environ)) == expected


def test_time_is_that_of_the_common_log_format(monkeypatch: pytest.MonkeyPatch) -> None:
    before = int(time.time())
    text = line("%(t)s")
    assert text[0] + text[-1] == "[]"
    stamp = time.strptime(text[1:-7], "%d/%b/%Y:%H:%M:%S")
    assert before <= time.mktime(stamp) <= time.time()
    assert text[-6:-1] == time.strftime("%z")


def test_text_between_atoms_is_kept() -> None:
    assert line("100 %% é {}\\ \"%(m)s%(s)s\"%%(m)s") == '100 % é {}\\ "GET200"%(m)s'


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("%(Z)s", "there is no %(Z)s, only h l u t r m U q H s B b f a T M D L p and "
         "{header}i, {header}o, {variable}e"),
        ("%()s", "there is no %()s, only"),
        ("%(hh)s", "there is no %(hh)s, only"),
        ("%({x}z)s", "there is no %({x}z)s, only"),
        ("%({}i)s", "there is no %({}i)s, only"),
        ("%h", "%h: after % comes an atom, such as %(h)s, or another %"),
        ("100%", "%: after %"),
        ("%(D)d", "%(D)d: after %"),
        ("%%%", "%: after %"),
        ("%(h", "%(h: after %"),
    ],
)
def test_wrong_format(format: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Format(format)
    assert str(caught.value).startswith(f"access_logformat: {message}")


# -- unforgeable -----------------------------------------------------------------------------

anything = st.text(st.characters(codec="latin-1")) | st.text()


@given(anything, anything, anything, st.binary())
@example("\n", '" 200 1 "-" "-"\n::1 - ', "\x1b[2J\x9b\u202e", b'x\n::1 - "')
def test_no_client_can_forge_a_line(target: str, agent: str, referer: str, user: bytes) -> None:
    environ = basic(user) | {
        "RAW_URI": target,
        "HTTP_USER_AGENT": agent,
        "HTTP_REFERER": referer,
    }
    text = line(COMBINED, exchange(environ))
    assert text.isascii()
    assert text.isprintable()
    match = COMBINED_LINE(text)
    assert match
    for name, value in (("a", agent), ("f", referer), ("r", f"GET {target} HTTP/1.1")):
        assert match[name].encode().decode("unicode_escape") == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain [ok] #!~", "plain [ok] #!~"),
        ('a"b', 'a\\"b'),
        ("a\\nb", "a\\\\nb"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x00\x1b\x7f\x85\xe9", "\\x00\\x1b\\x7f\\x85\\xe9"),
    ],
)
def test_unsafe_characters_are_escaped_as_apache_does(value: str, expected: str) -> None:
    assert line("%(a)s", exchange({"HTTP_USER_AGENT": value})) == expected
