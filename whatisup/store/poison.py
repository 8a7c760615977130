"""Stanzas that could not be processed, kept for whoever finds out why."""

from __future__ import annotations

from sqlalchemy import Connection, select

from whatisup.store import datakeys
from whatisup.store.message_records import Poison
from whatisup.store.tables import poison
from whatisup.store.vault import Vault


def newest(conn: Connection, vault: Vault, instance_id: str, limit: int = 100) -> list[Poison]:
    """An instance's poisonous stanzas, newest first.

    Raises:
        SealBroken: a row was moved here from elsewhere, or changed.
    """
    query = (
        select(poison).where(poison.c.instance_id == instance_id).order_by(poison.c.at.desc(), poison.c.id).limit(limit)
    )
    found = []
    for row in conn.execute(query):
        key = datakeys.of_row(conn, vault, row.data_key_id, instance_id)
        raw = vault.open(key, "poison", "sealed", (row.id,), row.sealed)
        found.append(Poison(row.id, row.instance_id, raw, row.reason, row.at))
    return found
