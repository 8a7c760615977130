"""Things that were found out once and never change, as many as there is room for.

Rule: to forget one costs a look at the store and nothing else.
"""

from __future__ import annotations

from collections.abc import Hashable
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
