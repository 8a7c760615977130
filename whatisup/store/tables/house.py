"""The tables of the house itself: customers and their keys, instances and their auth state, the two logs."""

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
    text,
)

from whatisup.lifecycle import Reason, State
from whatisup.store.records import Intent, Mode
from whatisup.store.tables.base import NAME, POSITION, metadata, one_of, only

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
