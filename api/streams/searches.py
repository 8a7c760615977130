"""Searches of the store: pages of lists, and streams that catch up.

Rule: the store has few readers, and a search through a long log may take one for seconds. Of each customer's searches
one is under way at a time, so however many there are, the other readers are there for everybody else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Searches:
    """Turns of customers, kept while somebody takes or awaits one."""

    def __init__(self) -> None:
        self._turns: dict[str, trio.Lock] = {}

    def __len__(self) -> int:
        return len(self._turns)

    @asynccontextmanager
    async def one(self, customer_id: str) -> AsyncIterator[None]:
        """Search as this customer, when those who asked before have done so."""
        turn = self._turns.setdefault(customer_id, trio.Lock())
        try:
            async with turn:
                yield
        finally:
            if not turn.locked():  # whoever waits has been given it already
                self._turns.pop(customer_id, None)
