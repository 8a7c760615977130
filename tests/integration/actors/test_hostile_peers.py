"""A contact that means harm: it writes its own receipts, retry receipts and messages, and moves nothing but its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors.instance import Limits
from tests.integration.actors.desks import Office, open_office
from tests.unit.whatisup.protocol.messaging.parties import NOW_S, Person, two_people
from whatisup.jid import Jid
from whatisup.protocol.events import BundlesAnswered, ReceiptReceived
from whatisup.protocol.stanzas.receipt import parse_receipt
from whatisup.store import messages
from whatisup.wire import Node


@pytest.fixture
def people() -> tuple[Person, Person, Person]:
    ann, bob = two_people((0,))
    ann.add(1)
    mallory = Person("99900000003", "10000000003")
    mallory.add(0)
    return ann, bob, mallory


@pytest.fixture
async def office(tmp_path: Path, people: tuple[Person, Person, Person]) -> AsyncIterator[Office]:
    limits = Limits(resends_per_s=0.001, resend_burst=3)
    async with open_office(tmp_path, people[0].devices[1], limits) as office:
        yield office


def receipt(wa_id: str, source: Jid, kind: str = "", *more: str, **attrs: str | Jid) -> ReceiptReceived:
    names: dict[str, str | Jid] = {"id": wa_id, "from": source, "t": str(NOW_S), **attrs}
    if kind:
        names["type"] = kind
    listed = (Node("list", {}, tuple(Node("item", {"id": one}) for one in more)),) if more else None
    node = Node("receipt", names, listed)
    return ReceiptReceived(parse_receipt(node), node)


def retry(wa_id: str, source: Jid, *more: str, registration_id: int = 7) -> ReceiptReceived:
    children = (
        Node("retry", {"count": "1", "id": wa_id, "t": str(NOW_S), "v": "1"}),
        Node("registration", {}, registration_id.to_bytes(4, "big")),
        Node("list", {}, tuple(Node("item", {"id": one}) for one in more)),
    )
    node = Node("receipt", {"id": wa_id, "from": source, "t": str(NOW_S), "type": "retry"}, children)
    return ReceiptReceived(parse_receipt(node), node)


async def status_of(office: Office, wa_id: str) -> str:
    (row,) = await office.services.database.read(messages.by_wa_id, office.id, wa_id)
    return str(row.status)


async def send(office: Office, wa_id: str, to: Person, *people: Person) -> None:
    office.accept(wa_id, to)
    await office.nudge()
    await office.answer_all(*people)
    assert wa_id in office.line.ids()


async def gather(office: Office, *events: ReceiptReceived) -> None:
    for event in events:
        await office.messaging.gather(event)
    await office.messaging.reading.settle()


@pytest.mark.parametrize("kind", ["", "read", "played", "inactive", "sender"])
async def test_a_receipt_moves_no_message_of_another_chat(
    office: Office, people: tuple[Person, Person, Person], kind: str
) -> None:
    _, bob, mallory = people
    await send(office, "SECRET", bob, *people)
    attrs = {"recipient": bob.lid} if kind == "sender" else {}
    await gather(office, receipt("SECRET", mallory.lid, kind, **attrs))
    assert await status_of(office, "SECRET") == "queued"
    assert "SECRET" in office.messaging.sending._flights


async def test_a_retry_receipt_settles_no_message_of_another_chat(
    office: Office, people: tuple[Person, Person, Person]
) -> None:
    _, bob, mallory = people
    await send(office, "SECRET", bob, *people)
    await office.messaging.heed(retry("SECRET", mallory.lid))
    await office.messaging.heed(retry("OTHER", mallory.lid, "SECRET"))
    assert await status_of(office, "SECRET") == "queued"
    office.lose()
    office.log_in()
    await office.pump()
    assert office.line.ids() == ["SECRET"]


async def test_asking_again_and_again_makes_us_ask_for_keys_within_a_budget(
    office: Office, people: tuple[Person, Person, Person]
) -> None:
    mallory = people[2]
    for number in range(10):
        await send(office, f"M{number}", mallory, *people)
    for number in range(10):
        await office.messaging.heed(retry(f"M{number}", mallory.lid))
        for asked in office.line.bundles_asked[number:]:
            await office.messaging.bundles_answered(BundlesAnswered(asked, ()))
    assert len(office.line.bundles_asked) == 3
