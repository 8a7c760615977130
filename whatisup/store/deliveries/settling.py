"""What became of attempts, written for a whole batch of them at once; and deliveries that nobody can send any more.

Rule: an answer counts only for the run it belongs to: the row still has the position and the number of attempts that
the sender saw, and is unsettled. Whatever comes late, after a crash or beside a redelivery, changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, bindparam, insert, select, update

from whatisup.store import datakeys, webhooks
from whatisup.store.ids import made_at
from whatisup.store.prepared import Prepared
from whatisup.store.records import DeliveryStatus, DisabledReason
from whatisup.store.tables import data_keys, events, webhook_attempts
from whatisup.store.tables import webhook_deliveries as table
from whatisup.store.tables import webhook_endpoints as endpoints
from whatisup.store.transaction import Tx
from whatisup.store.webhook_records import Attempt, SettleOutcome

DAY_MS: Final = 24 * 3600 * 1000
PAYLOAD_DAYS: Final = 7
FAILED_PAYLOAD_DAYS: Final = 30
DISABLE_AFTER_MS: Final = 3 * DAY_MS
LIMIT: Final = 500
GONE: Final = 410
MAX_RESPONSE: Final = 1024

ENDPOINT_DELETED: Final = "endpoint_deleted"
EVENT_EXPIRED: Final = "event_expired"

_STANDING: Final = Prepared(
    select(
        table.c.position,
        table.c.attempt_count,
        table.c.customer_id,
        table.c.endpoint_id,
        endpoints.c.failing_since,
        endpoints.c.created_at,
        endpoints.c.updated_at,
        data_keys.c.id.label("data_key_id"),
    )
    .select_from(
        table.join(endpoints, endpoints.c.id == table.c.endpoint_id).outerjoin(
            data_keys, data_keys.c.owner == table.c.customer_id
        )
    )
    .where(table.c.position.in_(bindparam("positions", expanding=True)), table.c.next_attempt_at.is_not(None))
)
_MOVE: Final = Prepared(
    update(table)
    .where(table.c.position == bindparam("at_position"))
    .values({
        name: bindparam(f"new_{name}")
        for name in (
            "status", "is_late", "attempt_count", "tries", "last_error", "last_response_status", "next_attempt_at",
            "delivered_at", "updated_at", "payload_expires_at",
        )
    })
)  # fmt: skip
_NOTE: Final = Prepared(insert(webhook_attempts))
_FAILING: Final = Prepared(
    update(endpoints).where(endpoints.c.id == bindparam("endpoint")).values(failing_since=bindparam("new_since"))
)


@dataclass(slots=True)
class _Standing:
    """How a delivery stands while the batch is gone through."""

    attempt_count: int
    customer_id: str
    data_key_id: int | None


@dataclass(slots=True)
class _Health:
    """How an endpoint stands: what its row says, and what this batch makes of it."""

    stored_since: int | None
    failing_since: int | None
    changed_at: int
    """Since when it is as it is: what failed before that failed somewhere else; 0 for as it was made."""
    worst: Attempt | None = None
    reason: DisabledReason | None = None

    def note(self, attempt: Attempt, disable_after_ms: int) -> None:
        """Take an attempt's outcome into account, in the order in which they were made."""
        if attempt.status is DeliveryStatus.SUCCESS:
            self.failing_since = None
            if self.reason is DisabledReason.FAILING:
                self.reason = None
            return
        if attempt.at < self.changed_at:
            return
        if self.failing_since is None:
            self.failing_since = attempt.at
        if attempt.response_status == GONE:
            self.reason, self.worst = DisabledReason.GONE, attempt
        # Given up, not merely failed: after quiet days, or days without a network of ours, the next try may arrive.
        is_end = attempt.status is DeliveryStatus.FAILED
        if self.reason is None and is_end and attempt.at - self.failing_since >= disable_after_ms:
            self.reason, self.worst = DisabledReason.FAILING, attempt


def settle(
    tx: Tx,
    batch: Sequence[Attempt],
    *,
    payload_days: int = PAYLOAD_DAYS,
    failed_payload_days: int = FAILED_PAYLOAD_DAYS,
    disable_after_ms: int = DISABLE_AFTER_MS,
) -> SettleOutcome:
    """Write what became of attempts, move their deliveries on, and disable endpoints that are gone or fail too long.

    Times of attempts decide how long an endpoint has failed. One statement reads, one for each table writes.
    """
    standing, health = _stand(tx.conn, batch)
    days = {DeliveryStatus.SUCCESS: payload_days, DeliveryStatus.FAILED: failed_payload_days}
    counted = []
    for attempt in sorted(batch, key=lambda attempt: attempt.at):
        row = standing.get(attempt.delivery.position)
        if row is None or row.attempt_count != attempt.delivery.attempt_count:
            continue
        counted.append((row, attempt))
        health[attempt.delivery.lane.endpoint_id].note(attempt, disable_after_ms)
        row.attempt_count += 1
        if attempt.status is not DeliveryStatus.RETRYING:
            del standing[attempt.delivery.position]
    _NOTE.many(tx.conn, _attempt_rows(tx, counted))
    _MOVE.many(tx.conn, [_moved(tx, attempt, days) for _, attempt in counted])
    disabled = _judge(tx, health)
    return SettleOutcome(disabled, len(batch) - len(counted))


def _stand(conn: Connection, batch: Sequence[Attempt]) -> tuple[dict[int, _Standing], dict[str, _Health]]:
    """The unsettled ones of these deliveries by position, and their endpoints."""
    rows = _STANDING.rows(conn, positions=[attempt.delivery.position for attempt in batch])
    standing = {row.position: _Standing(row.attempt_count, row.customer_id, row.data_key_id) for row in rows}
    return standing, {row.endpoint_id: _health_of(row) for row in rows}


def _health_of(row: Any) -> _Health:
    changed_at = row.updated_at if row.updated_at != row.created_at else 0
    return _Health(row.failing_since, row.failing_since, changed_at)


def _attempt_rows(tx: Tx, counted: Sequence[tuple[_Standing, Attempt]]) -> list[dict[str, Any]]:
    heard = {row.data_key_id for row, attempt in counted if attempt.response and row.data_key_id is not None}
    keys = datakeys.fetch(tx.conn, tx.vault, heard)
    rows = []
    for row, attempt in counted:
        number = attempt.delivery.attempt_count + 1
        values = {
            "delivery_id": attempt.delivery.id,
            "number": number,
            "at": attempt.at,
            "duration_ms": attempt.duration_ms,
            "response_status": attempt.response_status,
            "error": attempt.error,
            "data_key_id": None,
            "response": None,
        }
        key = keys.get(row.data_key_id or 0)
        if attempt.response and key is not None:
            place = (attempt.delivery.id, str(number))
            sealed = tx.vault.seal(key, "webhook_attempts", "response", place, attempt.response[:MAX_RESPONSE])
            values |= {"data_key_id": key.id, "response": sealed}
        rows.append(values)
    return rows


def _moved(tx: Tx, attempt: Attempt, days: dict[DeliveryStatus, int]) -> dict[str, Any]:
    is_open = attempt.status is DeliveryStatus.RETRYING
    is_there = attempt.status is DeliveryStatus.SUCCESS
    return {
        "at_position": attempt.delivery.position,
        "new_status": attempt.status.value,
        "new_is_late": attempt.is_late,
        "new_attempt_count": attempt.delivery.attempt_count + 1,
        "new_tries": attempt.delivery.tries + 1,
        "new_last_error": attempt.error,
        "new_last_response_status": attempt.response_status,
        "new_next_attempt_at": attempt.next_attempt_at if is_open else None,
        "new_delivered_at": attempt.at + attempt.duration_ms if is_there else None,
        "new_updated_at": tx.now,
        "new_payload_expires_at": None if is_open else tx.now + days[attempt.status] * DAY_MS,
    }


def _judge(tx: Tx, health: dict[str, _Health]) -> tuple[str, ...]:
    """Write since when endpoints fail, and disable those that have to be; returns the disabled ones."""
    changed = [
        {"endpoint": endpoint_id, "new_since": one.failing_since}
        for endpoint_id, one in health.items()
        if one.failing_since != one.stored_since
    ]
    _FAILING.many(tx.conn, changed)
    return tuple(endpoint_id for endpoint_id, one in health.items() if _disable(tx, endpoint_id, one))


def _disable(tx: Tx, endpoint_id: str, health: _Health) -> bool:
    if health.reason is None or health.worst is None:
        return False
    return webhooks.disable(
        tx,
        endpoint_id,
        health.reason,
        last_error=health.worst.error,
        last_response_status=health.worst.response_status,
    )


# --- what nobody can send any more ----------------------------------------------------------------------------------


def fail_expired(tx: Tx, now: int, days: int, limit: int = LIMIT, *, payload_days: int = FAILED_PAYLOAD_DAYS) -> int:
    """Give up the deliveries that wait for the oldest events, of those that are `days` old; returns how many.

    Looks at as many events as are deleted at a time, and goes before their deletion: that stops at an awaited one.
    """
    before = now - days * DAY_MS
    oldest = select(events.c.id).order_by(events.c.position).limit(limit)
    over = [event_id for event_id in tx.conn.execute(oldest).scalars() if (made_at(event_id) or 0) <= before]
    if not over:
        return 0
    return _give_up(tx, (table.c.event_id.in_(over), table.c.next_attempt_at.is_not(None)), EVENT_EXPIRED, payload_days)


def fail_deleted(tx: Tx, limit: int = LIMIT, *, payload_days: int = FAILED_PAYLOAD_DAYS) -> int:
    """Give up unsettled deliveries of endpoints that were deleted, some at a time; returns how many."""
    gone = select(endpoints.c.id).where(endpoints.c.deleted_at.is_not(None))
    rows = (
        select(table.c.position).where(table.c.endpoint_id.in_(gone), table.c.next_attempt_at.is_not(None)).limit(limit)
    )
    return _give_up(tx, (table.c.position.in_(rows),), ENDPOINT_DELETED, payload_days)


def _give_up(tx: Tx, due: tuple[ColumnElement[bool], ...], error: str, payload_days: int) -> int:
    values = {
        "status": DeliveryStatus.FAILED.value,
        "last_error": error,
        "next_attempt_at": None,
        "updated_at": tx.now,
        "payload_expires_at": tx.now + payload_days * DAY_MS,
    }
    return tx.conn.execute(update(table).where(*due).values(**values)).rowcount


def expire_payloads(tx: Tx, now: int, limit: int = LIMIT) -> int:
    """Forget what receivers said to deliveries whose payload may no longer be shown; returns how many those were."""
    due = select(table.c.id).where(table.c.payload_expires_at <= now).order_by(table.c.payload_expires_at).limit(limit)
    ids = list(tx.conn.execute(due).scalars())
    if ids:
        said = update(webhook_attempts).where(webhook_attempts.c.delivery_id.in_(ids))
        tx.conn.execute(said.values(response=None, data_key_id=None))
        tx.conn.execute(update(table).where(table.c.id.in_(ids)).values(payload_expires_at=None))
    return len(ids)
