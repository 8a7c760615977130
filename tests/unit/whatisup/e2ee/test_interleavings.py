"""Whatever two devices do and the network does to them: each message is read at most once, no key is used twice."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.whatisup.e2ee.parties import Device, two_devices
from whatisup.e2ee import (
    Encrypted,
    SenderKeyRecord,
    create_sender_key,
    decrypt_group,
    distribution_message,
    encrypt_group,
    process_distribution,
)
from whatisup.e2ee.session import MAX_RECEIVING
from whatisup.errors import BadMac, E2eeError, OldCounter

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 1)),
        st.tuples(st.just("deliver"), st.integers(0, 1), st.integers(0, 9)),
        st.tuples(st.just("deliver"), st.integers(0, 1), st.integers(0, 1)),
        st.tuples(st.just("again"), st.integers(0, 1), st.integers(0, 30)),
        st.tuples(st.just("lose"), st.integers(0, 1), st.integers(0, 9)),
        st.tuples(st.just("renew"), st.integers(0, 1), st.booleans()),
        st.tuples(st.just("close"), st.integers(0, 1)),
    ),
    max_size=60,
)


MAX_RENEWALS = 15  # of each side, so that no record drops a session


@dataclass
class Sent:
    """A message under way: its text, and the sender's session and ratchet key at that time."""

    text: bytes
    made: Encrypted
    base_key: bytes
    ratchet: bytes


@dataclass
class Side:
    """A device with what is under way to it and what it has read."""

    device: Device
    under_way: list[Sent] = field(default_factory=list)
    read: list[Sent] = field(default_factory=list)
    spent: set[bytes] = field(default_factory=set)
    ratchets: dict[bytes, list[bytes]] = field(default_factory=dict)
    renewals: int = 0


@dataclass
class World:
    """Two sides and a network that obeys the steps."""

    sides: tuple[Side, Side]
    texts: Iterator[int] = field(default_factory=itertools.count)

    def send(self, who: int) -> None:
        sender, peer = self.sides[who], self.sides[1 - who]
        record = sender.device.record
        if record is None or not record.has_open_session:
            self.start(who, one_time=True)
        record = sender.device.record
        assert record is not None
        assert record.session is not None
        assert record.session.sending is not None
        # The chain key gives the message's AES key, MAC key and IV, and nothing else does.
        chain_key = record.session.sending.key
        assert chain_key is not None
        assert chain_key not in sender.spent
        sender.spent.add(chain_key)
        text = b"message %d of %d" % (next(self.texts), who)
        session = record.session
        ratchets = sender.ratchets.setdefault(session.base_key, [])
        if session.ratchet.public not in ratchets:
            ratchets.append(session.ratchet.public)
        sent = Sent(text, sender.device.send(text), session.base_key, session.ratchet.public)
        peer.under_way.append(sent)

    def deliver(self, who: int, number: int) -> None:
        side = self.sides[who]
        if not side.under_way:
            return
        sent = side.under_way.pop(number % len(side.under_way))
        if self.is_beyond_the_chains(1 - who, sent):
            with suppress(BadMac):
                side.device.receive(sent.made)
            return
        assert side.device.receive(sent.made).padded == sent.text
        side.read.append(sent)

    def is_beyond_the_chains(self, sender: int, sent: Sent) -> bool:
        """Whether the sender has turned its ratchet so often since that the chain may be one too many."""
        ratchets = self.sides[sender].ratchets[sent.base_key]
        return len(ratchets) - 1 - ratchets.index(sent.ratchet) >= MAX_RECEIVING

    def again(self, who: int, number: int) -> None:
        side = self.sides[who]
        if not side.read:
            return
        sent = side.read[number % len(side.read)]
        before = side.device.stored
        with pytest.raises((BadMac, OldCounter) if self.is_beyond_the_chains(1 - who, sent) else OldCounter):
            side.device.receive(sent.made)
        assert side.device.stored == before

    def lose(self, who: int, number: int) -> None:
        if under_way := self.sides[who].under_way:
            under_way.pop(number % len(under_way))

    def renew(self, who: int, one_time: bool) -> None:
        if self.may_renew(who):
            self.start(who, one_time)

    def start(self, who: int, one_time: bool) -> None:
        self.sides[who].device.start(self.sides[1 - who].device.bundle(one_time=one_time))

    def close(self, who: int) -> None:
        device = self.sides[who].device
        if (record := device.record) is not None and self.may_renew(who):
            device.keep(record.archived())

    def may_renew(self, who: int) -> bool:
        self.sides[who].renewals += 1
        return self.sides[who].renewals <= MAX_RENEWALS


@settings(max_examples=200, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 2**32))
def test_interleavings_of_two_devices(steps, seed):
    world = World(tuple(Side(device) for device in two_devices(random.Random(seed).randbytes)))
    for name, *arguments in steps:
        getattr(world, name)(*arguments)
    for who in (0, 1):  # what is left arrives backwards, and all of it twice
        while world.sides[who].under_way:
            world.deliver(who, len(world.sides[who].under_way) - 1)
        for number in range(len(world.sides[who].read)):
            world.again(who, number)
    for who in (0, 1, 0):  # and they can still talk, in one session
        world.send(who)
        world.deliver(1 - who, 0)
    records = [side.device.record for side in world.sides]
    assert all(record is not None and record.has_open_session for record in records)
    assert records[0].base_key == records[1].base_key


@settings(max_examples=60, deadline=None)
@given(order=st.lists(st.integers(0, 30), max_size=60), lost=st.sets(st.integers(0, 30)), seed=st.integers(0, 2**32))
def test_interleavings_of_group_messages(order, lost, seed):
    entropy = random.Random(seed).randbytes
    ours = create_sender_key(entropy)
    theirs = process_distribution(None, distribution_message(ours))
    sent = []
    for number in range(31):
        ours, message = encrypt_group(SenderKeyRecord.decode(ours.encode()), b"%d" % number, entropy)
        sent.append(message)
    read = set()
    for number in (number for number in order if number not in lost):
        theirs = SenderKeyRecord.decode(theirs.encode())
        if number in read:
            with pytest.raises(OldCounter):
                decrypt_group(theirs, sent[number])
        else:
            theirs, padded = decrypt_group(theirs, sent[number])
            assert padded == b"%d" % number
            read.add(number)
    for number in set(range(31)) - read:
        theirs, padded = decrypt_group(theirs, sent[number])
        assert padded == b"%d" % number


def test_interleavings_leave_no_key_of_a_read_message():
    alice, bob = two_devices(random.Random(1).randbytes)
    alice.start(bob.bundle())
    record = alice.record
    assert record is not None
    assert record.session is not None
    assert record.session.sending is not None
    first_key = record.session.sending.key
    bob.receive(alice.send(b"read"))
    assert first_key is not None
    for device in (alice, bob):
        assert device.stored is not None
        assert first_key not in device.stored


def test_interleavings_of_a_record_that_was_rolled_back_read_nothing_new_twice():
    # The caller's part of the bargain: what was not committed did not happen, and redelivery works.
    alice, bob = two_devices(random.Random(2).randbytes)
    alice.start(bob.bundle())
    sent = alice.send(b"once")
    got = bob.attempt(sent.kind, sent.ciphertext)
    assert got.padded == b"once"
    assert bob.stored is None
    assert bob.receive(sent).padded == b"once"
    with pytest.raises(E2eeError):
        bob.receive(sent)
