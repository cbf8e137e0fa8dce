"""Both ends of a WebSocket in the hands of one test.

`Stage` serves a handler that waits until the test is over. What is done to its WebSocket meanwhile
the test says, call by call::

    def test_receive(stage: StartStage) -> None:
        role = stage(websocket_max_queue=1000).open("/chat")
        role.client.send_message("hello")
        assert role.do(role.ws.receive) == "hello"

`Role.do` runs a function in a greenlet of the server's thread and returns what it returns;
`Role.begin` returns a `Doing` when that greenlet has ended or blocks.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import gevent
from gevent.event import Event

from gserver.api import websocket
from gserver.websocket import WebSocket
from websocket_client import Carrier, Close, WebSocketClient

__all__ = ["TIMEOUT", "Doing", "Role", "Stage", "StartStage", "echo", "stages", "until"]

T = TypeVar("T")
TIMEOUT = 10.0


@websocket
def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


class Doing(Generic[T]):
    """What a greenlet of the server's thread is doing."""

    def __init__(self, carrier: Carrier, function: Callable[..., T], *arguments: Any) -> None:
        self._call = carrier.call

        def run() -> tuple[Any, BaseException | None]:
            try:
                return function(*arguments), None
            except BaseException as exc:  # noqa: BLE001 - raised again where the result is asked for
                return None, exc

        def start() -> gevent.Greenlet[..., tuple[Any, BaseException | None]]:
            begun = gevent.spawn(run)
            gevent.sleep(0)  # now it has ended, or blocks
            return begun

        self._greenlet = self._call(start)

    @property
    def over(self) -> bool:
        return bool(self._call(self._greenlet.ready))

    def result(self, timeout: float = TIMEOUT) -> T:
        """Wait for the end; return, or raise, what came of it."""
        result, exc = self._call(lambda: self._greenlet.get(timeout=timeout))
        if exc is not None:
            raise exc
        return result  # type: ignore[no-any-return]

    def kill(self) -> None:
        self._call(lambda: self._greenlet.kill(timeout=TIMEOUT))


class Role:
    """One WebSocket.

    Attributes:
        client: The peer.
        ws: The handler's end; everything but its attributes is for greenlets of the server.
    """

    def __init__(
        self, carrier: Carrier, client: WebSocketClient, ws: WebSocket, left: Event
    ) -> None:
        self.carrier = carrier
        self.client = client
        self.ws = ws
        self._left = left

    def do(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a function in a greenlet of the server, and wait for it."""
        return self.begin(function, *arguments).result()

    def begin(self, function: Callable[..., T], *arguments: Any) -> Doing[T]:
        """Run a function in a greenlet of the server."""
        return Doing(self.carrier, function, *arguments)

    def leave(self) -> None:
        """Have the handler return."""
        self.carrier.call(self._left.set)


class Stage:
    """A server whose handler waits.

    Attributes:
        carrier: The server, and WebSockets to it.
    """

    def __init__(self, start: Callable[..., Carrier], **options: Any) -> None:
        self.carrier = start(websocket(self._wait), **options)
        self._begun: queue.SimpleQueue[tuple[WebSocket, Event]] = queue.SimpleQueue()
        self._roles: list[Role] = []

    def _wait(self, ws: WebSocket) -> None:
        left = Event()
        self._begun.put((ws, left))
        left.wait()

    def open(self, *arguments: Any, **options: Any) -> Role:
        """Open a WebSocket, with the arguments of `Carrier.open`."""
        client = self.carrier.open(*arguments, **options)
        assert client.accepted, client.response
        role = Role(self.carrier, client, *self._begun.get(timeout=TIMEOUT))
        self._roles.append(role)
        return role

    def close(self) -> None:
        """Have all handlers return."""
        for role in self._roles:
            role.leave()


StartStage = Callable[..., Stage]
"""Starts a stage; takes the options of Config."""


@contextmanager
def stages(start: Callable[..., Carrier]) -> Iterator[StartStage]:
    """Give a function that starts stages, which are closed at the end."""
    begun: list[Stage] = []

    def start_stage(**options: Any) -> Stage:
        begun.append(Stage(start, **options))
        return begun[-1]

    yield start_stage
    for one in begun:
        one.close()


def until(condition: Callable[[], Any], timeout: float = TIMEOUT) -> None:
    """Wait until `condition` is true, where nothing announces it."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)


def works(ws: WebSocketClient) -> bool:
    """Tell whether what was opened is a WebSocket to `echo`."""
    if not ws.accepted:
        return False
    ws.send_message("hello")
    return ws.message() == "hello" and ws.shut() == Close(1000)


def run_echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)
