"""What a gunicorn worker does beside serving: gunicorn's hooks for requests, and its logs.

Hooks and loggers see each request and response in the shape of gunicorn's own objects. They run in
the handler's greenlet, and when they block, no other request waits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gserver.stream import Stream
    from gserver.worker import Worker

# Where in its environ a request waits for the pre_request hook.
_REQUEST: Final = "gserver.hooks.request"


class Request:
    """What hooks and loggers read of a gunicorn request; they may keep things in it."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ = environ
        self.method: str = environ["REQUEST_METHOD"]
        self.uri: str = environ["RAW_URI"]
        self.path, _, self.query = self.uri.partition("?")
        self.version = tuple(map(int, environ["SERVER_PROTOCOL"][5:].split(".")))
        self.scheme: str = environ["wsgi.url_scheme"]
        self.remote_addr = (environ["REMOTE_ADDR"], environ["REMOTE_PORT"])

    @cached_property
    def headers(self) -> list[tuple[str, str]]:
        """Names, in capitals, and values."""
        return [
            (key.removeprefix("HTTP_").replace("_", "-"), value)
            for key, value in self._environ.items()
            if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH")
        ]


class Response:
    """What hooks and loggers read of a gunicorn response.

    Attributes:
        status: None if the client left before there was one.
        sent: Bytes of content.
    """

    def __init__(self, stream: Stream) -> None:
        self.status = stream.status or None
        self.status_code = stream.code or None
        self.headers = list(stream.headers)
        self.headers_sent = stream.status != ""
        self.sent = stream.sent


class Hooks:
    """What is to be done for each request, beside running the application.

    Args:
        worker: gunicorn's worker.
        pre_request: The hook; None if it does nothing, as with those that follow.
        access: What writes the access log.
        post_request: The hook.
    """

    def __init__(
        self,
        worker: Worker,
        pre_request: Callable[..., Any] | None,
        access: Callable[..., Any] | None,
        post_request: Callable[..., Any] | None,
    ) -> None:
        self._worker = worker
        self._pre_request = pre_request
        self._access = access
        self._post_request = post_request

    def before(self, application: Callable[..., Any]) -> Callable[..., Any]:
        """Return the application with the pre_request hook before it, if there is one.

        The hook's errors then become a 500, as the application's do.
        """
        pre_request = self._pre_request
        if pre_request is None:
            return application

        def asked(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            pre_request(self._worker, environ.pop(_REQUEST))
            return application(environ, start_response)  # Lite applications take that too

        startup = getattr(application, "__startup__", None)
        if startup is not None:
            asked.__startup__ = startup  # type: ignore[attr-defined]
        return asked

    def around(self, run: Callable[[Stream], None]) -> Callable[[Stream], None]:
        """Return a `Handler.run` that does for `run`'s requests what is to be done."""
        count = self._worker.count

        def counted(stream: Stream) -> None:
            count()
            run(stream)

        def told(stream: Stream) -> None:
            count()
            begin = time.perf_counter()
            request = Request(stream.environ)
            if self._pre_request is not None:
                stream.environ[_REQUEST] = request
            try:
                run(stream)
            finally:
                self._tell(stream, request, time.perf_counter() - begin)

        return told if self._pre_request or self._access or self._post_request else counted

    def _tell(self, stream: Stream, request: Request, seconds: float) -> None:
        response = Response(stream)
        try:
            if self._access is not None and response.status:  # loggers cannot do without a status
                self._access(response, request, stream.environ, timedelta(seconds=seconds))
            if self._post_request is not None:
                self._post_request(self._worker, request, stream.environ, response)
        except Exception:
            # The response is out: what is wrong here is for the operator to know, not the client.
            self._worker.log.exception("Error in the access log or the post_request hook")


class ToGunicorn(logging.Handler):
    """Hands records to gunicorn's logger, of whatever class, which may also count them."""

    def __init__(self, log: Any) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record."""
        name = logging.getLevelName(record.levelno).lower()
        if record.exc_info and record.levelno == logging.ERROR:
            name = "exception"
        getattr(self._log, name)("%s", record.getMessage(), exc_info=record.exc_info)
