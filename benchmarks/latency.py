"""How long messages take: from the contact's send to the committed row, and from the POST to the contact's phone.

Rule: both ends of a time are read from the one clock of the one machine, each where it happened: the logs of the
sandbox's phones (whole milliseconds), the gateway's own note of its commits, and our clock before a request is written.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import trio

from benchmarks.busy import Busy
from benchmarks.watched import Commits
from whatisup.control import MAX_PAGE, ReceivedMessage, SentMessage

Row = TypeVar("Row", ReceivedMessage, SentMessage)

_ASKED_AT_ONCE = 4


def unix_ms() -> float:
    """The one clock."""
    return time.time_ns() / 1e6


@dataclass(frozen=True, slots=True)
class Spread:
    """How a set of times is spread, in milliseconds. Of fewer than 100 the p99 is simply the longest."""

    count: int
    p50: float
    p99: float
    longest: float

    @classmethod
    def of(cls, times_ms: Iterable[float]) -> Spread:
        """The spread of these; all zero for none."""
        ordered = sorted(times_ms)
        if not ordered:
            return cls(0, 0.0, 0.0, 0.0)
        return cls(len(ordered), _rank(ordered, 0.5), _rank(ordered, 0.99), ordered[-1])


def _rank(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Passage:
    """One message: when it began and ended its way, in unix milliseconds."""

    instance_id: str
    begun_at: float
    ended_at: float

    @property
    def took_ms(self) -> float:
        """From the one to the other."""
        return self.ended_at - self.begun_at


async def arrivals(busy: Busy, since: int) -> list[Passage]:
    """The inbound messages behind that position of the store, each from the contact's send to the durable row.

    Sent is when the server had taken it from the contact's phone, encrypted: what the phone does before is not ours.
    """
    sent_at = {row.id: row.acked_at for row in await _logs(busy, busy.people.sent) if row.acked_at is not None}
    commits = Commits.read(busy.folder)
    found = [(sent_at.get(wa_id), commits.at_ms(at), owner) for wa_id, owner, at in busy.rows.received(since)]
    return [Passage(owner, sent, done) for sent, done, owner in found if sent is not None and done is not None]


def lags(busy: Busy, since: int, notes: Iterable[tuple[str, float]]) -> list[float]:
    """How long events took, in milliseconds: from the return of the commit that holds them to each of these notes.

    Only events that tell of messages that came in count, and that lie behind that position of the log.
    """
    commits, told = Commits.read(busy.folder), busy.rows.told(since)
    known = {event_id: commits.at_ms(position) for event_id, position in told.items()}
    found = ((known.get(event_id), at) for event_id, at in notes)
    return [at - committed for committed, at in found if committed is not None]


async def deliveries(busy: Busy, begun_at: dict[str, tuple[str, float]]) -> list[Passage]:
    """The outbound messages of which is given, by WhatsApp's id, the instance and when it was posted.

    The way ends when the contact's phone has decrypted the message.
    """
    read_at = {row.id: row.at for row in await _logs(busy, busy.people.received) if row.verdict == "read"}
    return [Passage(owner, at, read_at[wa_id]) for wa_id, (owner, at) in begun_at.items() if wa_id in read_at]


async def _logs(busy: Busy, ask: Callable[..., Awaitable[list[Row]]]) -> list[Row]:
    """One log of all contacts' phones."""
    found: list[Row] = []
    places = trio.CapacityLimiter(_ASKED_AT_ONCE)

    async def read(contact: str) -> None:
        async with places:
            found.extend(await _pages(partial(ask, contact, limit=MAX_PAGE)))

    async with trio.open_nursery() as nursery:
        for pair in busy.pairs:
            nursery.start_soon(read, pair.contact)
    return found


async def _pages(ask: Callable[..., Awaitable[list[Row]]]) -> list[Row]:
    found: list[Row] = []
    while True:
        page = await ask(after=found[-1].position if found else 0)
        found += page
        if len(page) < MAX_PAGE:
            return found
