# cython: language_level=3, annotation_typing=False
"""How much trouble one HTTP/2 connection may make.

Many frames cost the server more than the client and move nothing forward: resets of streams that
were just begun (CVE-2023-44487), resets that the client provokes (CVE-2025-8671), PING, SETTINGS,
PRIORITY, empty DATA and the like (CVE-2019-9511 to 9518). Every client sends some of them, so they
are paid from two accounts, one for resets and one for all others. Time fills both, up to a limit;
work that is done fills the second, because honest PINGs and WINDOW_UPDATEs come with work. A
client that has overdrawn is no client of ours.
"""

from __future__ import annotations

from typing import Final

from gserver.clock import Clock
from gserver.config import Config

_RST_STREAM: Final = 3
_SETTINGS: Final = 4

# One SETTINGS may open the windows of a hundred streams by a byte each.
_SETTINGS_PRICE: Final = 10.0

# A request brings along a PRIORITY, WINDOW_UPDATEs and an empty DATA frame that ends it.
PER_REQUEST: Final = 4.0
# A block of the application that has gone whole: WINDOW_UPDATEs of a client that grants each DATA
# frame again, however short.
PER_BLOCK: Final = 2.0
# Each 2 KiB that are sent or received. Clients that grant both windows again with every frame cut
# the frames to pieces in doing so: 11 KiB on average is what is left of 16.
_PIECE: Final = 2048


class Defence:
    """The accounts of one connection.

    Attributes:
        earned: What work has earned; see `PER_REQUEST` and `PER_BLOCK`.
        pressed: The client does not read: answers pile up, and only time fills the accounts.
    """

    def __init__(self, config: Config, clock: Clock) -> None:
        self._clock = clock
        self._most_frames = config.http2_max_control_frames
        self._most_resets = config.http2_max_resets
        self._frames = float(self._most_frames)
        self._resets = float(self._most_resets)
        self._filled = clock.now
        self.earned = 0.0
        self.pressed = False

    def press(self) -> None:
        """Note that the client does not read; it has what it earned before, up to the limit."""
        self.pressed = True
        given = min(self.earned, max(0.0, self._most_frames - self._frames))
        self._frames += given
        self.earned -= given

    def charge(self, kind: int, length: int) -> bool:
        """Take the price of one frame off; False if the client cannot pay."""
        if kind == _RST_STREAM:
            self._resets -= 1
            if self._resets < 0:
                self._fill()
            return self._resets >= 0
        self._frames -= _SETTINGS_PRICE if kind == _SETTINGS else 1.0
        if self._frames < 0:
            self._fill()
        return self._frames >= 0

    def sent(self, size: int) -> None:
        """Note that so many bytes have gone, of frames of any type."""
        # By size alone: a PONG, or content through a window of one byte, has earned nothing.
        self.earned += size / _PIECE

    def received(self, size: int) -> None:
        """Note that a frame with so many bytes of content has come."""
        self.earned += 1 + size / _PIECE

    def _fill(self) -> None:
        """Give what was earned, and a tenth of the limits for each second."""
        tenths = (self._clock.now - self._filled) / 10
        self._filled = self._clock.now
        self._frames = min(self._most_frames, self._frames + tenths * self._most_frames)
        self._resets = min(self._most_resets, self._resets + tenths * self._most_resets)
        if not self.pressed:
            # Beyond the limit: a client that was slow to answer answers all at once.
            self._frames += self.earned
            self.earned = 0.0
