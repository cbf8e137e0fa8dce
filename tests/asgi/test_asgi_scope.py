"""The scope of a request: what the ASGI specification wants, from what the environ has."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from clients import RawClient
from conftest import Serve, StartCarrier, StartPeer
from exchange import Peer, request
from from_asgi_stage import Receive, Scope, Send, requests, respond
from gserver import from_asgi


def plain(value: Any) -> Any:
    """Return a scope's value as JSON can have it; bytes are marked."""
    if isinstance(value, bytes):
        return "b:" + value.decode("latin-1")
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, (list, tuple)) else value


async def echo_scope(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await respond(send, json.dumps(plain(scope)).encode())
    elif scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": json.dumps(plain(scope))})
    else:
        raise NotImplementedError


def scope_of(peer: Peer, target: str, headers: Any = (), method: str = "GET") -> Any:
    return json.loads(request(peer, target, headers, method=method).body)


def test_all_of_it(peer: StartPeer) -> None:
    server = peer(echo_scope)
    fields = [("X-One", "1"), ("X-One", "2"), ("Accept", "a/b"), ("Cookie", "a=1")]
    scope = scope_of(server, "/caf%C3%A9/a%2Fb?q=%C3%A9&x", fields, "OPTIONS")
    http1 = server.version == "HTTP/1.1"
    host, port = scope["server"]
    assert host == "127.0.0.1"
    assert isinstance(port, int)
    client = scope.pop("client")
    assert (client[0], type(client[1])) == ("127.0.0.1", int)
    assert client[1] != port
    headers = scope.pop("headers")
    assert sorted(headers) == [
        ["b:accept", "b:a/b"],
        ["b:cookie", "b:a=1"],
        ["b:host", "b:localhost"],
        ["b:x-one", "b:1,2"],
    ]
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1" if http1 else "2",
        "server": [host, port],
        "scheme": "http",
        "method": "OPTIONS",
        "path": "/café/a/b",
        "raw_path": "b:/caf%C3%A9/a%2Fb",
        "query_string": "b:q=%C3%A9&x",
        "root_path": "",
        "extensions": {
            "http.response.early_hint": {},
            "http.response.pathsend": {},
            "http.response.trailers": {},
        },
    }


def test_content_has_its_headers(peer: StartPeer) -> None:
    server = peer(echo_scope)
    answer = request(server, "/", [("Content-Type", "a/b")], method="POST", body=b"12345")
    headers = json.loads(answer.body)["headers"]
    assert ["b:content-length", "b:5"] in headers
    assert ["b:content-type", "b:a/b"] in headers


def test_what_is_no_utf_8_does_no_harm(peer: StartPeer) -> None:
    scope = scope_of(peer(echo_scope), "/a%ffb")
    assert (scope["path"], scope["raw_path"]) == ("/a�b", "b:/a%ffb")


def test_each_request_has_a_scope_of_its_own(peer: StartPeer) -> None:
    @requests
    async def spoil(scope: Scope, receive: Receive, send: Send) -> None:
        seen = json.dumps(plain([scope["asgi"], scope["extensions"]])).encode()
        scope["asgi"]["version"] = scope["extensions"]["http.response.pathsend"] = "spoilt"
        await respond(send, seen)

    server = peer(spoil)
    assert request(server).body == request(server).body


@pytest.mark.parametrize(
    ("target", "path", "raw"),
    [
        ("http://localhost/a%20b?c", "/a b", "b:/a%20b"),
        ("http://localhost", "/", "b:/"),
        ("http://localhost?c", "/", "b:/"),
        ("*", "", "b:*"),
    ],
)
def test_targets_of_other_forms(serve: Serve, target: str, path: str, raw: str) -> None:
    """RFC 9112 3.2.2 and 3.2.4: absolute-form and asterisk-form."""
    with serve(echo_scope).client() as client:
        scope = json.loads(client.get(target, method="OPTIONS").body)
    assert (scope["path"], scope["raw_path"]) == (path, raw)


def test_http_1_0_has_less(serve: Serve) -> None:
    with serve(echo_scope).client() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        scope = json.loads(client.response().body)
    assert scope["http_version"] == "1.0"
    assert scope["extensions"] == {"http.response.pathsend": {}}
    assert scope["headers"] == []


def nothing(environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
    start_response("404 Not Found", [])
    return []


def test_a_mounted_application_knows_where(peer: StartPeer) -> None:
    """ASGI: root_path is the beginning of path."""
    mounted = DispatcherMiddleware(nothing, {"/a b": from_asgi(echo_scope)})
    server = peer(mounted)
    scope = scope_of(server, "/a%20b/caf%C3%A9?q")
    assert (scope["root_path"], scope["path"]) == ("/a b", "/a b/café")
    assert (scope["raw_path"], scope["query_string"]) == ("b:/a%20b/caf%C3%A9", "b:q")
    assert request(server, "/other").status == 404


def test_the_client_of_a_unix_socket_has_no_address(serve: Serve, tmp_path: Path) -> None:
    serve(echo_scope, bind=f"unix:{tmp_path}/socket")
    with RawClient(f"{tmp_path}/socket") as client:
        scope = json.loads(client.get().body)
    assert scope["client"] is None
    assert scope["server"] == ["localhost", 80]


def test_tls(serve: Serve, certificate: tuple[str, str]) -> None:
    certfile, keyfile = certificate
    running = serve(
        echo_scope, certfile=certfile, keyfile=keyfile, ca_certs=certfile, cert_reqs="optional"
    )
    context = ssl.create_default_context(cafile=certfile)
    with httpx.Client(verify=context, http2=True) as client:
        scope = client.get(f"https://localhost:{running.server.port}/").json()
    assert (scope["scheme"], scope["http_version"]) == ("https", "2")
    assert scope["extensions"]["tls"] == {
        "server_cert": None,
        "client_cert_chain": [],
        "client_cert_name": None,
        "client_cert_error": None,
        "tls_version": 0x0304,
        "cipher_suite": None,
    }
    context = ssl.create_default_context(cafile=certfile)
    context.load_cert_chain(certfile, keyfile)
    with running.client(tls=context) as raw:
        scope = json.loads(raw.get().body)
    (chain,) = scope["extensions"]["tls"]["client_cert_chain"]
    assert chain.strip() == Path(certfile).read_text().strip()
    assert scope["extensions"]["tls"]["client_cert_name"] == "CN=localhost"


def test_a_websocket(carrier: StartCarrier) -> None:
    server = carrier(echo_scope)
    ws = server.open("/chat?a=b", ("X-A", "b"), subprotocols=["one", "two"])
    scope = json.loads(ws.message())
    assert scope["type"] == "websocket"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.4"}
    assert scope["http_version"] == ("2" if ws.wire.http2 else "1.1")
    assert (scope["scheme"], scope["path"], scope["query_string"]) == ("ws", "/chat", "b:a=b")
    assert scope["subprotocols"] == ["one", "two"]
    assert scope["extensions"] == {"websocket.http.response": {}}
    assert ["b:x-a", "b:b"] in scope["headers"]
    assert "method" not in scope


def test_a_websocket_over_tls(serve: Serve, certificate: tuple[str, str]) -> None:
    certfile, keyfile = certificate
    running = serve(echo_scope, certfile=certfile, keyfile=keyfile)
    with running.client(tls=ssl.create_default_context(cafile=certfile)) as client:
        client.send(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert client.head().status == 101
        size = client.exactly(4)
        scope = json.loads(client.exactly(int.from_bytes(size[2:], "big")))
    assert (scope["scheme"], "tls" in scope["extensions"]) == ("wss", True)


def test_state_is_copied_for_each_request(peer: StartPeer) -> None:
    """ASGI lifespan 2.0: a shallow copy."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"].update(number=1, shared=[])
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        scope["state"]["number"] += 1
        scope["state"]["shared"].append(0)
        await respond(send, json.dumps(scope["state"]).encode())

    server = peer(app)
    assert json.loads(request(server).body) == {"number": 2, "shared": [0]}
    assert json.loads(request(server).body) == {"number": 2, "shared": [0, 0]}


def test_no_lifespan_no_state(peer: StartPeer) -> None:
    assert "state" not in scope_of(peer(echo_scope), "/")
