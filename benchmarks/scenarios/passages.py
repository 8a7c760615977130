"""How long messages take: from the contact's send until it is there for good, and from the request to the phone.

Rule: both ends of a time are read from the one clock of the one machine, each where it happened: the logs of the
sandbox's phones (whole milliseconds), the subject's own note of what is there, and the clock before a request is made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import trio

from benchmarks.live import Live
from benchmarks.probes.watched import Commits
from benchmarks.subjects.subject import Posted
from benchmarks.subjects.whatisup import WhatIsUp
from whatisup.control import MAX_PAGE, ReceivedMessage, SentMessage

Row = TypeVar("Row", ReceivedMessage, SentMessage)

_ASKED_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Passage:
    """One message: when it began and ended its way, and on the way in when the subject had read it; unix ms."""

    instance_id: str
    begun_at: float
    ended_at: float
    read_at: float | None = None

    @property
    def took_ms(self) -> float:
        """From the one to the other."""
        return self.ended_at - self.begun_at

    @property
    def own_ms(self) -> float | None:
        """The part of it that the subject took, None where that is not known."""
        return None if self.read_at is None else self.ended_at - self.read_at


async def arrivals(live: Live, since: int) -> list[Passage]:
    """The inbound messages behind that mark, each from the contact's send until it was there for good.

    Sent is when the server had taken it from the contact's phone, encrypted: what the phone does before is not ours.
    """
    sent_at = {row.id: row.acked_at for row in await logs(live, live.people.sent) if row.acked_at is not None}
    found = await live.subject.arrivals(since)
    known = (one for one in found if one.wa_id in sent_at)
    return [Passage(one.instance_id, sent_at[one.wa_id], one.at_ms, one.read_at_ms) for one in known]


async def deliveries(live: Live, posted: Posted) -> list[Passage]:
    """What was posted, each from its request until the contact's phone has decrypted the message."""
    read_at = {row.id: row.at for row in await logs(live, live.people.received) if row.verdict == "read"}
    begun = posted.begun_at.items()
    return [Passage(owner, at, read_at[wa_id]) for wa_id, (owner, at) in begun if wa_id in read_at]


def lags(gateway: WhatIsUp, since: int, notes: Iterable[tuple[str, float]]) -> list[float]:
    """How long events took, in milliseconds: from the return of the commit that holds them to each of these notes.

    Only events that tell of messages that came in count, and that lie behind that position of the log.
    """
    commits, told = Commits.read(gateway.folder), gateway.rows.told(since)
    known = {event_id: commits.at_ms(position) for event_id, position in told.items()}
    found = ((known.get(event_id), at) for event_id, at in notes)
    return [at - committed for committed, at in found if committed is not None]


async def logs(live: Live, ask: Callable[..., Awaitable[list[Row]]]) -> list[Row]:
    """One log of all contacts' phones."""
    found: list[Row] = []
    places = trio.CapacityLimiter(_ASKED_AT_ONCE)

    async def read(contact: str) -> None:
        async with places:
            found.extend(await _pages(partial(ask, contact, limit=MAX_PAGE)))

    async with trio.open_nursery() as nursery:
        for pair in live.pairs:
            nursery.start_soon(read, pair.contact)
    return found


async def _pages(ask: Callable[..., Awaitable[list[Row]]]) -> list[Row]:
    found: list[Row] = []
    while True:
        page = await ask(after=found[-1].position if found else 0)
        found += page
        if len(page) < MAX_PAGE:
            return found
