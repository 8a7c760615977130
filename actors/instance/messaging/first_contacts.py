"""Whom we may write to first: people never met count against a daily budget, and rest while the account is restricted.

Rule: who has to wait waits, and is not refused; a message that waits too long expires by its own time.
"""

from __future__ import annotations

from typing import Final

import trio

from actors.instance.messaging.budgets import Bucket
from actors.instance.messaging.plans import Plans
from actors.instance.messaging.waits import Waits

NEVER: Final = float("inf")
RESTRICTION_S: Final = 60.0
"""How long first contacts rest after a refusal that names no end."""


class FirstContacts:
    """The budget of one instance for people never written to or heard from. Times are monotonic seconds."""

    __slots__ = ("_budget", "_restricted")

    def __init__(self, per_day: int) -> None:
        self._budget = Bucket(per_day / 86_400, per_day, trio.current_time())
        self._restricted: dict[str, float] = {}  # until when, by the kind of restriction

    def hold(self, plans: Plans, waits: Waits) -> None:
        """Let first contacts among these wait for the budget, and for the end of a restriction."""
        now = trio.current_time()
        rest_s = max(self._budget.wait_s(now), max(self._restricted.values(), default=-NEVER) - now)
        for chat, plan in plans.ready.items():
            if plan.is_first_contact and chat not in waits and rest_s > 0:
                waits.rest(chat, now + rest_s)

    def count(self, plans: Plans, waits: Waits) -> None:
        """Those of these that wait for nothing any more are written to now."""
        for chat, plan in plans.ready.items():
            if plan.is_first_contact and chat not in waits:
                self._budget.take(trio.current_time())

    def is_restricted(self, kind: str) -> bool:
        """Whether a restriction of that kind is known to hold."""
        return self._restricted.get(kind, -NEVER) > trio.current_time()

    def restrict(self, kind: str, until: float) -> None:
        """A notification says until when a restriction holds."""
        self._restricted[kind] = until

    def refused(self, kind: str) -> None:
        """A message was refused for a restriction: it holds for a while yet, if not longer."""
        rest_until = trio.current_time() + RESTRICTION_S
        self._restricted[kind] = max(rest_until, self._restricted.get(kind, -NEVER))
