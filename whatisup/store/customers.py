"""Customers: whom keys and instances belong to. Each has a data key for what is told about its instances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import json
from sqlalchemy import Connection, Row, insert, select, tuple_, update

from whatisup.store import datakeys
from whatisup.store.cursor import decode_cursor, encode_cursor
from whatisup.store.records import Customer, Mode, Origin, RateLimit
from whatisup.store.tables import customers
from whatisup.store.transaction import Tx
from whatisup.store.vault import Vault

_LIMITS: Final = json.Decoder(dict[Mode, RateLimit])


def read_limits(stored: str | None) -> dict[Mode, RateLimit]:
    """Read the column `rate_limits`: a customer's own limits by mode."""
    return {} if stored is None else _LIMITS.decode(stored)


def _stored(limits: Mapping[Mode, RateLimit]) -> str | None:
    return json.encode(limits).decode() if limits else None


def _from_row(row: Row[Any]) -> Customer:
    return Customer(row.id, row.name, row.created_at, read_limits(row.rate_limits))


def create(
    tx: Tx, *, name: str, origin: Origin, now: int, rate_limits: Mapping[Mode, RateLimit] | None = None
) -> Customer:
    """Make a customer and its data key."""
    customer = Customer(tx.new_id("cust"), name, now, dict(rate_limits or {}))
    row = {"id": customer.id, "name": name, "created_at": now, "rate_limits": _stored(customer.rate_limits)}
    tx.conn.execute(insert(customers), row)
    datakeys.create(tx.conn, tx.vault, customer.id, now)
    shown: dict[str, Any] = {"name": name}
    if customer.rate_limits:
        shown["rate_limits"] = customer.rate_limits
    _audit(tx, customer.id, origin, "customer.created", after=shown)
    return customer


def patch(
    tx: Tx,
    customer_id: str,
    *,
    origin: Origin,
    name: str | None = None,
    rate_limits: Mapping[Mode, RateLimit | None] | None = None,
) -> Customer | None:
    """Rename a customer, or change its limits by mode (None = as the settings say); None if there is no such customer.

    What is not named stays, and a change that changes nothing leaves no trace.
    """
    before = get(tx.conn, tx.vault, customer_id)
    if before is None:
        return None
    merged = {**before.rate_limits, **(rate_limits or {})}
    limits = {mode: limit for mode, limit in merged.items() if limit is not None}
    after = Customer(before.id, name or before.name, before.created_at, limits)
    changed = [field for field in ("name", "rate_limits") if getattr(before, field) != getattr(after, field)]
    if changed:
        values = {"name": after.name, "rate_limits": _stored(after.rate_limits)}
        tx.conn.execute(update(customers).where(customers.c.id == customer_id).values(values))
        states = ({field: getattr(one, field) for field in changed} for one in (before, after))
        _audit(tx, customer_id, origin, "customer.updated", before=next(states), after=next(states))
    return after


def _audit(tx: Tx, customer_id: str, origin: Origin, action: str, **states: Any) -> None:
    tx.append_audit(
        customer_id=customer_id,
        mode=None,
        origin=origin,
        action=action,
        target_type="customer",
        target_id=customer_id,
        **states,
    )


def get(conn: Connection, _vault: Vault | None, customer_id: str) -> Customer | None:
    """One customer, or None."""
    row = conn.execute(select(customers).where(customers.c.id == customer_id)).one_or_none()
    return None if row is None else _from_row(row)


def list_all(conn: Connection, _vault: Vault | None, limit: int = 1000) -> list[Customer]:
    """The customers in order of creation, for the operator's eyes."""
    query = select(customers).order_by(customers.c.created_at, customers.c.id).limit(limit)
    return [_from_row(row) for row in conn.execute(query)]


def page(
    conn: Connection, _vault: Vault | None, *, limit: int, cursor: str | None = None
) -> tuple[list[Customer], str | None]:
    """A page of the customers, newest first, and the cursor of the next page.

    Raises:
        BadCursor: the cursor is none of ours.
    """
    query = select(customers).order_by(customers.c.created_at.desc(), customers.c.id.desc()).limit(limit + 1)
    if cursor is not None:
        query = query.where(tuple_(customers.c.created_at, customers.c.id) < decode_cursor(cursor))
    rows = [_from_row(row) for row in conn.execute(query)]
    last = rows[limit - 1] if len(rows) > limit else None
    return rows[:limit], None if last is None else encode_cursor(last.created_at, last.id)
