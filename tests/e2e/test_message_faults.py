"""Every fault of the sandbox that concerns messages, and the end of it: nothing lost, nothing doubled.

A row of the table is a scene: what goes wrong meanwhile, and what the customer must be told of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import pytest

from tests.e2e.talk import Chat, lose_an_ack, open_chat, text
from tests.e2e.world import World
from whatisup.control import FaultName

Scene = Callable[[Chat], Awaitable[None]]


@dataclass(frozen=True)
class Row:
    """A fault by name, and its scene; after it, everything must be there exactly once."""

    name: str
    scene: Scene
    variant: str = ""
    is_settled_by_scene: bool = False

    def __str__(self) -> str:
        return f"{self.name}-{self.variant}" if self.variant else self.name


# --- on the way to the instance ---------------------------------------------------------------------------------------


async def drop_after_delivery(chat: Chat) -> None:
    """The receipt is lost with the connection; the message comes again, and is answered again."""
    fault = await chat.harm_instance("drop-after-delivery")
    await chat.exchange()
    await chat.told("instance.disconnected", status="reconnecting")
    await chat.told("instance.connected")
    assert await chat.hits(fault) == 1


async def drop_after_ack(chat: Chat) -> None:
    """The connection ends right behind the receipt: nothing comes again."""
    fault = await chat.harm_instance("drop-after-ack")
    await chat.exchange()
    await chat.told("instance.disconnected", status="reconnecting")
    await chat.told("instance.connected")
    assert await chat.hits(fault) == 1


async def duplicate(chat: Chat) -> None:
    fault = await chat.harm_instance("duplicate", times=3)
    await chat.exchange()
    assert await chat.hits(fault) == 3


async def reorder(chat: Chat) -> None:
    fault = await chat.harm_instance("reorder")
    first, second = await chat.say("first"), await chat.say("second")
    await chat.heard(first)
    await chat.heard(second)
    order = [seen.data["wa_message_id"] for seen in chat.events("message.received")]
    assert order.index(second) < order.index(first), "the fault has shown"
    assert await chat.hits(fault) == 1


async def corrupt_for_instance(chat: Chat) -> None:
    """What cannot be read is told at once, and told as received under the same id when it comes again."""
    fault = await chat.harm_instance("corrupt-mac")
    sent = await chat.say("broken on the way")
    unread = await chat.told("message.undecryptable", wa_message_id=sent)
    assert (unread.data["reason"], unread.data["from"]) == ("bad_mac", chat.contact)
    assert unread.data["retry"] == {"count": 1, "state": "pending"}
    assert (await chat.heard(sent))["message_id"] == unread.data["message_id"]
    assert await chat.hits(fault) == 1


async def unavailable(chat: Chat) -> None:
    """The sender's device did not encrypt for us: our phone has it, and is asked."""
    fault = await chat.harm_instance("unavailable")
    sent = await chat.say("only on the phone")
    unread = await chat.told("message.undecryptable", wa_message_id=sent)
    assert unread.data["reason"] == "unavailable"
    assert (await chat.heard(sent))["message_id"] == unread.data["message_id"]
    chat.unconfirmed.add(sent)
    assert await chat.hits(fault) == 1


async def lid_only(chat: Chat) -> None:
    """A person who is known is known by either name."""
    fault = await chat.harm_instance("lid-only")
    heard = await chat.heard(await chat.say("guess who"))
    assert (heard["from"], heard["phone"], heard["lid"]) == (chat.contact, chat.contact, chat.lid)
    assert await chat.hits(fault) == 1


async def lid_only_stranger(known: Chat) -> None:
    """A person whose number nobody told is called by the hidden id; the chat is one chat when the number is known."""
    chat = await open_chat(known.number)
    fault = await chat.harm_instance("lid-only")
    heard = await chat.heard(await chat.say("guess who"))
    assert (heard["from"], heard["phone"], heard["lid"]) == (f"{chat.lid}@lid", None, chat.lid)
    assert await chat.hits(fault) == 1
    heard = await chat.heard(await chat.say("it is me"))
    assert (heard["from"], heard["phone"], heard["lid"]) == (chat.contact, chat.contact, chat.lid)
    assert {row["chat"]["phone"] for row in await chat.messages()} == {chat.contact}
    await chat.require_exactly_once()


async def redeliver_all(chat: Chat) -> None:
    """Everything that was ever delivered comes once more."""
    await chat.exchange()
    before = len(chat.events("message.received"))
    await chat.harm_instance("redeliver-all")
    await chat.told("instance.disconnected", status="reconnecting")
    await chat.told("instance.connected")
    await chat.heard(await chat.say("something new"))
    assert len(chat.events("message.received")) == before + 1


# --- on the way from the instance -------------------------------------------------------------------------------------


async def restricted(chat: Chat, fault: str, code: int, reason: str, kind: str) -> None:
    """The account may not write: the message failed, the customer knows why, and nothing is tried again."""
    armed = await chat.harm_instance(fault)
    sent = await chat.write("hello stranger")
    failed = await chat.told("message.failed", message_id=sent["message_id"])
    assert failed.data["error"]["code"] == reason
    told = await chat.told("account.restricted", kind=kind)
    assert told.data["is_active"] is True
    assert len(chat.events("account.restricted")) == 1, "the notification and the refusal are one piece of news"
    assert (await chat.message(sent["message_id"]))["status"] == "failed"
    assert await chat.hits(armed) == 1
    del chat.written[sent["wa_message_id"]]
    await require_rest_of_chat(chat, failed=sent["wa_message_id"])


async def require_rest_of_chat(chat: Chat, failed: str) -> None:
    """Somebody who has written can be answered; what failed has not arrived and never will."""
    await chat.heard(await chat.say("you may answer me"))
    answer = await chat.write("so I do")
    await chat.told("message.delivered", message_id=answer["message_id"])
    assert [row for row in await chat.rows() if row["wa_message_id"] == failed] == []
    chat.require_each_event_once()


async def nack_463(chat: Chat) -> None:
    await restricted(chat, "nack-463", 463, "account_restricted", "reachout_timelock")


async def nack_475(chat: Chat) -> None:
    await restricted(chat, "nack-475", 475, "new_chats_capped", "message_capping")


async def encrypted_anew(chat: Chat, fault: str) -> None:
    """The server took it for wrongly addressed: looked up again, encrypted again, under the same id."""
    armed = await chat.harm_instance(fault)
    sent = await chat.write("once more")
    await chat.told("message.sent", message_id=sent["message_id"])
    assert await chat.hits(armed) == 1
    assert chat.events("message.failed") == []


async def nack_479(chat: Chat) -> None:
    await encrypted_anew(chat, "nack-479")


async def nack_421(chat: Chat) -> None:
    await encrypted_anew(chat, "nack-421")


async def refused_twice(chat: Chat, fault: str, reason: str) -> None:
    armed = await chat.harm_instance(fault, times=2)
    sent = await chat.write("never mind")
    failed = await chat.told("message.failed", message_id=sent["message_id"])
    assert failed.data["error"]["code"] == reason
    assert await chat.hits(armed) == 2
    del chat.written[sent["wa_message_id"]]
    await require_rest_of_chat(chat, failed=sent["wa_message_id"])


async def nack_479_twice(chat: Chat) -> None:
    await refused_twice(chat, "nack-479", "invalid_stanza")


async def nack_421_twice(chat: Chat) -> None:
    await refused_twice(chat, "nack-421", "stale_addressing")


async def phash_mismatch(chat: Chat) -> None:
    """The server counts other devices than we do; there are none, so nobody gets a second ciphertext."""
    fault = await chat.harm_instance("phash-mismatch")
    await chat.exchange()
    assert await chat.hits(fault) == 1


# --- at the contact's phone -------------------------------------------------------------------------------------------


async def unread_by_contact(chat: Chat, fault: str) -> None:
    """The contact cannot read a message and asks again: it gets another copy, it alone."""
    armed = await chat.harm_contact(fault)
    sent = await chat.write("what did you say")
    await chat.told("message.delivered", message_id=sent["message_id"])
    assert await chat.hits(armed) == 1
    verdicts = [row["verdict"] for row in await chat.rows() if row["wa_message_id"] == sent["wa_message_id"]]
    assert verdicts == ["undecryptable"] * (len(verdicts) - 1) + ["read"]
    assert 2 <= len(verdicts) <= 3, "the keys come with the second request"


async def corrupt_for_contact(chat: Chat) -> None:
    await unread_by_contact(chat, "corrupt-mac")


async def no_session_when_reading(chat: Chat) -> None:
    await unread_by_contact(chat, "no-session")


async def no_session_when_writing(chat: Chat) -> None:
    """The contact lost its session and opens another: read at once."""
    fault = await chat.harm_contact("no-session")
    await chat.heard(await chat.say("a new beginning"))
    assert await chat.hits(fault) == 1
    assert chat.events("message.undecryptable") == []


async def consumed_prekey(chat: Chat) -> None:
    """The contact opens a session with a prekey that we have used up: unread, asked for again, read."""
    fault = await chat.harm_contact("consumed-prekey")
    sent = await chat.say("an old key")
    unread = await chat.told("message.undecryptable", wa_message_id=sent)
    assert unread.data["reason"] == "invalid_key_id"
    assert (await chat.heard(sent))["message_id"] == unread.data["message_id"]
    assert await chat.hits(fault) == 1


async def identity_change(chat: Chat) -> None:
    """The contact has a new phone: the customer is told, and what it could not read it gets again."""
    fault = await chat.harm_contact("identity-change")
    sent = await chat.write("to the old phone")
    told = await chat.told("contact.identity_changed")
    assert (told.data["phone"], told.data["lid"]) == (chat.contact, chat.lid)
    await chat.got(sent["wa_message_id"])
    assert await chat.hits(fault) == 1


async def simultaneous(chat: Chat) -> None:
    """Both open a session at the same time, each with the other's bundle; both are read."""
    fault = await chat.harm_contact("simultaneous")
    sent = await chat.write("at the same time")
    await chat.got(sent["wa_message_id"])
    heard = await chat.told("message.received", body=text("simultaneous"))
    chat.said[heard.data["wa_message_id"]] = "simultaneous"
    await chat.exchange()
    assert await chat.hits(fault) == 1


async def retry_storm(chat: Chat) -> None:
    """Ten requests for one message: as many copies as are asked for, up to the limit, and nobody else is disturbed."""
    fault = await chat.harm_contact("retry-storm")
    sent = (await chat.write("what?"))["wa_message_id"]
    await chat.told("message.delivered", wa_message_id=sent)
    assert await chat.hits(fault) == 1
    del chat.written[sent]
    await chat.exchange()
    await chat.rest()
    copies = [row for row in await chat.rows() if row["wa_message_id"] == sent]
    read = [row for row in copies if row["verdict"] == "read"]
    assert 1 <= len(read) <= 5, "each was asked for"
    assert {row["text"] for row in read} == {"what?"}
    assert len({row["ciphertext_sha256"] for row in copies}) == len(copies)
    chat.require_each_event_once()


FAULTS: Sequence[Row] = (
    Row("drop-after-delivery", drop_after_delivery),
    Row("drop-after-ack", drop_after_ack),
    Row("drop-before-ack", lose_an_ack),
    Row("duplicate", duplicate),
    Row("reorder", reorder),
    Row("corrupt-mac", corrupt_for_instance, "at-us"),
    Row("corrupt-mac", corrupt_for_contact, "at-the-contact"),
    Row("no-session", no_session_when_reading, "reading"),
    Row("no-session", no_session_when_writing, "writing"),
    Row("consumed-prekey", consumed_prekey),
    Row("identity-change", identity_change),
    Row("simultaneous", simultaneous),
    Row("lid-only", lid_only, "known"),
    Row("lid-only", lid_only_stranger, "stranger"),
    Row("nack-463", nack_463, is_settled_by_scene=True),
    Row("nack-475", nack_475, is_settled_by_scene=True),
    Row("nack-479", nack_479, "once"),
    Row("nack-479", nack_479_twice, "twice", is_settled_by_scene=True),
    Row("nack-421", nack_421, "once"),
    Row("nack-421", nack_421_twice, "twice", is_settled_by_scene=True),
    Row("phash-mismatch", phash_mismatch),
    Row("redeliver-all", redeliver_all),
    Row("unavailable", unavailable),
    Row("retry-storm", retry_storm, is_settled_by_scene=True),
)


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("row", FAULTS, ids=str)
async def test_fault_loses_nothing_and_doubles_nothing(world: World, row: Row) -> None:
    chat = await open_chat(await world.pair(row.name), name="Grace")
    await chat.greet()
    await row.scene(chat)
    if not row.is_settled_by_scene:
        await chat.require_exactly_once()


def test_every_fault_of_messages_has_a_row() -> None:
    names = [str(name) for name in FaultName]
    of_messages = names[names.index("drop-after-delivery") :]
    assert {row.name for row in FAULTS} == set(of_messages)
