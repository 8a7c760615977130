"""PostgreSQL: the same schema and the same statements, behind psycopg.

Rule: `synchronous_commit` is on, set and asserted on every connection that writes, and every wait has an end: a server
that hangs costs a few seconds and then counts as unavailable.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError

from whatisup.errors import StoreError
from whatisup.store.backend import Failure, translating
from whatisup.store.location import PostgresServer

CONNECT_TIMEOUT_S: Final = 5
STATEMENT_TIMEOUT_MS: Final = 10_000
LOCK_TIMEOUT_MS: Final = 8_000
NETWORK_TIMEOUT_MS: Final = 10_000
SCHEMA_LOCK: Final = 0x77686174
"""The advisory lock that one upgrade holds ("what")."""

_SESSION: Final = (
    "SET synchronous_commit = on",
    f"SET statement_timeout = {STATEMENT_TIMEOUT_MS}",
    f"SET lock_timeout = {LOCK_TIMEOUT_MS}",
    f"SET idle_in_transaction_session_timeout = {6 * STATEMENT_TIMEOUT_MS}",
)

# By SQLSTATE, the longest prefix first: connection lost, resources, operator intervention, system and internal errors,
# a read-only standby; then deadlock, serialisation and lock timeouts. The rest is about the values.
_FAILURES: Final = {
    "25006": Failure.UNAVAILABLE,
    "55P03": Failure.CONFLICT,
    "08": Failure.UNAVAILABLE,
    "40": Failure.CONFLICT,
    "53": Failure.UNAVAILABLE,
    "57": Failure.UNAVAILABLE,
    "58": Failure.UNAVAILABLE,
    "XX": Failure.UNAVAILABLE,
}


class PostgresBackend:
    """One PostgreSQL database."""

    def __init__(self, server: PostgresServer, *, readers: int) -> None:
        self.writer = connect_engine(server, _SESSION, pool_size=1)
        self.reader = connect_engine(server, (*_SESSION, "SET default_transaction_read_only = on"), pool_size=readers)

    @property
    def is_local(self) -> bool:
        """Statements cross a socket: they are for threads."""
        return False

    def begin(self, *, wait: bool = True) -> Connection:
        """Begin a transaction that writes; it always waits."""
        connection = self.writer.connect()
        try:
            connection.begin()
        except BaseException:
            connection.close()
            raise
        return connection

    def commit(self, connection: Connection) -> None:
        """Commit, and give the connection back."""
        connection.commit()
        connection.close()

    def rollback(self, connection: Connection) -> None:
        """Undo, and give the connection back; one that is broken has undone everything already."""
        try:
            connection.rollback()
        except DBAPIError:
            connection.invalidate()
        finally:
            connection.close()

    @contextmanager
    def glance(self) -> Iterator[Connection]:
        """A transaction for reading."""
        with self.reader.connect() as connection, connection.begin():
            yield connection

    def version(self) -> None:
        """Nothing: to ask would be a round trip like any other."""

    @contextmanager
    def peek(self) -> Iterator[Connection | None]:
        """Look without changing anything."""
        with translating(self), self.reader.connect() as connection:
            yield connection

    def prepare(self) -> None:
        """Assert that a commit is durable before it is reported.

        Raises:
            StoreError: the server does not let us have it so.
        """
        with translating(self), self.writer.connect() as connection:
            if connection.execute(text("SHOW synchronous_commit")).scalar_one() != "on":
                raise StoreError("PostgreSQL refused synchronous_commit = on: commits would not be durable")

    def lock_schema(self, connection: Connection) -> None:
        """Take the upgrade's advisory lock, waiting as long as another upgrade runs."""
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SCHEMA_LOCK})

    @contextmanager
    def patiently(self) -> Iterator[None]:
        """Waiting longer is `lock_schema`'s business here."""
        yield

    def failure(self, error: DBAPIError) -> Failure:
        """Say what an error means, by its SQLSTATE; an error without one came from the network."""
        state = getattr(error.orig, "sqlstate", None)
        if error.connection_invalidated:
            return Failure.UNAVAILABLE
        if state is None:
            # psycopg refuses a few values itself (a NUL in a text); its OperationalError is the network's.
            return Failure.UNAVAILABLE if type(error.orig).__name__ == "OperationalError" else Failure.REFUSED
        return next((kind for prefix, kind in _FAILURES.items() if state.startswith(prefix)), Failure.REFUSED)

    def reason(self, error: DBAPIError) -> str:
        """Name an error by state, constraint and primary message; the detail quotes rows, so it stays out."""
        diagnostics = getattr(error.orig, "diag", None)
        message = getattr(diagnostics, "message_primary", None) or type(error.orig).__name__
        constraint = getattr(diagnostics, "constraint_name", None)
        state = getattr(error.orig, "sqlstate", None) or "no state"
        return f"PostgreSQL: {state}: {message}" + (f" ({constraint})" if constraint else "")

    def after_commit(self, *, wiped: bool) -> None:
        """The server looks after its own log and dead rows."""

    def checkpoint(self) -> None:
        """The server looks after its own log."""

    def close(self) -> None:
        """Close every connection."""
        self.reader.dispose()
        self.writer.dispose()


def session_name() -> str:
    """How our sessions show on the server: the process and its host (63 characters at most)."""
    return f"whatisup process {os.getpid()} on {socket.gethostname()}"[:63]


def connect_engine(server: PostgresServer, session: tuple[str, ...], *, pool_size: int) -> Engine:
    """Make an engine whose connections start with the `session` statements and say who they belong to."""
    engine = create_engine(
        make_url(server.url).set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "application_name": session_name(),
            "connect_timeout": CONNECT_TIMEOUT_S,
            "tcp_user_timeout": NETWORK_TIMEOUT_MS,
        },
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.autocommit = True
        for statement in session:
            connection.execute(statement)
        connection.autocommit = False

    return engine
