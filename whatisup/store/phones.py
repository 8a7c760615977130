"""Sandbox numbers: which customer a simulated phone exists for.

Rule: a number belongs to the customer that made it; for anybody else it does not exist.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from whatisup.store.records import Mode, Phone
from whatisup.store.tables import phones
from whatisup.store.transaction import Tx
from whatisup.store.upsert import insert_new
from whatisup.store.vault import Vault


def claim(tx: Tx, customer_id: str, number: str, now: int) -> bool:
    """Take a number (999 and 9 digits) for a customer; False if somebody else has it."""
    row = {"number": number, "customer_id": customer_id, "mode": Mode.TEST.value, "created_at": now}
    tx.conn.execute(insert_new(tx.conn, phones), row)
    return get(tx.conn, tx.vault, number, customer_id) is not None


def get(conn: Connection, _vault: Vault | None, number: str, customer_id: str) -> Phone | None:
    """One of a customer's numbers, or None."""
    query = select(phones).where(phones.c.number == number, phones.c.customer_id == customer_id)
    row = conn.execute(query).one_or_none()
    return None if row is None else Phone(row.number, row.customer_id, row.created_at)


def list_by_customer(conn: Connection, _vault: Vault | None, customer_id: str, limit: int = 1000) -> list[Phone]:
    """A customer's numbers in order of creation."""
    query = select(phones).where(phones.c.customer_id == customer_id).order_by(phones.c.created_at, phones.c.number)
    return [Phone(row.number, row.customer_id, row.created_at) for row in conn.execute(query.limit(limit))]


def owners(conn: Connection, _vault: Vault | None) -> dict[str, str]:
    """Every number, and the id of the customer it exists for."""
    return {row.number: row.customer_id for row in conn.execute(select(phones.c.number, phones.c.customer_id))}


def owner(conn: Connection, _vault: Vault | None, number: str) -> str | None:
    """The id of the customer a number exists for, or None."""
    return conn.execute(select(phones.c.customer_id).where(phones.c.number == number)).scalar_one_or_none()
