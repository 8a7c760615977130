"""What answers to retry receipts are made of, kept for 14 days whatever becomes of the bodies."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, bindparam, select

from whatisup.store import datakeys
from whatisup.store.message_records import Retained
from whatisup.store.prepared import Prepared
from whatisup.store.tables import retained
from whatisup.store.vault import Vault

_KEPT: Final = Prepared(
    select(retained).where(retained.c.instance_id == bindparam("instance"), retained.c.wa_id == bindparam("wa_id_"))
)


def get(conn: Connection, vault: Vault, instance_id: str, wa_id: str) -> Retained | None:
    """What was sent under a WhatsApp message id, or None if we sent no such thing or it is too long ago.

    Raises:
        SealBroken: the row was moved here from elsewhere, or changed.
    """
    row = _KEPT.one_or_none(conn, instance=instance_id, wa_id_=wa_id)
    if row is None:
        return None
    key = datakeys.of_row(conn, vault, row.data_key_id, instance_id)
    return Retained(
        wa_id=row.wa_id,
        message_id=row.message_id,
        chat=row.chat,
        message=vault.open(key, "retained", "message", (wa_id,), row.message),
        stanza_type=row.stanza_type,
        edit=row.edit,
        unix_t=row.unix_t,
    )
