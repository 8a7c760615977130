"""Plans that are kept while a chat is busy, and everything that ends them; reads that a busy chat does without."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.instance.messaging import plans
from actors.instance.messaging.drafts import Draughtsman
from actors.instance.messaging.plans import KeptPlan, Plan, PlanBook
from tests.integration.actors.desks import Office, open_office
from tests.integration.actors.test_outbox_desk import pair_of
from tests.unit.whatisup.protocol.messaging.parties import Person, acquaint, direct, pairwise, two_people
from whatisup.protocol.messaging.devices import FRESH_MS, DeviceListEntry
from whatisup.protocol.messaging.keyring import DEVICES, SESSION, TOKEN, Wanted
from whatisup.protocol.messaging.tokens import TokenEntry
from whatisup.protocol.stanzas.message import Enc
from whatisup.store import DeleteAuth, PutAuth
from whatisup.store.store import unix_ms
from whatisup.wire import Node

People = tuple[Person, Person]


@pytest.fixture
def people() -> People:
    ann, bob = two_people((0,))
    ann.add(1)
    return ann, bob


@pytest.fixture
async def office(tmp_path: Path, people: People) -> AsyncIterator[Office]:
    """Bob and we know each other: nothing is to be asked any more."""
    async with open_office(tmp_path, people[0].devices[1]) as office:
        await change(office, *pair_of(people[1]))
        office.accept("FIRST", people[1])
        await office.pump()
        await office.answer_all(*people)
        await office.ack("FIRST", people[1].lid)
        office.line.sent.clear()
        yield office


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The chats that were planned anew."""
    real, seen = Draughtsman._plan_anew, list[str]()

    async def plan_anew(man: Draughtsman, found: Any, jids: Any, book: PlanBook) -> None:
        seen.extend(jids)
        await real(man, found, jids, book)

    monkeypatch.setattr(Draughtsman, "_plan_anew", plan_anew)
    return seen


async def change(office: Office, *ops: PutAuth | DeleteAuth) -> None:
    """Let another desk commit something."""
    await office.commit(*ops)
    values = {(op.kind, op.key): op.value if isinstance(op, PutAuth) else None for op in ops}
    office.messaging._shelf.remember(values)


async def send(office: Office, wa_id: str, to: Person) -> None:
    office.accept(wa_id, to)
    await office.nudge()


def lists(of: Person, *numbers: int, fetched_at: int | None = None) -> PutAuth:
    devices = tuple((number, None) for number in numbers)
    entry = DeviceListEntry(devices, unix_ms() if fetched_at is None else fetched_at)
    return PutAuth(DEVICES, str(of.lid), entry.encode())


async def test_a_busy_chat_is_planned_once(office: Office, people: People, planned: list[str]) -> None:
    planned.clear()
    for name in ("ONE", "TWO", "THREE"):
        await send(office, name, people[1])
        await office.ack(name, people[1].lid)
    assert office.line.ids() == ["ONE", "TWO", "THREE"]
    assert len(planned) == 1


async def test_a_device_that_a_user_gained_is_in_the_next_plan(office: Office, people: People) -> None:
    _, bob = people
    await send(office, "ONE", bob)
    bob.add(3)
    await change(office, lists(bob, 0, 3))
    await send(office, "TWO", bob)
    assert office.line.bundles_asked == [(bob.lid.with_device(3),)]
    await office.answer_all(*people)
    assert bob.lid.with_device(3) in dict(office.line.messages()[-1].participants)


async def test_a_device_of_ours_that_is_gone_is_in_no_further_plan(office: Office, people: People) -> None:
    ann, bob = people
    await send(office, "ONE", bob)
    await change(office, lists(ann, 1))
    await send(office, "TWO", bob)
    one, two = office.line.messages()
    assert [jid for jid, _ in one.participants] == [bob.lid, ann.lid]
    assert [jid for jid, _ in two.participants] == [bob.lid]


async def test_a_session_that_is_gone_is_asked_for(office: Office, people: People) -> None:
    _, bob = people
    await send(office, "ONE", bob)
    await change(office, DeleteAuth(SESSION, f"{bob.lid_digits}_1.0"))
    await send(office, "TWO", bob)
    assert office.line.bundles_asked == [(bob.lid,)]
    assert office.line.ids() == ["ONE"]


async def test_a_token_that_came_goes_with_the_next_message(office: Office, people: People) -> None:
    _, bob = people
    await send(office, "ONE", bob)
    token = TokenEntry(b"token", unix_ms() // 1000)
    await change(office, PutAuth(TOKEN, bob.lid_digits, token.encode()))
    await send(office, "TWO", bob)
    assert [message.tctoken for message in office.line.messages()] == [None, b"token"]


async def test_lists_that_grew_old_are_asked_for(office: Office, people: People, planned: list[str]) -> None:
    _, bob = people
    planned.clear()
    await change(office, lists(bob, 0, fetched_at=unix_ms() - FRESH_MS + 60_000))
    await send(office, "ONE", bob)
    await send(office, "TWO", bob)
    assert len(planned) == 1, "the first made a plan that counts for a minute"
    later = replace(office.services, unix_ms=lambda: unix_ms() + 120_000)
    office.services = later
    office.accept("THREE", bob)
    await office.nudge()
    assert len(planned) == 2
    assert [jid.user for asked in office.line.lists_asked for jid in asked] == [bob.digits]


async def test_a_chat_that_is_doubted_is_asked_about_whatever_is_kept(office: Office, people: People) -> None:
    _, bob = people
    await send(office, "ONE", bob)
    await office.ack("ONE", bob.lid, error=421)
    await send(office, "TWO", bob)
    assert office.line.ids() == ["ONE"]
    await office.answer_all(*people)
    assert office.line.ids() == ["ONE", "ONE", "TWO"]


async def test_nothing_is_kept_for_another_account(office: Office, people: People, planned: list[str]) -> None:
    planned.clear()
    await send(office, "ONE", people[1])
    office.own.own = replace(office.own.own)
    office.know()
    await send(office, "TWO", people[1])
    assert len(planned) == 2


def test_the_book_is_bounded_and_forgets_what_was_kept_first(people: People) -> None:
    plan, book = Plan(people[1].lid, None, (), TokenEntry()), PlanBook()
    kept = KeptPlan(plan, people[0].devices[1].own, Wanted(), (), (), 0, 0)
    for number in range(plans.MAX_KEPT + 1):
        book.keep(str(number), kept)
    assert book.find("0", kept.own) is None
    assert book.find("1", kept.own) is kept
    assert book.find(str(plans.MAX_KEPT), kept.own) is kept


# --- what is read ----------------------------------------------------------------------------------------------------


@pytest.fixture
def looks(office: Office, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the functions that read from the store."""
    seen: list[str] = []
    database = office.services.database
    read = database.read

    async def note(fn: Any, *args: Any) -> Any:
        seen.append(getattr(fn, "func", fn).__name__)
        return await read(fn, *args)

    for name in ("look", "read"):
        monkeypatch.setattr(database, name, note)
    return seen


async def test_an_ack_reads_nothing(office: Office, people: People, looks: list[str]) -> None:
    await send(office, "ONE", people[1])
    looks.clear()
    await office.ack("ONE", people[1].lid)
    assert looks == []


async def test_a_full_window_is_filled_as_acks_come(
    office: Office, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.instance.messaging.sending.WINDOW", 2)
    for name in ("ONE", "TWO", "THREE"):
        office.accept(name, people[1])
    await office.nudge()
    assert office.line.ids() == ["ONE", "TWO"]
    await office.ack("ONE", people[1].lid)
    assert office.line.ids() == ["ONE", "TWO", "THREE"]


async def receive(office: Office, node: Node) -> None:
    await office.messaging.gather(office.received(node))
    await office.messaging.reading.settle()


@pytest.fixture
async def talking(office: Office, people: People) -> Office:
    """Bob has a session that we know."""
    own, phone = office.own, people[1].devices[0]
    acquaint(phone, own)
    await change(office, *(PutAuth(kind, name, raw) for (kind, name), raw in own.store.items() if kind != "prekey"))
    return office


async def test_what_opens_is_not_looked_up(talking: Office, people: People, looks: list[str]) -> None:
    phone = people[1].devices[0]
    await receive(talking, direct(phone, talking.own, pairwise(phone, talking.own, b"\n\x02hi"), wa_id="IN0"))
    looks.clear()
    await receive(talking, direct(phone, talking.own, pairwise(phone, talking.own, b"\n\x02hi"), wa_id="IN1"))
    assert looks == []
    assert len(talking.talk.page(direction="in")) == 2


async def test_a_connection_that_ends_leaves_no_keys_behind(talking: Office, people: People) -> None:
    phone, cache = people[1].devices[0], talking.services.keys
    sizes = []
    for name in ("IN0", "IN1", "IN2"):
        await receive(talking, direct(phone, talking.own, pairwise(phone, talking.own, b"\n\x02hi"), wa_id=name))
        sizes.append(len(cache))
        talking.lose()
        assert len(cache) == 0
        talking.log_in()
    assert sizes[1] == sizes[2] > 0


async def test_what_was_opened_before_is_answered_again_and_nothing_else(talking: Office, people: People) -> None:
    phone = people[1].devices[0]
    node = direct(phone, talking.own, pairwise(phone, talking.own, b"\n\x02hi"), wa_id="IN1")
    await receive(talking, node)
    await receive(talking, node)
    receipts = [(sent.tag, sent.attrs["id"], sent.attrs.get("type")) for sent in talking.line.sent]
    assert receipts == [("receipt", "IN1", "inactive")] * 2
    assert [message.status for message in talking.talk.page(direction="in")] == ["received"]


async def test_what_never_opens_is_asked_for(talking: Office, people: People) -> None:
    phone = people[1].devices[0]
    enc = pairwise(phone, talking.own, b"\n\x02hi")
    garbled = Enc(enc.kind, enc.ciphertext[:-1] + bytes((enc.ciphertext[-1] ^ 1,)))
    await receive(talking, direct(phone, talking.own, garbled, wa_id="BAD"))
    assert [sent.attrs.get("type") for sent in talking.line.sent if sent.tag == "receipt"] == ["retry"]
    assert [message.status for message in talking.talk.page(direction="in")] == ["undecryptable"]
