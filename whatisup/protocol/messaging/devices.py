"""Which devices a user has, as it is kept: asked for by usync, changed by notifications.

Rule: a list that a notification does not fit is dropped and asked for again, never patched up.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from whatisup.errors import LocalProtocolError
from whatisup.jid import Jid
from whatisup.protocol.content.ids import phash
from whatisup.protocol.messaging.keyring import DEVICES, KeyName
from whatisup.protocol.stanzas.notification import DevicesChanged, OwnDevicesChanged
from whatisup.protocol.stanzas.usync import UserDevices

FRESH_MS: Final = 24 * 3600 * 1000
"""How long a list is good without being asked for again."""


@dataclass(frozen=True, slots=True)
class DeviceListEntry:
    """A user's devices as (number, key index), when they were fetched (unix ms), and the server's hash of them."""

    devices: tuple[tuple[int, int | None], ...]
    fetched_at: int
    hash: str | None = None

    @classmethod
    def of(cls, found: UserDevices | OwnDevicesChanged, now_ms: int) -> DeviceListEntry:
        """Return what was asked for, or told, just now."""
        return cls(found.devices, now_ms, found.device_hash)

    def encode(self) -> bytes:
        """Return the bytes to keep."""
        return msgspec.msgpack.encode((self.devices, self.fetched_at, self.hash))

    @classmethod
    def decode(cls, data: bytes) -> DeviceListEntry:
        """Read what `encode` wrote. Raises `LocalProtocolError`."""
        try:
            devices, fetched_at, device_hash = msgspec.msgpack.decode(data, type=_STORED)
        except (msgspec.DecodeError, ValueError):
            raise LocalProtocolError("a stored list of devices cannot be read") from None
        return cls(devices, fetched_at, device_hash)

    def is_fresh(self, now_ms: int) -> bool:
        """Whether this may be used without asking again; a list from the future may not."""
        return 0 <= now_ms - self.fetched_at <= FRESH_MS

    def jids(self, user: Jid) -> tuple[Jid, ...]:
        """Return the devices of this user, in that user's form."""
        return tuple(user.with_device(device) for device, _ in self.devices)

    def changed(self, change: DevicesChanged) -> DeviceListEntry | None:
        """Return the list after a notification, `None` where it has to be asked for again.

        It has to where the notification does not say what changed, or the server's hash is not that of the outcome.
        """
        gone = {device for device, _ in change.devices}
        kept = tuple(entry for entry in self.devices if entry[0] not in gone)
        if change.action == "update" or not gone:
            return None
        entry = DeviceListEntry(kept if change.action == "remove" else kept + change.devices, self.fetched_at)
        hashes = [(change.user, change.device_hash), (change.lid, change.lid_hash)]
        told = [(user, value) for user, value in hashes if user is not None and value is not None]
        if not told or any(phash(entry.jids(user)) != value for user, value in told):
            return None
        return DeviceListEntry(entry.devices, self.fetched_at, change.device_hash)


_STORED: Final = tuple[tuple[tuple[int, int | None], ...], int, str | None]


def devices_key(user: Jid) -> KeyName:
    """Return the name under which a user's devices are kept: the LID where it is known, without device."""
    return (DEVICES, str(user.normalised))
