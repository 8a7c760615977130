"""The instances that a change is about: their rows as the transaction found them, their keys, and what is told of them.

Rule: what is told is gathered here and written once, in the order of the operations that caused it, so that a wave of
units costs one statement for all its events.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from msgspec import Struct
from sqlalchemy import Connection, bindparam, insert, select, update

from whatisup.errors import StoreError
from whatisup.store import datakeys
from whatisup.store.prepared import Prepared
from whatisup.store.records import Event, Mode
from whatisup.store.tables import data_keys, events, instances
from whatisup.store.transaction import Tx, event_row
from whatisup.store.vault import DataKey

_own = data_keys.alias("own")
_theirs = data_keys.alias("theirs")
_TARGETS = Prepared(
    select(
        instances.c.id,
        instances.c.customer_id,
        instances.c.mode,
        instances.c.incarnation,
        instances.c.last_seq,
        instances.c.phone_number,
        instances.c.lid,
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
_SET_SEQ = Prepared(update(instances).where(instances.c.id == bindparam("instance")).values(last_seq=bindparam("seq_")))
_ADD_EVENTS = Prepared(insert(events))


class Told(Struct, frozen=True):
    """An event that is due. `because` is the operation that caused it, None outside of units.

    `message_id` is given where `data` holds a body: it stays in that message's row, and out of the event's.
    """

    type: str
    data: Mapping[str, Any]
    occurred_at: int
    because: object = None
    message_id: str | None = None
    expires_at: int | None = None
    trace: str | None = None


@dataclass(slots=True)
class Target:
    """One instance within a transaction."""

    id: str
    customer_id: str
    mode: Mode
    incarnation: int
    last_seq: int
    phone_number: str | None
    lid: str | None
    own_key_id: int | None
    customer_key_id: int | None
    ops: tuple[Any, ...] = ()
    own_key: DataKey | None = None
    customer_key: DataKey | None = None
    told: list[Told] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def seal_key(self) -> DataKey:
        """The instance's data key.

        Raises:
            StoreError: it has none; `NewAuth` comes first.
        """
        if self.own_key is None:
            raise StoreError(f"{self.id} has no data key: NewAuth comes before what it seals")
        return self.own_key

    def event_key(self) -> DataKey:
        """The customer's data key.

        Raises:
            StoreError: it has none.
        """
        if self.customer_key is None:
            raise StoreError(f"{self.customer_id} has no data key")
        return self.customer_key

    def in_order(self) -> Sequence[Told]:
        """What is told, in the order of the operations."""
        if len(self.told) < 2:
            return self.told
        place = {id(op): index for index, op in enumerate(self.ops)}
        return sorted(self.told, key=lambda told: place.get(id(told.because), 0))


Work: TypeAlias = Sequence[tuple[Target, Any]]
Handler: TypeAlias = Callable[[Tx, Work], None]


def load(conn: Connection, ids: Collection[str]) -> dict[str, Target]:
    """Instances by id, without their keys; one statement."""
    return {row[0]: Target(row[0], row[1], Mode(row[2]), *row[3:]) for row in _TARGETS.rows(conn, ids=ids)}


def fetch_keys(tx: Tx, sealing: Sequence[Target], telling: Sequence[Target]) -> None:
    """Unwrap the instances' keys of those that seal, and the customers' of those that are told of; one statement."""
    ids = {t.own_key_id for t in sealing} | {t.customer_key_id for t in telling}
    keys = datakeys.fetch(tx.conn, tx.vault, [key_id for key_id in ids if key_id is not None])
    for target in sealing:
        target.own_key = keys.get(target.own_key_id or 0)
    for target in telling:
        target.customer_key = keys.get(target.customer_key_id or 0)


def load_telling(tx: Tx, ids: Collection[str]) -> dict[str, Target]:
    """Instances by id, ready to be told of: for changes that no unit makes. `write_told` ends them."""
    targets = load(tx.conn, ids)
    fetch_keys(tx, (), list(targets.values()))
    return targets


def write_told(tx: Tx, targets: Iterable[Target]) -> None:
    """Append to the event log what is told of these instances; two statements."""
    rows, sequences = [], []
    for target in targets:
        if not target.told:
            continue
        key = target.event_key()
        for told in target.in_order():
            target.last_seq += 1
            event = Event(
                position=tx.take_position(),
                id=tx.new_id("evt"),
                customer_id=target.customer_id,
                mode=target.mode,
                instance_id=target.id,
                seq=target.last_seq,
                type=told.type,
                occurred_at=told.occurred_at,
                data=dict(told.data),
                expires_at=told.expires_at,
                message_id=told.message_id,
                trace=told.trace,
            )
            target.events.append(event)
            tx.events.append(event)
            rows.append(event_row(tx.vault, key, event))
        target.told.clear()
        sequences.append({"instance": target.id, "seq_": target.last_seq})
    if rows:
        _ADD_EVENTS.many(tx.conn, rows)
        _SET_SEQ.many(tx.conn, sequences)
