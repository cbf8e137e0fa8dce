"""What `gserver.api.capabilities` finds in the environ under an ASGI server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gserver.api.asgi.response import Response
from gserver.api.capabilities import push

__all__ = ["offer_capabilities"]

_Headers = Iterable[tuple[str, str]]


class Exchange:
    """What `gserver.api.capabilities` asks a server."""

    def __init__(self, response: Response, websocket: bool) -> None:
        self._response = response
        self._websocket = websocket

    def abilities(self) -> tuple[bool, ...]:
        """Return what `gserver.api.Features` says beside the protocol, in its order."""
        response = self._response
        if response.over:
            return ()
        return (
            response.can_inform,
            response.can_trail,
            response.can_push,
            False,  # priority
            False,  # never_index
            False,  # full_duplex: servers may, but none says so
            self._websocket and not response.begun,
            True,
        )

    def push(self, path: str, headers: _Headers) -> bool:
        """Push the response to a request for `path`, if that is possible."""
        return self._response.push(path, headers)

    def priority(self) -> None:
        """Return nothing: no server tells."""

    def keep_out(self, names: Iterable[str]) -> bool:
        """Do nothing: no server can be asked."""
        return False

    def disconnected(self) -> bool:
        """Return whether the client has gone; what the server says is known a moment later."""
        bridge = self._response.bridge
        bridge.watch()
        return not self._response.over and bridge.end is not None


class AssociatedContent:
    """``wsgi.associated_content``: pushes, or hints at, what a response leads to.

    Attributes:
        exchange: What `gserver.api.capabilities` finds its way by.
    """

    def __init__(self, exchange: Exchange, environ: dict[str, Any]) -> None:
        self.exchange = exchange
        self._environ: dict[str, Any] | None = environ

    def __call__(self, url: str, weight: int | None = None) -> bool:
        """Return whether it was pushed; `weight` belongs to a scheme that RFC 9113 dropped."""
        return self._environ is not None and bool(push(self._environ, url))

    def close(self) -> None:
        """Let go of the environ, which holds this."""
        self._environ = None


def offer_capabilities(environ: dict[str, Any], response: Response) -> AssociatedContent:
    """Add the keys that stand for what this server can do for this request.

    Returns:
        What is to be closed when the response is over.
    """
    websocket = environ["asgi.scope"]["type"] == "websocket"
    content = AssociatedContent(Exchange(response, websocket), environ)
    environ["wsgi.associated_content"] = content
    if response.can_inform:
        environ["wsgi.early_hints"] = response.inform
    if response.can_trail:
        environ["wsgi.ext.http.send_trailers"] = response.set_trailers
    return content
