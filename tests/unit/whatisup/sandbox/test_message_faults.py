"""Each fault of messages, and what the two sides and the queue are like afterwards."""

from __future__ import annotations

import pytest

from tests.unit.whatisup.sandbox.bench import Raw
from tests.unit.whatisup.sandbox.town import ADA, BOB, Town, leave, make_town, messages
from whatisup.control import FaultRequest, Scope
from whatisup.protocol.stanzas.message import parse_envelope
from whatisup.protocol.stanzas.notification import AccountRestricted, read_notification
from whatisup.protocol.stanzas.receipt import build_receipt
from whatisup.sandbox.faults import KINDS, Faults, Moment, Target
from whatisup.sandbox.hub import Ending
from whatisup.wire import Node

BOBS = Scope(BOB, 1)
ADAS = Scope(ADA, 1)


@pytest.fixture
def town() -> Town:
    return make_town()


@pytest.fixture
def bob(town: Town) -> Raw:
    raw = Raw.active(town.bob)
    raw.received()
    return raw


def ids(nodes: list[Node]) -> list[str]:
    return [str(node.attrs["id"]) for node in messages(nodes)]


def test_fault_is_taken_by_name_within_its_scope() -> None:
    faults = Faults(lambda: 0.0)
    faults.arm(FaultRequest("duplicate", BOBS), 0.0)
    assert faults.take("reorder", Target(BOB, 1)) is None
    assert faults.take("duplicate", Target(ADA, 1)) is None
    assert faults.take("duplicate", Target(BOB, 1)) is not None
    assert faults.take("duplicate", Target(BOB, 1)) is None


def test_fault_of_an_account_can_hit_its_phone() -> None:
    faults = Faults(lambda: 0.0)
    faults.arm(FaultRequest("corrupt-mac", Scope(BOB)), 0.0)
    assert faults.take("corrupt-mac", Target(BOB, 0)) is not None


def test_faults_that_are_taken_never_strike_by_moment() -> None:
    taken = [name for name, kind in KINDS.items() if kind.moment is Moment.TAKEN]
    assert {"no-session", "consumed-prekey", "identity-change", "simultaneous", "retry-storm"} <= set(taken)
    faults = Faults(lambda: 0.0)
    for name in taken:
        faults.arm(FaultRequest(name), 0.0)
    for moment in (Moment.HELLO, Moment.ANSWER, Moment.LIVE, Moment.IQ):
        assert list(faults.strike(moment, Target(BOB, 1), 0.0)) == []


def test_drop_after_delivery_hears_no_answer_and_delivers_again(town: Town, bob: Raw) -> None:
    town.arm("drop-after-delivery", BOBS)
    town.route(ADA, 1, town.to_bob())
    assert ids(bob.received()) == ["M1"]
    assert bob.client.ending is Ending.CLOSE
    bob.send(build_receipt(["M1"], town.lid(ADA, 1)))
    assert town.phones.of(ADA, "receipt") == []
    leave(bob)
    assert ids(Raw.active(town.bob).received()) == ["M1"]


def test_drop_after_ack_has_heard_the_answer(town: Town, bob: Raw) -> None:
    town.arm("drop-after-ack", BOBS)
    town.route(ADA, 1, town.to_bob())
    bob.received()
    bob.send(build_receipt(["M1"], town.lid(ADA, 1)))
    assert bob.client.ending is Ending.CLOSE
    assert bob.received() == [], "the ack is not said any more"
    assert len(town.phones.of(ADA, "receipt")) == 1
    leave(bob)
    assert ids(Raw.active(town.bob).received()) == []


def test_drop_before_ack_has_routed_the_message(town: Town, bob: Raw) -> None:
    ada = Raw.active(town.ada)
    ada.received()
    town.arm("drop-before-ack", ADAS)
    ada.send(town.to_bob())
    assert (ada.client.ending, ada.received()) == (Ending.RESET, [])
    assert ids(bob.received()) == ["M1"]
    leave(ada)
    ada = Raw.active(town.ada)
    ada.received()
    ada.send(town.to_bob())
    assert ada.received()[0].attrs["id"] == "M1"
    assert bob.received() == []


def test_duplicate_comes_twice_and_needs_one_answer(town: Town, bob: Raw) -> None:
    town.arm("duplicate", BOBS)
    town.route(ADA, 1, town.to_bob("M1"))
    town.route(ADA, 1, town.to_bob("M2"))
    first, second, _ = received = bob.received()
    assert ids(received) == ["M1", "M1", "M2"]
    assert first == second
    bob.send(build_receipt(["M1"], town.lid(ADA, 1)), build_receipt(["M1"], town.lid(ADA, 1)))
    assert town.waiting(BOB) == 1


def test_reorder_lets_the_next_one_overtake(town: Town, bob: Raw) -> None:
    town.arm("reorder", BOBS)
    town.route(ADA, 1, town.to_bob("M1"))
    assert bob.received() == []
    town.route(ADA, 1, town.to_bob("M2"))
    town.route(ADA, 1, town.to_bob("M3"))
    assert ids(bob.received()) == ["M2", "M1", "M3"]


def test_reorder_waits_no_longer_than_a_tick(town: Town, bob: Raw) -> None:
    town.arm("reorder", BOBS)
    town.route(ADA, 1, town.to_bob("M1"))
    town.bench.server.tick()
    assert ids(bob.received()) == ["M1"]


def test_corrupt_mac_spoils_the_last_byte_for_that_device_alone(town: Town, bob: Raw) -> None:
    town.arm("corrupt-mac", BOBS)
    town.route(ADA, 1, town.to_bob())
    (message,) = messages(bob.received())
    sound = b"hello" + str(town.lid(BOB, 1)).encode()
    spoiled = message.children()[0].bytes_content()
    assert (spoiled[:-1], spoiled[-1]) == (sound[:-1], sound[-1] ^ 1)
    (at_phone,) = town.phones.of(BOB)
    assert at_phone.children()[0].content == b"hello" + str(town.lid(BOB)).encode()


def test_unavailable_has_no_ciphertext(town: Town, bob: Raw) -> None:
    town.arm("unavailable", BOBS)
    town.route(ADA, 1, town.to_bob())
    (message,) = messages(bob.received())
    envelope = parse_envelope(message, own_pn=town.pn(BOB, 1), own_lid=town.lid(BOB, 1))
    assert (envelope.encs, envelope.unavailable) == ((), "plain")


@pytest.mark.parametrize("as_lid", [False, True])
def test_lid_only_hides_the_number(town: Town, bob: Raw, as_lid: bool) -> None:
    town.arm("lid-only", BOBS)
    town.route(ADA, 1, town.to_bob(as_lid=as_lid))
    (message,) = messages(bob.received())
    envelope = parse_envelope(message, own_pn=town.pn(BOB, 1), own_lid=town.lid(BOB, 1))
    assert (envelope.sender, envelope.sender_alt, envelope.pairs) == (town.lid(ADA, 1), None, ())
    assert ADA not in repr(message)


@pytest.mark.parametrize("code", [463, 475, 479, 421])
def test_nack_refuses_one_message_and_delivers_nothing(town: Town, code: int) -> None:
    town.arm(f"nack-{code}", ADAS)
    refused = town.route(ADA, 1, town.to_bob())
    assert refused is not None
    assert refused.attrs["error"] == str(code)
    assert town.phones.delivered == []
    accepted = town.route(ADA, 1, town.to_bob())
    assert accepted is not None
    assert "error" not in accepted.attrs
    assert len(town.phones.of(BOB)) == 1, "an id that was refused is not remembered"


@pytest.mark.parametrize(("code", "kind"), [(463, "reachout_timelock"), (475, "message_capping")])
def test_nack_of_a_limited_account_says_so_to_its_devices(town: Town, code: int, kind: str) -> None:
    town.arm(f"nack-{code}", ADAS)
    town.route(ADA, 1, town.to_bob())
    for device in (town.ada, town.ada2):
        notices = [read_notification(node) for node in Raw.active(device).received() if node.tag == "notification"]
        (restricted,) = [notice for notice in notices if isinstance(notice, AccountRestricted)]
        assert (restricted.kind, restricted.is_active) == (kind, True)


def test_phash_mismatch_says_another_list_though_all_were_reached(town: Town) -> None:
    town.arm("phash-mismatch", ADAS)
    ack = town.route(ADA, 1, town.to_bob())
    assert ack is not None
    assert str(ack.attrs["phash"]).startswith("2:")
    assert (len(town.phones.of(BOB)), town.waiting(BOB)) == (1, 1)
    again = town.route(ADA, 1, town.to_bob())
    assert again is not None
    assert "phash" not in again.attrs


def test_redeliver_all_brings_what_was_answered_once_more(town: Town, bob: Raw) -> None:
    for message_id in ("M1", "M2"):
        town.route(ADA, 1, town.to_bob(message_id))
    first = messages(bob.received())
    bob.send(build_receipt(["M1"], town.lid(ADA, 1)))
    town.arm("redeliver-all", BOBS)
    assert bob.client.ending is Ending.RESET
    leave(bob)
    second = messages(Raw.active(town.bob).received())
    assert sorted(ids(second)) == ["M1", "M2"]
    assert {str(node.attrs["id"]): node.content for node in second} == {
        str(node.attrs["id"]): node.content for node in first
    }


def test_refs_expired_can_name_the_newcomer_by_its_reference(town: Town) -> None:
    one, two = Raw.registering(town.bench, "one"), Raw.registering(town.bench, "two")
    town.arm("refs-expired", Scope(ref=two.client.refs[3]))
    assert (one.client.ending, two.client.ending) == (None, Ending.CLOSE)


@pytest.mark.parametrize("fields", [{"number": BOB, "ref": "x"}, {"device": 1, "ref": "x"}])
def test_scope_is_a_device_or_a_reference(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"no account yet|needs the number"):
        Scope(**fields)  # type: ignore[arg-type]  # as the test says
