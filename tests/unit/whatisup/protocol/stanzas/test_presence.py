"""Presence and chat states over the wire."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.playbook import travel
from whatisup.errors import RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.stanzas.presence import (
    ChatState,
    PresenceUpdate,
    SentPresence,
    Typing,
    build_chat_state,
    build_chat_state_update,
    build_presence,
    build_presence_update,
    build_subscribe,
    parse_chat_state,
    parse_presence_update,
    parse_sent_presence,
)
from whatisup.wire import Node

FRIEND, GROUP = Jid("15550002222", "s.whatsapp.net"), Jid("1-2", "g.us")


def test_presence_travels() -> None:
    assert parse_sent_presence(travel(build_presence("available", "A@name"))) == SentPresence("available", "Aname")
    assert parse_sent_presence(travel(build_subscribe(FRIEND, token=b"t"))) == SentPresence(
        "subscribe", None, FRIEND, b"t"
    )
    assert parse_sent_presence(Node("presence", {"name": "n"})) == SentPresence("available", "n")


@pytest.mark.parametrize(
    "update", [PresenceUpdate(FRIEND, True), PresenceUpdate(FRIEND, False, 5), PresenceUpdate(FRIEND, False)]
)
def test_updates_travel(update: PresenceUpdate) -> None:
    assert parse_presence_update(travel(build_presence_update(update))) == update


@pytest.mark.parametrize("state", ["composing", "recording", "paused"])
def test_chat_states_travel(state: Typing) -> None:
    assert parse_chat_state(travel(build_chat_state(FRIEND, state))) == ChatState(FRIEND, state)
    heard = ChatState(GROUP, state, FRIEND)
    assert parse_chat_state(travel(build_chat_state_update(heard))) == heard


@pytest.mark.parametrize(
    ("parse", "node"),
    [
        (parse_sent_presence, Node("presence", {"type": "asleep"})),
        (parse_sent_presence, Node("presence", {"type": "subscribe"})),
        (parse_presence_update, Node("presence", {"type": "available"})),
        (parse_chat_state, Node("chatstate", {}, (Node("paused"),))),
        (parse_chat_state, Node("chatstate", {"to": FRIEND})),
    ],
)
def test_parse_refuses(parse: Callable[[Node], object], node: Node) -> None:
    with pytest.raises(RemoteProtocolError):
        parse(node)
