"""Receipts, from either side, and requests for another copy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.playbook import CREDENTIALS, IDENTITY, OWN, OWN_LID, UNIX, travel
from whatisup.errors import LocalProtocolError, RemoteProtocolError
from whatisup.jid import SERVER, Jid
from whatisup.protocol.stanzas.keys import Bundle, PublicIdentity
from whatisup.protocol.stanzas.message import Outgoing, build_delivery, parse_envelope
from whatisup.protocol.stanzas.receipt import (
    MAX_IDS,
    Receipt,
    RetryRequest,
    build_read_by,
    build_receipt,
    build_receipt_delivery,
    build_retry_receipt,
    parse_receipt,
)
from whatisup.wire import Node

FRIEND = Jid("15550002222", "s.whatsapp.net", 3)
GROUP = Jid("123-456", "g.us")
KEYS = Bundle(IDENTITY, (9, bytes(range(32))), b"device identity")


def test_a_delivery_receipt_is_as_bare_as_can_be() -> None:
    node = build_receipt(["M1"], FRIEND)
    assert node == Node("receipt", {"id": "M1", "to": FRIEND})
    assert parse_receipt(travel(node)) == Receipt(("M1",), FRIEND)


def test_a_receipt_travels() -> None:
    node = build_receipt(
        ["M1", "M2", "M3"], GROUP, kind="read", participant=FRIEND, recipient=OWN.normalised, unix_t=UNIX
    )
    assert parse_receipt(travel(node)) == Receipt(("M1", "M2", "M3"), GROUP, "read", FRIEND, OWN.normalised, UNIX)


@pytest.mark.parametrize("count", [0, MAX_IDS + 1])
def test_a_receipt_for_none_or_too_many_is_our_bug(count: int) -> None:
    with pytest.raises(LocalProtocolError):
        build_receipt([str(n) for n in range(count)], FRIEND)


def test_the_longest_receipt_travels() -> None:
    ids = tuple(str(n) for n in range(MAX_IDS))
    assert parse_receipt(travel(build_receipt(ids, FRIEND))).ids == ids


def test_a_receipt_without_an_address_is_tolerated() -> None:
    assert parse_receipt(Node("receipt", {"id": "M1", "type": "sender"})).source == SERVER


def test_a_receipt_is_handed_on_with_new_addresses() -> None:
    node = build_receipt(["M1", "M2"], OWN, kind="read", unix_t=UNIX)
    handed = build_receipt_delivery(node, source=FRIEND, unix_t=UNIX + 1, recipient=OWN.normalised, kind="read-self")
    assert parse_receipt(travel(handed)) == Receipt(
        ("M1", "M2"), FRIEND, "read-self", recipient=OWN.normalised, unix_t=UNIX + 1
    )
    assert "to" not in handed.attrs


def test_the_aggregated_form_travels() -> None:
    node = build_read_by("M1", GROUP, [(FRIEND, 5), (OWN, 6)], unix_t=UNIX)
    receipt = parse_receipt(travel(node))
    assert (receipt.kind, receipt.users) == ("read", (("M1", FRIEND, 5), ("M1", OWN, 6)))


def test_a_delivery_receipt_may_mean_not_delivered() -> None:
    error = Node("error", {"type": "feature-incapable", "reason": "lid"})
    assert parse_receipt(Node("receipt", {"id": "M1", "from": FRIEND}, (error,))).is_lid_incapable


# Retry


def delivered(source: Jid, **options: Jid) -> Node:
    message = Outgoing(id="M1", to=OWN, type="text", category="peer" if source.user == OWN.user else None)
    return build_delivery(message, source=source, unix_t=UNIX, **options)  # type: ignore[arg-type]  # options by name


def retry(node: Node, keys: Bundle | None) -> Node:
    envelope = parse_envelope(node, own_pn=OWN, own_lid=OWN_LID)
    return build_retry_receipt(envelope, count=2, error=4, registration_id=IDENTITY.registration_id, keys=keys)


@pytest.mark.parametrize("keys", [None, KEYS, replace(KEYS, prekey=None, device_identity=None)])
def test_a_retry_receipt_travels(keys: Bundle | None) -> None:
    receipt = parse_receipt(travel(retry(delivered(FRIEND), keys)))
    assert (receipt.ids, receipt.source, receipt.kind) == (("M1",), FRIEND, "retry")
    assert receipt.retry == RetryRequest("M1", 2, UNIX, 4, CREDENTIALS.registration_id, keys)


def test_a_retry_receipt_goes_where_its_message_came_from() -> None:
    attrs = retry(delivered(GROUP, participant=FRIEND), None).attrs
    assert attrs == {"id": "M1", "to": GROUP, "type": "retry", "participant": FRIEND}
    own = retry(delivered(OWN.with_device(0), recipient=FRIEND.normalised), None)
    assert own.attrs["recipient"] == FRIEND.normalised
    assert retry(delivered(OWN.with_device(0)), None).attrs["category"] == "peer"


def changed(node: Node, tag: str, replacement: tuple[Node, ...]) -> Node:
    children = tuple(child for child in node.children() if child.tag != tag)
    return Node(node.tag, {**node.attrs, "from": FRIEND}, (*children, *replacement))


def forged() -> Node:
    strange = PublicIdentity(1, bytes(range(32)), IDENTITY.signed_prekey)
    return retry(delivered(FRIEND), Bundle(strange, None))


@pytest.mark.parametrize(
    "node",
    [
        Node("message", {"id": "1", "from": FRIEND}),
        Node("receipt", {"from": FRIEND}),
        Node("receipt", {"id": "1", "from": "x"}),
        Node("receipt", {"id": "1", "from": FRIEND}, (Node("list", {}, (Node("item"),)),)),
        Node("receipt", {"id": "1", "from": FRIEND}, (Node("list", {}, (Node("item", {"id": "x"}),) * MAX_IDS),)),
        Node("receipt", {"id": "1", "from": FRIEND}, (Node("participants", {}, (Node("user", {"jid": FRIEND}),)),)),
        Node("receipt", {"id": "1", "from": FRIEND}, (Node("participants", {"key": "1"}, (Node("user"),)),)),
        Node(
            "receipt",
            {"id": "1", "from": FRIEND},
            (Node("participants", {"key": "1"}, (Node("user", {"jid": FRIEND}),) * 1025),) * 2,
        ),
        Node("receipt", {"id": "1", "from": FRIEND, "type": "retry"}),
        changed(retry(delivered(FRIEND), None), "registration", ()),
        changed(retry(delivered(FRIEND), None), "retry", (Node("retry", {"count": "9" * 12}),)),
        changed(retry(delivered(FRIEND), None), "retry", (Node("retry", {"count": "many"}),)),
        changed(retry(delivered(FRIEND), KEYS), "keys", (Node("keys"),)),
        forged(),
    ],
)
def test_a_broken_receipt_is_refused(node: Node) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_receipt(node)
