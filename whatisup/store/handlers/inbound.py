"""Messages as they come in: read, not readable, read after all, or known already.

Rule: writers take turns (`transaction.py`), so one SELECT at the start of a wave says what is there, and what the wave
itself adds is kept beside it. Nothing is left to a constraint: the unique identity only stands guard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from msgspec import json
from msgspec.structs import replace
from sqlalchemy import and_, bindparam, insert, select, update

from whatisup.jid import LID_SERVER
from whatisup.store import payloads
from whatisup.store.handlers.pairs import renamed
from whatisup.store.message_ops import Identity, IngestMessage, NoteUndecryptable
from whatisup.store.prepared import Prepared
from whatisup.store.tables import messages
from whatisup.store.target import Target, Told, Work
from whatisup.store.transaction import Tx
from whatisup.store.wanted import ask, both

_Key: TypeAlias = tuple[str, str, str, str]
"""Instance, chat, author and WhatsApp id."""

_KNOWN = both(
    lambda wanted: select(
        messages.c.instance_id,
        messages.c.chat,
        messages.c.author,
        messages.c.wa_id,
        messages.c.id,
        messages.c.status,
        messages.c.plaintext_hash,
        messages.c.retry_count,
        messages.c.retry_state,
        messages.c.phone_asked_at,
        messages.c.created_at,
    ).select_from(
        wanted.outerjoin(
            messages, and_(messages.c.instance_id == wanted.c.instance_id, messages.c.wa_id == wanted.c.wa_id)
        )
    ),
    "instance_id",
    "wa_id",
)

_ROW: Final = ("id", "status", "plaintext_hash", "retry_count", "retry_state", "phone_asked_at", "created_at")

_READ_NOW: Final = (
    "kind", "status", "reason", "push_name", "plaintext_hash", "data_key_id", "body", "original", "server_at",
    "retry_state", "settled_at", "trace",
)  # fmt: skip
"""What changes when an undecryptable message is read after all."""

_NOTED: Final = ("reason", "retry_count", "retry_state", "phone_asked_at")
"""What changes when it is not read once more."""


def _updating(columns: tuple[str, ...]) -> Prepared:
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in columns}
    return Prepared(update(messages).where(messages.c.id == bindparam("message")).values(values))


_INSERT: Final = Prepared(insert(messages))
_READ_AFTER_ALL, _NOTE_AGAIN = _updating(_READ_NOW), _updating(_NOTED)


@dataclass(slots=True)
class _Row:
    """A row of one identity, as it is in the database or will be at the end of the wave.

    `values` is what will be inserted, None for a row that is there already.
    """

    id: str
    status: str
    plaintext_hash: bytes
    retry_count: int
    retry_state: str | None
    phone_asked_at: int | None
    created_at: int
    values: dict[str, Any] | None = None

    @property
    def is_unread(self) -> bool:
        """Whether this is a message that could not be read so far."""
        return self.status == "undecryptable"


class _Wave:
    """The rows that a wave of units is about, and what it does to them."""

    def __init__(self, tx: Tx, work: Work) -> None:
        self._tx = tx
        self._known: dict[_Key, list[_Row]] = {}
        self._new: list[dict[str, Any]] = []
        self._read: dict[str, dict[str, Any]] = {}
        self._noted: dict[str, dict[str, Any]] = {}
        self._renamed = {
            target.id: names for target in {t.id: t for t, _ in work}.values() if (names := renamed(target))
        }
        for row in ask(tx.conn, _KNOWN, ((target.id, op.identity.wa_id) for target, op in work)):
            key = (row.instance_id, row.chat, row.author, row.wa_id)
            self._known.setdefault(key, []).append(_Row(**{name: getattr(row, name) for name in _ROW}))

    def _identity(self, target: Target, identity: Identity) -> Identity:
        """The identity under the LIDs that the unit itself has learned, wherever in the unit that was."""
        names = self._renamed.get(target.id)
        if names is None:
            return identity
        chat, author = names.get(identity.chat), names.get(identity.author)
        if chat is not None:
            identity = replace(identity, chat=f"{chat}@{LID_SERVER}", chat_lid=chat)
        if author is not None:
            identity = replace(identity, author=f"{author}@{LID_SERVER}", author_lid=author)
        return identity

    def _rows(self, target: Target, identity: Identity) -> list[_Row]:
        return self._known.setdefault((target.id, identity.chat, identity.author, identity.wa_id), [])

    def ingest(self, target: Target, op: IngestMessage) -> None:
        """A message was read."""
        identity = self._identity(target, op.identity)
        rows = self._rows(target, identity)
        mark = self._tx.vault.mark_plaintext(target.id, op.plaintext_hash)
        unread = next((row for row in rows if row.is_unread), None)
        # An empty hash on anything else is a message that this gateway sent: a copy of it is no news.
        if any(row.plaintext_hash == mark or not (row.plaintext_hash or row.is_unread) for row in rows):
            return
        if unread is None:
            values = self._read_values(target, op, identity, mark, self._tx.new_id("msg"), op.received_at)
            values["is_flagged"] = bool(rows)
            self._insert(rows, values)
        else:
            values = self._read_values(target, op, identity, mark, unread.id, unread.created_at)
            self._replace(unread, values)
        kind = payloads.SENT if op.source == "phone" else payloads.RECEIVED
        data = payloads.received(values, op.body, op.context)
        target.told.append(Told(kind, data, self._tx.now, op, message_id=values["id"], trace=op.trace))

    def note(self, target: Target, op: NoteUndecryptable) -> None:
        """A message could not be read."""
        identity = self._identity(target, op.identity)
        rows = self._rows(target, identity)
        unread = next((row for row in rows if row.is_unread), None)
        if unread is not None:
            was_ended = unread.retry_state == "ended"
            values = self._note_again(target, unread, op, identity)
            if was_ended or unread.retry_state != "ended":
                return
        elif rows:
            return
        else:
            values = self._unread_values(target, op, identity)
            self._insert(rows, values)
        data = payloads.undecryptable(values, hide=op.hide)
        target.told.append(Told(payloads.UNDECRYPTABLE, data, self._tx.now, op, trace=op.trace))

    def _insert(self, rows: list[_Row], values: dict[str, Any]) -> None:
        self._new.append(values)
        rows.append(_Row(**{name: values[name] for name in _ROW}, values=values))

    def _replace(self, row: _Row, values: dict[str, Any]) -> None:
        row.status, row.plaintext_hash = values["status"], values["plaintext_hash"]
        if row.values is not None:
            row.values.update(values)
        else:
            self._noted.pop(row.id, None)
            self._read[row.id] = {"message": row.id} | {f"new_{name}": values[name] for name in _READ_NOW}

    def _note_again(self, target: Target, row: _Row, op: NoteUndecryptable, identity: Identity) -> dict[str, Any]:
        row.retry_count = max(row.retry_count, op.retry_count)
        row.retry_state = "ended" if row.retry_state == "ended" else op.retry_state
        row.phone_asked_at = op.phone_asked_at or row.phone_asked_at
        changes = {
            "reason": op.reason,
            "retry_count": row.retry_count,
            "retry_state": row.retry_state,
            "phone_asked_at": row.phone_asked_at,
        }
        if row.values is not None:
            row.values.update(changes)
        else:
            self._noted[row.id] = {"message": row.id} | {f"new_{name}": changes[name] for name in _NOTED}
        return {**self._unread_values(target, op, identity), **changes, "id": row.id, "created_at": row.created_at}

    def _read_values(
        self, target: Target, op: IngestMessage, identity: Identity, mark: bytes, message_id: str, created_at: int
    ) -> dict[str, Any]:
        key, vault = target.event_key(), self._tx.vault
        return {
            **_identity_values(target, op, identity, message_id, created_at),
            "kind": op.kind,
            "status": "received" if op.source == "contact" else "sent",
            "reason": None,
            "plaintext_hash": mark,
            "data_key_id": key.id,
            "body": vault.seal(key, "messages", "body", (message_id,), json.encode(op.body)),
            "original": op.original and vault.seal(key, "messages", "original", (message_id,), op.original),
            "retry_count": 0,
            "retry_state": None,
            "phone_asked_at": None,
            "settled_at": self._tx.now,
        }

    def _unread_values(self, target: Target, op: NoteUndecryptable, identity: Identity) -> dict[str, Any]:
        return {
            **_identity_values(target, op, identity, self._tx.new_id("msg"), op.received_at),
            "kind": "undecryptable",
            "status": "undecryptable",
            "reason": op.reason,
            "plaintext_hash": b"",
            "data_key_id": None,
            "body": None,
            "original": None,
            "retry_count": op.retry_count,
            "retry_state": op.retry_state,
            "phone_asked_at": op.phone_asked_at,
            "settled_at": None,
        }

    def finish(self) -> None:
        """Write what was gathered: a statement for each kind of change."""
        conn = self._tx.conn
        _INSERT.many(conn, self._new)
        _READ_AFTER_ALL.many(conn, list(self._read.values()))
        _NOTE_AGAIN.many(conn, list(self._noted.values()))


def _identity_values(
    target: Target, op: IngestMessage | NoteUndecryptable, identity: Identity, message_id: str, created_at: int
) -> dict[str, Any]:
    return {
        "id": message_id,
        "customer_id": target.customer_id,
        "mode": target.mode.value,
        "instance_id": target.id,
        "direction": "in" if op.source == "contact" else "out",
        "source": op.source,
        "wa_id": identity.wa_id,
        "chat": identity.chat,
        "author": identity.author,
        "chat_phone": identity.chat_phone,
        "chat_lid": identity.chat_lid,
        "author_phone": identity.author_phone,
        "author_lid": identity.author_lid,
        "client_ref": None,
        "request_id": None,
        "push_name": op.push_name,
        "is_flagged": False,
        "is_backlog": op.is_backlog,
        "created_at": created_at,
        "server_at": op.server_at,
        "trace": op.trace,
    }


def take_in(tx: Tx, work: Work) -> None:
    """Apply what was read and what could not be, in the order in which it came."""
    wave = _Wave(tx, work)
    for target, op in work:
        if isinstance(op, IngestMessage):
            wave.ingest(target, op)
        else:
            wave.note(target, op)
    wave.finish()
