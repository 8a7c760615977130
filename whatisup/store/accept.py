"""Taking a message into the outbox: the first of the three commits of what goes out.

Rule: whether an instance may send is decided here, in the transaction that also holds the idempotency key, and by its
row alone: its actor may be waiting out a backoff. Being queued is no event; the answer to the request says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import json, msgpack
from sqlalchemy import insert

from whatisup.errors import NotConnected, UnknownInstance
from whatisup.jid import LID_SERVER, PN_SERVER
from whatisup.lifecycle import State
from whatisup.store import datakeys, instances
from whatisup.store.message_records import Message, MessageStatus
from whatisup.store.message_rows import Names, message_of, names_of
from whatisup.store.records import Instance, Mode
from whatisup.store.tables import messages, outbox
from whatisup.store.transaction import Tx

MAY_SEND: Final = (State.CONNECTED, State.RECONNECTING)


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
) -> Message:
    """Take a message into the outbox; `to` is a JID without device and becomes the LID form where that is known.

    `target` may hold bytes; it is sealed with the instance's key until the message is encrypted. Times are unix ms.

    Raises:
        UnknownInstance: there is none for this customer and mode.
        NotConnected: it is neither connected nor reconnecting, or is being logged out.
    """
    instance = instances.get(tx.conn, tx.vault, instance_id, customer_id, mode)
    if instance is None:
        raise UnknownInstance("no such instance")
    if instance.status not in MAY_SEND or instance.intent is not None:
        raise NotConnected(instance.status)
    message_id = tx.new_id("msg")
    row = {
        "id": message_id,
        "customer_id": customer_id,
        "mode": mode.value,
        "instance_id": instance_id,
        "direction": "out",
        "source": "api",
        "wa_id": wa_id,
        **_names(names_of(tx.conn, tx.vault, instance_id, to), _own(instance)),
        "kind": kind,
        "status": MessageStatus.QUEUED.value,
        "client_ref": client_ref,
        "request_id": request_id,
        "is_flagged": False,
        "is_backlog": False,
        "plaintext_hash": b"",
        "created_at": now,
        "expires_at": expires_at,
    }
    theirs = datakeys.of_owner(tx.conn, tx.vault, customer_id)
    row |= {
        "data_key_id": theirs.id,
        "body": tx.vault.seal(theirs, "messages", "body", (message_id,), json.encode(body)),
    }
    made = tx.conn.execute(insert(messages).returning(messages), row).one()
    _enqueue(tx, made, target)
    return message_of(made, dict(body))


def _own(instance: Instance) -> Names:
    """What the instance's account is called."""
    lid = None if instance.lid is None else instance.lid.rpartition("@")[0]
    jid = f"{lid}@{LID_SERVER}" if lid else f"{instance.phone_number or ''}@{PN_SERVER}"
    return Names(jid, instance.phone_number, lid)


def _names(chat: Names, author: Names) -> dict[str, str | None]:
    return {
        "chat": chat.jid,
        "chat_phone": chat.phone,
        "chat_lid": chat.lid,
        "author": author.jid,
        "author_phone": author.phone,
        "author_lid": author.lid,
    }


def _enqueue(tx: Tx, made: Any, target: Mapping[str, Any] | None) -> None:
    row: dict[str, Any] = {
        "position": made.position,
        "message_id": made.id,
        "instance_id": made.instance_id,
        "chat": made.chat,
        "stage": "queued",
        "expires_at": made.expires_at,
    }
    if target is not None:
        own = datakeys.of_owner(tx.conn, tx.vault, made.instance_id)
        sealed = tx.vault.seal(own, "outbox", "target", (made.id,), msgpack.encode(dict(target)))
        row |= {"data_key_id": own.id, "target": sealed}
    tx.conn.execute(insert(outbox), row)
