"""When to try again, as arithmetic: no clock and no dice of its own.

Full jitter (a uniform draw from zero to the cap of the attempt) spreads a fleet that lost one server; 515 asks for a
reconnect at once, which is granted rarely enough that a server cannot make us spin.
"""

from __future__ import annotations

from collections.abc import Callable

BASE_S = 1.0
FACTOR = 2.0
CAP_S = 60.0
STABLE_S = 60.0
# Failure 501 ("experimental") says that this server does not want us for now.
LONG_CAP_S = 900.0
# A restart on request is free once in this many seconds.
FREE_RESTART_EVERY_S = 10.0


class Backoff:
    """The attempts of one instance; times are monotonic seconds, jitter a number from 0 to 1."""

    __slots__ = ("_attempt", "_connected_at", "_free_at", "_jitter")

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._attempt = 0
        self._connected_at: float | None = None
        self._free_at = float("-inf")

    def connected(self, now: float) -> None:
        """Remember when the session came up; 60 s later the attempts start from the beginning again."""
        self._connected_at = now

    def after_loss(self, now: float, *, is_long: bool = False) -> float:
        """Seconds to wait after a lost or failed connection."""
        if self._connected_at is not None and now - self._connected_at >= STABLE_S:
            self._attempt = 0
        self._connected_at = None
        cap_s = LONG_CAP_S if is_long else CAP_S
        ceiling_s = cap_s if is_long else min(cap_s, BASE_S * FACTOR ** min(self._attempt, 16))
        self._attempt += 1
        return self._jitter() * ceiling_s

    def after_request(self, now: float) -> float:
        """Seconds to wait when the server asked for a reconnect: none, unless it asks too often."""
        if now < self._free_at:
            return self.after_loss(now)
        self._free_at = now + FREE_RESTART_EVERY_S
        return 0.0
