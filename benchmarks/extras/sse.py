"""What subscribers of the event stream cost, how soon they know, and what they do to the messages themselves.

Rule: the same modest traffic each time, with nobody listening, and then with more and more; what the subscribers do to
the way in is a ratio of windows of one run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import trio

from api.demo.gateway import HOST
from benchmarks.live import Live
from benchmarks.probes.spread import Spread
from benchmarks.scenarios.flow import FLOW_S, SETTLE_S
from benchmarks.scenarios.passages import arrivals, lags
from benchmarks.traffic.listeners import KEY, NOTES
from benchmarks.traffic.pace import apart
from benchmarks.traffic.programs import Notes, Program
from whatisup.control import BurstRequest

SUBSCRIBERS = (0, 1, 50, 500)
PER_S = 10.0
"""Events of all instances together."""
WINDOW_S = 10.0
DRAIN_S = 15.0
"""How long what was written is waited for after its last event."""
OPEN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fanout:
    """So many subscribers to the same events. `refused`: those that the gateway did not let in.

    `lag` is from the commit of an event to the moment when a subscriber has read it, over all subscribers; `way` is
    that of the messages, from the contact's send to the durable row.
    """

    subscribers: int
    refused: int
    events: int
    frames: int
    wall_s: float
    cpu_s: float
    lag: Spread
    way: Spread

    @property
    def missing(self) -> int:
        """How many events did not reach a subscriber in time."""
        return self.events * self.subscribers - self.frames

    @property
    def per_s(self) -> float:
        """Events a second, over all subscribers."""
        return self.frames / self.wall_s

    @property
    def share(self) -> float:
        """How much of a core the gateway used."""
        return self.cpu_s / self.wall_s


def slower(found: Sequence[Fanout], one: Fanout) -> float | None:
    """How many times longer the p99 of the way in is than with nobody listening; None without such a window."""
    base = next((window.way.p99 for window in found if window.subscribers == 0), 0.0)
    return one.way.p99 / base if base > 0 else None


async def measure_sse(live: Live) -> list[Fanout]:
    """Each number of subscribers for a few seconds."""
    return [await _fan_out(live, count) for count in SUBSCRIBERS]


async def _fan_out(live: Live, count: int) -> Fanout:
    customer = live.whatisup.api
    program = Program("listeners", live.folder, (HOST, str(customer.port), str(count)), {KEY: str(customer.key)})
    notes = Notes(live.folder / NOTES)
    try:
        await program.start()
        said = await program.said(OPEN_S)
        live.say(f"sse: {said['open']} subscribers, {said['refused']} refused; {PER_S:g} events a second")
        return await _window(live, notes, int(said["open"]), int(said["refused"]))
    finally:
        await program.kill()


async def _window(live: Live, notes: Notes, subscribers: int, refused: int) -> Fanout:
    rows, rate = live.whatisup.rows, PER_S / len(live.pairs)
    each = max(1, round(WINDOW_S * rate))
    events = each * len(live.pairs)
    mark, log_end, since = rows.mark(), rows.log_end(), notes.count()
    cpu_s, begun_at = live.cpu_s()[0], trio.current_time()
    await apart(live.pairs, rate, lambda pair: live.people.burst(pair.contact, BurstRequest(pair.number, each, rate)))
    await live.until(lambda: rows.ingested(mark) >= events, FLOW_S, f"{events} messages came in")
    with trio.move_on_after(DRAIN_S):
        while notes.count() - since < events * subscribers:
            await trio.sleep(0.05)
    wall_s = trio.current_time() - begun_at
    await trio.sleep(SETTLE_S)
    cpu_s = live.cpu_s()[0] - cpu_s
    found = notes.since(since)
    return Fanout(
        subscribers=subscribers,
        refused=refused,
        events=events,
        frames=len(found),
        wall_s=wall_s,
        cpu_s=cpu_s,
        lag=Spread.of(lags(live.whatisup, log_end, found)),
        way=Spread.of(passage.took_ms for passage in await arrivals(live, mark)),
    )
