# cython: language_level=3, annotation_typing=False
"""What a request's environ knows of its Stream: what can be called there.

Runs in the handler's greenlet, or another one of the application's. When the response is over
nothing here does anything any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gserver.api.capabilities import push
from gserver.api.errors import Disconnected
from gserver.fields import NOT_PROMISED, encode_fields

if TYPE_CHECKING:
    from gserver.stream import Stream

logger = logging.getLogger("gserver.error")


class Exchange:
    """What the environ knows of its Stream, and ``wsgi_lite.closing``.

    An object of its own, cut from the stream at the end: the stream or its methods in the environ
    would make a cycle, and the collector of cycles would have to take every request apart (6 % of
    the server's time).
    """

    # Made by __new__, as the other objects of each request: compiled code is slow to call __init__.

    stream: Stream | None
    things: list[Any] | None
    watcher: Callable[[], None] | None

    def __call__(self, thing: Any) -> Any:
        """Close `thing` when the exchange is over, now if it is; returns it.

        The last one registered is closed first.
        """
        if self.stream is None:
            thing.close()
        elif self.things is None:
            self.things = [thing]
        else:
            self.things.append(thing)
        return thing

    def finish(self) -> None:
        """Close all of them, even if some raise; what they register meanwhile too."""
        while self.things:
            thing = self.things.pop()
            try:
                thing.close()
            except Disconnected as exc:
                logger.debug("closing %r: %s", thing, exc)
            except BaseException:
                # Also GreenletExit and timeouts: what was registered earlier still wants closing.
                logger.exception("closing %r failed", thing)
        # Who watches refers to the environ, which leads here.
        self.stream = self.watcher = None

    def watch(self, callback: Callable[[], None]) -> None:
        """Have `callback` called, in the hub, when the client leaves before the response ends.

        At once if it has left already. It must not block.
        """
        stream = self.stream
        if stream is None or stream.lost():
            callback()
        else:
            self.watcher = callback
            stream.watch()

    # -- for `gserver.api.capabilities` ------------------------------------------------------

    def abilities(self) -> tuple[bool, ...]:
        """Return what `gserver.api.Features` says beside the protocol."""
        stream = self.stream
        if stream is None or stream.over:
            return ()
        return (
            stream.can_inform,
            stream.can_trail,
            stream.can_push,
            stream.priority() is not None,
            stream.can_keep_out,
            True,
            stream.can_switch,
            True,
        )

    def push(self, path: str, headers: Sequence[tuple[str, str]]) -> bool:
        """Push the response to a request for `path`, if that is possible."""
        stream = self.stream
        if stream is None or stream.over:
            return False
        # Wrong headers are an error on every protocol.
        encode_fields(stream.fields_known, headers, NOT_PROMISED)
        return stream.can_push and stream.push(path, headers)

    def priority(self) -> tuple[int, bool] | None:
        """Return urgency and incremental, if the protocol goes by them."""
        return None if self.stream is None else self.stream.priority()

    def disconnected(self) -> bool:
        """Return whether the client has gone, as far as is known."""
        return self.stream is not None and self.stream.lost()

    def keep_out(self, names: Iterable[str]) -> bool:
        """Keep fields out of the compression context; False if there is none."""
        stream = self.stream
        if stream is None or not stream.can_keep_out:
            return False
        stream.keep_out(names)
        return True


class EarlyHints:
    """``wsgi.early_hints``: sends a 103 with a list of (name, value) pairs, as gunicorn's."""

    exchange: Exchange

    def __call__(self, headers: Iterable[tuple[str, str]]) -> bool:
        """Return whether it was sent."""
        stream = self.exchange.stream
        return stream is not None and stream.inform(headers)


class SendTrailers:
    """``wsgi.ext.http.send_trailers``: takes (name, value) pairs, as pyvoy's for connectrpc."""

    exchange: Exchange

    def __call__(self, trailers: Iterable[tuple[str, str]]) -> bool:
        """Return whether they will be sent behind the content."""
        stream = self.exchange.stream
        return stream is not None and stream.set_trailers(trailers)


class AssociatedContent:
    """``wsgi.associated_content``: pushes, or hints at, what a response leads to.

    Attributes:
        exchange: What `gserver.api.capabilities` finds its way by.
    """

    exchange: Exchange

    def __call__(self, url: str, weight: int | None = None) -> bool:
        """Return whether it was pushed; `weight` belongs to a scheme that RFC 9113 dropped."""
        stream = self.exchange.stream
        return stream is not None and bool(push(stream.environ, url))
