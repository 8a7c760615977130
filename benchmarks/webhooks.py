"""What a webhook costs and how soon it is there: one endpoint for all instances, and a receiver that never fails.

Rule: what is told of is the same with and without the endpoint, in windows that alternate, so that the difference is
the price of the deliveries alone: the row, the attempt, and the note of what became of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import mean

import trio

from api.demo.client import Json
from api.demo.gateway import HOST
from benchmarks.beside import Notes, Program
from benchmarks.busy import Busy
from benchmarks.latency import Spread, lags
from benchmarks.messages import FLOW_S, SETTLE_S, apart
from benchmarks.sink import NOTES
from whatisup.control import BurstRequest

MODEST_S = 10.0
MODEST_PER_S = 25.0
"""Of all instances together."""
WINDOWS = 3
"""How many windows have the endpoint, and how many have it switched off."""
FLAT_OUT = 400
"""How many messages come in at once in such a window."""
DRAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """A window: so many messages came in, for so much CPU of the gateway."""

    messages: int
    cpu_s: float

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds for each message."""
        return 1000 * self.cpu_s / self.messages


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooked:
    """What was found. `way` is from the commit of an event to its arrival at the receiver, at the modest rate.

    `drained` deliveries of a replay, with nothing else going on, took `drain_s` seconds and `drain_cpu_s` of CPU.
    """

    instances: int
    offered_per_s: float
    way: Spread
    bare: Sequence[Load]
    hooked: Sequence[Load]
    drained: int
    drain_s: float
    drain_cpu_s: float
    duplicates: int

    @property
    def added_cpu_ms(self) -> float:
        """CPU milliseconds that a delivery adds to the message that it tells of."""
        return mean(load.cpu_ms for load in self.hooked) - mean(load.cpu_ms for load in self.bare)

    @property
    def factor(self) -> float:
        """How many times the CPU a message costs that is also delivered."""
        return mean(load.cpu_ms for load in self.hooked) / mean(load.cpu_ms for load in self.bare)

    @property
    def noise(self) -> float:
        """How much the windows without the endpoint differ from each other, as a share of their mean."""
        costs = [load.cpu_ms for load in self.bare]
        return (max(costs) - min(costs)) / mean(costs)

    @property
    def per_cpu_s(self) -> float:
        """Deliveries of the replay for each CPU second of the gateway."""
        return self.drained / self.drain_cpu_s if self.drain_cpu_s > 0 else 0.0

    @property
    def per_s(self) -> float:
        """Deliveries of the replay for each second on the wall."""
        return self.drained / self.drain_s


@dataclass(slots=True)
class _Endpoint:
    """The endpoint, and what has arrived there."""

    busy: Busy
    notes: Notes
    path: str

    async def switch(self, *, on: bool) -> None:
        """Let events be delivered from now on, or not."""
        await self.busy.api.call("PATCH", self.path, {"enabled": on})

    async def settled(self, arrived: int) -> None:
        """Wait until so many deliveries have arrived in all, and none is left to be made or noted."""
        await self.busy.until(lambda: self.notes.count() >= arrived, DRAIN_S, f"{arrived} webhooks arrived")
        await self.busy.until(lambda: self.busy.rows.undelivered() == 0, DRAIN_S, "no webhook is left")


@asynccontextmanager
async def _open(busy: Busy) -> AsyncIterator[_Endpoint]:
    sink = Program("sink", busy.folder)
    try:
        await sink.start()
        port = (await sink.said())["port"]
        body: Json = {"url": f"http://{HOST}:{port}/", "events": ["message.received"]}
        made = await busy.api.call("POST", "/v1/webhook-endpoints", body)
        path = f"/v1/webhook-endpoints/{made['id']}"
        yield _Endpoint(busy, Notes(busy.folder / NOTES), path)
        await busy.api.call("DELETE", path)
    finally:
        await sink.kill()


async def measure_webhooks(busy: Busy, say: Callable[[str], None]) -> Hooked:
    """A modest rate for the times, flat out with and without for the price, and a replay of all of it."""
    async with _open(busy) as endpoint:
        say(f"webhooks: {MODEST_PER_S:g} events a second for {MODEST_S:g} s")
        way = await _modest(busy, endpoint)
        bare: list[Load] = []
        hooked: list[Load] = []
        for _ in range(WINDOWS):
            for loads, on in ((bare, False), (hooked, True)):
                say(f"webhooks: {FLAT_OUT} messages in, flat out, endpoint {'on' if on else 'off'}")
                await endpoint.switch(on=on)
                loads.append(await _flat_out(busy, endpoint, on=on))
        say("webhooks: everything again, from the log")
        drained, drain_s, drain_cpu_s = await _replay(busy, endpoint)
        arrived = [event_id for event_id, _ in endpoint.notes.since(0)]
        live = arrived[: len(arrived) - drained]
    return Hooked(
        instances=len(busy.pairs),
        offered_per_s=MODEST_PER_S,
        way=way,
        bare=bare,
        hooked=hooked,
        drained=drained,
        drain_s=drain_s,
        drain_cpu_s=drain_cpu_s,
        duplicates=len(live) - len(set(live)),
    )


async def _modest(busy: Busy, endpoint: _Endpoint) -> Spread:
    rate = MODEST_PER_S / len(busy.pairs)
    each = max(1, round(MODEST_S * rate))
    mark, since = busy.rows.log_end(), endpoint.notes.count()
    await apart(busy.pairs, rate, lambda pair: busy.people.burst(pair.contact, BurstRequest(pair.number, each, rate)))
    await endpoint.settled(since + each * len(busy.pairs))
    return Spread.of(lags(busy, mark, endpoint.notes.since(since)))


async def _flat_out(busy: Busy, endpoint: _Endpoint, *, on: bool) -> Load:
    each = max(1, FLAT_OUT // len(busy.pairs))
    messages = each * len(busy.pairs)
    mark, since, cpu_s = busy.rows.mark(), endpoint.notes.count(), busy.cpu_s()[0]
    await apart(busy.pairs, None, lambda pair: busy.people.burst(pair.contact, BurstRequest(pair.number, each)))
    await busy.until(lambda: busy.rows.ingested(mark) >= messages, FLOW_S, f"{messages} messages came in")
    if on:
        await endpoint.settled(since + messages)
    await trio.sleep(SETTLE_S)
    return Load(messages, busy.cpu_s()[0] - cpu_s)


async def _replay(busy: Busy, endpoint: _Endpoint) -> tuple[int, float, float]:
    """Deliver the whole log again: how many that were, and the seconds and CPU seconds of it."""
    since, begun_at, cpu_s = endpoint.notes.count(), trio.current_time(), busy.cpu_s()[0]
    count, body = 0, {"after": "0"}
    while True:
        answer = await busy.api.call("POST", f"{endpoint.path}/replay", body)
        count += answer["count"]
        if answer["next_cursor"] is None:
            break
        body = {"after": answer["next_cursor"]}
    await endpoint.settled(since + count)
    return count, trio.current_time() - begun_at, busy.cpu_s()[0] - cpu_s
