from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.whatisup.protocol.messaging.parties import Device, acquaint, two_people
from whatisup.e2ee import SessionRecord
from whatisup.jid import Jid, JidError
from whatisup.protocol.credentials import Account, Credentials
from whatisup.protocol.messaging.keyring import (
    KeyNotLoaded,
    Keyring,
    Own,
    Wanted,
    encode_signed_prekey,
    pair_keys,
    wanted_for_device,
)

PN, LID = Jid("15550001", "s.whatsapp.net"), Jid("1000", "lid")
PAIR = {("lid", "15550001"): b"1000", ("pn", "1000"): b"15550001"}


def stored_session() -> bytes:
    ann, bob = two_people((0,))
    acquaint(ann.devices[0], bob.devices[0])
    return ann.devices[0].store["session", "10000000002_1.0"]


def test_what_was_never_loaded_is_named() -> None:
    keyring = Keyring({("session", "1.0"): None})
    assert keyring.get("session", "1.0") is None
    with pytest.raises(KeyNotLoaded) as raised:
        keyring.get("session", "2.0")
    assert raised.value.name == ("session", "2.0")


def test_what_was_never_loaded_may_be_written_and_undone() -> None:
    keyring = Keyring()
    mark = keyring.checkpoint()
    keyring.put("devices", "1@lid", b"x")
    keyring.delete("devices", "2@lid")
    assert keyring.changes == {("devices", "1@lid"): b"x", ("devices", "2@lid"): None}
    assert keyring.get("devices", "1@lid") == b"x"
    keyring.rollback(mark)
    assert keyring.changes == {}
    with pytest.raises(KeyNotLoaded):
        keyring.get("devices", "1@lid")


def test_keys_agree_while_each_reads_as_it_did() -> None:
    read = ((("devices", "1@lid"), b"".join((b"li", b"st"))), (("lid", "1"), None))
    keyring = Keyring({("devices", "1@lid"): b"list", ("lid", "1"): None})
    assert keyring.agrees(read)
    assert keyring.agrees(())
    keyring.put("lid", "1", b"9")
    assert not keyring.agrees(read)
    keyring.delete("lid", "1")
    keyring.put("devices", "1@lid", b"another list")
    assert not keyring.agrees(read)


def test_keys_that_were_never_loaded_agree_with_nothing() -> None:
    keyring = Keyring()
    with pytest.raises(KeyNotLoaded):
        keyring.agrees(((("lid", "1"), None),))
    keyring.add({}, Wanted(prefixes=frozenset({("lid", "")})))
    assert keyring.agrees(((("lid", "1"), None),)), "all of that kind were loaded, and there is none"


def test_an_answer_says_what_does_not_exist() -> None:
    keyring, wanted = Keyring(), Wanted(frozenset({("lid", "1"), ("pn", "2")}), frozenset({("session", "1.")}))
    assert keyring.missing(wanted) == wanted
    keyring.add({("lid", "1"): b"9", ("session", "1.3"): b"r"}, wanted)
    assert keyring.get("pn", "2") is None
    assert keyring.has("session", "1.7")
    assert keyring.get("session", "1.7") is None
    assert keyring.names("session", "1.") == ["1.3"]
    assert not keyring.missing(wanted)
    assert not keyring.has("session", "12.0")
    with pytest.raises(KeyNotLoaded):
        keyring.names("identity", "1.")


def test_what_is_loaded_later_does_not_replace_a_working_copy() -> None:
    keyring = Keyring({("lid", "1"): b"old"})
    keyring.put("lid", "1", b"new")
    keyring.add({("lid", "1"): b"old"})
    assert keyring.get("lid", "1") == b"new"


def test_changes_are_taken_once_and_are_what_differs() -> None:
    keyring = Keyring({("lid", "1"): b"a", ("lid", "2"): b"b", ("lid", "3"): None})
    keyring.put("lid", "1", b"x")
    keyring.delete("lid", "2")
    keyring.delete("lid", "3")
    assert keyring.changes == {("lid", "1"): b"x", ("lid", "2"): None}
    assert keyring.take_changes() == {("lid", "1"): b"x", ("lid", "2"): None}
    assert keyring.changes == {}
    assert keyring.get("lid", "1") == b"x"


_STEPS = st.lists(st.tuples(st.integers(0, 3), st.one_of(st.none(), st.binary(max_size=2))), max_size=12)


@given(_STEPS, _STEPS)
def test_a_rollback_restores_values_and_changes(before: list[tuple[int, bytes | None]], after: list[object]) -> None:
    keyring = Keyring({("lid", str(number)): b"0" if number % 2 else None for number in range(4)})

    def play(steps: list[tuple[int, bytes | None]]) -> None:
        for number, value in steps:
            if value is None:
                keyring.delete("lid", str(number))
            else:
                keyring.put("lid", str(number), value)

    play(before)
    values = [keyring.get("lid", str(number)) for number in range(4)]
    changes = keyring.changes
    mark = keyring.checkpoint()
    play(after)  # type: ignore[arg-type]  # the strategy is the same
    keyring.rollback(mark)
    assert [keyring.get("lid", str(number)) for number in range(4)] == values
    assert keyring.changes == changes


def test_records_are_decoded_once_and_written_as_bytes() -> None:
    stored = stored_session()
    keyring = Keyring({("session", "1.0"): stored, ("session", "2.0"): None, ("session", "3.0"): b"garbage"})
    record = keyring.session("1.0")
    assert record is not None
    assert keyring.session("1.0") is record
    assert keyring.get("session", "1.0") == stored
    assert keyring.session("2.0") is None
    assert keyring.session("3.0") is None  # worth as much as none
    keyring.put_session("2.0", record)
    assert keyring.changes == {("session", "2.0"): stored}
    assert isinstance(keyring.session("2.0"), SessionRecord)


def test_an_unreadable_sender_key_is_none() -> None:
    keyring = Keyring({("sender_key", "g::1.0"): b"garbage", ("sender_key", "g::2.0"): None})
    assert keyring.sender_key("g::1.0") is None
    assert keyring.sender_key("g::2.0") is None


# Names


def test_a_known_lid_names_users_and_devices() -> None:
    keyring = Keyring(PAIR)
    assert keyring.lid_of(PN.with_device(3)) == LID.with_device(3)
    assert keyring.pn_of(LID.with_device(3)) == PN.with_device(3)
    assert keyring.lid_of(LID) == LID
    assert keyring.pn_of(PN) == PN
    assert keyring.lid_of(Jid("1", "g.us")) is None
    assert keyring.canonical(PN) == LID
    assert str(keyring.address(PN.with_device(3))) == "1000_1.3"
    assert str(keyring.address(LID)) == "1000_1.0"
    assert keyring.lid_of(Jid("15550001", "hosted", 99)) == Jid("1000", "hosted.lid", 99)
    with pytest.raises(JidError):
        keyring.address(Jid("1", "g.us"))


def test_an_unknown_user_keeps_the_name_it_came_with() -> None:
    keyring = Keyring({("lid", "15550001"): None, ("pn", "1000"): None})
    assert keyring.canonical(PN) == PN
    assert str(keyring.address(PN)) == "15550001.0"
    assert keyring.pn_of(LID) is None


def test_learning_moves_what_is_loaded() -> None:
    group = "7@g.us::"
    keyring = Keyring(
        {
            ("lid", "15550001"): None,
            ("pn", "1000"): None,
            ("session", "15550001.0"): b"s0",
            ("session", "1000_1.0"): None,
            ("identity", "15550001.0"): b"old",
            ("identity", "1000_1.0"): b"young",
            ("session", "15550001.4"): b"s4",  # its new name was not loaded: it is moved when it is met
            ("sender_key", group + "15550001.0"): b"k",
            ("sender_key", group + "1000_1.0"): None,
            ("session", "155500012.0"): b"another's",
        }
    )
    assert keyring.learn(PN, LID)
    assert not keyring.learn(PN, LID)
    assert keyring.changes == PAIR | {
        ("session", "15550001.0"): None,
        ("session", "1000_1.0"): b"s0",
        ("identity", "15550001.0"): None,
        ("sender_key", group + "15550001.0"): None,
        ("sender_key", group + "1000_1.0"): b"k",
    }
    assert keyring.get("identity", "1000_1.0") == b"young"


def test_another_lid_replaces_the_one_that_was_known() -> None:
    keyring = Keyring(PAIR | {("pn", "2000"): None})
    assert keyring.learn(PN, Jid("2000", "lid"))
    assert keyring.lid_of(PN) == Jid("2000", "lid")


def test_settling_moves_a_leftover() -> None:
    rows = {("session", "15550001.4"): b"s", ("session", "1000_1.4"): None}
    rows |= {("identity", "15550001.4"): None, ("identity", "1000_1.4"): None}
    keyring = Keyring(PAIR | rows)
    assert keyring.settle(PN.with_device(4)) == "1000_1.4"
    assert keyring.changes == {("session", "15550001.4"): None, ("session", "1000_1.4"): b"s"}


def test_our_own_pair_is_known_and_not_kept() -> None:
    keyring = Keyring()
    keyring.pin(PN, LID)
    assert keyring.lid_of(PN) == LID
    assert keyring.pn_of(LID) == PN
    assert not keyring.learn(PN, LID)
    assert keyring.changes == {}


# What is wanted


def test_a_device_of_one_name_asks_for_the_other_and_then_for_what_is_under_it() -> None:
    own = two_people()[0].devices[0].own
    first = wanted_for_device(PN.with_device(2), own)
    assert first.keys == {("session", "15550001.2"), ("identity", "15550001.2"), ("lid", "15550001")}
    keyring = Keyring({name: PAIR.get(name) for name in first.keys})
    second = wanted_for_device(PN.with_device(2), own, keyring)
    both = {(kind, name) for kind in ("session", "identity") for name in ("15550001.2", "1000_1.2")}
    assert second.keys == both | pair_keys(PN, LID)
    assert wanted_for_device(PN.with_device(2), own, other=LID.with_device(2)) == second


def test_an_own_device_has_both_names_from_the_start() -> None:
    own = two_people()[0].devices[1].own
    wanted = wanted_for_device(own.lid.with_device(0), own)
    assert ("session", "10000000001_1.0") in wanted.keys
    assert ("session", "99900000001.0") in wanted.keys
    assert not [name for name in wanted.keys if name[0] in ("lid", "pn")]


def test_questions_add_up() -> None:
    one = Wanted(frozenset({("lid", "1")}), hashes=frozenset({b"1"}))
    two = Wanted(prefixes=frozenset({("session", "1.")}), hashes=frozenset({b"2"}))
    assert one | two == Wanted(one.keys, two.prefixes, frozenset({b"1", b"2"}))
    assert one | two
    assert not Wanted()


# Ourselves


def test_we_are_who_the_stored_state_says() -> None:
    device: Device = two_people()[0].devices[1]
    credentials = Credentials(
        device.own.identity.pair, device.own.identity.pair, device.own.signed_prekey, 77, bytes(32), bytes(32)
    )
    account = Account(device.own.pn, device.own.lid, b"proof", b"k" * 32, 1, "android")
    own = Own.of(credentials, account)
    assert own == dataclasses.replace(
        device.own,
        identity=dataclasses.replace(device.own.identity, registration_id=77),
        signed_device_identity=b"proof",
        account_key=b"k" * 32,
    )
    assert own.is_own(own.pn.with_device(9))
    assert own.is_own(own.lid.normalised)
    assert not own.is_own(PN)
    assert own.is_this_device(own.lid)
    assert not own.is_this_device(own.pn.with_device(0))
    assert own.in_form_of(PN) == own.pn
    assert own.in_form_of(LID) == own.lid
    assert "proof" not in repr(own)


def test_our_prekeys_are_read_as_they_are_kept() -> None:
    own = two_people()[0].devices[1].own
    pair = own.signed_prekey.pair
    rows = {
        ("prekey", "5"): pair.private,
        ("prekey", "6"): None,
        ("skey", "9"): encode_signed_prekey(own.signed_prekey),
    }
    keyring = Keyring({**rows, ("skey", "8"): None})
    assert keyring.prekey(5) == pair
    assert keyring.prekey(6) is None
    assert keyring.signed_prekey(1, own) == pair
    assert keyring.signed_prekey(9, own) == pair
    assert keyring.signed_prekey(8, own) is None
