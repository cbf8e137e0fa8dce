"""Capabilities degrade by contract: one table of what each does, under gserver and elsewhere.

A cell is what the function returns, and what its client sees: a "hint", a "trailer", a response
"pushed", a field "kept out" of the header compression, an "echo" over WebSocket.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import gunicorn
import pytest

from clients import Response
from elsewhere.conftest import Find
from elsewhere.servers import FOREIGN, Request, Running
from exchange import Headers
from http2_client import ENABLE_PUSH, PUSH_PROMISE, RawHttp2
from websocket_client import Carrier
from websocket_stage import works

URGENT = ("Priority", "u=1, i")
HANDSHAKE: Headers = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
]

Cell = tuple[Any, set[str]]

# -- the columns ---------------------------------------------------------------------------------


def marks(interim: Iterable[Response], trailers: Headers) -> set[str]:
    """Return what a client sees beside the response."""
    seen = set()
    for response in interim:
        assert (response.status, len(response.all("Link"))) == (103, 1)
        seen.add("hint")
    for name, value in trailers:
        assert (name.lower(), value) == ("x-sum", "1")
        seen.add("trailer")
    return seen


class Http1:
    """A client that speaks HTTP/1.x."""

    def __init__(self, server: Running, version: str = "1.1") -> None:
        self._server = server
        self._version = version

    def call(self, function: str) -> Cell:
        """Have the application call a function."""
        request = Request("call", f"?{function}", headers=[URGENT], version=self._version)
        with self._server.send(request) as asked:
            answer = asked.answer()
        assert (answer.status, answer.complete) == (200, True)
        return json.loads(answer.body), marks(answer.interim, answer.trailers)

    def leave(self, seconds: int) -> Cell:
        """Leave, and have the application ask for it, for some seconds if it must."""
        headers = [("X-Seconds", str(seconds))]
        request = Request("leave", headers=headers, version=self._version)
        with self._server.send(request) as asked:
            asked.notes.wait(1)
        asked.notes.tell_left()
        return json.loads(asked.notes.wait(2)[1]), set()

    def upgrade(self) -> Cell:
        """Ask for a WebSocket."""
        request = Request("chat", headers=HANDSHAKE, version=self._version)
        with self._server.send(request) as asked:
            status = asked.client.head().status
        if status != 101:
            return status, set()
        return status, echo(self._server, http2=False)


class Http2:
    """A client that speaks HTTP/2, with push or without."""

    def __init__(self, server: Running, push: bool) -> None:
        self._server = server
        self._settings = {ENABLE_PUSH: int(push)}

    def call(self, function: str) -> Cell:
        """Have the application call a function."""
        with self._connect() as client:
            stream = client.request(f"/lite/call?{function}", ("priority", URGENT[1]))
            answer = client.response(stream)
            seen = marks(answer.interim, answer.trailers)
            for frame in list(client.frames):
                if frame.kind == PUSH_PROMISE:
                    assert client.response(frame.promised).body == b"plain\n"
                    seen.add("pushed")
                if "x-token" in frame.never_indexed:
                    seen.add("kept out")
        assert (answer.status, answer.ended) == (200, True)
        return json.loads(answer.body), seen

    def leave(self, seconds: int) -> Cell:
        """Reset the stream."""
        notes = self._server.notes()
        headers = [("x-note", notes.name), ("x-seconds", str(seconds))]
        with self._connect() as client:
            stream = client.request("/lite/leave", *headers)
            notes.wait(1)
            client.rst(stream)
            client.sync()
            notes.tell_left()
            return json.loads(notes.wait(2)[1]), set()

    def upgrade(self) -> Cell:
        """Ask for a WebSocket."""
        return 101, echo(self._server, http2=True)

    def _connect(self) -> RawHttp2:
        return RawHttp2(self._server.address, settings=self._settings)


def echo(server: Running, http2: bool) -> set[str]:
    """Open a WebSocket; it must be one to an echo."""
    carrier = Carrier(SimpleNamespace(address=server.address, call=None), http2=http2)
    try:
        assert works(carrier.open("/lite/chat"))
    finally:
        carrier.close()
    return {"echo"}


# -- the table -----------------------------------------------------------------------------------

NO: Cell = (False, set())
YES: Cell = (True, set())
HINT: Cell = (True, {"hint"})
TRAILER: Cell = (True, {"trailer"})
KEPT: Cell = (True, {"kept out"})
IGNORED: Cell = ("ignored", set())
HINTED: Cell = ("hinted", {"hint"})
PUSHED: Cell = ("pushed", {"pushed"})
URGENT_IS: Cell = ([1, True], set())
ECHO: Cell = (101, {"echo"})
V10: Cell = ("HTTP/1.0", set())
V11: Cell = ("HTTP/1.1", set())
V2: Cell = ("HTTP/2", set())
F10: Cell = ("full_duplex disconnected", set())
F11: Cell = ("early_hints trailers full_duplex disconnected", set())
F2: Cell = ("early_hints trailers priority never_index full_duplex disconnected", set())
F2P: Cell = ("early_hints trailers push priority never_index full_duplex disconnected", set())
FNO: Cell = ("", set())

# gserver with HTTP/1.0, HTTP/1.1, HTTP/2 with push, HTTP/2 without; another server with HTTP/1.1
TABLE: dict[str, tuple[Cell, Cell, Cell, Cell, Cell]] = {
    "protocol": (V10, V11, V2, V2, V11),
    "features": (F10, F11, F2P, F2, FNO),
    "early_hints": (NO, HINT, HINT, HINT, NO),
    "send_trailers": (NO, TRAILER, TRAILER, TRAILER, NO),
    "push": (IGNORED, HINTED, PUSHED, HINTED, IGNORED),
    "priority": (URGENT_IS, URGENT_IS, URGENT_IS, URGENT_IS, URGENT_IS),
    "never_index": (NO, NO, KEPT, KEPT, NO),
    "disconnected": (NO, NO, NO, NO, NO),
    "disconnected, when it is": (YES, YES, YES, YES, NO),
    "websocket": ((426, set()), ECHO, ECHO, ECHO, (501, set())),
}
# What some others have.
EXCEPTIONS: dict[tuple[str, str], Cell] = {
    ("waitress", "features"): ("disconnected", set()),
    ("waitress", "disconnected, when it is"): YES,
}
if gunicorn.version_info >= (25,):
    EXCEPTIONS |= {
        ("gunicorn", "features"): ("early_hints", set()),
        ("gunicorn", "early_hints"): HINT,
        ("gunicorn", "push"): HINTED,
    }

OWN: list[Callable[[Running], Http1 | Http2]] = [
    lambda server: Http1(server, "1.0"),
    lambda server: Http1(server, "1.1"),
    lambda server: Http2(server, push=True),
    lambda server: Http2(server, push=False),
]


def check(client: Http1 | Http2, function: str, expected: Cell) -> None:
    """Do what a row is about, and compare."""
    if function == "websocket":
        assert client.upgrade() == expected
    elif function == "disconnected, when it is":
        assert client.leave(10 if expected == YES else 0) == expected
    else:
        assert client.call(function) == expected


@pytest.mark.parametrize("column", range(len(OWN)), ids=["1.0", "1.1", "2-push", "2"])
@pytest.mark.parametrize("function", TABLE)
def test_under_gserver(native: Running, function: str, column: int) -> None:
    check(OWN[column](native), function, TABLE[function][column])


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("function", TABLE)
def test_elsewhere(find: Find, function: str, name: str) -> None:
    kind = name.partition("-")[0]
    check(Http1(find(name)), function, EXCEPTIONS.get((kind, function), TABLE[function][-1]))
