"""What the server remembers of messages and people beside the queues: ids, who wrote to whom, tokens, block lists.

Rule: an id stays for 14 days with the devices that were reached, since its sender may send the same stanza again.

Source: WhatsApp Web, as whatsmeow and Baileys do it; how long an id is remembered is the sandbox's own choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from whatisup.sandbox.state import State

REMEMBERED_S: Final = 14 * 24 * 3600
"""How long a message's id is remembered."""

MAX_SENT: Final = 500_000
"""How many ids are remembered in all; older ones give way."""

BUCKET_S: Final = 7 * 24 * 3600
"""Tokens live in buckets of a week."""

BUCKETS: Final = 4
"""A token is good in the bucket it was issued in and the three that follow."""

_MAX_PAIRS: Final = 100_000  # pairs of people that are kept in memory


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that was accepted: its official time (unix seconds), and each device reached with what it was sent.

    `reached` maps `number.device` to the first bytes of a hash of the ciphertexts.
    """

    t: int
    reached: Mapping[str, bytes]


class Ledger:
    """The rows, behind functions in the server's words."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._db = state.connection
        self._written: set[tuple[str, str]] = set()
        state.on_rollback(self._written.clear)
        self._blocking: dict[str, frozenset[str]] = {}
        state.on_rollback(self._blocking.clear)
        self._fresh: dict[tuple[str, int, str], Sent] = {}  # what is not in the file yet
        state.before_commit(self._write)

    # ids

    def sent(self, number: str, device: int, message_id: str) -> Sent | None:
        """Return what is remembered of a device's message of that id."""
        fresh = self._fresh.get((number, device, message_id))
        if fresh is not None:
            return fresh
        found = self._db.execute(
            "SELECT t, reached FROM sent WHERE number = ? AND device = ? AND id = ?", (number, device, message_id)
        ).fetchone()
        return found and Sent(found[0], msgspec.msgpack.decode(found[1], type=dict[str, bytes]))

    def remember(self, number: str, device: int, message_id: str, sent: Sent) -> None:
        """Remember a message, in the place of what was remembered under its id."""
        key, fresh = (number, device, message_id), self._fresh
        before = fresh.get(key)
        if before is None:
            self._state.undo_by(lambda: fresh.pop(key, None))
        else:
            self._state.undo_by(lambda: fresh.update({key: before}))
            sent = Sent(before.t, sent.reached)
        fresh[key] = sent

    def _flush(self) -> None:
        if self._fresh:
            with self._state.writing():
                self._write()

    def _write(self) -> None:
        if not self._fresh:
            return
        self._db.executemany(
            "INSERT INTO sent (number, device, id, t, reached) VALUES (?,?,?,?,?)"
            " ON CONFLICT (number, device, id) DO UPDATE SET reached = excluded.reached",
            [(*key, sent.t, msgspec.msgpack.encode(sent.reached)) for key, sent in self._fresh.items()],
        )
        fresh = dict(self._fresh)
        self._fresh.clear()
        self._state.undo_by(lambda: self._fresh.update(fresh))

    def expire(self, unix: int) -> None:
        """Forget ids that are older than 14 days, or too many."""
        self._flush()
        with self._state.writing() as cursor:
            (newest,) = cursor.execute("SELECT max(position) FROM sent").fetchone()
            if newest is None:
                return
            cursor.execute("DELETE FROM sent WHERE position <= ?", (newest - MAX_SENT,))
            # Positions grow with time, so the oldest row tells whether there is anything to do.
            oldest = cursor.execute("SELECT t FROM sent ORDER BY position LIMIT 1").fetchone()
            if oldest is not None and oldest[0] <= unix - REMEMBERED_S:
                cursor.execute("DELETE FROM sent WHERE t <= ?", (unix - REMEMBERED_S,))

    # who wrote to whom

    def note_written(self, number: str, peer: str) -> None:
        """Remember that one account has written to another."""
        if (number, peer) in self._written:
            return
        if len(self._written) >= _MAX_PAIRS:
            self._written.clear()
        with self._state.writing() as cursor:
            cursor.execute("INSERT OR IGNORE INTO written VALUES (?, ?)", (number, peer))
            self._written.add((number, peer))

    def has_written(self, number: str, peer: str) -> bool:
        """Whether one account has ever written to another."""
        if (number, peer) in self._written:
            return True
        return bool(self._db.execute("SELECT 1 FROM written WHERE number = ? AND peer = ?", (number, peer)).fetchone())

    def acquaintances(self, number: str) -> list[str]:
        """Return whom an account has exchanged messages with, by number."""
        rows = self._db.execute(
            "SELECT peer FROM written WHERE number = ?1 UNION SELECT number FROM written WHERE peer = ?1 ORDER BY 1",
            (number,),
        )
        return [peer for (peer,) in rows if peer != number]

    # tokens

    def issue_token(self, issuer: str, holder: str, token: bytes, t: int) -> None:
        """Remember the token by which one account trusts another, in the place of an older one."""
        with self._state.writing() as cursor:
            cursor.execute("INSERT OR REPLACE INTO tokens VALUES (?,?,?,?)", (issuer, holder, token, t))

    def has_token(self, issuer: str, holder: str, token: bytes, unix: int) -> bool:
        """Whether that token was issued, and is not older than four buckets."""
        row = self._db.execute(
            "SELECT token, t FROM tokens WHERE issuer = ? AND holder = ?", (issuer, holder)
        ).fetchone()
        return row is not None and row[0] == token and row[1] // BUCKET_S > unix // BUCKET_S - BUCKETS

    # block lists

    def block(self, number: str, blocked: str, *, is_blocked: bool) -> None:
        """Put an account on another's block list, or take it off."""
        statement = "INSERT OR IGNORE INTO blocks VALUES (?, ?)"
        if not is_blocked:
            statement = "DELETE FROM blocks WHERE number = ? AND blocked = ?"
        with self._state.writing() as cursor:
            self._blocking.pop(number, None)
            cursor.execute(statement, (number, blocked))

    def blocked(self, number: str) -> list[str]:
        """Return whom an account has blocked, by number."""
        rows = self._db.execute("SELECT blocked FROM blocks WHERE number = ? ORDER BY blocked", (number,))
        return [blocked for (blocked,) in rows]

    def has_blocked(self, number: str, other: str) -> bool:
        """Whether an account has blocked another."""
        known = self._blocking.get(number)
        if known is None:
            if len(self._blocking) >= _MAX_PAIRS:
                self._blocking.clear()
            known = self._blocking[number] = frozenset(self.blocked(number))
        return other in known
