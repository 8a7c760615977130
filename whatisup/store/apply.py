"""Units to statements: the operations of a whole batch, grouped by type, one `executemany` for each table they touch.

Rule: one SELECT fences a wave of units, before anything is written for them. A wave holds at most one unit of an
instance, so grouping never reorders what two units of one instance do.

`HANDLERS` is the whole vocabulary: operation type -> handler, in the order in which types are applied. A new kind of
operation is a class in `unit.py`, a handler, and a row there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sqlalchemy import Connection, and_, bindparam, delete, insert, select, update

from whatisup.errors import Fenced, StoreError
from whatisup.store import datakeys
from whatisup.store.records import Event, Mode
from whatisup.store.tables import audit, auth_state, data_keys, events, instances, prekeys
from whatisup.store.transaction import Tx, audit_row, event_row
from whatisup.store.unit import (
    KEEP,
    AppendAudit,
    AppendEvent,
    Committed,
    DeleteAuth,
    MarkDeleted,
    MarkPrekeys,
    NewAuth,
    PutAuth,
    PutPrekeys,
    SetIntent,
    SetStatus,
    Touch,
    Unit,
    WipeAuth,
)
from whatisup.store.upsert import upsert
from whatisup.store.vault import DataKey

_own = data_keys.alias("own")
_theirs = data_keys.alias("theirs")
_TARGETS = (
    select(
        instances.c.id,
        instances.c.customer_id,
        instances.c.mode,
        instances.c.incarnation,
        instances.c.last_seq,
        _own.c.id.label("own_key_id"),
        _theirs.c.id.label("customer_key_id"),
    )
    .select_from(
        instances.outerjoin(_own, _own.c.owner == instances.c.id).outerjoin(
            _theirs, _theirs.c.owner == instances.c.customer_id
        )
    )
    .where(instances.c.id.in_(bindparam("ids", expanding=True)))
)


@dataclass(slots=True)
class Target:
    """The instance a unit is about, as the fence's SELECT found it."""

    unit: Unit
    customer_id: str
    mode: Mode
    last_seq: int
    own_key_id: int | None
    customer_key_id: int | None
    own_key: DataKey | None = None
    customer_key: DataKey | None = None
    events: list[Event] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The instance's id."""
        return self.unit.instance_id

    def seal_key(self) -> DataKey:
        """The instance's data key.

        Raises:
            StoreError: it has none; `NewAuth` comes first.
        """
        if self.own_key is None:
            raise StoreError(f"{self.id} has no data key: NewAuth comes before auth state")
        return self.own_key

    def event_key(self) -> DataKey:
        """The customer's data key.

        Raises:
            StoreError: it has none.
        """
        if self.customer_key is None:
            raise StoreError(f"{self.customer_id} has no data key")
        return self.customer_key


Work: TypeAlias = Sequence[tuple[Target, Any]]
Handler: TypeAlias = Callable[[Tx, Work], None]


def apply_units(tx: Tx, units: Sequence[Unit]) -> list[Committed | Fenced]:
    """Write units; one that is fenced off writes nothing. Any error is the whole call's: undo the transaction."""
    results: dict[int, Committed | Fenced] = {}
    for wave in _waves(units):
        targets = _fence(tx.conn, [unit for _, unit in wave])
        _fetch_keys(tx, targets.values())
        _apply(tx, targets.values())
        for index, unit in wave:
            target = targets.get(unit.instance_id)
            results[index] = Committed(tuple(target.events)) if target else Fenced(_fenced(unit))
    return [results[index] for index in range(len(units))]


def _fenced(unit: Unit) -> str:
    return f"incarnation {unit.incarnation} of {unit.instance_id} is no longer the current one"


def _waves(units: Sequence[Unit]) -> Iterator[list[tuple[int, Unit]]]:
    """Split into runs in which no instance occurs twice, with each unit's index."""
    wave: list[tuple[int, Unit]] = []
    seen: set[str] = set()
    for index, unit in enumerate(units):
        if unit.instance_id in seen:
            yield wave
            wave, seen = [], set()
        wave.append((index, unit))
        seen.add(unit.instance_id)
    if wave:
        yield wave


def _fence(connection: Connection, units: Iterable[Unit]) -> dict[str, Target]:
    """The instances whose units are of the current incarnation, in the order of the units."""
    by_id = {unit.instance_id: unit for unit in units}
    rows = {row.id: row for row in connection.execute(_TARGETS, {"ids": list(by_id)})}
    return {
        unit.instance_id: Target(
            unit, row.customer_id, Mode(row.mode), row.last_seq, row.own_key_id, row.customer_key_id
        )
        for unit in by_id.values()
        if (row := rows.get(unit.instance_id)) is not None and row.incarnation == unit.incarnation
    }


def _fetch_keys(tx: Tx, targets: Iterable[Target]) -> None:
    """Unwrap the data keys that the operations will seal with."""
    sealing = [t for t in targets if t.own_key_id and any(type(op) in _SEALED_BY_INSTANCE for op in t.unit.ops)]
    telling = [t for t in targets if t.customer_key_id and any(type(op) is AppendEvent for op in t.unit.ops)]
    ids = {t.own_key_id for t in sealing} | {t.customer_key_id for t in telling}
    keys = datakeys.fetch(tx.conn, tx.vault, [key_id for key_id in ids if key_id is not None])
    for target in sealing:
        target.own_key = keys.get(target.own_key_id or 0)
    for target in telling:
        target.customer_key = keys.get(target.customer_key_id or 0)


def _apply(tx: Tx, targets: Iterable[Target]) -> None:
    work: dict[type, list[tuple[Target, Any]]] = {}
    for target in targets:
        for op in target.unit.ops:
            work.setdefault(type(op), []).append((target, op))
    for kind, handler in HANDLERS.items():
        if kind in work:
            handler(tx, work.pop(kind))
    if work:
        raise StoreError(f"no handler for {', '.join(sorted(kind.__name__ for kind in work))}")


# --- auth state -----------------------------------------------------------------------------------------------------


def wipe_auth(tx: Tx, instance_ids: Sequence[str]) -> None:
    """Destroy the data keys of these instances, then the rows that they sealed."""
    destroyed = datakeys.destroy(tx.conn, instance_ids)
    tx.destroyed_keys += destroyed
    tx.wiped = tx.wiped or bool(destroyed)
    for table in (auth_state, prekeys):
        tx.conn.execute(delete(table).where(table.c.instance_id.in_(instance_ids)))
    tx.conn.execute(update(instances).where(instances.c.id.in_(instance_ids)).values(next_prekey_id=1))


def _wipe_auth(tx: Tx, work: Work) -> None:
    wipe_auth(tx, [target.id for target, _ in work])
    for target, _ in work:
        target.own_key = None


def _new_auth(tx: Tx, work: Work) -> None:
    wipe_auth(tx, [target.id for target, _ in work])
    for target, _ in work:
        target.own_key = datakeys.create(tx.conn, tx.vault, target.id, tx.now)


def _put_auth(tx: Tx, work: Work) -> None:
    rows = [
        {
            "instance_id": target.id,
            "kind": op.kind,
            "name": op.key,
            "data_key_id": target.seal_key().id,
            "sealed": tx.vault.seal(target.seal_key(), "auth_state", "sealed", (op.kind, op.key), op.value),
        }
        for target, op in work
    ]
    tx.conn.execute(upsert(tx.conn, auth_state, update=("data_key_id", "sealed")), rows)


_DELETE_AUTH = delete(auth_state).where(
    and_(
        auth_state.c.instance_id == bindparam("instance"),
        auth_state.c.kind == bindparam("kind_"),
        auth_state.c.name == bindparam("name_"),
    )
)


def _delete_auth(tx: Tx, work: Work) -> None:
    tx.conn.execute(_DELETE_AUTH, [{"instance": t.id, "kind_": op.kind, "name_": op.key} for t, op in work])


_RAISE_NEXT_PREKEY = (
    update(instances)
    .where(and_(instances.c.id == bindparam("instance"), instances.c.next_prekey_id <= bindparam("last")))
    .values(next_prekey_id=bindparam("last") + 1)
)


def _put_prekeys(tx: Tx, work: Work) -> None:
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
        tx.conn.execute(insert(prekeys), rows)
        last = [{"instance": t.id, "last": max(i for i, _ in op.prekeys)} for t, op in work if op.prekeys]
        tx.conn.execute(_RAISE_NEXT_PREKEY, last)


_MARK_PREKEY = (
    update(prekeys)
    .where(and_(prekeys.c.instance_id == bindparam("instance"), prekeys.c.prekey_id == bindparam("prekey")))
    .values(state=bindparam("new_state"))
)


def _mark_prekeys(tx: Tx, work: Work) -> None:
    rows = [{"instance": t.id, "prekey": key_id, "new_state": op.state} for t, op in work for key_id in op.key_ids]
    if rows:
        tx.conn.execute(_MARK_PREKEY, rows)


# --- the instance's row ---------------------------------------------------------------------------------------------

_OPTIONAL = ("phone_number", "lid")


def _set_status(tx: Tx, work: Work) -> None:
    """Update rows, grouped by which of the optional columns they keep."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for target, op in work:
        given = tuple(name for name in _OPTIONAL if getattr(op, name) is not KEEP)
        groups.setdefault(given, []).append(
            {
                "instance": target.id,
                "new_status": op.status.value,
                "new_has_account": op.has_account,
                "new_reason": None if op.reason is None else op.reason.value,
                "new_detail": op.detail,
                "new_expires_at": op.expires_at,
                "at": tx.now,
                **{f"new_{name}": getattr(op, name) for name in given},
            }
        )
    for given, rows in groups.items():
        tx.conn.execute(_status_update(given), rows)


def _status_update(given: Iterable[str]) -> Any:
    columns = ("status", "has_account", "reason", "detail", "expires_at", *given)
    return (
        update(instances)
        .where(instances.c.id == bindparam("instance"))
        .values(
            {name: bindparam(f"new_{name}") for name in columns}
            | {"status_at": bindparam("at"), "updated_at": bindparam("at")}
        )
    )


def _updating(**columns: str) -> Any:
    """An UPDATE of one instance's row: column -> parameter."""
    values: dict[str, Any] = {column: bindparam(parameter) for column, parameter in columns.items()}
    return update(instances).where(instances.c.id == bindparam("instance")).values(values)


_SET_INTENT = _updating(intent="new_intent")
_TOUCH = _updating(last_seen_at="seen_at")
_MARK_DELETED = _updating(deleted_at="at", updated_at="at")
_SET_SEQ = _updating(last_seq="seq_")


def _set_intent(tx: Tx, work: Work) -> None:
    rows = [{"instance": t.id, "new_intent": None if op.intent is None else op.intent.value} for t, op in work]
    tx.conn.execute(_SET_INTENT, rows)


def _touch(tx: Tx, work: Work) -> None:
    tx.conn.execute(_TOUCH, [{"instance": t.id, "seen_at": op.last_seen_at} for t, op in work])


def _mark_deleted(tx: Tx, work: Work) -> None:
    tx.conn.execute(_MARK_DELETED, [{"instance": t.id, "at": op.at} for t, op in work])


# --- the logs -------------------------------------------------------------------------------------------------------


def _append_events(tx: Tx, work: Work) -> None:
    rows = []
    for target, op in work:
        target.last_seq += 1
        event = Event(
            position=tx.take_position(),
            id=tx.new_id("evt"),
            customer_id=target.customer_id,
            mode=target.mode,
            instance_id=target.id,
            seq=target.last_seq,
            type=op.type,
            occurred_at=op.occurred_at,
            data=dict(op.data),
            expires_at=op.expires_at,
        )
        target.events.append(event)
        tx.events.append(event)
        rows.append(event_row(tx.vault, target.event_key(), event))
    tx.conn.execute(insert(events), rows)
    tx.conn.execute(_SET_SEQ, [{"instance": t.id, "seq_": t.last_seq} for t in {t.id: t for t, _ in work}.values()])


def _append_audit(tx: Tx, work: Work) -> None:
    rows = [
        audit_row(
            audit_id=tx.new_id("aud"),
            customer_id=target.customer_id,
            mode=target.mode,
            origin=op.origin,
            action=op.action,
            target=("instance", target.id),
            before=op.before,
            after=op.after,
            at=op.at,
        )
        for target, op in work
    ]
    tx.conn.execute(insert(audit), rows)


HANDLERS: Mapping[type, Handler] = {
    WipeAuth: _wipe_auth,
    NewAuth: _new_auth,
    PutAuth: _put_auth,
    DeleteAuth: _delete_auth,
    PutPrekeys: _put_prekeys,
    MarkPrekeys: _mark_prekeys,
    SetStatus: _set_status,
    SetIntent: _set_intent,
    Touch: _touch,
    MarkDeleted: _mark_deleted,
    AppendEvent: _append_events,
    AppendAudit: _append_audit,
}

_SEALED_BY_INSTANCE = frozenset({PutAuth, PutPrekeys})
