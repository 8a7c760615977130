"""Two phones talk: what one writes the other reads, once, and both know what became of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.whatisup.sandbox.people.town import ADA, BOB, Town, make_town
from whatisup import control


@pytest.fixture
def town() -> Town:
    return make_town()


def test_text_is_read_once_and_delivered(town: Town) -> None:
    sent = town.say(ADA, BOB, "hello")
    (row,) = town.received(BOB)
    assert (row.id, row.number, row.device, row.chat, row.text, row.verdict) == (sent, ADA, 0, ADA, "hello", "read")
    assert row.lid == town.bench.server.pairing.account(ADA).lid
    assert town.receipts(ADA, sent) == {(BOB, 0, "delivered")}
    (mine,) = town.sent(ADA)
    assert mine.acked_at is not None
    assert mine.t == row.t
    assert mine.error is None


def test_a_conversation_keeps_its_order_both_ways(town: Town) -> None:
    for turn in range(20):
        town.say(ADA, BOB, f"ada {turn}")
        town.say(BOB, ADA, f"bob {turn}")
    assert town.texts(BOB) == [f"ada {turn}" for turn in range(20)]
    assert town.texts(ADA) == [f"bob {turn}" for turn in range(20)]
    assert len({row.ciphertext_sha256 for row in town.received(BOB)}) == 20
    assert {row.verdict for row in town.received(ADA) + town.received(BOB)} == {"read"}


def test_both_write_first_at_the_same_time(town: Town) -> None:
    town.people.send(ADA, BOB, {"type": "text", "text": "from ada"})
    town.people.send(BOB, ADA, {"type": "text", "text": "from bob"})
    town.settle()
    town.say(ADA, BOB, "and again")
    assert (town.texts(ADA), town.texts(BOB)) == (["from bob"], ["from ada", "and again"])


def test_reply_reaction_edit_and_revoke_name_their_message(town: Town) -> None:
    first = town.say(ADA, BOB, "hello")
    town.say(BOB, ADA, {"type": "text", "text": "hello yourself", "reply_to": first})
    town.say(BOB, ADA, {"type": "reaction", "message_id": first, "emoji": "\N{THUMBS UP SIGN}"})
    town.say(ADA, BOB, {"type": "edit", "message_id": first, "text": "hello, Bob"})
    town.say(ADA, BOB, {"type": "revoke", "message_id": first})
    reply, reaction = town.received(ADA)
    assert reply.body is not None
    assert reply.body["reply_to"]["wa_message_id"] == first
    assert reaction.body == {"type": "reaction", "message_id": first, "emoji": "\N{THUMBS UP SIGN}"}
    _, edit, revoke = town.received(BOB)
    assert edit.body == {"type": "edit", "message_id": first, "text": "hello, Bob"}
    assert revoke.body == {"type": "revoke", "message_id": first}


def test_location_contact_and_poll_arrive_as_they_were_sent(town: Town) -> None:
    bodies: list[dict[str, Any]] = [
        {"type": "location", "latitude": 52.5, "longitude": 13.25, "name": "here"},
        {"type": "contact", "contacts": [{"name": "Eve", "phone_number": "15550001111"}]},
        {"type": "poll", "name": "Tea?", "options": ["yes", "no"], "selectable_count": 1},
    ]
    for body in bodies:
        town.say(ADA, BOB, body)
    location, contact, poll = town.received(BOB)
    assert location.body == bodies[0]
    assert contact.kind == "contact"
    assert contact.body is not None
    assert contact.body["contacts"][0]["name"] == "Eve"
    assert poll.body is not None
    assert poll.body["options"] == ["yes", "no"]


def test_vote_is_read_with_the_names_of_the_options(town: Town) -> None:
    poll = town.say(ADA, BOB, {"type": "poll", "name": "Tea?", "options": ["yes", "no"]})
    town.say(BOB, ADA, {"type": "poll_vote", "poll": poll, "options": ["no"]})
    (vote,) = town.received(ADA)
    assert vote.kind == "poll_vote"
    assert vote.body is not None
    assert (vote.body["poll"], vote.body["options"]) == (poll, ["no"])


def test_reading_a_chat_tells_its_other_side_once(town: Town) -> None:
    first, second = town.say(ADA, BOB, "one"), town.say(ADA, BOB, "two")
    town.people.read(BOB, ADA, [first])
    town.settle()
    assert (BOB, 0, "read") in town.receipts(ADA, first)
    assert (BOB, 0, "read") not in town.receipts(ADA, second)
    town.people.read(BOB, ADA, [])
    town.settle()
    assert (BOB, 0, "read") in town.receipts(ADA, second)


def test_what_is_about_an_unknown_message_is_not_sent(town: Town) -> None:
    town.say(BOB, ADA, {"type": "reaction", "message_id": "3EB0FFFF", "emoji": "x"})
    (row,) = town.sent(BOB)
    assert row.failure is not None
    assert row.acked_at is None
    assert town.received(ADA) == []


def test_typing_is_shown_to_the_other_side(town: Town) -> None:
    town.people.show_typing(ADA, control.TypingRequest(BOB, "recording"))
    town.settle()
    (state,) = town.people.chat_states(BOB).data
    assert (state.number, state.device, state.state) == (ADA, 0, "recording")


def test_a_phone_that_is_offline_reads_when_it_is_back(town: Town) -> None:
    town.people.set_up(BOB, is_online=False)
    for text in ("one", "two"):
        town.say(ADA, BOB, text)
    assert town.received(BOB) == []
    assert town.people.waiting(BOB) == 2
    town.people.set_up(BOB, is_online=True)
    town.settle()
    assert town.texts(BOB) == ["one", "two"]


def test_echo_answers_a_text_once_and_two_echoes_rest(town: Town) -> None:
    town.people.set_up(BOB, persona=control.Persona.ECHO)
    town.say(ADA, BOB, "hello?")
    assert town.texts(ADA) == ["hello?"]
    assert [row.text for row in town.sent(BOB)] == ["hello?"]
    town.people.set_up(ADA, persona=control.Persona.ECHO)
    town.say(ADA, BOB, "again")
    assert town.texts(ADA) == ["hello?"]


def test_tenants_do_not_exist_for_each_other() -> None:
    town = make_town()
    town.bench.server.pairing.create_account("999000000003", None, tenant="other")
    with pytest.raises(Exception, match="no account"):
        town.people.send(ADA, "999000000003", {"type": "text", "text": "hello"})


def test_an_id_is_used_once(town: Town) -> None:
    town.say(ADA, BOB, "one", "3EB0AAAA")
    with pytest.raises(Exception, match="before"):
        town.say(ADA, BOB, "two", "3EB0AAAA")
    assert town.texts(BOB) == ["one"]
