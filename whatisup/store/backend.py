"""What the two databases must both be able to do; everything else in the store is written once.

Rule: a difference between SQLite and PostgreSQL lives behind this port or nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import Enum, auto
from typing import Final, Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from whatisup.errors import StoreError, StoreUnavailable

LOOP_S: Final = 0.025
"""How long statements may keep the loop; what takes longer is undone and done again in a thread."""


class Failure(Enum):
    """What a database error means for the batch it hit."""

    UNAVAILABLE = auto()
    """The database cannot be reached or written: no item of the batch is to blame."""
    CONFLICT = auto()
    """Two writers got in each other's way: the same batch may be tried again."""
    REFUSED = auto()
    """The database refused what it was given: one item is to blame."""


class Backend(Protocol):
    """One database: its engines, its locks and its own chores."""

    @property
    def writer(self) -> Engine:
        """One connection whose transactions exclude other writers of the same file."""

    @property
    def reader(self) -> Engine:
        """A few connections that cannot write."""

    @property
    def is_local(self) -> bool:
        """Whether a few statements take less time than it takes to hand them to a thread."""

    def begin(self, *, wait: bool = True) -> Connection:
        """Begin a transaction that writes; end it with `commit`, or with `rollback`, also when `commit` has failed.

        Without `wait`, which only a local database knows, no statement lasts long: another writer is an error, and so
        is a statement that takes more than `LOOP_S`.

        Raises:
            DBAPIError: it cannot be begun.
            StoreError: it cannot be begun without waiting.
        """

    def commit(self, connection: Connection) -> None:
        """Commit, and let go of the connection.

        Raises:
            DBAPIError: what became of the transaction is not known; `rollback` comes next.
        """

    def rollback(self, connection: Connection) -> None:
        """Undo what was begun, and let go of the connection; what cannot be undone undoes itself."""

    def glance(self) -> AbstractContextManager[Connection]:
        """A transaction of a local database for reading a few rows at once; nobody else may be reading in one.

        Raises:
            DBAPIError: it would have to wait.
        """

    def version(self) -> tuple[int, int] | None:
        """Something else whenever anybody has committed since, or None where to know that costs as much as to read.

        May tell of a change where there was none, never the other way round.
        """

    def peek(self) -> AbstractContextManager[Connection | None]:
        """Look at the database without changing anything; None when there is none yet."""

    def prepare(self) -> None:
        """Make the empty database if there is none, and assert that a commit is durable."""

    def lock_schema(self, connection: Connection) -> None:
        """Exclude other processes from upgrading until the transaction ends."""

    def patiently(self) -> AbstractContextManager[None]:
        """Let the writer wait as long as an upgrade in another process may take."""

    def failure(self, error: DBAPIError) -> Failure:
        """Say what an error means."""

    def reason(self, error: DBAPIError) -> str:
        """Name an error without repeating any value."""

    def after_commit(self, *, wiped: bool) -> None:
        """Do what must follow a commit; `wiped` asks that deleted rows leave the log files as well."""

    def checkpoint(self) -> None:
        """Do the background chores; called every second or so, from a thread of its own."""

    def close(self) -> None:
        """Close every connection."""


@contextmanager
def translating(backend: Backend) -> Iterator[None]:
    """Turn the driver's errors into ours, without the values they like to quote.

    Raises:
        StoreUnavailable: the database cannot be reached, or is busy.
        StoreError: it refused what it was asked.
    """
    try:
        yield
    except DBAPIError as error:
        kind = StoreError if backend.failure(error) is Failure.REFUSED else StoreUnavailable
        raise kind(backend.reason(error)) from None
    except PoolTimeout:
        raise StoreUnavailable("no connection to the database became free in time") from None
