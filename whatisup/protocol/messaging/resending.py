"""Answering retry receipts: a kept message once more, for the one device that could not read it.

Rule: only a device of the chat or of our own account gets it, under the same id, and no other device gets anything.

Source: WhatsApp Web, as whatsmeow does it; the check of the registration id as Baileys does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from whatisup.crypto import Entropy
from whatisup.e2ee import SignalAddress, distribution_message
from whatisup.jid import GROUP_SERVER, Jid
from whatisup.protocol.content.compose import Composed, StanzaType, add_skdm, wrap_device_sent
from whatisup.protocol.messaging.encrypting import enc_of, encrypt_for, proof_for
from whatisup.protocol.messaging.keyring import (
    SENDER_KEY,
    Keyring,
    Own,
    Wanted,
    phone_of,
    sender_key_name,
    wanted_for_device,
)
from whatisup.protocol.prekeys import Bundle
from whatisup.protocol.stanzas.message import Outgoing, build_message
from whatisup.protocol.stanzas.receipt import Receipt
from whatisup.wire import Node
from whatisup.wire.message import Message, parse

RECREATE_S: Final = 3600.0
"""A session that keeps failing is made anew at most this often."""

_MEDIATYPES: Final = {
    "imageMessage": "image",
    "videoMessage": "video",
    "audioMessage": "audio",
    "documentMessage": "document",
    "stickerMessage": "sticker",
    "contactMessage": "vcard",
    "contactsArrayMessage": "contact_array",
    "liveLocationMessage": "livelocation",
}
_POLLS: Final = {"pollCreationMessage", "pollCreationMessageV2", "pollCreationMessageV3"}


@dataclass(frozen=True, slots=True, repr=False)
class Retained:
    """A sent message as it is kept for retry receipts: `message` is the serialized Message without padding."""

    wa_id: str
    chat: Jid
    message: bytes
    stanza_type: StanzaType
    edit: str | None
    unix_t: int


def recomposed(retained: Retained) -> Composed:
    """Return what `compose` said of a message, from what is kept of it.

    Raises `RemoteProtocolError` where the kept bytes are no message.
    """
    message = parse(Message, retained.message)
    held = {field.name for field, _ in message.ListFields()}
    is_vote, is_poll = "pollUpdateMessage" in held, bool(held & _POLLS)
    return Composed(
        retained.message,
        stanza_type=retained.stanza_type,
        edit=retained.edit,
        mediatype=next((media for name, media in _MEDIATYPES.items() if name in held), None),
        hide=retained.edit is not None or retained.stanza_type == "reaction" or is_vote,
        meta={"polltype": "vote" if is_vote else "creation"} if is_vote or is_poll else {},
        secret=message.messageContextInfo.messageSecret or None,
    )


def wanted_for_retry(receipt: Receipt, own: Own, keyring: Keyring | None = None) -> Wanted:
    """Return every key that answering this retry receipt will touch; ask twice, as for opening."""
    device = requester(receipt)
    if not (device.is_pn or device.is_lid) or device.agent:
        return Wanted()
    wanted = wanted_for_device(device, own, keyring) | wanted_for_device(phone_of(device), own, keyring)
    if receipt.source.server == GROUP_SERVER:
        wanted |= Wanted(frozenset({(SENDER_KEY, _own_sender_key(receipt.source, own))}))
    return wanted


def requester(receipt: Receipt) -> Jid:
    """Return the device that a retry receipt comes from."""
    return receipt.source if receipt.participant is None else receipt.participant


def needs_bundle(receipt: Receipt, keyring: Keyring, own: Own, *, recreated_at: float | None, now: float) -> Jid | None:
    """Return the device whose bundle has to be fetched before this retry receipt is answered, if any.

    That is where there is no session, or one with another installation, or one that failed twice and was not made anew
    (at `recreated_at`, unix seconds as `now`) within the hour. Raises `KeyNotLoaded`.
    """
    request = receipt.retry
    if request is None or request.keys is not None:
        return None
    device = requester(receipt)
    keyring.pin(own.pn, own.lid)
    record = keyring.session(keyring.settle(device))
    if record is None or not record.has_open_session or record.remote_registration_id != request.registration_id:
        return device
    is_due = recreated_at is None or now - recreated_at > RECREATE_S
    return device if request.count >= 2 and is_due else None


def seal_retry(
    receipt: Receipt, retained: Retained, keyring: Keyring, own: Own, bundle: Bundle | None, *, entropy: Entropy
) -> Node | None:
    """Encrypt a kept message again for the one device that asked; `None` where it has no right to it or cannot get it.

    The device must be the chat's or ours; who is in a group is the caller's to know, and so is how often a device may
    ask. Keys in the receipt, and else a `bundle`, start a new session. Raises `KeyNotLoaded`, the keyring untouched.
    """
    request, device = receipt.retry, requester(receipt)
    if request is None or request.wa_id != retained.wa_id or own.is_this_device(device):
        return None
    mark = keyring.checkpoint()
    node: Node | None = None
    try:
        keyring.pin(own.pn, own.lid)
        if _may_have(device, receipt, retained, keyring, own):
            node = _seal_retry(receipt, request.count, retained, keyring, own, request.keys or bundle, entropy)
        return node
    finally:
        if node is None:
            keyring.rollback(mark)


def _may_have(device: Jid, receipt: Receipt, retained: Retained, keyring: Keyring, own: Own) -> bool:
    """Whether a device may have a message: one of our account's or of the chat's."""
    if not (device.is_pn or device.is_lid) or device.agent:
        return False
    if GROUP_SERVER in (retained.chat.server, receipt.source.server):
        return receipt.source == retained.chat
    if own.is_own(device):
        return True
    user = device.normalised
    return retained.chat in (user, keyring.lid_of(user), keyring.pn_of(user))


def _seal_retry(
    receipt: Receipt,
    count: int,
    retained: Retained,
    keyring: Keyring,
    own: Own,
    bundle: Bundle | None,
    entropy: Entropy,
) -> Node | None:
    device, is_group = requester(receipt), receipt.source.server == GROUP_SERVER
    plaintext: bytes | None = retained.message
    if is_group:
        plaintext = _with_sender_key(retained, keyring, own)
    elif own.is_own(device):
        plaintext = wrap_device_sent(retained.message, retained.chat)
    if plaintext is None:
        return None
    encrypted = encrypt_for(device, plaintext, keyring, own, bundle, [], entropy, must_start=True)
    if isinstance(encrypted, str):
        return None
    composed = recomposed(retained)
    return build_message(
        Outgoing(
            id=retained.wa_id,
            to=receipt.source,
            type=retained.stanza_type,
            edit=retained.edit,
            participant=receipt.participant,
            recipient=receipt.recipient,
            unix_t=retained.unix_t,
            direct=enc_of(encrypted, composed, count),
            device_identity=proof_for([encrypted], own),
            device_fanout=None if is_group else False,
            addressing_mode=("lid" if device.is_lid else "pn") if is_group else None,
            meta=composed.meta,
        )
    )


def _own_sender_key(group: Jid, own: Own) -> str:
    return sender_key_name(group, str(SignalAddress.of(own.lid)))


def _with_sender_key(retained: Retained, keyring: Keyring, own: Own) -> bytes | None:
    """A group's message with our sender key, which who asks for it has not got; `None` where we have none."""
    sender_key = keyring.sender_key(_own_sender_key(retained.chat, own))
    if sender_key is None:
        return None
    return add_skdm(retained.message, str(retained.chat), distribution_message(sender_key))
