"""Messages of an instance in this process, to and from simulated people in a sandbox of its own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.integration.actors.house import House, open_house, open_sandbox, unix_ms
from whatisup import control
from whatisup.protocol.content.ids import new_message_id
from whatisup.store import Event, Message, Mode, messages

WAIT_S = 20.0


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_sandbox(tmp_path) as ready, open_house(tmp_path, ready) as house:
        yield house


async def until(what: Callable[[], Any], within_s: float = WAIT_S) -> Any:
    """Ask until the answer is true; returns it."""
    found = None
    with trio.move_on_after(within_s):
        while not (found := await what()):
            await trio.sleep(0.02)
    assert found, f"not within {within_s} s"
    return found


async def accept(house: House, instance_id: str, number: str, body: dict[str, Any]) -> Message:
    row = await house.row(instance_id)

    def take(tx: Any) -> Message:
        return messages.accept(
            tx,
            instance_id=instance_id,
            customer_id=house.customer_id,
            mode=Mode.TEST,
            to=f"{number}@s.whatsapp.net",
            body=body,
            kind=body["type"],
            target=None,
            client_ref=None,
            wa_id=new_message_id(unix_ms() // 1000, row.phone_number or "", os.urandom),
            expires_at=unix_ms() + 60_000,
            request_id=None,
            now=unix_ms(),
        )

    message = await house.writer.call(take)
    house.system.nudge(instance_id)
    return message


async def told(house: House, instance_id: str, kind: str, count: int = 1) -> list[Event]:
    async def enough() -> list[Event]:
        found = [event for event in await house.events(instance_id) if event.type == kind]
        return found if len(found) >= count else []

    return await until(enough)


async def test_a_text_reaches_a_contact_and_its_receipts_come_back(house: House) -> None:
    instance_id, _ = await house.pair()
    contact = await house.sandbox.create_account()
    message = await accept(house, instance_id, contact.number, {"type": "text", "text": "hello"})

    async def received() -> list[control.ReceivedMessage]:
        return [one for one in await house.sandbox.received(contact.number) if one.id == message.wa_id]

    (seen,) = await until(received)
    assert (seen.text, seen.verdict) == ("hello", "read")
    await told(house, instance_id, "message.sent")
    delivered = await told(house, instance_id, "message.delivered")
    assert delivered[0].data is not None
    assert delivered[0].data["message_id"] == message.id
    await house.sandbox.read(
        contact.number, control.ReadRequest(chat=(await house.row(instance_id)).phone_number or "")
    )
    await told(house, instance_id, "message.read")


async def test_a_contacts_text_is_received_once(house: House) -> None:
    instance_id, number = await house.pair()
    contact = await house.sandbox.create_account()
    request = control.MessageRequest(to=number, body={"type": "text", "text": "order 17"})
    queued = await house.sandbox.send_message(contact.number, request)
    (event,) = await told(house, instance_id, "message.received")
    assert event.data is not None
    assert event.data["wa_message_id"] == queued.id
    assert event.data["from"] == contact.number
    assert (event.data["phone"], event.data["lid"]) == (contact.number, contact.lid)
    assert event.data["body"] == {"type": "text", "text": "order 17"}


async def test_a_conversation_goes_on_in_both_directions(house: House) -> None:
    instance_id, number = await house.pair()
    contact = await house.sandbox.create_account()
    await house.sandbox.set_persona(contact.number, control.Persona.ECHO)
    for turn in range(5):
        await accept(house, instance_id, contact.number, {"type": "text", "text": f"turn {turn}"})
    events = await told(house, instance_id, "message.received", 5)
    assert [event.data and event.data["body"]["text"] for event in events] == [f"turn {turn}" for turn in range(5)]
    log = await house.sandbox.received(contact.number)
    assert [one.text for one in log if one.number == number] == [f"turn {turn}" for turn in range(5)]
    assert {one.verdict for one in log} == {"read"}


async def test_a_number_without_an_account_fails(house: House) -> None:
    instance_id, _ = await house.pair()
    await accept(house, instance_id, "999123123123", {"type": "text", "text": "anybody there"})
    (event,) = await told(house, instance_id, "message.failed")
    assert event.data is not None
    assert event.data["error"]["code"] == "not_on_whatsapp"


async def test_a_burst_is_received_in_order(house: House) -> None:
    instance_id, number = await house.pair()
    contact = await house.sandbox.create_account()
    await house.sandbox.burst(contact.number, control.BurstRequest(to=number, count=200))
    events = await told(house, instance_id, "message.received", 200)
    assert [event.data and event.data["body"]["text"] for event in events] == [f"burst {n}" for n in range(1, 201)]
