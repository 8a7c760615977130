"""The byte forms of the four Signal messages: a version byte, a protobuf, and for two of them a proof behind it.

Rule: what a peer sent is checked here, once: version, presence, key types and number ranges. Nothing of it is
authenticated yet.

Source: Signal's protocol library, as whatsmeow and Baileys use it.
"""

from __future__ import annotations

from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message
from msgspec import Struct

from whatisup.crypto import KEY_LENGTH, SIGNATURE_LENGTH, Secret
from whatisup.e2ee.signal_pb2 import (
    PreKeyWhisperMessage,
    SenderKeyDistributionMessage,
    SenderKeyMessage,
    WhisperMessage,
)
from whatisup.errors import InvalidKey, InvalidMessage

VERSION: Final = b"\x33"
MAC_LENGTH: Final = 8
_VERSION: Final = 3
_KEY_TYPE: Final = b"\x05"
_LAST_COUNTER: Final = 0xFFFFFFFF  # refused, so that the next one still fits

M = TypeVar("M", bound=Message)


class Whisper(Secret, frozen=True):
    """A `msg`. `signed` is what its MAC (8 bytes) covers behind the two identities."""

    ratchet: bytes
    counter: int
    previous_counter: int
    ciphertext: bytes
    signed: bytes
    mac: bytes


class PrekeyHeader(Struct, frozen=True):
    """What a `pkmsg` says openly: which of our prekeys it needs, and who claims to have made it.

    `prekey_id` is None where the sender was given no one-time prekey; keys have 32 bytes.
    """

    prekey_id: int | None
    signed_prekey_id: int
    registration_id: int
    identity: bytes
    base_key: bytes


class Prekey(Secret, frozen=True):
    """A `pkmsg`: a `msg`, and what a session that can open it is made from."""

    header: PrekeyHeader
    whisper: Whisper


class SenderMessage(Secret, frozen=True):
    """A `skmsg`. `signed` is what its signature (64 bytes) covers."""

    key_id: int
    iteration: int
    ciphertext: bytes
    signed: bytes
    signature: bytes


class Distribution(Secret, frozen=True):
    """A sender key as its owner hands it out: the chain key (32 bytes) at `iteration` and the public signing key."""

    key_id: int
    iteration: int
    chain_key: bytes
    signing: bytes


def typed(public: bytes) -> bytes:
    """Return the 33-byte form of a public key (32 bytes)."""
    return _KEY_TYPE + public


def write_whisper(ratchet: bytes, counter: int, previous_counter: int, ciphertext: bytes) -> bytes:
    """Return a `msg` as far as its MAC covers it."""
    message = WhisperMessage(
        ratchetKey=typed(ratchet), counter=counter, previousCounter=previous_counter, ciphertext=ciphertext
    )
    return VERSION + message.SerializeToString()


def read_whisper(data: bytes) -> Whisper:
    """Read a `msg`. Raises `InvalidMessage` or `InvalidKey`."""
    body = _body(data, MAC_LENGTH)
    message = _parse(WhisperMessage, body)
    if not (message.HasField("counter") and message.HasField("ciphertext")):
        raise InvalidMessage("a message lacks a field")
    return Whisper(
        ratchet=_public(message.ratchetKey),
        counter=_counter(message.counter),
        previous_counter=_counter(message.previousCounter),
        ciphertext=message.ciphertext,
        signed=VERSION + body,
        mac=data[-MAC_LENGTH:],
    )


def write_prekey(header: PrekeyHeader, whisper: bytes) -> bytes:
    """Return a `pkmsg` around a whole `msg`."""
    message = PreKeyWhisperMessage(
        preKeyId=header.prekey_id,
        baseKey=typed(header.base_key),
        identityKey=typed(header.identity),
        message=whisper,
        registrationId=header.registration_id,
        signedPreKeyId=header.signed_prekey_id,
    )
    return VERSION + message.SerializeToString()


def read_prekey(data: bytes) -> Prekey:
    """Read a `pkmsg`. Raises `InvalidMessage` or `InvalidKey`."""
    message = _parse(PreKeyWhisperMessage, _body(data))
    if not (message.HasField("signedPreKeyId") and message.HasField("registrationId")):
        raise InvalidMessage("a prekey message lacks a field")
    header = PrekeyHeader(
        prekey_id=message.preKeyId if message.HasField("preKeyId") else None,
        signed_prekey_id=message.signedPreKeyId,
        registration_id=message.registrationId,
        identity=_public(message.identityKey),
        base_key=_public(message.baseKey),
    )
    return Prekey(header, read_whisper(message.message))


def write_sender_message(key_id: int, iteration: int, ciphertext: bytes) -> bytes:
    """Return a `skmsg` as far as its signature covers it."""
    return VERSION + SenderKeyMessage(id=key_id, iteration=iteration, ciphertext=ciphertext).SerializeToString()


def read_sender_message(data: bytes) -> SenderMessage:
    """Read a `skmsg`. Raises `InvalidMessage`."""
    body = _body(data, SIGNATURE_LENGTH)
    message = _parse(SenderKeyMessage, body)
    if not (message.HasField("id") and message.HasField("iteration") and message.HasField("ciphertext")):
        raise InvalidMessage("a group message lacks a field")
    return SenderMessage(
        key_id=message.id,
        iteration=_counter(message.iteration),
        ciphertext=message.ciphertext,
        signed=data[:-SIGNATURE_LENGTH],
        signature=data[-SIGNATURE_LENGTH:],
    )


def write_distribution(distribution: Distribution) -> bytes:
    """Return a sender key distribution message."""
    message = SenderKeyDistributionMessage(
        id=distribution.key_id,
        iteration=distribution.iteration,
        chainKey=distribution.chain_key,
        signingKey=typed(distribution.signing),
    )
    return VERSION + message.SerializeToString()


def read_distribution(data: bytes) -> Distribution:
    """Read a sender key distribution message. Raises `InvalidMessage` or `InvalidKey`."""
    message = _parse(SenderKeyDistributionMessage, _body(data))
    if not (message.HasField("id") and message.HasField("iteration")):
        raise InvalidMessage("a sender key lacks a field")
    if len(message.chainKey) != KEY_LENGTH:
        raise InvalidKey("a chain key has 32 bytes")
    return Distribution(message.id, _counter(message.iteration), message.chainKey, _public(message.signingKey))


def _body(data: bytes, proof: int = 0) -> bytes:
    if len(data) <= 1 + proof:
        raise InvalidMessage("a message is too short")
    # High nibble: its version; low nibble: the highest its sender speaks.
    if data[0] >> 4 < _VERSION or data[0] & 0x0F > _VERSION:
        raise InvalidMessage("a message is of a version we do not speak")
    return data[1 : len(data) - proof]


def _parse(cls: type[M], data: bytes) -> M:
    message = cls()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise InvalidMessage(f"not a {cls.__name__}") from None
    return message


def _public(key: bytes) -> bytes:
    if len(key) != 1 + KEY_LENGTH or key[:1] != _KEY_TYPE:
        raise InvalidKey("a public key is a type byte of 5 and 32 bytes")
    return key[1:]


def _counter(value: int) -> int:
    if value >= _LAST_COUNTER:
        raise InvalidMessage("a counter leaves no next one")
    return value
