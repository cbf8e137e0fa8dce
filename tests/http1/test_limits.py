"""Limits on the wire: request line, fields, head, content, and content that nobody reads."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from clients import RawClient
from conftest import Serve
from gserver.api.errors import RequestTooLarge


def show(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Tell the header fields, sorted."""
    start_response("200 OK", [])
    fields = (f"{key}={value}" for key, value in environ.items() if key.startswith("HTTP_X"))
    return [";".join(sorted(fields)).encode()]


def read(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Tell how long the content is."""
    size = 0
    while data := environ["wsgi.input"].read(65536):
        size += len(data)
    start_response("200 OK", [])
    return [str(size).encode()]


def ignore(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer without a look at the content."""
    start_response("200 OK", [])
    return [b"ignored"]


# -- heads -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "target", "lines", "status"),
    [
        ({"limit_request_line": 200}, "/" + "a" * 199, [], 200),
        ({"limit_request_line": 200}, "/" + "a" * 200, [], 414),
        ({"limit_request_line": 200}, "/?" + "a" * 200, [], 414),
        ({}, "/" + "a" * 8000, [], 200),
        ({}, "/" + "a" * 8200, [], 414),
        ({}, "/" + "a" * 70000, [], 414),
        ({"limit_request_field_size": 200}, "/", ["X: " + "a" * 150], 200),
        ({"limit_request_field_size": 200}, "/", ["X: " + "a" * 200], 431),
        ({"limit_request_field_size": 200}, "/", ["X" * 250 + ": a"], 431),
        ({}, "/", ["X: " + "a" * 8000], 200),
        ({}, "/", ["X: " + "a" * 8200], 431),
        ({}, "/", ["X: " + "a" * 70000], 431),
        ({"limit_request_fields": 5}, "/", ["X: a"] * 4, 200),
        ({"limit_request_fields": 5}, "/", ["X: a"] * 5, 431),
        ({"limit_request_fields": 5}, "/", [f"X{i}: a" for i in range(4)], 200),
        ({"limit_request_fields": 5}, "/", [f"X{i}: a" for i in range(5)], 431),
        ({"limit_request_fields": 5}, "/", [f"X_{i}: a" for i in range(5)], 431),
        ({}, "/", [f"X{i}: a" for i in range(99)], 200),
        ({}, "/", [f"X{i}: a" for i in range(100)], 431),
        ({}, "/", ["X: a"] * 20000, 431),
        ({"limit_request_head": 2000}, "/", [f"X{i}: " + "a" * 90 for i in range(15)], 200),
        ({"limit_request_head": 2000}, "/", [f"X{i}: " + "a" * 90 for i in range(25)], 431),
        ({}, "/", [f"X{i}: " + "a" * 7000 for i in range(9)], 200),
        ({}, "/", [f"X{i}: " + "a" * 7000 for i in range(10)], 431),
    ],
)
def test_limits_of_the_head(
    serve: Serve, options: dict[str, int], target: str, lines: list[str], status: int
) -> None:
    with serve(ignore, **options).client() as client:
        response = client.get(target, *lines)
        assert response.status == status
        if status == 200:
            assert client.get(target, *lines).status == 200
        else:
            assert response["Connection"] == "close"
            assert client.closed()


@pytest.mark.parametrize(
    ("begin", "more", "status"),
    [
        (b"GET /", b"a" * 1000, 414),
        (b"GET / HTTP/1.1\r\n", b"X: a\r\n" * 100, 431),
        (b"GET / HTTP/1.1\r\nX: ", b"a" * 1000, 431),
        (b"GET / HTTP/1.1\r\n", b"X" * 1000, 431),
        (b"", b"\r\n" * 500, 400),
    ],
)
def test_endless_heads_are_cut_off(serve: Serve, begin: bytes, more: bytes, status: int) -> None:
    """The client never finishes; it gets its answer although it goes on sending for a while."""
    with serve(ignore).client() as client:
        client.send(begin + more * 200)
        assert client.response().status == status
        assert client.closed()


@pytest.mark.parametrize(
    ("header_map", "status", "shown"),
    [
        ("drop", 200, b"HTTP_X_A=1"),
        ("refuse", 400, None),
        ("dangerous", 200, b"HTTP_X_A=1,2;HTTP_X_B=3"),
    ],
)
def test_header_map(serve: Serve, header_map: str, status: int, shown: bytes | None) -> None:
    """To the application X_A is X-A: a proxy that sets one does not remove the other."""
    with serve(show, header_map=header_map).client() as client:
        for _ in range(2):
            response = client.get("/", "X-A: 1", "X_A: 2", "X_B: 3")
            assert response.status == status
            if shown is None:
                assert client.closed()
                break
            assert response.body == shown


# -- content -----------------------------------------------------------------------------------


def post(client: RawClient, size: int, *lines: str) -> None:
    head = ["POST / HTTP/1.1", "Host: a", f"Content-Length: {size}", *lines, "", ""]
    client.send("\r\n".join(head).encode())


def post_chunked(client: RawClient, *blocks: bytes) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for block in blocks:
        client.send(b"%x\r\n%b\r\n" % (len(block), block))
    client.send(b"0\r\n\r\n")


@pytest.mark.parametrize("app", [read, ignore])
def test_counted_content_beyond_the_limit_is_refused_by_its_head(serve: Serve, app: Any) -> None:
    called = False

    def noting(environ: dict[str, Any], start_response: Any) -> Any:
        nonlocal called
        called = True
        return app(environ, start_response)

    with serve(noting, limit_request_body=1000).client() as client:
        post(client, 1001)
        response = client.response()
        assert (response.status, response["Connection"]) == (413, "close")
        assert client.closed()
    assert not called


def test_content_up_to_the_limit_is_read(serve: Serve) -> None:
    with serve(read, limit_request_body=1000).client() as client:
        post(client, 1000)
        client.send(b"a" * 1000)
        assert client.response().body == b"1000"
        post_chunked(client, b"a" * 400, b"b" * 600)
        assert client.response().body == b"1000"
        assert client.post("/", b"").body == b"0"


@pytest.mark.parametrize(
    "blocks", [[b"a" * 1001], [b"a" * 600, b"b" * 401], [b"a"] * 1001, [b"a" * 300000]]
)
def test_chunked_content_beyond_the_limit_is_refused_while_it_comes(
    serve: Serve, blocks: list[bytes]
) -> None:
    with serve(read, limit_request_body=1000).client() as client:
        post_chunked(client, *blocks)
        response = client.response()
        assert (response.status, response["Connection"]) == (413, "close")
        assert client.closed()


def test_the_application_may_answer_too_large_content_itself(serve: Serve) -> None:
    errors: list[int] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for _ in range(2):  # it does not get better by asking again
            try:
                environ["wsgi.input"].read()
            except RequestTooLarge as exc:
                errors.append(exc.status)
        start_response("400 Mine", [])
        return [b"mine"]

    with serve(app, limit_request_body=1000).client() as client:
        post_chunked(client, b"a" * 2000, b"b" * 2000)
        response = client.response()
        assert (response.status, response.body, response["Connection"]) == (400, b"mine", "close")
        assert client.closed()
    assert errors == [413, 413]


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("framing", ["counted", "chunked"])
def test_a_client_that_still_sends_can_read_the_refusal(
    serve: Serve, certificate: tuple[str, str], framing: str, tls: bool
) -> None:
    """RFC 9112 9.6: closing at once would reset the connection and take the response along."""
    options: dict[str, Any] = {"limit_request_body": 1000}
    context = None
    if tls:
        options |= {"certfile": certificate[0], "keyfile": certificate[1]}
        context = ssl.create_default_context(cafile=certificate[0])
    with serve(read, **options).client(tls=context) as client:
        block = b"a" * 65536
        if framing == "counted":
            post(client, 100 * len(block))
            for _ in range(40):
                client.send(block)
        else:
            post_chunked(client, *[block] * 40)
        response = client.response()
        assert (response.status, response["Connection"]) == (413, "close")
        assert client.closed()


def test_a_client_that_goes_on_sending_is_not_endured_for_ever(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the refusal it has some seconds to stop."""
    monkeypatch.setattr("gserver.transport._LINGER", 0.2)
    with serve(read, limit_request_body=1000, keepalive=0.4).client() as client:
        post(client, 10**12)
        with pytest.raises(ConnectionError):  # noqa: PT012 - not every call raises
            for _ in range(10**6):
                client.send(b"a" * 65536)


# -- content that nobody reads -----------------------------------------------------------------


def partly(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    """Read a little, answer, and fail to read the rest."""
    yield_first = environ["wsgi.input"].read(10)
    start_response("200 OK", [])
    yield yield_first


@pytest.mark.parametrize(
    ("app", "framing"), [(ignore, "counted"), (partly, "counted"), (partly, "chunked")]
)
@pytest.mark.parametrize("size", [20, 20000, 100_000])
def test_unread_content_is_read_away_and_the_connection_kept(
    serve: Serve, app: Any, framing: str, size: int
) -> None:
    with serve(app, limit_unread_body=200_000).client() as client:
        for _ in range(3):
            if framing == "counted":
                post(client, size)
                client.send(b"a" * size)
            else:
                post_chunked(client, b"a" * size)
            response = client.response()
            assert response.status == 200
            assert "Connection" not in response


def test_content_of_unknown_length_that_nobody_wants_closes_the_connection(serve: Serve) -> None:
    """Whether it could be read away is not known when the head must say so (RFC 9112 9.6)."""
    with serve(ignore).client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        response = client.response()
        assert (response.body, response["Connection"]) == (b"ignored", "close")
        client.send(b"4\r\nmore\r\n0\r\n\r\n")
        assert client.closed()


@pytest.mark.parametrize("framing", ["counted", "chunked"])
@pytest.mark.parametrize("limit", [0, 1000])
def test_too_much_unread_content_closes_the_connection(
    serve: Serve, framing: str, limit: int
) -> None:
    with serve(ignore, limit_unread_body=limit).client() as client:
        if framing == "counted":
            post(client, 100_000)
            client.send(b"a" * 90_000)
        else:
            post_chunked(client, *[b"a" * 10_000] * 10)
        client.send(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        response = client.response()
        assert response.body == b"ignored"
        if framing == "counted":
            assert response["Connection"] == "close"
        assert client.closed()


def test_unread_content_that_came_with_the_head_keeps_the_connection(serve: Serve) -> None:
    """It was received already, so no limit is needed."""
    with serve(ignore, limit_unread_body=0).client() as client:
        for _ in range(2):
            response = client.post("/", b"a" * 1000)
            assert (response.status, response.body) == (200, b"ignored")
            assert "Connection" not in response


def test_the_response_does_not_wait_for_unread_content(serve: Serve) -> None:
    with serve(ignore).client() as client:
        post(client, 1000)
        assert client.response().body == b"ignored"
        client.send(b"a" * 1000)
        assert client.get().body == b"ignored"


def test_unread_content_that_never_comes_frees_the_greenlet(serve: Serve) -> None:
    """The connection waits for it no longer than body_timeout."""
    server = serve(ignore, body_timeout=0.2)
    with server.client() as client:
        post(client, 1000)
        assert client.response().body == b"ignored"
        assert client.closed()
    assert server.call(lambda: server.server.handler.active) == 0


def test_the_input_is_dead_after_the_exchange(serve: Serve) -> None:
    """An application that keeps it must not read from the next request."""
    kept: list[Any] = []
    late: list[bytes] = []
    entered = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        kept.append(environ["wsgi.input"])
        if len(kept) > 1:
            late.append(kept[0].read())
            environ["wsgi.input"].read()
        start_response("200 OK", [])
        entered.set()
        return [b"fine"]

    with serve(app).client() as client:
        post(client, 5)
        assert entered.wait(10)
        client.send(b"first")
        assert client.response().body == b"fine"
        assert client.post("/", b"other").body == b"fine"
    assert late == [b""]
