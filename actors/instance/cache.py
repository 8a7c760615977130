"""What every instance's messaging reads again and again, kept in memory: sessions, device lists, LIDs, by key.

Rule: an entry is what the store held when it was last read or committed by the one actor that may change it, and it
changes only after the commit. It is filed under a lease that ends with the actor's connection, and goes with it: what a
dead actor or a wiped account left behind is never found again, and a number that reconnects often holds no more than
others. The cache is bounded in bytes; what was unused for longest goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from enum import Enum
from sys import getsizeof
from typing import Final, TypeAlias

KeyName: TypeAlias = tuple[str, str]
"""Kind and name of one piece of auth state."""

MAX_BYTES: Final = 32 << 20
NO_LEASE: Final = 0
"""Nothing is ever filed under it."""
SWEPT_AT_ONCE: Final = 512
"""How many entries of leases that ended are dropped in one go: some 2 µs each."""
# Two dictionary entries with their key and a short name, beside the value: 370 bytes were measured.
_OVERHEAD: Final = 384
_SHORT: Final = 64


class Missing(Enum):
    """The type of `MISSING`."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
"""Stands for "not in the cache", where None is "the store has no such row"."""


class KeyCache:
    """A bounded map from (lease, key) to what is sealed at rest, in the clear."""

    __slots__ = ("_bytes", "_ended", "_entries", "_last_lease", "_max_bytes", "_names")

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._entries: OrderedDict[tuple[int, KeyName], bytes | None] = OrderedDict()
        self._names: dict[int, dict[KeyName, None]] = {}
        """What is filed under each lease that has not ended."""
        self._ended: list[tuple[int, dict[KeyName, None]]] = []
        """What is still to be dropped."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._last_lease = 0

    def __repr__(self) -> str:
        return f"KeyCache({len(self._entries)} entries, {self._bytes} bytes)"

    def __len__(self) -> int:
        return len(self._entries)

    def lease(self) -> int:
        """A fresh name to file entries under; nothing is found under it yet."""
        self._last_lease += 1
        self._names[self._last_lease] = {}
        return self._last_lease

    def end(self, lease: int) -> None:
        """Drop what is filed under a lease, which must not be asked for again; of very much, some with each `put`."""
        names = self._names.pop(lease, None)
        if names:
            self._ended.append((lease, names))
            self._sweep()

    def _sweep(self) -> None:
        for _ in range(SWEPT_AT_ONCE):
            lease, names = self._ended[-1]
            name, _nothing = names.popitem()
            value = self._entries.pop((lease, name), MISSING)
            if value is not MISSING:  # or what was unused for longest went first
                self._bytes -= self._weight(name, value)
            if not names:
                self._ended.pop()
                if not self._ended:
                    return

    def get(self, lease: int, name: KeyName) -> bytes | Missing | None:
        """The value, None where the store has no such row, `MISSING` where the cache does not know."""
        key = (lease, name)
        if key not in self._entries:
            return MISSING
        self._entries.move_to_end(key)
        return self._entries[key]

    def find(self, lease: int, names: Iterable[KeyName]) -> tuple[dict[KeyName, bytes | None], set[KeyName]]:
        """The values of the names that the cache knows, as `get` gives them, and the names that it does not."""
        entries = self._entries
        found: dict[KeyName, bytes | None] = {}
        unknown: set[KeyName] = set()
        for name in names:
            key = (lease, name)
            if key in entries:
                entries.move_to_end(key)
                found[name] = entries[key]
            else:
                unknown.add(name)
        return found, unknown

    def put(self, lease: int, values: Mapping[KeyName, bytes | None]) -> None:
        """Remember what was read or committed, unless the lease has ended."""
        names = self._names.get(lease)
        if names is None:
            return
        if self._ended:
            self._sweep()
        for name, value in values.items():
            key = (lease, name)
            if key in self._entries:
                self._bytes -= self._weight(name, self._entries.pop(key))
            self._entries[key] = value
            names[name] = None
            self._bytes += self._weight(name, value)
        while self._bytes > self._max_bytes:
            (owner, name), value = self._entries.popitem(last=False)
            if owner in self._names:
                del self._names[owner][name]
            self._bytes -= self._weight(name, value)

    @staticmethod
    def _weight(name: KeyName, value: bytes | None) -> int:
        text = name[1]  # of addresses, each up to a thousand characters where a peer makes them up
        long = getsizeof(text) if len(text) > _SHORT else 0
        return _OVERHEAD + long + (0 if value is None else len(value))
