"""A chain of message keys: one HMAC forward per message, never back.

Rule: a message key is handed out once; what was skipped is kept, up to a cap, and what was used is gone.

Source: Signal's double ratchet and sender keys; the numbers are those of its reference implementation.
"""

from __future__ import annotations

import hmac
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

from whatisup.crypto import Secret
from whatisup.errors import FutureMessage, InvalidMessage, OldCounter

MAX_AHEAD: Final = 2000
"""How many messages further than the next one a counter may be."""
MAX_KEPT: Final = 2000
"""How many skipped keys a chain keeps, and all chains of a session together; the oldest is dropped."""

# A kept key in its packed form: counter (4 bytes, big-endian), seed (32); counters ascend.
_ENTRY: Final = 36
_COUNTER: Final = 4

Trail: TypeAlias = list[bytes]
"""The chain keys from the chain's own to the one behind the message's; empty where a kept key was found."""


class Found(NamedTuple):
    """The seed (32 bytes) of a message's keys, and the way that led there."""

    seed: bytes
    trail: Trail


class KeyChain(Secret, frozen=True):
    """`key` (32 bytes) makes the message key of number `counter`, the next one; a closed chain has none.

    `kept` packs the seeds of messages that were skipped.
    """

    key: bytes | None
    counter: int = 0
    kept: bytes = b""

    def find(self, counter: int) -> Found:
        """Return what opens the message of that number, changing nothing; `after` gives the chain once it did.

        Raises `OldCounter`, `FutureMessage`, or `InvalidMessage` beyond the end of a closed chain.
        """
        if counter < self.counter:
            at = self._position(counter)
            return Found(self.kept[at + _COUNTER : at + _ENTRY], [])
        if counter - self.counter > MAX_AHEAD:
            raise FutureMessage(f"a message is more than {MAX_AHEAD} ahead")
        if self.key is None:
            raise InvalidMessage("the chain of this message was closed before it")
        trail = _walk(self.key, counter + 1 - self.counter)
        return Found(seed(trail[-2]), trail)

    def after(self, counter: int, trail: Trail) -> KeyChain:
        """Return the chain once the message of that number was opened with what `find` gave."""
        if trail:
            return KeyChain(trail[-1], counter + 1, self._keep(trail[:-2]))
        at = self._position(counter)
        return KeyChain(self.key, self.counter, self.kept[:at] + self.kept[at + _ENTRY :])

    def closed(self, last: int) -> KeyChain:
        """Return the chain without its key, having kept the seeds up to the message of number `last`.

        Raises `FutureMessage`.
        """
        if self.key is None:
            return self
        if last - self.counter > MAX_AHEAD:
            raise FutureMessage(f"a chain ends more than {MAX_AHEAD} ahead")
        missing = max(last + 1 - self.counter, 0)
        return KeyChain(None, self.counter + missing, self._keep(_walk(self.key, missing)[:-1]))

    def keeping(self, most: int) -> KeyChain:
        """Return the chain with at most that many skipped keys, the youngest."""
        if len(self.kept) <= most * _ENTRY:
            return self
        return KeyChain(self.key, self.counter, self.kept[len(self.kept) - most * _ENTRY :])

    @property
    def kept_keys(self) -> int:
        """How many skipped keys it keeps."""
        return len(self.kept) // _ENTRY

    def _position(self, counter: int) -> int:
        kept = self.kept
        index = bisect_left(range(len(kept) // _ENTRY), counter, key=lambda i: _counter_at(kept, i))
        if _counter_at(kept, index) != counter:
            raise OldCounter("a message's key was already used, or dropped")
        return index * _ENTRY

    def _keep(self, keys: list[bytes]) -> bytes:
        if not keys:
            return self.kept
        entries = [n.to_bytes(_COUNTER, "big") + seed(key) for n, key in enumerate(keys, self.counter)]
        return (self.kept + b"".join(entries))[-MAX_KEPT * _ENTRY :]


def seed(chain_key: bytes) -> bytes:
    """Return the seed (32 bytes) of a chain key's message keys."""
    return hmac.digest(chain_key, b"\x01", "sha256")


def _walk(key: bytes, steps: int) -> Trail:
    trail = [key]
    for _ in range(steps):
        key = hmac.digest(key, b"\x02", "sha256")
        trail.append(key)
    return trail


def _counter_at(kept: bytes, index: int) -> int:
    # Behind the last entry there is none.
    start = index * _ENTRY
    return int.from_bytes(kept[start : start + _COUNTER], "big") if start < len(kept) else -1


def bounded(chains: Iterable[KeyChain]) -> list[KeyChain]:
    """Return these chains, the most important first, with no more skipped keys than `MAX_KEPT` in all."""
    left, kept = MAX_KEPT, []
    for chain in chains:
        kept.append(chain.keeping(left))
        left -= kept[-1].kept_keys
    return kept
