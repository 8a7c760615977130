"""Things that were found out once and never change, or hold for a while, as many as there is room for.

Rule: to forget one costs a look at the store and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

MAX_REMEMBERED: Final = 10_000


class Remembered:
    """A set that forgets what it has known longest."""

    def __init__(self, most: int = MAX_REMEMBERED) -> None:
        self._most = most
        self._known: dict[Hashable, None] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, thing: Hashable) -> bool:
        return thing in self._known

    def add(self, thing: Hashable) -> None:
        """Remember it."""
        if thing not in self._known and len(self._known) >= self._most:
            del self._known[next(iter(self._known))]
        self._known[thing] = None


class Lately:
    """A set that forgets each thing `for_s` after it was last added; `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float], for_s: float, most: int = MAX_REMEMBERED) -> None:
        self._clock = clock
        self._for_s = for_s
        self._most = most
        self._until: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def __contains__(self, thing: Hashable) -> bool:
        until = self._until.get(thing)
        if until is None or until > self._clock():
            return until is not None
        del self._until[thing]
        return False

    def add(self, thing: Hashable) -> None:
        """Remember it from now on."""
        self._until.pop(thing, None)
        if len(self._until) >= self._most:
            del self._until[next(iter(self._until))]
        self._until[thing] = self._clock() + self._for_s
