"""Whatever a client sends is answered or ignored, and nothing of it ends the sandbox."""

from __future__ import annotations

import functools

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.whatisup.sandbox.town import ADA, BOB, Town, make_town
from whatisup.jid import SERVER, STATUS_BROADCAST, Jid
from whatisup.wire import Node


@functools.cache
def town() -> Town:
    return make_town(["token-rule", "reused-id"])


JIDS = [
    SERVER,
    STATUS_BROADCAST,
    Jid(ADA, "s.whatsapp.net"),
    Jid(ADA, "s.whatsapp.net", 2),
    Jid(BOB, "s.whatsapp.net", 1),
    Jid(BOB, "hosted", 99),
    Jid("1", "lid"),
    Jid("x", "lid", 3),
    Jid("120363000000000001", "g.us"),
    Jid("1", "newsletter"),
    Jid("", "g.us"),
    Jid("1", "msgr", 70),
]
NAMES = [
    "id",
    "to",
    "from",
    "type",
    "class",
    "participant",
    "recipient",
    "category",
    "error",
    "edit",
    "t",
    "name",
    "jid",
]
VALUES = st.one_of(
    st.sampled_from(JIDS),
    st.sampled_from(
        ["", "M1", "message", "receipt", "retry", "read", "sender", "peer", "available", "subscribe", "-1"]
    ),
    st.text(max_size=5),
)
ANY = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=7)
ADDRESSED = st.fixed_dictionaries({"id": st.just("M1"), "to": st.sampled_from(JIDS), "jid": st.sampled_from(JIDS)})
ATTRS = st.one_of(ANY, st.builds(lambda sound, odd: sound | odd, ADDRESSED, ANY), ADDRESSED)
CHILD_TAGS = [
    "participants",
    "to",
    "enc",
    "list",
    "item",
    "retry",
    "registration",
    "keys",
    "tctoken",
    "composing",
    "meta",
]


def nodes(tags: list[str], depth: int) -> st.SearchStrategy[Node]:
    content: st.SearchStrategy[object] = st.one_of(st.none(), st.binary(max_size=6), st.text(max_size=4))
    if depth:
        content = st.one_of(content, st.lists(nodes(CHILD_TAGS, depth - 1), max_size=3).map(tuple))
    return st.builds(Node, st.sampled_from(tags), ATTRS, content)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(node=nodes(["message", "receipt", "ack", "presence", "chatstate", "call"], 3), device=st.sampled_from([0, 1]))
def test_router_raises_nothing(node: Node, device: int) -> None:
    answer = town().route(ADA, device, node)
    assert answer is None or answer.tag == "ack"
