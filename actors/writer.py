"""The one task that writes: everybody's units and calls, gathered into group commits.

Rule: what was queued gets an answer, and the answer is the truth. While one batch commits, the next gathers, and where
commits follow each other closely it gathers a little longer. A full queue makes its callers wait, which is how a slow
disk slows the sockets down instead of filling the memory.

Fairness is by lane (an instance, a customer): each batch takes one item of every waiting lane in turn, so a busy lane
delays its own items and nobody else's.

Cancelling a caller withdraws what is not queued yet and nothing else: a queued item is committed all the same, since
nobody can tell halfway whether it is. When the store cannot be written, the batch at hand fails, the rest waits for a
probe, and every probe that fails answers what has gathered; the writer itself lives on.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import trio

from actors.histogram import SIZES, Histogram
from whatisup.errors import StoreUnavailable
from whatisup.store import Call, Committed, Database, Due, Event, Unit

T = TypeVar("T")

MAX_ITEMS: Final = 4096
MAX_BYTES: Final = 64 << 20
MAX_LANE_ITEMS: Final = 256
BATCH_ITEMS: Final = 256
BATCH_BYTES: Final = 4 << 20
LANE_ITEMS: Final = 8

GATHER_S: Final = 0.003
"""How long a batch waits for company."""
BUSY_INTERVAL_S: Final = 0.006
"""Commits that follow each other as closely as this are worth the wait."""
ENOUGH_ITEMS: Final = 32
"""With so many items, what a commit costs hardly counts."""
WORTH_GATHERING: Final = 1.0
"""How many items a wait must bring to be worth it."""
ASK_AGAIN_AFTER: Final = 64
"""After how many commits a wait that brought nothing is tried again."""

CHECKPOINT_EVERY_S: Final = 1.0
FIRST_PROBE_AFTER_S: Final = 0.1
MAX_PROBE_AFTER_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class WriterStats:
    """What the writer has done and what it has before it. `lag_s` is the age of the oldest unanswered item."""

    queued: int
    queued_bytes: int
    lag_s: float
    commits: int
    units: int
    calls: int
    failures: int
    outages: int
    is_available: bool


@dataclass(frozen=True, slots=True)
class WriterTimes:
    """How long things took, in seconds, and how large batches were; of commits that the store carried."""

    commit_s: Histogram = field(default_factory=Histogram)
    """A batch's transaction."""
    wait_s: Histogram = field(default_factory=Histogram)
    """One item, from its place in the queue to its answer."""
    items: Histogram = field(default_factory=lambda: Histogram(SIZES))


class _Entry:
    """An item in the queue, and the place where its answer appears."""

    __slots__ = ("answer", "done", "item", "queued_at", "size")

    def __init__(self, item: Unit | Call, queued_at: float) -> None:
        self.item = item
        self.size = item.size
        self.queued_at = queued_at
        self.done = trio.Event()
        self.answer: Any = None

    def give(self, answer: Any) -> None:
        self.answer = answer
        self.done.set()


class _Lanes:
    """Entries by lane, and whose turn it is."""

    def __init__(self) -> None:
        self._turns: deque[str] = deque()
        self._lanes: dict[str, deque[_Entry]] = {}

    def length(self, lane: str) -> int:
        return len(self._lanes.get(lane, ()))

    def push(self, lane: str, entry: _Entry) -> None:
        if lane not in self._lanes:
            self._lanes[lane] = deque()
            self._turns.append(lane)
        self._lanes[lane].append(entry)

    def take(self, max_items: int, max_bytes: int) -> list[_Entry]:
        """One entry of each lane in turn, until a bound is reached; at least one, if there is any.

        While several lanes wait, none puts more than `LANE_ITEMS` into one batch: what else a long lane holds is not to
        make the batch, and with it everybody's answer, late.
        """
        batch: list[_Entry] = []
        size, most = 0, max_items if len(self._turns) == 1 else LANE_ITEMS
        taken: dict[str, int] = {}
        rest: list[str] = []
        while self._turns and len(batch) < max_items:
            lane = self._turns[0]
            entries = self._lanes[lane]
            size += entries[0].size
            if batch and size > max_bytes:
                break
            self._turns.popleft()
            batch.append(entries.popleft())
            taken[lane] = taken.get(lane, 0) + 1
            if not entries:
                del self._lanes[lane]
            elif taken[lane] < most:
                self._turns.append(lane)
            else:
                rest.append(lane)
        self._turns.extend(rest)
        return batch


class _Patience:
    """How long the next batch waits for company: not at all unless commits follow closely and waits bring something.

    A commit costs about as much for one item as for ten, so a busy store does more with fewer of them; but who sends
    one message after the other, with nobody beside, is not to wait for company that does not come.
    """

    def __init__(self) -> None:
        self._begun_at = -math.inf
        self._interval_s = 1.0
        self._gain = 2 * WORTH_GATHERING
        self._until_asked = ASK_AGAIN_AFTER

    def note_commit(self, now: float) -> None:
        """A commit begins."""
        self._interval_s += (min(now - self._begun_at, 1.0) - self._interval_s) / 8
        self._begun_at = now

    def note_gain(self, items: int) -> None:
        """So many items came while a batch waited."""
        self._gain += (items - self._gain) / 8
        self._until_asked = ASK_AGAIN_AFTER

    def wait_s(self) -> float:
        """How long to wait now."""
        if self._interval_s > BUSY_INTERVAL_S + GATHER_S:
            return 0.0
        if self._gain >= WORTH_GATHERING:
            return GATHER_S
        self._until_asked -= 1
        return 0.0 if self._until_asked else GATHER_S


class Writer:
    """Takes units and calls from any task, commits them in batches, and gives each its own answer.

    `on_events`, if set, is told the events of each commit in position order, in the same step in which their authors
    get their answers; it must not raise. `on_deliveries` likewise is told what entered the queue of webhooks.
    """

    def __init__(
        self,
        database: Database,
        *,
        max_items: int = MAX_ITEMS,
        max_bytes: int = MAX_BYTES,
        max_lane_items: int = MAX_LANE_ITEMS,
        batch_items: int = BATCH_ITEMS,
        batch_bytes: int = BATCH_BYTES,
        on_events: Callable[[Sequence[Event]], None] | None = None,
        on_deliveries: Callable[[Sequence[Due]], None] | None = None,
    ) -> None:
        self.on_events = on_events
        self.on_deliveries = on_deliveries
        self._database = database
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._max_lane_items = max_lane_items
        self._batch_items = batch_items
        self._batch_bytes = batch_bytes
        self._lanes = _Lanes()
        self._patience = _Patience()
        # Invariant: everything without an answer, queued or in flight, in order of arrival.
        self._unanswered: dict[_Entry, None] = {}
        self._unanswered_bytes = 0
        self._room = trio.lowlevel.ParkingLot()
        self._arrived = trio.Event()
        self._closing = trio.Event()
        self._available = trio.Event()
        self._available.set()
        self._commits = self._units = self._calls = self._failures = self._outages = 0
        self.times = WriterTimes()

    # --- for callers --------------------------------------------------------------------------------------------

    async def submit(self, unit: Unit) -> Committed:
        """Commit what an instance changed together.

        Raises:
            Fenced: the unit's incarnation is not the current one.
            StoreError: the database refuses the unit.
            StoreUnavailable: the store cannot be written, or the writer is closing.
        """
        committed: Committed = await self._put(unit, unit.instance_id)
        return committed

    async def call(self, fn: Callable[..., T], *args: Any, lane: str = "", anywhere: bool = False) -> T:
        """Run `fn(tx, *args)` in the next batch, in a savepoint of its own, and return its value.

        `anywhere` says that it may be applied after units of its batch that stand behind it; see `Call`.

        Raises:
            StoreUnavailable: the store cannot be written, or the writer is closing.
            Exception: whatever `fn` raises; its effects are undone.
        """
        value: T = await self._put(Call(fn, args, lane, anywhere), lane)
        return value

    async def wait_available(self) -> None:
        """Return when the store can be written, as far as the last try or probe tells."""
        await self._available.wait()

    def close(self) -> None:
        """Refuse new items; `run` answers what is queued and returns."""
        self._closing.set()
        self._arrived.set()
        self._room.unpark_all()

    @property
    def is_available(self) -> bool:
        """Whether the last try or probe could write."""
        return self._available.is_set()

    @property
    def queued(self) -> int:
        """How many items have no answer yet."""
        return len(self._unanswered)

    @property
    def lag_s(self) -> float:
        """The age of the oldest item without an answer."""
        oldest = next(iter(self._unanswered), None)
        return 0.0 if oldest is None else trio.current_time() - oldest.queued_at

    @property
    def stats(self) -> WriterStats:
        """All figures at once."""
        return WriterStats(
            queued=self.queued,
            queued_bytes=self._unanswered_bytes,
            lag_s=self.lag_s,
            commits=self._commits,
            units=self._units,
            calls=self._calls,
            failures=self._failures,
            outages=self._outages,
            is_available=self.is_available,
        )

    async def _put(self, item: Unit | Call, lane: str) -> Any:
        await trio.lowlevel.checkpoint_if_cancelled()
        size = item.size
        while self._is_full(lane, size) and not self._closing.is_set():
            await self._room.park()
        if self._closing.is_set():
            raise StoreUnavailable("the writer is closing")
        entry = _Entry(item, trio.current_time())
        self._unanswered[entry] = None
        self._unanswered_bytes += size
        self._lanes.push(lane, entry)
        self._arrived.set()
        await entry.done.wait()
        if isinstance(entry.answer, Exception):
            raise entry.answer
        return entry.answer

    def _is_full(self, lane: str, size: int) -> bool:
        # An item that is larger than the whole bound goes in alone.
        is_heavy = self._unanswered_bytes > 0 and self._unanswered_bytes + size > self._max_bytes
        is_long = len(self._unanswered) >= self._max_items or self._lanes.length(lane) >= self._max_lane_items
        return is_heavy or is_long

    # --- the task -----------------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write until closed and drained. Cancelled, it finishes the batch at hand and refuses the rest."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweep)
            task_status.started()
            try:
                await self._write_until_closed()
            finally:
                self.close()
                self._answer_all(self._unanswered, "the writer has stopped")
            nursery.cancel_scope.cancel()

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(CHECKPOINT_EVERY_S)
            await self._database.checkpoint()

    async def _write_until_closed(self) -> None:
        while True:
            if self._unanswered and not self._closing.is_set():
                await self._gather()
            if batch := self._take():
                await self._write(batch)
            elif self._closing.is_set():
                return
            else:
                self._arrived = trio.Event()
                await self._arrived.wait()

    async def _gather(self) -> None:
        """Wait a little for more, if that is worth it and there is not enough already."""
        queued = len(self._unanswered)
        if self._room:  # whoever would come has no room before this batch is taken
            return
        if queued < min(ENOUGH_ITEMS, self._most_items) and (wait_s := self._patience.wait_s()):
            await trio.sleep(wait_s)
            self._patience.note_gain(len(self._unanswered) - queued)

    @property
    def _most_items(self) -> int:
        return min(self._batch_items, self._database.quick_items)

    def _take(self) -> list[_Entry]:
        batch = self._lanes.take(self._most_items, self._batch_bytes)
        self._room.unpark_all()  # their lanes are shorter now
        return batch

    async def _write(self, batch: list[_Entry]) -> None:
        begun_at = trio.current_time()
        self._patience.note_commit(begun_at)
        try:
            results = await self._database.commit([entry.item for entry in batch])
        except StoreUnavailable as error:
            self._outages += 1
            self._available = trio.Event()
            self._answer_all(batch, str(error))
            await self._await_store()
            return
        self._commits += 1
        now = trio.current_time()
        self.times.commit_s.observe(now - begun_at)
        self.times.items.observe(len(batch))
        for entry, result in zip(batch, results, strict=True):
            self.times.wait_s.observe(now - entry.queued_at)
            self._count(entry.item, result)
            self._answer(entry, result)
        self._room.unpark_all()
        if results.events and self.on_events is not None:
            self.on_events(results.events)
        if results.deliveries and self.on_deliveries is not None:
            self.on_deliveries(results.deliveries)

    def _count(self, item: Unit | Call, result: Any) -> None:
        if isinstance(item, Unit):
            self._units += 1
        else:
            self._calls += 1
        self._failures += isinstance(result, Exception)

    async def _await_store(self) -> None:
        """Probe until the store can be written again; answer what gathers meanwhile."""
        delay_s = FIRST_PROBE_AFTER_S
        while True:
            try:
                await self._database.probe()
            except StoreUnavailable as error:
                while gathered := self._take():
                    self._answer_all(gathered, str(error))
            else:
                self._available.set()
                return
            if self._closing.is_set():
                return
            with trio.move_on_after(delay_s):
                await self._closing.wait()
            delay_s = min(2 * delay_s, MAX_PROBE_AFTER_S)

    def _answer(self, entry: _Entry, answer: Any) -> None:
        del self._unanswered[entry]
        self._unanswered_bytes -= entry.size
        entry.give(answer)

    def _answer_all(self, entries: Iterable[_Entry], why: str) -> None:
        """Refuse entries, each with an error of its own: a raised error belongs to the task that raised it."""
        for entry in list(entries):
            self._answer(entry, StoreUnavailable(why))
        self._room.unpark_all()
