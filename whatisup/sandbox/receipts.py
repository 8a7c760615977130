"""Receipts and acks of clients: what they take off the device's queue, and who else hears of them.

Rule: one answer forgets one stanza, the oldest of that id which was written to the connection that answers; a `retry`
receipt forgets nothing.

Source: WhatsApp Web, as whatsmeow and Baileys rely on it, and reports of users of other clients. That `read` and
`played` forget a message too is the sandbox's choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from whatisup.control import Switch
from whatisup.jid import SERVER, Jid, JidError
from whatisup.protocol.stanzas import receipt as receipts
from whatisup.protocol.stanzas.ack import parse_ack
from whatisup.protocol.stanzas.receipt import Receipt, build_receipt_delivery, parse_receipt
from whatisup.sandbox.accounts import Account
from whatisup.sandbox.directory import account_of, devices_of, jid_of
from whatisup.sandbox.hub import Hub
from whatisup.sandbox.ledger import Sent
from whatisup.sandbox.ports import PHONE, Device
from whatisup.sandbox.posting import hand_over
from whatisup.sandbox.waiting import Clearing, Waiting
from whatisup.wire import Node

_SEEN: Final = frozenset({Clearing.DELIVERED, Clearing.OWN})
_OWN: Final = frozenset({Clearing.OWN})
_CLEARS: Final[Mapping[str, frozenset[Clearing]]] = {
    receipts.DELIVERED: _SEEN,
    receipts.INACTIVE: _SEEN,
    receipts.READ: _SEEN,
    receipts.READ_SELF: _SEEN,
    receipts.PLAYED: _SEEN,
    receipts.PLAYED_SELF: _SEEN,
    receipts.SENDER: frozenset({Clearing.SENDER, Clearing.OWN}),
    receipts.PEER_MSG: _OWN,
    receipts.HIST_SYNC: _OWN,
    receipts.SERVER_ERROR: frozenset(),
}
_TO_AUTHOR: Final = frozenset({receipts.DELIVERED, receipts.INACTIVE, receipts.READ, receipts.PLAYED})
_READ: Final = frozenset({receipts.READ, receipts.PLAYED, receipts.READ_SELF, receipts.PLAYED_SELF})
_TO_PHONE: Final = frozenset({receipts.PEER_MSG, receipts.HIST_SYNC, receipts.SERVER_ERROR})
_ACKED: Final = frozenset({Clearing.DELIVERED, Clearing.OWN, Clearing.ACK})


def take_ack(hub: Hub, sender: Device, account: Account, node: Node) -> bool:
    """Forget what an ack answers; return whether that was a message. Raises `RemoteProtocolError`."""
    ack = parse_ack(node)
    if ack.error is not None and Switch.NACK_KEEPS in hub.switches:
        return False
    for stanza in _unanswered(hub, sender, ack.ack_class, ack.stanza_id):
        if (
            stanza.clearing in _ACKED
            and _is_same(hub, account, ack.peer, stanza.peer)
            and (stanza.clearing is not Clearing.ACK or stanza.type == str(node.attrs.get("type", "")))
        ):
            _forget(hub, sender, stanza)
            return stanza.kind == "message"
    return False


def take_receipt(hub: Hub, sender: Device, account: Account, node: Node) -> tuple[Node, bool]:
    """Forget what a receipt answers, and pass it on; return its ack, and whether a message was forgotten.

    Raises `RemoteProtocolError`.
    """
    receipt = parse_receipt(node)
    forgotten = [stanza for message_id in receipt.ids for stanza in _cleared(hub, sender, account, receipt, message_id)]
    for stanza in forgotten:
        _forget(hub, sender, stanza)
    _pass_on(hub, sender, account, node, _completed(receipt, forgotten))
    return _ack(node), bool(forgotten)


def _ack(node: Node) -> Node:
    attrs: dict[str, str | Jid] = {
        "class": "receipt",
        "id": str(node.attrs["id"]),
        "from": node.attrs.get("to", SERVER),
    }
    for key in ("type", "participant"):
        if value := node.attrs.get(key):
            attrs[key] = value
    return Node("ack", attrs)


# the queue


def _unanswered(hub: Hub, sender: Device, kind: str, stanza_id: str) -> Iterable[Waiting]:
    companion = None if sender.device == PHONE else hub.state.companion(*sender)
    if companion is None:
        return ()
    client = hub.online(*sender)
    written = None if client is None or client.outbox is None else client.outbox.written
    waiting = hub.waiting.of_id(companion.row, kind, stanza_id)
    return [stanza for stanza in waiting if written is None or stanza.position in written]


def _cleared(hub: Hub, sender: Device, account: Account, receipt: Receipt, message_id: str) -> list[Waiting]:
    clears = _CLEARS.get(receipt.kind)
    if not clears:
        return []
    for stanza in _unanswered(hub, sender, "message", message_id):
        # Baileys sends some `sender` receipts without `to`, read receipts name a group's author or the chat.
        is_of_peer = receipt.source == SERVER or _is_same(hub, account, receipt.source, stanza.peer)
        if stanza.clearing in clears and (is_of_peer or stanza.clearing is Clearing.OWN):
            return [stanza]
    return []


def _forget(hub: Hub, sender: Device, stanza: Waiting) -> None:
    companion = hub.state.companion(*sender)
    if companion is None:
        return
    hub.waiting.remove(companion.row, [stanza.position])
    client = hub.online(*sender)
    if client is not None and client.outbox is not None:
        client.outbox.written.discard(stanza.position)


def _is_same(hub: Hub, account: Account, jid: Jid, text: str) -> bool:
    """Whether an address names the account (or the group, the server) that a stanza is from."""
    if str(jid) == text:
        return True
    try:
        other = Jid.parse(text)
    except JidError:
        return False
    if jid.normalised == other.normalised:
        return True
    one, two = account_of(hub.state, jid, account), account_of(hub.state, other, account)
    return one is not None and two is not None and one.number == two.number


def _completed(receipt: Receipt, forgotten: list[Waiting]) -> Receipt:
    """Add whom the receipt is for where the client left that out."""
    if receipt.source != SERVER or not forgotten:
        return receipt
    return Receipt(receipt.ids, Jid.parse(forgotten[0].peer), receipt.kind, receipt.participant, receipt.recipient)


# the others


def _pass_on(hub: Hub, sender: Device, account: Account, node: Node, receipt: Receipt) -> None:
    as_lid = receipt.source.is_lid or (receipt.participant is not None and receipt.participant.is_lid)
    source = jid_of(account, sender.device, as_lid=as_lid)
    if receipt.kind in _TO_PHONE:
        if sender.device != PHONE:
            hub.people.deliver(account.number, build_receipt_delivery(node, source=source, unix_t=hub.stamp()))
        return
    author = account_of(hub.state, receipt.participant or receipt.source, account)
    if author is None:
        return
    is_list = not (receipt.source.is_lid or receipt.source.is_pn)
    passed = build_receipt_delivery(
        node,
        source=receipt.source if is_list else source,
        unix_t=hub.stamp(),
        participant=source if is_list else None,
        recipient=receipt.recipient,
    )
    if receipt.kind in (receipts.RETRY, receipts.SENDER):
        named = receipt.participant or receipt.source
        _pass_to_device(hub, Device(author.number, named.device), sender, passed, receipt)
        return
    if receipt.kind in _TO_AUTHOR and author.number != account.number:
        for device in devices_of(hub.state, author):
            hand_over(hub, device, passed)
    if receipt.kind in _READ:
        _tell_own(hub, sender, account, node, receipt, source)


def _pass_to_device(hub: Hub, device: Device, sender: Device, passed: Node, receipt: Receipt) -> None:
    if receipt.kind == receipts.RETRY:
        _expect_again(hub, device, sender, receipt.ids)
    hand_over(hub, device, passed)


def _expect_again(hub: Hub, author: Device, requester: Device, ids: Iterable[str]) -> None:
    """Let another copy of these messages through to the device that asks for it, in whatever form it comes."""
    for message_id in ids:
        known = hub.ledger.sent(*author, message_id)
        if known is not None:
            name = f"{requester.number}.{requester.device}"
            reached = {reached: digest for reached, digest in known.reached.items() if reached != name}
            hub.ledger.remember(*author, message_id, Sent(known.t, reached))


def _tell_own(hub: Hub, sender: Device, account: Account, node: Node, receipt: Receipt, source: Jid) -> None:
    """Tell the reader's other devices what was read: `recipient` is the chat."""
    chat = receipt.source.normalised
    told = build_receipt_delivery(
        node, source=source, unix_t=hub.stamp(), participant=receipt.participant, recipient=chat
    )
    for device in devices_of(hub.state, account):
        if device != sender:
            hand_over(hub, device, told)
