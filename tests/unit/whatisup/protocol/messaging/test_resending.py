from __future__ import annotations

import dataclasses

import pytest

from tests.unit.whatisup.protocol.messaging.parties import (
    GROUP,
    NOW_MS,
    NOW_S,
    Device,
    Person,
    Speaker,
    acquaint,
    composed_text,
    direct,
    entropy,
    outgoing,
    pairwise,
    to_device,
    two_people,
)
from whatisup.jid import Jid
from whatisup.protocol.content.bodies import Body, ContactBody, ContactCard, EditBody, PollBody, ReactionBody, TextBody
from whatisup.protocol.content.compose import Target, compose
from whatisup.protocol.messaging.answers import RetryAnswer, answers
from whatisup.protocol.messaging.keyring import KeyNotLoaded, Keyring
from whatisup.protocol.messaging.opening import Opened, Verdict
from whatisup.protocol.messaging.resending import (
    Retained,
    needs_bundle,
    recomposed,
    requester,
    seal_retry,
    wanted_for_retry,
)
from whatisup.protocol.prekeys import Bundle
from whatisup.protocol.stanzas.message import build_delivery, parse_message
from whatisup.protocol.stanzas.receipt import Receipt, build_receipt_delivery, parse_receipt
from whatisup.wire import Node, decode_node, encode_node
from whatisup.wire.message import Message


def retry_receipt(asking: Device, opened: Opened, *, count: int = 1, keys: Bundle | None = None) -> Receipt:
    """The retry receipt that a device sends, as it reaches the author's device."""
    sent, *_ = answers(opened, asking.own, is_active=False, retry=RetryAnswer(count, keys))
    assert sent.attrs["type"] == "retry"
    is_group = opened.envelope.participant is not None
    recipient = sent.attrs.get("recipient")
    delivered = build_receipt_delivery(
        sent,
        source=GROUP if is_group else asking.lid,
        participant=asking.lid if is_group else None,
        recipient=recipient if isinstance(recipient, Jid) else None,
        unix_t=NOW_S,
    )
    return parse_receipt(decode_node(encode_node(delivered)))


def resend(
    sender: Device, receipt: Receipt, retained: Retained, bundle: Bundle | None = None, *, is_committed: bool = True
) -> Node | None:
    keyring = Keyring()
    for _ in range(2):
        sender.load(keyring, wanted_for_retry(receipt, sender.own, keyring))
    node = seal_retry(receipt, retained, keyring, sender.own, bundle, entropy=entropy)
    if node is None:
        assert keyring.changes == {}
    if is_committed:
        sender.commit(keyring)
    return node


def asked_bundle(sender: Device, receipt: Receipt, *, recreated_at: float | None = None) -> Jid | None:
    keyring = Keyring()
    for _ in range(2):
        sender.load(keyring, wanted_for_retry(receipt, sender.own, keyring))
    return needs_bundle(receipt, keyring, sender.own, recreated_at=recreated_at, now=NOW_S)


def delivered(node: Node, sender: Device) -> Node:
    """What the asking device gets of a resend."""
    message = parse_message(decode_node(encode_node(node)))
    assert message.direct is not None
    is_group = message.participant is not None
    return build_delivery(
        message,
        source=message.to if is_group else sender.lid,
        participant=sender.lid if is_group else None,
        sender_alt=None if sender.own.is_own(message.to) else sender.person.pn,
        recipient=message.recipient,
        unix_t=NOW_S,
        encs=(message.direct,),
    )


def failing(sender: Device, receiver: Device, chat: Person, text: str) -> tuple[Opened, Retained]:
    """A message that its receiver cannot read, since it has lost its sessions."""
    composed = composed_text(text, chat.lid, sender)
    sealed = sender.seal(chat, composed)
    for name in [name for name in receiver.store if name[0] in ("session", "prekey")]:
        del receiver.store[name]
    opened = receiver.open(to_device(sealed, sender, receiver))
    assert opened.verdict is Verdict.FAILED
    return opened, Retained(outgoing(sealed).id, chat.lid, composed.message, "text", None, NOW_S)


def pair() -> tuple[Person, Person, Device, Device]:
    ann, bob = two_people((0, 1))
    acquaint(ann.devices[1], bob.devices[1])
    return ann, bob, ann.devices[1], bob.devices[1]


def test_a_resend_with_the_keys_of_the_receipt_is_read() -> None:
    _ann, bob, one, other = pair()
    opened, retained = failing(one, other, bob, "lost")
    receipt = retry_receipt(other, opened, count=2, keys=other.bundle())
    assert asked_bundle(one, receipt) is None
    node = resend(one, receipt, retained)
    assert node is not None
    message = parse_message(node)
    assert (message.id, message.to, message.unix_t, message.device_fanout) == ("3EB0AA", other.lid, NOW_S, False)
    assert message.direct is not None
    assert (message.direct.kind, message.direct.count) == ("pkmsg", 2)
    assert message.device_identity == one.own.signed_device_identity
    assert (message.participants, message.reporting, message.tctoken) == ((), None, None)
    again = other.open(delivered(node, one))
    assert again.verdict is Verdict.READ
    assert again.content is not None
    assert again.content.body == {"type": "text", "text": "lost"}


def test_both_sides_ask_and_both_are_answered() -> None:
    ann, bob, one, other = pair()
    for sender, receiver, chat in ((one, other, bob), (other, one, ann), (one, other, bob)):
        opened, retained = failing(sender, receiver, chat, "lost")
        node = resend(sender, retry_receipt(receiver, opened, keys=receiver.bundle()), retained)
        assert node is not None
        assert receiver.open(delivered(node, sender)).verdict is Verdict.READ
    for sender, receiver in ((one, other), (other, one)):
        plain = Message(conversation="well").SerializeToString()
        assert receiver.open(direct(sender, receiver, pairwise(sender, receiver, plain))).verdict is Verdict.READ


def test_without_keys_the_session_there_is_serves_the_first_time() -> None:
    _ann, bob, one, other = pair()
    sealed = one.seal(bob, "garbled")
    node = to_device(sealed, one, other)
    (enc,) = node.children("enc")
    broken = bytearray(enc.bytes_content())
    broken[-1] ^= 1
    opened = other.open(Node("message", node.attrs, (Node("enc", enc.attrs, bytes(broken)),)))
    assert opened.failure is not None
    assert opened.failure.reason == "bad_mac"
    receipt = retry_receipt(other, opened)
    assert receipt.retry is not None
    assert receipt.retry.error == 7
    assert asked_bundle(one, receipt) is None
    retained = Retained("3EB0AA", bob.lid, composed_text("garbled", bob.lid, one).message, "text", None, NOW_S)
    again = resend(one, receipt, retained)
    assert again is not None
    assert other.open(delivered(again, one)).verdict is Verdict.READ


@pytest.mark.parametrize(
    ("count", "recreated_at", "is_wanted"),
    [(1, None, False), (2, None, True), (2, NOW_S - 3601.0, True), (2, NOW_S - 3000.0, False), (3, None, True)],
)
def test_a_bundle_is_wanted_when_a_session_keeps_failing(
    count: int, recreated_at: float | None, is_wanted: bool
) -> None:
    _ann, bob, one, other = pair()
    opened, _ = failing(one, other, bob, "lost")
    receipt = retry_receipt(other, opened, count=count)
    assert asked_bundle(one, receipt, recreated_at=recreated_at) == (other.lid if is_wanted else None)


def test_a_bundle_is_wanted_for_another_installation_and_where_there_is_no_session() -> None:
    _ann, bob, one, other = pair()
    opened, retained = failing(one, other, bob, "lost")
    identity = dataclasses.replace(other.own.identity, registration_id=77)
    other.own = dataclasses.replace(other.own, identity=identity)
    receipt = retry_receipt(other, opened)
    assert asked_bundle(one, receipt) == other.lid
    del one.store["session", "10000000002_1.1"]
    receipt = retry_receipt(other, opened)
    assert asked_bundle(one, receipt) == other.lid
    assert resend(one, receipt, retained) is None
    node = resend(one, receipt, retained, other.bundle())
    assert node is not None
    assert other.open(delivered(node, one)).verdict is Verdict.READ


def test_our_own_device_gets_its_copy_wrapped() -> None:
    ann, bob = two_people((0, 1))
    one, phone = ann.devices[1], ann.devices[0]
    acquaint(one, phone)
    composed = composed_text("copy", bob.lid, one)
    sealed = one.seal(bob, composed)
    for name in [name for name in phone.store if name[0] in ("session", "prekey")]:
        del phone.store[name]
    opened = phone.open(to_device(sealed, one, phone))
    assert opened.verdict is Verdict.FAILED
    receipt = retry_receipt(phone, opened, keys=phone.bundle())
    assert receipt.recipient == bob.lid
    node = resend(one, receipt, Retained("3EB0AA", bob.lid, composed.message, "text", None, NOW_S))
    assert node is not None
    again = phone.open(delivered(node, one))
    assert again.verdict is Verdict.READ
    assert again.content is not None
    assert again.content.destination == str(bob.lid)


def test_nobody_else_gets_a_kept_message() -> None:
    _ann, bob, one, other = pair()
    opened, retained = failing(one, other, bob, "secret")
    stranger = Person("99900000003", "10000000003").add(0)
    receipt = retry_receipt(other, opened, keys=other.bundle())
    as_stranger = dataclasses.replace(receipt, source=stranger.lid)
    assert as_stranger.retry is not None
    keys = dataclasses.replace(as_stranger.retry, keys=stranger.bundle())
    assert resend(one, dataclasses.replace(as_stranger, retry=keys), retained) is None
    assert resend(one, receipt, dataclasses.replace(retained, wa_id="another")) is None
    assert resend(one, dataclasses.replace(receipt, retry=None), retained) is None
    assert receipt.retry is not None
    own_keys = dataclasses.replace(receipt.retry, keys=one.bundle())
    assert resend(one, dataclasses.replace(receipt, source=one.lid, retry=own_keys), retained) is None
    assert resend(one, dataclasses.replace(receipt, source=Jid("1", "newsletter")), retained) is None
    in_group = dataclasses.replace(receipt, source=GROUP, participant=other.lid)
    assert resend(one, in_group, retained) is None


def test_a_message_kept_under_the_number_is_given_to_the_lid() -> None:
    _ann, bob, one, other = pair()
    opened, retained = failing(one, other, bob, "lost")
    receipt = retry_receipt(other, opened, keys=other.bundle())
    one.store["lid", bob.digits], one.store["pn", bob.lid_digits] = bob.lid_digits.encode(), bob.digits.encode()
    assert resend(one, receipt, dataclasses.replace(retained, chat=bob.pn)) is not None


def test_keys_of_another_account_start_no_session() -> None:
    _ann, bob, one, other = pair()
    opened, retained = failing(one, other, bob, "lost")
    one.store["identity", "10000000002_1.0"] = bob.account.public
    impostor = Person("99900000003", "10000000003").add(1)
    assert resend(one, retry_receipt(other, opened, keys=impostor.bundle()), retained) is None


def test_a_group_message_takes_the_sender_key_along() -> None:
    ann, bob = two_people((0,))
    one, other = ann.devices[0], bob.devices[0]
    acquaint(one, other)
    speaker = Speaker(one)
    opened = other.open(speaker.node(speaker.skmsg("lost")))
    assert opened.failure is not None
    assert opened.failure.wants_keys
    receipt = retry_receipt(other, opened, keys=other.bundle())
    assert requester(receipt) == other.lid
    retained = Retained("3EB0GG", GROUP, Message(conversation="lost").SerializeToString(), "text", None, NOW_S)
    assert resend(one, receipt, retained) is None  # no sender key of ours: nothing to give
    one.store["sender_key", f"{GROUP}::10000000001_1.0"] = speaker.key.encode()
    node = resend(one, receipt, retained)
    assert node is not None
    message = parse_message(node)
    assert (message.to, message.participant, message.addressing_mode) == (GROUP, other.lid, "lid")
    assert message.device_fanout is None
    again = other.open(delivered(node, one))
    assert again.verdict is Verdict.READ
    assert other.open(speaker.node(speaker.skmsg("next"), wa_id="2")).verdict is Verdict.READ


def test_what_is_kept_composes_to_what_it_was() -> None:
    ann, bob = two_people((0,))
    target = Target("X", from_me=True)
    bodies: list[Body] = [
        TextBody("x"),
        ReactionBody("X", "👍"),
        EditBody("X", "y"),
        PollBody("?", ("a", "b")),
        ContactBody((ContactCard("A", "+15550001"),)),
        ContactBody(
            (
                ContactCard("A", "+15550001"),
                ContactCard("B", "+15550002"),
            )
        ),
    ]
    for body in bodies:
        composed = compose(body, chat=bob.lid, own=ann.lid, target=target, secret=entropy(32), unix_ms=NOW_MS)
        retained = Retained("X", bob.lid, composed.message, composed.stanza_type, composed.edit, NOW_S)
        assert recomposed(retained) == composed


def test_answering_a_retry_names_every_key_it_touches() -> None:
    _ann, bob, one, other = pair()
    opened, retained = failing(one, other, bob, "lost")
    receipt = retry_receipt(other, opened, keys=other.bundle())
    known = {("lid", bob.digits): bob.lid_digits.encode(), ("pn", bob.lid_digits): bob.digits.encode()}
    one.store.update(known)
    first = Keyring()
    one.load(first, wanted_for_retry(receipt, one.own, first))
    wanted = wanted_for_retry(receipt, one.own, first)
    phone = {("session", "10000000002_1.0"), ("session", f"{bob.digits}.0"), ("identity", f"{bob.digits}.0")}
    optional = phone | {("identity", "10000000002_1.0"), ("lid", bob.digits)}
    for missing in sorted(wanted.keys - optional):
        keyring = Keyring()
        keyring.add({name: one.store.get(name) for name in wanted.keys - {missing}})
        with pytest.raises(KeyNotLoaded):
            seal_retry(receipt, retained, keyring, one.own, None, entropy=entropy)
        assert keyring.changes == {}
