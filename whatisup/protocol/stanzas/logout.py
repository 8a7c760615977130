"""Unlinking a companion device, from either end, and telling the account's other devices about it.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from whatisup.errors import RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.stanzas.iq import build_request
from whatisup.wire import Node

MD_XMLNS: Final = "md"
USER_INITIATED: Final = "user_initiated"


@dataclass(frozen=True, slots=True)
class DeviceListed:
    """One device of an account as an `account_sync` notification lists it."""

    jid: Jid
    key_index: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceList:
    """The devices an account has now, and the hash the server gives that list."""

    devices: tuple[DeviceListed, ...]
    device_hash: str


def build_remove_companion_device(request_id: str, own: Jid, reason: str = USER_INITIATED) -> Node:
    """Ask the server to unlink us; `own` carries the device."""
    child = Node("remove-companion-device", {"jid": own, "reason": reason})
    return build_request(request_id, "set", MD_XMLNS, child)


def parse_remove_companion_device(request: Node) -> Jid:
    """Read which device is to go. Raises `RemoteProtocolError`."""
    child = request.child("remove-companion-device")
    if child is None:
        raise RemoteProtocolError("no device to remove")
    reader = child.reader()
    jid = reader.jid("jid")
    reader.check()
    return jid


def build_devices_notification(notification_id: str, account: Jid, listed: DeviceList, *, server_unix: int) -> Node:
    """Tell a remaining device which devices the account has now; `account` is its phone-number user."""
    devices = tuple(
        Node("device", {"jid": entry.jid} | ({} if entry.key_index is None else {"key-index": str(entry.key_index)}))
        for entry in listed.devices
    )
    attrs: dict[str, str | Jid] = {
        "from": account,
        "type": "account_sync",
        "id": notification_id,
        "t": str(server_unix),
    }
    return Node("notification", attrs, (Node("devices", {"dhash": listed.device_hash}, devices),))


def parse_devices_notification(notification: Node) -> DeviceList:
    """Read the devices of an `account_sync` notification. Raises `RemoteProtocolError`."""
    devices = notification.child("devices")
    if devices is None:
        raise RemoteProtocolError("a device list without its element")
    listed: list[DeviceListed] = []
    for device in devices.children("device"):
        reader = device.reader()
        listed.append(DeviceListed(reader.jid("jid"), reader.optional_integer("key-index")))
        reader.check()
    return DeviceList(tuple(listed), devices.reader().optional_string("dhash") or "")
