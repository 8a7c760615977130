"""The audit log, read: who changed what, newest first. It is written by the transactions that make the changes."""

from __future__ import annotations

from typing import Any

from msgspec import json
from sqlalchemy import ColumnElement, Connection, Row, or_, select

from whatisup.errors import BadCursor
from whatisup.store.records import AuditEntry, Mode
from whatisup.store.tables import audit
from whatisup.store.vault import Vault


def page(
    conn: Connection,
    _vault: Vault | None,
    *,
    customer_id: str,
    mode: Mode | None = None,
    action: str | None = None,
    target_id: str | None = None,
    instance_id: str | None = None,
    since: int | None = None,
    until: int | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> tuple[list[AuditEntry], str | None]:
    """A page of a customer's audit entries, newest first, and the cursor of the next page: the last entry's id.

    `mode` leaves out what belongs to the other mode alone; what concerns the customer as a whole is in both. `action`
    is a name or the beginning of one. `instance_id` leaves what was done to that instance. Entries from `since` on and
    before `until`, in unix milliseconds.

    Raises:
        BadCursor: the customer has no entry of that id.
    """
    query = select(audit).where(audit.c.customer_id == customer_id).order_by(audit.c.position.desc()).limit(limit + 1)
    if mode is not None:
        query = query.where(_of_mode(mode))
    if action is not None:
        query = query.where(audit.c.action.startswith(action, autoescape=True))
    if target_id is not None:
        query = query.where(audit.c.target_id == target_id)
    if instance_id is not None:
        query = query.where(audit.c.target_id == instance_id, audit.c.target_type == "instance")
    if since is not None:
        query = query.where(audit.c.created_at >= since)
    if until is not None:
        query = query.where(audit.c.created_at < until)
    if cursor is not None:
        query = query.where(audit.c.position < _position(conn, customer_id, mode, cursor))
    entries = [_from_row(row) for row in conn.execute(query)]
    return entries[:limit], entries[limit - 1].id if len(entries) > limit else None


def _of_mode(mode: Mode) -> ColumnElement[bool]:
    return or_(audit.c.mode == mode.value, audit.c.mode.is_(None))


def _position(conn: Connection, customer_id: str, mode: Mode | None, cursor: str) -> int:
    query = select(audit.c.position).where(audit.c.id == cursor, audit.c.customer_id == customer_id)
    if mode is not None:
        query = query.where(_of_mode(mode))
    position: int | None = conn.execute(query).scalar_one_or_none()
    if position is None:
        raise BadCursor("not a cursor of ours")
    return position


def _from_row(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        customer_id=row.customer_id,
        mode=None if row.mode is None else Mode(row.mode),
        actor=row.actor,
        api_key_id=row.api_key_id,
        request_id=row.request_id,
        action=row.action,
        target_type=row.target_type,
        target_id=row.target_id,
        before=None if row.before is None else json.decode(row.before),
        after=None if row.after is None else json.decode(row.after),
        created_at=row.created_at,
    )
