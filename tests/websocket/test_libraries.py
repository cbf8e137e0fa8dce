"""Libraries that speak WebSocket, or expect a server that does, run as they are.

One process for each kind of server has them all (apps/libraries_app.py): "command"; the command
where gevent-websocket cannot be imported, "command-alone"; "gunicorn" with gserver's worker.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import simple_websocket

from clients import RawClient
from conftest import ServerProcess
from websocket_client import Carrier, WebSocketClient
from websocket_frames import NO_CODE, Close, Op, Ping, close_payload, encode
from websocket_wires import TransportEnded

APPS = Path(__file__).parent / "apps"

# Those that write to the socket themselves, and those that use environ["wsgi.websocket"].
RAW = ("eventlet", "flask-sock", "simple-websocket")
WRAPPED = ("bottle", "flask-sockets", "gevent-websocket", "resource")
SAY_BYE = ("eventlet", "flask-sock", "flask-sockets", "gevent-websocket", "resource")
HAVE_PAGES = ("bottle", "flask-sock", "flask-sockets", "gevent-websocket")

LARGE = 600_000

# What must not be printed.
TROUBLE = re.compile("error|exception|traceback|warning", re.IGNORECASE)

Launch = Callable[[str], ServerProcess]


@pytest.fixture(scope="module")
def launch(
    tmp_path_factory: pytest.TempPathFactory, certificate: tuple[str, str]
) -> Iterator[Launch]:
    """Return a function that starts a server of a kind."""
    with ExitStack() as stack:

        def start(kind: str) -> ServerProcess:
            python = [sys.executable, "-m"]
            if kind == "gunicorn":
                control = str(tmp_path_factory.mktemp("gunicorn") / "control")
                command = [*python, "gunicorn", "-k", "gserver.Worker", "-b", "127.0.0.1:0"]
                command += ["--control-socket", control, "libraries_app:app"]
                running = ServerProcess(command, APPS, ready=r"Booting worker with pid: (\d+)")
            else:
                command = [*python, "gserver", "libraries_app:app"]
                command += ["--bind", "http://127.0.0.1:0", "--bind", "https://127.0.0.1:0"]
                command += ["--certfile", certificate[0], "--keyfile", certificate[1]]
                blocked = "geventwebsocket" if kind == "command-alone" else ""
                running = ServerProcess(command, APPS, {"BLOCKED": blocked})
            stack.callback(running.kill)
            return running.wait_ready()

        yield start


@pytest.fixture(scope="module")
def running(launch: Launch) -> Iterator[Launch]:
    """Return a function that returns the module's server of a kind."""
    servers: dict[str, ServerProcess] = {}

    def find(kind: str) -> ServerProcess:
        if kind not in servers:
            servers[kind] = launch(kind)
            settle(servers[kind])  # gunicorn is ready when its worker answers
        return servers[kind]

    yield find
    for server in servers.values():
        server.signal(signal.SIGTERM)
    for server in servers.values():
        assert server.wait() == 0, server.text


def settle(server: ServerProcess) -> str:
    """Wait until no library is at work, and for all that it prints; return what does not end."""
    mark = os.urandom(8).hex()
    with server.client() as client:
        left = client.get(f"/settle?{mark}").body.decode()
    server.wait_output(f"settled {mark}")
    return left


@pytest.fixture
def route(request: pytest.FixtureRequest) -> str:
    """Return a kind of server, and perhaps a protocol behind a space."""
    return str(request.param)


@pytest.fixture
def server(running: Launch, route: str) -> Iterator[ServerProcess]:
    """Return a server of the route's kind; see that it stays healthy."""
    server = running(route.partition(" ")[0])
    before = len(server.text)
    yield server
    assert settle(server) == ""
    assert not TROUBLE.search(server.text[before:]), server.text[before:]


Open = Callable[..., WebSocketClient]


@pytest.fixture
def open_ws(server: ServerProcess, route: str) -> Iterator[Open]:
    """Return a function that opens a WebSocket over the route's protocol."""
    carrier = carry(server, http2=route.endswith("http2"))
    yield carrier.open
    carrier.close()


def carry(server: ServerProcess, *, http2: bool = False) -> Carrier:
    """Return a carrier to a server in another process."""
    there = SimpleNamespace(address=("127.0.0.1", server.port), call=None, stop=None)
    return Carrier(there, http2=http2)


def routes(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("route", names, indirect=True)


both = routes("command http1", "command http2")


# -- all of them -----------------------------------------------------------------------------


def everywhere() -> list[tuple[str, str]]:
    """Return routes and libraries; what makes no difference to a library runs once."""
    cases = [(f"command http{n}", name) for n in (1, 2) for name in RAW + WRAPPED]
    cases += [("command-alone http1", name) for name in WRAPPED if name != "resource"]
    return [*cases, ("gunicorn http1", "flask-sock"), ("gunicorn http1", "gevent-websocket")]


@pytest.mark.parametrize(("route", "library"), everywhere(), indirect=["route"])
def test_messages(open_ws: Open, library: str) -> None:
    ws = open_ws(f"/{library}/echo")
    assert ws.accepted
    for message in ("grüß", b"\0\xff", "", "x" * 70_000, b"y" * 70_000):
        ws.send_message(message)
        assert ws.message() == message
    ws.send_message("in pieces", size=3)
    assert ws.message() == "in pieces"
    assert ws.sync() == []
    assert ws.shut(1000) == Close(1000)


@both
@pytest.mark.parametrize("library", RAW + WRAPPED)
def test_large_messages(open_ws: Open, library: str) -> None:
    ws = open_ws(f"/{library}/echo")
    for message in (b"x" * LARGE, "y" * LARGE):
        ws.send_message(message)
        assert ws.message() == message
    assert ws.shut(1000) == Close(1000)


@both
@pytest.mark.parametrize("library", SAY_BYE)
def test_the_application_closes(open_ws: Open, library: str) -> None:
    ws = open_ws(f"/{library}/bye")
    ws.send_message("leave")
    assert ws.message() == "bye"
    assert ws.event() == Close(4000, "enough")
    ws.offer(encode(Op.CLOSE, close_payload(4000)))
    assert ws.end()


@both
@pytest.mark.parametrize("library", RAW + WRAPPED)
def test_a_client_vanishes(open_ws: Open, library: str) -> None:
    """The fixture `server` sees that the application ends, and complains of nothing."""
    ws = open_ws(f"/{library}/echo")
    ws.send_message("hello")
    assert ws.message() == "hello"
    ws.vanish()


@routes("command http1")
@pytest.mark.parametrize("library", HAVE_PAGES)
def test_pages_beside(server: ServerProcess, open_ws: Open, library: str) -> None:
    ws = open_ws(f"/{library}/echo")
    with server.client() as client:
        assert client.get(f"/{library}/page").body == b"page"
    ws.send_message("still here")
    assert ws.message() == "still here"
    ws.shut()


# -- gevent-websocket ------------------------------------------------------------------------


@routes("command http1")
def test_a_resource_is_told_of_the_end(server: ServerProcess, open_ws: Open) -> None:
    open_ws("/resource/echo").shut()
    with server.client() as client:
        assert client.get("/resource/page").body == b"closed: True"


@routes("command http1", "command-alone http1")
def test_a_loop_without_an_end_is_no_error(open_ws: Open) -> None:
    """As in the examples of gevent-websocket: None is sent, which raises WebSocketError."""
    ws = open_ws("/gevent-websocket/careless")
    ws.send_message("hello")
    assert ws.message() == "hello"
    assert ws.shut() == Close(1000)


# -- simple-websocket and its client ---------------------------------------------------------


Connect = Callable[..., simple_websocket.Client]


@pytest.fixture(params=["ws", "wss"])
def connect(
    request: pytest.FixtureRequest,
    server: ServerProcess,
    certificate: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Connect]:
    """Return a function that opens a path with simple-websocket's client, over TCP and TLS."""
    match = re.search(request.param.replace("ws", "http") + r"://(\S+:\d+)", server.text)
    assert match
    context = ssl.create_default_context(cafile=certificate[0])
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)
    opened: list[simple_websocket.Client] = []

    def start(path: str, **options: Any) -> simple_websocket.Client:
        url = f"{request.param}://{match[1]}{path}"
        ws = simple_websocket.Client.connect(url, ssl_context=context, **options)
        opened.append(ws)
        return ws

    yield start
    socket.setdefaulttimeout(previous)
    for ws in opened:
        ws.thread.join(10)
        assert not ws.thread.is_alive()


@routes("command")
@pytest.mark.parametrize("library", ["simple-websocket", "flask-sock"])
def test_simple_websocket_talks(connect: Connect, library: str) -> None:
    # It offers permessage-deflate, and the library at the other end agrees.
    ws = connect(f"/{library}/echo")
    for message in ("grüß", b"\0\xff", "x" * LARGE, os.urandom(LARGE)):
        ws.send(message)
        assert ws.receive(10) == message
    ws.close()


@routes("command", "gunicorn")
def test_simple_websocket_is_told_of_the_close(server: ServerProcess, open_ws: Open) -> None:
    ws = open_ws("/flask-sock/leave", extensions="permessage-deflate")
    assert ws.deflate
    ws.send_message("leave")
    assert ws.message() == "bye"
    assert ws.event() == Close(1000)


@routes("command")
def test_simple_websocket_reads_a_close(connect: Connect) -> None:
    ws = connect("/flask-sock/bye", subprotocols=["superchat"])
    assert ws.subprotocol == "superchat"
    ws.send("leave")
    assert ws.receive(10) == "bye"
    with pytest.raises(simple_websocket.ConnectionClosed) as info:
        ws.receive(10)
    assert (info.value.reason, info.value.message) == (4000, "enough")


@both
def test_simple_websocket_pings(open_ws: Open) -> None:
    ws = open_ws("/flask-sock-pinging/echo")
    for _ in range(2):
        event = ws.event()
        assert isinstance(event, Ping)
        ws.send_frame(Op.PONG, event.payload)
    ws.send_message("hello")
    assert "hello" in [ws.event(), ws.event()]
    *_, last = ws.rest()  # to whom answers nothing
    assert last == Close(1008, "Ping/Pong timeout")


# -- Engine.IO -------------------------------------------------------------------------------


def engineio(query: str = "") -> str:
    return f"/engineio/engine.io/?EIO=4&transport=websocket{query}"


def opened(packet: str | bytes) -> str:
    """Return the session's name from Engine.IO's first packet."""
    assert isinstance(packet, str)
    assert packet[0] == "0"
    name: str = json.loads(packet[1:])["sid"]
    return name


def poll(client: RawClient, sid: str = "") -> str:
    query = f"&sid={sid}" if sid else ""
    return client.get(f"/engineio/engine.io/?EIO=4&transport=polling{query}").body.decode()


four = routes(*(f"command{alone} http{n}" for alone in ("", "-alone") for n in (1, 2)))


@four
def test_engineio_talks(open_ws: Open) -> None:
    ws = open_ws(engineio())
    opened(ws.message())
    for message in ("4grüß", b"\0\xff", "4" + "x" * LARGE, b"y" * LARGE):
        ws.send_message(message)
        assert ws.message() == message
    assert ws.shut() in (Close(), Close(1000))


@routes("command", "command-alone")
def test_engineio_talks_to_another_client(connect: Connect) -> None:
    """Over TLS too."""
    ws = connect(engineio())
    # What comes in one packet with the handshake, this client takes only with the next packet.
    ws.send("4hello")
    opened(ws.receive(10))
    assert ws.receive(10) == "4hello"
    for message in ("4grüß", b"\0\xff", "4" + "x" * LARGE, os.urandom(LARGE)):
        ws.send(message)
        assert ws.receive(10) == message
    ws.close()


@four
def test_engineio_upgrades_from_polling(server: ServerProcess, open_ws: Open) -> None:
    with server.client() as client:
        sid = opened(poll(client))
        ws = open_ws(engineio(f"&sid={sid}"))
        ws.send_message("2probe")
        assert ws.message() == "3probe"
        assert poll(client, sid) == "6"
    ws.send_message("5")
    ws.send_message("4dismiss")
    packets = [ws.event()]
    while not isinstance(packets[-1], Close):
        packets.append(ws.event())
    # "6", that nothing is left to poll, comes here too.
    assert [one for one in packets if one != "6"] == ["4dismiss", "1", Close(1000)]
    ws.offer(encode(Op.CLOSE, close_payload(1000)))
    assert ws.end()


@four
def test_an_engineio_client_vanishes(open_ws: Open) -> None:
    ws = open_ws(engineio())
    opened(ws.message())
    ws.vanish()


# -- Socket.IO and its client ----------------------------------------------------------------


def start_client(server: ServerProcess, path: str, *arguments: str) -> subprocess.Popen[str]:
    """Start one in a process of its own.

    Not over TLS: it reads and writes in two threads, for which OpenSSL's sessions are not made
    and CPython's had no lock for long; now and then such a client sees an end that is none.
    """
    script = str(APPS / "socketio_client.py")
    url = f"http://127.0.0.1:{server.port}"
    return subprocess.Popen(
        [sys.executable, script, url, f"{path}/socket.io", *arguments],
        # Its `websocket` is the package of websocket-client.
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


WEBSOCKET = ("websocket",)
UPGRADED = ("polling", "websocket")


@pytest.mark.parametrize(
    ("route", "path", "transports"),
    [
        ("command", "/flask-socketio", WEBSOCKET),
        ("command", "/socketio", UPGRADED),
        ("command-alone", "/flask-socketio", UPGRADED),
        ("command-alone", "/socketio", WEBSOCKET),
        ("gunicorn", "/flask-socketio", UPGRADED),
    ],
    indirect=["route"],
)
def test_socketio(server: ServerProcess, path: str, transports: tuple[str, ...]) -> None:
    """Three clients: echoes, a broadcast, one leaves, one is dismissed."""
    client = start_client(server, path, "talk", *transports)
    output, _ = client.communicate(timeout=30)
    assert json.loads(output) == {
        "transport": "websocket",
        "echoed": True,
        "said": [["said", {"to": "all"}]] * 3,
        "left": ["left"] * 2,
        "dismissed": ["disconnect", "left"],
    }


# -- the end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["command", "gunicorn"])
def test_stopping_ends_them_all(launch: Launch, kind: str) -> None:
    server = launch(kind)
    settle(server)
    before = len(server.text)
    client = start_client(server, "/socketio", "wait", *WEBSOCKET)
    targets = [f"/{name}/echo" for name in RAW + WRAPPED]
    targets += ["/flask-sock-patient/echo", engineio()]
    with ExitStack() as stack:
        sockets = []
        for http2 in (False,) if kind == "gunicorn" else (False, True):
            carrier = carry(server, http2=http2)
            stack.callback(carrier.close)
            sockets += [carrier.open(target) for target in targets]
        for ws in sockets:
            ws.send_message("4hello")
            while ws.event() != "4hello":
                pass
        assert client.stdout is not None
        assert client.stdout.readline() == "connected\n"
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        for ws in sockets:
            see_off(ws)
    assert server.wait(20) == 0
    assert time.monotonic() - began < 5
    output, _ = client.communicate(timeout=20)
    assert json.loads(output) == ["disconnect", "transport error"]
    assert not TROUBLE.search(server.text[before:]), server.text


def see_off(ws: WebSocketClient) -> None:
    """Read to the clean end, answer Close, and end the transport too."""
    codes = []
    try:
        while True:
            event = ws.event()
            if isinstance(event, Close):
                codes.append(event.code)
                ws.offer(encode(Op.CLOSE, close_payload(1001)))
    except TransportEnded as exc:
        clean = exc.clean
    assert clean
    # None from simple-websocket, but 1008 if it lacked an answer to its ping; eventlet gives none.
    assert codes in ([], [1001], [1008], [NO_CODE])
    ws.leave()
