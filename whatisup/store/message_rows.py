"""From a row of `messages` to a `Message`."""

from __future__ import annotations

from typing import Any

from msgspec import json
from sqlalchemy import Connection

from whatisup.store import datakeys
from whatisup.store.message_records import Message, MessageStatus
from whatisup.store.prepared import Row
from whatisup.store.records import Mode
from whatisup.store.vault import Vault


def body_of(conn: Connection, vault: Vault, row: Row) -> dict[str, Any] | None:
    """The body of a message's row, None where there is none (any more).

    Raises:
        SealBroken: it was moved here from elsewhere, or changed.
    """
    opened = _opened(conn, vault, row, "body")
    return None if opened is None else json.decode(opened)


def original_of(conn: Connection, vault: Vault, row: Row) -> bytes | None:
    """The serialized Message of a message's row, None where it was not kept.

    Raises:
        SealBroken: it was moved here from elsewhere, or changed.
    """
    return _opened(conn, vault, row, "original")


def _opened(conn: Connection, vault: Vault, row: Row, column: str) -> bytes | None:
    sealed = getattr(row, column)
    if sealed is None:
        return None
    key = datakeys.of_row(conn, vault, row.data_key_id, row.customer_id)
    return vault.open(key, "messages", column, (row.id,), sealed)


def message_of(row: Row, body: dict[str, Any] | None) -> Message:
    """The value of a row of `messages` whose body is opened."""
    return Message(
        id=row.id,
        position=row.position,
        customer_id=row.customer_id,
        mode=Mode(row.mode),
        instance_id=row.instance_id,
        direction=row.direction,
        source=row.source,
        wa_id=row.wa_id,
        chat=row.chat,
        author=row.author,
        chat_phone=row.chat_phone,
        chat_lid=row.chat_lid,
        author_phone=row.author_phone,
        author_lid=row.author_lid,
        kind=row.kind,
        status=MessageStatus(row.status),
        reason=row.reason,
        detail=row.detail,
        client_ref=row.client_ref,
        request_id=row.request_id,
        push_name=row.push_name,
        is_flagged=bool(row.is_flagged),
        is_backlog=bool(row.is_backlog),
        body=body,
        is_body_expired=bool(row.is_body_expired),
        created_at=row.created_at,
        server_at=row.server_at,
        expires_at=row.expires_at,
        retry_count=row.retry_count,
        retry_state=row.retry_state,
        phone_asked_at=row.phone_asked_at,
        settled_at=row.settled_at,
    )
