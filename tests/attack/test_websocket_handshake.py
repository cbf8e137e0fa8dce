"""Handshakes of WebSockets that hide a second request, and libraries that do not keep to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from clients import ConnectionEnded, RawClient, Response
from conftest import ServerProcess
from http2_attack_tools import ask
from websocket_attack_tools import attacker, besieged, started
from websocket_client import KEY, Close, Op, encode

HEAD = "Host: localhost\r\n"
VERSION = "Sec-WebSocket-Version: 13\r\n"
KEYED = f"Sec-WebSocket-Key: {KEY}\r\n"
UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
GOOD = HEAD + UPGRADE + KEYED + VERSION
SECOND = "DELETE /method HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = "PUT /method HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Return a server with the default options, which tests share."""
    with started(tmp_path_factory.mktemp("target")) as server:
        yield server


def responses(client: RawClient) -> list[Response]:
    """Read responses until the server closes; none may be one of a WebSocket."""
    read: list[Response] = []
    try:
        while True:
            read.append(client.response())
            assert read[-1].status != 101
    except ConnectionEnded:
        assert not client.buffer
        return read


CHUNKED = f"Transfer-Encoding: chunked\r\n\r\n{len(SECOND):x}\r\n{SECOND}\r\n0\r\n\r\n"
LENGTH = f"Content-Length: {len(SECOND)}\r\n\r\n{SECOND}"

REFUSED = {
    # A request up to where the second one begins, and whether that is its content.
    "no-key": (f"GET /echo HTTP/1.1\r\n{HEAD}{UPGRADE}{VERSION}\r\n", False),
    "no-version": (f"GET /echo HTTP/1.1\r\n{HEAD}{UPGRADE}{KEYED}\r\n", False),
    "version-8": (
        f"GET /echo HTTP/1.1\r\n{HEAD}{UPGRADE}{KEYED}Sec-WebSocket-Version: 8\r\n\r\n",
        False,
    ),
    "origin": (f"GET /echo HTTP/1.1\r\n{GOOD}Origin: http://evil.example\r\n\r\n", False),
    "post": (f"POST /echo HTTP/1.1\r\n{GOOD}Content-Length: 0\r\n\r\n", False),
    "not-connection": (
        f"GET /echo HTTP/1.1\r\n{HEAD}Upgrade: websocket\r\n{KEYED}{VERSION}\r\n",
        False,
    ),
    "not-upgrade": (
        f"GET /echo HTTP/1.1\r\n{HEAD}Connection: Upgrade\r\n{KEYED}{VERSION}\r\n",
        False,
    ),
    "h2c": (
        f"GET /echo HTTP/1.1\r\n{HEAD}Connection: Upgrade\r\nUpgrade: h2c\r\n{KEYED}{VERSION}\r\n",
        False,
    ),
    "plain-resource": (f"GET /method HTTP/1.1\r\n{GOOD}\r\n", False),
    "library": (f"GET /raw_refusing HTTP/1.1\r\n{GOOD}\r\n", False),
    "get-with-length": (f"GET /echo HTTP/1.1\r\n{GOOD}{LENGTH}", True),
    "get-with-chunks": (f"GET /echo HTTP/1.1\r\n{GOOD}{CHUNKED}", True),
    "post-with-length": (f"POST /echo HTTP/1.1\r\n{GOOD}{LENGTH}", True),
    "post-with-chunks": (f"POST /echo HTTP/1.1\r\n{GOOD}{CHUNKED}", True),
    "library-with-length": (f"GET /raw_echo HTTP/1.1\r\n{GOOD}{LENGTH}", True),
}


@pytest.mark.parametrize("pause", [False, True], ids=["", "in-two-packets"])
def test_behind_a_refused_handshake_is_http(target: ServerProcess, pause: bool) -> None:
    """What follows is one request, and content is none."""
    with besieged(target):
        for name, (first, hidden) in REFUSED.items():
            rest = LAST if hidden else SECOND + LAST
            with target.client() as client:
                client.send((first if pause else first + rest).encode())
                got = [client.response()] if pause else []
                if pause:
                    client.send(rest.encode())
                got += responses(client)
            assert got[0].status in ((200,) if name == "plain-resource" else range(400, 600)), name
            if got[0].all("Connection") == ["close"]:
                assert len(got) == 1, name
            else:
                bodies = [b"PUT"] if hidden else [b"DELETE", b"PUT"]
                assert [one.body for one in got[1:]] == bodies, name


AMBIGUOUS = {
    "two-lengths": f"{GOOD}Content-Length: 0\r\n{LENGTH}",
    "length-and-chunks": f"{GOOD}Content-Length: {len(SECOND)}\r\n{CHUNKED}",
    "two-hosts": f"{GOOD}{HEAD}\r\n{SECOND}",
    "white-space": f"{GOOD}Content-Length : 5\r\n\r\n{SECOND}",
}


def test_ambiguous_handshakes_are_refused(target: ServerProcess) -> None:
    with besieged(target):
        for name, rest in AMBIGUOUS.items():
            with target.client() as client:
                client.send(f"GET /echo HTTP/1.1\r\n{rest}{LAST}".encode())
                got = responses(client)
            assert [one.status for one in got] == [400], name


ACCEPTED = {
    # All of them say websocket: accepted or refused, but what follows is read in one way.
    "plain": GOOD,
    "several-values": f"{HEAD}Upgrade: h2c, websocket\r\nConnection: Upgrade\r\n{KEYED}{VERSION}",
    "several-fields": f"{HEAD}Upgrade: foo/2\r\n{UPGRADE}{KEYED}{VERSION}",
    "h2c-too": f"{HEAD}Upgrade: websocket, h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    f"HTTP2-Settings: AAMAAABk\r\n{KEYED}{VERSION}",
    "no-content": f"{GOOD}Content-Length: 0\r\n",
    "expects": f"{GOOD}Expect: 100-continue\r\n",
    "keys": f"{GOOD}{KEYED}",
    "versions": f"{GOOD}{VERSION}",
}


def test_behind_an_accepted_handshake_are_frames(target: ServerProcess) -> None:
    with besieged(target):
        for name, fields in ACCEPTED.items():
            with target.client() as client:
                client.send(f"GET /echo HTTP/1.1\r\n{fields}\r\n{SECOND}{LAST}".encode())
                head = client.head()
                if head.status == 101:
                    # A reserved opcode: Close 1002 and the end.
                    assert client.until_closed()[2:4] == b"\x03\xea", name
                else:
                    assert head.status >= 400, name
                    client.exactly(int(head["Content-Length"]))
                    bodies = [one.body for one in responses(client)]
                    assert bodies in ([], [b"DELETE", b"PUT"]), name


# -- libraries that speak WebSocket themselves ----------------------------------------------------


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_libraries_that_do_not_answer_the_handshake(target: ServerProcess, http2: bool) -> None:
    # Not besieged: the log may say what the library did.
    with closing(attacker(target, http2=http2)) as carrier:
        for path in ("/raw_garbage", "/raw_garbled", "/raw_endless", "/raw_closing"):
            for _ in range(3):
                assert carrier.open(path).status == 500, path
    ask(target, "/release")


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_a_library_that_never_answers(target: ServerProcess, http2: bool) -> None:
    with besieged(target, http2=http2) as carrier:
        waiting = [carrier.open("/raw_silent", wait=False) for _ in range(5)]
        ask(target, "/seen?begun=5")
        for ws in waiting:
            ws.vanish()
    kept = ask(target, "/kept")
    assert kept["RawSocket"] == kept["Offer"] == 0


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_a_library_that_refuses(target: ServerProcess, http2: bool) -> None:
    with besieged(target, http2=http2) as carrier:
        ws = carrier.open("/raw_refusing")
        assert (ws.status, ws.response.body) == (403, b"hello")


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_a_library_that_leaves_at_once(target: ServerProcess, http2: bool) -> None:
    with besieged(target, http2=http2) as carrier:
        for _ in range(3):
            ws = carrier.open("/raw_leaving")
            assert ws.accepted
            assert ws.end()


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_bytes_through_a_library(target: ServerProcess, http2: bool) -> None:
    """What the client floods it with comes back, unless the client vanishes."""
    with besieged(target, http2=http2) as carrier:
        ws = carrier.open("/raw_echo")
        data = encode(Op.BINARY, bytes(30_000), key=None)
        for _ in range(20):
            ws.send(data)
            assert ws.message() == bytes(30_000)
        ws.send(encode(Op.CLOSE, key=None))
        assert ws.event() == Close()
        ws.leave()
        other = carrier.open("/raw_echo")
        other.offer(data)
        other.vanish()
        assert ask(target, "/seen?running=0&ended=2")["ended"] == 2


@pytest.mark.slow
def test_a_library_whose_client_has_gone(tmp_path: Path) -> None:
    """It learns of that, be it in the middle of sending."""
    with started(tmp_path) as server:
        for http2 in (False, True):
            with besieged(server, http2=http2) as carrier:
                for _ in range(5):
                    carrier.open("/raw_sending").vanish()
                assert ask(server, "/seen?running=0&ended=5")["ended"] == 5
