"""What every instance actor is given: the writer, the reads, the way out, and the house's shared limits.

Rule: an actor reaches nothing that is not in here, so a test builds the same value with whatever it wants to observe.
"""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import trio

from actors.fleet import Fleet
from actors.writer import Writer
from whatisup.protocol.profile import ClientProfile
from whatisup.store import Mode
from whatisup.store.database import Database


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A WhatsApp to connect to: the websocket's URL, the Noise root (32 bytes) it must prove, and the TLS context."""

    url: str
    root_public: bytes
    tls: ssl.SSLContext | None


class ConnectGate:
    """A token bucket over login attempts, first come first served, so that a thousand instances do not storm.

    `rate` is attempts a second; up to one second's worth may go at once. Only who goes through takes a token: someone
    who asks and gives up again and again delays nobody.
    """

    __slots__ = ("_next_at", "_period_s", "_slack_s", "_turn")

    def __init__(self, rate: float) -> None:
        self._period_s = 1.0 / rate
        self._slack_s = 1.0
        self._next_at = float("-inf")
        self._turn = trio.Lock()  # it serves who waits in order

    async def wait(self) -> None:
        """Take the next token, waiting until it is due."""
        async with self._turn:
            self._next_at = max(self._next_at, trio.current_time() - self._slack_s)
            await trio.sleep_until(self._next_at)
            self._next_at += self._period_s


@dataclass(slots=True)
class Counts:
    """What the fleet has been through since the process started; the metrics page reads it."""

    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)
    reconnects: Counter[str] = field(default_factory=Counter)
    dropped_frames: int = 0
    client_expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Services:
    """Everything an instance actor works with.

    `endpoint` gives the WhatsApp of a mode, or None while it is not up; `unix_ms` is the wall clock; `entropy` returns
    that many random bytes; `jitter` draws from 0 to 1; `threads` bounds key generation and PBKDF2, `decoding` the
    decoding of large frames (one at a time, since each may take a hundred megabytes), `minting` the making of prekeys
    from generation to upload (some two megabytes each, and what many leave behind at once is not given back).
    """

    writer: Writer
    database: Database
    endpoint: Callable[[Mode], Endpoint | None]
    gates: Mapping[Mode, ConnectGate]
    profile: ClientProfile
    fleet: Fleet
    counts: Counts
    unix_ms: Callable[[], int]
    entropy: Callable[[int], bytes]
    jitter: Callable[[], float]
    threads: trio.CapacityLimiter
    minting: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))
    decoding: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))
