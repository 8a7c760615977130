"""The outbox where answers come late, in another order, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from actors.instance.messaging import queries, sending
from tests.integration.actors.desks import Office, open_office
from tests.unit.whatisup.protocol.messaging.parties import Person, two_people
from whatisup.protocol.events import DevicesAnswered, ReceiptReceived
from whatisup.protocol.messaging.devices import DeviceListEntry
from whatisup.protocol.messaging.keyring import DEVICES, LID, PN
from whatisup.protocol.stanzas.receipt import parse_receipt
from whatisup.store import LearnPair, PutAuth, outbox
from whatisup.store.store import unix_ms
from whatisup.wire import Node


@pytest.fixture
def people() -> tuple[Person, Person, Person]:
    ann, bob = two_people((0,))
    ann.add(1)
    ann.add(2)
    carol = Person("99900000003", "10000000003")
    carol.add(0)
    return ann, bob, carol


@pytest.fixture
async def office(tmp_path: Path, people: tuple[Person, Person, Person]) -> AsyncIterator[Office]:
    async with open_office(tmp_path, people[0].devices[1]) as office:
        yield office


def delivered(wa_id: str, by: Person) -> ReceiptReceived:
    node = Node("receipt", {"id": wa_id, "from": by.lid, "t": "1760000000"})
    return ReceiptReceived(parse_receipt(node), node)


def pair_of(person: Person) -> tuple[PutAuth, PutAuth]:
    """What it takes to know both names of somebody."""
    return (
        PutAuth(LID, person.digits, person.lid_digits.encode()),
        PutAuth(PN, person.lid_digits, person.digits.encode()),
    )


async def test_our_own_devices_are_not_forgotten_when_somebody_else_is_asked_about(
    office: Office, people: tuple[Person, Person, Person]
) -> None:
    ann, bob, carol = people
    office.accept("ONE", bob)
    await office.pump()
    await office.answer_all(*people)
    office.accept("TWO", carol)
    await office.nudge()
    await office.answer_all(*people)
    raw = await office.key(DEVICES, str(ann.lid))
    assert raw is not None
    assert DeviceListEntry.decode(raw).jids(ann.lid) == tuple(ann.jids())
    (_, second) = office.line.messages()
    assert {jid.device for jid, _ in second.participants if jid.user == ann.lid_digits} == {0, 2}


async def test_a_mismatch_is_settled_by_the_answer_about_its_own_chat(
    office: Office, people: tuple[Person, Person, Person]
) -> None:
    _, bob, carol = people
    office.accept("ONE", bob)
    await office.pump()
    await office.answer_all(*people)
    bob.add(1)
    office.accept("TWO", carol)
    await office.nudge()
    (about_carol,) = office.line.lists_asked
    office.line.lists_asked.clear()
    await office.ack("ONE", bob.lid, phash="2:other")
    await office.answer_lists(about_carol, *people)
    await office.answer_all(*people)
    _, *again = [message for message in office.line.messages() if message.id == "ONE"]
    assert [[jid for jid, _ in message.participants] for message in again] == [[bob.lid.with_device(1)]]


async def test_a_receipt_before_the_answer_does_not_forget_the_devices_that_were_missed(
    office: Office, people: tuple[Person, Person, Person]
) -> None:
    _, bob, _ = people
    message = office.accept("ONE", bob)
    await office.pump()
    await office.answer_all(*people)
    bob.add(1)
    await office.ack("ONE", bob.lid, delivered("ONE", bob), phash="2:other")
    assert office.talk.status(message) == "delivered"
    await office.answer_all(*people)
    _, again = [message for message in office.line.messages() if message.id == "ONE"]
    assert [jid for jid, _ in again.participants] == [bob.lid.with_device(1)]
    await office.ack("ONE", bob.lid, phash="2:other")
    assert office.line.lists_asked == [], "once, or it might go on for ever"
    assert await office.services.database.read(outbox.counts, office.id) == {}


async def test_devices_that_were_missed_survive_a_crash_before_they_are_known(
    office: Office, people: tuple[Person, Person, Person]
) -> None:
    _, bob, _ = people
    office.accept("ONE", bob)
    await office.pump()
    await office.answer_all(*people)
    bob.add(1)
    await office.ack("ONE", bob.lid, delivered("ONE", bob), phash="2:other")
    office.lose()
    line = office.log_in()
    await office.pump()
    assert line.ids() == [], "the server has it"
    await office.answer_all(*people)
    (again,) = line.messages()
    assert [jid for jid, _ in again.participants] == [bob.lid.with_device(1)]


async def test_a_refused_message_is_encrypted_anew_only_for_the_devices_asked_for_since(
    office: Office, people: tuple[Person, Person, Person]
) -> None:
    _, bob, carol = people
    office.accept("ONE", bob)
    await office.pump()
    await office.answer_all(*people)
    bob.add(1)
    office.accept("TWO", carol)
    await office.nudge()
    (about_carol,) = office.line.lists_asked
    office.line.lists_asked.clear()
    await office.ack("ONE", bob.lid, error=421)
    await office.answer_lists(about_carol, *people)
    await office.answer_all(*people)
    _, again = [message for message in office.line.messages() if message.id == "ONE"]
    assert {jid.device for jid, _ in again.participants if jid.user == bob.lid_digits} == {0, 1}


async def test_a_refused_message_is_not_encrypted_anew_before_its_devices_are_known(
    office: Office, people: tuple[Person, Person, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, bob, _ = people
    monkeypatch.setattr(queries, "FIRST_RETRY_S", 0.0)
    office.messaging.sending.queries._retry_s = 0.0
    office.accept("ONE", bob)
    await office.pump()
    await office.answer_all(*people)
    bob.add(1)
    await office.ack("ONE", bob.lid, error=479)
    asked = office.line.lists_asked.pop(0)
    await office.messaging.sending.devices_answered(DevicesAnswered(asked, failure=503))
    await office.pump()
    assert office.line.ids() == ["ONE"]
    await office.answer_all(*people)
    assert office.line.ids() == ["ONE", "ONE"]


async def test_a_refused_message_that_the_socket_interrupts_is_still_encrypted_anew(
    office: Office, people: tuple[Person, Person, Person]
) -> None:
    _, bob, _ = people
    message = office.accept("ONE", bob)
    await office.pump()
    await office.answer_all(*people)
    await office.ack("ONE", bob.lid, error=421)
    office.lose()
    office.log_in()
    await office.pump()
    assert office.line.ids() == ["ONE"]
    await office.ack("ONE", bob.lid, error=421)
    await office.answer_all(*people)
    assert office.line.ids() == ["ONE", "ONE"]
    assert office.talk.status(message) == "queued"
    await office.ack("ONE", bob.lid, error=421)
    assert office.talk.status(message) == "failed"


async def test_a_new_name_of_a_chat_lets_nothing_overtake_what_was_refused(
    office: Office, people: tuple[Person, Person, Person]
) -> None:
    _, bob, _ = people
    office.accept("ONE", bob)
    await office.pump()
    while office.line.lists_asked:  # nobody tells the LID
        await office.answer_lists(office.line.lists_asked.pop(0), *people, with_lid=False)
    await office.answer_all(*people)
    await office.ack("ONE", bob.pn, error=421)
    await office.commit(LearnPair(bob.digits, bob.lid_digits), *pair_of(bob))
    office.messaging._shelf.remember({(op.kind, op.key): op.value for op in pair_of(bob)})
    office.accept("TWO", bob)
    await office.nudge()
    await office.answer_all(*people)
    assert office.line.ids() == ["ONE", "ONE", "TWO"]


async def test_what_waits_for_a_bundle_asks_for_it_once(office: Office, people: tuple[Person, Person, Person]) -> None:
    _, bob, _ = people
    office.accept("ONE", bob)
    await office.pump()
    await office.answer_all(*people)
    bob.add(1)
    await office.ack("ONE", bob.lid, phash="2:other")
    await office.answer_lists(office.line.lists_asked.pop(0), *people)
    for _ in range(5):
        await office.pump()
    assert office.line.bundles_asked == [(bob.lid.with_device(1),)]


async def test_an_answer_releases_only_who_waits_for_it(office: Office, people: tuple[Person, Person, Person]) -> None:
    _, bob, carol = people
    office.accept("ONE", bob)
    await office.pump()
    office.accept("TWO", carol)
    await office.nudge()
    first, second = office.line.lists_asked
    office.line.lists_asked.clear()
    await office.answer_lists(second, *people)
    assert office.line.lists_asked == [], "Bob is being asked about already"
    await office.answer_lists(first, *people)
    await office.answer_all(*people)
    assert sorted(office.line.ids()) == ["ONE", "TWO"]


async def test_a_bundle_of_an_earlier_installation_is_not_used(
    office: Office, people: tuple[Person, Person, Person]
) -> None:
    """A bundle that a retry receipt was answered with may not open the session with whoever comes after."""
    _, bob, _ = people
    phone = bob.lid.with_device(0)
    await office.answer_bundles((phone,), bob)
    assert len(office.messaging.sending.queries.bundles) == 0


async def test_a_token_is_issued_once_for_many_messages(office: Office, people: tuple[Person, Person, Person]) -> None:
    _, bob, _ = people
    for name in ("ONE", "TWO", "THREE"):
        office.accept(name, bob)
    await office.pump()
    await office.answer_all(*people)
    for name in ("ONE", "TWO", "THREE"):
        await office.ack(name, bob.lid)
    assert office.line.tokens_issued == [bob.lid]


async def test_hundreds_of_chats_that_wait_hold_up_nobody_else(
    office: Office, people: tuple[Person, Person, Person]
) -> None:
    _, bob, _ = people
    office.accept("ONE", bob)
    await office.pump()
    await office.answer_all(*people)
    for number in range(300):
        office.accept(f"NEW{number}", f"9991{number:08}@s.whatsapp.net")
    office.accept("TWO", bob)
    await office.nudge()
    assert office.line.ids() == ["ONE", "TWO"]


async def test_what_nobody_told_of_is_found_after_a_while(
    office: Office, people: tuple[Person, Person, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that was given up as hanging may be there all the same; nobody knows, and nobody nudges."""
    monkeypatch.setattr(sending, "LOOK_AGAIN_S", 0.2)
    _, bob, _ = people
    office.accept("ONE", bob)
    await office.pump()
    await office.answer_all(*people)
    looked_at = trio.current_time()
    office.accept("TWO", bob)
    with trio.fail_after(5):
        while office.line.ids() == ["ONE"]:
            await trio.sleep(0.02)
            await office.pump()
    assert office.line.ids() == ["ONE", "TWO"]
    assert trio.current_time() - looked_at >= 0.1, "and not read at every turn"


async def test_chats_behind_a_long_queue_that_waits_are_found(
    office: Office, people: tuple[Person, Person, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "LOOKED_OVER", 3)
    _, bob, carol = people
    names = [f"B{number}" for number in range(8)]
    for name in names:
        office.accept(name, bob)
    await office.pump()
    office.accept("C", carol)
    await office.nudge()
    (about_bob, about_carol) = office.line.lists_asked
    assert carol.digits in {jid.user for jid in about_carol}
    office.accept("C2", carol)
    await office.nudge()
    assert len(office.line.lists_asked) == 2, "nothing is asked twice"
    office.line.lists_asked.clear()
    await office.answer_lists(about_carol, *people)
    await office.answer_all(*people)
    assert office.line.ids() == ["C", "C2"]
    await office.answer_lists(about_bob, *people)
    await office.answer_all(*people)
    assert office.line.ids() == ["C", "C2", *names], "what was looked past is looked at again"


async def test_a_chat_that_is_renamed_waits_no_more_and_is_not_overtaken(
    office: Office, people: tuple[Person, Person, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bob rests under his number, and what is queued for him is long; then he writes, and his chat has another name."""
    monkeypatch.setattr(outbox, "LOOKED_OVER", 3)
    _, bob, _ = people
    office.accept("ONE", bob)
    await office.pump()
    while office.line.lists_asked:  # nobody tells the LID
        await office.answer_lists(office.line.lists_asked.pop(0), *people, with_lid=False)
    await office.answer_all(*people)
    office.messaging.sending.queries.waits.rest(str(bob.pn), trio.current_time() + 600)
    names = [f"B{number}" for number in range(4)]
    for name in names:
        office.accept(name, bob)
    await office.nudge()  # a whole span is passed
    await office.commit(LearnPair(bob.digits, bob.lid_digits), *pair_of(bob))
    office.messaging._shelf.remember({(op.kind, op.key): op.value for op in pair_of(bob)})
    await office.answer_lists((bob.lid,), *people)
    office.accept("LATER", str(bob.lid))
    await office.nudge()
    await office.answer_all(*people)
    assert office.line.ids() == ["ONE", *names, "LATER"]


async def test_what_a_clock_passed_is_found_once_it_is_set_back(
    office: Office, people: tuple[Person, Person, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "LOOKED_OVER", 3)
    monkeypatch.setattr(sending, "LOOK_AGAIN_S", 0.2)
    _, bob, carol = people
    office.accept("B0", bob)
    await office.pump()
    office.accept("B1", bob)
    office.accept("C", carol)
    services = office.services
    office.services = replace(services, unix_ms=lambda: unix_ms() + 700_000)  # all of it has expired by that
    await office.nudge()
    office.services = services
    with trio.fail_after(5):
        while len(office.line.lists_asked) < 2:
            office.accept(f"A{trio.current_time()}", bob)
            await trio.sleep(0.02)
            await office.nudge()
    assert carol.digits in {jid.user for jid in office.line.lists_asked[1]}


async def test_it_is_not_remembered_for_ever_what_was_encrypted_anew(
    office: Office, people: tuple[Person, Person, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "MAX_RESEALED", 2)
    _, bob, _ = people
    names = ["ONE", "TWO", "THREE"]
    for name in names:
        office.accept(name, bob)
    await office.pump()
    await office.answer_all(*people)
    for name in names:
        await office.ack(name, bob.lid, error=421)
    await office.answer_all(*people)
    assert office.line.ids() == [*names, *names]
    assert list(office.messaging.sending._resealed) == ["TWO", "THREE"]
