"""A few named values that outlive a process, such as the client version in force."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, select

from whatisup.store.tables import settings
from whatisup.store.transaction import Tx
from whatisup.store.upsert import upsert
from whatisup.store.vault import Vault

CLIENT_VERSION: Final = "client_version"


def get(conn: Connection, _vault: Vault | None, name: str) -> str | None:
    """The value of a setting, or None if it was never put."""
    return conn.execute(select(settings.c.value).where(settings.c.name == name)).scalar_one_or_none()


def put(tx: Tx, name: str, value: str, now: int) -> bool:
    """Store a setting; True if that changed it. Its time is that of the last change."""
    statement = upsert(tx.conn, settings, update=("value", "updated_at"), where=settings.c.value != value)
    row = {"name": name, "value": value, "updated_at": now}
    return tx.conn.execute(statement.returning(settings.c.name), row).one_or_none() is not None
