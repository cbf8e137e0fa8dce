"""gunicorn's pre_request and post_request hooks and its access log.

They see each request and response in the shape of gunicorn's own objects. All of this runs in the
handler's greenlet, and what blocks there blocks only that: the response is out, except before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from gserver.api import is_lite, mark_lite

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
    """What gunicorn does for each request.

    Args:
        worker: gunicorn's worker.
        asks: pre_request has something to do.
        tells: post_request or the access log have.
    """

    def __init__(self, worker: Worker, asks: bool, tells: bool) -> None:
        self._worker = worker
        self._asks = asks
        self._tells = tells

    def before(self, application: Callable[..., Any]) -> Callable[..., Any]:
        """Return the application with the pre_request hook before it, if there is one.

        Its errors then become a 500, as the application's do.
        """
        if not self._asks:
            return application
        worker = self._worker

        def asked(environ: dict[str, Any], *start_response: Any) -> Any:
            worker.cfg.pre_request(worker, environ.pop(_REQUEST))
            return application(environ, *start_response)

        return mark_lite(asked) if is_lite(application) else asked

    def around(self, run: Callable[[Stream], None]) -> Callable[[Stream], None]:
        """Return a `Handler.run` that does for `run`'s requests what is to be done."""
        count = self._worker.count
        asks = self._asks

        def counted(stream: Stream) -> None:
            count()
            run(stream)

        def told(stream: Stream) -> None:
            count()
            begin = time.perf_counter()
            request = Request(stream.environ)
            if asks:
                stream.environ[_REQUEST] = request
            try:
                run(stream)
            finally:
                self._tell(stream, request, time.perf_counter() - begin)

        return told if self._asks or self._tells else counted

    def _tell(self, stream: Stream, request: Request, seconds: float) -> None:
        worker: Any = self._worker  # these are not gunicorn's own objects
        environ = stream.environ
        response = Response(stream)
        try:
            if response.status:  # loggers cannot do without
                worker.log.access(response, request, environ, timedelta(seconds=seconds))
            worker.cfg.post_request(worker, request, environ, response)
        except Exception:
            # The response is out: what is wrong here is for the operator to know, not the client.
            worker.log.exception("Error in the access log or the post_request hook")
