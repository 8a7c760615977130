"""What is forgotten when a user's keys, or devices, are no longer the ones we knew.

Rule: by a notification everything of that user goes; by a message, the one device's, and only once the message was read.

Source: WhatsApp Web, as whatsmeow does it.
"""

from __future__ import annotations

from collections.abc import Iterable

from whatisup.jid import Jid
from whatisup.protocol.messaging.keyring import Keyring, Own, Wanted


def wanted_for_user(user: Jid, own: Own, keyring: Keyring | None = None) -> Wanted:
    """Return everything that is kept of a user's devices, to be forgotten. Ask twice, as for opening."""
    raise NotImplementedError


def forget_user(user: Jid, keyring: Keyring, own: Own) -> bool:
    """Forget all sessions and identities of a user and the list of devices; whether there was anything.

    Our own account is never forgotten. Raises `KeyNotLoaded`.
    """
    raise NotImplementedError


def forget_devices(devices: Iterable[Jid], keyring: Keyring) -> None:
    """Forget the sessions and identities of devices that are gone. Raises `KeyNotLoaded`."""
    raise NotImplementedError
