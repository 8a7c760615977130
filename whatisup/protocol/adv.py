"""The proof that a device belongs to an account: made by the phone, checked and countersigned by the companion.

    HMAC envelope { details = S, hmac }    keyed with the secret that QR code or linking code gave the phone
    S             { details = D, account key, account signature over  06 00 || D || companion identity }
    reply         { details = D, account signature,
                    device signature over  06 01 || D || companion identity || account key }

Rule: every length, HMAC and signature is checked before anything is believed, as whatsmeow does it (Baileys ignores
what a signature check says). Hosted ones replace `06 00` by `06 05`; a device's own signature always has `06 01`.

Source: WhatsApp Web, as whatsmeow does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

from google.protobuf.message import Message

from whatisup.crypto import (
    KEY_LENGTH,
    SIGNATURE_LENGTH,
    Entropy,
    KeyPair,
    constant_time_equal,
    hmac_sha256,
    xeddsa_sign,
    xeddsa_verify,
)
from whatisup.errors import RemoteProtocolError
from whatisup.wire import proto

ACCOUNT_PREFIX: Final = b"\x06\x00"
DEVICE_PREFIX: Final = b"\x06\x01"
HOSTED_PREFIX: Final = b"\x06\x05"

HMAC_MISMATCH: Final = "hmac-mismatch"
"""The refusal of a proof that was made with another secret."""


class PairingRefused(RemoteProtocolError):
    """A proof does not hold. `code` and `text` are what the peer is answered: 401 or 500, and a slug."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"the device identity was refused: {text}")
        self.code, self.text = code, text


@dataclass(frozen=True, slots=True)
class SignedDevice:
    """What verifying a phone's proof gives the companion.

    `signed_identity` is S with our signature added, to be kept; `reply` the same without the account key, to be sent;
    `primary_identity` the account key (32 bytes).
    """

    signed_identity: bytes
    reply: bytes
    primary_identity: bytes
    key_index: int


def sign_device(
    account: KeyPair,
    companion_identity: bytes,
    adv_secret: bytes,
    *,
    raw_id: int,
    key_index: int,
    now: int,
    entropy: Entropy,
    is_hosted: bool = False,
) -> bytes:
    """Make the phone's proof (the serialized HMAC envelope) for a companion's identity key (32 bytes).

    `account` is the phone's long-lived identity, `raw_id` 32 bits fixed per account, `key_index` never reused, `now`
    unix seconds, `adv_secret` the 32 bytes that the companion showed.
    """
    kind = proto.HOSTED if is_hosted else proto.E2EE
    identity = proto.ADVDeviceIdentity(
        rawId=raw_id, timestamp=now, keyIndex=key_index, accountType=kind, deviceType=kind
    )
    details = identity.SerializeToString()
    prefix = HOSTED_PREFIX if is_hosted else ACCOUNT_PREFIX
    signed = proto.ADVSignedDeviceIdentity(
        details=details,
        accountSignatureKey=account.public,
        accountSignature=xeddsa_sign(account.private, prefix + details + companion_identity, entropy),
    ).SerializeToString()
    sealed = proto.ADVSignedDeviceIdentityHMAC(
        details=signed, hmac=hmac_sha256(adv_secret, (HOSTED_PREFIX if is_hosted else b"") + signed)
    )
    if is_hosted:
        sealed.accountType = proto.HOSTED
    return sealed.SerializeToString()


def verify_pairing(envelope: bytes, identity: KeyPair, adv_secret: bytes, entropy: Entropy) -> SignedDevice:
    """Check the phone's proof for our identity and countersign it.

    Raises `PairingRefused` with 500 for what cannot be parsed, 401 `hmac-mismatch` and 401 `signature-mismatch`.
    """
    sealed = _parse(proto.ADVSignedDeviceIdentityHMAC, envelope)
    prefix = HOSTED_PREFIX if sealed.accountType == proto.HOSTED else b""
    if not constant_time_equal(hmac_sha256(adv_secret, prefix + sealed.details), sealed.hmac):
        raise PairingRefused(401, HMAC_MISMATCH)
    signed = _parse(proto.ADVSignedDeviceIdentity, sealed.details)
    details = _parse(proto.ADVDeviceIdentity, signed.details)
    account_key = signed.accountSignatureKey
    if len(account_key) != KEY_LENGTH or len(signed.accountSignature) != SIGNATURE_LENGTH:
        raise PairingRefused(500, "internal-error")
    account_prefix = HOSTED_PREFIX if details.deviceType == proto.HOSTED else ACCOUNT_PREFIX
    if not xeddsa_verify(account_key, account_prefix + signed.details + identity.public, signed.accountSignature):
        raise PairingRefused(401, "signature-mismatch")
    message = DEVICE_PREFIX + signed.details + identity.public + account_key
    signed.deviceSignature = xeddsa_sign(identity.private, message, entropy)
    kept = signed.SerializeToString()
    signed.ClearField("accountSignatureKey")
    return SignedDevice(kept, signed.SerializeToString(), account_key, details.keyIndex)


def verify_device(reply: bytes, companion_identity: bytes, account_public: bytes) -> bytes:
    """Check the companion's countersigned identity on the phone's side; return it with the account key put back.

    Raises `PairingRefused`.
    """
    signed = _parse(proto.ADVSignedDeviceIdentity, reply)
    if not signed.details or len(signed.accountSignature) != SIGNATURE_LENGTH:
        raise PairingRefused(500, "internal-error")
    message = DEVICE_PREFIX + signed.details + companion_identity + account_public
    if not xeddsa_verify(companion_identity, message, signed.deviceSignature):
        raise PairingRefused(401, "signature-mismatch")
    signed.accountSignatureKey = account_public
    return signed.SerializeToString()


def names_account(signed_identity: bytes) -> bool:
    """Whether a serialized ADVSignedDeviceIdentity says of which account it is, as it need not to whoever knows."""
    try:
        return bool(proto.parse(proto.ADVSignedDeviceIdentity, signed_identity).accountSignatureKey)
    except RemoteProtocolError:
        return True  # garbage proves nothing


def is_device_of(signed_identity: bytes, device_identity: bytes, account_key: bytes | None) -> bool:
    """Whether a serialized ADVSignedDeviceIdentity binds a device's identity (32 bytes) to an account, both ways.

    `account_key` (32 bytes) is the phone's identity where it is known; else the one inside the proof is taken.
    Official clients check this; whatsmeow and Baileys do not.
    """
    try:
        signed = proto.parse(proto.ADVSignedDeviceIdentity, signed_identity)
        details = proto.parse(proto.ADVDeviceIdentity, signed.details)
    except RemoteProtocolError:
        return False
    inside = signed.accountSignatureKey
    key = account_key or inside
    if len(key) != KEY_LENGTH or (inside and inside != key):
        return False
    account_prefix = HOSTED_PREFIX if details.deviceType == proto.HOSTED else ACCOUNT_PREFIX
    by_account = account_prefix + signed.details + device_identity
    by_device = DEVICE_PREFIX + signed.details + device_identity + key
    return (
        len(signed.accountSignature) == len(signed.deviceSignature) == SIGNATURE_LENGTH
        and xeddsa_verify(key, by_account, signed.accountSignature)
        and xeddsa_verify(device_identity, by_device, signed.deviceSignature)
    )


_M = TypeVar("_M", bound=Message)


def _parse(cls: type[_M], data: bytes) -> _M:
    try:
        return proto.parse(cls, data)
    except RemoteProtocolError:
        raise PairingRefused(500, "internal-error") from None
