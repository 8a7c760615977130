"""The tables of webhooks: where events are pushed to, the queue, and what became of each attempt."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    false,
    text,
)

from whatisup.store.records import DeliveryKind, DeliveryStatus, DisabledReason, Mode, Ordering
from whatisup.store.tables.base import POSITION, metadata, one_of, only

# `events` and `instance_ids` are JSON lists; no instance ids means all. `secret`, the one before it (which signs too
# until `previous_secret_until`) and the custom headers are sealed under the customer's key.
webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Text, primary_key=True),
    Column("customer_id", Text, ForeignKey("customers.id"), nullable=False),
    Column("mode", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("events", Text, nullable=False),
    Column("instance_ids", Text, nullable=False),
    Column("is_enabled", Boolean, nullable=False),
    Column("ordering", Text),
    Column("data_key_id", BigInteger),
    Column("secret", LargeBinary),
    Column("previous_secret", LargeBinary),
    Column("previous_secret_until", BigInteger),
    Column("headers", LargeBinary),
    Column("has_custom_secret", Boolean, nullable=False),
    Column("failing_since", BigInteger),
    Column("disabled_reason", Text),
    Column("disabled_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    one_of("mode", Mode, "endpoint_mode"),
    one_of("ordering", Ordering, "endpoint_ordering"),
    one_of("disabled_reason", DisabledReason, "endpoint_disabled_reason"),
    CheckConstraint("deleted_at IS NOT NULL OR secret IS NOT NULL", name="endpoint_secret"),
    Index("endpoints_newest", "customer_id", "mode", "created_at", "id"),
)

# One event for one endpoint: the queue, and what became of it. `position` is the place in the queue, a higher one with
# each time a row is put there. `attempt_count` counts all attempts, `tries` those of
# the current run of the retry ladder. A late delivery is one that others were let past.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("position", POSITION, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    Column("endpoint_id", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("instance_id", Text),
    Column("event", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("is_late", Boolean, nullable=False, server_default=false()),
    Column("attempt_count", Integer, nullable=False, server_default=text("0")),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("last_error", Text),
    Column("last_response_status", Integer),
    Column("next_attempt_at", BigInteger),
    Column("delivered_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("payload_expires_at", BigInteger),
    one_of("mode", Mode, "delivery_mode"),
    one_of("kind", DeliveryKind, "delivery_kind"),
    one_of("status", DeliveryStatus, "delivery_status"),
    CheckConstraint(
        "(next_attempt_at IS NOT NULL) = (status IN ('pending', 'retrying'))", name="delivery_next_attempt"
    ),
    CheckConstraint("(delivered_at IS NOT NULL) = (status = 'success')", name="delivery_delivered"),
    Index("deliveries_once", "endpoint_id", "event_id", unique=True),
    Index("deliveries_newest", "customer_id", "mode", "position"),
    Index(
        "deliveries_by_lane",
        "endpoint_id",
        "instance_id",
        "kind",
        "is_late",
        "position",
        **only("next_attempt_at IS NOT NULL"),
    ),
    # On PostgreSQL, where the truth is no number: is_late AND next_attempt_at IS NOT NULL.
    Index(
        "deliveries_late",
        "endpoint_id",
        "instance_id",
        "kind",
        "next_attempt_at",
        "position",
        sqlite_where=text("is_late = 1 AND next_attempt_at IS NOT NULL"),
    ),
    Index("deliveries_failed", "customer_id", "mode", "position", **only("status = 'failed'")),
    Index("deliveries_unsettled", "event_id", **only("next_attempt_at IS NOT NULL")),
    Index("deliveries_to_expire", "payload_expires_at", **only("payload_expires_at IS NOT NULL")),
)

# `response` is the beginning of what the receiver said, sealed under the customer's key.
webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column("delivery_id", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("response_status", Integer),
    Column("error", Text),
    Column("data_key_id", BigInteger),
    Column("response", LargeBinary),
    PrimaryKeyConstraint("delivery_id", "number"),
    CheckConstraint("(response IS NULL) = (data_key_id IS NULL)", name="attempt_response"),
    sqlite_with_rowid=False,
)
