"""Work for later, recorded before the stanza that brought it is acked."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, bindparam, select

from whatisup.store import datakeys
from whatisup.store.message_records import Job
from whatisup.store.prepared import Prepared
from whatisup.store.tables import jobs
from whatisup.store.vault import Vault

_ITS: Final = select(jobs).where(jobs.c.instance_id == bindparam("instance"))
_ORDER: Final = (jobs.c.created_at, jobs.c.id)
_ALL: Final = Prepared(_ITS.order_by(*_ORDER).limit(bindparam("most")))
_OF_KIND: Final = Prepared(_ITS.where(jobs.c.kind == bindparam("kind_")).order_by(*_ORDER).limit(bindparam("most")))


def pending(conn: Connection, vault: Vault, instance_id: str, kind: str | None = None, limit: int = 100) -> list[Job]:
    """What is to be done, oldest first.

    Raises:
        SealBroken: a row was moved here from elsewhere, or changed.
    """
    found = []
    asked: dict[str, Any] = {"instance": instance_id, "most": limit} | ({} if kind is None else {"kind_": kind})
    for row in (_ALL if kind is None else _OF_KIND).rows(conn, **asked):
        key = datakeys.of_row(conn, vault, row.data_key_id, instance_id)
        payload = vault.open(key, "jobs", "sealed", (row.id,), row.sealed)
        found.append(Job(row.id, row.instance_id, row.kind, row.key, payload, row.created_at))
    return found
