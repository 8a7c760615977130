"""The part of the benchmarks that is about messages: what they cost, how long they take, who pays for whom.

Rule: each size has processes and a store of its own, as in `size.py`; what was measured before a failure is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.busy import open_busy
from benchmarks.fairness import Bursty, Hammered, bursty, hammered
from benchmarks.messages import Flow, measure_flows


@dataclass(slots=True)
class Talk:
    """What was found so far, and how durable the gateway said it was meanwhile."""

    durability: str = ""
    flows: list[Flow] = field(default_factory=list)
    bursty: list[Bursty] = field(default_factory=list)
    hammered: list[Hammered] = field(default_factory=list)


async def talk(size: int, folder: Path, found: Talk, say: Callable[[str], None]) -> None:
    """Measure one size; with more than one instance also how fair they are to each other."""
    async with open_busy(size, folder, say) as busy:
        found.durability = busy.durability
        await measure_flows(busy, found.flows, say)
        if size > 1:
            for direction in ("in", "out"):
                say(f"{direction}: one of {size} has bursts")
                found.bursty.append(await bursty(busy, direction))
            for direction in ("out", "in"):  # what comes in cannot be stopped any more
                say(f"{direction}: equal Idempotency-Keys, every other few seconds")
                found.hammered.append(await hammered(busy, direction))
