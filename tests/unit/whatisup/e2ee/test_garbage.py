"""What is cut, flipped or made up gives one of the typed errors and leaves the record as it was."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.whatisup.e2ee.parties import Device, in_conversation
from whatisup.e2ee import (
    SenderKeyRecord,
    SessionRecord,
    create_sender_key,
    decrypt_group,
    distribution_message,
    encrypt_group,
    parse_prekey_message,
    process_distribution,
    unpad,
)
from whatisup.errors import E2eeError, InvalidRecord

TEXT = b"a message of some length\4\4\4\4"
ALICE, BOB = in_conversation(random.Random(3).randbytes)
NEWCOMER = Device.fresh(random.Random(4).randbytes)
NEWCOMER.start(BOB.bundle())
BOB_ALONE = Device(BOB.entropy, BOB.own, BOB.signed, BOB.prekeys)
MESSAGE, FIRST = ALICE.send(TEXT), NEWCOMER.send(TEXT)
OURS = create_sender_key(os.urandom)
DISTRIBUTION = distribution_message(OURS)
THEIRS = process_distribution(None, DISTRIBUTION)
GROUP_MESSAGE = encrypt_group(OURS, TEXT, os.urandom)[1]


def attempt(device: Device, kind: str, data: bytes) -> bytes | None:
    """The plaintext, or None for a typed error; whatever comes, the device is as before."""
    before = device.stored
    try:
        padded = device.attempt(kind, data).padded
    except E2eeError:
        padded = None
    assert device.stored == before
    return padded


def attempt_group(data: bytes) -> bytes | None:
    before = THEIRS.encode()
    try:
        padded = decrypt_group(THEIRS, data)[1]
    except E2eeError:
        padded = None
    assert THEIRS.encode() == before
    return padded


def flipped(data: bytes, bit: int) -> bytes:
    at = bit // 8 % len(data)
    return data[:at] + bytes((data[at] ^ 1 << bit % 8,)) + data[at + 1 :]


def test_garbage_is_not_what_the_originals_are():
    assert attempt(BOB, "msg", MESSAGE.ciphertext) == TEXT
    assert attempt(BOB_ALONE, "pkmsg", FIRST.ciphertext) == TEXT
    assert attempt_group(GROUP_MESSAGE) == TEXT


def test_garbage_truncated():
    for end in range(len(MESSAGE.ciphertext)):
        assert attempt(BOB, "msg", MESSAGE.ciphertext[:end]) is None
    for end in range(len(FIRST.ciphertext)):
        # Protobuf fields may come in any order: without its last ones the header is incomplete, never another message.
        assert attempt(BOB_ALONE, "pkmsg", FIRST.ciphertext[:end]) is None
    for end in range(len(GROUP_MESSAGE)):
        assert attempt_group(GROUP_MESSAGE[:end]) is None


@settings(max_examples=300, deadline=None)
@given(bit=st.integers(8, 8 * len(MESSAGE.ciphertext) - 1))
def test_garbage_message_with_a_flipped_bit(bit):
    assert attempt(BOB, "msg", flipped(MESSAGE.ciphertext, bit)) is None


@settings(max_examples=300, deadline=None)
@given(bit=st.integers(0, 8 * len(FIRST.ciphertext) - 1))
def test_garbage_prekey_message_with_a_flipped_bit(bit):
    # The registration id and parts of the protobuf around the inner message are under no MAC: those may change.
    assert attempt(BOB_ALONE, "pkmsg", flipped(FIRST.ciphertext, bit)) in (None, TEXT)


@settings(max_examples=150, deadline=None)
@given(bit=st.integers(0, 8 * len(GROUP_MESSAGE) - 1))
def test_garbage_group_message_with_a_flipped_bit(bit):
    assert attempt_group(flipped(GROUP_MESSAGE, bit)) is None


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200) | st.binary(max_size=200).map(lambda data: b"\x33" + data))
def test_garbage_made_up(data):
    assert attempt(BOB, "msg", data) is None
    assert attempt(BOB, "pkmsg", data) is None
    assert attempt_group(data) is None
    for read in (parse_prekey_message, lambda data: process_distribution(None, data), unpad):
        try:
            read(data)
        except E2eeError:
            continue


@settings(max_examples=200, deadline=None)
@given(bit=st.integers(0, 8 * len(DISTRIBUTION) - 1))
def test_garbage_distribution_with_a_flipped_bit(bit):
    try:
        record = process_distribution(THEIRS, flipped(DISTRIBUTION, bit))
    except E2eeError:
        return
    assert SenderKeyRecord.decode(record.encode()) == record


@pytest.mark.parametrize("decode", [SessionRecord.decode, SenderKeyRecord.decode])
@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=600) | st.binary(max_size=600).map(lambda data: b"\x01" + data))
def test_garbage_record_made_up(decode, data):
    try:
        decode(data)
    except InvalidRecord:
        return


def test_garbage_record_truncated():
    assert BOB.stored is not None
    for end in range(len(BOB.stored)):
        with pytest.raises(InvalidRecord):
            SessionRecord.decode(BOB.stored[:end])
    stored = OURS.encode()
    for end in range(len(stored)):
        with pytest.raises(InvalidRecord):
            SenderKeyRecord.decode(stored[:end])


def test_garbage_key_that_gives_no_secret():
    body = bytearray(MESSAGE.ciphertext)
    body[4:36] = bytes(32)
    assert attempt(BOB, "msg", bytes(body)) is None
