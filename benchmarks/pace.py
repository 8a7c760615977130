"""Many things done at once, or spread evenly over time.

Rule: what is offered does not wait for what came of the last one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from benchmarks.subjects.subject import Pair


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
