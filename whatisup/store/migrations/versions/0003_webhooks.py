"""Webhooks, the floor of the event log, limits by customer, and traces."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

POSITION = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def only(condition: str) -> dict[str, Any]:
    """Arguments of an index over those rows alone that fulfil a condition."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    """Make the tables of webhooks, and the columns that older tables lack."""
    for name in ("floor", "webhook_revision"):
        op.add_column("log_head", sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("customers", sa.Column("rate_limits", sa.Text(), nullable=True))
    op.add_column("events", sa.Column("trace", sa.Text(), nullable=True))
    op.add_column("messages", sa.Column("trace", sa.Text(), nullable=True))
    _endpoints()
    _deliveries()
    _attempts()


def _endpoints() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", sa.Text(), nullable=False),
        sa.Column("instance_ids", sa.Text(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("ordering", sa.Text(), nullable=True),
        sa.Column("data_key_id", sa.BigInteger(), nullable=True),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.Column("previous_secret", sa.LargeBinary(), nullable=True),
        sa.Column("previous_secret_until", sa.BigInteger(), nullable=True),
        sa.Column("headers", sa.LargeBinary(), nullable=True),
        sa.Column("has_custom_secret", sa.Boolean(), nullable=False),
        sa.Column("failing_since", sa.BigInteger(), nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("mode IN ('live', 'test')", name="endpoint_mode"),
        sa.CheckConstraint("ordering IN ('strict', 'relaxed')", name="endpoint_ordering"),
        sa.CheckConstraint("disabled_reason IN ('customer', 'gone', 'failing')", name="endpoint_disabled_reason"),
        sa.CheckConstraint("deleted_at IS NOT NULL OR secret IS NOT NULL", name="endpoint_secret"),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("endpoints_newest", "webhook_endpoints", ["customer_id", "mode", "created_at", "id"], unique=False)


def _deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("position", POSITION, autoincrement=False, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=True),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("is_late", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("attempt_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("last_response_status", sa.Integer(), nullable=True),
        sa.Column("next_attempt_at", sa.BigInteger(), nullable=True),
        sa.Column("delivered_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("payload_expires_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("mode IN ('live', 'test')", name="delivery_mode"),
        sa.CheckConstraint("kind IN ('live', 'replay', 'test')", name="delivery_kind"),
        sa.CheckConstraint("status IN ('pending', 'retrying', 'success', 'failed')", name="delivery_status"),
        sa.CheckConstraint(
            "(next_attempt_at IS NOT NULL) = (status IN ('pending', 'retrying'))", name="delivery_next_attempt"
        ),
        sa.CheckConstraint("(delivered_at IS NOT NULL) = (status = 'success')", name="delivery_delivered"),
        sa.PrimaryKeyConstraint("position"),
        sa.UniqueConstraint("id"),
    )
    index, table, unsettled = op.create_index, "webhook_deliveries", only("next_attempt_at IS NOT NULL")
    index("deliveries_once", table, ["endpoint_id", "event_id"], unique=True)
    index("deliveries_newest", table, ["customer_id", "mode", "position"], unique=False)
    lane = ["endpoint_id", "instance_id", "kind", "is_late", "position"]
    index("deliveries_by_lane", table, lane, unique=False, **unsettled)
    late: dict[str, Any] = {
        "sqlite_where": sa.text("is_late = 1 AND next_attempt_at IS NOT NULL"),
        "postgresql_where": sa.text("is_late AND next_attempt_at IS NOT NULL"),
    }
    lane = ["endpoint_id", "instance_id", "kind", "next_attempt_at", "position"]
    index("deliveries_late", table, lane, unique=False, **late)
    failed = only("status = 'failed'")
    index("deliveries_failed", table, ["customer_id", "mode", "position"], unique=False, **failed)
    index("deliveries_unsettled", table, ["event_id"], unique=False, **unsettled)
    expiring = only("payload_expires_at IS NOT NULL")
    index("deliveries_to_expire", table, ["payload_expires_at"], unique=False, **expiring)


def _attempts() -> None:
    op.create_table(
        "webhook_attempts",
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("response_status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("data_key_id", sa.BigInteger(), nullable=True),
        sa.Column("response", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("(response IS NULL) = (data_key_id IS NULL)", name="attempt_response"),
        sa.PrimaryKeyConstraint("delivery_id", "number"),
        sqlite_with_rowid=False,
    )
