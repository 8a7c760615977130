"""INSERT with a second thought: both databases speak the same ON CONFLICT, SQLAlchemy spells it per dialect.

Rule: a duplicate is a precondition answered by the database, never an error that harms the statement's neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

_Insert = Any
"""Each dialect has its own class of the same shape."""


def _insert(dialect: str, table: Table) -> _Insert:
    if dialect == "sqlite":
        return sqlite_insert(table)
    from sqlalchemy.dialects.postgresql import insert as postgres_insert

    return postgres_insert(table)


def once(make: Callable[[str], _Insert]) -> Callable[[Connection], _Insert]:
    """A statement that is built once for each database, by the dialect's name: building costs more than executing."""
    built = cache(make)
    return lambda connection: built(connection.dialect.name)


def upsert(
    connection: Connection | str,
    table: Table,
    *,
    update: Sequence[str],
    where: ColumnElement[bool] | None = None,
    more: Mapping[str, Any] | None = None,
) -> _Insert:
    """Insert, or overwrite the columns `update` of the row with the same primary key (only `where` that holds).

    `more` are columns set to expressions of the row that is there.
    """
    statement = _insert(_dialect(connection), table)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={name: statement.excluded[name] for name in update} | dict(more or {}),
        where=where,
    )


def insert_new(connection: Connection | str, table: Table) -> _Insert:
    """Insert, or do nothing where a row with the same key exists."""
    return _insert(_dialect(connection), table).on_conflict_do_nothing()


def _dialect(connection: Connection | str) -> str:
    return connection if isinstance(connection, str) else connection.dialect.name
