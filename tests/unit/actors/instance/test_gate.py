"""The gate in front of every connection: its pace, its order, and who gives up."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from actors.instance.services import ConnectGate


async def test_gate_lets_one_second_pass_at_once_and_then_keeps_its_pace(autojump_clock: MockClock) -> None:
    gate = ConnectGate(10)
    begun = trio.current_time()
    times = []
    for _ in range(31):
        await gate.wait()
        times.append(trio.current_time() - begun)
    assert times[10] == 0
    assert round(times[30], 6) == 2


async def test_gate_of_less_than_one_a_second_opens_at_once_for_the_first(autojump_clock: MockClock) -> None:
    gate = ConnectGate(0.1)
    begun = trio.current_time()
    await gate.wait()
    assert trio.current_time() == begun


async def test_gate_is_not_held_up_by_who_asks_and_gives_up(autojump_clock: MockClock) -> None:
    """A customer that starts and stops in a loop must not push everybody else's turn into the future."""
    gate = ConnectGate(10)
    for _ in range(11):
        await gate.wait()
    begun = trio.current_time()
    async with trio.open_nursery() as impatient:
        for _ in range(500):
            impatient.start_soon(gate.wait)
        await trio.testing.wait_all_tasks_blocked()
        impatient.cancel_scope.cancel()
    await gate.wait()
    assert trio.current_time() - begun < 0.2
