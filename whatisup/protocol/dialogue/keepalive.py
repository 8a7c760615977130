"""Whether the other end is still there: a ping every 20 to 30 seconds, and doubt when nothing comes back.

The pings of all connections fall on the quarters of a second, so that a thousand idle ones wake the process four times
a second and not forty: what a wake-up costs beside the ping is shared.

Rule: any frame is a sign of life. A ping unanswered for 10 s is repeated at once, and after another 10 s the connection
is lost, so a half-open socket shows within 50 s of its last frame.

Source: WhatsApp Web; the interval as whatsmeow, the rest ours.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from whatisup.crypto import Entropy

MIN_INTERVAL_S: Final = 20.0
MAX_INTERVAL_S: Final = 30.0
REPLY_S: Final = 10.0
TICK_S: Final = 0.25
_MAX_MISSED: Final = 2


class Beat(Enum):
    """What the clock asks for."""

    QUIET = "quiet"
    PING = "ping"
    LOST = "lost"


class Keepalive:
    """The liveness clock of one connection."""

    __slots__ = ("_deadline_at", "_entropy", "_unanswered")

    def __init__(self, entropy: Entropy, now: float) -> None:
        self._entropy = entropy
        self._unanswered = 0
        self._deadline_at = self._next_at(now)

    def heard(self, now: float) -> None:
        """Take note of a frame."""
        if self._unanswered:
            self._unanswered = 0
            self._deadline_at = self._next_at(now)

    def beat(self, now: float) -> Beat:
        """Say what is due: nothing, a ping to be sent, or the end."""
        if now < self._deadline_at:
            return Beat.QUIET
        if self._unanswered >= _MAX_MISSED:
            return Beat.LOST
        self._unanswered += 1
        self._deadline_at = now + REPLY_S
        return Beat.PING

    @property
    def deadline_at(self) -> float:
        """When `beat` has something to say, in monotonic seconds."""
        return self._deadline_at

    def shift(self, by_s: float) -> None:
        """Stand still for that long, since we did not read."""
        self._deadline_at += by_s

    def _next_at(self, now: float) -> float:
        """Draw when to ping next, on a tick if there is one before; never sooner than the least interval."""
        share = int.from_bytes(self._entropy(2), "big") / 0xFFFF
        at = now + MIN_INTERVAL_S + share * (MAX_INTERVAL_S - MIN_INTERVAL_S)
        return max(at // TICK_S * TICK_S, now + MIN_INTERVAL_S)
