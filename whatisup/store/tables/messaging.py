"""The tables of messages: what was said, what is to be sent, and what answers to retries and duplicates need."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    false,
    text,
)

from whatisup.store.message_records import MessageStatus
from whatisup.store.records import Mode
from whatisup.store.tables.base import POSITION, metadata, one_of, only

# `plaintext_hash` is keyed, and empty for what was never read and for what the API sent. Together with it the identity
# is unique: the same words under one id are one message, other words are another.
messages = Table(
    "messages",
    metadata,
    Column("position", POSITION, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("customer_id", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("instance_id", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("wa_id", Text, nullable=False),
    Column("chat", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("chat_phone", Text),
    Column("chat_lid", Text),
    Column("author_phone", Text),
    Column("author_lid", Text),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("detail", Text),
    Column("client_ref", Text),
    Column("request_id", Text),
    Column("push_name", Text),
    Column("is_flagged", Boolean, nullable=False),
    Column("is_backlog", Boolean, nullable=False),
    Column("plaintext_hash", LargeBinary, nullable=False),
    Column("data_key_id", BigInteger),
    Column("body", LargeBinary),
    Column("original", LargeBinary),
    Column("is_body_expired", Boolean, nullable=False, server_default=false()),
    Column("created_at", BigInteger, nullable=False),
    Column("server_at", BigInteger),
    Column("expires_at", BigInteger),
    Column("retry_count", Integer, nullable=False, server_default=text("0")),
    Column("retry_state", Text),
    Column("phone_asked_at", BigInteger),
    Column("settled_at", BigInteger),
    Column("trace", Text),
    one_of("mode", Mode, "message_mode"),
    one_of("direction", ("in", "out"), "message_direction"),
    one_of("source", ("api", "phone", "contact"), "message_source"),
    one_of("status", MessageStatus, "message_status"),
    one_of("retry_state", ("pending", "ended"), "message_retry_state"),
    CheckConstraint("(direction = 'in') = (source = 'contact')", name="message_situation"),
    CheckConstraint("(body IS NULL AND original IS NULL) OR data_key_id IS NOT NULL", name="message_body"),
    CheckConstraint("length(plaintext_hash) IN (0, 32)", name="message_hash_length"),
    Index("messages_by_identity", "instance_id", "wa_id", "chat", "author", "plaintext_hash", unique=True),
    Index("messages_newest", "instance_id", "created_at"),
    Index("messages_by_chat", "instance_id", "chat", "created_at"),
    Index("messages_with_body", "created_at", **only("settled_at IS NOT NULL AND data_key_id IS NOT NULL")),
    Index("messages_unread", "instance_id", "position", **only("status = 'undecryptable'")),
    Index("messages_by_phone", "instance_id", "author", **only("author_lid IS NULL AND author_phone IS NOT NULL")),
)

# The steps of a message's delivery, as each participant's devices told of them.
message_history = Table(
    "message_history",
    metadata,
    Column("message_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("participant", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    PrimaryKeyConstraint("message_id", "kind", "participant"),
    sqlite_with_rowid=False,
)

# What is not off our hands. A row has its message's position, so the order here is the order of acceptance.
outbox = Table(
    "outbox",
    metadata,
    Column("position", POSITION, primary_key=True, autoincrement=False),
    Column("message_id", Text, nullable=False, unique=True),
    Column("instance_id", Text, nullable=False),
    Column("chat", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("data_key_id", BigInteger),
    Column("target", LargeBinary),
    Column("stanza", LargeBinary),
    Column("resync_devices", Text),
    Column("expires_at", BigInteger, nullable=False),
    Column("sealed_at", BigInteger),
    one_of("stage", ("queued", "sealed", "resync"), "outbox_stage"),
    CheckConstraint("stage <> 'sealed' OR stanza IS NOT NULL", name="outbox_sealed"),
    CheckConstraint("(target IS NULL AND stanza IS NULL) OR data_key_id IS NOT NULL", name="outbox_data"),
    Index("outbox_next", "instance_id", "stage", "position", "chat"),
    Index("outbox_to_expire", "expires_at", **only("stage = 'queued'")),
)

retained = Table(
    "retained",
    metadata,
    Column("instance_id", Text, nullable=False),
    Column("wa_id", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("chat", Text, nullable=False),
    Column("stanza_type", Text, nullable=False),
    Column("edit", Text),
    Column("unix_t", BigInteger, nullable=False),
    Column("data_key_id", BigInteger, nullable=False),
    Column("message", LargeBinary, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("instance_id", "wa_id"),
    Index("retained_to_expire", "expires_at"),
)

ciphertexts = Table(
    "ciphertexts",
    metadata,
    Column("instance_id", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("instance_id", "hash"),
    Index("ciphertexts_to_expire", "expires_at"),
    sqlite_with_rowid=False,
)

# `stanza` is the answer to the retry receipt that said `asked`, of the installation `registration_id`: the same receipt
# may come again, and is answered by the same bytes.
resends = Table(
    "resends",
    metadata,
    Column("instance_id", Text, nullable=False),
    Column("wa_id", Text, nullable=False),
    Column("requester", Text, nullable=False),
    Column("count", Integer, nullable=False),
    Column("asked", Integer, nullable=False),
    Column("registration_id", BigInteger, nullable=False),
    Column("data_key_id", BigInteger, nullable=False),
    Column("stanza", LargeBinary, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("instance_id", "wa_id", "requester"),
    Index("resends_to_expire", "expires_at"),
    sqlite_with_rowid=False,
)

poison = Table(
    "poison",
    metadata,
    Column("id", Text, primary_key=True),
    Column("instance_id", Text, nullable=False),
    Column("data_key_id", BigInteger, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("poison_by_instance", "instance_id", "at"),
    Index("poison_to_expire", "at"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("instance_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("data_key_id", BigInteger, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("jobs_by_key", "instance_id", "kind", "key", unique=True),
)
