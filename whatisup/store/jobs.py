"""Work for later, recorded before the stanza that brought it is acked."""

from __future__ import annotations

from sqlalchemy import Connection

from whatisup.store.message_records import Job
from whatisup.store.vault import Vault


def pending(conn: Connection, vault: Vault, instance_id: str, kind: str | None = None, limit: int = 100) -> list[Job]:
    """What is to be done, oldest first."""
    raise NotImplementedError
