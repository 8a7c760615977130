"""The simulated phone of an account: its keys, and what it does with a companion's QR or linking code.

Rule: the phone keeps no list of keys; everything but its identity is derived from the identity and a number, so that
the same phone answers the same after a restart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from whatisup.crypto import Entropy, KeyPair, hkdf_sha256, keypair_from_private, xeddsa_sign
from whatisup.protocol.adv import sign_device
from whatisup.protocol.credentials import KEY_TYPE
from whatisup.protocol.linking_code import (
    CompanionFinish,
    CompanionHello,
    LinkingSecret,
    PrimaryHello,
    derive_key,
    open_bundle,
    salt_of,
    unwrap_ephemeral,
)
from whatisup.protocol.prekeys import PublicIdentity, PublicSignedPrekey
from whatisup.sandbox.accounts import Account

PLATFORM: Final = "android"
SIGNED_PREKEY_ID: Final = 1
"""The only signed prekey a phone ever has."""


def _derived(account: Account, what: str) -> KeyPair:
    return keypair_from_private(hkdf_sha256(account.identity.private, info=what.encode(), length=32))


def public_identity(account: Account, entropy: Entropy) -> PublicIdentity:
    """Return what the phone shows to those who start a session with it."""
    pair = signed_prekey(account)
    signature = xeddsa_sign(account.identity.private, KEY_TYPE + pair.public, entropy)
    skey = PublicSignedPrekey(SIGNED_PREKEY_ID, pair.public, signature)
    return PublicIdentity(account.registration_id, account.identity.public, skey)


def signed_prekey(account: Account) -> KeyPair:
    """Return the phone's signed prekey, which its identity fixes."""
    return _derived(account, "signed prekey")


def one_time_prekey(account: Account, key_id: int) -> KeyPair:
    """Return the phone's one-time prekey of that id; it never runs out of them."""
    return _derived(account, f"one-time prekey {key_id}")


def sign_companion(
    account: Account, companion_identity: bytes, adv_secret: bytes, key_index: int, unix: int, entropy: Entropy
) -> bytes:
    """Sign a companion's identity key (32 bytes): the serialized HMAC envelope for pair-success."""
    return sign_device(
        account.identity,
        companion_identity,
        adv_secret,
        raw_id=account.raw_id,
        key_index=key_index,
        now=unix,
        entropy=entropy,
    )


@dataclass(frozen=True, slots=True, repr=False)
class TypedCode:
    """What the phone keeps between typing a linking code and the companion's last word.

    `companion_ephemeral` (32 bytes) is a wrong key where the code was wrong; only the bundle shows that.
    """

    account: Account
    ephemeral: KeyPair
    companion_ephemeral: bytes
    hello: PrimaryHello

    def adv_secret(self, finish: CompanionFinish) -> bytes:
        """Open the companion's bundle; return the ADV secret (32 bytes).

        Raises `RemoteProtocolError`: the code was wrong.
        """
        return open_bundle(
            finish.bundle,
            self.ephemeral,
            self.account.identity,
            self.companion_ephemeral,
            finish.companion_identity,
        )


def type_code(account: Account, code: str, hello: CompanionHello, ref: bytes, entropy: Entropy) -> TypedCode:
    """Type a linking code (8 characters, no dash) into the phone. Takes about 0.2 s: run it in a thread."""
    key = derive_key(code, salt_of(hello.wrapped_ephemeral))
    secret = LinkingSecret.derive(code, entropy)
    return TypedCode(
        account,
        secret.ephemeral,
        unwrap_ephemeral(hello.wrapped_ephemeral, key),
        PrimaryHello(secret.wrapped_ephemeral, account.identity.public, ref),
    )
