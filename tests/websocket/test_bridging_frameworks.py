"""WebSocket handlers as views of real frameworks, behind what those do to every response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bottle
import django
import pytest
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from flask import Flask, abort, redirect, request, session
from flask.typing import ResponseReturnValue
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden
from pyramid.request import Request
from pyramid.response import Response
from werkzeug.middleware.proxy_fix import ProxyFix

from conftest import StartCarrier
from gserver.api import accept, websocket
from gserver.websocket import WebSocket
from websocket_client import Close, WebSocketClient

one_carrier = pytest.mark.parametrize("carrier", ["http1"], indirect=True)


@websocket(subprotocols=["chat"])
def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


# -- Flask ----------------------------------------------------------------------------------------

flask_app = Flask(__name__)
flask_app.secret_key = "not a secret"
flask_app.wsgi_app = ProxyFix(flask_app.wsgi_app)  # type: ignore[method-assign]


@flask_app.before_request
def admit() -> ResponseReturnValue | None:
    if "refuse" in request.args:
        abort(403)
    if "login" in request.args:
        return redirect("/login")
    return None


@flask_app.after_request
def mark(response: Any) -> Any:
    response.headers["X-After"] = "after"
    return response


@flask_app.route("/echo", websocket=True)
def flask_echo() -> Any:
    session["seen"] = True
    return echo


@flask_app.route("/echo")
def flask_page() -> str:
    return "page"


@flask_app.route("/rooms/<name>", websocket=True)
def room(name: str) -> Any:
    @websocket
    def talk(ws: WebSocket) -> None:
        for message in ws:
            ws.send(f"{name}: {message!s}")

    return talk


@flask_app.route("/accept", websocket=True)
def flask_accept() -> str:
    with_context = f"{request.path} {session.get('seen')}"
    for message in accept(request.environ):
        assert request.path == "/accept"
        accept(request.environ).send(f"{with_context} {message!r}")
    return ""


# -- Django ---------------------------------------------------------------------------------------


def django_echo(asked: HttpRequest) -> HttpResponse:
    status, headers, body = echo(asked.META)
    response = HttpResponse(body, status=int(status[:3]), headers=dict(headers))
    response.set_cookie("seen", "True")
    return response


def django_refuse(asked: HttpRequest) -> HttpResponse:
    return HttpResponse("no", status=403)


urlpatterns = [path("echo", django_echo), path("refuse", django_refuse)]


def make_django() -> Any:
    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["*"],
            ROOT_URLCONF=__name__,
            SECRET_KEY="not a secret",
            LOGGING_CONFIG=None,
            MIDDLEWARE=[
                "django.middleware.security.SecurityMiddleware",
                "django.middleware.common.CommonMiddleware",
                "django.middleware.gzip.GZipMiddleware",
                "django.middleware.http.ConditionalGetMiddleware",
                "django.middleware.csrf.CsrfViewMiddleware",
                "django.middleware.clickjacking.XFrameOptionsMiddleware",
            ],
        )
        django.setup()
    return get_wsgi_application()


# -- Bottle ---------------------------------------------------------------------------------------

bottle_app = bottle.Bottle()


def bottle_echo() -> Any:
    status, headers, body = echo(bottle.request.environ)
    bottle.response.set_cookie("seen", "True")
    bottle.response.status = status
    for name, value in headers:
        bottle.response.add_header(name, value)
    return body


def bottle_raise() -> Any:
    status, headers, body = echo(bottle.request.environ)
    raise bottle.HTTPResponse(body, status, headers)


def bottle_refuse() -> Any:
    bottle.abort(403, "no")


bottle_app.route("/echo", callback=bottle_echo)
bottle_app.route("/raise", callback=bottle_raise)
bottle_app.route("/refuse", callback=bottle_refuse)
bottle_app.mount("/mounted", echo)

# -- Pyramid --------------------------------------------------------------------------------------


def pyramid_echo(asked: Request) -> Response:
    response = asked.get_response(echo)
    response.set_cookie("seen", "True")
    return response


def pyramid_refuse(asked: Request) -> Response:
    raise HTTPForbidden


def make_pyramid() -> Any:
    with Configurator() as config:
        for name, view in {"echo": pyramid_echo, "refuse": pyramid_refuse}.items():
            config.add_route(name, f"/{name}")
            config.add_view(view, route_name=name)
        return config.make_wsgi_app()


# -- all of them ----------------------------------------------------------------------------------

MAKE: dict[str, Callable[[], Any]] = {
    "flask": lambda: flask_app,
    "django": make_django,
    "bottle": lambda: bottle_app,
    "pyramid": make_pyramid,
}
frameworks = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)


def works(ws: WebSocketClient) -> bool:
    if not ws.accepted:
        return False
    ws.send_message("hello")
    return ws.message() == "hello" and ws.shut() == Close(1000)


@pytest.mark.parametrize("carrier", ["http1", "http2-h2"], indirect=True)
@frameworks
def test_a_view_is_a_websocket(
    carrier: StartCarrier, make: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    server = carrier(make())
    refused = server.open("/missing")
    assert refused.status == 404
    refused = server.open("/refuse" if make is not MAKE["flask"] else "/echo?refuse")
    assert refused.status == 403
    refused = server.open("/echo", ("Sec-WebSocket-Version", "8"), beside=refused)
    assert (refused.status, refused.response["Sec-WebSocket-Version"]) == (426, "13")
    ws = server.open("/echo", subprotocols=["other", "chat"], beside=refused)
    assert ws.subprotocol == "chat"
    assert any(one.startswith(("seen=", "session=")) for one in ws.response.all("Set-Cookie"))
    for name in ("Content-Type", "Content-Length", "GServer-WebSocket"):
        assert name not in ws.response
    assert works(ws)
    assert not [one for one in caplog.records if one.name == "gserver.error"]


@one_carrier
def test_flask_views_are_chosen_by_what_is_asked_for(carrier: StartCarrier) -> None:
    server = carrier(flask_app)
    with server.server.client() as client:
        assert client.get("/echo").text == "page"
        assert client.get("/rooms/a").status == 400
    assert works(server.open("/echo"))
    ws = server.open("/rooms/attic")
    assert ws.response["X-After"] == "after"
    ws.send_message("hello")
    assert ws.message() == "attic: hello"
    refused = server.open("/echo?login")
    assert (refused.status, refused.response["Location"]) == (302, "/login")


@one_carrier
def test_a_flask_session_goes_on(carrier: StartCarrier) -> None:
    """Its cookie is part of the answer to the handshake; accept() keeps the request's context."""
    server = carrier(flask_app)
    cookie = server.open("/echo").response["Set-Cookie"].partition(";")[0]
    ws = server.open("/accept", ("Cookie", cookie))
    ws.send_message("hello")
    assert ws.message() == "/accept True 'hello'"
    assert ws.shut() == Close(1000)


@one_carrier
@pytest.mark.parametrize("target", ["/raise", "/mounted/"])
def test_other_ways_through_bottle(carrier: StartCarrier, target: str) -> None:
    assert works(carrier(bottle_app).open(target))
