"""Whatever a peer puts into a stanza: a verdict comes back, and what was not read has changed nothing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.whatisup.protocol.messaging.parties import Device, Speaker, acquaint, direct, pairwise, two_people
from whatisup.protocol.messaging.opening import Verdict
from whatisup.protocol.stanzas.enc import Enc
from whatisup.wire.message import Message

_KINDS = st.sampled_from(["pkmsg", "msg", "skmsg", "msmsg", "other"])
_GARBAGE = st.lists(st.builds(Enc, _KINDS, st.binary(max_size=120), hide=st.booleans()), max_size=4)


def met() -> tuple[Device, Device, Speaker]:
    ann, bob = two_people((0,))
    one, other = ann.devices[0], bob.devices[0]
    acquaint(one, other)
    speaker = Speaker(one)
    other.open(speaker.node(speaker.pairwise(speaker.skdm(), other)))
    return one, other, speaker


ONE, OTHER, SPEAKER = met()


@settings(max_examples=150, deadline=None)
@given(_GARBAGE, st.booleans())
def test_garbage_is_never_read_and_changes_nothing(encs: list[Enc], is_group: bool) -> None:
    before = dict(OTHER.store)
    node = SPEAKER.node(*encs) if is_group else direct(ONE, OTHER, *encs)
    opened = OTHER.open(node)
    assert opened.verdict in (Verdict.FAILED, Verdict.UNKNOWN)
    assert opened.hashes == ()
    assert OTHER.store == before


_VALID = {
    "msg": pairwise(ONE, OTHER, Message(conversation="hello").SerializeToString()),
    "skmsg": SPEAKER.skmsg("hello"),
}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(_VALID)), st.data())
def test_a_ciphertext_with_one_wrong_bit_is_not_read_and_changes_nothing(kind: str, data: st.DataObject) -> None:
    whole = bytearray(_VALID[kind].ciphertext)
    # The low half of the version byte may say more than what we know how to read.
    place = data.draw(st.integers(1, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    enc = Enc(kind, bytes(whole))
    before = dict(OTHER.store)
    opened = OTHER.open(SPEAKER.node(enc) if kind == "skmsg" else direct(ONE, OTHER, enc))
    assert opened.verdict is not Verdict.READ
    assert opened.hashes == ()
    assert OTHER.store == before


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_plaintext_is_given_a_verdict_and_is_read_once(plaintext: bytes, is_group: bool) -> None:
    one, other, speaker = ONE, OTHER, SPEAKER
    enc = pairwise(one, other, plaintext)
    node = speaker.node(enc) if is_group else direct(one, other, enc)
    opened = other.open(node, is_committed=True)
    assert opened.verdict in (Verdict.READ, Verdict.SILENT, Verdict.FAILED)
    assert len(opened.hashes) == 1
    assert not opened.wants_retry
    assert other.open(node).verdict is Verdict.DUPLICATE
