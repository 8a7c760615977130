"""Where the sandbox's random bytes come from: one seed, many named streams.

Rule: every key, number and reference is drawn from a stream named after what it is for, so that with `--seed` the same
thing gets the same bytes in every run, whatever else happened before it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass


class Stream:
    """Endless bytes that depend on the key alone; callable as the `Entropy` of the wire modules."""

    __slots__ = ("_count", "_key")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._count = 0

    def __call__(self, length: int) -> bytes:
        """Return the next `length` bytes."""
        self._count += 1
        return hashlib.shake_256(self._key + self._count.to_bytes(8, "big")).digest(length)


@dataclass(frozen=True, slots=True, repr=False)
class Seed:
    """32 bytes which fix everything the sandbox draws."""

    key: bytes

    @classmethod
    def of(cls, number: int | None) -> Seed:
        """Return the seed for `--seed number`, or a fresh one from the operating system."""
        if number is None:
            return cls(os.urandom(32))
        return cls(hashlib.sha256(b"whatisup sandbox seed %d" % number).digest())

    def stream(self, *labels: str | int) -> Stream:
        """Return the stream of that name, from its beginning."""
        name = "\0".join(str(label) for label in labels).encode()
        return Stream(hashlib.sha256(self.key + name).digest())
