from __future__ import annotations

import dataclasses

import pytest

from tests.unit.whatisup.protocol.messaging.parties import (
    NOW_MS,
    Device,
    Person,
    composed_text,
    deliver,
    entropy,
    outgoing,
    to_device,
    two_people,
)
from whatisup.jid import Jid
from whatisup.protocol.content.bodies import PollBody, ReactionBody
from whatisup.protocol.content.compose import Target, compose
from whatisup.protocol.content.ids import phash
from whatisup.protocol.messaging.encrypting import FOREIGN_DEVICE, NO_BUNDLE
from whatisup.protocol.messaging.keyring import KeyNotLoaded, Keyring
from whatisup.protocol.messaging.opening import Verdict
from whatisup.protocol.messaging.sealing import (
    Draft,
    NoDevices,
    recipients,
    seal,
    seal_for_devices,
    seal_peer,
    wanted_for_peer,
    wanted_for_sealing,
    without_session,
)
from whatisup.protocol.prekeys import Bundle
from whatisup.protocol.stanzas.message import build_delivery, parse_message
from whatisup.wire.message import Message, ProtocolMessage


def people() -> tuple[Person, Person, Device]:
    ann, bob = two_people((0, 1, 2))
    return ann, bob, ann.devices[1]


def keyring_for(device: Device, devices: list[Jid], chat: Person) -> Keyring:
    keyring = Keyring()
    for _ in range(2):
        device.load(keyring, wanted_for_sealing(devices, device.own, keyring, chat_pn=chat.pn))
    return keyring


def test_the_stanza_is_addressed_by_lid_and_names_the_number() -> None:
    ann, bob, device = people()
    sealed = device.seal(bob, wa_id="3EB0FF", token=b"token")
    message = outgoing(sealed)
    assert (message.id, message.to, message.type) == ("3EB0FF", bob.lid, "text")
    assert message.peer_recipient_pn == bob.pn
    assert [jid for jid, _ in message.participants] == [
        bob.lid,
        ann.lid,
        bob.lid.with_device(1),
        bob.lid.with_device(2),
        ann.lid.with_device(2),
    ]
    assert message.device_identity == device.own.signed_device_identity
    assert message.reporting is not None
    assert len(message.reporting) == 16
    assert message.tctoken == b"token"
    assert message.phash is None
    assert sealed.phash == phash([*bob.jids(), *ann.jids()])
    assert sealed.devices == tuple(jid for jid, _ in message.participants)
    assert sealed.skipped == ()


def test_a_chat_by_number_names_every_device_by_number() -> None:
    ann, bob, device = people()
    sealed = device.seal(bob, form=bob.pn)
    message = outgoing(sealed)
    assert message.to == bob.pn
    assert message.peer_recipient_pn is None
    assert {jid.server for jid, _ in message.participants} == {"s.whatsapp.net"}
    assert sealed.phash == phash([*bob.jids(bob.pn), *ann.jids(ann.pn)])
    # The sessions are kept by LID all the same, once the pair is known; the own one always is.
    assert ("session", "10000000001_1.0") in device.store
    assert ("session", "99900000002.0") in device.store


def test_a_note_to_self_goes_to_the_other_own_devices_without_a_token() -> None:
    ann, _, device = people()
    message = outgoing(device.seal(ann, token=b"token"))
    assert [jid for jid, _ in message.participants] == [ann.lid, ann.lid.with_device(2)]
    assert message.tctoken is None


def test_every_device_gets_padding_of_its_own_and_nobody_anothers_ciphertext() -> None:
    _, bob, device = people()
    message = outgoing(device.seal(bob))
    assert len({enc.ciphertext for _, enc in message.participants}) == 5


def test_first_messages_end_once_everybody_has_answered() -> None:
    ann, bob, device = people()
    nodes = deliver(device.seal(bob), device, ann, bob)
    for jid, node in nodes.items():
        person = bob if jid.user == bob.lid.user else ann
        person.devices[jid.device].open(node)
    answer = deliver(bob.devices[0].seal(ann, wa_id="3EB0BB"), bob.devices[0], ann, bob)
    opened = device.open(answer[device.lid])
    assert opened.verdict is Verdict.READ
    kinds = {jid: enc.kind for jid, enc in outgoing(device.seal(bob)).participants}
    assert kinds[bob.lid] == "msg"
    assert kinds[bob.lid.with_device(1)] == "pkmsg"


def test_no_device_identity_where_no_session_starts() -> None:
    ann, bob = two_people((0,))
    one, other = ann.devices[0], bob.devices[0]
    other.open(to_device(one.seal(bob), one, other))
    one.open(to_device(other.seal(ann), other, one))
    message = outgoing(one.seal(bob))
    assert [enc.kind for _, enc in message.participants] == ["msg"]
    assert message.device_identity is None


def test_a_reaction_and_a_poll_say_so_around_the_ciphertext() -> None:
    _, bob, device = people()
    own = device.own.lid.normalised
    reaction = compose(
        ReactionBody("X", "👍"),
        chat=bob.lid,
        own=own,
        target=Target("X", from_me=False),
        secret=entropy(32),
        unix_ms=NOW_MS,
    )
    message = outgoing(device.seal(bob, reaction))
    assert message.type == "reaction"
    assert message.reporting is None
    assert all(enc.hide for _, enc in message.participants)
    poll = PollBody("?", ("a", "b"))
    composed = compose(poll, chat=bob.lid, own=own, target=None, secret=entropy(32), unix_ms=NOW_MS)
    message = outgoing(device.seal(bob, composed))
    assert (message.type, dict(message.meta)) == ("poll", {"polltype": "creation"})
    assert not any(enc.hide for _, enc in message.participants)


# Bundles that do not hold


def _forged(bundle: Bundle) -> Bundle:
    skey = dataclasses.replace(bundle.identity.signed_prekey, signature=bytes(64))
    return dataclasses.replace(bundle, identity=dataclasses.replace(bundle.identity, signed_prekey=skey))


def test_a_bundle_with_a_bad_signature_skips_its_device_alone() -> None:
    ann, bob, device = people()
    bundles = {jid: person.devices[jid.device].bundle() for person in (ann, bob) for jid in person.jids()}
    bad = bob.lid.with_device(1)
    bundles[bad] = _forged(bundles[bad])
    sealed = device.seal(bob, bundles=bundles)
    assert sealed.skipped == ((bad, "invalid_signature"),)
    assert len(sealed.devices) == 4
    assert ("session", "10000000002_1.1") not in device.store
    assert ("identity", "10000000002_1.1") not in device.store
    # It counts in the hash all the same: the server need not tell us of a device that we know.
    assert sealed.phash == phash([*bob.jids(), *ann.jids()])


def test_a_companion_of_another_account_is_skipped() -> None:
    ann, bob, device = people()
    stranger = Person("99900000003", "10000000003").add(1)
    bundles = {jid: person.devices[jid.device].bundle() for person in (ann, bob) for jid in person.jids()}
    theirs, ours = bob.lid.with_device(2), ann.lid.with_device(2)
    bundles[theirs], bundles[ours] = stranger.bundle(), stranger.bundle()
    sealed = device.seal(bob, bundles=bundles)
    assert dict(sealed.skipped) == {theirs: FOREIGN_DEVICE, ours: FOREIGN_DEVICE}


def test_a_phone_that_is_not_ours_gets_no_copies() -> None:
    ann, bob, device = people()
    bundles = {jid: person.devices[jid.device].bundle() for person in (ann, bob) for jid in person.jids()}
    bundles[ann.lid] = bob.devices[0].bundle()
    assert device.seal(bob, bundles=bundles).skipped == ((ann.lid, FOREIGN_DEVICE),)


def test_a_device_without_session_and_bundle_is_skipped() -> None:
    _, bob, device = people()
    sealed = device.seal(bob, bundles={bob.lid: bob.devices[0].bundle()})
    assert {slug for _, slug in sealed.skipped} == {NO_BUNDLE}
    assert sealed.devices == (bob.lid,)


def test_nobody_to_seal_for_is_refused_and_leaves_no_trace() -> None:
    _, bob, device = people()
    devices = [bob.lid, bob.lid.with_device(1)]
    keyring = keyring_for(device, devices, bob)
    draft = Draft("1", bob.lid, bob.pn, composed_text("x", bob.lid, device), NOW_MS)
    with pytest.raises(NoDevices) as raised:
        seal(
            draft,
            devices,
            keyring,
            device.own,
            bundles={bob.lid: _forged(bob.devices[0].bundle())},
            token=None,
            entropy=entropy,
        )
    assert raised.value.skipped == ((bob.lid, "invalid_signature"), (devices[1], NO_BUNDLE))
    assert keyring.changes == {}


def test_a_bundle_without_one_time_prekey_does() -> None:
    ann, bob, device = people()
    sealed = device.seal(bob, bundles={bob.lid: bob.devices[0].bundle(with_prekey=False)})
    opened = bob.devices[0].open(deliver(sealed, device, ann, bob)[bob.lid])
    assert (opened.verdict, opened.used_prekeys) == (Verdict.READ, ())


def test_another_installation_behind_a_bundle_is_told() -> None:
    ann, bob, device = people()
    device.seal(bob)
    reinstalled = Person(bob.digits, bob.lid_digits).add(0)
    sealed = device.seal(bob, bundles={bob.lid: reinstalled.bundle()})
    assert sealed.identity_changed == (bob.lid,)
    opened = reinstalled.open(deliver(sealed, device, ann, reinstalled.person, bob)[bob.lid])
    assert opened.verdict is Verdict.READ


def test_a_bundle_of_the_same_installation_keeps_the_session() -> None:
    _, bob, device = people()
    device.seal(bob)
    before = Keyring(device.store).session("10000000002_1.0")
    device.seal(bob, bundles={bob.lid: bob.devices[0].bundle()})
    after = Keyring(device.store).session("10000000002_1.0")
    assert before is not None
    assert after is not None
    assert before.base_key == after.base_key


# Crashes and resends


def test_what_was_not_committed_is_sealed_anew_and_read_once() -> None:
    ann, bob = two_people((0,))
    one, other = ann.devices[0], bob.devices[0]
    bundle = {bob.lid: other.bundle()}
    one.seal(bob, bundles=bundle, is_committed=False)  # dies before anything is sent
    sealed = one.seal(bob, bundles=bundle)
    assert other.open(to_device(sealed, one, other)).verdict is Verdict.READ
    # A resend is the same bytes: they die in the dedupe table.
    assert other.open(to_device(sealed, one, other)).verdict is Verdict.DUPLICATE


def test_a_resync_serves_the_missing_devices_alone_under_the_same_id() -> None:
    ann, bob, device = people()
    composed = composed_text("x", bob.lid, device)
    sealed = device.seal(bob, composed, wa_id="3EB0FF")
    new = bob.add(7)
    draft = Draft("3EB0FF", bob.lid, bob.pn, composed, NOW_MS)
    keyring = keyring_for(device, [new.lid], bob)
    assert without_session([new.lid], keyring) == [new.lid]
    bundles = {new.lid: new.bundle()}
    again = seal_for_devices(draft, [new.lid], keyring, device.own, bundles=bundles, token=None, entropy=entropy)
    device.commit(keyring)
    assert again.devices == (new.lid,)
    assert outgoing(again).id == outgoing(sealed).id
    assert new.open(deliver(again, device, ann, bob)[new.lid]).verdict is Verdict.READ


# Recipients and what is loaded


def test_recipients_are_in_the_chats_form_without_ourselves_and_named_once() -> None:
    ann, bob, device = people()
    mixed = recipients([bob.pn, bob.pn.with_device(3)], [ann.pn, ann.pn.with_device(1)], device.own, chat=bob.lid)
    assert mixed == [bob.lid, ann.lid, bob.lid.with_device(3)]
    by_number = recipients([bob.pn], ann.jids(), device.own)
    assert by_number == [bob.pn, ann.pn, ann.pn.with_device(2)]
    assert recipients(ann.jids(), ann.jids(), device.own, chat=ann.lid) == [ann.lid, ann.lid.with_device(2)]
    assert recipients([], ann.jids(), device.own) == []
    hosted = Jid(bob.digits, "hosted", 99)
    assert recipients([hosted], [], device.own, chat=bob.lid) == [Jid(bob.lid_digits, "hosted.lid", 99)]


def test_sealing_names_every_key_it_touches() -> None:
    _, bob, device = people()
    devices = [bob.lid, bob.lid.with_device(1)]
    bundles = {jid: bob.devices[jid.device].bundle() for jid in devices}
    wanted = wanted_for_sealing(devices, device.own, chat_pn=bob.pn)
    draft = Draft("1", bob.lid, bob.pn, composed_text("x", bob.lid, device), NOW_MS)
    known = {("lid", bob.digits): bob.lid_digits.encode(), ("pn", bob.lid_digits): bob.digits.encode()}
    touched = sorted(wanted.keys - {("lid", bob.digits)})
    for missing in touched:
        keyring = Keyring()
        keyring.add({name: known.get(name) for name in wanted.keys - {missing}})
        with pytest.raises(KeyNotLoaded) as raised:
            seal(draft, devices, keyring, device.own, bundles=bundles, token=None, entropy=entropy)
        assert raised.value.name == missing
        assert keyring.changes == {}


def test_one_load_is_enough_where_the_number_is_told() -> None:
    _, bob, device = people()
    device.store["lid", bob.digits], device.store["pn", bob.lid_digits] = bob.lid_digits.encode(), bob.digits.encode()
    device.loads = 0
    device.seal(bob)
    assert device.loads == 1


# Our own phone


def test_a_peer_message_reaches_our_phone_as_it_is() -> None:
    ann, _, device = people()
    request = Message()
    request.protocolMessage.type = ProtocolMessage.APP_STATE_SYNC_KEY_REQUEST
    phone, keyring = ann.devices[0], Keyring()
    device.load(keyring, wanted_for_peer(device.own))
    plain = request.SerializeToString()
    with pytest.raises(NoDevices):
        seal_peer(plain, keyring, device.own, "3EB0", entropy=entropy)
    assert keyring.changes == {}
    node = seal_peer(plain, keyring, device.own, "3EB0", bundle=phone.bundle(), entropy=entropy)
    device.commit(keyring)
    message = parse_message(node)
    assert message.direct is not None
    assert (message.to, message.category, message.push_priority) == (ann.pn, "peer", "high")
    assert dict(message.meta) == {"appdata": "default"}
    assert message.device_identity is not None
    assert message.tctoken is None
    delivery = build_delivery(message, source=device.own.pn, unix_t=1, encs=(message.direct,))
    opened = phone.open(delivery)
    assert opened.verdict is Verdict.SILENT
    assert opened.content is not None
    assert opened.content.kind == "app_state_key_request"


def test_a_companion_of_ours_without_proof_gets_no_copy() -> None:
    ann, bob = two_people((0, 1, 2))
    device, invented = ann.devices[1], ann.lid.with_device(2)
    bundles = {jid: person.devices[jid.device].bundle() for person in (ann, bob) for jid in person.jids(person.lid)}
    bundles[invented] = dataclasses.replace(bundles[invented], device_identity=None)
    sealed = device.seal(bob, bundles=bundles)
    assert dict(sealed.skipped) == {invented: FOREIGN_DEVICE}
    assert invented not in sealed.devices
