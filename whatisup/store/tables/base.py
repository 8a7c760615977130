"""What all tables share: the metadata they are of, and the types and conditions that they are made with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Integer, MetaData, Text, text

metadata = MetaData()

# Compared byte by byte, so that all names with one beginning stand together; SQLite does nothing else.
NAME = Text().with_variant(Text(collation="C"), "postgresql")

# SQLite clusters a table by its key only if that is declared INTEGER; PostgreSQL needs the wide type.
POSITION = BigInteger().with_variant(Integer(), "sqlite")


def one_of(column: str, values: Iterable[str], name: str) -> CheckConstraint:
    """A constraint that a column holds one of a few words."""
    words = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({words})", name=name)


def only(condition: str) -> dict[str, Any]:
    """Arguments of an index over those rows alone that fulfil a condition.

    For SQLite alone, though PostgreSQL's indexes have theirs too, from the migrations that make them: saying so here
    would load that dialect (3 MiB) into every process that uses SQLite.
    """
    return {"sqlite_where": text(condition)}
