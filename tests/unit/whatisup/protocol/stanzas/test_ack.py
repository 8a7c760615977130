"""Acks of both sides: Baileys' golden ones exactly, and what cannot be acknowledged."""

from __future__ import annotations

from typing import Any

import pytest

from tests.playbook import OWN, UNIX, VECTORS, travel
from whatisup.errors import RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.stanzas.ack import (
    Ack,
    MessageAck,
    build_ack,
    build_server_ack,
    parse_ack,
    parse_message_ack,
)
from whatisup.wire import Node

FRIEND = Jid("15550002222", "s.whatsapp.net")


def node_of(golden: dict[str, Any]) -> Node:
    attrs = {key: Jid.parse(value) if "@" in value else value for key, value in golden["attrs"].items()}
    return Node(golden["tag"], attrs)


@pytest.mark.parametrize("case", VECTORS["acks"], ids=lambda case: case["name"])
def test_build_ack_is_golden(case: dict[str, Any]) -> None:
    received = travel(node_of(case["received"]))
    assert travel(build_ack(received, own=OWN, error=case["error"])) == node_of(case["baileys_ack"])


def test_own_address_is_added_to_messages_only() -> None:
    assert "from" not in build_ack(Node("receipt", {"id": "1", "from": FRIEND}), own=OWN).attrs


@pytest.mark.parametrize(
    "attrs", [{}, {"id": "1"}, {"from": FRIEND}, {"id": "", "from": FRIEND}, {"id": "1", "from": "15550002222"}]
)
def test_build_ack_refuses(attrs: dict[str, str | Jid]) -> None:
    with pytest.raises(RemoteProtocolError):
        build_ack(Node("notification", attrs))


def test_parse_ack_reads_a_clients_ack() -> None:
    ack = travel(build_ack(Node("message", {"id": "A", "from": FRIEND}), own=OWN, error=487))
    assert parse_ack(ack) == Ack("A", "message", FRIEND, 487)


@pytest.mark.parametrize(
    ("stanza", "expected"),
    [
        (
            Node("message", {"id": "A", "to": FRIEND, "type": "text"}),
            {"class": "message", "id": "A", "from": FRIEND, "t": str(UNIX)},
        ),
        (
            Node("receipt", {"id": "B", "to": FRIEND, "type": "read", "participant": OWN}),
            {"class": "receipt", "id": "B", "from": FRIEND, "type": "read", "participant": OWN},
        ),
        (
            Node("call", {"id": "C", "to": FRIEND, "type": "x", "participant": OWN}),
            {"class": "call", "id": "C", "from": FRIEND, "type": "x"},
        ),
    ],
)
def test_server_ack(stanza: Node, expected: dict[str, str | Jid]) -> None:
    ack = travel(build_server_ack(stanza, server_unix=UNIX))
    assert ack.attrs == expected
    assert parse_ack(ack) == Ack(str(stanza.attrs["id"]), stanza.tag, FRIEND, None)


def test_server_ack_carries_error_and_hash() -> None:
    stanza = Node("message", {"id": "A", "to": FRIEND})
    ack = build_server_ack(stanza, server_unix=UNIX, error=463, phash="2:abc")
    assert (ack.attrs["error"], ack.attrs["phash"]) == ("463", "2:abc")


@pytest.mark.parametrize("stanza", [Node("presence", {"id": "1", "to": FRIEND}), Node("message", {"id": "1"})])
def test_server_ack_refuses(stanza: Node) -> None:
    with pytest.raises(RemoteProtocolError):
        build_server_ack(stanza, server_unix=UNIX)


def test_parse_ack_refuses_without_class() -> None:
    with pytest.raises(RemoteProtocolError):
        parse_ack(Node("ack", {"id": "1", "to": FRIEND}))


def test_the_ack_of_a_message_travels() -> None:
    sent = Node("message", {"id": "M1", "to": FRIEND})
    assert parse_message_ack(travel(build_server_ack(sent, server_unix=UNIX))) == MessageAck(
        "M1", FRIEND, UNIX, None, None
    )
    refused = build_server_ack(sent, server_unix=UNIX, error=421, phash="2:abcdefgh")
    assert parse_message_ack(travel(refused)) == MessageAck("M1", FRIEND, UNIX, 421, "2:abcdefgh")


@pytest.mark.parametrize("attrs", [{"id": "1"}, {"from": FRIEND}, {"id": "1", "from": FRIEND, "error": "x"}])
def test_a_broken_ack_of_a_message_is_refused(attrs: dict[str, str | Jid]) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_message_ack(Node("ack", attrs))
