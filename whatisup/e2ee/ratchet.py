"""The double ratchet: one session, one message, in and out.

Rule: a session is a value and a message is proven before anything is made of it, so what fails leaves no trace and
takes no entropy.

Source: Signal's double ratchet, as whatsmeow and Baileys use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from whatisup.crypto import (
    KEY_LENGTH,
    AuthenticationFailed,
    Entropy,
    aes_cbc_decrypt,
    aes_cbc_encrypt,
    constant_time_equal,
    generate_keypair,
    hkdf_sha256,
    hmac_sha256,
    x25519,
)
from whatisup.e2ee.chain import MAX_KEPT, KeyChain, bounded
from whatisup.e2ee.envelope import MAC_LENGTH, Whisper, typed, write_whisper
from whatisup.e2ee.session import MAX_RECEIVING, Receiving, Session
from whatisup.errors import BadMac, InvalidKey, InvalidMessage, NoSession, RemoteProtocolError

_KEYS_LENGTH: Final = 80
_MAC_KEY: Final = slice(32, 64)
_IV: Final = slice(64, 80)


def agree(private: bytes, public: bytes) -> bytes:
    """Return the shared secret (32 bytes). Raises `InvalidKey`."""
    try:
        return x25519(private, public)
    except RemoteProtocolError:
        raise InvalidKey("a peer's public key gives no shared secret") from None


def turn(root_key: bytes, private: bytes, public: bytes) -> tuple[bytes, bytes]:
    """Return the next root key and the chain key (32 bytes each) of a ratchet step. Raises `InvalidKey`."""
    both = hkdf_sha256(agree(private, public), salt=root_key, info=b"WhisperRatchet", length=2 * KEY_LENGTH)
    return both[:KEY_LENGTH], both[KEY_LENGTH:]


def seal(session: Session, own_identity: bytes, padded: bytes) -> tuple[Session, bytes]:
    """Encrypt in a session: the next session, and a whole `msg`. Raises `NoSession` where it cannot send."""
    chain = session.sending
    if chain is None:
        raise NoSession("this session has no sending chain")
    found = chain.find(chain.counter)
    keys = _message_keys(found.seed)
    ciphertext = aes_cbc_encrypt(keys[:32], keys[_IV], padded)
    signed = write_whisper(session.ratchet.public, chain.counter, session.previous_counter, ciphertext)
    mac = _mac(keys, own_identity, session.remote_identity, signed)
    return replace(session, sending=chain.after(chain.counter, found.trail)), signed + mac


def open_message(session: Session, own_identity: bytes, whisper: Whisper, entropy: Entropy) -> tuple[Session, bytes]:
    """Decrypt in a session: the next session, and the padded plaintext.

    Raises `BadMac` where the message is not this session's; `OldCounter`, `FutureMessage`, `InvalidKey` or
    `InvalidMessage`.
    """
    receiving = _chain_of(session, whisper.ratchet)
    if receiving is None:
        root_key, chain_key = turn(session.root_key, session.ratchet.private, whisper.ratchet)
        chain = KeyChain(chain_key)
    else:
        root_key, chain = b"", receiving.chain
    found = chain.find(whisper.counter)
    padded = _open(session, own_identity, whisper, found.seed)
    after = Receiving(whisper.ratchet, chain.after(whisper.counter, found.trail))
    if receiving is None:
        return _turned(session, root_key, after, whisper.previous_counter, entropy), padded
    chains = tuple(after if chain is receiving else chain for chain in session.receiving)
    return replace(session, receiving=_bounded(chains)), padded


def distance(session: Session, whisper: Whisper) -> int:
    """How many keys `open_message` would derive to come to this message, before it can tell whether it is one."""
    receiving = _chain_of(session, whisper.ratchet)
    known = receiving.chain.counter if receiving else 0
    return max(whisper.counter - known, 0)


def _chain_of(session: Session, ratchet: bytes) -> Receiving | None:
    for receiving in reversed(session.receiving):
        if receiving.ratchet == ratchet:
            return receiving
    return None


def _open(session: Session, own_identity: bytes, whisper: Whisper, seed: bytes) -> bytes:
    keys = _message_keys(seed)
    if not constant_time_equal(_mac(keys, session.remote_identity, own_identity, whisper.signed), whisper.mac):
        raise BadMac("no session with that device made this message")
    try:
        return aes_cbc_decrypt(keys[:32], keys[_IV], whisper.ciphertext)
    except AuthenticationFailed:
        raise InvalidMessage("a proven message does not decrypt") from None


def _turned(session: Session, root_key: bytes, newest: Receiving, previous: int, entropy: Entropy) -> Session:
    """Return the session after the peer's ratchet step, and ours that answers it."""
    closed = tuple(_closed(session, previous))
    ratchet = generate_keypair(entropy)
    root_key, chain_key = turn(root_key, ratchet.private, newest.ratchet)
    sent = session.sending.counter if session.sending else 0
    return replace(
        session,
        root_key=root_key,
        ratchet=ratchet,
        remote_ratchet=newest.ratchet,
        previous_counter=max(sent - 1, 0),
        pending=None,
        sending=KeyChain(chain_key),
        receiving=_bounded((*closed, newest)[-MAX_RECEIVING:]),
    )


def _bounded(chains: tuple[Receiving, ...]) -> tuple[Receiving, ...]:
    """Drop skipped keys of the oldest chains where all have too many: the peer alone decides how many it skips."""
    if sum(receiving.chain.kept_keys for receiving in chains) <= MAX_KEPT:
        return chains
    kept = reversed(bounded(receiving.chain for receiving in reversed(chains)))
    return tuple(Receiving(receiving.ratchet, chain) for receiving, chain in zip(chains, kept, strict=True))


def _closed(session: Session, previous: int) -> Iterator[Receiving]:
    for receiving in session.receiving:
        if receiving.ratchet == session.remote_ratchet:
            yield Receiving(receiving.ratchet, receiving.chain.closed(previous))
        else:
            yield receiving


def _message_keys(seed: bytes) -> bytes:
    # AES key, MAC key, IV.
    return hkdf_sha256(seed, info=b"WhisperMessageKeys", length=_KEYS_LENGTH)


def _mac(keys: bytes, sender: bytes, receiver: bytes, signed: bytes) -> bytes:
    return hmac_sha256(keys[_MAC_KEY], typed(sender) + typed(receiver) + signed)[:MAC_LENGTH]
