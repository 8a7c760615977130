"""What answers to retry receipts are made of, kept for 14 days whatever becomes of the bodies."""

from __future__ import annotations

from sqlalchemy import Connection

from whatisup.store.message_records import Retained
from whatisup.store.vault import Vault


def get(conn: Connection, vault: Vault, instance_id: str, wa_id: str) -> Retained | None:
    """What was sent under a WhatsApp message id, or None if we sent no such thing or it is too long ago."""
    raise NotImplementedError
