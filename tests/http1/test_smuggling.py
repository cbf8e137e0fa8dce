"""Hostile heads and bodies on the wire: refused, closed, and nothing behind them is executed.

Each is followed by a request for /smuggled, which a server that disagreed with its proxy about
where a message ends would answer. RFC 9112 11.2; how the bytes are cut into packets is the matter
of test_parser.py.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest

from clients import ConnectionEnded, RawClient
from conftest import Serve

GET = "GET / HTTP/1.1\r\nHost: a\r\n"
POST = "POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + "Transfer-Encoding: chunked\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

REQUEST_LINES: list[tuple[str, int]] = [
    ("GET /\r\n\r\n", 400),  # HTTP/0.9
    ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
    ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/11\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1x\r\nHost: a\r\n\r\n", 400),
    ("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP /1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTPS/1.1\r\nHost: a\r\n\r\n", 400),
    ("SOURCE / ICE/1.0\r\nHost: a\r\n\r\n", 400),
    ("OPTIONS * RTSP/1.0\r\nHost: a\r\n\r\n", 400),
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("\tGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("\x00GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\rHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", 400),
    ("GET HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 400),
    ("hello\r\n\r\n", 400),
    ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS on the clear port
    # Methods: RFC 9110 9.1 wants 501 for one that is not known, 400 is for what is no token.
    ("FOO / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    ("get / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    ("GETX / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GE\x00T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GE\rT / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("G\xc9T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
]

TARGETS: list[tuple[str, int]] = [
    (f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n", 400)
    for target in [
        "*",
        "a",
        "a/b",
        "?a",
        "a:80",
        "/\x00",
        "/\x01",
        "/\x7f",
        "/\xe4",
        "/\x0b",
        "/a\nb",
        "/a\rb",
        "/<a>",
        '/"a"',
        "/a#b",
        "ftp://a/",
        "http:///",
        "http://",
        "http:/a",
        "http://b c/",
        "http://user@b/",
        "http://b:x/",
        "http://[::1/",
        "http://b\\c/",
        "//a\x00",
    ]
]

BAD_HOSTS = ["a b", "a/b", "a@b", "a?b", "a#b", "a:b", "a:80:80", "[::1", "::1", "[g]", "a\\b"]
BAD_HOSTS += ["<a>", '"a"', "\xe4", "http://a", "a, b"]

HOSTS: list[tuple[str, int]] = [
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET http://a/ HTTP/1.1\r\n\r\n", 400),
    ("OPTIONS * HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n", 400),
    ("GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    *(
        (f"{line}\r\nHost: {host}\r\n\r\n", 400)
        for host in BAD_HOSTS
        for line in ["GET / HTTP/1.1", "GET http://a/ HTTP/1.1", "GET / HTTP/1.0"]
    ),
]

FIELDS: list[tuple[str, int]] = [
    (GET + lines + "\r\n", 400)
    for lines in [
        "A : b\r\n",  # RFC 9112 5.1: white space before the colon
        "A\t: b\r\n",
        "Content-Length : 5\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\x00: chunked\r\n",
        "Transfer-Encoding\r\n: chunked\r\n",
        "A: b\r\n c\r\n",  # RFC 9112 5.2: obs-fold
        "A: b\r\n\tc\r\n",
        "A:\r\n b\r\n",
        "A: b\r\n \r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Content-Length: 1\r\n 0\r\n",
        " A: b\r\n",
        "\tA: b\r\n",
        "A: b\n",  # RFC 9112 2.2: bare LF and CR
        "A: b\nC: d\r\n",
        "A: b\rC: d\r\n",
        "A: b\r\r\n",
        "A: b\r\n\rC: d\r\n",
        "A: b\r\n\nC: d\r\n",
        "\rA: b\r\n",
        "A: \x00\r\n",  # RFC 9110 5.5
        "A: b\x00c\r\n",
        "A: \x01\r\n",
        "A: \x0b\r\n",
        "A: \x0c\r\n",
        "A: \x1f\r\n",
        "A: \x7f\r\n",
        "A\r\n",
        ": b\r\n",
        "A B: c\r\n",
        "A\x00B: c\r\n",
        "\xe4: c\r\n",
        "(A): c\r\n",
        "A@B: c\r\n",
        '"A": c\r\n',
        "GET / HTTP/1.1\r\n",
    ]
]
FIELDS.append((GET + "A: b\r\n\n", 400))
FIELDS.append((GET + "\n", 400))
FIELDS.append((GET + "Expect: a cup of tea\r\n\r\n", 417))
FIELDS.append((POST + "Content-Length: 5\r\nExpect: 100-continue, b\r\n\r\nhello", 417))

LENGTHS: list[tuple[str, int]] = [
    (POST + lines + "\r\nhello", 400)
    for lines in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nCONTENT-LENGTH: 0\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5,\r\n",
        "Content-Length: ,5\r\n",
        "Content-Length: 5;\r\n",
        "Content-Length: \r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: -0\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 5\t5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5.0\r\n",
        "Content-Length: 5e0\r\n",
        "Content-Length: 1_0\r\n",
        "Content-Length: \xb2\r\n",
        "Content-Length: five\r\n",
        'Content-Length: "5"\r\n',
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        # RFC 9112 6.1 and 6.3: Content-Length with Transfer-Encoding.
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: identity\r\n",
        "Content-Length: 5\r\nTransfer-Encoding:\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
    ]
]

ENCODINGS: list[tuple[str, int]] = [
    # RFC 9112 6.3, 4: if chunked is not the final coding, the server must respond with 400.
    *(
        (f"{POST}{lines}\r\n0\r\n\r\n", 400)
        for lines in [
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: chunked, gzip\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: chunkedx\r\n",
            "Transfer-Encoding: chunk\r\n",
            "Transfer-Encoding: chunked;q=1\r\n",
            "Transfer-Encoding: chunked;\r\n",
            "Transfer-Encoding: chunked,\r\n",
            "Transfer-Encoding: chunked ,\r\n",
            'Transfer-Encoding: "chunked"\r\n',
            "Transfer-Encoding: 'chunked'\r\n",
            "Transfer-Encoding: chunked x\r\n",
            "Transfer-Encoding: x chunked\r\n",
            "Transfer-Encoding: \x0bchunked\r\n",
            "Transfer-Encoding: chunked\x0b\r\n",
            "Transfer-Encoding: chunked\x00\r\n",
            "Transfer-Encoding: chunked\xa0\r\n",
            "Transfer-Encoding:\r\n",
            # RFC 9112 7.1: chunked no more than once.
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        ]
    ),
    # RFC 9112 6.1: a coding that is not understood; 501 should be the answer.
    (POST + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    (POST + "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
    (POST + "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 501),
    ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (
        "POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\n"
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
]

HEADS = [*REQUEST_LINES, *TARGETS, *HOSTS, *FIELDS, *LENGTHS, *ENCODINGS]

CHUNKS: list[str] = [
    # RFC 9112 7.1: chunk-size is hexadecimal digits and nothing else.
    "\r\na\r\n0\r\n\r\n",
    "g\r\na\r\n0\r\n\r\n",
    "0x1\r\na\r\n0\r\n\r\n",
    "+1\r\na\r\n0\r\n\r\n",
    "-1\r\na\r\n0\r\n\r\n",
    " 1\r\na\r\n0\r\n\r\n",
    "1 \r\na\r\n0\r\n\r\n",
    "1\t\r\na\r\n0\r\n\r\n",
    "1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    "1.\r\na\r\n0\r\n\r\n",
    "1\x00\r\na\r\n0\r\n\r\n",
    "\xb2\r\nab\r\n0\r\n\r\n",
    "10000000000000000\r\na\r\n0\r\n\r\n",
    "fffffffffffffffff\r\na\r\n0\r\n\r\n",
    # Line ends: TERM.EXT, EXT.TERM and their kin.
    "1\na\r\n0\r\n\r\n",
    "1\ra\r\n0\r\n\r\n",
    "1\r\r\na\r\n0\r\n\r\n",
    "1\n\r\na\r\n0\r\n\r\n",
    "1;a\nb\r\n0\r\n\r\n",
    "1;a\rb\r\na\r\n0\r\n\r\n",
    '1;a="\n"\r\na\r\n0\r\n\r\n',
    '1;a="\r\n"\r\na\r\n0\r\n\r\n',
    "1;a\x00\r\na\r\n0\r\n\r\n",
    "1;\r\na\r\n0\r\n\r\n",
    "1;a=b=c\r\na\r\n0\r\n\r\n",
    '1;a="b\r\na\r\n0\r\n\r\n',
    # The end of chunk-data must be where its size says.
    "1\r\nab\r\n0\r\n\r\n",
    "1\r\na0\r\n\r\n",
    "1\r\na\n0\r\n\r\n",
    "1\r\na\r0\r\n\r\n",
    "2\r\na\r\n0\r\n\r\n",
    "1\r\na\r\n\r\n0\r\n\r\n",
    "1\r\na\r\nX\r\n0\r\n\r\n",
    # The last chunk and the trailers.
    "0\n\r\n",
    "0\r\n\n",
    "0\r\nA: b\n\r\n",
    "0\r\nA : b\r\n\r\n",
    "0\r\nA: b\r\n c\r\n\r\n",
    "0\r\nA\r\n\r\n",
    "0\r\nA: \x00\r\n\r\n",
    "0\r\n A: b\r\n\r\n",
    "0\r\nContent-Length: 5\r\n\r\n",
    "0\r\nTransfer-Encoding: chunked\r\n\r\n",
]


class Application:
    """Notes the paths that it is asked for."""

    def __init__(self, read: bool = True) -> None:
        self.paths: list[str] = []
        self.called = threading.Event()
        self._read = read

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.paths.append(environ["PATH_INFO"])
        self.called.set()
        if self._read:
            environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [b"fine"]


def smuggled_responses(client: RawClient) -> int:
    """Read to the end of the connection and count further responses."""
    return client.until_closed().count(b"HTTP/1.")


@pytest.mark.parametrize(("head", "status"), HEADS)
def test_hostile_head_is_refused_and_the_connection_closed(
    serve: Serve, head: str, status: int
) -> None:
    application = Application()
    with serve(application).client() as client:
        client.send(head.encode("latin-1") + SMUGGLED)
        response = client.response()
        assert response.status == status
        assert response["Connection"] == "close"
        assert smuggled_responses(client) == 0
    assert application.paths == []


@pytest.mark.parametrize("chunks", CHUNKS)
def test_hostile_chunks_with_the_head_are_refused(serve: Serve, chunks: str) -> None:
    application = Application()
    with serve(application).client() as client:
        client.send((CHUNKED + "\r\n" + chunks).encode("latin-1") + SMUGGLED)
        assert client.response().status == 400
        assert smuggled_responses(client) == 0
    assert "/smuggled" not in application.paths


@pytest.mark.parametrize("chunks", CHUNKS)
def test_hostile_chunks_later_fail_the_read_of_the_application(serve: Serve, chunks: str) -> None:
    application = Application()
    with serve(application).client() as client:
        client.send((CHUNKED + "\r\n").encode())
        assert application.called.wait(10)
        client.send(chunks.encode("latin-1") + SMUGGLED)
        response = client.response()
        assert (response.status, response["Connection"]) == (400, "close")
        assert smuggled_responses(client) == 0
    assert application.paths == ["/"]


@pytest.mark.parametrize("chunks", CHUNKS)
def test_hostile_chunks_that_nobody_reads_close_the_connection(serve: Serve, chunks: str) -> None:
    application = Application(read=False)
    with serve(application).client() as client:
        client.send((CHUNKED + "\r\n").encode())
        assert application.called.wait(10)
        assert client.response().body == b"fine"
        client.send(chunks.encode("latin-1") + SMUGGLED)
        assert smuggled_responses(client) == 0
    assert application.paths == ["/"]


@pytest.mark.parametrize(
    "head",
    [
        GET + "Content-Length: 35\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n",
        "DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n",
        POST + "Content-Length: 0035\r\n\r\n",
        POST + "Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 35\r\n\r\n",
        POST + "Content_Length: 0\r\nContent-Length: 35\r\n\r\n",
        POST + "Transfer_Encoding: chunked\r\nContent-Length: 35\r\n\r\n",
        "POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 35\r\n\r\n",
    ],
)
@pytest.mark.parametrize("read", [True, False], ids=["read", "unread"])
def test_content_is_content_whatever_the_method(serve: Serve, head: str, read: bool) -> None:
    """RFC 9110 9.3.1: content of a GET has no meaning, but it frames the message all the same."""
    assert len(SMUGGLED) == 35
    application = Application(read)
    with serve(application).client() as client:
        client.send(head.encode() + SMUGGLED + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.response(head=head.startswith("HEAD")).status == 200
        assert client.response().status == 200
    assert application.paths == ["/", "/next"]


def test_content_without_length_is_the_next_request(serve: Serve) -> None:
    """RFC 9112 6.3, 7: a request without either field has no content."""
    application = Application()
    with serve(application).client() as client:
        client.send((POST + "\r\n").encode() + SMUGGLED)
        assert client.response().status == 200
        assert client.response().status == 200
    assert application.paths == ["/", "/smuggled"]


def test_other_clients_do_not_notice(serve: Serve) -> None:
    """Refusals happen in the hub: none of them may take it along."""
    application = Application()
    server = serve(application)
    with server.client() as innocent:
        for head, _ in HEADS[::5]:
            with server.client() as client:
                client.send(head.encode("latin-1"))
                try:
                    client.response()
                except ConnectionEnded as exc:
                    pytest.fail(f"{head!r}: {exc}")
            assert innocent.get().body == b"fine"
