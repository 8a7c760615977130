"""What a notification means to messaging: devices, identities, tokens, restrictions of the account, prekeys.

Every notification is acknowledged whatever it says; one that cannot be read is recorded and acknowledged all the same.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from whatisup.errors import RemoteProtocolError
from whatisup.jid import SERVER, Jid
from whatisup.protocol.stanzas.iq import Attrs
from whatisup.protocol.stanzas.logout import parse_devices_notification
from whatisup.protocol.stanzas.mex import AccountRestricted, read_restriction, restriction_node
from whatisup.protocol.stanzas.tokens import NOTIFICATION as PRIVACY_TOKEN
from whatisup.protocol.stanzas.tokens import Token, parse_tokens
from whatisup.protocol.stanzas.usync import MAX_DEVICES
from whatisup.wire import AttrReader, Node

__all__ = [
    "AccountRestricted",
    "DevicesChanged",
    "IdentityChanged",
    "Notice",
    "Other",
    "OwnDevicesChanged",
    "PrekeysLow",
    "TokensReceived",
    "build_devices_change",
    "build_identity_change",
    "build_restriction",
    "build_server_sync",
    "read_notification",
]

DeviceAction: TypeAlias = Literal["add", "remove", "update"]

_ACTIONS: Final[tuple[DeviceAction, ...]] = ("add", "remove", "update")


@dataclass(frozen=True, slots=True)
class DevicesChanged:
    """A user gained or lost devices, (number, key index); `update` names none: ask again.

    `device_hash` (and `lid_hash`, over the LID form) is over the list as it is afterwards.
    """

    user: Jid
    lid: Jid | None
    action: DeviceAction
    devices: tuple[tuple[int, int | None], ...] = ()
    device_hash: str | None = None
    lid_hash: str | None = None


@dataclass(frozen=True, slots=True)
class IdentityChanged:
    """A user's phone has new keys: everything known of that user's devices is void."""

    user: Jid
    lid: Jid | None = None


@dataclass(frozen=True, slots=True)
class TokensReceived:
    """A contact trusts us: store the newest by LID."""

    contact: Jid
    lid: Jid | None
    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class OwnDevicesChanged:
    """The devices of our own account are these now."""

    account: Jid
    devices: tuple[tuple[int, int | None], ...]
    device_hash: str


@dataclass(frozen=True, slots=True)
class PrekeysLow:
    """The server has `count` of our one-time prekeys left; the connection's stock sees to it."""

    count: int


@dataclass(frozen=True, slots=True)
class Other:
    """Nothing that messaging needs."""

    type: str


Notice: TypeAlias = (
    DevicesChanged | IdentityChanged | TokensReceived | AccountRestricted | OwnDevicesChanged | PrekeysLow | Other
)


def read_notification(node: Node) -> Notice:
    """Read a notification. Raises `RemoteProtocolError` where it is of a known type and does not hold what it must."""
    kind = node.reader().optional_string("type") or ""
    read = _READERS.get(kind)
    return Other(kind) if read is None else read(node)


def _from(node: Node) -> tuple[AttrReader, Jid]:
    reader = node.reader()
    user = reader.jid("from")
    reader.check()
    return reader, user.normalised


def _optional_lid(reader: AttrReader, key: str) -> Jid | None:
    lid = reader.optional_jid(key)
    return lid.normalised if lid is not None and lid.is_lid else None


def _read_encrypt(node: Node) -> Notice:
    reader, user = _from(node)
    count = node.child("count")
    if user == SERVER and count is not None:
        left = count.reader()
        low = PrekeysLow(max(left.integer("value"), 0))
        left.check()
        return low
    if node.child("identity") is None or not user.user:
        return Other("encrypt")
    return IdentityChanged(user, _optional_lid(reader, "lid") or _optional_lid(reader, "sender_lid"))


def _read_devices(node: Node) -> Notice:
    reader, user = _from(node)
    lid = _optional_lid(reader, "lid")
    for action in _ACTIONS:
        change = node.child(action)
        if change is not None:
            hashes = change.reader()
            return DevicesChanged(
                user,
                lid,
                action,
                _listed(change),
                hashes.optional_string("device_hash"),
                hashes.optional_string("device_lid_hash"),
            )
    raise RemoteProtocolError("a change of devices that changes nothing")


def _listed(change: Node) -> tuple[tuple[int, int | None], ...]:
    devices = change.children("device")
    if len(devices) > MAX_DEVICES:
        raise RemoteProtocolError(f"a change of {len(devices)} devices")
    listed: list[tuple[int, int | None]] = []
    for device in devices:
        reader = device.reader()
        listed.append((reader.jid("jid").device, reader.optional_integer("key-index")))
        reader.check()
    return tuple(listed)


def _read_account_sync(node: Node) -> Notice:
    _, account = _from(node)
    if node.child("devices") is None:
        return Other("account_sync")
    listed = parse_devices_notification(node)
    if len(listed.devices) > MAX_DEVICES:
        raise RemoteProtocolError(f"an account of {len(listed.devices)} devices")
    devices = tuple((entry.jid.device, entry.key_index) for entry in listed.devices)
    return OwnDevicesChanged(account, devices, listed.device_hash)


def _read_tokens(node: Node) -> Notice:
    reader, contact = _from(node)
    lid = contact if contact.is_lid else _optional_lid(reader, "sender_lid")
    return TokensReceived(contact, lid, parse_tokens(node))


def _read_mex(node: Node) -> Notice:
    update = node.child("update")
    restriction = None if update is None else read_restriction(update)
    return Other("mex") if restriction is None else restriction


_READERS: Final[Mapping[str, Callable[[Node], Notice]]] = {
    "encrypt": _read_encrypt,
    "devices": _read_devices,
    "account_sync": _read_account_sync,
    PRIVACY_TOKEN: _read_tokens,
    "mex": _read_mex,
}


# The server's side


def build_devices_change(notification_id: str, change: DevicesChanged, *, unix_t: int) -> Node:
    """Tell a contact which devices a user gained or lost."""
    attrs = _attrs(notification_id, "devices", change.user, unix_t)
    if change.lid is not None:
        attrs["lid"] = change.lid
    hashes = {"device_hash": change.device_hash, "device_lid_hash": change.lid_hash}
    devices = tuple(_device_node(change, number, key_index) for number, key_index in change.devices)
    return Node(
        "notification",
        attrs,
        (Node(change.action, {key: value for key, value in hashes.items() if value is not None}, devices),),
    )


def _device_node(change: DevicesChanged, number: int, key_index: int | None) -> Node:
    attrs: Attrs = {"jid": change.user.with_device(number)}
    if change.lid is not None:
        attrs["lid"] = change.lid.with_device(number)
    if key_index is not None:
        attrs["key-index"] = str(key_index)
    return Node("device", attrs)


def build_identity_change(notification_id: str, user: Jid, *, unix_t: int, lid: Jid | None = None) -> Node:
    """Tell a contact that a user's phone has new keys."""
    attrs = _attrs(notification_id, "encrypt", user, unix_t)
    if lid is not None:
        attrs["lid"] = lid
    return Node("notification", attrs, (Node("identity"),))


def build_restriction(notification_id: str, restriction: AccountRestricted, *, unix_t: int) -> Node:
    """Tell an account that it is limited, or no longer."""
    return Node("notification", _attrs(notification_id, "mex", SERVER, unix_t), (restriction_node(restriction),))


def build_server_sync(
    notification_id: str, account: Jid, collections: Sequence[tuple[str, int]], *, unix_t: int
) -> Node:
    """Tell a device that app state collections (name, version) have moved."""
    children = tuple(Node("collection", {"name": name, "version": str(version)}) for name, version in collections)
    return Node("notification", _attrs(notification_id, "server_sync", account, unix_t), children)


def _attrs(notification_id: str, kind: str, source: Jid, unix_t: int) -> Attrs:
    return {"from": source, "type": kind, "id": notification_id, "t": str(unix_t)}
