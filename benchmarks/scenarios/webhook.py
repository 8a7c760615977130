"""Scenario `webhook`: what a webhook costs and how soon it is there, from the contact's phone to the receiver.

Rule: what is told of is the same with and without the endpoint, in windows that alternate, so that the difference is
the price of the deliveries alone: the row, the attempt, and the note of what became of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import trio

from benchmarks.live import Live
from benchmarks.probes.spread import Spread
from benchmarks.scenarios.endpoint import Endpoint, open_endpoint
from benchmarks.scenarios.flow import FLOW_S, SETTLE_S, befriend
from benchmarks.scenarios.passages import lags, logs
from benchmarks.traffic.pace import apart
from whatisup.control import BurstRequest

MODEST_S = 8.0
MODEST_PER_S = 25.0
"""Of all instances together."""
WINDOWS = 2
"""How many windows have the endpoint, and how many have it switched off."""
FLAT_OUT = 400
"""How many messages come in at once in such a window."""
REPLAYED = 1000
"""How many events are delivered again at least; the log may be very long by then."""


@dataclass(frozen=True, slots=True)
class Load:
    """A window: so many messages came in, for so much CPU of the gateway."""

    messages: int
    cpu_s: float

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds for each message."""
        return 1000 * self.cpu_s / self.messages


def added_cpu_ms(bare: Sequence[Load], hooked: Sequence[Load]) -> float:
    """CPU milliseconds that a delivery adds to the message that it tells of."""
    return mean(load.cpu_ms for load in hooked) - mean(load.cpu_ms for load in bare)


def whole_ways(sent_ms: Mapping[str, float], events: Mapping[str, str], notes: Iterable[tuple[str, float]]) -> Spread:
    """From the contact's send to the receiver, where each event counts when it arrived for the first time.

    `sent_ms` says when each message was sent, `events` which message an event tells of, `notes` when events arrived.
    """
    first: dict[str, float] = {}
    for event_id, at in notes:
        first.setdefault(event_id, at)
    ways = ((sent_ms.get(events.get(event_id, "")), at) for event_id, at in first.items())
    return Spread.of(at - sent for sent, at in ways if sent is not None)


async def webhook(live: Live) -> Mapping[str, float]:
    """See the module: a modest rate for the times, flat out with and without for the price, a replay."""
    await befriend(live)
    async with open_endpoint(live) as endpoint:
        whole, lag = await _modest(live, endpoint)
        bare: list[Load] = []
        hooked: list[Load] = []
        for _ in range(WINDOWS):
            for loads, on in ((bare, False), (hooked, True)):
                live.say(f"webhook: {FLAT_OUT} messages in, flat out, endpoint {'on' if on else 'off'}")
                await endpoint.switch(on=on)
                loads.append(await _flat_out(live, endpoint, on=on))
        per_cpu_s, per_s = await _replay(live, endpoint)
    return {
        "hook_p50_ms": whole.p50,
        "hook_p99_ms": whole.p99,
        "hook_commit_p50_ms": lag.p50,
        "hook_commit_p99_ms": lag.p99,
        "hook_cpu_ms": added_cpu_ms(bare, hooked),
        "hook_per_cpu_s": per_cpu_s,
        "hook_per_s": per_s,
    }


async def _modest(live: Live, endpoint: Endpoint) -> tuple[Spread, Spread]:
    """The way from the contact's send to the receiver, and of it that from the commit on."""
    live.say(f"webhook: {MODEST_PER_S:g} events a second for {MODEST_S:g} s")
    gateway, rate = live.whatisup, MODEST_PER_S / len(live.pairs)
    each = max(1, round(MODEST_S * rate))
    mark, log_end, since = gateway.rows.mark(), gateway.rows.log_end(), endpoint.notes.count()
    await apart(live.pairs, rate, lambda pair: live.people.burst(pair.contact, BurstRequest(pair.number, each, rate)))
    await endpoint.settled(since + each * len(live.pairs))
    notes = endpoint.notes.since(since)
    return await _whole(live, mark, log_end, notes), Spread.of(lags(gateway, log_end, notes))


async def _whole(live: Live, mark: int, log_end: int, notes: Sequence[tuple[str, float]]) -> Spread:
    """What a message and its event have in common is the event's position."""
    rows = live.whatisup.rows
    at = {position: event_id for event_id, position in rows.told(log_end).items()}
    events = {at[row.position]: row.wa_id for row in rows.received(mark) if row.position in at}
    sent = {row.id: float(row.acked_at) for row in await logs(live, live.people.sent) if row.acked_at is not None}
    return whole_ways(sent, events, notes)


async def _flat_out(live: Live, endpoint: Endpoint, *, on: bool) -> Load:
    each = max(1, FLAT_OUT // len(live.pairs))
    messages = each * len(live.pairs)
    rows = live.whatisup.rows
    mark, since, cpu_s = rows.mark(), endpoint.notes.count(), live.cpu_s()[0]
    await apart(live.pairs, None, lambda pair: live.people.burst(pair.contact, BurstRequest(pair.number, each)))
    await live.until(lambda: rows.ingested(mark) >= messages, FLOW_S, f"{messages} messages came in")
    if on:
        await endpoint.settled(since + messages)
    await trio.sleep(SETTLE_S)
    return Load(messages, live.cpu_s()[0] - cpu_s)


async def _replay(live: Live, endpoint: Endpoint) -> tuple[float, float]:
    """Deliver much of the log again: deliveries for each CPU second of the gateway, and for each on the wall."""
    live.say("webhook: the first of the log again")
    since, begun_at, cpu_s = endpoint.notes.count(), trio.current_time(), live.cpu_s()[0]
    count = await endpoint.replay(REPLAYED)
    await endpoint.settled(since + count)
    used_s, took_s = live.cpu_s()[0] - cpu_s, trio.current_time() - begun_at
    return count / max(used_s, 0.01), count / took_s
