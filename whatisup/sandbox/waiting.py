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

_COLUMNS: Final = "position, kind, id, peer, participant, type, clearing, stanza"


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
    """The rows, behind functions in the queue's words."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._db = state.connection
        self._counts: dict[int, int] = {}
        state.on_rollback(self._counts.clear)

    def add(self, row: int, node: Node, clearing: Clearing, *, unix: int, encoded: bytes | None = None) -> Waiting:
        """Keep a stanza for the device of that row; the oldest beyond `MAX_WAITING` goes."""
        attrs = node.attrs
        keys = (node.tag, *(str(attrs.get(key, "")) for key in ("id", "from", "participant", "type")), str(clearing))
        stanza = encode_node(node) if encoded is None else encoded
        count = self.count(row) + 1
        with self._state.writing() as cursor:
            cursor.execute(
                "INSERT INTO queue (device, kind, id, peer, participant, type, clearing, queued_at, stanza)"
                " VALUES (?,?,?,?,?,?,?,?,?)",
                (row, *keys, unix, stanza),
            )
            position = cursor.lastrowid or 0
            if count > MAX_WAITING:
                cursor.execute(
                    "DELETE FROM queue WHERE position = (SELECT min(position) FROM queue WHERE device = ?)", (row,)
                )
                count -= 1
            self._counts[row] = count
        kind, stanza_id, peer, participant, type_ = keys[:5]
        return Waiting(position, kind, stanza_id, peer, participant, type_, clearing, stanza)

    def count(self, row: int) -> int:
        """Return how many stanzas wait for a device."""
        known = self._counts.get(row)
        if known is None:
            (known,) = self._db.execute("SELECT count(*) FROM queue WHERE device = ?", (row,)).fetchone()
            self._counts[row] = known
        return known

    def kinds(self, row: int) -> Counter[str]:
        """Return how many stanzas of each tag wait for a device."""
        rows = self._db.execute("SELECT kind, count(*) FROM queue WHERE device = ? GROUP BY kind", (row,))
        return Counter(dict(rows.fetchall()))

    def positions(self, row: int) -> list[tuple[int, str]]:
        """Return where a device's stanzas stand and whom they are from, oldest first."""
        rows = self._db.execute("SELECT position, peer FROM queue WHERE device = ? ORDER BY position", (row,))
        return rows.fetchall()

    def at(self, position: int) -> Waiting | None:
        """Return the stanza at that position, None where it is forgotten."""
        found = self._db.execute(f"SELECT {_COLUMNS} FROM queue WHERE position = ?", (position,)).fetchone()  # noqa: S608 -- this module's own text
        return None if found is None else _waiting(found)

    def of_id(self, row: int, kind: str, stanza_id: str) -> list[Waiting]:
        """Return a device's stanzas of that tag and id, oldest first."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM queue WHERE device = ? AND kind = ? AND id = ? ORDER BY position",  # noqa: S608 -- this module's own text
            (row, kind, stanza_id),
        )
        return [_waiting(found) for found in rows]

    def remove(self, row: int, positions: Collection[int]) -> None:
        """Forget the stanzas of a device at these positions."""
        if not positions:
            return
        count = self.count(row)
        with self._state.writing() as cursor:
            for position in positions:
                cursor.execute("DELETE FROM queue WHERE position = ? AND device = ?", (position, row))
                count -= cursor.rowcount
            self._counts[row] = count

    def forget_device(self, row: int) -> None:
        """Note that a device is gone, and its rows with it."""
        self._counts.pop(row, None)

    def expire(self, unix: int) -> None:
        """Forget what has waited for 14 days."""
        with self._state.writing() as cursor:
            # Positions grow with time, so the oldest row tells whether there is anything to do.
            oldest = cursor.execute("SELECT queued_at FROM queue ORDER BY position LIMIT 1").fetchone()
            if oldest is not None and oldest[0] <= unix - KEPT_S:
                self._counts.clear()
                cursor.execute("DELETE FROM queue WHERE queued_at <= ?", (unix - KEPT_S,))


def _waiting(row: tuple[Any, ...]) -> Waiting:
    position, kind, stanza_id, peer, participant, type_, clearing, stanza = row
    return Waiting(position, kind, stanza_id, peer, participant, type_, Clearing(clearing), stanza)
