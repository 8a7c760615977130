"""The part of the benchmarks that is about what customers build on: webhooks, the API, the event stream.

Rule: one gateway for all three, one after the other; what was measured before a failure is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.asking import Asking, measure_api
from benchmarks.busy import open_busy
from benchmarks.sse import Fanout, measure_sse
from benchmarks.webhooks import Hooked, measure_webhooks

SIZE = 10
"""How many instances there are."""
PARTS = ("webhooks", "api", "sse")


@dataclass(slots=True)
class Edge:
    """What was found so far, and how durable the gateway said it was meanwhile."""

    durability: str = ""
    hooked: list[Hooked] = field(default_factory=list)
    asked: list[Asking] = field(default_factory=list)
    streamed: list[Fanout] = field(default_factory=list)

    @property
    def has_any(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.hooked or self.asked or self.streamed)


async def edge(
    size: int, folder: Path, found: Edge, say: Callable[[str], None], *, parts: Collection[str] = PARTS
) -> None:
    """Measure those parts."""
    async with open_busy(size, folder, say) as busy:
        found.durability = busy.durability
        if "api" in parts:
            found.asked += await measure_api(busy, say)
        if "sse" in parts:
            found.streamed += await measure_sse(busy, say)
        if "webhooks" in parts:
            found.hooked.append(await measure_webhooks(busy, say))
