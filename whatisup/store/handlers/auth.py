"""Auth state: made, changed, and destroyed with everything else that the instance's data key has sealed.

Rule: whatever an instance's key sealed is listed in `SEALED`, so that a wipe leaves none of it; and what was still to
be sent then is told as failed, never dropped in silence.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import bindparam, delete, insert, update

from whatisup.store import datakeys
from whatisup.store.handlers.outbound import LOGGED_OUT, empty_outbox
from whatisup.store.prepared import Prepared
from whatisup.store.tables import (
    auth_state,
    ciphertexts,
    instances,
    jobs,
    messages,
    outbox,
    poison,
    prekeys,
    resends,
    retained,
)
from whatisup.store.target import Target, Work, load_telling, write_told
from whatisup.store.transaction import Tx
from whatisup.store.upsert import upsert

SEALED: Final = (auth_state, prekeys, outbox, retained, ciphertexts, resends, poison, jobs)


def wipe_auth(tx: Tx, instance_ids: Sequence[str]) -> None:
    """Destroy the data keys of these instances, then the rows that they sealed; what was queued fails."""
    targets = load_telling(tx, instance_ids)
    _wipe(tx, instance_ids, targets.values())
    write_told(tx, targets.values())


def _wipe(tx: Tx, instance_ids: Sequence[str], targets: Collection[Target]) -> None:
    destroyed = datakeys.destroy(tx.conn, instance_ids)
    tx.destroyed_keys += destroyed
    tx.wiped = tx.wiped or bool(destroyed)
    empty_outbox(tx, targets, LOGGED_OUT)
    for table in SEALED:
        tx.conn.execute(delete(table).where(table.c.instance_id.in_(instance_ids)))
    tx.conn.execute(update(instances).where(instances.c.id.in_(instance_ids)).values(next_prekey_id=1))
    # Nobody can send these again: their keys are gone.
    tx.conn.execute(
        update(messages)
        .where(messages.c.instance_id.in_(instance_ids), messages.c.status == "undecryptable")
        .values(retry_state="ended")
    )


def wipe(tx: Tx, work: Work) -> None:
    """Destroy the data key and what it sealed."""
    _wipe(tx, [target.id for target, _ in work], [target for target, _ in work])
    for target, _ in work:
        target.own_key = None


def new(tx: Tx, work: Work) -> None:
    """Make a fresh data key in place of whatever was there."""
    _wipe(tx, [target.id for target, _ in work], [target for target, _ in work])
    for target, _ in work:
        target.own_key = datakeys.create(tx.conn, tx.vault, target.id, tx.now)


_PUT: Final = Prepared(lambda dialect: upsert(dialect, auth_state, update=("data_key_id", "sealed")))


def put(tx: Tx, work: Work) -> None:
    """Store pieces of auth state, replacing what stood there."""
    rows = []
    for target, op in work:
        key = target.seal_key()
        rows.append(
            {
                "instance_id": target.id,
                "kind": op.kind,
                "name": op.key,
                "data_key_id": key.id,
                "sealed": tx.vault.seal(key, "auth_state", "sealed", (op.kind, op.key), op.value),
            }
        )
    _PUT.many(tx.conn, rows)


_DELETE_AUTH: Final = Prepared(
    delete(auth_state).where(
        auth_state.c.instance_id == bindparam("instance"),
        auth_state.c.kind == bindparam("kind_"),
        auth_state.c.name == bindparam("name_"),
    )
)


def delete_named(tx: Tx, work: Work) -> None:
    """Forget pieces of auth state."""
    _DELETE_AUTH.many(tx.conn, [{"instance": t.id, "kind_": op.kind, "name_": op.key} for t, op in work])


_PUT_PREKEY: Final = Prepared(insert(prekeys))
_RAISE_NEXT_PREKEY: Final = Prepared(
    update(instances)
    .where(instances.c.id == bindparam("instance"), instances.c.next_prekey_id <= bindparam("last"))
    .values(next_prekey_id=bindparam("last") + 1)
)


def put_prekeys(tx: Tx, work: Work) -> None:
    """Store new prekeys, and move the next id past them."""
    rows = [
        {
            "instance_id": target.id,
            "prekey_id": prekey_id,
            "state": "generated",
            "data_key_id": target.seal_key().id,
            "private": tx.vault.seal(target.seal_key(), "prekeys", "private", (str(prekey_id),), private),
        }
        for target, op in work
        for prekey_id, private in op.prekeys
    ]
    if rows:
        _PUT_PREKEY.many(tx.conn, rows)
        last = [{"instance": t.id, "last": max(i for i, _ in op.prekeys)} for t, op in work if op.prekeys]
        _RAISE_NEXT_PREKEY.many(tx.conn, last)


_MARK_PREKEY: Final = Prepared(
    update(prekeys)
    .where(prekeys.c.instance_id == bindparam("instance"), prekeys.c.prekey_id == bindparam("prekey"))
    .values(state=bindparam("new_state"))
)


def mark_prekeys(tx: Tx, work: Work) -> None:
    """Record how far prekeys got."""
    rows = [{"instance": t.id, "prekey": key_id, "new_state": op.state} for t, op in work for key_id in op.key_ids]
    _MARK_PREKEY.many(tx.conn, rows)


_FORGET_PREKEY: Final = Prepared(
    delete(prekeys).where(prekeys.c.instance_id == bindparam("instance"), prekeys.c.prekey_id == bindparam("prekey"))
)


def forget_prekeys(tx: Tx, work: Work) -> None:
    """Delete one-time prekeys that are used up."""
    rows = [{"instance": target.id, "prekey": key_id} for target, op in work for key_id in op.key_ids]
    _FORGET_PREKEY.many(tx.conn, rows)
