"""Requests on the wire: keep-alive, pipelining, chunked content, Expect, Upgrade, half-close."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.event
import pytest

from clients import RawClient, Response
from conftest import Serve, ServerThread

CONTINUE = 100


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Tell the method, the target and the content."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("X-Trailers", repr(environ.get("gserver.trailers")))])
    return [f"{environ['REQUEST_METHOD']} {environ['RAW_URI']} ".encode() + body]


def lazy_echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Do as `echo`, but let other greenlets run first: what arrives meanwhile comes early."""
    gevent.sleep(0)
    return echo(environ, start_response)


def ignore(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer without a look at the content."""
    start_response("200 OK", [])
    return [b"ignored"]


def request(target: str, *lines: str, method: str = "GET", body: bytes = b"") -> bytes:
    head = [f"{method} {target} HTTP/1.1", "Host: a", *lines, "", ""]
    return "\r\n".join(head).encode() + body


def counted(target: str, body: bytes) -> bytes:
    return request(target, f"Content-Length: {len(body)}", method="POST", body=body)


def chunked(target: str, *blocks: bytes, trailers: bytes = b"") -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks)
    body += b"0\r\n" + trailers + b"\r\n"
    return request(target, "Transfer-Encoding: chunked", method="POST", body=body)


def settle(server: ServerThread) -> None:
    """Wait until the server has read what was sent before."""
    for _ in range(2):  # the first may be answered in the turn of the loop that is going on
        with server.client() as probe:
            probe.get()


# -- keep-alive --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "connection", "answer", "kept"),
    [
        ("1.1", [], None, True),
        ("1.1", ["Connection: keep-alive"], None, True),
        ("1.1", ["Connection: close"], "close", False),
        ("1.1", ["Connection: foo, Close"], "close", False),
        ("1.0", [], "close", False),
        ("1.0", ["Connection: keep-alive"], "keep-alive", True),
        ("1.0", ["Connection: close"], "close", False),
    ],
)
def test_the_connection_is_kept_as_the_client_wants(
    serve: Serve, version: str, connection: list[str], answer: str | None, kept: bool
) -> None:
    """RFC 9112 9.3."""
    with serve(echo).client() as client:
        response = client.get("/1", *connection, version=version)
        assert response.body == b"GET /1 "
        assert response.all("Connection") == ([answer] if answer else [])
        if kept:
            assert client.get("/2", *connection, version=version).body == b"GET /2 "
        else:
            assert client.closed()


def test_keepalive_requests_limits_a_connection(serve: Serve) -> None:
    server = serve(echo, keepalive_requests=3)
    with server.client() as client:
        assert "Connection" not in client.get("/1")
        assert "Connection" not in client.get("/2")
        assert client.get("/3")["Connection"] == "close"
        assert client.closed()
    with server.client() as client:
        assert client.get("/4").body == b"GET /4 "


def test_keepalive_requests_limits_pipelining(serve: Serve) -> None:
    with serve(echo, keepalive_requests=2).client() as client:
        client.send(b"".join(request(f"/{i}") for i in range(5)))
        assert [client.response().body, client.response().body] == [b"GET /0 ", b"GET /1 "]
        assert client.closed()


def test_connection_close_ends_pipelining(serve: Serve) -> None:
    """RFC 9112 9.6: no request behind one with close is processed."""
    paths = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        paths.append(environ["PATH_INFO"])
        return echo(environ, start_response)

    with serve(app).client() as client:
        client.send(request("/1") + request("/2", "Connection: close") + request("/3"))
        assert client.response().body == b"GET /1 "
        assert client.response()["Connection"] == "close"
        assert client.closed()
    assert paths == ["/1", "/2"]


# -- pipelining --------------------------------------------------------------------------------


def mixture(number: int) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Return pipelined requests of all kinds, and method and content of each response."""
    requests, responses = [], []
    for i in range(number):
        body = b"%d\r\n\r\n0\r\n\r\n" % i * (i % 7)
        requests += [
            request(f"/a{i}"),
            counted(f"/b{i}", body),
            chunked(f"/c{i}", b"x", body or b"y", b"z", trailers=b"T: 1\r\n"),
            request(f"/d{i}", method="HEAD"),
            b"\r\n" + request(f"/e{i}", "Connection: upgrade", "Upgrade: x"),
            counted(f"/f{i}", b""),
        ]
        responses += [
            ("GET", b"GET /a%d " % i),
            ("POST", b"POST /b%d " % i + body),
            ("POST", b"POST /c%d x" % i + (body or b"y") + b"z"),
            ("HEAD", b""),
            ("GET", b"GET /e%d " % i),
            ("POST", b"POST /f%d " % i),
        ]
    return b"".join(requests), responses


def read_all(client: RawClient, expected: list[tuple[str, bytes]]) -> None:
    for method, body in expected:
        response = client.response(head=method == "HEAD")
        assert (response.status, response.body) == (200, body)


@pytest.mark.parametrize("app", [echo, lazy_echo])
@pytest.mark.parametrize("number", [1, 100], ids=["one packet", "many packets"])
def test_pipelined_requests_are_answered_in_order(serve: Serve, app: Any, number: int) -> None:
    data, expected = mixture(number)
    with serve(app).client() as client:
        sender = threading.Thread(target=client.send, args=(data,))
        sender.start()
        read_all(client, expected)
        sender.join()
        assert client.get("/last").body == b"GET /last "


def test_pipelined_requests_may_be_split_anywhere(serve: Serve) -> None:
    data = counted("/1", b"a\r\n\r\nb") + chunked("/2", b"c\r\n\r\n", b"d") + request("/3")
    expected = [
        ("POST", b"POST /1 a\r\n\r\nb"),
        ("POST", b"POST /2 c\r\n\r\nd"),
        ("GET", b"GET /3 "),
    ]
    server = serve(echo)
    with server.client() as client, server.client() as probe:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place in range(1, len(data)):
            client.send(data[:place])
            # The server has read it once it has answered two requests that came later.
            probe.get()
            probe.get()
            client.send(data[place:])
            read_all(client, expected)


def test_requests_byte_by_byte(serve: Serve) -> None:
    data, expected = mixture(1)
    with serve(echo).client() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(data)):
            client.send(data[i : i + 1])
        read_all(client, expected)


@pytest.fixture
def trust(certificate: tuple[str, str]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate[0])


@pytest.mark.parametrize("app", [echo, ignore])
def test_pipelining_over_tls_within_one_record(
    serve: Serve, certificate: tuple[str, str], trust: ssl.SSLContext, app: Any
) -> None:
    """What OpenSSL has decrypted but not handed out must not wait for more from the network."""
    entered = threading.Event()

    def telling(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        entered.set()
        result: list[bytes] = app(environ, start_response)
        return result

    server = serve(telling, certfile=certificate[0], keyfile=certificate[1])
    with server.client(tls=trust) as client:
        client.send(request("/1", "Content-Length: 5", method="POST"))
        assert entered.wait(10)
        # One record: the content and two more requests.
        client.send(b"hello" + request("/2") + counted("/3", b"x"))
        bodies = [client.response().body for _ in range(3)]
    if app is echo:
        assert bodies == [b"POST /1 hello", b"GET /2 ", b"POST /3 x"]
    else:
        assert bodies == [b"ignored"] * 3


def test_pipelining_yields_to_other_clients(serve: Serve) -> None:
    """One client's pipeline, however long, is no reason to let another wait for its end."""
    handled = 0
    both_sent = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        nonlocal handled
        handled += 1
        if handled == 2:
            # The whole hub stands still: the other's request is there before the second answer.
            assert both_sent.wait(10)
        start_response("200 OK", [])
        return [str(handled).encode()]

    server = serve(app)
    with server.client() as greedy, server.client() as other:
        other.get()
        # One packet for the server, and answers that fit into the socket: nothing ever blocks.
        greedy.send(request("/") * 400)
        other.send(request("/"))
        both_sent.set()
        first = int(other.response().body)
        for _ in range(400):
            greedy.response()
    assert first < 400


def test_many_requests_on_one_connection(serve: Serve) -> None:
    """What a request leaves behind does not disturb the next."""
    with serve(echo).client() as client:
        for i in range(10):
            assert client.get(f"/{i}?q", "X-A: 1").body == f"GET /{i}?q ".encode()
            assert client.post("/", b"body" * i).body == b"POST / " + b"body" * i
            assert client.get("/h", method="HEAD").body == b""
            response = client.get("/o", "Connection: keep-alive", version="1.0")
            assert (response.body, response["Connection"]) == (b"GET /o ", "keep-alive")
            client.send(chunked("/c", b"1", b"2", trailers=b"A: b\r\n"))
            response = client.response()
            assert (response.body, response["X-Trailers"]) == (b"POST /c 12", "[('a', 'b')]")
            assert client.get("/t")["X-Trailers"] == "None"


# -- chunked requests --------------------------------------------------------------------------


def test_chunked_content_is_decoded(serve: Serve) -> None:
    blocks = [b"a", b"0\r\n\r\n", bytes(range(256)) * 300, b"\r\n"]
    with serve(echo).client() as client:
        client.send(chunked("/", *blocks))
        assert client.response().body == b"POST / " + b"".join(blocks)


def test_chunk_sizes_and_extensions_of_all_forms(serve: Serve) -> None:
    body = b'A;x\r\n0123456789\r\n0a;x=y;z="q;\\"q"\r\n0123456789\r\n0001\r\n!\r\n000;last\r\n\r\n'
    with serve(echo).client() as client:
        client.send(request("/", "Transfer-Encoding: Chunked", method="POST", body=body))
        assert client.response().body == b"POST / " + b"0123456789" * 2 + b"!"


def test_trailers_are_there_once_the_content_is_read(serve: Serve) -> None:
    """RFC 9110 6.5; not before, and the list is the same object all the time."""
    seen: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        trailers = environ["gserver.trailers"]
        seen.append(list(trailers))
        entered.set()
        environ["wsgi.input"].read()
        seen.append(list(trailers))
        return ignore(environ, start_response)

    entered = threading.Event()
    with serve(app).client() as client:
        client.send(request("/", "Transfer-Encoding: chunked", "Trailer: X-Sum", method="POST"))
        assert entered.wait(10)
        client.send(b"2\r\nhi\r\n0\r\nX-Sum: 2 \r\nX-Other: \xe4\r\n\r\n")
        assert client.response().status == 200
    assert seen == [[], [("x-sum", "2"), ("x-other", "\xe4")]]


def test_requests_without_chunks_have_no_trailers(serve: Serve) -> None:
    with serve(echo).client() as client:
        assert client.get()["X-Trailers"] == "None"
        assert client.post("/", b"x")["X-Trailers"] == "None"
        client.send(chunked("/", b"x"))
        assert client.response()["X-Trailers"] == "[]"


# -- Expect ------------------------------------------------------------------------------------

EXPECT = "Expect: 100-continue"


def test_continue_is_sent_when_the_content_is_read(serve: Serve) -> None:
    """RFC 9110 10.1.1; not with the head, for the application may not want it."""
    entered, events = threading.Event(), []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        events.append(gevent.event.Event())
        entered.set()
        events[0].wait(10)
        return echo(environ, start_response)

    server = serve(app)
    with server.client() as client:
        client.send(request("/", "Content-Length: 2", EXPECT, method="POST"))
        assert entered.wait(10)
        client.sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.line()
        client.sock.settimeout(10)
        server.call(events[0].set)
        assert client.response().status == CONTINUE
        client.send(b"hi")
        assert client.response().body == b"POST / hi"


@pytest.mark.parametrize("framing", ["Content-Length: 10", "Transfer-Encoding: chunked"])
def test_continue_then_response(serve: Serve, framing: str) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"]
        pieces = [body.read(3), body.read(), body.read()]
        start_response("200 OK", [])
        return [b"|".join(pieces)]

    with serve(app).client() as client:
        client.send(request("/", framing, EXPECT, method="POST"))
        assert client.response().status == CONTINUE
        if framing.startswith("C"):
            client.send(b"0123")
            client.send(b"456789")
        else:
            client.send(b"4\r\n0123\r\n")
            client.send(b"6\r\n456789\r\n0\r\n\r\n")
        response = client.response()
        assert (response.status, response.body) == (200, b"012|3456789|")
        assert "Connection" not in response
        assert client.get().body == b"||"


@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_no_continue_for_content_that_nobody_reads(serve: Serve, framing: str) -> None:
    """The client may send its content or not, so the connection ends (RFC 9110 10.1.1)."""
    with serve(ignore).client() as client:
        client.send(request("/", framing, EXPECT, method="POST"))
        response = client.response()
        assert (response.status, response["Connection"]) == (200, "close")
        assert client.closed()


def test_no_continue_after_the_final_head(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"begin")
        return [environ["wsgi.input"].read()]

    with serve(app).client() as client:
        client.send(request("/", "Content-Length: 5", EXPECT, method="POST"))
        response = client.head()
        assert (response.status, response["Connection"]) == (200, "close")
        assert client.chunk(response) == b"begin"
        client.send(b"hello")
        assert client.chunk(response) == b"hello"
        assert client.chunk(response) == b""
        assert client.closed()


def test_no_continue_when_content_has_come_already(serve: Serve) -> None:
    with serve(echo).client() as client:
        client.send(request("/", "Content-Length: 5", EXPECT, method="POST", body=b"hello"))
        assert client.response().body == b"POST / hello"
        client.send(request("/", "Content-Length: 5", EXPECT, method="POST", body=b"he"))
        client.send(b"llo")
        assert client.response().body == b"POST / hello"


def test_no_continue_without_content(serve: Serve) -> None:
    with serve(echo).client() as client:
        assert client.get("/", EXPECT).status == 200
        assert client.post("/", b"", EXPECT).status == 200


def test_no_continue_for_http_1_0(serve: Serve) -> None:
    """RFC 9110 10.1.1: such a client does not know interim responses."""
    server = serve(echo)
    with server.client() as client:
        client.send(b"POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        settle(server)
        client.send(b"hello")
        response = client.response()
        assert (response.status, response.body) == (200, b"POST / hello")


@pytest.mark.parametrize("expectation", ["100-Continue", "100-CONTINUE", " 100-continue\t"])
def test_the_expectation_is_case_insensitive(serve: Serve, expectation: str) -> None:
    with serve(echo).client() as client:
        client.send(request("/", "Content-Length: 2", f"Expect:{expectation}", method="POST"))
        assert client.response().status == CONTINUE
        client.send(b"hi")
        assert client.response().body == b"POST / hi"


@pytest.mark.parametrize("expectation", ["nonsense", "100-continue, nonsense", "200-ok", ""])
def test_unknown_expectation_is_417(serve: Serve, expectation: str) -> None:
    with serve(echo).client() as client:
        client.send(request("/", "Content-Length: 2", f"Expect: {expectation}", method="POST"))
        assert client.response().status == 417
        assert client.closed()


def test_the_error_of_a_limit_comes_instead_of_continue(serve: Serve) -> None:
    with serve(echo, limit_request_body=10).client() as client:
        client.send(request("/", "Content-Length: 11", EXPECT, method="POST"))
        assert client.response().status == 413
        assert client.closed()


# -- methods and targets -----------------------------------------------------------------------


def test_head_has_the_headers_of_get_and_no_content(serve: Serve) -> None:
    """RFC 9110 9.3.2."""
    with serve(ignore).client() as client:
        get, head = client.get(), client.get(method="HEAD")
        assert head["Content-Length"] == get["Content-Length"] == "7"
        assert client.get().body == b"ignored"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_statuses_without_content(serve: Serve, status: str, method: str) -> None:
    """RFC 9110 15.3.5 and 15.4.5; the connection goes on."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(status, [("X-A", "b")])
        return [b"not to be sent"] if environ["PATH_INFO"] == "/one" else [b"not", b"this"]

    with serve(app).client() as client:
        for path in ["/one", "/two", "/one"]:
            response = client.get(path, method=method)
            assert response.status == int(status[:3])
            assert response["X-A"] == "b"
            assert "Transfer-Encoding" not in response
            if status.startswith("204"):
                assert "Content-Length" not in response


def test_options_asterisk(serve: Serve) -> None:
    """RFC 9112 3.2.4."""
    with serve(echo).client() as client:
        assert client.get("*", method="OPTIONS").body == b"OPTIONS * "
        assert client.get("/", method="OPTIONS").body == b"OPTIONS / "


def test_absolute_target_replaces_the_host(serve: Serve) -> None:
    """RFC 9112 3.2.2."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [" ".join(environ[key] for key in keys).encode()]

    keys = ["HTTP_HOST", "PATH_INFO", "QUERY_STRING", "RAW_URI"]
    with serve(app).client() as client:
        response = client.get("http://other:81/p?q")
        assert response.body == b"other:81 /p q http://other:81/p?q"


@pytest.mark.parametrize(
    ("version", "lines", "status"),
    [
        ("1.1", ["Host: a"], 200),
        ("1.1", ["Host: a.example:8080"], 200),
        ("1.1", ["Host: 127.0.0.1:80"], 200),
        ("1.1", ["Host: [::1]:80"], 200),
        ("1.1", ["Host: xn--bcher-kva.example"], 200),
        ("1.1", ["Host: under_score"], 200),
        ("1.1", ["Host:"], 200),
        ("1.1", [], 400),
        ("1.1", ["Host: a", "Host: a"], 400),
        ("1.1", ["Host: a b"], 400),
        ("1.0", [], 200),
        ("1.0", ["Host: a"], 200),
        ("1.0", ["Host: a", "Host: a"], 400),
        ("1.0", ["Host: a b"], 400),
    ],
)
def test_host_rules(serve: Serve, version: str, lines: list[str], status: int) -> None:
    """RFC 9112 3.2."""
    with serve(echo).client() as client:
        client.send("\r\n".join([f"GET / HTTP/{version}", *lines, "", ""]).encode())
        assert client.response().status == status


def test_empty_lines_before_a_request_are_skipped(serve: Serve) -> None:
    """RFC 9112 2.2."""
    with serve(echo).client() as client:
        client.send(b"\r\n\r\n" + counted("/1", b"x") + b"\r\n" + request("/2") + b"\r\n\r\n")
        assert client.response().body == b"POST /1 x"
        assert client.response().body == b"GET /2 "
        assert client.get("/3").body == b"GET /3 "


@pytest.mark.parametrize(
    "content",
    [
        ([], b"", b""),
        (["Content-Length: 5"], b"hello", b"hello"),
        (["Transfer-Encoding: chunked"], b"5\r\nhello\r\n0\r\nA: b\r\n\r\n", b"hello"),
    ],
    ids=["none", "counted", "chunked"],
)
@pytest.mark.parametrize("upgrade", ["h2c", "foo/1.0", "TLS/1.2, h2c"])
@pytest.mark.parametrize("apart", [False, True], ids=["one packet", "content later"])
def test_upgrade_is_ignored(
    serve: Serve, content: tuple[list[str], bytes, bytes], upgrade: str, apart: bool
) -> None:
    """RFC 9110 7.8."""
    lines, wire, body = content
    head = request("/1", "Connection: Upgrade", f"Upgrade: {upgrade}", *lines, method="POST")
    server = serve(echo)
    with server.client() as client:
        if apart:
            client.send(head)
            settle(server)
            client.send(wire + request("/2"))
        else:
            client.send(head + wire + request("/2"))
        response = client.response()
        assert (response.status, response.body) == (200, b"POST /1 " + body)
        assert response["X-Trailers"] == ("[('a', 'b')]" if b"A: b" in wire else "None")
        assert client.response().body == b"GET /2 "


# -- half-close --------------------------------------------------------------------------------


def half_close(client: RawClient) -> None:
    client.sock.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("app", [echo, lazy_echo])
def test_a_client_that_sends_no_more_gets_its_response(serve: Serve, app: Any) -> None:
    """RFC 9112 9.6: as `nc` does, and old clients."""
    with serve(app).client() as client:
        client.send(counted("/1", b"hello"))
        half_close(client)
        assert client.response().body == b"POST /1 hello"
        assert client.closed()


def test_a_client_that_sends_no_more_is_waited_for(serve: Serve) -> None:
    """The end comes while the application works, and changes nothing for it."""
    server: ServerThread
    entered, go_on = threading.Event(), []

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        event = gevent.event.Event()
        go_on.append(event)
        entered.set()
        start_response("200 OK", [])
        event.wait(10)
        yield b"first"
        yield b"second"

    def other(environ: dict[str, Any], start_response: Any) -> Any:
        return (app if environ["PATH_INFO"] == "/wait" else ignore)(environ, start_response)

    server = serve(other)
    with server.client() as client:
        client.send(request("/wait"))
        assert entered.wait(10)
        half_close(client)
        settle(server)
        server.call(go_on[0].set)
        response = client.response()
        assert (response.body, response["Connection"]) == (b"firstsecond", "close")
        assert client.closed()


@pytest.mark.parametrize("app", [echo, lazy_echo])
def test_all_pipelined_requests_are_answered_after_half_close(serve: Serve, app: Any) -> None:
    with serve(app).client() as client:
        client.send(b"".join(request(f"/{i}") for i in range(20)))
        half_close(client)
        bodies = [client.response().body for _ in range(20)]
        assert bodies == [f"GET /{i} ".encode() for i in range(20)]
        assert client.closed()


def test_half_a_request_and_the_end(serve: Serve) -> None:
    with serve(echo).client() as client:
        client.send(b"GET / HT")
        half_close(client)
        assert client.closed()


def test_half_the_content_and_the_end_raises_in_the_application(serve: Serve) -> None:
    """It must not look like the end of the content."""
    errors: list[BaseException] = []
    done = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except BaseException as exc:
            errors.append(exc)
            raise
        finally:
            done.set()
        return ignore(environ, start_response)

    server = serve(app)
    for data in [
        request("/", "Content-Length: 10", method="POST", body=b"half"),
        request("/", "Transfer-Encoding: chunked", method="POST", body=b"4\r\nhalf\r\n"),
        request("/", "Transfer-Encoding: chunked", method="POST", body=b"4\r\nhalf\r\n0\r\n"),
    ]:
        done.clear()
        with server.client() as client:
            client.send(data)
            half_close(client)
            assert client.closed()
        assert done.wait(10)
    assert len(errors) == 3
    assert all(isinstance(error, ConnectionError) for error in errors)


def test_the_responses_of_a_mixture_have_a_framing(serve: Serve) -> None:
    """Nothing of a response is left over or missing, whatever came before it."""
    data, expected = mixture(3)
    with serve(echo).client() as client:
        client.send(data)
        half_close(client)
        responses: list[Response] = []
        for method, _ in expected:
            responses.append(client.response(head=method == "HEAD"))
        assert client.closed()
    assert all("Content-Length" in response for response in responses)
