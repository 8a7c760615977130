"""Privacy tokens: their weeks, and their stanzas."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.playbook import OWN, UNIX, travel
from whatisup.errors import RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.stanzas.tokens import (
    MAX_TOKENS,
    Token,
    build_token_issue,
    build_tokens_notification,
    is_issue_due,
    is_valid,
    parse_token_issue,
    parse_tokens,
)
from whatisup.wire import Node

FRIEND, FRIEND_LID = Jid("15550002222", "s.whatsapp.net"), Jid("200000022222", "lid")
VECTORS = json.loads((Path(__file__).parents[4] / "vectors" / "vectors-messaging.json").read_text("utf-8"))


@pytest.mark.parametrize("week", VECTORS["tc_token_buckets"]["examples"])
def test_tokens_live_for_weeks(week: dict[str, int]) -> None:
    cutoff, issue_again = week["cutoff_timestamp"], week["issue_again_if_sender_timestamp_before"]
    assert is_valid(cutoff, week["now"])
    assert not is_valid(cutoff - 1, week["now"])
    assert is_issue_due(issue_again - 1, week["now"])
    assert not is_issue_due(issue_again, week["now"])
    assert is_issue_due(None, week["now"])


def test_issuing_travels() -> None:
    request = travel(build_token_issue("1", FRIEND_LID, UNIX))
    assert parse_token_issue(request) == ((FRIEND_LID, UNIX),)
    assert (request.attrs["type"], request.attrs["xmlns"]) == ("set", "privacy")


def test_tokens_travel() -> None:
    tokens = (Token(b"a" * 40, UNIX), Token(b"b", UNIX + 1))
    node = travel(build_tokens_notification("9", FRIEND, FRIEND_LID, OWN.normalised, tokens, unix_t=UNIX))
    assert parse_tokens(node) == tokens
    assert (node.attrs["from"], node.attrs["sender_lid"], node.attrs["type"]) == (FRIEND, FRIEND_LID, "privacy_token")


def test_tokens_of_another_kind_are_passed_over() -> None:
    assert parse_tokens(holding(Node("token", {"type": "new", "t": "1"}, b"x"))) == ()


def holding(*tokens: Node) -> Node:
    return Node("notification", {}, (Node("tokens", {}, tokens),))


def trusted(content: bytes, **attrs: str | Jid) -> Node:
    return Node("token", {"type": "trusted_contact", **attrs}, content)


@pytest.mark.parametrize(
    "node",
    [
        Node("notification"),
        holding(trusted(b"x")),
        holding(trusted(b"", t="1")),
        holding(trusted(bytes(2000), t="1")),
        holding(*[trusted(b"x", t="1")] * (MAX_TOKENS + 1)),
    ],
)
def test_broken_tokens_are_refused(node: Node) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_tokens(node)


@pytest.mark.parametrize("attrs", [{"t": "1"}, {"jid": FRIEND}, {"jid": FRIEND, "t": "x"}])
def test_a_broken_issue_is_refused(attrs: dict[str, str | Jid]) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_token_issue(holding(trusted(b"", **attrs)))


def test_no_representation_shows_a_token() -> None:
    assert "secret" not in repr(Token(b"secret", 1))
