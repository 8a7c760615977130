"""What is measured only when it is asked for: subscribers of the event stream, and who pays for whom.

Rule: as in a lap, one gateway in a fresh folder; what is found is text, since nothing else is compared with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Final

from benchmarks.extras.fairness import COST_GOAL, HAMMERS, P99_GOAL, Bursty, Hammered, bursty, hammered
from benchmarks.extras.sse import Fanout, measure_sse, slower
from benchmarks.findings.figures import WHATISUP
from benchmarks.laps import open_live
from benchmarks.live import Live, Options
from benchmarks.probes.spread import Spread
from benchmarks.scenarios.connect import grow
from benchmarks.scenarios.flow import befriend

ENOUGH: Final = 100
"""Messages below which a p99 says nothing."""


async def sse(live: Live) -> str:
    """The same events to more and more subscribers."""
    return streamed(await measure_sse(live))


async def fairness(live: Live) -> str:
    """One with bursts, and one with many equal requests, beside everybody else."""
    lines = []
    for direction in ("in", "out"):
        live.say(f"{direction}: one of {live.size} has bursts")
        lines += bursty_lines(await bursty(live, direction))
    for direction in ("out", "in"):  # what comes in cannot be stopped any more
        live.say(f"{direction}: equal Idempotency-Keys, every other few seconds")
        lines += hammered_lines(await hammered(live, direction))
    return "\n".join(lines)


EXTRAS: Final[Mapping[str, Callable[[Live], Awaitable[str]]]] = {"sse": sse, "fairness": fairness}
SIZES: Final[Mapping[str, int]] = {"sse": 10, "fairness": 50}
"""How many instances there are, unless it is said."""


async def extra(name: str, size: int | None, folder: Path, say: Callable[[str], None]) -> str:
    """Run one of them; what it found, with what it was found under."""
    many = SIZES[name] if size is None else size
    async with open_live(WHATISUP, many, folder, say, Options()) as live:
        await grow(live, many)
        await befriend(live)
        found = await EXTRAS[name](live)
        return f"{name}, {many} instances: limits and pacing are off; {live.subject.conditions}\n{found}"


# --- as text --------------------------------------------------------------------------------------------------------


def milliseconds(value: float) -> str:
    """With one decimal where that says something."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def p50_and_p99(spread: Spread) -> str:
    """Both, of times in milliseconds."""
    return f"{milliseconds(spread.p50)}/{milliseconds(spread.p99)}" if spread.count else "–"


_FANOUT: tuple[tuple[str, int, Callable[[Fanout], str]], ...] = (
    ("subscribers", 11, lambda one: str(one.subscribers)),
    ("refused", 9, lambda one: str(one.refused)),
    ("events", 8, lambda one: str(one.events)),
    ("read", 9, lambda one: str(one.frames)),
    ("missing", 9, lambda one: str(one.missing)),
    ("read/s", 8, lambda one: f"{one.per_s:.0f}"),
    ("lag p50/p99", 14, lambda one: p50_and_p99(one.lag)),
    ("CPU, % of a core", 18, lambda one: f"{100 * one.share:.0f}"),
    ("way in p50/p99", 16, lambda one: p50_and_p99(one.way)),
)


def streamed(found: Sequence[Fanout]) -> str:
    """A line for each number of subscribers; times in milliseconds."""
    lines = ["".join(f"{name:>{width}}" for name, width, _ in _FANOUT) + "   p99 of it"]
    for one in found:
        factor = slower(found, one)
        cells = "".join(f"{cell(one):>{width}}" for _, width, cell in _FANOUT)
        lines.append(cells + ("" if factor is None else f"{f'x {factor:.2f}':>12}"))
    return "\n".join(lines)


def bursty_lines(found: Bursty) -> list[str]:
    """One direction: the others' p99, calm and during the bursts of one."""
    calm, disturbed = found.calm, found.disturbed
    word = "met" if found.factor <= P99_GOAL else "MISSED"
    if min(calm.count, disturbed.count) < ENOUGH:
        word = "too few messages to tell"
    return [
        f"{found.direction}: one of {found.instances} bursts at {found.burst_per_s:.0f}/s; p99 of the others"
        f" {milliseconds(calm.p99)} ms calm ({calm.count}), {milliseconds(disturbed.p99)} ms meanwhile"
        f" ({disturbed.count}): x {found.factor:.2f}, bar x {P99_GOAL:g}: {word}"
    ]


def hammered_lines(found: Hammered) -> list[str]:
    """One direction: the others' throughput, calm and hammered, and how far that can be trusted."""
    calm, struck = found.calm, found.hammered
    word = "met" if found.cost < COST_GOAL else "MISSED"
    if found.noise > COST_GOAL:
        word = "too noisy to tell"
    return [
        f"{found.direction}: {HAMMERS} equal Idempotency-Keys at once, {found.waves} times, beside {found.instances}"
        f" instances flat out: {mean(w.per_s for w in calm):.0f}/s in calm,"
        f" {mean(w.per_s for w in struck):.0f}/s hammered:"
        f" cost {_share(found.cost)}, bar {_share(COST_GOAL)}: {word}",
        f"   (of the gateway's CPU {_share(found.cpu_cost)}; calm windows differ by {_share(found.noise)}; in calm the"
        f" gateway used {_share(mean(w.gateway_share for w in calm))} of a core; each time one message came of it)",
    ]


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"
