"""Waking readers of the event log.

Rule: the log is the truth and the bus only says "look again". Nothing is carried here, so nothing can be lost here: a
subscriber pages from the store after its own cursor, and a wake-up that it misses is remembered as one pending look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from whatisup.store import Event, Mode

UNDECRYPTABLE: Final = "message.undecryptable"


class Subscription:
    """One reader's alarm clock."""

    __slots__ = ("_rang",)

    def __init__(self) -> None:
        self._rang = trio.Event()

    async def wait(self) -> None:
        """Return once something was committed since the last call returned (at once if that is already so)."""
        await self._rang.wait()
        self._rang = trio.Event()

    def ring(self) -> None:
        """Wake the reader, now or when it next waits."""
        self._rang.set()


class Bus:
    """Subscriptions by customer and mode, so that one customer's traffic wakes nobody else."""

    def __init__(self) -> None:
        self._subscriptions: dict[tuple[str, Mode], set[Subscription]] = {}
        self.told: Counter[tuple[Mode, str]] = Counter()
        """How many events of each mode and name were committed since the process started."""
        self.unread: Counter[tuple[Mode, str]] = Counter()
        """Those of messages that could not be read, by whether others are still asked for them: "pending", "ended"."""

    @property
    def subscribers(self) -> int:
        """How many subscriptions are open."""
        return sum(len(group) for group in self._subscriptions.values())

    def publish(self, events: Iterable[Event]) -> None:
        """Count committed events, and wake everybody who may read one of them."""
        events = tuple(events)
        self.told.update((event.mode, event.type) for event in events)
        self.unread.update((event.mode, _repair_of(event)) for event in events if event.type == UNDECRYPTABLE)
        for key in {(event.customer_id, event.mode) for event in events}:
            for subscription in self._subscriptions.get(key, ()):
                subscription.ring()

    @contextmanager
    def subscribe(self, customer_id: str, mode: Mode) -> Iterator[Subscription]:
        """Be woken for one customer's events in one mode."""
        subscription = Subscription()
        group = self._subscriptions.setdefault((customer_id, mode), set())
        group.add(subscription)
        try:
            yield subscription
        finally:
            group.discard(subscription)
            if not group:
                self._subscriptions.pop((customer_id, mode), None)


def _repair_of(event: Event) -> str:
    """How far the repair of a message is that could not be read."""
    state = (event.data or {}).get("retry", {}).get("state")
    return state if state == "pending" else "ended"
