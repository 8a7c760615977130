"""Sealing an outgoing message: from what it says to the stanza with a ciphertext for every device.

Rule: what was sealed is kept and sent again byte for byte; one id is encrypted for one device again only when that
device, or the server, asked for it.

Source: WhatsApp Web, as whatsmeow does it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from whatisup.crypto import Entropy, Secret
from whatisup.e2ee import Encrypted
from whatisup.jid import HOSTED_LID_SERVER, HOSTED_SERVER, Jid
from whatisup.protocol.content.compose import Composed, wrap_device_sent
from whatisup.protocol.content.ids import phash
from whatisup.protocol.content.secrets import reporting_token
from whatisup.protocol.messaging.encrypting import NoDevices, enc_of, encrypt_for, has_session, proof_for
from whatisup.protocol.messaging.keyring import Keyring, Own, Wanted, phone_of, wanted_for_device
from whatisup.protocol.messaging.resending import (
    Retained,
    needs_bundle,
    recomposed,
    requester,
    seal_retry,
    wanted_for_retry,
)
from whatisup.protocol.prekeys import Bundle
from whatisup.protocol.stanzas.message import Enc, Outgoing, build_message
from whatisup.wire import Node, encode_node

__all__ = [
    "Draft",
    "NoDevices",
    "Retained",
    "Sealed",
    "needs_bundle",
    "recipients",
    "recomposed",
    "requester",
    "seal",
    "seal_for_devices",
    "seal_peer",
    "seal_retry",
    "wanted_for_peer",
    "wanted_for_retry",
    "wanted_for_sealing",
    "without_session",
]

_HOSTED: Final = frozenset({HOSTED_SERVER, HOSTED_LID_SERVER})


class Draft(Secret, frozen=True):
    """A message to seal: its id, the chat (by LID where known), the chat's phone number, and what it says."""

    wa_id: str
    chat: Jid
    chat_pn: Jid | None
    composed: Composed
    unix_ms: int


class Sealed(Secret, frozen=True):
    """A sealed message: `stanza` is the encoded node, the very bytes to send and to send again.

    `phash` is what the server's ack is compared with; `devices` can read it; `skipped` says of the others why not;
    `identity_changed` lists those whose bundle had another identity than we knew.
    """

    stanza: bytes
    phash: str
    devices: tuple[Jid, ...]
    skipped: tuple[tuple[Jid, str], ...] = ()
    identity_changed: tuple[Jid, ...] = ()


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
    """Return every key that sealing for these devices will touch, their phones' included; also what forgetting does.

    With `chat_pn`, the chat's phone number where the devices are named by LID, one read is enough; else ask again with
    the keyring, as for opening.
    """
    wanted = Wanted()
    named = list(devices)
    for device in dict.fromkeys((*named, *map(phone_of, named))):
        other = None
        if chat_pn is not None and device.is_lid and not own.is_own(device):
            other = _as_device(chat_pn.normalised, device)
        wanted |= wanted_for_device(device, own, keyring, other=other)
    return wanted


def without_session(devices: Iterable[Jid], keyring: Keyring) -> list[Jid]:
    """Return the devices that need a bundle first. Raises `KeyNotLoaded`."""
    return [device for device in devices if not has_session(keyring.session(keyring.settle(device)))]


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
    encrypted = encrypt_for(phone, message, keyring, own, bundle, [], entropy)
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
            device_identity=proof_for([encrypted], own),
        )
    )


def _as_device(user: Jid, device: Jid) -> Jid:
    """That user's device of the same number; a hosted one is hosted under either name."""
    if device.server in _HOSTED:
        return Jid(user.user, HOSTED_LID_SERVER if user.is_lid else HOSTED_SERVER, device.device)
    return user.with_device(device.device)


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
        encrypted = encrypt_for(device, plaintext, keyring, own, bundles.get(device), changed, entropy)
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
        participants=tuple((device, enc_of(encrypted, composed)) for device, encrypted in sealed),
        device_identity=proof_for([encrypted for _, encrypted in sealed], own),
        meta=composed.meta,
        reporting=_reporting(draft, own),
        tctoken=None if own.is_own(chat) else token,
    )


def _reporting(draft: Draft, own: Own) -> bytes | None:
    composed = draft.composed
    if composed.secret is None:
        return None
    own_user = own.in_form_of(draft.chat).normalised
    return reporting_token(composed.message, composed.secret, draft.wa_id, str(own_user), str(draft.chat))
