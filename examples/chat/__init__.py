"""A chat with rooms over WebSocket: start it with ``gserver examples.chat:app``, open it twice.

Every client has a greenlet of its own, and in it runs a plain loop, `chat`. The rooms live in the
memory of this process, so there must be only one.
"""

import json
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import gevent

from gserver.api import lite, websocket
from gserver.websocket import WebSocket, broadcast

LONGEST_NAME = 24
LONGEST_TEXT = 500
KEPT = 50  # messages of a room, for those who come later


class Room:
    """Who is there, and what was said."""

    def __init__(self) -> None:
        self.people: dict[WebSocket, str] = {}
        self.said: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def tell(self, **event: Any) -> None:
        """Tell an event to everybody; waits for nobody."""
        for slow in broadcast(self.people, json.dumps(event)):
            # It does not read, or has gone. The page comes back and asks for what it missed.
            self.people.pop(slow, None)
            gevent.spawn(slow.close, 1013, "too slow")

    def say(self, name: str, text: str) -> None:
        message = {"name": name, "text": text, "time": time.time()}
        self.said.append(message)
        self.tell(event="said", **message)

    def enter(self, ws: WebSocket, name: str) -> None:
        self.people[ws] = name
        ws.send_json({"event": "welcome", "said": list(self.said)})
        self.tell(event="people", people=list(self.people.values()), came=name)

    def leave(self, ws: WebSocket, name: str) -> None:
        self.people.pop(ws, None)
        self.tell(event="people", people=list(self.people.values()), left=name)


ROOMS = {name: Room() for name in ("lobby", "kitchen", "garden")}
PAGE = Path(__file__).with_name("page.html").read_text("utf-8")
PAGE = PAGE.replace("ROOMS", json.dumps(list(ROOMS)))


def tidy(text: str, longest: int) -> str:
    """Cut a line to its length; what it holds is for the page to show as text, never as HTML."""
    return " ".join(text.split())[:longest].strip()


@websocket
def chat(ws: WebSocket) -> None:
    """Serve one client, from its coming to its going."""
    room = ROOMS[ws.environ["PATH_INFO"].removeprefix("/ws/")]
    query = parse_qs(ws.environ["QUERY_STRING"])
    name = tidy(query.get("name", [""])[0], LONGEST_NAME) or "Nobody"
    try:
        room.enter(ws, name)
        for message in ws:
            if isinstance(message, str) and (text := tidy(message, LONGEST_TEXT)):
                room.say(name, text)
    finally:
        room.leave(ws, name)


@lite
def app(environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], Iterable[bytes]]:
    path = environ["PATH_INFO"]
    if path == "/":
        return "200 OK", [("Content-Type", "text/html; charset=utf-8")], [PAGE.encode()]
    if path.removeprefix("/ws/") in ROOMS:
        return chat(environ)
    return "404 Not Found", [("Content-Type", "text/plain")], [b"There is no such room.\n"]
