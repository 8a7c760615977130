"""Forgetting, a bounded number of rows at a call, so that no sweep ever holds up the writer.

Rule: a row goes when nothing needs it any more: ciphertext hashes, retained messages and resend counts after 14 days,
poison after 30, bodies after the days that the operator keeps them. Whoever sweeps calls again while a call returns its
limit.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, Table, delete, select, tuple_, update

from whatisup.store.handlers.outbound import expire_queued
from whatisup.store.tables import ciphertexts, messages, poison, resends, retained
from whatisup.store.transaction import Tx

__all__ = [
    "BODY_DAYS",
    "DAY_MS",
    "LIMIT",
    "POISON_MS",
    "SETTLE_MS",
    "expire_bodies",
    "expire_ciphertexts",
    "expire_poison",
    "expire_queued",
    "expire_resends",
    "expire_retained",
    "sweep",
]

LIMIT: Final = 500
DAY_MS: Final = 24 * 3600 * 1000
BODY_DAYS: Final = 30
POISON_MS: Final = 30 * DAY_MS
SETTLE_MS: Final = 15 * 60 * 1000
"""With bodies kept for 0 days: how long after it settled a body stays, for those who follow the events."""


def expire_bodies(tx: Tx, now: int, days: int = BODY_DAYS, limit: int = LIMIT) -> int:
    """Drop the bodies of messages older than `days`; returns how many.

    With 0 days a body goes a quarter of an hour after its message settled: was read and told, or has left the outbox
    (its way to live followers of the events is all the delivery there is so far). What is still to be encrypted keeps
    its body in any case. Events show the body as expired from then on.
    """
    due: ColumnElement[bool] = messages.c.created_at <= now - days * DAY_MS
    if days == 0:
        due = messages.c.settled_at <= now - SETTLE_MS
    rows = (
        select(messages.c.position)
        .where(messages.c.settled_at.is_not(None), messages.c.data_key_id.is_not(None), due)
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


def sweep(tx: Tx, now: int, days: int = BODY_DAYS, limit: int = LIMIT) -> bool:
    """Everything above once; True if any of it reached its limit, so that there is more to do."""
    counts = (
        expire_queued(tx, now, limit),
        expire_bodies(tx, now, days, limit),
        expire_ciphertexts(tx, now, limit),
        expire_retained(tx, now, limit),
        expire_resends(tx, now, limit),
        expire_poison(tx, now, limit),
    )
    return max(counts) >= limit
