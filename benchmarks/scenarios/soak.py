"""Scenario `soak`: everything at once for a long time, with faults at random, and whether anything grows or is lost.

Rule: what happens is drawn from the seed; what is offered is far below what would fill anything, so that a level which
rises does so by itself. Samples go to `soak.jsonl` as they are taken.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field

import psutil
import trio

from benchmarks.findings.fits import drift
from benchmarks.findings.results import SAMPLES
from benchmarks.live import Live
from benchmarks.probes.spread import unix_ms
from benchmarks.scenarios.endpoint import Endpoint, open_endpoint
from benchmarks.scenarios.flow import befriend
from benchmarks.scenarios.passages import arrivals, deliveries
from benchmarks.subjects.subject import Pair, Posted
from benchmarks.traffic.line import Line
from whatisup.control import BurstRequest, FaultName, FaultParams, FaultRequest, Scope

IN_PER_S_EACH = 0.1
OUT_PER_S_EACH = 0.05
READS_PER_S = 5.0
ROUND_S = 60.0
"""A contact is told anew what to send after so long."""
SAMPLE_S = 10.0
FEWEST_SAMPLES = 30
WARM = 0.2
"""That share of the samples comes before caches and pools have their size."""
FAULT_S = (2.0, 8.0)
"""Between one fault and the next."""
SLOW_S = 20.0
DRAIN_S = 180.0
TRIES = 30
HOUR_S = 3600.0
KIB, MIB = 1024, 1024 * 1024

OF_THE_SESSION: tuple[FaultName, ...] = (
    FaultName.DROP,
    FaultName.STREAM_503,
    FaultName.STREAM_515,
    FaultName.HALF_OPEN,
    FaultName.SLOW,
    FaultName.GARBAGE,
    FaultName.UNKNOWN_TAG,
    FaultName.DROP_AFTER_DELIVERY,
    FaultName.DROP_AFTER_ACK,
    FaultName.DROP_BEFORE_ACK,
    FaultName.DUPLICATE,
    FaultName.CORRUPT_MAC,
    FaultName.UNAVAILABLE,
    FaultName.LID_ONLY,
    FaultName.PHASH_MISMATCH,
    FaultName.REDELIVER_ALL,
)
OF_THE_CONTACT: tuple[FaultName, ...] = (FaultName.NO_SESSION, FaultName.CONSUMED_PREKEY)
"""Faults after which everything still arrives: what hits a session, and what a contact's phone does."""


@dataclass(frozen=True, slots=True)
class Sample:
    """How much the gateway holds, `at_s` seconds after the beginning. Bytes; `wal` is of the log file of the store."""

    at_s: float
    uss: int
    rss: int
    fds: int
    threads: int
    tasks: int
    wal: int
    store: int


@dataclass(slots=True)
class Soak:
    """What was done so far."""

    live: Live
    dice: random.Random
    begun_at: float = field(default_factory=trio.current_time)
    offered_in: int = 0
    posted: Posted = field(default_factory=Posted)
    reads: int = 0
    faults: int = 0
    samples: list[Sample] = field(default_factory=list)

    @property
    def ends_at(self) -> float:
        """When nothing more is offered."""
        return self.begun_at + self.live.options.soak_s

    # --- what is offered

    async def contacts(self) -> None:
        """Every contact writes now and then; round after round, and the last one is shorter."""
        while (left_s := self.ends_at - trio.current_time()) > 0:
            round_s = min(ROUND_S, left_s)
            begun_at, pairs = trio.current_time(), self.live.pairs
            count = max(1, round(round_s * IN_PER_S_EACH))
            for index, pair in enumerate(pairs):
                await trio.sleep_until(begun_at + round_s * index / (2 * len(pairs)))
                request = BurstRequest(pair.number, count, max(IN_PER_S_EACH, 2 * count / round_s))
                await self.live.people.burst(pair.contact, request)
                self.offered_in += count
            await trio.sleep_until(begun_at + round_s)

    async def customer(self) -> None:
        """One text after the other, of every instance in turn, whether those before were answered or not."""
        every_s = 1 / (OUT_PER_S_EACH * self.live.size)
        async with trio.open_nursery() as nursery:
            number = 0
            while trio.current_time() < self.ends_at:
                nursery.start_soon(self._post, self.live.pairs[number % self.live.size], f"soak {number}")
                number += 1
                await trio.sleep_until(self.begun_at + number * every_s)

    async def _post(self, pair: Pair, text: str) -> None:
        """A customer tries again with the same key until a message is accepted."""
        key, begun_at, why = uuid.uuid4().hex, unix_ms(), ""
        for _ in range(TRIES):
            try:
                wa_id = await self.live.whatisup.post(pair, text, key)
            except (OSError, trio.BrokenResourceError, RuntimeError) as error:
                why = str(error)
                await trio.sleep(1.0)
                continue
            self.posted.begun_at[wa_id] = pair.instance_id, begun_at
            return
        raise RuntimeError(f"a message was not accepted in {TRIES} tries: {why}")

    async def reader(self) -> None:
        """Somebody looks at instances and lists; an answer that is an error ends the run."""
        line = Line(self.live.whatisup.api)
        while trio.current_time() < self.ends_at:
            pair = self.dice.choice(self.live.pairs)
            path = f"/v1/instances/{pair.instance_id}"
            for asked in (path, f"{path}/messages?limit=20", "/v1/instances?limit=20"):
                status, answer = await line.get(asked)
                if status != 200:
                    raise RuntimeError(f"the API answered {status}: {answer}")
                self.reads += 1
                await trio.sleep(1 / READS_PER_S)
        line.cut()

    # --- what goes wrong, and what is seen

    async def mishaps(self) -> None:
        """A fault for somebody, again and again."""
        while trio.current_time() < self.ends_at:
            await trio.sleep(self.dice.uniform(*FAULT_S))
            await self.live.people.arm(drawn(self.dice, self.live.pairs))
            self.faults += 1

    async def watch(self) -> None:
        """A sample now and then."""
        every_s = min(SAMPLE_S, self.live.options.soak_s / FEWEST_SAMPLES)
        while (now := trio.current_time()) < self.ends_at:
            sample = await self._sample(now - self.begun_at)
            self.samples.append(sample)
            with (self.live.folder / SAMPLES).open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(sample)) + "\n")
            self.live.say(f"soak: {sample.uss / MIB:.1f} MiB, {sample.tasks} tasks, {self.faults} faults")
            await trio.sleep_until(self.begun_at + every_s * len(self.samples))

    async def _sample(self, at_s: float) -> Sample:
        (process,) = self.live.subject.processes()
        memory, stall = process.memory, await self.live.subject.stall()
        sizes = self.live.whatisup.rows.file_sizes()
        return Sample(
            at_s, memory.uss, memory.rss, process.fds, psutil.Process(process.pid).num_threads(), stall.tasks, *sizes
        )


def drawn(dice: random.Random, pairs: Sequence[Pair]) -> FaultRequest:
    """A fault for a session, or for the contact that it talks with."""
    pair, name = dice.choice(pairs), dice.choice(OF_THE_SESSION + OF_THE_CONTACT)
    scope = Scope(pair.contact if name in OF_THE_CONTACT else pair.number)
    if name is FaultName.SLOW:
        return FaultRequest(name, scope, seconds=SLOW_S, params=FaultParams(latency_ms=dice.randrange(10, 200)))
    return FaultRequest(name, scope, times=1)


async def soak(live: Live) -> Mapping[str, float]:
    """See the module."""
    await befriend(live)
    rows = live.whatisup.rows
    mark, log_end = rows.mark(), rows.log_end()
    async with open_endpoint(live) as endpoint:
        await live.subject.mark_stall()
        found = Soak(live, random.Random(live.options.seed))
        async with trio.open_nursery() as nursery:
            for work in (found.contacts, found.customer, found.reader, found.mishaps, found.watch):
                nursery.start_soon(work)
        stall = await live.subject.stall()
        await live.people.disarm_all()
        lost = await _lost(found, endpoint, mark, log_end)
        webhooks = len({event_id for event_id, _ in endpoint.notes.since(0)})
    return slopes(found.samples) | {
        "soak_s": live.options.soak_s,
        "soak_messages": float(found.offered_in + len(found.posted.begun_at)),
        "soak_webhooks": float(webhooks),
        "soak_reads": float(found.reads),
        "soak_faults": float(found.faults),
        "soak_lost": float(lost),
        "soak_stall_p99_ms": stall.p99_ms,
        "soak_stall_max_ms": stall.max_ms,
    }


async def _lost(found: Soak, endpoint: Endpoint, mark: int, log_end: int) -> int:
    """Wait until all is there; what is not by then is lost: messages either way, and webhooks of what came in."""
    live, rows, sent = found.live, found.live.whatisup.rows, len(found.posted.begun_at)
    live.say("soak: waiting for the last ones")
    async with _forgiving(live, "messages in"):
        await live.until(lambda: rows.ingested(mark) >= found.offered_in, DRAIN_S, "all messages came in")
    async with _forgiving(live, "messages out"):
        await live.until(lambda: rows.delivered(mark) >= sent, DRAIN_S, "all messages were delivered")
    async with _forgiving(live, "webhooks"):
        await endpoint.settled(len(rows.told(log_end)))
    arrived = {event_id for event_id, _ in endpoint.notes.since(0)}
    lost_in = max(0, found.offered_in - len(await arrivals(live, mark)))
    lost_out = sent - len(await deliveries(live, found.posted))
    lost_hooks = len(rows.told(log_end).keys() - arrived)
    if lost_in or lost_out or lost_hooks:
        live.say(f"soak: lost {lost_in} messages in, {lost_out} out, {lost_hooks} webhooks")
    return lost_in + lost_out + lost_hooks


@asynccontextmanager
async def _forgiving(live: Live, what: str) -> AsyncIterator[None]:
    """What does not come in time is not an error here, but counted as lost."""
    try:
        yield
    except RuntimeError as error:
        live.say(f"soak: {what}: {error}")


def slopes(samples: Sequence[Sample]) -> dict[str, float]:
    """How levels drift in an hour behind the first fifth; nothing of those for which there are too few samples."""
    warm = samples[int(len(samples) * WARM) :]
    hours = [sample.at_s / HOUR_S for sample in warm]
    figures = {"soak_wal_mib_max": max((sample.wal for sample in samples), default=0) / MIB}
    levels = {
        "uss": ([sample.uss / KIB for sample in warm], "kib_per_h"),
        "fd": ([float(sample.fds) for sample in warm], "per_h"),
        "task": ([float(sample.tasks) for sample in warm], "per_h"),
        "thread": ([float(sample.threads) for sample in warm], "per_h"),
    }
    for name, (values, unit) in levels.items():
        slope = drift(hours, values)
        if slope is not None and (name != "task" or any(values)):
            figures[f"soak_{name}_slope_{unit}"] = slope.value
            figures[f"soak_{name}_slope_low"] = slope.low
            figures[f"soak_{name}_slope_high"] = slope.high
    return figures
