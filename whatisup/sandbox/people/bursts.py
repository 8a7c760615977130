"""Bursts: many messages of one phone to one number, at a rate.

Rule: a burst knows how far it is in the sandbox's file, goes on after a restart, and stops by itself. It never gets
further ahead of its phone than `AHEAD`. All of them look at the clock at the same moments, `GRID_S` apart: what several
phones send then shares one pass of the event loop and one commit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from msgspec import structs

from whatisup import control
from whatisup.crypto import Secret
from whatisup.sandbox.people.tables import Desk
from whatisup.sandbox.state import State

AHEAD: Final = 64
"""How many of its messages may wait for the phone at once."""

SHOWN: Final = 100
"""How many bursts of a phone are shown."""

WAIT_S: Final = 0.02
"""How soon a burst looks again whether its phone keeps up."""

GRID_S: Final = 0.01
"""Messages that are due within the same hundredth of a second are written together."""

LOOK_S: Final = 3600.0
"""The clock is looked at this often at least: at the smallest rates a message is due in more seconds than there are."""

_NEARLY_S: Final = 1e-6  # what the sum of two times is off by
_COLUMNS: Final = "id, chat, count, done, rate, text, started_at"


class _Burst(Secret, frozen=True):
    """A burst that is under way, and how far it is."""

    number: str
    chat: str
    count: int
    done: int
    rate: float | None
    text: str


class Bursts:
    """All bursts; `write` drafts one text: (number, chat, text)."""

    def __init__(self, state: State, desk: Desk, write: Callable[[str, str, str], None]) -> None:
        self._state = state
        self._db = state.connection
        self._desk = desk
        self._write = write
        self._looks_at = 0.0
        self._said: dict[int, _Burst] = {}
        state.on_rollback(self._said.clear)
        # What is under way, with the monotonic second at which its next message is due.
        self._due: dict[int, float] = {
            burst_id: 0.0 for (burst_id,) in self._db.execute("SELECT id FROM people_bursts WHERE done < count")
        }

    def start(self, number: str, request: control.BurstRequest, at: int) -> control.Burst:
        """Begin a burst; `at` in unix milliseconds."""
        with self._state.writing() as cursor:
            cursor.execute(
                "INSERT INTO people_bursts (number, chat, count, done, rate, text, started_at) VALUES (?,?,?,0,?,?,?)",
                (number, request.to, request.count, request.rate, request.text, at),
            )
            burst_id = cursor.lastrowid or 0
        self._due[burst_id] = self._looks_at = 0.0
        return control.Burst(burst_id, request.to, request.count, 0, request.rate, request.text, at)

    def of(self, number: str) -> list[control.Burst]:
        """Return a phone's last bursts, oldest first."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM people_bursts WHERE number = ? ORDER BY id DESC LIMIT ?",  # noqa: S608 -- the columns are this module's own text
            (number, SHOWN),
        )
        return [control.Burst(*row) for row in rows][::-1]

    def step(self, now: float) -> float | None:
        """Write what is due; return in how many seconds something is due again, None where nothing is."""
        if now + _NEARLY_S >= self._looks_at:
            due = [burst_id for burst_id, due_at in self._due.items() if due_at <= now + _NEARLY_S]
            if due:
                with self._state.unit():
                    for burst_id in due:
                        self._advance(burst_id, now)
            if not self._due:
                return None
            soonest = min(*self._due.values(), now + LOOK_S)
            self._looks_at = math.ceil(soonest / GRID_S - _NEARLY_S) * GRID_S
        return max(0.0, self._looks_at - now) if self._due else None

    def _advance(self, burst_id: int, now: float) -> None:
        found = self._said.get(burst_id) or self._read(burst_id)
        if found is None or found.done >= found.count:
            del self._due[burst_id]
            self._said.pop(burst_id, None)
            return
        number, chat, count, done, rate, text = structs.astuple(found)
        begun_at = self._due[burst_id] or now
        room = AHEAD - self._desk.count(number)
        owed = count - done if rate is None else min(count - done, 1 + int((now - begun_at) * rate + _NEARLY_S))
        writing = max(0, min(room, owed))
        with self._state.writing() as cursor:
            for index in range(done + 1, done + 1 + writing):
                self._write(number, chat, f"{text} {index}")
            cursor.execute("UPDATE people_bursts SET done = ? WHERE id = ?", (done + writing, burst_id))
            self._said[burst_id] = structs.replace(found, done=done + writing)
        self._due[burst_id] = now + WAIT_S if rate is None or writing < owed else begun_at + writing / rate

    def _read(self, burst_id: int) -> _Burst | None:
        row = self._db.execute(
            "SELECT number, chat, count, done, rate, text FROM people_bursts WHERE id = ?", (burst_id,)
        ).fetchone()
        return None if row is None else _Burst(*row)

    def __len__(self) -> int:
        return len(self._due)


def text_body(text: str) -> dict[str, Any]:
    """Return the body of a plain text."""
    return {"type": "text", "text": text}
