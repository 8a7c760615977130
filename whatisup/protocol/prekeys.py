"""Prekeys on the server: how many it has, handing it more, checking what it has, and fetching another device's.

Key ids are 3 bytes and registration ids 4, big-endian; keys are 32 bytes without their type byte, which travels alone.

Rule: stanzas and the digest only; when to upload what is the stock's decision.

Source: WhatsApp Web, as whatsmeow and Baileys do it; the digest's shape is known from other public clients.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from whatisup.crypto import constant_time_equal
from whatisup.e2ee import PeerBundle
from whatisup.errors import RemoteProtocolError
from whatisup.jid import SERVER, Jid
from whatisup.protocol.adv import is_device_of
from whatisup.protocol.stanzas.iq import ERROR_TEXTS, Attrs, Refusal, build_request, build_result
from whatisup.protocol.stanzas.keys import (
    Bundle,
    PublicIdentity,
    PublicSignedPrekey,
    bytes_of,
    check_signature,
    identity_nodes,
    key_id_bytes,
    number,
    parse_device_identity,
    parse_identity,
    parse_prekey,
    parse_skey,
    prekey_node,
    skey_node,
)
from whatisup.wire import Node

__all__ = [
    "ENCRYPT_XMLNS",
    "FIRST_UPLOAD",
    "LOW",
    "MAX_KEY_ID",
    "REFILL",
    "Bundle",
    "Digest",
    "PrekeyUpload",
    "PublicIdentity",
    "PublicSignedPrekey",
    "build_bundle_query",
    "build_bundles",
    "build_count",
    "build_count_query",
    "build_digest",
    "build_digest_query",
    "build_low_notification",
    "build_rotation",
    "build_upload",
    "digest_hash",
    "is_low_notification",
    "is_same_identity",
    "is_upload",
    "parse_bundle_query",
    "parse_bundles",
    "parse_count",
    "parse_digest",
    "parse_rotation",
    "parse_upload",
    "peer_bundle",
    "verify_device_identity",
]

ENCRYPT_XMLNS: Final = "encrypt"
FIRST_UPLOAD: Final = 812
"""How many prekeys a server that has none is given, as both clients do."""
REFILL: Final = 50
"""How many a server that runs low is given."""
LOW: Final = 5
"""A server with fewer runs low."""
MAX_KEY_ID: Final = 2**24 - 1

_MAX_PREKEYS: Final = 2048  # one upload; the clients send 812
_MAX_DEVICES: Final = 8192  # one bundle query or answer
_HASH_LENGTH: Final = 20


# Count


def build_count_query(request_id: str) -> Node:
    """Ask how many one-time prekeys of ours the server has left."""
    return build_request(request_id, "get", ENCRYPT_XMLNS, Node("count"))


def build_count(request: Node, count: int) -> Node:
    """Answer how many are left."""
    return build_result(request, Node("count", {"value": str(count)}))


def build_low_notification(notification_id: str, count: int, *, server_unix: int) -> Node:
    """Tell a device that its prekeys run low."""
    attrs: dict[str, str | Jid] = {"from": SERVER, "type": "encrypt", "id": notification_id, "t": str(server_unix)}
    return Node("notification", attrs, (Node("count", {"value": str(count)}),))


def parse_count(node: Node) -> int:
    """Read the count of an answer or of a low notification. Raises `RemoteProtocolError`."""
    child = node.child("count")
    if child is None:
        raise RemoteProtocolError("a prekey count without its element")
    reader = child.reader()
    count = reader.integer("value")
    reader.check()
    return max(count, 0)


def is_low_notification(notification: Node) -> bool:
    """Whether a notification reports our count; from a user it reports that user's new identity instead."""
    return (
        notification.attrs.get("type") == "encrypt"
        and notification.attrs.get("from") == SERVER
        and notification.child("count") is not None
    )


# Upload


@dataclass(frozen=True, slots=True)
class PrekeyUpload:
    """A device's identity and one-time prekeys (id, public)."""

    identity: PublicIdentity
    prekeys: tuple[tuple[int, bytes], ...]


def build_upload(request_id: str, upload: PrekeyUpload) -> Node:
    """Hand the server more one-time prekeys."""
    keys = tuple(prekey_node(key_id, public) for key_id, public in upload.prekeys)
    children = (*identity_nodes(upload.identity), Node("list", {}, keys), skey_node(upload.identity.signed_prekey))
    return build_request(request_id, "set", ENCRYPT_XMLNS, *children)


def parse_upload(request: Node) -> PrekeyUpload:
    """Read an upload on the server's side, signature checked. Raises `RemoteProtocolError`."""
    identity = parse_identity(request)
    listed = request.child("list")
    keys = () if listed is None else listed.children("key")
    if not 0 < len(keys) <= _MAX_PREKEYS:
        raise RemoteProtocolError(f"an upload of {len(keys)} prekeys")
    return PrekeyUpload(identity, tuple(parse_prekey(key) for key in keys))


def is_upload(request: Node) -> bool:
    """Whether an `encrypt` iq uploads prekeys, rather than rotating the signed one."""
    return request.child("list") is not None


# Digest


@dataclass(frozen=True, slots=True)
class Digest:
    """What the server has of us: identity, the ids of the one-time prekeys, and a SHA-1 (20 bytes) over all publics."""

    identity: PublicIdentity
    key_ids: tuple[int, ...]
    hash: bytes


def digest_hash(identity: PublicIdentity, prekeys: Iterable[bytes]) -> bytes:
    """Return SHA-1 (20 bytes) of identity, signed prekey, its signature and the one-time publics in listed order."""
    skey = identity.signed_prekey
    sha = hashlib.sha1(identity.identity + skey.public + skey.signature, usedforsecurity=False)
    for public in prekeys:
        sha.update(public)
    return sha.digest()


def build_digest_query(request_id: str) -> Node:
    """Ask what the server has of us."""
    return build_request(request_id, "get", ENCRYPT_XMLNS, Node("digest"))


def build_digest(request: Node, identity: PublicIdentity, prekeys: Sequence[tuple[int, bytes]]) -> Node:
    """Answer what the server has; where it has nothing, refuse with 404 instead."""
    children = (
        *identity_nodes(identity),
        skey_node(identity.signed_prekey),
        Node("list", {}, tuple(Node("id", {}, key_id_bytes(key_id)) for key_id, _ in prekeys)),
        Node("hash", {}, digest_hash(identity, (public for _, public in prekeys))),
    )
    return build_result(request, Node("digest", {}, children))


def parse_digest(answer: Node) -> Digest:
    """Read what the server has of us. Raises `RemoteProtocolError`."""
    digest = answer.child("digest")
    if digest is None:
        raise RemoteProtocolError("an answer without a digest")
    listed = digest.child("list")
    ids = () if listed is None else listed.children("id")
    return Digest(
        parse_identity(digest),
        tuple(number(node, 3) for node in ids),
        bytes_of(digest, "hash", _HASH_LENGTH),
    )


def is_same_identity(digest: Digest, identity: PublicIdentity) -> bool:
    """Whether the server has our identity and signed prekey, and, where it lists no prekeys, the right hash over them.

    With prekeys listed the hash needs all their publics, which nobody holds in memory.
    """
    if digest.identity != identity:
        return False
    return bool(digest.key_ids) or constant_time_equal(digest.hash, digest_hash(identity, ()))


# Rotation of the signed prekey


def build_rotation(request_id: str, key: PublicSignedPrekey) -> Node:
    """Replace our signed prekey on the server."""
    return build_request(request_id, "set", ENCRYPT_XMLNS, Node("rotate", {}, (skey_node(key),)))


def parse_rotation(request: Node, identity: bytes) -> PublicSignedPrekey:
    """Read a new signed prekey and check it with the device's identity (32 bytes). Raises `RemoteProtocolError`."""
    rotate = request.child("rotate")
    if rotate is None:
        raise RemoteProtocolError("no signed prekey to rotate to")
    key = parse_skey(rotate)
    check_signature(identity, key)
    return key


# Bundles of other devices


def build_bundle_query(request_id: str, devices: Sequence[Jid], *, is_identity_change: bool = False) -> Node:
    """Ask for the bundles of these devices."""
    reason: Attrs = {"reason": "identity"} if is_identity_change else {}
    users = tuple(Node("user", {"jid": device, **reason}) for device in devices)
    return build_request(request_id, "get", ENCRYPT_XMLNS, Node("key", {}, users))


def parse_bundle_query(request: Node) -> tuple[Jid, ...]:
    """Read whose bundles are wanted. Raises `RemoteProtocolError`."""
    wanted = request.child("key")
    if wanted is None:
        raise RemoteProtocolError("a bundle query for nobody")
    return tuple(_jid_of(user) for user in _bounded(wanted.children("user")))


def build_bundles(request: Node, found: Sequence[tuple[Jid, Bundle | Refusal]]) -> Node:
    """Answer a bundle query, device by device."""
    return build_result(request, Node("list", {}, tuple(_user(jid, bundle) for jid, bundle in found)))


def parse_bundles(answer: Node) -> tuple[tuple[Jid, Bundle | Refusal], ...]:
    """Read the bundles, signatures checked; a broken one is a `Refusal` of that device alone, as in whatsmeow.

    Raises `RemoteProtocolError` where the list is missing or a device has no address.
    """
    listed = answer.child("list")
    if listed is None:
        raise RemoteProtocolError("bundles without their list")
    return tuple((_jid_of(user), _parse_user(user)) for user in _bounded(listed.children("user")))


def peer_bundle(bundle: Bundle) -> PeerBundle:
    """Return a bundle as what a session is started from."""
    skey = bundle.identity.signed_prekey
    key_id, public = (None, None) if bundle.prekey is None else bundle.prekey
    return PeerBundle(
        bundle.identity.registration_id,
        bundle.identity.identity,
        skey.key_id,
        skey.public,
        skey.signature,
        key_id,
        public,
    )


def verify_device_identity(bundle: Bundle, *, account_key: bytes | None = None) -> bool:
    """Whether a bundle's device belongs to the account it claims; also True where it carries no proof, as phones do.

    `account_key` (32 bytes) is the identity of the user's phone, where we have it: the proof must be of that account.
    Otherwise the proof only has to hold together.
    """
    if bundle.device_identity is None:
        return True
    return is_device_of(bundle.device_identity, bundle.identity.identity, account_key)


def _user(jid: Jid, bundle: Bundle | Refusal) -> Node:
    if isinstance(bundle, Refusal):
        text = bundle.text or ERROR_TEXTS.get(bundle.code, "error")
        return Node("user", {"jid": jid}, (Node("error", {"code": str(bundle.code), "text": text}),))
    children = [*identity_nodes(bundle.identity)]
    if bundle.prekey is not None:
        children.append(prekey_node(*bundle.prekey))
    children.append(skey_node(bundle.identity.signed_prekey))
    if bundle.device_identity is not None:
        children.append(Node("device-identity", {}, bundle.device_identity))
    return Node("user", {"jid": jid}, tuple(children))


def _parse_user(user: Node) -> Bundle | Refusal:
    error = user.child("error")
    if error is not None:
        reader = error.reader()
        return Refusal(reader.optional_integer("code") or 500, (reader.optional_string("text") or "")[:200])
    # whatsmeow also accepts the parts one level down.
    body = user.child("keys") or user
    try:
        identity, key = parse_identity(body), body.child("key")
        prekey = None if key is None else parse_prekey(key)
        return Bundle(identity, prekey, parse_device_identity(user) or parse_device_identity(body))
    except RemoteProtocolError:
        return Refusal(500, "malformed-bundle")


def _bounded(users: tuple[Node, ...]) -> tuple[Node, ...]:
    if len(users) > _MAX_DEVICES:
        raise RemoteProtocolError(f"bundles of {len(users)} devices at once")
    return users


def _jid_of(user: Node) -> Jid:
    reader = user.reader()
    jid = reader.jid("jid")
    reader.check()
    return jid
