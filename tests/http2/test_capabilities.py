"""What only HTTP/2 can do: push, priorities that change, fields kept out of the compression.

What other protocols can do as well is in tests/api/test_capabilities.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import gevent.event
import pytest

from conftest import Serve, ServerThread
from gserver.api import (
    Disconnected,
    Features,
    PushResult,
    early_hints,
    features,
    never_index,
    priority,
    push,
    send_trailers,
)
from http2_client import (
    ENABLE_PUSH,
    HEADERS,
    MAX_CONCURRENT_STREAMS,
    NO_ERROR,
    PUSH_PROMISE,
    RawHttp2,
)

Environ = dict[str, Any]


class Site:
    """A server, and a client of it.

    Answers "/" with what `act` returns for its environ, as text, and others with their path.

    Attributes:
        requests: The environs, by path.
        release: Lets requests under "/wait" go on.
    """

    def __init__(self, serve: Serve, engine: str, act: Callable[[Environ], Any]) -> None:
        self.requests: dict[str, Environ] = {}
        self.release = gevent.event.Event()
        self.server: ServerThread = serve(self._app, http2_engine=engine)
        self._act = act

    def _app(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        self.requests[path] = environ
        if path.startswith("/wait"):
            assert self.release.wait(10)
        text = str(self._act(environ)) if path == "/" else path
        start_response("200 OK", [])
        return [text.encode()]

    def connect(self, settings: dict[int, int] | None = None) -> RawHttp2:
        return RawHttp2(self.server.address, settings=settings)


MakeSite = Callable[[Callable[[Environ], Any]], Site]


@pytest.fixture
def site(serve: Serve, engine: str) -> Iterator[MakeSite]:
    """Return a function that makes the site of an `act`."""
    made: list[Site] = []

    def make(act: Callable[[Environ], Any]) -> Site:
        made.append(Site(serve, engine, act))
        return made[-1]

    yield make
    for one in made:
        one.server.call(one.release.set)


# -- push ----------------------------------------------------------------------------------------


def test_a_pushed_response_is_that_of_a_request_of_its_own(site: MakeSite) -> None:
    """RFC 9113 8.4.1: promised on the request's stream, ahead of the response to it."""
    target = site(lambda environ: push(environ, "/style.css?v=1", [("Accept", "text/css")]).name)
    with target.connect() as client:
        stream = client.request("/", ("x-own", "1"))
        promise = client.until(PUSH_PROMISE, stream)
        assert promise.promised == 2
        assert promise.fields == [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "localhost"),
            (":path", "/style.css?v=1"),
            ("accept", "text/css"),
        ]
        assert client.progress(stream).status == 0
        assert client.response(stream).body == b"PUSHED"
        pushed = client.response(2)
        assert (pushed.status, pushed.body, pushed.ended) == (200, b"/style.css", True)
        assert client.progress(stream).interim == []
    environ = target.requests["/style.css"]
    assert (environ["REQUEST_METHOD"], environ["QUERY_STRING"]) == ("GET", "v=1")
    assert (environ["HTTP_ACCEPT"], environ["HTTP_HOST"]) == ("text/css", "localhost")
    assert environ["SERVER_PROTOCOL"] == "HTTP/2"
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert environ["wsgi.input"].read() == b""
    assert "HTTP_X_OWN" not in environ


def test_associated_content_is_pushed(site: MakeSite) -> None:
    target = site(lambda environ: environ["wsgi.associated_content"]("/a", weight=1))
    with target.connect() as client:
        assert client.get().body == b"True"
        assert client.response(2).body == b"/a"


def test_several_are_pushed(site: MakeSite) -> None:
    target = site(lambda environ: [push(environ, f"/{number}").name for number in range(3)])
    with target.connect() as client:
        assert client.get().body == b"['PUSHED', 'PUSHED', 'PUSHED']"
        bodies = [one.body for one in client.collect([2, 4, 6])]
        assert bodies == [b"/0", b"/1", b"/2"]


def test_a_client_that_does_not_want_pushes_gets_a_hint(site: MakeSite) -> None:
    """RFC 9113 6.5.2."""
    target = site(lambda environ: (push(environ, "/a.css").name, features(environ).push))
    with target.connect({ENABLE_PUSH: 0}) as client:
        response = client.get()
        assert response.body == b"('HINTED', False)"
        assert [one.status for one in response.interim] == [103]
        assert response.interim[0].headers == [("link", "</a.css>; rel=preload; as=style")]
        client.sync()
        assert not any(taken.kind == PUSH_PROMISE for taken in client.frames)
    assert list(target.requests) == ["/"]


def test_as_many_pushes_as_the_client_has_room_for(site: MakeSite) -> None:
    """RFC 9113 5.1.2."""
    target = site(lambda environ: [push(environ, path).name for path in ("/wait", "/b")])
    with target.connect({MAX_CONCURRENT_STREAMS: 1}) as client:
        assert client.get().body == b"['PUSHED', 'HINTED']"
        target.server.call(target.release.set)
        assert client.response(2).body == b"/wait"
        assert client.get().body == b"['PUSHED', 'HINTED']"
        assert client.response(4).body == b"/wait"


def test_a_pushed_response_pushes_nothing(serve: Serve, engine: str) -> None:
    """RFC 9113 8.4: only on a stream that the client opened."""

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        result = push(environ, "/next")
        start_response("200 OK", [("X-Feature", str(features(environ).push))])
        return [result.name.encode()]

    with RawHttp2(serve(app, http2_engine=engine).address) as client:
        assert client.get().body == b"PUSHED"
        pushed = client.response(2)
        assert pushed.body == b"IGNORED"
        assert pushed["x-feature"] == "False"


def test_a_push_amid_the_content_and_none_behind_it(serve: Serve, engine: str) -> None:
    results: list[PushResult] = []
    over = gevent.event.Event()

    class Body:
        def __init__(self, environ: Environ) -> None:
            self.environ = environ

        def __iter__(self) -> Iterator[bytes]:
            yield b"content, "
            results.append(push(self.environ, "/a"))
            yield b"more"

        def close(self) -> None:
            results.append(push(self.environ, "/b"))
            over.set()

    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Body(environ) if environ["PATH_INFO"] == "/" else [b"pushed"]

    server = serve(app, http2_engine=engine)
    with RawHttp2(server.address) as client:
        assert client.get().body == b"content, more"
        assert client.response(2).body == b"pushed"
        assert server.call(lambda: over.wait(10))
    assert results == [PushResult.PUSHED, PushResult.IGNORED]


def test_a_client_refuses_a_pushed_response(serve: Serve, engine: str) -> None:
    """RFC 9113 8.4.2; the handler learns of it like of any client that leaves."""
    ends: list[BaseException] = []
    over = gevent.event.Event()

    def app(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/":
            push(environ, "/endless")
            yield b"content"
            return
        try:
            while True:
                yield bytes(4096)
        except BaseException as exc:
            ends.append(exc)
            raise
        finally:
            over.set()

    server = serve(app, http2_engine=engine)
    with RawHttp2(server.address) as client:
        client.grant = False
        stream = client.request()
        client.until(PUSH_PROMISE, stream)
        client.rst(2)
        assert server.call(lambda: over.wait(10))
        assert isinstance(ends[0], (Disconnected, GeneratorExit))
        assert client.response(stream).body == b"content"
        client.grant = True
        assert client.progress(stream).code in (-1, NO_ERROR)


def test_pushes_of_many_requests_cost_no_room(site: MakeSite) -> None:
    """What was pushed is over and forgotten."""
    target = site(lambda environ: push(environ, "/a").name)
    with target.connect({MAX_CONCURRENT_STREAMS: 2}) as client:
        for number in range(1, 21):
            assert client.get().body == b"PUSHED"
            assert client.response(2 * number).body == b"/a"


# -- priority ------------------------------------------------------------------------------------


def test_the_client_changes_its_mind_about_a_priority(serve: Serve, engine: str) -> None:
    """RFC 9218 7: a PRIORITY_UPDATE takes the place of the header."""
    seen: list[tuple[int, bool]] = []
    arrived, go_on = gevent.event.Event(), gevent.event.Event()

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        seen.append(priority(environ))
        environ = dict(environ)
        arrived.set()
        assert go_on.wait(10)
        seen.append(priority(environ))
        start_response("200 OK", [])
        return [b"content"]

    server = serve(app, http2_engine=engine)
    with RawHttp2(server.address) as client:
        stream = client.request("/", ("priority", "u=5"))
        assert server.call(lambda: arrived.wait(10))
        client.priority_update(stream, "u=1, i")
        client.sync()
        server.call(go_on.set)
        assert client.response(stream).body == b"content"
    assert seen == [(5, False), (1, True)]


# -- never_index ---------------------------------------------------------------------------------


def test_secrets_stay_out_of_the_compression_context(serve: Serve, engine: str) -> None:
    """RFC 7541 7.1.3."""

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        assert never_index(environ, "X-Token", "x-other")
        assert never_index(environ, "X-More")
        send_trailers(environ, [("X-Other", "1"), ("X-Public", "2")])
        early_hints(environ, [("X-More", "1"), ("X-Public", "2")])
        headers = ["X-Token", "X-Public", "X-More", "Set-Cookie", "Authorization"]
        start_response("200 OK", [(name, f"value of {name}") for name in headers])
        return [b"content"]

    with RawHttp2(serve(app, http2_engine=engine).address) as client:
        for _ in range(2):
            client.get()
            interim, head, trailers = client.frames[-4], client.frames[-3], client.frames[-1]
            assert [one.kind for one in (interim, head, trailers)] == [HEADERS] * 3
            assert interim.never_indexed == {"x-more"}
            assert head.never_indexed == {"x-token", "x-more", "set-cookie", "authorization"}
            assert trailers.never_indexed == {"x-other"}


def test_one_request_s_secrets_are_not_the_next_one_s(serve: Serve, engine: str) -> None:
    def app(environ: Environ, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/secret":
            never_index(environ, "X-Token")
        start_response("200 OK", [("X-Token", environ["PATH_INFO"])])
        return [b"content"]

    with RawHttp2(serve(app, http2_engine=engine).address) as client:
        for path, expected in [("/", set()), ("/secret", {"x-token"}), ("/", set())]:
            stream = client.request(path)
            assert client.until(HEADERS, stream).never_indexed == expected
            client.response(stream)


# -- all together --------------------------------------------------------------------------------


def test_features(serve: Serve, engine: str) -> None:
    seen: list[Features] = []

    def app(environ: Environ, start_response: Any) -> Iterator[bytes]:
        seen.append(features(environ))
        start_response("200 OK", [("Content-Length", "7")])
        yield b"con"
        seen.append(features(environ))
        send_trailers(environ, [("X-Sum", "1")])
        yield b"tent"

    with RawHttp2(serve(app, http2_engine=engine).address) as client:
        response = client.get()
        assert (response.body, response["content-length"]) == (b"content", "7")
        assert response.trailers == [("x-sum", "1")]
    everything = {"trailers": True, "push": True, "priority": True, "never_index": True}
    everything |= {"full_duplex": True, "disconnected": True}
    assert seen == [
        Features("HTTP/2", early_hints=True, **everything),
        Features("HTTP/2", early_hints=False, **everything),
    ]


def test_hints_leave_at_once(site: MakeSite) -> None:
    def act(environ: Environ) -> None:
        early_hints(environ, ["</a>; rel=preload"])
        assert target.release.wait(10)

    target = site(act)
    with target.connect() as client:
        stream = client.request()
        hint = client.until(HEADERS, stream)
        assert hint.fields == [(":status", "103"), ("link", "</a>; rel=preload")]
        assert not hint.ends
        target.server.call(target.release.set)
        assert client.response(stream).body == b"None"
