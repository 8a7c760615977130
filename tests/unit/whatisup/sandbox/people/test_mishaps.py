"""What goes wrong on a phone when a test says so, and how it ends: nothing lost, and nothing read twice unasked."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.whatisup.sandbox.people.companion import Companion, link, together
from tests.unit.whatisup.sandbox.people.town import ADA, BOB, Town, make_town
from whatisup.jid import Jid
from whatisup.protocol.messaging.opening import Verdict
from whatisup.sandbox.people import mishaps, writing
from whatisup.wire import Node


@pytest.fixture
def town() -> Town:
    return make_town()


@pytest.fixture
def device(town: Town) -> Companion:
    """Ada's companion, which has talked with Bob."""
    device = link(town, ADA)
    device.say(town.turn(BOB), BOB, "hello")
    together(town, device)
    town.say(BOB, ADA, "hello yourself")
    together(town, device)
    device.opened.clear()
    return device


def kinds(device: Companion) -> list[str]:
    """What sorts of ciphertext came."""
    return [enc.kind for opened in device.opened for enc in opened.envelope.encs]


def test_without_mishap_nothing_starts_a_session_anew(town: Town, device: Companion) -> None:
    town.say(BOB, ADA, "on we go")
    together(town, device)
    assert kinds(device) == ["msg"]


def test_lost_session_is_started_anew_by_the_writer(town: Town, device: Companion) -> None:
    town.arm("no-session", BOB)
    town.say(BOB, ADA, "who are you")
    together(town, device)
    assert kinds(device) == ["pkmsg"]
    assert device.texts() == ["who are you"]


def test_lost_session_is_asked_about_by_the_reader(town: Town, device: Companion) -> None:
    town.arm("no-session", BOB)
    sent = device.say(town.turn(BOB), BOB, "once more")
    together(town, device)
    row = town.received(BOB)[-1]
    assert (row.id, row.verdict, row.reason) == (sent, "undecryptable", "no_session")
    (asked,) = [receipt for receipt in device.receipts if receipt.kind == "retry"]
    assert asked.retry is not None
    assert asked.retry.error == 1


def test_prekey_that_was_used_cannot_be_used_again(town: Town, device: Companion) -> None:
    town.arm("consumed-prekey", BOB)
    town.say(BOB, ADA, "with a stale key")
    together(town, device)
    assert device.opened[0].verdict is Verdict.FAILED
    assert device.opened[0].failure is not None
    assert device.opened[0].failure.retry_code == 3
    assert device.texts() == ["with a stale key"]


def test_writing_at_the_same_time_loses_nothing_on_either_side(town: Town, device: Companion) -> None:
    town.arm("simultaneous", BOB)
    device.say(town.turn(BOB), BOB, "first")
    together(town, device)
    assert device.texts() == ["simultaneous"]
    assert kinds(device) == ["pkmsg"]
    device.say(town.turn(BOB), BOB, "second")
    together(town, device)
    town.say(BOB, ADA, "third")
    together(town, device)
    assert device.texts() == ["simultaneous", "third"]
    assert town.texts(BOB) == ["hello", "first", "second"]


def test_new_keys_strike_when_a_message_arrives(town: Town, device: Companion) -> None:
    before = town.bench.server.pairing.account(BOB)
    town.arm("identity-change", BOB)
    device.say(town.turn(BOB), BOB, "to the old you")
    together(town, device)
    after = town.bench.server.pairing.account(BOB)
    assert before.identity.public != after.identity.public
    assert before.registration_id != after.registration_id
    assert town.received(BOB)[-1].verdict == "undecryptable"
    town.say(BOB, ADA, "it is me")
    together(town, device)
    assert device.texts() == ["it is me"]


def test_storm_asks_ten_times_and_reads_nothing_unasked(town: Town, device: Companion) -> None:
    town.arm("retry-storm", BOB)
    sent = device.say(town.turn(BOB), BOB, "what?")
    together(town, device)
    asked = [receipt.retry for receipt in device.receipts if receipt.retry is not None]
    assert [retry.count for retry in asked] == list(range(1, mishaps.STORM + 1))
    assert [retry.keys is not None for retry in asked] == [False] + [True] * (mishaps.STORM - 1)
    (row,) = [row for row in town.received(BOB) if row.id == sent]
    assert (row.verdict, row.reason) == ("undecryptable", "retry-storm")


def test_phone_gives_up_asking_after_five_times(town: Town) -> None:
    town.arm("corrupt-mac", BOB, times=100)
    sent = town.say(ADA, BOB, "garbled")
    rows = town.received(BOB)
    assert [(row.id, row.verdict, row.count) for row in rows] == [(sent, "undecryptable", n) for n in range(6)]
    assert len({row.ciphertext_sha256 for row in rows}) == 6


def test_message_that_was_broken_once_is_read_when_it_comes_again(town: Town) -> None:
    town.say(ADA, BOB, "one")
    town.arm("corrupt-mac", BOB)
    sent = town.say(ADA, BOB, "two")
    assert [(row.verdict, row.count) for row in town.received(BOB) if row.id == sent] == [
        ("undecryptable", 0),
        ("read", 1),
    ]
    assert (BOB, 0, "delivered") in town.receipts(ADA, sent)


def test_second_ciphertext_that_nobody_asked_for_shows_as_read_twice(town: Town) -> None:
    sent = town.say(ADA, BOB, "once")
    town.bench.hub.state.settle()
    connection = town.bench.hub.state.connection
    connection.execute("UPDATE people_sent SET acked_at = NULL WHERE id = ?", (sent,))
    connection.execute("DELETE FROM sent")  # the server no longer knows the id
    turn = town.turn(ADA)
    writing.send(turn, sent)
    town.settle()
    rows = [row for row in town.received(BOB) if row.id == sent]
    assert [row.verdict for row in rows] == ["read", "read"]
    assert len({row.ciphertext_sha256 for row in rows}) == 2
    assert {row.count for row in rows} == {0}


def test_same_ciphertext_again_is_a_duplicate_and_confirmed_again(town: Town) -> None:
    town.people.set_up(BOB, is_online=False)
    sent = town.say(ADA, BOB, "once")
    connection = town.bench.hub.state.connection
    connection.execute(
        "INSERT INTO people_work (number, is_held, is_stanza, item)"
        " SELECT number, is_held, is_stanza, item FROM people_work"
    )
    town.people.set_up(BOB, is_online=True)
    town.settle()
    assert [(row.id, row.verdict) for row in town.received(BOB)] == [(sent, "read"), (sent, "duplicate")]
    assert town.receipts(ADA, sent) == {(BOB, 0, "delivered")}


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(["pkmsg", "msg", "skmsg", "msmsg", "new"]), garbage=st.binary(max_size=120))
def test_garbage_is_undecryptable_and_breaks_nothing(kind: str, garbage: bytes) -> None:
    town = make_town()
    town.say(ADA, BOB, "before")
    account = town.bench.server.pairing.account(ADA)
    enc = Node("enc", {"v": "2", "type": kind}, garbage)
    attrs: dict[str, str | Jid] = {"id": "GARBAGE", "from": account.lid_jid, "t": "1700000000", "type": "text"}
    town.people.deliver(BOB, Node("message", attrs, (enc,)))
    town.settle()
    town.say(ADA, BOB, "after")
    assert town.texts(BOB) == ["before", "after"]
    assert {row.verdict for row in town.received(BOB) if row.id == "GARBAGE"} <= {"undecryptable"}
