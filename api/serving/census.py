"""What the page of numbers asks of the database: counts of rows, which no process could keep by itself.

Rule: however often somebody looks, counting takes a twentieth of one thread's time at most: an answer that took long to
find is kept for long. Nobody waits for it longer than `COUNT_S`, and what the database did not say is None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import trio

from whatisup.errors import StoreError
from whatisup.lifecycle import State
from whatisup.store import Database, Mode, QueueCounts, deliveries, instances, outbox

SHARE: Final = 1 / 20
COUNT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Figures:
    """Instances by mode and state, messages in the outbox by stage, and what waits in the queue of webhooks."""

    sessions: Mapping[tuple[Mode, State], int]
    outbox: Mapping[str, int]
    queue: QueueCounts


class Census:
    """Counts, and remembers for a while."""

    def __init__(self) -> None:
        self._turn = trio.Lock()
        # A database that hangs keeps one thread, however often it is asked.
        self._thread = trio.CapacityLimiter(1)
        self._figures: Figures | None = None
        self._until = float("-inf")

    async def count(self, database: Database) -> Figures | None:
        """Give the figures, counted now or a little earlier; None while the database cannot be asked."""
        async with self._turn:
            begun_at = trio.current_time()
            if begun_at >= self._until:
                self._figures = None
                with trio.move_on_after(COUNT_S), suppress(StoreError):
                    self._figures = await trio.to_thread.run_sync(
                        database.store.read, _count, limiter=self._thread, abandon_on_cancel=True
                    )
                now = trio.current_time()
                self._until = now + (now - begun_at) / SHARE
            return self._figures


def _count(conn: Any, vault: Any) -> Figures:
    return Figures(instances.counts_by_status(conn, vault), outbox.counts(conn, vault), deliveries.counts(conn, vault))
