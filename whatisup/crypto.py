"""The primitives, under the names and lengths the protocol uses; the mathematics is the libraries'.

Rule: entropy comes in as an argument, secrets never come out in a representation or a message.

Source of XEdDSA: Signal's "The XEdDSA and VXEdDSA Signature Schemes"; of the older dialect that real accounts still
sign with: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, CTR
from msgspec import Struct
from xeddsa import bindings as xeddsa

from whatisup.errors import RemoteProtocolError

Entropy: TypeAlias = Callable[[int], bytes]
"""A source of that many random bytes, such as `secrets.token_bytes`."""

KEY_LENGTH: Final = 32
SIGNATURE_LENGTH: Final = 64
GCM_TAG_LENGTH: Final = 16
AES_BLOCK_LENGTH: Final = 16
_SHA256_LENGTH: Final = 32
_NO_SALT: Final = bytes(_SHA256_LENGTH)
_SIGN_BIT: Final = 0x80


class AuthenticationFailed(RemoteProtocolError):
    """A ciphertext was not made with this key, nonce and associated data."""


class Secret(Struct, frozen=True):
    """A value whose representation shows nothing of it.

    Structs and not dataclasses, since a ratchet makes a dozen of these for every message: a frozen dataclass takes six
    times as long to make, and twenty times as long to make again with another field.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []  # rich would show every field


class KeyPair(Secret, frozen=True):
    """A Curve25519 key pair: `private` (32 bytes, clamped) and `public` (32 bytes, no type prefix)."""

    private: bytes
    public: bytes

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public.hex()})"


def keypair_from_private(private: bytes) -> KeyPair:
    """Return the pair of a private key of 32 bytes, clamped as X25519 clamps it."""
    clamped = bytes((private[0] & 248,)) + private[1:31] + bytes((private[31] & 127 | 64,))
    return KeyPair(clamped, X25519PrivateKey.from_private_bytes(clamped).public_key().public_bytes_raw())


def generate_keypair(entropy: Entropy) -> KeyPair:
    """Return a new pair from 32 bytes of entropy."""
    return keypair_from_private(entropy(KEY_LENGTH))


def x25519(private: bytes, public: bytes) -> bytes:
    """Return the shared secret (32 bytes) of our private and the peer's public key, 32 bytes each.

    Raises `RemoteProtocolError` for a public key of another length or of small order (an all-zero secret).
    """
    # Not cryptography's: its key objects derive a public key first, which doubles the cost.
    try:
        return xeddsa.x25519(private, public)
    except (ValueError, xeddsa.XEdDSAException):
        raise RemoteProtocolError("the peer's public key gives no shared secret") from None


def xeddsa_sign(private: bytes, message: bytes, entropy: Entropy) -> bytes:
    """Sign with a Curve25519 private key (32 bytes): 64 bytes, randomised by 64 bytes of entropy.

    XEdDSA proper, whose last bit is 0, which verifiers of both dialects accept.
    """
    return xeddsa.ed25519_priv_sign(xeddsa.priv_force_sign(private, False), message, entropy(64))


def xeddsa_verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) over `message` was made by the owner of `public` (32 bytes).

    Accepts both dialects: the older one carries the sign bit of the Edwards key in the signature's last bit, and XEdDSA
    proper forces that bit to 0. Wrong lengths and keys that are no point give False.
    """
    if len(public) != KEY_LENGTH or len(signature) != SIGNATURE_LENGTH:
        return False
    key = xeddsa.curve25519_pub_to_ed25519_pub(public, bool(signature[63] & _SIGN_BIT))
    return xeddsa.ed25519_verify(signature[:63] + bytes((signature[63] & ~_SIGN_BIT,)), key, message)


def hkdf_sha256(ikm: bytes, *, salt: bytes = b"", info: bytes = b"", length: int) -> bytes:
    """Derive up to 8160 bytes as RFC 5869 does; an empty salt stands for 32 zero bytes."""
    # Not cryptography's: its objects are as quick in a loop, and four times as slow between other work.
    key, block, derived = hmac.digest(salt or _NO_SALT, ikm, "sha256"), b"", b""
    for number in range(1, -(-length // _SHA256_LENGTH) + 1):
        block = hmac.digest(key, block + info + number.to_bytes(1, "big"), "sha256")
        derived += block
    return derived[:length]


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Return the HMAC-SHA256 (32 bytes)."""
    return hmac.digest(key, message, "sha256")


class AesGcm:
    """AES-256-GCM under one key (32 bytes), for whoever uses a key more than once."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def encrypt(self, nonce: bytes, plaintext: bytes, aad: bytes = b"") -> bytes:
        """Return the ciphertext with its tag of 16 bytes behind it; the nonce has 12 bytes and is never used twice."""
        return self._cipher.encrypt(nonce, plaintext, aad)

    def decrypt(self, nonce: bytes, ciphertext: bytes, aad: bytes = b"") -> bytes:
        """Return the plaintext. Raises `AuthenticationFailed`."""
        try:
            return self._cipher.decrypt(nonce, ciphertext, aad)
        except InvalidTag:
            raise AuthenticationFailed("a ciphertext failed authentication") from None


def aes_gcm_encrypt(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes = b"") -> bytes:
    """Encrypt once with AES-256-GCM: key 32 bytes, nonce 12; the tag of 16 bytes is appended."""
    return AesGcm(key).encrypt(nonce, plaintext, aad)


def aes_gcm_decrypt(key: bytes, nonce: bytes, ciphertext: bytes, aad: bytes = b"") -> bytes:
    """Decrypt once with AES-256-GCM: key 32 bytes, nonce 12, tag appended. Raises `AuthenticationFailed`."""
    return AesGcm(key).decrypt(nonce, ciphertext, aad)


def aes_ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    """Encrypt or decrypt (the same thing) with AES in counter mode: key 32 bytes, initial counter block 16."""
    cipher = Cipher(AES(key), CTR(iv)).encryptor()
    return cipher.update(data) + cipher.finalize()


def aes_cbc_encrypt(key: bytes, iv: bytes, plaintext: bytes) -> bytes:
    """Encrypt with AES in CBC mode, padded as PKCS#7 says (1 to 16 bytes): key 32 bytes, IV 16."""
    padding = AES_BLOCK_LENGTH - len(plaintext) % AES_BLOCK_LENGTH
    cipher = Cipher(AES(key), CBC(iv)).encryptor()
    return cipher.update(plaintext + bytes((padding,)) * padding) + cipher.finalize()


def aes_cbc_decrypt(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    """Decrypt what `aes_cbc_encrypt` made. CBC proves nothing: check a MAC or a signature first.

    Raises `AuthenticationFailed` for a length that is no multiple of 16 and for padding that PKCS#7 does not make.
    """
    if not ciphertext or len(ciphertext) % AES_BLOCK_LENGTH:
        raise AuthenticationFailed("a ciphertext is not whole blocks")
    cipher = Cipher(AES(key), CBC(iv)).decryptor()
    padded = cipher.update(ciphertext) + cipher.finalize()
    padding = padded[-1]
    if not 0 < padding <= AES_BLOCK_LENGTH or padded[-padding:] != padded[-1:] * padding:
        raise AuthenticationFailed("a ciphertext was not made with this key")
    return padded[:-padding]


def pbkdf2_sha256(password: bytes, salt: bytes, iterations: int, length: int) -> bytes:
    """Derive `length` bytes with PBKDF2-HMAC-SHA256. Slow by design: not for the event loop."""
    return hashlib.pbkdf2_hmac("sha256", password, salt, iterations, length)


def constant_time_equal(a: bytes, b: bytes) -> bool:
    """Whether two byte strings are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(a, b)
