"""A paired instance and a simulated person talk through the API: what each says arrives, and every step is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
import trio

from api.schemas.payloads import PAYLOADS
from tests.integration.api.front import WAIT_S, Front, Holder, Json

CONTACTS = "/v1/sandbox/contacts"
PAGE = {"Accept": "application/json"}


class Talk:
    """An instance, and a person to talk with."""

    def __init__(self, holder: Holder, instance_id: str, own: str, friend: str) -> None:
        self.holder, self.id, self.own, self.friend = holder, instance_id, own, friend
        self.messages = f"/v1/instances/{instance_id}/messages"

    async def send(self, body: Json, **more: str) -> Json:
        return await self.holder.call("POST", self.messages, {"to": self.friend, "body": body, **more}, 202)

    async def hears(self, body: Json) -> Json:
        """The friend says something; the instance's message of it."""
        request = {"instance_id": self.id, "body": body}
        queued = await self.holder.call("POST", f"{CONTACTS}/{self.friend}/messages", request, 202)
        return await self.stored(queued["wa_message_id"])

    async def stored(self, wa_id: str) -> Json:
        async def look() -> list[Json]:
            answer = await self.holder.ask("GET", f"{self.messages}/{wa_id}?chat={self.friend}")
            return [await answer.get_json()] if answer.status_code == 200 else []

        return (await until(look, lambda rows: bool(rows)))[0]

    async def reaches(self, message_id: str, status: str) -> Json:
        async def look() -> list[Json]:
            return [await self.holder.call("GET", f"{self.messages}/{message_id}")]

        return (await until(look, lambda rows: rows[0]["status"] == status))[0]

    async def friend_got(self, wa_id: str) -> Json:
        async def look() -> list[Json]:
            rows: list[Json] = (await self.holder.call("GET", f"{CONTACTS}/{self.friend}/received"))["data"]
            return [row for row in rows if row["wa_message_id"] == wa_id]

        rows = await until(look, lambda rows: bool(rows))
        assert [row["verdict"] for row in rows] == ["read"]
        return rows[0]

    async def events(self, kind: str, message_id: str) -> list[Json]:
        async def look() -> list[Json]:
            page = await self.holder.call("GET", f"/v1/events?events={kind}&limit=100", **PAGE)  # type: ignore[arg-type]  # a header
            return [row["data"] for row in page["data"] if row["data"]["message_id"] == message_id]

        return await until(look, lambda rows: bool(rows))


async def until(look: Callable[[], Awaitable[list[Json]]], holds: Callable[[list[Json]], bool]) -> list[Json]:
    """Look again until it holds."""
    rows: list[Json] = []
    with trio.move_on_after(WAIT_S):
        while not holds(rows := await look()):
            await trio.sleep(0.05)
        return rows
    raise AssertionError(f"it does not hold: {rows}")


@pytest.fixture
async def talk(paired_front: Front) -> AsyncIterator[Talk]:
    alice = await paired_front.holder()
    instance_id, number = await alice.pair()
    friend = (await alice.call("POST", CONTACTS, {"name": "Ada"}, 201))["number"]
    yield Talk(alice, instance_id, number, friend)
    page = await alice.call("GET", "/v1/events?limit=100", **PAGE)
    for envelope in page["data"]:
        check_payload(envelope)


def check_payload(envelope: Json) -> None:
    """Each event is as the document says: nothing is missing, of another type, or unknown."""
    kind, data = PAYLOADS[envelope["event"]], envelope["data"]
    msgspec.convert(data, kind)
    assert set(data) <= set(kind.__struct_encode_fields__), envelope


async def test_sent_text_arrives_and_every_step_is_told(talk: Talk) -> None:
    accepted = await talk.send({"type": "text", "text": "hello"}, client_ref="order 7")
    got = await talk.friend_got(accepted["wa_message_id"])
    assert (got["number"], got["text"], got["kind"]) == (talk.own, "hello", "text")
    await talk.reaches(accepted["message_id"], "delivered")
    await talk.holder.call("POST", f"{CONTACTS}/{talk.friend}/read", {"instance_id": talk.id}, 204)
    shown = await talk.reaches(accepted["message_id"], "read")
    assert [step["status"] for step in shown["history"]] == ["sent", "delivered", "read"], shown["history"]
    assert shown["sent_at"] is not None
    assert shown["chat"]["phone"] == talk.friend
    for kind in ("message.sent", "message.delivered", "message.read"):
        (told,) = await talk.events(kind, accepted["message_id"])
        assert (told["wa_message_id"], told["client_ref"]) == (accepted["wa_message_id"], "order 7")
        assert told["to"] == talk.friend


async def test_received_text_is_stored_told_and_can_be_read(talk: Talk) -> None:
    got = await talk.hears({"type": "text", "text": "are you there?"})
    assert (got["direction"], got["source"], got["status"]) == ("in", "contact", "received")
    assert (got["from"], got["push_name"], got["body"]["text"]) == (talk.friend, "Ada", "are you there?")
    (told,) = await talk.events("message.received", got["message_id"])
    assert (told["from"], told["body"]) == (talk.friend, got["body"])
    assert told["chat"]["lid"] == got["chat"]["lid"] is not None
    await talk.holder.call("POST", f"{talk.messages}/{got['message_id']}/read", {})

    async def receipts() -> list[Json]:
        (sent,) = (await talk.holder.call("GET", f"{CONTACTS}/{talk.friend}/sent"))["data"]
        return [one for one in sent["receipts"] if one["kind"] == "read" and one["number"] == talk.own]

    await until(receipts, lambda rows: bool(rows))


BODIES: tuple[Json, ...] = (
    {"type": "location", "latitude": 1.5, "longitude": -2.25, "name": "here"},
    {"type": "contact", "contacts": [{"name": "Grace", "phone_number": "999000000009"}]},
    {"type": "poll", "name": "lunch?", "options": ["yes", "no"]},
)


async def test_body_of_each_kind_goes_both_ways(talk: Talk) -> None:
    for body in BODIES:
        accepted = await talk.send(body)
        assert (await talk.friend_got(accepted["wa_message_id"]))["kind"] == body["type"]
        got = await talk.hears(body)
        assert got["kind"] == body["type"]
        names = body.keys() - {"contacts"}
        assert {name: got["body"][name] for name in names} == {name: body[name] for name in names}


async def test_reply_reaction_edit_and_revoke_name_their_message(talk: Talk) -> None:
    theirs = await talk.hears({"type": "text", "text": "first"})
    for body in (
        {"type": "text", "text": "second", "reply_to": theirs["message_id"]},
        {"type": "reaction", "message_id": theirs["wa_message_id"], "emoji": "👍"},
    ):
        accepted = await talk.send(body)
        got = await talk.friend_got(accepted["wa_message_id"])
        about = got["body"].get("message_id") or got["body"]["reply_to"]["wa_message_id"]
        assert (got["kind"], about) == (body["type"], theirs["wa_message_id"])
    ours = await talk.send({"type": "text", "text": "thirt"})
    for body in (
        {"type": "edit", "message_id": ours["message_id"], "text": "third"},
        {"type": "revoke", "message_id": ours["message_id"]},
    ):
        accepted = await talk.send(body)
        got = await talk.friend_got(accepted["wa_message_id"])
        assert (got["kind"], got["body"]["message_id"]) == (body["type"], ours["wa_message_id"])


async def test_edit_of_somebody_elses_message_is_refused_at_once(talk: Talk) -> None:
    theirs = await talk.hears({"type": "text", "text": "first"})
    body = {"to": talk.friend, "body": {"type": "edit", "message_id": theirs["message_id"], "text": "mine"}}
    answer = await talk.holder.ask("POST", talk.messages, body)
    error = (await answer.get_json())["error"]
    assert (answer.status_code, error["code"]) == (422, "validation_failed")
    assert error["details"]["field"] == "body.message_id"


async def test_number_that_nobody_has_fails_with_an_event(talk: Talk) -> None:
    accepted = await talk.holder.call(
        "POST", talk.messages, {"to": "999123456789", "body": {"type": "text", "text": "anybody?"}}, 202
    )
    shown = await talk.reaches(accepted["message_id"], "failed")
    assert shown["error"]["code"] == "not_on_whatsapp"
    (told,) = await talk.events("message.failed", accepted["message_id"])
    assert told["error"]["code"] == "not_on_whatsapp"


async def test_contact_check_and_typing(talk: Talk) -> None:
    path = f"/v1/instances/{talk.id}"
    known = await talk.holder.call("GET", f"{path}/contacts/%2B{talk.friend}/exists")
    assert (known["exists"], known["phone"]) == (True, talk.friend)
    assert known["lid"] is not None
    nobody = await talk.holder.call("GET", f"{path}/contacts/999123456789/exists")
    assert nobody["exists"] is False
    shown = await talk.holder.call("POST", f"{path}/chats/{talk.friend}/presence", {"presence": "typing"})
    assert shown == {"chat": f"{talk.friend}@s.whatsapp.net", "presence": "typing"}

    async def seen() -> list[Json]:
        rows: list[Json] = (await talk.holder.call("GET", f"{CONTACTS}/{talk.friend}/seen"))["data"]
        return [row for row in rows if (row["number"], row["state"]) == (talk.own, "composing")]

    await until(seen, lambda rows: bool(rows))


async def test_what_waits_while_stopped_is_refused_and_after_start_goes_on(talk: Talk) -> None:
    await talk.holder.call("POST", f"/v1/instances/{talk.id}/stop", {})
    body = {"to": talk.friend, "body": {"type": "text", "text": "late"}}
    assert await talk.holder.refused("POST", talk.messages, body) == (409, "not_connected")
    offline = await talk.holder.call(
        "POST",
        f"{CONTACTS}/{talk.friend}/messages",
        {"to": talk.own, "body": {"type": "text", "text": "while you were out"}},
        202,
    )
    await talk.holder.call("POST", f"/v1/instances/{talk.id}/start", {})
    got = await talk.stored(offline["wa_message_id"])
    assert got["body"]["text"] == "while you were out"
    accepted = await talk.send(body["body"])  # type: ignore[arg-type]  # the body above
    await talk.friend_got(accepted["wa_message_id"])
