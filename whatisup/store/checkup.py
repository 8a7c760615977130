"""A look at a store by somebody who may not touch it: nothing is made, upgraded or written.

Rule: whatever `Store.open` would refuse is raised here too, and what it would change is told instead.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, func, select, text

from whatisup.lifecycle import State
from whatisup.store import deliveries, instances, schema, settings
from whatisup.store.backend import translating
from whatisup.store.location import SqliteFile, locate
from whatisup.store.migrations import HEAD
from whatisup.store.records import Mode
from whatisup.store.secrets import Secrets
from whatisup.store.store import open_backend
from whatisup.store.tables import customers, data_keys, webhook_endpoints, writers
from whatisup.store.vault import Vault
from whatisup.store.webhook_records import QueueCounts

_CLOCK: Final = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)")


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a store of the newest schema."""

    customers: int
    instances: dict[tuple[Mode, State], int]
    queue: QueueCounts
    disabled_endpoints: int
    client_version: str | None


@dataclass(frozen=True, slots=True)
class Checkup:
    """What was found. Times are unix milliseconds.

    `revision` is None where there are no tables yet. `clock_at` is the database server's clock, None where there is no
    server; `written_at` when some process last wrote, as its own clock said. `old_keys` counts data keys that are not
    wrapped under `SECRETS_KEY`. `contents` is None unless the schema is the newest.
    """

    revision: str | None
    head: str = HEAD
    clock_at: int | None = None
    written_at: int | None = None
    old_keys: int = 0
    contents: Contents | None = None


def examine(url: str, secrets: Secrets) -> Checkup:
    """Look at the store at `url`.

    Raises:
        SecretsError, SchemaTooNew, StoreError, StoreUnavailable: as `Store.open`.
    """
    location = locate(url)
    backend = open_backend(location, readers=1)
    vault = Vault(secrets, os.urandom)
    try:
        with translating(backend), backend.peek() as connection:
            if connection is None:
                return Checkup(None)
            has_server = not isinstance(location, SqliteFile)
            clock_at = connection.execute(_CLOCK).scalar_one() if has_server else None
            return _look(connection, vault, clock_at)
    finally:
        backend.close()


def _look(connection: Connection, vault: Vault, clock_at: int | None) -> Checkup:
    revision = schema.revision(connection)
    if revision is None:
        return Checkup(None, clock_at=clock_at)
    schema.check_seals(connection, vault)
    old = select(func.count()).select_from(data_keys).where(data_keys.c.kek_id != vault.current_kek_id)
    return Checkup(
        revision,
        clock_at=clock_at,
        written_at=connection.execute(select(func.max(writers.c.signed_at))).scalar_one(),
        old_keys=connection.execute(old).scalar_one(),
        contents=_contents(connection, vault) if revision == HEAD else None,
    )


def _contents(connection: Connection, vault: Vault) -> Contents:
    def count(table: Any, *conditions: Any) -> int:
        number: int = connection.execute(select(func.count()).select_from(table).where(*conditions)).scalar_one()
        return number

    gone = webhook_endpoints.c.disabled_reason.in_(("gone", "failing"))
    return Contents(
        customers=count(customers),
        instances=instances.counts_by_status(connection, vault),
        queue=deliveries.counts(connection, vault),
        disabled_endpoints=count(webhook_endpoints, webhook_endpoints.c.deleted_at.is_(None), gone),
        client_version=settings.get(connection, vault, settings.CLIENT_VERSION),
    )
