"""Hints, trailers, pushes and priorities: over each protocol, and under servers that lack them."""

from __future__ import annotations

import gc
import queue
import socket
import threading
import time
import urllib.request
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import gevent
import gevent.event
import pytest

from conftest import Serve, StartCarrier, StartPeer
from exchange import request
from gserver.api import (
    Features,
    LocalProtocolError,
    Priority,
    PushResult,
    disconnected,
    early_hints,
    features,
    never_index,
    priority,
    protocol,
    push,
    send_trailers,
    websocket,
)
from gserver.api.capabilities import parse_priority
from gserver.websocket import WebSocket
from http2_client import tls_context
from websocket_stage import run_echo, works

Environ = dict[str, Any]
Pairs = Iterable[tuple[str, str]]
STYLE = "</style.css>; rel=preload; as=style"
FONT = "</a.woff2>; rel=preload; as=font; crossorigin"


def lower(fields: Pairs) -> list[tuple[str, str]]:
    """Return fields as every protocol shows them."""
    return [(name.lower(), value) for name, value in fields]


class Application:
    """Runs `act` with the environ, answers "content", and keeps what came out of it."""

    def __init__(self, act: Callable[[Environ], Any], headers: Pairs = ()) -> None:
        self.result: Any = None
        self._act = act
        self._headers = list(headers)

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        try:
            self.result = self._act(environ)
        except Exception as exc:  # noqa: BLE001 - the test looks at it
            self.result = exc
        start_response("200 OK", self._headers)
        return [b"content"]


def outcome(peer: StartPeer, act: Callable[[Environ], Any], *args: Any, **kwargs: Any) -> Any:
    """Return what `act` returned for a request, after a look at the response."""
    app = Application(act)
    answer = request(peer(app), *args, **kwargs)
    assert (answer.status, answer.complete) == (200, True)
    return app.result


# -- early hints ---------------------------------------------------------------------------------


def test_hints_are_links_or_any_fields(peer: StartPeer) -> None:
    def act(environ: Environ) -> list[bool]:
        return [
            early_hints(environ, [STYLE, FONT]),
            early_hints(environ, [("Link", STYLE), ("X-Hint", "caf\xe9")]),
            environ["wsgi.early_hints"]([("Link", FONT)]),
        ]

    app = Application(act)
    answer = request(peer(app))
    assert app.result == [True, True, True]
    assert [one.status for one in answer.interim] == [103, 103, 103]
    assert [lower(one.headers) for one in answer.interim] == [
        [("link", STYLE), ("link", FONT)],
        [("link", STYLE), ("x-hint", "caf\xe9")],
        [("link", FONT)],
    ]
    assert (answer.status, answer.body) == (200, b"content")
    assert "Link" not in answer


def test_hints_between_start_response_and_content(peer: StartPeer) -> None:
    def app(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("X-Sent", str(early_hints(environ, [STYLE])))])
        yield b""
        early_hints(environ, [FONT])
        yield b"content"

    answer = request(peer(app))
    assert answer["X-Sent"] == "True"
    assert [one.all("Link") for one in answer.interim] == [[STYLE], [FONT]]
    assert answer.body == b"content"


def test_no_hints_behind_the_head(peer: StartPeer) -> None:
    def app(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"content, "
        yield str(early_hints(environ, [STYLE])).encode()
        yield str(environ["wsgi.early_hints"]([("Link", STYLE)])).encode()

    answer = request(peer(app))
    assert (answer.interim, answer.body) == ([], b"content, FalseFalse")


BAD_FIELDS = [
    pytest.param(("Link", "a\r\nX: b"), id="line break"),
    pytest.param(("Link", "\u20ac"), id="not latin-1"),
    pytest.param(("Li nk", "a"), id="no token"),
    pytest.param(("Connection", "close"), id="hop-by-hop"),
    pytest.param(("Content-Length", "3"), id="length"),
    pytest.param(("TRAILER", "X"), id="announcement"),
    pytest.param(["Link", "a"], id="no tuple"),
    pytest.param(("Link", b"a"), id="bytes"),
]


@pytest.mark.parametrize("field", BAD_FIELDS)
@pytest.mark.parametrize("function", [early_hints, send_trailers])
def test_fields_are_checked(
    peer: StartPeer, function: Callable[[Environ, Any], bool], field: Any
) -> None:
    app = Application(lambda environ: function(environ, [("X-Good", "1"), field]))
    answer = request(peer(app))
    assert isinstance(app.result, LocalProtocolError)
    assert (answer.status, answer.interim, answer.trailers) == (200, [], [])


def test_the_error_of_a_hint_is_the_application_s(peer: StartPeer) -> None:
    def app(environ: Environ, start_response: Any) -> None:
        early_hints(environ, [("Content-Length", "3")])

    assert request(peer(app)).status == 500


def test_one_string_is_no_list_of_links(peer: StartPeer) -> None:
    assert isinstance(outcome(peer, lambda environ: early_hints(environ, STYLE)), TypeError)


def test_nothing_to_hint_at(peer: StartPeer) -> None:
    app = Application(lambda environ: early_hints(environ, []))
    assert request(peer(app)).interim == []
    assert app.result is False


def test_hints_leave_at_once_and_bare(serve: Serve) -> None:
    """RFC 8297; and no Date, no Server: nothing but what the application said."""
    go_on = gevent.event.Event()

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        early_hints(environ, [STYLE, ("X-A", "1")])
        assert go_on.wait(10)
        start_response("200 OK", [])
        return [b"content"]

    server = serve(app)
    with server.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        expected = f"HTTP/1.1 103 Early Hints\r\nLink: {STYLE}\r\nX-A: 1\r\n\r\n".encode()
        assert client.exactly(len(expected)) == expected
        assert client.buffer == b""
        server.call(go_on.set)
        assert client.response().body == b"content"
        assert client.get().status == 103


def test_hints_before_a_request_s_content(serve: Serve) -> None:
    """They neither replace 100 Continue nor wait for it."""

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        early_hints(environ, [STYLE])
        body = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [body]

    with serve(app).client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n")
        client.send(b"Expect: 100-continue\r\n\r\n")
        assert client.head().status == 103
        assert client.head().status == 100
        client.send(b"abc")
        assert client.response().body == b"abc"


# -- trailers ------------------------------------------------------------------------------------

TRAILERS = [("X-Sum", "1"), ("grpc-status", "0")]


def before_all(environ: Environ, start_response: Any) -> Iterable[bytes]:
    assert send_trailers(environ, TRAILERS)
    start_response("200 OK", [])
    return [b"content"]


def with_a_length(environ: Environ, start_response: Any) -> Iterable[bytes]:
    assert send_trailers(environ, TRAILERS)
    start_response("200 OK", [("Content-Length", "7")])
    return [b"content"]


def with_a_length_in_blocks(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "7")])
    assert send_trailers(environ, TRAILERS)
    return iter([b"con", b"tent"])


def behind_the_last_block(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    yield b"con"
    yield b"tent"
    assert send_trailers(environ, TRAILERS)


def in_the_middle(environ: Environ, start_response: Any) -> Iterable[bytes]:
    write = start_response("200 OK", [])
    write(b"con")
    assert send_trailers(environ, TRAILERS)
    write(b"tent")
    return []


def one_by_one(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    for trailer in TRAILERS:
        assert environ["wsgi.ext.http.send_trailers"]([trailer]) is True
    return [b"content"]


def a_file(environ: Environ, start_response: Any) -> Iterable[bytes]:
    assert send_trailers(environ, TRAILERS)
    start_response("200 OK", [])
    file = open(environ["HTTP_X_FILE"], "rb")  # noqa: SIM115 - the server closes it
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
    return wrapped


def a_file_with_a_length(environ: Environ, start_response: Any) -> Iterable[bytes]:
    wrapped = a_file(environ, lambda *_: None)
    start_response("200 OK", [("Content-Length", "7")])
    return wrapped


@pytest.mark.parametrize(
    "app",
    [
        before_all,
        with_a_length,
        with_a_length_in_blocks,
        behind_the_last_block,
        in_the_middle,
        one_by_one,
        a_file,
        a_file_with_a_length,
    ],
)
def test_trailers_follow_the_content(peer: StartPeer, tmp_path: Path, app: Any) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    running = peer(app)
    for _ in range(2):  # the connection goes on
        answer = request(running, headers=[("X-File", str(file))])
        assert (answer.status, answer.body, answer.complete) == (200, b"content", True)
        assert lower(answer.trailers) == lower(TRAILERS)


def empty_list(environ: Environ) -> Iterable[bytes]:
    return []


def empty_block(environ: Environ) -> Iterable[bytes]:
    """As connectrpc answers a call that failed."""
    return [b""]


def empty_file(environ: Environ) -> Iterable[bytes]:
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](open("/dev/null", "rb"))  # noqa: SIM115
    return wrapped


@pytest.mark.parametrize("body", [empty_list, empty_block, empty_file])
def test_trailers_without_content(
    peer: StartPeer, tmp_path: Path, body: Callable[[Environ], Iterable[bytes]]
) -> None:
    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        send_trailers(environ, TRAILERS)
        return body(environ)

    answer = request(peer(app))
    assert (answer.status, answer.body, answer.complete) == (200, b"", True)
    assert lower(answer.trailers) == lower(TRAILERS)


def test_trailers_are_announced_and_framed(serve: Serve) -> None:
    """RFC 9112 7.1.2, and RFC 9110 6.6.2: the head tells the names of the trailers."""
    with serve(with_a_length).client() as client:
        response = client.get()
        assert response["Trailer"] == "X-Sum, grpc-status"
        assert response["Transfer-Encoding"] == "chunked"
        assert "Content-Length" not in response
        assert response.trailers == TRAILERS
        assert client.get().chunks == [b"content"]


def test_the_application_s_announcement_stands(serve: Serve) -> None:
    def app(environ: Environ, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Trailer", "X-Other")])
        send_trailers(environ, TRAILERS)
        return [b"content"]

    with serve(app).client() as client:
        assert client.get().all("Trailer") == ["X-Other"]


def test_no_trailers_behind_counted_content(serve: Serve) -> None:
    def app(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "6")])
        yield b"a"
        assert not features(environ).trailers
        yield str(send_trailers(environ, TRAILERS)).encode()

    with serve(app).client() as client:
        response = client.get()
        assert (response.body, response["Content-Length"]) == (b"aFalse", "6")
        assert client.get().body == b"aFalse"


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "304 Not Modified"])
def test_no_trailers_without_content(peer: StartPeer, status: str) -> None:
    results: list[bool] = []

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        start_response(status, [])
        results.append(send_trailers(environ, TRAILERS))
        results.append(features(environ).trailers)
        return []

    running = peer(app)
    answer = request(running, method="HEAD" if status == "200 OK" else "GET")
    assert (answer.complete, answer.trailers) == (True, [])
    assert results == [False, False]
    assert request(running, method="HEAD").complete


def test_trailers_are_dropped_if_there_turns_out_to_be_no_content(peer: StartPeer) -> None:
    def app(environ: Environ, start_response: Any) -> list[bytes]:
        send_trailers(environ, TRAILERS)
        start_response("204 No Content", [])
        return []

    running = peer(app)
    assert request(running).trailers == []
    assert request(running).status == 204


FORBIDDEN = ["Transfer-Encoding", "Content-Type", "content-range", "Host", "Authorization",
             "Set-Cookie", "Cache-Control", "Location", "Age", "Vary"]  # fmt: skip


@pytest.mark.parametrize("name", FORBIDDEN)
def test_trailers_that_must_be_known_before_the_content(peer: StartPeer, name: str) -> None:
    """RFC 9110 6.5.1."""
    result = outcome(peer, lambda environ: send_trailers(environ, [(name, "1")]))
    assert isinstance(result, LocalProtocolError)


def test_digests_and_etags_may_be_trailers(peer: StartPeer) -> None:
    """RFC 9530 2, RFC 9110 8.8.3.

    Only those that are known before are of use in the head.
    """
    trailers = [("content-digest", "sha-256=:AA==:"), ("etag", '"a"')]
    answer = request(peer(Application(lambda environ: send_trailers(environ, trailers))))
    assert lower(answer.trailers) == trailers


def raise_at_once(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    send_trailers(environ, TRAILERS)
    raise ValueError


def start_again(environ: Environ, start_response: Any) -> Iterable[bytes]:
    try:
        raise_at_once(environ, start_response)
    except ValueError as exc:
        start_response("500 Oops", [], (type(exc), exc, exc.__traceback__))
    return [b"oops"]


@pytest.mark.parametrize("app", [raise_at_once, start_again])
def test_the_page_of_an_error_has_no_trailers(peer: StartPeer, app: Any) -> None:
    answer = request(peer(app))
    assert (answer.status, answer.trailers, answer.complete) == (500, [], True)


def test_a_broken_response_has_no_trailers(peer: StartPeer) -> None:
    def app(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        send_trailers(environ, TRAILERS)
        yield b"content"
        raise ValueError

    answer = request(peer(app))
    assert (answer.complete, answer.trailers) == (False, [])


# -- push ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "link"),
    [
        ("/style.css?v=1", "</style.css?v=1>; rel=preload; as=style"),
        ("/app.JS", "</app.JS>; rel=preload; as=script"),
        ("/a.b/", "</a.b/>; rel=preload"),
        ("/", "</>; rel=preload"),
        ("http://localhost", "</>; rel=preload"),
        ("http://LOCALHOST:80/x.png", "</x.png>; rel=preload; as=image"),
        ("//localhost/?q", "</?q>; rel=preload"),
        ("//localhost?q", "</?q>; rel=preload"),
    ],
)
def test_what_cannot_be_pushed_is_hinted_at(serve: Serve, path: str, link: str) -> None:
    app = Application(lambda environ: push(environ, path, [("Accept", "*/*")]))
    with serve(app).client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        response = client.head()
        assert (response.status, response.headers) == (103, [("Link", link)])
        assert client.response().status == 200
    assert app.result is PushResult.HINTED
    assert not app.result


def test_associated_content_is_hinted_at(serve: Serve) -> None:
    def act(environ: Environ) -> tuple[bool, bool]:
        associated = environ["wsgi.associated_content"]
        return associated("/a.css"), associated("/b.css", weight=3)

    app = Application(act)
    with serve(app).client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.head()["Link"] == "</a.css>; rel=preload; as=style"
        assert client.head()["Link"] == "</b.css>; rel=preload; as=style"
        assert client.response().status == 200
    assert app.result == (False, False)


def test_a_push_behind_the_head_does_nothing_to_http1(serve: Serve) -> None:
    def app(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"a"
        yield push(environ, "/x").value.encode()

    with serve(app).client() as client:
        assert client.get().body == b"aignored"


@pytest.mark.parametrize(
    "path",
    ["", "style.css", "*", "/a b", "/a\r\nX: y", "/\xe9", "/a>", "/#x", "///x", "http:/a",
     "http://other/x", "//other/x", "https://localhost/x", "http://localhost:81/",
     "ftp://localhost/", "//localhost//other/x"],
)  # fmt: skip
def test_only_paths_of_the_same_origin_can_be_pushed(peer: StartPeer, path: str) -> None:
    app = Application(lambda environ: push(environ, path))
    answer = request(peer(app))
    assert isinstance(app.result, LocalProtocolError)
    assert (answer.status, answer.interim) == (200, [])


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Connection", "b\xe4d"])
def test_headers_of_a_push_are_checked(peer: StartPeer, name: str) -> None:
    app = Application(lambda environ: push(environ, "/x", [(name, "1")]))
    answer = request(peer(app))
    assert isinstance(app.result, LocalProtocolError)
    assert answer.interim == []


# -- priority ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", (3, False)),
        ("u=0, i", (0, True)),
        ("u=7,i=?1", (7, True)),
        ("i=?0, u=5", (5, False)),
        ("i, i=?0", (3, False)),
        ("u=1, u=2", (2, False)),
        ("u=1;x=\"a,b\", i;y", (1, True)),
        ('x="u=0, i", u=4', (4, False)),
        ("x=(1 2), foo, *b=:AA==:, i ;a", (3, True)),
        ("u=8", (3, False)),
        ("u=-1", (3, False)),
        ("u=1.0", (3, False)),
        ("u", (3, False)),
        ("u=?1, i=1", (3, False)),
        ("i=a", (3, False)),
        ("\tu=2\t, \ti", (2, True)),
        ("u=2, U=1", (2, False)),
        ('u=2, x="', (2, False)),
        ("\xff", (3, False)),
        ("u=1" + ", x" * 30000, (1, False)),
        ('x="' + "\\" * 60001, (3, False)),
    ],
)  # fmt: skip
def test_parse_priority(value: str, expected: tuple[int, bool]) -> None:
    """RFC 9218 4: what is not understood counts as not said."""
    assert parse_priority(value) == expected


def test_the_priority_that_the_client_asked_for(peer: StartPeer) -> None:
    running = peer(app := Application(priority))
    request(running)
    assert app.result == Priority(urgency=3, incremental=False)
    request(running, headers=[("Priority", "u=1, i")])
    assert app.result == (1, True)


# -- never_index ---------------------------------------------------------------------------------


def test_nothing_is_compressed_in_http1(serve: Serve) -> None:
    app = Application(lambda environ: never_index(environ, "X-Token"))
    with serve(app).client() as client:
        assert client.get().status == 200
    assert app.result is False


# -- disconnected --------------------------------------------------------------------------------


class Waiting:
    """Waits until the client has gone, and answers "content" all the same.

    Attributes:
        began: The application runs.
        results: What `disconnected` said at once, and in the end.
    """

    def __init__(self, pause: Callable[[float], object] = gevent.sleep) -> None:
        self.began = threading.Event()
        self.results: queue.SimpleQueue[tuple[bool, bool]] = queue.SimpleQueue()
        self._pause = pause

    def __call__(self, environ: Environ, start_response: Any) -> list[bytes]:
        first = disconnected(environ)
        self.began.set()
        deadline = time.monotonic() + 10
        while not (last := disconnected(environ)) and time.monotonic() < deadline:
            self._pause(0.005)
        self.results.put((first, last))
        start_response("200 OK", [])
        return [b"content"]

    def run(self, leave: Callable[[], object]) -> tuple[bool, bool]:
        """Have the client leave when the application runs."""
        assert self.began.wait(10)
        leave()
        return self.results.get(timeout=20)


def test_a_client_that_leaves(peer: StartPeer) -> None:
    app = Waiting()
    exchange = peer(app).open()
    assert app.run(exchange.vanish) == (False, True)


def test_a_client_that_closes_the_connection(peer: StartPeer) -> None:
    app = Waiting()
    running = peer(app)
    running.open()
    assert app.run(running.close) == (False, True)


def test_that_needs_no_turn_of_the_loop(serve: Serve) -> None:
    app = Waiting(pause=time.sleep)  # which keeps the server's only thread
    with serve(app).client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert app.run(client.close) == (False, True)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3, id="further requests"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nunread", id="content"
        ),
    ],
)
def test_a_client_that_leaves_something_unread(serve: Serve, sent: bytes) -> None:
    app = Waiting()
    with serve(app).client() as client:
        client.send(sent)

        def leave() -> None:
            client.send(b"more")  # which is not read
            client.close()

        assert app.run(leave) == (False, True)


def test_half_a_connection_counts_as_gone_but_gets_the_response(serve: Serve) -> None:
    app = Waiting()
    with serve(app).client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert app.run(lambda: client.sock.shutdown(socket.SHUT_WR)) == (False, True)
        assert client.response().body == b"content"


def test_a_client_that_leaves_over_tls(serve: Serve, certificate: tuple[str, str]) -> None:
    app = Waiting()
    cert, key = certificate
    running = serve(app, bind="https://127.0.0.1:0", certfile=cert, keyfile=key)
    context = tls_context(cert, "http/1.1")
    with running.client(tls=context) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert app.run(client.close) == (False, True)


# -- features ------------------------------------------------------------------------------------


def test_features_of_http11(serve: Serve) -> None:
    seen: list[Features] = []

    def app(environ: Environ, start_response: Any) -> Iterator[bytes]:
        seen.append(features(environ))
        start_response("200 OK", [])
        yield b"content"
        seen.append(features(environ))

    with serve(app).client() as client:
        assert client.get().body == b"content"
        always = {"trailers": True, "full_duplex": True, "disconnected": True}
        assert seen == [
            Features("HTTP/1.1", early_hints=True, **always),
            Features("HTTP/1.1", **always),
        ]


def test_features_of_a_request_for_a_websocket(carrier: StartCarrier) -> None:
    seen: list[bool] = []

    @websocket
    def talk(ws: WebSocket) -> None:
        seen.append(features(ws.environ).websocket)  # it is one
        run_echo(ws)

    def app(environ: Environ, start_response: Any) -> Any:
        seen.append(features(environ).websocket)
        return talk(environ, start_response)

    assert works(carrier(app).open())
    assert seen == [True, False]


def test_http10_has_none_of_it(serve: Serve) -> None:
    def act(environ: Environ) -> list[Any]:
        return [
            protocol(environ),
            features(environ),
            early_hints(environ, [STYLE]),
            environ["wsgi.early_hints"]([("Link", STYLE)]),
            send_trailers(environ, TRAILERS),
            environ["wsgi.ext.http.send_trailers"](TRAILERS),
            push(environ, "/x"),
            environ["wsgi.associated_content"]("/x"),
        ]

    app = Application(act)
    with serve(app).client() as client:
        response = client.get(version="1.0")
        assert (response.status, response.body, response["Content-Length"]) == (
            200,
            b"content",
            "7",
        )
        assert client.closed()
    nothing = Features("HTTP/1.0", full_duplex=True, disconnected=True)
    ignored = PushResult.IGNORED
    assert app.result == ["HTTP/1.0", nothing, False, False, False, False, ignored, False]


def test_the_protocol_has_one_name(peer: StartPeer) -> None:
    running = peer(app := Application(protocol))
    request(running)
    assert app.result == running.version


# -- who calls, and when -------------------------------------------------------------------------


def everything(environ: Environ) -> list[Any]:
    return [
        early_hints(environ, [STYLE]),
        environ["wsgi.early_hints"]([("Link", STYLE)]),
        send_trailers(environ, TRAILERS[:1]),
        environ["wsgi.ext.http.send_trailers"](TRAILERS[1:]),
    ]


def copied(environ: Environ) -> Any:
    return everything(dict(environ))


def elsewhere(environ: Environ) -> Any:
    return gevent.spawn(everything, environ).get()


@pytest.mark.parametrize("act", [everything, copied, elsewhere])
def test_a_copy_of_the_environ_and_other_greenlets_do(
    peer: StartPeer, act: Callable[[Environ], Any]
) -> None:
    app = Application(act)
    answer = request(peer(app))
    assert app.result == [True, True, True, True]
    assert len(answer.interim) == 2
    assert lower(answer.trailers) == lower(TRAILERS)


def test_when_the_response_is_over_nothing_happens(peer: StartPeer) -> None:
    """Nor to the next exchange of the connection."""
    kept: list[Environ] = []
    running = peer(Application(kept.append))
    assert request(running).status == 200
    over = gevent.event.Event()
    [environ] = kept

    class Last:
        def close(self) -> None:
            over.set()

    environ["wsgi_lite.closing"](Last())
    assert running.call(lambda: over.wait(10))

    def late() -> list[Any]:
        return [
            *everything(environ),
            push(environ, "/x"),
            environ["wsgi.associated_content"]("/x"),
            never_index(environ, "X"),
            disconnected(environ),
            priority(environ),
            features(environ),
        ]

    nothing = Features(running.version)
    expected = [False] * 4 + [PushResult.IGNORED, False, False, False, (3, False), nothing]
    assert running.call(late) == expected
    answer = request(running)
    assert (answer.status, answer.interim, answer.trailers) == (200, [], [])


class Thing:
    """Something that the application leaves in its environ."""


def test_a_request_is_gone_without_the_collector(peer: StartPeer) -> None:
    """Cycles between stream and environ would cost each request a part of a collection."""
    freed = threading.Event()

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        environ["thing"] = thing = Thing()
        weakref.finalize(thing, freed.set)
        everything(environ)
        start_response("200 OK", [])
        return [b"content"]

    running = peer(app)
    gc.disable()
    try:
        assert request(running, method="POST", body=b"content").status == 200
        assert freed.wait(10)
    finally:
        gc.enable()


# -- under other servers -------------------------------------------------------------------------


class Quiet(WSGIRequestHandler):
    """Logs nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_under_a_server_without_any_of_it() -> None:
    results: list[Any] = []

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        results.extend(
            [
                protocol(environ),
                features(environ),
                early_hints(environ, [STYLE]),
                send_trailers(environ, TRAILERS),
                push(environ, "/x"),
                never_index(environ, "X-Token"),
                disconnected(environ),
                priority(environ),
            ]
        )
        start_response("200 OK", [("Content-Length", "7")])
        return [b"content"]

    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        asked = urllib.request.Request(url, headers={"Priority": "u=6"})
        with urllib.request.urlopen(asked, timeout=10) as response:
            assert response.read() == b"content"
        thread.join(10)
    ignored = PushResult.IGNORED
    assert results[1:] == [Features(results[0]), False, False, ignored, False, False, (6, False)]
    assert results[0] in {"HTTP/1.0", "HTTP/1.1"}


class OtherServer:
    """Keys as gunicorn and pyvoy have them: they return nothing."""

    def __init__(self, protocol: str, trailers: str) -> None:
        self.sent: list[tuple[str, str]] = []
        self.environ: Environ = {
            "SERVER_PROTOCOL": protocol,
            "SERVER_NAME": "a",
            "SERVER_PORT": "8000",
            "wsgi.url_scheme": "http",
            "wsgi.early_hints": self.sent.extend,
            trailers: self.sent.extend,
        }


@pytest.mark.parametrize("key", ["wsgi.ext.http.send_trailers", "gunicorn.http2.send_trailers"])
def test_under_a_server_with_keys_of_that_name(key: str) -> None:
    other = OtherServer("HTTP/2.0", key)
    assert features(other.environ) == Features("HTTP/2", early_hints=True, trailers=True)
    assert early_hints(other.environ, [STYLE])
    assert send_trailers(other.environ, TRAILERS)
    assert push(other.environ, "http://a:8000/x") is PushResult.HINTED
    assert other.sent == [("Link", STYLE), *TRAILERS, ("Link", "</x>; rel=preload")]


@pytest.mark.parametrize("gone", [True, False])
def test_under_a_server_that_tells_of_clients_that_leave(gone: bool) -> None:
    """waitress's key."""
    environ = {"SERVER_PROTOCOL": "HTTP/1.1", "waitress.client_disconnected": lambda: gone}
    assert features(environ) == Features("HTTP/1.1", disconnected=True)
    assert disconnected(environ) is gone


def test_under_a_server_with_keys_to_http10() -> None:
    other = OtherServer("HTTP/1.0", "wsgi.ext.http.send_trailers")
    assert features(other.environ) == Features("HTTP/1.0")
    assert not early_hints(other.environ, [STYLE])
    assert not send_trailers(other.environ, TRAILERS)
    assert push(other.environ, "/x") is PushResult.IGNORED
    assert other.sent == []
