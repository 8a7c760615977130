"""What was accepted and is not off our hands, in the order of acceptance.

Rule: a row is there from acceptance until the server has the message or it failed, so a process that starts reads here
what its predecessor owed.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from msgspec import json, msgpack
from sqlalchemy import Connection, Select, bindparam, func, literal_column, select

from whatisup.store import datakeys
from whatisup.store.message_records import OutboxItem
from whatisup.store.prepared import Prepared, Row
from whatisup.store.tables import messages, outbox
from whatisup.store.vault import Vault

_ITEMS = select(
    outbox,
    messages.c.customer_id,
    messages.c.wa_id,
    messages.c.chat_phone,
    messages.c.chat_lid,
    messages.c.kind,
    messages.c.request_id,
    messages.c.trace,
    messages.c.created_at,
    messages.c.body,
    messages.c.data_key_id.label("body_key_id"),
).select_from(outbox.join(messages, messages.c.position == outbox.c.position))


# A stage stands in the text itself: SQLite plans a statement anew, at three times its price, whenever a parameter is
# compared with what an index over some rows is conditioned on.
_WAITING = _ITEMS.where(
    outbox.c.instance_id == bindparam("instance"),
    outbox.c.stage == literal_column("'queued'"),
    outbox.c.expires_at > bindparam("now"),
)
_QUEUE = (
    select(outbox.c.position, outbox.c.chat)
    .where(
        outbox.c.instance_id == bindparam("instance"),
        outbox.c.stage == literal_column("'queued'"),
        outbox.c.position > bindparam("after"),
    )
    .order_by(outbox.c.position)
)
_NEAR = _QUEUE.limit(bindparam("span")).subquery("near")
_ELSEWHERE = _ITEMS.join(_NEAR, _NEAR.c.position == outbox.c.position).where(
    _NEAR.c.chat.not_in(bindparam("skipped", expanding=True)), outbox.c.expires_at > bindparam("now")
)
_SENT = _ITEMS.where(
    outbox.c.instance_id == bindparam("instance"),
    outbox.c.stage.in_(("sealed", "resync")),
    outbox.c.stanza.is_not(None),
)
_MISSED = _ITEMS.where(
    outbox.c.instance_id == bindparam("instance"),
    outbox.c.stage == literal_column("'resync'"),
    outbox.c.stanza.is_(None),
)
_NAMED = _ITEMS.where(outbox.c.message_id == bindparam("message"))


def _in_order(query: Select[Any]) -> Prepared:
    return Prepared(query.order_by(outbox.c.position).limit(bindparam("most")))


_QUEUED, _OTHER_CHATS, _SEALED, _RESYNCS, _ONE = map(_in_order, (_WAITING, _ELSEWHERE, _SENT, _MISSED, _NAMED))
_END_OF_SPAN = Prepared(_QUEUE.limit(1).offset(bindparam("span")))

LOOKED_OVER: Final = 4096
"""How many rows of chats that wait are looked over at once: about a millisecond."""


def upcoming(
    conn: Connection,
    vault: Vault,
    instance_id: str,
    limit: int = 64,
    *,
    now: int = 0,
) -> list[OutboxItem]:
    """What is to be encrypted next; messages past their `expires_at` at `now` (unix ms) are left out."""
    return _read(conn, vault, _QUEUED, limit, instance=instance_id, now=now)


next = upcoming  # noqa: A001 # read as `outbox.next`


def elsewhere(
    conn: Connection,
    vault: Vault,
    instance_id: str,
    limit: int,
    skip_chats: Collection[str],
    *,
    now: int = 0,
    after: int = 0,
    span: int = LOOKED_OVER,
) -> tuple[list[OutboxItem], int | None]:
    """As `upcoming`, of all chats but these, among the next `span` queued rows behind the position `after`.

    Where there are so many, the second value is the position of the last: there may be more behind it.
    """
    here: dict[str, Any] = {"instance": instance_id, "after": after}
    # First of all, since each statement may see more commits than the one before: rows that leave the queue between the
    # two would put its end behind what was looked at.
    end = _END_OF_SPAN.scalar(conn, **here, span=span - 1)
    return _read(conn, vault, _OTHER_CHATS, limit, **here, now=now, span=span, skipped=list(skip_chats)), end


def owed(conn: Connection, vault: Vault, instance_id: str, now: int) -> tuple[bool, bool, bool]:
    """Whether there is anything to encrypt, to send as it is, and to encrypt for more devices."""
    return (
        bool(upcoming(conn, vault, instance_id, 1, now=now)),
        bool(sealed(conn, vault, instance_id, 1)),
        bool(resyncs(conn, vault, instance_id, 1)),
    )


def sealed(conn: Connection, vault: Vault, instance_id: str, limit: int = 256) -> list[OutboxItem]:
    """What is encrypted and not acked: sent again, the same bytes, after every login."""
    return _read(conn, vault, _SEALED, limit, instance=instance_id)


def resyncs(conn: Connection, vault: Vault, instance_id: str, limit: int = 256) -> list[OutboxItem]:
    """What was acked for other devices than ours, and is not encrypted for those yet."""
    return _read(conn, vault, _RESYNCS, limit, instance=instance_id)


def get(conn: Connection, vault: Vault, message_id: str) -> OutboxItem | None:
    """One message that is not off our hands."""
    found = _read(conn, vault, _ONE, 1, message=message_id)
    return found[0] if found else None


def counts(conn: Connection, _vault: Vault | None, instance_id: str | None = None) -> dict[str, int]:
    """How much is in the outbox by stage, of one instance or of all; stages without any are left out."""
    query = select(outbox.c.stage, func.count().label("number")).group_by(outbox.c.stage)
    if instance_id is not None:
        query = query.where(outbox.c.instance_id == instance_id)
    return {row.stage: row.number for row in conn.execute(query)}


def _read(conn: Connection, vault: Vault, query: Prepared, limit: int, **asked: Any) -> list[OutboxItem]:
    return [_from_row(conn, vault, row) for row in query.rows(conn, most=limit, **asked)]


def _from_row(conn: Connection, vault: Vault, row: Row) -> OutboxItem:
    body = target = stanza = None
    if row.body is not None:
        theirs = datakeys.of_row(conn, vault, row.body_key_id, row.customer_id)
        body = json.decode(vault.open(theirs, "messages", "body", (row.message_id,), row.body))
    if row.data_key_id is not None:
        own = datakeys.of_row(conn, vault, row.data_key_id, row.instance_id)
        if row.target is not None:
            target = msgpack.decode(vault.open(own, "outbox", "target", (row.message_id,), row.target))
        if row.stanza is not None:
            stanza = vault.open(own, "outbox", "stanza", (row.message_id,), row.stanza)
    return OutboxItem(
        position=row.position,
        message_id=row.message_id,
        wa_id=row.wa_id,
        chat=row.chat,
        chat_phone=row.chat_phone,
        chat_lid=row.chat_lid,
        kind=row.kind,
        body=body,
        target=target,
        stage=row.stage,
        stanza=stanza,
        resync_devices=None if row.resync_devices is None else tuple(json.decode(row.resync_devices)),
        request_id=row.request_id,
        created_at=row.created_at,
        expires_at=row.expires_at,
        sealed_at=row.sealed_at,
        trace=row.trace,
    )
