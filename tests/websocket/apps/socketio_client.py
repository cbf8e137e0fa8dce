"""Clients of Socket.IO; prints what they find out as JSON.

Not in the process of the tests: python-socketio imports websocket-client, as `websocket`, a name
that folders of this repository have too.

    socketio_client.py URL PATH wait|talk TRANSPORT...
"""

from __future__ import annotations

import json
import queue
import sys
from typing import Any

import requests
import socketio

SIZE = 600_000
WAIT = 10


class Client:
    """A client with what has happened to it in a queue."""

    def __init__(self) -> None:
        session = requests.Session()
        session.trust_env = False
        self.io = socketio.Client(http_session=session, reconnection=False)
        self.events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        for name in ("said", "left", "disconnect"):
            self.io.on(name, lambda data, name=name: self.events.put((name, data)))
        self.io.connect(url, socketio_path=path, transports=transports, wait_timeout=WAIT)

    def next(self) -> tuple[str, Any]:
        return self.events.get(timeout=WAIT)


def talk() -> dict[str, Any]:
    one, two, three = clients = [Client() for _ in range(3)]
    values = ["grüß dich", b"\0\xff", {"nested": [b"\1", 2, None]}, "x" * SIZE, b"\xff" * SIZE]
    answers = [one.io.call("echo", value, timeout=WAIT) for value in values]
    one.io.emit("say", {"to": "all"})
    said = [client.next() for client in clients]
    three.io.disconnect()
    left = [one.next(), two.next()]
    two.io.emit("dismiss")
    dismissed = [two.next(), one.next()]
    result = {
        "transport": one.io.transport(),
        "echoed": answers == values,
        "said": said,
        # Why is a race among the threads of those who left.
        "left": [name for name, _ in left],
        "dismissed": [name for name, _ in dismissed],
    }
    one.io.disconnect()
    return result


def wait() -> tuple[str, Any]:
    client = Client()
    print("connected", flush=True)
    return client.next()


url, path, scenario, *transports = sys.argv[1:]
print(json.dumps({"talk": talk, "wait": wait}[scenario]()))
