"""The phones' Signal state: what is kept under a kind and a name, and the sessions among it.

Rule: what was put is known at once, and is in the file before anybody is told of what was made with it: one row for
each key that changed since the last commit, however often it did.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from whatisup.e2ee import SessionRecord
from whatisup.sandbox.state import State

SESSION: Final = "session"

_MAX_KNOWN: Final = 20_000  # keys that are remembered, those that are not there included
_PUT: Final = "INSERT OR REPLACE INTO people_keys VALUES (?, ?, ?, ?)"
_DELETE: Final = "DELETE FROM people_keys WHERE number = ? AND kind = ? AND name = ?"
_Key: TypeAlias = tuple[str, str, str]
_Value: TypeAlias = bytes | SessionRecord | None


class Shelf:
    """The keys of all phones, by number, kind and name."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._db = state.connection
        # The file is ours alone, so what was read stays true until we write it.
        self._known: dict[_Key, _Value] = {}
        self._changed: dict[_Key, _Value] = {}
        state.before_commit(self._write)
        state.on_rollback(self._known.clear)

    def get(self, key: _Key) -> _Value:
        """Return what is kept there, as it was put or as it was read."""
        if key in self._changed:
            return self._changed[key]
        if key in self._known:
            return self._known[key]
        row = self._db.execute(
            "SELECT value FROM people_keys WHERE number = ? AND kind = ? AND name = ?", key
        ).fetchone()
        found: _Value = None if row is None else bytes(row[0])
        self._remember(key, found)
        return found

    def session(self, key: _Key) -> SessionRecord | None:
        """Return a session; it is decoded once."""
        found = self.get(key)
        if isinstance(found, bytes):
            found = SessionRecord.decode(found)
            if key not in self._changed:
                self._remember(key, found)
        return found

    def put(self, key: _Key, value: _Value) -> None:
        """Keep that there instead; None: nothing."""
        changed = self._changed
        if key in changed:
            before = changed[key]
            self._state.undo_by(lambda: changed.update({key: before}))
        else:
            self._state.undo_by(lambda: changed.pop(key, None))
        changed[key] = value

    def names(self, number: str, kind: str, prefix: str) -> list[str]:
        """Return the names of a phone's kind that begin so, in order."""
        self._flush()
        rows = self._db.execute(
            "SELECT name FROM people_keys WHERE number = ? AND kind = ? AND substr(name, 1, ?) = ? ORDER BY name",
            (number, kind, len(prefix), prefix),
        )
        return [name for (name,) in rows]

    def clear(self, number: str, kind: str) -> None:
        """Keep nothing of a phone's kind."""
        self._flush()
        self._known.clear()
        with self._state.writing() as cursor:
            cursor.execute("DELETE FROM people_keys WHERE number = ? AND kind = ?", (number, kind))

    def _remember(self, key: _Key, value: _Value) -> None:
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[key] = value

    def _flush(self) -> None:
        if self._changed:
            with self._state.writing():
                self._write()

    def _write(self) -> None:
        if not self._changed:
            return
        changed = dict(self._changed)
        put = [(*key, _encoded(value)) for key, value in changed.items() if value is not None]
        self._db.executemany(_PUT, put)
        if len(put) < len(changed):
            self._db.executemany(_DELETE, [key for key, value in changed.items() if value is None])
        for key, value in changed.items():
            self._remember(key, value)
        self._changed.clear()
        self._state.undo_by(lambda: self._changed.update(changed))


class Keys:
    """One phone's keys: bytes by kind and name, and its sessions."""

    __slots__ = ("_number", "_shelf")

    def __init__(self, shelf: Shelf, number: str) -> None:
        self._shelf = shelf
        self._number = number

    def get(self, kind: str, name: str) -> bytes | None:
        """Return what is kept under that kind and name."""
        return _encoded(self._shelf.get((self._number, kind, name)))

    def put(self, kind: str, name: str, value: bytes) -> None:
        """Keep these bytes instead."""
        self._shelf.put((self._number, kind, name), value)

    def delete(self, kind: str, name: str) -> None:
        """Keep nothing there."""
        self._shelf.put((self._number, kind, name), None)

    def session(self, name: str) -> SessionRecord | None:
        """Return the sessions with the device of that name."""
        return self._shelf.session((self._number, SESSION, name))

    def put_session(self, name: str, record: SessionRecord) -> None:
        """Keep these sessions with the device of that name instead."""
        self._shelf.put((self._number, SESSION, name), record)

    def names(self, kind: str, prefix: str = "") -> list[str]:
        """Return the names of a kind that begin so, in order."""
        return self._shelf.names(self._number, kind, prefix)

    def clear(self, *kinds: str) -> None:
        """Keep nothing of these kinds."""
        for kind in kinds:
            self._shelf.clear(self._number, kind)


def _encoded(value: _Value) -> bytes | None:
    return value.encode() if isinstance(value, SessionRecord) else value
