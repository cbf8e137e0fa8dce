"""Guests: what lives in a hub beside its servers, and is shut down with the last of them."""

from __future__ import annotations

import time
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from gevent.hub import Hub, get_hub


class Guest(Protocol):
    """Something that wants to know when the last server of its hub stops."""

    def shutdown(self, timeout: float) -> None:
        """Finish within `timeout` seconds; blocks."""


class House:
    """The servers and guests of one hub."""

    def __init__(self) -> None:
        self._servers = 0
        self._guests: list[Guest] = []

    @classmethod
    def of_hub(cls) -> House:
        """Return that of this thread's hub."""
        return _HOUSES.setdefault(get_hub(), cls())

    def open(self) -> None:
        """Note that a server has started."""
        self._servers += 1

    def admit(self, guest: Guest) -> None:
        """Shut `guest` down when the last server stops, before those that came earlier."""
        self._guests.append(guest)

    def close(self, timeout: float) -> None:
        """Note that a server has stopped; blocks while guests shut down, one after the other."""
        self._servers -= 1
        deadline = time.monotonic() + timeout
        while self._guests and not self._servers:
            self._guests.pop().shutdown(max(deadline - time.monotonic(), 0))


_HOUSES: Final[WeakKeyDictionary[Hub, House]] = WeakKeyDictionary()
