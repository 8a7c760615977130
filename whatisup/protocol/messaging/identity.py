"""What is forgotten when a user's keys, or devices, are no longer the ones we knew.

Rule: a notification takes everything of that user; a message only what is kept of its device, once it was read.

Source: WhatsApp Web, as whatsmeow does it.
"""

from __future__ import annotations

from collections.abc import Iterable

from whatisup.e2ee import SignalAddress
from whatisup.jid import Jid
from whatisup.protocol.messaging.devices import devices_key
from whatisup.protocol.messaging.keyring import IDENTITY, LID, PN, SESSION, Keyring, Own, Wanted


def wanted_for_user(user: Jid, own: Own, keyring: Keyring | None = None, *, other: Jid | None = None) -> Wanted:
    """Return everything that is kept of a user's devices, to be forgotten.

    `other` is the user's other name where it is told with the news; without it, ask twice, as for opening.
    """
    user = user.normalised
    if own.is_own(user) or not (user.is_pn or user.is_lid):
        return Wanted()
    row = (LID if user.is_pn else PN, user.user)
    if other is not None and other.normalised == user:
        other = None  # the name that we have already is no news
    if other is None and keyring is not None and keyring.has(*row):
        other = keyring.lid_of(user) if user.is_pn else keyring.pn_of(user)
    names = [user] if other is None else [user, other.normalised]
    keys = {row} | {devices_key(name) for name in names}
    keys |= {(LID if name.is_pn else PN, name.user) for name in names}
    return Wanted(frozenset(keys), frozenset((kind, _prefix(name)) for name in names for kind in _PER_DEVICE))


def forget_user(user: Jid, keyring: Keyring, own: Own) -> bool:
    """Forget all sessions and identities of a user and the list of devices; whether there was anything.

    Our own account is never forgotten. What we gave and were given as trusted contacts stays: the token is to be issued
    again with its old time. Raises `KeyNotLoaded`, the keyring untouched.
    """
    user = user.normalised
    if own.is_own(user) or not (user.is_pn or user.is_lid):
        return False
    names = [name for name in (keyring.lid_of(user), keyring.pn_of(user)) if name is not None]
    doomed = [(kind, name) for one in names for kind in _PER_DEVICE for name in keyring.names(kind, _prefix(one))]
    doomed += [devices_key(name) for name in names if keyring.get(*devices_key(name)) is not None]
    for key in doomed:
        keyring.delete(*key)
    return bool(doomed)


def forget_devices(devices: Iterable[Jid], keyring: Keyring) -> None:
    """Forget the sessions and identities of devices that are gone; `wanted_for_sealing` says what to load.

    Raises `KeyNotLoaded`.
    """
    for device in devices:
        address = keyring.settle(device)
        keyring.delete(SESSION, address)
        keyring.delete(IDENTITY, address)


_PER_DEVICE = (SESSION, IDENTITY)


def _prefix(user: Jid) -> str:
    return f"{SignalAddress.of(user).name}."
