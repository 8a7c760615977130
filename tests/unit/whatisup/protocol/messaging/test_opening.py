from __future__ import annotations

import dataclasses

import msgspec
import pytest

from tests.unit.whatisup.protocol.messaging.parties import (
    NOW_MS,
    NOW_S,
    Device,
    Speaker,
    acquaint,
    deliver,
    direct,
    entropy,
    pairwise,
    two_people,
)
from whatisup.e2ee import encrypt
from whatisup.jid import Jid
from whatisup.protocol.content.compose import wrap_device_sent
from whatisup.protocol.credentials import SignedPrekey
from whatisup.protocol.messaging.keyring import KeyNotLoaded, Keyring, encode_signed_prekey
from whatisup.protocol.messaging.opening import Opened, Verdict, open_message, wanted_for_opening
from whatisup.protocol.messaging.sealing import wanted_for_sealing
from whatisup.protocol.stanzas.enc import Enc, enc_node
from whatisup.wire import Node
from whatisup.wire.message import Message, PeerDataOperationRequestType, ProtocolMessage
from whatisup.wire.proto import ADVSignedDeviceIdentity

HELLO = Message(conversation="hello").SerializeToString()


def devices(number: int = 0) -> tuple[Device, Device]:
    ann, bob = two_people((0, 1))
    return ann.devices[number], bob.devices[number]


def body(opened: Opened) -> dict[str, object] | None:
    assert opened.content is not None
    return opened.content.body


def corrupted(enc: Enc) -> Enc:
    """The same ciphertext with a wrong MAC (of the inner message, in a pkmsg)."""
    changed = bytearray(enc.ciphertext)
    changed[len(changed) // 2] ^= 1
    return msgspec.structs.replace(enc, ciphertext=bytes(changed))


def test_text_is_read_by_every_device_and_own_copies_come_from_me() -> None:
    ann, bob = two_people()
    nodes = deliver(ann.devices[1].seal(bob, "hello"), ann.devices[1], ann, bob)
    assert set(nodes) == {bob.lid, bob.lid.with_device(1), ann.lid}
    for device in bob.devices.values():
        opened = device.open(nodes[device.lid])
        assert opened.verdict is Verdict.READ
        assert body(opened) == {"type": "text", "text": "hello"}
        assert not opened.envelope.is_from_me
        assert opened.failure is None
        assert not opened.wants_retry
        assert opened.used_prekeys == (1,)
        assert ("prekey", "1") not in device.store
    copy = ann.devices[0].open(nodes[ann.lid])
    assert copy.verdict is Verdict.READ
    assert copy.envelope.is_from_me
    assert copy.envelope.chat == bob.lid
    assert copy.content is not None
    assert copy.content.destination == str(bob.lid)


def test_both_write_and_sessions_lose_their_first_messages() -> None:
    one, other = devices()
    acquaint(one, other)
    for number in range(20):
        sender, receiver = (one, other) if number % 2 else (other, one)
        enc = pairwise(sender, receiver, Message(conversation=str(number)).SerializeToString())
        assert enc.kind == "msg"
        assert body(receiver.open(direct(sender, receiver, enc))) == {"type": "text", "text": str(number)}


def test_redelivery_after_the_commit_is_a_duplicate_and_touches_nothing() -> None:
    ann, bob = devices()
    node = direct(ann, bob, pairwise(ann, bob, HELLO))
    assert bob.open(node).verdict is Verdict.READ
    before = dict(bob.store)
    again = bob.open(node)
    assert again.verdict is Verdict.DUPLICATE
    assert again.hashes == ()
    assert not again.wants_retry
    assert bob.store == before


@pytest.mark.parametrize("times", [1, 3])
def test_redelivery_after_a_crash_is_read(times: int) -> None:
    ann, bob = devices()
    acquaint(ann, bob)
    node = direct(ann, bob, pairwise(ann, bob, HELLO))
    for _ in range(times):
        assert bob.open(node, is_committed=False).verdict is Verdict.READ
    assert bob.open(node).verdict is Verdict.READ
    assert bob.open(node).verdict is Verdict.DUPLICATE


def test_redelivery_of_a_first_message_after_a_crash_still_finds_its_prekey() -> None:
    ann, bob = devices()
    node = direct(ann, bob, pairwise(ann, bob, HELLO))
    assert bob.open(node, is_committed=False).used_prekeys == (1,)
    assert bob.open(node).used_prekeys == (1,)


def test_old_counter_without_its_hash_is_an_incident() -> None:
    ann, bob = devices()
    node = direct(ann, bob, pairwise(ann, bob, HELLO))
    bob.open(node)
    bob.hashes.clear()  # the ratchet moved, and nobody remembers for what
    opened = bob.open(node)
    assert opened.verdict is Verdict.OLD_COUNTER
    assert opened.failure is not None
    assert opened.failure.wants_keys
    assert opened.wants_retry
    assert opened.wants_phone


def test_the_same_ciphertext_twice_in_one_stanza_is_decrypted_once() -> None:
    ann, bob = devices()
    enc = pairwise(ann, bob, HELLO)
    opened = bob.open(direct(ann, bob, enc, enc))
    assert opened.verdict is Verdict.READ
    assert len(opened.hashes) == 1
    assert opened.failure is None


def test_garbage_leaves_no_trace_and_asks_again() -> None:
    ann, bob = devices()
    acquaint(ann, bob)
    enc = pairwise(ann, bob, HELLO)
    before = dict(bob.store)
    opened = bob.open(direct(ann, bob, corrupted(enc)))
    assert opened.verdict is Verdict.FAILED
    assert opened.failure is not None
    assert opened.failure.retry_code in (4, 7)
    assert not opened.failure.wants_keys
    assert opened.wants_retry
    assert opened.wants_phone
    assert opened.hashes == ()
    assert bob.store == before
    assert bob.open(direct(ann, bob, enc)).verdict is Verdict.READ


def test_a_used_prekey_that_is_gone_is_named_as_such() -> None:
    ann, bob = devices()
    enc = pairwise(ann, bob, HELLO)
    del bob.store["prekey", "1"]
    opened = bob.open(direct(ann, bob, enc))
    assert opened.verdict is Verdict.FAILED
    assert opened.failure is not None
    assert (opened.failure.reason, opened.failure.retry_code) == ("invalid_key_id", 3)


def test_an_earlier_signed_prekey_opens_what_was_sealed_for_it() -> None:
    ann, bob = devices()
    enc = pairwise(ann, bob, HELLO)
    old = bob.own.signed_prekey
    bob.store["skey", str(old.key_id)] = encode_signed_prekey(old)
    bob.own = dataclasses.replace(bob.own, signed_prekey=SignedPrekey.generate(bob.own.identity.pair, 2, entropy))
    assert bob.open(direct(ann, bob, enc)).verdict is Verdict.READ


def test_silence_is_taken_over_from_the_ciphertext() -> None:
    ann, bob = devices()
    acquaint(ann, bob)
    enc = corrupted(pairwise(ann, bob, HELLO, hide=True))
    opened = bob.open(direct(ann, bob, enc))
    assert opened.failure is not None
    assert opened.failure.hide


def test_what_is_no_message_is_kept_as_read_and_not_asked_for_again() -> None:
    ann, bob = devices()
    acquaint(ann, bob)
    node = direct(ann, bob, pairwise(ann, bob, b"\xff\xff\xff"))
    opened = bob.open(node)
    assert opened.verdict is Verdict.FAILED
    assert opened.failure is not None
    assert opened.failure.reason == "malformed"
    assert not opened.wants_retry
    assert len(opened.hashes) == 1
    assert bob.open(node).verdict is Verdict.DUPLICATE


def test_a_copy_that_only_own_devices_send_is_refused_from_others() -> None:
    ann, bob = devices()
    acquaint(ann, bob)
    forged = wrap_device_sent(HELLO, Jid("99900000009", "s.whatsapp.net"))
    opened = bob.open(direct(ann, bob, pairwise(ann, bob, forged)))
    assert opened.verdict is Verdict.FAILED
    assert opened.content is None


def test_history_is_believed_from_our_own_phone_alone() -> None:
    ann, bob = two_people()
    history = Message()
    history.protocolMessage.type = ProtocolMessage.HISTORY_SYNC_NOTIFICATION
    plain = history.SerializeToString()
    phone, companion, stranger = ann.devices[0], ann.devices[1], bob.devices[0]
    own = companion.open(direct(phone, companion, pairwise(phone, companion, plain), category="peer"))
    assert (own.verdict, own.content and own.content.kind) == (Verdict.SILENT, "history_sync")
    foreign = companion.open(direct(stranger, companion, pairwise(stranger, companion, plain)))
    assert (foreign.verdict, foreign.content and foreign.content.kind) == (Verdict.SILENT, "")


def test_what_a_phone_answers_is_believed_from_our_phone_alone() -> None:
    (ann, _) = two_people((0, 1, 2))
    answer = Message()
    protocol = answer.protocolMessage
    protocol.type = ProtocolMessage.PEER_DATA_OPERATION_REQUEST_RESPONSE_MESSAGE
    response = protocol.peerDataOperationRequestResponseMessage
    response.peerDataOperationRequestType = PeerDataOperationRequestType.PLACEHOLDER_MESSAGE_RESEND
    kinds = []
    for number in (0, 2):
        enc = pairwise(ann.devices[number], ann.devices[1], answer.SerializeToString())
        opened = ann.devices[1].open(direct(ann.devices[number], ann.devices[1], enc, category="peer"))
        assert opened.content is not None
        kinds.append(opened.content.kind)
    assert kinds == ["placeholder_response", ""]


def test_who_says_to_be_our_phone_must_have_its_key() -> None:
    ann, bob = two_people()
    companion, impostor = ann.devices[1], bob.devices[0]
    enc = pairwise(impostor, companion, HELLO)
    node = Node("message", {"id": "1", "from": ann.lid, "t": str(NOW_S), "recipient": bob.lid}, (enc_node(enc),))
    opened = companion.open(node)
    assert opened.verdict is Verdict.FAILED
    assert ("session", "10000000001_1.0") not in companion.store


# Identity changes


def test_a_new_identity_replaces_the_old_one_only_when_its_message_is_read() -> None:
    ann, bob = devices()
    acquaint(ann, bob)
    reinstalled = two_people()[0].devices[0]
    enc = pairwise(reinstalled, bob, HELLO)
    before = dict(bob.store)
    opened = bob.open(direct(reinstalled, bob, corrupted(enc)))
    assert opened.verdict is Verdict.FAILED
    assert opened.identity_changed is None
    assert bob.store == before
    opened = bob.open(direct(reinstalled, bob, enc))
    assert opened.verdict is Verdict.READ
    assert opened.identity_changed == ann.lid
    assert bob.store["identity", "10000000001_1.0"] == reinstalled.own.identity.pair.public
    # Nothing of the old installation is believed any more.
    assert bob.open(direct(ann, bob, pairwise(ann, bob, HELLO))).verdict is Verdict.FAILED


def test_an_identity_outlives_its_sessions() -> None:
    ann, bob = devices()
    acquaint(ann, bob)
    del bob.store["session", "10000000001_1.0"]
    reinstalled = two_people()[0].devices[0]
    opened = bob.open(direct(reinstalled, bob, pairwise(reinstalled, bob, HELLO)))
    assert (opened.verdict, opened.identity_changed) == (Verdict.READ, ann.lid)


def test_wrong_padding_is_asked_for_again_and_takes_nothing_with_it() -> None:
    ann, bob = devices()
    acquaint(ann, bob)
    keyring = Keyring()
    ann.load(keyring, wanted_for_sealing([bob.lid], ann.own, chat_pn=bob.person.pn))
    sealed = encrypt(keyring.session(str(keyring.address(bob.lid))), ann.own.identity, HELLO + b"\x02\x01\x02")
    before = dict(bob.store)
    opened = bob.open(direct(ann, bob, Enc(sealed.kind, sealed.ciphertext)))
    assert opened.verdict is Verdict.FAILED
    assert opened.failure is not None
    assert opened.failure.reason == "bad_padding"
    assert bob.store == before


# Names


def test_a_conversation_moves_from_phone_number_to_lid() -> None:
    ann, bob = devices()
    acquaint(ann, bob)
    for name in ("session", "identity"):
        bob.store[name, "99900000001.0"] = bob.store.pop((name, "10000000001_1.0"))
    del bob.store["lid", "99900000001"], bob.store["pn", "10000000001"]

    def node(**attrs: str | Jid) -> Node:
        names: dict[str, str | Jid] = {"id": "1", "t": str(NOW_S), "type": "text", **attrs}
        return Node("message", names, (enc_node(pairwise(ann, bob, HELLO)),))

    # The number alone: the session stays under it.
    opened = bob.open(node(**{"from": ann.person.pn}))
    assert (opened.verdict, opened.learned) == (Verdict.READ, ())
    assert ("session", "99900000001.0") in bob.store
    # The number and the LID: learned, and moved.
    opened = bob.open(node(**{"from": ann.person.pn, "sender_lid": ann.person.lid}))
    assert (opened.verdict, opened.learned) == (Verdict.READ, ((ann.person.pn, ann.person.lid),))
    assert {name for name in bob.store if "99900000001.0" in name[1]} == set()
    assert ("session", "10000000001_1.0") in bob.store
    # The number alone again: found under the LID, in a second load.
    bob.loads = 0
    opened = bob.open(node(**{"from": ann.person.pn}))
    assert (opened.verdict, bob.loads) == (Verdict.READ, 2)
    # And the LID with the number, in one.
    bob.loads = 0
    opened = bob.open(node(**{"from": ann.person.lid, "sender_pn": ann.person.pn}))
    assert (opened.verdict, opened.learned, bob.loads) == (Verdict.READ, (), 1)


def test_a_leftover_session_is_moved_when_its_device_is_met() -> None:
    ann, bob = devices()
    acquaint(ann, bob)
    bob.store["session", "99900000001.0"] = bob.store.pop(("session", "10000000001_1.0"))
    opened = bob.open(direct(ann, bob, pairwise(ann, bob, HELLO)))
    assert opened.verdict is Verdict.READ
    assert ("session", "99900000001.0") not in bob.store


# Groups


def test_group_text_is_read_with_the_key_that_came_along() -> None:
    ann, bob = devices()
    speaker = Speaker(ann)
    first = bob.open(speaker.node(speaker.pairwise(speaker.skdm(), bob), speaker.skmsg("one")))
    assert (first.verdict, body(first)) == (Verdict.READ, {"type": "text", "text": "one"})
    assert len(first.hashes) == 2
    second = bob.open(speaker.node(speaker.skmsg("two"), wa_id="2"))
    assert body(second) == {"type": "text", "text": "two"}
    third, fourth = speaker.skmsg("three"), speaker.skmsg("four")
    assert body(bob.open(speaker.node(fourth, wa_id="4"))) == {"type": "text", "text": "four"}
    node = speaker.node(third, wa_id="3")
    assert body(bob.open(node)) == {"type": "text", "text": "three"}
    assert bob.open(node).verdict is Verdict.DUPLICATE
    bob.hashes.clear()
    assert bob.open(node).verdict is Verdict.OLD_COUNTER


def test_a_sender_key_alone_is_silent() -> None:
    ann, bob = devices()
    speaker = Speaker(ann)
    opened = bob.open(speaker.node(speaker.pairwise(speaker.skdm(), bob)))
    assert opened.verdict is Verdict.SILENT
    assert body(bob.open(speaker.node(speaker.skmsg("one"), wa_id="2"))) == {"type": "text", "text": "one"}


def test_no_sender_key_wants_keys_at_once() -> None:
    ann, bob = devices()
    opened = bob.open(Speaker(ann).node(Speaker(ann).skmsg("one")))
    assert opened.verdict is Verdict.FAILED
    assert opened.failure is not None
    assert (opened.failure.reason, opened.failure.wants_keys) == ("no_sender_key", True)


def test_what_the_group_key_opens_is_read_though_the_pairwise_part_fails() -> None:
    ann, bob = devices()
    speaker = Speaker(ann)
    bob.open(speaker.node(speaker.pairwise(speaker.skdm(), bob), speaker.skmsg("one")))
    node = speaker.node(corrupted(speaker.pairwise(speaker.skdm(), bob)), speaker.skmsg("two"), wa_id="2")
    opened = bob.open(node)
    assert (opened.verdict, body(opened)) == (Verdict.READ, {"type": "text", "text": "two"})
    assert opened.failure is not None
    assert opened.wants_retry
    assert not opened.wants_phone
    again = bob.open(node)
    assert again.verdict is Verdict.DUPLICATE
    assert again.wants_retry


def test_a_key_that_came_is_kept_though_the_group_part_fails() -> None:
    ann, bob = devices()
    speaker = Speaker(ann)
    skdm = speaker.pairwise(speaker.skdm(), bob)
    opened = bob.open(speaker.node(skdm, corrupted(speaker.skmsg("one"))))
    assert opened.verdict is Verdict.FAILED
    assert opened.failure is not None
    assert opened.failure.retry_code == 5
    assert opened.wants_retry
    assert len(opened.hashes) == 1
    assert bob.open(speaker.node(speaker.skmsg("two"), wa_id="2")).verdict is Verdict.READ


def test_a_sender_key_for_another_group_is_left_alone() -> None:
    ann, bob = devices()
    speaker = Speaker(ann)
    elsewhere = Jid("99", "g.us")
    opened = bob.open(speaker.node(speaker.pairwise(speaker.skdm(), bob), group=elsewhere))
    assert opened.verdict is Verdict.SILENT
    assert not [name for name in bob.store if name[0] == "sender_key"]


def test_a_sender_key_is_found_by_either_name() -> None:
    ann, bob = devices()
    speaker = Speaker(ann)
    node = speaker.node(speaker.pairwise(speaker.skdm(), bob), speaker.skmsg("one"))
    by_number = {**node.attrs, "participant": ann.own.pn}
    del by_number["participant_pn"]
    # Nobody told the LID yet: the key is kept under the number.
    assert bob.open(Node("message", by_number, node.content)).verdict is Verdict.READ
    assert ("sender_key", "123456789012345678@g.us::99900000001.0") in bob.store
    assert bob.open(speaker.node(speaker.skmsg("two"), wa_id="2")).verdict is Verdict.READ
    assert ("sender_key", "123456789012345678@g.us::10000000001_1.0") in bob.store
    assert ("sender_key", "123456789012345678@g.us::99900000001.0") not in bob.store


# Nothing to read


@pytest.mark.parametrize(
    ("kind", "wants_phone"),
    [("plain", True), ("view_once", True), ("bot_unavailable_fanout", False), ("hosted_unavailable_fanout", False)],
)
def test_unavailable_asks_the_phone_where_it_may_have_it(kind: str, wants_phone: bool) -> None:
    ann, bob = devices()
    node = direct(ann, bob)
    opened = bob.open(Node("message", node.attrs, (Node("unavailable", {"type": kind}),)))
    assert (opened.verdict, opened.wants_phone) == (Verdict.UNAVAILABLE, wants_phone)
    assert not opened.wants_retry
    late = NOW_MS + 15 * 24 * 3600 * 1000
    opened = bob.open(Node("message", node.attrs, (Node("unavailable", {"type": kind}),)), now_ms=late)
    assert not opened.wants_phone


@pytest.mark.parametrize(
    "encs",
    [(), (Enc("msmsg", b"x"),), (Enc("frskmsg", b"x"),), (Enc("msg", b"x", version=3),), (Enc("skmsg", b"x"),)],
)
def test_what_nobody_knows_how_to_read_is_unknown(encs: tuple[Enc, ...]) -> None:
    ann, bob = devices()
    opened = bob.open(direct(ann, bob, *encs))
    assert opened.verdict is Verdict.UNKNOWN
    assert not opened.wants_retry


def test_a_bot_has_no_session() -> None:
    _, bob = devices()
    node = Node("message", {"id": "1", "from": Jid("13135550002", "bot"), "t": "1"}, (enc_node(Enc("msg", b"x")),))
    assert bob.open(node).verdict is Verdict.UNKNOWN


def test_a_newsletter_is_read_as_it_is() -> None:
    _, bob = devices()
    attrs: dict[str, str | Jid] = {"id": "1", "from": Jid("7", "newsletter"), "t": "1", "server_id": "5"}
    opened = bob.open(Node("message", attrs, (Node("plaintext", {}, HELLO),)))
    assert (opened.verdict, body(opened)) == (Verdict.READ, {"type": "text", "text": "hello"})


def test_an_old_status_is_not_asked_for_again() -> None:
    ann, bob = devices()
    speaker, status = Speaker(ann), Jid("status", "broadcast")
    young = bob.open(speaker.node(speaker.skmsg("one"), group=status))
    assert (young.verdict, young.wants_retry, young.wants_phone) == (Verdict.FAILED, True, False)
    old = bob.open(speaker.node(speaker.skmsg("two"), group=status, unix_t=NOW_S - 25 * 3600))
    assert (old.verdict, old.wants_retry) == (Verdict.FAILED, False)


# What is loaded


def test_a_key_that_was_not_loaded_is_named_and_nothing_has_happened() -> None:
    ann, bob = devices()
    envelope = bob.envelope(direct(ann, bob, pairwise(ann, bob, HELLO)))
    wanted = wanted_for_opening(envelope, bob.own)
    # Leave out each key in turn: the engine says which, and what it had done is undone.
    for missing in sorted(wanted.keys):
        keyring = Keyring()
        keyring.add({name: bob.store.get(name) for name in wanted.keys - {missing}})
        with pytest.raises(KeyNotLoaded) as raised:
            open_message(envelope, keyring, bob.own, known=(), now_ms=NOW_MS, entropy=entropy)
        assert raised.value.name == missing
        assert keyring.changes == {}


def test_what_is_wanted_for_a_group_is_touched_to_the_last_key() -> None:
    ann, bob = devices()
    speaker = Speaker(ann)
    node = speaker.node(speaker.pairwise(speaker.skdm(), bob), speaker.skmsg("one"))
    envelope = bob.envelope(node)
    wanted = wanted_for_opening(envelope, bob.own)
    for missing in sorted(wanted.keys):
        keyring = Keyring()
        keyring.add({name: bob.store.get(name) for name in wanted.keys - {missing}})
        with pytest.raises(KeyNotLoaded):
            open_message(envelope, keyring, bob.own, known=(), now_ms=NOW_MS, entropy=entropy)
        assert keyring.changes == {}


def test_one_load_serves_a_whole_batch() -> None:
    ann, bob = devices()
    nodes = [direct(ann, bob, pairwise(ann, bob, HELLO), wa_id=str(number)) for number in range(64)]
    envelopes = [bob.envelope(node) for node in nodes]
    keyring, wanted = Keyring(), wanted_for_opening(envelopes[0], bob.own)
    for envelope in envelopes:
        wanted |= wanted_for_opening(envelope, bob.own)
    bob.load(keyring, wanted)
    for envelope in envelopes:
        opened = open_message(envelope, keyring, bob.own, known=(), now_ms=NOW_MS, entropy=entropy)
        assert opened.verdict is Verdict.READ
    assert bob.loads == 1


def test_representations_hold_no_secrets() -> None:
    ann, bob = devices()
    opened = bob.open(direct(ann, bob, pairwise(ann, bob, HELLO)))
    assert "hello" not in repr(opened)
    assert "private" not in repr(bob.own)


def test_what_is_not_encrypted_is_nobodys_word() -> None:
    friend, bob = devices()
    response = Message(protocolMessage=ProtocolMessage(type=ProtocolMessage.HISTORY_SYNC_NOTIFICATION))
    for source in (friend.lid, bob.person.pn):
        attrs = {"id": "3EB0AA", "from": source, "t": str(NOW_S), "type": "text"}
        for said in (HELLO, response.SerializeToString()):
            opened = bob.open(Node("message", attrs, (Node("plaintext", {}, said),)))
            assert opened.verdict is Verdict.UNKNOWN
            assert opened.content is None


def test_our_own_companions_and_others_have_to_be_of_their_account() -> None:
    ann, bob = two_people((0, 1, 2))
    receiver = ann.devices[1]
    for forger, is_heard in ((ann.devices[2], False), (bob.devices[2], True)):
        enc = pairwise(forger, receiver, HELLO)
        node = direct(forger, receiver, enc)
        for proof, is_read in ((None, is_heard), (b"garbage", False), (bob.devices[1].proof, False)):
            children = (enc_node(enc),) if proof is None else (enc_node(enc), Node("device-identity", {}, proof))
            opened = receiver.open(Node("message", node.attrs, children), is_committed=False)
            assert (opened.verdict is Verdict.READ) is is_read
        nameless = ADVSignedDeviceIdentity.FromString(forger.proof)
        nameless.ClearField("accountSignatureKey")
        children = (enc_node(enc), Node("device-identity", {}, nameless.SerializeToString()))
        # Our own account we know; that of somebody else may be new to us.
        assert receiver.open(Node("message", node.attrs, children), is_committed=False).verdict is Verdict.READ
        assert receiver.open(node).verdict is Verdict.READ


def test_nobody_is_known_under_a_name_of_ours() -> None:
    ann, bob = devices()
    enc = pairwise(ann, bob, HELLO)
    for claims in (
        {"from": ann.lid, "sender_pn": bob.person.pn},
        {"from": ann.person.pn, "sender_lid": bob.person.lid},
    ):
        node = Node("message", {"id": "1", "t": str(NOW_S), "type": "text", **claims}, (enc_node(enc),))
        assert bob.open(node, is_committed=False).learned == ()
