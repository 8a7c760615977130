"""The newest frames of one customer's log: for streams that keep up, and for those that come back after a moment.

Rule: between `start` and `head` nothing is missing. Who stands at `start` or later reads here, who stands before it
reads the store; both walk the same positions, so changing over leaves no gap and no duplicate.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter
from typing import Final

from api.streams.frames import Frame, Wanted

MAX_FRAMES: Final = 4096
MAX_BYTES: Final = 2 << 20
KEEP_S: Final = 60.0
"""How long a frame stays at most: what is forgotten elsewhere is not to live on here."""
MARK_EVERY_S: Final = 5.0

_POSITION = attrgetter("position")


@dataclass(frozen=True, slots=True)
class Piece:
    """What a stream sends at once: frames as bytes, the position it has then dealt with, and the last event's id."""

    data: bytes = field(repr=False)
    until: int
    last_event_id: str | None


def gather(frames: Iterable[Frame], until: int, max_bytes: int) -> Piece:
    """Join frames up to `max_bytes`, at least one; `until` is the position that all of them together stand for."""
    taken: list[bytes] = []
    size = 0
    last: Frame | None = None
    for frame in frames:
        size += len(frame.data)
        if last is not None and size > max_bytes:
            return Piece(b"".join(taken), last.position, last.event_id)
        taken.append(frame.data)
        last = frame
    return Piece(b"".join(taken), until, None if last is None else last.event_id)


class Tail:
    """Bounded in frames, in bytes and in time."""

    def __init__(self, start: int, *, max_frames: int = MAX_FRAMES, max_bytes: int = MAX_BYTES) -> None:
        self.start = self.head = start
        self.max_bytes = max_bytes
        self.size = 0
        """Bytes of all frames."""
        self._max_frames = max_frames
        self._frames: list[Frame] = []
        # When the head stood where, every few seconds.
        self._marks: deque[tuple[float, int]] = deque()

    def __len__(self) -> int:
        return len(self._frames)

    def covers(self, position: int) -> bool:
        """Whether everything after a position is here."""
        return position >= self.start

    def is_crowded(self, position: int) -> bool:
        """Whether who stands at a position may soon find that what it needs was dropped."""
        waiting = len(self._frames) - self._index(position)
        return 2 * waiting > self._max_frames or 2 * self.size * waiting > self.max_bytes * len(self._frames)

    def extend(self, frames: Sequence[Frame], until: int, now: float) -> None:
        """Append what the log holds after `head` up to `until`; drop the oldest that no longer fit."""
        self._frames += frames
        self.size += sum(len(frame.data) for frame in frames)
        self.head = max(self.head, until)
        excess = count = max(0, len(self._frames) - self._max_frames)
        size = self.size - sum(len(frame.data) for frame in self._frames[:excess])
        while size > self.max_bytes:
            size -= len(self._frames[count].data)
            count += 1
        self._drop(count)
        self._age(now)

    def _age(self, now: float) -> None:
        if not self._marks or now >= self._marks[-1][0] + MARK_EVERY_S:
            self._marks.append((now, self.head))
        while self._marks[0][0] <= now - KEEP_S:
            _, position = self._marks.popleft()
            self._drop(self._index(position))
            self.start = max(self.start, position)

    def _drop(self, count: int) -> None:
        if count:
            self.start = max(self.start, self._frames[count - 1].position)
            self.size -= sum(len(frame.data) for frame in self._frames[:count])
            del self._frames[:count]

    def _index(self, position: int) -> int:
        return bisect_right(self._frames, position, key=_POSITION)

    def after(self, position: int, wanted: Wanted, max_bytes: int) -> Piece:
        """What a stream at a position that is covered sends next."""
        rest = islice(self._frames, self._index(position), None)
        return gather((frame for frame in rest if wanted.takes(frame)), max(self.head, position), max_bytes)
