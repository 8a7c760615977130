"""Who takes part in a session: ourselves, and a peer's device as the server describes it before the first message.

Rule: public keys have 32 bytes here and for every caller; the type prefix of the wire is added and taken off inside.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct

from whatisup.crypto import KeyPair


@dataclass(frozen=True, slots=True)
class OwnIdentity:
    """Our long-lived key pair and our registration id (up to 32 bits)."""

    pair: KeyPair
    registration_id: int


class PeerBundle(Struct, frozen=True):
    """What a session with a device is started from: its identity, its signed prekey, at most one one-time prekey.

    `signature` (64 bytes) is the identity's over the signed prekey. `prekey_id` and `prekey` are both there or neither.
    """

    registration_id: int
    identity: bytes
    signed_prekey_id: int
    signed_prekey: bytes
    signature: bytes
    prekey_id: int | None = None
    prekey: bytes | None = None
