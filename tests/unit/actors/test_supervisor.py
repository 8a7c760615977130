"""Slots: a crash restarts in place, disturbs nobody, and a loop is slowed down."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from actors.messages import Stop
from actors.supervisor import INTENSITY, LOOPING_BACKOFF_S, WINDOW_S, RestartPolicy, Slot, Supervisor
from whatisup.errors import ActorStopped, Fenced, StoreUnavailable
from whatisup.store import Origin


@pytest.fixture
def looping() -> list[str]:
    """Who was reported to crash again and again."""
    return []


@pytest.fixture
async def supervisor(nursery: trio.Nursery, looping: list[str]) -> Supervisor:
    supervisor = Supervisor(jitter=lambda: 1.0, on_looping=looping.append)
    await nursery.start(supervisor.run)
    return supervisor


async def until(condition: object, timeout_s: float = 1000) -> None:
    assert callable(condition)
    with trio.fail_after(timeout_s):
        while not condition():
            await trio.sleep(0.25)


async def test_a_crashing_slot_restarts_and_its_siblings_do_not_notice(
    autojump_clock: MockClock, supervisor: Supervisor
) -> None:
    runs: Counter[str] = Counter()

    async def steady(slot: Slot) -> None:
        runs[slot.key] += 1
        await trio.sleep_forever()

    async def shaky(slot: Slot) -> None:
        runs[slot.key] += 1
        raise ZeroDivisionError

    siblings = [supervisor.ensure(f"steady-{n}", steady) for n in range(20)]
    slot = supervisor.ensure("shaky", shaky)
    await until(lambda: runs["shaky"] == 4)
    assert slot.restarts >= 3
    assert [sibling.restarts for sibling in siblings] == [0] * 20
    assert all(runs[sibling.key] == 1 for sibling in siblings)


async def test_a_crash_loop_backs_off_long_and_is_reported(
    autojump_clock: MockClock, supervisor: Supervisor, looping: list[str]
) -> None:
    times: list[float] = []

    async def shaky(slot: Slot) -> None:
        times.append(trio.current_time())
        raise ZeroDivisionError

    slot = supervisor.ensure("shaky", shaky)
    await until(lambda: len(times) == INTENSITY + 2)
    assert looping == ["shaky"]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[-1] == pytest.approx(LOOPING_BACKOFF_S)
    assert max(gaps[:-1]) < LOOPING_BACKOFF_S / 2
    slot.stop()
    await slot.done.wait()


async def test_a_slot_that_ends_well_is_forgotten(autojump_clock: MockClock, supervisor: Supervisor) -> None:
    async def brief(slot: Slot) -> None:
        await trio.sleep(1)

    slot = supervisor.ensure("brief", brief)
    assert supervisor.ensure("brief", brief) is slot
    await slot.done.wait()
    assert supervisor.get("brief") is None
    assert supervisor.ensure("brief", brief) is not slot


async def test_commands_that_wait_through_a_crash_reach_the_successor(
    autojump_clock: MockClock, supervisor: Supervisor
) -> None:
    lives: list[int] = []

    async def body(slot: Slot) -> None:
        lives.append(1)
        if len(lives) == 1:
            raise ZeroDivisionError
        envelope = await slot.mailbox.receive()
        envelope.reply.answer(None)  # type: ignore[union-attr]  # only commands are sent here

    slot = supervisor.ensure("one", body)
    with trio.fail_after(60):
        await slot.mailbox.ask(Stop(Origin("test")))
    assert len(lives) == 2


async def test_a_command_cuts_the_backoff_short(autojump_clock: MockClock, supervisor: Supervisor) -> None:
    async def shaky(slot: Slot) -> None:
        if slot.mailbox.is_empty:
            raise ZeroDivisionError
        envelope = await slot.mailbox.receive()
        envelope.reply.answer(None)  # type: ignore[union-attr]  # only commands are sent here

    slot = supervisor.ensure("shaky", shaky)
    await until(lambda: slot.restarts > INTENSITY)
    with trio.fail_after(1):
        await slot.mailbox.ask(Stop(Origin("test")))


async def test_a_command_that_no_actor_lives_to_take_does_not_spin(
    autojump_clock: MockClock, supervisor: Supervisor
) -> None:
    async def stillborn(slot: Slot) -> None:
        raise ZeroDivisionError

    slot = supervisor.ensure("stillborn", stillborn)
    slot.mailbox.post(Stop(Origin("test")))
    await trio.sleep(LOOPING_BACKOFF_S)
    assert INTENSITY < slot.restarts < 3 * INTENSITY


@pytest.mark.parametrize("error", [StoreUnavailable("down"), Fenced("older incarnation")])
async def test_a_fence_or_a_store_that_is_down_is_no_crash_loop(
    autojump_clock: MockClock, supervisor: Supervisor, error: Exception
) -> None:
    runs = 0

    async def body(slot: Slot) -> None:
        nonlocal runs
        runs += 1
        if runs < 10:
            raise error

    slot = supervisor.ensure("one", body)
    with trio.fail_after(300):
        await slot.done.wait()
    assert (runs, slot.is_crash_looping) == (10, False)


async def test_two_owners_that_fence_each_other_off_do_not_spin(
    autojump_clock: MockClock, supervisor: Supervisor
) -> None:
    runs = 0

    async def fenced(_slot: Slot) -> None:
        nonlocal runs
        runs += 1
        raise Fenced("older incarnation")

    supervisor.ensure("one", fenced)
    await trio.sleep(10)
    assert 2 <= runs <= 10


async def test_a_store_that_fails_again_and_again_is_tried_ever_more_slowly(
    autojump_clock: MockClock, supervisor: Supervisor
) -> None:
    began: list[float] = []

    async def body(_slot: Slot) -> None:
        began.append(trio.current_time())
        if len(began) == 8:
            await trio.sleep(WINDOW_S + 1)
        raise StoreUnavailable("full")

    supervisor.ensure("one", body)
    await until(lambda: len(began) == 9)
    waits = [round(after - before) for before, after in pairwise(began)]
    assert waits[:7] == [2, 4, 8, 16, 32, 32, 32]
    assert waits[7] == WINDOW_S + 1 + 2, "a store that went well for a while is trusted again"


async def test_stop_ends_a_slot_in_backoff(autojump_clock: MockClock, supervisor: Supervisor) -> None:
    async def shaky(slot: Slot) -> None:
        raise ZeroDivisionError

    slot = supervisor.ensure("shaky", shaky)
    await until(lambda: slot.restarts > INTENSITY)
    with trio.fail_after(1):
        await supervisor.stop("shaky")
    assert supervisor.get("shaky") is None


async def test_stop_waits_for_no_backoff_when_the_actor_fails_while_it_ends(
    autojump_clock: MockClock, supervisor: Supervisor
) -> None:
    async def clumsy(slot: Slot) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ZeroDivisionError

    supervisor.ensure("clumsy", clumsy)
    await trio.testing.wait_all_tasks_blocked()
    with trio.fail_after(0.1):
        await supervisor.stop("clumsy")


def test_restart_policy_grows_and_is_capped() -> None:
    policy = RestartPolicy(base_s=1, cap_s=8)
    assert [policy.delay_s(n, 1.0) for n in range(1, 6)] == [2, 4, 8, 8, 8]
    assert policy.delay_s(INTENSITY + 1, 0.0) == LOOPING_BACKOFF_S / 2


async def test_a_supervisor_that_ends_starts_nothing_more(autojump_clock: MockClock) -> None:
    supervisor = Supervisor(jitter=lambda: 1.0)

    async def body(slot: Slot) -> None:
        await trio.sleep_forever()

    with pytest.raises(ActorStopped):
        supervisor.ensure("early", body)
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.ensure("one", body)
        nursery.cancel_scope.cancel()
    with pytest.raises(ActorStopped):
        supervisor.ensure("late", body)
