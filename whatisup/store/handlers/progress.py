"""How far messages of ours get: acks, receipts and failures, each moving a status forward or not at all.

Rule: `_RANK` is the whole order. A step that does not lead forward changes nothing and is not told; `failed` can be
left only by a receipt that proves arrival. A message that was never sealed cannot have been sent, whatever a peer says
of its id, so acks and receipts of it are ignored.

A receipt proves something of the chat it came from and of no other. Whether two names are one chat, the message's row
says, or the pair that the instance has learned. While neither knows, the receipt is held, in the message's history
under a name of its own, and counts as soon as the pair is learned (`pairs.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from msgspec import json
from sqlalchemy import Select, Subquery, and_, bindparam, delete, select, update

from whatisup.jid import LID_SERVER, PN_SERVER
from whatisup.store import payloads
from whatisup.store.message_ops import AckMessage, CloseOutbox, FailMessage, RecordReceipt
from whatisup.store.names import is_user, learned, own_other, paired
from whatisup.store.prepared import Prepared
from whatisup.store.tables import message_history, messages, outbox
from whatisup.store.target import Target, Told, Work
from whatisup.store.transaction import Tx
from whatisup.store.upsert import insert_new
from whatisup.store.wanted import ask, both

_RANK: Final = {"queued": 0, "failed": 0, "sent": 1, "delivered": 2, "read": 3, "played": 4}
_NEVER_SENT: Final = ("queued", "failed")
HELD: Final = "held:"
"""How the kind of a receipt begins in the history that is not known to be of the message's chat; its name is there."""

_COLUMNS = (
    messages.c.position,
    messages.c.id,
    messages.c.instance_id,
    messages.c.wa_id,
    messages.c.chat,
    messages.c.chat_phone,
    messages.c.chat_lid,
    messages.c.source,
    messages.c.client_ref,
    messages.c.request_id,
    messages.c.status,
    messages.c.reason,
    messages.c.detail,
    messages.c.server_at,
    messages.c.settled_at,
    messages.c.trace,
    outbox.c.stage,
    outbox.c.stanza.is_not(None).label("has_stanza"),
    outbox.c.resync_devices.is_not(None).label("has_missed_devices"),
)


def sent_messages() -> Select[Any]:
    """Messages of ours with their place in the outbox, for `Sent`."""
    return (
        select(*_COLUMNS)
        .select_from(messages.outerjoin(outbox, outbox.c.position == messages.c.position))
        .where(messages.c.direction == "out")
    )


def _wanted(wanted: Subquery, *conditions: Any) -> Select[Any]:
    ours = wanted.outerjoin(messages, and_(messages.c.direction == "out", *conditions))
    return select(*_COLUMNS).select_from(ours.outerjoin(outbox, outbox.c.position == messages.c.position))


_BY_WA_ID = both(
    lambda wanted: _wanted(wanted, messages.c.instance_id == wanted.c.instance_id, messages.c.wa_id == wanted.c.wa_id),
    "instance_id",
    "wa_id",
)
_BY_ID = both(lambda wanted: _wanted(wanted, messages.c.id == wanted.c.id), "id")

_CHANGED: Final = ("status", "reason", "detail", "server_at", "settled_at")
_MOVE: Final = Prepared(
    update(messages)
    .where(messages.c.position == bindparam("at_position"))
    .values({name: bindparam(f"new_{name}") for name in _CHANGED})
)
_LEAVE: Final = Prepared(delete(outbox).where(outbox.c.position == bindparam("at_position")))
_RESYNC: Final = Prepared(
    update(outbox)
    .where(outbox.c.position == bindparam("at_position"))
    .values(stage="resync", stanza=None, resync_devices=bindparam("devices"))
)
# The stanza stays: it says who was served.
_MISS: Final = Prepared(update(outbox).where(outbox.c.position == bindparam("at_position")).values(resync_devices="[]"))

_DROP_HELD: Final = Prepared(
    delete(message_history).where(
        message_history.c.message_id == bindparam("message"),
        message_history.c.kind == bindparam("held"),
        message_history.c.participant == bindparam("who"),
    )
)
_STEP: Final = Prepared(lambda dialect: insert_new(dialect, message_history))


class HeldReceipt(NamedTuple):
    """A receipt as the history holds it: its kind behind `HELD`, and as participant the chat it came from."""

    message_id: str
    kind: str
    participant: str
    at: int


@dataclass(slots=True)
class Sent:
    """A message of ours within a transaction: `row` as it will be, and what becomes of its place in the outbox."""

    row: dict[str, Any]
    is_changed: bool = False
    has_left: bool = False
    resync_devices: tuple[str, ...] | None = None
    history: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def stage(self) -> str | None:
        """Its stage in the outbox, None once it has left."""
        return None if self.has_left else self.row["stage"]

    def leave(self, now: int) -> None:
        """Nothing is left to send of it."""
        if self.stage is not None:
            self.has_left = True
        if self.row["settled_at"] is None:
            self.row["settled_at"] = now
            self.is_changed = True

    def is_of(self, chat: str) -> bool:
        """Whether it was said in this chat, called by either name."""
        row = self.row
        return chat in (row["chat"], f"{row['chat_phone']}@{PN_SERVER}", f"{row['chat_lid']}@{LID_SERVER}")

    def may_be_of(self, chat: str) -> bool:
        """Whether this chat may turn out to be the one it was said in: it is named as the row's own is not yet."""
        row, server = self.row, chat.rpartition("@")[2]
        lacks = {PN_SERVER: row["chat_phone"] is None, LID_SERVER: row["chat_lid"] is None}
        return is_user(row["chat"]) and lacks.get(server, False)


def advance(tx: Tx, target: Target, sent: Sent, status: str, at: int, *, participant: str, op: object) -> None:
    """Move a message forward to `status`, as WhatsApp told at `at` (unix ms), and tell of it; or do nothing."""
    row = sent.row
    sent.history.setdefault((status, participant), at)
    if row["status"] in _NEVER_SENT and status != "sent":
        advance(tx, target, sent, "sent", at, participant="", op=op)
    if _RANK[status] <= _RANK[row["status"]]:
        return
    row["status"], row["reason"], row["detail"] = status, None, None
    if row["server_at"] is None:
        row["server_at"] = at
    sent.is_changed = True
    data = payloads.progress(row, status, at)
    if status != "sent":
        data["participant"] = participant
    target.told.append(Told(f"message.{status}", data, tx.now, op, trace=row["trace"]))


def fail(tx: Tx, target: Target, sent: Sent, reason: str, detail: str, at: int, *, op: object) -> None:
    """Fail a message that was not sent, and tell of it; one that was sent merely leaves the outbox."""
    row = sent.row
    if row["status"] == "queued":
        row["status"], row["reason"], row["detail"] = "failed", reason, detail
        sent.is_changed = True
        sent.history.setdefault(("failed", ""), at)
        data = payloads.failed(row, reason, detail, at)
        target.told.append(Told(payloads.FAILED, data, tx.now, op, trace=row["trace"]))
    sent.leave(tx.now)


def write(tx: Tx, sent: Iterable[Sent]) -> None:
    """Write what became of messages: a statement for each kind of change."""
    moved: list[dict[str, Any]] = []
    left: list[dict[str, Any]] = []
    again: list[dict[str, Any]] = []
    unknown: list[dict[str, Any]] = []
    steps: list[dict[str, Any]] = []
    for one in sent:
        place = {"at_position": one.row["position"]}
        if one.is_changed:
            moved.append(place | {f"new_{name}": one.row[name] for name in _CHANGED})
        if one.has_left:
            left.append(place)
        elif one.resync_devices:
            again.append(place | {"devices": json.encode(one.resync_devices).decode()})
        elif one.resync_devices is not None:
            unknown.append(place)
        steps += [
            {"message_id": one.row["id"], "kind": kind, "participant": participant, "at": at}
            for (kind, participant), at in one.history.items()
        ]
    for statement, rows in ((_MOVE, moved), (_LEAVE, left), (_RESYNC, again), (_MISS, unknown), (_STEP, steps)):
        statement.many(tx.conn, rows)


# --- the operations -------------------------------------------------------------------------------------------------


class _Wave:
    """The messages that a wave of units is about."""

    def __init__(self, tx: Tx, ids: Iterable[tuple[str]], wa_ids: Iterable[tuple[str, str]]) -> None:
        self._tx = tx
        self.by_id: dict[str, Sent] = {}
        self._by_wa_id: dict[tuple[str, str], list[Sent]] = {}
        self._others: dict[tuple[str, str], str | None] = {}
        for row in (*ask(tx.conn, _BY_WA_ID, wa_ids), *ask(tx.conn, _BY_ID, ids)):
            if row.id not in self.by_id:
                sent = self.by_id[row.id] = Sent(row._asdict())
                self._by_wa_id.setdefault((row.instance_id, row.wa_id), []).append(sent)

    def find(self, target: Target, name: str) -> Sequence[Sent]:
        """An instance's messages under an id of either kind."""
        one = self.by_id.get(name)
        if one is not None:
            return (one,) if one.row["instance_id"] == target.id else ()
        return self._by_wa_id.get((target.id, name), ())

    def ack(self, target: Target, op: AckMessage) -> None:
        """The server took a message."""
        for sent in self.find(target, op.wa_id):
            if sent.row["source"] != "api" or sent.stage == "queued" or sent.row["status"] == "failed":
                continue
            advance(self._tx, target, sent, "sent", op.server_at, participant="", op=op)
            is_resynced = sent.stage == "resync" and sent.row["has_stanza"]
            if sent.stage == "sealed" and op.resync_devices is not None:
                sent.resync_devices, sent.row["has_missed_devices"] = op.resync_devices, True
                if op.resync_devices:
                    sent.row["stage"], sent.row["has_stanza"] = "resync", False
            elif sent.stage == "sealed" or is_resynced:
                sent.leave(self._tx.now)

    def receipt(self, target: Target, op: RecordReceipt) -> None:
        """Somebody has messages, or has seen them."""
        for wa_id in op.wa_ids:
            for sent in self.find(target, wa_id):
                if op.chat is None or sent.is_of(op.chat) or self._is_called(target, sent, op.chat):
                    self.prove(target, sent, op.kind, op.at, participant=op.participant, op=op)
                elif sent.stage != "queued" and sent.may_be_of(op.chat) and not self._other(target, op.chat):
                    sent.history.setdefault((HELD + op.kind, op.chat), op.at)

    def prove(self, target: Target, sent: Sent, status: str, at: int, *, participant: str, op: object) -> None:
        """A receipt is about this message; one that was never sealed cannot be meant."""
        if sent.stage == "queued":
            return
        advance(self._tx, target, sent, status, at, participant=participant, op=op)
        if sent.stage == "sealed" and not sent.row["has_missed_devices"]:
            sent.leave(self._tx.now)

    def _is_called(self, target: Target, sent: Sent, chat: str) -> bool:
        """Whether a message was said in this chat under the other name, which its row does not know."""
        other = self._other(target, chat)
        names = None if other is None else paired(chat, other)
        return names is not None and (
            sent.is_of(f"{names.phone}@{PN_SERVER}") or sent.is_of(f"{names.lid}@{LID_SERVER}")
        )

    def _other(self, target: Target, chat: str) -> str | None:
        """The other name (digits) of a chat, as far as it is known."""
        if not is_user(chat):
            return None
        if (target.id, chat) not in self._others:
            found = learned(self._tx.conn, self._tx.vault, target.id, chat)
            self._others[target.id, chat] = found or own_other(target.phone_number, target.lid, chat)
        return self._others[target.id, chat]

    def failure(self, target: Target, op: FailMessage) -> None:
        """A message cannot be sent."""
        for sent in self.find(target, op.message):
            if sent.row["source"] == "api":
                fail(self._tx, target, sent, op.reason, op.detail, op.at, op=op)

    def close(self, target: Target, op: CloseOutbox) -> None:
        """Nothing is left to send; what was never sent cannot be dropped like this."""
        for message_id in op.message_ids:
            for sent in self.find(target, message_id):
                if sent.row["status"] != "queued":
                    sent.leave(self._tx.now)


def _named(work: Work) -> tuple[list[tuple[str]], list[tuple[str, str]]]:
    """The message ids and the (instance, WhatsApp id) that operations name."""
    ids: list[tuple[str]] = []
    wa_ids: list[tuple[str, str]] = []
    for target, op in work:
        match op:
            case AckMessage():
                wa_ids.append((target.id, op.wa_id))
            case RecordReceipt():
                wa_ids += [(target.id, wa_id) for wa_id in op.wa_ids]
            case CloseOutbox():
                ids += [(message_id,) for message_id in op.message_ids]
            case FailMessage():
                ids.append((op.message,))
                wa_ids.append((target.id, op.message))
    return ids, wa_ids


_STEPS: Final[Mapping[type, Callable[[_Wave, Target, Any], None]]] = {
    AckMessage: _Wave.ack,
    RecordReceipt: _Wave.receipt,
    FailMessage: _Wave.failure,
    CloseOutbox: _Wave.close,
}


def move(tx: Tx, work: Work) -> None:
    """Apply acks, receipts and failures in the order in which they came."""
    wave = _Wave(tx, *_named(work))
    for target, op in work:
        _STEPS[type(op)](wave, target, op)
    write(tx, wave.by_id.values())


def prove(tx: Tx, target: Target, held: Sequence[HeldReceipt], op: object) -> None:
    """Let receipts count that were held until it was known whose they are."""
    wave = _Wave(tx, ((row.message_id,) for row in held), ())
    for row in held:
        for sent in wave.find(target, row.message_id):
            wave.prove(target, sent, row.kind.removeprefix(HELD), row.at, participant="", op=op)
    write(tx, wave.by_id.values())
    _DROP_HELD.many(tx.conn, [{"message": row.message_id, "held": row.kind, "who": row.participant} for row in held])
