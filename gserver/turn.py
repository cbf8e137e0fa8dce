# cython: language_level=3, annotation_typing=False
"""Packets of one turn of the loop that wait until those of the other connections are there.

For TLS: the processor's caches hold the code that decrypts or the code that parses, not both. So
first all packets of the turn are decrypted, then all are parsed. Runs in the hub.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gevent.hub import Hub

if TYPE_CHECKING:
    from gserver.transport import Transport


class Turn:
    """The packets that wait."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._packets: list[tuple[Transport, bytes]] = []

    def hold(self, transport: Transport, data: bytes) -> None:
        """Hand `data` over at the end of the turn."""
        self._packets.append((transport, data))
        if len(self._packets) == 1:
            self._hub.loop.run_callback(self._hand_over)

    def _hand_over(self) -> None:
        packets = self._packets[:]
        self._packets.clear()
        for transport, data in packets:
            transport.held = False
            if not transport.closed:
                transport.hand_over(data)
