"""stub"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from whatisup.crypto import Entropy, KeyPair
from whatisup.e2ee.identity import OwnIdentity, PeerBundle
from whatisup.e2ee.record import SessionRecord


@dataclass(frozen=True, slots=True, repr=False)
class Encrypted:
    """A ciphertext, the type its `enc` node names, and the record to commit before it is sent."""

    record: SessionRecord
    kind: Literal["pkmsg", "msg"]
    ciphertext: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Decrypted:
    """A padded plaintext and what to commit with it.

    `used_prekey_id` names the one-time prekey to delete; `identity` (32 bytes) is the sender's, to be kept;
    `identity_changed` says that it is another one than the caller knew.
    """

    record: SessionRecord
    padded: bytes
    used_prekey_id: int | None
    identity: bytes
    identity_changed: bool


@dataclass(frozen=True, slots=True)
class PrekeyHeader:
    """What a prekey message says openly: which of our prekeys it needs, and who says to have made it."""

    prekey_id: int | None
    signed_prekey_id: int
    registration_id: int
    identity: bytes
    base_key: bytes


def parse_prekey_message(ciphertext: bytes) -> PrekeyHeader:
    """Return the header of a `pkmsg`. Raises `InvalidMessage` or `InvalidKey`."""
    raise NotImplementedError


def start_session(
    record: SessionRecord | None, own: OwnIdentity, bundle: PeerBundle, entropy: Entropy
) -> SessionRecord:
    """Open a new session from a peer's bundle. Raises `InvalidSignature` or `InvalidKey`."""
    raise NotImplementedError


def encrypt(record: SessionRecord | None, own: OwnIdentity, padded: bytes) -> Encrypted:
    """Encrypt in the open session. Raises `NoSession`."""
    raise NotImplementedError


def decrypt_prekey_message(
    record: SessionRecord | None,
    own: OwnIdentity,
    ciphertext: bytes,
    *,
    signed_prekey: KeyPair | None,
    prekey: KeyPair | None,
    known_identity: bytes | None,
    entropy: Entropy,
) -> Decrypted:
    """Decrypt a `pkmsg`. Raises a subclass of `E2eeError`."""
    raise NotImplementedError


def decrypt_message(
    record: SessionRecord | None, own: OwnIdentity, ciphertext: bytes, *, entropy: Entropy
) -> Decrypted:
    """Decrypt a `msg`. Raises a subclass of `E2eeError`."""
    raise NotImplementedError
