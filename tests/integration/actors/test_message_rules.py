"""The rules that make a message safe, each broken on purpose to see what holds it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from actors.instance.actor import InstanceActor
from actors.instance.messaging import reading
from actors.instance.messaging.sending import Sending
from actors.mailbox import MAX_BUFFERED_BYTES
from actors.messages import Logout
from actors.writer import Writer
from tests.integration.actors.house import ORIGIN, House, open_house, open_sandbox
from tests.integration.actors.test_messages import accept, told, until
from whatisup import control
from whatisup.errors import StoreError
from whatisup.lifecycle import State


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_sandbox(tmp_path) as ready, open_house(tmp_path, ready) as house:
        yield house


async def say(house: House, contact: str, number: str, *texts: str) -> list[str]:
    """Let a contact send texts; their WhatsApp ids."""
    bodies = [{"type": "text", "text": text} for text in texts]
    queued = [
        await house.sandbox.send_message(contact, control.MessageRequest(to=number, body=body)) for body in bodies
    ]
    return [one.id for one in queued]


async def texts_received(house: House, instance_id: str, count: int) -> list[str]:
    events = await told(house, instance_id, "message.received", count)
    return [event.data["body"]["text"] for event in events if event.data is not None]


async def nothing_waits(house: House, number: str) -> None:
    """The server's queue for the instance is empty: everything was answered."""

    async def is_empty() -> bool:
        return (await house.sandbox.device(number, 1)).queued == 0

    await until(is_empty)


async def test_a_unit_that_fails_is_redone_stanza_by_stanza(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    instance_id, number = await house.pair()
    contact = await house.sandbox.create_account()
    real, failures = InstanceActor.commit, []

    async def fail_once(actor: InstanceActor, *ops: Any) -> Any:
        if not failures and any(type(op).__name__ == "IngestMessage" for op in ops):
            failures.append(len(ops))
            raise StoreError("the database refused this unit")
        return await real(actor, *ops)

    monkeypatch.setattr(InstanceActor, "commit", fail_once)
    await say(house, contact.number, number, "one", "two", "three")
    assert await texts_received(house, instance_id, 3) == ["one", "two", "three"]
    assert failures
    await nothing_waits(house, number)


async def test_a_poisoned_stanza_is_kept_reported_and_deafens_nobody(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance_id, number = await house.pair()
    contact = await house.sandbox.create_account()
    poisoned: set[str] = set()
    real = reading.open_message

    def open_or_fail(envelope: Any, *args: Any, **kwargs: Any) -> Any:
        if envelope.id in poisoned:
            raise RuntimeError("a defect that this stanza meets")
        return real(envelope, *args, **kwargs)

    monkeypatch.setattr(reading, "open_message", open_or_fail)
    poisoned.add("3EB0000000000000000BAD")
    await say(house, contact.number, number, "before")
    body = {"type": "text", "text": "poison"}
    request = control.MessageRequest(to=number, body=body, id="3EB0000000000000000BAD")
    await house.sandbox.send_message(contact.number, request)
    await say(house, contact.number, number, "after")
    assert await texts_received(house, instance_id, 2) == ["before", "after"]
    await told(house, instance_id, "message.unprocessable")
    await nothing_waits(house, number)
    await house.status(instance_id, State.CONNECTED)


async def test_a_slow_store_stops_the_reading_and_not_the_session(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance_id, number = await house.pair()
    contact = await house.sandbox.create_account()
    await say(house, contact.number, number, "first")
    await texts_received(house, instance_id, 1)
    real, gate = Writer.submit, trio.Event()

    async def wait(writer: Writer, unit: Any) -> Any:
        await gate.wait()
        return await real(writer, unit)

    monkeypatch.setattr(Writer, "submit", wait)
    since = len(await house.events(instance_id))
    big = "x" * 20_000
    await house.sandbox.burst(contact.number, control.BurstRequest(to=number, count=150, text=big[:1000]))
    actor = house.system.fleet.members[instance_id]
    assert isinstance(actor, InstanceActor)
    fullest = 0
    with trio.move_on_after(3):
        while True:
            fullest = max(fullest, actor._mailbox._buffered)
            await trio.sleep(0.05)
    assert fullest < MAX_BUFFERED_BYTES + (1 << 20)
    assert len(await house.events(instance_id)) == since
    gate.set()
    assert len(await texts_received(house, instance_id, 151)) == 151
    moves = [event for event in await house.events(instance_id) if event.type == "instance.status"]
    assert [event.data and event.data["status"] for event in moves][-1] == "connected"
    assert len([m for m in moves if m.data and m.data["status"] == "reconnecting"]) == 1


async def test_a_logout_fails_what_was_queued(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    instance_id, _ = await house.pair()
    contact = await house.sandbox.create_account()

    async def send_nothing(_: Sending) -> None:
        return

    monkeypatch.setattr(Sending, "pump", send_nothing)
    message = await accept(house, instance_id, contact.number, {"type": "text", "text": "too late"})
    await house.system.ask(instance_id, Logout(ORIGIN))
    (event,) = await told(house, instance_id, "message.failed")
    assert event.data is not None
    assert event.data["message_id"] == message.id
    assert await house.sandbox.received(contact.number) == []


async def test_state_is_loaded_again_after_a_unit_of_which_nobody_knows(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit was written, and yet it failed: what is cached is older than the store, and must not be built upon."""
    instance_id, number = await house.pair()
    contact = await house.sandbox.create_account()
    real, failures = InstanceActor.commit, []

    async def write_and_fail(actor: InstanceActor, *ops: Any) -> Any:
        committed = await real(actor, *ops)
        if not failures and any(type(op).__name__ == "IngestMessage" for op in ops):
            failures.append(len(ops))
            raise RuntimeError("a defect right after the commit")
        return committed

    monkeypatch.setattr(InstanceActor, "commit", write_and_fail)
    await say(house, contact.number, number, "one")
    assert await texts_received(house, instance_id, 1) == ["one"]
    await say(house, contact.number, number, "two", "three")
    assert await texts_received(house, instance_id, 3) == ["one", "two", "three"]
    assert failures
    kinds = {event.type for event in await house.events(instance_id)}
    assert "message.undecryptable" not in kinds
    await nothing_waits(house, number)
