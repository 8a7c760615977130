"""A crash at every arrow of a conversation: nothing is lost, nothing is said twice, no ciphertext is made twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.integration.actors.arrows import Bug, until_no_arrow_is_left
from tests.integration.actors.house import House, open_house, open_sandbox
from tests.integration.actors.test_messages import accept, told
from whatisup import control
from whatisup.lifecycle import State

TEXTS = ["one", "two", "three"]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_sandbox(tmp_path) as ready, open_house(tmp_path, ready) as house:
        yield house


async def seen_by(house: House, number: str, count: int) -> list[control.ReceivedMessage]:
    """What a contact has read of other people, once it is that much."""
    found: list[control.ReceivedMessage] = []
    with trio.move_on_after(25):
        while len(found) < count:
            await trio.sleep(0.05)
            found = [one for one in await house.sandbox.received(number) if one.verdict == "read" and not one.is_own]
    return found


@pytest.mark.slow
async def test_a_crash_at_every_arrow_of_a_conversation_loses_and_doubles_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.instance.backoff.BASE_S", 0.02)
    bug = Bug(monkeypatch)

    async def try_arrow(at: int) -> bool:
        instance_id, number = await house.pair()
        contact = await house.sandbox.create_account()
        plan = bug.arm(instance_id, at)
        for text in TEXTS:
            body = {"type": "text", "text": f"from contact {text}"}
            await house.sandbox.send_message(contact.number, control.MessageRequest(to=number, body=body))
            await accept(house, instance_id, contact.number, {"type": "text", "text": f"to contact {text}"})
        received = await told(house, instance_id, "message.received", len(TEXTS))
        assert [event.data and event.data["body"]["text"] for event in received] == [f"from contact {t}" for t in TEXTS]
        seen = await seen_by(house, contact.number, len(TEXTS))
        assert [one.text for one in seen] == [f"to contact {t}" for t in TEXTS], at
        await told(house, instance_id, "message.delivered", len(TEXTS))
        await house.status(instance_id, State.CONNECTED)
        kinds = Counter(event.type for event in await house.events(instance_id))
        assert (kinds["message.received"], kinds["message.sent"], kinds["message.delivered"]) == (3, 3, 3), at
        assert kinds["message.undecryptable"] == kinds["message.failed"] == 0
        log = await house.sandbox.received(contact.number)
        assert {one.verdict for one in log if not one.is_own} <= {"read", "duplicate"}
        return plan.has_struck

    assert await until_no_arrow_is_left(try_arrow, stride=3) > 4
