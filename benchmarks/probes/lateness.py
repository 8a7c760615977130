"""How late an event loop is: what a timer of 10 ms would see that runs on it all the time.

Rule: the timer is reckoned, not run, from when the loop waits and when it works; so it costs an idle loop nothing. It
counts as `perf_hooks.monitorEventLoopDelay` of Node does, with the 10 ms themselves left out: a tick that was due while
the loop worked is late until that work is over, and the next is due 10 ms after that.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import trio

TICK_S = 0.010
_STEPS = 24
"""Buckets for each doubling: 3 % wide."""
_FINEST_S = 1e-5
_BUCKETS = 24 * _STEPS
"""Up to 160 s."""


@dataclass(slots=True)
class Lateness:
    """What the timer has seen since it was started, or started again."""

    due_at: float | None = None
    punctual: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * _BUCKETS)
    longest_s: float = 0.0

    def restart(self) -> None:
        """Forget everything."""
        self.due_at, self.punctual, self.longest_s = None, 0, 0.0
        self.buckets = [0] * _BUCKETS

    def waited(self, now: float) -> None:
        """The loop has waited until now: whatever was due meanwhile was punctual."""
        if self.due_at is None:
            self.due_at = now + TICK_S
        elif now >= self.due_at:
            ticks = int((now - self.due_at) / TICK_S) + 1
            self.punctual += ticks
            self.due_at += ticks * TICK_S

    def worked(self, now: float) -> None:
        """The loop has worked until now: what was due meanwhile is late."""
        if self.due_at is None or now < self.due_at:
            return
        late_s = now - self.due_at
        self.longest_s = max(self.longest_s, late_s)
        self.buckets[_bucket(late_s)] += 1
        self.due_at = now + TICK_S

    def p99_s(self) -> float:
        """What 99 of 100 ticks were not later than."""
        left = (self.punctual + sum(self.buckets)) // 100
        for index in reversed(range(_BUCKETS)):
            left -= self.buckets[index]
            if left < 0:
                return min(self.longest_s, _FINEST_S * 2 ** ((index + 1) / _STEPS))
        return 0.0

    def said(self) -> dict[str, float]:
        """In milliseconds."""
        return {"p99_ms": 1000 * self.p99_s(), "max_ms": 1000 * self.longest_s}


def _bucket(late_s: float) -> int:
    return min(_BUCKETS - 1, int(_STEPS * math.log2(max(1.0, late_s / _FINEST_S))))


class LoopWatch(trio.abc.Instrument):
    """Tells `Lateness` of each turn of Trio's loop."""

    def __init__(self, lateness: Lateness) -> None:
        self._lateness = lateness

    def before_io_wait(self, timeout: float) -> None:
        """The work of a turn is over."""
        self._lateness.worked(time.perf_counter())

    def after_io_wait(self, timeout: float) -> None:
        """The next turn begins."""
        self._lateness.waited(time.perf_counter())
