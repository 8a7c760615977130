"""Forgetting events: the oldest first, so that what is kept is the log from one position on without a hole.

Rule: a deletion moves the floor of the log in its own transaction, and whoever asks from below the floor is told so. An
event that some webhook still waits for stays, and everything behind it; whoever gives such deliveries up does it first.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Final

from sqlalchemy import Row, bindparam, delete, exists, select, update

from whatisup.store.ids import made_at
from whatisup.store.tables import events, log_head, webhook_deliveries
from whatisup.store.transaction import Tx

LIMIT: Final = 500
DAY_MS: Final = 24 * 3600 * 1000

_IS_AWAITED = exists().where(
    webhook_deliveries.c.event_id == events.c.id, webhook_deliveries.c.next_attempt_at.is_not(None)
)
_OLDEST = (
    select(events.c.position, events.c.id, _IS_AWAITED.label("is_awaited"))
    .order_by(events.c.position)
    .limit(bindparam("most"))
)
_FORGET = delete(events).where(events.c.position <= bindparam("last"))
_RAISE_FLOOR = update(log_head).values(floor=bindparam("last"))


def expire_events(tx: Tx, now: int, days: int, limit: int = LIMIT) -> int:
    """Delete events that were committed `days` ago or longer, oldest first; returns how many."""
    before = now - days * DAY_MS

    def is_over(row: Row[tuple[int, str, bool]]) -> bool:
        # The id carries the time of the commit; `occurred_at` may be what a phone said.
        return not row.is_awaited and (made_at(row.id) or 0) <= before

    gone = list(takewhile(is_over, tx.conn.execute(_OLDEST, {"most": limit})))
    if gone:
        last = {"last": gone[-1].position}
        tx.conn.execute(_FORGET, last)
        tx.conn.execute(_RAISE_FLOOR, last)
    return len(gone)
