"""What streams have to send, and whose turn it is."""

from __future__ import annotations

from collections import OrderedDict, deque

from gserver.http2.engine import Field

_DEFAULT_URGENCY = 3


class Stream:
    """One stream, until it is closed."""

    __slots__ = (
        "_blocks",
        "_offset",
        "discarded",
        "ending",
        "expected",
        "held",
        "id",
        "local_ended",
        "pushed",
        "read",
        "received",
        "remote_ended",
        "tell",
        "trailers",
        "unsent",
        "urgency",
        "window",
    )

    def __init__(
        self, id: int, window: int, expected: int, ended: bool, pushed: bool = False
    ) -> None:
        self.id = id
        self.window = window  # how much may come before anybody reads
        self.pushed = pushed
        self.expected = expected  # the request's content-length, or -1
        self.received = 0
        self.held = 0  # bytes taken off the stream's window and not granted again
        self.read = 0  # those of them that nobody needs any more
        self.discarded = False
        self.remote_ended = ended
        self.local_ended = False
        self.urgency = _DEFAULT_URGENCY
        self.unsent = 0  # bytes of content that have to be sent
        self.tell = False  # a DRAINED event is wanted
        self.ending = False  # nothing comes behind that content but `trailers`
        self.trailers: list[Field] = []
        self._blocks: deque[bytes] = deque()
        self._offset = 0  # in the first of them

    def add(self, data: bytes) -> None:
        """Append content."""
        if data:
            self._blocks.append(data)
            self.unsent += len(data)

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes of content, which are there."""
        blocks = self._blocks
        self.unsent -= size
        parts = []
        while size:
            block = blocks[0]
            part = block[self._offset : self._offset + size]
            parts.append(part)
            size -= len(part)
            self._offset += len(part)
            if self._offset == len(block):
                blocks.popleft()
                self._offset = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)


class Turns:
    """The streams that have something to send, by urgency (RFC 9218 10).

    All streams of one urgency take turns, whether or not they are incremental: the order that the
    RFC suggests for the others would let one large response hold up all that come after it.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, OrderedDict[int, Stream]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, stream: Stream) -> None:
        """Let the stream have its turns, if it has not yet."""
        self._waiting.setdefault(stream.urgency, OrderedDict())[stream.id] = stream

    def remove(self, stream: Stream) -> None:
        """Let it have none any more."""
        streams = self._waiting.get(stream.urgency)
        if streams is not None and streams.pop(stream.id, None) is not None and not streams:
            del self._waiting[stream.urgency]

    def next(self) -> Stream:
        """Return the stream whose turn it is; there is one."""
        return next(iter(self._waiting[min(self._waiting)].values()))

    def rotate(self, stream: Stream) -> None:
        """Its turn is over."""
        self._waiting[stream.urgency].move_to_end(stream.id)

    def prioritise(self, stream: Stream, urgency: int) -> None:
        """Give the stream another urgency."""
        if stream.urgency != urgency:
            waits = stream.id in self._waiting.get(stream.urgency, ())
            self.remove(stream)
            stream.urgency = urgency
            if waits:
                self.add(stream)

    def clear(self) -> None:
        """Nobody sends any more."""
        self._waiting.clear()
