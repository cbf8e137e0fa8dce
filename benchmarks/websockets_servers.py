"""Starts the WebSocket servers that are libraries, each with its own application.

Usage: ``python benchmarks/websockets_servers.py gevent-websocket|picows|websockets PORT``.

``/echo`` sends back what comes, ``/broadcast`` sends it to all that are open there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterable
from importlib import import_module
from typing import Any

from apps import Environ, StartResponse
from servers import BACKLOG

OPTIONS: Any = {"host": "127.0.0.1", "backlog": int(BACKLOG)}


def serve_gevent_websocket(port: int) -> None:
    """Serve with gevent.pywsgi as its users do, everything patched, and no access log."""
    import_module("gevent.monkey").patch_all()
    handler = import_module("geventwebsocket.handler").WebSocketHandler
    errors = import_module("geventwebsocket.exceptions").WebSocketError
    listeners: set[Any] = set()

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        ws = environ["wsgi.websocket"]
        if environ["PATH_INFO"] == "/echo":
            while (message := ws.receive()) is not None:
                ws.send(message)
            return []
        listeners.add(ws)
        try:
            while (message := ws.receive()) is not None:
                for listener in list(listeners):
                    try:
                        listener.send(message)
                    except errors:
                        listeners.discard(listener)
        finally:
            listeners.discard(ws)
        return []

    server = import_module("gevent.pywsgi").WSGIServer(
        ("127.0.0.1", port), application, handler_class=handler, log=None, backlog=int(BACKLOG)
    )
    server.serve_forever()


def serve_websockets(port: int) -> None:
    """Serve with websockets on uvloop."""
    server = import_module("websockets.asyncio.server")
    listeners: set[Any] = set()

    async def handler(ws: Any) -> None:
        if ws.request.path == "/echo":
            async for message in ws:
                await ws.send(message)
            return
        listeners.add(ws)
        try:
            async for message in ws:
                server.broadcast(listeners, message)
        finally:
            listeners.discard(ws)

    async def main() -> None:
        running = await server.serve(handler, port=port, compression=None, **OPTIONS)
        await running.serve_forever()

    _run(main())


def serve_picows(port: int) -> None:
    """Serve with picows on uvloop."""
    picows = import_module("picows")
    echo, broadcast = _picows_echo(picows), _picows_broadcast(picows)

    async def main() -> None:
        running = await picows.ws_create_server(
            lambda request: echo() if request.path == b"/echo" else broadcast(),
            port=port,
            **OPTIONS,
        )
        await running.serve_forever()

    _run(main())


def _picows_echo(picows: Any) -> Callable[[], Any]:
    """Return a class for what picows hands out: frames, whose text is not checked."""
    text, binary = picows.WSMsgType.TEXT, picows.WSMsgType.BINARY

    class Echo(picows.WSListener):  # type: ignore[misc]
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type in (text, binary):
                transport.send(frame.msg_type, frame.get_payload_as_memoryview())
            else:
                _answer_close(transport, frame)

    return Echo


def _picows_broadcast(picows: Any) -> Callable[[], Any]:
    text, binary = picows.WSMsgType.TEXT, picows.WSMsgType.BINARY
    listeners: set[Any] = set()

    class Broadcast(picows.WSListener):  # type: ignore[misc]
        def on_ws_connected(self, transport: Any) -> None:
            listeners.add(transport)

        def on_ws_disconnected(self, transport: Any) -> None:
            listeners.discard(transport)

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type in (text, binary):
                payload = frame.get_payload_as_memoryview()
                for listener in listeners:
                    listener.send(frame.msg_type, payload)
            else:
                _answer_close(transport, frame)

    return Broadcast


def _answer_close(transport: Any, frame: Any) -> None:
    """Answer the only other frame that the load sends."""
    transport.send_close(frame.get_close_code(), frame.get_close_message())
    transport.disconnect()


def _run(main: Coroutine[Any, Any, None]) -> None:
    import_module("uvloop").run(main)


SERVE: dict[str, Callable[[int], None]] = {
    "gevent-websocket": serve_gevent_websocket,
    "picows": serve_picows,
    "websockets": serve_websockets,
}


def main() -> None:
    """Run one server until it is killed.

    A server is imported when it is asked for: none of them has to be installed for another.
    """
    server, port = sys.argv[1:]
    SERVE[server](int(port))


if __name__ == "__main__":
    main()
