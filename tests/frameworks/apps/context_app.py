"""Handlers that keep things in context variables, thread-locals and pools of connections."""

from __future__ import annotations

import json
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any
from urllib.parse import parse_qs

import gevent
import greenlet

Environ = dict[str, str]

PATIENCE = 20.0

user: ContextVar[str] = ContextVar("user", default="nobody")
local = threading.local()
barriers: defaultdict[str, threading.Barrier] = defaultdict(lambda: threading.Barrier(2))


def meet(query: Environ) -> None:
    """Wait for the other request that names the same meeting, if one is named."""
    if "meet" in query:
        barriers[query["meet"]].wait(PATIENCE)


def log_in(query: Environ) -> Iterator[str]:
    """Set the user, and never reset it; tell who it is at every later moment."""
    yield user.get()
    user.set(query["user"])
    meet(query)
    yield user.get()
    if "fail" in query:
        raise RuntimeError("in the middle")
    meet(query)
    yield user.get()


def helpers(query: Environ) -> dict[str, list[str]]:
    """Tell what others who work for this request see."""
    user.set(query["user"])
    meet(query)
    with ThreadPoolExecutor(1) as executor:
        return {
            "copied": [
                gevent.spawn(copy_context().run, user.get).get(),
                executor.submit(copy_context().run, user.get).result(),
            ],
            "bare": [gevent.spawn(user.get).get(), executor.submit(user.get).result()],
        }


def thread_local(query: Environ) -> list[Any]:
    """Tell what an earlier request left in the thread-local, and leave something."""
    left = getattr(local, "user", None)
    local.user = query["user"]
    meet(query)
    return [left, local.user]


def identity(query: Environ) -> dict[str, Any]:
    """Tell who runs this request, as far as Python code can see it."""
    meet(query)
    record = logging.LogRecord("name", logging.INFO, __file__, 1, "text", (), None)
    return {
        "greenlet": id(greenlet.getcurrent()),
        "thread": threading.get_ident(),
        "logged": [record.thread, record.threadName],
        "same": threading.current_thread() is threading.current_thread(),
        "main": threading.current_thread() is threading.main_thread(),
    }


class Connection:
    """As a database driver makes them."""

    def __init__(self, number: int) -> None:
        self.number = number


class Pool:
    """A bounded pool, as SQLAlchemy's: taking blocks while all connections are out."""

    def __init__(self, size: int) -> None:
        self.idle = [Connection(number) for number in range(size)]
        self.free = threading.Condition()

    def take(self) -> Connection:
        with self.free:
            assert self.free.wait_for(lambda: self.idle, PATIENCE), "no connection came back"
            return self.idle.pop()

    def give_back(self, connection: Connection) -> None:
        with self.free:
            self.idle.append(connection)
            self.free.notify()


pool = Pool(2)


class ScopedSession:
    """One session for each thread, as SQLAlchemy's scoped_session; `remove` ends it."""

    def __init__(self) -> None:
        self._registry = threading.local()

    def __call__(self) -> Connection:
        if not hasattr(self._registry, "connection"):
            self._registry.connection = pool.take()
        connection: Connection = self._registry.connection
        return connection

    def remove(self) -> None:
        connection = self._registry.__dict__.pop("connection", None)
        if connection is not None:
            pool.give_back(connection)


session = ScopedSession()


def query_database(query: Environ) -> Iterator[Any]:
    """Use the session in the beginning and in the middle of the response."""
    first = session()
    yield first.number
    if "fail" in query:
        raise RuntimeError("in the middle")
    yield session() is first
    yield "x" * int(query.get("size", "0"))


def pool_state(query: Environ) -> dict[str, int]:
    return {"idle": len(pool.idle)}


class Body:
    """The lines of a handler; the session ends with it."""

    def __init__(self, lines: Iterable[Any]) -> None:
        self._lines = iter(lines)

    def __iter__(self) -> Iterator[bytes]:
        for line in self._lines:
            yield json.dumps(line).encode() + b"\n"

    def close(self) -> None:
        session.remove()


class Kept:
    """What a thread holds for as long as it lives."""

    number = 0

    def __init__(self) -> None:
        Kept.number += 1

    def __del__(self) -> None:
        Kept.number -= 1


def keep(query: Environ) -> int:
    """Keep something in the thread-local, like a connection for the life of a thread."""
    if not hasattr(local, "kept"):
        local.kept = Kept()
    threading.current_thread()
    crowd.wait(PATIENCE)
    return Kept.number


crowd = threading.Barrier(200)


def kept(query: Environ) -> list[int]:
    """Tell how many such things, and how many threads, there still are."""
    return [Kept.number, threading.active_count()]


STREAMS: dict[str, Callable[[Environ], Iterable[Any]]] = {
    "/log-in": log_in,
    "/database": query_database,
}
ANSWERS: dict[str, Callable[[Environ], Any]] = {
    "/helpers": helpers,
    "/thread-local": thread_local,
    "/identity": identity,
    "/pool": pool_state,
    "/keep": keep,
    "/kept": kept,
}


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    path = environ["PATH_INFO"]
    start_response("200 OK", [("Content-Type", "application/json")])
    if path in STREAMS:
        return Body(STREAMS[path](query))
    return [json.dumps(ANSWERS[path](query)).encode()]
