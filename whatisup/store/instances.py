"""Rows of instances: made, read, renamed, fenced. Their life is changed by units (`apply.py`) alone.

Rule: whoever asks for a customer names customer and mode, and what is not theirs does not exist for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from msgspec import json
from sqlalchemy import (
    BigInteger,
    Connection,
    Select,
    Text,
    and_,
    bindparam,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    tuple_,
    update,
)

from whatisup.errors import Fenced, UnknownInstance
from whatisup.lifecycle import Reason, State
from whatisup.store.cursor import decode_cursor, encode_cursor
from whatisup.store.handlers.outbound import fail_queued
from whatisup.store.prepared import Prepared, Row
from whatisup.store.records import Instance, Intent, Mode, Origin, Runnable
from whatisup.store.settings import CLIENT_VERSION
from whatisup.store.tables import instances, settings
from whatisup.store.transaction import Tx
from whatisup.store.unit import KEEP, Keep
from whatisup.store.vault import Vault

_NOT_LEAVING = or_(instances.c.intent.is_(None), instances.c.intent != Intent.DELETE.value)
RUNNING = (State.QR_REQUIRED.value, State.CONNECTED.value, State.RECONNECTING.value)


def from_row(row: Row) -> Instance:
    """The value of a row that has the columns of `instances`."""
    return Instance(
        id=row.id,
        customer_id=row.customer_id,
        mode=Mode(row.mode),
        name=row.name,
        metadata=json.decode(row.metadata),
        phone_number=row.phone_number,
        lid=row.lid,
        status=State(row.status),
        has_account=bool(row.has_account),
        reason=None if row.reason is None else Reason(row.reason),
        detail=row.detail,
        expires_at=row.expires_at,
        intent=None if row.intent is None else Intent(row.intent),
        incarnation=row.incarnation,
        last_seen_at=row.last_seen_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
        deleted_at=row.deleted_at,
    )


def create(
    tx: Tx, *, customer_id: str, mode: Mode, name: str, metadata: Mapping[str, Any], origin: Origin, now: int
) -> Instance:
    """Make a `pending` instance; no socket is spent on it yet."""
    row = {
        "id": tx.new_id("inst"),
        "customer_id": customer_id,
        "mode": mode.value,
        "name": name,
        "metadata": json.encode(metadata).decode(),
        "status": State.PENDING.value,
        "has_account": False,
        "status_at": now,
        "created_at": now,
        "updated_at": now,
    }
    made = from_row(tx.conn.execute(insert(instances).returning(instances), row).one())
    _audit(tx, made, origin, "instance.created", after={"name": name, "metadata": dict(metadata)})
    return made


def _audit(tx: Tx, instance: Instance, origin: Origin, action: str, **states: Any) -> None:
    tx.append_audit(
        customer_id=instance.customer_id,
        mode=instance.mode,
        origin=origin,
        action=action,
        target_type="instance",
        target_id=instance.id,
        **states,
    )


# --- reading --------------------------------------------------------------------------------------------------------


@cache
def _one(of_customer: bool, of_mode: bool, with_deleted: bool) -> Prepared:
    """The statement for one instance, built once for each way of asking: every request asks."""
    query = select(instances).where(instances.c.id == bindparam("instance"))
    if of_customer:
        query = query.where(instances.c.customer_id == bindparam("customer"))
        if not with_deleted:
            query = query.where(_NOT_LEAVING)
    if of_mode:
        query = query.where(instances.c.mode == bindparam("mode_"))
    return Prepared(query if with_deleted else query.where(instances.c.deleted_at.is_(None)))


def get(
    conn: Connection,
    _vault: Vault | None,
    instance_id: str,
    customer_id: str | None = None,
    mode: Mode | None = None,
    *,
    with_deleted: bool = False,
) -> Instance | None:
    """One instance, or None if there is none, it is deleted, or it belongs to somebody else.

    For a customer it is gone from the moment the wish to delete it is on record.
    """
    asked = {"instance": instance_id}
    if customer_id is not None:
        asked["customer"] = customer_id
    if mode is not None:
        asked["mode_"] = mode.value
    row = _one(customer_id is not None, mode is not None, with_deleted).one_or_none(conn, **asked)
    return None if row is None else from_row(row)


def list_page(
    conn: Connection,
    _vault: Vault | None,
    customer_id: str,
    mode: Mode,
    instance_id: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> tuple[list[Instance], str | None]:
    """A page of a customer's instances, newest first, and the cursor of the next page.

    `instance_id` narrows to what a bound key may see. Creation time orders; the id only breaks ties.

    Raises:
        BadCursor: no page gave out this cursor.
    """
    asked: dict[str, Any] = {"customer": customer_id, "mode_": mode.value, "most": limit + 1}
    if instance_id is not None:
        asked["instance"] = instance_id
    if cursor is not None:
        asked["behind_at"], asked["behind"] = decode_cursor(cursor)
    rows = list(map(from_row, _page(instance_id is not None, cursor is not None).rows(conn, **asked)))
    has_more = len(rows) > limit
    return rows[:limit], encode_cursor(rows[limit - 1].created_at, rows[limit - 1].id) if has_more else None


@cache
def _page(of_instance: bool, is_behind: bool) -> Prepared:
    """The statement for a page, built once for each way of asking."""
    query = select(instances).where(
        instances.c.customer_id == bindparam("customer"),
        instances.c.mode == bindparam("mode_"),
        instances.c.deleted_at.is_(None),
        _NOT_LEAVING,
    )
    if of_instance:
        query = query.where(instances.c.id == bindparam("instance"))
    if is_behind:
        place = tuple_(bindparam("behind_at", type_=BigInteger), bindparam("behind", type_=Text))
        query = query.where(tuple_(instances.c.created_at, instances.c.id) < place)
    return Prepared(query.order_by(instances.c.created_at.desc(), instances.c.id.desc()).limit(bindparam("most")))


_RUNNABLE: Final = Prepared(
    select(*(instances.c[name] for name in ("id", "mode", "status", "has_account", "intent", "incarnation"))).where(
        instances.c.deleted_at.is_(None), or_(instances.c.status.in_(RUNNING), instances.c.intent.is_not(None))
    )
)


def runnable(conn: Connection, _vault: Vault | None) -> list[Runnable]:
    """Every instance that should own a socket or has an unfinished intent."""
    return [
        Runnable(
            row.id,
            Mode(row.mode),
            State(row.status),
            bool(row.has_account),
            None if row.intent is None else Intent(row.intent),
            row.incarnation,
        )
        for row in _RUNNABLE.rows(conn)
    ]


def counts_by_status(conn: Connection, _vault: Vault | None) -> dict[tuple[Mode, State], int]:
    """How many instances there are, by mode and state; combinations without any are left out."""
    query = (
        select(instances.c.mode, instances.c.status, func.count())
        .where(instances.c.deleted_at.is_(None))
        .group_by(instances.c.mode, instances.c.status)
    )
    return {(Mode(mode), State(status)): count for mode, status, count in conn.execute(query)}


def _stopped(detail: str) -> Select[Any]:
    return select(instances.c.id).where(
        instances.c.deleted_at.is_(None),
        instances.c.intent.is_(None),
        instances.c.status == State.DISCONNECTED.value,
        instances.c.has_account,
        instances.c.detail == detail,
    )


def expired_bans(conn: Connection, _vault: Vault | None, now: int) -> list[str]:
    """Instances whose temporary ban has passed."""
    return list(conn.execute(_stopped("temp_banned").where(instances.c.expires_at <= now)).scalars())


def outdated(conn: Connection, _vault: Vault | None, client_version: str) -> list[str]:
    """Instances that were refused as outdated before `client_version` became the one in force.

    What is in force since when is the setting `client_version` (`settings.put` keeps its time while the value stays).
    """
    changed_since = exists().where(
        settings.c.name == CLIENT_VERSION,
        settings.c.value == client_version,
        settings.c.updated_at > instances.c.status_at,
    )
    return list(conn.execute(_stopped("client_outdated").where(changed_since)).scalars())


# --- writing --------------------------------------------------------------------------------------------------------


def patch(
    tx: Tx,
    instance_id: str,
    *,
    customer_id: str,
    mode: Mode,
    name: str | Keep = KEEP,
    metadata: Mapping[str, Any] | Keep = KEEP,
    origin: Origin,
    now: int,
) -> Instance:
    """Rename an instance or replace its metadata.

    Raises:
        UnknownInstance: there is none for this customer and mode.
    """
    before = get(tx.conn, tx.vault, instance_id, customer_id, mode)
    if before is None:
        raise UnknownInstance("no such instance")
    changes: dict[str, Any] = {}
    if not isinstance(name, Keep):
        changes["name"] = name
    if not isinstance(metadata, Keep):
        changes["metadata"] = dict(metadata)
    values = {**changes, "updated_at": now}
    if "metadata" in changes:
        values["metadata"] = json.encode(changes["metadata"]).decode()
    after = _update(tx, instance_id, values)
    _audit(tx, after, origin, "instance.updated", before={key: getattr(before, key) for key in changes}, after=changes)
    return after


_BUMP: Final = Prepared(
    update(instances)
    .where(instances.c.id == bindparam("instance"), instances.c.deleted_at.is_(None))
    .values(incarnation=instances.c.incarnation + 1)
    .returning(instances)
)


def bump_incarnation(tx: Tx, instance_id: str) -> Instance:
    """Begin a new incarnation, fencing off whoever acted before; load state only after this is committed.

    Raises:
        UnknownInstance: the row is gone or deleted.
    """
    row = _BUMP.one_or_none(tx.conn, instance=instance_id)
    if row is None:
        raise UnknownInstance("no such instance")
    return from_row(row)


def begin_wipe(tx: Tx, instance_id: str, incarnation: int, intent: Intent, origin: Origin, now: int) -> Instance:
    """Record the wish to log out or delete, before anything is unlinked or destroyed; begins a new incarnation.

    What is in the outbox fails with it, and is told as failed.

    Raises:
        Fenced: the caller's incarnation is not the current one.
        UnknownInstance: the row is gone or deleted.
    """
    current = get(tx.conn, tx.vault, instance_id)
    if current is None:
        raise UnknownInstance("no such instance")
    if current.incarnation != incarnation:
        raise Fenced(f"incarnation {incarnation} of {instance_id} is no longer the current one")
    changes = {"intent": intent.value, "incarnation": incarnation + 1, "updated_at": now}
    after = _update(tx, instance_id, changes)
    fail_queued(tx, instance_id)
    _audit(tx, after, origin, f"instance.{intent}", before={"status": current.status})
    return after


def _update(tx: Tx, instance_id: str, values: Mapping[str, Any]) -> Instance:
    query = (
        update(instances)
        .where(and_(instances.c.id == instance_id, instances.c.deleted_at.is_(None)))
        .values(dict(values))
        .returning(instances)
    )
    row = tx.conn.execute(query).one_or_none()
    if row is None:
        raise UnknownInstance("no such instance")
    return from_row(row)


_SEEN = {
    "sqlite": "SELECT key, value FROM json_each(:seen)",
    "postgresql": "SELECT key, CAST(value AS bigint) AS value FROM json_each_text(CAST(:seen AS json))",
}


def touch_connected(tx: Tx, seen: Mapping[str, int]) -> None:
    """Write when each connected instance last heard from WhatsApp, in one statement; times never go back."""
    statement = text(
        f"UPDATE instances SET last_seen_at = seen.value FROM ({_SEEN[tx.conn.dialect.name]}) AS seen "  # noqa: S608 # a constant
        "WHERE instances.id = seen.key AND instances.status = 'connected' "
        "AND (instances.last_seen_at IS NULL OR instances.last_seen_at < seen.value)"
    )
    tx.conn.execute(statement.bindparams(bindparam("seen", json.encode(seen).decode())))
