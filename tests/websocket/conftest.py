"""One echo server for each module and transport, and WebSockets to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from conftest import ServerThread, open_carrier
from exchange import PEERS
from gserver.api import websocket
from gserver.websocket import WebSocket
from websocket_client import Carrier, Open, WebSocketClient


@websocket
def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


@pytest.fixture(scope="module", params=PEERS)
def echo_server(request: pytest.FixtureRequest) -> Iterator[Carrier]:
    """Return a server that echoes; the module's `OPTIONS` are its options."""
    options: dict[str, Any] = {"websocket_ping_interval": 0.0}
    options |= getattr(request.module, "OPTIONS", {})
    with ExitStack() as stack:

        def start(**needed: Any) -> ServerThread:
            running = ServerThread(echo, **needed, **options)
            stack.callback(running.stop)
            return running

        carrier = open_carrier(request.param, start)
        stack.callback(carrier.close)
        yield carrier


@pytest.fixture(scope="module")
def bystander(echo_server: Carrier) -> list[WebSocketClient]:
    """Return a list for one WebSocket that stays open while those of the tests come and go."""
    return []


@pytest.fixture
def open_ws(echo_server: Carrier, bystander: list[WebSocketClient]) -> Iterator[Open]:
    """Return a function that opens a WebSocket, with the arguments of `Carrier.open`.

    On HTTP/2 they share a connection with each other and with the bystander, which must work still
    when the test is over.
    """
    if not bystander:
        bystander.append(echo_server.open())
    other = bystander[0]
    with ExitStack() as stack:

        def start(*arguments: Any, **options: Any) -> WebSocketClient:
            opened = echo_server.open(*arguments, beside=other, **options)
            stack.callback(opened.leave)
            return opened

        yield start
    bystander.clear()  # a test that breaks it fails alone
    other.send_message("bystander")
    assert other.message() == "bystander"
    bystander.append(other)


@pytest.fixture
def ws(open_ws: Open) -> WebSocketClient:
    """Return a WebSocket to a handler that echoes."""
    return open_ws()
