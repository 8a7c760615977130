"""Units of changes: all of one is kept or none, and what is whole is put on disk by one commit for many.

Rule: a change is on disk before anybody is told of it, so that a killed sandbox comes back as its clients left it.
Changes are units within one open transaction; whatever is about to write to a socket calls `settle` before, and so does
the event loop now and then before it waits (`run.py`): what came in together is committed together.

A change is made at once by SQL (`writing`), or in memory by whoever writes it before the next commit (`before_commit`)
and knows how to take it back (`undo_by`). What is only in memory costs a row of an `executemany`, and nothing where it
is undone or overtaken meanwhile. Not for two threads.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress

from whatisup.errors import StoreUnavailable


class Unit:
    """What `Units.unit` gives: a context within which all is kept or none."""

    __slots__ = ("_units",)

    def __init__(self, units: Units) -> None:
        self._units = units

    def __enter__(self) -> None:
        self._units.begin()

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self._units.end(is_whole=kind is None)


class Writing:
    """What `Units.writing` gives: the same, and its value is a cursor."""

    __slots__ = ("_units",)

    def __init__(self, units: Units) -> None:
        self._units = units

    def __enter__(self) -> sqlite3.Cursor:
        self._units.begin()
        try:
            return self._units.cursor()
        except BaseException:
            self._units.end(is_whole=False)
            raise

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self._units.end(is_whole=kind is None)


class Units:
    """One connection and the units of changes in it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._unit = Unit(self)
        self._writing = Writing(self)
        self._depth = 0
        self._is_open = False  # whether SQLite knows of the unit
        self._is_first = True  # whether the unit is the first that SQLite knows of since the last `settle`
        self._is_changed = False  # whether something in memory waits for the commit
        self._is_lost = False
        self._after: list[Callable[[], None]] = []
        self._undone: list[Callable[[], object]] = []
        self._late: list[Callable[[], None]] = []
        self._caches: list[Callable[[], None]] = []

    def close(self) -> None:
        """Close the file, with all that is whole in it."""
        with suppress(sqlite3.ProgrammingError):  # it is closed already
            if not self._is_lost and (self._is_changed or self._db.in_transaction):
                self._commit()
        self._db.close()

    @property
    def connection(self) -> sqlite3.Connection:
        """The database itself, for the tables that other rooms of the sandbox keep in it."""
        return self._db

    def unit(self) -> Unit:
        """One unit of changes: all of it is kept or none. Inside another one it is a part of that.

        A unit that is whole is on disk after `settle`, which whoever tells of it calls before.
        """
        return self._unit

    def writing(self) -> Writing:
        """A unit that changes something by SQL; its value is a cursor."""
        return self._writing

    def begin(self) -> None:
        """Begin a unit, or a part of one."""
        self._depth += 1

    def cursor(self) -> sqlite3.Cursor:
        """Let SQLite know of the unit, so that it can take back what it is told from here on."""
        cursor = self._db.cursor()
        if not self._is_open:
            self._is_first = not self._db.in_transaction
            cursor.execute("BEGIN IMMEDIATE" if self._is_first else "SAVEPOINT unit")
            self._is_open = True
        return cursor

    def end(self, *, is_whole: bool) -> None:
        """End what was begun; a unit that is not whole is taken back, and what was remembered of it forgotten."""
        self._depth -= 1
        if self._depth:
            return
        after, self._after = self._after, []
        is_open, self._is_open = self._is_open, False
        if not is_whole:
            self._take_back(is_open=is_open)
            return
        self._undone.clear()
        if is_open and not self._is_first:
            self._db.execute("RELEASE unit")
        for call in after:
            call()

    def _take_back(self, *, is_open: bool) -> None:
        if is_open and not self._db.in_transaction:
            # SQLite gave it up by itself, as it does on a full disk; with it went all units since the last `settle`.
            self._is_lost = self._is_lost or not self._is_first
        elif is_open and self._is_first:
            self._db.execute("ROLLBACK")
        elif is_open:
            self._db.execute("ROLLBACK TO unit")
            self._db.execute("RELEASE unit")
        while self._undone:
            self._undone.pop()()
        for forget in self._caches:
            forget()

    def settle(self) -> None:
        """Put every unit that is whole on disk: one commit for all that came in at about the same time.

        Raises:
            StoreUnavailable: it cannot be written. What the sandbox said since then is void: it is of no use any more.
        """
        if (self._is_changed or self._db.in_transaction) and not self._depth and not self._is_lost:
            try:
                self._commit()
            except (
                Exception
            ) as error:  # whatever it is: a part of what only memory held may be written, and would be twice
                self._is_lost = True
                raise StoreUnavailable("the sandbox's state file cannot be written") from error
        if self._is_lost:
            raise StoreUnavailable("the sandbox's state file cannot be written")

    def _commit(self) -> None:
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
        for write in self._late:
            write()
        self._db.execute("COMMIT")
        self._is_changed = False

    def before_commit(self, write: Callable[[], None]) -> None:
        """Call that before each commit, in its transaction: it writes what has only been remembered until then."""
        self._late.append(write)

    def undo_by(self, call: Callable[[], object]) -> None:
        """Call that if the unit is taken back: it takes a change in memory back. The last change is the first to go."""
        self._is_changed = True
        if self._depth:
            self._undone.append(call)

    def on_commit(self, call: Callable[[], None]) -> None:
        """Call that once what is being written is whole; at once where nothing is. Not for what is taken back."""
        if self._depth:
            self._after.append(call)
        else:
            call()

    def on_rollback(self, forget: Callable[[], None]) -> None:
        """Call that whenever something written is taken back: what was remembered of it is wrong."""
        self._caches.append(forget)
