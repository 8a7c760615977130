"""From a row of `messages` to a `Message`, and who is who in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from msgspec import json
from sqlalchemy import Connection, Row, bindparam, select

from whatisup.jid import LID_SERVER, PN_SERVER
from whatisup.store import auth, datakeys
from whatisup.store.message_records import Message, MessageStatus
from whatisup.store.records import Mode
from whatisup.store.tables import instances
from whatisup.store.vault import Vault

_OWN: Final = select(instances.c.phone_number, instances.c.lid).where(instances.c.id == bindparam("instance"))


class Names(NamedTuple):
    """What a chat is called: the canonical JID, and the digits of its phone number and LID where they are known."""

    jid: str
    phone: str | None
    lid: str | None


def names_of(conn: Connection, vault: Vault, instance_id: str, jid: str) -> Names:
    """Find the other name of a user (a JID without device) as far as the instance has learned it."""
    user, _, server = jid.rpartition("@")
    kinds = {PN_SERVER: "lid", LID_SERVER: "pn"}
    if server not in kinds:
        return Names(jid, None, None)
    key = (kinds[server], user)
    found = auth.get(conn, vault, instance_id, *key)
    other = _own_other(conn, instance_id, jid) if found is None else found.decode()
    if server == LID_SERVER:
        return Names(jid, other, user)
    return Names(jid if other is None else f"{other}@{LID_SERVER}", user, other)


def _own_other(conn: Connection, instance_id: str, jid: str) -> str | None:
    """The other name (digits) of the instance's own account, which is no contact and is kept in its row."""
    row = conn.execute(_OWN, {"instance": instance_id}).first()
    if row is None or row.phone_number is None or row.lid is None:
        return None
    lid = row.lid.rpartition("@")[0]
    return {f"{row.phone_number}@{PN_SERVER}": lid, f"{lid}@{LID_SERVER}": row.phone_number}.get(jid)


def body_of(conn: Connection, vault: Vault, row: Row[Any]) -> dict[str, Any] | None:
    """The body of a message's row, None where there is none (any more).

    Raises:
        SealBroken: it was moved here from elsewhere, or changed.
    """
    if row.body is None:
        return None
    key = datakeys.of_row(conn, vault, row.data_key_id, row.customer_id)
    body: dict[str, Any] | None = json.decode(vault.open(key, "messages", "body", (row.id,), row.body))
    return body


def original_of(conn: Connection, vault: Vault, row: Row[Any]) -> bytes | None:
    """The serialized Message of a message's row, None where it was not kept.

    Raises:
        SealBroken: it was moved here from elsewhere, or changed.
    """
    if row.original is None:
        return None
    key = datakeys.of_row(conn, vault, row.data_key_id, row.customer_id)
    return vault.open(key, "messages", "original", (row.id,), row.original)


def message_of(row: Mapping[str, Any], body: dict[str, Any] | None) -> Message:
    """The value of a row (`Row._mapping`) whose body is opened."""
    return Message(
        id=row["id"],
        position=row["position"],
        customer_id=row["customer_id"],
        mode=Mode(row["mode"]),
        instance_id=row["instance_id"],
        direction=row["direction"],
        source=row["source"],
        wa_id=row["wa_id"],
        chat=row["chat"],
        author=row["author"],
        chat_phone=row["chat_phone"],
        chat_lid=row["chat_lid"],
        author_phone=row["author_phone"],
        author_lid=row["author_lid"],
        kind=row["kind"],
        status=MessageStatus(row["status"]),
        reason=row["reason"],
        detail=row["detail"],
        client_ref=row["client_ref"],
        request_id=row["request_id"],
        push_name=row["push_name"],
        is_flagged=bool(row["is_flagged"]),
        is_backlog=bool(row["is_backlog"]),
        body=body,
        is_body_expired=bool(row["is_body_expired"]),
        created_at=row["created_at"],
        server_at=row["server_at"],
        expires_at=row["expires_at"],
        retry_count=row["retry_count"],
        retry_state=row["retry_state"],
        phone_asked_at=row["phone_asked_at"],
        settled_at=row["settled_at"],
    )
