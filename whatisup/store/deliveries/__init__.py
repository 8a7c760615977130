"""Deliveries of webhooks: one event for one endpoint each; the rows are the queue.

Rule: a row's `position` is its place in the queue. Whoever enters the queue, for the first time or again, gets a
position above all others, so a lane is read onwards and never back, and an answer is known by it to belong to a run.

`queue` makes rows in the transaction of their event and reads what is due, `settling` writes what became of attempts,
`again` puts rows back, `shown` is what customers see.
"""

from __future__ import annotations

from whatisup.store.deliveries.again import make_test, redeliver, replay
from whatisup.store.deliveries.queue import Listeners, counts, due, enqueue, hides, lanes
from whatisup.store.deliveries.settling import (
    FAILED_PAYLOAD_DAYS,
    expire_payloads,
    fail_deleted,
    fail_expired,
    settle,
)
from whatisup.store.deliveries.shown import attempts, get, page
from whatisup.store.webhook_records import SettleOutcome

__all__ = [
    "FAILED_PAYLOAD_DAYS",
    "Listeners",
    "SettleOutcome",
    "attempts",
    "counts",
    "due",
    "enqueue",
    "expire_payloads",
    "fail_deleted",
    "fail_expired",
    "get",
    "hides",
    "lanes",
    "make_test",
    "page",
    "redeliver",
    "replay",
    "settle",
]
