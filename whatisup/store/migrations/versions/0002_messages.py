"""Messages: what was said, what is to be sent, and what answers to retries and duplicates need."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

POSITION = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def only(condition: str) -> dict[str, Any]:
    """Arguments of an index over those rows alone that fulfil a condition."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    """Make the tables of messages, let events refer to them, and let names be found by their beginnings."""
    op.create_table(
        "ciphertexts",
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("instance_id", "hash"),
        sqlite_with_rowid=False,
    )
    op.create_index("ciphertexts_to_expire", "ciphertexts", ["expires_at"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("data_key_id", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("jobs_by_key", "jobs", ["instance_id", "kind", "key"], unique=True)
    op.create_table(
        "message_history",
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("participant", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", "kind", "participant"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "messages",
        sa.Column("position", POSITION, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("wa_id", sa.Text(), nullable=False),
        sa.Column("chat", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("chat_phone", sa.Text(), nullable=True),
        sa.Column("chat_lid", sa.Text(), nullable=True),
        sa.Column("author_phone", sa.Text(), nullable=True),
        sa.Column("author_lid", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("client_ref", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("push_name", sa.Text(), nullable=True),
        sa.Column("is_flagged", sa.Boolean(), nullable=False),
        sa.Column("is_backlog", sa.Boolean(), nullable=False),
        sa.Column("plaintext_hash", sa.LargeBinary(), nullable=False),
        sa.Column("data_key_id", sa.BigInteger(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("original", sa.LargeBinary(), nullable=True),
        sa.Column("is_body_expired", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("server_at", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("retry_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("retry_state", sa.Text(), nullable=True),
        sa.Column("phone_asked_at", sa.BigInteger(), nullable=True),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("(direction = 'in') = (source = 'contact')", name="message_situation"),
        sa.CheckConstraint("direction IN ('in', 'out')", name="message_direction"),
        sa.CheckConstraint("mode IN ('live', 'test')", name="message_mode"),
        sa.CheckConstraint("retry_state IN ('pending', 'ended')", name="message_retry_state"),
        sa.CheckConstraint("source IN ('api', 'phone', 'contact')", name="message_source"),
        sa.CheckConstraint(
            "status IN ('queued', 'sent', 'delivered', 'read', 'played', 'failed', 'received', 'undecryptable')",
            name="message_status",
        ),
        sa.CheckConstraint("(body IS NULL AND original IS NULL) OR data_key_id IS NOT NULL", name="message_body"),
        sa.CheckConstraint("length(plaintext_hash) IN (0, 32)", name="message_hash_length"),
        sa.PrimaryKeyConstraint("position"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("messages_by_chat", "messages", ["instance_id", "chat", "created_at"], unique=False)
    op.create_index(
        "messages_by_identity", "messages", ["instance_id", "wa_id", "chat", "author", "plaintext_hash"], unique=True
    )
    op.create_index(
        "messages_by_phone",
        "messages",
        ["instance_id", "author"],
        **only("author_lid IS NULL AND author_phone IS NOT NULL"),
    )
    op.create_index("messages_newest", "messages", ["instance_id", "created_at"], unique=False)
    op.create_index("messages_unread", "messages", ["instance_id", "position"], **only("status = 'undecryptable'"))
    op.create_index(
        "messages_with_body", "messages", ["created_at"], **only("settled_at IS NOT NULL AND data_key_id IS NOT NULL")
    )
    op.create_table(
        "outbox",
        sa.Column("position", POSITION, autoincrement=False, nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("chat", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("data_key_id", sa.BigInteger(), nullable=True),
        sa.Column("target", sa.LargeBinary(), nullable=True),
        sa.Column("stanza", sa.LargeBinary(), nullable=True),
        sa.Column("resync_devices", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("sealed_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("stage <> 'sealed' OR stanza IS NOT NULL", name="outbox_sealed"),
        sa.CheckConstraint("stage IN ('queued', 'sealed', 'resync')", name="outbox_stage"),
        sa.CheckConstraint("(target IS NULL AND stanza IS NULL) OR data_key_id IS NOT NULL", name="outbox_data"),
        sa.PrimaryKeyConstraint("position"),
        sa.UniqueConstraint("message_id"),
    )
    op.create_index("outbox_next", "outbox", ["instance_id", "stage", "position", "chat"], unique=False)
    op.create_index("outbox_to_expire", "outbox", ["expires_at"], **only("stage = 'queued'"))
    op.create_table(
        "poison",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("data_key_id", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("poison_by_instance", "poison", ["instance_id", "at"], unique=False)
    op.create_index("poison_to_expire", "poison", ["at"], unique=False)
    op.create_table(
        "resends",
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("wa_id", sa.Text(), nullable=False),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("registration_id", sa.BigInteger(), nullable=False),
        sa.Column("data_key_id", sa.BigInteger(), nullable=False),
        sa.Column("stanza", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("instance_id", "wa_id", "requester"),
        sqlite_with_rowid=False,
    )
    op.create_index("resends_to_expire", "resends", ["expires_at"], unique=False)
    op.create_table(
        "retained",
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("wa_id", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("chat", sa.Text(), nullable=False),
        sa.Column("stanza_type", sa.Text(), nullable=False),
        sa.Column("edit", sa.Text(), nullable=True),
        sa.Column("unix_t", sa.BigInteger(), nullable=False),
        sa.Column("data_key_id", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("instance_id", "wa_id"),
    )
    op.create_index("retained_to_expire", "retained", ["expires_at"], unique=False)
    op.add_column("events", sa.Column("message_id", sa.Text(), nullable=True))
    if op.get_context().dialect.name == "postgresql":
        op.alter_column("auth_state", "name", type_=sa.Text(collation="C"), existing_nullable=False)
