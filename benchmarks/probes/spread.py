"""Times as figures: one clock, and how a set of times is spread.

Rule: a rank is a value that was measured, never one in between.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def unix_ms() -> float:
    """The one clock."""
    return time.time_ns() / 1e6


@dataclass(frozen=True, slots=True)
class Spread:
    """How a set of times is spread, in milliseconds. Of fewer than 100 the p99 is simply the longest."""

    count: int
    p50: float
    p99: float
    longest: float

    @classmethod
    def of(cls, times_ms: Iterable[float]) -> Spread:
        """The spread of these; all zero for none."""
        ordered = sorted(times_ms)
        if not ordered:
            return cls(0, 0.0, 0.0, 0.0)
        return cls(len(ordered), _rank(ordered, 0.5), _rank(ordered, 0.99), ordered[-1])


def _rank(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
