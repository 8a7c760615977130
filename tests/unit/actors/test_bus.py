"""The bus wakes who may read, and nobody else; a wake-up in between is remembered."""

from __future__ import annotations

import trio
import trio.testing

from actors.bus import Bus, Subscription
from whatisup.store import Event, Mode


def event(customer_id: str, mode: Mode = Mode.TEST) -> Event:
    return Event(1, "evt_1", customer_id, mode, "inst_1", 1, "instance.status", 0, {}, None)


async def is_rung(subscription: Subscription) -> bool:
    with trio.move_on_after(0.1):
        await subscription.wait()
        return True
    return False


async def test_publish_wakes_the_customer_in_that_mode_only(autojump_clock: trio.testing.MockClock) -> None:
    bus = Bus()
    with (
        bus.subscribe("a", Mode.TEST) as mine,
        bus.subscribe("a", Mode.LIVE) as live,
        bus.subscribe("b", Mode.TEST) as other,
    ):
        bus.publish([event("a")])
        assert [await is_rung(one) for one in (mine, live, other)] == [True, False, False]


async def test_what_is_committed_between_two_waits_is_not_missed(autojump_clock: trio.testing.MockClock) -> None:
    bus = Bus()
    with bus.subscribe("a", Mode.TEST) as mine:
        bus.publish([event("a")])
        bus.publish([event("a")])
        assert await is_rung(mine)
        assert not await is_rung(mine)
        bus.publish([event("a")])
        assert await is_rung(mine)


def test_publish_counts_what_was_told() -> None:
    bus = Bus()
    bus.publish(event("a") for _ in range(2))
    bus.publish([event("b", Mode.LIVE)])
    assert bus.told == {(Mode.TEST, "instance.status"): 2, (Mode.LIVE, "instance.status"): 1}


def test_a_subscription_that_ended_is_forgotten() -> None:
    bus = Bus()
    with bus.subscribe("a", Mode.TEST):
        assert bus.subscribers == 1
    assert bus.subscribers == 0
    bus.publish([event("a")])
