"""How often each device asked for a message again, and what it was answered last."""

from __future__ import annotations

from sqlalchemy import Connection, select

from whatisup.store import datakeys
from whatisup.store.tables import resends
from whatisup.store.vault import Vault


def count(conn: Connection, _vault: Vault | None, instance_id: str, wa_id: str, requester: str) -> int:
    """How many resends of one message one device (its JID) was granted."""
    query = select(resends.c.count).where(
        resends.c.instance_id == instance_id, resends.c.wa_id == wa_id, resends.c.requester == requester
    )
    return conn.execute(query).scalar_one_or_none() or 0


def answer(
    conn: Connection, vault: Vault, instance_id: str, wa_id: str, requester: str, *, asked: int, registration_id: int
) -> bytes | None:
    """Return the stanza that answered this very retry receipt, or a later one of that installation; None: none did.

    Raises:
        SealBroken: the row was moved here from elsewhere, or changed.
    """
    query = select(resends.c.data_key_id, resends.c.stanza).where(
        resends.c.instance_id == instance_id,
        resends.c.wa_id == wa_id,
        resends.c.requester == requester,
        resends.c.asked >= asked,
        resends.c.registration_id == registration_id,
    )
    row = conn.execute(query).one_or_none()
    if row is None:
        return None
    key = datakeys.of_row(conn, vault, row.data_key_id, instance_id)
    return vault.open(key, "resends", "stanza", (wa_id, requester), row.stanza)
