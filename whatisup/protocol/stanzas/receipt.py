"""`receipt` stanzas: what became of messages on the devices they were for, and the request to send one again.

Both sides write them, a client with `to`, the server with `from`; the first id stands in `id`, further ones in a list.

Rule: a receipt says what a device did; whether it counts as anything is not decided here.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from whatisup.errors import LocalProtocolError, RemoteProtocolError
from whatisup.jid import SERVER, Jid
from whatisup.protocol.stanzas.enc import MAX_COUNT
from whatisup.protocol.stanzas.envelope import ChatKind, Envelope
from whatisup.protocol.stanzas.iq import Attrs, is_message_id, parse_unix
from whatisup.protocol.stanzas.keys import (
    Bundle,
    PublicIdentity,
    identity_nodes,
    parse_device_identity,
    parse_keys,
    parse_prekey,
    parse_registration,
    prekey_node,
    skey_node,
)
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
    """Build a client's receipt for 1 to `MAX_IDS` messages of one chat and sender. Raises `LocalProtocolError`."""
    if not 0 < len(ids) <= MAX_IDS:
        raise LocalProtocolError(f"a receipt for {len(ids)} messages")
    attrs: Attrs = {"id": ids[0], "to": to}
    attrs |= _present(type=kind or None, participant=participant, recipient=recipient, t=_text(unix_t))
    items = tuple(Node("item", {"id": wa_id}) for wa_id in ids[1:])
    return Node("receipt", attrs, (Node("list", {}, items),) if items else None)


def build_retry_receipt(
    envelope: Envelope, *, count: int, error: int, registration_id: int, keys: RetryKeys | None
) -> Node:
    """Ask the sender of a message that we could not read for another copy; the `count`-th time, from 1."""
    attrs: Attrs = {"id": envelope.id, "to": envelope.source, "type": RETRY}
    attrs |= _present(
        participant=envelope.participant,
        recipient=envelope.recipient,
        category="peer" if envelope.kind is ChatKind.PEER else None,
    )
    retry = {"count": str(count), "id": envelope.id, "t": str(envelope.unix_t), "v": "1", "error": str(error)}
    children = [Node("retry", retry), Node("registration", {}, registration_id.to_bytes(4, "big"))]
    if keys is not None:
        children.append(_keys_node(keys))
    return Node("receipt", attrs, tuple(children))


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
    kept = {key: value for key, value in receipt.attrs.items() if key in ("id", "type", "category")}
    attrs: Attrs = {**kept, "from": source, "t": str(unix_t)}
    attrs |= _present(type=kind, participant=participant, recipient=recipient)
    return Node("receipt", attrs, receipt.content)


def build_read_by(wa_id: str, group: Jid, users: Sequence[tuple[Jid, int]], *, kind: str = READ, unix_t: int) -> Node:
    """Build the aggregated form: who of a group has received (or read, played) a message, and when (unix seconds)."""
    children = tuple(Node("user", {"jid": user, "t": str(at)}) for user, at in users)
    attrs: Attrs = {"id": wa_id, "from": group, "t": str(unix_t)}
    return Node("receipt", attrs | _present(type=kind or None), (Node("participants", {"key": wa_id}, children),))


def parse_receipt(node: Node) -> Receipt:
    """Read a receipt from either side. Raises `RemoteProtocolError`."""
    if node.tag != "receipt":
        raise RemoteProtocolError(f"<{node.tag[:32]}> is no receipt")
    reader = node.reader()
    first, kind = reader.string("id"), reader.optional_string("type") or DELIVERED
    source = reader.optional_jid("from") or reader.optional_jid("to") or SERVER
    participant, recipient = reader.optional_jid("participant"), reader.optional_jid("recipient")
    reader.check()
    ids, users = (first, *_listed(node)), _parse_users(node)
    retry = _parse_retry(node, first) if kind == RETRY else None
    named = (*ids, *(user[0] for user in users), *(() if retry is None else (retry.wa_id,)))
    if not all(is_message_id(wa_id) for wa_id in named):
        raise RemoteProtocolError("a receipt for what is no message")
    return Receipt(
        ids=ids,
        source=source,
        kind=kind,
        participant=participant,
        recipient=recipient,
        unix_t=parse_unix(node),
        users=users,
        is_lid_incapable=_is_lid_incapable(node),
        retry=retry,
    )


def _present(**attrs: str | Jid | None) -> Attrs:
    return {key: value for key, value in attrs.items() if value is not None}


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _listed(node: Node) -> tuple[str, ...]:
    listed = node.child("list")
    items = () if listed is None else listed.children("item")
    if len(items) >= MAX_IDS:
        raise RemoteProtocolError(f"a receipt for {len(items)} more messages")
    ids: list[str] = []
    for item in items:
        reader = item.reader()
        # A newsletter's views are listed by the server's id.
        ids.append(reader.optional_string("id") or reader.string("server_id"))
        reader.check()
    return tuple(ids)


def _parse_users(node: Node) -> tuple[tuple[str, Jid, int], ...]:
    users: list[tuple[str, Jid, int]] = []
    for participants in node.children("participants"):
        reader = participants.reader()
        wa_id = reader.string("key")
        reader.check()
        entries = participants.children("user")
        if len(users) + len(entries) > MAX_IDS:
            raise RemoteProtocolError("a receipt of too many users")
        for entry in entries:
            user = entry.reader()
            jid, unix_t = user.jid("jid"), parse_unix(entry)
            user.check()
            users.append((wa_id, jid, unix_t or 0))
    return tuple(users)


def _is_lid_incapable(node: Node) -> bool:
    return any(
        error.attrs.get("type") == "feature-incapable" and error.attrs.get("reason") == "lid"
        for error in node.children("error")
    )


def _parse_retry(node: Node, wa_id: str) -> RetryRequest:
    retry = node.child("retry")
    if retry is None:
        raise RemoteProtocolError("a retry receipt that asks for nothing")
    reader = retry.reader()
    count, error = reader.optional_integer("count"), reader.optional_integer("error")
    reader.check()
    count = 1 if count is None else count
    if not 0 <= count <= MAX_COUNT:
        raise RemoteProtocolError("a retry receipt counts an impossible number of tries")
    registration_id, keys = parse_registration(node), node.child("keys")
    return RetryRequest(
        reader.optional_string("id") or wa_id,
        count,
        parse_unix(retry) or 0,
        error or 0,
        registration_id,
        None if keys is None else _parse_keys(keys, registration_id),
    )


def _keys_node(keys: RetryKeys) -> Node:
    _registration, *identity = identity_nodes(keys.identity)
    children = [*identity, *(() if keys.prekey is None else (prekey_node(*keys.prekey),))]
    children.append(skey_node(keys.identity.signed_prekey))
    if keys.device_identity is not None:
        children.append(Node("device-identity", {}, keys.device_identity))
    return Node("keys", {}, tuple(children))


def _parse_keys(keys: Node, registration_id: int) -> Bundle:
    identity: PublicIdentity = parse_keys(keys, registration_id)
    key = keys.child("key")
    return Bundle(identity, None if key is None else parse_prekey(key), parse_device_identity(keys))
