"""The outbox from the inside: sealed, emptied, expired.

Rule: what leaves the outbox without having been sent is told as failed in the same transaction, and what left it while
it was being encrypted is refused to whoever encrypted it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import bindparam, delete, literal_column, select, update

from whatisup.store.handlers import progress
from whatisup.store.prepared import Prepared
from whatisup.store.tables import messages, outbox, retained
from whatisup.store.target import Target, Work, load_telling, write_told
from whatisup.store.transaction import Tx
from whatisup.store.upsert import upsert
from whatisup.store.wanted import ask, both

RETAINED_MS: Final = 14 * 24 * 3600 * 1000

LOGGED_OUT: Final = "instance_logged_out"
EXPIRED: Final = "expired"

_DETAILS: Final = {
    LOGGED_OUT: "the instance was logged out before this message could be sent",
    EXPIRED: "the message waited longer than its expires_in",
}

_QUEUED = both(
    lambda wanted: select(
        outbox.c.message_id, outbox.c.instance_id, outbox.c.stage, messages.c.wa_id, messages.c.chat
    ).select_from(
        wanted.outerjoin(outbox, outbox.c.message_id == wanted.c.id).outerjoin(
            messages, messages.c.position == outbox.c.position
        )
    ),
    "id",
)
_SEAL: Final = Prepared(
    update(outbox)
    .where(outbox.c.message_id == bindparam("message"))
    .values(
        stage=bindparam("new_stage"),
        data_key_id=bindparam("key_id"),
        stanza=bindparam("new_stanza"),
        target=None,
        sealed_at=bindparam("at"),
    )
)
_RETAINED_COLUMNS: Final = (
    "message_id", "chat", "stanza_type", "edit", "unix_t", "data_key_id", "message", "expires_at"
)  # fmt: skip


_RETAIN: Final = Prepared(lambda dialect: upsert(dialect, retained, update=_RETAINED_COLUMNS))


def seal(tx: Tx, work: Work) -> None:
    """Keep the encrypted stanzas of messages that are still to be sent, and what retries need of them."""
    rows = {row.message_id: row for row in ask(tx.conn, _QUEUED, ((i.message_id,) for _, op in work for i in op.items))}
    sealed: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    for target, op in work:
        key = target.seal_key()
        for item in op.items:
            row = rows.get(item.message_id)
            if row is None or row.instance_id != target.id:
                target.refused.append(item.message_id)
                continue
            sealed.append(
                {
                    "message": item.message_id,
                    "new_stage": "resync" if row.stage == "resync" else "sealed",
                    "key_id": key.id,
                    "new_stanza": tx.vault.seal(key, "outbox", "stanza", (item.message_id,), item.stanza),
                    "at": tx.now,
                }
            )
            if item.message is not None:
                kept.append(
                    {
                        "instance_id": target.id,
                        "wa_id": row.wa_id,
                        "message_id": item.message_id,
                        "chat": row.chat,
                        "stanza_type": item.stanza_type,
                        "edit": item.edit,
                        "unix_t": item.unix_t,
                        "data_key_id": key.id,
                        "message": tx.vault.seal(key, "retained", "message", (row.wa_id,), item.message),
                        "expires_at": tx.now + RETAINED_MS,
                    }
                )
    _SEAL.many(tx.conn, sealed)
    _RETAIN.many(tx.conn, kept)


def fail_all(tx: Tx, work: Work) -> None:
    """Empty the outboxes of instances."""
    for target, op in work:
        empty_outbox(tx, [target], op.reason)


def empty_outbox(tx: Tx, targets: Collection[Target], reason: str) -> None:
    """Fail what these instances were to send, and leave nothing in their outboxes."""
    by_id = {target.id: target for target in targets}
    query = progress.sent_messages().where(outbox.c.instance_id.in_(list(by_id))).order_by(outbox.c.position)
    _fail(tx, by_id, tx.conn.execute(query).all(), reason)
    tx.conn.execute(delete(outbox).where(outbox.c.instance_id.in_(list(by_id))))


def fail_queued(tx: Tx, instance_id: str, reason: str = LOGGED_OUT) -> None:
    """Empty an instance's outbox outside of its units."""
    targets = load_telling(tx, [instance_id])
    empty_outbox(tx, targets.values(), reason)
    write_told(tx, targets.values())


def expire_queued(tx: Tx, now: int, limit: int = 500) -> int:
    """Fail what has waited past its time without being encrypted; returns how many, at most `limit`."""
    query = (
        progress.sent_messages()
        .where(outbox.c.stage == literal_column("'queued'"), outbox.c.expires_at <= now)
        .order_by(outbox.c.expires_at)
        .limit(limit)
    )
    rows = tx.conn.execute(query).all()
    targets = load_telling(tx, {row.instance_id for row in rows}) if rows else {}
    _fail(tx, targets, rows, EXPIRED)
    write_told(tx, targets.values())
    return len(rows)


def _fail(tx: Tx, targets: dict[str, Target], rows: Collection[Any], reason: str) -> None:
    failing = []
    for row in rows:
        sent = progress.Sent(dict(row._mapping))
        progress.fail(tx, targets[row.instance_id], sent, reason, _DETAILS.get(reason, reason), tx.now, op=None)
        failing.append(sent)
    progress.write(tx, failing)
