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

from whatisup.crypto import KEY_LENGTH, SIGNATURE_LENGTH, constant_time_equal
from whatisup.errors import RemoteProtocolError
from whatisup.jid import SERVER, Jid
from whatisup.protocol.credentials import KEY_TYPE, Credentials, SignedPrekey, is_signed_prekey
from whatisup.protocol.stanzas.iq import ERROR_TEXTS, Attrs, Refusal, build_request, build_result
from whatisup.wire import Node

ENCRYPT_XMLNS: Final = "encrypt"
FIRST_UPLOAD: Final = 812
"""How many prekeys a server that has none is given, as both clients do."""
REFILL: Final = 50
"""How many a server that runs low is given."""
LOW: Final = 5
"""A server with fewer runs low."""
MAX_KEY_ID: Final = 2**24 - 1

_MAX_PREKEYS: Final = 2048  # one upload; the clients send 812
_HASH_LENGTH: Final = 20


@dataclass(frozen=True, slots=True)
class PublicSignedPrekey:
    """A signed prekey as others see it: id (24 bits), public (32 bytes), signature (64 bytes)."""

    key_id: int
    public: bytes
    signature: bytes

    @classmethod
    def of(cls, key: SignedPrekey) -> PublicSignedPrekey:
        """Return the public half of a signed prekey."""
        return cls(key.key_id, key.pair.public, key.signature)


@dataclass(frozen=True, slots=True)
class PublicIdentity:
    """What a device shows beside one-time prekeys: registration id (32 bits), identity (32 bytes), signed prekey."""

    registration_id: int
    identity: bytes
    signed_prekey: PublicSignedPrekey

    @classmethod
    def of(cls, credentials: Credentials) -> PublicIdentity:
        """Return the public half of a device's credentials."""
        signed_prekey = PublicSignedPrekey.of(credentials.signed_prekey)
        return cls(credentials.registration_id, credentials.identity.public, signed_prekey)


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
    keys = tuple(_prekey(key_id, public) for key_id, public in upload.prekeys)
    children = (*_identity(upload.identity), Node("list", {}, keys), _skey(upload.identity.signed_prekey))
    return build_request(request_id, "set", ENCRYPT_XMLNS, *children)


def parse_upload(request: Node) -> PrekeyUpload:
    """Read an upload on the server's side, signature checked. Raises `RemoteProtocolError`."""
    identity = _parse_identity(request)
    listed = request.child("list")
    keys = () if listed is None else listed.children("key")
    if not 0 < len(keys) <= _MAX_PREKEYS:
        raise RemoteProtocolError(f"an upload of {len(keys)} prekeys")
    return PrekeyUpload(identity, tuple(_parse_prekey(key) for key in keys))


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
        *_identity(identity),
        _skey(identity.signed_prekey),
        Node("list", {}, tuple(Node("id", {}, _key_id(key_id)) for key_id, _ in prekeys)),
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
        _parse_identity(digest),
        tuple(_number(node, 3) for node in ids),
        _bytes_of(digest, "hash", _HASH_LENGTH),
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
    return build_request(request_id, "set", ENCRYPT_XMLNS, Node("rotate", {}, (_skey(key),)))


def parse_rotation(request: Node, identity: bytes) -> PublicSignedPrekey:
    """Read a new signed prekey and check it with the device's identity (32 bytes). Raises `RemoteProtocolError`."""
    rotate = request.child("rotate")
    if rotate is None:
        raise RemoteProtocolError("no signed prekey to rotate to")
    key = _parse_skey(rotate)
    _check_signature(identity, key)
    return key


# Bundles of other devices


@dataclass(frozen=True, slots=True)
class Bundle:
    """What starts a session with a device: `prekey` (id, public) is absent once the server has run out.

    `device_identity` is the device's own proof (serialized ADVSignedDeviceIdentity) where the server sends it.
    """

    identity: PublicIdentity
    prekey: tuple[int, bytes] | None
    device_identity: bytes | None = None


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
    return tuple(_jid_of(user) for user in wanted.children("user"))


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
    return tuple((_jid_of(user), _parse_user(user)) for user in listed.children("user"))


def _user(jid: Jid, bundle: Bundle | Refusal) -> Node:
    if isinstance(bundle, Refusal):
        text = bundle.text or ERROR_TEXTS.get(bundle.code, "error")
        return Node("user", {"jid": jid}, (Node("error", {"code": str(bundle.code), "text": text}),))
    children = [*_identity(bundle.identity)]
    if bundle.prekey is not None:
        children.append(_prekey(*bundle.prekey))
    children.append(_skey(bundle.identity.signed_prekey))
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
        identity, key = _parse_identity(body), body.child("key")
        prekey = None if key is None else _parse_prekey(key)
    except RemoteProtocolError:
        return Refusal(500, "malformed-bundle")
    device_identity = user.child("device-identity")
    return Bundle(identity, prekey, None if device_identity is None else device_identity.bytes_content())


# Shared parts


def _key_id(key_id: int) -> bytes:
    return key_id.to_bytes(3, "big")


def _identity(identity: PublicIdentity) -> tuple[Node, Node, Node]:
    return (
        Node("registration", {}, identity.registration_id.to_bytes(4, "big")),
        Node("type", {}, KEY_TYPE),
        Node("identity", {}, identity.identity),
    )


def _parse_identity(body: Node) -> PublicIdentity:
    registration = body.child("registration")
    if registration is None or _bytes_of(body, "type", 1) != KEY_TYPE:
        raise RemoteProtocolError("prekeys without a registration id or of an unknown type")
    identity = PublicIdentity(_number(registration, 4), _bytes_of(body, "identity", KEY_LENGTH), _parse_skey(body))
    _check_signature(identity.identity, identity.signed_prekey)
    return identity


def _skey(key: PublicSignedPrekey) -> Node:
    children = (
        Node("id", {}, _key_id(key.key_id)),
        Node("value", {}, key.public),
        Node("signature", {}, key.signature),
    )
    return Node("skey", {}, children)


def _parse_skey(body: Node) -> PublicSignedPrekey:
    skey = body.child("skey")
    if skey is None:
        raise RemoteProtocolError("a signed prekey is missing")
    return PublicSignedPrekey(*_parse_prekey(skey), _bytes_of(skey, "signature", SIGNATURE_LENGTH))


def _check_signature(identity: bytes, key: PublicSignedPrekey) -> None:
    if not is_signed_prekey(identity, key.public, key.signature):
        raise RemoteProtocolError("a signed prekey is not signed by its identity")


def _prekey(key_id: int, public: bytes) -> Node:
    return Node("key", {}, (Node("id", {}, _key_id(key_id)), Node("value", {}, public)))


def _parse_prekey(key: Node) -> tuple[int, bytes]:
    key_id = key.child("id")
    if key_id is None:
        raise RemoteProtocolError("a prekey without an id")
    return _number(key_id, 3), _bytes_of(key, "value", KEY_LENGTH)


def _number(node: Node, length: int) -> int:
    content = node.bytes_content()
    if len(content) != length:
        raise RemoteProtocolError(f"<{node.tag[:32]}> does not have {length} bytes")
    return int.from_bytes(content, "big")


def _bytes_of(body: Node, tag: str, length: int) -> bytes:
    child = body.child(tag)
    content = b"" if child is None else child.bytes_content()
    if len(content) != length:
        raise RemoteProtocolError(f"<{tag}> does not have {length} bytes")
    return content


def _jid_of(user: Node) -> Jid:
    reader = user.reader()
    jid = reader.jid("jid")
    reader.check()
    return jid
