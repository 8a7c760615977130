"""Which stanzas share a unit: what came together, and acks and receipts that wait a moment for each other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from actors.instance.actor import BYTES_AT_ONCE, InstanceActor
from actors.instance.link import BytesReceived, Link
from actors.instance.messaging import reading, sending
from actors.instance.services import Endpoint
from actors.mailbox import Mailbox
from actors.messages import OUTBOX_GREW
from tests.integration.actors.desks import Office, open_office
from tests.integration.actors.test_outbox_desk import delivered
from tests.unit.whatisup.protocol.messaging.parties import Person, direct, pairwise, two_people
from whatisup.protocol.events import Event, MessageAcked
from whatisup.protocol.stanzas.ack import MessageAck
from whatisup.store import Committed, Message, Op

People = tuple[Person, Person]


@pytest.fixture
def people() -> People:
    ann, bob = two_people((0,))
    ann.add(1)
    return ann, bob


@pytest.fixture
async def office(tmp_path: Path, people: People) -> AsyncIterator[Office]:
    async with open_office(tmp_path, people[0].devices[1]) as office:
        yield office


@pytest.fixture
async def sent(office: Office, people: People) -> Message:
    """A message on its way."""
    message = office.accept("ONE", people[1])
    await office.pump()
    await office.answer_all(*people)
    return message


@pytest.fixture
def units(office: Office, sent: Message, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What was committed since, by the names of the operations."""
    real, seen = office.commit, list[list[str]]()

    async def commit(*ops: Op) -> Committed:
        seen.append([type(op).__name__ for op in ops])
        return await real(*ops)

    monkeypatch.setattr(office, "commit", commit)
    return seen


def ack(wa_id: str, by: Person) -> MessageAcked:
    return MessageAcked(MessageAck(wa_id, by.lid, 1_760_000_000, None, None, None))


async def hear(office: Office, *events: Event) -> None:
    """Let events arrive in one message of the socket."""
    for event in events:
        await office.messaging.gather(event)
    await office.messaging.rest()


async def test_an_ack_waits_for_its_receipt_and_shares_its_unit(
    office: Office, people: People, sent: Message, units: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PATIENCE_S", 0.2)
    receipt = delivered("ONE", people[1])
    await hear(office, ack("ONE", people[1]))
    await hear(office, receipt)
    assert units == [], "neither is urgent"
    assert office.line.transmitted == [], "and none is answered before it is durable"
    with trio.fail_after(5):
        await trio.sleep_until(office.messaging.deadline)
    await office.messaging.run_due()
    assert units == [["AckMessage", "RecordReceipt"]]
    assert receipt in office.line.transmitted
    assert office.talk.status(sent) == "delivered"
    assert office.messaging.reading.deadline == reading.NEVER


async def test_acks_are_settled_at_ticks_that_all_instances_have_in_common(
    office: Office, people: People, sent: Message, units: list[list[str]]
) -> None:
    before = trio.current_time()
    await hear(office, ack("ONE", people[1]))
    deadline = office.messaging.reading.deadline
    ticks = deadline / reading.TICK_S
    assert ticks == pytest.approx(round(ticks), abs=1e-3)
    assert before + reading.PATIENCE_S <= deadline <= trio.current_time() + reading.PATIENCE_S + reading.TICK_S


async def test_a_message_that_comes_settles_what_waits(
    office: Office, people: People, sent: Message, units: list[list[str]]
) -> None:
    phone = people[1].devices[0]
    node = direct(phone, office.own, pairwise(phone, office.own, b"\n\x02hi"), wa_id="IN")
    await hear(office, ack("ONE", people[1]))
    await hear(office, office.received(node))
    (unit,) = units
    assert {"AckMessage", "NoteUndecryptable"} <= set(unit), "nothing was offered for it to begin a session with"


@pytest.mark.parametrize("urgency", ["full", "draining", "leaving"])
async def test_nothing_waits_while_others_wait_for_it(
    office: Office,
    people: People,
    sent: Message,
    units: list[list[str]],
    urgency: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "WINDOW", 1 if urgency == "full" else 64)
    office.line.is_draining, office.is_leaving = urgency == "draining", urgency == "leaving"
    await hear(office, ack("ONE", people[1]))
    assert units == [["AckMessage"]]


async def test_what_waits_is_forgotten_with_the_connection(
    office: Office, people: People, sent: Message, units: list[list[str]]
) -> None:
    await hear(office, ack("ONE", people[1]))
    office.lose()
    assert office.messaging.reading.deadline == reading.NEVER
    line = office.log_in()
    await office.pump()
    assert line.ids() == ["ONE"], "the same bytes once more, as after a crash"


# --- what the actor takes at once ------------------------------------------------------------------------------------


def taken(link: Link, *items: Any) -> tuple[list[bytes], Mailbox]:
    mailbox = Mailbox()
    for item in items:
        mailbox.tell(item)
    actor: Any = SimpleNamespace(_mailbox=mailbox, _link=link)
    return list(InstanceActor._take_more(actor)), mailbox


def link() -> Link:
    return Link(Endpoint("ws://127.0.0.1:1", bytes(32), None))


def test_what_came_over_the_socket_meanwhile_is_taken_together() -> None:
    ours = link()
    data, mailbox = taken(ours, BytesReceived(ours, b"a"), BytesReceived(ours, b"b"))
    assert data == [b"a", b"b"]
    assert mailbox.is_empty


@pytest.mark.parametrize("between", [OUTBOX_GREW, BytesReceived(link(), b"of another link")])
def test_nothing_is_taken_out_of_turn(between: Any) -> None:
    ours = link()
    data, mailbox = taken(ours, BytesReceived(ours, b"a"), between, BytesReceived(ours, b"b"))
    assert data == [b"a"]
    assert mailbox.head is between


def test_what_is_taken_together_is_bounded() -> None:
    ours = link()
    data, mailbox = taken(ours, *(BytesReceived(ours, bytes(BYTES_AT_ONCE)) for _ in range(3)))
    assert len(data) == 1
    assert not mailbox.is_empty
