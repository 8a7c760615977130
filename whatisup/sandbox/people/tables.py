"""What people remember, in the sandbox's own file: their keys, what they still have to do, what they read and sent.

Rule: what a phone was given is in here before its sender is told so, and leaves in the very transaction that holds what
the phone made of it. So a killed sandbox reads nothing twice and forgets nothing. What comes and is done between two
commits never gets there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

import structlog

from whatisup.control import Persona
from whatisup.crypto import Secret
from whatisup.errors import LocalProtocolError
from whatisup.sandbox.people.tasks import Task, decode_task, encode_task
from whatisup.sandbox.state import State
from whatisup.wire import Node, decode_node, encode_node

MAX_WAITING: Final = 10_000
"""How much waits for one phone: older stanzas give way, further tasks are refused."""

log: Final = structlog.get_logger(__name__)

_MAX_CACHED: Final = 20_000  # phones whose settings, or whose number of waiting things, are kept in memory
_INSERT: Final = "INSERT INTO people_work (number, is_held, is_stanza, item) VALUES (?, ?, ?, ?)"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS people_phones (
    number TEXT PRIMARY KEY REFERENCES accounts ON DELETE CASCADE, is_online INTEGER NOT NULL, persona TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS people_keys (
    number TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE, kind TEXT NOT NULL, name TEXT NOT NULL,
    value BLOB NOT NULL, PRIMARY KEY (number, kind, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS people_work (
    position INTEGER PRIMARY KEY AUTOINCREMENT, number TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE,
    is_held INTEGER NOT NULL, is_stanza INTEGER NOT NULL, item BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS people_work_due ON people_work (is_held, position);
CREATE INDEX IF NOT EXISTS people_work_of ON people_work (number, position);
CREATE TABLE IF NOT EXISTS people_received (
    position INTEGER PRIMARY KEY AUTOINCREMENT, number TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE,
    id TEXT NOT NULL, chat TEXT NOT NULL, author TEXT NOT NULL, lid TEXT NOT NULL, device INTEGER NOT NULL,
    is_own INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT, sha256 BLOB NOT NULL, verdict TEXT NOT NULL, reason TEXT,
    count INTEGER NOT NULL, t INTEGER NOT NULL, at INTEGER NOT NULL, is_seen INTEGER NOT NULL,
    as_lid INTEGER NOT NULL, message BLOB, secret BLOB
);
CREATE INDEX IF NOT EXISTS people_received_of ON people_received (number, position);
CREATE INDEX IF NOT EXISTS people_received_id ON people_received (number, id);
CREATE INDEX IF NOT EXISTS people_received_hash ON people_received (number, sha256);
CREATE TABLE IF NOT EXISTS people_sent (
    position INTEGER PRIMARY KEY AUTOINCREMENT, number TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE,
    id TEXT NOT NULL, chat TEXT NOT NULL, kind TEXT NOT NULL, body TEXT, queued_at INTEGER NOT NULL,
    acked_at INTEGER, t INTEGER, error INTEGER, failure TEXT, message BLOB, stanza BLOB, secret BLOB,
    UNIQUE (number, id)
);
CREATE INDEX IF NOT EXISTS people_sent_of ON people_sent (number, position);
CREATE TABLE IF NOT EXISTS people_receipts (
    number TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE, id TEXT NOT NULL, reader TEXT NOT NULL,
    device INTEGER NOT NULL, kind TEXT NOT NULL, at INTEGER NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (number, id, reader, device, kind)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS people_bursts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, number TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE,
    chat TEXT NOT NULL, count INTEGER NOT NULL, done INTEGER NOT NULL, rate REAL, text TEXT NOT NULL,
    started_at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS people_bursts_of ON people_bursts (number, id);
"""


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of this room where they are missing."""
    connection.executescript(_SCHEMA)


class Work(Secret, frozen=True):
    """Something that a phone has to do: a stanza to take, or a task of its script; encoded where it is from the file.

    One that came since the last commit has a negative position, the older the higher.
    """

    position: int
    number: str
    is_stanza: bool
    item: bytes | Node | Task


def decoded(work: Work) -> Node | Task:
    """Return what a phone has to do. Raises `RemoteProtocolError` for a stanza that is none."""
    if not isinstance(work.item, bytes):
        return work.item
    return decode_node(work.item) if work.is_stanza else decode_task(work.item)


def _encoded(item: bytes | Node | Task) -> bytes:
    if isinstance(item, bytes):
        return item
    return encode_node(item) if isinstance(item, Node) else encode_task(item)


@dataclass(frozen=True, slots=True)
class PhoneSettings:
    """How a phone is set up."""

    is_online: bool = True
    persona: Persona = Persona.SILENT


class Desk:
    """What waits for the phones, in the order in which it came; and how each of them is set up."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._db = state.connection
        # The file is ours alone, so what was read stays true until we write it.
        self._settings: dict[str, PhoneSettings] = {}
        self._counts: dict[str, int] = {}
        # What came since the last commit for phones that are online. Of one phone it is all later than what is on disk.
        self._fresh: dict[int, Work] = {}
        self._last = 0
        self._has_kept = True  # whether anything on disk may be due
        state.before_commit(self._keep)
        state.on_rollback(self._remember)
        state.on_rollback(self._settings.clear)
        state.on_rollback(self._counts.clear)

    def settings(self, number: str) -> PhoneSettings:
        """Return how a phone is set up."""
        known = self._settings.get(number)
        if known is not None:
            return known
        row = self._db.execute("SELECT is_online, persona FROM people_phones WHERE number = ?", (number,)).fetchone()
        found = PhoneSettings() if row is None else PhoneSettings(bool(row[0]), Persona(row[1]))
        if len(self._settings) >= _MAX_CACHED:
            self._settings.clear()
        self._settings[number] = found
        return found

    def set_up(self, number: str, settings: PhoneSettings) -> None:
        """Set a phone up; what waits for it is held while it is offline."""
        with self._state.writing() as cursor:
            self._keep()
            self._has_kept = True
            self._settings.pop(number, None)
            cursor.execute(
                "INSERT OR REPLACE INTO people_phones VALUES (?, ?, ?)",
                (number, settings.is_online, settings.persona),
            )
            cursor.execute("UPDATE people_work SET is_held = ? WHERE number = ?", (not settings.is_online, number))

    def add(self, number: str, item: Node | Task) -> bool:
        """Let something wait for a phone; False where too much does. The oldest stanzas give way to newer ones."""
        count, is_stanza = self.count(number), isinstance(item, Node)
        with self._state.unit():
            if count >= MAX_WAITING:
                if not is_stanza:
                    return False
                self._make_room(number)
                count = self.count(number)
            if self.settings(number).is_online:
                self._last -= 1
                self._hold(Work(self._last, number, is_stanza, item))
            else:
                with self._state.writing() as cursor:
                    cursor.execute(_INSERT, (number, True, is_stanza, _encoded(item)))
            self._counts[number] = count + 1
        return True

    def _make_room(self, number: str) -> None:
        with self._state.writing() as cursor:
            cursor.execute(
                "DELETE FROM people_work WHERE position = (SELECT position FROM people_work"
                " WHERE number = ? AND is_stanza ORDER BY position LIMIT 1)",
                (number,),
            )
            gone = cursor.rowcount
            oldest = next((work for work in self._fresh.values() if work.number == number and work.is_stanza), None)
            if not gone and oldest is not None:
                gone = self._drop(oldest)
            self._counts[number] = self.count(number) - gone

    def count(self, number: str) -> int:
        """Return how much waits for a phone."""
        known = self._counts.get(number)
        if known is None:
            if len(self._counts) >= _MAX_CACHED:
                self._counts.clear()
            (kept,) = self._db.execute("SELECT count(*) FROM people_work WHERE number = ?", (number,)).fetchone()
            known = self._counts[number] = kept + sum(work.number == number for work in self._fresh.values())
        return known

    def due(self, limit: int) -> list[Work]:
        """Return what phones that are online have to do next."""
        found = list(self._kept(limit)) if self._has_kept else []
        self._has_kept = bool(found)
        return [*found, *islice(self._fresh.values(), limit - len(found))]

    def _kept(self, limit: int) -> Iterator[Work]:
        rows = self._db.execute(
            "SELECT position, number, is_stanza, item FROM people_work WHERE is_held = 0 ORDER BY position LIMIT ?",
            (limit,),
        )
        for position, number, is_stanza, item in rows:
            yield Work(position, number, bool(is_stanza), item)

    def done(self, work: Work) -> None:
        """Forget what a phone has done."""
        if work.position < 0:
            gone = self._drop(work)
        else:
            with self._state.writing() as cursor:
                gone = cursor.execute("DELETE FROM people_work WHERE position = ?", (work.position,)).rowcount
        if gone and work.number in self._counts:
            self._counts[work.number] -= gone

    # what is not on disk yet

    def _hold(self, work: Work) -> None:
        self._fresh[work.position] = work
        self._state.undo_by(lambda: self._fresh.pop(work.position, None))

    def _drop(self, work: Work) -> int:
        if self._fresh.pop(work.position, None) is None:
            return 0
        self._state.undo_by(lambda: self._fresh.update({work.position: work}))
        return 1

    def _keep(self) -> None:
        """Write what came since the last commit and is not done."""
        if not self._fresh:
            return
        fresh = dict(self._fresh)
        rows = list(_rows(fresh.values()))
        self._db.executemany(_INSERT, rows)
        self._fresh.clear()
        if len(rows) < len(fresh):
            self._counts.clear()
        self._state.undo_by(lambda: self._fresh.update(fresh))
        self._has_kept = True

    def _remember(self) -> None:
        """Put what was taken back where it belongs."""
        self._fresh = dict(sorted(self._fresh.items(), reverse=True))
        self._has_kept = True


def _rows(works: Iterable[Work]) -> Iterator[tuple[str, bool, bool, bytes]]:
    for work in works:
        try:
            yield work.number, False, work.is_stanza, _encoded(work.item)
        except LocalProtocolError:
            # A client made the server pass on what no wire can carry: the phone's loss, and nobody else's.
            log.warning("a phone was sent what cannot be kept", number=work.number)
