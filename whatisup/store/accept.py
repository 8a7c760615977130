"""Taking a message into the outbox: the first of the three commits of what goes out.

Rule: whether an instance may send is decided here, in the transaction that also holds the idempotency key, and by its
row alone: its actor may be waiting out a backoff. Being queued is no event; the answer to the request says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import json, msgpack
from sqlalchemy import bindparam, insert, or_, select

from whatisup.errors import NotConnected, UnknownInstance
from whatisup.jid import LID_SERVER, PN_SERVER
from whatisup.lifecycle import State
from whatisup.store import datakeys
from whatisup.store.message_records import Message, MessageStatus
from whatisup.store.message_rows import message_of
from whatisup.store.names import Names, names_of
from whatisup.store.records import Intent, Mode
from whatisup.store.tables import data_keys, instances, messages, outbox
from whatisup.store.transaction import Tx

MAY_SEND: Final = (State.CONNECTED, State.RECONNECTING)

_own_key = data_keys.alias("own_key")
_customer_key = data_keys.alias("customer_key")
_SENDER: Final = (
    select(
        instances.c.status,
        instances.c.intent,
        instances.c.phone_number,
        instances.c.lid,
        _own_key.c.id.label("own_key_id"),
        _customer_key.c.id.label("customer_key_id"),
    )
    .select_from(
        instances.outerjoin(_own_key, _own_key.c.owner == instances.c.id).outerjoin(
            _customer_key, _customer_key.c.owner == instances.c.customer_id
        )
    )
    .where(
        instances.c.id == bindparam("instance"),
        instances.c.customer_id == bindparam("customer"),
        instances.c.mode == bindparam("mode_"),
        instances.c.deleted_at.is_(None),
        or_(instances.c.intent.is_(None), instances.c.intent != Intent.DELETE.value),
    )
)
_ACCEPT: Final = insert(messages).returning(messages.c.position)
_ENQUEUE: Final = insert(outbox)
_NOTHING: Final[dict[str, Any]] = {column.name: None for column in messages.c} | {
    "is_body_expired": False,
    "retry_count": 0,
}
"""What a row holds that was given nothing."""


def accept(
    tx: Tx,
    *,
    instance_id: str,
    customer_id: str,
    mode: Mode,
    to: str,
    body: Mapping[str, Any],
    kind: str,
    target: Mapping[str, Any] | None,
    client_ref: str | None,
    wa_id: str,
    expires_at: int,
    request_id: str | None,
    now: int,
    trace: str | None = None,
) -> Message:
    """Take a message into the outbox; `to` is a JID without device and becomes the LID form where that is known.

    `target` may hold bytes; it is sealed with the instance's key until the message is encrypted. Times are unix ms.
    What is told of the message later carries `trace`, the traceparent of the request.

    Raises:
        UnknownInstance: there is none for this customer and mode.
        NotConnected: it is neither connected nor reconnecting, or is being logged out.
    """
    sender = tx.conn.execute(_SENDER, {"instance": instance_id, "customer": customer_id, "mode_": mode.value}).first()
    if sender is None:
        raise UnknownInstance("no such instance")
    if sender.status not in MAY_SEND or sender.intent is not None:
        raise NotConnected(sender.status)
    keys = datakeys.fetch(tx.conn, tx.vault, {sender.customer_key_id, sender.own_key_id} - {None})
    row: dict[str, Any] = {
        "id": tx.new_id("msg"),
        "customer_id": customer_id,
        "mode": mode.value,
        "instance_id": instance_id,
        "direction": "out",
        "source": "api",
        "wa_id": wa_id,
        **_names(names_of(tx.conn, tx.vault, instance_id, to), _own(sender.phone_number, sender.lid)),
        "kind": kind,
        "status": MessageStatus.QUEUED.value,
        "client_ref": client_ref,
        "request_id": request_id,
        "is_flagged": False,
        "is_backlog": False,
        "plaintext_hash": b"",
        "created_at": now,
        "expires_at": expires_at,
        "trace": trace,
    }
    place, theirs = (row["id"],), keys[sender.customer_key_id]
    sealed = tx.vault.seal(theirs, "messages", "body", place, json.encode(body))
    position = tx.conn.execute(_ACCEPT, row | {"data_key_id": theirs.id, "body": sealed}).scalar_one()
    place_in_outbox: dict[str, Any] = {
        "position": position,
        "message_id": row["id"],
        "instance_id": instance_id,
        "chat": row["chat"],
        "stage": "queued",
        "data_key_id": None,
        "target": None,
        "expires_at": expires_at,
    }
    if target is not None:
        own = keys[sender.own_key_id]
        sealed = tx.vault.seal(own, "outbox", "target", place, msgpack.encode(dict(target)))
        place_in_outbox |= {"data_key_id": own.id, "target": sealed}
    tx.conn.execute(_ENQUEUE, place_in_outbox)
    return message_of(_NOTHING | row | {"position": position}, dict(body))


def _own(phone: str | None, lid_jid: str | None) -> Names:
    """What the instance's account is called."""
    lid = None if lid_jid is None else lid_jid.rpartition("@")[0]
    return Names(f"{lid}@{LID_SERVER}" if lid else f"{phone or ''}@{PN_SERVER}", phone, lid)


def _names(chat: Names, author: Names) -> dict[str, str | None]:
    return {
        "chat": chat.jid,
        "chat_phone": chat.phone,
        "chat_lid": chat.lid,
        "author": author.jid,
        "author_phone": author.phone,
        "author_lid": author.lid,
    }
