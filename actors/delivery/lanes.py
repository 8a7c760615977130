"""What one lane has before it: the next few deliveries of an endpoint, an instance and a kind, in their order.

Rule: the store is the queue, and this is a window on it. It holds at most `WINDOW` deliveries; what does not fit is
read again when its turn comes, so an endpoint that is down for a day costs rows and no memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from typing import Final

import trio

from whatisup.store import Due, Lane

WINDOW: Final = 16


class LaneWindow:
    """The window of one lane. Not read yet, it `is_behind`: the store holds more than the window shows."""

    __slots__ = ("_after", "_bell", "_highest", "_news", "_resets", "is_behind", "lane", "queue")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.queue: deque[Due] = deque()
        self.is_behind = True
        self._after = self._highest = 0
        self._news = self._resets = 0
        self._bell = trio.Event()

    @property
    def after(self) -> int:
        """The position up to which everything has been here."""
        return self._after

    def note(self, due: Due) -> None:
        """Take in a delivery that was just committed: the newest of its lane, unless a read was quicker to show it."""
        self._news += 1
        if self.is_behind or self.lane.is_late or len(self.queue) >= WINDOW:
            self.is_behind = True
        elif due.position > self._highest:  # else a read has shown it, and it may be settled since
            self._append(due)
        self._bell.set()

    def look_again(self) -> None:
        """Forget what is here and read everything anew: older rows may have come back."""
        self._resets += 1
        self.queue.clear()
        self.is_behind, self._after = True, 0
        self._bell.set()

    def is_next(self, due: Due) -> bool:
        """Whether a delivery is still the first here: all may have been read anew while it was made."""
        return bool(self.queue) and self.queue[0] is due

    def begin_reading(self) -> tuple[int, int]:
        """A token for `fill`: what is noted from here on may or may not be in what is read."""
        return self._news, self._resets

    def fill(self, token: tuple[int, int], page: Iterable[Due], *, is_last: bool, without: Collection[int]) -> None:
        """Take in what was read after `after`, but for the positions `without`."""
        news, resets = token
        if resets != self._resets:
            return
        if self.lane.is_late:
            self.queue.clear()
        for due in page:
            self._append(due, is_shown=due.position not in without)
        self.is_behind = not is_last or news != self._news

    def _append(self, due: Due, *, is_shown: bool = True) -> None:
        self._after = max(self._after, due.position)
        self._highest = max(self._highest, due.position)
        if is_shown:
            self.queue.append(due)

    async def wait(self, seconds: float) -> None:
        """Wait so long, or until something is noted."""
        self._bell = trio.Event()
        with trio.move_on_after(seconds):
            await self._bell.wait()
