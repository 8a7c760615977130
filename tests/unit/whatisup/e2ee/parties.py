"""Two devices that talk: each keeps what a store would keep, as bytes, and its prekeys until they are used."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from whatisup.crypto import Entropy, KeyPair, generate_keypair, xeddsa_sign
from whatisup.e2ee import (
    Decrypted,
    Encrypted,
    OwnIdentity,
    PeerBundle,
    SessionRecord,
    decrypt_message,
    decrypt_prekey_message,
    encrypt,
    parse_prekey_message,
    start_session,
)

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "vectors-messaging.json").read_text("utf-8"))


def unhex(text: str) -> bytes:
    return bytes.fromhex(text)


def pair_of(entry: dict) -> KeyPair:
    return KeyPair(unhex(entry["private"]), unhex(entry["public33"])[1:])


def scripted(*values: bytes) -> Entropy:
    """An entropy that gives these values in order, and fails on another length or once they are used up."""
    left = list(values)

    def entropy(length: int) -> bytes:
        assert left, "more entropy was taken than there should be"
        assert len(left[0]) == length
        return left.pop(0)

    return entropy


@dataclass
class Device:
    """A device, and what it keeps of the one it talks with."""

    entropy: Entropy
    own: OwnIdentity
    signed: dict[int, KeyPair] = field(default_factory=dict)
    prekeys: dict[int, KeyPair] = field(default_factory=dict)
    stored: bytes | None = None
    peer_identity: bytes | None = None
    handed_out: int = 0

    @classmethod
    def fresh(cls, entropy: Entropy, registration_id: int = 7) -> Device:
        own = OwnIdentity(generate_keypair(entropy), registration_id)
        return cls(entropy, own, signed={1: generate_keypair(entropy)})

    @property
    def record(self) -> SessionRecord | None:
        return None if self.stored is None else SessionRecord.decode(self.stored)

    def keep(self, record: SessionRecord) -> None:
        self.stored = record.encode()

    def bundle(self, *, one_time: bool = True) -> PeerBundle:
        signed = self.signed[1]
        signature = xeddsa_sign(self.own.pair.private, b"\x05" + signed.public, self.entropy)
        prekey_id = prekey = None
        if one_time:
            self.handed_out += 1
            prekey_id = self.handed_out
            self.prekeys[prekey_id] = generate_keypair(self.entropy)
            prekey = self.prekeys[prekey_id].public
        identity, registration = self.own.pair.public, self.own.registration_id
        return PeerBundle(registration, identity, 1, signed.public, signature, prekey_id, prekey)

    def start(self, bundle: PeerBundle) -> None:
        self.keep(start_session(self.record, self.own, bundle, self.entropy))

    def send(self, padded: bytes) -> Encrypted:
        sent = encrypt(self.record, self.own, padded)
        self.keep(sent.record)
        return sent

    def attempt(self, kind: str, ciphertext: bytes) -> Decrypted:
        """Decrypt and keep nothing."""
        if kind == "msg":
            return decrypt_message(self.record, self.own, ciphertext, entropy=self.entropy)
        header = parse_prekey_message(ciphertext)
        return decrypt_prekey_message(
            self.record,
            self.own,
            ciphertext,
            signed_prekey=self.signed.get(header.signed_prekey_id),
            prekey=None if header.prekey_id is None else self.prekeys.get(header.prekey_id),
            known_identity=self.peer_identity,
            entropy=self.entropy,
        )

    def receive(self, sent: Encrypted) -> Decrypted:
        got = self.attempt(sent.kind, sent.ciphertext)
        self.keep(got.record)
        self.peer_identity = got.identity
        if got.used_prekey_id is not None:
            del self.prekeys[got.used_prekey_id]
        return got


def two_devices(entropy: Entropy) -> tuple[Device, Device]:
    return Device.fresh(entropy, 1111), Device.fresh(entropy, 2222)


def in_conversation(entropy: Entropy) -> tuple[Device, Device]:
    """Two devices whose session both have used."""
    alice, bob = two_devices(entropy)
    alice.start(bob.bundle())
    bob.receive(alice.send(b"hello\1"))
    alice.receive(bob.send(b"hello yourself\1"))
    return alice, bob
