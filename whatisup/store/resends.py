"""How often each device asked for a message again."""

from __future__ import annotations

from sqlalchemy import Connection, select

from whatisup.store.tables import resends
from whatisup.store.vault import Vault


def count(conn: Connection, _vault: Vault | None, instance_id: str, wa_id: str, requester: str) -> int:
    """How many resends of one message one device (its JID) was granted."""
    query = select(resends.c.count).where(
        resends.c.instance_id == instance_id, resends.c.wa_id == wa_id, resends.c.requester == requester
    )
    return conn.execute(query).scalar_one_or_none() or 0
