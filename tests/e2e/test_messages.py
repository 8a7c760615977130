"""Messages both ways through the API: what is accepted arrives, what arrives is told, and each says how far it got."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from api.demo.client import Json, Refused
from tests.e2e.talk import Chat, eventually, make_contact, open_chat, text
from tests.e2e.world import World, open_world
from whatisup.control import MessageRequest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

HEART = "\N{HEAVY BLACK HEART}"


@pytest.fixture
async def chat(world: World) -> Chat:
    """A connected instance, and somebody it has never met."""
    return await open_chat(await world.pair(), name="Grace")


async def send(chat: Chat, body: Json, **more: Any) -> tuple[Json, Json]:
    """Let the instance send something; the API's answer, and the row of the contact that has read it."""
    sent = await chat.write(body, **more)
    return sent, await chat.got(sent["wa_message_id"])


# --- the way of a text ------------------------------------------------------------------------------------------------


async def test_text_is_accepted_then_sent_delivered_and_read(chat: Chat) -> None:
    sent = await chat.write("hello, Grace", client_ref="order 17")
    assert sent["message_id"].startswith("msg_")
    assert sent["client_ref"] == "order 17"
    row = await chat.got(sent["wa_message_id"])
    assert (row["text"], row["number"], row["is_own"]) == ("hello, Grace", chat.number.number, False)
    await chat.told("message.delivered", message_id=sent["message_id"])
    await chat.act("read")
    await chat.told("message.read", message_id=sent["message_id"])
    told = chat.events("message.sent", "message.delivered", "message.read")
    assert [(seen.name, seen.data["status"]) for seen in told] == [
        ("message.sent", "sent"),
        ("message.delivered", "delivered"),
        ("message.read", "read"),
    ]
    for seen in told:
        assert (seen.data["to"], seen.data["client_ref"], seen.data["source"]) == (chat.contact, "order 17", "api")
        assert (seen.data["chat"]["phone"], seen.data["chat"]["lid"]) == (chat.contact, chat.lid)
        assert seen.data["request_id"].startswith("req_")
        assert "body" not in seen.data
    shown = await chat.message(sent["message_id"])
    assert (shown["status"], shown["body"], shown["error"]) == ("read", text("hello, Grace"), None)
    assert [step["status"] for step in shown["history"]] == ["sent", "delivered", "read"]


async def test_text_to_somebody_offline_is_sent_and_delivered_when_they_are_back(chat: Chat) -> None:
    await chat.set_online(False)
    sent = await chat.write("are you there")
    await chat.told("message.sent", message_id=sent["message_id"])
    assert chat.events("message.delivered") == []
    await chat.set_online(True)
    await chat.told("message.delivered", message_id=sent["message_id"])
    await chat.require_exactly_once()


async def test_text_of_a_contact_is_received_with_number_and_lid(chat: Chat) -> None:
    wa_id = await chat.say("hello, instance")
    heard = await chat.heard(wa_id)
    assert (heard["from"], heard["phone"], heard["lid"]) == (chat.contact, chat.contact, chat.lid)
    assert (heard["body"], heard["push_name"]) == (text("hello, instance"), "Grace")
    assert (heard["is_backlog"], heard["is_flagged"]) == (False, False)
    shown = await chat.message(heard["message_id"])
    assert (shown["direction"], shown["status"], shown["source"]) == ("in", "received", "contact")
    assert (shown["body"], shown["from"], shown["push_name"]) == (heard["body"], chat.contact, "Grace")
    receipts = {(one["number"], one["kind"]) for one in (await chat.confirmed(wa_id))["receipts"] if one["device"]}
    assert receipts == {(chat.number.number, "inactive")}, "an instance is not there by default"


async def test_number_is_forgiven_its_looks_and_a_lid_is_a_name_as_well(chat: Chat) -> None:
    spaced = f"+{chat.contact[:3]} {chat.contact[3:6]}-{chat.contact[6:]}"
    names = (spaced, f"{chat.contact}@s.whatsapp.net", f"{chat.lid}@lid")
    for name in names:
        sent = await chat.world.api.call("POST", f"{chat.path}/messages", {"to": name, "body": text(name)})
        assert (await chat.got(sent["wa_message_id"]))["text"] == name
    listed = await chat.messages()
    assert {row["chat"]["jid"] for row in listed} == {f"{chat.lid}@lid"}
    assert len(listed) == len(names)


async def test_echo_answers_each_text_once(world: World) -> None:
    chat = await open_chat(await world.pair(), persona="echo")
    words = [f"echo {number}" for number in range(5)]
    for word in words:
        await chat.write(word)
    for word in words:
        await chat.told("message.received", body=text(word))
    assert [seen.data["body"]["text"] for seen in chat.events("message.received")] == words


async def test_chat_keeps_its_order_both_ways(chat: Chat) -> None:
    burst = 40
    await chat.act("bursts", count=burst, text="in")
    for number in range(burst):
        await chat.write(f"out {number}")
    await chat.told("message.received", body=text(f"in {burst}"))
    for wa_id in chat.written:
        await chat.told("message.delivered", wa_message_id=wa_id)
    assert [row["text"] for row in await chat.rows() if row["verdict"] == "read"] == list(chat.written.values())
    heard = [seen.data["body"]["text"] for seen in chat.events("message.received")]
    assert heard == [f"in {number}" for number in range(1, burst + 1)]
    chat.require_each_event_once()


async def test_text_that_the_phone_wrote_is_told_as_sent_by_the_phone(chat: Chat) -> None:
    await chat.greet()
    request = MessageRequest(chat.contact, text("typed on the phone"))
    queued = await chat.world.control().send_message(chat.number.number, request)
    told = await chat.told("message.sent", wa_message_id=queued.id)
    assert (told.data["source"], told.data["status"], told.data["to"]) == ("phone", "sent", chat.contact)
    assert told.data["body"] == text("typed on the phone")
    shown = await chat.message(told.data["message_id"])
    assert (shown["direction"], shown["source"], shown["chat"]["phone"]) == ("out", "phone", chat.contact)
    rows = await eventually(
        chat.rows, lambda rows: any(row["wa_message_id"] == queued.id for row in rows), "it arrives"
    )
    assert [row["text"] for row in rows if row["wa_message_id"] == queued.id] == ["typed on the phone"]
    await chat.require_exactly_once()


# --- every body -------------------------------------------------------------------------------------------------------


async def test_every_body_reaches_a_contact(chat: Chat) -> None:
    asked = await chat.say("what do you say")
    await chat.heard(asked)
    reply, row = await send(chat, {**text("this"), "reply_to": asked})
    assert row["text"] == "this"
    assert row["body"]["reply_to"]["wa_message_id"] == asked
    _, row = await send(chat, {**text(f"look, @{chat.contact}"), "mentions": [chat.contact]})
    assert any(chat.contact in name or chat.lid in name for name in row["body"]["mentions"])
    _, row = await send(chat, {"type": "reaction", "message_id": asked, "emoji": HEART})
    assert row["body"] == {"type": "reaction", "message_id": asked, "emoji": HEART}
    _, row = await send(chat, {"type": "edit", "message_id": reply["message_id"], "text": "that"})
    assert row["body"] == {"type": "edit", "message_id": reply["wa_message_id"], "text": "that"}
    _, row = await send(chat, {"type": "location", "latitude": 52.5, "longitude": 13.25, "name": "here"})
    assert (row["kind"], row["body"]["latitude"], row["body"]["longitude"]) == ("location", 52.5, 13.25)
    assert row["body"]["name"] == "here"
    _, row = await send(chat, {"type": "contact", "contacts": [{"name": "Eve", "phone_number": "15550001111"}]})
    assert (row["kind"], row["body"]["contacts"][0]["name"]) == ("contact", "Eve")
    assert "15550001111" in row["body"]["contacts"][0]["vcard"]
    _, row = await send(chat, {"type": "revoke", "message_id": reply["wa_message_id"]})
    assert row["body"] == {"type": "revoke", "message_id": reply["wa_message_id"]}
    for sent in (await chat.messages())[:-1]:
        await chat.told("message.delivered", wa_message_id=sent["wa_message_id"])
    assert Counter(row["verdict"] for row in await chat.rows()) == {"read": 7}


async def test_every_body_of_a_contact_is_received(chat: Chat) -> None:
    sent = await chat.write("what do you say")
    about = sent["wa_message_id"]
    await chat.got(about)
    reply = await chat.say({**text("this"), "reply_to": about})
    heard = await chat.heard(reply)
    assert heard["body"]["text"] == "this"
    assert heard["body"]["reply_to"]["wa_message_id"] == about
    body: Json = {"type": "reaction", "message_id": about, "emoji": HEART}
    assert (await chat.heard(await chat.say(body)))["body"] == body
    body = {"type": "edit", "message_id": reply, "text": "that"}
    assert (await chat.heard(await chat.say(body)))["body"] == body
    body = {"type": "location", "latitude": -33.75, "longitude": 151.25, "name": "there"}
    assert (await chat.heard(await chat.say(body)))["body"] == body
    heard = await chat.heard(
        await chat.say({"type": "contact", "contacts": [{"name": "Eve", "phone_number": "15550001111"}]})
    )
    assert heard["body"]["contacts"][0]["name"] == "Eve"
    body = {"type": "revoke", "message_id": reply}
    assert (await chat.heard(await chat.say(body)))["body"] == body
    rows = await chat.messages("&direction=in")
    assert [row["kind"] for row in reversed(rows)] == ["text", "reaction", "edit", "location", "contact", "revoke"]


async def test_polls_are_asked_and_answered_both_ways(chat: Chat) -> None:
    sent, row = await send(chat, {"type": "poll", "name": "Tea?", "options": ["yes", "no"]})
    assert (row["kind"], row["body"]["name"], row["body"]["options"]) == ("poll", "Tea?", ["yes", "no"])
    await chat.act("votes", wa_message_id=sent["wa_message_id"], options=["no"])
    vote = {"type": "poll_vote", "poll": sent["wa_message_id"], "options": ["no"]}
    heard = await chat.told("message.received", body=vote)
    assert heard.data["from"] == chat.contact
    asked = await chat.say({"type": "poll", "name": "Cake?", "options": ["a", "b", "c"], "selectable_count": 2})
    body = (await chat.heard(asked))["body"]
    assert (body["name"], body["options"], body["selectable_count"]) == ("Cake?", ["a", "b", "c"], 2)
    # A vote of theirs in their own poll can be read as well.
    await chat.act("votes", wa_message_id=asked, options=["a", "c"])
    await chat.told("message.received", body={"type": "poll_vote", "poll": asked, "options": ["a", "c"]})


async def test_bodies_that_cannot_be_sent_yet_say_so(chat: Chat) -> None:
    await chat.heard(await chat.say("hello"))
    refused: Sequence[tuple[Json, str, str]] = (
        ({"type": "image", "url": "https://example.com/a.png"}, chat.contact, "media_not_supported_yet"),
        (text("hello, all"), "120363000000000001@g.us", "chat_not_supported_yet"),
        ({"type": "revoke", "message_id": "3EB0000000"}, chat.contact, "target_not_found"),
        ({"type": "poll", "name": "?", "options": ["alone"]}, chat.contact, "validation_failed"),
        (text(""), chat.contact, "validation_failed"),
        (text("x" * 65_537), chat.contact, "validation_failed"),
        (text("hello"), "12", "validation_failed"),
    )
    for body, to, code in refused:
        with pytest.raises(Refused) as caught:
            await chat.world.api.call("POST", f"{chat.path}/messages", {"to": to, "body": body})
        assert (caught.value.status, caught.value.code) == (422, code)
    assert await chat.messages("&direction=out") == []


# --- the outbox -------------------------------------------------------------------------------------------------------


async def test_fifty_equal_requests_at_once_are_one_message(chat: Chat) -> None:
    body = {"to": chat.contact, "body": text("only once")}
    answers: list[Json] = []

    async def post() -> None:
        answers.append(
            await chat.world.api.call("POST", f"{chat.path}/messages", body, idempotency_key=f"once-{chat.contact}")
        )

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(post)
    assert len({(answer["message_id"], answer["wa_message_id"]) for answer in answers}) == 1
    chat.written[answers[0]["wa_message_id"]] = "only once"
    await chat.require_exactly_once()
    other = {**body, "body": text("something else")}
    with pytest.raises(Refused) as caught:
        await chat.world.api.call("POST", f"{chat.path}/messages", other, idempotency_key=f"once-{chat.contact}")
    assert caught.value.code == "idempotency_mismatch"


async def test_what_is_accepted_while_reconnecting_waits_and_goes_out(chat: Chat) -> None:
    await chat.greet()
    await chat.harm_instance("failure-503", seconds=1.5)
    await chat.harm_instance("drop")
    await chat.number.status("reconnecting")
    for number in range(3):
        await chat.write(f"while reconnecting {number}")
    assert (await chat.number.row())["status"] == "reconnecting"
    assert [row["status"] for row in (await chat.messages("&direction=out"))[:3]] == ["queued"] * 3
    await chat.require_exactly_once()
    read = [row["text"] for row in await chat.rows() if row["verdict"] == "read"]
    assert read[1:4] == [f"while reconnecting {number}" for number in range(3)]


async def test_what_expires_before_it_can_be_sent_fails(chat: Chat) -> None:
    await chat.greet()
    await chat.harm_instance("failure-503", seconds=2.5)
    await chat.harm_instance("drop")
    await chat.number.status("reconnecting")
    sent = await chat.write("now or never", expires_in=1)
    later = await chat.write("there is time", expires_in=600)
    failed = await chat.told("message.failed", message_id=sent["message_id"])
    assert failed.data["error"]["code"] == "expired"
    assert (await chat.message(sent["message_id"]))["error"]["code"] == "expired"
    await chat.told("message.delivered", message_id=later["message_id"])
    assert [row for row in await chat.rows() if row["wa_message_id"] == sent["wa_message_id"]] == []


async def test_without_a_session_nothing_is_accepted_and_nothing_stored(world: World) -> None:
    number = await world.create()
    chat = await open_chat(number)
    path, body, key = f"{chat.path}/messages", {"to": chat.contact, "body": text("hello")}, f"key-{chat.contact}"

    async def refused() -> None:
        for _ in range(2):
            with pytest.raises(Refused) as caught:
                await world.api.call("POST", path, body, idempotency_key=key)
            assert (caught.value.status, caught.value.code) == (409, "not_connected")
        assert await chat.messages() == []

    await refused()
    await world.api.call("GET", f"{chat.path}/qr")
    assert (await number.row())["status"] == "qr_required"
    await refused()
    await number.phone("scan")
    await number.status("connected")
    await number.act("stop")
    await number.status("disconnected")
    await refused()
    await number.act("start")
    await number.status("connected")
    sent = await world.api.call("POST", path, body, idempotency_key=key)
    await chat.got(sent["wa_message_id"])
    assert len(await chat.messages()) == 1


async def test_number_that_is_not_on_whatsapp_fails(chat: Chat) -> None:
    nobody = "999000000000"
    path = f"{chat.path}/messages"
    sent = await chat.world.api.call("POST", path, {"to": nobody, "body": text("anybody?")})
    failed = await chat.told("message.failed", message_id=sent["message_id"])
    assert (failed.data["error"]["code"], failed.data["to"]) == ("not_on_whatsapp", nobody)
    assert chat.events("message.sent") == []
    await chat.greet()


async def test_logout_fails_what_waits(chat: Chat) -> None:
    await chat.greet()
    await chat.harm_instance("failure-503", seconds=60)
    await chat.harm_instance("drop")
    await chat.number.status("reconnecting")
    sent = await chat.write("too late")
    await chat.number.act("logout")
    failed = await chat.told("message.failed", message_id=sent["message_id"])
    assert failed.data["error"]["code"] == "instance_logged_out"
    assert (await chat.message(sent["message_id"]))["status"] == "failed"


# --- looking, reading, typing -----------------------------------------------------------------------------------------


async def test_messages_are_listed_newest_first_page_by_page(chat: Chat) -> None:
    other = await open_chat(chat.number)
    for number in range(3):
        await chat.heard(await chat.say(f"in {number}"))
        await chat.write(f"out {number}")
    await other.heard(await other.say("somebody else"))
    listed = await chat.messages()
    assert [row["body"]["text"] for row in listed] == ["out 2", "in 2", "out 1", "in 1", "out 0", "in 0"]
    assert [row["body"]["text"] for row in await chat.messages("&direction=in")] == ["in 2", "in 1", "in 0"]
    since = listed[3]["created_at"]
    assert {row["body"]["text"] for row in await chat.messages(f"&since={since}")} >= {"out 2", "in 2", "out 1", "in 1"}
    assert "in 0" not in {row["body"]["text"] for row in await chat.messages(f"&since={since}")}
    seen, cursor = [], ""
    while True:
        page = await chat.world.api.call("GET", f"{chat.path}/messages?limit=2{cursor}")
        seen += [row["body"]["text"] for row in page["data"]]
        if page["next_cursor"] is None:
            break
        assert len(page["data"]) == 2
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == ["somebody else", *(row["body"]["text"] for row in listed)]
    row = listed[0]
    by_its_id = await chat.world.api.call("GET", f"{chat.path}/messages/{row['wa_message_id']}?chat={chat.contact}")
    assert by_its_id["message_id"] == row["message_id"]
    for unknown in ("msg_00000000000000000000000000", f"{row['wa_message_id']}?chat={other.contact}"):
        assert (await chat.world.api.ask("GET", f"{chat.path}/messages/{unknown}")).status == 404


async def test_reading_a_message_tells_its_author(chat: Chat) -> None:
    first, second = await chat.say("read me"), await chat.say("and me")
    message_id = (await chat.heard(first))["message_id"]
    await chat.heard(second)
    await chat.world.api.call("POST", f"{chat.path}/messages/{message_id}/read", {})
    await chat.world.api.call("POST", f"{chat.path}/messages/{second}/read?chat={chat.contact}", {})

    def is_read(rows: list[Json]) -> bool:
        kinds = [{one["kind"] for one in row["receipts"] if one["device"]} for row in rows]
        return all("read" in kind for kind in kinds)

    await eventually(lambda: chat.log("sent"), is_read, "both are read")
    sent = await chat.write("mine")
    with pytest.raises(Refused) as caught:
        await chat.world.api.call("POST", f"{chat.path}/messages/{sent['message_id']}/read", {})
    assert caught.value.code == "validation_failed"


def _has(state: str, states: Sequence[str]) -> bool:
    return state in states


async def test_typing_is_shown_and_ends(chat: Chat) -> None:
    await chat.greet()
    path = f"{chat.path}/chats/{chat.contact}/presence"

    async def states() -> list[str]:
        return [row["state"] for row in await chat.log("seen") if row["number"] == chat.number.number]

    for presence, state in (("typing", "composing"), ("recording", "recording"), ("paused", "paused")):
        await chat.world.api.call("POST", path, {"presence": presence})
        await eventually(states, partial(_has, state), f"{state} is shown")
    shown = [state for state in await states() if state in ("composing", "recording", "paused")]
    assert shown == ["composing", "recording", "paused"]


async def test_contact_exists_for_those_who_may_know(chat: Chat) -> None:
    path = f"{chat.path}/contacts"
    found = await chat.world.api.call("GET", f"{path}/{chat.contact}/exists")
    assert found == {"exists": True, "phone": chat.contact, "lid": chat.lid}
    missing = await chat.world.api.call("GET", f"{path}/999000000000/exists")
    assert missing["exists"] is False
    assert missing["lid"] is None
    # Who belongs to another customer is not there at all.
    foreign = await chat.world.control().create_account(tenant="somebody-else")
    assert (await chat.world.api.call("GET", f"{path}/{foreign.number}/exists"))["exists"] is False
    sent = await chat.world.api.call("POST", f"{chat.path}/messages", {"to": foreign.number, "body": text("hello")})
    failed = await chat.told("message.failed", message_id=sent["message_id"])
    assert failed.data["error"]["code"] == "not_on_whatsapp"


async def test_two_instances_write_to_each_other(world: World) -> None:
    one, other = await world.pair("one"), await world.pair("other")
    since = world.journal.mark()
    for here, there in ((one, other), (other, one), (one, other)):
        path = f"/v1/instances/{here.instance_id}/messages"
        sent = await world.api.call("POST", path, {"to": there.number, "body": text("from one to the other")})
        heard = await there.seen("message.received", since=since, wa_message_id=sent["wa_message_id"])
        assert heard.data["from"] == here.number
        assert heard.data["body"] == text("from one to the other")
        await here.seen("message.delivered", since=since, message_id=sent["message_id"])


async def test_person_with_a_new_phone_is_told_and_written_to(chat: Chat) -> None:
    await chat.greet()
    await chat.world.api.call("POST", f"/v1/sandbox/contacts/{chat.contact}/identity-change")
    told = await chat.told("contact.identity_changed")
    assert (told.data["phone"], told.data["lid"]) == (chat.contact, chat.lid)
    await chat.heard(await chat.say("it is me"))
    await chat.require_exactly_once()


# --- forgetting -------------------------------------------------------------------------------------------------------


async def test_bodies_that_are_not_to_be_kept_go_once_they_have_settled(tmp_path: Path) -> None:
    async with open_world(tmp_path, MESSAGE_BODY_RETENTION_DAYS="0") as world:
        chat = await open_chat(await world.pair())
        contact = await make_contact(world)
        assert contact["number"] != chat.contact
        heard = await chat.heard(await chat.say("for the moment"))
        sent = await chat.write("only now")
        await chat.told("message.delivered", message_id=sent["message_id"])
        assert (await chat.message(heard["message_id"]))["body"] == text("for the moment")
        # A quarter of an hour later:
        world.change("update messages set settled_at = settled_at - 15 * 60 * 1000 - 1 where settled_at is not null")
        await eventually(
            chat.messages, lambda rows: all(row["body_expired"] for row in rows), "the bodies have been dropped"
        )
        for message_id in (heard["message_id"], sent["message_id"]):
            shown = await chat.message(message_id)
            assert (shown["body"], shown["body_expired"]) == (None, True)
        page = await world.api.call("GET", f"/v1/events?instance_id={chat.number.instance_id}&events=message.received")
        assert [(one["data"]["body"], one["data"]["body_expired"]) for one in page["data"]] == [(None, True)]
        assert world.query("select count(*) from messages where body is not null or original is not null") == [(0,)]
