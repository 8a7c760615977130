"""What is durable: the gateway's database, read from outside, which costs the gateway nothing.

Rule: it is only read, and each reading has a connection of its own, so that no snapshot is held open in between. The
statements are the same for both databases.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg

from whatisup.store.location import Location, SqliteFile


@dataclass(frozen=True, slots=True)
class Received:
    """A message that came in: WhatsApp's id, the instance, and the position of the event that tells of it.

    `read_at` is when it was read from the socket, in whole unix milliseconds.
    """

    wa_id: str
    instance_id: str
    position: int
    read_at: float


@dataclass(frozen=True, slots=True)
class Rows:
    """The gateway's database. A mark is a position; what is asked for is what came behind it."""

    location: Location

    def _ask(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        if isinstance(self.location, SqliteFile):
            name = f"file:{self.location.path}?mode=ro"
            with closing(sqlite3.connect(name, uri=True, timeout=10.0)) as connection:
                return connection.execute(sql, values).fetchall()
        with psycopg.connect(self.location.url, autocommit=True) as server:
            return server.execute(sql.replace("?", "%s").encode(), values).fetchall()

    def file_sizes(self) -> tuple[int, int]:
        """Bytes of the write-ahead log and of the database; zeros where they are a server's own business."""
        if not isinstance(self.location, SqliteFile):
            return 0, 0
        return _size(self.location.beside("-wal")), _size(self.location.path)

    def _number(self, sql: str, *values: object) -> int:
        return int(str(self._ask(sql, *values)[0][0]))

    def mark(self) -> int:
        """The position of the newest message."""
        return self._number("SELECT coalesce(max(position), 0) FROM messages")

    def ingested(self, since: int, instance_id: str | None = None) -> int:
        """How many messages came in, to one instance or to all."""
        return self._count("direction = 'in'", since, instance_id)

    def acked(self, since: int, instance_id: str | None = None) -> int:
        """How many messages of ours the server has."""
        return self._count("status IN ('sent', 'delivered', 'read', 'played') AND source = 'api'", since, instance_id)

    def delivered(self, since: int) -> int:
        """How many messages of ours a contact's phone says it has."""
        return self._count("status = 'delivered'", since, None)

    def _count(self, what: str, since: int, instance_id: str | None) -> int:
        whose = "" if instance_id is None else " AND instance_id = ?"
        values = (since,) if instance_id is None else (since, instance_id)
        return self._number(f"SELECT count(*) FROM messages WHERE position > ? AND {what}{whose}", *values)

    def received(self, since: int) -> list[Received]:
        """The messages that came in."""
        found = self._ask(
            "SELECT m.wa_id, m.instance_id, e.position, e.occurred_at FROM messages m"
            " JOIN events e ON e.message_id = m.id"
            " WHERE m.position > ? AND m.direction = 'in' AND e.type = 'message.received'",
            since,
        )
        return [Received(str(wa_id), str(owner), int(str(place)), float(str(at))) for wa_id, owner, place, at in found]

    def log_end(self) -> int:
        """The position of the newest event."""
        return self._number("SELECT coalesce(max(position), 0) FROM events")

    def told(self, since: int) -> dict[str, int]:
        """The events that tell of messages that came in, behind that position of the log: their positions by id."""
        found = self._ask("SELECT id, position FROM events WHERE position > ? AND type = 'message.received'", since)
        return {str(event_id): int(str(position)) for event_id, position in found}

    def connected(self, since: int) -> int:
        """How many instances have connected, behind that position of the log.

        A row may still say "connected" for a moment after its gateway was killed; the log does not.
        """
        return self._number(
            "SELECT count(DISTINCT instance_id) FROM events WHERE position > ? AND type = 'instance.connected'", since
        )

    def undelivered(self) -> int:
        """How many webhooks are still to be delivered."""
        return self._number("SELECT count(*) FROM webhook_deliveries WHERE next_attempt_at IS NOT NULL")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
