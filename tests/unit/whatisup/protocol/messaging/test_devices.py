from __future__ import annotations

import pytest

from whatisup.errors import LocalProtocolError
from whatisup.jid import Jid
from whatisup.protocol.content.ids import phash
from whatisup.protocol.messaging.devices import FRESH_MS, DeviceListEntry, devices_key
from whatisup.protocol.messaging.tokens import TokenEntry
from whatisup.protocol.stanzas.notification import DevicesChanged, OwnDevicesChanged
from whatisup.protocol.stanzas.tokens import BUCKET_S
from whatisup.protocol.stanzas.usync import UserDevices

PN, LID = Jid("15550001", "s.whatsapp.net"), Jid("1000", "lid")
ENTRY = DeviceListEntry(((0, None), (3, 1)), 1000, "2:abc")


def hash_of(user: Jid, *devices: int) -> str:
    return phash([user.with_device(device) for device in devices])


def test_a_list_is_kept_and_read_back() -> None:
    assert DeviceListEntry.decode(ENTRY.encode()) == ENTRY
    assert DeviceListEntry.of(UserDevices(PN, LID, ((0, None),), "2:x"), 5) == DeviceListEntry(((0, None),), 5, "2:x")
    assert DeviceListEntry.of(OwnDevicesChanged(PN, ((0, None),), "2:y"), 5).hash == "2:y"
    for garbage in (b"", b"\xff", ENTRY.encode() + b"x", b"\x93\x01\x02\x03"):
        with pytest.raises(LocalProtocolError):
            DeviceListEntry.decode(garbage)


def test_a_list_ages() -> None:
    assert ENTRY.is_fresh(1000)
    assert ENTRY.is_fresh(1000 + FRESH_MS)
    assert not ENTRY.is_fresh(1001 + FRESH_MS)
    assert not ENTRY.is_fresh(999)


def test_devices_are_named_in_the_users_form() -> None:
    assert ENTRY.jids(LID) == (LID, LID.with_device(3))
    assert devices_key(LID.with_device(3)) == ("devices", "1000@lid")


def test_a_device_is_added_where_the_hash_agrees() -> None:
    change = DevicesChanged(PN, LID, "add", ((7, 2),), hash_of(PN, 0, 3, 7), hash_of(LID, 0, 3, 7))
    changed = ENTRY.changed(change)
    assert changed == DeviceListEntry(((0, None), (3, 1), (7, 2)), 1000, change.device_hash)
    assert changed is not None
    assert changed.changed(change) == changed  # told twice


def test_a_device_is_removed_where_the_hash_agrees() -> None:
    change = DevicesChanged(PN, None, "remove", ((3, None),), hash_of(PN, 0))
    assert ENTRY.changed(change) == DeviceListEntry(((0, None),), 1000, change.device_hash)


@pytest.mark.parametrize(
    "change",
    [
        DevicesChanged(PN, LID, "add", ((7, 2),), "2:other"),
        DevicesChanged(PN, LID, "add", ((7, 2),), hash_of(PN, 0, 3, 7), "2:other"),
        DevicesChanged(PN, LID, "add", ((7, 2),)),
        DevicesChanged(PN, LID, "update", (), hash_of(PN, 0, 3)),
        DevicesChanged(PN, LID, "remove", (), hash_of(PN, 0, 3)),
    ],
)
def test_a_change_that_does_not_fit_drops_the_list(change: DevicesChanged) -> None:
    assert ENTRY.changed(change) is None


# Tokens


def test_a_token_is_kept_and_read_back() -> None:
    entry = TokenEntry(b"token", 5, 7)
    assert TokenEntry.decode(entry.encode()) == entry
    assert TokenEntry.decode(TokenEntry().encode()) == TokenEntry()
    assert "token" not in repr(entry).removeprefix("TokenEntry")
    for garbage in (b"", b"\x01", b"\x93\x01\x02\x03"):
        with pytest.raises(LocalProtocolError):
            TokenEntry.decode(garbage)


def test_a_token_is_good_for_four_buckets_and_ours_is_due_in_each() -> None:
    entry = TokenEntry(b"token", t=10 * BUCKET_S, issued_at=10 * BUCKET_S + 5)
    assert entry.usable(14 * BUCKET_S - 1) == b"token"
    assert entry.usable(14 * BUCKET_S) is None
    assert TokenEntry().usable(1) is None
    assert not entry.is_issue_due(11 * BUCKET_S - 1)
    assert entry.is_issue_due(11 * BUCKET_S)
    assert TokenEntry().is_issue_due(1)
    assert entry.issued(12 * BUCKET_S).issued_at == 12 * BUCKET_S


def test_a_younger_token_replaces_an_older_one() -> None:
    entry = TokenEntry().received(b"one", 5)
    assert entry == TokenEntry(b"one", 5)
    assert entry.received(b"old", 4) == entry
    assert entry.received(b"two", 6) == TokenEntry(b"two", 6)
