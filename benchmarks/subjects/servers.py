"""A database for one lap on a PostgreSQL server that somebody else runs.

Rule: nothing on the server is touched but a database that was made here under a name of its own; it is dropped at the
end. The URL may hold a password: it is shown nowhere.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import psycopg
from sqlalchemy import make_url

from whatisup.store.location import PostgresServer

_PREFIX = "whatisup_bench_"


@dataclass(frozen=True, slots=True)
class ServersDatabase:
    """The database at `location`, made through `server`."""

    server: PostgresServer
    location: PostgresServer

    @classmethod
    def create(cls, url: str) -> ServersDatabase:
        """Make one. `url` names any database of the server, and an account that may create others.

        Raises:
            RuntimeError: the server is not there, or refuses; the message says what it said.
        """
        name = _PREFIX + secrets.token_hex(4)
        address = make_url(url).set(drivername="postgresql")
        server = PostgresServer(address.render_as_string(hide_password=False))
        location = PostgresServer(address.set(database=name).render_as_string(hide_password=False))
        found = cls(server, location)
        found._run(f"CREATE DATABASE {name}")
        return found

    def drop(self) -> None:
        """Drop it, whoever is still connected.

        Raises:
            RuntimeError: as `create`.
        """
        self._run(f"DROP DATABASE {make_url(self.location.url).database} WITH (FORCE)")

    def _run(self, sql: str) -> None:
        try:
            with psycopg.connect(self.server.url, autocommit=True, connect_timeout=10) as connection:
                connection.execute(sql.encode())
        except psycopg.Error as error:
            raise RuntimeError(f"{self.server.name}: {str(error).strip()}") from None
