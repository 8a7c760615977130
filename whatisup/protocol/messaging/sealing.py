"""Sealing an outgoing message: from what it says to the stanza with a ciphertext for every device.

Rule: what was sealed is kept and sent again byte for byte; one id is encrypted for one device again only when that
device, or the server, asked for it.

Source: WhatsApp Web, as whatsmeow does it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whatisup.crypto import Entropy
from whatisup.errors import CommandRefused
from whatisup.jid import Jid
from whatisup.protocol.messaging.keyring import Keyring, Own, Wanted
from whatisup.protocol.prekeys import Bundle
from whatisup.wire import Node

if TYPE_CHECKING:
    from whatisup.protocol.content.compose import Composed
    from whatisup.protocol.stanzas.receipt import Receipt


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
    stanza_type: str
    edit: str | None
    unix_t: int


def recipients(
    devices_of_chat: Iterable[Jid], own_devices: Iterable[Jid], own: Own, *, chat: Jid | None = None
) -> list[Jid]:
    """Return the devices to encrypt for, in the form of the chat's name and without ourselves."""
    raise NotImplementedError


def wanted_for_sealing(
    devices: Iterable[Jid], own: Own, keyring: Keyring | None = None, *, chat_pn: Jid | None = None
) -> Wanted:
    """Return every key that sealing for these devices will touch."""
    raise NotImplementedError


def without_session(devices: Iterable[Jid], keyring: Keyring) -> list[Jid]:
    """Return the devices that need a bundle first. Raises `KeyNotLoaded`."""
    raise NotImplementedError


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
    """Encrypt for every device and build the stanza. Raises `NoDevices` and `KeyNotLoaded`, the keyring untouched."""
    raise NotImplementedError


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
    """Encrypt a sent message for devices that a phash mismatch showed, under the same id. Raises as `seal`."""
    raise NotImplementedError


def wanted_for_retry(receipt: Receipt, own: Own, keyring: Keyring | None = None) -> Wanted:
    """Return every key that answering this retry receipt will touch."""
    raise NotImplementedError


def needs_bundle(receipt: Receipt, keyring: Keyring, own: Own, *, recreated_at: float | None, now: float) -> Jid | None:
    """Return the device whose bundle has to be fetched before this retry receipt is answered, if any."""
    raise NotImplementedError


def seal_retry(
    receipt: Receipt, retained: Retained, keyring: Keyring, own: Own, bundle: Bundle | None, *, entropy: Entropy
) -> Node | None:
    """Encrypt a kept message again for the one device that asked; `None` where it has no right to it or cannot get it.

    How often a device may ask is the caller's to count.
    """
    raise NotImplementedError


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
    """Encrypt a protocol message for our own phone. Raises `NoDevices` where there is neither session nor bundle."""
    raise NotImplementedError
