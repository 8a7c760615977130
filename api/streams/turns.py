"""Turns to send: streams are woken a few at a time, and between two few everybody else gets the event loop.

Rule: whatever the number of streams, what they do at once is bounded, and they take no more than their share of the
loop's time. When more happens than fits, each stream sends less often and more at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final, Protocol

import trio

AT_ONCE: Final = 16
REST: Final = 1.0
"""How long to rest after some turns, as a multiple of the time they took: streams get half of the loop at most."""
MAX_REST_S: Final = 0.05

# A send takes about so many rounds of the event loop.
_ROUNDS: Final = 3


class Woken(Protocol):
    """Somebody who waits for a turn."""

    def take_turn(self) -> None:
        """It is your turn; must not raise."""


class Turns:
    """A queue in which each stands once, first come, first served."""

    def __init__(self, *, at_once: int = AT_ONCE, rest: float = REST) -> None:
        self._waiting: dict[Woken, None] = {}
        self._asked = trio.Event()
        self._at_once = at_once
        self._rest = rest

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, who: Iterable[Woken]) -> None:
        """Let some be woken when it is their turn; who stands in the queue already keeps its place."""
        for one in who:
            self._waiting.setdefault(one)
        if self._waiting:
            self._asked.set()

    def leave(self, who: Woken) -> None:
        """Step out of the queue."""
        self._waiting.pop(who, None)

    async def run(self) -> None:
        """Give turns until cancelled."""
        while True:
            await self._asked.wait()
            started_at = trio.current_time()
            for one in list(islice(self._waiting, self._at_once)):
                del self._waiting[one]
                one.take_turn()
            for _ in range(_ROUNDS):
                await trio.lowlevel.checkpoint()
            if not self._waiting:
                self._asked = trio.Event()
            await trio.sleep(min(MAX_REST_S, self._rest * (trio.current_time() - started_at)))
