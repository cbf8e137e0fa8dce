"""WebSocket libraries in one process, each under its name and used as its own manual shows.

``BLOCKED`` in the environment names packages that cannot be imported.
"""

# Most of them are not typed.
# mypy: disable-error-code="misc,untyped-decorator"

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any
from wsgiref.util import shift_path_info

import gevent
from gevent.event import Event

BLOCKED: dict[str, Any] = dict.fromkeys(os.environ.get("BLOCKED", "").split())
sys.modules.update(BLOCKED)  # before a library looks for them

# ruff: noqa: E402
import bottle
import engineio
import eventlet.websocket
import flask_sock
import flask_socketio
import flask_sockets
import simple_websocket
import socketio
from flask import Flask
from werkzeug.routing import Rule

try:
    from geventwebsocket import Resource, WebSocketApplication, WebSocketError
except ImportError:
    from gserver.api import WebSocketError

    Resource = None
    WebSocketApplication = object

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

GIVEN_UP = 5.0
LARGEST = 2_000_000


def page(start_response: StartResponse, body: str = "page") -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]


# -- simple-websocket and Flask-Sock ---------------------------------------------------------


def simple(environ: Environ, start_response: StartResponse) -> list[bytes]:
    ws = simple_websocket.Server(environ, max_message_size=LARGEST)
    try:
        while True:
            ws.send(ws.receive())
    except simple_websocket.ConnectionClosed:
        return []


def flask_sock_app(**options: Any) -> Flask:
    app = Flask(__name__)
    app.config["SOCK_SERVER_OPTIONS"] = options
    sock = flask_sock.Sock(app)

    @app.get("/page")
    def page() -> str:
        return "page"

    @sock.route("/echo")
    def echo(ws: Any) -> None:
        while True:
            ws.send(ws.receive())

    @sock.route("/bye")
    def bye(ws: Any) -> None:
        ws.receive()
        ws.send("bye")
        ws.close(4000, "enough")

    @sock.route("/leave")
    def leave(ws: Any) -> None:
        ws.receive()
        ws.send("bye")

    return app


# -- gevent-websocket ------------------------------------------------------------------------


def gevent_websocket(environ: Environ, start_response: StartResponse) -> list[bytes]:
    ws = environ.get("wsgi.websocket")
    if ws is None:
        return page(start_response)
    if environ["PATH_INFO"] == "/bye":
        ws.receive()
        ws.send("bye")
        ws.close(4000, b"enough")
        return []
    if environ["PATH_INFO"] == "/careless":
        while True:
            ws.send(ws.receive())
    while (message := ws.receive()) is not None:
        ws.send(message)
    try:
        ws.receive()
    except WebSocketError:
        return []
    raise AssertionError("a second end")


class ResourceEcho(WebSocketApplication):
    def on_message(self, message: Any) -> None:
        if message is not None:
            self.ws.send(message)

    def on_close(self, reason: Any) -> None:
        closed.set()


class ResourceBye(WebSocketApplication):
    def on_message(self, message: Any) -> None:
        self.ws.send("bye")
        self.ws.close(4000, b"enough")


closed = Event()


def resource_page(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Tell that the WebSocket before has told of its end."""
    fine = closed.wait(GIVEN_UP)
    closed.clear()
    return page(start_response, f"closed: {fine}")


RESOURCES = [("/page", resource_page), ("/echo", ResourceEcho), ("/bye", ResourceBye)]


# -- Flask-Sockets ---------------------------------------------------------------------------


class Sockets(flask_sockets.Sockets):
    """Since Werkzeug 1.0 only rules that say so match a WebSocket."""

    def add_url_rule(self, rule: str, _: Any, f: Any, **options: Any) -> None:
        self.url_map.add(Rule(rule, endpoint=f, websocket=True))


def flask_sockets_app() -> Flask:
    app = Flask(__name__)
    sockets = Sockets(app)

    @app.get("/page")
    def page() -> str:
        return "page"

    @sockets.route("/echo")
    def echo(ws: Any) -> None:
        while not ws.closed:
            message = ws.receive()
            if message is not None:
                ws.send(message)

    @sockets.route("/bye")
    def bye(ws: Any) -> None:
        ws.receive()
        ws.send("bye")
        ws.close(4000, b"enough")

    return app


# -- Bottle ----------------------------------------------------------------------------------


def bottle_app() -> bottle.Bottle:
    """The recipe of the primer to asynchronous applications."""
    app = bottle.Bottle()

    @app.route("/page")
    def page() -> str:
        return "page"

    @app.route("/echo")
    def handle_websocket() -> None:
        wsock = bottle.request.environ.get("wsgi.websocket")
        if not wsock:
            bottle.abort(400, "Expected WebSocket request.")
        while True:
            try:
                message = wsock.receive()
                wsock.send(message)
            except WebSocketError:
                break

    return app


# -- eventlet --------------------------------------------------------------------------------


@eventlet.websocket.WebSocketWSGI
def eventlet_app(ws: Any) -> None:
    if ws.path == "/bye":
        ws.wait()
        ws.send("bye")
        ws.close((4000, "enough"))
        return
    while (message := ws.wait()) is not None:
        ws.send(message)


# -- Engine.IO and Socket.IO -----------------------------------------------------------------


def engineio_app() -> Any:
    server = engineio.Server(async_mode="gevent", max_http_buffer_size=LARGEST)

    @server.on("message")
    def message(sid: str, data: Any) -> None:
        server.send(sid, data)
        if data == "dismiss":
            server.disconnect(sid)

    return engineio.WSGIApp(server)


def socketio_app() -> Any:
    server = socketio.Server(async_mode="gevent", max_http_buffer_size=LARGEST)

    @server.event
    def echo(sid: str, data: Any) -> Any:
        return data

    @server.event
    def say(sid: str, data: Any) -> None:
        server.emit("said", data)

    @server.event
    def dismiss(sid: str) -> None:
        server.disconnect(sid)

    @server.event
    def disconnect(sid: str, reason: str) -> None:
        server.emit("left", reason)

    return socketio.WSGIApp(server)


def flask_socketio_app() -> Flask:
    app = Flask(__name__)
    server = flask_socketio.SocketIO(app, async_mode="gevent", max_http_buffer_size=LARGEST)

    @server.on("echo")
    def echo(data: Any) -> Any:
        return data

    @server.on("say")
    def say(data: Any) -> None:
        flask_socketio.emit("said", data, broadcast=True)

    @server.on("dismiss")
    def dismiss() -> None:
        flask_socketio.disconnect()

    @server.on("disconnect")
    def disconnect(reason: str) -> None:
        flask_socketio.emit("left", reason, broadcast=True)

    return app


# -- all together ----------------------------------------------------------------------------

APPS: dict[str, Any] = {
    "bottle": bottle_app(),
    "engineio": engineio_app(),
    "eventlet": eventlet_app,
    "flask-sock": flask_sock_app(subprotocols=["chat", "superchat"]),
    "flask-sock-pinging": flask_sock_app(ping_interval=0.2),
    "flask-sock-patient": flask_sock_app(ping_interval=30),
    "flask-socketio": flask_socketio_app(),
    "flask-sockets": flask_sockets_app(),
    "gevent-websocket": gevent_websocket,
    "resource": Resource and Resource(RESOURCES),
    "simple-websocket": simple,
    "socketio": socketio_app(),
}
active: list[str] = []
quiet = Event()


def settle(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Wait until no request is active; return what does not end, and print a mark."""
    if active:
        quiet.wait(GIVEN_UP)
    left = list(active)
    for thread in threading.enumerate():
        if "simple_websocket" in thread.name:
            thread.join(GIVEN_UP)
            left += [thread.name] * thread.is_alive()
    for _ in range(5):
        gevent.idle()
    print("settled", environ["QUERY_STRING"], flush=True)
    return page(start_response, " ".join(left))


def app(environ: Environ, start_response: StartResponse) -> Any:
    name = shift_path_info(environ) or ""
    if name == "settle":
        return settle(environ, start_response)
    quiet.clear()
    active.append(name)
    try:
        return APPS[name](environ, start_response)
    finally:
        active.remove(name)
        if not active:
            quiet.set()
