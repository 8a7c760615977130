"""Messages to many: groups, status, broadcast lists and newsletters.

Rule: whoever belongs to it gets a message on every device but the one that sent it, whether the key came along or not.

A status, or a message to a list, goes to those it is encrypted for as well. A group names everybody by hidden id.

Source: WhatsApp Web, as whatsmeow and Baileys rely on it. That nobody need own a newsletter to write into it is the
sandbox's choice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from whatisup.control import Switch
from whatisup.jid import BROADCAST_SERVER, GROUP_SERVER, NEWSLETTER_SERVER
from whatisup.protocol.stanzas.message import Enc, Outgoing, build_delivery
from whatisup.sandbox.accounts import Account
from whatisup.sandbox.directory import account_of, devices_of, hash_of
from whatisup.sandbox.hub import Hub
from whatisup.sandbox.ledger import Sent
from whatisup.sandbox.ports import Device
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

NO_MEMBER: Final = 403
OTHER_ADDRESSING: Final = 421
INVALID: Final = 479

SERVERS: Final = frozenset({GROUP_SERVER, BROADCAST_SERVER, NEWSLETTER_SERVER})
"""Where the addresses of chats of many end."""

LID_MODE: Final = "lid"
"""How people are named in every group of the sandbox."""


def post(hub: Hub, posting: Posting) -> Accepted:
    """Carry a message to many out. Raises `Refusal`."""
    if posting.message.to.server == NEWSLETTER_SERVER:
        return _publish(hub, posting)
    members = hub.circles.members(posting.account, posting.message.to)
    _check(posting, members)
    is_group = posting.message.to.server == GROUP_SERVER
    message = replace(bare(posting.message), addressing_mode=LID_MODE if is_group else None)
    theirs = posting.message.phash
    posting = replace(posting, message=message, as_lid=is_group or not _names_numbers(posting.message))
    posting = _spread(hub, posting, members)
    ours = hash_of(hub.state, members, as_lid=True) if is_group else None
    return Accepted(posting.t, ours if theirs is not None and theirs != ours else None)


def _check(posting: Posting, members: list[Account]) -> None:
    mode = posting.message.addressing_mode
    if posting.message.to.server == BROADCAST_SERVER:
        if mode is not None:
            raise Refusal(INVALID)
    elif posting.account.number not in {member.number for member in members}:
        raise Refusal(NO_MEMBER)
    elif mode != LID_MODE and posting.message.participant is None:
        raise Refusal(OTHER_ADDRESSING)


def _names_numbers(message: Outgoing) -> bool:
    named = [message.participant, *(jid for jid, _ in message.participants)]
    return any(jid is not None and jid.is_pn for jid in named)


def _spread(hub: Hub, posting: Posting, members: list[Account]) -> Posting:
    """Deliver to every device that has not got it; return the posting with its official time."""
    message, is_answer = posting.message, posting.message.participant is not None
    known = hub.ledger.sent(*posting.sender, message.id)
    if known is not None:
        posting = replace(posting, t=known.t)
    reached = {} if known is None or Switch.NO_ID_DEDUPE in hub.switches else dict(known.reached)
    targets = _answered(hub, posting) if is_answer else _targets(hub, posting, members)
    for device, encs in targets.items():
        if encs and (is_answer or is_new(hub, reached, device, encs[-1])):
            _deliver(hub, posting, device, encs)
            reached[name_of(device)] = digest_of(encs[-1])
    hub.ledger.remember(*posting.sender, message.id, Sent(posting.t, reached))
    return posting


def _answered(hub: Hub, posting: Posting) -> dict[Device, tuple[Enc, ...]]:
    """Return the one device that asked for another copy."""
    asking, enc = posting.message.participant, posting.message.direct
    account = None if asking is None else account_of(hub.state, asking, posting.account)
    if account is None or asking is None or enc is None:
        return {}
    device = Device(account.number, asking.device)
    return {device: (enc,)} if device in devices_of(hub.state, account) and device != posting.sender else {}


def _targets(hub: Hub, posting: Posting, members: list[Account]) -> dict[Device, tuple[Enc, ...]]:
    """Return what each device gets: its own ciphertext first, then the one that is for everybody."""
    message = posting.message
    listed = [(account_of(hub.state, jid, posting.account), jid.device, enc) for jid, enc in message.participants]
    paired = {Device(account.number, device): enc for account, device, enc in listed if account is not None}
    accounts = {account.number: account for account in members}
    if message.to.server == BROADCAST_SERVER:
        accounts |= {account.number: account for account, _, _ in listed if account is not None}
    shared = () if message.direct is None else (message.direct,)
    return {
        device: (*((paired[device],) if device in paired else ()), *shared)
        for device in _devices(hub, accounts.values())
        if device != posting.sender
    }


def _devices(hub: Hub, accounts: Iterable[Account]) -> list[Device]:
    return [device for account in accounts for device in devices_of(hub.state, account)]


def _deliver(hub: Hub, posting: Posting, device: Device, encs: tuple[Enc, ...]) -> None:
    is_own = device.number == posting.account.number
    arrives = carried(hub, device, encs, is_own=is_own)
    node = build_delivery(
        posting.message,
        source=posting.message.to,
        participant=posting.source,
        sender_alt=posting.source_alt if arrives.tells_both_names else None,
        unix_t=posting.t,
        encs=arrives.encs,
        push_name=posting.account.name,
        unavailable=arrives.unavailable,
    )
    hand_over(hub, device, node, Clearing.OWN if is_own else None)


# newsletters


def _publish(hub: Hub, posting: Posting) -> Accepted:
    """Deliver a newsletter's message, which is not encrypted, to everybody who follows it."""
    server_id = hub.state.count("newsletter messages")
    node = build_delivery(
        replace(bare(posting.message), plaintext=posting.message.plaintext),
        source=posting.message.to,
        unix_t=posting.t,
        server_id=server_id,
    )
    for device in _devices(hub, hub.circles.members(posting.account, posting.message.to)):
        if device != posting.sender:
            hand_over(hub, device, node)
    return Accepted(posting.t, server_id=server_id)
