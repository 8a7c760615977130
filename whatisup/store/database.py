"""The store for tasks: the one place where the store's work is handed to threads.

Rule: one thread writes, a few read, one sweeps; each kind has its own limiter, so none waits behind another or behind
DNS. A call is not cancellable once its thread runs: what was begun is finished, and the database's own timeouts bound
it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

import trio

from whatisup.store.lock import DatabaseLock
from whatisup.store.store import Item, Results, Store

T = TypeVar("T")

READERS: Final = 2
LOCK_POLL_S: Final = 1.0


class Database:
    """A store behind threads."""

    def __init__(self, store: Store, *, readers: int = READERS) -> None:
        self.store = store
        self._reading = trio.CapacityLimiter(readers)
        self._writing = trio.CapacityLimiter(1)
        self._sweeping = trio.CapacityLimiter(1)

    async def read(self, fn: Callable[..., T], *args: Any) -> T:
        """Run `fn(conn, vault, *args)` in a read transaction.

        Raises:
            StoreUnavailable: the database cannot be reached.
        """
        return await trio.to_thread.run_sync(partial(self.store.read, fn, *args), limiter=self._reading)

    async def commit(self, batch: Sequence[Item]) -> Results:
        """Commit a batch; see `Store.commit`.

        Raises:
            StoreUnavailable: the database cannot be written.
        """
        return await trio.to_thread.run_sync(self.store.commit, batch, limiter=self._writing)

    async def probe(self) -> None:
        """Write something small.

        Raises:
            StoreUnavailable: the database cannot be written.
        """
        await trio.to_thread.run_sync(self.store.probe, limiter=self._writing)

    async def checkpoint(self) -> None:
        """Do the database's background chores beside the writer."""
        await trio.to_thread.run_sync(self.store.checkpoint, limiter=self._sweeping)


@asynccontextmanager
async def holding(
    lock: DatabaseLock, *, on_wait: Callable[[str], None], poll_s: float = LOCK_POLL_S
) -> AsyncIterator[None]:
    """Own a database for the block's time, waiting until nobody else does.

    `on_wait` is told once, when there is somebody to wait for, who that is.
    """
    has_told = False
    while not await trio.to_thread.run_sync(lock.try_acquire):
        if not has_told:
            holder: str | None = await trio.to_thread.run_sync(lock.holder)
            on_wait(holder or "another process")
            has_told = True
        await trio.sleep(poll_s)
    try:
        yield
    finally:
        lock.release()
