"""`receipt` stanzas: what became of messages on the devices they were for, and the request to send one again.

Both sides write them, a client with `to`, the server with `from`; the first id stands in `id`, further ones in a list.

Rule: a receipt says what a device did; whether it counts as anything is not decided here.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from whatisup.jid import Jid
from whatisup.protocol.stanzas.keys import Bundle
from whatisup.protocol.stanzas.message import Envelope
from whatisup.wire import Node

MAX_IDS: Final = 2048
"""Most messages one receipt speaks of, and most users of one in the aggregated form."""

DELIVERED: Final = ""
INACTIVE: Final = "inactive"
READ: Final = "read"
READ_SELF: Final = "read-self"
PLAYED: Final = "played"
PLAYED_SELF: Final = "played-self"
SENDER: Final = "sender"
RETRY: Final = "retry"
SERVER_ERROR: Final = "server-error"
PEER_MSG: Final = "peer_msg"
HIST_SYNC: Final = "hist_sync"

RetryKeys: TypeAlias = Bundle
"""What a retry receipt offers for a new session: our identity, one fresh one-time prekey, our device identity."""


@dataclass(frozen=True, slots=True)
class RetryRequest:
    """A device could not read message `wa_id`: its `count`-th request, `error` says why (0 unknown).

    `keys`, where there are any, are of the requesting device, their signature checked.
    """

    wa_id: str
    count: int
    unix_t: int
    error: int
    registration_id: int
    keys: Bundle | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt from either side; `source` is its `from`, or its `to` on the server's side.

    There it is `SERVER` where the client left `to` out, as Baileys does. `users` is the aggregated form of a group:
    (message id, user, unix seconds). `is_lid_incapable`: a delivery receipt that means *not* delivered.
    """

    ids: tuple[str, ...]
    source: Jid
    kind: str = DELIVERED
    participant: Jid | None = None
    recipient: Jid | None = None
    unix_t: int | None = None
    users: tuple[tuple[str, Jid, int], ...] = ()
    is_lid_incapable: bool = False
    retry: RetryRequest | None = None


def build_receipt(
    ids: Sequence[str],
    to: Jid,
    *,
    kind: str = DELIVERED,
    participant: Jid | None = None,
    recipient: Jid | None = None,
    unix_t: int | None = None,
) -> Node:
    """Build a client's receipt for one or more messages of one chat and sender."""
    raise NotImplementedError


def build_retry_receipt(
    envelope: Envelope, *, count: int, error: int, registration_id: int, keys: RetryKeys | None
) -> Node:
    """Ask the sender of a message that we could not read for another copy."""
    raise NotImplementedError


def build_receipt_delivery(
    receipt: Node,
    *,
    source: Jid,
    unix_t: int,
    participant: Jid | None = None,
    recipient: Jid | None = None,
    kind: str | None = None,
) -> Node:
    """Build what another device gets of a client's receipt: its children as they are, new addresses.

    `kind` replaces the receipt's type (`read-self`, say).
    """
    raise NotImplementedError


def parse_receipt(node: Node) -> Receipt:
    """Read a receipt from either side. Raises `RemoteProtocolError`."""
    raise NotImplementedError
