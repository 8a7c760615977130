"""Learning that a number and a LID are one user: one identity per message, before and after."""

from __future__ import annotations

import pytest

from tests.store.conversation import (
    LID,
    LID_JID,
    PHONE,
    PN_JID,
    Conversation,
    know_pair,
    of,
    read,
    receipt,
    under_number,
)
from tests.store.conversation import unread as not_read
from tests.store.world import NOW
from whatisup.store import FailMessage, Identity, LearnPair, Message, MessageStatus, Moment, Unit, messages, outbox

PAIR = LearnPair(PHONE, LID)


def test_message_of_the_number_is_known_under_the_lid(talk: Conversation) -> None:
    talk.write(read("hello", under_number()))
    talk.write(PAIR, read("hello"))
    (message,) = talk.page()
    assert (message.chat, message.author, message.chat_lid, message.author_lid) == (LID_JID, LID_JID, LID, LID)
    assert (message.chat_phone, message.author_phone) == (PHONE, PHONE)
    assert talk.names() == ["received"]


def test_chat_of_the_lid_alone_learns_its_number(talk: Conversation) -> None:
    unnamed = {"chat_phone": None, "author_phone": None}
    other = of("B", "2000@lid", "2000@lid", chat_lid="2000", author_lid="2000", **unnamed)
    talk.write(read("guess who", of("A", **unnamed)), read("other", other))
    talk.write(PAIR)
    phones = {message.wa_id: (message.chat_phone, message.author_phone) for message in talk.page()}
    assert phones == {"A": (PHONE, PHONE), "B": (None, None)}


def test_unread_message_of_the_number_is_read_under_the_lid(talk: Conversation) -> None:
    talk.write(not_read(under_number()))
    talk.write(read("at last"), PAIR)
    assert talk.names() == ["undecryptable", "received"]
    assert [message.status for message in talk.page()] == [MessageStatus.RECEIVED]


def test_author_in_a_group_is_renamed_and_the_group_is_not(talk: Conversation) -> None:
    group = Identity("3EB0A", "123@g.us", PN_JID, author_phone=PHONE)
    talk.write(read("hello", group), read("other", of("3EB0B", "123@g.us", "2000@lid", author_lid="2000")))
    talk.write(PAIR)
    authors = {message.wa_id: (message.chat, message.author) for message in talk.page()}
    assert authors == {"3EB0A": ("123@g.us", LID_JID), "3EB0B": ("123@g.us", "2000@lid")}


def test_own_messages_and_the_outbox_follow(talk: Conversation) -> None:
    waiting, sent = talk.accept("W", PN_JID), talk.send("S", to=PN_JID)
    talk.write(PAIR, *know_pair())
    assert {talk.message(one.id).chat for one in (waiting, sent)} == {LID_JID}
    (item,) = talk.store.read(outbox.next, talk.id)
    assert (item.chat, item.chat_lid, item.chat_phone) == (LID_JID, LID, PHONE)
    talk.write(receipt("S", chat=LID_JID))
    assert talk.status(sent) is MessageStatus.DELIVERED
    assert [message.wa_id for message in talk.page(chat=PN_JID)] == ["S", "W"]


def test_two_rows_that_become_one_message_keep_the_older(talk: Conversation) -> None:
    """The same message came under both names before they were known to be one: told twice, one identity from now on."""
    for older, newer in ((under_number("A"), of("A")), (of("B"), under_number("B"))):
        talk.write(read(f"said in {older.wa_id}", older))
        talk.write(read(f"said in {newer.wa_id}", newer))
    first = [data["message_id"] for _, data in talk.told()][::2]
    talk.write(PAIR)
    assert sorted(message.id for message in talk.page()) == sorted(first)
    assert {message.chat for message in talk.page()} == {LID_JID}
    assert [data["body"]["text"] for _, data in talk.told()] == ["said in A"] * 2 + ["said in B"] * 2


def test_three_rows_that_become_one_message_keep_the_oldest(talk: Conversation) -> None:
    mixed = of(chat=PN_JID, author=LID_JID)
    for identity in (under_number(), mixed, of()):
        talk.write(read("hello", identity))
    (oldest, *_) = [data["message_id"] for _, data in talk.told()]
    talk.write(PAIR)
    assert [message.id for message in talk.page()] == [oldest]


def test_same_id_with_other_words_stays_two_messages(talk: Conversation) -> None:
    talk.write(read("one", under_number()))
    talk.write(read("two"))
    talk.write(PAIR)
    assert {(message.chat, message.body["text"]) for message in talk.page() if message.body} == {
        (LID_JID, "one"), (LID_JID, "two")
    }  # fmt: skip


def test_pair_of_one_instance_is_none_of_another(talk: Conversation) -> None:
    other = talk.another()
    talk.store.commit([Unit(other.id, 0, (read("theirs", under_number()),)), talk.unit(PAIR, PAIR)])
    (message,) = talk.store.read(messages.by_wa_id, other.id, "3EB0A")
    assert message.chat == PN_JID


def test_pair_learned_late_in_a_unit_holds_for_all_of_it(talk: Conversation) -> None:
    talk.write(read("first", under_number("A")), not_read(under_number("B")), PAIR, read("second", of("B")))
    talk.write(read("first", of("A")))
    assert talk.names() == ["received", "undecryptable", "received"]
    assert {(message.chat, message.author_lid) for message in talk.page()} == {(LID_JID, LID)}
    assert [data["chat"]["jid"] for _, data in talk.told()] == [LID_JID] * 3


@pytest.mark.parametrize("times", [1, 2])
def test_pair_may_be_learned_again(talk: Conversation, times: int) -> None:
    talk.write(read("hello", under_number()))
    for _ in range(times):
        talk.write(PAIR)
    talk.write(LearnPair(PHONE, "7777"), read("hello"))
    assert [message.chat for message in talk.page()] == [LID_JID], "what has a LID keeps it"


# --- receipts that call a chat by the other name --------------------------------------------------------------------

OTHER = {LID_JID: PN_JID, PN_JID: LID_JID}
STRANGER = {LID_JID: "15550000009@s.whatsapp.net", PN_JID: "2000@lid"}


@pytest.mark.parametrize("chat", [LID_JID, PN_JID])
def test_receipt_under_the_other_name_counts_once_the_pair_is_learned(talk: Conversation, chat: str) -> None:
    """The very first word: the receipt may be quicker than the news that both names are one user."""
    message = talk.send("S", to=chat)
    talk.write(receipt("S", "read", NOW + 90, chat=OTHER[chat]), receipt("S", "delivered", NOW + 80, chat=OTHER[chat]))
    talk.write(receipt("S", "played", chat=STRANGER[chat]))
    assert talk.status(message) is MessageStatus.SENT, "who that is cannot be known yet"
    assert [moment.kind for moment in history(talk, message)] == ["sent"]
    committed = talk.write(PAIR, *know_pair())
    assert [event.type for event in committed.events] == ["message.delivered", "message.read"]
    assert talk.status(message) is MessageStatus.READ
    moments = [(moment.kind, moment.participant, moment.at) for moment in history(talk, message)]
    assert moments[1:] == [("delivered", "", NOW + 80), ("read", "", NOW + 90)]
    assert talk.write(PAIR).events == (), "what was held counts once"
    talk.write(LearnPair("15550000009", "2000"))
    assert talk.status(message) is MessageStatus.READ, "a pair of somebody else proves nothing"


@pytest.mark.parametrize("chat", [LID_JID, PN_JID])
def test_receipt_and_pair_of_one_unit_go_together(talk: Conversation, chat: str) -> None:
    message = talk.send("S", to=chat)
    talk.write(receipt("S", chat=OTHER[chat]), receipt("S", "read", chat=STRANGER[chat]), PAIR)
    assert talk.status(message) is MessageStatus.DELIVERED


@pytest.mark.parametrize("chat", [LID_JID, PN_JID])
def test_receipt_under_the_other_name_counts_where_the_row_alone_lacks_it(talk: Conversation, chat: str) -> None:
    message = talk.send("S", to=chat)
    talk.write(*know_pair())
    talk.write(receipt("S", "read", chat=STRANGER[chat]))
    talk.write(receipt("S", chat=OTHER[chat]))
    assert talk.status(message) is MessageStatus.DELIVERED


def test_receipt_under_a_new_lid_counts_once_that_is_learned(talk: Conversation) -> None:
    talk.write(PAIR, *know_pair())
    message = talk.send("S", to=PN_JID)
    talk.write(receipt("S", chat="7777@lid"))
    assert talk.status(message) is MessageStatus.SENT
    talk.write(LearnPair(PHONE, "7777"), *know_pair(lid="7777"))
    talk.write(receipt("S", chat="7777@lid"))
    assert talk.status(message) is MessageStatus.DELIVERED


def test_held_receipt_of_what_failed_proves_that_it_arrived(talk: Conversation) -> None:
    message = talk.accept("S", LID_JID)
    talk.seal(message)
    talk.write(FailMessage("S", "x", "y", NOW))
    talk.write(receipt("S", chat=PN_JID))
    assert talk.status(message) is MessageStatus.FAILED
    talk.write(PAIR)
    assert talk.names() == ["failed", "sent", "delivered"]


def test_receipt_of_a_group_is_never_held(talk: Conversation) -> None:
    message = talk.send("S", to="123@g.us")
    talk.write(receipt("S", chat=PN_JID), PAIR)
    talk.write(receipt("S", chat=LID_JID))
    assert talk.status(message) is MessageStatus.SENT


def test_held_receipt_of_one_instance_is_none_of_another(talk: Conversation) -> None:
    other = talk.another()
    message = talk.send("S")
    talk.write(receipt("S", chat=PN_JID))
    talk.write(PAIR, instance_id=other.id)
    assert talk.status(message) is MessageStatus.SENT


def history(talk: Conversation, message: Message) -> list[Moment]:
    return talk.store.read(messages.history, message.id)
