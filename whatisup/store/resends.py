"""How often each device asked for a message again."""

from __future__ import annotations

from sqlalchemy import Connection

from whatisup.store.vault import Vault


def count(conn: Connection, _vault: Vault | None, instance_id: str, wa_id: str, requester: str) -> int:
    """How many resends of one message one device (its JID) was granted."""
    raise NotImplementedError
