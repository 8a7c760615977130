"""The schema as SQLAlchemy Core tables, the same for SQLite and PostgreSQL.

Rule: this file says what is; `migrations/` says how a store gets there, and a test holds the two together. Constraints
state what the code above must never write, so that a bug fails in its own unit instead of in somebody's data.

Times are unix milliseconds. Columns of bytes are sealed and stand beside the id of the data key that opens them, except
for hashes. JSON that is not secret is text.
"""

from __future__ import annotations

from whatisup.store.tables.base import metadata
from whatisup.store.tables.delivery import webhook_attempts, webhook_deliveries, webhook_endpoints
from whatisup.store.tables.house import (
    PREKEY_STATES,
    api_keys,
    audit,
    auth_state,
    canary,
    customers,
    data_keys,
    events,
    idempotency,
    instances,
    log_head,
    phones,
    prekeys,
    settings,
    writers,
)
from whatisup.store.tables.messaging import (
    ciphertexts,
    jobs,
    message_history,
    messages,
    outbox,
    poison,
    resends,
    retained,
)

__all__ = [
    "PREKEY_STATES",
    "api_keys",
    "audit",
    "auth_state",
    "canary",
    "ciphertexts",
    "customers",
    "data_keys",
    "events",
    "idempotency",
    "instances",
    "jobs",
    "log_head",
    "message_history",
    "messages",
    "metadata",
    "outbox",
    "phones",
    "poison",
    "prekeys",
    "resends",
    "retained",
    "settings",
    "webhook_attempts",
    "webhook_deliveries",
    "webhook_endpoints",
    "writers",
]
