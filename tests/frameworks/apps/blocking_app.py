"""Handlers that block, each in one of the ways in which ordinary Python code blocks."""

from __future__ import annotations

import os
import queue
import select
import selectors
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import redis

Environ = dict[str, Any]

PATIENCE = 20.0
"""Seconds after which a handler gives up, so that a test fails instead of hanging."""

lock = threading.Lock()
counts = {"inside": 0, "most": 0}


def sleep(environ: Environ) -> str:
    """Sleep for a second; tell how many did so at the same time, at most."""
    with lock:
        counts["inside"] += 1
        counts["most"] = max(counts.values())
    time.sleep(1)
    with lock:
        counts["inside"] -= 1
    return str(counts["most"])


class Gate:
    """Something that one handler waits at until another one opens it."""

    def __init__(self, wait: Callable[[], Any], open: Callable[[], Any]) -> None:
        self._wait = wait
        self._open = open
        self._somebody = threading.Event()

    def wait(self) -> bool:
        self._somebody.set()
        return bool(self._wait())

    def open(self) -> None:
        assert self._somebody.wait(PATIENCE)
        self._open()


def socket_gate() -> Gate:
    """Make the gate that database drivers wait at: a blocking socket."""
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    return Gate(lambda: ours.recv(1), lambda: theirs.send(b"x"))


def tcp_gate() -> Gate:
    """Connect to a server in another thread, as one would to a database."""
    listener = socket.create_server(("127.0.0.1", 0))
    opened = threading.Event()

    def answer() -> None:
        peer, _ = listener.accept()
        with listener, peer, peer.makefile("rwb") as file:
            assert file.readline() == b"question\n"
            opened.wait(PATIENCE)
            file.write(b"answer\n")

    def ask() -> bytes:
        with socket.create_connection(listener.getsockname(), PATIENCE) as peer:
            peer.sendall(b"question\n")
            with peer.makefile("rb") as file:
                return file.readline()

    threading.Thread(target=answer, daemon=True).start()
    return Gate(ask, opened.set)


def select_gate() -> Gate:
    ours, theirs = socket.socketpair()
    return Gate(lambda: select.select([ours], [], [], PATIENCE)[0], lambda: theirs.send(b"x"))


def selectors_gate() -> Gate:
    ours, theirs = socket.socketpair()
    selector = selectors.DefaultSelector()
    selector.register(ours, selectors.EVENT_READ)
    return Gate(lambda: selector.select(PATIENCE), lambda: theirs.send(b"x"))


def event_gate() -> Gate:
    event = threading.Event()
    return Gate(lambda: event.wait(PATIENCE), event.set)


def lock_gate() -> Gate:
    lock = threading.Lock()
    lock.acquire()
    return Gate(lambda: lock.acquire(timeout=PATIENCE), lock.release)


def condition_gate() -> Gate:
    condition = threading.Condition()
    passed: list[bool] = []

    def wait() -> bool:
        with condition:
            return condition.wait_for(lambda: passed, PATIENCE) == [True]

    def open() -> None:
        with condition:
            passed.append(True)
            condition.notify_all()

    return Gate(wait, open)


def queue_gate() -> Gate:
    mailbox: queue.Queue[int] = queue.Queue()
    return Gate(lambda: mailbox.get(timeout=PATIENCE), lambda: mailbox.put(1))


def simple_queue_gate() -> Gate:
    mailbox: queue.SimpleQueue[int] = queue.SimpleQueue()
    return Gate(lambda: mailbox.get(timeout=PATIENCE), lambda: mailbox.put(1))


def future_gate() -> Gate:
    future: Future[bool] = Future()
    return Gate(lambda: future.result(PATIENCE), lambda: future.set_result(True))


def executor_gate() -> Gate:
    event = threading.Event()
    executor = ThreadPoolExecutor(1)
    return Gate(lambda: executor.submit(event.wait, PATIENCE).result(), event.set)


def thread_gate() -> Gate:
    event = threading.Event()
    thread = threading.Thread(target=event.wait, args=(PATIENCE,), daemon=True)

    def wait() -> bool:
        thread.start()
        thread.join()
        return event.is_set()

    return Gate(wait, event.set)


def subprocess_gate() -> Gate:
    read, write = os.pipe()

    def wait() -> bool:
        done = subprocess.run(["head", "-c1"], stdin=read, capture_output=True, timeout=PATIENCE)
        return done.stdout == b"x"

    return Gate(wait, lambda: os.write(write, b"x"))


GATES: dict[str, Callable[[], Gate]] = {
    "socket": socket_gate,
    "tcp": tcp_gate,
    "select": select_gate,
    "selectors": selectors_gate,
    "event": event_gate,
    "lock": lock_gate,
    "condition": condition_gate,
    "queue": queue_gate,
    "simple-queue": simple_queue_gate,
    "future": future_gate,
    "executor": executor_gate,
    "thread": thread_gate,
    "subprocess": subprocess_gate,
}
gates: dict[str, Gate] = {}


def make(environ: Environ) -> str:
    gates[environ["QUERY_STRING"]] = GATES[environ["QUERY_STRING"]]()
    return "made"


def wait(environ: Environ) -> str:
    return "passed" if gates[environ["QUERY_STRING"]].wait() else "given up"


def open_gate(environ: Environ) -> str:
    gates[environ["QUERY_STRING"]].open()
    return "opened"


def nested(environ: Environ) -> str:
    """Ask this very server, as deep as the query says."""
    depth = int(environ["QUERY_STRING"])
    if not depth:
        return "bottom"
    url = f"http://127.0.0.1:{environ['SERVER_PORT']}/nested?{depth - 1}"
    with urllib.request.urlopen(url, timeout=PATIENCE) as response:
        return f"{depth} {response.read().decode()}"


def pop(environ: Environ) -> str:
    """Wait for an element of a Redis list."""
    popped = database.blpop([environ["QUERY_STRING"]], PATIENCE)
    return str(popped[1]) if popped else "given up"


def push(environ: Environ) -> str:
    name, _, value = environ["QUERY_STRING"].partition("=")
    return str(database.rpush(name, value))


def waiting(environ: Environ) -> str:
    """Tell how many clients Redis keeps waiting."""
    return str(database.info("clients")["blocked_clients"])


database = redis.Redis(decode_responses=True, port=int(os.environ.get("REDIS_PORT", "0")))

VIEWS: dict[str, Callable[[Environ], str]] = {
    "/sleep": sleep,
    "/make": make,
    "/wait": wait,
    "/open": open_gate,
    "/nested": nested,
    "/pop": pop,
    "/push": push,
    "/waiting": waiting,
}


def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    text = VIEWS[environ["PATH_INFO"]](environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]
