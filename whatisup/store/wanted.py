"""Asking for many rows by several columns at once: a list that the database joins with, as one JSON parameter.

Rule: the statement's text never changes with the number of things asked for, so it is compiled and planned once, and
no database's limit on parameters is ever near.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import json
from sqlalchemy import Connection, Subquery, Text, column, text

from whatisup.store.prepared import Prepared, Row

_PARTS = {"sqlite": "json_extract(value, '$[{}]')", "postgresql": "value ->> {}"}
_LISTS = {"sqlite": "json_each(:wanted)", "postgresql": "json_array_elements(CAST(:wanted AS json))"}


def wanted(dialect: str, *names: str) -> Subquery:
    """A list of tuples of texts as something to join with; each has these columns."""
    parts = ", ".join(f"{_PARTS[dialect].format(index)} AS {name}" for index, name in enumerate(names))
    # Constants of this file alone.
    query = text(f"SELECT {parts} FROM {_LISTS[dialect]}")  # noqa: S608
    return query.columns(*(column(name, Text) for name in names)).subquery("wanted")


def both(make: Callable[[Subquery], Any], *names: str) -> Prepared:
    """A statement for either database: `make(wanted)`, which outer-joins `wanted` with what is asked for.

    Outer, because that makes every database go through the list and look each thing up, in this order; left to itself
    SQLite may well go through the table and search the list. `ask` leaves out what was not found.
    """
    return Prepared(lambda dialect: make(wanted(dialect, *names)))


def ask(conn: Connection, statement: Prepared, tuples: Iterable[tuple[str, ...]], **more: Any) -> list[Row]:
    """All rows for these tuples; none asked, none read. A row's first column is one that is never NULL."""
    asked = list(dict.fromkeys(tuples))
    if not asked:
        return []
    found = statement.rows(conn, wanted=json.encode(asked).decode(), **more)
    return [row for row in found if row[0] is not None]
