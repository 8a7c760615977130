"""The gate in front of every connection: its pace, its order, and who gives up."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from actors.instance.gate import LOGIN_S, ConnectGate


async def test_gate_lets_one_second_pass_at_once_and_then_keeps_its_pace(autojump_clock: MockClock) -> None:
    gate = ConnectGate(10)
    begun = trio.current_time()
    times = []
    for _ in range(31):
        (await gate.enter()).leave()
        times.append(trio.current_time() - begun)
    assert times[10] == 0
    assert round(times[30], 6) == 2


async def test_gate_of_less_than_one_a_second_opens_at_once_for_the_first(autojump_clock: MockClock) -> None:
    gate = ConnectGate(0.1)
    begun = trio.current_time()
    (await gate.enter()).leave()
    assert trio.current_time() == begun


async def test_gate_is_not_held_up_by_who_asks_and_gives_up(autojump_clock: MockClock) -> None:
    """A customer that starts and stops in a loop must not push everybody else's turn into the future."""
    gate = ConnectGate(10)
    for _ in range(11):
        (await gate.enter()).leave()
    begun = trio.current_time()
    async with trio.open_nursery() as impatient:
        for _ in range(500):
            impatient.start_soon(gate.enter)
        await trio.testing.wait_all_tasks_blocked()
        impatient.cancel_scope.cancel()
    (await gate.enter()).leave()
    assert trio.current_time() - begun < 0.2


async def test_gate_lets_so_many_be_under_way_and_the_next_when_one_has_left(autojump_clock: MockClock) -> None:
    gate = ConnectGate(1000, at_once=2)
    begun = trio.current_time()
    first, _second = await gate.enter(), await gate.enter()
    first.leave()
    first.leave()  # only once
    await gate.enter()
    assert trio.current_time() == begun


async def test_gate_is_not_held_up_by_logins_that_hang(autojump_clock: MockClock) -> None:
    gate = ConnectGate(1000, at_once=2)
    begun = trio.current_time()
    for _ in range(6):
        await gate.enter()
    assert round(trio.current_time() - begun, 6) == 2 * LOGIN_S
