"""When a delivery that failed is tried again.

Rule: the ladder is a setting, the jitter is given; the same arguments give the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

LATE_AFTER: Final = 3
"""After that many failures a delivery of a `relaxed` endpoint no longer holds up those behind it."""
JITTER: Final = 0.1
"""The part of a delay by which it may be longer or shorter."""


def delay_s(tries: int, delays: Sequence[float], jitter: float) -> float | None:
    """Return the seconds until the next attempt after `tries` failures (1 = the first one), or None to give up.

    `jitter` is from 0 to 1 and moves the delay evenly within 10 % to both sides (0.5 leaves it as it is), so that what
    failed together is not tried again together.
    """
    if tries < 1:
        raise ValueError("a ladder is climbed by failures: tries starts at 1")
    if tries > len(delays):
        return None
    return delays[tries - 1] * (1 + JITTER * (2 * jitter - 1))
