"""How many prekeys a server may make us mint: a burst, a trickle, and one for each that was really used.

    at first 3,248 (four full uploads, as many as one filling may try)  +  50 an hour  +  those used by first messages

Without it a server could ask for 812 a minute, or for 812 on each of a thousand connections a day.

Rule: a ration outlives its connections; the owner hands the same one to all of an instance's, and says what was used.

Ours: the sources mint whatever they are asked for.
"""

from __future__ import annotations

from typing import Final

from whatisup.protocol.prekeys import FIRST_UPLOAD, LOW, REFILL

BURST: Final = 4 * FIRST_UPLOAD
PER_S: Final = REFILL / 3600.0


class PrekeyRation:
    """What is left to mint; `now` is the monotonic clock in seconds."""

    __slots__ = ("_as_of", "_left")

    def __init__(self, now: float) -> None:
        self._left = float(BURST)
        self._as_of = now

    def take(self, wanted: int, now: float) -> int:
        """Return how many may be minted now, at most `wanted`; 0 where it would not be worth an upload."""
        self._left = min(float(BURST), self._left + max(now - self._as_of, 0.0) * PER_S)
        self._as_of = now
        granted = min(wanted, int(self._left))
        if granted < LOW:
            return 0
        self._left -= granted
        return granted

    def used(self, count: int) -> None:
        """That many prekeys opened a session: they may be replaced."""
        self._left = min(float(BURST), self._left + count)
