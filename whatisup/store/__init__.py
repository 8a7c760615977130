"""What we remember: rows, the event log and auth state, sealed at rest, in SQLite or PostgreSQL."""

from __future__ import annotations

from whatisup.store.database import Database, holding
from whatisup.store.ids import new_id
from whatisup.store.lock import DatabaseLock, database_lock
from whatisup.store.records import (
    ApiKey,
    AuditEntry,
    Customer,
    Event,
    Instance,
    Intent,
    KeyRefusal,
    Mode,
    Origin,
    Phone,
    Runnable,
)
from whatisup.store.rotate import rewrap
from whatisup.store.secrets import Secrets, load_secrets
from whatisup.store.store import Results, Store
from whatisup.store.transaction import Tx
from whatisup.store.unit import (
    KEEP,
    AppendAudit,
    AppendEvent,
    Call,
    Committed,
    DeleteAuth,
    Keep,
    MarkDeleted,
    MarkPrekeys,
    NewAuth,
    Op,
    PutAuth,
    PutPrekeys,
    SetIntent,
    SetStatus,
    Touch,
    Unit,
    WipeAuth,
)
from whatisup.store.vault import Vault

__all__ = [
    "KEEP",
    "ApiKey",
    "AppendAudit",
    "AppendEvent",
    "AuditEntry",
    "Call",
    "Committed",
    "Customer",
    "Database",
    "DatabaseLock",
    "DeleteAuth",
    "Event",
    "Instance",
    "Intent",
    "Keep",
    "KeyRefusal",
    "MarkDeleted",
    "MarkPrekeys",
    "Mode",
    "NewAuth",
    "Op",
    "Origin",
    "Phone",
    "PutAuth",
    "PutPrekeys",
    "Results",
    "Runnable",
    "Secrets",
    "SetIntent",
    "SetStatus",
    "Store",
    "Touch",
    "Tx",
    "Unit",
    "Vault",
    "WipeAuth",
    "database_lock",
    "holding",
    "load_secrets",
    "new_id",
    "rewrap",
]
