"""Every rule of the sandbox that nobody knows for certain, the other way round: nothing lost, nothing doubled.

Switches are the sandbox's, not an instance's: each test turns one on for itself and off again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import pytest
import trio

from tests.e2e.talk import Chat, eventually, lose_an_ack, open_chat
from tests.e2e.world import World
from whatisup.control import SWITCHES, Switch

Scene = Callable[[Chat], Awaitable[None]]


async def away(chat: Chat) -> None:
    """A backlog longer than one window, and another login."""
    await chat.number.act("stop")
    await chat.number.status("disconnected")
    for number in range(9):
        await chat.say(f"while away {number}")
    await eventually(lambda: chat.log("sent"), lambda rows: all(row["acked_at"] for row in rows), "all are sent")
    await chat.number.act("start")


async def away_and_back(chat: Chat) -> None:
    """A backlog, live messages behind it, a lost ack and a lost receipt on top."""
    await away(chat)
    await chat.exchange()
    backlog = [seen.data for seen in chat.events("message.received") if seen.data["body"]["text"].startswith("while")]
    assert [data["body"]["text"] for data in backlog] == [f"while away {number}" for number in range(9)]
    assert {data["is_backlog"] for data in backlog} == {True}
    await chat.number.status("connected")
    for fault in ("drop-before-ack", "drop-after-delivery"):
        armed = await chat.harm_instance(fault)
        await chat.exchange()
        assert await chat.hits(armed) == 1


async def no_id_dedupe(chat: Chat) -> None:
    """The server lets our second sending through: the contact gets the very same bytes, which read no second time."""
    await lose_an_ack(chat)
    await chat.rest()
    rows = await chat.rows()
    again = [row for row in rows if row["verdict"] == "duplicate"]
    assert again, "the switch has shown"
    hashes = {row["wa_message_id"]: row["ciphertext_sha256"] for row in rows if row["verdict"] == "read"}
    assert all(hashes[row["wa_message_id"]] == row["ciphertext_sha256"] for row in again)


async def reused_id(chat: Chat) -> None:
    """What comes twice under one id is looked at twice by the server, and is the same both times."""
    await lose_an_ack(chat)
    await away_and_back(chat)


async def token_rule(chat: Chat) -> None:
    """A stranger may not be written to without a token; whoever wrote first may."""
    stranger = await open_chat(chat.number)
    sent = await stranger.write("hello stranger")
    failed = await stranger.told("message.failed", message_id=sent["message_id"])
    assert failed.data["error"]["code"] == "account_restricted"
    await stranger.told("account.restricted", kind="reachout_timelock")
    assert await stranger.rows() == []
    await chat.exchange()


async def no_ib_offline(chat: Chat) -> None:
    """Nobody says that the backlog is over: what comes is received; what is to go out waits, and is not lost."""
    await away(chat)
    await chat.heard(await chat.say("live"))
    sent = await chat.write("when you are done")
    await chat.heard(await chat.say("live again"))
    assert (await chat.message(sent["message_id"]))["status"] == "queued"
    await chat.world.control().set_switches([])
    await chat.harm_instance("drop")
    await chat.told("message.delivered", message_id=sent["message_id"])


async def unknown_tag(chat: Chat) -> None:
    """Something nobody knows is acknowledged at each login, and hurts nothing."""
    await away_and_back(chat)
    device = await chat.world.control().device(chat.number.number, 1)
    assert device.queued == 0


SCENES: Mapping[str, Scene] = {
    Switch.NO_ID_DEDUPE: no_id_dedupe,
    Switch.NACK_KEEPS: away_and_back,
    Switch.PUSH_QUEUE: away_and_back,
    Switch.PULL_QUEUE: away_and_back,
    Switch.LIVE_HELD_BACK: away_and_back,
    Switch.RECEIPT_LOST_ON_CLOSE: away_and_back,
    Switch.UNKNOWN_TAG: unknown_tag,
    Switch.RATE_LIMIT: away_and_back,
    Switch.TOKEN_RULE: token_rule,
    Switch.REUSED_ID: reused_id,
    Switch.NO_IB_OFFLINE: no_ib_offline,
}


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("switch", SCENES)
async def test_switch_loses_nothing_and_doubles_nothing(world: World, switch: str) -> None:
    sandbox = world.control()
    chat = await open_chat(await world.pair(switch), name="Grace")
    await chat.greet()
    await sandbox.set_switches([switch])
    try:
        await SCENES[switch](chat)
        await chat.require_exactly_once()
    finally:
        with trio.CancelScope(shield=True):
            await sandbox.set_switches([])


def test_every_switch_has_a_scene() -> None:
    assert set(SCENES) == set(SWITCHES)
