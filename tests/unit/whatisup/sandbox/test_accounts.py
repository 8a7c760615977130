from __future__ import annotations

from whatisup.jid import Jid
from whatisup.sandbox.accounts import device_hash, lid_from, next_device, number_and_lid_of_name, number_from


def test_next_device_is_the_smallest_unused() -> None:
    assert next_device([]) == 1
    assert next_device([1, 2, 4]) == 3


def test_next_device_ends_below_the_hosted_ones() -> None:
    assert next_device(range(1, 98)) == 98
    assert next_device(range(1, 99)) is None


def test_number_is_of_no_country_and_twelve_digits_long() -> None:
    for data in (bytes(8), b"\xff" * 8, (10**9 - 1).to_bytes(8, "big")):
        number = number_from(data)
        assert number.startswith("999")
        assert len(number) == 12
        assert number.isdigit()


def test_hidden_id_has_fifteen_digits() -> None:
    assert lid_from(bytes(8)) == "100000000000000"
    assert len(lid_from(b"\xff" * 8)) == 15


def test_push_name_rule_as_the_end_to_end_suite_needs_it() -> None:
    # The digits were computed apart from this code, from SHA-256("Ada").
    assert number_and_lid_of_name(b"Ada") == ("999290942651", "152759779203442")
    assert number_and_lid_of_name(b"Bob") != number_and_lid_of_name(b"Ada")


def test_device_hash_ignores_the_order_and_sees_every_device() -> None:
    phone, one, two = (Jid("999000000001", "s.whatsapp.net", device) for device in (0, 1, 2))
    assert device_hash([phone, one, two]) == device_hash([two, phone, one])
    assert device_hash([phone, one]) != device_hash([phone, two])
    assert device_hash([phone]).startswith("2:")
    assert len(device_hash([phone])) == len("2:") + 8
