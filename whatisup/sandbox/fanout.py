"""A message's way: who sent it, may it pass, which devices get which ciphertext, and what the sender is told.

Rule: a device gets a message of one id once, unless its sender is asked for another copy (a retry receipt, a switch).

A message to an account that does not exist is refused with 400, which is the sandbox's choice. What goes to many is in
`spreading.py`.

Source: WhatsApp Web, as whatsmeow and Baileys rely on it.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from whatisup.control import FaultName, Switch
from whatisup.errors import RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.stanzas.message import Enc, Outgoing, build_delivery, parse_message
from whatisup.protocol.stanzas.notification import AccountRestricted, build_restriction
from whatisup.sandbox import spreading
from whatisup.sandbox.accounts import Account
from whatisup.sandbox.directory import account_of, devices_of, hash_of, jid_of
from whatisup.sandbox.faults import Target
from whatisup.sandbox.hub import Hub
from whatisup.sandbox.ledger import Sent
from whatisup.sandbox.ports import PHONE, Device
from whatisup.sandbox.posting import (
    Accepted,
    Posting,
    Refusal,
    bare,
    carried,
    digest_of,
    hand_over,
    is_new,
    name_of,
)
from whatisup.sandbox.waiting import Clearing
from whatisup.wire import Node

MAX_ID: Final = 255
"""Longest id of a message, in characters."""

_BAD: Final = 400
_STRANGER: Final = 463
_CAPPED: Final = 475
_INVALID: Final = 479
_NACKS: Final = {
    FaultName.NACK_463: _STRANGER,
    FaultName.NACK_475: _CAPPED,
    FaultName.NACK_479: _INVALID,
    FaultName.NACK_421: 421,
}
_LOCK_S: Final = 3600
_QUOTA: Final = 10
_FALSE_HASH: Final = "2:AAAAAAAA"


def accept(hub: Hub, sender: Device, account: Account, node: Node) -> Node | None:
    """Carry a message out; return the ack, None where the stanza gives nothing to acknowledge."""
    to, message_id = node.attrs.get("to"), str(node.attrs.get("id", ""))
    if not isinstance(to, Jid) or not 0 < len(message_id) <= MAX_ID:
        return None
    try:
        posting = Posting(sender, account, parse_message(node), to.is_lid, hub.stamp())
        return _ack(posting.message, _carry_out(hub, posting))
    except RemoteProtocolError:
        error = _BAD
    except Refusal as refusal:
        error = refusal.code
    return _refusal(hub, to, message_id, error)


def _ack(message: Outgoing, accepted: Accepted) -> Node:
    attrs: dict[str, str | Jid] = {"class": "message", "id": message.id, "from": message.to}
    attrs["t"] = str(accepted.t)
    if accepted.phash is not None:
        attrs["phash"] = accepted.phash
    if accepted.server_id is not None:
        attrs["server_id"] = str(accepted.server_id)
    return Node("ack", attrs)


def _refusal(hub: Hub, to: Jid, message_id: str, error: int) -> Node:
    attrs: dict[str, str | Jid] = {"class": "message", "id": message_id, "from": to, "t": str(hub.stamp())}
    return Node("ack", {**attrs, "error": str(error)})


def _carry_out(hub: Hub, posting: Posting) -> Accepted:
    _strike(hub, posting)
    to = posting.message.to
    if posting.message.category == "peer":
        _to_own_device(hub, posting)
        return Accepted(posting.t)
    if to.server in spreading.SERVERS:
        return spreading.post(hub, posting)
    peer = account_of(hub.state, to, posting.account)
    if peer is None:
        raise Refusal(_BAD)
    posting = replace(posting, message=bare(posting.message))
    if posting.message.direct is not None or posting.message.device_fanout is False:
        return _again(hub, posting, peer)
    return _to_user(hub, posting, peer)


def _strike(hub: Hub, posting: Posting) -> None:
    for name, code in _NACKS.items():
        if hub.faults.take(name, Target(*posting.sender)) is not None:
            restrict(hub, posting.account, code)
            raise Refusal(code)


def restrict(hub: Hub, account: Account, code: int) -> None:
    """Tell an account's companions why a message was refused with 463 or 475; other codes say nothing."""
    if code == _STRANGER:
        ends_at = hub.unix + _LOCK_S
        restriction = AccountRestricted("reachout_timelock", is_active=True, enforcement="DEFAULT", ends_at=ends_at)
    elif code == _CAPPED:
        restriction = AccountRestricted("message_capping", is_active=True, quota=_QUOTA, used=_QUOTA, status="CAPPED")
    else:
        return
    for companion in hub.state.companions(account.number):
        hub.deliver(companion, build_restriction(hub.next_id(), restriction, unix_t=hub.unix))


# one user


def _to_user(hub: Hub, posting: Posting, peer: Account) -> Accepted:
    own, message, ledger = posting.account, posting.message, hub.ledger
    is_note = peer.number == own.number
    if not is_note and not _may_write(hub, posting, peer):
        raise Refusal(_STRANGER)
    known = None if Switch.NO_ID_DEDUPE in hub.switches else ledger.sent(*posting.sender, message.id)
    reached = {} if known is None else dict(known.reached)
    targets = _targets(hub, posting, peer)
    fresh = {device: enc for device, enc in targets.items() if is_new(hub, reached, device, enc)}
    if known is not None and (Switch.REUSED_ID not in hub.switches or not fresh):
        posting = replace(posting, t=known.t)
    is_blocked = not is_note and ledger.has_blocked(peer.number, own.number)
    for device, enc in fresh.items():
        if not (is_blocked and device.number == peer.number):
            _deliver(hub, posting, device, enc, None if is_note else peer)
    reached |= {name_of(device): digest_of(enc) for device, enc in fresh.items()}
    if fresh or known is None:
        ledger.remember(*posting.sender, message.id, Sent(posting.t, reached))
    if not is_note:
        ledger.note_written(own.number, peer.number)
    return Accepted(posting.t, _phash(hub, posting, peer, reached))


def _may_write(hub: Hub, posting: Posting, peer: Account) -> bool:
    """Whether the token rule lets the message pass: the other side has written, or has issued a token.

    It is made for clients: a simulated person writes to whom it is told to, as to somebody who knows them.
    """
    if posting.sender.device == PHONE:
        return True
    if Switch.TOKEN_RULE not in hub.switches or hub.ledger.has_written(peer.number, posting.account.number):
        return True
    token = posting.message.tctoken
    return token is not None and hub.ledger.has_token(peer.number, posting.account.number, token, hub.unix)


def _targets(hub: Hub, posting: Posting, peer: Account) -> dict[Device, Enc]:
    """Return the ciphertext of each device that exists, belongs to either side and did not send the message."""
    users = {jid.user: account for account in (peer, posting.account) for jid in (account.pn_jid, account.lid_jid)}
    existing = {*devices_of(hub.state, peer), *devices_of(hub.state, posting.account)} - {posting.sender}
    targets: dict[Device, Enc] = {}
    for jid, enc in posting.message.participants:
        account = users.get(jid.user)
        if account is not None and (device := Device(account.number, jid.device)) in existing:
            targets[device] = enc
    return targets


def _phash(hub: Hub, posting: Posting, peer: Account, reached: dict[str, bytes]) -> str | None:
    if hub.faults.take(FaultName.PHASH_MISMATCH, Target(*posting.sender)) is not None:
        return _FALSE_HASH
    accounts = [peer, posting.account]
    wanted = {device for account in accounts for device in devices_of(hub.state, account)} - {posting.sender}
    if all(name_of(device) in reached for device in wanted):
        return None
    return hash_of(hub.state, accounts, as_lid=posting.as_lid)


def _again(hub: Hub, posting: Posting, peer: Account) -> Accepted:
    """Deliver another copy to the one device that asked for it."""
    message = posting.message
    encs = ((message.participant or message.to, message.direct),) if message.direct else message.participants
    known = hub.ledger.sent(*posting.sender, message.id)
    posting = replace(posting, t=known.t if known is not None else posting.t)
    chat = peer if message.recipient is None else account_of(hub.state, message.recipient, posting.account)
    reached = {} if known is None else dict(known.reached)
    for jid, enc in encs:
        account = account_of(hub.state, jid, posting.account)
        if account is None or enc is None:
            continue
        device = Device(account.number, jid.device)
        if device in devices_of(hub.state, account) and device != posting.sender:
            is_note = chat is None or chat.number == posting.account.number
            _deliver(hub, posting, device, enc, None if is_note else chat)
            reached[name_of(device)] = digest_of(enc)
    hub.ledger.remember(*posting.sender, message.id, Sent(posting.t, reached))
    return Accepted(posting.t)


def _deliver(hub: Hub, posting: Posting, device: Device, enc: Enc, chat: Account | None) -> None:
    """Bring a 1:1 message to a device; `chat` is the other side, None for a note to oneself."""
    is_own = device.number == posting.account.number
    arrives = carried(hub, device, (enc,), is_own=is_own)
    # Where its number is not to be told, the sender is named by hidden id.
    source = posting.source if arrives.tells_both_names else replace(posting, as_lid=True).source
    copies_chat = is_own and chat is not None
    node = build_delivery(
        posting.message,
        source=source,
        unix_t=posting.t,
        encs=arrives.encs,
        push_name=posting.account.name,
        recipient=jid_of(chat, as_lid=posting.as_lid) if copies_chat and chat is not None else None,
        chat_alt=jid_of(chat, as_lid=not posting.as_lid) if copies_chat and chat is not None else None,
        sender_alt=None if copies_chat or not arrives.tells_both_names else posting.source_alt,
        unavailable=arrives.unavailable,
    )
    hand_over(hub, device, node, Clearing.OWN if is_own and chat is None else None)


# an own device


def _to_own_device(hub: Hub, posting: Posting) -> None:
    message = posting.message
    if message.tctoken is not None:
        raise Refusal(_INVALID)
    owner = account_of(hub.state, message.to, posting.account)
    encs = (message.direct,) if message.direct is not None else tuple(enc for _, enc in message.participants[:1])
    # Companions write to their phone, the phone to the companion that it names.
    device = Device(posting.account.number, message.to.device if posting.sender.device == PHONE else PHONE)
    if owner is None or owner.number != device.number or device == posting.sender or not encs:
        raise Refusal(_BAD)
    node = build_delivery(message, source=posting.source, unix_t=posting.t, encs=encs, push_name=posting.account.name)
    hand_over(hub, device, node, Clearing.OWN)
