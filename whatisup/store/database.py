"""The store for tasks: the one place where the store's work is handed to threads.

Rule: one thread writes, a few read, one sweeps; each kind has its own limiter, so none waits behind another or behind
DNS. A call is not cancellable once its thread runs, so what was begun is finished. The database's own timeouts bound
it; a server that hangs without a word is given up after `READ_S` or `COMMIT_S`, and its thread keeps its place in the
limiter until it ends, so that such threads do not pile up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

import trio

from whatisup.errors import StoreUnavailable
from whatisup.store.lock import DatabaseLock
from whatisup.store.store import Item, Results, Store

T = TypeVar("T")

READERS: Final = 2
READ_S: Final = 12.0
"""How long a read may take: more than a statement may, and bearable in a shutdown."""
COMMIT_S: Final = 20.0
"""How long a batch may take; a batch that is given up may be there all the same, and its successors wait for it."""
LOCK_POLL_S: Final = 1.0
TELL_AGAIN_S: Final = 60.0


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
            StoreUnavailable: the database cannot be reached, or did not answer in time.
        """
        return await _answer(partial(self.store.read, fn, *args), self._reading, READ_S)

    async def look(self, fn: Callable[..., T], *args: Any) -> T:
        """As `read`, for what finds a few rows by key.

        Raises:
            StoreUnavailable: the database cannot be reached, or did not answer in time.
        """
        return await self.read(fn, *args)

    async def commit(self, batch: Sequence[Item]) -> Results:
        """Commit a batch; see `Store.commit`.

        Raises:
            StoreUnavailable: the database cannot be written, or did not answer in time.
        """
        return await _answer(partial(self.store.commit, batch), self._writing, COMMIT_S)

    async def probe(self) -> None:
        """Write something small.

        Raises:
            StoreUnavailable: the database cannot be written, or did not answer in time.
        """
        await _answer(self.store.probe, self._writing, COMMIT_S)

    async def checkpoint(self) -> None:
        """Do the database's background chores beside the writer."""
        await trio.to_thread.run_sync(self.store.checkpoint, limiter=self._sweeping)


async def _answer(work: Callable[[], T], limiter: trio.CapacityLimiter, within_s: float) -> T:
    """Run `work` in a thread and wait for its end, cancelled or not, but not for ever."""
    await trio.lowlevel.checkpoint_if_cancelled()
    with trio.move_on_after(within_s, shield=True):
        return await trio.to_thread.run_sync(work, limiter=limiter, abandon_on_cancel=True)
    await trio.lowlevel.checkpoint_if_cancelled()
    raise StoreUnavailable(f"the database has not answered for {within_s:.0f} s")


@asynccontextmanager
async def holding(
    lock: DatabaseLock, *, on_wait: Callable[[str], None], poll_s: float = LOCK_POLL_S
) -> AsyncIterator[None]:
    """Own a database for the block's time, waiting until nobody else does.

    `on_wait` is told at once, and each `TELL_AGAIN_S`, for whom we wait.
    """
    tell_at = trio.current_time()
    while not await trio.to_thread.run_sync(lock.try_acquire):
        if trio.current_time() >= tell_at:
            holder: str | None = await trio.to_thread.run_sync(lock.holder)
            on_wait(holder or "another process")
            tell_at = trio.current_time() + TELL_AGAIN_S
        await trio.sleep(poll_s)
    try:
        yield
    finally:
        lock.release()
