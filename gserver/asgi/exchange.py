"""What the requests and the WebSockets of an ASGI application have in common.

The coroutine runs in the asyncio loop, the blocking side in the greenlet of the request. Nothing
but callbacks is needed between them: both are in one thread, and one of them runs at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import greenlet
from gevent import getcurrent
from greenlet import GreenletExit

from gserver.api.errors import LocalProtocolError
from gserver.environ import Environ
from gserver.fields import status_text

if TYPE_CHECKING:
    from gserver.api.asgi.types import Message, Scope
    from gserver.asgi.application import AsgiApplication

# Not the method of gevent's hub, which looks for a `switch_out` that greenlets here lack.
_switch: Final = greenlet.greenlet.switch

# How content is framed is the server's affair; other ASGI servers drop these, too.
_HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade"})

_names: Final[dict[bytes, str]] = {}
_MAX_NAMES: Final = 1024


class Exchange:
    """One request, whatever becomes of it.

    Attributes:
        environ: The request.
        loop: The asyncio loop.
        messages: What `receive` returns next.
    """

    def __init__(self, application: AsgiApplication, environ: Environ) -> None:
        self.environ = environ
        self.loop = application.loop
        self.messages: deque[Message] = deque()
        self._application = application
        self._hub = application.hub
        self._greenlet: Any = None  # the request's, while it waits
        self._news: asyncio.Event | None = None  # for who waits in `receive`
        self._task: asyncio.Task[None]
        self._cancelled = False
        self._over = False  # nobody waits any more, at one of the two sides
        self._error: BaseException | None = None  # to be raised in the request's greenlet

    def start(self, scope: Scope) -> None:
        """Run the application's coroutine from the next iteration of the loop on."""
        self._task = self.loop.begin(self._run(scope))
        self._application.exchanges.add(self)

    async def _run(self, scope: Scope) -> None:
        try:
            await self._application.callable(scope, self.receive, self.send)
            self.ended()
        except asyncio.CancelledError:
            self.failed(GreenletExit())  # only the end of the server does that to a whole request
            raise
        except BaseException as exc:  # noqa: BLE001 - SystemExit, too, ends one request only
            self.failed(exc)
        finally:
            self._application.exchanges.discard(self)

    def wait(self) -> None:
        """Block the request's greenlet until somebody has called `wake`."""
        self._greenlet = getcurrent()
        try:
            while self._greenlet is not None:
                _switch(self._hub)
        except BaseException:
            # The server stops, or the request took too long.
            self._greenlet = None
            self.cancel()
            raise

    def raise_error(self) -> None:
        """Raise what the request's greenlet has to, if it has."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback leads here

    def cancel(self) -> None:
        """Cancel the coroutine, once: what it still does then has its time."""
        if not self._cancelled:
            self._cancelled = True
            self.loop.call_soon_threadsafe(self._task.cancel)

    def wake(self) -> None:
        """Let the request's greenlet go on, in this turn of the hub."""
        if self._greenlet is not None:
            self.loop.in_hub(self._resume)

    def _resume(self) -> None:
        waiting, self._greenlet = self._greenlet, None
        if waiting is not None:
            waiting.switch()

    def tell(self) -> None:
        """Have `receive` look again what there is."""
        if self._news is not None:
            self.loop.call_soon_threadsafe(self._news.set)

    # -- in the loop -------------------------------------------------------------------------

    async def news(self) -> None:
        """Wait until somebody has called `tell`."""
        if self._news is None:
            self._news = asyncio.Event()
        self._news.clear()
        await self._news.wait()

    async def receive(self) -> Message:
        """Return the next message from the client."""
        raise NotImplementedError

    async def send(self, message: Message) -> None:
        """Take a message for the client."""
        raise NotImplementedError

    def ended(self) -> None:
        """Note that the application has returned."""
        raise NotImplementedError

    def failed(self, exc: BaseException) -> None:
        """Note what the application raised."""
        raise NotImplementedError


def to_status(message: Message) -> str:
    """Return WSGI's status for that of a message.

    Raises:
        LocalProtocolError: It is no number.
    """
    status = message["status"]
    if not isinstance(status, int):
        raise LocalProtocolError(f"the status of an ASGI response is an int, not {status!r:.40}")
    return status_text(int(status))


def to_content(message: Message) -> bytes:
    """Return the content that a message brings.

    Raises:
        LocalProtocolError: It is not bytes.
    """
    data = message.get("body", b"")
    if type(data) is bytes:
        return data
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise LocalProtocolError(f"the body of an ASGI message is bytes, not {type(data).__name__}")
    return bytes(data)


def to_headers(fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Return WSGI's headers for ASGI's.

    Raises:
        LocalProtocolError: They are not pairs of bytes.
    """
    try:
        return [
            (text, value.decode("latin-1"))
            for name, value in fields
            if (text := _names.get(name) or _to_name(name)) not in _HOP_BY_HOP
        ]
    except (AttributeError, TypeError, ValueError) as exc:
        raise LocalProtocolError(f"the headers of ASGI are pairs of bytes ({exc})") from None


def _to_name(name: bytes) -> str:
    text = name.decode("latin-1").lower()
    if len(_names) < _MAX_NAMES:
        _names[name] = text
    return text
