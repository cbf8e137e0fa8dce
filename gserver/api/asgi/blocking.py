"""`to_asgi`: a blocking application, WSGI or Lite, as an ASGI application.

Each request runs in a thread; `Bridge` is its way to the event loop and back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from threading import Semaphore
from typing import Any

from gserver.api.asgi.body import request_body
from gserver.api.asgi.bridge import Bridge
from gserver.api.asgi.environ import build_environ
from gserver.api.asgi.exchange import offer_capabilities
from gserver.api.asgi.files import FileWrapper
from gserver.api.asgi.offer import Handshake
from gserver.api.asgi.response import Response
from gserver.api.asgi.types import ASGIApplication, Receive, Scope, Send
from gserver.api.closing import CLOSING, Closer
from gserver.api.errors import Disconnected, NotSupported
from gserver.api.lite import native

__all__ = ["to_asgi"]

logger = logging.getLogger("gserver.error")


def to_asgi(
    application: Callable[..., Any], *, threads: int = 40, websockets: int = 1000
) -> ASGIApplication:
    """Return a blocking application as an ASGI application, for servers that run on asyncio.

    ::

        app = to_asgi(app)

    Each request runs in a thread of its own, and so does each WebSocket. Content is not buffered:
    reading blocks until the client has sent, and writing until the server has taken it. If the
    client leaves, both raise `Disconnected`.

    Args:
        application: WSGI or Lite.
        threads: How many requests are handled at once; others wait for a thread.
        websockets: How many WebSockets are open at once; others are refused with 503.

    Raises:
        ValueError: There are to be no threads.
    """
    return _Adapter(application, threads, websockets)


class _Adapter:
    """An ASGI application; the threads end with the lifespan, and begin with a request."""

    def __init__(self, application: Callable[..., Any], threads: int, websockets: int) -> None:
        self._application, self._lite = native(application)
        self._sizes = threads, websockets
        self._free = Semaphore(websockets)
        self._open_pools()

    def _open_pools(self) -> None:
        self._pools = [ThreadPoolExecutor(size, "gserver-asgi") for size in self._sizes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one scope (ASGI 3)."""
        kind = scope["type"]
        if kind == "http":
            bridge = Bridge(receive, send)
            await bridge.run(self._pools[0], partial(self._answer_request, bridge, scope))
        elif kind == "websocket":
            await self._take_websocket(scope, receive, send)
        elif kind == "lifespan":
            await self._live(receive, send)
        else:
            raise NotSupported(f"to_asgi knows http, websocket and lifespan, not {kind!r}")

    async def _take_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (await receive())["type"] != "websocket.connect":
            return  # the client has left
        bridge = Bridge(receive, send)
        if not self._free.acquire(blocking=False):
            # One would wait for hours perhaps.
            await bridge.run(self._pools[0], partial(_refuse, bridge, scope))
            return
        try:
            await bridge.run(self._pools[1], partial(self._answer_handshake, bridge, scope))
        finally:
            self._free.release()

    async def _live(self, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        for pool in self._pools:
            pool.shutdown(wait=False)
        self._open_pools()  # threads come with the first request, if there is one
        await send({"type": "lifespan.shutdown.complete"})

    # -- in a thread -------------------------------------------------------------------------

    def _answer_request(self, bridge: Bridge, scope: Scope) -> None:
        environ = build_environ(scope)
        environ["wsgi.input"] = request_body(bridge)
        self._run(environ, Response(bridge, scope))

    def _answer_handshake(self, bridge: Bridge, scope: Scope) -> None:
        environ = build_environ(scope)
        environ["wsgi.input"] = BytesIO()
        self._run(environ, Handshake(bridge, scope, environ))

    def _run(self, environ: dict[str, Any], response: Response) -> None:
        """Call the application, and send what it returns; raises what the server must know."""
        where = f"{environ['REQUEST_METHOD']} {environ['RAW_URI']}"
        closer = Closer(environ)
        environ["wsgi.file_wrapper"] = FileWrapper
        environ[CLOSING](offer_capabilities(environ, response))
        body: Any = None
        failure = None
        try:
            if self._lite:
                status, headers, body = self._application(environ)
                response.start_response(status, headers)
            else:
                body = self._application(environ, response.start_response)
            response.send_body(body)
        except BaseException as exc:  # noqa: BLE001 - SystemExit is to end this request only
            failure = response.fail(exc, where)
        _close(getattr(body, "close", None), where)
        response.conclude()
        _close(closer.close, where)
        if failure is not None:
            raise failure


def _refuse(bridge: Bridge, scope: Scope) -> None:
    handshake = Handshake(bridge, scope, build_environ(scope))
    handshake.answer(503, "There are too many WebSockets already.")


def _close(close: Callable[[], object] | None, where: str) -> None:
    """Close what belongs to a response; it is out, or broken, so an error is for the log only."""
    if close is None:
        return
    try:
        close()
    except Disconnected as exc:
        logger.debug("%s: closing: %s", where, exc)
    except BaseException:
        logger.exception("%s: closing failed", where)
