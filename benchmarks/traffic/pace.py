"""Many things done at once, or spread evenly over time.

Rule: what is offered does not wait for what came of the last one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio

One = TypeVar("One")


async def apart(many: Sequence[One], rate: float | None, do: Callable[[One], Awaitable[object]]) -> None:
    """Do it for each: at once, or spread evenly over the time between two messages of one of them (`rate` a second)."""
    begun_at = trio.current_time()

    async def one(index: int, single: One) -> None:
        if rate is not None:
            await trio.sleep_until(begun_at + index / (rate * len(many)))
        await do(single)

    async with trio.open_nursery() as nursery:
        for index, single in enumerate(many):
            nursery.start_soon(one, index, single)
