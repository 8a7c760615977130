"""Unmodified Baileys talks with simulated people through the sandbox: what one says the other reads, both ways.

Its Signal implementation is not ours, so this is what proves that ciphertexts, padding and addresses are right.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from actors.sandbox import SandboxClient
from tests.interop.baileys import PATIENCE_S, Baileys, open_baileys, require_baileys
from tests.unit.whatisup.sandbox.loopback import open_loopback
from whatisup import control

NUMBER = "999000000077"
BOB = "999000000078"

REVOKED = 1  # stub type of a message that was deleted for everyone
READ = 4  # status


@pytest.fixture(scope="session")
def node() -> str:
    return require_baileys()


@dataclass
class Pair:
    """A Baileys that is paired with one number, and Bob, who is simulated."""

    baileys: Baileys
    phone: SandboxClient
    bob: str
    """Bob's hidden id as Baileys names him."""

    async def say(self, text: str) -> str:
        """Let Bob write; return the message's id."""
        return await self.send({"type": "text", "text": text})

    async def send(self, body: dict[str, Any]) -> str:
        return (await self.phone.send_message(BOB, control.MessageRequest(NUMBER, body))).id

    async def write(self, content: dict[str, Any], **more: Any) -> str:
        """Let Baileys write to Bob; return the message's id."""
        await self.baileys.do("send", to=f"{BOB}@s.whatsapp.net", content=content, **more)
        return str((await self.baileys.until("sent"))["id"])

    async def read(self, number: str, message_id: str) -> control.ReceivedMessage:
        """Wait until a phone has read a message."""
        rows: list[control.ReceivedMessage] = await wait_for(
            lambda: self.phone.received(number),
            lambda rows: any(row.id == message_id and row.verdict == "read" for row in rows),
        )
        return next(row for row in rows if row.id == message_id and row.verdict == "read")

    async def receipts(self, number: str, message_id: str, wanted: set[tuple[str, int, str]]) -> None:
        """Wait until these devices have done that with a phone's message."""
        await wait_for(
            lambda: self.phone.sent(number),
            lambda rows: any(
                row.id == message_id and wanted <= {(one.number, one.device, one.kind) for one in row.receipts}
                for row in rows
            ),
        )


async def wait_for(look: Callable[[], Any], is_it: Callable[[Any], bool]) -> Any:
    found = None
    with trio.move_on_after(PATIENCE_S):
        while True:
            found = await look()
            if is_it(found):
                return found
            await trio.sleep(0.02)
    raise AssertionError(f"it did not come to be within {PATIENCE_S:g} s: {found}")


@pytest.fixture
async def pair(node: str) -> AsyncIterator[Pair]:
    async with open_loopback(seed=1) as loopback, open_baileys(node, loopback.ready.url) as baileys:
        phone = SandboxClient(loopback.ready.control_url, loopback.ready.token)
        await phone.create_account(NUMBER, "Ada")
        bob = await phone.create_account(BOB, "Bob")
        await baileys.do("connect")
        qr = await baileys.until("qr")
        await phone.scan(NUMBER, qr["qr"])
        # Without its phone's greeting it would keep everything to itself for 20 seconds.
        await baileys.until("open")
        yield Pair(baileys, phone, f"{bob.lid}@lid")


async def test_text_goes_both_ways_and_is_confirmed(pair: Pair) -> None:
    sent = await pair.say("hello from Bob")
    heard = await pair.baileys.until("message", id=sent)
    assert (heard["text"], heard["fromMe"], heard["live"], heard["from"]) == ("hello from Bob", False, True, pair.bob)
    await pair.receipts(BOB, sent, {(NUMBER, 0, "delivered")})
    written = await pair.write({"text": "hello from Baileys"})
    row = await pair.read(BOB, written)
    assert (row.text, row.number, row.device, row.kind) == ("hello from Baileys", NUMBER, 1, "text")
    copy = await pair.read(NUMBER, written)
    assert (copy.is_own, copy.chat, copy.text) == (True, BOB, "hello from Baileys")
    await pair.phone.read(BOB, control.ReadRequest(NUMBER))
    await pair.baileys.until("update", id=written, status=READ)


async def test_conversation_of_many_turns_stays_readable(pair: Pair) -> None:
    for turn in range(12):
        sent = await pair.say(f"bob {turn}")
        assert (await pair.baileys.until("message", id=sent))["text"] == f"bob {turn}"
        written = await pair.write({"text": f"baileys {turn}"})
        assert (await pair.read(BOB, written)).text == f"baileys {turn}"
    assert {row.verdict for row in await pair.phone.received(BOB)} == {"read"}


async def test_bob_replies_reacts_edits_and_revokes(pair: Pair) -> None:
    written = await pair.write({"text": "what do you think"})
    await pair.read(BOB, written)
    reply = await pair.send({"type": "text", "text": "good", "reply_to": written})
    heard = await pair.baileys.until("message", id=reply)
    assert (heard["text"], heard["quoted"]) == ("good", written)
    await pair.send({"type": "reaction", "message_id": written, "emoji": "\N{THUMBS UP SIGN}"})
    assert (await pair.baileys.until("reaction", id=written))["emoji"] == "\N{THUMBS UP SIGN}"
    await pair.send({"type": "edit", "message_id": reply, "text": "very good"})
    await pair.baileys.until("update", id=reply, text="very good")
    await pair.send({"type": "revoke", "message_id": reply})
    await pair.baileys.until("update", id=reply, stub=REVOKED)


async def test_baileys_replies_reacts_edits_and_revokes(pair: Pair) -> None:
    sent = await pair.say("what do you think")
    await pair.baileys.until("message", id=sent)
    reply = await pair.read(BOB, await pair.write({"text": "good"}, quote=sent))
    assert reply.body is not None
    assert (reply.text, reply.body["reply_to"]["wa_message_id"]) == ("good", sent)
    reaction = await pair.read(BOB, await pair.write({"react": {"text": "\N{THUMBS UP SIGN}", "key": sent}}))
    assert reaction.body == {"type": "reaction", "message_id": sent, "emoji": "\N{THUMBS UP SIGN}"}
    edit = await pair.read(BOB, await pair.write({"text": "very good", "edit": reply.id}))
    assert edit.body == {"type": "edit", "message_id": reply.id, "text": "very good"}
    revoke = await pair.read(BOB, await pair.write({"delete": reply.id}))
    assert revoke.body == {"type": "revoke", "message_id": reply.id}


async def test_polls_are_asked_and_answered(pair: Pair) -> None:
    poll = await pair.write({"poll": {"name": "Tea?", "values": ["yes", "no"], "selectableCount": 1}})
    asked = await pair.read(BOB, poll)
    assert asked.body is not None
    assert (asked.kind, asked.body["name"], asked.body["options"]) == ("poll", "Tea?", ["yes", "no"])
    await pair.phone.vote(BOB, control.VoteRequest(NUMBER, poll, ["no"]))
    await pair.baileys.until("vote", poll=poll, options=["no"])
    sent = await pair.send({"type": "poll", "name": "Cake?", "options": ["a", "b", "c"]})
    heard = await pair.baileys.until("message", id=sent)
    assert [option["optionName"] for option in heard["message"]["pollCreationMessageV3"]["options"]] == ["a", "b", "c"]


async def test_location_and_contact_arrive(pair: Pair) -> None:
    sent = await pair.send({"type": "location", "latitude": 52.5, "longitude": 13.25, "name": "here"})
    heard = await pair.baileys.until("message", id=sent)
    assert heard["message"]["locationMessage"]["degreesLatitude"] == 52.5
    sent = await pair.send({"type": "contact", "contacts": [{"name": "Eve", "phone_number": "15550001111"}]})
    heard = await pair.baileys.until("message", id=sent)
    assert "15550001111" in heard["message"]["contactMessage"]["vcard"]


async def test_offline_baileys_gets_its_queue_in_order_when_it_is_back(pair: Pair) -> None:
    await pair.baileys.until("message", id=await pair.say("one"))
    await pair.baileys.do("leave")
    await pair.baileys.until("close")
    sent = [await pair.say(text) for text in ("two", "three", "four")]
    await wait_for(lambda: pair.phone.sent(BOB), lambda rows: all(row.acked_at is not None for row in rows))
    await pair.baileys.do("connect")
    for message_id, text in zip(sent, ("two", "three", "four"), strict=True):
        heard = await pair.baileys.until("message", id=message_id)
        assert heard["text"] == text
        await pair.receipts(BOB, message_id, {(NUMBER, 0, "delivered")})
    await wait_for(lambda: pair.phone.device(NUMBER, 1), lambda device: device.queued == 0)


async def test_message_that_baileys_cannot_read_is_sent_again_and_arrives(pair: Pair) -> None:
    await pair.baileys.until("message", id=await pair.say("one"))
    await pair.phone.arm(control.FaultRequest("corrupt-mac", control.Scope(NUMBER, 1)))
    sent = await pair.say("two")
    heard = await pair.baileys.until("message", id=sent, text="two")
    assert heard["text"] == "two"
    await pair.receipts(BOB, sent, {(NUMBER, 1, "retry")})


async def test_message_made_with_a_prekey_that_is_gone_arrives(pair: Pair) -> None:
    await pair.baileys.until("message", id=await pair.say("one"))
    await pair.phone.arm(control.FaultRequest("consumed-prekey", control.Scope(BOB)))
    sent = await pair.say("two")
    assert (await pair.baileys.until("message", id=sent, text="two"))["text"] == "two"


async def test_message_that_bob_cannot_read_is_sent_again_and_arrives(pair: Pair) -> None:
    await pair.read(BOB, await pair.write({"text": "one"}))
    for fault in ("corrupt-mac", "no-session"):
        await pair.phone.arm(control.FaultRequest(fault, control.Scope(BOB)))
        written = await pair.write({"text": f"after {fault}"})
        row = await pair.read(BOB, written)
        assert (row.text, row.count > 0) == (f"after {fault}", True)
        verdicts = [one.verdict for one in await pair.phone.received(BOB) if one.id == written]
        assert verdicts[0] == "undecryptable"
        assert verdicts.count("read") == 1


async def test_both_write_at_the_same_time_and_go_on(pair: Pair) -> None:
    await pair.baileys.until("message", id=await pair.say("one"))
    await pair.phone.arm(control.FaultRequest("simultaneous", control.Scope(BOB)))
    await pair.read(BOB, await pair.write({"text": "two"}))
    await pair.baileys.until("message", text="simultaneous")
    await pair.baileys.until("message", id=await pair.say("three"), text="three")
    assert (await pair.read(BOB, await pair.write({"text": "four"}))).text == "four"


async def test_bob_with_new_keys_goes_on_talking(pair: Pair) -> None:
    await pair.baileys.until("message", id=await pair.say("one"))
    await pair.read(BOB, await pair.write({"text": "two"}))
    await pair.phone.change_identity(BOB)
    sent = await pair.say("three, and I am still Bob")
    assert (await pair.baileys.until("message", id=sent))["text"] == "three, and I am still Bob"
    assert (await pair.read(BOB, await pair.write({"text": "four"}))).text == "four"


async def test_echo_echoes(pair: Pair) -> None:
    await pair.phone.set_persona(BOB, control.Persona.ECHO)
    await pair.write({"text": "hello?"})
    await pair.baileys.until("message", text="hello?", fromMe=False)
