"""What people write to many, as an instance in this process receives it: groups, status, lists and newsletters.

Rule: each of them ends as an event and an empty queue at the server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from actors.messages import MarkRead
from tests.integration.actors.arrows import Bug, until_no_arrow_is_left
from tests.integration.actors.house import House, open_house, open_sandbox
from tests.integration.actors.test_messages import told, until
from whatisup import control
from whatisup.lifecycle import State
from whatisup.store import Event

GROUP = "120363000000000001@g.us"
LIST = "1700000000@broadcast"
NEWS = "120363000000000002@newsletter"
STATUS = "status@broadcast"
RECEIVED = "message.received"
UNDECRYPTABLE = "message.undecryptable"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_sandbox(tmp_path) as ready, open_house(tmp_path, ready) as house:
        yield house


class Circle:
    """An instance, and a contact who writes to it among others."""

    def __init__(self, house: House, instance_id: str, number: str, contact: control.Account) -> None:
        self.house = house
        self.instance_id = instance_id
        self.number = number
        self.contact = contact

    async def post(self, chat: str, text: str, *, author: str | None = None, **more: Any) -> str:
        """Let the contact, or that author, write to many, the instance among them; the message's id."""
        author = author or self.contact.number
        members = [self.number, self.contact.number]
        queued = await self.house.sandbox.post(author, control.PostRequest(chat, members, text, **more))
        return queued.id

    async def told(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        return [_data(event) for event in await told(self.house, self.instance_id, kind, count)]

    async def arm(self, fault: str, **more: Any) -> None:
        await self.house.sandbox.arm(control.FaultRequest(fault, control.Scope(self.number, 1), **more))

    async def answers(self, wa_id: str, *, author: str | None = None) -> set[str]:
        """What the instance's device has answered, as the author's phone was told of it."""
        rows = await self.house.sandbox.sent(author or self.contact.number)
        (row,) = [row for row in rows if row.id == wa_id]
        return {receipt.kind for receipt in row.receipts if (receipt.number, receipt.device) == (self.number, 1)}

    async def is_answered(self, wa_id: str, *kinds: str, author: str | None = None) -> None:
        async def enough() -> bool:
            return set(kinds) <= await self.answers(wa_id, author=author)

        await until(enough)

    async def is_settled(self) -> None:
        """Wait until the server has nothing left for the instance."""

        async def is_empty() -> bool:
            return (await self.house.sandbox.device(self.number, 1)).queued == 0

        await until(is_empty)

    async def require_once(self, *texts: str) -> list[dict[str, Any]]:
        """All is settled, and these texts were received, each once; their events."""
        await self.told(RECEIVED, len(texts))
        await self.is_settled()
        events = await self.told(RECEIVED, len(texts))
        assert sorted(event["body"]["text"] for event in events) == sorted(texts)
        return events


def _data(event: Event) -> dict[str, Any]:
    assert event.data is not None
    return dict(event.data)


@pytest.fixture
async def circle(house: House) -> Circle:
    instance_id, number = await house.pair()
    return Circle(house, instance_id, number, await house.sandbox.create_account())


async def test_group_text_is_received_with_its_group_and_its_author(circle: Circle) -> None:
    sent = await circle.post(GROUP, "hello all")
    (event,) = await circle.require_once("hello all")
    contact = circle.contact
    assert event["wa_message_id"] == sent
    assert event["chat"] == {"jid": GROUP, "phone": None, "lid": None, "type": "group"}
    assert (event["from"], event["phone"], event["lid"]) == (contact.number, contact.number, contact.lid)
    await circle.is_answered(sent, "inactive")


async def test_group_texts_are_received_in_order_with_one_key(circle: Circle) -> None:
    texts = [f"text {number}" for number in range(20)]
    for text in texts:
        await circle.post(GROUP, text)
    assert [event["body"]["text"] for event in await circle.require_once(*texts)] == texts


async def test_group_text_without_its_key_is_asked_for_and_received_once(circle: Circle) -> None:
    sent = await circle.post(GROUP, "can you read this", keys="withheld")
    (unread,) = await circle.told(UNDECRYPTABLE)
    assert (unread["reason"], unread["wa_message_id"]) == ("no_sender_key", sent)
    assert unread["chat"]["jid"] == GROUP
    assert unread["retry"] == {"count": 1, "state": "pending"}
    (event,) = await circle.require_once("can you read this")
    assert event["message_id"] == unread["message_id"]
    await circle.is_answered(sent, "retry", "inactive")
    await circle.post(GROUP, "and this")
    await circle.require_once("can you read this", "and this")


async def test_group_text_that_overtakes_its_key_is_received_once(circle: Circle) -> None:
    await circle.arm("reorder")
    await circle.post(GROUP, "with the key")
    await circle.post(GROUP, "without")
    await circle.require_once("with the key", "without")


@pytest.mark.parametrize(("fault", "reason"), [("corrupt-mac", "invalid_signature"), ("unavailable", "unavailable")])
async def test_group_text_that_cannot_be_read_is_received_in_the_end(circle: Circle, fault: str, reason: str) -> None:
    await circle.arm(fault)
    await circle.post(GROUP, "broken on the way")
    (unread,) = await circle.told(UNDECRYPTABLE)
    assert unread["reason"] == reason
    (event,) = await circle.require_once("broken on the way")
    assert event["message_id"] == unread["message_id"]


async def test_group_text_that_comes_twice_is_received_once(circle: Circle) -> None:
    await circle.arm("duplicate")
    await circle.post(GROUP, "twice")
    await circle.require_once("twice")
    await circle.arm("redeliver-all")
    await circle.post(GROUP, "afterwards")
    await circle.require_once("twice", "afterwards")


async def test_group_text_with_a_used_up_prekey_is_received_in_the_end(circle: Circle) -> None:
    await circle.post(GROUP, "first")
    await circle.require_once("first")
    contact = control.Scope(circle.contact.number)
    await circle.house.sandbox.arm(control.FaultRequest("consumed-prekey", contact))
    await circle.post(GROUP.replace("1@", "2@"), "in another group")
    await circle.require_once("first", "in another group")


async def test_group_text_of_a_hidden_author_is_received(circle: Circle) -> None:
    await circle.arm("lid-only")
    await circle.post(GROUP, "guess who")
    (event,) = await circle.require_once("guess who")
    assert (event["from"], event["lid"]) == (f"{circle.contact.lid}@lid", circle.contact.lid)


async def test_group_text_typed_on_the_own_phone_is_told_as_sent(circle: Circle) -> None:
    sent = await circle.post(GROUP, "from my phone", author=circle.number)
    (event,) = await circle.told("message.sent")
    assert (event["wa_message_id"], event["source"], event["chat"]["jid"]) == (sent, "phone", GROUP)
    assert event["body"]["text"] == "from my phone"
    await circle.is_answered(sent, "sender", author=circle.number)
    await circle.is_settled()


@pytest.mark.parametrize("keys", ["given", "withheld"])
async def test_status_is_received_and_settled(circle: Circle, keys: str) -> None:
    sent = await circle.post(STATUS, "at the beach", keys=keys)
    (event,) = await circle.require_once("at the beach")
    assert (event["wa_message_id"], event["chat"]["jid"], event["chat"]["type"]) == (sent, STATUS, "broadcast")
    assert event["phone"] == circle.contact.number


async def test_list_message_is_received_and_settled(circle: Circle) -> None:
    sent = await circle.post(LIST, "dear customers")
    (event,) = await circle.require_once("dear customers")
    assert (event["wa_message_id"], event["from"]) == (sent, circle.contact.number)
    await circle.is_answered(sent, "inactive")


async def test_newsletter_is_received_and_settled(circle: Circle) -> None:
    sent = await circle.post(NEWS, "breaking news")
    (event,) = await circle.require_once("breaking news")
    assert event["wa_message_id"] == sent
    assert event["chat"] == {"jid": NEWS, "phone": None, "lid": None, "type": "newsletter"}


async def test_reading_a_group_text_is_told_to_its_author(circle: Circle) -> None:
    sent = await circle.post(GROUP, "read this")
    (event,) = await circle.require_once("read this")
    author = f"{event['lid']}@lid"
    await circle.house.system.ask(circle.instance_id, MarkRead(GROUP, author, (sent,)))
    await circle.is_answered(sent, "read")


async def test_group_text_of_an_author_with_new_keys_is_received(circle: Circle) -> None:
    await circle.post(GROUP, "as I was")
    await circle.require_once("as I was")
    await circle.house.sandbox.change_identity(circle.contact.number)
    await circle.post(GROUP, "as I am")
    await circle.require_once("as I was", "as I am")
    (changed,) = await circle.told("contact.identity_changed")
    assert changed["lid"] == circle.contact.lid


async def test_group_texts_that_waited_are_read_with_the_key_of_before(circle: Circle) -> None:
    await circle.post(GROUP, "before")
    await circle.require_once("before")
    await circle.arm("drop")
    for text in ("meanwhile", "and now"):
        await circle.post(GROUP, text)
    await circle.require_once("before", "meanwhile", "and now")
    assert UNDECRYPTABLE not in {event.type for event in await circle.house.events(circle.instance_id)}


@pytest.mark.slow
async def test_a_crash_at_every_arrow_loses_and_doubles_nothing_of_a_group(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.instance.backoff.BASE_S", 0.02)
    bug, texts = Bug(monkeypatch), ("one", "two", "three")

    async def try_arrow(at: int) -> bool:
        instance_id, number = await house.pair()
        circle = Circle(house, instance_id, number, await house.sandbox.create_account())
        plan = bug.arm(instance_id, at)
        group = f"12036300000000{at:04}@g.us"
        await circle.post(group, texts[0], keys="withheld")
        for text in texts[1:]:
            await circle.post(group, text)
        await circle.require_once(*texts)
        await house.status(instance_id, State.CONNECTED)
        return plan.has_struck

    assert await until_no_arrow_is_left(try_arrow, stride=3) > 4
