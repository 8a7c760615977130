"""How often each device asked for a message again, and what it was answered last."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, bindparam, select

from whatisup.store import datakeys
from whatisup.store.prepared import Prepared
from whatisup.store.tables import resends
from whatisup.store.vault import Vault

_THIS: Final = (
    resends.c.instance_id == bindparam("instance"),
    resends.c.wa_id == bindparam("wa_id_"),
    resends.c.requester == bindparam("device"),
)
_COUNT: Final = Prepared(select(resends.c.count).where(*_THIS))
_ANSWER: Final = Prepared(
    select(resends.c.data_key_id, resends.c.stanza).where(
        *_THIS, resends.c.asked >= bindparam("asked_"), resends.c.registration_id == bindparam("registration")
    )
)


def count(conn: Connection, _vault: Vault | None, instance_id: str, wa_id: str, requester: str) -> int:
    """How many resends of one message one device (its JID) was granted."""
    return _COUNT.scalar(conn, instance=instance_id, wa_id_=wa_id, device=requester) or 0


def answer(
    conn: Connection, vault: Vault, instance_id: str, wa_id: str, requester: str, *, asked: int, registration_id: int
) -> bytes | None:
    """Return the stanza that answered this very retry receipt, or a later one of that installation; None: none did.

    Raises:
        SealBroken: the row was moved here from elsewhere, or changed.
    """
    row = _ANSWER.one_or_none(
        conn, instance=instance_id, wa_id_=wa_id, device=requester, asked_=asked, registration=registration_id
    )
    if row is None:
        return None
    key = datakeys.of_row(conn, vault, row.data_key_id, instance_id)
    return vault.open(key, "resends", "stanza", (wa_id, requester), row.stanza)
