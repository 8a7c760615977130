"""Retry receipts whose answer has to wait: none is lost, and nobody else waits with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors.instance.messaging import resending
from tests.integration.actors.desks import Office, open_office
from tests.unit.whatisup.protocol.messaging.parties import NOW_S, Person, two_people
from whatisup.protocol.events import BundlesAnswered, ReceiptReceived
from whatisup.protocol.messaging.opening import Verdict
from whatisup.protocol.stanzas.enc import Enc
from whatisup.protocol.stanzas.ib import build_offline_batch
from whatisup.protocol.stanzas.message import Outgoing, build_delivery
from whatisup.protocol.stanzas.receipt import parse_receipt
from whatisup.wire import Node


@pytest.fixture
def people() -> tuple[Person, Person]:
    ann, bob = two_people((0,))
    ann.add(1)
    return ann, bob


@pytest.fixture
async def office(tmp_path: Path, people: tuple[Person, Person]) -> AsyncIterator[Office]:
    """Two messages have been sent to Bob's phone, which then came by a new installation."""
    async with open_office(tmp_path, people[0].devices[1]) as office:
        for wa_id in ("ONE", "TWO"):
            office.accept(wa_id, people[1])
        await office.pump()
        await office.answer_all(*people)
        people[1].add(0)
        office.line.sent.clear()
        yield office


def retry(wa_id: str, bob: Person, *replies: Node, count: int = 1) -> ReceiptReceived:
    device = bob.devices[0]
    registration = device.own.identity.registration_id + 1
    children = (
        Node("retry", {"count": str(count), "id": wa_id, "t": str(NOW_S), "v": "1"}),
        Node("registration", {}, registration.to_bytes(4, "big")),
    )
    node = Node("receipt", {"id": wa_id, "from": bob.lid, "t": str(NOW_S), "type": "retry"}, children)
    ack = Node("ack", {"id": wa_id, "class": "receipt"})
    return ReceiptReceived(parse_receipt(node), node, replies=(ack, *replies))


def delivered(message: Outgoing, ann: Person) -> Node:
    assert isinstance(message.direct, Enc)
    return build_delivery(
        message, source=ann.lid, unix_t=NOW_S, encs=(message.direct,), push_name="Ann", sender_alt=ann.pn
    )


def acked(office: Office) -> list[str]:
    return [str(node.attrs["id"]) for event in office.line.transmitted for node in event.replies if node.tag == "ack"]


async def test_a_bundle_that_the_server_fails_to_give_is_asked_for_again(
    office: Office, people: tuple[Person, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, bob = people
    monkeypatch.setattr(resending, "ASK_AGAIN_S", 0.0)
    await office.messaging.heed(retry("ONE", bob))
    asked = office.line.bundles_asked.pop()
    await office.messaging.bundles_answered(BundlesAnswered(asked, failure=503))
    assert (office.line.ids(), acked(office)) == ([], []), "neither answered nor refused"
    await office.messaging.run_due()
    assert office.line.bundles_asked == [asked]
    await office.answer_bundles(asked, *people)
    assert (office.line.ids(), acked(office)) == (["ONE"], ["ONE"])


async def test_one_bundle_opens_one_session_for_all_that_was_asked_for(
    office: Office, people: tuple[Person, Person]
) -> None:
    ann, bob = people
    await office.messaging.heed(retry("ONE", bob))
    await office.messaging.heed(retry("TWO", bob))
    assert len(office.line.bundles_asked) == 1
    # The installation that asks is the one whose bundle is given out.
    registration = bob.devices[0].own.identity.registration_id
    (asked,) = office.line.bundles_asked
    device = bob.devices[0]
    object.__setattr__(device.own.identity, "registration_id", registration + 1)
    await office.answer_bundles(asked, *people)
    assert office.line.ids() == ["ONE", "TWO"]
    opened = [device.open(delivered(message, ann)) for message in office.line.messages()]
    assert [one.verdict for one in opened] == [Verdict.READ, Verdict.READ]


async def test_what_waits_does_not_hold_up_the_servers_queue(office: Office, people: tuple[Person, Person]) -> None:
    window = build_offline_batch()
    await office.messaging.heed(retry("ONE", people[1], window))
    assert (window in office.line.sent, acked(office)) == (True, [])
    await office.answer_bundles(office.line.bundles_asked.pop(), *people)
    assert acked(office) == ["ONE"]
    assert sum(window in (*event.replies,) for event in office.line.transmitted) == 0


async def test_an_answer_that_fails_later_is_kept_as_poison(
    office: Office, people: tuple[Person, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a defect that this receipt meets")

    await office.messaging.heed(retry("ONE", people[1]))
    monkeypatch.setattr(resending, "seal_retry", fail)
    await office.answer_bundles(office.line.bundles_asked.pop(), *people)
    assert (office.line.ids(), acked(office)) == ([], ["ONE"])
    assert [name for name, _ in office.talk.told("unprocessable")] == ["unprocessable"]


async def test_the_same_retry_receipt_gets_the_same_bytes(office: Office, people: tuple[Person, Person]) -> None:
    """Our ack may be lost, and the answer with it or not: a second encryption would be read a second time."""
    bob = people[1]
    await office.messaging.heed(retry("ONE", bob))
    await office.answer_bundles(office.line.bundles_asked.pop(), *people)
    (first,) = office.line.sent
    office.lose()
    office.log_in()
    await office.messaging.heed(retry("ONE", bob))
    assert (office.line.sent, acked(office), office.line.bundles_asked) == ([first], ["ONE"], [])
    await office.messaging.heed(retry("ONE", bob, count=2))
    await office.answer_all(*people)
    same, other = (node for node in office.line.sent if node.attrs["id"] == "ONE")
    assert (same == first, other == first) == (True, False), "it could not read that answer either"


async def test_of_several_receipts_in_the_servers_queue_only_the_last_is_answered(
    office: Office, people: tuple[Person, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resending, "LOOK_S", 0.0)
    office.line.is_draining = True
    for count in (1, 3, 2):
        await office.messaging.heed(retry("ONE", people[1], count=count))
    await office.messaging.run_due()
    assert (office.line.bundles_asked, acked(office)) == ([], ["ONE", "ONE"])
    office.line.is_draining = False
    await office.messaging.run_due()
    await office.answer_all(*people)
    assert [message.direct.count for message in office.line.messages() if message.direct is not None] == [3]
    assert len(acked(office)) == 3


async def test_what_is_asked_for_again_is_not_sent_once_more_beside_the_answer(
    office: Office, people: tuple[Person, Person]
) -> None:
    """The ack was lost with the process; the receipt that waits for the end of the queue stands for it."""
    office.lose()
    line = office.log_in()
    line.is_draining = True
    await office.messaging.heed(retry("ONE", people[1]))
    line.is_draining = False
    await office.pump()
    assert line.ids() == ["TWO"]
