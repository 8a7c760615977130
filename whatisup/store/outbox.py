"""What was accepted and is not off our hands, in the order of acceptance."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection

from whatisup.store.message_records import OutboxItem
from whatisup.store.vault import Vault


def upcoming(
    conn: Connection,
    vault: Vault,
    instance_id: str,
    limit: int = 64,
    skip_chats: Collection[str] = (),
    *,
    now: int = 0,
) -> list[OutboxItem]:
    """What is to be encrypted next; messages past their `expires_at` at `now` (unix ms) are left out."""
    raise NotImplementedError


next = upcoming  # noqa: A001 # read as `outbox.next`


def sealed(conn: Connection, vault: Vault, instance_id: str, limit: int = 256) -> list[OutboxItem]:
    """What is encrypted and not acked: sent again, the same bytes, after every login."""
    raise NotImplementedError


def resyncs(conn: Connection, vault: Vault, instance_id: str, limit: int = 256) -> list[OutboxItem]:
    """What was acked with other devices than ours, and is not encrypted for those yet."""
    raise NotImplementedError


def get(conn: Connection, vault: Vault, message_id: str) -> OutboxItem | None:
    """One message that is not off our hands."""
    raise NotImplementedError
