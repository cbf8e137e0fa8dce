"""What was asked of a successor of WSGI in 2014, of the API that applications are written to.

The ten requirements of python-web-sig/wsgi-ng, in their order, each with the test that a Lite
application meets it.
"""

from __future__ import annotations

import re
from configparser import ConfigParser
from io import BytesIO
from typing import Any
from wsgiref.handlers import SimpleHandler
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from webob import Request
from webob import Response as WebObResponse

from conftest import ROOT, Serve, StartCarrier, StartPeer
from exchange import Http1Peer, Http2Peer, request
from gserver.api import early_hints, features, lighten, lite, protocol, push, to_wsgi, websocket
from lite_tools import CLOSING, Environ, StartResponse, run_wsgi
from websocket_client import Carrier, Close


@websocket
def echo(ws: Any) -> None:
    for message in ws:
        ws.send(message)


@lite(path="PATH_INFO")
def site(environ: Environ, path: str) -> Any:
    """Answer, tell of what could be loaded early, or open a WebSocket."""
    if path == "/echo":
        return echo(environ)
    early_hints(environ, [("Link", "</style.css>; rel=preload")])
    push(environ, "/style.css")
    return "200 OK", [("Content-Type", "text/plain")], [protocol(environ).encode()]


def test_1_all_protocols_on_one_port(serve: Serve) -> None:
    running = serve(site)
    for kind in (Http1Peer, Http2Peer):
        peer = kind(running)
        assert request(peer).body.decode() == kind.version
        peer.close()
    for http2 in (False, True):
        carrier = Carrier(running, http2=http2)
        ws = carrier.open("/echo")
        ws.send_message("hello")
        assert ws.message() == "hello"
        assert ws.shut(1000) == Close(1000)
        carrier.close()


def test_2_what_http2_offers_is_not_missed_without_it(serve: Serve) -> None:
    running = serve(site)
    with running.client() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.response().body == b"HTTP/1.0"
    environ: Environ = {}
    setup_testing_defaults(environ)
    assert run_wsgi(site, environ)[2] == b"HTTP/1.0"


def old_layer(app: Any) -> Any:
    def middleware(environ: Environ, start_response: StartResponse) -> Any:
        def noting(status: str, headers: Any, *exc_info: Any) -> Any:
            return start_response(status, [*headers, ("X-Layer", "old")], *exc_info)

        return app(environ, noting)

    return middleware


def new_layer(app: Any) -> Any:
    @lite
    def middleware(environ: Environ) -> Any:
        status, headers, body = lighten(app)(environ)
        return status, [*headers, ("X-Layer", "new")], body

    return middleware


@pytest.mark.parametrize("layers", ["on", "no", "onon", "noon", "nnoo"])
@pytest.mark.parametrize("core", ["old", "new"])
def test_3_one_layer_at_a_time_can_change(layers: str, core: str) -> None:
    def old(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"content"]

    app: Any = old if core == "old" else lite(lambda e: ("200 OK", [("Content-Type", "a/b")], []))
    for layer in layers:
        app = old_layer(app) if layer == "o" else new_layer(app)
    environ: Environ = {"QUERY_STRING": ""}
    setup_testing_defaults(environ)
    status, headers, _ = run_wsgi(validator(app), environ)
    assert status == "200 OK"
    expected = ["old" if layer == "o" else "new" for layer in layers]
    assert [value for name, value in headers if name == "X-Layer"] == expected


def test_4_the_pythons_that_there_are() -> None:
    """Those that still get corrections, and all of them in CI."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    promised = re.findall(r"Python :: (3\.\d+)", setup["metadata"]["classifiers"])
    assert setup["options"]["python_requires"] == f">={promised[0]}"
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    (matrix,) = re.findall(r"python: \[(.*)\]", workflow)
    assert re.findall(r'"(.*?)"', matrix) == promised


def test_5_existing_containers_can_host_it() -> None:
    """As an ordinary function of WSGI; tests/elsewhere does it with real servers."""
    environ: Environ = {}
    setup_testing_defaults(environ)
    output = BytesIO()
    SimpleHandler(BytesIO(), output, environ["wsgi.errors"], environ).run(to_wsgi(site))
    head, _, body = output.getvalue().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK\r\n")
    assert body == b"HTTP/1.0"


def test_6_an_application_can_find_out_what_is_possible(peer: StartPeer) -> None:
    @lite
    def app(environ: Environ) -> Any:
        return "200 OK", [], [f"{protocol(environ)} {features(environ).trailers}".encode()]

    running = peer(app)
    assert request(running).body.decode() == f"{running.version} True"
    assert not features({"SERVER_PROTOCOL": running.version}).trailers


def test_7_websockets(carrier: StartCarrier) -> None:
    ws = carrier(site).open("/echo")
    ws.send_message(b"hello")
    assert ws.message() == b"hello"
    assert ws.shut(1000) == Close(1000)


def test_8_and_9_http2_and_http1(peer: StartPeer) -> None:
    running = peer(site)
    assert request(running).body.decode() == running.version


def test_10_thin_shims_on_top() -> None:
    """WebOb's request is bound, WebOb's response is lightened: both know nothing of Lite."""

    @lite(request=lambda environ: [Request(environ)])
    def app(environ: Environ, request: Request) -> Any:
        response = WebObResponse(f"hello, {request.params['name']}")
        response.headers["X-Method"] = request.method
        return lighten(response)(environ)

    environ = Request.blank("/?name=you").environ
    assert type(environ) is dict
    status, headers, content = run_wsgi(app, environ)
    assert (status, content) == ("200 OK", b"hello, you")
    assert ("X-Method", "GET") in headers
    assert app({**environ, CLOSING: lambda thing: thing})[0] == "200 OK"
