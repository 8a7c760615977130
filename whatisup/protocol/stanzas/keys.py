"""The public keys of a device as stanzas carry them: in a prekey upload, a bundle and a retry receipt alike.

Key ids are 3 bytes and registration ids 4, big-endian; keys are 32 bytes without their type byte, which travels alone.

Rule: lengths and signatures are checked before a key exists here.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from whatisup.crypto import KEY_LENGTH, SIGNATURE_LENGTH
from whatisup.errors import RemoteProtocolError
from whatisup.protocol.credentials import KEY_TYPE, Credentials, SignedPrekey, is_signed_prekey
from whatisup.wire import Node

MAX_DEVICE_IDENTITY: Final = 4096
"""Most bytes of a device's proof that we keep; real ones have some two hundred."""


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


@dataclass(frozen=True, slots=True)
class Bundle:
    """What starts a session with a device: `prekey` (id, public) is absent once the server has run out.

    `device_identity` is the device's own proof (serialized ADVSignedDeviceIdentity) where the server sends it.
    """

    identity: PublicIdentity
    prekey: tuple[int, bytes] | None
    device_identity: bytes | None = None


def identity_nodes(identity: PublicIdentity) -> tuple[Node, Node, Node]:
    """Build `registration`, `type` and `identity`."""
    return (
        Node("registration", {}, identity.registration_id.to_bytes(4, "big")),
        Node("type", {}, KEY_TYPE),
        Node("identity", {}, identity.identity),
    )


def parse_identity(body: Node) -> PublicIdentity:
    """Read those three and the signed prekey, its signature checked. Raises `RemoteProtocolError`."""
    return parse_keys(body, parse_registration(body))


def parse_registration(body: Node) -> int:
    """Read the registration id (32 bits). Raises `RemoteProtocolError`."""
    registration = body.child("registration")
    if registration is None:
        raise RemoteProtocolError("keys without a registration id")
    return number(registration, 4)


def parse_keys(body: Node, registration_id: int) -> PublicIdentity:
    """Read type, identity and signed prekey beside a known registration id. Raises `RemoteProtocolError`."""
    if bytes_of(body, "type", 1) != KEY_TYPE:
        raise RemoteProtocolError("keys of an unknown type")
    identity = PublicIdentity(registration_id, bytes_of(body, "identity", KEY_LENGTH), parse_skey(body))
    check_signature(identity.identity, identity.signed_prekey)
    return identity


def skey_node(key: PublicSignedPrekey) -> Node:
    """Build `skey`."""
    children = (
        Node("id", {}, key_id_bytes(key.key_id)),
        Node("value", {}, key.public),
        Node("signature", {}, key.signature),
    )
    return Node("skey", {}, children)


def parse_skey(body: Node) -> PublicSignedPrekey:
    """Read `skey`, its signature unchecked. Raises `RemoteProtocolError`."""
    skey = body.child("skey")
    if skey is None:
        raise RemoteProtocolError("a signed prekey is missing")
    return PublicSignedPrekey(*parse_prekey(skey), bytes_of(skey, "signature", SIGNATURE_LENGTH))


def check_signature(identity: bytes, key: PublicSignedPrekey) -> None:
    """Raise `RemoteProtocolError` unless the identity (32 bytes) signed that key."""
    if not is_signed_prekey(identity, key.public, key.signature):
        raise RemoteProtocolError("a signed prekey is not signed by its identity")


def prekey_node(key_id: int, public: bytes) -> Node:
    """Build `key`, a one-time prekey."""
    return Node("key", {}, (Node("id", {}, key_id_bytes(key_id)), Node("value", {}, public)))


def parse_prekey(key: Node) -> tuple[int, bytes]:
    """Read id and public of a `key` or `skey`. Raises `RemoteProtocolError`."""
    key_id = key.child("id")
    if key_id is None:
        raise RemoteProtocolError("a prekey without an id")
    return number(key_id, 3), bytes_of(key, "value", KEY_LENGTH)


def parse_device_identity(body: Node) -> bytes | None:
    """Read `device-identity` where it is there. Raises `RemoteProtocolError` beyond `MAX_DEVICE_IDENTITY` bytes."""
    child = body.child("device-identity")
    if child is None:
        return None
    content = child.bytes_content()
    if len(content) > MAX_DEVICE_IDENTITY:
        raise RemoteProtocolError(f"a device identity of {len(content)} bytes")
    return content


def key_id_bytes(key_id: int) -> bytes:
    """Return a key id as stanzas write it (3 bytes)."""
    return key_id.to_bytes(3, "big")


def number(node: Node, length: int) -> int:
    """Read a node's content of exactly `length` bytes as a number. Raises `RemoteProtocolError`."""
    content = node.bytes_content()
    if len(content) != length:
        raise RemoteProtocolError(f"<{node.tag[:32]}> does not have {length} bytes")
    return int.from_bytes(content, "big")


def bytes_of(body: Node, tag: str, length: int) -> bytes:
    """Read a child's content of exactly `length` bytes. Raises `RemoteProtocolError`."""
    child = body.child(tag)
    content = b"" if child is None else child.bytes_content()
    if len(content) != length:
        raise RemoteProtocolError(f"<{tag}> does not have {length} bytes")
    return content
