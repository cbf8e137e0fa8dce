"""WebSocket clients in Python and JavaScript: each makes the same visits, see sockets.py."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import subprocess
import sys
from importlib.util import find_spec
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
from interop.conftest import Run
from interop.sockets import TIMEOUT, Sockets, Talk, chat_example, check

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
    with chat_example(certificate) as running:
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


# In a process of its own: the name of its package is that of our link at the root.
WEBSOCKET_CLIENT = """
import base64, json, sys
import websocket

url, certificate = sys.argv[1:]

def unpack(message, times):
    return (message if isinstance(message, str) else base64.b64decode(message[0])) * times

def make(visit):
    ws = websocket.create_connection(
        url + visit["path"], timeout=10, subprotocols=visit["protocols"],
        sslopt={"ca_certs": certificate},
    )
    answers = []
    for message in visit["messages"]:
        sent = unpack(message, visit["times"])
        ws.send(sent) if isinstance(sent, str) else ws.send_binary(sent)
        answer = ws.recv()
        answers.append(message if answer == sent else f"another: {answer!r}"[:500])
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
    return {
        "answers": answers, "protocol": ws.subprotocol or "", "closed": closed, "deflate": False
    }

print(json.dumps([make(visit) for visit in json.load(sys.stdin)]))
"""


@in_both_ways
def test_websocket_client(spot: Spot, security: str, run: Run) -> None:
    def talk(visits: list[dict[str, Any]]) -> Any:
        command = ["env", "PYTHONSAFEPATH=1", sys.executable, "-c", WEBSOCKET_CLIENT]
        content = json.dumps(visits).encode()
        return json.loads(run(*command, spot.url(security), spot.certificate, content=content))

    check(spot.sockets, talk, protocol="HTTP/1.1", deflate=False)


# It shows no subprotocol and no close code.
NIQUESTS = """
import sys
import niquests

url, certificate = sys.argv[1:]
messages = ["hello", "grün €😀", bytes(range(256)), "x" * 1048576, bytes(range(256)) * 4096]
with niquests.Session() as session:
    session.trust_env = False
    response = session.get(url, verify=certificate, timeout=10)
    print(response.http_version, response.status_code)
    for message in messages:
        response.extension.send_payload(message)
        print(response.extension.next_payload() == message)
    response.extension.close()
"""


def check_niquests(spot: Spot, run: Run, url: str) -> str:
    if find_spec("niquests") is None:
        pytest.skip("niquests is not installed: it would take the place of urllib3")
    command = ["env", "PYTHONSAFEPATH=1", sys.executable, "-c", NIQUESTS]
    first, *rest = run(*command, url, spot.certificate).splitlines()
    assert rest == ["True"] * 5
    spot.sockets.end()
    return first


@in_both_ways
def test_niquests(spot: Spot, security: str, run: Run) -> None:
    assert check_niquests(spot, run, spot.url(security) + "/echo") == "11 101"
    assert spot.sockets.protocols == {"HTTP/1.1"}


@with_each_engine
def test_niquests_over_http2(spot: Spot, run: Run) -> None:
    url = spot.url("secure").replace("wss", "wss+rfc8441") + "/echo"
    assert check_niquests(spot, run, url) == "20 200"
    assert spot.sockets.protocols == {"HTTP/2"}


# -- JavaScript ------------------------------------------------------------------------------


def node(spot: Spot, run: Run, kind: str, url: str, *options: str) -> Talk:
    """Return what makes visits with a kind of websocket_node.mjs."""

    def talk(visits: list[dict[str, Any]]) -> Any:
        command = ["env", f"NODE_EXTRA_CA_CERTS={spot.certificate}", "node", "--no-warnings"]
        content = json.dumps(visits).encode()
        return json.loads(run(*command, *options, SCRIPT, kind, url, content=content))

    return talk


def ask_node(script: str) -> str:
    need("node")
    command = ["node", "--print", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    return done.stdout.strip()


@in_both_ways
def test_node_websocket(spot: Spot, security: str, run: Run) -> None:
    major = int(ask_node("process.versions.node").partition(".")[0])
    if major < 20:
        pytest.skip("this Node has no WebSocket, the first that has is 20")
    options = ["--experimental-websocket"] if major < 22 else []
    talk = node(spot, run, "global", spot.url(security), *options)
    check(spot.sockets, talk, protocol="HTTP/1.1")


@with_each_engine
@in_both_ways
def test_node_http2(spot: Spot, security: str, run: Run) -> None:
    need("node")
    url = spot.url(security).replace("ws", "http", 1)
    check(spot.sockets, node(spot, run, "http2", url), protocol="HTTP/2", deflate=False)
    assert len(spot.sockets.peers) == 1


@pytest.fixture
def undici() -> int:
    """Return the major version of undici, which Node finds by NODE_PATH."""
    version = ask_node('require("undici/package.json").version')
    if not version:
        pytest.skip("undici is not installed: npm install undici, and set NODE_PATH")
    return int(version.partition(".")[0])


@in_both_ways
def test_undici(spot: Spot, security: str, run: Run, undici: int) -> None:
    check(spot.sockets, node(spot, run, "undici", spot.url(security)), protocol="HTTP/1.1")


@with_each_engine
def test_undici_over_http2(spot: Spot, run: Run, undici: int) -> None:
    if undici < 8:
        pytest.skip("undici before 8 does not notice that a server ends a stream")
    check(spot.sockets, node(spot, run, "undiciOverHttp2", spot.secure), protocol="HTTP/2")
    assert len(spot.sockets.peers) == 1
