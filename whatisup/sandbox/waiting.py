"""The queue table: every stanza that a device has not acknowledged, with what it takes to forget it.

Rule: a stanza leaves only by the answer that its kind calls for, by age, or with its device; being written to a socket
changes nothing here.

Source: WhatsApp Web, as whatsmeow and Baileys rely on it, and reports of users of other clients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from enum import StrEnum
from typing import Any, Final

from whatisup.crypto import Secret
from whatisup.sandbox.state import State
from whatisup.wire import Node, encode_node

MAX_WAITING: Final = 20_000
"""How many stanzas wait for one device; older ones give way."""

KEPT_S: Final = 14 * 24 * 3600
"""How long a stanza waits."""

MAX_KNOWN: Final = 20_000
"""How many stanzas of all devices are remembered beside the file."""

_COLUMNS: Final = "position, kind, id, peer, participant, type, clearing, stanza"


# A device that is gone waits for nothing.
_INSERT: Final = (
    "INSERT INTO queue (position, device, kind, id, peer, participant, type, clearing, queued_at, stanza)"
    " SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10 WHERE EXISTS (SELECT 1 FROM devices WHERE row = ?2)"
)


class Clearing(StrEnum):
    """Which answer makes the server forget a stanza."""

    DELIVERED = "delivered"
    """A message of others: a receipt without type, `inactive`, `read` or `played`; or an ack."""
    SENDER = "sender"
    """Our own message to someone, sent elsewhere: a `sender` receipt and nothing else."""
    OWN = "own"
    """A message of our own account for this device, or a note to ourselves: any receipt but `retry`; or an ack."""
    ACK = "ack"
    """Everything else: an ack of its class, id and type."""


class Waiting(Secret, frozen=True):
    """A stanza that waits: tag, id, whom it is from (JID text), and the encoded node."""

    position: int
    kind: str
    id: str
    peer: str
    participant: str
    type: str
    clearing: Clearing
    stanza: bytes


def clearing_of(node: Node) -> Clearing:
    """Return what makes the server forget a stanza that it delivers."""
    if node.tag != "message":
        return Clearing.ACK
    if "recipient" in node.attrs:
        return Clearing.SENDER
    return Clearing.OWN if node.attrs.get("category") == "peer" else Clearing.DELIVERED


class WaitingTable:
    """The rows, behind functions in the queue's words.

    A stanza that came since the last commit, or was forgotten since, is so in memory first. Stanzas that came since the
    sandbox began are remembered while they wait, so that an answer to one is no question to the file.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._db = state.connection
        self._counts: dict[int, int] = {}
        self._known: dict[int, dict[int, Waiting]] = {}  # by device and position; all of them where there are as many
        self._by_id: dict[tuple[int, str, str], list[Waiting]] = {}  # the same, by device, tag and id
        self._known_count = 0
        self._fresh: dict[int, tuple[int, int, Waiting]] = {}  # device, time and stanza of what is not in the file yet
        self._gone: dict[int, int] = {}  # device of what is still in the file
        (last,) = self._db.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'queue'").fetchone()
        self._last: int = last or 0
        state.on_rollback(self._forget_known)
        state.before_commit(self._write)

    def add(self, row: int, node: Node, clearing: Clearing, *, unix: int, encoded: bytes | None = None) -> Waiting:
        """Keep a stanza for the device of that row; the oldest beyond `MAX_WAITING` goes."""
        attrs = node.attrs
        stanza = Waiting(
            self._last + 1,
            node.tag,
            str(attrs.get("id", "")),
            str(attrs.get("from", "")),
            str(attrs.get("participant", "")),
            str(attrs.get("type", "")),
            clearing,
            encode_node(node) if encoded is None else encoded,
        )
        count = self.count(row)
        self._last = position = stanza.position
        self._state.undo_by(lambda: self._fresh.pop(position, None))
        self._fresh[position] = row, unix, stanza
        self._remember(row, stanza)
        self._counts[row] = count + 1
        if count >= MAX_WAITING:
            self._drop_oldest(row)
        return stanza

    def _drop_oldest(self, row: int) -> None:
        self._flush()
        (oldest,) = self._db.execute("SELECT min(position) FROM queue WHERE device = ?", (row,)).fetchone()
        self.remove(row, [oldest])

    def _remember(self, row: int, stanza: Waiting) -> None:
        if self._known_count >= MAX_KNOWN:
            self._forget_stanzas()
        self._known.setdefault(row, {})[stanza.position] = stanza
        self._by_id.setdefault((row, stanza.kind, stanza.id), []).append(stanza)
        self._known_count += 1

    def _drop(self, row: int, position: int) -> None:
        stanza = self._known.get(row, {}).pop(position, None)
        if stanza is None:
            return
        key = row, stanza.kind, stanza.id
        left = [other for other in self._by_id[key] if other is not stanza]
        if left:
            self._by_id[key] = left
        else:
            del self._by_id[key]
        self._known_count -= 1

    def _forget_stanzas(self) -> None:
        self._known.clear()
        self._by_id.clear()
        self._known_count = 0

    def _forget_known(self) -> None:
        self._counts.clear()
        self._forget_stanzas()

    def count(self, row: int) -> int:
        """Return how many stanzas wait for a device."""
        known = self._counts.get(row)
        if known is None:
            self._flush()
            (known,) = self._db.execute("SELECT count(*) FROM queue WHERE device = ?", (row,)).fetchone()
            self._counts[row] = known
        return known

    def kinds(self, row: int) -> Counter[str]:
        """Return how many stanzas of each tag wait for a device."""
        self._flush()
        rows = self._db.execute("SELECT kind, count(*) FROM queue WHERE device = ? GROUP BY kind", (row,))
        return Counter(dict(rows.fetchall()))

    def positions(self, row: int) -> list[tuple[int, str]]:
        """Return where a device's stanzas stand and whom they are from, oldest first."""
        self._flush()
        rows = self._db.execute("SELECT position, peer FROM queue WHERE device = ? ORDER BY position", (row,))
        return rows.fetchall()

    def at(self, position: int) -> Waiting | None:
        """Return the stanza at that position, None where it is forgotten."""
        if position in self._fresh:
            return self._fresh[position][2]
        if position in self._gone:
            return None
        found = self._db.execute(f"SELECT {_COLUMNS} FROM queue WHERE position = ?", (position,)).fetchone()  # noqa: S608 -- this module's own text
        return None if found is None else _waiting(found)

    def of_id(self, row: int, kind: str, stanza_id: str) -> list[Waiting]:
        """Return a device's stanzas of that tag and id, oldest first."""
        if len(self._known.get(row, ())) == self.count(row):
            return list(self._by_id.get((row, kind, stanza_id), ()))
        self._flush()
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM queue WHERE device = ? AND kind = ? AND id = ? ORDER BY position",  # noqa: S608 -- this module's own text
            (row, kind, stanza_id),
        )
        return [_waiting(found) for found in rows]

    def remove(self, row: int, positions: Collection[int]) -> None:
        """Forget the stanzas of a device at these positions."""
        for position in positions:
            count = self.count(row)
            if not self._is_waiting(row, position):
                continue
            self._remove(row, position)
            self._counts[row] = count - 1
            self._drop(row, position)

    def _is_waiting(self, row: int, position: int) -> bool:
        if position in self._known.get(row, ()):
            return True
        if position in self._fresh or position in self._gone:
            return position in self._fresh and self._fresh[position][0] == row
        found = self._db.execute("SELECT 1 FROM queue WHERE position = ? AND device = ?", (position, row)).fetchone()
        return found is not None

    def _remove(self, row: int, position: int) -> None:
        fresh = self._fresh.pop(position, None)
        if fresh is not None:
            self._state.undo_by(lambda: self._fresh.update({position: fresh}))
        else:
            self._gone[position] = row
            self._state.undo_by(lambda: self._gone.pop(position, None))

    def _flush(self) -> None:
        if self._fresh or self._gone:
            with self._state.writing():
                self._write()

    def _write(self) -> None:
        if self._fresh:
            fresh = dict(sorted(self._fresh.items()))
            self._db.executemany(_INSERT, [_row(*added) for added in fresh.values()])
            self._fresh.clear()
            self._state.undo_by(lambda: self._fresh.update(fresh))
        if self._gone:
            gone = dict(self._gone)
            self._db.executemany("DELETE FROM queue WHERE position = ? AND device = ?", list(gone.items()))
            self._gone.clear()
            self._state.undo_by(lambda: self._gone.update(gone))

    def forget_device(self, row: int) -> None:
        """Note that a device is gone, and its rows with it."""
        for position in [position for position, (device, _, _) in self._fresh.items() if device == row]:
            self._remove(row, position)
        self._counts.pop(row, None)
        for position in list(self._known.get(row, ())):
            self._drop(row, position)
        self._known.pop(row, None)

    def expire(self, unix: int) -> None:
        """Forget what has waited for 14 days."""
        self._flush()
        with self._state.writing() as cursor:
            # Positions grow with time, so the oldest row tells whether there is anything to do.
            oldest = cursor.execute("SELECT queued_at FROM queue ORDER BY position LIMIT 1").fetchone()
            if oldest is not None and oldest[0] <= unix - KEPT_S:
                self._forget_known()
                cursor.execute("DELETE FROM queue WHERE queued_at <= ?", (unix - KEPT_S,))


def _waiting(row: tuple[Any, ...]) -> Waiting:
    position, kind, stanza_id, peer, participant, type_, clearing, stanza = row
    return Waiting(position, kind, stanza_id, peer, participant, type_, Clearing(clearing), stanza)


def _row(device: int, unix: int, added: Waiting) -> tuple[Any, ...]:
    names = added.id, added.peer, added.participant, added.type
    return added.position, device, added.kind, *names, str(added.clearing), unix, added.stanza
