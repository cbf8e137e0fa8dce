# cython: language_level=3, annotation_typing=False
"""The handler: greenlets that run the application, and what becomes of its errors.

The hub calls `dispatch` with each new Stream. When it has seen to the sockets it switches to a
parked greenlet, which handles one stream after the other until there are no more, or until one
blocks; then the hub switches to another greenlet for the rest. So there is no event and no new
greenlet on the ordinary path, and mostly no switch. A greenlet begins each request with an empty
contextvars context; `threading.local` data stays with the greenlet, as it stays with the threads
of a pool.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from html import escape
from typing import Any, Final

import greenlet
from gevent.hub import Hub
from greenlet import GreenletExit

from gserver.api.errors import (
    ConnectionClosed,
    Disconnected,
    LocalProtocolError,
    RemoteProtocolError,
    RequestTimeout,
)
from gserver.api.lite import native
from gserver.clock import Clock
from gserver.fields import status_text
from gserver.files import FileWrapper
from gserver.stream import HEADERS, START, SWITCHED, Stream

logger = logging.getLogger("gserver.error")

# Not the method of gevent's hub, which looks for a `switch_out` that these greenlets do not have.
_switch: Final = greenlet.greenlet.switch

# Requests that are handled together: so many gain all that there is to gain, and fit the
# processor's cache.
_TOGETHER: Final = 32
# Parked greenlets beyond these end instead: each keeps about 20 KiB of stack.
_PARKED: Final = 128

_PAGE: Final = (
    "<!doctype html>\n<html lang=en>\n<title>{0}</title>\n<h1>{0}</h1>\n<p>{1}</p>\n</html>\n"
)


class Handler:
    """Runs one application for every stream it is given.

    Attributes:
        run: Handles one stream in the worker's greenlet; hosts and options that need more than
            the handler itself put their own around it before the server starts.
    """

    def __init__(
        self, application: Callable[..., Any], hub: Hub, clock: Clock, request_timeout: float = 0
    ) -> None:
        self._application, self._lite = native(application)
        self._hub = hub
        self._clock = clock
        self._request_timeout = request_timeout
        self._waiting: list[Stream] = []  # for a greenlet
        self._scheduled = False
        self._parked: list[greenlet.greenlet] = []
        self._greenlets: set[greenlet.greenlet] = set()
        self._own_run = self._run  # one object, to be known again
        self.run: Callable[[Stream], None] = self._run_timed if request_timeout else self._own_run

    @property
    def active(self) -> int:
        """How many requests are being handled."""
        return len(self._greenlets) - len(self._parked) + len(self._waiting)

    def dispatch(self, stream: Stream) -> None:
        """Have the application run for `stream`, in this turn of the loop; called in the hub.

        Mostly not at once: what many connections brought is parsed first, then the application
        runs for all of them. The processor's caches do not hold the code of both.
        """
        self._waiting.append(stream)
        if len(self._waiting) >= _TOGETHER:
            self._serve()
        elif not self._scheduled:
            self._scheduled = True
            self._hub.loop.run_callback(self._serve_rest)

    def _serve_rest(self) -> None:
        self._scheduled = False
        self._serve()

    def _serve(self) -> None:
        """Have greenlets handle what waits; returns when all of them are done, or block."""
        while self._waiting:
            if self._parked:
                _switch(self._parked.pop(), self)
            else:
                worker = greenlet.greenlet(self._work, self._hub)
                self._greenlets.add(worker)
                worker.switch()

    def cut(self) -> None:
        """Raise GreenletExit in every request that is being handled; called in the hub."""
        while self._waiting:
            _give_up(self._waiting.pop(0))
        for worker in self._greenlets.difference(self._parked):
            worker.throw(GreenletExit)

    # -- in the worker's greenlet ------------------------------------------------------------

    def _work(self) -> None:
        me = greenlet.getcurrent()
        parked = self._parked
        run = self.run
        wrapped = run is not self._own_run
        try:
            while True:
                # One after the other, until one blocks: then another greenlet takes the next.
                while self._waiting:
                    stream: Stream = self._waiting.pop(0)
                    me.gr_context = None
                    try:
                        if wrapped:
                            run(stream)
                        else:
                            self._run(stream)  # compiled code calls it the short way
                    except BaseException:  # a defect of ours costs this exchange only
                        logger.exception("error in the server")
                        _give_up(stream)
                    del stream  # a parked greenlet keeps no request alive
                if len(parked) >= _PARKED:
                    break
                parked.append(me)
                self._park()
        finally:
            self._greenlets.discard(me)

    def _park(self) -> None:
        """Wait for requests."""
        while True:
            try:
                if _switch(self._hub) is self:
                    return
                # Otherwise something that an earlier request left behind: still parked.
            except BaseException:
                # The same, a timeout: nobody is there to take it.
                logger.warning("a request left a timer behind", exc_info=True)

    def _run_timed(self, stream: Stream) -> None:
        me = greenlet.getcurrent()
        seconds = self._request_timeout

        def ring() -> None:
            if stream.state is not SWITCHED:  # a WebSocket is no request that takes too long
                me.throw(RequestTimeout(seconds))

        self._clock.set_alarm(stream, seconds, ring)
        try:
            self._run(stream)
        finally:
            self._clock.cancel_alarm(stream)

    def _run(self, stream: Stream) -> None:
        body: Any = None
        try:
            if self._lite:
                status, headers, body = _triple(self._application(stream.environ))
                stream.start_response(status, headers)
            else:
                body = self._application(stream.environ, stream.start_response)
            # The ordinary response: one block, of the length announced or with none announced.
            if (
                type(body) is list
                and len(body) == 1
                and stream.state is HEADERS
                and type(body[0]) is bytes
                and (stream.length < 0 or stream.length == len(body[0]))
                and stream.fields
            ):
                stream.respond(body[0])
            else:
                _send(stream, body)
        except BaseException as exc:  # noqa: BLE001 - GreenletExit and timeouts end it as well
            self._failed(stream, exc)
        if type(body) is not list:
            self._close(body)
        try:
            if stream.offer is not None:
                stream.offer.conclude()
        finally:
            stream.exchange.finish()
        stream.finished()

    def _close(self, body: Any) -> None:
        """Call the body's close(), which PEP 3333 wants in every case."""
        close = getattr(body, "close", None)
        if close is not None:
            try:
                close()
            except Disconnected as exc:
                logger.debug("close() of the response body: %s", exc)
            except BaseException:
                # The response is out, or broken already; GreenletExit has done its work too.
                logger.exception("close() of the response body failed")

    # -- errors ------------------------------------------------------------------------------

    def _failed(self, stream: Stream, exc: BaseException) -> None:
        """Answer what the application raised: with a page while that is possible."""
        if stream.offer is not None and stream.state is SWITCHED:
            if stream.offer.fail(exc):
                return
            stream.state = HEADERS
        environ = stream.environ
        # The application may have done what it liked to its environ.
        where = f"{environ.get('REQUEST_METHOD')} {environ.get('RAW_URI')}"
        if isinstance(exc, (Disconnected, ConnectionClosed)):
            logger.debug("%s: %s", where, exc)
            stream.abort()
            return
        if isinstance(exc, RemoteProtocolError):
            logger.info("%s: %d %s", where, exc.status, exc)
            code, text = exc.status, exc.reason
        elif isinstance(exc, RequestTimeout):
            logger.error("%s: %s", where, exc)
            code, text = 503, "The request took too long."
        elif isinstance(exc, GreenletExit):
            logger.warning("%s: cut off, the server stops", where)
            code, text = 503, "The server is stopping."
        else:
            logger.error("%s: error in the application", where, exc_info=exc)
            code, text = 500, "The server could not answer this request."
        if stream.state is START or stream.state is HEADERS:
            self._error_page(stream, code, text)
        else:
            stream.abort()

    def _error_page(self, stream: Stream, code: int, text: str) -> None:
        status = status_text(code)
        page = _PAGE.format(status, escape(text)).encode()
        headers = [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(page))),
        ]
        stream.state = START
        stream.length = -1
        stream.trailers = None
        try:
            stream.start_response(status, headers)
            stream.respond(page)
        except BaseException as exc:  # noqa: BLE001 - whatever it is, it was the second thing
            logger.debug("the error page was not sent: %s", exc)
            stream.abort()


def _give_up(stream: Stream) -> None:
    stream.abort()
    stream.exchange.finish()
    stream.finished()


def _triple(response: Any) -> tuple[Any, Any, Any]:
    """Return what a Lite application returned, if it can be taken apart."""
    try:
        status, headers, body = response
    except (TypeError, ValueError):
        raise LocalProtocolError(
            f"a Lite application must return (status, headers, body), not {response!r:.100}"
        ) from None
    return status, headers, body


def _send(stream: Stream, body: Iterable[bytes]) -> None:
    """Send the application's iterable, in the way that suits it."""
    if stream.state is SWITCHED:
        return
    if isinstance(body, (str, bytes)):
        # Either would be sent character by character, or fail at the first.
        raise LocalProtocolError(
            f"the body must be an iterable of bytes, not {type(body).__name__}"
        )
    if stream.state is HEADERS and stream.fields is not None:
        if isinstance(body, FileWrapper) and _send_file(stream, body):
            return
        if stream.length < 0 and _is_single(body):
            # The server may tell the length of a body that is one block (PEP 3333).
            block = next(iter(body), b"")
            if type(block) is bytes:
                stream.respond(block)
                return
            stream.write(block)
            stream.end()
            return
    _send_blocks(stream, body)


def _send_file(stream: Stream, body: FileWrapper) -> bool:
    """Have the kernel send a file; return False where that cannot be."""
    region = body.region()
    if region is None or stream.length > region[2]:
        return False
    stream.send_file(*region)
    stream.end()
    return True


def _is_single(body: Iterable[bytes]) -> bool:
    try:
        return len(body) == 1  # type: ignore[arg-type]
    except (TypeError, AttributeError, NotImplementedError):
        return False


def _send_blocks(stream: Stream, body: Iterable[bytes]) -> None:
    for block in body:
        if stream.length >= 0 and stream.sent + len(block) > stream.length:
            # More than announced never reaches the wire (PEP 3333).
            logger.warning("the application sent more than its Content-Length of %d", stream.length)
            stream.write(block[: stream.length - stream.sent])
            break
        stream.write(block)
        if stream.bodyless() and stream.state is not HEADERS:
            break  # nothing of the rest is sent, and it may have no end
    stream.end()
