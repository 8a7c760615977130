"""stub"""

from __future__ import annotations

from dataclasses import dataclass

from whatisup.crypto import Entropy


@dataclass(frozen=True, slots=True, repr=False)
class SenderKeyRecord:
    """The sender keys of one device in one group: up to 5. A value; `encode` gives what is stored."""

    @classmethod
    def decode(cls, data: bytes) -> SenderKeyRecord:
        """Read what `encode` wrote. Raises `InvalidRecord`."""
        raise NotImplementedError

    def encode(self) -> bytes:
        """Return the bytes to store: equal records give equal bytes."""
        raise NotImplementedError

    @property
    def key_id(self) -> int:
        """The id of the newest sender key."""
        raise NotImplementedError


def create_sender_key(entropy: Entropy) -> SenderKeyRecord:
    """Return a new sender key of our own."""
    raise NotImplementedError


def distribution_message(record: SenderKeyRecord) -> bytes:
    """Return the `axolotlSenderKeyDistributionMessage` that lets a device read what we send from now on."""
    raise NotImplementedError


def process_distribution(record: SenderKeyRecord | None, message: bytes) -> SenderKeyRecord:
    """Add a peer's sender key. Raises `InvalidMessage` or `InvalidKey`."""
    raise NotImplementedError


def encrypt_group(record: SenderKeyRecord, padded: bytes, entropy: Entropy) -> tuple[SenderKeyRecord, bytes]:
    """Encrypt an `skmsg` with our own sender key; entropy is for the signature."""
    raise NotImplementedError


def decrypt_group(record: SenderKeyRecord | None, ciphertext: bytes) -> tuple[SenderKeyRecord, bytes]:
    """Decrypt an `skmsg`. Raises a subclass of `E2eeError`."""
    raise NotImplementedError
