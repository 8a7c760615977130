"""Opening a store: refuse what we must not touch, then bring the schema to the newest revision.

Rule: look first. Nothing is written before the canary has opened and the revision is known, so a wrong key or a store
of a newer release is left exactly as it was.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, func, insert, inspect, select, text

from whatisup.errors import SchemaTooNew, SecretsError, StoreError
from whatisup.store import datakeys
from whatisup.store.backend import Backend, translating
from whatisup.store.migrations import HEAD, REVISIONS
from whatisup.store.tables import canary, data_keys
from whatisup.store.vault import Vault


def bring_up(backend: Backend, vault: Vault) -> str | None:
    """Check keys and revision, and upgrade under a lock if need be; the revision that was there before, if it did.

    Raises:
        SecretsError: no configured key opens the store, or the pepper is another one.
        SchemaTooNew: a newer release has upgraded it.
        StoreUnavailable: the database cannot be reached.
    """
    has_come_up = is_ready(backend, vault)
    backend.prepare()
    if not has_come_up:
        with backend.patiently(), translating(backend), backend.writer.connect() as connection, connection.begin():
            backend.lock_schema(connection)
            # Another process may have been faster while we waited.
            if not _is_ready(connection, vault):
                before = revision(connection)
                _upgrade(connection)
                _seal_new_store(connection, vault)
                return before
    return None


def is_ready(backend: Backend, vault: Vault) -> bool:
    """Whether the store is there, ours and of this release; nothing is changed.

    Raises:
        SecretsError, SchemaTooNew, StoreError, StoreUnavailable: as `bring_up`.
    """
    with backend.peek() as connection:
        return connection is not None and _is_ready(connection, vault)


def _is_ready(connection: Connection, vault: Vault) -> bool:
    """Whether the schema is at its head and the canary opens; raises where we must keep our hands off."""
    found = revision(connection)
    return found is not None and check_seals(connection, vault) and found == HEAD


def revision(connection: Connection) -> str | None:
    """The store's schema, one of `REVISIONS`; None where there are no tables yet.

    Raises:
        SchemaTooNew: a newer release has upgraded it.
        StoreError: the tables are not ours.
    """
    tables = inspect(connection).get_table_names()
    if tables and "alembic_version" not in tables:
        raise StoreError("the database holds tables that are not ours: give the gateway one of its own")
    found = None
    if tables:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    if found is not None and found not in REVISIONS:
        raise SchemaTooNew(f"the store's schema is of revision {found}, which this release does not know: upgrade it")
    return found


def check_seals(connection: Connection, vault: Vault) -> bool:
    """Whether the store has its canary, and it opens.

    Raises:
        SecretsError: no configured key opens the store, or the pepper is another one.
    """
    row = connection.execute(select(canary)).one_or_none()
    if row is None:
        return False
    vault.check_canary(row.kek_id, row.sealed)
    if foreign := datakeys.foreign_keks(connection, vault):
        raise SecretsError(f"data keys were wrapped under {len(foreign)} other key(s): set SECRETS_KEY_PREVIOUS")
    if row.pepper_mark != vault.pepper_mark:
        raise SecretsError("API_KEY_PEPPER is not the one this store was made with: no API key would match")
    return True


def _upgrade(connection: Connection) -> None:
    """Run the missing upgrades in the open transaction; alembic is loaded only here, to spare every other start it.

    What it loads stays for as long as the process: who stays long lets `whatisup.store.upgrade` do it.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _seal_new_store(connection: Connection, vault: Vault) -> None:
    if connection.execute(select(canary.c.id)).one_or_none() is not None:
        return
    if connection.execute(select(func.count()).select_from(data_keys)).scalar_one():
        raise SecretsError("the store holds data keys but no canary: it was changed by other hands")
    kek_id, sealed = vault.make_canary()
    connection.execute(insert(canary), {"id": 1, "kek_id": kek_id, "sealed": sealed, "pepper_mark": vault.pepper_mark})
