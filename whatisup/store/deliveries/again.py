"""Deliveries that are put into the queue on demand: sent again, replayed from the log, and tests.

Rule: what comes back gets a new place in the queue, behind everything in it, so a replay arrives in the log's order,
and the answer to an earlier run of the same row is recognised as late. A replay goes in portions and is bounded by what
it looks at, not by what it finds; what still waits is left where it is, so doing a portion twice does it once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, select, update

from whatisup.errors import EventExpired
from whatisup.store import webhooks
from whatisup.store.deliveries.queue import TEST_EVENT, Listener, add, next_position
from whatisup.store.deliveries.shown import ONE, delivery_of, find
from whatisup.store.records import DeliveryKind, DeliveryStatus, Event, Mode, Origin
from whatisup.store.tables import events
from whatisup.store.tables import webhook_deliveries as table
from whatisup.store.tables import webhook_endpoints as endpoints
from whatisup.store.transaction import Tx
from whatisup.store.webhook_records import Delivery, Due, Lane, Replayed

PORTION: Final = 500
TEST_MESSAGE: Final = "This is a test of your webhook endpoint."

_EVENT_IS_THERE = select(events.c.position).where(events.c.id == bindparam("event"))
_ENDPOINT_IS_THERE = select(endpoints.c.id).where(
    endpoints.c.id == bindparam("endpoint"), endpoints.c.deleted_at.is_(None)
)
_AGAIN = (
    update(table)
    .where(table.c.id == bindparam("delivery"))
    .values(
        position=bindparam("new_position"),
        kind=DeliveryKind.REPLAY.value,
        status=DeliveryStatus.PENDING.value,
        is_late=False,
        tries=0,
        next_attempt_at=bindparam("now"),
        delivered_at=None,
        updated_at=bindparam("now"),
        payload_expires_at=None,
    )
)
_LOGGED = (
    select(events)
    .where(
        events.c.customer_id == bindparam("customer"),
        events.c.mode == bindparam("mode"),
        events.c.position > bindparam("after"),
        events.c.position <= bindparam("until"),
    )
    .order_by(events.c.position)
    .limit(bindparam("limit"))
)
_KNOWN = select(table).where(
    table.c.endpoint_id == bindparam("endpoint"), table.c.event_id.in_(bindparam("events", expanding=True))
)


def redeliver(tx: Tx, delivery_id: str, *, customer_id: str, mode: Mode, origin: Origin) -> Due | None:
    """Send a delivery again now, whatever became of it, with a fresh ladder; None if there is none for this customer.

    That of a disabled endpoint waits until the endpoint is enabled.

    Raises:
        EventExpired: its event is no longer kept, or its endpoint was deleted.
    """
    row = find(tx.conn, delivery_id, customer_id, mode)
    if row is None:
        return None
    if tx.conn.execute(_ENDPOINT_IS_THERE, {"endpoint": row.endpoint_id}).first() is None:
        raise EventExpired("the endpoint of this delivery was deleted; replay the events to another one")
    if tx.conn.execute(_EVENT_IS_THERE, {"event": row.event_id}).first() is None:
        raise EventExpired("the event of this delivery is no longer kept")
    (again,) = _put_back(tx, [row], {row.event_id: next_position(tx)})
    _audit(tx, customer_id, mode, origin, "webhook_delivery.redelivered", ("webhook_delivery", delivery_id), None)
    return again


def _put_back(tx: Tx, rows: Sequence[Row[Any]], places: Mapping[str, int]) -> list[Due]:
    """Give rows other places in the queue, by the ids of their events; one statement."""
    moves = [{"delivery": row.id, "new_position": places[row.event_id], "now": tx.now} for row in rows]
    tx.conn.execute(_AGAIN, moves)
    again = [
        Due(
            position=places[row.event_id],
            id=row.id,
            lane=Lane(row.endpoint_id, row.instance_id, DeliveryKind.REPLAY),
            event_id=row.event_id,
            event=row.event,
            attempt_count=row.attempt_count,
            tries=0,
            next_attempt_at=tx.now,
            created_at=row.created_at,
        )
        for row in rows
    ]
    tx.deliveries += again
    return again


def replay(
    tx: Tx,
    endpoint_id: str,
    *,
    customer_id: str,
    mode: Mode,
    origin: Origin,
    after: int,
    until: int,
    limit: int = PORTION,
) -> Replayed | None:
    """Deliver the events behind position `after` up to `until` (once more), as far as the endpoint listens to them.

    Looks at `limit` events; None if there is no such endpoint. Events whose data expired have nothing to tell and are
    left out, and so are tests.
    """
    endpoint = webhooks.get(tx.conn, tx.vault, endpoint_id, customer_id, mode)
    if endpoint is None:
        return None
    span = {"customer": customer_id, "mode": mode.value, "after": after, "until": until, "limit": limit}
    rows = tx.conn.execute(_LOGGED, span).all()
    listener = Listener.of(endpoint.id, endpoint.events, endpoint.instance_ids)
    wanted = [
        row
        for row in rows
        if row.data is not None and row.type != TEST_EVENT and listener.hears(row.type, row.instance_id)
    ]
    count = _queue_again(tx, endpoint_id, wanted)
    last = rows[-1].position if rows else after
    told = {"after": after, "until": last if len(rows) == limit else until, "count": count}
    _audit(tx, customer_id, mode, origin, "webhook_endpoint.replayed", ("webhook_endpoint", endpoint_id), told)
    return Replayed(count, last, len(rows) == limit)


def _queue_again(tx: Tx, endpoint_id: str, rows: Sequence[Row[Any]]) -> int:
    """Queue these events in the log's order, those with a settled delivery by it; how many that were."""
    known = _known(tx.conn, endpoint_id, [row.id for row in rows])
    queued = [row for row in rows if row.id not in known or known[row.id].next_attempt_at is None]
    if not queued:
        return 0
    places = {row.id: place for place, row in enumerate(queued, next_position(tx))}
    fresh = [(endpoint_id, _bare(row)) for row in queued if row.id not in known]
    if fresh:
        add(tx, fresh, DeliveryKind.REPLAY, places)
    settled = [known[row.id] for row in queued if row.id in known]
    if settled:
        _put_back(tx, settled, places)
    tx.deliveries.sort(key=lambda delivery: delivery.position)
    return len(queued)


def _bare(row: Row[Any]) -> Event:
    """An event without what it says."""
    return Event(
        position=row.position,
        id=row.id,
        customer_id=row.customer_id,
        mode=Mode(row.mode),
        instance_id=row.instance_id,
        seq=row.seq,
        type=row.type,
        occurred_at=row.occurred_at,
        data=None,
        expires_at=row.expires_at,
    )


def _known(conn: Connection, endpoint_id: str, event_ids: Sequence[str]) -> Mapping[str, Row[Any]]:
    if not event_ids:
        return {}
    return {row.event_id: row for row in conn.execute(_KNOWN, {"endpoint": endpoint_id, "events": event_ids})}


def make_test(tx: Tx, endpoint_id: str, *, customer_id: str, mode: Mode, origin: Origin) -> Delivery | None:
    """Tell one endpoint, and nobody else, the event `webhook.test`; None if there is no such endpoint.

    It overtakes whatever else waits for the endpoint.
    """
    endpoint = webhooks.get(tx.conn, tx.vault, endpoint_id, customer_id, mode)
    if endpoint is None:
        return None
    data = {"endpoint_id": endpoint_id, "message": TEST_MESSAGE}
    event = tx.append_customer_event(customer_id, mode, TEST_EVENT, data)
    (made,) = add(tx, [(endpoint_id, event)], DeliveryKind.TEST)
    _audit(tx, customer_id, mode, origin, "webhook_endpoint.tested", ("webhook_endpoint", endpoint_id), None)
    asked = {"delivery": made.id, "customer": customer_id, "mode": mode.value}
    return delivery_of(tx.conn.execute(ONE, asked).one())


def _audit(
    tx: Tx,
    customer_id: str,
    mode: Mode,
    origin: Origin,
    action: str,
    target: tuple[str, str],
    after: Mapping[str, Any] | None,
) -> None:
    tx.append_audit(
        customer_id=customer_id,
        mode=mode,
        origin=origin,
        action=action,
        target_type=target[0],
        target_id=target[1],
        after=after,
    )
