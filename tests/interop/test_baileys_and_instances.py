"""Unmodified Baileys and an instance of ours, on one sandbox, as the API's customer sees it.

Baileys is linked to the account of one of the customer's simulated people, whose phone is offline unless a test says
otherwise: what is read, confirmed and answered there, Baileys reads, confirms and answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from actors.sandbox import SandboxClient
from api.demo.client import Json
from tests.e2e.conftest import _processes, world  # noqa: F401 -- pytest finds fixtures by their names
from tests.e2e.talk import Chat, eventually, open_chat, text
from tests.e2e.world import World
from tests.interop.baileys import PATIENCE_S, Baileys, open_baileys, require_baileys
from whatisup import control

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

DELIVERED, READ = 3, 4  # status
REVOKED = 1  # stub type
HEART = "\N{HEAVY BLACK HEART}"
# The sandbox's certificate is its own.
SELF_SIGNED = {"NODE_TLS_REJECT_UNAUTHORIZED": "0", "NODE_NO_WARNINGS": "1"}


@pytest.fixture(scope="session")
def node() -> str:
    return require_baileys()


@dataclass
class Pair:
    """An instance and a Baileys that write to each other."""

    chat: Chat
    baileys: Baileys

    @property
    def instance_jid(self) -> str:
        return f"{self.chat.number.number}@s.whatsapp.net"

    @property
    def scope(self) -> control.Scope:
        """Baileys, for faults."""
        return control.Scope(self.chat.contact, 1)

    async def write(self, body: Json | str, **more: Any) -> tuple[Json, dict[str, Any]]:
        """Let the instance write; the API's answer, and what Baileys shows."""
        sent = await self.chat.write(body, **more)
        return sent, await self.baileys.until("message", id=sent["wa_message_id"])

    async def say(self, content: dict[str, Any], **more: Any) -> Json:
        """Let Baileys write; the data of the event that tells of it."""
        return await self.chat.heard(await self.send(content, **more))

    async def send(self, content: dict[str, Any], **more: Any) -> str:
        await self.baileys.do("send", to=self.instance_jid, content=content, **more)
        sent = str((await self.baileys.until("sent"))["id"])
        if "text" in content and "edit" not in content:
            self.chat.said[sent] = content["text"]
        return sent


async def link(baileys: Baileys, sandbox: SandboxClient, number: str) -> None:
    """Link a client to an account, and wait until it has had its phone's greeting."""
    await baileys.do("connect")
    qr = await baileys.until("qr")
    await sandbox.scan(number, qr["qr"])
    await baileys.until("open")
    if not any(event["event"] == "idle" for event in baileys.seen):
        await baileys.until("idle")


async def told_as(baileys: Baileys, wa_id: str, status: int) -> None:
    """Wait until Baileys shows that its message got that far; it may do so together with the message itself."""
    with trio.fail_after(PATIENCE_S):
        while not any(
            event.get("id") == wa_id and (event.get("status") or 0) >= status
            for event in baileys.seen
            if event["event"] in ("message", "update")
        ):
            await baileys.next()


@pytest.fixture
async def chat(world: World) -> Chat:  # noqa: F811 -- pytest passes the fixture
    return await open_chat(await world.pair(), name="Grace")


@pytest.fixture
async def pair(node: str, chat: Chat) -> AsyncIterator[Pair]:
    async with open_baileys(node, chat.world.ready["url"], SELF_SIGNED) as baileys:
        await link(baileys, chat.world.control(), chat.contact)
        # Else it says of messages that they came in the background, which is no second tick.
        await baileys.do("wake")
        await baileys.until("awake")
        await chat.set_online(False)
        yield Pair(chat, baileys)


async def test_text_goes_both_ways_and_receipts_reach_both(pair: Pair) -> None:
    chat, baileys = pair.chat, pair.baileys
    heard = await pair.say({"text": "hello from Baileys"})
    assert heard["body"] == text("hello from Baileys")
    assert (heard["from"], heard["phone"], heard["lid"]) == (chat.contact, chat.contact, chat.lid)
    # An instance is inactive by default; that is a delivery all the same.
    await told_as(baileys, heard["wa_message_id"], DELIVERED)
    await chat.world.api.call("POST", f"{chat.path}/messages/{heard['message_id']}/read", {})
    await told_as(baileys, heard["wa_message_id"], READ)
    sent, shown = await pair.write("hello from the gateway")
    assert (shown["text"], shown["fromMe"], shown["live"]) == ("hello from the gateway", False, True)
    await chat.told("message.delivered", message_id=sent["message_id"])
    await baileys.do("read", id=sent["wa_message_id"])
    await chat.told("message.read", message_id=sent["message_id"])
    steps = (await chat.message(sent["message_id"]))["history"]
    assert [step["status"] for step in steps] == ["sent", "delivered", "read"]


async def test_first_word_may_be_either_ones(pair: Pair) -> None:
    sent, shown = await pair.write("may I")
    assert shown["text"] == "may I"
    await pair.chat.told("message.delivered", message_id=sent["message_id"])
    assert (await pair.say({"text": "you may"}))["body"] == text("you may")
    again, _ = await pair.write("thank you")
    await pair.chat.told("message.delivered", message_id=again["message_id"])


async def test_long_conversation_stays_readable(pair: Pair) -> None:
    for turn in range(8):
        assert (await pair.say({"text": f"baileys {turn}"}))["body"] == text(f"baileys {turn}")
        _, shown = await pair.write(f"instance {turn}")
        assert shown["text"] == f"instance {turn}"
    assert pair.chat.events("message.undecryptable") == []
    pair.chat.require_each_event_once()


async def test_instance_replies_reacts_edits_revokes_and_shows_places(pair: Pair) -> None:
    chat, baileys = pair.chat, pair.baileys
    asked = (await pair.say({"text": "what do you think"}))["wa_message_id"]
    sent, shown = await pair.write({**text("good"), "reply_to": asked})
    assert (shown["text"], shown["quoted"]) == ("good", asked)
    quoted = shown["message"]["extendedTextMessage"]["contextInfo"]["quotedMessage"]
    assert "what do you think" in str(quoted)
    await chat.write({"type": "reaction", "message_id": asked, "emoji": HEART})
    assert (await baileys.until("reaction", id=asked))["emoji"] == HEART
    await chat.write({"type": "edit", "message_id": sent["message_id"], "text": "very good"})
    await baileys.until("update", id=sent["wa_message_id"], text="very good")
    await chat.write({"type": "revoke", "message_id": sent["message_id"]})
    await baileys.until("update", id=sent["wa_message_id"], stub=REVOKED)
    _, shown = await pair.write({"type": "location", "latitude": 52.5, "longitude": 13.25, "name": "here"})
    place = shown["message"]["locationMessage"]
    assert (place["degreesLatitude"], place["degreesLongitude"], place["name"]) == (52.5, 13.25, "here")
    _, shown = await pair.write({"type": "contact", "contacts": [{"name": "Eve", "phone_number": "15550001111"}]})
    assert "15550001111" in shown["message"]["contactMessage"]["vcard"]


async def test_baileys_replies_reacts_edits_revokes_and_shows_places(pair: Pair) -> None:
    sent, _ = await pair.write("what do you think")
    about = sent["wa_message_id"]
    heard = await pair.say({"text": "good"}, quote=about)
    assert (heard["body"]["text"], heard["body"]["reply_to"]["wa_message_id"]) == ("good", about)
    reply = heard["wa_message_id"]
    heard = await pair.say({"react": {"text": HEART, "key": about}})
    assert heard["body"] == {"type": "reaction", "message_id": about, "emoji": HEART}
    heard = await pair.say({"text": "very good", "edit": reply})
    assert heard["body"] == {"type": "edit", "message_id": reply, "text": "very good"}
    heard = await pair.say({"delete": reply})
    assert heard["body"] == {"type": "revoke", "message_id": reply}
    heard = await pair.say({"location": {"degreesLatitude": 52.5, "degreesLongitude": 13.25, "name": "here"}})
    assert (heard["body"]["latitude"], heard["body"]["longitude"], heard["body"]["name"]) == (52.5, 13.25, "here")
    vcard = "BEGIN:VCARD\nVERSION:3.0\nFN:Eve\nTEL;type=CELL;waid=15550001111:+15550001111\nEND:VCARD"
    heard = await pair.say({"contacts": {"displayName": "Eve", "contacts": [{"vcard": vcard}]}})
    assert heard["body"]["type"] == "contact"
    assert "15550001111" in str(heard["body"]["contacts"])


async def test_polls_are_asked_and_answered(pair: Pair) -> None:
    sent, shown = await pair.write({"type": "poll", "name": "Cake?", "options": ["a", "b", "c"]})
    polls = [value for name, value in shown["message"].items() if name.startswith("pollCreation")]
    assert [option["optionName"] for option in polls[0]["options"]] == ["a", "b", "c"]
    heard = await pair.say({"poll": {"name": "Tea?", "values": ["yes", "no"], "selectableCount": 1}})
    assert (heard["kind"] if "kind" in heard else heard["body"]["type"]) == "poll"
    assert (heard["body"]["name"], heard["body"]["options"]) == ("Tea?", ["yes", "no"])
    # Baileys cannot vote; its phone can, in the poll of the instance.
    await pair.chat.set_online(True)
    await pair.chat.got(sent["wa_message_id"])
    await pair.chat.act("votes", wa_message_id=sent["wa_message_id"], options=["b"])
    await pair.chat.told(
        "message.received", body={"type": "poll_vote", "poll": sent["wa_message_id"], "options": ["b"]}
    )


async def test_offline_baileys_gets_its_queue_in_order(pair: Pair) -> None:
    chat, baileys = pair.chat, pair.baileys
    await pair.write("one")
    await baileys.do("leave")
    await baileys.until("close")
    sent = [await chat.write(f"while away {number}") for number in range(8)]
    for one in sent:
        await chat.told("message.sent", message_id=one["message_id"])
    assert len(chat.events("message.delivered")) <= 1
    await baileys.do("connect")
    for number, one in enumerate(sent):
        shown = await baileys.until("message", id=one["wa_message_id"])
        assert shown["text"] == f"while away {number}"
    # What it gets before it is available, it confirms in the background, which the sender is not shown.
    device = chat.world.control().device
    await eventually(lambda: device(chat.contact, 1), lambda shown: shown.queued == 0, "all of them are confirmed")
    await chat.set_online(True)
    for one in sent:
        await chat.told("message.delivered", message_id=one["message_id"])
    chat.require_each_event_once()


async def test_instance_that_was_away_gets_what_baileys_wrote(pair: Pair) -> None:
    chat = pair.chat
    await pair.say({"text": "one"})
    await chat.number.act("stop")
    await chat.number.status("disconnected")
    sent = [await pair.send({"text": f"while away {number}"}) for number in range(8)]
    await chat.number.act("start")
    for wa_id in sent:
        assert (await chat.heard(wa_id))["is_backlog"] is True
        await told_as(pair.baileys, wa_id, DELIVERED)
    heard = [seen.data["wa_message_id"] for seen in chat.events("message.received")]
    assert heard[1:] == sent


async def test_what_baileys_cannot_read_is_sent_again_and_arrives_once(pair: Pair) -> None:
    chat, baileys = pair.chat, pair.baileys
    await pair.say({"text": "one"})
    await pair.write("two")
    await chat.world.control().arm(control.FaultRequest("corrupt-mac", pair.scope))
    broken = await chat.write("broken on the way")
    await baileys.until("message", id=broken["wa_message_id"], text="broken on the way")
    await chat.told("message.delivered", message_id=broken["message_id"])
    await baileys.do("forget", jid=chat.number.number)
    await baileys.until("forgot")
    lost = await chat.write("you forgot me")
    await baileys.until("message", id=lost["wa_message_id"], text="you forgot me")
    await chat.told("message.delivered", message_id=lost["message_id"])
    _, shown = await pair.write("and on we go")
    assert shown["text"] == "and on we go"
    assert (await pair.say({"text": "so we do"}))["body"] == text("so we do")
    shown_by_id = Counter(event["id"] for event in baileys.seen if event["event"] == "message" and event["text"])
    assert {wa_id: shown_by_id[wa_id] for wa_id in chat.written} == dict.fromkeys(chat.written, 1)
    chat.require_each_event_once()


async def test_what_the_instance_cannot_read_baileys_sends_again(pair: Pair) -> None:
    chat = pair.chat
    await pair.say({"text": "one"})
    await pair.write("two")
    await chat.harm_instance("corrupt-mac")
    sent = await pair.send({"text": "broken on the way"})
    unread = await chat.told("message.undecryptable", wa_message_id=sent)
    heard = await chat.heard(sent)
    assert heard["message_id"] == unread.data["message_id"]
    assert heard["body"] == text("broken on the way")
    assert (await pair.say({"text": "three"}))["body"] == text("three")
    _, shown = await pair.write("four")
    assert shown["text"] == "four"
    assert {row["wa_message_id"] for row in await chat.messages("&direction=in")} == set(chat.said)
    chat.require_each_event_once()


async def test_one_id_for_two_messages_is_two_messages(pair: Pair) -> None:
    """As an album was seen to be sent: what differs is not dropped as a copy."""
    chat = pair.chat
    sandbox = chat.world.control()
    await sandbox.set_switches([control.Switch.REUSED_ID])
    try:
        wa_id = await pair.send({"text": "the first"}, id="3EB0ALBUM00000000001")
        await chat.told("message.received", wa_message_id=wa_id, body=text("the first"))
        await pair.send({"text": "the second"}, id=wa_id)
        second = await chat.told("message.received", wa_message_id=wa_id, body=text("the second"))
        assert second.data["is_flagged"] is True
        assert sorted(row["body"]["text"] for row in await chat.messages()) == ["the first", "the second"]
    finally:
        with trio.CancelScope(shield=True):
            await sandbox.set_switches([])


async def test_baileys_that_is_linked_later_gets_what_is_written_from_then_on(node: str, chat: Chat) -> None:
    await chat.greet()
    async with open_baileys(node, chat.world.ready["url"], SELF_SIGNED) as baileys:
        await link(baileys, chat.world.control(), chat.contact)
        sent = await chat.write("to all of you")
        assert (await baileys.until("message", id=sent["wa_message_id"]))["text"] == "to all of you"
        await chat.told("message.delivered", message_id=sent["message_id"])
        await chat.require_exactly_once()


async def test_baileys_on_the_instances_own_account_sees_and_is_seen(node: str, chat: Chat) -> None:
    """Two companions of one account: what one sends, the other has as well."""
    await chat.greet()
    async with open_baileys(node, chat.world.ready["url"], SELF_SIGNED) as baileys:
        await link(baileys, chat.world.control(), chat.number.number)
        sent = await chat.write("from the gateway")
        shown = await baileys.until("message", id=sent["wa_message_id"])
        assert (shown["text"], shown["fromMe"]) == ("from the gateway", True)
        content = {"text": "from the other companion"}
        await baileys.do("send", to=f"{chat.contact}@s.whatsapp.net", content=content)
        wa_id = (await baileys.until("sent"))["id"]
        told = await chat.told("message.sent", wa_message_id=wa_id)
        assert (told.data["source"], told.data["to"]) == ("phone", chat.contact)
        assert told.data["body"] == text("from the other companion")
        assert (await chat.got(wa_id))["text"] == "from the other companion"
        heard = await chat.say("to both of you")
        assert (await baileys.until("message", id=heard))["text"] == "to both of you"
        await chat.heard(heard)


async def test_typing_is_seen_by_baileys(pair: Pair) -> None:
    await pair.say({"text": "one"})
    path = f"{pair.chat.path}/chats/{pair.chat.contact}/presence"
    for presence, state in (("typing", "composing"), ("recording", "recording"), ("paused", "available")):
        await pair.chat.world.api.call("POST", path, {"presence": presence})
        await pair.baileys.until("typing", state=state)
