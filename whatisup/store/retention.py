"""Forgetting, a bounded number of rows at a call, so that no sweep ever holds up the writer.

Rule: a row goes when nothing needs it any more: ciphertext hashes, retained messages and resend counts after 14 days,
poison after 30, bodies, events and payloads of webhooks after the days that the operator keeps them. Rows of deliveries
stay. Whoever sweeps calls again while a call returns its limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Table, delete, select, tuple_, update

from whatisup.store import deliveries
from whatisup.store.handlers.outbound import expire_queued
from whatisup.store.log_retention import expire_events
from whatisup.store.tables import ciphertexts, events, messages, poison, resends, retained, webhook_deliveries
from whatisup.store.transaction import Tx

__all__ = [
    "BODY_DAYS",
    "DAY_MS",
    "EVENT_DAYS",
    "LIMIT",
    "POISON_MS",
    "SETTLE_MS",
    "Kept",
    "expire_bodies",
    "expire_ciphertexts",
    "expire_events",
    "expire_poison",
    "expire_queued",
    "expire_resends",
    "expire_retained",
    "sweep",
]

LIMIT: Final = 500
DAY_MS: Final = 24 * 3600 * 1000
BODY_DAYS: Final = 30
EVENT_DAYS: Final = 30
POISON_MS: Final = 30 * DAY_MS
SETTLE_MS: Final = 15 * 60 * 1000
"""With bodies kept for 0 days: how long after it settled a body stays, for those who follow the events."""

_AWAITED = (
    select(events.c.message_id)
    .join_from(webhook_deliveries, events, events.c.id == webhook_deliveries.c.event_id)
    .where(webhook_deliveries.c.next_attempt_at.is_not(None), events.c.message_id.is_not(None))
)
"""Messages whose events are still to be delivered."""


@dataclass(frozen=True, slots=True)
class Kept:
    """For how many days what is kept; `failed_payload_days` is about deliveries that were given up."""

    body_days: int = BODY_DAYS
    event_days: int = EVENT_DAYS
    failed_payload_days: int = deliveries.FAILED_PAYLOAD_DAYS


def expire_bodies(tx: Tx, now: int, days: int = BODY_DAYS, limit: int = LIMIT) -> int:
    """Drop the bodies of messages older than `days`; returns how many.

    With 0 days a body goes a quarter of an hour after its message settled (was read and told, or has left the outbox),
    for those who follow the events, but not before the webhooks that tell of it have settled. What is still to be
    encrypted keeps its body in any case. Events show the body as expired from then on.
    """
    due: tuple[ColumnElement[bool], ...] = (messages.c.created_at <= now - days * DAY_MS,)
    if days == 0:
        due = messages.c.settled_at <= now - SETTLE_MS, messages.c.id.not_in(_AWAITED)
    rows = (
        select(messages.c.position)
        .where(messages.c.settled_at.is_not(None), messages.c.data_key_id.is_not(None), *due)
        .order_by(messages.c.created_at)
        .limit(limit)
    )
    query = (
        update(messages)
        .where(messages.c.position.in_(rows))
        .values(body=None, original=None, data_key_id=None, is_body_expired=True)
    )
    return tx.conn.execute(query).rowcount


def expire_ciphertexts(tx: Tx, now: int, limit: int = LIMIT) -> int:
    """Forget hashes of ciphertexts; returns how many."""
    return _forget(tx, ciphertexts, ciphertexts.c.expires_at, now, limit)


def expire_retained(tx: Tx, now: int, limit: int = LIMIT) -> int:
    """Forget what retry receipts are answered with; returns how many."""
    return _forget(tx, retained, retained.c.expires_at, now, limit)


def expire_resends(tx: Tx, now: int, limit: int = LIMIT) -> int:
    """Forget how often resends were asked for; returns how many."""
    return _forget(tx, resends, resends.c.expires_at, now, limit)


def expire_poison(tx: Tx, now: int, limit: int = LIMIT) -> int:
    """Forget stanzas that could not be processed; returns how many."""
    return _forget(tx, poison, poison.c.at, now - POISON_MS, limit)


def _forget(tx: Tx, table: Table, column: ColumnElement[int], now: int, limit: int) -> int:
    """Delete the rows that are due, the oldest first."""
    key = list(table.primary_key.columns)
    due = select(*key).where(column <= now).order_by(column).limit(limit)
    name = key[0] if len(key) == 1 else tuple_(*key)
    return tx.conn.execute(delete(table).where(name.in_(due))).rowcount


def sweep(tx: Tx, now: int, kept: Kept, limit: int = LIMIT) -> bool:
    """Everything above once; True if any of it reached its limit, so that there is more to do.

    Deliveries are given up before the events they wait for are deleted, and before the bodies those tell.
    """
    counts = (
        expire_queued(tx, now, limit),
        deliveries.fail_expired(tx, now, kept.event_days, limit, payload_days=kept.failed_payload_days),
        deliveries.fail_deleted(tx, limit, payload_days=kept.failed_payload_days),
        deliveries.expire_payloads(tx, now, limit),
        expire_bodies(tx, now, kept.body_days, limit),
        expire_events(tx, now, kept.event_days, limit),
        expire_ciphertexts(tx, now, limit),
        expire_retained(tx, now, limit),
        expire_resends(tx, now, limit),
        expire_poison(tx, now, limit),
    )
    return max(counts) >= limit
