"""The store: one place that writes, a few that read.

Rule: `commit` takes a batch and gives each item its own fate. A batch is one transaction; an item that the database
refuses is found by trying the batch again item by item, each in a savepoint, so neighbours of a poisoned item pay a
second try and nothing else. Only a database that cannot be written fails a batch as a whole.

A commit whose answer got lost is settled by the batch id that the transaction wrote: that row is locked by the
transaction itself, so reading it waits until the database has made up its mind.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, TypeAlias, TypeVar

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.exc import DBAPIError

from whatisup.errors import Fenced, StoreError, StoreUnavailable
from whatisup.store import deliveries, schema
from whatisup.store.apply import apply_units
from whatisup.store.backend import Backend, Failure, translating
from whatisup.store.ids import new_id
from whatisup.store.location import Location, SqliteFile, locate
from whatisup.store.prepared import Prepared
from whatisup.store.records import Event
from whatisup.store.secrets import Secrets
from whatisup.store.tables import writers
from whatisup.store.transaction import TransactionLost, Tx
from whatisup.store.unit import Call, Committed, Unit
from whatisup.store.vault import Vault
from whatisup.store.webhook_records import Due

T = TypeVar("T")
Item: TypeAlias = Unit | Call
Strategy: TypeAlias = Callable[[Tx, Sequence[Item]], list[Any]]

TRIES: Final = 3
"""How often a batch is tried when writers collide, or when its commit turned out not to have happened."""

FORGOTTEN_WRITER_MS: Final = 30 * 24 * 3600 * 1000

_SIGN = Prepared(
    update(writers)
    .where(writers.c.id == bindparam("writer"))
    .values(batch_id=bindparam("batch"), signed_at=bindparam("at"))
)
_SETTLE = Prepared(select(writers.c.batch_id).where(writers.c.id == bindparam("writer")).with_for_update())


def unix_ms() -> int:
    """The wall clock in milliseconds."""
    return time.time_ns() // 1_000_000


class Results(list[Any]):
    """What became of each item of a batch: `Committed`, a call's value, or the exception that is its answer.

    `events` are all events the batch appended, `deliveries` all deliveries of webhooks it put into the queue, both in
    position order.
    """

    def __init__(self, results: Sequence[Any], events: tuple[Event, ...], deliveries: tuple[Due, ...] = ()) -> None:
        super().__init__(results)
        self.events = events
        self.deliveries = deliveries


@dataclass(frozen=True, slots=True)
class Written:
    """A batch that is written and not committed: the transaction is open, and the store's turn is held."""

    conn: Connection
    tx: Tx
    results: list[Any]
    batch_id: str
    batch: Sequence[Item]


_END: Final = Call(lambda _tx: None)
"""Stands behind a batch: nothing waits longer."""


class _Poisoned(Exception):
    """Some item of a batch cannot be written; which one is not known yet."""


class _Retry(Exception):
    """The transaction did not happen and may be tried again."""


def open_backend(location: Location, *, readers: int) -> Backend:
    """Choose the backend of a location; PostgreSQL's driver is imported only when it is used."""
    if isinstance(location, SqliteFile):
        from whatisup.store.sqlite import SqliteBackend

        return SqliteBackend(location, readers=readers)
    from whatisup.store.postgres import PostgresBackend

    return PostgresBackend(location, readers=readers)


class Store:
    """A database with its keys. Safe to use from several threads: writers take turns."""

    def __init__(
        self,
        backend: Backend,
        vault: Vault,
        *,
        entropy: Callable[[int], bytes],
        now_ms: Callable[[], int],
    ) -> None:
        self._backend = backend
        self._vault = vault
        self._entropy = entropy
        self._now_ms = now_ms
        self._turn = Lock()
        self.upgraded_from: str | None = None
        """The revision of the schema before this opening brought it up to date, if it did."""
        self._listeners = deliveries.Listeners()
        self._writer_id = new_id("wrt", now_ms(), entropy)

    @classmethod
    def open(
        cls,
        url: str,
        secrets: Secrets,
        *,
        readers: int = 2,
        entropy: Callable[[int], bytes] = os.urandom,
        now_ms: Callable[[], int] = unix_ms,
    ) -> Store:
        """Open the store at `url`, making or upgrading it if need be.

        Raises:
            SecretsError: no configured key opens it; nothing was changed.
            SchemaTooNew: a newer release has upgraded it; nothing was changed.
            StoreUnavailable: the database cannot be reached.
            SettingsError: the URL is none of ours.
        """
        backend = open_backend(locate(url), readers=readers)
        try:
            vault = Vault(secrets, entropy)
            upgraded_from = schema.bring_up(backend, vault)
            store = cls(backend, vault, entropy=entropy, now_ms=now_ms)
            store.upgraded_from = upgraded_from
            store._register()
        except BaseException:
            backend.close()
            raise
        return store

    def _register(self) -> None:
        now = self._now_ms()
        with translating(self._backend), self._transaction() as conn:
            conn.execute(delete(writers).where(writers.c.signed_at < now - FORGOTTEN_WRITER_MS))
            conn.execute(insert(writers), {"id": self._writer_id, "signed_at": now})

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        conn = self._backend.begin()
        try:
            yield conn
            self._backend.commit(conn)
        except BaseException:
            self._backend.rollback(conn)
            raise

    def close(self) -> None:
        """Close every connection. A store that is in use must not be closed."""
        self._backend.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- reading ------------------------------------------------------------------------------------------------

    def read(self, fn: Callable[..., T], *args: Any) -> T:
        """Run `fn(conn, vault, *args)` on a connection that cannot write, in one transaction.

        Raises:
            StoreUnavailable: the database cannot be reached.
        """
        with translating(self._backend), self._backend.reader.connect() as conn, conn.begin():
            return fn(conn, self._vault, *args)

    @property
    def is_local(self) -> bool:
        """Whether `glance` and `start` are there: the database is a file of ours."""
        return self._backend.is_local

    def version(self) -> tuple[int, int] | None:
        """Something else whenever anybody has committed since, this process or another; None where that is not known.

        For whoever keeps what was read: ask first, then read. As `glance`, never in two threads at once.
        """
        return self._backend.version()

    def glance(self, fn: Callable[..., T], *args: Any) -> T:
        """As `read`, of a local database, for what finds a few rows by key; never in two threads at once.

        Raises:
            DBAPIError: it would have to wait, or takes too long; `read` does it.
        """
        with self._backend.glance() as conn:
            return fn(conn, self._vault, *args)

    # --- writing ------------------------------------------------------------------------------------------------

    def call(self, fn: Callable[..., T], *args: Any) -> T:
        """Run `fn(tx, *args)` in a write transaction of its own; what it raises undoes it and is raised here."""
        (result,) = self.commit([Call(fn, args)])
        if isinstance(result, Exception):
            raise result
        return result  # type: ignore[no-any-return] # the call's own type

    def commit(self, batch: Sequence[Item]) -> Results:
        """Commit a batch in one transaction and say what became of each item, in the batch's order.

        Units of an older incarnation become `Fenced`, a call's own exception becomes its result, an item that the
        database refuses becomes `StoreError`.

        Raises:
            StoreUnavailable: the database cannot be written; nothing of the batch is known to be there.
        """
        with self._turn:
            return self._commit(batch)

    def start(self, batch: Sequence[Item]) -> Written | None:
        """Write a batch at once, all but its commit, which waits for the disk: `end` it, in whatever thread.

        None if that cannot be done without waiting, or was not as simple as it seemed: nothing has happened then, and
        `commit` does it. Until the end of what was started all others wait for their turn.
        """
        if not self._turn.acquire(blocking=False):
            return None
        try:
            return self._write(batch, self._together, wait=False)
        except BaseException as error:
            self._turn.release()
            if isinstance(error, Exception):
                return None
            raise

    def end(self, written: Written) -> Results:
        """Commit what was started, and say what became of each item; as `commit`.

        Raises:
            StoreUnavailable: the database cannot be written; nothing of the batch is known to be there.
        """
        try:
            try:
                return self._conclude(written)
            except _Retry:
                return self._commit(written.batch)
        finally:
            self._turn.release()

    def _commit(self, batch: Sequence[Item]) -> Results:
        try:
            return self._transact(batch, self._together)
        except _Poisoned:
            return self._transact(batch, self._one_by_one)

    def probe(self) -> None:
        """Write something small, to find out whether the store can be written.

        Raises:
            StoreUnavailable: it cannot.
        """
        self.commit(())

    def checkpoint(self) -> None:
        """Do the database's background chores; takes no turn, so it may run beside `commit`."""
        self._backend.checkpoint()

    def _transact(self, batch: Sequence[Item], strategy: Strategy) -> Results:
        for _ in range(TRIES - 1):
            try:
                return self._attempt(batch, strategy)
            except _Retry:
                continue
        try:
            return self._attempt(batch, strategy)
        except _Retry as error:
            raise StoreUnavailable(f"gave up after {TRIES} tries: {error}") from None

    def _attempt(self, batch: Sequence[Item], strategy: Strategy) -> Results:
        try:
            written = self._write(batch, strategy)
        except TransactionLost as lost:
            why = lost.__cause__
            reason = self._backend.reason(why) if isinstance(why, DBAPIError) else type(why).__name__
            raise StoreUnavailable(f"the database gave up the transaction: {reason}") from None
        except DBAPIError as error:
            raise self._verdict(error) from None
        return self._conclude(written)

    def _write(self, batch: Sequence[Item], strategy: Strategy, *, wait: bool = True) -> Written:
        """Do everything but the commit. Every transaction passes here, and then `_conclude`."""
        batch_id = new_id("bat", self._now_ms(), self._entropy)
        conn = self._backend.begin(wait=wait)
        try:
            tx = Tx(conn, self._vault, self._now_ms(), self._entropy)
            _SIGN.run(conn, writer=self._writer_id, batch=batch_id, at=tx.now)
            results = strategy(tx, batch)
            deliveries.enqueue(tx, self._listeners)
            tx.finish()
        except BaseException:
            self._backend.rollback(conn)
            raise
        return Written(conn, tx, results, batch_id, batch)

    def _conclude(self, written: Written) -> Results:
        """Commit; what returns from here is durable."""
        try:
            self._backend.commit(written.conn)
        except DBAPIError as error:
            self._backend.rollback(written.conn)
            if not self._has_committed(written.batch_id):
                raise _Retry(self._backend.reason(error)) from None
        except BaseException:
            self._backend.rollback(written.conn)
            raise
        tx = written.tx
        self._vault.forget(tx.destroyed_keys)
        self._backend.after_commit(wiped=tx.wiped)
        return Results(written.results, tuple(tx.events), tuple(tx.deliveries))

    def _verdict(self, error: DBAPIError) -> Exception:
        """What an error before the commit means for the batch."""
        kinds = {Failure.CONFLICT: _Retry, Failure.UNAVAILABLE: StoreUnavailable, Failure.REFUSED: _Poisoned}
        return kinds[self._backend.failure(error)](self._backend.reason(error))

    def _has_committed(self, batch_id: str) -> bool:
        """Settle a commit whose answer got lost.

        Raises:
            StoreUnavailable: the database cannot be asked; the outcome stays unknown.
        """
        try:
            with self._transaction() as conn:
                return bool(_SETTLE.scalar(conn, writer=self._writer_id) == batch_id)
        except DBAPIError as error:
            reason = self._backend.reason(error)
            raise StoreUnavailable(f"the outcome of a commit is unknown: {reason}") from None

    # --- the two ways to write a batch --------------------------------------------------------------------------

    def _together(self, tx: Tx, batch: Sequence[Item]) -> list[Any]:
        """Apply runs of units grouped by table, and calls one by one; those that may stand anywhere after the units."""
        results: dict[int, Any] = {}
        units: dict[int, Unit] = {}
        waiting: dict[int, Call] = {}
        for index, item in enumerate((*batch, _END)):
            if isinstance(item, Unit):
                units[index] = item
            elif item.anywhere:
                waiting[index] = item
            else:
                results |= zip(units, self._run_units(tx, list(units.values())), strict=True)
                results |= {place: self._alone(tx, call) for place, call in waiting.items()}
                units, waiting = {}, {}
                if item is not _END:
                    results[index] = self._alone(tx, item)
        return [results[index] for index in range(len(batch))]

    def _run_units(self, tx: Tx, units: list[Unit]) -> list[Committed | Fenced]:
        try:
            return apply_units(tx, units)
        except DBAPIError:
            raise
        except Exception as error:  # whichever unit it was, the second try finds it
            raise _Poisoned from error

    def _one_by_one(self, tx: Tx, batch: Sequence[Item]) -> list[Any]:
        """Apply each item in a savepoint of its own."""
        return [self._alone(tx, item) for item in batch]

    def _alone(self, tx: Tx, item: Item) -> Any:
        """Apply one item so that its failure is nobody else's."""
        try:
            with tx.savepoint():
                return item.fn(tx, *item.args) if isinstance(item, Call) else apply_units(tx, [item])[0]
        except TransactionLost:
            raise
        except DBAPIError as error:
            if self._backend.failure(error) is not Failure.REFUSED:
                raise
            return StoreError(self._backend.reason(error))
        except Exception as error:  # a bug in one item must not reach its neighbours; its author gets it
            return error
