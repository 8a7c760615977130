"""Deliveries as customers see them: a list with filters, one, and its attempts.

Rule: customer and mode stand in every statement; what is not theirs does not exist for them.
"""

from __future__ import annotations

from typing import Any

from msgspec import json
from sqlalchemy import Connection, Row, Select, bindparam, literal_column, or_, select

from whatisup.store import datakeys
from whatisup.store.cursor import decode_cursor, encode_cursor
from whatisup.store.deliveries.queue import TEST_EVENT
from whatisup.store.records import DeliveryKind, DeliveryStatus, Mode
from whatisup.store.tables import webhook_attempts, webhook_deliveries
from whatisup.store.tables import webhook_endpoints as endpoints
from whatisup.store.vault import Vault
from whatisup.store.webhook_records import Delivery, DeliveryAttempt

table = webhook_deliveries

ONE = select(table).where(
    table.c.id == bindparam("delivery"), table.c.customer_id == bindparam("customer"), table.c.mode == bindparam("mode")
)
_ATTEMPTS = (
    select(webhook_attempts)
    .join_from(webhook_attempts, table, table.c.id == webhook_attempts.c.delivery_id)
    .where(table.c.id == bindparam("delivery"), table.c.customer_id == bindparam("customer"))
    .order_by(webhook_attempts.c.number.desc())
    .limit(bindparam("limit"))
)


def page(
    conn: Connection,
    _vault: Vault | None,
    *,
    customer_id: str,
    mode: Mode,
    status: DeliveryStatus | None = None,
    event: str | None = None,
    instance_id: str | None = None,
    endpoint_id: str | None = None,
    bound_to: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> tuple[list[Delivery], str | None]:
    """A page of a customer's deliveries, newest first, and the cursor of the next page.

    What was sent again counts as new, since it has a new place in the queue. `bound_to` narrows to what a key that is
    bound to this instance may see: what goes to endpoints of the instance alone, and is about it or a test.

    Raises:
        BadCursor: no page gave out this cursor.
    """
    query = (
        select(table)
        .where(table.c.customer_id == customer_id, table.c.mode == mode.value)
        .order_by(table.c.position.desc())
        .limit(limit + 1)
    )
    wanted = {"event": event, "instance_id": instance_id, "endpoint_id": endpoint_id}
    for name, value in wanted.items():
        if value is not None:
            query = query.where(table.c[name] == value)
    if status is not None:
        # Spelled out: that is what finds the index over failed ones alone.
        query = query.where(table.c.status == literal_column(f"'{DeliveryStatus(status).value}'"))
    if bound_to is not None:
        query = query.where(table.c.endpoint_id.in_(_endpoints_of(customer_id, mode, bound_to)))
        query = query.where(or_(table.c.instance_id == bound_to, table.c.event == TEST_EVENT))
    if cursor is not None:
        query = query.where(table.c.position < decode_cursor(cursor)[0])
    found = [delivery_of(row) for row in conn.execute(query)]
    has_more = len(found) > limit
    return found[:limit], encode_cursor(found[limit - 1].position, found[limit - 1].id) if has_more else None


def _endpoints_of(customer_id: str, mode: Mode, instance_id: str) -> Select[Any]:
    return select(endpoints.c.id).where(
        endpoints.c.customer_id == customer_id,
        endpoints.c.mode == mode.value,
        endpoints.c.instance_ids == json.encode([instance_id]).decode(),
        endpoints.c.deleted_at.is_(None),
    )


def get(conn: Connection, _vault: Vault | None, delivery_id: str, customer_id: str, mode: Mode) -> Delivery | None:
    """One delivery, or None if there is none, or it belongs to somebody else."""
    row = find(conn, delivery_id, customer_id, mode)
    return None if row is None else delivery_of(row)


def find(conn: Connection, delivery_id: str, customer_id: str, mode: Mode) -> Row[Any] | None:
    """The row of a customer's delivery."""
    asked = {"delivery": delivery_id, "customer": customer_id, "mode": mode.value}
    return conn.execute(ONE, asked).one_or_none()


def attempts(
    conn: Connection, vault: Vault, delivery_id: str, customer_id: str, limit: int = 100
) -> list[DeliveryAttempt]:
    """The last attempts of a delivery, oldest first; none for somebody else's.

    Raises:
        SealBroken: a row was moved or changed.
    """
    rows = conn.execute(_ATTEMPTS, {"delivery": delivery_id, "customer": customer_id, "limit": limit}).all()
    return [_attempt_of(conn, vault, row, customer_id) for row in reversed(rows)]


def _attempt_of(conn: Connection, vault: Vault, row: Row[Any], customer_id: str) -> DeliveryAttempt:
    response = None
    if row.response is not None:
        key, place = datakeys.of_row(conn, vault, row.data_key_id, customer_id), (row.delivery_id, str(row.number))
        # What a receiver says is bytes of its choice; what is cut in the middle of a character is shown all the same.
        response = vault.open(key, "webhook_attempts", "response", place, row.response).decode(errors="replace")
    return DeliveryAttempt(row.number, row.at, row.duration_ms, row.response_status, row.error, response)


def delivery_of(row: Row[Any]) -> Delivery:
    """The value of a row."""
    return Delivery(
        position=row.position,
        id=row.id,
        endpoint_id=row.endpoint_id,
        customer_id=row.customer_id,
        mode=Mode(row.mode),
        instance_id=row.instance_id,
        event=row.event,
        event_id=row.event_id,
        kind=DeliveryKind(row.kind),
        status=DeliveryStatus(row.status),
        is_late=bool(row.is_late),
        attempt_count=row.attempt_count,
        last_error=row.last_error,
        last_response_status=row.last_response_status,
        next_attempt_at=row.next_attempt_at,
        delivered_at=row.delivered_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
        payload_expires_at=row.payload_expires_at,
    )
