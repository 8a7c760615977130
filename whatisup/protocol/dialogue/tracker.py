"""Requests that await their answers, each with a deadline.

Rule: every request ends exactly once: by an answer, by its deadline, or by the connection's end. An answer that nobody
awaits, because it is unsolicited, a duplicate or too late, is nobody's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from whatisup.lifecycle import Trigger
from whatisup.wire import Node


@dataclass(slots=True)
class Waiter:
    """Who awaits an answer: `settle` gets it, or `None` at the deadline; `lost` hears of the connection's end."""

    deadline_at: float
    settle: Callable[[Node | None], None]
    lost: Callable[[Trigger], None] | None = None


class IqTracker:
    """The waiters of one connection by request id."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: dict[str, Waiter] = {}

    def expect(self, request_id: str, waiter: Waiter) -> None:
        """Await the answer to a request."""
        self._waiters[request_id] = waiter

    def answer(self, node: Node) -> bool:
        """Hand an answer to whom it belongs; False where nobody awaits it."""
        waiter = self._waiters.pop(str(node.attrs.get("id", "")), None)
        if waiter is None:
            return False
        waiter.settle(node)
        return True

    def next_deadline(self) -> float | None:
        """Return when the first waiter gives up, in monotonic seconds."""
        return min((waiter.deadline_at for waiter in self._waiters.values()), default=None)

    def handle_timer(self, now: float) -> None:
        """Give up on every request whose deadline has passed."""
        for request_id in [key for key, waiter in self._waiters.items() if waiter.deadline_at <= now]:
            self._waiters.pop(request_id).settle(None)

    def fail_all(self, trigger: Trigger) -> None:
        """Tell every waiter that the connection is over."""
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters.values():
            if waiter.lost is not None:
                waiter.lost(trigger)

    def shift(self, by_s: float) -> None:
        """Move every deadline, since nobody read for that long."""
        for waiter in self._waiters.values():
            waiter.deadline_at += by_s
