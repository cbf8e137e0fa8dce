"""What a response to the handshake says, whoever has written it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conftest import StartCarrier


def page(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer like an application that knows nothing of WebSocket."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def test_a_page_is_not_taken_for_a_websocket(carrier: StartCarrier) -> None:
    """RFC 9113 8.5 and RFC 9110 9.3.6: to a CONNECT any 2xx says that the tunnel is there.

    So over HTTP/2 it must not be the status of a response that is none, whatever else is sent.
    """
    server = carrier(page)
    ws = server.open(wait=False)
    response = ws.wire.answer()
    if server.http2:
        assert not 200 <= response.status < 300, response
    else:
        assert (response.status, response.body) == (200, b"hello")
