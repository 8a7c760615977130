"""Messages through the API, with the store and without a WhatsApp: what is accepted, refused, found and shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.integration.api.front import Front, Holder, Json, open_front
from whatisup.lifecycle import State
from whatisup.store import Mode, Tx, datakeys
from whatisup.store import outbox as outbox_items
from whatisup.store.tables import idempotency, instances, messages, outbox

OWN = "999000000001"
PEER = "999000000002"
CHAT = f"{PEER}@s.whatsapp.net"
HELLO = {"to": PEER, "body": {"type": "text", "text": "hello"}}
KEY = {"Idempotency_Key": "first-try"}


@dataclass
class Desk:
    """A front whose actors are not told of anything, so that what is accepted stays as it is."""

    front: Front
    nudged: list[str] = field(default_factory=list)

    async def instance(self, holder: Holder, status: State = State.CONNECTED) -> str:
        """An instance whose row says `status`."""
        instance_id = await holder.create()

        def write(tx: Tx) -> None:
            values = {"status": status.value, "has_account": status is not State.PENDING, "phone_number": OWN}
            tx.conn.execute(update(instances).where(instances.c.id == instance_id).values(values))
            datakeys.create(tx.conn, tx.vault, instance_id, tx.now)  # as pairing does

        await self.front.write(write)
        return instance_id

    async def target(self, message_id: str) -> Json:
        """What the outbox keeps of the message that another one is about."""
        item = await self.front.database.read(outbox_items.get, message_id)
        assert item is not None
        assert item.target is not None
        return {name: value for name, value in item.target.items() if value is not None}

    async def count(self, table: Any) -> int:
        def read(conn: Any, _vault: Any) -> int:
            return len(conn.execute(select(table)).all())

        return await self.front.database.read(read)


@pytest.fixture
async def desk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    async with open_front(folder, HEARTBEAT_INTERVAL_MS="3600000") as front:
        made = Desk(front)
        monkeypatch.setattr(type(front.edge.system), "nudge", lambda _, instance_id: made.nudged.append(instance_id))
        yield made


async def send(holder: Holder, instance_id: str, **changes: Any) -> Json:
    return await holder.call("POST", f"/v1/instances/{instance_id}/messages", {**HELLO, **changes}, 202)


async def test_send_is_accepted_stored_and_told(desk: Desk) -> None:
    alice = await desk.front.holder()
    instance_id = await desk.instance(alice)
    accepted = await send(alice, instance_id, client_ref="order 7")
    assert set(accepted) == {"message_id", "wa_message_id", "client_ref", "status"}
    assert (accepted["status"], accepted["client_ref"]) == ("queued", "order 7")
    assert accepted["message_id"].startswith("msg_")
    assert len(accepted["wa_message_id"]) == 22
    assert accepted["wa_message_id"].startswith("3EB0")
    assert desk.nudged == [instance_id]
    shown = await alice.call("GET", f"/v1/instances/{instance_id}/messages/{accepted['message_id']}")
    assert shown["body"] == HELLO["body"]
    assert (shown["direction"], shown["source"], shown["status"], shown["kind"]) == ("out", "api", "queued", "text")
    assert shown["chat"] == {"jid": CHAT, "phone": PEER, "lid": None, "type": "user"}
    assert (shown["error"], shown["body_expired"], shown["client_ref"]) == (None, False, "order 7")
    assert shown["from"] == OWN


@pytest.mark.parametrize("to", [f"+{PEER}", "999 00000-0002", CHAT, f"{PEER}@c.us"])
async def test_send_forgives_how_the_number_is_written(desk: Desk, to: str) -> None:
    alice = await desk.front.holder()
    instance_id = await desk.instance(alice)
    await send(alice, instance_id, to=to)
    (row,) = (await alice.call("GET", f"/v1/instances/{instance_id}/messages?chat={PEER}"))["data"]
    assert row["chat"]["jid"] == CHAT


@pytest.mark.parametrize(
    "body",
    [
        {"type": "text", "text": "look https://example.com", "link_preview": True, "mentions": [PEER]},
        {"type": "location", "latitude": 1.5, "longitude": -2.25, "name": "here"},
        {"type": "contact", "contacts": [{"name": "Ada", "phone_number": PEER}]},
        {"type": "poll", "name": "lunch?", "options": ["yes", "no"], "selectable_count": 2},
    ],
    ids=lambda body: str(body["type"]),
)
async def test_send_keeps_the_body_as_it_came(desk: Desk, body: Json) -> None:
    alice = await desk.front.holder()
    instance_id = await desk.instance(alice)
    accepted = await send(alice, instance_id, body=body)
    shown = await alice.call("GET", f"/v1/instances/{instance_id}/messages/{accepted['message_id']}")
    assert (shown["body"], shown["kind"]) == (body, body["type"])


@pytest.mark.parametrize("status", [State.PENDING, State.QR_REQUIRED, State.DISCONNECTED])
async def test_send_without_a_session_is_409_and_stores_nothing(desk: Desk, status: State) -> None:
    alice = await desk.front.holder()
    instance_id = await desk.instance(alice, status)
    answer = await alice.ask("POST", f"/v1/instances/{instance_id}/messages", HELLO, **KEY)
    error = (await answer.get_json())["error"]
    assert (answer.status_code, error["code"], error["details"]) == (409, "not_connected", {"status": status})
    assert [await desk.count(table) for table in (messages, outbox, idempotency)] == [0, 0, 0]
    assert desk.nudged == []


async def test_send_while_reconnecting_waits_in_the_outbox(desk: Desk) -> None:
    alice = await desk.front.holder()
    instance_id = await desk.instance(alice, State.RECONNECTING)
    assert (await send(alice, instance_id, expires_in=60))["status"] == "queued"
    assert await desk.count(outbox) == 1


async def test_send_with_a_key_happens_once(desk: Desk) -> None:
    alice = await desk.front.holder()
    instance_id = await desk.instance(alice)
    path = f"/v1/instances/{instance_id}/messages"
    first = await alice.call("POST", path, HELLO, 202, **KEY)
    again = await alice.ask("POST", path, HELLO, **KEY)
    assert (again.status_code, await again.get_json()) == (202, first)
    assert again.headers["Idempotent-Replayed"] == "true"
    other = {**HELLO, "client_ref": "another body"}
    assert await alice.refused("POST", path, other, **KEY) == (409, "idempotency_mismatch")
    assert [await desk.count(table) for table in (messages, outbox)] == [1, 1]


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"to": "12"}, "validation_failed", "to"),
        ({"to": "120363000000000001@g.us"}, "chat_not_supported_yet", "to"),
        ({"to": "status@broadcast"}, "chat_not_supported_yet", "to"),
        ({"body": {"type": "image", "media_url": "https://example.com/a.png"}}, "media_not_supported_yet", "body.type"),
        ({"body": {"type": "text", "text": "x", "reply_to": "msg_1"}}, "target_not_found", "body.reply_to"),
        ({"body": {"type": "text", "text": "x", "reply_to": "\0"}}, "target_not_found", "body.reply_to"),
        ({"body": {"type": "reaction", "message_id": "3EB0", "emoji": "👍"}}, "target_not_found", "body.message_id"),
        ({"body": {"type": "poll", "name": "x", "options": ["a"]}}, "validation_failed", "body.options"),
        ({"client_ref": "x" * 256}, "validation_failed", "client_ref"),
        ({"expires_in": 2_592_001}, "validation_failed", "expires_in"),
    ],
)
async def test_send_refuses_with_code_and_field(desk: Desk, changes: Json, code: str, field: str) -> None:
    alice = await desk.front.holder()
    instance_id = await desk.instance(alice)
    answer = await alice.ask("POST", f"/v1/instances/{instance_id}/messages", {**HELLO, **changes})
    error = (await answer.get_json())["error"]
    assert (answer.status_code, error["code"], error["details"]["field"]) == (422, code, field)
    assert await desk.count(messages) == 0


async def test_send_finds_its_target_by_either_id_in_that_chat_alone(desk: Desk) -> None:
    alice = await desk.front.holder()
    instance_id = await desk.instance(alice)
    first = await send(alice, instance_id)
    for reference in (first["message_id"], first["wa_message_id"]):
        await send(alice, instance_id, body={"type": "edit", "message_id": reference, "text": "hello!"})
        elsewhere = {"to": "999000000003", "body": {"type": "revoke", "message_id": reference}}
        refused = await alice.refused("POST", f"/v1/instances/{instance_id}/messages", elsewhere)
        assert refused == (422, "target_not_found")


async def test_send_from_somebody_elses_instance_is_404(desk: Desk) -> None:
    alice, bob = await desk.front.holder("alice"), await desk.front.holder("bob")
    live = await desk.front.holder("alice", Mode.LIVE)
    instance_id = await desk.instance(alice)
    accepted = await send(alice, instance_id)
    path = f"/v1/instances/{instance_id}/messages"
    for other in (bob, live):
        assert await other.refused("POST", path, HELLO) == (404, "instance_not_found")
        assert await other.refused("GET", path) == (404, "instance_not_found")
        assert await other.refused("GET", f"{path}/{accepted['message_id']}") == (404, "instance_not_found")


async def test_message_is_found_by_whatsapps_id_with_its_chat(desk: Desk) -> None:
    alice = await desk.front.holder()
    instance_id = await desk.instance(alice)
    accepted = await send(alice, instance_id)
    path = f"/v1/instances/{instance_id}/messages/{accepted['wa_message_id']}"
    assert (await alice.call("GET", f"{path}?chat=%2B{PEER}"))["message_id"] == accepted["message_id"]
    assert await alice.refused("GET", path) == (422, "validation_failed")
    assert await alice.refused("GET", f"{path}?chat=999000000003") == (404, "message_not_found")
    assert await alice.refused("GET", f"/v1/instances/{instance_id}/messages/msg_1") == (404, "message_not_found")
    other = await desk.instance(alice)
    elsewhere = f"/v1/instances/{other}/messages/{accepted['message_id']}"
    assert await alice.refused("GET", elsewhere) == (404, "message_not_found")


async def test_list_is_newest_first_and_goes_on_by_cursor(desk: Desk) -> None:
    alice = await desk.front.holder()
    instance_id = await desk.instance(alice)
    sent = [(await send(alice, instance_id))["message_id"] for _ in range(5)]
    path = f"/v1/instances/{instance_id}/messages"
    seen: list[str] = []
    query = "?limit=2"
    while True:
        page = await alice.call("GET", path + query)
        seen += [row["message_id"] for row in page["data"]]
        if page["next_cursor"] is None:
            break
        query = f"?limit=2&cursor={page['next_cursor']}"
    assert seen == sent[::-1]
    assert await alice.refused("GET", f"{path}?cursor=x") == (400, "bad_cursor")


async def test_list_filters_by_chat_direction_and_time(desk: Desk) -> None:
    alice = await desk.front.holder()
    instance_id = await desk.instance(alice)
    first = await send(alice, instance_id)
    second = await send(alice, instance_id, to="999000000003")
    path = f"/v1/instances/{instance_id}/messages"

    async def ids(query: str) -> list[str]:
        return [row["message_id"] for row in (await alice.call("GET", f"{path}?{query}"))["data"]]

    assert await ids(f"chat={PEER}") == [first["message_id"]]
    assert await ids(f"chat={CHAT}") == [first["message_id"]]
    assert await ids("direction=out") == [second["message_id"], first["message_id"]]
    assert await ids("direction=in") == []
    assert await ids("since=2020-01-01T00:00:00Z") == [second["message_id"], first["message_id"]]
    assert await ids("since=2999-01-01T00:00:00Z") == []


async def test_read_is_for_messages_of_others(desk: Desk) -> None:
    alice = await desk.front.holder()
    instance_id = await desk.instance(alice)
    accepted = await send(alice, instance_id)
    path = f"/v1/instances/{instance_id}/messages/{accepted['message_id']}/read"
    assert await alice.refused("POST", path, {}) == (422, "validation_failed")


async def test_presence_and_contact_checks_name_what_is_wrong(desk: Desk) -> None:
    alice = await desk.front.holder()
    path = f"/v1/instances/{await desk.instance(alice)}"
    typing = {"presence": "typing"}
    assert await alice.refused("POST", f"{path}/chats/12/presence", typing) == (422, "validation_failed")
    group = f"{path}/chats/120363000000000001@g.us/presence"
    assert await alice.refused("POST", group, typing) == (422, "chat_not_supported_yet")
    assert await alice.refused("GET", f"{path}/contacts/12/exists") == (422, "validation_failed")


async def test_live_number_must_be_possible(desk: Desk) -> None:
    live = await desk.front.holder(mode=Mode.LIVE)
    instance_id = await desk.instance(live)
    path = f"/v1/instances/{instance_id}/messages"
    assert await live.refused("POST", path, HELLO) == (422, "validation_failed")
    assert await live.refused("GET", f"/v1/instances/{instance_id}/contacts/{PEER}/exists") == (
        422,
        "validation_failed",
    )
    await send(live, instance_id, to="+55 11 99999-9999")
