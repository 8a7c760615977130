"""How fast an instance may act on WhatsApp: token buckets, so that a number is not taken for a robot's.

Rule: a budget delays or refuses with the time to wait; it never drops. Time is passed in.
"""

from __future__ import annotations


class Bucket:
    """A token bucket: `burst` tokens at most, `per_s` new ones a second. `per_s` 0 means no limit at all."""

    __slots__ = ("_burst", "_filled_at", "_per_s", "_tokens")

    def __init__(self, per_s: float, burst: float, now: float) -> None:
        self._per_s = per_s
        self._burst = max(1.0, burst)
        self._tokens = self._burst
        self._filled_at = now

    def wait_s(self, now: float) -> float:
        """How long until a token is there, in seconds; 0 when there is one."""
        if self._per_s <= 0:
            return 0.0
        self._fill(now)
        return 0.0 if self._tokens >= 1.0 else (1.0 - self._tokens) / self._per_s

    def available(self, now: float, most: int) -> int:
        """How many tokens could be taken now, up to `most`."""
        if self._per_s <= 0:
            return most
        self._fill(now)
        return min(most, int(self._tokens))

    def take(self, now: float, count: int = 1) -> None:
        """Take tokens, whether there are enough or not: who asked `available` first never overdraws."""
        if self._per_s > 0:
            self._fill(now)
            self._tokens -= count

    def _fill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._per_s)
        self._filled_at = now
