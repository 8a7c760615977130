"""The small requests after a login, over the wire."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.playbook import OWN, UNIX, travel
from whatisup.errors import RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.stanzas import query
from whatisup.wire import Node


@pytest.mark.parametrize("is_active", [True, False])
def test_active_travels(is_active: bool) -> None:
    assert query.parse_active(travel(query.build_active("1", is_active=is_active))) is is_active


def test_props_travel() -> None:
    request = travel(query.build_props_query("1", "h1"))
    assert request.children()[0].attrs == {"protocol": "1", "hash": "h1"}
    props = query.Props("h2", {"10518": "true", "9666": "1"})
    assert query.parse_props(travel(query.build_props(request, props))) == props


def test_props_query_without_a_hash_sends_none() -> None:
    assert travel(query.build_props_query("1")).children()[0].attrs == {"protocol": "1"}


@pytest.mark.parametrize(
    "answer",
    [
        Node("iq", {"type": "result"}),
        Node("iq", {}, (Node("props"),)),
        Node("iq", {}, (Node("props", {"hash": "h" * 129}),)),
        Node("iq", {}, (Node("props", {}, (Node("prop"), Node("prop", {"config_code": "1"}))),)),
    ],
)
def test_props_may_say_nothing(answer: Node) -> None:
    assert query.parse_props(answer) == query.Props(None, {})


@pytest.mark.parametrize("blocked", [(), (OWN.normalised,)])
def test_blocklist_travels(blocked: tuple[Jid, ...]) -> None:
    answer = travel(query.build_blocklist(query.build_blocklist_query("1"), blocked))
    assert query.parse_blocklist(answer) == blocked


def test_privacy_travels_with_its_element_first() -> None:
    settings = {"last": "all", "readreceipts": "none"}
    answer = travel(query.build_privacy(query.build_privacy_query("1"), settings))
    assert query.parse_privacy(answer) == settings
    assert answer.first is not None
    assert answer.first.tag == "privacy"


@pytest.mark.parametrize("timestamp", [UNIX, None])
def test_clean_travels(timestamp: int | None) -> None:
    request = travel(query.build_clean("1", "account_sync", timestamp))
    assert query.parse_clean(request) == (("account_sync", timestamp),)


@pytest.mark.parametrize(
    ("parse", "node"),
    [
        (query.parse_active, Node("iq")),
        (query.parse_blocklist, Node("iq")),
        (query.parse_blocklist, Node("iq", {}, (Node("list", {}, (Node("item"),)),))),
        (query.parse_privacy, Node("iq")),
        (query.parse_privacy, Node("iq", {}, (Node("privacy", {}, (Node("category", {"name": "last"}),)),))),
        (query.parse_clean, Node("iq", {}, (Node("clean"),))),
    ],
)
def test_parse_refuses(parse: Callable[[Node], object], node: Node) -> None:
    with pytest.raises(RemoteProtocolError):
        parse(node)
