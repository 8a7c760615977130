"""Opening an incoming message stanza: from an envelope to what it says, and what to commit with that.

Rule: a part that fails leaves no trace in the keyring, and says what has to be done about it; nothing is ever dropped
in silence.

Source: WhatsApp Web, as whatsmeow and Baileys do it; that an old counter is an incident is ours.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from whatisup.crypto import Entropy
from whatisup.e2ee import (
    Decrypted,
    decrypt_group,
    decrypt_message,
    decrypt_prekey_message,
    parse_prekey_message,
    process_distribution,
    unpad,
)
from whatisup.errors import E2eeError, InvalidKey, OldCounter, RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.adv import is_device_of, names_account
from whatisup.protocol.content.ids import plaintext_hash
from whatisup.protocol.content.normalise import Content, merge, normalise
from whatisup.protocol.messaging.keyring import (
    IDENTITY,
    PREKEY,
    SIGNED_PREKEY,
    KeyName,
    Keyring,
    Own,
    Wanted,
    pair_keys,
    sender_key_name,
    wanted_for_device,
)
from whatisup.protocol.stanzas.enc import ENC_VERSION
from whatisup.protocol.stanzas.message import ChatKind, Enc, Envelope
from whatisup.wire.message import Message, parse

_PAIRWISE: Final = frozenset({"pkmsg", "msg"})
_GROUP: Final = "skmsg"
_GROUPS: Final = frozenset({ChatKind.GROUP, ChatKind.STATUS, ChatKind.BROADCAST})
_PHONE_HAS: Final = frozenset({ChatKind.USER, ChatKind.OWN_NOTE, ChatKind.GROUP})
_PHONE_KEEPS_MS: Final = 14 * 24 * 3600 * 1000
_STATUS_LIVES_MS: Final = 24 * 3600 * 1000
_NO_PHONE: Final = "_fanout"  # how the types of what was never meant for us end


class Verdict(enum.StrEnum):
    """What became of a stanza."""

    READ = "read"
    """There is content to show."""
    SILENT = "silent"
    """It was for the protocol: a sender key, a history notification. `content.kind` says what, `""` for nothing."""
    DUPLICATE = "duplicate"
    """Every ciphertext of it was read before: answer again, do nothing else."""
    FAILED = "failed"
    """It could not be read; `failure` says why."""
    OLD_COUNTER = "old_counter"
    """Its key was used before, but nobody remembers the ciphertext: a message was lost, an incident."""
    UNAVAILABLE = "unavailable"
    """The server has no ciphertext for us; our phone may."""
    UNKNOWN = "unknown"
    """It holds nothing that we know how to read."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a part could not be read.

    `reason` is a slug, `retry_code` the `error` of the retry receipt, `wants_keys` whether already the first retry
    receipt carries keys; `hide` says that nothing should be shown for it.
    """

    reason: str
    retry_code: int
    wants_keys: bool = False
    hide: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Opened:
    """What a stanza held, and what to commit with it beside the keyring's changes.

    `hashes` are the ciphertexts that were read now; `learned` the (PN, LID) users that are news. With READ or SILENT
    and a `failure`, a part was read and the rest wants a retry.
    `wants_phone` asks our phone: at once for UNAVAILABLE and OLD_COUNTER, else if no resend came after a few seconds.
    """

    envelope: Envelope
    verdict: Verdict
    content: Content | None = None
    plaintext_hash: bytes | None = None
    hashes: tuple[bytes, ...] = ()
    failure: Failure | None = None
    identity_changed: Jid | None = None
    used_prekeys: tuple[int, ...] = ()
    wants_retry: bool = False
    wants_phone: bool = False
    learned: tuple[tuple[Jid, Jid], ...] = ()


_UNREAD: Final = frozenset({Verdict.FAILED, Verdict.OLD_COUNTER})


def ciphertext_hash(enc: Enc, envelope: Envelope) -> bytes:
    """Return what a ciphertext is remembered by (32 bytes): itself, its kind, its author, and the group if in one."""
    parts = [enc.ciphertext, enc.kind.encode()]
    if envelope.kind in _GROUPS:
        parts.append(str(envelope.source).encode())
    parts.append(str(envelope.sender).encode())
    return hashlib.sha256(b"\0".join(parts) + b"\0\0").digest()


def wanted_for_opening(envelope: Envelope, own: Own, keyring: Keyring | None = None) -> Wanted:
    """Return every key that opening this stanza will touch, and the hashes of its ciphertexts.

    One read is enough where the stanza tells both names of its author, as it does. Where it tells only one, the other
    is asked for, and asking again with the keyring then names what is kept under it: ask, load and `add` until
    `keyring.missing(...)` is empty, which is at most twice.
    """
    keys: set[KeyName] = set()
    for pn, lid in envelope.pairs:
        if (pn.user, lid.user) != (own.pn.user, own.lid.user):
            keys |= pair_keys(pn, lid)
    encs = _readable(envelope)
    if not encs:
        return Wanted(frozenset(keys))
    for enc in encs:
        if enc.kind == "pkmsg":
            keys |= _prekeys_of(enc, own)
    hashes = frozenset(ciphertext_hash(enc, envelope) for enc in encs)
    group = envelope.source if envelope.kind in _GROUPS else None
    author = wanted_for_device(envelope.sender, own, keyring, other=envelope.sender_alt, group=group)
    return author | Wanted(frozenset(keys), hashes=hashes)


def open_message(
    envelope: Envelope, keyring: Keyring, own: Own, *, known: Collection[bytes], now_ms: int, entropy: Entropy
) -> Opened:
    """Open a stanza; the keyring then holds what to commit with it.

    `known` are the ciphertext hashes that are stored, or were read earlier in the same batch. Raises `KeyNotLoaded`,
    with the keyring as it was, and nothing else.
    """
    mark = keyring.checkpoint()
    is_done = False
    try:
        opened = _open(envelope, keyring, own, known, now_ms, entropy)
        is_done = True
        return opened
    finally:
        if not is_done:
            keyring.rollback(mark)


@dataclass(slots=True)
class _Parts:
    """What has become of the ciphertexts of one stanza so far."""

    plaintexts: list[bytes] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)
    used_prekeys: list[int] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    repeated: set[str] = field(default_factory=set)  # kinds of ciphertexts that were read before
    identity_changed: Jid | None = None


def _open(
    envelope: Envelope, keyring: Keyring, own: Own, known: Collection[bytes], now_ms: int, entropy: Entropy
) -> Opened:
    keyring.pin(own.pn, own.lid)
    learned = tuple((pn, lid) for pn, lid in envelope.pairs if keyring.learn(pn, lid))
    # Only a newsletter is written in the clear; from anybody else that would be the server's word alone.
    if envelope.plaintext is not None and envelope.kind is ChatKind.NEWSLETTER:
        return _judged(envelope, _Parts([envelope.plaintext]), learned, now_ms)
    encs = _readable(envelope)
    if not encs:
        return _nothing_to_read(envelope, learned, now_ms)
    parts = _Parts()
    address = keyring.settle(envelope.sender, envelope.source if envelope.kind in _GROUPS else None)
    for enc in encs:
        digest = ciphertext_hash(enc, envelope)
        if digest in known or digest in parts.hashes:
            parts.repeated.add(_content_kind(enc))
            continue
        try:
            plaintext = _decrypt(enc, address, envelope, keyring, own, parts, entropy)
        except E2eeError as error:
            parts.failures.append(_failure(error, enc, encs))
            continue
        parts.plaintexts.append(plaintext)
        parts.hashes.append(digest)
        if envelope.kind in _GROUPS and enc.kind in _PAIRWISE:
            _keep_sender_key(plaintext, address, envelope, keyring)
    return _judged(envelope, parts, learned, now_ms)


def _readable(envelope: Envelope) -> list[Enc]:
    """The ciphertexts that we know how to read, from an author who can have a session."""
    sender = envelope.sender
    if not (sender.is_pn or sender.is_lid) or sender.agent:
        return []
    kinds = _PAIRWISE | {_GROUP} if envelope.kind in _GROUPS else _PAIRWISE
    return [enc for enc in envelope.encs if enc.kind in kinds and enc.version == ENC_VERSION]


def _prekeys_of(enc: Enc, own: Own) -> set[KeyName]:
    try:
        header = parse_prekey_message(enc.ciphertext)
    except E2eeError:
        return set()
    keys = set()
    if header.prekey_id is not None:
        keys.add((PREKEY, str(header.prekey_id)))
    if header.signed_prekey_id != own.signed_prekey.key_id:
        keys.add((SIGNED_PREKEY, str(header.signed_prekey_id)))
    return keys


def _decrypt(
    enc: Enc, address: str, envelope: Envelope, keyring: Keyring, own: Own, parts: _Parts, entropy: Entropy
) -> bytes:
    """Return the unpadded plaintext. Nothing is kept before there is one: raises `E2eeError`, the keyring untouched."""
    if enc.kind == _GROUP:
        name = sender_key_name(envelope.source, address)
        sender_key, padded = decrypt_group(keyring.sender_key(name), enc.ciphertext)
        plaintext = unpad(padded)
        keyring.put_sender_key(name, sender_key)
        return plaintext
    decrypted = _decrypt_pairwise(enc, address, envelope, keyring, own, entropy)
    plaintext = unpad(decrypted.padded)
    keyring.put_session(address, decrypted.record)
    if decrypted.identity != keyring.get(IDENTITY, address):
        keyring.put(IDENTITY, address, decrypted.identity)
    if decrypted.identity_changed:
        parts.identity_changed = envelope.sender
    if decrypted.used_prekey_id is not None:
        keyring.delete(PREKEY, str(decrypted.used_prekey_id))
        parts.used_prekeys.append(decrypted.used_prekey_id)
    return plaintext


def _decrypt_pairwise(
    enc: Enc, address: str, envelope: Envelope, keyring: Keyring, own: Own, entropy: Entropy
) -> Decrypted:
    record = keyring.session(address)
    if enc.kind == "msg":
        return decrypt_message(record, own.identity, enc.ciphertext, entropy=entropy)
    header = parse_prekey_message(enc.ciphertext)
    known_identity = keyring.get(IDENTITY, address)
    if header.identity != known_identity and not _belongs(header.identity, envelope, own):
        raise InvalidKey("a device does not prove that it is of the account it writes for")
    return decrypt_prekey_message(
        record,
        own.identity,
        enc.ciphertext,
        signed_prekey=keyring.signed_prekey(header.signed_prekey_id, own),
        prekey=None if header.prekey_id is None else keyring.prekey(header.prekey_id),
        known_identity=known_identity,
        entropy=entropy,
    )


def _belongs(identity: bytes, envelope: Envelope, own: Own) -> bool:
    """Whether a device that we never met is of its account: our own have to prove it, what others show has to hold.

    What our own devices say is believed (keys, who is who), so that the server must not be able to invent one.
    """
    is_phone, proof = envelope.sender.device == 0, envelope.device_identity
    if envelope.is_from_me:
        return identity == own.account_key if is_phone else _proves(proof, identity, own.account_key)
    return is_phone or proof is None or not names_account(proof) or is_device_of(proof, identity, None)


def _proves(proof: bytes | None, identity: bytes, account_key: bytes) -> bool:
    return proof is not None and is_device_of(proof, identity, account_key)


def _keep_sender_key(plaintext: bytes, address: str, envelope: Envelope, keyring: Keyring) -> None:
    """Process a sender key that came along, before the group's own ciphertext needs it.

    One for another group than this, or one that is none, is left alone: what it is for cannot be read, and is asked
    for again then.
    """
    try:
        offered = parse(Message, plaintext).senderKeyDistributionMessage
    except RemoteProtocolError:
        return
    if not offered.axolotlSenderKeyDistributionMessage or offered.groupId != str(envelope.source):
        return
    name = sender_key_name(envelope.source, address)
    try:
        record = process_distribution(keyring.sender_key(name), offered.axolotlSenderKeyDistributionMessage)
    except E2eeError:
        return
    keyring.put_sender_key(name, record)


def _failure(error: E2eeError, enc: Enc, encs: list[Enc]) -> Failure:
    """Keys at once where nothing pairwise came, or where a message was lost: a new session is the way out."""
    is_lost = isinstance(error, OldCounter)
    is_keyless = not any(part.kind in _PAIRWISE for part in encs)
    return Failure(error.slug, error.retry_code, wants_keys=is_lost or is_keyless, hide=enc.hide)


def _content_kind(enc: Enc) -> str:
    return _GROUP if enc.kind == _GROUP else "msg"


def _nothing_to_read(envelope: Envelope, learned: tuple[tuple[Jid, Jid], ...], now_ms: int) -> Opened:
    if envelope.unavailable is None:
        return Opened(envelope, Verdict.UNKNOWN, failure=Failure("unknown_content", 0), learned=learned)
    wants_phone = _phone_has(envelope, now_ms) and not envelope.unavailable.endswith(_NO_PHONE)
    failure = Failure("unavailable", 0)
    return Opened(envelope, Verdict.UNAVAILABLE, failure=failure, wants_phone=wants_phone, learned=learned)


def _judged(envelope: Envelope, parts: _Parts, learned: tuple[tuple[Jid, Jid], ...], now_ms: int) -> Opened:
    failure = _worst(parts.failures)
    content: Content | None = None
    digest: bytes | None = None
    is_garbage = False
    if parts.plaintexts:
        try:
            message = parts.plaintexts[0] if len(parts.plaintexts) == 1 else merge(parts.plaintexts)
            content = _content(message, envelope)
            digest = plaintext_hash(message)
        except RemoteProtocolError:
            # It was read; the sender would only send the same again.
            is_garbage = True
            failure = failure or Failure("malformed", 0, hide=any(enc.hide for enc in envelope.encs))
    verdict = _verdict(envelope, parts, content, is_garbage)
    wants_retry = bool(parts.failures) and _is_worth_a_retry(envelope, now_ms)
    return Opened(
        envelope,
        verdict,
        content=content,
        plaintext_hash=digest,
        hashes=tuple(parts.hashes),
        failure=failure,
        identity_changed=parts.identity_changed,
        used_prekeys=tuple(parts.used_prekeys),
        wants_retry=wants_retry,
        wants_phone=wants_retry and verdict in _UNREAD and _phone_has(envelope, now_ms),
        learned=learned,
    )


def _verdict(envelope: Envelope, parts: _Parts, content: Content | None, is_garbage: bool) -> Verdict:
    if content is not None and content.body is not None:
        return Verdict.READ
    # What is to be shown is in the group's ciphertext where there is one.
    has_group = any(enc.kind == _GROUP for enc in envelope.encs)
    if (_GROUP if has_group else "msg") in parts.repeated:
        return Verdict.DUPLICATE
    if parts.failures:
        is_lost = all(failure.reason == OldCounter.slug for failure in parts.failures)
        return Verdict.OLD_COUNTER if is_lost else Verdict.FAILED
    return Verdict.FAILED if is_garbage else Verdict.SILENT


def _content(message: bytes, envelope: Envelope) -> Content:
    is_own = envelope.is_from_me
    return normalise(message, is_own=is_own, is_own_phone=is_own and envelope.sender.device == 0)


def _worst(failures: list[Failure]) -> Failure | None:
    """The failure to report: the last one, that of the content; keys and silence as any of them has it."""
    if not failures:
        return None
    last = failures[-1]
    wants_keys = any(failure.wants_keys for failure in failures)
    return Failure(last.reason, last.retry_code, wants_keys, all(failure.hide for failure in failures))


def _is_worth_a_retry(envelope: Envelope, now_ms: int) -> bool:
    return envelope.kind is not ChatKind.STATUS or now_ms - envelope.unix_t * 1000 <= _STATUS_LIVES_MS


def _phone_has(envelope: Envelope, now_ms: int) -> bool:
    return envelope.kind in _PHONE_HAS and now_ms - envelope.unix_t * 1000 <= _PHONE_KEEPS_MS
