"""How many requests a customer may make: a token bucket for each customer and mode, in memory.

Rule: a bucket is one number, the moment when it is full again. Once that has passed the bucket is as good as none, so
full ones are forgotten, and there are no more buckets than customers that are busy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from whatisup.settings import Settings
from whatisup.store import Mode, RateLimit

MAX_BUCKETS: Final = 10_000

# Sums of many small waits are not exact; a token is not refused for that.
_ALMOST: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Standing:
    """How a bucket stands: its size, the tokens left, the seconds until it is full, and until there is a token."""

    limit: int
    remaining: int
    full_in_s: float
    token_in_s: float

    @property
    def retry_after_s(self) -> int:
        """Whole seconds to wait for a token."""
        return max(1, math.ceil(self.token_in_s - _ALMOST))


class Buckets:
    """The buckets of a process; `clock` gives monotonic seconds."""

    def __init__(
        self, limits: Mapping[Mode, RateLimit], clock: Callable[[], float], *, max_buckets: int = MAX_BUCKETS
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._max = max_buckets
        self._full_at: dict[tuple[str, Mode], float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def look(self, customer_id: str, mode: Mode, own: RateLimit | None) -> Standing | None:
        """Say how a bucket stands, without taking a token; None where there is no limit. `own` goes before ours."""
        limit = own or self._limits[mode]
        if limit.per_s == 0:
            return None
        wait = max(0.0, self._full_at.get((customer_id, mode), 0.0) - self._clock())
        tokens = max(0.0, limit.burst - wait * limit.per_s)
        token_in_s = 0.0 if tokens >= 1 - _ALMOST else (1 - tokens) / limit.per_s
        return Standing(limit.burst, math.floor(tokens + _ALMOST), wait, token_in_s)

    def take(self, customer_id: str, mode: Mode, own: RateLimit | None) -> tuple[bool, Standing | None]:
        """Take a token: whether there was one, and how the bucket stands afterwards."""
        before = self.look(customer_id, mode, own)
        if before is None or before.token_in_s > 0:
            return before is None, before
        limit, now = own or self._limits[mode], self._clock()
        full_in_s = min(before.full_in_s, limit.burst / limit.per_s) + 1 / limit.per_s
        self._keep((customer_id, mode), now + full_in_s, now)
        return True, self.look(customer_id, mode, own)

    def _keep(self, whose: tuple[str, Mode], full_at: float, now: float) -> None:
        if whose not in self._full_at and len(self._full_at) >= self._max:
            self._full_at = {one: at for one, at in self._full_at.items() if at > now}
            if len(self._full_at) >= self._max:  # the fullest is missed least
                del self._full_at[min(self._full_at, key=self._full_at.__getitem__)]
        self._full_at[whose] = full_at


def buckets_for(settings: Settings, clock: Callable[[], float]) -> Buckets:
    """Make the buckets that the settings describe."""
    return Buckets(
        {
            Mode.LIVE: RateLimit(settings.rate_limit_burst, settings.rate_limit_per_s),
            Mode.TEST: RateLimit(settings.rate_limit_burst_test, settings.rate_limit_per_s_test),
        },
        clock,
    )
