"""What the two databases must both be able to do; everything else in the store is written once.

Rule: a difference between SQLite and PostgreSQL lives behind this port or nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import Enum, auto
from typing import Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from whatisup.errors import StoreError, StoreUnavailable


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
