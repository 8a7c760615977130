"""Taking a message into the outbox: the first of the three commits of what goes out.

Rule: whether an instance may send is decided here, in the transaction that also holds the idempotency key, and by its
row alone: its actor may be waiting out a backoff. Being queued is no event; the answer to the request says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from msgspec import json, msgpack
from sqlalchemy import and_, bindparam, insert, or_, select

from whatisup.errors import NotConnected, StoreError, UnknownInstance
from whatisup.jid import LID_SERVER, PN_SERVER
from whatisup.lifecycle import State
from whatisup.store import datakeys
from whatisup.store import instances as instances_
from whatisup.store.message_records import Message, MessageStatus
from whatisup.store.names import Names, kept_under, opened, own_other, paired
from whatisup.store.prepared import Prepared
from whatisup.store.records import Instance, Intent, Mode
from whatisup.store.tables import auth_state, data_keys, instances, messages, outbox
from whatisup.store.transaction import Tx
from whatisup.store.vault import DataKey

MAY_SEND: Final = (State.CONNECTED, State.RECONNECTING)

_own_key = data_keys.alias("own_key")
_customer_key = data_keys.alias("customer_key")
_SENDER: Final = Prepared(
    select(
        instances,
        _own_key.c.id.label("own_key_id"),
        _customer_key.c.id.label("customer_key_id"),
        auth_state.c.data_key_id.label("name_key_id"),
        auth_state.c.sealed.label("other_name"),
    )
    .select_from(
        instances.outerjoin(_own_key, _own_key.c.owner == instances.c.id)
        .outerjoin(_customer_key, _customer_key.c.owner == instances.c.customer_id)
        .outerjoin(
            auth_state,
            and_(
                auth_state.c.instance_id == instances.c.id,
                auth_state.c.kind == bindparam("kind_"),
                auth_state.c.name == bindparam("name_"),
            ),
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
_ACCEPT: Final = Prepared(insert(messages).returning(messages.c.position))
_ENQUEUE: Final = Prepared(insert(outbox))

_AS_STORED: Final = (
    "id", "customer_id", "instance_id", "wa_id", "chat", "author", "chat_phone", "chat_lid", "author_phone",
    "author_lid", "kind", "client_ref", "request_id", "is_flagged", "is_backlog", "created_at", "expires_at",
)  # fmt: skip
_NOT_YET: Final[Mapping[str, Any]] = dict.fromkeys(
    ("reason", "detail", "push_name", "server_at", "retry_state", "phone_asked_at", "settled_at")
) | {"is_body_expired": False, "retry_count": 0}
"""What nothing has been said about when a message is accepted."""


@dataclass(frozen=True, slots=True)
class Sender:
    """An instance that may be asked to send to `chat`, as the transaction finds it, with the ids of the keys it takes.

    What it asks of the database is asked at once, so whoever has looked at the instance already passes this on.
    """

    instance: Instance
    chat: Names
    own_key_id: int | None
    customer_key_id: int | None


def sender_of(tx: Tx, instance_id: str, customer_id: str, mode: Mode, to: str) -> Sender | None:
    """The instance as `accept` needs it; None if there is none for this customer and mode.

    Raises:
        SealBroken: what the instance has learned of the chat's names was moved there from elsewhere, or changed.
    """
    kind, name = kept_under(to)
    row = _SENDER.one_or_none(
        tx.conn, instance=instance_id, customer=customer_id, mode_=mode.value, kind_=kind, name_=name
    )
    if row is None:
        return None
    instance = instances_.from_row(row)
    if not kind:
        chat = Names(to, None, None)
    elif row.other_name is not None:
        chat = paired(to, opened(tx.conn, tx.vault, instance_id, to, row.name_key_id, row.other_name))
    else:
        chat = paired(to, own_other(instance.phone_number, instance.lid, to))
    return Sender(instance, chat, row.own_key_id, row.customer_key_id)


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
    sender: Sender | None = None,
) -> Message:
    """Take a message into the outbox; `to` is a JID without device and becomes the LID form where that is known.

    `target` may hold bytes; it is sealed with the instance's key until the message is encrypted. Times are unix ms.
    What is told of the message later carries `trace`, the traceparent of the request. `sender` is what `sender_of` has
    found for the same instance and chat in this transaction, and spares a statement.

    Raises:
        UnknownInstance: there is none for this customer and mode.
        NotConnected: it is neither connected nor reconnecting, or is being logged out.
    """
    found = sender or sender_of(tx, instance_id, customer_id, mode, to)
    if found is None:
        raise UnknownInstance("no such instance")
    instance = found.instance
    if instance.status not in MAY_SEND or instance.intent is not None:
        raise NotConnected(instance.status)
    theirs = _key(tx, found.customer_key_id)
    row: dict[str, Any] = {
        "id": tx.new_id("msg"),
        "customer_id": customer_id,
        "mode": mode.value,
        "instance_id": instance_id,
        "direction": "out",
        "source": "api",
        "wa_id": wa_id,
        **_names(found.chat, _own(instance.phone_number, instance.lid)),
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
    place = (row["id"],)
    sealed = tx.vault.seal(theirs, "messages", "body", place, json.encode(body))
    position = _ACCEPT.scalar(tx.conn, **row, data_key_id=theirs.id, body=sealed)
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
        own = _key(tx, found.own_key_id)
        sealed = tx.vault.seal(own, "outbox", "target", place, msgpack.encode(dict(target)))
        place_in_outbox |= {"data_key_id": own.id, "target": sealed}
    _ENQUEUE.run(tx.conn, **place_in_outbox)
    return Message(
        **{name: row[name] for name in _AS_STORED},
        position=position,
        mode=mode,
        direction="out",
        source="api",
        status=MessageStatus.QUEUED,
        body=dict(body),
        **_NOT_YET,
    )


def _key(tx: Tx, key_id: int | None) -> DataKey:
    key = None if key_id is None else datakeys.fetch(tx.conn, tx.vault, (key_id,)).get(key_id)
    if key is None:
        raise StoreError("what is sent is sealed with a data key that is not there")
    return key


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
