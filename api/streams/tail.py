"""The newest frames of one customer's log, kept for as long as some stream has yet to send them.

Rule: between `start` and `head` nothing is missing. Who stands at `start` or later reads here, who stands before it
reads the store; both walk the same positions, so changing over leaves no gap and no duplicate.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from api.streams.frames import Frame, Wanted

MAX_FRAMES: Final = 1024
MAX_BYTES: Final = 1 << 20

_POSITION = attrgetter("position")


@dataclass(frozen=True, slots=True)
class Piece:
    """What a stream sends at once: frames as bytes, the position it has then dealt with, and the last event's id."""

    data: bytes = field(repr=False)
    until: int
    last_event_id: str | None


def gather(frames: Sequence[Frame], until: int, max_bytes: int) -> Piece:
    """Join frames up to `max_bytes`, at least one; `until` is the position that all of them together stand for."""
    size = taken = 0
    while taken < len(frames) and (not taken or size + len(frames[taken].data) <= max_bytes):
        size += len(frames[taken].data)
        taken += 1
    is_all = taken == len(frames)
    last = frames[taken - 1] if taken else None
    position = until if is_all or last is None else last.position
    return Piece(b"".join([frame.data for frame in frames[:taken]]), position, None if last is None else last.event_id)


class Tail:
    """Bounded in frames and in bytes; a single frame may be larger than the bound."""

    def __init__(self, start: int, *, max_frames: int = MAX_FRAMES, max_bytes: int = MAX_BYTES) -> None:
        self.start = self.head = start
        self._frames: list[Frame] = []
        self._bytes = 0
        self._max_frames = max_frames
        self._max_bytes = max_bytes

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        return self._bytes

    @property
    def is_half_full(self) -> bool:
        """Whether as much again as is here may be more than fits."""
        return 2 * len(self._frames) > self._max_frames or 2 * self._bytes > self._max_bytes

    def covers(self, position: int) -> bool:
        """Whether everything after a position is here."""
        return position >= self.start

    def extend(self, frames: Sequence[Frame], until: int) -> None:
        """Append what the log holds after `head` up to `until`; drop the oldest that no longer fit."""
        self._frames += frames
        self._bytes += sum(len(frame.data) for frame in frames)
        self.head = max(self.head, until)
        count, size = 0, self._bytes
        while len(self._frames) - count > self._max_frames or (size > self._max_bytes and count < len(self._frames)):
            size -= len(self._frames[count].data)
            count += 1
        self._drop(count)

    def forget(self, position: int) -> None:
        """Drop what nobody needs: everything up to a position."""
        count = bisect_right(self._frames, position, key=_POSITION)
        self._drop(count)
        self.start = max(self.start, min(position, self.head))

    def _drop(self, count: int) -> None:
        if count:
            self.start = self._frames[count - 1].position
            self._bytes -= sum(len(frame.data) for frame in self._frames[:count])
            del self._frames[:count]

    def after(self, position: int, wanted: Wanted, max_bytes: int) -> Piece:
        """What a stream at a position that is covered sends next."""
        index = bisect_right(self._frames, position, key=_POSITION)
        found = [frame for frame in self._frames[index:] if wanted.takes(frame)]
        return gather(found, max(self.head, position), max_bytes)
