"""Bindings and write() on the server itself, over every protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import pytest

from conftest import StartCarrier, StartPeer
from exchange import request
from gserver.api import RequestTimeout, accept, bind, lighten, lite, to_wsgi
from lite_tools import CLOSING, Closer, Environ, StartResponse
from websocket_client import Close


class Page(lite.app):
    @bind(path="PATH_INFO")
    def __init__(self, environ: Environ, path: str) -> None:
        self.path = path

    def app(self, environ: Environ) -> Any:
        return "200 OK", [], [self.path.encode()]


class Site:
    @lite(path="PATH_INFO")
    def method(self, environ: Environ, path: str) -> Any:
        return "200 OK", [], [path.encode()]

    @classmethod
    @lite(path="PATH_INFO")
    def of_class(cls, environ: Environ, path: str) -> Any:
        return "200 OK", [], [path.encode()]


@lite(path="PATH_INFO", length=["CONTENT_LENGTH", lambda environ: [0]])
def bound(environ: Environ, path: str, length: int) -> Any:
    assert length == 0
    return "200 OK", [], [path.encode()]


def loudly(app: Any) -> Any:
    @lite.wraps(app, path="PATH_INFO")
    def wrapper(app: Any, environ: Environ, path: str) -> Any:
        status, headers, body = app(environ)
        return status, [*headers, ("X-Path", path)], body

    return wrapper


@loudly
def wrapped_only(environ: Environ) -> Any:
    return "200 OK", [], [environ["PATH_INFO"].encode()]


APPLICATIONS: dict[str, Any] = {
    "function": bound,
    "method": Site().method,
    "classmethod": Site.of_class,
    "class": Page,
    "wrapped": loudly(bound),
    "wrapped, and not Lite": wrapped_only,
    "to_wsgi": to_wsgi(bound),
    "lightened": lighten(to_wsgi(bound)),
}


@pytest.mark.parametrize("app", APPLICATIONS.values(), ids=APPLICATIONS)
def test_bound_applications_are_served(peer: StartPeer, app: Any) -> None:
    answer = request(peer(app), "/tea")
    assert (answer.status, answer.body) == (200, b"/tea")


# -- write() inside of Lite middleware -------------------------------------------------------------


class Writer:
    """A WSGI application that writes, then waits; inside of Lite middleware."""

    def __init__(self, wait: Callable[[], object], first: bytes = b"first ") -> None:
        self.wait = wait
        self.first = first
        self.events: list[Any] = []
        self.waiting = gevent.event.Event()

    def wsgi(self, environ: Environ, start_response: StartResponse) -> Any:
        write = start_response("200 OK", [])
        environ[CLOSING](Closer(self.events, "closed"))
        try:
            write(self.first)
            self.waiting.set()
            self.wait()
            write(b"second ")
        except BaseException as exc:
            self.events.append(type(exc))
            raise
        finally:
            self.events.append("finally")
        return [b"third"]

    @lite
    def middleware(self, environ: Environ) -> Any:
        status, headers, body = lighten(self.wsgi)(environ)
        return status, headers, (block.upper() for block in body)


def wait_for_ever() -> None:
    gevent.event.Event().wait()


def test_what_is_written_reaches_the_client_at_once(peer: StartPeer) -> None:
    release = gevent.event.Event()
    writer = Writer(release.wait)
    running = peer(writer.middleware)
    exchange = running.open()
    assert exchange.head().status == 200
    assert exchange.data() == b"FIRST "
    assert writer.events == []
    running.call(release.set)
    assert exchange.answer().body == b"SECOND THIRD"
    running.stop()
    assert writer.events == ["finally", "closed"]


def test_a_client_that_leaves_ends_the_application(peer: StartPeer) -> None:
    events: list[str] = []

    def endless(environ: Environ, start_response: StartResponse) -> Any:
        write = start_response("200 OK", [])
        try:
            while True:
                write(bytes(65536))
        finally:
            events.append("finally")

    running = peer(lite(lambda environ: lighten(endless)(environ)))
    exchange = running.open()
    assert exchange.head().status == 200
    exchange.vanish()
    running.stop()
    assert events == ["finally"]


@pytest.mark.parametrize("first", [b"", b"first "], ids=["before content", "after content"])
def test_the_limit_of_a_request_s_time_strikes_the_application(
    peer: StartPeer, first: bytes
) -> None:
    writer = Writer(wait_for_ever, first)
    running = peer(writer.middleware, request_timeout=0.1)
    answer = running.open().answer()
    assert (answer.status, answer.complete) == ((200, False) if first else (503, True))
    running.stop()
    assert writer.events == [RequestTimeout, "finally", "closed"]


def test_the_end_of_the_server_ends_the_application(peer: StartPeer) -> None:
    writer = Writer(wait_for_ever)
    running = peer(writer.middleware)
    exchange = running.open()
    assert exchange.head().status == 200
    assert running.call(lambda: writer.waiting.wait(5))
    running.stop(0)
    assert writer.events[-2:] == ["finally", "closed"]


def test_a_written_application_reads_its_content(peer: StartPeer) -> None:
    def echo(environ: Environ, start_response: StartResponse) -> Any:
        write = start_response("200 OK", [])
        while data := environ["wsgi.input"].read(3):
            write(data)
        return [b"."]

    running = peer(lite(lambda environ: lighten(echo)(environ)))
    exchange = running.open(method="POST", length=6)
    exchange.send(b"abc")
    assert exchange.head().status == 200
    assert exchange.data() == b"abc"
    exchange.send(b"def")
    assert exchange.answer().body == b"def."


def test_a_websocket_is_accepted_inside_of_lite_middleware(carrier: StartCarrier) -> None:
    def echo(environ: Environ, start_response: StartResponse) -> Any:
        ws = accept(environ)
        for message in ws:
            ws.send(message)
        start_response("200 OK", [])
        return []

    ws = carrier(lite(lambda environ: lighten(echo)(environ))).open("/")
    for message in ("hello", b"world"):
        ws.send_message(message)
        assert ws.message() == message
    assert ws.shut(1000) == Close(1000)
