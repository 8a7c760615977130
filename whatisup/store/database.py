"""The store for tasks: the one place where the store's work is handed to threads.

Rule: one thread writes, a few read, one sweeps; each kind has its own limiter, so none waits behind another or behind
DNS. What a local database (SQLite) does without waiting, it does at once, on the loop: the statements of a batch, but
not its commit, and reads of a few rows. A hop to a thread costs more than those, and each of their statements would
fight the loop for the interpreter. What turns out to wait, or to take long, is undone and done in a thread.

A call is not cancellable once its thread runs, so what was begun is finished. The database's own timeouts bound
it; a server that hangs without a word is given up after `READ_S` or `COMMIT_S`, and its thread keeps its place in the
limiter until it ends, so that such threads do not pile up.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar

import trio
from outcome import Outcome, capture
from sqlalchemy.exc import DBAPIError

from whatisup.errors import StoreUnavailable
from whatisup.store import auth, retention
from whatisup.store.lock import DatabaseLock
from whatisup.store.store import Item, Results, Store
from whatisup.store.unit import Call, MarkDeleted, WipeAuth

T = TypeVar("T")

READERS: Final = 2
READ_S: Final = 12.0
"""How long a read may take: more than a statement may, and bearable in a shutdown."""
COMMIT_S: Final = 20.0
"""How long a batch may take; a batch that is given up may be there all the same, and its successors wait for it."""
QUICK_S: Final = 0.008
"""How long a batch may keep the loop."""
LONG_S: Final = 0.01
"""What keeps the loop for longer is no look."""
LONG_FOR_S: Final = 2.0
MAX_LONG: Final = 1024
MAX_THREAD_ITEMS: Final = 256
MIN_QUICK_ITEMS, MAX_QUICK_ITEMS = 8, 128
_LONG_OPS: Final = frozenset({WipeAuth, MarkDeleted})
_LONG_CALLS: Final = frozenset({retention.sweep, auth.wipe_orphans})
LOCK_POLL_S: Final = 1.0
TELL_AGAIN_S: Final = 60.0


class Database:
    """A store for tasks: at once where that takes no time, in threads where it might."""

    def __init__(self, store: Store, *, readers: int = READERS) -> None:
        self.store = store
        self._reading = trio.CapacityLimiter(readers)
        self._writing = trio.CapacityLimiter(1)
        self._sweeping = trio.CapacityLimiter(1)
        self._item_s = QUICK_S / MAX_QUICK_ITEMS
        self._long: dict[tuple[object, int], float] = {}
        """Until when (monotonic seconds) looks are done in a thread: by what asks, and a hash of whom it is about."""

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
        if not self.store.is_local:
            return await self.read(fn, *args)
        await trio.lowlevel.checkpoint_if_cancelled()
        kind = getattr(fn, "func", fn), hash(args[0]) if args and isinstance(args[0], str) else 0
        if self._long.get(kind, 0.0) <= time.monotonic():
            begun_at = time.thread_time()  # another process that has the processor meanwhile makes nothing long
            with suppress(DBAPIError):
                found = self.store.glance(fn, *args)
                if time.thread_time() - begun_at > LONG_S:
                    self._note_long(kind)
                return found
            self._note_long(kind)
        return await self.read(fn, *args)

    def _note_long(self, kind: tuple[object, int]) -> None:
        """Keep a look away from the loop for a while, since a peer may have made it long: by a long queue, say."""
        self._long.pop(kind, None)
        if len(self._long) >= MAX_LONG:
            del self._long[next(iter(self._long))]
        self._long[kind] = time.monotonic() + LONG_FOR_S

    async def peek(self, fn: Callable[..., T], *args: Any) -> T | None:
        """As `look`, but None where that is not done at once: for whoever takes a turn before it reads in a thread."""
        if self.store.is_local:
            await trio.lowlevel.checkpoint_if_cancelled()
            with suppress(DBAPIError):
                return self.store.glance(fn, *args)
        return None

    async def commit(self, batch: Sequence[Item]) -> Results:
        """Commit a batch; see `Store.commit`.

        Raises:
            StoreUnavailable: the database cannot be written, or did not answer in time.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.store.is_local and self._is_quick(batch) and not self._writing.borrowed_tokens:
            begun_at = time.perf_counter()
            written = self.store.start(batch)
            ending = None if written is None else _Ending(partial(self.store.end, written), self._writing)
            took_s = time.perf_counter() - begun_at
            if ending is not None or took_s > QUICK_S:  # also what was given up has kept the loop
                self._learn(len(batch), took_s)
            if ending is not None:
                return await ending.wait(COMMIT_S)
        return await _answer(partial(self.store.commit, batch), self._writing, COMMIT_S)

    @property
    def quick_items(self) -> int:
        """How many items a batch should have at most, so as to be written at once."""
        if not self.store.is_local:
            return MAX_THREAD_ITEMS
        return min(MAX_QUICK_ITEMS, max(MIN_QUICK_ITEMS, int(QUICK_S / self._item_s)))

    def _is_quick(self, batch: Sequence[Item]) -> bool:
        return len(batch) <= self.quick_items and not any(_is_long(item) for item in batch)

    def _learn(self, count: int, took_s: float) -> None:
        """Remember what an item takes; small batches say less, since all pay for the transaction too."""
        if count:
            self._item_s += min(count / 32, 0.5) * (took_s / count - self._item_s)

    async def probe(self) -> None:
        """Write something small.

        Raises:
            StoreUnavailable: the database cannot be written, or did not answer in time.
        """
        await _answer(self.store.probe, self._writing, COMMIT_S)

    async def checkpoint(self) -> None:
        """Do the database's background chores beside the writer."""
        await trio.to_thread.run_sync(self.store.checkpoint, limiter=self._sweeping)


def _is_long(item: Item) -> bool:
    """Whether an item is known to take its time."""
    if isinstance(item, Call):
        return item.fn in _LONG_CALLS
    return any(type(op) in _LONG_OPS for op in item.ops)


class _Ending:
    """Work that runs in a thread from here on: there is no checkpoint before it begins.

    So nobody on the loop can come between, wait for the store's turn, and keep the loop from handing it on.
    """

    def __init__(self, work: Callable[[], Results], limiter: trio.CapacityLimiter) -> None:
        self._outcome: Outcome[Results] | None = None
        self._has_ended = trio.Event()
        token = trio.lowlevel.current_trio_token()
        limiter.acquire_on_behalf_of_nowait(self)

        def end(outcome: Outcome[Results]) -> None:
            self._outcome = outcome
            limiter.release_on_behalf_of(self)
            self._has_ended.set()

        def deliver(outcome: Outcome[Results]) -> None:
            # Who has given up, and ended the loop, wants no answer.
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(end, outcome)

        try:
            trio.lowlevel.start_thread_soon(work, deliver, "commit")
        except RuntimeError:  # the system gives us no thread: a late loop is better than a transaction that stays open
            end(capture(work))

    async def wait(self, within_s: float) -> Results:
        """Wait for the end, cancelled or not, but not for ever."""
        with trio.move_on_after(within_s, shield=True):
            await self._has_ended.wait()
        if self._outcome is not None:
            return self._outcome.unwrap()
        await trio.lowlevel.checkpoint_if_cancelled()
        raise StoreUnavailable(_silent_for(within_s))


async def _answer(work: Callable[[], T], limiter: trio.CapacityLimiter, within_s: float) -> T:
    """Run `work` in a thread and wait for its end, cancelled or not, but not for ever."""
    await trio.lowlevel.checkpoint_if_cancelled()
    with trio.move_on_after(within_s, shield=True):
        return await trio.to_thread.run_sync(work, limiter=limiter, abandon_on_cancel=True)
    await trio.lowlevel.checkpoint_if_cancelled()
    raise StoreUnavailable(_silent_for(within_s))


def _silent_for(within_s: float) -> str:
    return f"the database has not answered for {within_s:.0f} s"


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
