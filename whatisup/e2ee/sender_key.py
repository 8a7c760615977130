"""Sender keys: what one device encrypts once for a whole group, and how the others follow.

Rule: a message's signature is checked before its chain is touched, and a chain that is known is never set back.

Source: Signal's sender keys, as whatsmeow uses them (iterations 0, 1, 2, …); Baileys skips every other iteration, so
gaps are normal.
"""

from __future__ import annotations

import struct
from typing import Final

from msgspec.structs import replace

from whatisup.crypto import (
    KEY_LENGTH,
    AuthenticationFailed,
    Entropy,
    Secret,
    aes_cbc_decrypt,
    aes_cbc_encrypt,
    generate_keypair,
    hkdf_sha256,
    xeddsa_sign,
    xeddsa_verify,
)
from whatisup.e2ee.chain import KeyChain, bounded
from whatisup.e2ee.envelope import (
    Distribution,
    read_distribution,
    read_sender_message,
    write_distribution,
    write_sender_message,
)
from whatisup.errors import InvalidMessage, InvalidRecord, InvalidSignature, NoSenderKey

MAX_STATES: Final = 5
"""How many sender keys of one device in one group are kept; the oldest is dropped."""

_FORMAT: Final = 1
_STATE: Final = struct.Struct(">I32s32sBII")  # key id, chain key, public key, has a private key, iteration, kept bytes
_KEYS_LENGTH: Final = 48


class SenderKey(Secret, frozen=True):
    """One sender key. `signing` is the public key (32 bytes) of its messages, `private` its secret where it is ours."""

    key_id: int
    chain: KeyChain
    signing: bytes
    private: bytes = b""


class SenderKeyRecord(Secret, frozen=True):
    """The sender keys of one device in one group, the newest first: at least one, up to 5."""

    states: tuple[SenderKey, ...]

    @classmethod
    def decode(cls, data: bytes) -> SenderKeyRecord:
        """Read what `encode` wrote. Raises `InvalidRecord`."""
        if data[:1] != bytes((_FORMAT,)):
            raise InvalidRecord("a stored sender key record is of a format this release does not know")
        try:
            states = _unpack(data)
        except struct.error:
            raise InvalidRecord("a stored sender key record is cut off") from None
        return cls(states)

    def encode(self) -> bytes:
        """Return the bytes to store: equal records give equal bytes."""
        parts = [bytes((_FORMAT,))]
        for state in self.states:
            chain = state.chain
            fixed = (state.key_id, chain.key, state.signing, bool(state.private), chain.counter, len(chain.kept))
            parts += (_STATE.pack(*fixed), state.private, chain.kept)
        return b"".join(parts)

    @property
    def key_id(self) -> int:
        """The id of the newest sender key."""
        return self.states[0].key_id


def create_sender_key(entropy: Entropy) -> SenderKeyRecord:
    """Return a sender key of our own; takes an id (4 bytes), a chain key and a signing key (32 each) from entropy."""
    key_id = int.from_bytes(entropy(4), "big") & 0x7FFFFFFF
    chain = KeyChain(entropy(KEY_LENGTH))
    pair = generate_keypair(entropy)
    return SenderKeyRecord((SenderKey(key_id, chain, pair.public, pair.private),))


def distribution_message(record: SenderKeyRecord) -> bytes:
    """Return the `axolotlSenderKeyDistributionMessage` that lets a device read what we send from now on."""
    state = record.states[0]
    key, iteration = state.chain.key or b"", state.chain.counter
    return write_distribution(Distribution(state.key_id, iteration, key, state.signing))


def process_distribution(record: SenderKeyRecord | None, message: bytes) -> SenderKeyRecord:
    """Add the sender key that a device handed us; one that we have is left where it is.

    Raises `InvalidMessage` or `InvalidKey`.
    """
    given = read_distribution(message)
    states = record.states if record else ()
    if record and any((state.key_id, state.signing) == (given.key_id, given.signing) for state in states):
        return record
    others = tuple(state for state in states if state.key_id != given.key_id)
    newest = SenderKey(given.key_id, KeyChain(given.chain_key, given.iteration), given.signing)
    return SenderKeyRecord((newest, *others)[:MAX_STATES])


def encrypt_group(record: SenderKeyRecord, padded: bytes, entropy: Entropy) -> tuple[SenderKeyRecord, bytes]:
    """Encrypt with our newest sender key: the record to commit, and a `skmsg`. Entropy (64 bytes) is the signature's.

    Raises `NoSenderKey` for a record that is not ours to send with.
    """
    state = record.states[0]
    if not state.private:
        raise NoSenderKey("this sender key is another device's")
    chain = state.chain
    found = chain.find(chain.counter)
    key, iv = _message_keys(found.seed)
    signed = write_sender_message(state.key_id, chain.counter, aes_cbc_encrypt(key, iv, padded))
    after = replace(state, chain=chain.after(chain.counter, found.trail))
    return SenderKeyRecord((after, *record.states[1:])), signed + xeddsa_sign(state.private, signed, entropy)


def decrypt_group(record: SenderKeyRecord | None, ciphertext: bytes) -> tuple[SenderKeyRecord, bytes]:
    """Decrypt a `skmsg`: the record to commit, and the padded plaintext.

    Raises `NoSenderKey`, `InvalidSignature`, `OldCounter`, `FutureMessage` or `InvalidMessage`.
    """
    message = read_sender_message(ciphertext)
    states = record.states if record else ()
    position = next((n for n, state in enumerate(states) if state.key_id == message.key_id), None)
    if position is None:
        raise NoSenderKey("that device never gave us this sender key")
    state = states[position]
    if not xeddsa_verify(state.signing, message.signed, message.signature):
        raise InvalidSignature("a group message is not signed by its sender key")
    found = state.chain.find(message.iteration)
    key, iv = _message_keys(found.seed)
    try:
        padded = aes_cbc_decrypt(key, iv, message.ciphertext)
    except AuthenticationFailed:
        raise InvalidMessage("a proven group message does not decrypt") from None
    after = replace(state, chain=state.chain.after(message.iteration, found.trail))
    following = (*states[:position], after, *states[position + 1 :])
    chains = bounded(state.chain for state in following)
    return SenderKeyRecord(tuple(replace(s, chain=chain) for s, chain in zip(following, chains, strict=True))), padded


def _message_keys(seed: bytes) -> tuple[bytes, bytes]:
    keys = hkdf_sha256(seed, info=b"WhisperGroup", length=_KEYS_LENGTH)
    return keys[16:], keys[:16]


def _unpack(data: bytes) -> tuple[SenderKey, ...]:
    states: list[SenderKey] = []
    at = 1
    while at < len(data) or not states:
        key_id, key, signing, is_ours, iteration, kept_length = _STATE.unpack_from(data, at)
        private_at = at + _STATE.size
        kept_at = private_at + (KEY_LENGTH if is_ours else 0)
        at = kept_at + kept_length
        if at > len(data):
            raise InvalidRecord("a stored sender key record is cut off")
        chain = KeyChain(key, iteration, data[kept_at:at])
        states.append(SenderKey(key_id, chain, signing, data[private_at:kept_at]))
    return tuple(states)
