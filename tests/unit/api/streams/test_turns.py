"""Turns to send: a few at a time, first come, first served, and the rest of the loop in between."""

from __future__ import annotations

import trio
import trio.testing

from api.streams.frames import RETRY, Wanted
from api.streams.stream import Ending, Stream
from api.streams.turns import Turns
from whatisup.store import Mode


class Sleeper:
    def __init__(self, name: int, woken: list[int]) -> None:
        self.name, self.woken = name, woken

    def take_turn(self) -> None:
        self.woken.append(self.name)


async def test_turns_come_a_few_at_a_time_and_in_order() -> None:
    turns, woken, most = Turns(at_once=3), list[int](), 0
    sleepers = [Sleeper(n, woken) for n in range(10)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.run)
        turns.ask(sleepers)
        turns.ask(reversed(sleepers))  # whoever stands in the queue keeps its place
        with trio.fail_after(5):
            while len(woken) < 10:
                before = len(woken)
                await trio.lowlevel.checkpoint()
                most = max(most, len(woken) - before)
        nursery.cancel_scope.cancel()
    assert woken == list(range(10))
    assert most == 3


async def test_who_leaves_gets_no_turn_and_who_asks_later_does() -> None:
    turns, woken = Turns(), list[int]()
    first, second = Sleeper(1, woken), Sleeper(2, woken)
    turns.ask([first, second])
    turns.leave(first)
    turns.leave(first)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.run)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert woken == [2]
        turns.ask([first])
        await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.cancel_scope.cancel()
    assert woken == [2, 1]


async def test_rest_follows_work(mock_clock: trio.testing.MockClock) -> None:
    """Two rounds that take a second of the loop's time each are a rest apart, which is bounded."""
    turns, woken = Turns(at_once=1), list[int]()

    class Busy(Sleeper):
        def take_turn(self) -> None:
            super().take_turn()
            mock_clock.jump(1.0)

    turns.ask([Busy(1, woken), Busy(2, woken)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.run)
        await trio.testing.wait_all_tasks_blocked()
        assert woken == [1]
        mock_clock.jump(0.049)
        await trio.testing.wait_all_tasks_blocked()
        assert woken == [1]
        mock_clock.jump(0.002)
        await trio.testing.wait_all_tasks_blocked()
        assert woken == [1, 2]
        nursery.cancel_scope.cancel()


def stream() -> Stream:
    return Stream(Wanted("cust", Mode.TEST), 0, key_id="key_1", expires_at=None)


async def test_stream_wakes_for_a_turn_for_its_end_and_at_the_deadline(autojump_clock: trio.testing.MockClock) -> None:
    one = stream()
    one.take_turn()
    await one.wait(trio.current_time() + 99)
    assert one.has_turn
    started_at = trio.current_time()
    await one.wait(started_at + 5)
    assert trio.current_time() == started_at + 5
    one.end(Ending.KEY_ENDED)
    one.end(Ending.DRAINING)
    await one.wait(trio.current_time() + 99)
    assert (one.ending, trio.current_time()) == (Ending.KEY_ENDED, started_at + 5)
    assert one.farewell() == b'event: cut\ndata: {"reason":"key_ended","last_event_id":null}\n\n'


async def test_stream_that_sends_for_long_is_stuck_and_then_slow(autojump_clock: trio.testing.MockClock) -> None:
    one = stream()
    one.begin_send()
    await trio.sleep(0.2)
    assert not one.is_stuck
    await trio.sleep(9.7)
    assert one.is_stuck
    one.finish_send(10)
    assert (one.ending, one.is_stuck) == (None, False)
    one.begin_send()
    await trio.sleep(10.1)
    one.finish_send(10)
    assert one.ending is Ending.SLOW_READER
    assert one.farewell().endswith(RETRY)
