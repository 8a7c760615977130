"""What a notification means to messaging: devices, identities, tokens, restrictions of the account, prekeys.

Every notification is acknowledged whatever it says; one that cannot be read is recorded and acknowledged all the same.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from whatisup.jid import Jid
from whatisup.protocol.stanzas.tokens import Token
from whatisup.wire import Node

DeviceAction: TypeAlias = Literal["add", "remove", "update"]
Restriction: TypeAlias = Literal["reachout_timelock", "message_capping"]


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
class AccountRestricted:
    """WhatsApp limits our account, or (`is_active` False) lifts that.

    `enforcement` is its own word for the kind, `ends_at` unix seconds (`None`: it did not say). For `message_capping`:
    the quota of new chats, how much of it is used, `status` NONE, FIRST_WARNING, SECOND_WARNING or CAPPED.
    """

    kind: Restriction
    is_active: bool
    enforcement: str | None = None
    ends_at: int | None = None
    quota: int | None = None
    used: int | None = None
    status: str | None = None


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
    raise NotImplementedError


def build_devices_change(notification_id: str, change: DevicesChanged, *, unix_t: int) -> Node:
    """Tell a contact which devices a user gained or lost."""
    raise NotImplementedError


def build_identity_change(notification_id: str, user: Jid, *, unix_t: int, lid: Jid | None = None) -> Node:
    """Tell a contact that a user's phone has new keys."""
    raise NotImplementedError


def build_restriction(notification_id: str, restriction: AccountRestricted, *, unix_t: int) -> Node:
    """Tell an account that it is limited, or no longer."""
    raise NotImplementedError


def build_server_sync(
    notification_id: str, account: Jid, collections: Sequence[tuple[str, int]], *, unix_t: int
) -> Node:
    """Tell a device that app state collections (name, version) have moved."""
    raise NotImplementedError
