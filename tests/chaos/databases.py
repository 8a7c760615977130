"""The gateway's database as chaos needs it: an address, a look inside, and ways to break it.

Rule: what is looked at is read from outside the gateway, so that it can be asked while the gateway is dead.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import psycopg
import trio

from tests.postgres import Postgres, running_postgres

Row = tuple[Any, ...]


class Unreadable(Exception):
    """The database cannot be looked at right now."""


class Database(Protocol):
    """What a run needs of a database. `durable` is what the gateway must report of its own connection."""

    url: str
    durable: str

    def query(self, sql: str) -> list[Row]:
        """Look inside. Raises `Unreadable`."""

    def fill(self) -> None:
        """From now on there is no room for anything new."""

    def empty(self) -> None:
        """There is room again."""

    def kill(self) -> None:
        """End the server by SIGKILL."""

    async def start(self) -> None:
        """Start it again."""


class Sqlite:
    """A file; `gateway.py` sees to it that it may not grow while `flag` exists."""

    durable = "synchronous=2 journal_mode=wal"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gateway.db"
        self.url = f"sqlite:///{self.path}"
        self.flag = folder / "full"

    def query(self, sql: str) -> list[Row]:
        try:
            with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=5)) as connection:
                return connection.execute(sql).fetchall()
        except sqlite3.OperationalError as error:
            raise Unreadable(str(error)) from None

    def fill(self) -> None:
        self.flag.touch()

    def empty(self) -> None:
        self.flag.unlink(missing_ok=True)

    def kill(self) -> None:
        raise NotImplementedError("SQLite has no server")

    async def start(self) -> None:
        raise NotImplementedError("SQLite has no server")


# Where a full disk shows: not at the first statement of a transaction, but at those that need new pages.
_GROWING = ("messages", "events", "auth_state", "idempotency", "webhook_deliveries", "webhook_attempts")
_FULL = """
CREATE OR REPLACE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$
"""


class PostgresDatabase:
    """A database of a server of our own, with `fsync` on."""

    durable = "fsync=on synchronous_commit=on full_page_writes=on"

    def __init__(self, server: Postgres) -> None:
        self.server = server
        self.url = server.url("chaos")
        server.execute("CREATE DATABASE chaos")

    def query(self, sql: str) -> list[Row]:
        try:
            with psycopg.connect(self.url, connect_timeout=5) as connection:
                return connection.execute(sql).fetchall()
        except psycopg.OperationalError as error:
            raise Unreadable(str(error)) from None

    def fill(self) -> None:
        self._each_table("CREATE TRIGGER no_room BEFORE INSERT ON {} FOR EACH STATEMENT EXECUTE FUNCTION no_room()")

    def empty(self) -> None:
        self._each_table("DROP TRIGGER IF EXISTS no_room ON {}")

    def _each_table(self, statement: str) -> None:
        """Change one table at a time: who holds several waits for those who hold others."""
        self.server.execute(_FULL, "chaos")
        for table in _GROWING:
            self.server.execute(statement.format(table), "chaos")

    def kill(self) -> None:
        self.server.kill()

    async def start(self) -> None:
        self.server.start()
        await trio.lowlevel.checkpoint()


@contextmanager
def open_database(kind: str, folder: Path) -> Iterator[Database]:
    """Make an empty database of that kind, and whatever server it takes."""
    if kind == "sqlite":
        yield Sqlite(folder)
        return
    with running_postgres(durable=True) as server:
        yield PostgresDatabase(server)
