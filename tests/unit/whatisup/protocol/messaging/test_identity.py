from __future__ import annotations

import pytest

from tests.unit.whatisup.protocol.messaging.parties import Device, Person, acquaint, two_people
from whatisup.jid import Jid
from whatisup.protocol.messaging.devices import DeviceListEntry
from whatisup.protocol.messaging.identity import forget_devices, forget_user, wanted_for_user
from whatisup.protocol.messaging.keyring import KeyNotLoaded, Keyring
from whatisup.protocol.messaging.sealing import wanted_for_sealing


def acquainted() -> tuple[Person, Device]:
    ann, bob = two_people((0, 1))
    us = bob.devices[1]
    for device in ann.devices.values():
        acquaint(device, us)
    us.store["devices", str(ann.lid)] = DeviceListEntry(((0, None), (1, 1)), 0).encode()
    us.store["session", "10000000001_1.7"] = us.store["session", "10000000001_1.0"]
    us.store["session", "99900000001.5"] = us.store["session", "10000000001_1.0"]
    acquaint(Person("99900000003", "10000000003").add(0), us)
    acquaint(Person("999000000012", "100000000012").add(0), us)  # whose names begin like hers
    return ann, us


def loaded(us: Device, user: Jid) -> Keyring:
    keyring = Keyring()
    for _ in range(2):
        us.load(keyring, wanted_for_user(user, us.own, keyring))
    return keyring


@pytest.mark.parametrize("is_by_number", [False, True])
def test_everything_of_a_user_goes_and_nothing_of_others(is_by_number: bool) -> None:
    ann, us = acquainted()
    user = ann.pn if is_by_number else ann.lid
    keyring = loaded(us, user)
    assert forget_user(user, keyring, us.own)
    before = set(us.store)
    us.commit(keyring)
    gone = before - set(us.store)
    assert {name for kind, name in gone if kind == "session"} == {
        "10000000001_1.0",
        "10000000001_1.1",
        "10000000001_1.7",
        "99900000001.5",
    }
    assert {name for kind, name in gone if kind == "identity"} == {"10000000001_1.0", "10000000001_1.1"}
    assert ("devices", str(ann.lid)) in gone
    assert ("lid", ann.digits) in us.store
    assert ("session", "10000000003_1.0") in us.store
    assert not forget_user(user, loaded(us, user), us.own)


def test_the_same_name_told_twice_is_asked_about_as_one() -> None:
    ann, us = acquainted()
    keyring = Keyring()
    for _ in range(2):
        us.load(keyring, wanted_for_user(ann.lid, us.own, keyring, other=ann.lid))
    assert forget_user(ann.lid, keyring, us.own)


def test_one_load_is_enough_where_both_names_are_told() -> None:
    ann, us = acquainted()
    keyring = Keyring()
    us.load(keyring, wanted_for_user(ann.pn, us.own, other=ann.lid))
    assert forget_user(ann.pn, keyring, us.own)


def test_what_was_not_loaded_is_not_forgotten_by_half() -> None:
    ann, us = acquainted()
    keyring = Keyring()
    us.load(keyring, wanted_for_user(ann.lid, us.own))  # once, where it takes twice
    with pytest.raises(KeyNotLoaded):
        forget_user(ann.lid, keyring, us.own)
    assert keyring.changes == {}


def test_our_own_account_and_what_is_no_user_stay() -> None:
    _, us = acquainted()
    for user in (us.own.pn, us.own.lid.normalised, Jid("1", "g.us")):
        assert not wanted_for_user(user, us.own)
        assert not forget_user(user, Keyring(), us.own)


def test_a_device_that_is_gone_is_forgotten_alone() -> None:
    ann, us = acquainted()
    keyring = Keyring()
    gone = ann.lid.with_device(1)
    for _ in range(2):
        us.load(keyring, wanted_for_sealing([gone], us.own, keyring))
    forget_devices([gone], keyring)
    us.commit(keyring)
    assert ("session", "10000000001_1.1") not in us.store
    assert ("identity", "10000000001_1.1") not in us.store
    assert ("session", "10000000001_1.0") in us.store
