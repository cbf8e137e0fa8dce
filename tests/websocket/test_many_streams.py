"""More WebSockets on one HTTP/2 connection than it may have streams by default (RFC 8441)."""

from __future__ import annotations

import pytest

from conftest import StartCarrier
from exchange import ENGINES
from websocket_client import Close
from websocket_stage import echo

COUNT = 300


@pytest.mark.slow
@pytest.mark.parametrize("carrier", [f"http2-{name}" for name in ENGINES], indirect=True)
def test_hundreds_of_websockets_on_one_connection(carrier: StartCarrier) -> None:
    server = carrier(echo, http2_max_concurrent_streams=400)
    first = server.open()
    # All handshakes come before any answer is read, and so do all messages.
    clients = [first, *(server.open(beside=first, wait=False) for _ in range(COUNT - 1))]
    for client in clients[1:]:
        client.answer()
        assert client.accepted
    for number, client in enumerate(clients):
        client.send_message(f"to {number}")
    for number, client in reversed([*enumerate(clients)]):
        assert client.message() == f"to {number}"

    # Every other one leaves; those that stay notice nothing of it.
    for client in clients[::2]:
        assert client.shut(3000) == Close(3000)
    for client in clients[1::2]:
        client.send_message(b"still here")
    for client in clients[1::2]:
        assert client.message() == b"still here"
    for client in clients[1::2]:
        assert client.shut() == Close(1000)
