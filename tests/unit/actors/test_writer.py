"""The writer against a database without threads: batches, fairness, back-pressure, outages and the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.writer import ASK_AGAIN_AFTER, GATHER_S, LANE_ITEMS, MAX_PROBE_AFTER_S, Writer, _Entry, _Lanes, _Patience
from whatisup.errors import Fenced, StoreError, StoreUnavailable
from whatisup.store import Call, Committed, DeliveryKind, Due, Event, Lane, Mode, PutAuth, Results, Touch, Unit


def unit(lane: str, number: int = 0, size: int = 0) -> Unit:
    return Unit(lane, number, (PutAuth("k", "n", b"x" * size),) if size else (Touch(number),))


def event(position: int) -> Event:
    return Event(position, f"evt_{position}", "cust", Mode.LIVE, "inst", position, "t", 0, {}, None)


class FakeDatabase:
    """Commits when the gate is open; answers by rule; goes down when told."""

    quick_items = 256

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.probes = self.checkpoints = 0
        self.is_down = False
        self.gate = trio.Event()
        self.gate.set()
        self.answer: Callable[[Unit | Call], Any] = lambda item: (
            Committed() if isinstance(item, Unit) else item.fn(None, *item.args)
        )
        self.events: tuple[Event, ...] = ()
        self.deliveries: tuple[Due, ...] = ()
        self.failures: list[Exception] = []

    def hold(self) -> None:
        self.gate = trio.Event()

    async def commit(self, batch: Sequence[Unit | Call]) -> Results:
        self.batches.append([item.instance_id if isinstance(item, Unit) else item.lane for item in batch])
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop()
        self._require_up()
        return Results([self.answer(item) for item in batch], self.events, self.deliveries)

    async def probe(self) -> None:
        self.probes += 1
        self._require_up()

    async def checkpoint(self) -> None:
        self.checkpoints += 1

    def _require_up(self) -> None:
        if self.is_down:
            raise StoreUnavailable("down")


@pytest.fixture
def database() -> FakeDatabase:
    return FakeDatabase()


async def started(nursery: trio.Nursery, database: FakeDatabase, **how: Any) -> Writer:
    writer = Writer(database, **how)  # type: ignore[arg-type] # the part of a Database that a writer uses
    await nursery.start(writer.run)
    return writer


class Caller:
    """A task that submits one item and keeps what came of it."""

    def __init__(self, nursery: trio.Nursery, submit: Callable[..., Any], *args: Any) -> None:
        self.outcome: Any = None
        self.scope = trio.CancelScope()
        nursery.start_soon(self._run, submit, args)

    async def _run(self, submit: Callable[..., Any], args: tuple[Any, ...]) -> None:
        with self.scope:
            try:
                self.outcome = await submit(*args)
            except Exception as error:
                self.outcome = error


# --- answers --------------------------------------------------------------------------------------------------------


async def test_everybody_gets_their_own_answer(nursery: trio.Nursery, database: FakeDatabase) -> None:
    writer = await started(nursery, database)
    answers = {"a": Committed((event(1),)), "b": Fenced("old"), "c": StoreError("refused")}
    database.answer = lambda item: answers[item.instance_id] if isinstance(item, Unit) else item.fn(None, *item.args)
    callers = {lane: Caller(nursery, writer.submit, unit(lane)) for lane in answers}
    value = Caller(nursery, writer.call, lambda tx, x: x * 2, 21)
    await wait_all_tasks_blocked()
    assert {lane: caller.outcome for lane, caller in callers.items()} == answers
    assert value.outcome == 42
    assert (writer.stats.units, writer.stats.calls, writer.stats.failures) == (3, 1, 2)
    assert writer.queued == writer.stats.queued_bytes == 0


async def test_error_of_a_call_is_raised_to_its_caller(nursery: trio.Nursery, database: FakeDatabase) -> None:
    writer = await started(nursery, database)
    database.answer = lambda item: ZeroDivisionError("bug")
    with pytest.raises(ZeroDivisionError, match="bug"):
        await writer.call(print)


async def test_events_are_announced_with_the_answers(nursery: trio.Nursery, database: FakeDatabase) -> None:
    seen: list[Sequence[Event]] = []
    writer = await started(nursery, database, on_events=seen.append)
    database.events = (event(1), event(2))
    await writer.submit(unit("a"))
    database.events = ()
    await writer.submit(unit("a"))
    assert seen == [(event(1), event(2))], "a batch without events rings nobody"


async def test_deliveries_are_announced_with_the_answers(nursery: trio.Nursery, database: FakeDatabase) -> None:
    seen: list[Sequence[Due]] = []
    writer = await started(nursery, database, on_deliveries=seen.append)
    due = Due(1, "dlv_1", Lane("wh_1", None, DeliveryKind.LIVE), "evt_1", "t", 0, 0, 0, 0)
    database.deliveries = (due,)
    await writer.submit(unit("a"))
    database.deliveries = ()
    await writer.submit(unit("a"))
    assert seen == [(due,)], "a batch without deliveries rings nobody"


# --- batches and fairness -------------------------------------------------------------------------------------------


async def test_what_gathers_during_a_commit_is_one_batch(nursery: trio.Nursery, database: FakeDatabase) -> None:
    writer = await started(nursery, database)
    database.hold()
    for lane in "abcde":
        Caller(nursery, writer.submit, unit(lane))
        await wait_all_tasks_blocked()
    database.gate.set()
    await wait_all_tasks_blocked()
    assert database.batches == [["a"], ["b", "c", "d", "e"]]


async def test_lanes_take_turns(nursery: trio.Nursery, database: FakeDatabase) -> None:
    """A busy lane's backlog is spread over the batches instead of standing before everybody else."""
    writer = await started(nursery, database, batch_items=4)
    database.hold()
    for lane in ["first", *["busy"] * 6, "quiet", "calm"]:
        Caller(nursery, writer.submit, unit(lane))
        await wait_all_tasks_blocked()
    database.gate.set()
    await wait_all_tasks_blocked()
    assert database.batches == [["first"], ["busy", "quiet", "calm", "busy"], ["busy"] * 4]


async def test_items_of_one_lane_keep_their_order(nursery: trio.Nursery, database: FakeDatabase) -> None:
    writer = await started(nursery, database, batch_items=3)
    written: list[int] = []

    def write(item: Unit | Call) -> Committed:
        assert isinstance(item, Unit)
        written.append(item.incarnation)
        return Committed()

    database.answer = write
    database.hold()
    for number in range(10):
        Caller(nursery, writer.submit, unit("a", number))
        Caller(nursery, writer.submit, unit("b", 100 + number))
        await wait_all_tasks_blocked()
    database.gate.set()
    await wait_all_tasks_blocked()
    assert [n for n in written if n < 100] == list(range(10))
    assert [n for n in written if n >= 100] == list(range(100, 110))


async def test_batches_are_bounded_in_bytes(nursery: trio.Nursery, database: FakeDatabase) -> None:
    writer = await started(nursery, database, batch_bytes=5000)
    database.hold()
    for lane, size in [("first", 10), ("a", 2000), ("b", 2000), ("c", 2000), ("huge", 90_000), ("d", 10)]:
        Caller(nursery, writer.submit, unit(lane, size=size))
        await wait_all_tasks_blocked()
    database.gate.set()
    await wait_all_tasks_blocked()
    assert database.batches == [["first"], ["a", "b"], ["c"], ["huge"], ["d"]]


# --- back-pressure --------------------------------------------------------------------------------------------------


async def test_full_queue_makes_callers_wait(nursery: trio.Nursery, database: FakeDatabase) -> None:
    writer = await started(nursery, database, max_items=3)
    database.hold()
    callers = [Caller(nursery, writer.submit, unit(str(i))) for i in range(8)]
    await wait_all_tasks_blocked()
    assert writer.queued == 3
    database.gate.set()
    await wait_all_tasks_blocked()
    assert [caller.outcome for caller in callers] == [Committed()] * 8


async def test_queue_is_bounded_in_bytes(nursery: trio.Nursery, database: FakeDatabase) -> None:
    writer = await started(nursery, database, max_bytes=10_000)
    database.hold()
    callers = [Caller(nursery, writer.submit, unit(str(i), size=4000)) for i in range(5)]
    await wait_all_tasks_blocked()
    assert writer.queued == 2
    assert writer.stats.queued_bytes <= 10_000
    database.gate.set()
    await wait_all_tasks_blocked()
    assert [caller.outcome for caller in callers] == [Committed()] * 5


async def test_item_above_the_bound_goes_in_alone(nursery: trio.Nursery, database: FakeDatabase) -> None:
    writer = await started(nursery, database, max_bytes=1000)
    with trio.fail_after(5):
        assert await writer.submit(unit("a", size=50_000)) == Committed()


async def test_flood_in_one_lane_leaves_room_for_others(nursery: trio.Nursery, database: FakeDatabase) -> None:
    writer = await started(nursery, database, max_items=100, max_lane_items=5)
    database.hold()
    flood = [Caller(nursery, writer.submit, unit("flood")) for _ in range(200)]
    await wait_all_tasks_blocked()
    other = Caller(nursery, writer.submit, unit("other"))
    await wait_all_tasks_blocked()
    assert writer.queued == 5 + 5 + 1, "five in flight, five queued, and the other"
    database.gate.set()
    with trio.fail_after(10):
        while writer.queued:
            await trio.sleep(0.001)
    await wait_all_tasks_blocked()
    assert other.outcome == Committed()
    assert [caller.outcome for caller in flood] == [Committed()] * 200


# --- gathering ------------------------------------------------------------------------------------------------------


def hurried(patience: _Patience, interval_s: float, gain: int | None = None, count: int = 64) -> list[float]:
    """How long each of some commits waits that come at an interval, if each wait brings so many items."""
    waits = []
    for n in range(count):
        patience.note_commit(n * interval_s)
        waits.append(patience.wait_s())
        if waits[-1] and gain is not None:
            patience.note_gain(gain)
    return waits


def test_batches_that_follow_slowly_wait_for_nobody() -> None:
    assert not any(hurried(_Patience(), 0.02, 10))


def test_batches_that_follow_closely_wait_while_others_come() -> None:
    assert hurried(_Patience(), 0.002, 3)[-8:] == [GATHER_S] * 8


def test_nobody_waits_long_for_company_that_does_not_come() -> None:
    patience = _Patience()
    hurried(patience, 0.002, 0)
    waits = hurried(patience, 0.002, 0, 4 * ASK_AGAIN_AFTER)
    assert 1 <= sum(wait > 0 for wait in waits) <= 4, "it is tried again now and then"


async def test_busy_writer_gathers(autojump_clock: MockClock, nursery: trio.Nursery, database: FakeDatabase) -> None:
    """Items that come one by one, faster than the window is long, share commits in the end."""
    writer = await started(nursery, database)
    for n in range(200):
        Caller(nursery, writer.submit, unit(f"lane {n % 50}"))
        await trio.sleep(0.0005)
    await trio.sleep(1)
    assert max(len(batch) for batch in database.batches) >= GATHER_S / 0.0005 - 1
    assert sum(len(batch) for batch in database.batches) == 200
    assert len(database.batches[0]) == 1


async def test_lag_is_the_age_of_the_oldest_item(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    database = FakeDatabase()
    writer = await started(nursery, database)
    assert writer.lag_s == 0
    database.hold()
    Caller(nursery, writer.submit, unit("a"))
    await trio.sleep(3)
    Caller(nursery, writer.submit, unit("b"))
    await trio.sleep(2)
    assert writer.lag_s == pytest.approx(5)
    database.gate.set()
    await trio.sleep(0.1)
    assert writer.lag_s == 0
    nursery.cancel_scope.cancel()


# --- cancellation ---------------------------------------------------------------------------------------------------


async def test_cancelled_caller_withdraws_nothing_that_is_queued(nursery: trio.Nursery, database: FakeDatabase) -> None:
    writer = await started(nursery, database)
    database.hold()
    Caller(nursery, writer.submit, unit("first"))
    await wait_all_tasks_blocked()
    gone = Caller(nursery, writer.submit, unit("gone"))
    await wait_all_tasks_blocked()
    gone.scope.cancel()
    await wait_all_tasks_blocked()
    database.gate.set()
    await wait_all_tasks_blocked()
    assert database.batches == [["first"], ["gone"]]
    assert writer.queued == 0


async def test_cancelled_caller_that_waits_for_room_leaves_no_trace(
    nursery: trio.Nursery, database: FakeDatabase
) -> None:
    writer = await started(nursery, database, max_items=1)
    database.hold()
    Caller(nursery, writer.submit, unit("first"))
    await wait_all_tasks_blocked()
    gone = Caller(nursery, writer.submit, unit("gone"))
    await wait_all_tasks_blocked()
    gone.scope.cancel()
    await wait_all_tasks_blocked()
    database.gate.set()
    await wait_all_tasks_blocked()
    assert database.batches == [["first"]]


async def test_cancelled_writer_refuses_what_it_did_not_write(database: FakeDatabase) -> None:
    async with trio.open_nursery() as callers:
        async with trio.open_nursery() as nursery:
            writer = await started(nursery, database)
            database.hold()
            waiting = [Caller(callers, writer.submit, unit(lane)) for lane in "ab"]
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await wait_all_tasks_blocked()
        assert [type(caller.outcome) for caller in waiting] == [StoreUnavailable] * 2
    with pytest.raises(StoreUnavailable):
        await writer.submit(unit("late"))


# --- outages --------------------------------------------------------------------------------------------------------


async def test_outage_fails_its_batch_and_not_the_writer(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    database = FakeDatabase()
    writer = await started(nursery, database)
    database.is_down = True
    with pytest.raises(StoreUnavailable, match="down"):
        await writer.submit(unit("a"))
    assert not writer.is_available
    database.is_down = False
    await writer.wait_available()
    assert await writer.submit(unit("a")) == Committed()
    assert writer.stats.outages == 1
    nursery.cancel_scope.cancel()


async def test_short_outage_keeps_what_was_queued(nursery: trio.Nursery, database: FakeDatabase) -> None:
    """The batch at hand failed; what gathered behind it is written after the first probe that succeeds."""
    writer = await started(nursery, database)
    database.hold()
    first = Caller(nursery, writer.submit, unit("first"))
    await wait_all_tasks_blocked()
    queued = Caller(nursery, writer.submit, unit("queued"))
    await wait_all_tasks_blocked()
    database.failures.append(StoreUnavailable("blip"))
    database.gate.set()
    await wait_all_tasks_blocked()
    assert isinstance(first.outcome, StoreUnavailable)
    assert queued.outcome == Committed()
    assert writer.is_available


async def test_long_outage_answers_what_gathers(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    database = FakeDatabase()
    writer = await started(nursery, database)
    database.is_down = True
    began = trio.current_time()
    for lane in "abc":
        with pytest.raises(StoreUnavailable):
            await writer.submit(unit(lane))
    await trio.sleep(60)
    with pytest.raises(StoreUnavailable), trio.fail_after(MAX_PROBE_AFTER_S + 0.1):
        await writer.submit(unit("d"))
    assert len(database.batches) == 1, "no batch is tried without a probe before it"
    assert database.probes >= (trio.current_time() - began) / MAX_PROBE_AFTER_S - 2
    nursery.cancel_scope.cancel()


async def test_each_caller_gets_an_error_of_its_own(nursery: trio.Nursery, database: FakeDatabase) -> None:
    writer = await started(nursery, database)
    database.hold()
    callers = [Caller(nursery, writer.submit, unit(lane)) for lane in "abc"]
    await wait_all_tasks_blocked()
    database.is_down = True
    database.gate.set()
    await wait_all_tasks_blocked()
    assert len({id(caller.outcome) for caller in callers}) == 3
    database.is_down = False
    nursery.cancel_scope.cancel()


async def test_bug_in_the_store_ends_the_writer_and_answers_everybody(database: FakeDatabase) -> None:
    database.failures.append(ZeroDivisionError("bug"))
    waiting: list[Caller] = []

    async def live() -> None:
        async with trio.open_nursery() as nursery:
            writer = await started(nursery, database)
            waiting.append(Caller(callers, writer.submit, unit("a")))

    async with trio.open_nursery() as callers:
        with pytest.raises(ExceptionGroup) as caught:
            await live()
    assert caught.value.subgroup(ZeroDivisionError) is not None
    assert isinstance(waiting[0].outcome, StoreUnavailable)


# --- the end --------------------------------------------------------------------------------------------------------


async def test_close_drains_and_returns(database: FakeDatabase) -> None:
    async with trio.open_nursery() as callers, trio.open_nursery() as nursery:
        writer = await started(nursery, database)
        database.hold()
        accepted = [Caller(callers, writer.submit, unit(str(i))) for i in range(600)]
        await wait_all_tasks_blocked()
        writer.close()
        with pytest.raises(StoreUnavailable, match="closing"):
            await writer.submit(unit("late"))
        database.gate.set()
    assert [caller.outcome for caller in accepted] == [Committed()] * 600


async def test_close_refuses_those_who_wait_for_room(database: FakeDatabase) -> None:
    async with trio.open_nursery() as callers, trio.open_nursery() as nursery:
        writer = await started(nursery, database, max_items=1)
        database.hold()
        inside = Caller(callers, writer.submit, unit("inside"))
        await wait_all_tasks_blocked()
        outside = Caller(callers, writer.submit, unit("outside"))
        await wait_all_tasks_blocked()
        writer.close()
        await wait_all_tasks_blocked()
        assert isinstance(outside.outcome, StoreUnavailable)
        database.gate.set()
    assert inside.outcome == Committed()


async def test_close_while_the_store_is_down_ends_soon(autojump_clock: MockClock) -> None:
    database = FakeDatabase()
    with trio.fail_after(10):
        async with trio.open_nursery() as callers, trio.open_nursery() as nursery:
            writer = await started(nursery, database)
            database.is_down = True
            failed = Caller(callers, writer.submit, unit("a"))
            await trio.sleep(1)
            writer.close()
    assert isinstance(failed.outcome, StoreUnavailable)


async def test_idle_writer_closes_at_once(nursery: trio.Nursery, database: FakeDatabase) -> None:
    writer = await started(nursery, database)
    await wait_all_tasks_blocked()
    writer.close()
    with trio.fail_after(1):
        await wait_all_tasks_blocked()
    assert not nursery.child_tasks


async def test_chores_run_beside_the_batches(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    database = FakeDatabase()
    await started(nursery, database)
    await trio.sleep(5.5)
    assert database.checkpoints == 5
    nursery.cancel_scope.cancel()


def test_lane_that_is_long_does_not_make_the_batch_long() -> None:
    lanes = _Lanes()
    for number in range(100):
        lanes.push("bursty", _Entry(Call(int, (number,)), 0.0))
    for number in range(3):
        lanes.push("calm", _Entry(Call(int, (number,)), 0.0))
    sizes = []
    while batch := lanes.take(256, 1 << 20):
        sizes.append(len(batch))
    assert sizes == [LANE_ITEMS + 3, 100 - LANE_ITEMS]  # alone, it goes as fast as it can
