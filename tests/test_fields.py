"""gserver/fields.py by itself: checks, encodings and the caches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from wsgiref.headers import Headers

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gserver.api import LocalProtocolError
from gserver.fields import (
    BODYLESS,
    CONTENT_LENGTH,
    DATE,
    HOP_BY_HOP,
    SERVER,
    STATUSES,
    FieldCache,
    check_field,
    check_status,
    encode_line,
    status_text,
)

KINDS = {
    "Content-Length": ("12", CONTENT_LENGTH),
    "content-length": ("0", CONTENT_LENGTH),
    "CONTENT-LENGTH": ("007", CONTENT_LENGTH),
    "Date": ("any day", DATE),
    "date": ("", DATE),
    "Server": ("mine", SERVER),
    "Content-Type": ("text/plain", 0),
    "Content-Lengthy": ("x", 0),
    "X-Date": ("x", 0),
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_fields(name: str) -> None:
    """Names are compared without regard to case, and kept as they are."""
    value, kind = KINDS[name]
    assert check_field((name, value)) == (name, value, kind)


def test_the_longest_content_length() -> None:
    assert cache().learn(("Content-Length", "9" * 18))[2] == 10**18 - 1
    with pytest.raises(LocalProtocolError, match="up to 18 digits"):
        check_field(("Content-Length", "9" * 19))


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_hop_by_hop_fields_are_refused_in_any_case(name: str) -> None:
    for spelling in (name, name.upper(), name.title()):
        with pytest.raises(LocalProtocolError, match="hop-by-hop"):
            check_field((spelling, "x"))


TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@given(st.text(max_size=8), st.text(max_size=8))
def test_any_text_is_refused_or_makes_one_field_line(name: str, value: str) -> None:
    """RFC 9112 5: what passes the checks cannot end its line or begin another."""
    try:
        checked = check_field((name, value))
    except LocalProtocolError:
        return
    line = encode_line(*checked[:2])
    assert line.endswith(b"\r\n")
    assert re.fullmatch(rb"[^\x00-\x1f\x7f]*", line[:-2])
    field, colon, rest = line[:-2].decode("latin-1").partition(": ")
    assert (field, colon, rest) == (name, ": ", value)
    assert TOKEN.fullmatch(field)


@given(
    st.text(st.characters(max_codepoint=0x7F), min_size=1, max_size=4),
    st.text(st.characters(max_codepoint=0xFF), max_size=6),
)
def test_only_tokens_and_printable_text_pass(name: str, value: str) -> None:
    """RFC 9110 5.1 and 5.5, and no control character at all (PEP 3333)."""
    good_name = TOKEN.fullmatch(name) is not None and name.lower() not in HOP_BY_HOP
    good_value = not any(character < " " or character == "\x7f" for character in value)
    if good_name and good_value:
        assert check_field((name, value))[:2] == (name, value)
    else:
        with pytest.raises(LocalProtocolError):
            check_field((name, value))


@pytest.mark.parametrize(
    "header",
    [
        ["X-A", "1"],
        "ab",
        ("X-A",),
        ("X-A", "1", "2"),
        (),
        None,
        ("X-A", None),
        ("X-A", 1),
        (b"X-A", "1"),
        ("X-A", b"1"),
        ("Content-Length", "-1"),
        ("Content-Length", " 1"),
        ("Content-Length", "\u0661"),
        ("Content-Length", "1.0"),
    ],
    ids=repr,
)
def test_other_headers_are_refused_with_their_text(header: Any) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        check_field(header)
    assert caught.value.status == 500
    assert len(str(caught.value)) > 20


# -- the cache -----------------------------------------------------------------------------------


def cache() -> FieldCache:
    return FieldCache(encode_line)


def test_a_field_is_encoded_once() -> None:
    calls: list[str] = []

    def encode(name: str, value: str) -> bytes:
        calls.append(name)
        return encode_line(name, value)

    fields = FieldCache(encode)
    header = ("Content-Length", "3")
    entry = fields.learn(header)
    assert entry == (b"Content-Length: 3\r\n", CONTENT_LENGTH, 3)
    assert fields.known[header] is entry
    assert fields.encode(header) is entry[0]
    assert calls == ["Content-Length"]


@pytest.mark.parametrize(
    "header",
    [
        ("Set-Cookie", "session=secret"),
        ("set-cookie", "session=secret"),
        ("Authorization", "secret"),
        ("ETag", '"1"'),
        ("Location", "/next?token=secret"),
        ("Last-Modified", "today"),
        ("X-A", "x" * 129),
    ],
    ids=lambda header: header[0],
)
def test_secrets_and_what_is_new_each_time_are_not_kept(header: tuple[str, str]) -> None:
    fields = cache()
    assert fields.encode(header) == encode_line(*header)
    assert fields.known == {}


def test_refused_fields_are_not_kept() -> None:
    fields = cache()
    with pytest.raises(LocalProtocolError):
        fields.encode(("X-A", "\n"))
    assert fields.known == {}


def test_caches_do_not_grow_for_ever() -> None:
    fields = cache()
    for number in range(5000):
        assert fields.encode(("X-A", str(number))) == b"X-A: %d\r\n" % number
    assert len(fields.known) <= 1024


# -- statuses ------------------------------------------------------------------------------------


@pytest.fixture
def statuses() -> Iterator[dict[str, Any]]:
    """Return the cache of statuses, empty; as it was afterwards."""
    kept = dict(STATUSES)
    STATUSES.clear()
    yield STATUSES
    STATUSES.clear()
    STATUSES.update(kept)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("200 OK", 0),
        ("200 ", 0),
        ("204 No Content", BODYLESS),
        ("204 ", BODYLESS),
        ("304 Not Modified", BODYLESS),
        ("205 Reset Content", 0),
        ("404 Nicht gefunden \xe4", 0),
        ("999 Any", 0),
    ],
)
def test_statuses(statuses: dict[str, Any], status: str, kind: int) -> None:
    line = f"HTTP/1.1 {status}\r\n".encode("latin-1")
    assert check_status(status) == (line, kind)
    assert statuses == {status: (line, kind)}


@given(st.text(st.sampled_from("0123456789 OK\r\n\t\x00\x7f\xe4\u20ac"), max_size=10))
def test_any_status_is_refused_or_makes_one_line(status: str) -> None:
    """RFC 9112 4."""
    try:
        line, _ = check_status(status)
    except LocalProtocolError:
        assert status not in STATUSES
        return
    assert re.fullmatch(rb"HTTP/1\.1 [2-9][0-9]{2} [^\x00-\x1f\x7f]*\r\n", line)
    assert line == b"HTTP/1.1 %b\r\n" % status.encode("latin-1")


def test_statuses_do_not_grow_for_ever(statuses: dict[str, Any]) -> None:
    for number in range(3000):
        check_status(f"200 {number}")
    assert len(statuses) <= 1024


@pytest.mark.parametrize("status", HTTPStatus)
def test_status_text_of_registered_codes(status: HTTPStatus) -> None:
    assert status_text(status.value) == f"{status.value} {status.phrase}"


def test_status_text_of_other_codes() -> None:
    assert status_text(599) == "599 Unknown"


# -- against another implementation --------------------------------------------------------------


@given(st.lists(st.tuples(st.from_regex(TOKEN, fullmatch=True), st.text("ab \xe4", max_size=5))))
def test_lines_are_those_of_the_standard_library(headers: list[tuple[str, str]]) -> None:
    headers = [(name, value) for name, value in headers if name.lower() not in HOP_BY_HOP]
    headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
    fields = cache()
    lines = b"".join(map(fields.encode, headers))
    assert lines + b"\r\n" == bytes(Headers(headers))
