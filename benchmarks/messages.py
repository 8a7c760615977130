"""What a message costs: CPU of the gateway for each, both ways, at a modest offered rate and flat out.

Rule: a message in counts when its row is durable, a message out when the server has acknowledged it; the CPU is read
when also the receipts have been dealt with, so that nothing a message causes is left out of its price.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import trio

from benchmarks.busy import Busy, Pair
from benchmarks.latency import Spread, arrivals, deliveries, unix_ms
from whatisup.control import BurstRequest

MODEST_S = 12.0
"""How long messages are offered at a modest rate."""
MODEST_PER_S = {1: 10.0}
MODEST_PER_S_EACH = 1.0
"""Of one instance, and of each of many: a busy number's, not a fleet's, rate."""
FLAT_OUT = {"in": 2000, "out": 500}
"""How many messages in all are offered at once, by direction."""
LINES = 8
"""How many requests the customer of a single instance has under way at once, when it goes flat out."""
FLOW_S = 60.0
SETTLE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One direction at one rate. `way`: in = contact's send to durable row, out = POST to the contact's phone.

    `accepted`, out only: POST to its 202, which is sent once the message is durable.
    """

    direction: str
    instances: int
    offered_per_s: float | None
    messages: int
    wall_s: float
    gateway_cpu_s: float
    sandbox_cpu_s: float
    way: Spread
    accepted: Spread | None = None

    @property
    def per_cpu_s(self) -> float:
        """Messages for each CPU second of the gateway."""
        return self.messages / self.gateway_cpu_s if self.gateway_cpu_s > 0 else 0.0

    @property
    def per_s(self) -> float:
        """Messages for each second on the wall."""
        return self.messages / self.wall_s


async def measure_flows(busy: Busy, flows: list[Flow], say: Callable[[str], None]) -> None:
    """Both directions, modest and then flat out; each result is appended as soon as it is there."""
    size = len(busy.pairs)
    modest = MODEST_PER_S.get(size, MODEST_PER_S_EACH)
    for rate in (modest, None):
        for measure, way in ((inbound, "in"), (outbound, "out")):
            each = max(1, FLAT_OUT[way] // size if rate is None else round(MODEST_S * rate))
            say(f"{way}: {each * size} messages, {'flat out' if rate is None else f'{rate * size:g}/s'}")
            flows.append(await measure(busy, rate, each))


@dataclass(slots=True)
class _Window:
    """What is measured around a flow. `wall_s` ends when the last message counts, the CPU a moment later."""

    busy: Busy
    mark: int
    begun_at: float = field(default_factory=trio.current_time)
    wall_s: float = 0.0
    gateway_cpu_s: float = 0.0
    sandbox_cpu_s: float = 0.0

    async def counted(self, count: Callable[[int], int], messages: int) -> None:
        """Wait until all messages count."""
        await self.busy.until(lambda: count(self.mark) >= messages, FLOW_S, f"{messages} messages are through")
        self.wall_s = trio.current_time() - self.begun_at


@asynccontextmanager
async def _window(busy: Busy) -> AsyncIterator[_Window]:
    gateway_s, sandbox_s = busy.cpu_s()
    window = _Window(busy, busy.rows.mark())
    yield window
    await trio.sleep(SETTLE_S)
    gateway_then_s, sandbox_then_s = busy.cpu_s()
    window.gateway_cpu_s, window.sandbox_cpu_s = gateway_then_s - gateway_s, sandbox_then_s - sandbox_s


async def inbound(busy: Busy, rate: float | None, each: int) -> Flow:
    """Each contact sends `each` messages, at `rate` a second or as fast as the sandbox goes."""
    messages = each * len(busy.pairs)
    async with _window(busy) as window:
        await apart(
            busy.pairs, rate, lambda pair: busy.people.burst(pair.contact, BurstRequest(pair.number, each, rate))
        )
        await window.counted(busy.rows.ingested, messages)
    passages = await arrivals(busy, window.mark)
    return _flow("in", busy, rate, messages, window, way=Spread.of(passage.took_ms for passage in passages))


async def apart(pairs: Sequence[Pair], rate: float | None, do: Callable[[Pair], Awaitable[object]]) -> None:
    """Do it for each pair: at once, or spread evenly over the time between two messages of one pair."""
    begun_at = trio.current_time()

    async def one(index: int, pair: Pair) -> None:
        if rate is not None:
            await trio.sleep_until(begun_at + index / (rate * len(pairs)))
        await do(pair)

    async with trio.open_nursery() as nursery:
        for index, pair in enumerate(pairs):
            nursery.start_soon(one, index, pair)


async def outbound(busy: Busy, rate: float | None, each: int) -> Flow:
    """Each instance is asked to send `each` messages, at `rate` a second or by senders who wait for each 202 only."""
    messages = each * len(busy.pairs)
    posts = Posts(busy)
    async with _window(busy) as window:
        if rate is None:
            await posts.flat_out(busy.pairs, each)
        else:
            await apart(busy.pairs, rate, partial(posts.paced, rate=rate, count=each))
        await window.counted(busy.rows.acked, messages)
        await busy.until(lambda: busy.rows.delivered(window.mark) >= messages, FLOW_S, f"{messages} are delivered")
    passages = await deliveries(busy, posts.begun_at)
    way = Spread.of(passage.took_ms for passage in passages)
    return _flow("out", busy, rate, messages, window, way=way, accepted=Spread.of(posts.accepted_ms))


@dataclass(slots=True)
class Posts:
    """What was posted: by WhatsApp's id the instance and when (unix ms), and how long each 202 took."""

    busy: Busy
    begun_at: dict[str, tuple[str, float]] = field(default_factory=dict)
    accepted_ms: list[float] = field(default_factory=list)
    _made: int = 0

    async def one(self, pair: Pair) -> None:
        """Post one text and note the times."""
        self._made += 1
        text = f"{id(self):x} {self._made}"
        begun_at = unix_ms()
        wa_id = await self.busy.post(pair, text)
        self.accepted_ms.append(unix_ms() - begun_at)
        self.begun_at[wa_id] = pair.instance_id, begun_at

    async def paced(self, pair: Pair, rate: float, count: int) -> None:
        """Post `count` texts at a rate, whether the earlier ones were answered or not."""
        begun_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            for index in range(count):
                await trio.sleep_until(begun_at + index / rate)
                nursery.start_soon(self.one, pair)

    async def in_turn(self, pair: Pair, count: int) -> None:
        """Post `count` texts, each once the one before was answered."""
        for _ in range(count):
            await self.one(pair)

    async def flat_out(self, pairs: Sequence[Pair], each: int) -> None:
        """`each` texts of every pair: one sender for each, or `LINES` for a single one."""
        senders = LINES if len(pairs) == 1 else 1
        async with trio.open_nursery() as nursery:
            for pair in pairs:
                for index in range(senders):
                    nursery.start_soon(self.in_turn, pair, each // senders + (index < each % senders))


def _flow(
    direction: str,
    busy: Busy,
    rate: float | None,
    messages: int,
    window: _Window,
    *,
    way: Spread,
    accepted: Spread | None = None,
) -> Flow:
    size = len(busy.pairs)
    return Flow(
        direction=direction,
        instances=size,
        offered_per_s=None if rate is None else rate * size,
        messages=messages,
        wall_s=window.wall_s,
        gateway_cpu_s=window.gateway_cpu_s,
        sandbox_cpu_s=window.sandbox_cpu_s,
        way=way,
        accepted=accepted,
    )
