"""The rules between messages: limits, which session answers, who is trusted, and what uses up a prekey."""

from __future__ import annotations

import os

import pytest
from msgspec.structs import replace

from tests.unit.whatisup.e2ee.parties import Device, in_conversation, two_devices
from whatisup.crypto import generate_keypair
from whatisup.e2ee import (
    OwnIdentity,
    SenderKeyRecord,
    SessionRecord,
    create_sender_key,
    decrypt_group,
    decrypt_message,
    distribution_message,
    encrypt,
    encrypt_group,
    parse_prekey_message,
    process_distribution,
)
from whatisup.errors import (
    BadMac,
    E2eeError,
    FutureMessage,
    InvalidKey,
    InvalidKeyId,
    InvalidSignature,
    NoSenderKey,
    NoSession,
    OldCounter,
)


@pytest.fixture
def talking() -> tuple[Device, Device]:
    return in_conversation(os.urandom)


@pytest.fixture
def strangers() -> tuple[Device, Device]:
    return two_devices(os.urandom)


# Starting


def test_start_refuses_an_unsigned_prekey(strangers):
    alice, bob = strangers
    forged = replace(bob.bundle(), signed_prekey=generate_keypair(os.urandom).public)
    with pytest.raises(InvalidSignature):
        alice.start(forged)
    assert alice.stored is None


@pytest.mark.parametrize("change", [{"prekey": None}, {"prekey_id": None}, {"prekey": bytes(32)}, {"prekey": b"short"}])
def test_start_refuses_a_malformed_bundle(strangers, change):
    alice, bob = strangers
    with pytest.raises(InvalidKey):
        alice.start(replace(bob.bundle(), **change))


def test_start_with_another_identity_drops_the_old_sessions(talking):
    alice, _bob = talking
    reinstalled = Device.fresh(os.urandom)
    alice.start(reinstalled.bundle())
    assert alice.record.remote_identity == reinstalled.own.pair.public
    assert [position for position, _session in alice.record.sessions()] == [0]


def test_start_archives_the_open_session(talking):
    alice, bob = talking
    late = bob.send(b"sent in the old session")
    old_base = alice.record.base_key
    alice.start(bob.bundle())
    assert alice.record.base_key != old_base
    assert alice.send(b"new").kind == "pkmsg"
    assert alice.receive(late).padded == b"sent in the old session"
    assert alice.record.base_key == old_base  # it was promoted


# Records


def test_record_tells_what_retries_ask(strangers):
    alice, bob = strangers
    alice.start(bob.bundle())
    record = alice.record
    assert record.has_open_session
    assert record.remote_registration_id == 2222
    assert record.remote_identity == bob.own.pair.public
    sent = alice.send(b"x")
    assert record.base_key == parse_prekey_message(sent.ciphertext).base_key
    bob.receive(sent)
    assert bob.record.base_key == record.base_key


def test_record_archived_needs_a_new_session(talking):
    alice, bob = talking
    closed = alice.record.archived()
    assert not closed.has_open_session
    assert closed.base_key is closed.remote_registration_id is None
    assert closed.remote_identity == bob.own.pair.public
    with pytest.raises(NoSession):
        encrypt(closed, alice.own, b"x")
    assert decrypt_message(closed, alice.own, bob.send(b"y").ciphertext, entropy=os.urandom).record.has_open_session


@pytest.mark.parametrize("record", [None, SessionRecord()])
def test_record_without_sessions(record, talking):
    alice, bob = talking
    with pytest.raises(NoSession):
        encrypt(record, alice.own, b"x")
    with pytest.raises(NoSession):
        decrypt_message(record, alice.own, bob.send(b"y").ciphertext, entropy=os.urandom)
    assert record is None or record.remote_identity is None


def test_record_round_trip_is_deterministic(talking):
    alice, bob = talking
    for _ in range(3):
        alice.start(bob.bundle())
    record = alice.record
    assert SessionRecord.decode(record.encode()) == record
    assert SessionRecord.decode(record.encode()).encode() == record.encode() == alice.stored


def test_record_shows_no_keys(talking):
    alice, bob = talking
    shown = repr(alice.record) + repr(alice.record.session) + repr(alice.own) + repr(alice.send(b"x"))
    assert alice.own.pair.private.hex() not in shown
    assert alice.record.session.root_key.hex() not in shown
    assert repr(alice.record.session.root_key) not in shown
    del bob


def test_record_keeps_40_archived_sessions(strangers):
    alice, bob = strangers
    sent = []
    for _ in range(42):
        alice.start(bob.bundle())
        sent.append(alice.send(b"x"))
    assert len(list(alice.record.sessions())) == 41
    assert len(alice.record.encode()) < 41 * 320
    for message in sent[:2]:
        bob.receive(message)
        answer = bob.send(b"y")
        if message is sent[0]:
            with pytest.raises(BadMac):  # the session closed first is gone
                alice.receive(answer)
        else:
            assert alice.receive(answer).padded == b"y"


# Prekey messages


def test_prekey_message_that_names_a_prekey_we_lack(strangers):
    alice, bob = strangers
    alice.start(bob.bundle())
    sent = alice.send(b"x")
    kept = bob.prekeys.pop(1)
    with pytest.raises(InvalidKeyId):
        bob.receive(sent)
    bob.prekeys[1] = kept
    assert bob.receive(sent).used_prekey_id == 1
    assert bob.prekeys == {}


def test_prekey_message_that_names_a_signed_prekey_we_lack(strangers):
    alice, bob = strangers
    alice.start(bob.bundle())
    bob.signed.clear()
    with pytest.raises(InvalidKeyId):
        bob.receive(alice.send(b"x"))
    assert bob.stored is None


def test_prekey_message_of_a_known_session_needs_no_prekeys(strangers):
    alice, bob = strangers
    alice.start(bob.bundle())
    bob.receive(alice.send(b"1"))
    bob.signed.clear()
    second = bob.receive(alice.send(b"2"))
    assert (second.padded, second.used_prekey_id) == (b"2", None)


def test_prekey_message_of_an_archived_session_promotes_it(strangers):
    alice, bob = strangers
    alice.start(bob.bundle())
    bob.receive(alice.send(b"1"))
    base_key = bob.record.base_key
    bob.start(alice.bundle())
    assert bob.record.base_key != base_key
    bob.receive(alice.send(b"2"))
    assert bob.record.base_key == base_key


def test_prekey_message_of_a_new_identity_drops_the_sessions(talking):
    alice, bob = talking
    reinstalled = Device.fresh(os.urandom)
    reinstalled.start(bob.bundle())
    late = alice.send(b"from the old one")
    got = bob.receive(reinstalled.send(b"it is me"))
    assert got.identity_changed
    assert got.identity == reinstalled.own.pair.public == bob.record.remote_identity
    with pytest.raises(BadMac):
        bob.receive(late)
    assert not bob.receive(reinstalled.send(b"again")).identity_changed


def test_prekey_message_of_a_new_identity_that_does_not_decrypt_changes_nothing(talking):
    alice, bob = talking
    reinstalled = Device.fresh(os.urandom)
    reinstalled.start(bob.bundle())
    sent = reinstalled.send(b"it is me")
    broken = replace(sent, ciphertext=sent.ciphertext[:-20] + bytes(20))
    before = bob.stored
    with pytest.raises(E2eeError):
        bob.receive(broken)
    assert bob.stored == before
    assert bob.receive(alice.send(b"still here")).padded == b"still here"


def test_prekey_message_on_first_use_is_no_change(strangers):
    alice, bob = strangers
    alice.start(bob.bundle())
    got = bob.receive(alice.send(b"x"))
    assert not got.identity_changed
    assert got.identity == alice.own.pair.public


def test_prekey_message_of_a_known_identity_without_a_record(strangers):
    alice, bob = strangers
    alice.start(bob.bundle())
    bob.peer_identity = generate_keypair(os.urandom).public
    assert bob.receive(alice.send(b"x")).identity_changed


def test_prekey_message_from_somebody_else_under_a_known_base_key(strangers):
    # The header is under no MAC: a base key we know proves nothing about the identity beside it.
    alice, bob = strangers
    alice.start(bob.bundle())
    first = alice.send(b"1")
    bob.receive(first)
    mallory = OwnIdentity(generate_keypair(os.urandom), 3)
    forged = alice.send(b"2").ciphertext.replace(alice.own.pair.public, mallory.pair.public)
    with pytest.raises(E2eeError):
        bob.attempt("pkmsg", forged)


# Limits


def test_limit_of_messages_ahead(talking):
    alice, bob = talking
    bob.receive(alice.send(b"the chain is known"))
    for _ in range(2000):
        alice.send(b"lost")
    last, too_far = alice.send(b"2000 ahead"), alice.send(b"2001 ahead")
    before = bob.stored
    with pytest.raises(FutureMessage):
        bob.receive(too_far)
    assert bob.stored == before
    assert bob.receive(last).padded == b"2000 ahead"
    assert bob.receive(too_far).padded == b"2001 ahead"


def test_limit_of_messages_ahead_of_a_new_chain(talking):
    alice, bob = talking
    for _ in range(2001):
        alice.send(b"lost")
    before = bob.stored
    with pytest.raises(FutureMessage):
        bob.receive(alice.send(b"2001 ahead"))
    assert bob.stored == before


def test_limit_of_kept_keys_drops_the_oldest(talking):
    alice, bob = talking
    oldest, next_to_it = alice.send(b"oldest"), alice.send(b"next")
    for _ in range(1000):
        alice.send(b"lost")
    bob.receive(alice.send(b"1002 are kept"))
    for _ in range(999):
        alice.send(b"lost")
    bob.receive(alice.send(b"and 999 more"))
    with pytest.raises(OldCounter):
        bob.receive(oldest)
    assert bob.receive(next_to_it).padded == b"next"
    assert len(bob.stored) < 75_000


def test_limit_of_chains_drops_the_oldest(talking):
    alice, bob = talking
    late = []
    for _ in range(6):
        late.append(alice.send(b"late"))
        bob.receive(alice.send(b"in time"))
        alice.receive(bob.send(b"turn"))
    for message in late[2:]:
        assert bob.receive(message).padded == b"late"
    with pytest.raises(E2eeError):
        bob.receive(late[0])
    assert len(bob.record.session.receiving) == 5


def test_limit_counts_in_the_session_that_knows_the_chain(talking):
    # A message far along in an archived session is not "too far ahead" because the open session knows nothing of it.
    alice, bob = talking
    bob.receive(alice.send(b"0"))
    for _ in range(1500):
        alice.send(b"lost")
    bob.receive(alice.send(b"1500"))
    for _ in range(1500):
        alice.send(b"lost")
    bob.start(alice.bundle())
    assert bob.receive(alice.send(b"3000")).padded == b"3000"


# Sender keys


def test_sender_key_of_nobody():
    record, message = encrypt_group(create_sender_key(os.urandom), b"x", os.urandom)
    with pytest.raises(NoSenderKey):
        decrypt_group(None, message)
    with pytest.raises(NoSenderKey):
        decrypt_group(process_distribution(None, distribution_message(create_sender_key(os.urandom))), message)
    del record


def test_sender_key_forged_signature_leaves_the_chain():
    ours = create_sender_key(os.urandom)
    theirs = process_distribution(None, distribution_message(ours))
    _ours, message = encrypt_group(ours, b"x", os.urandom)
    other = create_sender_key(os.urandom).states[0]
    forger = SenderKeyRecord((replace(other, key_id=ours.key_id, chain=ours.states[0].chain),))
    _forger, forged = encrypt_group(forger, b"x", os.urandom)
    with pytest.raises(InvalidSignature):
        decrypt_group(theirs, forged)
    assert decrypt_group(theirs, message)[1] == b"x"


def test_sender_key_given_again_is_not_set_back():
    ours = create_sender_key(os.urandom)
    given = distribution_message(ours)
    theirs = process_distribution(None, given)
    _ours, message = encrypt_group(ours, b"x", os.urandom)
    theirs, _padded = decrypt_group(theirs, message)
    theirs = process_distribution(theirs, given)
    with pytest.raises(OldCounter):
        decrypt_group(theirs, message)


def test_sender_key_of_the_same_id_and_another_signer_replaces():
    ours = create_sender_key(os.urandom)
    theirs = process_distribution(None, distribution_message(ours))
    renewed = SenderKeyRecord((replace(create_sender_key(os.urandom).states[0], key_id=ours.key_id),))
    theirs = process_distribution(theirs, distribution_message(renewed))
    assert len(theirs.states) == 1
    assert decrypt_group(theirs, encrypt_group(renewed, b"x", os.urandom)[1])[1] == b"x"


def test_sender_keys_are_5_at_most():
    ours = [create_sender_key(os.urandom) for _ in range(6)]
    theirs = None
    for record in ours:
        theirs = process_distribution(theirs, distribution_message(record))
    assert theirs is not None
    assert theirs.key_id == ours[-1].key_id
    for record in ours[1:]:
        assert decrypt_group(theirs, encrypt_group(record, b"x", os.urandom)[1])[1] == b"x"
    with pytest.raises(NoSenderKey):
        decrypt_group(theirs, encrypt_group(ours[0], b"x", os.urandom)[1])


@pytest.mark.parametrize(("ahead", "refused"), [(2000, False), (2001, True)])
def test_sender_key_limit_ahead(ahead, refused):
    ours = create_sender_key(os.urandom)
    theirs = process_distribution(None, distribution_message(ours))
    state = ours.states[0]
    far = state.chain.after(ahead - 1, state.chain.find(ahead - 1).trail)
    message = encrypt_group(SenderKeyRecord((replace(state, chain=far),)), b"x", os.urandom)[1]
    if refused:
        with pytest.raises(FutureMessage):
            decrypt_group(theirs, message)
    else:
        theirs, padded = decrypt_group(theirs, message)
        assert padded == b"x"
        assert SenderKeyRecord.decode(theirs.encode()) == theirs


def test_sender_key_of_another_device_does_not_send():
    theirs = process_distribution(None, distribution_message(create_sender_key(os.urandom)))
    with pytest.raises(NoSenderKey):
        encrypt_group(theirs, b"x", os.urandom)


def test_errors_carry_what_a_retry_receipt_says():
    codes = {error.slug: error.retry_code for error in E2eeError.__subclasses__()}
    assert codes == {
        "no_session": 1,
        "invalid_key": 2,
        "invalid_key_id": 3,
        "invalid_message": 4,
        "invalid_signature": 5,
        "future_message": 6,
        "bad_mac": 7,
        "invalid_record": 8,
        "old_counter": 9,
        "no_sender_key": 1,
    }
