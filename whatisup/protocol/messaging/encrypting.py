"""Encrypting for one device: in the session there is, or in a new one from a bundle that holds.

Rule: what fails for a device leaves no trace of it, and never keeps another device from its copy.

Source: WhatsApp Web, as whatsmeow does it; that a device has to prove its account as official clients have it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from whatisup.crypto import Entropy
from whatisup.e2ee import Encrypted, SessionRecord, encrypt, pad, start_session
from whatisup.errors import CommandRefused, E2eeError
from whatisup.jid import Jid
from whatisup.protocol.content.compose import Composed
from whatisup.protocol.messaging.keyring import IDENTITY, Keyring, Own, phone_of
from whatisup.protocol.prekeys import Bundle, peer_bundle, verify_device_identity
from whatisup.protocol.stanzas.message import Enc

NO_BUNDLE: Final = "no_bundle"
"""Why a device was skipped: there is neither a session nor a bundle."""

FOREIGN_DEVICE: Final = "foreign_device"
"""Why a device was skipped: its bundle does not prove that it belongs to the account."""


class NoDevices(CommandRefused):
    """Not one device of the chat could be encrypted for. `skipped` says of each why."""

    def __init__(self, skipped: tuple[tuple[Jid, str], ...]) -> None:
        super().__init__("no device of the chat could be encrypted for")
        self.skipped = skipped


def encrypt_for(
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
                return FOREIGN_DEVICE
            record = start_session(record, own.identity, peer_bundle(bundle), entropy)
            if _keep_identity(address, bundle, keyring):
                changed.append(device)
        if record is None or not record.has_open_session:
            return NO_BUNDLE
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
        if is_phone:
            return bundle.identity.identity == own.account_key
        # Without this the server could invent a device of ours and be sent a copy of everything.
        return bundle.device_identity is not None and _proves(bundle, own.account_key)
    if device.device == 0:
        return True
    phone = str(keyring.address(phone_of(device)))
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


def has_session(record: SessionRecord | None) -> bool:
    """Whether a message can be encrypted without a bundle."""
    return record is not None and record.has_open_session


def enc_of(encrypted: Encrypted, composed: Composed, count: int = 0) -> Enc:
    """Return a ciphertext as its stanza carries it; `count` is that of a retry answer."""
    return Enc(encrypted.kind, encrypted.ciphertext, count, composed.mediatype, composed.hide)


def proof_for(sealed: Iterable[Encrypted], own: Own) -> bytes | None:
    """Return our device identity where one of these starts a session, else `None`."""
    return own.signed_device_identity if any(encrypted.kind == "pkmsg" for encrypted in sealed) else None
