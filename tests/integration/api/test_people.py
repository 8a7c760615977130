"""Simulated people through the API: what one does the other sees, and nobody sees another customer's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from actors.sandbox import SandboxRefused
from api.bootstrap.sandboxes import ExternalSandbox, adopt_phones
from tests.integration.api.front import WAIT_S, Front, Holder, Json
from whatisup import control
from whatisup.store import phones

CONTACTS = "/v1/sandbox/contacts"


async def person(holder: Holder, name: str, **more: str) -> str:
    """A simulated person's number."""
    return str((await holder.call("POST", CONTACTS, {"name": name, **more}, 201))["number"])


async def say(holder: Holder, number: str, to: str, text: str) -> str:
    """Let somebody send a text; its id."""
    body = {"to": to, "body": {"type": "text", "text": text}}
    return str((await holder.call("POST", f"{CONTACTS}/{number}/messages", body, 202))["wa_message_id"])


async def until(look: Callable[[], Awaitable[list[Json]]], count: int) -> list[Json]:
    """Look again until there are that many rows."""
    rows: list[Json] = []
    with trio.move_on_after(WAIT_S):
        while len(rows := await look()) < count:
            await trio.sleep(0.05)
        return rows
    raise AssertionError(f"{len(rows)} of {count}: {rows}")


def log(holder: Holder, number: str, which: str = "received", query: str = "") -> Callable[[], Awaitable[list[Json]]]:
    async def look() -> list[Json]:
        rows: list[Json] = (await holder.call("GET", f"{CONTACTS}/{number}/{which}{query}"))["data"]
        return rows

    return look


async def test_person_is_made_listed_and_changed(paired_front: Front) -> None:
    alice = await paired_front.holder()
    made = await alice.call("POST", CONTACTS, {"name": "Ada", "persona": "echo"}, 201, Idempotency_Key="once")
    assert set(made) == {"number", "lid", "name", "persona", "is_online", "created_at"}
    assert (made["name"], made["persona"], made["is_online"]) == ("Ada", "echo", True)
    again = await alice.call("POST", CONTACTS, {"name": "Ada", "persona": "echo"}, 201, Idempotency_Key="once")
    assert again == made
    assert (await alice.call("GET", CONTACTS))["data"] == [made]
    path = f"{CONTACTS}/{made['number']}"
    assert (await alice.call("POST", f"{path}/persona", {"persona": "silent"}))["persona"] == "silent"
    assert (await alice.call("POST", f"{path}/online", {"online": False}))["is_online"] is False
    assert (await alice.call("GET", path))["is_online"] is False
    taken = await alice.refused("POST", CONTACTS, {"number": made["number"]})
    assert taken == (409, "phone_exists")


async def test_phone_of_an_older_release_meets_the_people_of_its_customer(paired_front: Front) -> None:
    alice, bob, sandbox = await paired_front.holder(), await paired_front.holder("bob"), paired_front.edge.sandbox
    assert isinstance(sandbox, ExternalSandbox)
    old, lost = (await sandbox.client.create_account()).number, (await sandbox.client.create_account()).number
    assert await paired_front.write(phones.claim, alice.customer_id, old, 1)
    friend, stranger = await person(alice, "Ada"), await person(bob, "Grace")
    hello = {"to": friend, "body": {"type": "text", "text": "hello"}}
    assert await alice.refused("POST", f"{CONTACTS}/{old}/messages", hello) == (409, "sandbox_refused")
    await adopt_phones(sandbox, paired_front.database)
    await say(alice, old, friend, "hello")
    await until(log(alice, friend), 1)
    to_bob = control.MessageRequest(stranger, {"type": "text", "text": "hello"})
    with pytest.raises(SandboxRefused, match="there is no account"):
        await sandbox.client.send_message(old, to_bob)
    assert (await sandbox.client.account(lost)).tenant is None, "nobody is known to have it"


async def test_person_is_a_phone_and_the_other_way_round(paired_front: Front) -> None:
    alice = await paired_front.holder()
    phone, ada = await alice.create_phone(), await person(alice, "Ada")
    for path in (CONTACTS, "/v1/sandbox/phones"):
        assert [row["number"] for row in (await alice.call("GET", path))["data"]] == [phone, ada]


async def test_what_one_says_the_other_reads(paired_front: Front) -> None:
    alice = await paired_front.holder()
    ada, grace = await person(alice, "Ada"), await person(alice, "Grace")
    sent_id = await say(alice, ada, grace, "hello")
    (row,) = await until(log(alice, grace), 1)
    assert (row["wa_message_id"], row["number"], row["chat"]) == (sent_id, ada, ada)
    assert (row["kind"], row["text"], row["verdict"]) == ("text", "hello", "read")
    assert row["body"]["text"] == "hello"
    await alice.call("POST", f"{CONTACTS}/{grace}/read", {"to": ada}, 204)

    async def receipts() -> list[Json]:
        (sent,) = await log(alice, ada, "sent")()
        return [one for one in sent["receipts"] if one["kind"] == "read"]

    (receipt,) = await until(receipts, 1)
    assert receipt["number"] == grace


async def test_person_votes_types_and_is_seen(paired_front: Front) -> None:
    alice = await paired_front.holder()
    ada, grace = await person(alice, "Ada"), await person(alice, "Grace")
    poll = {"to": grace, "body": {"type": "poll", "name": "lunch?", "options": ["yes", "no"]}}
    poll_id = (await alice.call("POST", f"{CONTACTS}/{ada}/messages", poll, 202))["wa_message_id"]
    await until(log(alice, grace), 1)
    await alice.call("POST", f"{CONTACTS}/{grace}/votes", {"to": ada, "wa_message_id": poll_id, "options": ["no"]}, 202)
    (vote,) = await until(log(alice, ada), 1)
    assert vote["kind"] == "poll_vote"
    await alice.call("POST", f"{CONTACTS}/{grace}/typing", {"to": ada, "presence": "recording"}, 204)
    rows = await until(log(alice, ada, "seen"), 1)
    assert (rows[-1]["number"], rows[-1]["state"]) == (grace, "recording")


async def test_echo_answers_and_bursts_come_in_order(paired_front: Front) -> None:
    alice = await paired_front.holder()
    ada, echo = await person(alice, "Ada"), await person(alice, "Echo", persona="echo")
    begun = await alice.call("POST", f"{CONTACTS}/{ada}/bursts", {"to": echo, "count": 5, "text": "n"}, 202)
    assert (begun["count"], begun["to"]) == (5, echo)
    rows = await until(log(alice, echo), 5)
    assert [row["text"] for row in rows] == [f"n {number}" for number in range(1, 6)]
    answers = await until(log(alice, ada), 5)
    assert sorted(row["text"] for row in answers) == [f"n {number}" for number in range(1, 6)]
    behind = await log(alice, echo, query=f"?after={rows[2]['position']}&limit=1")()
    assert [row["text"] for row in behind] == ["n 4"]
    (shown,) = await log(alice, ada, "bursts")()
    assert shown["done"] == 5


async def test_people_of_others_do_not_exist(paired_front: Front) -> None:
    alice, bob = await paired_front.holder("alice"), await paired_front.holder("bob")
    ada, eve = await person(alice, "Ada"), await person(bob, "Eve")
    body = {"type": "text", "text": "psst"}
    for method, path, content in (
        ("GET", ada, None),
        ("GET", f"{ada}/received", None),
        ("POST", f"{ada}/messages", {"to": eve, "body": body}),
        ("POST", f"{ada}/online", {"online": False}),
        ("POST", f"{eve}/messages", {"to": ada, "body": body}),
    ):
        assert await bob.refused(method, f"{CONTACTS}/{path}", content) == (404, "phone_not_found")
    assert [row["number"] for row in (await bob.call("GET", CONTACTS))["data"]] == [eve]


@pytest.mark.parametrize(
    ("deed", "body", "code", "field"),
    [
        ("messages", {"body": {"type": "text", "text": "x"}}, "validation_failed", "to"),
        ("messages", {"to": "999000000001", "body": {"type": "song"}}, "validation_failed", "body.type"),
        ("online", {}, "validation_failed", "online"),
        ("persona", {"persona": "rude"}, "validation_failed", "persona"),
        ("bursts", {"to": "999000000001", "count": 0}, "validation_failed", "count"),
    ],
)
async def test_deed_is_refused_with_the_field(front: Front, deed: str, body: Json, code: str, field: str) -> None:
    alice = await front.holder()
    answer = await alice.ask("POST", f"{CONTACTS}/999000000001/{deed}", body)
    error = (await answer.get_json())["error"]
    assert (answer.status_code, error["code"], error["details"]["field"]) == (422, code, field)


async def test_instance_without_a_phone_cannot_be_written_to(paired_front: Front) -> None:
    alice = await paired_front.holder()
    ada = await person(alice, "Ada")
    body = {"instance_id": await alice.create(), "body": {"type": "text", "text": "x"}}
    assert await alice.refused("POST", f"{CONTACTS}/{ada}/messages", body) == (409, "sandbox_refused")
