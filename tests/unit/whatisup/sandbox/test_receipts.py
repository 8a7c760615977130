"""The forgetting rule, answer by answer, and who hears of a receipt."""

from __future__ import annotations

import pytest

from tests.unit.whatisup.sandbox.bench import Raw
from tests.unit.whatisup.sandbox.town import ADA, BOB, Town, leave, make_town, messages
from whatisup.jid import SERVER, Jid
from whatisup.protocol.stanzas.ack import build_ack
from whatisup.protocol.stanzas.message import Enc, Outgoing, build_message
from whatisup.protocol.stanzas.receipt import build_receipt, parse_receipt
from whatisup.wire import Node


@pytest.fixture
def town() -> Town:
    return make_town()


def online(town: Town) -> Raw:
    """Bob's companion, there and with nothing unread on its socket."""
    raw = Raw.active(town.bob)
    raw.received()
    return raw


def message_for_bob(town: Town, raw: Raw, message_id: str = "M1") -> Node:
    town.route(ADA, 1, town.to_bob(message_id))
    (message,) = messages(raw.received())
    return message


@pytest.mark.parametrize("kind", ["", "inactive", "read", "played"])
def test_message_is_forgotten_by_a_receipt(town: Town, kind: str) -> None:
    raw = online(town)
    message = message_for_bob(town, raw)
    raw.send(build_receipt(["M1"], message.attrs["from"], kind=kind))  # type: ignore[arg-type]  # a Jid
    assert town.waiting(BOB) == 0
    ack = raw.received()[0]
    assert (ack.tag, ack.attrs["class"], ack.attrs["id"]) == ("ack", "receipt", "M1")
    assert ack.attrs["from"] == message.attrs["from"]
    assert ack.attrs.get("type", "") == kind


@pytest.mark.parametrize("error", [None, 487])
def test_message_is_forgotten_by_an_ack_negative_or_not(town: Town, error: int | None) -> None:
    raw = online(town)
    raw.send(build_ack(message_for_bob(town, raw), error=error))
    assert town.waiting(BOB) == 0


def test_nack_keeps_a_message_where_the_switch_says_so() -> None:
    town = make_town(["nack-keeps"])
    raw = online(town)
    message = message_for_bob(town, raw)
    raw.send(build_ack(message, error=487))
    assert town.waiting(BOB) == 1
    raw.send(build_ack(message))
    assert town.waiting(BOB) == 0


@pytest.mark.parametrize("kind", ["retry", "sender", "peer_msg", "hist_sync", "server-error", "unheard-of"])
def test_message_of_others_is_kept_by_any_other_receipt(town: Town, kind: str) -> None:
    raw = online(town)
    message = message_for_bob(town, raw)
    receipt = build_receipt(["M1"], message.attrs["from"], kind=kind)  # type: ignore[arg-type]  # a Jid
    retry = (
        Node("retry", {"count": "1", "id": "M1", "t": "1", "v": "1"}),
        Node("registration", {}, b"\0\0\0\1"),
    )
    raw.send(Node("receipt", receipt.attrs, retry) if kind == "retry" else receipt)
    assert town.waiting(BOB) == 1
    assert raw.received()[0].attrs["class"] == "receipt", "it is acknowledged all the same"


@pytest.mark.parametrize("wrong", [{"id": "M2"}, {"to": Jid("999000000009", "s.whatsapp.net")}])
def test_message_is_kept_by_an_answer_to_something_else(town: Town, wrong: dict[str, str | Jid]) -> None:
    raw = online(town)
    message = message_for_bob(town, raw)
    for answer in (build_receipt(["M1"], message.attrs["from"]), build_ack(message)):  # type: ignore[arg-type]  # a Jid
        raw.send(Node(answer.tag, {**answer.attrs, **wrong}))
    assert town.waiting(BOB) == 1


def test_message_is_forgotten_by_an_answer_in_the_other_form_or_without_device(town: Town) -> None:
    raw = online(town)
    message_for_bob(town, raw, "M1"), message_for_bob(town, raw, "M2")
    raw.send(build_receipt(["M1"], town.pn(ADA)), build_receipt(["M2"], town.lid(ADA), kind="read"))
    assert town.waiting(BOB) == 0


def test_list_of_ids_forgets_each(town: Town) -> None:
    raw = online(town)
    for message_id in ("M1", "M2", "M3"):
        message_for_bob(town, raw, message_id)
    raw.send(build_receipt(["M1", "M3"], town.lid(ADA, 1)))
    (left,) = messages(again(town, raw))
    assert left.attrs["id"] == "M2"
    (passed,) = town.phones.of(ADA, "receipt")
    assert parse_receipt(passed).ids == ("M1", "M3")


def again(town: Town, raw: Raw) -> list[Node]:
    """What Bob's companion gets when it comes back."""
    leave(raw)
    return Raw.active(town.bob).received()


def test_unanswered_message_is_delivered_again_bit_by_bit_the_same(town: Town) -> None:
    raw = online(town)
    first = message_for_bob(town, raw)
    (second,) = messages(again(town, raw))
    assert second.content == first.content
    assert {**first.attrs, "offline": "0"} == second.attrs


def test_answer_that_comes_before_the_stanza_forgets_nothing(town: Town) -> None:
    town.route(ADA, 1, town.to_bob())
    raw = Raw.logging_in(town.bob)  # not active yet: nothing was written
    raw.send(build_receipt(["M1"], town.lid(ADA, 1)))
    assert town.waiting(BOB) == 1


def test_one_answer_forgets_one_stanza_of_an_id(town: Town) -> None:
    raw = online(town)
    message = message_for_bob(town, raw)
    town.route(ADA, 1, build_message(Outgoing(id="M1", to=town.lid(BOB, 1), type="text", direct=Enc("msg", b"2", 1))))
    raw.send(build_ack(message))
    assert town.waiting(BOB) == 1
    (left,) = messages(again(town, raw))
    assert left.children()[0].attrs["count"] == "1"


# own messages


def own_copy(town: Town) -> tuple[Raw, Node]:
    raw = Raw.active(town.ada2)
    raw.received()
    town.route(ADA, 1, town.to_bob())
    (copy,) = messages(raw.received())
    return raw, copy


def test_own_message_is_forgotten_by_a_sender_receipt_alone(town: Town) -> None:
    raw, copy = own_copy(town)
    for kind in ("", "inactive", "read"):
        raw.send(build_receipt(["M1"], town.lid(ADA, 1), kind=kind, recipient=town.lid(BOB)))
    raw.send(build_ack(copy))
    assert town.waiting(ADA, 2) == 1
    raw.send(build_receipt(["M1"], town.lid(ADA, 1), kind="sender", recipient=town.lid(BOB)))
    assert town.waiting(ADA, 2) == 0


def test_sender_receipt_reaches_the_sending_device(town: Town) -> None:
    raw, _ = own_copy(town)
    sender = Raw.active(town.ada)
    sender.received()
    raw.send(build_receipt(["M1"], town.lid(ADA, 1), kind="sender", recipient=town.lid(BOB)))
    (passed,) = sender.received()
    receipt = parse_receipt(passed)
    assert (receipt.kind, receipt.source, receipt.recipient) == ("sender", town.lid(ADA, 2), town.lid(BOB))
    assert town.phones.of(ADA, "receipt") == []


def test_sender_receipt_may_leave_out_whom_it_is_for(town: Town) -> None:
    # Baileys does so for copies that are addressed by number.
    raw, _ = own_copy(town)
    raw.send(Node("receipt", {"id": "M1", "type": "sender", "recipient": town.lid(BOB)}))
    assert town.waiting(ADA, 2) == 0
    assert town.waiting(ADA, 1) == 1
    assert raw.received()[0].attrs == {"class": "receipt", "id": "M1", "from": SERVER, "type": "sender"}


@pytest.mark.parametrize("kind", ["", "sender", "peer_msg", "hist_sync"])
def test_peer_message_is_forgotten_by_a_receipt(town: Town, kind: str) -> None:
    raw = Raw.active(town.ada2)
    raw.received()
    peer = Outgoing(id="P1", to=town.lid(ADA, 2), type="text", category="peer", direct=Enc("msg", b"x"))
    town.route(ADA, 0, build_message(peer))
    assert town.waiting(ADA, 2) == 1
    raw.send(build_receipt(["P1"], town.pn(ADA), kind=kind))
    assert town.waiting(ADA, 2) == 0


def test_phone_hears_what_became_of_its_peer_message(town: Town) -> None:
    raw = Raw.active(town.ada2)
    raw.send(build_receipt(["P1"], town.pn(ADA), kind="hist_sync"))
    (passed,) = town.phones.of(ADA, "receipt")
    receipt = parse_receipt(passed)
    assert (receipt.kind, receipt.source, receipt.ids) == ("hist_sync", town.pn(ADA, 2), ("P1",))


# others hear of it


def test_delivery_reaches_all_devices_of_the_author(town: Town) -> None:
    raw = online(town)
    message = message_for_bob(town, raw)
    raw.send(build_receipt(["M1"], message.attrs["from"]))  # type: ignore[arg-type]  # a Jid
    passed = [
        *town.phones.of(ADA, "receipt"),
        Raw.active(town.ada).received()[-2],
        Raw.active(town.ada2).received()[-2],
    ]
    for node in passed:
        receipt = parse_receipt(node)
        assert (receipt.kind, receipt.source, receipt.unix_t) == ("", town.lid(BOB, 1), int(town.bench.unix))
    assert town.phones.of(BOB, "receipt") == []


def test_read_reaches_the_author_and_the_readers_other_devices(town: Town) -> None:
    town.route(BOB, 1, build_receipt(["M1"], town.lid(ADA), kind="read", unix_t=5))
    (to_author,) = town.phones.of(ADA, "receipt")
    (to_own,) = town.phones.of(BOB, "receipt")
    assert parse_receipt(to_author).recipient is None
    receipt = parse_receipt(to_own)
    assert (receipt.kind, receipt.source, receipt.recipient) == ("read", town.lid(BOB, 1), town.lid(ADA))


def test_read_self_stays_in_the_own_account(town: Town) -> None:
    town.route(BOB, 1, build_receipt(["M1"], town.lid(ADA), kind="read-self"))
    assert town.phones.of(ADA, "receipt") == []
    assert len(town.phones.of(BOB, "receipt")) == 1


def retry_of(town: Town, to: Jid, message_id: str = "M1") -> Node:
    children = (
        Node("retry", {"count": "1", "id": message_id, "t": "1", "v": "1", "error": "7"}),
        Node("registration", {}, b"\0\0\0\7"),
    )
    return Node("receipt", {"id": message_id, "to": to, "type": "retry"}, children)


def test_retry_reaches_the_author_device_alone_with_all_it_holds(town: Town) -> None:
    sender = Raw.active(town.ada)
    sender.received()
    town.route(BOB, 1, retry_of(town, town.lid(ADA, 1)))
    (passed,) = sender.received()
    receipt = parse_receipt(passed)
    assert (receipt.kind, receipt.source) == ("retry", town.lid(BOB, 1))
    assert receipt.retry is not None
    assert (receipt.retry.count, receipt.retry.error, receipt.retry.registration_id) == (1, 7, 7)
    assert (town.waiting(ADA, 2), town.phones.of(ADA, "receipt")) == (0, [])


def test_after_a_retry_even_a_whole_resend_reaches_who_asked(town: Town) -> None:
    # Baileys answers a phone by sending to all devices once more.
    town.route(ADA, 1, town.to_bob())
    town.route(BOB, 0, retry_of(town, town.lid(ADA, 1)))
    town.route(ADA, 1, town.to_bob(body=b"once more"))
    assert len(town.phones.of(BOB)) == 2
    assert town.waiting(BOB) == 1, "the companion did not ask"


def test_receipt_for_another_tenants_account_is_passed_to_nobody(town: Town) -> None:
    town.bench.server.pairing.create_account("999000000005", None, tenant="other")
    ack = town.route(BOB, 1, build_receipt(["M1"], town.lid("999000000005")))
    assert ack is not None
    assert town.phones.delivered == []


# receipts, notifications and calls wait for acks


def test_receipt_is_forgotten_by_an_ack_of_its_type_alone(town: Town) -> None:
    raw = Raw.active(town.ada)
    raw.received()
    town.route(BOB, 1, build_receipt(["M1"], town.lid(ADA)))
    town.route(BOB, 1, build_receipt(["M1"], town.lid(ADA), kind="read"))
    delivered, read = raw.received()
    raw.send(build_receipt(["M1"], town.lid(BOB, 1)))
    raw.send(Node("ack", {**build_ack(read).attrs, "class": "message"}))
    raw.send(Node("ack", {key: value for key, value in build_ack(read).attrs.items() if key != "type"}))
    assert town.waiting(ADA) == 1, "the last one named the delivery"
    raw.send(build_ack(delivered))
    assert town.waiting(ADA) == 1
    raw.send(build_ack(read))
    assert town.waiting(ADA) == 0


def test_ack_without_an_address_takes_nothing(town: Town) -> None:
    raw = online(town)
    message_for_bob(town, raw)
    raw.send(Node("ack", {"class": "message", "id": "M1"}))
    assert town.waiting(BOB) == 1
    assert raw.client.ending is None
