"""What phones have read and sent, in order: kept, asked for by tests, and looked up when something refers to a message.

Rule: one row per ciphertext that arrived, whatever became of it, so that a message which was encrypted twice shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec
from msgspec.structs import replace

from whatisup import control
from whatisup.crypto import Secret
from whatisup.sandbox.state import State

MAX_ROWS: Final = 100_000
"""How many rows of either log are kept for one phone."""

_TRIM_EVERY: Final = 256
_RECEIVED: Final = "position, id, chat, author, lid, device, is_own, kind, body, sha256, verdict, reason, count, t, at"
_SENT: Final = "position, id, chat, kind, body, queued_at, acked_at, t, error, failure"

_INSERT_SENT: Final = (
    "INSERT INTO people_sent (number, id, chat, kind, body, queued_at, acked_at, t, error, message, stanza, secret)"
    " VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"
)
_INSERT_RECEIVED: Final = (
    "INSERT INTO people_received (number, id, chat, author, lid, device, is_own, kind, body, sha256,"
    " verdict, reason, count, t, at, is_seen, as_lid, message, secret)"
    " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,0,?,?,?)"
)
_NOTE: Final = (
    "INSERT INTO people_receipts SELECT number, id, ?, ?, ?, ?, 1 FROM people_sent"
    " WHERE number = ? AND id = ? ON CONFLICT DO UPDATE SET count = count + 1"
)


class Verdict(StrEnum):
    """What became of a ciphertext."""

    READ = "read"
    DUPLICATE = "duplicate"
    UNDECRYPTABLE = "undecryptable"


class Arrival(Secret, frozen=True, kw_only=True):
    """One ciphertext that arrived.

    `chat` and `author` are numbers (a group's JID as `chat`), `lid` is the author's hidden id; `t` is in unix seconds,
    `at` in unix milliseconds. `as_lid`: the stanza named people by hidden id. `message` is the serialized, unwrapped
    content.
    """

    id: str
    chat: str
    author: str
    lid: str
    device: int
    is_own: bool
    sha256: bytes
    verdict: Verdict
    t: int
    at: int
    as_lid: bool
    kind: str = ""
    body: dict[str, Any] | None = None
    reason: str | None = None
    count: int = 0
    message: bytes | None = None
    secret: bytes | None = None


class Known(Secret, frozen=True):
    """A message of a chat as a phone remembers it: who wrote it when, what it said, the secret that came with it."""

    id: str
    chat: str
    author: str
    t: int
    as_lid: bool
    message: bytes
    secret: bytes | None


class Sent(Secret, frozen=True):
    """A message that a phone was told to send; `stanza` is how its stanza looks, without ciphertexts (JSON)."""

    id: str
    chat: str
    body: dict[str, Any] | None
    t: int | None
    acked_at: int | None
    message: bytes | None
    stanza: bytes | None


class Sealed(Secret, frozen=True):
    """What a sent message became: its serialized content, how its stanza looks (JSON), when it went out (unix s)."""

    id: str
    t: int
    message: bytes
    stanza: bytes
    secret: bytes | None


class _Draft(Secret, frozen=True):
    """A message that a phone was told to send, before it is in the file."""

    sent: Sent
    kind: str
    queued_at: int
    error: int | None = None
    secret: bytes | None = None


_Receipt: TypeAlias = tuple[str, int, str, int, str, str]  # reader, device, kind, time; whose message, and its id


class Logs:
    """The logs of all phones."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._db = state.connection
        # What is not in the file yet: it is written there by one statement for all, once all that is known.
        self._drafts: dict[tuple[str, str], _Draft] = {}
        self._arrivals: list[tuple[str, Arrival]] = []
        self._read: set[tuple[str, bytes | str]] = set()  # by number: hashes, and author with id, of such arrivals
        self._receipts: list[_Receipt] = []
        state.before_commit(self._write)

    # what was read

    def was_read(self, number: str, sha256: bytes) -> bool:
        """Whether this phone has read that very ciphertext."""
        if (number, sha256) in self._read:
            return True
        row = self._db.execute(
            "SELECT 1 FROM people_received WHERE number = ? AND sha256 = ? AND verdict = ? LIMIT 1",
            (number, sha256, Verdict.READ),
        ).fetchone()
        return row is not None

    def has_read(self, number: str, author: str, message_id: str) -> bool:
        """Whether this phone has read a message of that author under that id."""
        if (number, f"{author} {message_id}") in self._read:
            return True
        row = self._db.execute(
            "SELECT 1 FROM people_received WHERE number = ? AND id = ? AND author = ? AND verdict = ? LIMIT 1",
            (number, message_id, author, Verdict.READ),
        ).fetchone()
        return row is not None

    def add(self, number: str, arrival: Arrival) -> None:
        """Keep what became of a ciphertext."""
        self._arrivals.append((number, arrival))
        self._state.undo_by(self._arrivals.pop)
        if arrival.verdict == Verdict.READ:
            for name in (number, arrival.sha256), (number, f"{arrival.author} {arrival.id}"):
                if name not in self._read:
                    self._read.add(name)
                    self._state.undo_by(partial(self._read.discard, name))

    def unseen(self, number: str, chat: str, ids: Sequence[str] = ()) -> list[tuple[str, str]]:
        """Return (id, author) of what a chat's others wrote and nobody looked at: of these ids, or all."""
        self._flush()
        rows = self._db.execute(
            "SELECT DISTINCT id, author FROM people_received WHERE number = ? AND chat = ? AND is_own = 0"
            " AND is_seen = 0 AND verdict = ? AND kind <> '' ORDER BY position",
            (number, chat, Verdict.READ),
        )
        return [(message_id, author) for message_id, author in rows if not ids or message_id in ids]

    def mark_seen(self, number: str, chat: str, ids: Sequence[str]) -> None:
        """Note that the phone's owner looked at these messages."""
        self._flush()
        with self._state.writing() as cursor:
            cursor.executemany(
                "UPDATE people_received SET is_seen = 1 WHERE number = ? AND id = ? AND chat = ?",
                ((number, message_id, chat) for message_id in ids),
            )

    def received(self, number: str, after: int, limit: int) -> list[control.ReceivedMessage]:
        """Return what arrived behind that position, in order."""
        self._flush()
        rows = self._db.execute(
            f"SELECT {_RECEIVED} FROM people_received WHERE number = ? AND position > ? ORDER BY position LIMIT ?",  # noqa: S608 -- the columns are this module's own text
            (number, after, limit),
        )
        return [_received(row) for row in rows]

    # what was sent

    def draft(self, number: str, message_id: str, chat: str, kind: str, body: dict[str, Any] | None, at: int) -> None:
        """Keep what a phone was told to send, under an id that it has not used before."""
        self._put_draft(number, _Draft(Sent(message_id, chat, body, None, None, None, None), kind, at))

    def _put_draft(self, number: str, draft: _Draft) -> None:
        key, drafts = (number, draft.sent.id), self._drafts
        before = drafts.get(key)
        if before is None:
            self._state.undo_by(lambda: drafts.pop(key, None))
        else:
            self._state.undo_by(lambda: drafts.update({key: before}))
        drafts[key] = draft

    def went_out(self, number: str, sealed: Sealed, acked_at: int | None, error: int | None) -> None:
        """Keep what went out, for those who ask for it again, and the server's word on it where it gave one."""
        draft = self._drafts.get((number, sealed.id))
        if draft is not None:
            sent = replace(draft.sent, t=sealed.t, acked_at=acked_at, message=sealed.message, stanza=sealed.stanza)
            self._put_draft(number, replace(draft, sent=sent, error=error, secret=sealed.secret))
            return
        with self._state.writing() as cursor:
            cursor.execute(
                "UPDATE people_sent SET t = ?, message = ?, stanza = ?, secret = ?, acked_at = ?, error = ?"
                " WHERE number = ? AND id = ?",
                (sealed.t, sealed.message, sealed.stanza, sealed.secret, acked_at, error, number, sealed.id),
            )

    def failed(self, number: str, message_id: str, failure: str) -> None:
        """Note why a message was never sent."""
        self._flush()
        with self._state.writing() as cursor:
            cursor.execute(
                "UPDATE people_sent SET failure = ? WHERE number = ? AND id = ?", (failure, number, message_id)
            )

    def sent_one(self, number: str, message_id: str) -> Sent | None:
        """Return a message that this phone was told to send."""
        draft = self._drafts.get((number, message_id))
        if draft is not None:
            return draft.sent
        row = self._db.execute(
            "SELECT id, chat, body, t, acked_at, message, stanza FROM people_sent WHERE number = ? AND id = ?",
            (number, message_id),
        ).fetchone()
        return None if row is None else Sent(row[0], row[1], _object(row[2]), *row[3:])

    def receipt(self, number: str, message_id: str, reader: str, device: int, kind: str, at: int) -> None:
        """Note what a device did with a message of this phone. Unknown ids are ignored."""
        self._receipts.append((reader, device, kind, at, number, message_id))
        self._state.undo_by(self._receipts.pop)

    def retry(self, number: str, message_id: str, reader: str, device: int, at: int) -> int:
        """Note that a device asks for a message of this phone again; return how often it did, 0 for unknown ids."""
        self._flush()
        with self._state.writing() as cursor:
            row = cursor.execute(
                f"{_NOTE} RETURNING count", (reader, device, "retry", at, number, message_id)
            ).fetchone()
        return 0 if row is None else int(row[0])

    def sent(self, number: str, after: int, limit: int) -> list[control.SentMessage]:
        """Return what a phone was told to send behind that position, in order."""
        self._flush()
        rows = self._db.execute(
            f"SELECT {_SENT} FROM people_sent WHERE number = ? AND position > ? ORDER BY position LIMIT ?",  # noqa: S608 -- the columns are this module's own text
            (number, after, limit),
        ).fetchall()
        return [self._sent(number, row) for row in rows]

    def _sent(self, number: str, row: tuple[Any, ...]) -> control.SentMessage:
        position, message_id, chat, kind, body, queued_at, acked_at, t, error, failure = row
        said = _object(body)
        receipts = self._db.execute(
            "SELECT reader, device, kind, at FROM people_receipts WHERE number = ? AND id = ?"
            " ORDER BY at, reader, device",
            (number, message_id),
        )
        return control.SentMessage(
            position=position,
            id=message_id,
            to=chat,
            kind=kind,
            text=_text(said),
            body=said,
            queued_at=queued_at,
            acked_at=acked_at,
            t=t,
            error=error,
            failure=failure,
            receipts=[control.Receipt(*receipt) for receipt in receipts],
        )

    # both

    def known(self, number: str, chat: str, message_id: str) -> Known | None:
        """Return a message of a chat that this phone has read or written."""
        self._flush()
        row = self._db.execute(
            "SELECT id, chat, author, t, as_lid, message, secret FROM people_received"
            " WHERE number = ? AND id = ? AND chat = ? AND message IS NOT NULL AND kind <> ''"
            " ORDER BY position LIMIT 1",
            (number, message_id, chat),
        ).fetchone()
        row = (
            row
            or self._db.execute(
                "SELECT id, chat, number, coalesce(t, 0), 1, message, secret FROM people_sent"
                " WHERE number = ? AND id = ? AND chat = ? AND message IS NOT NULL",
                (number, message_id, chat),
            ).fetchone()
        )
        return None if row is None else Known(*row)

    # what is not in the file yet

    def _flush(self) -> None:
        if self._drafts or self._arrivals or self._receipts:
            with self._state.writing():
                self._write()

    def _write(self) -> None:
        if self._drafts:
            self._write_drafts(dict(self._drafts))
        if self._arrivals:
            self._write_arrivals(self._arrivals[:], set(self._read))
        if self._receipts:
            noted = self._receipts[:]
            self._db.executemany(_NOTE, noted)
            self._receipts.clear()
            self._state.undo_by(lambda: self._receipts.extend(noted))

    def _write_drafts(self, drafts: dict[tuple[str, str], _Draft]) -> None:
        self._db.executemany(_INSERT_SENT, [_sent_row(number, draft) for (number, _), draft in drafts.items()])
        self._drafts.clear()
        self._state.undo_by(lambda: self._drafts.update(drafts))
        self._trim("people_sent", [number for number, _ in drafts])

    def _write_arrivals(self, arrivals: list[tuple[str, Arrival]], read: set[tuple[str, bytes | str]]) -> None:
        self._db.executemany(_INSERT_RECEIVED, [_received_row(number, arrival) for number, arrival in arrivals])
        self._arrivals.clear()
        self._read.clear()
        self._state.undo_by(lambda: self._arrivals.extend(arrivals))
        self._state.undo_by(lambda: self._read.update(read))
        self._trim("people_received", [number for number, _ in arrivals])

    def _trim(self, table: str, numbers: list[str]) -> None:
        """Look at every so manieth row whether its phone has too many; `numbers` are whose rows were just added."""
        (last,) = self._db.execute(f"SELECT max(position) FROM {table}").fetchone()  # noqa: S608 -- the table is this class's own text
        for position, number in enumerate(numbers, last - len(numbers) + 1):
            if position % _TRIM_EVERY == 0:
                self._db.execute(
                    f"DELETE FROM {table} WHERE number = ? AND position <= (SELECT position FROM {table}"  # noqa: S608 -- the table is this class's own text
                    " WHERE number = ? ORDER BY position DESC LIMIT 1 OFFSET ?)",
                    (number, number, MAX_ROWS),
                )


def _sent_row(number: str, draft: _Draft) -> tuple[Any, ...]:
    sent = draft.sent
    asked = number, sent.id, sent.chat, draft.kind, _json(sent.body), draft.queued_at
    return *asked, sent.acked_at, sent.t, draft.error, sent.message, sent.stanza, draft.secret


def _received_row(number: str, arrival: Arrival) -> tuple[Any, ...]:
    return (
        *(number, arrival.id, arrival.chat, arrival.author, arrival.lid, arrival.device, arrival.is_own),
        *(arrival.kind, _json(arrival.body), arrival.sha256, arrival.verdict, arrival.reason),
        *(arrival.count, arrival.t, arrival.at, arrival.as_lid, arrival.message, arrival.secret),
    )


def _received(row: tuple[Any, ...]) -> control.ReceivedMessage:
    position, message_id, chat, author, lid, device, is_own, kind, body, sha256, verdict, reason, count, t, at = row
    said = _object(body)
    return control.ReceivedMessage(
        position=position,
        id=message_id,
        chat=chat,
        number=author,
        lid=lid,
        device=device,
        is_own=bool(is_own),
        kind=kind,
        text=_text(said),
        body=said,
        ciphertext_sha256=sha256.hex(),
        verdict=verdict,
        reason=reason,
        count=count,
        t=t,
        at=at,
    )


def _json(body: dict[str, Any] | None) -> str | None:
    return None if body is None else msgspec.json.encode(body).decode()


def _object(text: str | None) -> dict[str, Any] | None:
    return None if text is None else msgspec.json.decode(text, type=dict[str, Any])


def _text(body: dict[str, Any] | None) -> str | None:
    text = None if body is None else body.get("text")
    return text if isinstance(text, str) else None
