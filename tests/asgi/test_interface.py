"""Which callable is an ASGI application, and what becomes of one that is none."""

from __future__ import annotations

import functools
import signal
import sys
from typing import Any, cast

import bottle
import falcon.asgi
import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware.gzip import GZipMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Request, Response

from conftest import Command, Serve
from from_asgi_stage import Receive, Scope, Send, respond
from gserver import Config, Server, from_asgi
from gserver.api import is_lite, lighten, lite, websocket
from gserver.api.errors import ConfigError
from gserver.interface import adapt, is_asgi

# -- ASGI ------------------------------------------------------------------------------------------


async def function(scope: Any, receive: Any, send: Any) -> None:
    pass


def plain(scope: Any, receive: Any, send: Any) -> Any:
    return function(scope, receive, send)


async def anything(*args: Any) -> None:
    pass


def options(
    scope: Any, receive: Any, send: Any, *more: Any, debug: bool = False, **named: Any
) -> Any:
    return function(scope, receive, send)


def passed_on(app: Any) -> Any:
    @functools.wraps(app)
    def wrapper(*args: Any, **named: Any) -> Any:
        return app(*args, **named)

    return wrapper


def four(first: Any, scope: Any, receive: Any, send: Any) -> Any:
    return function(scope, receive, send)


class Asgi:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        pass

    async def method(self, scope: Any, receive: Any, send: Any) -> None:
        pass

    def plain(self, scope: Any, receive: Any, send: Any) -> Any:
        return self(scope, receive, send)

    @staticmethod
    async def static(scope: Any, receive: Any, send: Any) -> None:
        pass

    @classmethod
    def of_class(cls, scope: Any, receive: Any, send: Any) -> Any:
        return cls()(scope, receive, send)


class Wrapped:
    @passed_on
    def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        return function(scope, receive, send)


class Endpoint(HTTPEndpoint):
    pass


@functools.wraps(plain)
async def asgi_over_anything(scope: Any, receive: Any, send: Any) -> None:
    pass


ASGI: dict[str, Any] = {
    "coroutine function": function,
    "function": plain,
    "coroutine function of anything": anything,
    "function with options": options,
    "wrapper": passed_on(function),
    "wrapper of a function": passed_on(plain),
    "wrapper of a wrapper": passed_on(passed_on(function)),
    "partial": functools.partial(four, 1),
    "partial of a coroutine function": functools.partial(function),
    "instance": Asgi(),
    "method": Asgi().method,
    "ordinary method": Asgi().plain,
    "static method": Asgi.static,
    "class method": Asgi.of_class,
    "instance with a wrapper": Wrapped(),
    "lambda": lambda scope, receive, send: function(scope, receive, send),
    "coroutine function around another": asgi_over_anything,
    "Starlette": Starlette(),
    "endpoint class": Endpoint,
    "middleware": GZipMiddleware(Starlette()),
    "FastAPI": FastAPI(),
    "Django": ASGIHandler.__new__(ASGIHandler),
    "Falcon": falcon.asgi.App(),
}

# -- not ASGI --------------------------------------------------------------------------------------


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"wsgi"]


def wsgi_with_options(environ: Any, start_response: Any, exc_info: Any = None) -> list[bytes]:
    return []


@functools.wraps(function)
def wsgi_around_asgi(environ: Any, start_response: Any) -> list[bytes]:
    return []


class Wsgi:
    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        return []

    def method(self, environ: Any, start_response: Any) -> list[bytes]:
        return []


class WsgiClass:
    """PEP 3333 has it: an instance is the body."""

    def __init__(self, environ: Any, start_response: Any) -> None: ...


@lite
def lite_function(environ: Any) -> Any:
    return "200 OK", [], [b"lite"]


@websocket
def chat(ws: Any) -> None:
    pass


@Request.application
def werkzeug_view(request: Request) -> Response:
    return Response("hello")


def anything_blocking(*args: Any) -> Any:
    return wsgi(*args)


WSGI: dict[str, Any] = {
    "function": wsgi,
    "function with options": wsgi_with_options,
    "function of anything": anything_blocking,
    "wrapper": passed_on(wsgi),
    "around ASGI": wsgi_around_asgi,
    "partial": functools.partial(wsgi),
    "instance": Wsgi(),
    "method": Wsgi().method,
    "class": WsgiClass,
    "class of ASGI instances": Asgi,
    "Flask": Flask(__name__),
    "Flask's WSGI": Flask(__name__).wsgi_app,
    "middleware": ProxyFix(wsgi),
    "Bottle": bottle.Bottle(),
    "Falcon": falcon.App(),
    "Django": WSGIHandler.__new__(WSGIHandler),
    "Werkzeug": werkzeug_view,
    "Lite": lite_function,
    "lightened": lighten(wsgi),
    "WebSocket": chat,
    "mounted ASGI": from_asgi(function),
    "builtin": dict,
    "nothing to be called": 5,
}


@pytest.mark.parametrize("name", ASGI)
def test_asgi_is_told(name: str) -> None:
    assert is_asgi(ASGI[name])


@pytest.mark.parametrize("name", WSGI)
def test_other_applications_are_told(name: str) -> None:
    assert not is_asgi(WSGI[name])


def test_nothing_is_called() -> None:
    def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    assert is_asgi(app)


# -- what becomes of it ----------------------------------------------------------------------------


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, b"asgi")


@pytest.mark.parametrize("interface", ["auto", "asgi"])
def test_an_asgi_application_is_served(serve: Serve, interface: str) -> None:
    with serve(hello, interface=interface).client() as client:
        assert client.get().body == b"asgi"


@pytest.mark.parametrize("interface", ["auto", "wsgi"])
@pytest.mark.parametrize("name", ["function", "Lite", "lightened"])
def test_others_are_left_as_they_are(interface: str, name: str) -> None:
    assert adapt(WSGI[name], interface) is WSGI[name]


@pytest.mark.parametrize("interface", ["auto", "wsgi", "asgi"])
def test_what_from_asgi_returned_may_be_called_either(serve: Serve, interface: str) -> None:
    with serve(from_asgi(hello), interface=interface).client() as client:
        assert client.get().body == b"asgi"


def test_asgi_is_chosen_where_it_cannot_be_told(serve: Serve) -> None:
    def hidden(*args: Any) -> Any:
        return hello(*args)

    with serve(hidden, interface="asgi").client() as client:
        assert client.get().body == b"asgi"


@pytest.mark.parametrize("name", ["function", "instance", "Flask", "Lite", "class"])
def test_wsgi_is_no_asgi(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^the interface is asgi, but .* is no ASGI application"):
        Server(WSGI[name], Config(interface="asgi"))


@pytest.mark.parametrize("name", ["function", "instance", "FastAPI", "Django"])
def test_asgi_is_no_wsgi(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^the interface is wsgi, but .* is an ASGI application"):
        Server(ASGI[name], Config(interface="wsgi"))


def test_a_coroutine_function_of_other_arguments_is_none() -> None:
    async def lite_like(environ: Any) -> Any: ...

    with pytest.raises(ConfigError, match="takes no scope, receive and send"):
        Server(lite_like)


def test_from_asgi_takes_asgi_only() -> None:
    for other in (wsgi, lite_function, 5, None):
        with pytest.raises(TypeError, match=r"is no ASGI application"):
            from_asgi(cast("Any", other))


@pytest.mark.parametrize("interface", ["auto", "wsgi"])
def test_a_mark_that_is_missing_is_told(interface: str) -> None:
    def app(environ: Any) -> Any:
        raise NotImplementedError

    with pytest.raises(ConfigError, match="takes one argument: is @lite, or @websocket, missing"):
        adapt(app, interface)
    assert is_lite(adapt(lite(app), interface))


def test_there_are_three_interfaces() -> None:
    with pytest.raises(ConfigError, match="interface"):
        Config(interface="cgi")


# -- the command -----------------------------------------------------------------------------------

BOTH = """
def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [b"wsgi"]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        for stage in ("startup", "shutdown"):
            await receive()
            print(stage, flush=True)
            await send({"type": f"lifespan.{stage}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"asgi"})
"""


@pytest.mark.slow
def test_the_command_refuses_the_wrong_one(command: Command) -> None:
    running = command("app:wsgi", "--interface", "asgi", "--bind", "127.0.0.1:0", app=BOTH)
    assert running.wait() == 1
    assert "gserver: the interface is asgi, but <function wsgi at " in running.text
    assert "Traceback" not in running.text


@pytest.mark.slow
def test_gunicorn_s_worker_finds_out(command: Command) -> None:
    program = [sys.executable, "-m", "gunicorn", "-k", "gserver.Worker", "-b", "127.0.0.1:0"]
    running = command("app:asgi", app=BOTH, program=program, ready="startup").wait_ready()
    with running.client() as client:
        assert client.get().body == b"asgi"
    running.signal(signal.SIGTERM)
    assert running.wait() == 0
    assert "shutdown" in running.text
