"""People with devices in memory, each with a store and real keys, and a server between them that loses nothing.

A device loads from its store exactly what the engine says it wants, so that a key nobody named fails the test, and
writes back only when a test lets it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from whatisup.crypto import KeyPair, generate_keypair
from whatisup.e2ee import OwnIdentity, create_sender_key, distribution_message, encrypt_group, pad
from whatisup.jid import LID_SERVER, PN_SERVER, Jid
from whatisup.protocol.adv import sign_device, verify_pairing
from whatisup.protocol.content.bodies import TextBody
from whatisup.protocol.content.compose import Composed, compose, skdm_only
from whatisup.protocol.credentials import SignedPrekey
from whatisup.protocol.messaging.encrypting import encrypt_for
from whatisup.protocol.messaging.keyring import KeyName, Keyring, Own, Wanted
from whatisup.protocol.messaging.opening import Opened, open_message, wanted_for_opening
from whatisup.protocol.messaging.sealing import Draft, Sealed, recipients, seal, wanted_for_sealing, without_session
from whatisup.protocol.prekeys import Bundle
from whatisup.protocol.stanzas.enc import Enc, enc_node
from whatisup.protocol.stanzas.keys import PublicIdentity, PublicSignedPrekey
from whatisup.protocol.stanzas.message import Envelope, Outgoing, build_delivery, parse_envelope, parse_message
from whatisup.wire import Node, decode_node, encode_node
from whatisup.wire.message import Message

NOW_S = 1_760_000_000
NOW_MS = NOW_S * 1000
_DICE = random.Random(3)
entropy = _DICE.randbytes


@dataclass
class Person:
    """An account: both names, the phone's key, and its devices by number (0 is the phone)."""

    digits: str
    lid_digits: str
    account: KeyPair = field(default_factory=lambda: generate_keypair(entropy))
    devices: dict[int, Device] = field(default_factory=dict)

    @property
    def pn(self) -> Jid:
        return Jid(self.digits, PN_SERVER)

    @property
    def lid(self) -> Jid:
        return Jid(self.lid_digits, LID_SERVER)

    def add(self, number: int) -> Device:
        self.devices[number] = device = Device(self, number)
        return device

    def jids(self, form: Jid | None = None) -> list[Jid]:
        return [(form or self.lid).with_device(number) for number in self.devices]


class Device:
    """One device with its store; `own` is what the engine knows of it."""

    def __init__(self, person: Person, number: int) -> None:
        self.person, self.number = person, number
        pair = person.account if number == 0 else generate_keypair(entropy)
        self.proof = b"" if number == 0 else _proof(person, pair, number)
        self.own = Own(
            person.pn.with_device(number),
            person.lid.with_device(number),
            OwnIdentity(pair, 1000 + number + int(person.digits[-2:]) * 100),
            SignedPrekey.generate(pair, 1, entropy),
            self.proof,
            person.account.public,
        )
        self.store: dict[KeyName, bytes] = {}
        self.hashes: set[bytes] = set()
        self.loads = 0
        self._next_prekey = 1

    @property
    def lid(self) -> Jid:
        return self.own.lid

    def bundle(self, *, with_prekey: bool = True) -> Bundle:
        """Hand out a bundle as the server would; the one-time prekey is given out once."""
        prekey = None
        if with_prekey:
            pair = generate_keypair(entropy)
            self.store["prekey", str(self._next_prekey)] = pair.private
            prekey = (self._next_prekey, pair.public)
            self._next_prekey += 1
        public = PublicSignedPrekey.of(self.own.signed_prekey)
        identity = PublicIdentity(self.own.identity.registration_id, self.own.identity.pair.public, public)
        return Bundle(identity, prekey, self.proof or None)

    # What the actor does

    def load(self, keyring: Keyring, wanted: Wanted) -> None:
        missing = keyring.missing(wanted)
        if not missing:
            return
        self.loads += 1
        rows: dict[KeyName, bytes | None] = {
            name: value
            for name, value in self.store.items()
            if name in missing.keys
            or any(name[0] == kind and name[1].startswith(prefix) for kind, prefix in missing.prefixes)
        }
        keyring.add(rows, missing)

    def commit(self, keyring: Keyring) -> None:
        for name, value in keyring.take_changes().items():
            if value is None:
                self.store.pop(name, None)
            else:
                self.store[name] = value

    def open(self, node: Node, *, is_committed: bool = True, now_ms: int = NOW_MS) -> Opened:
        """Open one stanza; a commit that is left out is a crash."""
        envelope = self.envelope(node)
        keyring = Keyring()
        for _ in range(2):
            self.load(keyring, wanted_for_opening(envelope, self.own, keyring))
        opened = open_message(envelope, keyring, self.own, known=self.hashes, now_ms=now_ms, entropy=entropy)
        if is_committed:
            self.commit(keyring)
            self.hashes |= set(opened.hashes)
        return opened

    def envelope(self, node: Node) -> Envelope:
        return parse_envelope(decode_node(encode_node(node)), own_pn=self.own.pn, own_lid=self.own.lid)

    def seal(
        self,
        chat: Person,
        text: str | Composed = "hello",
        *,
        wa_id: str = "3EB0AA",
        form: Jid | None = None,
        bundles: Mapping[Jid, Bundle] | None = None,
        is_committed: bool = True,
        token: bytes | None = None,
    ) -> Sealed:
        """Seal a message for a person, bundles fetched where there is no session."""
        to = form or chat.lid
        composed = text if isinstance(text, Composed) else composed_text(text, to, self)
        devices = recipients(chat.jids(to), self.person.jids(), self.own, chat=to)
        keyring = Keyring()
        for _ in range(2):
            self.load(keyring, wanted_for_sealing(devices, self.own, keyring, chat_pn=chat.pn))
        keyring.pin(self.own.pn, self.own.lid)
        if bundles is None:
            bundles = {jid: self._bundle_of(jid, chat) for jid in without_session(devices, keyring)}
        draft = Draft(wa_id, to, chat.pn, composed, NOW_MS)
        sealed = seal(draft, devices, keyring, self.own, bundles=bundles, token=token, entropy=entropy)
        if is_committed:
            self.commit(keyring)
        return sealed

    def _bundle_of(self, jid: Jid, chat: Person) -> Bundle:
        person = self.person if self.own.is_own(jid) else chat
        return person.devices[jid.device].bundle()


def composed_text(text: str, chat: Jid, device: Device) -> Composed:
    own = device.own.in_form_of(chat).normalised
    return compose(TextBody(text), chat=chat, own=own, target=None, secret=entropy(32), unix_ms=NOW_MS)


def outgoing(sealed: Sealed) -> Outgoing:
    return parse_message(decode_node(sealed.stanza))


def deliver(
    sealed: Sealed | Node, sender: Device, *people: Person, form: str = LID_SERVER, has_alt: bool = True
) -> dict[Jid, Node]:
    """Return what the server hands to each device, by its LID."""
    message = parse_message(sealed if isinstance(sealed, Node) else decode_node(sealed.stanza))
    delivered = {}
    for jid, enc in message.participants:
        receiver = next((person for person in people if jid.user in (person.digits, person.lid_digits)), None)
        if receiver is None:
            continue
        is_own = receiver is sender.person
        names = (sender.own.lid, sender.person.pn) if form == LID_SERVER else (sender.own.pn, sender.person.lid)
        delivered[receiver.lid.with_device(jid.device)] = build_delivery(
            message,
            source=names[0],
            unix_t=NOW_S,
            encs=(enc,),
            push_name="Somebody",
            sender_alt=names[1] if has_alt and not is_own else None,
            recipient=message.to if is_own else None,
            chat_alt=message.peer_recipient_pn if is_own else None,
        )
    return delivered


def to_device(sealed: Sealed | Node, sender: Device, receiver: Device, **how: object) -> Node:
    """Return what one device is handed."""
    return deliver(sealed, sender, receiver.person, sender.person, **how)[receiver.lid]  # type: ignore[arg-type]  # test


def _proof(person: Person, pair: KeyPair, key_index: int) -> bytes:
    secret = bytes(32)
    envelope = sign_device(
        person.account, pair.public, secret, raw_id=7, key_index=key_index, now=NOW_S, entropy=entropy
    )
    return verify_pairing(envelope, pair, secret, entropy).signed_identity


def two_people(numbers: Iterable[int] = (0, 1)) -> tuple[Person, Person]:
    ann, bob = Person("99900000001", "10000000001"), Person("99900000002", "10000000002")
    for person in (ann, bob):
        for number in numbers:
            person.add(number)
    return ann, bob


GROUP = Jid("123456789012345678", "g.us")


class Speaker:
    """A device that writes into a group: its sender key, and how it hands that out."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.key = create_sender_key(entropy)

    def skdm(self) -> bytes:
        """Return the message that hands over the sender key."""
        return skdm_only(str(GROUP), distribution_message(self.key))

    def skmsg(self, text: str) -> Enc:
        message = Message(conversation=text).SerializeToString()
        self.key, ciphertext = encrypt_group(self.key, pad(message, entropy), entropy)
        return Enc("skmsg", ciphertext)

    def pairwise(self, message: bytes, receiver: Device) -> Enc:
        """Encrypt any message for one device."""
        return pairwise(self.device, receiver, message)

    def node(self, *encs: Enc, wa_id: str = "3EB0GG", unix_t: int = NOW_S, group: Jid = GROUP) -> Node:
        return build_delivery(
            Outgoing(id=wa_id, to=group, type="text", addressing_mode="lid"),
            source=group,
            participant=self.device.lid,
            sender_alt=self.device.person.pn,
            unix_t=unix_t,
            encs=encs,
        )


def pairwise(sender: Device, receiver: Device, message: bytes, *, hide: bool = False) -> Enc:
    """Encrypt any message for one device, in a session that is started where there is none."""
    keyring = Keyring()
    sender.load(keyring, wanted_for_sealing([receiver.lid], sender.own, chat_pn=receiver.person.pn))
    keyring.pin(sender.own.pn, sender.own.lid)
    bundle = receiver.bundle() if without_session([receiver.lid], keyring) else None
    encrypted = encrypt_for(receiver.lid, message, keyring, sender.own, bundle, [], entropy)
    assert not isinstance(encrypted, str), encrypted
    sender.commit(keyring)
    return Enc(encrypted.kind, encrypted.ciphertext, hide=hide)


def direct(sender: Device, receiver: Device, *encs: Enc, wa_id: str = "3EB0DD", **attrs: str | Jid) -> Node:
    """Return a stanza from a device to another with these ciphertexts."""
    names: dict[str, str | Jid] = {"id": wa_id, "from": sender.lid, "t": str(NOW_S), "type": "text"}
    if sender.person is not receiver.person:
        names["sender_pn"] = sender.person.pn
    children = [enc_node(enc) for enc in encs]
    if sender.proof and any(enc.kind == "pkmsg" for enc in encs):
        children.append(Node("device-identity", {}, sender.proof))
    return Node("message", names | attrs, tuple(children))


def acquaint(one: Device, other: Device) -> None:
    """Let two devices write to each other until neither sends first messages any more."""
    other.open(direct(one, other, pairwise(one, other, b"\n\x02hi")))
    one.open(direct(other, one, pairwise(other, one, b"\n\x02hi")))
    other.open(direct(one, other, pairwise(one, other, b"\n\x02hi")))
