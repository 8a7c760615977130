"""What a companion device is: its keys from the first start, and its account once a phone has linked it.

Rule: no representation shows a key or a signature, and what `encode` wrote, `decode` reads, also in later versions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import msgspec

from whatisup.crypto import Entropy, KeyPair, generate_keypair, keypair_from_private, xeddsa_sign, xeddsa_verify
from whatisup.errors import LocalProtocolError
from whatisup.jid import Jid, JidError
from whatisup.protocol.profile import DEFAULT_VERSION, ClientProfile, ClientType, ClientVersion

__all__ = [
    "DEFAULT_VERSION",
    "KEY_TYPE",
    "Account",
    "ClientProfile",
    "ClientType",
    "ClientVersion",
    "Credentials",
    "Entropy",
    "SignedPrekey",
    "is_signed_prekey",
]

KEY_TYPE: Final = b"\x05"
"""The type byte of a Curve25519 key; it stands before a signed prekey when it is signed, and alone in stanzas."""

_MAX_REGISTRATION_ID: Final = 0x3FFF
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True, repr=False)
class SignedPrekey:
    """A medium-lived key pair under `key_id` (24 bits), signed (64 bytes) by the identity over `05 || public`."""

    key_id: int
    pair: KeyPair
    signature: bytes

    @classmethod
    def generate(cls, identity: KeyPair, key_id: int, entropy: Entropy) -> SignedPrekey:
        """Make a new pair and sign it."""
        pair = generate_keypair(entropy)
        return cls(key_id, pair, xeddsa_sign(identity.private, KEY_TYPE + pair.public, entropy))

    def __repr__(self) -> str:
        return f"SignedPrekey(key_id={self.key_id})"


def is_signed_prekey(identity_public: bytes, public: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) is the identity's over that signed prekey's public (32 bytes)."""
    return xeddsa_verify(identity_public, KEY_TYPE + public, signature)


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """The keys of one companion device; whoever has them and the account controls it.

    `registration_id` has 14 bits and is not 0; `adv_secret` (32 bytes) authenticates the link and is replaced by a
    linking code; `root_public` (32 bytes) is the Noise root the device was, or will be, paired under.
    """

    noise: KeyPair
    identity: KeyPair
    signed_prekey: SignedPrekey
    registration_id: int
    adv_secret: bytes
    root_public: bytes

    @classmethod
    def generate(cls, entropy: Entropy, root_public: bytes) -> Credentials:
        """Make a new device."""
        noise, identity = generate_keypair(entropy), generate_keypair(entropy)
        signed_prekey = SignedPrekey.generate(identity, 1, entropy)
        registration_id = int.from_bytes(entropy(2), "big") % _MAX_REGISTRATION_ID + 1
        return cls(noise, identity, signed_prekey, registration_id, entropy(32), root_public)

    def with_adv_secret(self, adv_secret: bytes) -> Credentials:
        """Return the same device with another ADV secret (32 bytes)."""
        return replace(self, adv_secret=adv_secret)

    def with_signed_prekey(self, signed_prekey: SignedPrekey) -> Credentials:
        """Return the same device after a rotation."""
        return replace(self, signed_prekey=signed_prekey)

    def encode(self) -> bytes:
        """Return bytes to keep sealed."""
        skey = self.signed_prekey
        record = _CredentialsRecord(
            _FORMAT,
            self.noise.private,
            self.identity.private,
            skey.key_id,
            skey.pair.private,
            skey.signature,
            self.registration_id,
            self.adv_secret,
            self.root_public,
        )
        return msgspec.msgpack.encode(record)

    @classmethod
    def decode(cls, data: bytes) -> Credentials:
        """Read what `encode` wrote. Raises `LocalProtocolError` for anything else."""
        record = _decode(data, _CredentialsRecord)
        return cls(
            keypair_from_private(record.noise),
            keypair_from_private(record.identity),
            SignedPrekey(
                record.signed_prekey_id, keypair_from_private(record.signed_prekey), record.signed_prekey_signature
            ),
            record.registration_id,
            record.adv_secret,
            record.root_public,
        )

    def __repr__(self) -> str:
        return "Credentials(...)"


@dataclass(frozen=True, slots=True, repr=False)
class Account:
    """The account a phone linked this device to.

    `jid` and `lid` carry the device number. `signed_identity` is the serialized ADVSignedDeviceIdentity with the
    account's key and our own signature, attached later to first messages; `primary_identity` (32 bytes) is the phone's
    identity key, known under (LID user, device 0).
    """

    jid: Jid
    lid: Jid
    signed_identity: bytes
    primary_identity: bytes
    key_index: int
    platform: str
    business_name: str | None = None

    @property
    def phone_number(self) -> str:
        """The number in international form, digits only."""
        return self.jid.user

    def with_lid(self, lid: Jid) -> Account:
        """Return the same account under another hidden id."""
        return replace(self, lid=lid)

    def encode(self) -> bytes:
        """Return bytes to keep sealed."""
        record = _AccountRecord(
            _FORMAT,
            str(self.jid),
            str(self.lid),
            self.signed_identity,
            self.primary_identity,
            self.key_index,
            self.platform,
            self.business_name,
        )
        return msgspec.msgpack.encode(record)

    @classmethod
    def decode(cls, data: bytes) -> Account:
        """Read what `encode` wrote. Raises `LocalProtocolError` for anything else."""
        record = _decode(data, _AccountRecord)
        try:
            jid, lid = Jid.parse(record.jid), Jid.parse(record.lid)
        except JidError:
            raise LocalProtocolError("a stored account has an unreadable address") from None
        return cls(
            jid,
            lid,
            record.signed_identity,
            record.primary_identity,
            record.key_index,
            record.platform,
            record.business_name,
        )

    def __repr__(self) -> str:
        return f"Account(jid={str(self.jid)!r})"


# The stored forms: arrays whose first item is the format. A later format appends fields with defaults.


class _CredentialsRecord(msgspec.Struct, array_like=True, frozen=True):
    format: int
    noise: bytes
    identity: bytes
    signed_prekey_id: int
    signed_prekey: bytes
    signed_prekey_signature: bytes
    registration_id: int
    adv_secret: bytes
    root_public: bytes

    def __post_init__(self) -> None:
        keys = (self.noise, self.identity, self.signed_prekey, self.adv_secret, self.root_public)
        if any(len(key) != 32 for key in keys):
            raise ValueError("a key of another length")

    def __repr__(self) -> str:
        return "_CredentialsRecord(...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []  # rich would show every field


class _AccountRecord(msgspec.Struct, array_like=True, frozen=True):
    format: int
    jid: str
    lid: str
    signed_identity: bytes
    primary_identity: bytes
    key_index: int
    platform: str
    business_name: str | None

    def __repr__(self) -> str:
        return "_AccountRecord(...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []  # rich would show every field


_R = TypeVar("_R", _CredentialsRecord, _AccountRecord)


def _decode(data: bytes, kind: type[_R]) -> _R:
    try:
        record = msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, ValueError):
        # `from None`: the library's message may quote what it read.
        raise LocalProtocolError("stored auth state cannot be read") from None
    if record.format != _FORMAT:
        raise LocalProtocolError(f"stored auth state has format {record.format}, we read {_FORMAT}")
    return record
