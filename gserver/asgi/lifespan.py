"""The lifespan of an ASGI application: its startup and its shutdown (ASGI lifespan 2.0)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from gserver.api.errors import ConfigError
from gserver.asgi.loop import HubLoop, settle

if TYPE_CHECKING:
    from gserver.api.asgi.types import Message

logger = logging.getLogger("gserver.error")

# Looser than `gserver.api.asgi.types`: some say dict in their signatures, others MutableMapping.
AsgiCallable: TypeAlias = Callable[
    [Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]
]


class Lifespan:
    """One run of an application from startup to shutdown.

    Attributes:
        state: What the application keeps there for its requests; None if it has no lifespan.
    """

    def __init__(self, application: AsgiCallable, loop: HubLoop) -> None:
        self._application = application
        self._loop = loop
        self._answer: asyncio.Future[Message] = loop.create_future()
        self._leave: asyncio.Future[None] = loop.create_future()
        self._began = False
        self._task: asyncio.Task[None] | None = None
        self.state: dict[str, Any] | None = None

    def startup(self) -> None:
        """Block until the application is ready.

        Raises:
            ConfigError: It says that it cannot be.
        """
        self._task = self._loop.begin(self._run({}))
        answer = self._loop.wait(self._get_answer())
        if answer["type"] == "lifespan.startup.failed":
            # Frameworks send their traceback.
            told = str(answer.get("message", "")).strip()
            logger.error("the ASGI application failed to start\n%s", told)
            reason = f": {told.splitlines()[-1]}" if told else ""
            raise ConfigError(f"the ASGI application failed to start{reason}")

    def shutdown(self, timeout: float) -> None:
        """Block until the application has cleaned up, `timeout` seconds at most."""
        if self.state is None or self._task is None or self._task.done():
            return
        self._answer = self._loop.create_future()
        self._loop.call_soon_threadsafe(settle, self._leave, None)
        try:
            answer = self._loop.wait(self._get_answer(), timeout)
        except TimeoutError:
            logger.warning("the ASGI application did not shut down in %.3g seconds", timeout)
        else:
            if answer["type"] == "lifespan.shutdown.failed":
                logger.error(
                    "the ASGI application failed to shut down\n%s", answer.get("message", "")
                )

    async def _get_answer(self) -> Message:
        return await asyncio.shield(self._answer)

    async def _run(self, state: dict[str, Any]) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": state,
        }
        ended = {"type": "ended"}
        self.state = state
        try:
            await self._application(scope, self._receive, self._send)
        except BaseException as exc:
            self._failed(exc)
            if not isinstance(exc, Exception):
                raise
        finally:
            settle(self._answer, ended)

    def _failed(self, exc: BaseException) -> None:
        """Note what the application raised."""
        told = self._answer.result()["type"] if self._answer.done() else ""
        if not told and not self._leave.done():
            # ASGI: an application that raises here has none.
            logger.info("the ASGI application has no lifespan: %r", exc)
            self.state = None
        elif not told.endswith(".failed") and not isinstance(exc, asyncio.CancelledError):
            logger.error("error in the ASGI application's lifespan", exc_info=exc)

    async def _receive(self) -> Message:
        if not self._began:
            self._began = True
            return {"type": "lifespan.startup"}
        await asyncio.shield(self._leave)
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        stage = "shutdown" if self._leave.done() else "startup"
        if message["type"] not in (f"lifespan.{stage}.complete", f"lifespan.{stage}.failed"):
            raise RuntimeError(f"an ASGI application cannot send {message['type']!r} here")
        settle(self._answer, message)
