"""Phones that write to many, and everybody who reads it: other phones, and linked devices with the gateway's engine."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.whatisup.sandbox.people.companion import Companion, link, together
from tests.unit.whatisup.sandbox.people.town import ADA, BOB, Town, make_town
from whatisup import control
from whatisup.jid import Jid
from whatisup.protocol.messaging.opening import Opened, Verdict
from whatisup.protocol.stanzas.message import ChatKind
from whatisup.sandbox.refusal import Refused

EVE = "999000000003"
GROUP = "120363000000000001@g.us"
LIST = "1700000000@broadcast"
NEWS = "120363000000000002@newsletter"
STATUS = "status@broadcast"


@pytest.fixture
def town() -> Town:
    return make_town(None, ADA, BOB, EVE)


@pytest.fixture
def device(town: Town) -> Companion:
    """Ada's companion, which was told all that its phone has to tell."""
    device = link(town, ADA)
    device.opened.clear()
    return device


def post(town: Town, number: str, said: str, chat: str = GROUP, **more: Any) -> str:
    members = more.pop("members", [ADA, EVE])
    sent = town.people.post(number, control.PostRequest(chat, members, said, **more))
    town.settle()
    return sent


def parts(opened: Opened) -> list[str]:
    return [enc.kind for enc in opened.envelope.encs]


def failure(town: Town, number: str, sent: str) -> tuple[int | None, str | None]:
    (row,) = [row for row in town.sent(number) if row.id == sent]
    return row.error, row.failure


def test_group_text_is_read_by_phones_and_companions_and_confirmed_to_the_author(town: Town, device: Companion) -> None:
    sent = post(town, BOB, "hello all")
    together(town, device)
    assert device.texts() == ["hello all"]
    assert [(row.kind, row.text, row.chat, row.number) for row in town.received(EVE)] == [
        ("", None, GROUP, BOB),
        ("text", "hello all", GROUP, BOB),
    ]
    everybody = {(ADA, 0, "delivered"), (ADA, 1, "delivered"), (EVE, 0, "delivered")}
    assert town.receipts(BOB, sent) == everybody
    assert failure(town, BOB, sent) == (None, None)


def test_group_stanza_names_its_author_by_both_names(town: Town, device: Companion) -> None:
    post(town, BOB, "hello all")
    together(town, device)
    (opened,) = device.opened
    bob = town.bench.server.pairing.account(BOB)
    envelope = opened.envelope
    assert (envelope.kind, envelope.source, envelope.participant) == (ChatKind.GROUP, Jid.parse(GROUP), bob.lid_jid)
    assert (envelope.sender_alt, envelope.addressing_mode, envelope.push_name) == (bob.pn_jid, "lid", bob.name)


def test_key_is_given_once_and_the_queue_empties(town: Town, device: Companion) -> None:
    for said in ("one", "two", "three"):
        post(town, BOB, said)
    together(town, device)
    assert [parts(opened) for opened in device.opened] == [["pkmsg", "skmsg"], ["skmsg"], ["skmsg"]]
    assert device.texts() == ["one", "two", "three"]
    companion = town.bench.hub.state.companion(ADA, 1)
    assert companion is not None
    assert town.bench.hub.waiting.count(companion.row) == 0


def test_newcomer_gets_the_key_and_one_who_left_gets_a_new_key_made(town: Town, device: Companion) -> None:
    post(town, BOB, "one", members=[ADA])
    post(town, BOB, "two", members=[ADA, EVE])
    together(town, device)
    post(town, BOB, "three", members=[ADA])
    together(town, device)
    assert [parts(opened)[-1] for opened in device.opened] == ["skmsg"] * 3
    assert [len(parts(opened)) for opened in device.opened] == [2, 1, 2]
    assert device.texts() == ["one", "two", "three"]
    assert [row.text for row in town.received(EVE) if row.kind] == ["two"]


def test_lost_key_is_asked_for_and_comes_with_the_message(town: Town, device: Companion) -> None:
    sent = post(town, BOB, "can you read this", keys="withheld")
    together(town, device)
    assert [(opened.verdict, parts(opened)) for opened in device.opened] == [
        (Verdict.FAILED, ["skmsg"]),
        (Verdict.READ, ["pkmsg"]),
    ]
    assert device.opened[1].envelope.encs[0].count == 1
    assert device.texts() == ["can you read this"]
    assert {(ADA, 1, "retry"), (ADA, 1, "delivered"), (EVE, 0, "retry")} <= town.receipts(BOB, sent)
    assert [row.text for row in town.received(EVE) if row.verdict == "read"] == ["can you read this"]
    post(town, BOB, "and this")
    together(town, device)
    assert device.texts() == ["can you read this", "and this"]
    assert parts(device.opened[-1]) == ["skmsg"]


def test_message_that_overtakes_its_key_is_read_in_the_end(town: Town, device: Companion) -> None:
    town.bench.hub.faults.arm(control.FaultRequest("reorder", control.Scope(ADA, 1)), town.bench.hands.now)
    post(town, BOB, "with the key")
    post(town, BOB, "without")
    together(town, device)
    assert sorted(device.texts()) == ["with the key", "without"]


def test_broken_group_message_comes_again(town: Town, device: Companion) -> None:
    town.bench.hub.faults.arm(control.FaultRequest("corrupt-mac", control.Scope(ADA, 1)), town.bench.hands.now)
    post(town, BOB, "broken on the way")
    together(town, device)
    assert [opened.failure and opened.failure.reason for opened in device.opened] == ["invalid_signature", None]
    assert device.texts() == ["broken on the way"]


def test_phone_remembers_of_a_group_what_was_said_and_not_the_key(town: Town) -> None:
    sent = post(town, BOB, "hello all")
    known = town.turn(EVE).logs.known(EVE, GROUP, sent)
    assert known is not None
    assert b"hello all" in known.message


def test_phone_writes_into_a_group_and_its_companion_hears_of_it(town: Town, device: Companion) -> None:
    sent = post(town, ADA, "from my phone", members=[BOB])
    together(town, device)
    (opened,) = device.opened
    assert (opened.envelope.is_from_me, opened.verdict) == (True, Verdict.READ)
    assert (ADA, 1, "sender") in town.receipts(ADA, sent)
    companion = town.bench.hub.state.companion(ADA, 1)
    assert companion is not None
    assert town.bench.hub.waiting.count(companion.row) == 0


def test_who_does_not_belong_hears_nothing(town: Town, device: Companion) -> None:
    sent = post(town, BOB, "just us", members=[EVE])
    together(town, device)
    assert device.opened == []
    assert town.receipts(BOB, sent) == {(EVE, 0, "delivered")}


def test_nobody_is_let_into_a_group_who_does_not_exist(town: Town) -> None:
    with pytest.raises(Refused):
        post(town, BOB, "hello", members=["999000000099"])


@pytest.mark.parametrize("keys", ["given", "withheld"])
def test_status_is_read_by_its_audience(town: Town, device: Companion, keys: str) -> None:
    sent = post(town, BOB, "at the beach", STATUS, keys=keys)
    together(town, device)
    assert device.opened[-1].envelope.kind is ChatKind.STATUS
    assert device.texts() == ["at the beach"]
    assert {(ADA, 1, "delivered"), (EVE, 0, "delivered")} <= town.receipts(BOB, sent)


def test_list_is_encrypted_for_each_device(town: Town, device: Companion) -> None:
    sent = post(town, BOB, "dear customers", LIST)
    together(town, device)
    assert [(opened.envelope.kind, parts(opened)) for opened in device.opened] == [(ChatKind.BROADCAST, ["pkmsg"])]
    assert device.texts() == ["dear customers"]
    assert {(ADA, 1, "delivered"), (EVE, 0, "delivered")} <= town.receipts(BOB, sent)


def test_list_message_that_cannot_be_read_comes_again(town: Town, device: Companion) -> None:
    town.bench.hub.faults.arm(control.FaultRequest("corrupt-mac", control.Scope(ADA, 1)), town.bench.hands.now)
    post(town, BOB, "dear customers", LIST)
    together(town, device)
    assert [opened.verdict for opened in device.opened] == [Verdict.FAILED, Verdict.READ]


def test_newsletter_is_read_in_the_clear_and_acknowledged(town: Town, device: Companion) -> None:
    sent = post(town, BOB, "breaking news", NEWS)
    together(town, device)
    (opened,) = device.opened
    assert (opened.envelope.kind, opened.envelope.server_id, opened.verdict) == (ChatKind.NEWSLETTER, 1, Verdict.READ)
    assert device.texts() == ["breaking news"]
    assert failure(town, BOB, sent) == (None, None)
    companion = town.bench.hub.state.companion(ADA, 1)
    assert companion is not None
    assert town.bench.hub.waiting.count(companion.row) == 0
