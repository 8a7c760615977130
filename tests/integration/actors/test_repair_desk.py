"""Asking our phone for what could not be read, while names and sockets come and go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from actors.instance.actor import InstanceActor
from actors.instance.farewell import Farewell
from actors.instance.messaging import repair
from actors.mailbox import Mailbox
from tests.integration.actors.desks import Office, open_office
from tests.store.conversation import of, read, under_number, unread
from tests.unit.whatisup.protocol.messaging.parties import Person, acquaint, direct, pairwise, two_people
from whatisup.protocol.content.peer import MessageName, ResentMessage, placeholder_resend_response
from whatisup.protocol.events import MessageReceived
from whatisup.protocol.messaging.keyring import LID, PN, SESSION
from whatisup.store import Identity, Intent, LearnPair, NoteUndecryptable, PutAuth, messages
from whatisup.store.message_records import Unread
from whatisup.store.store import unix_ms
from whatisup.wire.message import Message


@pytest.fixture
def people() -> tuple[Person, Person]:
    ann, bob = two_people((0,))
    ann.add(1)
    return ann, bob


@pytest.fixture
async def office(
    tmp_path: Path, people: tuple[Person, Person], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Office]:
    """We have a session with our own phone, and wait for nobody before it is asked."""
    monkeypatch.setattr(repair, "PATIENCE_S", 0.0)
    ann, _ = people
    acquaint(ann.devices[1], ann.devices[0])
    async with open_office(tmp_path, ann.devices[1]) as office:
        sessions = [(name, value) for (kind, name), value in ann.devices[1].store.items() if kind == SESSION]
        await office.commit(*(PutAuth(SESSION, name, value) for name, value in sessions))
        yield office


def lately(identity: Identity) -> NoteUndecryptable:
    """Something came just now and could not be read."""
    return replace(unread(identity), received_at=unix_ms())


async def pending(office: Office) -> list[Unread]:
    return await office.services.database.read(messages.unread_pending, office.id)


async def test_what_was_read_under_another_name_meanwhile_is_not_asked_for(office: Office) -> None:
    await office.commit(lately(under_number()))
    await office.messaging.repair.resume()
    await office.commit(
        LearnPair("15550000001", "1000"), PutAuth(LID, "15550000001", b"1000"), PutAuth(PN, "1000", b"15550000001"),
        read("here it is", of()),
    )  # fmt: skip
    await office.messaging.run_due()
    assert office.line.sent == []
    assert await pending(office) == []
    assert [name for name, _ in office.talk.told()] == ["undecryptable", "received"]


async def test_what_is_called_by_another_name_meanwhile_is_asked_for_under_that(office: Office) -> None:
    await office.commit(lately(under_number()))
    await office.messaging.repair.resume()
    await office.commit(
        LearnPair("15550000001", "1000"), PutAuth(LID, "15550000001", b"1000"), PutAuth(PN, "1000", b"15550000001")
    )
    await office.messaging.run_due()
    (asked,) = await pending(office)
    assert (asked.chat, asked.phone_asked_at is None) == ("1000@lid", False)
    assert len(office.line.sent) == 1


async def test_a_socket_that_is_lost_while_asking_ends_the_asking(office: Office) -> None:
    await office.commit(*(lately(of(f"3EB0{n}")) for n in range(3)))
    await office.messaging.repair.resume()

    async def lose() -> None:
        office.lose()

    office.on_flush = lose
    await office.messaging.repair.ask_phone()
    assert len([one for one in await pending(office) if one.phone_asked_at]) == 1
    assert office.messaging.repair.deadline > trio.current_time() + 1000


@pytest.mark.parametrize("name", ["15550000001@s.whatsapp.net", "1000@lid"])
async def test_our_phone_may_call_the_chat_by_either_name(
    office: Office, people: tuple[Person, Person], name: str
) -> None:
    device, phone = people[0].devices[1], people[0].devices[0]
    await office.commit(PutAuth(LID, "15550000001", b"1000"), PutAuth(PN, "1000", b"15550000001"), lately(of("3EB0Q")))
    found = ResentMessage(MessageName(name, False, "3EB0Q"), Message(conversation="found").SerializeToString())
    answer = pairwise(phone, device, placeholder_resend_response("3EB0R", [found]))
    node = direct(phone, device, answer, wa_id="3EB0P", category="peer")
    await office.messaging.gather(MessageReceived(node, device.envelope(node), 500))
    await office.messaging.reading.settle()
    assert [kind for kind, _ in office.talk.told()] == ["undecryptable", "received"]
    assert await pending(office) == []


async def test_what_is_due_and_may_not_be_done_wakes_nobody(office: Office) -> None:
    """While we take our leave nothing of messages is done, so its deadlines must not keep the actor spinning."""
    now = trio.current_time()
    async with trio.open_nursery() as nursery:
        actor = InstanceActor(office.row, Mailbox(), office.services, nursery, commands={}, reactions={})
        actor.connection = office.connection
        actor.messaging.typing._ends_at = now - 1
        assert actor._next_deadline() < now
        actor.farewell = Farewell.begin(Intent.LOG_OUT, now, previous=None)
        assert actor._next_deadline() > now


async def test_a_phone_that_does_not_answer_is_asked_again_on_the_same_connection(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair, "ASK_AGAIN_MS", 20)
    await office.commit(lately(of()))
    await office.messaging.repair.resume()
    await office.messaging.run_due()
    assert len(office.line.sent) == 1
    await trio.sleep_until(office.messaging.repair.deadline)
    await office.messaging.run_due()
    assert len(office.line.sent) == 2


async def test_what_nobody_sent_for_a_day_is_given_up_on_the_same_connection(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.commit(lately(of()))
    await office.messaging.repair.resume()
    monkeypatch.setattr(repair, "GIVE_UP_MS", 0)
    await office.messaging.run_due()
    assert office.line.sent == []
    assert await pending(office) == []
    assert [name for name, _ in office.talk.told()] == ["undecryptable", "undecryptable"]
