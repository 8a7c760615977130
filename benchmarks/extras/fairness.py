"""Who pays for whom: the same traffic with and without a disturber, in one run, as ratios.

Rule: calm and disturbed alternate within the run, so that whatever else the machine does falls on both alike.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import mean

import trio

from benchmarks.live import Live
from benchmarks.probes.spread import Spread, unix_ms
from benchmarks.scenarios.flow import FLOW_S
from benchmarks.scenarios.passages import Passage, arrivals, deliveries
from benchmarks.subjects.subject import Pair
from benchmarks.subjects.whatisup import Posts
from benchmarks.traffic.pace import apart
from whatisup.control import BurstRequest

HAMMERS = 50
"""How many requests with one and the same Idempotency-Key are made at once."""
WAVE_S = 1.0
"""The next wave, with a key of its own, begins when the last was answered, and not before that much time is over."""
WINDOW_S = 4.0
WINDOWS = 3
"""How many windows are calm, and how many disturbed."""
ENDLESS = 1_000_000

OTHERS_PER_S = {"in": 1.0, "out": 0.4}
"""What each of the others has, by direction: well below what would fill the gateway, or there is no calm."""
OTHERS_S = 20.0
BURSTS = 3
BURST = {"in": 400, "out": 100}
"""How many messages one instance gets, or is asked to send, at once, by direction."""
PAUSE_S = 3.0
"""How long it is calm before each of them."""

COST_GOAL = 0.10
P99_GOAL = 2.0


@dataclass(frozen=True, slots=True)
class Window:
    """A few seconds of everybody's traffic: messages of the others a second, and for each CPU second of the gateway."""

    per_s: float
    per_cpu_s: float
    gateway_share: float
    """How much of a core the gateway used; far below 1 it was not what limited them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hammered:
    """What equal Idempotency-Keys cost everybody else, who send in that direction."""

    direction: str
    instances: int
    calm: Sequence[Window]
    hammered: Sequence[Window]
    waves: int

    @property
    def cost(self) -> float:
        """The share of throughput that the others lost; negative if they gained."""
        return 1.0 - mean(window.per_s for window in self.hammered) / mean(window.per_s for window in self.calm)

    @property
    def cpu_cost(self) -> float:
        """The share of the gateway's CPU that the requests took from the others' messages."""
        return 1.0 - mean(window.per_cpu_s for window in self.hammered) / mean(window.per_cpu_s for window in self.calm)

    @property
    def noise(self) -> float:
        """How much the calm windows differ from each other, as a share of their mean."""
        rates = [window.per_s for window in self.calm]
        return (max(rates) - min(rates)) / mean(rates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bursty:
    """What one instance that goes flat out does to the way of the others' messages, in that direction."""

    direction: str
    instances: int
    calm: Spread
    disturbed: Spread
    burst_per_s: float

    @property
    def factor(self) -> float:
        """How much longer the others' p99 is."""
        return self.disturbed.p99 / self.calm.p99 if self.calm.p99 > 0 else 0.0


# --- one key, many requests -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Hammer:
    """Asks for one message many times at once, again and again."""

    live: Live
    waves: int = 0

    async def strike_for(self, seconds: float) -> None:
        """Wave after wave until the time is over."""
        until = trio.current_time() + seconds
        while (now := trio.current_time()) < until:
            await self._wave()
            await trio.sleep_until(min(until, now + WAVE_S))

    async def _wave(self) -> None:
        key, made = uuid.uuid4().hex, set[str]()

        async def ask() -> None:
            made.add(await self.live.whatisup.post(self.live.pairs[0], "hammered", key))

        async with trio.open_nursery() as nursery:
            for _ in range(HAMMERS):
                nursery.start_soon(ask)
        if len(made) != 1:
            raise RuntimeError(f"one Idempotency-Key made {len(made)} messages")
        self.waves += 1


async def hammered(live: Live, direction: str) -> Hammered:
    """Everybody is flat out without an end; every other window somebody hammers."""
    hammer, mark = _Hammer(live), live.whatisup.rows.mark()
    count = partial(live.whatisup.rows.ingested if direction == "in" else live.whatisup.rows.acked, mark)
    windows: dict[bool, list[Window]] = {False: [], True: []}
    async with _flat_out(live, direction):
        await trio.sleep(WINDOW_S / 2)
        for is_hammered in [False, True] * WINDOWS:
            before, begun_at, cpu_s = count(), trio.current_time(), live.cpu_s()[0]
            await (hammer.strike_for if is_hammered else trio.sleep)(WINDOW_S)
            took_s, messages, used_s = trio.current_time() - begun_at, count() - before, live.cpu_s()[0] - cpu_s
            windows[is_hammered].append(Window(messages / took_s, messages / max(used_s, 0.01), used_s / took_s))
    return Hammered(
        direction=direction,
        instances=len(live.pairs),
        calm=windows[False],
        hammered=windows[True],
        waves=hammer.waves,
    )


@asynccontextmanager
async def _flat_out(live: Live, direction: str) -> AsyncIterator[None]:
    """All instances are flat out for as long as the block takes; with "in" there is no end to it afterwards either."""
    if direction == "in":
        for pair in live.pairs:
            await live.people.burst(pair.contact, BurstRequest(pair.number, ENDLESS))
        yield
        return
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Posts(live.whatisup).flat_out, live.pairs, ENDLESS)
        yield
        nursery.cancel_scope.cancel()


# --- one instance, many messages ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Spans:
    """When bursts were under way, in unix milliseconds, and how many messages they were."""

    spans: list[tuple[float, float]] = field(default_factory=list)
    messages: int = 0

    def add(self, begun_at: float, ended_at: float, messages: int) -> None:
        """One burst, from its first message to its last."""
        self.spans.append((begun_at, ended_at))
        self.messages += messages

    @property
    def per_s(self) -> float:
        """How fast they went."""
        return self.messages * 1000 / max(1.0, sum(end - begin for begin, end in self.spans))

    def meet(self, passage: Passage) -> bool:
        """Whether a message was on its way while a burst was."""
        return any(passage.begun_at <= end and passage.ended_at >= begin for begin, end in self.spans)


async def bursty(live: Live, direction: str) -> Bursty:
    """All instances but one have traffic at a modest rate; that one, now and then, has a burst."""
    noisy, others = live.pairs[0], live.pairs[1:]
    mark, posts, spans, noise = live.whatisup.rows.mark(), Posts(live.whatisup), Spans(), Posts(live.whatisup)
    is_in, rate = direction == "in", OTHERS_PER_S[direction]
    each = round(rate * OTHERS_S)

    async def keep_busy(pair: Pair) -> None:
        if is_in:
            await live.people.burst(pair.contact, BurstRequest(pair.number, each, rate))
        else:
            await posts.paced(pair, rate, each)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(apart, others, rate, keep_busy))
        for _ in range(BURSTS):
            await trio.sleep(PAUSE_S)
            begun_at = unix_ms()
            await (_burst_in(live, noisy) if is_in else _burst_out(live, noisy, noise))
            spans.add(begun_at, unix_ms(), BURST[direction])
    wanted = each * len(others) + BURSTS * BURST[direction]
    count = live.whatisup.rows.ingested if is_in else live.whatisup.rows.delivered
    await live.until(lambda: count(mark) >= wanted, FLOW_S, f"{wanted} messages are through")
    passages = await (arrivals(live, mark) if is_in else deliveries(live, posts.posted))
    theirs = [passage for passage in passages if passage.instance_id != noisy.instance_id]
    return Bursty(
        direction=direction,
        instances=len(live.pairs),
        calm=Spread.of(passage.took_ms for passage in theirs if not spans.meet(passage)),
        disturbed=Spread.of(passage.took_ms for passage in theirs if spans.meet(passage)),
        burst_per_s=spans.per_s,
    )


async def _burst_in(live: Live, noisy: Pair) -> None:
    """One contact sends as fast as the sandbox goes; over when its last message is durable."""
    since, count = live.whatisup.rows.mark(), BURST["in"]
    await live.people.burst(noisy.contact, BurstRequest(noisy.number, count))
    await live.until(
        lambda: live.whatisup.rows.ingested(since, noisy.instance_id) >= count, FLOW_S, "the burst came in"
    )


async def _burst_out(live: Live, noisy: Pair, posts: Posts) -> None:
    """One instance is asked to send by a few senders at once; over when its last message is acknowledged."""
    since, count = live.whatisup.rows.mark(), BURST["out"]
    await posts.flat_out([noisy], count)
    await live.until(lambda: live.whatisup.rows.acked(since, noisy.instance_id) >= count, FLOW_S, "the burst went out")
