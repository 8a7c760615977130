"""A contact that means harm: it writes its own receipts, retry receipts and messages, and moves nothing but its own."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from actors.instance import Limits
from actors.instance.messaging import reading
from actors.instance.messaging.budgets import Bucket
from tests.integration.actors.desks import Office, open_office
from tests.unit.whatisup.protocol.messaging.parties import NOW_S, Device, Person, direct, entropy, two_people
from whatisup.e2ee import SessionRecord, encrypt, pad, start_session
from whatisup.jid import Jid
from whatisup.protocol.events import BundlesAnswered, MessageReceived, ReceiptReceived
from whatisup.protocol.prekeys import peer_bundle
from whatisup.protocol.stanzas.enc import Enc
from whatisup.protocol.stanzas.receipt import RetryRequest, parse_receipt
from whatisup.store import auth, events, messages
from whatisup.store.store import unix_ms
from whatisup.wire import Node
from whatisup.wire.message import Message, MessageKey, ProtocolMessage


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


async def gather(office: Office, *events: MessageReceived | ReceiptReceived) -> None:
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


def written(by: Person, to: Device, message: Message, wa_id: str) -> MessageReceived:
    """What a person's phone writes to this device, in the session it has or in a new one."""
    phone = by.devices[0]
    sent = phone.store.get(("session", SESSION))
    record = SessionRecord.decode(sent) if sent else None
    if record is None:
        record = start_session(None, phone.own.identity, peer_bundle(to.bundle(with_prekey=False)), entropy)
    made = encrypt(record, phone.own.identity, pad(message.SerializeToString(), entropy))
    phone.store["session", SESSION] = made.record.encode()
    node = direct(phone, to, Enc(made.kind, made.ciphertext), wa_id=wa_id)
    return MessageReceived(node, to.envelope(node), 500)


SESSION = "the device under attack"


def about(wa_id: str, kind: ProtocolMessage.Type.ValueType) -> Message:
    """An edit or a revoke that claims to be of its sender's own message."""
    return Message(
        protocolMessage=ProtocolMessage(
            type=kind, key=MessageKey(id=wa_id, fromMe=True), editedMessage=Message(conversation="I owe you a million")
        )
    )


async def test_what_we_wrote_is_edited_and_deleted_by_us_alone(
    office: Office, people: tuple[Person, Person, Person]
) -> None:
    ann, _, mallory = people
    await send(office, "OURS", mallory, *people)
    hers = written(mallory, ann.devices[1], Message(conversation="hers"), "HERS")
    await gather(office, hers)
    for number, target in enumerate(("OURS", "HERS", "UNKNOWN")):
        for kind in (ProtocolMessage.MESSAGE_EDIT, ProtocolMessage.REVOKE):
            await gather(office, written(mallory, ann.devices[1], about(target, kind), f"{kind}-{number}"))
    for number, kinds in enumerate((("edit_by_another", "revoke_by_another"), ("edit", "revoke"), ("edit", "revoke"))):
        for kind, expected in zip((ProtocolMessage.MESSAGE_EDIT, ProtocolMessage.REVOKE), kinds, strict=True):
            (row,) = await office.services.database.read(messages.by_wa_id, office.id, f"{kind}-{number}")
            assert row.body is not None
            assert row.body.get("kind", row.body["type"]) == expected


async def test_receipts_for_many_messages_do_not_pile_up_into_one_unit(
    office: Office, people: tuple[Person, Person, Person]
) -> None:
    many = [f"3EB0{number}" for number in range(2000)]
    messaging, taken = office.messaging, 0
    for _ in range(10):
        await messaging.gather(receipt("FIRST", people[2].lid, "", *many))
        taken = max(taken, len(messaging.reading._events))
    assert taken <= 1
    assert len(office.line.transmitted) == 10 - len(messaging.reading._events)


async def test_others_get_a_turn_while_what_takes_long_is_opened(
    office: Office, people: tuple[Person, Person, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, _, mallory = people
    real, turns = reading.open_message, 0
    seen: list[int] = []

    def slowly(*args: Any, **kwargs: Any) -> Any:
        seen.append(turns)
        ends_at = time.perf_counter() + 1.5 * reading.TURN_S
        while time.perf_counter() < ends_at:  # as much arithmetic
            pass
        return real(*args, **kwargs)

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    monkeypatch.setattr(reading, "open_message", slowly)
    for number in range(reading.OPENED_AT_ONCE - 1):
        words = Message(conversation=str(number))
        await office.messaging.gather(written(mallory, ann.devices[1], words, f"SLOW{number}"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_turns)
        await office.messaging.reading.settle()
        nursery.cancel_scope.cancel()
    # Who is first in a round may be last in the next: at least every other message lets somebody else go on.
    assert len(set(seen)) >= reading.OPENED_AT_ONCE // 2


async def test_what_cannot_be_read_makes_us_ask_our_phone_within_a_budget(
    office: Office, people: tuple[Person, Person, Person]
) -> None:
    ann, _, mallory = people
    for number in range(10):
        attrs = {"id": f"GONE{number}", "from": mallory.lid, "t": str(unix_ms() // 1000), "type": "text"}
        node = Node("message", attrs, (Node("unavailable"),))
        await office.messaging.gather(MessageReceived(node, ann.devices[1].envelope(node), 100))
    await office.messaging.reading.settle()
    await office.messaging.run_due()
    await office.answer_bundles(office.line.bundles_asked.pop(), ann)
    for _ in range(3):
        await office.messaging.run_due()
    assert len(office.line.messages()) == 3
    assert office.messaging.deadline > trio.current_time() + 60


def reinstalled(person: Person) -> Device:
    """The phone of a person as the server would forge it, or as it is after a new installation: with another key."""
    other = Person(person.digits, person.lid_digits)
    other.add(0)
    return other.devices[0]


async def renewals(office: Office) -> list[dict[str, Any]]:
    found = await office.services.database.read(
        partial(events.page, customer_id=office.row.customer_id, mode=office.row.mode, after=0, limit=100)
    )
    return [dict(event.data or {}) for event in found if event.type == "contact.identity_changed"]


async def test_nobody_gets_a_message_anew_under_another_key_without_our_telling(
    office: Office, people: tuple[Person, Person, Person]
) -> None:
    bob = people[1]
    await send(office, "SECRET", bob, *people)
    phone = reinstalled(bob)
    own = phone.own
    asked = retry("SECRET", bob.lid)
    request = RetryRequest("SECRET", 1, NOW_S, 7, own.identity.registration_id, phone.bundle())
    await office.messaging.heed(dataclasses.replace(asked, receipt=dataclasses.replace(asked.receipt, retry=request)))
    assert len(office.line.ids()) == 2
    assert await renewals(office) == [{"phone": bob.digits, "lid": bob.lid_digits, "device": 0}]


async def test_what_cannot_be_read_makes_us_mint_prekeys_within_a_budget(
    office: Office, people: tuple[Person, Person, Person]
) -> None:
    ann, _, mallory = people
    office.messaging.repair._keys = Bucket(0.001, 3, trio.current_time())
    before = await office.services.database.read(auth.next_prekey_id, office.id)
    for number in range(10):
        attrs = {
            "id": f"MINT{number}",
            "from": Jid("120363000000000001", "g.us"),
            "participant": mallory.lid,
            "t": str(unix_ms() // 1000),
            "type": "text",
        }
        node = Node("message", attrs, (Node("enc", {"v": "2", "type": "skmsg"}, b"\x33" + bytes(80)),))
        await office.messaging.gather(MessageReceived(node, ann.devices[1].envelope(node), 100))
    await office.messaging.reading.settle()
    assert await office.services.database.read(auth.next_prekey_id, office.id) - before == 3
