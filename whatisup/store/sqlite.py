"""SQLite as a server's database: write-ahead log, full synchronisation, checkpoints where they hurt nobody.

Rule: a commit returns only when its bytes are on the disk (`synchronous=FULL`, asserted on every connection), and no
commit pays for a checkpoint: PASSIVE ones run beside the writer, and only above `MAX_LOG_BYTES` does the writer itself
make the log start over, between batches.

`secure_delete` overwrites what is deleted, and after a wipe the log is truncated, so that a destroyed key is in
neither file. The `sqlite3` module's own transaction handling is switched off: it would begin transactions late and
commit before DDL; ours begin with BEGIN IMMEDIATE, so a writer never finds out halfway that it may not write.
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, Pool, QueuePool

from whatisup.errors import StoreError
from whatisup.store.backend import LOOP_S, Failure, translating
from whatisup.store.location import SqliteFile
from whatisup.store.prepared import reraise

MIN_VERSION: Final = (3, 35, 0)
"""The first with RETURNING."""

BUSY_TIMEOUT_MS: Final = 5_000
SCHEMA_TIMEOUT_MS: Final = 60_000
CHECKPOINT_TIMEOUT_MS: Final = 100
READ_TIMEOUT_S: Final = 10.0
"""How long a read may take; nobody waits for one much longer, and it would keep its connection from others."""
_LOOK_EVERY: Final = 100_000
"""How many of SQLite's instructions go by between two looks at the clock: some milliseconds."""
_LOOK_SOON: Final = 10_000
"""The same where the loop waits: a fraction of a millisecond."""

CHECKPOINT_BYTES: Final = 4 << 20
MAX_LOG_BYTES: Final = 64 << 20
LOG_PATIENCE_BYTES: Final = 16 << 20
"""How much more log before the next try, when readers kept the last one from starting over."""

_PRAGMAS: Final = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "wal_autocheckpoint=0",
    f"busy_timeout={BUSY_TIMEOUT_MS}",
    "foreign_keys=ON",
    "secure_delete=ON",
    "temp_store=MEMORY",
)

_DURABLE: Final = {"journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 0, "secure_delete": 1}

_UNAVAILABLE: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_NOTADB,
    }
)


class SqliteBackend:
    """One SQLite file."""

    def __init__(self, file: SqliteFile, *, readers: int) -> None:
        if sqlite3.sqlite_version_info < MIN_VERSION:
            raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old; 3.35 or newer is needed")
        self._path = file.path
        self._log = file.beside("-wal")
        self._next_restart_bytes = MAX_LOG_BYTES
        # A log that is there already may hold what a wipe before a crash had no time to cut off.
        self._truncate_wanted = _size(self._log) > 0
        self._chores = Lock()
        self._chores_connection: sqlite3.Connection | None = None
        # The writer's one connection is kept; a second one is opened, for a while, for who looks at the engine itself.
        self.writer = self._engine("BEGIN IMMEDIATE", "cache_size=-2048", pool_size=1, max_overflow=1)
        self.reader = self._engine(
            "BEGIN", "cache_size=-1024", "query_only=ON", pool_size=readers + 1, max_overflow=0, is_bounded=True
        )
        self._kept: _Kept | None = None
        self._glancing: _Kept | None = None
        self._glances = 0

    def _engine(self, begin: str, *pragmas: str, is_bounded: bool = False, **options: int) -> Engine:
        def connect() -> sqlite3.Connection:
            return _connect(self._path, *_PRAGMAS, *pragmas)

        return _engine(connect, begin, QueuePool, is_bounded=is_bounded, **options)

    @property
    def is_local(self) -> bool:
        """A statement is a function call here; only a commit waits for the disk."""
        return True

    def begin(self, *, wait: bool = True) -> Connection:
        """Begin a transaction on the connection that is kept for writing."""
        kept = self._kept
        if kept is None:
            if not wait:
                raise StoreError("to connect may take long")
            kept = self._kept = _Kept(self.writer)
        kept.until = math.inf
        kept.wait_for(BUSY_TIMEOUT_MS if wait else 0)
        if not wait:
            kept.until = time.monotonic() + LOOP_S
        kept.run("BEGIN IMMEDIATE")
        return kept.connection

    def commit(self, connection: Connection) -> None:
        """Commit: the one statement that waits for the disk, and is not interrupted for that."""
        kept = self._of(connection)
        kept.until = math.inf
        kept.run("COMMIT")

    def rollback(self, connection: Connection) -> None:
        """Undo what SQLite has not undone by itself."""
        if not self._of(connection).undo():
            self._kept = None

    def _of(self, connection: Connection) -> _Kept:
        if self._kept is None or self._kept.connection is not connection:
            raise StoreError("this is not the connection that a transaction was begun on")
        return self._kept

    @contextmanager
    def glance(self) -> Iterator[Connection]:
        """A transaction on the connection that is kept for reading at once."""
        kept = self._glance_on()
        kept.until = time.monotonic() + LOOP_S
        kept.run("BEGIN")
        try:
            yield kept.connection
            kept.run("COMMIT")
        except BaseException:
            if not kept.undo():
                self._glancing = None
            raise

    def _glance_on(self) -> _Kept:
        if self._glancing is None:
            self._glancing = _Kept(self.reader)
            self._glancing.wait_for(0)
            self._glances += 1
        return self._glancing

    def version(self) -> tuple[int, int] | None:
        """Which connection says so, and its count of commits by others: our own writer, or another process.

        It stands in memory that all connections share, so asking reads no file; None while somebody recovers that.
        """
        try:
            kept = self._glance_on()
            kept.until = math.inf
            (version,) = kept.tell("data_version")
        except (sqlite3.Error, DBAPIError):
            return None
        return self._glances, version

    @contextmanager
    def peek(self) -> Iterator[Connection | None]:
        """Look without changing anything; None when there is no file or an empty one."""
        if not self._path.exists() or self._path.stat().st_size == 0:
            yield None
            return

        def connect() -> sqlite3.Connection:
            uri = f"{self._path.absolute().as_uri()}?mode=ro"
            return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)

        engine = _engine(connect, "BEGIN", NullPool)
        with translating(self), engine.connect() as connection:
            yield connection

    def prepare(self) -> None:
        """Make the file for our eyes only, and check what every connection was told.

        Raises:
            StoreError: the file system does not allow a durable log.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        with translating(self), self.writer.connect():
            pass

    def lock_schema(self, connection: Connection) -> None:
        """BEGIN IMMEDIATE has locked already; nothing is left to do."""

    @contextmanager
    def patiently(self) -> Iterator[None]:
        """Wait longer than usual for other writers."""
        self._let_writer_wait(SCHEMA_TIMEOUT_MS)
        try:
            yield
        finally:
            self._let_writer_wait(BUSY_TIMEOUT_MS)

    def failure(self, error: DBAPIError) -> Failure:
        """Say what an error means; busy and full are the database's trouble, not an item's."""
        code = getattr(error.orig, "sqlite_errorcode", None)
        return Failure.UNAVAILABLE if code is not None and code & 0xFF in _UNAVAILABLE else Failure.REFUSED

    def reason(self, error: DBAPIError) -> str:
        """Name an error; SQLite's own words name tables and constraints, never values."""
        return f"SQLite: {getattr(error.orig, 'sqlite_errorname', type(error.orig).__name__)}: {error.orig}"

    def after_commit(self, *, wiped: bool) -> None:
        """Make the log start over after a wipe, or when it has grown too long."""
        self._truncate_wanted = self._truncate_wanted or wiped
        size = _size(self._log)
        if not self._truncate_wanted and size < self._next_restart_bytes:
            return
        if self._truncate():
            self._truncate_wanted = False
            self._next_restart_bytes = MAX_LOG_BYTES
        else:
            self._next_restart_bytes = max(self._next_restart_bytes, size) + LOG_PATIENCE_BYTES

    def _truncate(self) -> bool:
        """Move the whole log into the database and cut it to nothing; False when a reader is in the way."""
        try:
            self._let_writer_wait(CHECKPOINT_TIMEOUT_MS)
            try:
                (is_busy, _, _) = self._tell_writer("wal_checkpoint(TRUNCATE)")
            finally:
                self._let_writer_wait(BUSY_TIMEOUT_MS)
        except (sqlite3.Error, DBAPIError):
            # The batch before is committed whatever happens here; the next commit meets the same trouble and says so.
            return False
        return not is_busy

    def _let_writer_wait(self, timeout_ms: int) -> None:
        if self._kept is not None:
            self._kept.wait_for(timeout_ms)
        else:
            self._tell_writer(f"busy_timeout={timeout_ms}")

    def _tell_writer(self, pragma: str) -> tuple[int, ...]:
        if self._kept is not None:
            return self._kept.tell(pragma)
        with self.writer.connect() as connection:
            driver = connection.connection.driver_connection
            return driver.execute(f"PRAGMA {pragma}").fetchone() or ()  # type: ignore[union-attr] # it is open

    def checkpoint(self) -> None:
        """Move what is committed into the database without waiting for anybody."""
        if _size(self._log) < CHECKPOINT_BYTES:
            return
        with self._chores:
            try:
                if self._chores_connection is None:
                    self._chores_connection = _connect(self._path, *_PRAGMAS, "cache_size=-64")
                self._chores_connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except sqlite3.Error:
                # Not worth an alarm: the log only grows, and the writer cuts it above its bound.
                return

    def close(self) -> None:
        """Close every connection; the last one out empties the log."""
        with self._chores:
            if self._chores_connection is not None:
                self._chores_connection.close()
        for kept in (self._kept, self._glancing):
            if kept is not None:
                kept.connection.close()
        self._kept = self._glancing = None
        self.reader.dispose()
        self.writer.dispose()


class _Kept:
    """A connection that is not given back: what a checkout and SQLAlchemy's own begin cost is paid once.

    For SQLAlchemy it is in one transaction all its life; the driver is told of the real ones. `until` is when a
    statement is interrupted, by the monotonic clock. SQLite counts a statement's instructions over all its executions,
    so that even the shortest is interrupted some time: whoever executes what must not be sets `until` first.
    """

    def __init__(self, engine: Engine) -> None:
        self.until = math.inf
        self._timeout_ms = BUSY_TIMEOUT_MS
        self.connection = engine.connect()
        try:
            self.connection.begin()
            driver: sqlite3.Connection = self.connection.connection.driver_connection  # type: ignore[assignment] # it is open
            driver.execute("ROLLBACK")
            driver.set_progress_handler(lambda: time.monotonic() > self.until, _LOOK_SOON)
        except BaseException:
            self.connection.close()
            raise
        self._driver = driver

    def run(self, statement: str) -> None:
        """Execute without SQLAlchemy.

        Raises:
            DBAPIError: as SQLAlchemy would raise it.
        """
        try:
            self._driver.execute(statement)
        except sqlite3.Error as error:
            reraise(self.connection, error, statement)

    def tell(self, pragma: str) -> tuple[int, ...]:
        """Execute a PRAGMA; its first row.

        Raises:
            DBAPIError: as SQLAlchemy would raise it.
        """
        try:
            return self._driver.execute(f"PRAGMA {pragma}").fetchone() or ()
        except sqlite3.Error as error:
            reraise(self.connection, error, pragma)

    def wait_for(self, timeout_ms: int) -> None:
        """How long to wait for other writers from now on."""
        if timeout_ms != self._timeout_ms:
            self.tell(f"busy_timeout={timeout_ms}")
            self._timeout_ms = timeout_ms

    def undo(self) -> bool:
        """Undo the transaction, if SQLite has not; False where the connection is of no use any more, and closed."""
        self.until = math.inf
        try:
            if self._driver.in_transaction:
                self._driver.execute("ROLLBACK")
        except sqlite3.Error:
            self.connection.invalidate()
            self.connection.close()
            return False
        return True


def _engine(connect: object, begin: str, pool: type[Pool], *, is_bounded: bool = False, **options: int) -> Engine:
    """Make an engine; if it is bounded, transactions that take longer than `READ_TIMEOUT_S` are interrupted."""
    engine = create_engine("sqlite://", creator=connect, poolclass=pool, hide_parameters=True, **options)

    @event.listens_for(engine, "begin")
    def begin_now(connection: Connection) -> None:
        if is_bounded:  # first: BEGIN must not be interrupted for what the last transaction took
            until = time.monotonic() + READ_TIMEOUT_S
            driver = connection.connection.driver_connection
            driver.set_progress_handler(lambda: time.monotonic() > until, _LOOK_EVERY)  # type: ignore[union-attr] # it is open
        connection.exec_driver_sql(begin)

    return engine


def _connect(path: Path, *pragmas: str) -> sqlite3.Connection:
    """Open the file with our settings, and read back the ones durability hangs on.

    Raises:
        StoreError: a setting did not take, as on a file system without shared memory.
    """
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_MS / 1000, cached_statements=64
    )
    try:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").fetchone()
        for name, wanted in _DURABLE.items():
            (value,) = connection.execute(f"PRAGMA {name}").fetchone()
            if value != wanted:
                raise StoreError(f"SQLite refused to set {name} to {wanted}: commits in {path} would not be durable")
    except BaseException:
        connection.close()
        raise
    return connection


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
