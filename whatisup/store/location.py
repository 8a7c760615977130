"""Where a store lives: a SQLite file or a PostgreSQL server, told apart by the URL.

Rule: this is the only place that reads a database URL, and it opens nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from whatisup.errors import SettingsError

_SQLITE: Final = "sqlite:///"
_POSTGRES: Final = ("postgresql://", "postgres://", "postgresql+psycopg://")


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """A SQLite database at `path`; `name` is what may be shown of it."""

    path: Path

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self.path)

    def beside(self, suffix: str) -> Path:
        """The path of a file that belongs to the database and stands next to it."""
        return self.path.with_name(self.path.name + suffix)


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A PostgreSQL database; `url` starts with `postgresql://` and may hold a password."""

    url: str = field(repr=False)

    @property
    def name(self) -> str:
        """The URL without user, password and parameters."""
        rest = self.url.partition("://")[2].partition("?")[0]
        return f"postgresql://{rest.rpartition('@')[2]}"


Location: TypeAlias = SqliteFile | PostgresServer


def locate(url: str) -> Location:
    """Read a database URL: `sqlite:///relative.db`, `sqlite:////absolute.db` or `postgresql://…`.

    Raises:
        SettingsError: it is neither, or names no file (a store in memory would remember nothing).
    """
    if url.startswith(_SQLITE):
        path = url.removeprefix(_SQLITE)
        if path in ("", ":memory:"):
            raise SettingsError("DATABASE_URL", "must name a file, such as sqlite:///var/whatisup.db")
        return SqliteFile(Path(path))
    for scheme in _POSTGRES:
        if url.startswith(scheme):
            return PostgresServer(f"postgresql://{url.removeprefix(scheme)}")
    raise SettingsError("DATABASE_URL", "must start with sqlite:/// or postgresql://")
