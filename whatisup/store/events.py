"""The event log, read: pages after a position, and what a client's cursor stands for.

Rule: positions follow commit order and never appear late, so a reader that goes on after the last position it saw
misses nothing and sees nothing twice. (Every writing transaction locks the head of the log before it takes positions;
see `transaction.py`.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import json
from sqlalchemy import ColumnElement, Connection, Row, bindparam, or_, select, update

from whatisup.store import datakeys
from whatisup.store.records import Event, Mode
from whatisup.store.tables import events, log_head
from whatisup.store.transaction import Tx
from whatisup.store.vault import DataKey, Vault

_MAX_POSITION = (1 << 63) - 1


def page(
    conn: Connection,
    vault: Vault,
    *,
    customer_id: str,
    mode: Mode,
    after: int,
    limit: int,
    instance_id: str | None = None,
    types: Sequence[str] = (),
) -> list[Event]:
    """A customer's events after a position, oldest first.

    `types` are names, `instance.*` or `*`; none means all. Events whose data has expired come with `data=None`.
    """
    query = (
        select(events)
        .where(events.c.customer_id == customer_id, events.c.mode == mode.value, events.c.position > after)
        .order_by(events.c.position)
        .limit(limit)
    )
    if instance_id is not None:
        query = query.where(events.c.instance_id == instance_id)
    if types and "*" not in types:
        query = query.where(or_(*map(_matches, types)))
    rows = conn.execute(query).all()
    ids = {row.data_key_id for row in rows if row.data_key_id is not None}
    keys = {key_id: datakeys.of_row(conn, vault, key_id, customer_id) for key_id in ids}
    return [_from_row(vault, keys, row) for row in rows]


def _matches(pattern: str) -> ColumnElement[bool]:
    if pattern.endswith("*"):
        return events.c.type.startswith(pattern.removesuffix("*"), autoescape=True)
    return events.c.type == pattern


def _from_row(vault: Vault, keys: dict[int, DataKey], row: Row[Any]) -> Event:
    key = keys.get(row.data_key_id)
    return Event(
        position=row.position,
        id=row.id,
        customer_id=row.customer_id,
        mode=Mode(row.mode),
        instance_id=row.instance_id,
        seq=row.seq,
        type=row.type,
        occurred_at=row.occurred_at,
        data=None if key is None else json.decode(vault.open(key, "events", "data", (row.id,), row.data)),
        expires_at=row.expires_at,
    )


_POSITION_OF = select(events.c.position).where(
    events.c.id == bindparam("event"), events.c.customer_id == bindparam("customer"), events.c.mode == bindparam("mode")
)


def resolve(conn: Connection, _vault: Vault | None, cursor: str, customer_id: str, mode: Mode) -> int | None:
    """The position that a client's cursor stands for: an event id of its own, or a position in digits; else None."""
    if cursor.isascii() and cursor.isdigit():
        position = int(cursor[:20])
        return position if position <= _MAX_POSITION else None
    parameters = {"event": cursor, "customer": customer_id, "mode": mode.value}
    return conn.execute(_POSITION_OF, parameters).scalar_one_or_none()


def latest_position(conn: Connection, _vault: Vault | None) -> int:
    """The last position given out in the whole store; 0 before the first event."""
    position: int = conn.execute(select(log_head.c.position)).scalar_one()
    return position


def expire(tx: Tx, now: int) -> int:
    """Forget the data of events whose time has passed (QR contents among them); returns how many."""
    query = (
        update(events)
        .where(events.c.expires_at <= now, events.c.expires_at.is_not(None), events.c.data.is_not(None))
        .values(data=None, data_key_id=None)
    )
    return tx.conn.execute(query).rowcount
