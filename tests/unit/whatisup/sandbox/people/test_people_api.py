"""The control API of people over HTTP, by its client: what it does, what it shows, and every way it says no."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import pytest
import trio

from actors.sandbox import SandboxClient, SandboxRefused
from tests.unit.whatisup.sandbox.loopback import Loopback, open_loopback
from whatisup import control

ADA = "999000000001"
BOB = "999000000002"
EVE = "999000000003"
PATIENCE_S = 5.0

T = TypeVar("T")


@pytest.fixture
async def loopback() -> AsyncIterator[Loopback]:
    async with open_loopback(seed=1) as running:
        yield running


@pytest.fixture
async def client(loopback: Loopback) -> SandboxClient:
    client = SandboxClient(loopback.ready.control_url, loopback.ready.token)
    await client.create_account(ADA, "Ada")
    await client.create_account(BOB, "Bob")
    return client


async def until(look: Callable[[], Awaitable[T]], is_it: Callable[[T], bool]) -> T:
    with trio.fail_after(PATIENCE_S):
        while not is_it(found := await look()):
            await trio.sleep(0.01)
    return found


def text(to: str, said: str, message_id: str | None = None) -> control.MessageRequest:
    return control.MessageRequest(to, {"type": "text", "text": said}, message_id)


async def refused(call: Awaitable[Any]) -> tuple[int, str]:
    with pytest.raises(SandboxRefused) as caught:
        await call
    return caught.value.status, caught.value.code


async def test_message_is_sent_read_and_shown(client: SandboxClient) -> None:
    queued = await client.send_message(ADA, text(BOB, "hello", "3EB0123456"))
    assert queued.id == "3EB0123456"
    (row,) = await until(lambda: client.received(BOB), bool)
    assert (row.id, row.number, row.chat, row.text, row.kind, row.verdict) == (
        queued.id, ADA, ADA, "hello", "text", "read",
    )  # fmt: skip
    (sent,) = await until(lambda: client.sent(ADA), lambda rows: bool(rows and rows[0].receipts))
    assert (sent.id, sent.to, sent.text, sent.error, sent.failure) == (queued.id, BOB, "hello", None, None)
    assert [(one.number, one.device, one.kind) for one in sent.receipts] == [(BOB, 0, "delivered")]


async def test_post_reaches_the_members_of_a_group(client: SandboxClient) -> None:
    group = "120363000000000001@g.us"
    queued = await client.post(ADA, control.PostRequest(group, [BOB], "hello all"))
    key, said = await until(lambda: client.received(BOB), lambda rows: len(rows) == 2)
    assert (key.kind, key.text) == ("", None)
    assert (said.id, said.chat, said.number, said.text) == (queued.id, group, ADA, "hello all")
    (sent,) = await until(lambda: client.sent(ADA), lambda rows: bool(rows and rows[0].receipts))
    assert (sent.to, sent.error, [one.kind for one in sent.receipts]) == (group, None, ["delivered"])


@pytest.mark.parametrize("chat", [BOB, f"{BOB}@s.whatsapp.net", "somebody@g.us", "@g.us", "other@broadcast"])
async def test_post_is_for_many_only(client: SandboxClient, chat: str) -> None:
    assert await refused(client.post(ADA, control.PostRequest(chat, [BOB], "hello"))) == (400, "bad_request")


async def test_post_to_nobody_who_exists_is_refused(client: SandboxClient) -> None:
    request = control.PostRequest("status@broadcast", [EVE], "hello")
    assert await refused(client.post(ADA, request)) == (404, "unknown_number")


async def test_logs_are_read_page_by_page(client: SandboxClient) -> None:
    for index in range(5):
        await client.send_message(ADA, text(BOB, str(index)))
    rows = await until(lambda: client.received(BOB), lambda rows: len(rows) == 5)
    first = await client.received(BOB, limit=2)
    rest = await client.received(BOB, after=first[-1].position)
    assert [row.text for row in (*first, *rest)] == [row.text for row in rows] == list("01234")
    sent = await client.sent(ADA, after=(await client.sent(ADA, limit=3))[-1].position)
    assert [row.text for row in sent] == ["3", "4"]


async def test_reply_vote_read_and_typing(client: SandboxClient) -> None:
    poll = await client.send_message(
        ADA, control.MessageRequest(BOB, {"type": "poll", "name": "Tea?", "options": ["yes", "no"]})
    )
    await until(lambda: client.received(BOB), bool)
    await client.reply(BOB, control.ReplyRequest(ADA, poll.id, "let me think"))
    await client.vote(BOB, control.VoteRequest(ADA, poll.id, ["yes"]))
    reply, vote = await until(lambda: client.received(ADA), lambda rows: len(rows) == 2)
    assert reply.body is not None
    assert reply.body["reply_to"]["wa_message_id"] == poll.id
    assert vote.body is not None
    assert vote.body["options"] == ["yes"]
    await client.read(BOB, control.ReadRequest(ADA, [poll.id]))
    await until(lambda: client.sent(ADA), lambda rows: "read" in {one.kind for one in rows[0].receipts})
    await client.typing(BOB, control.TypingRequest(ADA))
    (state,) = await until(lambda: client.chat_states(ADA), bool)
    assert (state.number, state.state) == (BOB, "composing")


async def test_burst_sends_all_and_stops(client: SandboxClient) -> None:
    burst = await client.burst(ADA, control.BurstRequest(BOB, 100, 2000.0, "b"))
    assert (burst.to, burst.count, burst.done, burst.rate) == (BOB, 100, 0, 2000.0)
    rows = await until(lambda: client.received(BOB), lambda rows: len(rows) == 100)
    assert [row.text for row in rows] == [f"b {index}" for index in range(1, 101)]
    (over,) = await client.bursts(ADA)
    assert (over.id, over.done) == (burst.id, 100)


async def test_account_shows_tenant_persona_and_network(client: SandboxClient) -> None:
    made = await client.create_account(EVE, "Eve", tenant="cust_1", persona=control.Persona.ECHO)
    assert (made.tenant, made.persona, made.is_online) == ("cust_1", "echo", True)
    assert (await client.set_online(EVE, False)).is_online is False
    assert (await client.set_persona(EVE, control.Persona.SILENT)).persona == "silent"
    assert (await client.account(EVE)).is_online is False
    assert (await client.account(ADA)).tenant is None


async def test_people_of_another_tenant_do_not_exist(client: SandboxClient) -> None:
    await client.create_account(EVE, tenant="cust_1")
    assert await refused(client.send_message(ADA, text(EVE, "hello"))) == (404, "unknown_number")
    assert await refused(client.read(EVE, control.ReadRequest(ADA))) == (404, "unknown_number")
    assert await refused(client.typing(EVE, control.TypingRequest(ADA))) == (404, "unknown_number")
    assert await refused(client.burst(EVE, control.BurstRequest(ADA, 1))) == (404, "unknown_number")


async def test_account_of_nobody_is_given_to_one_tenant(client: SandboxClient) -> None:
    await client.create_account(EVE, tenant="cust_1")
    assert await refused(client.send_message(EVE, text(ADA, "hello"))) == (404, "unknown_number")
    assert (await client.adopt(ADA, "cust_1")).tenant == "cust_1"
    assert (await client.adopt(ADA, "cust_1")).tenant == "cust_1"
    assert await refused(client.adopt(ADA, "cust_2")) == (409, "has_tenant")
    await client.send_message(EVE, text(ADA, "hello"))
    await until(lambda: client.received(ADA), bool)


async def test_new_keys_are_taken_and_talk_goes_on(client: SandboxClient) -> None:
    await client.send_message(ADA, text(BOB, "one"))
    await until(lambda: client.received(BOB), bool)
    await client.change_identity(BOB)
    await client.send_message(ADA, text(BOB, "two"))
    rows = await until(lambda: client.received(BOB), lambda rows: len(rows) == 2)
    assert [(row.text, row.verdict) for row in rows] == [("one", "read"), ("two", "read")]


async def test_what_cannot_be_is_refused(client: SandboxClient, loopback: Loopback) -> None:
    assert await refused(client.send_message(EVE, text(ADA, "x"))) == (404, "unknown_number")
    assert await refused(client.send_message(ADA, text(EVE, "x"))) == (404, "unknown_number")
    assert await refused(client.send_message(ADA, control.MessageRequest(BOB, {"type": "dance"}))) == (400, "bad_body")
    await client.send_message(ADA, text(BOB, "x", "SAME"))
    assert await refused(client.send_message(ADA, text(BOB, "y", "SAME"))) == (409, "id_taken")
    for path in ("received?after=-1", "received?limit=0", "received?limit=1001", "sent?after=x", "sent?limit=1e3"):
        status, body = await loopback.call("GET", f"/sandbox/accounts/{ADA}/{path}")
        assert (status, msgspec.json.decode(body, type=control.Error).error.code) == (400, "bad_request"), path
    for path, body in (("messages", b'{"to":"1","body":{}}'), ("bursts", b'{"to":"9990000","count":0}')):
        assert (await loopback.call("POST", f"/sandbox/accounts/{ADA}/{path}", body))[0] == 400


async def test_switches_are_shown_and_set_as_a_whole(client: SandboxClient) -> None:
    assert await client.switches() == []
    assert await client.set_switches(["reused-id", "no-id-dedupe"]) == ["no-id-dedupe", "reused-id"]
    assert await client.set_switches(["pull-queue"]) == ["pull-queue"]
    assert await refused(client.set_switches(["flatter-us"])) == (400, "bad_switches")
    assert await client.switches() == ["pull-queue"]
