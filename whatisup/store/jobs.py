"""Work for later, recorded before the stanza that brought it is acked."""

from __future__ import annotations

from sqlalchemy import Connection, select

from whatisup.store import datakeys
from whatisup.store.message_records import Job
from whatisup.store.tables import jobs
from whatisup.store.vault import Vault


def pending(conn: Connection, vault: Vault, instance_id: str, kind: str | None = None, limit: int = 100) -> list[Job]:
    """What is to be done, oldest first.

    Raises:
        SealBroken: a row was moved here from elsewhere, or changed.
    """
    query = select(jobs).where(jobs.c.instance_id == instance_id).order_by(jobs.c.created_at, jobs.c.id).limit(limit)
    if kind is not None:
        query = query.where(jobs.c.kind == kind)
    found = []
    for row in conn.execute(query):
        key = datakeys.of_row(conn, vault, row.data_key_id, instance_id)
        payload = vault.open(key, "jobs", "sealed", (row.id,), row.sealed)
        found.append(Job(row.id, row.instance_id, row.kind, row.key, payload, row.created_at))
    return found
