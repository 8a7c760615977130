"""Sealing an outgoing message: from what it says to the stanza with a ciphertext for every device.

Rule: what was sealed is kept and sent again byte for byte; one id is encrypted for one device again only when that
device, or the server, asked for it.

Source: WhatsApp Web, as whatsmeow does it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from whatisup.crypto import Entropy
from whatisup.e2ee import Encrypted, SessionRecord, distribution_message, encrypt, pad, start_session
from whatisup.errors import CommandRefused, E2eeError
from whatisup.jid import GROUP_SERVER, HOSTED_LID_SERVER, HOSTED_SERVER, Jid
from whatisup.protocol.content.compose import Composed, StanzaType, add_skdm, wrap_device_sent
from whatisup.protocol.content.ids import phash
from whatisup.protocol.content.secrets import reporting_token
from whatisup.protocol.messaging.keyring import (
    IDENTITY,
    SENDER_KEY,
    Keyring,
    Own,
    Wanted,
    sender_key_name,
    wanted_for_device,
)
from whatisup.protocol.prekeys import Bundle, peer_bundle, verify_device_identity
from whatisup.protocol.stanzas.message import Enc, Outgoing, build_message
from whatisup.protocol.stanzas.receipt import Receipt
from whatisup.wire import Node, encode_node
from whatisup.wire.message import Message, parse

RECREATE_S: Final = 3600.0
"""A session that keeps failing is made anew at most this often."""

_HOSTED: Final = frozenset({HOSTED_SERVER, HOSTED_LID_SERVER})
_NO_BUNDLE: Final = "no_bundle"
_FOREIGN: Final = "foreign_device"


class NoDevices(CommandRefused):
    """Not one device of the chat could be encrypted for. `skipped` says of each why."""

    def __init__(self, skipped: tuple[tuple[Jid, str], ...]) -> None:
        super().__init__("no device of the chat could be encrypted for")
        self.skipped = skipped


@dataclass(frozen=True, slots=True, repr=False)
class Draft:
    """A message to seal: its id, the chat (by LID where known), the chat's phone number, and what it says."""

    wa_id: str
    chat: Jid
    chat_pn: Jid | None
    composed: Composed
    unix_ms: int


@dataclass(frozen=True, slots=True, repr=False)
class Sealed:
    """A sealed message: `stanza` is the encoded node, the very bytes to send and to send again.

    `phash` is what the server's ack is compared with; `devices` can read it; `skipped` says of the others why not;
    `identity_changed` lists those whose bundle had another identity than we knew.
    """

    stanza: bytes
    phash: str
    devices: tuple[Jid, ...]
    skipped: tuple[tuple[Jid, str], ...] = ()
    identity_changed: tuple[Jid, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Retained:
    """A sent message as it is kept for retry receipts: `message` is the serialized Message without padding."""

    wa_id: str
    chat: Jid
    message: bytes
    stanza_type: StanzaType
    edit: str | None
    unix_t: int


def recipients(
    devices_of_chat: Iterable[Jid], own_devices: Iterable[Jid], own: Own, *, chat: Jid | None = None
) -> list[Jid]:
    """Return the devices to encrypt for, in the form of the chat's name, phones first and without ourselves.

    `chat` is whom the message is for; without it that is whose devices are given. Of our own devices either form will
    do.
    """
    theirs = list(devices_of_chat)
    if chat is None:
        if not theirs:
            return []
        chat = theirs[0]
    user, mine = chat.normalised, own.in_form_of(chat).normalised
    wanted = [_as_device(user, device) for device in theirs] + [_as_device(mine, device) for device in own_devices]
    unique = dict.fromkeys(device for device in wanted if not own.is_this_device(device))
    return sorted(unique, key=lambda device: device.device != 0)


def wanted_for_sealing(
    devices: Iterable[Jid], own: Own, keyring: Keyring | None = None, *, chat_pn: Jid | None = None
) -> Wanted:
    """Return every key that sealing for these devices will touch; also what forgetting them does.

    With `chat_pn`, the chat's phone number where the devices are named by LID, one read is enough; else ask again with
    the keyring, as for opening.
    """
    wanted = Wanted()
    for device in devices:
        other = None
        if chat_pn is not None and device.is_lid and not own.is_own(device):
            other = _as_device(chat_pn.normalised, device)
        wanted |= wanted_for_device(device, own, keyring, other=other)
    return wanted


def without_session(devices: Iterable[Jid], keyring: Keyring) -> list[Jid]:
    """Return the devices that need a bundle first. Raises `KeyNotLoaded`."""
    return [device for device in devices if not _has_session(keyring.session(keyring.settle(device)))]


def seal(
    draft: Draft,
    recipients: Sequence[Jid],
    keyring: Keyring,
    own: Own,
    *,
    bundles: Mapping[Jid, Bundle],
    token: bytes | None,
    entropy: Entropy,
) -> Sealed:
    """Encrypt for every device and build the stanza. Raises `NoDevices` and `KeyNotLoaded`, the keyring untouched.

    A bundle is used where there is no session, or where it shows that the session is with another installation. A
    device whose bundle does not hold is skipped. `token` is the contact's trusted-contact token, if it is good.
    """
    mark = keyring.checkpoint()
    is_done = False
    try:
        sealed = _seal(draft, recipients, keyring, own, bundles, token, entropy)
        is_done = True
        return sealed
    finally:
        if not is_done:
            keyring.rollback(mark)


def seal_for_devices(
    draft: Draft,
    devices: Sequence[Jid],
    keyring: Keyring,
    own: Own,
    *,
    bundles: Mapping[Jid, Bundle],
    token: bytes | None,
    entropy: Entropy,
) -> Sealed:
    """Encrypt a sent message for devices that a phash mismatch showed, under the same id. Raises as `seal`.

    The caller sees to it that none of them was sealed for before: two readable copies are shown twice.
    """
    return seal(draft, devices, keyring, own, bundles=bundles, token=token, entropy=entropy)


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


# Retry receipts of others


def wanted_for_retry(receipt: Receipt, own: Own, keyring: Keyring | None = None) -> Wanted:
    """Return every key that answering this retry receipt will touch; ask twice, as for opening."""
    device = requester(receipt)
    if not (device.is_pn or device.is_lid) or device.agent:
        return Wanted()
    wanted = wanted_for_device(device, own, keyring) | wanted_for_device(device.with_device(0), own, keyring)
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


# Our own phone


def wanted_for_peer(own: Own) -> Wanted:
    """Return every key that sealing for our own phone will touch."""
    return wanted_for_device(own.lid.with_device(0), own)


def seal_peer(
    message: bytes,
    keyring: Keyring,
    own: Own,
    wa_id: str,
    *,
    bundle: Bundle | None = None,
    push_priority: str = "high",
    entropy: Entropy,
) -> Node:
    """Encrypt a protocol message for our own phone. Raises `NoDevices` where there is neither session nor bundle.

    `push_priority` is `high_force` for requests of history and placeholders.
    """
    phone = own.lid.with_device(0)
    keyring.pin(own.pn, own.lid)
    encrypted = _encrypt_for(phone, message, keyring, own, bundle, [], entropy)
    if isinstance(encrypted, str):
        raise NoDevices(((phone, encrypted),))
    return build_message(
        Outgoing(
            id=wa_id,
            to=own.pn.normalised,
            type="text",
            category="peer",
            push_priority=push_priority,
            meta={"appdata": "default"},
            direct=Enc(encrypted.kind, encrypted.ciphertext),
            device_identity=_proof([encrypted], own),
        )
    )


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


def _as_device(user: Jid, device: Jid) -> Jid:
    """That user's device of the same number; a hosted one is hosted under either name."""
    if device.server in _HOSTED:
        return Jid(user.user, HOSTED_LID_SERVER if user.is_lid else HOSTED_SERVER, device.device)
    return user.with_device(device.device)


def _has_session(record: SessionRecord | None) -> bool:
    return record is not None and record.has_open_session


def _seal(
    draft: Draft,
    devices: Sequence[Jid],
    keyring: Keyring,
    own: Own,
    bundles: Mapping[Jid, Bundle],
    token: bytes | None,
    entropy: Entropy,
) -> Sealed:
    keyring.pin(own.pn, own.lid)
    composed, copy = draft.composed, b""
    sealed: list[tuple[Jid, Encrypted]] = []
    skipped: list[tuple[Jid, str]] = []
    changed: list[Jid] = []
    for device in devices:
        plaintext = composed.message
        if own.is_own(device):
            plaintext = copy = copy or wrap_device_sent(composed.message, draft.chat)
        encrypted = _encrypt_for(device, plaintext, keyring, own, bundles.get(device), changed, entropy)
        if isinstance(encrypted, str):
            skipped.append((device, encrypted))
        else:
            sealed.append((device, encrypted))
    if not sealed:
        raise NoDevices(tuple(skipped))
    stanza = encode_node(build_message(_outgoing(draft, sealed, own, token)))
    everyone = (*devices, _as_device(own.in_form_of(draft.chat).normalised, own.lid))
    read_by = tuple(device for device, _ in sealed)
    return Sealed(stanza, phash(everyone), read_by, tuple(skipped), tuple(changed))


def _outgoing(draft: Draft, sealed: Sequence[tuple[Jid, Encrypted]], own: Own, token: bytes | None) -> Outgoing:
    composed, chat = draft.composed, draft.chat
    return Outgoing(
        id=draft.wa_id,
        to=chat,
        type=composed.stanza_type,
        edit=composed.edit,
        peer_recipient_pn=draft.chat_pn if chat.is_lid else None,
        participants=tuple((device, _enc(encrypted, composed)) for device, encrypted in sealed),
        device_identity=_proof([encrypted for _, encrypted in sealed], own),
        meta=composed.meta,
        reporting=_reporting(draft, own),
        tctoken=None if own.is_own(chat) else token,
    )


def _enc(encrypted: Encrypted, composed: Composed, count: int = 0) -> Enc:
    return Enc(encrypted.kind, encrypted.ciphertext, count, composed.mediatype, composed.hide)


def _proof(sealed: Iterable[Encrypted], own: Own) -> bytes | None:
    """Our device identity, which goes with every first message."""
    return own.signed_device_identity if any(encrypted.kind == "pkmsg" for encrypted in sealed) else None


def _reporting(draft: Draft, own: Own) -> bytes | None:
    composed = draft.composed
    if composed.secret is None:
        return None
    own_user = own.in_form_of(draft.chat).normalised
    return reporting_token(composed.message, composed.secret, draft.wa_id, str(own_user), str(draft.chat))


def _encrypt_for(
    device: Jid,
    plaintext: bytes,
    keyring: Keyring,
    own: Own,
    bundle: Bundle | None,
    changed: list[Jid],
    entropy: Entropy,
    *,
    must_start: bool = False,
) -> Encrypted | str:
    """Encrypt for one device, or say by a slug why that cannot be; then the keyring is as it was."""
    address = keyring.settle(device)
    record = keyring.session(address)
    mark = keyring.checkpoint()
    try:
        if bundle is not None and (must_start or _is_other(record, bundle)):
            if not _holds(device, bundle, keyring, own):
                return _FOREIGN
            record = start_session(record, own.identity, peer_bundle(bundle), entropy)
            if _keep_identity(address, bundle, keyring):
                changed.append(device)
        if record is None or not record.has_open_session:
            return _NO_BUNDLE
        encrypted = encrypt(record, own.identity, pad(plaintext, entropy))
    except E2eeError as error:
        keyring.rollback(mark)
        return error.slug
    keyring.put_session(address, encrypted.record)
    return encrypted


def _is_other(record: SessionRecord | None, bundle: Bundle) -> bool:
    """Whether there is no session, or none with the installation that the bundle is of."""
    if record is None or not record.has_open_session:
        return True
    identity = bundle.identity
    return record.remote_identity != identity.identity or record.remote_registration_id != identity.registration_id


def _holds(device: Jid, bundle: Bundle, keyring: Keyring, own: Own) -> bool:
    """Whether a bundle's device belongs to the account it claims: our own to ours, another's to the phone we know."""
    if own.is_own(device):
        is_phone = device.device == 0
        return bundle.identity.identity == own.account_key if is_phone else _proves(bundle, own.account_key)
    if device.device == 0:
        return True
    phone = str(keyring.address(device.with_device(0)))
    return _proves(bundle, keyring.get(IDENTITY, phone) if keyring.has(IDENTITY, phone) else None)


def _proves(bundle: Bundle, account_key: bytes | None) -> bool:
    return verify_device_identity(bundle, account_key=account_key)


def _keep_identity(address: str, bundle: Bundle, keyring: Keyring) -> bool:
    """Keep a bundle's identity; whether another one was known."""
    known, identity = keyring.get(IDENTITY, address), bundle.identity.identity
    if known == identity:
        return False
    keyring.put(IDENTITY, address, identity)
    return known is not None


def _may_have(device: Jid, receipt: Receipt, retained: Retained, keyring: Keyring, own: Own) -> bool:
    """Whether a device may have a message: one of our account's or of the chat's."""
    if not (device.is_pn or device.is_lid) or device.agent:
        return False
    if retained.chat.server == GROUP_SERVER:
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
    encrypted = _encrypt_for(device, plaintext, keyring, own, bundle, [], entropy, must_start=True)
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
            direct=_enc(encrypted, composed, count),
            device_identity=_proof([encrypted], own),
            device_fanout=None if is_group else False,
            addressing_mode=("lid" if device.is_lid else "pn") if is_group else None,
            meta=composed.meta,
        )
    )


def _own_sender_key(group: Jid, own: Own) -> str:
    return sender_key_name(group, f"{own.lid.user}_1.{own.lid.device}")


def _with_sender_key(retained: Retained, keyring: Keyring, own: Own) -> bytes | None:
    """A group's message with our sender key, which who asks for it has not got; `None` where we have none."""
    sender_key = keyring.sender_key(_own_sender_key(retained.chat, own))
    if sender_key is None:
        return None
    return add_skdm(retained.message, str(retained.chat), distribution_message(sender_key))
