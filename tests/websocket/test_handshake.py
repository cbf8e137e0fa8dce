"""The opening handshake: which requests become WebSockets, and what the others are answered."""

from __future__ import annotations

import io
from typing import Any
from wsgiref.handlers import SimpleHandler
from wsgiref.util import setup_testing_defaults

import pytest
from gevent.event import Event

from clients import RawClient
from conftest import Serve, StartCarrier
from gserver.api import HandshakeError, WebSocketError, accept, websocket
from gserver.api.handshake import OFFER
from gserver.websocket import WebSocket
from http2_client import request_fields
from websocket_client import (
    KEY,
    Carrier,
    Header,
    Op,
    Pong,
    WebSocketClient,
    encode,
    http2_fields,
)
from websocket_stage import echo
from websocket_wires import Http2Connection, Http2Wire

one_carrier = pytest.mark.parametrize("carrier", ["http1"], indirect=True)

Environ = dict[str, Any]
Response = tuple[str, list[tuple[str, str]], list[bytes]]


def works(ws: WebSocketClient) -> bool:
    """Tell whether what was opened is a WebSocket to `echo`."""
    if not ws.accepted:
        return False
    ws.send_message("hello")
    return ws.message() == "hello" and ws.shut().code == 1000


# -- refusals -------------------------------------------------------------------------------------

# By what is wrong, beside the usual headers: the status, and headers that come with it.
REFUSALS: dict[str, tuple[list[Header], int]] = {
    "version-8": ([("Sec-WebSocket-Version", "8")], 426),
    "version-list": ([("Sec-WebSocket-Version", "13, 8")], 426),
    "versions": ([("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Version", "13")], 426),
    "version-013": ([("Sec-WebSocket-Version", "013")], 426),
    "no-version": ([("Sec-WebSocket-Version", None)], 426),
    "short-key": ([("Sec-WebSocket-Key", "c2hvcnQ=")], 400),
    "long-key": ([("Sec-WebSocket-Key", KEY[:-2] + "AA==")], 400),
    "no-base64": ([("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j-_==")], 400),
    "empty-key": ([("Sec-WebSocket-Key", "")], 400),
    "keys": ([("Sec-WebSocket-Key", KEY), ("Sec-WebSocket-Key", KEY)], 400),
    "origin": ([("Origin", "https://evil.example")], 403),
}
HTTP1_REFUSALS: dict[str, tuple[list[Header], int]] = {
    "no-key": ([("Sec-WebSocket-Key", None)], 400),
    "no-upgrade": ([("Upgrade", None)], 426),
    "other-upgrade": ([("Upgrade", "websockets")], 426),
    "upgrade-with-version": ([("Upgrade", "websocket/13")], 426),
    "h2c": ([("Upgrade", "h2c")], 426),
    "no-connection": ([("Connection", None)], 426),
    "other-connection": ([("Connection", "keep-alive")], 426),
    "another-connection": ([("Connection", "upgrade-insecure, keep-alive")], 426),
    "post": ([(":method", "POST")], 405),
    "post-without-key": ([(":method", "DELETE"), ("Sec-WebSocket-Key", None)], 405),
}


def check_refusal(ws: WebSocketClient, status: int) -> None:
    assert ws.status == status
    response = ws.response
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert response.body.endswith(b"\n")
    assert "GServer-WebSocket" not in response
    assert "Sec-WebSocket-Accept" not in response
    assert response.all("Sec-WebSocket-Version") == (["13"] if status == 426 else [])
    assert response.all("Allow") == (["GET"] if status == 405 else [])
    upgrade = status == 426 and not ws.wire.http2
    assert response.all("Upgrade") == (["websocket"] if upgrade else [])
    if upgrade:
        assert response["Connection"].lower() == "upgrade"


def test_a_request_with_something_wrong_is_refused(carrier: StartCarrier) -> None:
    """And the connection goes on."""
    server = carrier(echo)
    ws = None
    for name, (headers, status) in REFUSALS.items():
        ws = server.open("/", *headers, beside=ws)
        assert ws.status == status, name
        check_refusal(ws, status)
    assert works(server.open("/", beside=ws))


@one_carrier
def test_a_request_with_something_wrong_is_refused_over_http1(carrier: StartCarrier) -> None:
    server = carrier(echo)
    ws = None
    for name, (headers, status) in HTTP1_REFUSALS.items():
        ws = server.open("/", *headers, beside=ws if name != "post" else None)
        assert ws.status == status, name
        check_refusal(ws, status)
    assert works(server.open("/", beside=ws))


def test_an_ordinary_request_over_http2_is_refused(serve: Serve, engine: str) -> None:
    connection = Http2Connection(serve(echo, http2_engine=engine).address)
    response = connection.whole(connection.open(request_fields("/"), end=True))
    assert response.status == 426
    assert response["sec-websocket-version"] == "13"
    assert "upgrade" not in response
    assert "connection" not in response
    connection.close()


def test_http_1_0_cannot_be_upgraded(serve: Serve) -> None:
    lines = ["Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {KEY}"]
    with serve(echo).client() as client:
        response = client.get("/", *lines, "Sec-WebSocket-Version: 13", version="1.0")
        assert response.status == 426
        assert client.closed()


@one_carrier
@pytest.mark.parametrize(
    ("header", "content"),
    [
        (("Content-Length", "5"), b"hello"),
        (("Content-Length", "20"), encode(Op.TEXT, b"looks like one")),
        (("Transfer-Encoding", "chunked"), b"5\r\nhello\r\n0\r\n\r\n"),
    ],
)
def test_a_request_with_content_cannot_be_upgraded(
    carrier: StartCarrier, header: Header, content: bytes
) -> None:
    """Its content is content, whatever it looks like; the connection goes on behind it."""
    server = carrier(echo)
    ws = server.open("/", header, then=content)
    assert 400 <= ws.status < 600
    assert works(server.open("/", beside=ws))


@one_carrier
def test_a_request_that_announces_no_content_is_upgraded(carrier: StartCarrier) -> None:
    assert works(carrier(echo).open("/", ("Content-Length", "0")))


@one_carrier
@pytest.mark.parametrize(
    "headers",
    [
        [("Upgrade", "WebSocket"), ("Connection", "UPGRADE")],
        [("Upgrade", "h2c, websocket"), ("Connection", "keep-alive, Upgrade")],
        [("Upgrade", "websocket,h2c"), ("Connection", "keep-alive,upgrade,")],
        [("Upgrade", "h2c"), ("Upgrade", " websocket ")],
        [("Connection", "keep-alive"), ("Connection", "Upgrade")],
        [
            ("Upgrade", "h2c, websocket"),
            ("Connection", "Upgrade, HTTP2-Settings"),
            ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        ],
        [("sec-websocket-version", "13"), ("SEC-WEBSOCKET-KEY", KEY)],
        [("Host", "LOCALHOST:8000"), ("Origin", "http://localhost:8000")],
    ],
)
def test_odd_spellings_are_accepted(carrier: StartCarrier, headers: list[Header]) -> None:
    assert works(carrier(echo).open("/", *headers))


# -- without WebSocket ----------------------------------------------------------------------------


def test_a_server_that_may_not_do_it_answers_501(serve: Serve, engine: str) -> None:
    server = serve(echo, websocket=False, http2_engine=engine)
    http1 = Carrier(server, http2=False)
    ws = http1.open()
    assert ws.status == 501
    assert http1.open("/", ("Sec-WebSocket-Version", "8"), beside=ws).status == 426
    http1.close()
    connection = Http2Connection(server.address)
    assert not connection.extended
    assert connection.whole(connection.open(http2_fields("/"), end=False)).status != 200  # type: ignore[arg-type]
    connection.close()


def bare_environ(**more: str) -> Environ:
    environ: Environ = {"SERVER_PROTOCOL": "HTTP/1.1", **more}
    setup_testing_defaults(environ)
    return environ


UPGRADE = {
    "HTTP_UPGRADE": "websocket",
    "HTTP_CONNECTION": "Upgrade",
    "HTTP_SEC_WEBSOCKET_KEY": KEY,
    "HTTP_SEC_WEBSOCKET_VERSION": "13",
}


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, "426 Upgrade Required"),
        (UPGRADE, "501 Not Implemented"),
        (UPGRADE | {"REQUEST_METHOD": "PUT"}, "405 Method Not Allowed"),
        (UPGRADE | {"HTTP_SEC_WEBSOCKET_KEY": "x"}, "400 Bad Request"),
        (UPGRADE | {"SERVER_PROTOCOL": "HTTP/1.0"}, "426 Upgrade Required"),
    ],
)
def test_other_servers_answer_too(more: dict[str, str], status: str) -> None:
    """Nothing of the handler's is needed, and no greenlets."""
    lite = echo(bare_environ(**more))
    assert lite[0] == status
    started: list[Any] = []
    body = echo(bare_environ(**more), lambda *response: started.append(response))
    assert [(*started[0], list(body))] == [lite]
    with pytest.raises(HandshakeError) as caught:
        accept(bare_environ(**more))
    assert caught.value.response == lite
    assert caught.value.status == int(status[:3])
    assert set(caught.value.headers) <= set(lite[1])
    assert isinstance(caught.value, WebSocketError)
    assert str(caught.value) == caught.value.reason


def test_wsgiref_answers_too() -> None:
    output = io.BytesIO()
    handler = SimpleHandler(io.BytesIO(), output, io.StringIO(), bare_environ(**UPGRADE))
    handler.run(echo)
    assert output.getvalue().startswith(b"HTTP/1.0 501 Not Implemented\r\n")
    assert output.getvalue().endswith(b"\r\n\r\nthis server does not speak WebSocket\n")


# -- origins --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origins", "origin", "host", "welcome"),
    [
        ((), None, "localhost", True),
        ((), "http://localhost", "localhost", True),
        ((), "https://localhost", "localhost", True),  # a proxy ends TLS
        ((), "HTTP://Site.Example:8000", "site.example:8000", True),
        ((), "http://localhost:8000", "localhost", False),
        ((), "http://localhost", "localhost:8000", False),
        ((), "http://evil.example", "localhost", False),
        ((), "http://localhost.evil.example", "localhost", False),
        ((), "http://evil.example/localhost", "localhost", False),
        ((), "http://notlocalhost", "localhost", False),
        ((), "null", "localhost", False),
        ((), "", "localhost", False),
        ((), "localhost", "localhost", False),
        (["https://a.example"], "https://a.example", "localhost", True),
        (["https://A.example/"], "https://a.example", "localhost", True),
        ("https://a.example", "https://a.example", "localhost", True),
        (iter(["https://b.example", "https://a.example"]), "https://a.example", "host", True),
        (["https://a.example"], "http://localhost", "localhost", True),
        (["https://a.example"], "http://a.example", "localhost", False),
        (["https://a.example"], "https://a.example.evil", "localhost", False),
        (["https://a.example"], "https://a.example:444", "localhost", False),
        (["https://a.example"], "https://b.example, https://a.example", "localhost", False),
        (["null"], "null", "localhost", True),
        ("*", "https://evil.example", "localhost", True),
        (["*"], "null", "localhost", True),
    ],
)
def test_origins(origins: Any, origin: str | None, host: str, welcome: bool) -> None:
    """The answer of a server without WebSocket comes first, so an offer has to be there."""

    class Offer:
        def promise(self, handler: Any, subprotocol: str | None) -> tuple[str, str]:
            return ("GServer-WebSocket", "token")

    environ = bare_environ(**UPGRADE, HTTP_HOST=host)
    environ[OFFER] = Offer()
    if origin is not None:
        environ["HTTP_ORIGIN"] = origin
    application = websocket(origins=origins)(lambda ws: None)
    for _ in range(2):
        assert application(dict(environ))[0][:3] == ("101" if welcome else "403")


def test_origins_over_the_wire(carrier: StartCarrier) -> None:
    server = carrier(websocket(origins=["https://a.example"])(echoing))
    assert server.open("/", ("Origin", "https://b.example")).status == 403
    for origin in ("https://a.example", "http://localhost"):
        assert works(server.open("/", ("Origin", origin)))


def echoing(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


# -- subprotocols and extensions ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "chosen"),
    [
        ((), ["chat"], None),
        (["chat"], [], None),
        (["chat"], ["chat"], "chat"),
        (["chat", "superchat"], ["superchat", "chat"], "superchat"),
        (("chat", "superchat"), ["other", " chat ", "superchat"], "chat"),
        (["chat"], ["CHAT", "cha", "chats"], None),
        (["chat"], ["", "chat"], "chat"),
    ],
)
@one_carrier
def test_the_first_subprotocol_of_the_client_that_is_ours_is_chosen(
    carrier: StartCarrier, ours: Any, theirs: list[str], chosen: str | None
) -> None:
    @websocket(subprotocols=ours)
    def handler(ws: WebSocket) -> None:
        ws.send(repr(ws.subprotocol))

    def app(environ: Environ, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/accept":
            ws = accept(environ, subprotocols=ours)
            ws.send(repr(ws.subprotocol))
            return []
        return handler(environ, start_response)

    server = carrier(app)
    for target in ("/", "/accept"):
        ws = server.open(target, subprotocols=theirs)
        assert ws.subprotocol == chosen
        assert ws.message() == repr(chosen)


def test_subprotocols_in_several_fields(carrier: StartCarrier) -> None:
    fields: list[Header] = [("Sec-WebSocket-Protocol", "a, b"), ("Sec-WebSocket-Protocol", "c")]
    ws = carrier(websocket(subprotocols=["c"])(echoing)).open("/", *fields)
    assert ws.subprotocol == "c"
    assert works(ws)


@one_carrier
@pytest.mark.parametrize(
    ("offer", "options", "answered"),
    [
        ("", {}, False),
        ("permessage-deflate", {}, True),
        ("x-unknown, permessage-deflate", {}, True),
        ("permessage-deflate", {"websocket_compression": False}, False),
        ("x-unknown; parameter=1", {}, False),
    ],
)
def test_extensions(
    carrier: StartCarrier, offer: str, options: dict[str, Any], answered: bool
) -> None:
    ws = carrier(echo, **options).open(extensions=offer)
    assert ("Sec-WebSocket-Extensions" in ws.response) == answered
    assert works(ws)


def test_what_is_asked_of_applications_is_checked() -> None:
    for wrong in (None, "handler", 5):
        with pytest.raises(TypeError):
            websocket()(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        websocket("handler")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="subprotocols"):
        websocket(subprotocols="chat")


@one_carrier
def test_subprotocols_of_accept_are_no_text(carrier: StartCarrier) -> None:
    """Any part of the text would be one."""

    def app(environ: Environ, start_response: Any) -> Any:
        with pytest.raises(TypeError, match="subprotocols"):
            accept(environ, subprotocols="chat")
        return echo(environ, start_response)

    ws = carrier(app).open(subprotocols=["ha"])
    assert (ws.subprotocol, works(ws)) == (None, True)


# -- what comes behind the request ----------------------------------------------------------------


@pytest.mark.parametrize("size", [5, 50_000])
def test_frames_right_behind_the_request_are_taken(carrier: StartCarrier, size: int) -> None:
    frames = encode(Op.TEXT, b"x" * size) + encode(Op.PING, b"early")
    ws = carrier(echo).open(then=frames)
    assert ws.accepted
    assert {ws.event(), ws.event()} == {"x" * size, Pong(b"early")}
    assert works(ws)


def test_frames_wait_until_the_request_is_accepted(carrier: StartCarrier) -> None:
    go_on = Event()

    def app(environ: Environ, start_response: Any) -> Any:
        go_on.wait()
        return echo(environ, start_response)

    server = carrier(app)
    ws = server.open(wait=False, then=encode(Op.TEXT, b"one"))
    ws.send_message("two")
    ws.send_message(bytes(20_000))
    server.call(go_on.set)
    ws.answer()
    assert [ws.message() for _ in range(3)] == ["one", "two", bytes(20_000)]
    assert works(ws)


def select(environ: Environ, start_response: Any) -> Any:
    """Serve `echo` at /ws."""
    if environ["PATH_INFO"] == "/ws":
        return echo(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]


def head(target: str, version: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "Host: localhost", "Upgrade: websocket"]
    lines += ["Connection: Upgrade", f"Sec-WebSocket-Key: {KEY}"]
    return "\r\n".join([*lines, f"Sec-WebSocket-Version: {version}", "", ""]).encode()


@pytest.mark.parametrize("pieces", [1, 2])
def test_what_follows_a_refused_request_is_http(serve: Serve, pieces: int) -> None:
    with serve(select).client() as client:
        requests = [head("/ws", "8"), b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n", head("/ws", "13")]
        if pieces == 1:
            client.send(b"".join(requests))
        else:
            for request in requests:
                client.send(request)
        assert client.response().status == 426
        assert client.response().text == "/next"
        assert client.head().status == 101


@pytest.mark.parametrize("target", ["/ws", "/page"])
def test_frames_behind_a_refused_request_are_no_frames(serve: Serve, target: str) -> None:
    """Nor behind one that the application has answered in its own way."""
    with serve(select).client() as client:
        version = "8" if target == "/ws" else "13"
        client.send(head(target, version) + encode(Op.TEXT, b"GET /x HTTP/1.1"))
        assert client.response().status == (426 if target == "/ws" else 200)
        assert_http_error(client)


def assert_http_error(client: RawClient) -> None:
    response = client.response()
    assert response.status == 400
    assert client.closed()


# -- HTTP/2 ---------------------------------------------------------------------------------------


def test_connect_for_something_else_is_refused(serve: Serve, engine: str) -> None:
    server = Carrier(serve(echo, http2_engine=engine), http2=True)
    ws = server.open("/", (":protocol", "connect-udp"))
    assert ws.status == 501
    ws = server.open("/", (":protocol", "WebSocket"), beside=ws)
    assert ws.status == 501
    tunnel: list[Header] = [(":protocol", None), (":path", None), (":scheme", None)]
    ws = server.open("/", *tunnel, (":authority", "localhost:22"), beside=ws)
    assert ws.status == 501
    assert works(server.open("/", beside=ws))
    server.close()


def test_a_stream_that_has_ended_cannot_be_a_websocket(serve: Serve, engine: str) -> None:
    server = Carrier(serve(echo, http2_engine=engine), http2=True)
    other = server.open()
    assert isinstance(other.wire, Http2Wire)
    connection = other.wire.connection
    fields = [(name, value) for name, value in http2_fields("/") if value is not None]
    response = connection.whole(connection.open(fields, end=True))
    assert 400 <= response.status < 600
    assert works(other)
    server.close()


def test_a_key_over_http2_is_answered_if_there_is_one(serve: Serve, engine: str) -> None:
    server = Carrier(serve(echo, http2_engine=engine), http2=True)
    without = server.open()
    assert "sec-websocket-accept" not in without.response
    given = server.open("/", ("sec-websocket-key", KEY), beside=without)
    assert given.response["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    for ws in (without, given):
        assert "upgrade" not in ws.response
        assert "connection" not in ws.response
        assert works(ws)
    server.close()
