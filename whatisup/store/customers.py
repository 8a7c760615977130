"""Customers: whom keys and instances belong to. Each has a data key for what is told about its instances."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from whatisup.store import datakeys
from whatisup.store.records import Customer, Origin
from whatisup.store.tables import customers
from whatisup.store.transaction import Tx
from whatisup.store.vault import Vault


def create(tx: Tx, *, name: str, origin: Origin, now: int) -> Customer:
    """Make a customer and its data key."""
    customer = Customer(tx.new_id("cust"), name, now)
    tx.conn.execute(insert(customers), {"id": customer.id, "name": name, "created_at": now})
    datakeys.create(tx.conn, tx.vault, customer.id, now)
    tx.append_audit(
        customer_id=customer.id,
        mode=None,
        origin=origin,
        action="customer.created",
        target_type="customer",
        target_id=customer.id,
        after={"name": name},
    )
    return customer


def get(conn: Connection, _vault: Vault | None, customer_id: str) -> Customer | None:
    """One customer, or None."""
    row = conn.execute(select(customers).where(customers.c.id == customer_id)).one_or_none()
    return None if row is None else Customer(row.id, row.name, row.created_at)


def list_all(conn: Connection, _vault: Vault | None, limit: int = 1000) -> list[Customer]:
    """The customers in order of creation, for the operator's eyes."""
    query = select(customers).order_by(customers.c.created_at, customers.c.id).limit(limit)
    return [Customer(row.id, row.name, row.created_at) for row in conn.execute(query)]
