"""One process owns a database: its actors, its sandbox child and its deliveries exist once.

Rule: the operating system or the server keeps the lock, so it ends with its holder, however that ends. Beside a SQLite
file that is `flock` on `<database>.lock`, which holds the owner's pid for people to read; on PostgreSQL an advisory
lock on a connection of its own.

Writing alone does not need it: CLI commands write beside a running server, through transactions like everybody.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any, Final, Protocol

from whatisup.errors import StoreUnavailable
from whatisup.store.location import PostgresServer, SqliteFile, locate

_OWNER_LOCK: Final = 0x6F776E72
"""The advisory lock of the process that owns a PostgreSQL database ("ownr")."""


# pg_locks shows a 64-bit advisory key as two halves; ours fits in the lower one.
_GRANTED: Final = """
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND classid = 0 AND objid = %s AND objsubid = 1
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_TRY: Final = "SELECT pg_try_advisory_lock(%s)"
_HOLDER: Final = f"SELECT application_name {_GRANTED}"
_OURS: Final = f"SELECT pid {_GRANTED} AND pid = pg_backend_pid()"


class DatabaseLock(Protocol):
    """The right to run actors on a database."""

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it; True if it is ours now.

        Raises:
            StoreUnavailable: the lock cannot be asked for.
        """

    def is_held(self) -> bool:
        """Whether the lock is still ours; a server that restarts forgets it."""

    def holder(self) -> str | None:
        """Who has the lock, in words, if that is known."""

    def release(self) -> None:
        """Give the lock back; harmless if it is not ours."""


def database_lock(url: str) -> DatabaseLock:
    """The lock of the database at `url`."""
    location = locate(url)
    return FileLock(location) if isinstance(location, SqliteFile) else AdvisoryLock(location)


class FileLock:
    """`flock` on a file beside a SQLite database."""

    def __init__(self, database: SqliteFile) -> None:
        self._path: Path = database.beside(".lock")
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Take the lock and write our pid into the file, or leave everything as it is."""
        if self._descriptor is not None:
            return True
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"cannot open {self._path}: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        return True

    def is_held(self) -> bool:
        """A file lock is never lost while its process lives."""
        return self._descriptor is not None

    def holder(self) -> str | None:
        """The pid that the owner wrote down."""
        try:
            pid = self._path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return f"process {pid}" if pid.isdigit() else None

    def release(self) -> None:
        """Close the file, which ends the lock; the file stays, since removing it would let two processes own it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class AdvisoryLock:
    """`pg_try_advisory_lock` on a PostgreSQL connection that does nothing else."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._connection: Any = None

    def _ask(self, sql: str) -> tuple[Any, ...] | None:
        import psycopg

        from whatisup.store.postgres import session_name

        try:
            if self._connection is None:
                self._connection = psycopg.connect(
                    self._server.url, autocommit=True, application_name=session_name(), connect_timeout=5
                )
            row: tuple[Any, ...] | None = self._connection.execute(sql, (_OWNER_LOCK,)).fetchone()
        except psycopg.Error as error:
            self.release()
            raise StoreUnavailable(
                f"cannot ask {self._server.name} for its lock ({type(error).__name__}); "
                "is it running, and are the user, password and database of DATABASE_URL right?"
            ) from None
        return row

    def try_acquire(self) -> bool:
        """Take the lock; it lasts as long as its connection."""
        if self.is_held():
            return True
        row = self._ask(_TRY)
        return row is not None and bool(row[0])

    def is_held(self) -> bool:
        """Ask the server, over the very connection that holds the lock."""
        if self._connection is None:
            return False
        try:
            row = self._ask(_OURS)
        except StoreUnavailable:
            return False
        return row is not None

    def holder(self) -> str | None:
        """The name under which the owner's session runs, which says its pid and host."""
        try:
            row = self._ask(_HOLDER)
        except StoreUnavailable:
            return None
        return None if row is None else str(row[0])

    def release(self) -> None:
        """Close the connection, which ends the lock."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
