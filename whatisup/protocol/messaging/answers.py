"""What the server is owed for a message stanza, once what it held is committed.

Rule: never before the commit, and a retry receipt before the ack: the server forgets what is acked.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from whatisup.errors import RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.messaging.keyring import Own
from whatisup.protocol.messaging.opening import Opened, Verdict
from whatisup.protocol.stanzas.ack import build_ack
from whatisup.protocol.stanzas.message import ChatKind, Envelope
from whatisup.protocol.stanzas.receipt import (
    DELIVERED,
    HIST_SYNC,
    INACTIVE,
    PEER_MSG,
    SENDER,
    RetryKeys,
    build_receipt,
    build_retry_receipt,
)
from whatisup.wire import Node

MAX_RETRIES: Final = 5
"""Retry receipts for one message; then it is given up."""

MAX_LIST: Final = 256
"""Most ids that one aggregated receipt names."""

_KEYS_FROM: Final = 2  # the retry receipt that carries keys whatever failed


class _Whose(enum.Enum):
    """Whose message it is, as far as the answer depends on it."""

    OTHERS = "others"
    SENT = "sent"  # our account's, to somebody
    NOTE = "note"  # our account's, to itself or to a group
    PEER = "peer"
    CHANNEL = "channel"


class _Due(enum.Enum):
    """One stanza that is owed."""

    DELIVERY = "delivery"
    SENDER = "sender"
    PEER_MSG = "peer_msg"
    ACK = "ack"


_READ: Final[Mapping[_Whose, _Due]] = {
    _Whose.OTHERS: _Due.DELIVERY,
    _Whose.SENT: _Due.SENDER,
    _Whose.NOTE: _Due.SENDER,
    _Whose.PEER: _Due.PEER_MSG,
    _Whose.CHANNEL: _Due.ACK,
}
"""What clears a message that was read, now or before."""

_NOT_READ: Final[Mapping[_Whose, _Due]] = {
    _Whose.OTHERS: _Due.ACK,
    _Whose.SENT: _Due.SENDER,  # a bare ack would leave it on the queue
    _Whose.NOTE: _Due.ACK,
    _Whose.PEER: _Due.ACK,
    _Whose.CHANNEL: _Due.ACK,
}
"""What clears one that could not be read; the retry receipt goes before it."""

_WAS_READ: Final = frozenset({Verdict.READ, Verdict.SILENT, Verdict.DUPLICATE})

# Only these may be answered for many messages at once: of the others it is known that an id of their own clears them.
_AGGREGATED: Final = frozenset({DELIVERED, INACTIVE})


@dataclass(frozen=True, slots=True, repr=False)
class RetryAnswer:
    """The retry receipt to send: the how manieth it is (from 1), and keys where it shall carry some."""

    count: int
    keys: RetryKeys | None = None


def retry_count(opened: Opened, remembered: int) -> int | None:
    """Return the number of the retry receipt to send next, `None` where it is time to give up or none is due.

    `remembered` is how many were sent for this message already; a stanza that answers one says so itself.
    """
    if not opened.wants_retry:
        return None
    count = 1 + max(remembered, *(enc.count for enc in opened.envelope.encs))
    return count if count <= MAX_RETRIES else None


def wants_keys(opened: Opened, count: int) -> bool:
    """Whether retry receipt number `count` shall carry keys: a one-time prekey that is used for nothing else."""
    return count >= _KEYS_FROM or (opened.failure is not None and opened.failure.wants_keys)


def answers(opened: Opened, own: Own, *, is_active: bool, retry: RetryAnswer | None = None) -> list[Node]:
    """Return what to send for a stanza after the commit, in that order.

    `is_active` says that we show ourselves as available: only then is a delivery receipt one that the sender sees.
    """
    envelope = opened.envelope
    nodes: list[Node] = []
    if retry is not None:
        error = 0 if opened.failure is None else opened.failure.retry_code
        registration_id = own.identity.registration_id
        nodes.append(
            build_retry_receipt(
                envelope, count=retry.count, error=error, registration_id=registration_id, keys=retry.keys
            )
        )
    due = (_READ if opened.verdict in _WAS_READ else _NOT_READ)[_whose(envelope)]
    nodes.append(_build(due, envelope, own, is_active))
    if opened.content is not None and opened.content.kind == "history_sync":
        nodes.append(build_receipt([envelope.id], own.pn.normalised, kind=HIST_SYNC))
    return nodes


def poison_answers(node: Node, own: Own) -> list[Node]:
    """Return what to send for a stanza that was stored as it came: a plain ack, or nothing where it has no sender.

    A copy of what our account sent elsewhere is not cleared by that, but by a receipt.
    """
    source, recipient, stanza_id = node.attrs.get("from"), node.attrs.get("recipient"), node.attrs.get("id")
    if node.tag == "message" and isinstance(source, Jid) and isinstance(recipient, Jid) and own.is_own(source):
        return [build_receipt([str(stanza_id)], source, kind=SENDER, recipient=recipient)] if stanza_id else []
    try:
        return [build_ack(node, own=own.pn)]
    except RemoteProtocolError:
        return []


def aggregate(nodes: Sequence[Node]) -> list[Node]:
    """Put delivery receipts that differ in the id alone into one each, of up to 256 ids, where the first one stood.

    Everything else stays as it is and in its order.
    """
    result: list[Node | _Receipts] = []
    growing: dict[tuple[str, ...], _Receipts] = {}
    for node in nodes:
        if not _can_aggregate(node):
            result.append(node)
            continue
        key = tuple(f"{name}={value}" for name, value in sorted(node.attrs.items(), key=_by_name) if name != "id")
        receipts = growing.get(key)
        if receipts is None or len(receipts.ids) >= MAX_LIST:
            receipts = growing[key] = _Receipts(node)
            result.append(receipts)
        receipts.ids.append(str(node.attrs["id"]))
    return [entry if isinstance(entry, Node) else entry.built() for entry in result]


@dataclass(slots=True)
class _Receipts:
    """Receipts that differ in the id alone."""

    first: Node
    ids: list[str] = field(default_factory=list)

    def built(self) -> Node:
        if len(self.ids) == 1:
            return self.first
        to, participant = self.first.attrs["to"], self.first.attrs.get("participant")
        return build_receipt(
            self.ids,
            to if isinstance(to, Jid) else Jid.parse(to),
            kind=str(self.first.attrs.get("type", DELIVERED)),
            participant=participant if isinstance(participant, Jid) else None,
        )


def _whose(envelope: Envelope) -> _Whose:
    if envelope.kind is ChatKind.NEWSLETTER:
        return _Whose.CHANNEL
    if envelope.kind is ChatKind.PEER:
        return _Whose.PEER
    if not envelope.is_from_me:
        return _Whose.OTHERS
    return _Whose.NOTE if envelope.recipient is None else _Whose.SENT


def _build(due: _Due, envelope: Envelope, own: Own, is_active: bool) -> Node:
    if due is _Due.ACK:
        return _ack(envelope, own)
    kinds = {_Due.DELIVERY: DELIVERED if is_active else INACTIVE, _Due.SENDER: SENDER, _Due.PEER_MSG: PEER_MSG}
    return build_receipt(
        [envelope.id],
        envelope.source,
        kind=kinds[due],
        participant=envelope.participant,
        recipient=envelope.recipient,
    )


def _ack(envelope: Envelope, own: Own) -> Node:
    attrs: dict[str, str | Jid] = {"id": envelope.id, "from": envelope.source, "type": envelope.type}
    if envelope.participant is not None:
        attrs["participant"] = envelope.participant
    if envelope.recipient is not None:
        attrs["recipient"] = envelope.recipient
    return build_ack(Node("message", attrs), own=own.pn)


def _can_aggregate(node: Node) -> bool:
    return node.tag == "receipt" and node.content is None and str(node.attrs.get("type", DELIVERED)) in _AGGREGATED


def _by_name(item: tuple[str, str | Jid]) -> str:
    return item[0]
