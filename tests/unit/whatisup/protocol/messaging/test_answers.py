from __future__ import annotations

import dataclasses
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.whatisup.protocol.messaging.parties import Device, two_people
from whatisup.jid import SERVER, Jid
from whatisup.protocol.content.normalise import Content
from whatisup.protocol.messaging.answers import (
    MAX_LIST,
    RetryAnswer,
    aggregate,
    answers,
    poison_answers,
    retry_count,
    wants_keys,
)
from whatisup.protocol.messaging.opening import Failure, Opened, Verdict
from whatisup.protocol.stanzas.enc import Enc
from whatisup.protocol.stanzas.message import ChatKind, Envelope
from whatisup.protocol.stanzas.receipt import build_receipt, parse_receipt
from whatisup.wire import Node

ANN, BOB = two_people()
US: Device = BOB.devices[1]
GROUP = Jid("1", "g.us")
READ = [Verdict.READ, Verdict.SILENT, Verdict.DUPLICATE]
UNREAD = [Verdict.FAILED, Verdict.OLD_COUNTER, Verdict.UNAVAILABLE, Verdict.UNKNOWN]


def envelope(node: Node) -> Envelope:
    return US.envelope(Node(node.tag, {"id": "M", "t": "1", "type": "text", **node.attrs}))


FROM_ANN = envelope(Node("message", {"from": ANN.lid.with_device(1)}))
IN_GROUP = envelope(Node("message", {"from": GROUP, "participant": ANN.lid.with_device(1)}))
STATUS = envelope(Node("message", {"from": Jid("status", "broadcast"), "participant": ANN.lid}))
SENT = envelope(Node("message", {"from": BOB.lid, "recipient": ANN.lid}))
NOTE = envelope(Node("message", {"from": BOB.lid}))
OWN_IN_GROUP = envelope(Node("message", {"from": GROUP, "participant": BOB.lid}))
PEER = envelope(Node("message", {"from": BOB.lid, "category": "peer"}))
CHANNEL = envelope(Node("message", {"from": Jid("7", "newsletter")}))

ALL = [FROM_ANN, IN_GROUP, STATUS, SENT, NOTE, OWN_IN_GROUP, PEER, CHANNEL]


def said(node: Node) -> tuple[str, ...]:
    """A stanza as tag, type and everything else that matters."""
    attrs = {key: str(value) for key, value in node.attrs.items() if key not in ("id", "class")}
    return (node.tag, *(f"{key}={attrs[key]}" for key in sorted(attrs)))


@pytest.mark.parametrize("verdict", READ)
@pytest.mark.parametrize(
    ("received", "answer"),
    [
        (FROM_ANN, ("receipt", "to=10000000001:1@lid", "type=inactive")),
        (IN_GROUP, ("receipt", "participant=10000000001:1@lid", "to=1@g.us", "type=inactive")),
        (STATUS, ("receipt", "participant=10000000001@lid", "to=status@broadcast", "type=inactive")),
        (SENT, ("receipt", "recipient=10000000001@lid", "to=10000000002@lid", "type=sender")),
        (NOTE, ("receipt", "to=10000000002@lid", "type=sender")),
        (OWN_IN_GROUP, ("receipt", "participant=10000000002@lid", "to=1@g.us", "type=sender")),
        (PEER, ("receipt", "to=10000000002@lid", "type=peer_msg")),
        (CHANNEL, ("ack", "from=99900000002:1@s.whatsapp.net", "to=7@newsletter", "type=text")),
    ],
)
def test_what_was_read_is_cleared(verdict: Verdict, received: Envelope, answer: tuple[str, ...]) -> None:
    (node,) = answers(Opened(received, verdict), US.own, is_active=False)
    assert said(node) == answer


@pytest.mark.parametrize("verdict", UNREAD)
@pytest.mark.parametrize("received", ALL)
def test_what_was_not_read_is_acked_except_what_an_ack_does_not_clear(verdict: Verdict, received: Envelope) -> None:
    opened = Opened(received, verdict, failure=Failure("bad_mac", 7))
    (node,) = answers(opened, US.own, is_active=False)
    if received is SENT:
        assert said(node) == ("receipt", "recipient=10000000001@lid", "to=10000000002@lid", "type=sender")
    else:
        assert node.tag == "ack"
        assert node.attrs["class"] == "message"
        assert node.attrs["to"] == received.source
        assert node.attrs.get("participant") == received.participant
        assert "error" not in node.attrs


def test_being_active_shows_the_second_tick() -> None:
    (node,) = answers(Opened(FROM_ANN, Verdict.READ), US.own, is_active=True)
    assert "type" not in node.attrs
    (own,) = answers(Opened(SENT, Verdict.READ), US.own, is_active=True)
    assert own.attrs["type"] == "sender"


@pytest.mark.parametrize("received", [FROM_ANN, IN_GROUP, SENT, PEER])
@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.OLD_COUNTER, Verdict.READ])
def test_the_retry_receipt_goes_before_what_clears(received: Envelope, verdict: Verdict) -> None:
    opened = Opened(received, verdict, failure=Failure("bad_mac", 7), wants_retry=True)
    bundle = US.bundle()
    retry, cleared = answers(opened, US.own, is_active=False, retry=RetryAnswer(2, bundle))
    receipt = parse_receipt(retry)
    assert receipt.retry is not None
    assert (receipt.kind, receipt.retry.count, receipt.retry.error) == ("retry", 2, 7)
    assert receipt.retry.registration_id == US.own.identity.registration_id
    assert receipt.retry.keys == bundle
    assert retry.attrs.get("category") == ("peer" if received is PEER else None)
    assert cleared.tag == "ack" or cleared.attrs.get("type") != "retry"


def test_history_is_told_of_twice() -> None:
    content = Content("history_sync", None)
    nodes = answers(Opened(PEER, Verdict.SILENT, content=content), US.own, is_active=False)
    assert [node.attrs.get("type") for node in nodes] == ["peer_msg", "hist_sync"]
    assert nodes[1].attrs["to"] == BOB.pn


def test_every_kind_of_chat_is_answered() -> None:
    assert {received.kind for received in ALL} == set(ChatKind) - {ChatKind.BROADCAST}
    for received in ALL:
        for verdict in Verdict:
            assert answers(Opened(received, verdict), US.own, is_active=False)


# Retry counts


@pytest.mark.parametrize(
    ("remembered", "counted", "expected"), [(0, 0, 1), (1, 0, 2), (0, 1, 2), (3, 1, 4), (4, 0, 5), (5, 0, None)]
)
def test_retries_are_counted_by_both_memories(remembered: int, counted: int, expected: int | None) -> None:
    received = msgspec.structs.replace(FROM_ANN, encs=(Enc("msg", b"x", count=counted),))
    opened = Opened(received, Verdict.FAILED, failure=Failure("bad_mac", 7), wants_retry=True)
    assert retry_count(opened, remembered) == expected
    assert retry_count(dataclasses.replace(opened, wants_retry=False), remembered) is None


def test_keys_go_along_from_the_second_time_or_where_they_are_the_way_out() -> None:
    plain = Opened(FROM_ANN, Verdict.FAILED, failure=Failure("bad_mac", 7))
    lost = Opened(FROM_ANN, Verdict.FAILED, failure=Failure("no_sender_key", 1, wants_keys=True))
    assert [wants_keys(plain, count) for count in (1, 2, 3)] == [False, True, True]
    assert wants_keys(lost, 1)


# Poison


def test_poison_is_acked_plainly() -> None:
    node = Node("message", {"id": "1", "from": ANN.lid, "type": "text", "participant": BOB.lid})
    (ack,) = poison_answers(node, US.own)
    assert said(ack) == (
        "ack",
        "from=99900000002:1@s.whatsapp.net",
        "participant=10000000002@lid",
        "to=10000000001@lid",
        "type=text",
    )
    assert ack.attrs["class"] == "message"


def test_poison_of_our_own_is_cleared_by_a_receipt() -> None:
    node = Node("message", {"id": "1", "from": BOB.lid, "recipient": ANN.lid})
    (receipt,) = poison_answers(node, US.own)
    assert (receipt.tag, receipt.attrs["type"]) == ("receipt", "sender")


@pytest.mark.parametrize(
    "attrs", [{}, {"id": "1"}, {"from": SERVER}, {"id": "1", "from": "text"}, {"from": BOB.lid, "recipient": ANN.lid}]
)
def test_poison_without_id_or_sender_is_owed_nothing(attrs: dict[str, str | Jid]) -> None:
    assert poison_answers(Node("message", attrs), US.own) == []


def test_an_unknown_tag_is_acked_as_what_it_is() -> None:
    (ack,) = poison_answers(Node("novelty", {"id": "1", "from": SERVER}), US.own)
    assert ack.attrs["class"] == "novelty"


# Aggregation

_NODES = st.lists(
    st.builds(
        lambda wa_id, device, kind, is_group: build_receipt(
            [wa_id],
            GROUP if is_group else ANN.lid.with_device(device),
            kind=kind,
            participant=ANN.lid.with_device(device) if is_group else None,
        ),
        st.text("ABC", min_size=1, max_size=3),
        st.integers(0, 2),
        st.sampled_from(["", "inactive", "sender", "peer_msg"]),
        st.booleans(),
    )
    | st.just(Node("ack", {"id": "1", "to": ANN.lid})),
    max_size=40,
)


@given(_NODES)
def test_aggregation_says_the_same_with_fewer_stanzas(nodes: list[Node]) -> None:
    def spoken(stanzas: list[Node]) -> Counter[tuple[object, ...]]:
        facts: Counter[tuple[object, ...]] = Counter()
        for node in stanzas:
            if node.tag == "receipt":
                receipt = parse_receipt(node)
                facts.update((receipt.source, receipt.kind, receipt.participant, wa_id) for wa_id in receipt.ids)
            else:
                facts[repr(node),] += 1
        return facts

    merged = aggregate(nodes)
    assert spoken(merged) == spoken(nodes)
    groups = {(node.attrs["to"], node.attrs.get("type"), node.attrs.get("participant")) for node in nodes[:]}
    assert len(merged) <= len(nodes)
    alone = [node for node in merged if node.tag == "receipt" and node.attrs.get("type") in (None, "inactive")]
    assert len(alone) <= len(groups)


def test_aggregation_is_bounded_and_keeps_the_order_of_the_rest() -> None:
    receipts = [build_receipt([str(number)], ANN.lid) for number in range(MAX_LIST * 2 + 1)]
    merged = aggregate(receipts)
    assert [len(parse_receipt(node).ids) for node in merged] == [MAX_LIST, MAX_LIST, 1]
    assert [wa_id for node in merged for wa_id in parse_receipt(node).ids] == [str(n) for n in range(MAX_LIST * 2 + 1)]
    retry = Node("receipt", {"id": "9", "to": ANN.lid, "type": "retry"}, (Node("retry"),))
    ack = Node("ack", {"id": "9", "to": ANN.lid})
    assert aggregate([receipts[0], retry, ack, receipts[1]])[1:] == [retry, ack]
