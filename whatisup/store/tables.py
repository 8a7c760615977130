"""The schema as SQLAlchemy Core tables, the same for SQLite and PostgreSQL.

Rule: this file says what is; `migrations/` says how a store gets there, and a test holds the two together. Constraints
state what the code above must never write, so that a bug fails in its own unit instead of in somebody's data.

Times are unix milliseconds. Columns of bytes are sealed and stand beside the id of the data key that opens them, except
for hashes. JSON that is not secret is text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    false,
    text,
)

from whatisup.lifecycle import Reason, State
from whatisup.store.message_records import MessageStatus
from whatisup.store.records import DeliveryKind, DeliveryStatus, DisabledReason, Intent, Mode, Ordering

metadata = MetaData()

# Compared byte by byte, so that all names with one beginning stand together; SQLite does nothing else.
NAME = Text().with_variant(Text(collation="C"), "postgresql")

# SQLite clusters a table by its key only if that is declared INTEGER; PostgreSQL needs the wide type.
POSITION = BigInteger().with_variant(Integer(), "sqlite")


def one_of(column: str, values: Iterable[str], name: str) -> CheckConstraint:
    """A constraint that a column holds one of a few words."""
    words = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({words})", name=name)


def only(condition: str) -> dict[str, Any]:
    """Arguments of an index over those rows alone that fulfil a condition."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


# The head of the event log: the last position given out. Locked first by every writing transaction, so that writers
# take turns, positions follow commit order, and a reader that has seen one position has seen all before it.
log_head = Table(
    "log_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
    # The last position that retention has deleted: a cursor below it has lost something.
    Column("floor", BigInteger, nullable=False, server_default=text("0")),
    # Counts the changes of webhook endpoints, so that who may keep them in memory sees when to read them again.
    Column("webhook_revision", BigInteger, nullable=False, server_default=text("0")),
    CheckConstraint("id = 1", name="one_log_head"),
)

# One row per process that writes: the last batch it committed, to settle a commit whose outcome got lost on the way.
writers = Table(
    "writers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("batch_id", Text),
    Column("signed_at", BigInteger, nullable=False),
)

canary = Table(
    "canary",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("kek_id", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("pepper_mark", LargeBinary, nullable=False),
    CheckConstraint("id = 1", name="one_canary"),
)

data_keys = Table(
    "data_keys",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False, unique=True),
    Column("kek_id", Text, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    CheckConstraint("length(wrapped) = 60", name="data_key_length"),
)

settings = Table(
    "settings",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

customers = Table(
    "customers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # JSON by mode, {"live": {"burst": 60, "per_s": 1}}; what is not there is as the settings say.
    Column("rate_limits", Text),
)

instances = Table(
    "instances",
    metadata,
    Column("id", Text, primary_key=True),
    Column("customer_id", Text, ForeignKey("customers.id"), nullable=False),
    Column("mode", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("phone_number", Text),
    Column("lid", Text),
    Column("status", Text, nullable=False),
    Column("has_account", Boolean, nullable=False),
    Column("reason", Text),
    Column("detail", Text),
    Column("expires_at", BigInteger),
    Column("intent", Text),
    Column("incarnation", BigInteger, nullable=False, server_default=text("0")),
    Column("last_seq", BigInteger, nullable=False, server_default=text("0")),
    Column("next_prekey_id", Integer, nullable=False, server_default=text("1")),
    Column("status_at", BigInteger, nullable=False),
    Column("last_seen_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    one_of("mode", Mode, "instance_mode"),
    one_of("status", State, "instance_status"),
    one_of("reason", Reason, "instance_reason"),
    one_of("intent", Intent, "instance_intent"),
    CheckConstraint(
        "(status <> 'pending' OR NOT has_account) AND (status NOT IN ('connected', 'reconnecting') OR has_account)",
        name="instance_situation",
    ),
    Index("instances_newest", "customer_id", "mode", "created_at", "id"),
    Index("instances_by_status", "status"),
)

auth_state = Table(
    "auth_state",
    metadata,
    Column("instance_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", NAME, nullable=False),
    Column("data_key_id", BigInteger, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("instance_id", "kind", "name"),
    sqlite_with_rowid=False,
)

PREKEY_STATES = ("generated", "offered", "uploaded")

prekeys = Table(
    "prekeys",
    metadata,
    Column("instance_id", Text, nullable=False),
    Column("prekey_id", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("data_key_id", BigInteger, nullable=False),
    Column("private", LargeBinary, nullable=False),
    PrimaryKeyConstraint("instance_id", "prekey_id"),
    one_of("state", PREKEY_STATES, "prekey_state"),
    # On the wire an id has three bytes.
    CheckConstraint("prekey_id BETWEEN 1 AND 16777215", name="prekey_id_range"),
    sqlite_with_rowid=False,
)

events = Table(
    "events",
    metadata,
    Column("position", POSITION, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    Column("customer_id", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("instance_id", Text),
    Column("seq", BigInteger),
    Column("type", Text, nullable=False),
    Column("occurred_at", BigInteger, nullable=False),
    Column("data_key_id", BigInteger),
    Column("data", LargeBinary),
    Column("expires_at", BigInteger),
    # The message whose body the event is told with; the body itself stands in the message's row alone.
    Column("message_id", Text),
    # The W3C traceparent of what caused it, where traces are kept.
    Column("trace", Text),
    one_of("mode", Mode, "event_mode"),
    CheckConstraint("(instance_id IS NULL) = (seq IS NULL)", name="event_seq"),
    CheckConstraint("(data IS NULL) = (data_key_id IS NULL)", name="event_data"),
    Index("events_by_customer", "customer_id", "mode", "position"),
    Index("events_by_instance", "instance_id", "seq", unique=True),
    Index("events_to_expire", "expires_at", **only("expires_at IS NOT NULL AND data IS NOT NULL")),
)

audit = Table(
    "audit",
    metadata,
    Column("position", POSITION, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("customer_id", Text, nullable=False),
    Column("mode", Text),
    Column("actor", Text, nullable=False),
    Column("api_key_id", Text),
    Column("request_id", Text),
    Column("action", Text, nullable=False),
    Column("target_type", Text, nullable=False),
    Column("target_id", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
    Column("created_at", BigInteger, nullable=False),
    one_of("mode", Mode, "audit_mode"),
    Index("audit_by_customer", "customer_id", "position"),
    Index("audit_by_target", "target_id", "position"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("customer_id", Text, ForeignKey("customers.id"), nullable=False),
    Column("mode", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("tail_hmac", LargeBinary, nullable=False, unique=True),
    Column("instance_id", Text, ForeignKey("instances.id")),
    Column("scopes", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("last_used_at", BigInteger),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    one_of("mode", Mode, "api_key_mode"),
    CheckConstraint("length(tail_hmac) = 32", name="api_key_hmac_length"),
    Index("api_keys_by_customer", "customer_id", "mode"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("customer_id", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("body_hmac", LargeBinary, nullable=False),
    Column("data_key_id", BigInteger),
    Column("reply", LargeBinary),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("customer_id", "mode", "method", "path", "key"),
    one_of("mode", Mode, "idempotency_mode"),
    Index("idempotency_to_expire", "expires_at"),
)

phones = Table(
    "phones",
    metadata,
    Column("number", Text, primary_key=True),
    Column("customer_id", Text, ForeignKey("customers.id"), nullable=False),
    Column("mode", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    CheckConstraint("number LIKE '999%' AND length(number) = 12", name="phone_number_form"),
    CheckConstraint("mode = 'test'", name="phone_mode"),
    Index("phones_by_customer", "customer_id"),
)

# --- messages -------------------------------------------------------------------------------------------------------

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

# --- webhooks -------------------------------------------------------------------------------------------------------

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
    # Written alike for both, since each knows its own truth: 1 and true.
    Index(
        "deliveries_late",
        "endpoint_id",
        "instance_id",
        "kind",
        "next_attempt_at",
        "position",
        sqlite_where=text("is_late = 1 AND next_attempt_at IS NOT NULL"),
        postgresql_where=text("is_late AND next_attempt_at IS NOT NULL"),
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
