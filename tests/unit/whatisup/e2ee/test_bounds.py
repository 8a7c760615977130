"""What a hostile peer may cost us: keys derived for one message of its making, and bytes kept for it."""

from __future__ import annotations

import os

import pytest
from msgspec.structs import replace

from tests.unit.whatisup.e2ee.parties import Device, in_conversation
from whatisup.crypto import generate_keypair
from whatisup.e2ee import chain, create_sender_key, decrypt_group, distribution_message, encrypt_group
from whatisup.e2ee import process_distribution as process
from whatisup.e2ee.chain import MAX_AHEAD, MAX_KEPT
from whatisup.e2ee.cipher import MAX_TRIED, Encrypted
from whatisup.e2ee.envelope import write_whisper
from whatisup.e2ee.record import MAX_ARCHIVED, MAX_ARCHIVED_BYTES
from whatisup.e2ee.sender_key import SenderKeyRecord
from whatisup.errors import E2eeError

SKIPPED_BYTES = MAX_KEPT * 36


def skip(sender: Device, count: int) -> None:
    """Let a device encrypt that many messages which nobody gets."""
    record = sender.record
    assert record is not None
    assert record.session is not None
    sending = record.session.sending
    assert sending is not None
    last = sending.counter + count - 1
    far = sending.after(last, sending.find(last).trail)
    sender.keep(record.advanced(0, replace(record.session, sending=replace(far, kept=b""))))


def skipping(sender: Device) -> Encrypted:
    skip(sender, MAX_AHEAD)
    return sender.send(b"x\1")


@pytest.mark.parametrize("counter", [0, 90, MAX_AHEAD, 2**31])
def test_forged_message_costs_a_bounded_number_of_keys(monkeypatch, counter):
    alice, bob = in_conversation(os.urandom)
    for _ in range(MAX_ARCHIVED + 1):
        alice.start(bob.bundle())
        bob.receive(alice.send(b"x\1"))
    derived = 0
    walk = chain._walk

    def counting(key: bytes, steps: int) -> list[bytes]:
        nonlocal derived
        derived += steps
        return walk(key, steps)

    monkeypatch.setattr(chain, "_walk", counting)
    forged = write_whisper(generate_keypair(os.urandom).public, counter, 0, bytes(32)) + bytes(8)
    with pytest.raises(E2eeError):
        bob.attempt("msg", forged)
    # For each session one more than the counter says.
    assert derived <= MAX_TRIED + MAX_ARCHIVED + 1
    assert (derived > 0) == (counter <= MAX_AHEAD)


def test_forged_message_does_not_hide_the_session_that_is_meant(monkeypatch):
    alice, bob = in_conversation(os.urandom)
    for _ in range(MAX_ARCHIVED):
        alice.start(bob.bundle())
        bob.receive(alice.send(b"x\1"))
    archived = alice.record
    alice.start(bob.bundle())
    bob.receive(alice.send(b"x\1"))
    assert archived is not None
    alice.keep(archived)
    skip(alice, 90)
    assert bob.receive(alice.send(b"y\1")).padded == b"y\1"


def test_skipped_keys_of_a_session_are_bounded_over_its_chains():
    alice, bob = in_conversation(os.urandom)
    for _ in range(7):
        bob.receive(skipping(alice))
        alice.receive(bob.send(b"x\1"))
    assert bob.stored is not None
    assert len(bob.stored) < SKIPPED_BYTES + 2000
    # The youngest are the ones that are kept.
    kept = bob.record.session.receiving[-1].chain.kept_keys
    assert kept == MAX_KEPT


def test_record_is_bounded_however_many_sessions_skip():
    alice, bob = in_conversation(os.urandom)
    for _ in range(5):
        alice.start(bob.bundle())
        bob.receive(skipping(alice))
    assert bob.stored is not None
    assert len(bob.stored) < MAX_ARCHIVED_BYTES + SKIPPED_BYTES + 2000
    assert bob.receive(alice.send(b"still\1")).padded == b"still\1"


def test_sender_keys_are_bounded_however_many_skip():
    theirs = None
    for _ in range(5):
        ours = create_sender_key(os.urandom)
        theirs = process(theirs, distribution_message(ours))
        state = ours.states[0]
        far = state.chain.after(MAX_AHEAD - 1, state.chain.find(MAX_AHEAD - 1).trail)
        message = encrypt_group(SenderKeyRecord((replace(state, chain=replace(far, kept=b"")),)), b"x", os.urandom)[1]
        theirs, _ = decrypt_group(theirs, message)
    assert theirs is not None
    assert len(theirs.encode()) < SKIPPED_BYTES + 2000
    assert SenderKeyRecord.decode(theirs.encode()) == theirs
