"""RequestParser in memory: framing, cutting, and h11 as a second opinion.

How a connection drives the parser is repeated here in a few lines (`parse`), so that hypothesis
can try thousands of cuttings in a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import h11
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from gserver.api.errors import RemoteProtocolError
from gserver.config import Config
from gserver.environ import template
from gserver.http1.parser import CHUNKED, RequestParser
from gserver.request import Limits

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED_POST = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Request:
    """A request that came whole."""

    method: str
    target: str
    http11: bool
    keep_alive: bool
    fields: tuple[tuple[str, str], ...]
    body: bytes
    trailers: tuple[tuple[str, str], ...]


@dataclass
class Outcome:
    """What became of some bytes."""

    requests: list[Request] = field(default_factory=list)
    status: int = 0
    """Of the refusal; 0 if there was none."""
    idle: bool = True
    """They ended between two requests."""


def make_parser(**options: Any) -> RequestParser:
    config = Config(**options)
    return RequestParser(Limits(config), template(config, "http", ("localhost", "80")))


class Driver:
    """Does with a parser what a connection does whose application reads everything."""

    def __init__(self, parser: RequestParser, pieces: Sequence[bytes]) -> None:
        self.parser = parser
        self.waiting = list(pieces)
        self.outcome = Outcome()
        self.counted: list[bytes] = []
        """Counted content that did not come with the head: the parser never sees it."""

    def run(self) -> None:
        parser = self.parser
        while parser.complete or self.waiting:
            if parser.complete:
                self.finish()
            elif parser.request is None:
                parser.feed(self.waiting.pop(0))
            elif parser.length == CHUNKED:
                parser.feed_body(self.waiting.pop(0))
            else:
                self.count(self.waiting.pop(0))

    def count(self, data: bytes) -> None:
        missing = self.parser.length - sum(map(len, self.parser.chunks + self.counted))
        self.counted.append(data[:missing])
        if len(data) > missing:
            self.waiting.insert(0, data[missing:])
        if len(data) >= missing:
            self.finish()

    def finish(self) -> None:
        parser = self.parser
        request = describe(parser, b"".join(parser.chunks + self.counted))
        self.outcome.requests.append(request)
        self.counted = []
        if not request.keep_alive:
            self.waiting = []
        elif parser.unused:
            self.waiting.insert(0, parser.unused)
        parser.next()


def describe(parser: RequestParser, body: bytes) -> Request:
    environ = parser.request
    assert environ is not None
    names = ("HTTP_", "CONTENT_")
    return Request(
        environ["REQUEST_METHOD"],
        environ["RAW_URI"],
        parser.http11,
        parser.keep_alive,
        tuple(sorted((k, v) for k, v in environ.items() if k.startswith(names))),
        body,
        tuple(parser.trailers),
    )


def parse(*pieces: bytes, **options: Any) -> Outcome:
    """Return what is found in `pieces`."""
    driver = Driver(make_parser(**options), pieces)
    outcome = driver.outcome
    try:
        driver.run()
    except RemoteProtocolError as exc:
        outcome.status = exc.status
    outcome.idle = driver.parser.idle
    return outcome


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def only(outcome: Outcome) -> Request:
    assert outcome.status == 0
    assert outcome.idle
    assert len(outcome.requests) == 1
    return outcome.requests[0]


def environ_of(head: bytes, **options: Any) -> dict[str, Any]:
    """Return the environ of a request that is accepted."""
    parser = make_parser(**options)
    parser.feed(head)
    assert parser.request is not None
    assert type(parser.request) is dict
    return parser.request


# -- single requests ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "path", "query", "host"),
    [
        ("/", "/", "", "a"),
        ("/a/b?c=d&e", "/a/b", "c=d&e", "a"),
        ("/?", "/", "", "a"),
        ("/a?b?c", "/a", "b?c", "a"),
        ("/a%20b%2Fc", "/a b/c", "", "a"),
        ("/%C3%BC", "/\xc3\xbc", "", "a"),
        ("/%zz%4", "/%zz%4", "", "a"),
        ("/a%3Fb?c%20d", "/a?b", "c%20d", "a"),
        ("//double/./../x", "//double/./../x", "", "a"),
        ("/;p=1|^`{}\\", "/;p=1|^`{}\\", "", "a"),
        # RFC 9112 3.2.2: the authority of the target replaces the Host field.
        ("http://b:80/x?y", "/x", "y", "b:80"),
        ("HTTPS://b/x", "/x", "", "b"),
        ("http://[::1]:8/x", "/x", "", "[::1]:8"),
        ("http://b", "/", "", "b"),
        ("http://b?q", "/", "q", "b"),
    ],
)
def test_target_becomes_path_and_query(target: str, path: str, query: str, host: str) -> None:
    environ = environ_of(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert environ["PATH_INFO"] == path
    assert environ["QUERY_STRING"] == query
    assert environ["HTTP_HOST"] == host
    assert environ["RAW_URI"] == environ["REQUEST_URI"] == target


def test_asterisk_form_is_for_options() -> None:
    """RFC 9112 3.2.4."""
    environ = environ_of(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (environ["RAW_URI"], environ["PATH_INFO"]) == ("*", "")
    assert parse(b"GET * HTTP/1.1\r\nHost: a\r\n\r\n").status == 400


@pytest.mark.parametrize(
    ("lines", "fields"),
    [
        (["Accept: text/html"], {"HTTP_ACCEPT": "text/html"}),
        (["X-A:b"], {"HTTP_X_A": "b"}),
        (["X-A: \t b c \t"], {"HTTP_X_A": "b c"}),
        (["X-A:"], {"HTTP_X_A": ""}),
        (["X-A: \xe4\xff"], {"HTTP_X_A": "\xe4\xff"}),
        (["X-A: 1", "x-a: 2", "X-a: 3"], {"HTTP_X_A": "1,2,3"}),
        (["Cookie: a=1", "Cookie: b=2"], {"HTTP_COOKIE": "a=1; b=2"}),
        (["Content-Type: text/plain"], {"CONTENT_TYPE": "text/plain"}),
        (["!#$%&'*+.^`|~9: x"], {"HTTP_!#$%&'*+.^`|~9": "x"}),
    ],
)
def test_fields_become_keys(lines: list[str], fields: dict[str, str]) -> None:
    head = "\r\n".join(["GET / HTTP/1.1", "Host: a", *lines, "", ""]).encode("latin-1")
    request = only(parse(head))
    assert dict(request.fields) == {"HTTP_HOST": "a", **fields}
    assert only(parse(*bytewise(head))) == request


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        ("1.1", None, True),
        ("1.1", "close", False),
        ("1.1", "CLOSE", False),
        ("1.1", "x, close", False),
        ("1.1", "keep-alive, close", False),
        ("1.1", "keep-alive", True),
        ("1.1", "x", True),
        ("1.0", None, False),
        ("1.0", "close", False),
        ("1.0", "keep-alive", True),
        ("1.0", "Keep-Alive", True),
    ],
)
def test_keep_alive(version: str, connection: str | None, kept: bool) -> None:
    """RFC 9112 9.3."""
    line = f"Connection: {connection}\r\n" if connection else ""
    request = parse(f"GET / HTTP/{version}\r\nHost: a\r\n{line}\r\n".encode()).requests[0]
    assert request.keep_alive is kept
    assert request.http11 is (version == "1.1")


def test_protocol_is_what_the_client_speaks() -> None:
    assert environ_of(GET)["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert environ_of(b"GET / HTTP/1.0\r\n\r\n")["SERVER_PROTOCOL"] == "HTTP/1.0"
    # The template is copied: the next request does not inherit it.
    assert environ_of(GET)["SERVER_PROTOCOL"] == "HTTP/1.1"


def test_every_request_has_an_environ_of_its_own() -> None:
    parser = make_parser()
    parser.feed(GET)
    first = parser.request
    assert first is not None
    first["HTTP_X"] = "left behind"
    parser.next()
    parser.feed(GET)
    assert parser.request is not first
    assert "HTTP_X" not in (parser.request or {})


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_methods(method: str) -> None:
    assert only(parse(GET.replace(b"GET", method.encode()))).method == method


def test_trailers_are_apart_from_the_headers() -> None:
    """RFC 9110 6.5.1: trailers are not merged into the header section."""
    content = b"1\r\na\r\n0\r\nX-Sum: 1\r\nX-A: 2\r\nHost: evil\r\nAuthorization: evil\r\n\r\n"
    request = only(parse(CHUNKED_POST + content))
    assert dict(request.fields) == {"HTTP_HOST": "a", "HTTP_TRANSFER_ENCODING": "chunked"}
    assert sorted(request.trailers) == [
        ("authorization", "evil"),
        ("host", "evil"),
        ("x-a", "2"),
        ("x-sum", "1"),
    ]


@pytest.mark.parametrize("cut", [len, lambda data: 1, lambda data: len(data) // 2])
@pytest.mark.parametrize(
    ("lines", "content", "body", "trailers"),
    [
        ("", b"", b"", ()),
        ("Content-Length: 5\r\n", b"hello", b"hello", ()),
        (
            "Transfer-Encoding: chunked\r\n",
            b"5\r\nhello\r\n0\r\nX: y\r\n\r\n",
            b"hello",
            (("x", "y"),),
        ),
    ],
    ids=["none", "counted", "chunked"],
)
def test_upgrade_is_ignored(
    lines: str,
    content: bytes,
    body: bytes,
    trailers: tuple[tuple[str, str], ...],
    cut: Callable[[bytes], int],
) -> None:
    """RFC 9110 7.8: a server may ignore it; what follows is content, then the next request."""
    head = f"POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n{lines}\r\n"
    data = head.encode() + content + GET
    size = cut(data)
    outcome = parse(*[data[i : i + size] for i in range(0, len(data), size)])
    assert (outcome.status, outcome.idle) == (0, True)
    first, second = outcome.requests
    assert (first.body, first.trailers, first.keep_alive) == (body, trailers, True)
    assert (second.method, second.keep_alive) == ("GET", True)


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/", "a:80"])
def test_connect_is_refused(target: str) -> None:
    """RFC 9110 9.3.6: what follows CONNECT is no HTTP, so nobody may think that it was taken."""
    assert parse(f"CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()).status in (400, 501)


def test_invalid_host_is_refused_beside_an_absolute_target() -> None:
    """RFC 9112 3.2: any request with an invalid Host field, whatever its target is."""
    assert parse(b"GET http://b/ HTTP/1.1\r\nHost: b ad\r\n\r\n").status == 400


@pytest.mark.parametrize("zeros", [100, 4200, 5000])
def test_leading_zeros_of_a_length_cause_no_error_of_ours(zeros: int) -> None:
    """RFC 9110 8.6 allows them; Python does not convert more than 4300 digits."""
    outcome = parse(POST + b"Content-Length: " + b"0" * zeros + b"5\r\n\r\nhello")
    assert outcome.status == 400 or outcome.requests[0].body == b"hello"


FRAMING_LOOKALIKES = [
    b"Content_Length: 5\r\n",
    b"Content_Length: x\r\n",
    b"Transfer_Encoding: chunked\r\n",
    b"Content-Length: 5\r\nTransfer_Encoding: chunked\r\n",
    b"Content-Length: 5\r\nContent_Length: 7\r\n",
    b"Transfer-Encoding: chunked\r\nContent_Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer_Encoding: gzip\r\n",
]


@pytest.mark.parametrize("header_map", ["drop", "refuse", "dangerous"])
@pytest.mark.parametrize("lines", FRAMING_LOOKALIKES)
def test_names_with_underscore_never_frame(lines: bytes, header_map: str) -> None:
    """What a proxy does not take for a length must be none here either: request smuggling."""
    if b"-Length" in lines:
        body, content = b"5\r\nhe", b"5\r\nhe"
    elif b"-Encoding" in lines:
        body, content = b"hello", b"5\r\nhello\r\n0\r\n\r\n"
    else:
        body = content = b""
    data = POST + lines + b"\r\n" + content + GET
    for pieces in ([data], bytewise(data)):
        outcome = parse(*pieces, header_map=header_map)
        if outcome.status:
            assert outcome.requests == []
        else:
            assert [one.body for one in outcome.requests] == [body, b""]


def test_servers_of_one_process_keep_their_own_header_map() -> None:
    """What one that takes underscores knows of a name must not pass to one that does not."""
    head = GET[:-2] + b"X_Real_User: admin\r\n\r\n"
    for header_map, fields in [
        ("drop", {}),
        ("dangerous", {"HTTP_X_REAL_USER": "admin"}),
        ("drop", {}),
    ]:
        request = only(parse(head, header_map=header_map))
        assert dict(request.fields) == {"HTTP_HOST": "a", **fields}
    assert parse(head, header_map="refuse").status == 400


@pytest.mark.parametrize(
    ("options", "data", "status"),
    [
        ({"limit_request_line": 100}, b"GET /" + b"a" * 120 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        ({"limit_request_line": 100}, b"GET /" + b"a" * 120, 414),
        ({"limit_request_field_size": 100}, GET[:-2] + b"A: " + b"b" * 120 + b"\r\n\r\n", 431),
        ({"limit_request_fields": 10}, GET[:-2] + b"A: b\r\n" * 11 + b"\r\n", 431),
        ({"limit_request_fields": 10}, GET[:-2] + b"A_B: b\r\n" * 11 + b"\r\n", 431),
        ({"limit_request_head": 1000}, GET[:-2] + b"A: b\r\n" * 900, 431),
        ({"limit_request_head": 1000}, GET[:-2] + b"A: " + b"b" * 1500 + b"\r\n\r\n", 431),
        ({"limit_request_body": 10}, POST + b"Content-Length: 11\r\n\r\nhello world", 413),
    ],
)
def test_limits_hold_however_the_bytes_are_cut(
    options: dict[str, int], data: bytes, status: int
) -> None:
    assert parse(data, **options).status == status
    assert parse(*bytewise(data), **options).status == status


def test_as_many_fields_as_allowed() -> None:
    """The count is exact, for fields of every kind."""
    for line in (b"X-%d: b\r\n", b"X_%d: b\r\n", b"A: %d\r\n"):
        fields = b"".join(line % i for i in range(99))
        assert parse(GET[:-2] + fields + b"\r\n").status == 0
        assert parse(GET[:-2] + fields + line % 99 + b"\r\n").status == 431
    expecting = POST + b"Content-Length: 0\r\nExpect: 100-continue\r\n"
    fields = b"".join(b"X-%d: b\r\n" % i for i in range(97))
    assert parse(expecting + fields + b"\r\n").status == 0


ENDLESS_CHUNKS = [
    pytest.param(b"", b"1;" + b"a" * 8000 + b"\r\nx\r\n", id="extensions of many chunks"),
    pytest.param(b"", b"0" * 8000 + b"1\r\nx\r\n", id="zeros of many chunks"),
    pytest.param(b"1;a=", b"b" * 4000, id="one extension"),
    pytest.param(b"1;", b"a;" * 2000, id="extensions of one chunk"),
    pytest.param(b"", b"0" * 4000, id="zeros of one chunk"),
    pytest.param(b"0\r\n", b"A: b\r\n" * 1000, id="trailers"),
    pytest.param(b"0\r\nA: ", b"b" * 4000, id="one trailer"),
]


@pytest.mark.parametrize(("begin", "more"), ENDLESS_CHUNKS)
def test_chunks_cannot_carry_overhead_without_end(begin: bytes, more: bytes) -> None:
    """CVE-2023-39326: what is sent beside the content must have a bound."""
    parser = make_parser()
    parser.feed(CHUNKED_POST)
    if begin:
        parser.feed_body(begin)
    fed = feed_until_refused(parser.feed_body, more)
    assert 8000 < fed <= 64 * 1024


def feed_until_refused(feed: Callable[[bytes], None], data: bytes) -> int:
    """Feed `data` again and again; return how many bytes that were when it was refused."""
    fed = 0
    with pytest.raises(RemoteProtocolError):  # noqa: PT012 - not every call raises
        while fed < 2_000_000:
            fed += len(data)
            feed(data)
    return fed


def test_small_chunks_are_no_overhead() -> None:
    """A client that flushes each byte is odd, but no attack."""
    parser = make_parser()
    parser.feed(CHUNKED_POST)
    for _ in range(20):
        parser.feed_body(b"1\r\na\r\n" * 2000)
    parser.feed_body(b"0\r\n\r\n")
    assert parser.complete
    assert sum(map(len, parser.chunks)) == 40000


@pytest.mark.parametrize(
    ("begin", "packet"),
    [
        pytest.param(b"\r\n", b"\r\n" * 8192, id="empty lines"),
        pytest.param(GET[:-2], b"a:b\r\n" * 3276, id="repeated fields"),
        pytest.param(GET[:-2], b"a" * 16384, id="field name"),
        pytest.param(GET[:-2] + b"a: ", b"b" * 16384, id="field value"),
        pytest.param(CHUNKED_POST, b"1\r\na\r\n" * 2730, id="chunks"),
        pytest.param(CHUNKED_POST, b"4000\r\n" + b"\r\n" * 8189, id="empty lines in content"),
        pytest.param(CHUNKED_POST + b"0\r\n", b"a:b\r\n" * 3276, id="trailers"),
    ],
)
def test_no_packet_holds_the_hub_for_long(begin: bytes, packet: bytes) -> None:
    """One packet of 16 KiB must cost little, whatever is in it: the hub does nothing else."""
    shortest = 1.0
    for _ in range(3):
        parser = make_parser()
        parser.feed(begin)
        feed = parser.feed if parser.request is None else parser.feed_body
        start = time.process_time()
        try:
            feed(packet)
        except RemoteProtocolError:
            pass
        shortest = min(shortest, time.process_time() - start)
    # An honest packet costs 0.02 ms; quadratic work took 500 ms.
    assert shortest < 0.25


def test_endless_head_is_bounded_in_memory() -> None:
    """However it is endless, it is refused not long after limit_request_head."""
    for begin, more in [
        (b"", b"\r\n" * 50),
        (b"GET /", b"a" * 100),
        (GET[:-2], b"a" * 100),
        (GET[:-2] + b"a: ", b"b" * 100),
        (GET[:-2], b"a: b\r\n" * 20),
        (GET[:-2], b"a_b: c\r\n" * 20),
    ]:
        parser = make_parser(limit_request_head=5000)
        if begin:
            parser.feed(begin)
        assert feed_until_refused(parser.feed, more) <= 9000


# -- cutting -----------------------------------------------------------------------------------

TOKENS = st.text("abcXYZ09-!#~", min_size=1, max_size=8)
VALUES = st.text('abc 09\t;=,"\xe4/', max_size=20)
RESERVED = {"host", "connection", "upgrade", "expect", "te", "trailer"}
FIELDS = st.lists(
    st.tuples(TOKENS.filter(lambda name: name.lower() not in RESERVED), VALUES), max_size=4
)
TARGETS = st.sampled_from(
    ["/", "/a/b?c=d", "/%41%zz", "*", "http://b/c?d", "https://b", "//x", "/" + "l" * 300]
)
METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "M-SEARCH"])
CONNECTIONS = st.sampled_from(
    [""] * 5
    + ["Connection: keep-alive\r\n", "Connection: close\r\n"]
    + ["Connection: upgrade\r\nUpgrade: x\r\n", "Upgrade: x\r\n"]
)
EXTENSIONS = st.sampled_from(["", "", ";a", ";a=b", ';a="b;c"', ";a=b;c=d"])
# Content that looks like the end of something is what a parser may trip over.
BLOCKS = st.one_of(
    st.binary(min_size=1, max_size=30),
    st.lists(
        st.sampled_from([b"\r\n", b"\r", b"\n", b"0\r\n\r\n", b"0", b"1\r\na", GET]), min_size=1
    ).map(b"".join),
)


def field_lines(fields: Sequence[tuple[str, str]]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1")


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Return the bytes of a request that a strict server takes."""
    method, target = draw(METHODS), draw(TARGETS)
    if target == "*":
        method = "OPTIONS"
    version = draw(st.sampled_from(["1.1", "1.1", "1.1", "1.0"]))
    head = f"{method} {target} HTTP/{version}\r\nHost: example:80\r\n".encode()
    head += draw(CONNECTIONS).encode() + field_lines(draw(FIELDS))
    kinds = ["none", "counted", "chunked"] if version == "1.1" else ["none", "counted"]
    kind = draw(st.sampled_from(kinds))
    if kind == "none":
        return head + b"\r\n"
    blocks = draw(st.lists(BLOCKS, max_size=4))
    if kind == "counted":
        body = b"".join(blocks)
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    for block in blocks:
        extension = draw(EXTENSIONS).encode()
        head += b"%x%b\r\n%b\r\n" % (len(block), extension, block)
    return head + b"0" + draw(EXTENSIONS).encode() + b"\r\n" + field_lines(draw(FIELDS)) + b"\r\n"


STREAMS = st.lists(messages(), min_size=1, max_size=4).map(b"".join)

INTERESTING = st.one_of(
    st.sampled_from([bytes([code]) for code in b"\r\n\0 \t:;,0_\x0b\x7f\x80-+"]),
    st.sampled_from(
        [
            b"\r\n",
            b"\r\n ",
            b"\r\n\r\n",
            b"0\r\n\r\n",
            b"chunked",
            b"HTTP/1.1",
            b"Host: b\r\n",
            b"Expect: 100-continue\r\n",
            b"Content-Length: 3\r\n",
            b"Content_Length: 3\r\n",
            b"Transfer-Encoding: x\r\n",
            b"Transfer-Encoding: chunked\r\n",
        ]
    ),
    st.binary(min_size=1, max_size=2),
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Return the bytes of requests of which some are no longer right."""
    data = draw(STREAMS)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.sampled_from([0, 0, 0, 1, 1, 2, 5]))
        data = data[:start] + draw(st.one_of(INTERESTING, st.just(b""))) + data[end:]
    return data


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places} - {0}), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a != b]


PLACES = st.lists(st.integers(0, 2000), max_size=8)


@settings(max_examples=150, deadline=None)
@given(STREAMS, PLACES)
@example(GET + GET, [len(GET) + 2])  # in the method of the second request
@example(GET + b"\r\n" + GET, [len(GET) + 1])  # in an empty line before it
@example(POST + b"Content-Length: 2\r\n\r\nhi" + GET, [len(POST) + 26])
@example(CHUNKED_POST + b"0\r\n\r\n" + GET, [len(CHUNKED_POST) + 7])
@example(CHUNKED_POST + b"4\r\nab\r\n\r\n0\r\n\r\n" + GET, [len(CHUNKED_POST) + 6])
def test_valid_requests_are_found_however_they_are_cut(data: bytes, places: list[int]) -> None:
    whole = parse(data)
    assert whole.status == 0
    assert whole.idle
    assert parse(*bytewise(data)) == whole
    assert parse(*cut(data, places)) == whole


def verdict(outcome: Outcome) -> tuple[list[Request], bool]:
    """Return what must not depend on the cutting.

    The status of a refusal may: of a bad method it depends on how much of it has come.
    """
    return outcome.requests, outcome.status > 0


@settings(max_examples=300, deadline=None)
@given(mutated(), PLACES)
@example(GET[:-4] + b"\r\n \r\n\r\n" + GET, [10])
@example(CHUNKED_POST + b"1\r\nab\r\n0\r\n\r\n", [len(CHUNKED_POST)])
def test_hostile_bytes_have_one_meaning_however_they_are_cut(
    data: bytes, places: list[int]
) -> None:
    whole = parse(data)
    assert verdict(parse(*bytewise(data))) == verdict(whole)
    assert verdict(parse(*cut(data, places))) == verdict(whole)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), PLACES)
def test_garbage_raises_nothing_but_refusals(data: bytes, places: list[int]) -> None:
    assert verdict(parse(*cut(data, places))) == verdict(parse(data))


# -- h11 as a second opinion -------------------------------------------------------------------


@dataclass
class Theirs:
    """What h11 made of some bytes."""

    requests: list[tuple[str, str, bytes, int]] = field(default_factory=list)
    """Method, target, body, number of trailers."""
    error: str = ""
    closed: bool = False
    """h11 keeps the connection no longer; it never does for HTTP/1.0."""


def ask_h11(data: bytes) -> Theirs:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    theirs = Theirs()
    request: Any = None
    body = b""
    while not theirs.closed:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as exc:
            theirs.error = str(exc)
            break
        if isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            summary = (request.method.decode(), request.target.decode("latin-1"), body)
            names = {name for name, _ in event.headers if b"_" not in name}
            theirs.requests.append((*summary, len(names)))
            connection.send(h11.Response(status_code=204, headers=[]))
            connection.send(h11.EndOfMessage())
            theirs.closed = connection.our_state is not h11.DONE
            if not theirs.closed:
                connection.start_next_cycle()
        else:
            break
    return theirs


def summaries(outcome: Outcome) -> list[tuple[str, str, bytes, int]]:
    return [(one.method, one.target, one.body, len(one.trailers)) for one in outcome.requests]


@settings(max_examples=150, deadline=None)
@given(STREAMS)
def test_h11_finds_the_same_in_valid_requests(data: bytes) -> None:
    ours, theirs = summaries(parse(data)), ask_h11(data)
    assert theirs.error == ""
    if theirs.closed:
        ours = ours[: len(theirs.requests)]
    assert theirs.requests == ours


@settings(max_examples=400, deadline=None)
@given(mutated())
def test_h11_finds_no_other_requests_in_hostile_bytes(data: bytes) -> None:
    """What is accepted here means the same to h11, up to where either stops.

    h11 takes more than we do: bare LF for line ends, folded lines, any method and target,
    Transfer-Encoding in HTTP/1.0, equal Content-Length fields. So it may find more requests.
    """
    ours, theirs = parse(data), ask_h11(data)
    # The one thing in which h11 is the stricter: RFC 9112 2.2 asks to skip empty lines.
    assume(theirs.error != "no request line received")
    both = min(len(ours.requests), len(theirs.requests))
    assert theirs.requests[:both] == summaries(ours)[:both]
    if not theirs.closed:
        assert len(theirs.requests) >= len(ours.requests)
        if ours.idle and not ours.status:
            assert (theirs.error, len(theirs.requests)) == ("", len(ours.requests))
