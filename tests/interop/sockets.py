"""The WebSockets that the clients open, and what each client must see of them.

Every client goes through the same `VISITS`: an adapter for it takes what `Visit.told_to` gives and
returns what it saw, and `check` compares.
"""

from __future__ import annotations

import base64
import queue
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from gserver.api import lite, websocket
from gserver.websocket import WebSocket

Environ = dict[str, Any]
Result = tuple[str, list[tuple[str, str]], Iterable[bytes]]
End = tuple[int | None, str]

HTML = [("Content-Type", "text/html; charset=utf-8")]
SCRIPT = [("Content-Type", "text/javascript")]
PAGE = b"""<!doctype html><title>WebSockets</title><link rel="icon" href="data:,">
<script type="module">
import * as client from "/client.mjs";
Object.assign(globalThis, client);
</script>
"""
CLIENT = Path(__file__).with_name("websocket_client.mjs")

TIMEOUT = 10


class Sockets:
    """Serves a page, and a WebSocket handler for each path.

    Attributes:
        opened: SERVER_PROTOCOL, and the peer's address and port, of each WebSocket.
        page_peer: The peer's address and port of the last other request.
    """

    def __init__(self) -> None:
        self.opened: list[tuple[str, str]] = []
        self.page_peer = ""
        self._ends: queue.SimpleQueue[tuple[int, End]] = queue.SimpleQueue()
        self.application = lite(self.respond)
        self.sockets = {
            "/echo": websocket(self.recorded(echo)),
            "/anywhere": websocket(origins="*")(self.recorded(echo)),
            "/chat": websocket(subprotocols=("chat.v2", "chat.v1"))(self.recorded(echo)),
            "/close": websocket(self.recorded(close)),
            "/leave": websocket(self.recorded(leave)),
            "/fail": websocket(self.recorded(fail)),
        }

    def respond(self, environ: Environ) -> Result:
        path = environ["PATH_INFO"]
        if path in self.sockets:
            return self.sockets[path](environ)
        self.page_peer = address(environ)
        if path == "/":
            return "200 OK", HTML, [PAGE]
        if path == "/client.mjs":
            return "200 OK", SCRIPT, [CLIENT.read_bytes()]
        return "404 Not Found", HTML, [b"nothing here\n"]

    def recorded(self, handler: Callable[[WebSocket], None]) -> Callable[[WebSocket], None]:
        def run(ws: WebSocket) -> None:
            peer = address(ws.environ)
            assert ws.peer.startswith(peer)
            number = len(self.opened)
            self.opened.append((ws.environ["SERVER_PROTOCOL"], peer))
            try:
                handler(ws)
            finally:
                self._ends.put((number, (ws.close_code, ws.close_reason)))

        return run

    @property
    def protocols(self) -> set[str]:
        return {protocol for protocol, _ in self.opened}

    @property
    def peers(self) -> set[str]:
        return {peer for _, peer in self.opened}

    def ends(self, count: int) -> list[End]:
        """Wait until as many handlers are left; return the codes and reasons, in order of opening.

        A client that does not wait for the end of one may be in the next one already.
        """
        return [end for _, end in sorted(self._ends.get(timeout=TIMEOUT) for _ in range(count))]


def address(environ: Environ) -> str:
    return f"{environ['REMOTE_ADDR']}:{environ['REMOTE_PORT']}"


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def close(ws: WebSocket) -> None:
    query = parse_qs(ws.environ["QUERY_STRING"])
    ws.close(int(query["code"][0]), query["reason"][0])


def leave(ws: WebSocket) -> None:
    pass


def fail(ws: WebSocket) -> None:
    raise RuntimeError("on purpose")


@dataclass
class Visit:
    """What a client does, and what must come of it.

    Attributes:
        path: Of the WebSocket.
        messages: Each comes back; clients that do not block send all at once. Then it closes.
        times: Each message is this many times what is in `messages`.
        close: Code and reason to close with; nothing for a Close without a code. None: it waits
            for the server's.
        protocols: Those that it asks for.
        protocol: What it gets.
        closed: Code and reason that it sees in the end; by default its own code, which the
            server answers with.
        end: What the handler has when it is left; by default what the client closed with.
    """

    path: str
    messages: Sequence[str | bytes] = ()
    close: list[Any] | None = None
    times: int = 1
    protocols: Sequence[str] = ()
    protocol: str = ""
    closed: list[Any] | None = None
    end: End | None = None

    def told_to(self) -> dict[str, Any]:
        """Return the client's part as JSON; binary messages are in Base64, in a list."""
        return {
            "path": self.path,
            "messages": [
                one if isinstance(one, str) else [base64.b64encode(one).decode()]
                for one in self.messages
            ],
            "close": self.close,
            "times": self.times,
            "protocols": self.protocols,
        }

    def wanted(self) -> dict[str, Any]:
        """Return what the client is to have seen."""
        return {
            # Those that are not what was sent are told otherwise.
            "answers": self.told_to()["messages"],
            "protocol": self.protocol,
            "closed": self.closed or [(self.close or [1005])[0], ""],
        }

    def wanted_end(self) -> End:
        """Return what the handler is to have when it is left."""
        code, reason = self.end or self.close or [1005, ""]
        return code, reason


KIB = bytes(number * number >> 3 & 255 for number in range(1024))
VISITS: Mapping[str, Visit] = {
    "text": Visit("/echo", ["hello", "", "grün €😀\0\u2028"], [1000, ""]),
    "binary": Visit("/echo", [bytes(range(256)), b"", "and text"], [1000, "Ende €"]),
    # As large as they may be by default.
    "large": Visit("/echo", ["€" * 341 + "x", KIB], [1000, ""], times=1024),
    "many": Visit("/echo", [f"message {number}" for number in range(500)], [1000, ""]),
    "subprotocol": Visit(
        "/chat",
        ["hello"],
        [1000, ""],
        protocols=["chat.v3", "chat.v1", "chat.v2"],
        protocol="chat.v1",
    ),
    "code of the client": Visit("/echo", ["hello"], [3001, "enough"]),
    "no code": Visit("/echo", ["hello"], []),
    "code of the server": Visit(
        "/close?code=4999&reason=zu+Ende%21", closed=[4999, "zu Ende!"], end=(4999, "zu Ende!")
    ),
    "handler returns": Visit("/leave", closed=[1000, ""], end=(None, "")),
    "handler raises": Visit("/fail", closed=[1011, ""], end=(None, "")),
}

Talk = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
"""Makes visits and returns of each, as JSON, what `Visit.wanted` has, and ``deflate``."""


def check(
    sockets: Sockets, talk: Talk, *, protocol: str, deflate: bool = True, codes: bool = True
) -> None:
    """Let a client make all visits.

    Args:
        sockets: What it visits.
        talk: The client.
        protocol: SERVER_PROTOCOL of all its WebSockets.
        deflate: It agrees with the server on compression.
        codes: It closes with the codes that it is told to, and shows those that it gets.
    """
    told = talk([visit.told_to() for visit in VISITS.values()])
    for (name, visit), seen in zip(VISITS.items(), told, strict=True):
        wanted = visit.wanted() | {"deflate": deflate}
        if not codes:
            del wanted["closed"]
        wrong = {key: value for key, value in seen.items() if value != wanted[key]}
        assert seen.keys() == wanted.keys()
        assert not wrong, f"{name}: {wrong!s:.2000}"
    for (name, visit), end in zip(VISITS.items(), sockets.ends(len(VISITS)), strict=True):
        if codes or visit.close is None:
            assert end == visit.wanted_end(), f"{name}: {end}"
    assert sockets.protocols == {protocol}, sockets.protocols
