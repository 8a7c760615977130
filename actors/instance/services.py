"""What every instance actor is given: the writer, the reads, the way out, and the house's shared limits.

Rule: an actor reaches nothing that is not in here, so a test builds the same value with whatever it wants to observe.
"""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import trio

from actors.fleet import Fleet
from actors.instance.cache import KeyCache
from actors.instance.gate import ConnectGate
from actors.tracing import UNTRACED, Tracer
from actors.writer import Writer
from whatisup.protocol.profile import ClientProfile
from whatisup.settings import Settings
from whatisup.store import Mode
from whatisup.store.database import Database


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A WhatsApp to connect to: the websocket's URL, the Noise root (32 bytes) it must prove, and the TLS context."""

    url: str
    root_public: bytes
    tls: ssl.SSLContext | None


WAKING_AT_ONCE: Final = 24
"""How many actors are born together, in one batch of the writer."""


@dataclass(slots=True)
class Counts:
    """What the fleet has been through since the process started; the metrics page reads it."""

    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)
    reconnects: Counter[str] = field(default_factory=Counter)
    dropped_frames: int = 0
    client_expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How fast one instance may act, so that its number is not taken for a robot's; a rate of 0 means no limit."""

    sends_per_s: float = 0.0
    send_burst: int = 10
    new_chats_per_day: int = 0
    checks_per_s: float = 0.0
    resends_per_s: float = 0.0
    resend_burst: int = 20

    @classmethod
    def of(cls, settings: Settings, mode: Mode) -> Limits:
        """What the settings say for instances of a mode; budgets guard real numbers alone."""
        resends_per_s, resend_burst = settings.retry_resends_per_minute / 60, settings.retry_resends_burst
        if mode is Mode.TEST:
            return cls(settings.send_pace_per_s_test, settings.send_burst_test)
        return cls(
            settings.send_pace_per_s_live,
            settings.send_burst_live,
            settings.new_chats_per_day,
            settings.contact_checks_per_minute / 60,
            resends_per_s,
            resend_burst,
        )


@dataclass(frozen=True, slots=True)
class Services:
    """Everything an instance actor works with.

    `endpoint` gives the WhatsApp of a mode, or None while it is not up; `unix_ms` is the wall clock; `entropy` returns
    that many random bytes; `jitter` draws from 0 to 1; `threads` bounds key generation and PBKDF2, `decoding` the
    decoding of large frames (one at a time, since each may take a hundred megabytes), `minting` the making of prekeys
    from generation to upload (what many leave behind at once is not given back), `waking` how many actors are born at
    once, so that a fleet that resumes leaves the loop to others in between. `limits` are the paces and budgets of each
    mode, `keys` is what all instances keep of their Signal state in memory, `tracer` where the spans of messages go.
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
    limits: Mapping[Mode, Limits] = field(default_factory=lambda: dict.fromkeys(Mode, Limits()))
    keys: KeyCache = field(default_factory=KeyCache)
    tracer: Tracer = UNTRACED
    waking: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(WAKING_AT_ONCE))
    minting: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))
    decoding: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))
