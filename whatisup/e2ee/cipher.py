"""Pairwise messages: a record and a message in, the next record and the other form of the message out.

Rule: nothing is decided here that a ciphertext did not prove. A prekey, an identity or a session changes only together
with a message that decrypted.

Source: Signal's session cipher, as whatsmeow and Baileys use it; where they differ: an archived session that decrypts
becomes the open one (whatsmeow), and a new identity drops the old sessions only if its message decrypts (neither).
"""

from __future__ import annotations

from typing import Final, Literal

from whatisup.crypto import Entropy, KeyPair, Secret
from whatisup.e2ee.chain import MAX_AHEAD
from whatisup.e2ee.envelope import PrekeyHeader, Whisper, read_prekey, read_whisper, write_prekey
from whatisup.e2ee.identity import OwnIdentity, PeerBundle
from whatisup.e2ee.ratchet import distance, open_message, seal
from whatisup.e2ee.record import SessionRecord
from whatisup.e2ee.session import Session
from whatisup.e2ee.x3dh import initiate, respond
from whatisup.errors import BadMac, E2eeError, FutureMessage, InvalidKeyId, NoSession

MAX_TRIED: Final = 2 * MAX_AHEAD
"""How many keys are derived at most to find the session of one message: anybody can claim a high counter."""


class Encrypted(Secret, frozen=True):
    """A ciphertext, the type that its `enc` node names, and the record to commit before it is sent."""

    record: SessionRecord
    kind: Literal["pkmsg", "msg"]
    ciphertext: bytes


class Decrypted(Secret, frozen=True):
    """A padded plaintext, and what to commit with it.

    `used_prekey_id` names the one-time prekey to delete. `identity` (32 bytes) is the sender's, to be kept;
    `identity_changed` says that the caller knew another one.
    """

    record: SessionRecord
    padded: bytes
    used_prekey_id: int | None
    identity: bytes
    identity_changed: bool


def start_session(
    record: SessionRecord | None, own: OwnIdentity, bundle: PeerBundle, entropy: Entropy
) -> SessionRecord:
    """Open a new session from a peer's bundle and archive the open one; sessions with another identity are dropped.

    Raises `InvalidSignature` or `InvalidKey`.
    """
    session = initiate(own, bundle, entropy)
    return _with_identity(record, bundle.identity).opened(session)


def encrypt(record: SessionRecord | None, own: OwnIdentity, padded: bytes) -> Encrypted:
    """Encrypt in the open session: a `pkmsg` until the peer has answered, then a `msg`. Raises `NoSession`."""
    session = record.session if record else None
    if record is None or session is None:
        raise NoSession("there is no open session with that device")
    after, whisper = seal(session, own.pair.public, padded)
    following = record.advanced(0, after)
    pending = session.pending
    if pending is None:
        return Encrypted(following, "msg", whisper)
    header = PrekeyHeader(
        pending.prekey_id, pending.signed_prekey_id, own.registration_id, own.pair.public, session.base_key
    )
    return Encrypted(following, "pkmsg", write_prekey(header, whisper))


def parse_prekey_message(ciphertext: bytes) -> PrekeyHeader:
    """Return what a `pkmsg` says openly, to look up the prekeys it names. Raises `InvalidMessage` or `InvalidKey`."""
    return read_prekey(ciphertext).header


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
    """Decrypt a `pkmsg`, in the session that it began earlier or in a new one.

    `signed_prekey` and `prekey` are ours, of the ids that the header names, None where we have them no more: only a
    new session needs them. `known_identity` (32 bytes) is what the caller keeps for that device. Takes a ratchet key
    from entropy. Raises `InvalidKeyId`, `BadMac` and the errors of `decrypt_message`.
    """
    message = read_prekey(ciphertext)
    header = message.header
    kept = _with_identity(record, header.identity)
    known = known_identity or (record.remote_identity if record else None)
    begun = kept.begun_by(header.base_key)
    used = None
    if begun is not None:
        position, session = begun
        after, padded = open_message(session, own.pair.public, message.whisper, entropy)
        following = kept.advanced(position, after)
    else:
        session = _respond(own, header, signed_prekey, prekey)
        after, padded = open_message(session, own.pair.public, message.whisper, entropy)
        following, used = kept.opened(after), header.prekey_id
    return Decrypted(following, padded, used, header.identity, known is not None and known != header.identity)


def decrypt_message(
    record: SessionRecord | None, own: OwnIdentity, ciphertext: bytes, *, entropy: Entropy
) -> Decrypted:
    """Decrypt a `msg`, in the open session or else in the archived one that it belongs to, which becomes the open one.

    Takes a ratchet key from entropy where the peer's ratchet turned. Raises `NoSession`, `BadMac`, `OldCounter`,
    `FutureMessage`, `InvalidKey` or `InvalidMessage`.
    """
    whisper = read_whisper(ciphertext)
    identity = record.remote_identity if record else None
    if record is None or identity is None:
        raise NoSession("there is no session with that device")
    following, padded = _open_in_any(record, own, whisper, entropy)
    return Decrypted(following, padded, None, identity, identity_changed=False)


def _open_in_any(
    record: SessionRecord, own: OwnIdentity, whisper: Whisper, entropy: Entropy
) -> tuple[SessionRecord, bytes]:
    # A wrong MAC says "not this session"; a counter too far ahead may mean that too, since a session that does not
    # know the chain counts from 0. Every other refusal is the same in all sessions, or final.
    refusal: E2eeError = BadMac("no session with that device made this message")
    left = MAX_TRIED
    for position, session in record.sessions():
        steps = distance(session, whisper)
        if steps > left:
            refusal = FutureMessage("a message is too far ahead to be tried in every session")
            continue
        try:
            after, padded = open_message(session, own.pair.public, whisper, entropy)
        except BadMac:
            left -= steps
            continue
        except FutureMessage as ahead:
            refusal = ahead
            continue
        return record.advanced(position, after), padded
    raise refusal


def _respond(own: OwnIdentity, header: PrekeyHeader, signed_prekey: KeyPair | None, prekey: KeyPair | None) -> Session:
    if signed_prekey is None:
        raise InvalidKeyId("we no longer have the signed prekey of that id")
    if header.prekey_id is None:
        return respond(own, header, signed_prekey, None)
    if prekey is None:
        raise InvalidKeyId("we no longer have the one-time prekey of that id")
    return respond(own, header, signed_prekey, prekey)


def _with_identity(record: SessionRecord | None, identity: bytes) -> SessionRecord:
    return record if record and record.remote_identity == identity else SessionRecord()
