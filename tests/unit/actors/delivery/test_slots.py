"""Places for attempts: nobody who waits before a slow host keeps one from a quick host."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.delivery.slots import KNOWN_HOSTS, SLOW_S, Slots


class Crowd:
    """Tasks that take a place and keep it."""

    def __init__(self, slots: Slots, nursery: trio.Nursery) -> None:
        self.slots = slots
        self.nursery = nursery
        self.inside: list[str] = []
        self.out = trio.Event()

    async def send(self, host: str, count: int, customer_id: str | None = None) -> None:
        for _ in range(count):
            self.nursery.start_soon(self._one, customer_id or host, host)
        await wait_all_tasks_blocked()

    async def _one(self, customer_id: str, host: str) -> None:
        async with self.slots.one(customer_id, host):
            self.inside.append(host)
            await self.out.wait()


async def test_host_gets_its_places_and_no_more() -> None:
    slots = Slots(per_host=4, in_all=64)
    async with trio.open_nursery() as nursery:
        crowd = Crowd(slots, nursery)
        await crowd.send("a", 10)
        await crowd.send("b", 2)
        assert (crowd.inside.count("a"), crowd.inside.count("b")) == (4, 2)
        crowd.out.set()
    assert crowd.inside.count("a") == 10


async def test_slow_hosts_leave_half_of_the_places() -> None:
    slots = Slots(per_host=4, in_all=16)
    slots.learn("quick", 0.1, is_well=True)
    async with trio.open_nursery() as nursery:
        crowd = Crowd(slots, nursery)
        for number in range(20):
            await crowd.send(f"hanging{number}", 4)
        assert len(crowd.inside) == 8
        await crowd.send("quick", 4)
        assert crowd.inside.count("quick") == 4
        nursery.cancel_scope.cancel()


async def test_customer_gets_half_of_the_places_at_most() -> None:
    slots = Slots(per_host=4, in_all=16)
    hosts = [f"host{number}" for number in range(10)]
    for host in [*hosts, "other"]:
        slots.learn(host, 0.1, is_well=True)
    async with trio.open_nursery() as nursery:
        crowd = Crowd(slots, nursery)
        for host in hosts:
            await crowd.send(host, 4, "greedy")
        assert len(crowd.inside) == 8
        await crowd.send("other", 4, "modest")
        assert crowd.inside.count("other") == 4
        nursery.cancel_scope.cancel()


async def test_crowd_before_one_host_leaves_its_customer_room_for_another() -> None:
    slots = Slots(per_host=4, in_all=16)
    async with trio.open_nursery() as nursery:
        crowd = Crowd(slots, nursery)
        await crowd.send("hanging", 50, "one")
        await crowd.send("fine", 4, "one")
        assert crowd.inside.count("fine") == 4
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("took_s", "is_well"), [(SLOW_S + 0.1, True), (0.1, False)])
async def test_host_that_gets_slow_loses_its_rank(took_s: float, is_well: bool) -> None:
    slots = Slots(per_host=4, in_all=4)
    slots.learn("host", 0.1, is_well=True)
    slots.learn("host", took_s, is_well=is_well)
    async with trio.open_nursery() as nursery:
        crowd = Crowd(slots, nursery)
        await crowd.send("host", 4)
        assert len(crowd.inside) == 2
        nursery.cancel_scope.cancel()


async def test_nothing_is_remembered_of_who_left() -> None:
    slots = Slots(per_host=1, in_all=2)
    async with trio.open_nursery() as nursery:
        crowd = Crowd(slots, nursery)
        await crowd.send("a", 3)
        nursery.cancel_scope.cancel()
    assert not slots._crowds._by_key
    assert not slots._hosts._by_key
    assert not slots._customers._by_key
    with trio.fail_after(1):
        async with slots.one("c", "a"):
            pass


def test_number_of_known_hosts_is_bounded() -> None:
    slots = Slots(per_host=1, in_all=1)
    for number in range(KNOWN_HOSTS + 10):
        slots.learn(str(number), 0.1, is_well=True)
    assert len(slots._quick) == KNOWN_HOSTS


async def test_waiting_before_a_host_holds_no_place(autojump_clock: MockClock) -> None:
    slots = Slots(per_host=1, in_all=2)
    slots.learn("slow", 0.1, is_well=True)
    slots.learn("quick", 0.1, is_well=True)
    async with trio.open_nursery() as nursery:
        crowd = Crowd(slots, nursery)
        await crowd.send("slow", 5, "a")
        await crowd.send("quick", 1, "b")
        assert crowd.inside == ["slow", "quick"]
        nursery.cancel_scope.cancel()
