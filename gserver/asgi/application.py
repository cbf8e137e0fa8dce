"""An ASGI application as a Lite application: each request a coroutine beside the hub."""

from __future__ import annotations

import inspect
import time
from typing import Any, Final, overload

import gevent
from gevent.hub import Hub, get_hub
from gevent.lock import RLock

from gserver.api.handshake import OFFER
from gserver.api.lite import Body, Response, StartResponse, lite
from gserver.asgi.exchange import Exchange
from gserver.asgi.http import HttpExchange
from gserver.asgi.lifespan import AsgiCallable, Lifespan
from gserver.asgi.loop import HubLoop
from gserver.asgi.websocket import WebSocketExchange
from gserver.environ import Environ
from gserver.guests import House

# How often an application that shuts down looks whether its tasks have ended.
_POLL: Final = 0.02
# Seconds for tasks that were cancelled, and for the lifespan's shutdown, however late it is.
_LAST_WORDS: Final = 0.5
_LAST_DEEDS: Final = 1.0


class AsgiApplication:
    """What `from_asgi` returns: a Lite application, which WSGI can call as well.

    Attributes:
        callable: The ASGI application.
        exchanges: Its requests and WebSockets whose coroutine runs.
        loop: Where they run; it and `hub`, which it runs beside, exist once this was started.
        state: What the lifespan keeps for each request; None if there is no lifespan.
    """

    __wsgi_lite__ = True

    def __init__(self, application: AsgiCallable) -> None:
        self._as_wsgi = lite(self._answer)
        self.callable = application
        self.exchanges: set[Exchange] = set()
        self.loop: HubLoop
        self.hub: Hub
        self.state: dict[str, Any] | None = None
        self._lifespan: Lifespan | None = None
        self._starting = RLock()

    @overload
    def __call__(self, environ: Environ) -> Response: ...
    @overload
    def __call__(self, environ: Environ, start_response: StartResponse) -> Body: ...
    def __call__(self, environ: Environ, start_response: StartResponse | None = None) -> Any:
        """Answer a request, in the manner that the second argument asks for; blocks."""
        if start_response is None:
            return self._answer(environ)
        return self._as_wsgi(environ, start_response)

    def __startup__(self) -> None:
        """Run the application's startup, unless that was done; blocks.

        A server does so before it accepts connections; what is mounted in another application
        starts with its first request.

        Raises:
            ConfigError: The application says that it cannot start.
        """
        with self._starting:
            if self._lifespan is None:
                self.loop = HubLoop.of_hub()
                lifespan = Lifespan(self.callable, self.loop)
                lifespan.startup()
                self._lifespan = lifespan
                self.hub = get_hub()
                self.state = lifespan.state
                House.of_hub().admit(self)

    def shutdown(self, timeout: float) -> None:
        """Let tasks finish behind their responses, then run the application's shutdown; blocks."""
        deadline = time.monotonic() + timeout
        self._await_exchanges(deadline)
        for exchange in list(self.exchanges):
            exchange.cancel()
        self.loop.interrupt()
        self._await_exchanges(time.monotonic() + _LAST_WORDS)
        lifespan, self._lifespan = self._lifespan, None
        if lifespan is not None:
            lifespan.shutdown(max(deadline - time.monotonic(), _LAST_DEEDS))

    def _await_exchanges(self, deadline: float) -> None:
        while self.exchanges and time.monotonic() < deadline:
            gevent.sleep(_POLL)

    def _answer(self, environ: Environ) -> Response:
        if self._lifespan is None:
            self.__startup__()
        elif self.hub is not get_hub():
            raise RuntimeError("this ASGI application already runs in another thread")
        if OFFER in environ:
            return WebSocketExchange(self, environ).respond()
        return HttpExchange(self, environ).respond()


def from_asgi(application: AsgiCallable) -> AsgiApplication:
    """Return an ASGI application in a form that Lite and WSGI can call.

    It runs on an asyncio loop beside the hub, in the same thread: mount it anywhere in a Lite or
    WSGI tree. A coroutine that blocks, as none should, keeps the others waiting, but no greenlet.

    Raises:
        TypeError: It cannot be called as ASGI wants.
    """
    try:
        inspect.signature(application).bind(None, None, None)
    except TypeError:
        raise TypeError(
            f"{application!r:.80} is no ASGI application: it takes no scope, receive and send"
        ) from None
    except ValueError:
        pass  # what is compiled need not tell
    return AsgiApplication(application)
