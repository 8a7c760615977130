"""Scenarios `inbound` and `outbound`: what a message costs and how long it takes, at a fixed offered rate and flat out.

Rule: a message counts when it is there for good (in), or when the server has taken it (out); the CPU is read when the
receipts have been dealt with too, so that nothing that a message causes is left out of its price.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import trio

from benchmarks.live import Live
from benchmarks.probes.spread import Spread
from benchmarks.scenarios.passages import arrivals, deliveries
from benchmarks.subjects.subject import Posted
from benchmarks.traffic.pace import apart
from whatisup.control import BurstRequest

Direction: TypeAlias = Literal["in", "out"]

LEAST_PER_S, MOST_PER_S = 10.0, 100.0
"""What is offered in all: one message a second of each session, within these bounds."""
GOAL_PER_S: Mapping[Direction, float] = {"in": 500.0, "out": 100.0}
GOAL_SIZE = 50
"""The goals for times are about so many sessions at those rates."""
GOAL_S = 10.0
GREETINGS = 2
GREET_S = 60.0
SETTLE_S = 1.0
FLOW_S = 90.0
GROWTH_SHARE: Mapping[Direction, float] = {"in": 1.0, "out": 0.2}
"""How much of `growth_messages` is spent on a direction: messages out take five times as long."""
CHUNKS = 20
"""How many bursts the messages are sent in whose growth is looked at: a phone's queue has an end."""
SLOWEST_PER_S = 20.0
"""A flow that is slower than this has failed."""


@dataclass(slots=True)
class Flow:
    """One direction at one rate. `way`: in = contact's send until there for good, out = request to the phone."""

    messages: int
    begun_at: float
    wall_s: float = 0.0
    cpu_s: float = 0.0
    sandbox_cpu_s: float = 0.0
    way: Spread = field(default_factory=lambda: Spread.of(()))
    own: Spread = field(default_factory=lambda: Spread.of(()))
    """In, and where the subject notes it: the last part of it, from when the subject had read the message."""

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds of the subject for each message."""
        return 1000 * self.cpu_s / self.messages

    @property
    def per_cpu_s(self) -> float:
        """Messages for each CPU second of the subject."""
        return self.messages / self.cpu_s if self.cpu_s > 0 else 0.0


async def inbound(live: Live) -> Mapping[str, float]:
    """See the module."""
    return await _both(live, "in")


async def outbound(live: Live) -> Mapping[str, float]:
    """See the module."""
    return await _both(live, "out")


async def _both(live: Live, way: Direction) -> Mapping[str, float]:
    await befriend(live)
    figures = await _measured(live, way)
    if live.options.growth_messages:
        figures["growth_bytes_per_1000"] = await _growth(live, way)
    return {f"{way}_{name}": value for name, value in figures.items()}


async def _measured(live: Live, way: Direction) -> dict[str, float]:
    """At a rate, at the rate of the goal where it is due, and flat out."""
    options = live.options
    rate = offered_per_s(live.size)
    paced = await flow(live, way, rate, round(rate * options.paced_s))
    figures = {
        "offered_per_s": rate,
        "p50_ms": paced.way.p50,
        "p99_ms": paced.way.p99,
        "cpu_ms_paced": paced.cpu_ms,
    }
    if options.is_full and live.size == GOAL_SIZE:
        goal = await flow(live, way, GOAL_PER_S[way], round(GOAL_PER_S[way] * GOAL_S))
        figures |= {
            "goal_offered_per_s": GOAL_PER_S[way],
            "goal_p50_ms": goal.way.p50,
            "goal_p99_ms": goal.way.p99,
            "goal_per_s": goal.messages / goal.wall_s,
            **({"goal_own_p50_ms": goal.own.p50, "goal_own_p99_ms": goal.own.p99} if goal.own.count else {}),
        }
    count = options.flood_in if way == "in" else options.flood_out
    flood = await flow(live, way, None, count, is_timed=False)
    return figures | {
        "per_cpu_s": flood.per_cpu_s,
        "per_s": flood.messages / flood.wall_s,
        "sandbox_cpu_ms": 1000 * flood.sandbox_cpu_s / flood.messages,
    }


def offered_per_s(size: int) -> float:
    """What is offered to so many sessions together."""
    return min(MOST_PER_S, max(LEAST_PER_S, float(size)))


async def befriend(live: Live) -> None:
    """Let each side write to the other once, so that sessions are there before the first measured message."""
    if live.are_friends:
        return
    mark, count = live.subject.mark(), GREETINGS * live.size
    within_s = GREET_S + live.size / 5
    for pair in live.pairs:
        await live.people.burst(pair.contact, BurstRequest(pair.number, GREETINGS))
    await live.until(lambda: live.subject.counts(mark).received >= count, within_s, "every session was greeted")
    await live.subject.send(live.pairs, GREETINGS, None)
    await live.until(lambda: live.subject.counts(mark).delivered >= count, within_s, "every contact was greeted")
    live.are_friends = True


async def flow(live: Live, way: Direction, per_s: float | None, messages: int, *, is_timed: bool = True) -> Flow:
    """About so many messages over all sessions, `per_s` a second in all, or as fast as it goes.

    With `is_timed` all phones' logs are read afterwards for the way of each message, which takes a while for many.
    """
    each = max(1, round(messages / live.size))
    found, mark = Flow(each * live.size, trio.current_time()), live.subject.mark()
    rate = None if per_s is None else per_s / live.size
    live.say(f"{way}: {found.messages} messages, {'flat out' if per_s is None else f'{per_s:g}/s'}")
    posted = Posted()
    async with _priced(live, found):
        if way == "in":
            await apart(live.pairs, rate, lambda p: live.people.burst(p.contact, BurstRequest(p.number, each, rate)))
            await _counted(live, found, lambda: live.subject.counts(mark).received)
        else:
            posted = await live.subject.send(live.pairs, each, rate)
            await _counted(live, found, lambda: live.subject.counts(mark).acked)
            await _through(live, found, lambda: live.subject.counts(mark).delivered, "delivered")
    if is_timed:
        passages = await (arrivals(live, mark) if way == "in" else deliveries(live, posted))
        found.way = Spread.of(passage.took_ms for passage in passages)
        found.own = Spread.of(passage.own_ms for passage in passages if passage.own_ms is not None)
    return found


@asynccontextmanager
async def _priced(live: Live, found: Flow) -> AsyncIterator[None]:
    """Reckon what the block uses, and the receipts behind it."""
    cpu_s, sandbox_s = live.cpu_s()
    yield
    await trio.sleep(SETTLE_S)
    then_s, sandbox_then_s = live.cpu_s()
    found.cpu_s, found.sandbox_cpu_s = then_s - cpu_s, sandbox_then_s - sandbox_s


async def _counted(live: Live, found: Flow, count: Callable[[], int]) -> None:
    """Wait until all messages count; that is when the flow is over."""
    await _through(live, found, count, "through")
    found.wall_s = trio.current_time() - found.begun_at


async def _through(live: Live, found: Flow, count: Callable[[], int], what: str) -> None:
    within_s = FLOW_S + found.messages / SLOWEST_PER_S
    await live.until(lambda: count() >= found.messages, within_s, f"{found.messages} messages are {what}")


async def _growth(live: Live, way: Direction) -> float:
    """Bytes that the subject holds more for each thousand messages, after `growth_messages` of them."""
    messages = round(live.options.growth_messages * GROWTH_SHARE[way])
    left = messages
    before = (await live.settled()).uss
    while left > 0:
        left -= (await flow(live, way, None, min(messages // CHUNKS, left), is_timed=False)).messages
    after = (await live.settled()).uss
    return 1000 * (after - before) / messages
