"""Messages that come in: each told once, whatever comes twice, and none lost for being unreadable at first."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import func, select

from tests.store.conversation import LID, LID_JID, PHONE, PN_JID, Conversation, data_of, of, read, unread
from tests.store.world import NOW, told
from whatisup.errors import StoreError
from whatisup.store import (
    Committed,
    Identity,
    MessageStatus,
    NewAuth,
    PutAuth,
    RememberCiphertexts,
    Unit,
    ciphertexts,
    messages,
    tables,
)

HASHES = tuple(bytes([n]) * 32 for n in range(5))


def test_message_is_told_with_its_body_and_everything_known(talk: Conversation) -> None:
    committed = talk.write(read("hello", push_name="Ada", is_backlog=True, context={"is_view_once": True}))
    (message,) = talk.page()
    (live,) = committed.events
    assert live.type == "message.received"
    assert live.data == {
        "is_view_once": True,
        "message_id": message.id,
        "wa_message_id": "3EB0A",
        "from": PHONE,
        "phone": PHONE,
        "lid": LID,
        "chat": {"jid": LID_JID, "phone": PHONE, "lid": LID, "type": "user"},
        "push_name": "Ada",
        "timestamp": (NOW - 5_000) // 1000,
        "body": {"type": "text", "text": "hello"},
        "received_at": "2023-11-14T22:13:20.000Z",
        "is_backlog": True,
        "is_flagged": False,
    }
    assert talk.events() == [live], "what is told live is what is read later"
    assert (message.status, message.direction, message.source) == (MessageStatus.RECEIVED, "in", "contact")
    assert message.body == {"type": "text", "text": "hello"}
    assert (message.server_at, message.created_at, message.push_name) == (NOW - 5_000, NOW, "Ada")


def test_sender_without_a_number_is_called_by_the_lid(talk: Conversation) -> None:
    talk.write(read(identity=of(chat_phone=None, author_phone=None)))
    ((_, data),) = talk.told()
    assert (data["from"], data["phone"], data["lid"]) == (LID_JID, None, LID)


def test_group_message_names_chat_and_author(talk: Conversation) -> None:
    group = Identity("3EB0A", "123@g.us", LID_JID, author_phone=PHONE, author_lid=LID)
    talk.write(read(identity=group))
    ((_, data),) = talk.told()
    assert data["chat"] == {"jid": "123@g.us", "phone": None, "lid": None, "type": "group"}
    assert data["from"] == PHONE


def test_own_message_typed_on_the_phone_is_told_as_sent(talk: Conversation) -> None:
    talk.write(read("from my phone", of(author="9000@lid"), source="phone"))
    ((name, data),) = talk.told()
    assert (name, data["source"], data["status"], data["to"]) == ("sent", "phone", "sent", PHONE)
    assert data["body"] == {"type": "text", "text": "from my phone"}
    (message,) = talk.page()
    assert (message.direction, message.status) == ("out", MessageStatus.SENT)


# --- dedupe ---------------------------------------------------------------------------------------------------------


def test_same_message_again_is_dropped(talk: Conversation) -> None:
    talk.write(read("hello"))
    committed = talk.write(read("hello", received_at=NOW + 99, push_name="other"))
    assert committed.events == ()
    assert len(talk.page()) == 1


def test_same_message_twice_in_one_unit_is_dropped(talk: Conversation) -> None:
    committed = talk.write(read("hello"), read("hello"), read("other", of("3EB0B")))
    assert len(committed.events) == 2
    assert len(talk.page()) == 2


def test_same_id_with_other_words_is_a_message_of_its_own(talk: Conversation) -> None:
    talk.write(read("one"))
    talk.write(read("two"), read("three"), read("two"))
    assert [(data["body"]["text"], data["is_flagged"]) for _, data in talk.told()] == [
        ("one", False), ("two", True), ("three", True)
    ]  # fmt: skip
    assert len({data["message_id"] for _, data in talk.told()}) == 3
    assert sum(message.is_flagged for message in talk.page()) == 2


@pytest.mark.parametrize("other", [of("3EB0B"), of(chat="5@g.us"), of(author="2000@lid")], ids=["id", "chat", "author"])
def test_same_words_of_another_identity_are_another_message(talk: Conversation, other: Identity) -> None:
    talk.write(read("hello"))
    talk.write(read("hello", other))
    assert [data["is_flagged"] for _, data in talk.told()] == [False, False]


def test_same_message_to_two_instances_is_two_messages(talk: Conversation) -> None:
    other = talk.another()
    results = talk.store.commit([talk.unit(read("hello")), Unit(other.id, 0, (read("hello"),))])
    assert [len(result.events) for result in results] == [1, 1]


def test_copy_of_what_the_api_sent_is_no_news(talk: Conversation) -> None:
    accepted = talk.accept("3EB0S")
    committed = talk.write(read("hi", of("3EB0S", accepted.chat, accepted.author), source="phone"))
    assert committed.events == ()
    assert [message.id for message in talk.page()] == [accepted.id]


def test_ciphertexts_are_known_for_their_instance_alone(talk: Conversation) -> None:
    other = talk.another()
    talk.write(RememberCiphertexts(HASHES[:2], NOW), RememberCiphertexts(HASHES[1:3], NOW + 1))
    talk.write(RememberCiphertexts(HASHES[3:4], NOW), instance_id=other.id)
    assert talk.store.read(ciphertexts.known, talk.id, HASHES) == frozenset(HASHES[:3])
    assert talk.store.read(ciphertexts.known, talk.id, ()) == frozenset()


def test_plaintext_hash_at_rest_does_not_tell_the_message(talk: Conversation) -> None:
    op = read("yes")
    talk.write(op)
    stored = talk.store.read(lambda conn, _: conn.execute(select(tables.messages.c.plaintext_hash)).scalar_one())
    assert bytes(stored) != op.plaintext_hash


# --- what cannot be read --------------------------------------------------------------------------------------------


def test_undecryptable_message_is_told_once_and_again_when_nobody_tries_any_more(talk: Conversation) -> None:
    talk.write(unread(count=1, hide=True))
    talk.write(unread(count=2, reason="bad_mac", phone_asked_at=NOW + 7))
    talk.write(unread(count=5, retry_state="ended"))
    talk.write(unread(count=5, retry_state="ended"))
    seen = [(name, d["reason"], d["retry"], d["hide"]) for name, d in talk.told()]
    assert seen == [
        ("undecryptable", "no_session", {"count": 1, "state": "pending"}, True),
        ("undecryptable", "no_session", {"count": 5, "state": "ended"}, False),
    ]
    (message,) = talk.page()
    assert {data["message_id"] for _, data in talk.told()} == {message.id}
    assert (message.status, message.body, message.is_body_expired) == (MessageStatus.UNDECRYPTABLE, None, False)
    assert message.phone_asked_at == NOW + 7


def test_resend_that_can_be_read_takes_the_place_of_the_unread_one(talk: Conversation) -> None:
    talk.write(unread())
    talk.write(read("at last"), read("at last"))
    assert talk.names() == ["undecryptable", "received"]
    first, second = (data for _, data in talk.told())
    assert first["message_id"] == second["message_id"]
    assert (second["body"]["text"], second["is_flagged"]) == ("at last", False)
    (message,) = talk.page()
    assert (message.status, message.kind, message.reason) == (MessageStatus.RECEIVED, "text", None)
    assert (message.retry_state, message.body) == (None, {"type": "text", "text": "at last"})


def test_resend_in_the_same_unit_leaves_one_message(talk: Conversation) -> None:
    talk.write(unread(), unread(count=2), read("at last"), unread(count=3))
    assert talk.names() == ["undecryptable", "received"]
    assert [message.status for message in talk.page()] == [MessageStatus.RECEIVED]


def test_resend_beside_one_more_failure_counts(talk: Conversation) -> None:
    talk.write(unread())
    talk.write(unread(count=2, reason="bad_mac"), read("at last"), unread(count=3))
    (message,) = talk.page()
    assert (message.status, message.reason, message.retry_state) == (MessageStatus.RECEIVED, None, None)
    assert talk.names() == ["undecryptable", "received"]


def test_own_unread_message_becomes_what_was_typed(talk: Conversation) -> None:
    mine = of(author="9000@lid")
    talk.write(unread(mine, source="phone"))
    talk.write(read("typed", mine, source="phone"))
    assert talk.names() == ["undecryptable", "sent"]
    assert [(m.direction, m.status) for m in talk.page()] == [("out", MessageStatus.SENT)]


def test_message_that_was_read_stays_read(talk: Conversation) -> None:
    talk.write(read())
    assert talk.write(unread()).events == ()
    assert [message.status for message in talk.page()] == [MessageStatus.RECEIVED]


def test_unread_messages_are_found_with_their_retries(talk: Conversation) -> None:
    talk.write(unread(of("A"), count=3), unread(of("B"), count=1, retry_state="ended"), read("c", of("C")))
    talk.write(unread(of("A"), count=2))
    found = talk.store.read(messages.unread, talk.id, ["A", "B", "C"])
    assert {key: (one.retry_count, one.retry_state) for key, one in found.items()} == {
        (LID_JID, LID_JID, "A"): (3, "pending"), (LID_JID, LID_JID, "B"): (1, "ended")
    }  # fmt: skip
    assert [one.wa_id for one in talk.store.read(messages.unread_pending, talk.id)] == ["A"]
    assert talk.store.read(messages.unread, talk.id, []) == {}


# --- together with the rest -----------------------------------------------------------------------------------------


def test_events_of_a_unit_follow_its_operations(talk: Conversation) -> None:
    committed = talk.write(
        told("first"), read("a", of("A")), unread(of("B")), told("middle"), read("c", of("C")), read("d", of("D"))
    )
    names = [data_of(event).get("wa_message_id", data_of(event).get("text")) for event in committed.events]
    assert names == ["first", "A", "B", "middle", "C", "D"]
    assert [event.seq for event in committed.events] == [1, 2, 3, 4, 5, 6]


def test_ratchet_and_message_are_one_commit(talk: Conversation) -> None:
    talk.write(PutAuth("session", "1000_1.0", b"old"))
    broken = replace(read(), plaintext_hash=b"x" * 32, server_at="never")
    (error,) = talk.store.commit([talk.unit(PutAuth("session", "1000_1.0", b"new"), broken)])
    assert isinstance(error, Exception)
    assert talk.auth("1000_1.0", kind="session") == b"old"
    assert talk.page() == []


def test_poisoned_unit_keeps_its_neighbours_messages(talk: Conversation) -> None:
    others = [talk.another(name=str(n)).id for n in range(6)]
    bad = replace(read(), source="nobody")
    batch = [Unit(one, 0, (read(one),)) for one in others]
    batch.insert(3, talk.unit(told("never"), bad))
    results = talk.store.commit(batch)
    assert [type(result) for result in results] == [Committed] * 3 + [StoreError] + [Committed] * 3
    assert [data["body"]["text"] for _, data in talk.told()] == others
    assert [event.position for event in talk.events()] == list(range(1, 7))


def test_wave_of_many_instances_costs_as_many_statements_as_one(talk: Conversation, count_statements: Any) -> None:
    others = [talk.another(name=str(n)).id for n in range(20)]
    for one in others:
        talk.write(NewAuth(), instance_id=one)

    def unit(instance_id: str, index: int) -> Unit:
        seen = RememberCiphertexts((bytes([index]) * 32,), NOW)
        return Unit(instance_id, 0, (PutAuth("session", "a", b"x"), seen, read(str(index), of(f"W{index}"))))

    talk.write(read())  # from now on it is known that nobody listens
    with count_statements(talk.store) as alone:
        talk.store.commit([unit(others[0], 0)])
    with count_statements(talk.store) as together:
        talk.store.commit([unit(one, index) for index, one in enumerate(others[1:], 1)])
    assert len(together) == len(alone)
    assert len(alone) <= 12


def test_body_is_stored_once(talk: Conversation) -> None:
    talk.write(read("x" * 5000))
    talk.write(read("x" * 5000))
    sizes = talk.store.read(
        lambda conn, _: [
            conn.execute(select(func.max(func.length(column)))).scalar_one()
            for column in (tables.messages.c.body, tables.events.c.data)
        ]
    )
    assert sizes[0] > 5000 > sizes[1]


def test_number_and_lid_find_the_same_chat(talk: Conversation) -> None:
    talk.write(read(), PutAuth("lid", PHONE, LID.encode()))
    assert len(talk.page(chat=PN_JID)) == len(talk.page(chat=LID_JID)) == 1
    assert talk.page(chat="2000@lid") == []
