"""The queue: deliveries made of events in the events' own transaction, and what of them is due.

Rule: who listens is kept in memory by customer, and is thrown away as soon as `log_head.webhook_revision` is another;
a transaction that changes endpoints reads them anew and leaves nothing behind. So an event costs a look into a
dictionary, and never misses an endpoint that was there when it was committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeAlias

from msgspec import json
from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, insert, or_, select

from whatisup.store.prepared import Prepared, Row
from whatisup.store.records import DeliveryKind, DeliveryStatus, Event
from whatisup.store.tables import webhook_deliveries as table
from whatisup.store.tables import webhook_endpoints as endpoints
from whatisup.store.transaction import Tx
from whatisup.store.vault import Vault
from whatisup.store.webhook_records import Due, Lane, QueueCounts

TEST_EVENT: Final = "webhook.test"
MAX_CUSTOMERS: Final = 65_536

_Audience: TypeAlias = tuple[str, str]
"""A customer's id and a mode."""

_LAST_POSITION: Final = Prepared(select(func.max(table.c.position)))
_ADD: Final = Prepared(insert(table))
_LISTENERS = (
    select(endpoints.c.id, endpoints.c.customer_id, endpoints.c.mode, endpoints.c.events, endpoints.c.instance_ids)
    .where(
        endpoints.c.customer_id.in_(bindparam("customers", expanding=True)),
        endpoints.c.is_enabled,
        endpoints.c.deleted_at.is_(None),
    )
    .order_by(endpoints.c.created_at, endpoints.c.id)
)


@dataclass(frozen=True, slots=True)
class Listener:
    """What an endpoint wants to hear of."""

    endpoint_id: str
    names: frozenset[str]
    beginnings: tuple[str, ...]
    instance_ids: frozenset[str]

    @classmethod
    def of(cls, endpoint_id: str, patterns: Iterable[str], instance_ids: Iterable[str]) -> Listener:
        """Prepare patterns (a name, `message.*`, `*`) and instances (none means all) for being asked often."""
        wide = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))
        return cls(endpoint_id, frozenset(patterns), wide, frozenset(instance_ids))

    def hears(self, event: str, instance_id: str | None) -> bool:
        """Whether it wants an event; who listens to some instances hears nothing about the customer as a whole."""
        if self.instance_ids and instance_id not in self.instance_ids:
            return False
        return event in self.names or event.startswith(self.beginnings)


class Listeners:
    """Who listens to a customer's events, kept in memory; guarded by the turn of writers."""

    def __init__(self) -> None:
        self._revision = -1
        self._kept: dict[_Audience, tuple[Listener, ...]] = {}

    def of(self, tx: Tx, audiences: set[_Audience]) -> dict[_Audience, tuple[Listener, ...]]:
        """The enabled endpoints of these customers, as the transaction sees them."""
        if tx.has_changed_webhooks:
            return _read(tx.conn, audiences)
        if self._revision != tx.webhook_revision or len(self._kept) > MAX_CUSTOMERS:
            self._kept.clear()
            self._revision = tx.webhook_revision
        if missing := audiences - self._kept.keys():
            self._kept |= _read(tx.conn, missing)
        return self._kept


def _read(conn: Connection, audiences: set[_Audience]) -> dict[_Audience, tuple[Listener, ...]]:
    found: dict[_Audience, list[Listener]] = {audience: [] for audience in audiences}
    for row in conn.execute(_LISTENERS, {"customers": sorted({customer for customer, _ in audiences})}):
        listener = Listener.of(row.id, json.decode(row.events), json.decode(row.instance_ids))
        found.setdefault((row.customer_id, row.mode), []).append(listener)
    return {audience: tuple(listeners) for audience, listeners in found.items()}


# --- writing --------------------------------------------------------------------------------------------------------


def enqueue(tx: Tx, listeners: Listeners) -> list[Due]:
    """Make the deliveries of every event that the transaction appended, in the log's order; at most three statements.

    Whoever commits calls this once, when everything else is written.
    """
    heard = [event for event in tx.events if event.type != TEST_EVENT]
    if not heard:
        return []
    found = listeners.of(tx, {(event.customer_id, event.mode.value) for event in heard})
    wanted = [
        (listener.endpoint_id, event)
        for event in heard
        for listener in found[event.customer_id, event.mode.value]
        if listener.hears(event.type, event.instance_id)
    ]
    return add(tx, wanted, DeliveryKind.LIVE) if wanted else []


def add(
    tx: Tx, wanted: Sequence[tuple[str, Event]], kind: DeliveryKind, places: Mapping[str, int] | None = None
) -> list[Due]:
    """Put new deliveries into the queue, each an endpoint's id and an event, in this order; two statements.

    `places` are the positions to take, by the events' ids, where the caller has chosen them.
    """
    first = 0 if places else next_position(tx)
    made = [
        Due(
            position=places[event.id] if places else first + index,
            id=tx.new_id("dlv"),
            lane=Lane(endpoint_id, event.instance_id, kind),
            event_id=event.id,
            event=event.type,
            attempt_count=0,
            tries=0,
            next_attempt_at=tx.now,
            created_at=tx.now,
        )
        for index, (endpoint_id, event) in enumerate(wanted)
    ]
    rows = [
        {
            "position": delivery.position,
            "id": delivery.id,
            "endpoint_id": delivery.lane.endpoint_id,
            "customer_id": event.customer_id,
            "mode": event.mode.value,
            "instance_id": event.instance_id,
            "event": event.type,
            "event_id": event.id,
            "kind": kind.value,
            "status": DeliveryStatus.PENDING.value,
            "next_attempt_at": tx.now,
            "created_at": tx.now,
            "updated_at": tx.now,
        }
        for delivery, (_, event) in zip(made, wanted, strict=True)
    ]
    _ADD.many(tx.conn, rows)
    tx.deliveries += made
    return made


def next_position(tx: Tx) -> int:
    """The next place in the queue; writers take turns, so nobody else takes it."""
    last: int | None = _LAST_POSITION.scalar(tx.conn)
    return (last or 0) + 1


# --- reading --------------------------------------------------------------------------------------------------------

_SENDABLE = (table.c.next_attempt_at.is_not(None), endpoints.c.is_enabled, endpoints.c.deleted_at.is_(None))
_LANES = (
    select(table.c.endpoint_id, table.c.instance_id, table.c.kind, table.c.is_late)
    .distinct()
    .join_from(table, endpoints, endpoints.c.id == table.c.endpoint_id)
    .where(*_SENDABLE)
)
_LANES_OF_ONE = _LANES.where(table.c.endpoint_id == bindparam("endpoint"))


def lanes(conn: Connection, _vault: Vault | None, endpoint_id: str | None = None) -> list[Lane]:
    """The lanes in which something waits, of all endpoints that are enabled or of one of them."""
    query = _LANES if endpoint_id is None else _LANES_OF_ONE
    rows = conn.execute(query, {"endpoint": endpoint_id} if endpoint_id is not None else {})
    return [Lane(row.endpoint_id, row.instance_id, DeliveryKind(row.kind), bool(row.is_late)) for row in rows]


@cache
def _due(has_instance: bool, is_late: bool) -> Prepared:
    """The statement for one lane, built once for each kind: constants, because an index over some rows needs them."""
    instance: ColumnElement[bool] = table.c.instance_id.is_(None)
    if has_instance:
        instance = table.c.instance_id == bindparam("instance")
    query = select(table).where(
        table.c.endpoint_id == bindparam("endpoint"),
        instance,
        table.c.kind == bindparam("kind"),
        table.c.is_late if is_late else ~table.c.is_late,
        table.c.next_attempt_at.is_not(None),
    )
    if is_late:
        return Prepared(query.order_by(table.c.next_attempt_at, table.c.position).limit(bindparam("limit")))
    query = query.where(table.c.position > bindparam("after")).order_by(table.c.position)
    return Prepared(query.limit(bindparam("limit")))


def due(conn: Connection, _vault: Vault | None, lane: Lane, after: int = 0, limit: int = 100) -> list[Due]:
    """What waits in a lane behind position `after`, first come first.

    A late lane is read by the time at which its deliveries are due, whatever `after` is. Whether the endpoint is
    enabled is the caller's business.
    """
    asked: dict[str, Any] = {
        "endpoint": lane.endpoint_id,
        "instance": lane.instance_id,
        "kind": lane.kind.value,
        "after": after,
        "limit": limit,
    }
    if lane.instance_id is None:
        del asked["instance"]
    if lane.is_late:
        del asked["after"]
    return [due_of(row) for row in _due(lane.instance_id is not None, lane.is_late).rows(conn, **asked)]


def due_of(row: Row) -> Due:
    """An unsettled row as the queue sees it."""
    return Due(
        position=row.position,
        id=row.id,
        lane=Lane(row.endpoint_id, row.instance_id, DeliveryKind(row.kind), bool(row.is_late)),
        event_id=row.event_id,
        event=row.event,
        attempt_count=row.attempt_count,
        tries=row.tries,
        next_attempt_at=row.next_attempt_at,
        created_at=row.created_at,
    )


def hides(conn: Connection, endpoint_id: str, *, messages: bool, bound_to: str | None) -> bool:
    """Whether something waits for an endpoint that is hidden from a key: messages, or what is not of its instance."""
    hidden: list[ColumnElement[bool]] = [table.c.event.startswith("message.")] if messages else []
    if bound_to is not None:
        is_foreign = or_(table.c.instance_id.is_(None), table.c.instance_id != bound_to)
        hidden.append(and_(is_foreign, table.c.event != TEST_EVENT))
    if not hidden:
        return False
    query = select(table.c.position).where(table.c.endpoint_id == endpoint_id, table.c.next_attempt_at.is_not(None))
    return conn.execute(query.where(or_(*hidden)).limit(1)).first() is not None


_COUNTS = (
    select(table.c.status, endpoints.c.is_enabled, func.count(), func.min(table.c.created_at))
    .join_from(table, endpoints, endpoints.c.id == table.c.endpoint_id)
    .where(table.c.next_attempt_at.is_not(None), endpoints.c.deleted_at.is_(None))
    .group_by(table.c.status, endpoints.c.is_enabled)
)


def counts(conn: Connection, _vault: Vault | None) -> QueueCounts:
    """How much waits in all, and since when; what waits for its customer is `held`."""
    rows = conn.execute(_COUNTS).all()
    sent = {status: (count, oldest) for status, is_enabled, count, oldest in rows if is_enabled}
    return QueueCounts(
        pending=sent.get(DeliveryStatus.PENDING.value, (0, None))[0],
        retrying=sent.get(DeliveryStatus.RETRYING.value, (0, None))[0],
        held=sum(count for _, is_enabled, count, _ in rows if not is_enabled),
        oldest_at=min((oldest for _, oldest in sent.values()), default=None),
    )
