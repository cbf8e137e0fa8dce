"""gserver's WebSocket application: ``/echo``, and ``/broadcast`` to all that are open there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gserver.api import websocket
from gserver.websocket import WebSocket, broadcast

listeners: set[WebSocket] = set()


@websocket
def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


@websocket
def to_all(ws: WebSocket) -> None:
    listeners.add(ws)
    try:
        for message in ws:
            broadcast(listeners, message)
    finally:
        listeners.discard(ws)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    handler = echo if environ["PATH_INFO"] == "/echo" else to_all
    return handler(environ, start_response)
