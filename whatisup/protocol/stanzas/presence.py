"""Presence and chat states: who is there, and who is typing. Nothing here is ever acknowledged.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from whatisup.errors import RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.stanzas.enc import content_of
from whatisup.protocol.stanzas.iq import Attrs, parse_unix
from whatisup.wire import Node

Availability: TypeAlias = Literal["available", "unavailable"]
Typing: TypeAlias = Literal["composing", "recording", "paused"]


_MAX_NAME: Final = 512  # characters of a push name that we keep
_SENT: Final = frozenset({"available", "unavailable", "subscribe", "unsubscribe"})


@dataclass(frozen=True, slots=True)
class SentPresence:
    """What a client says: `kind` is available, unavailable or subscribe (to `to`, with a token where it has one)."""

    kind: str
    name: str | None = None
    to: Jid | None = None
    token: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class PresenceUpdate:
    """What a client hears of a user or group; `last_seen` in unix seconds, `None` where it is hidden."""

    source: Jid
    is_available: bool
    last_seen: int | None = None


@dataclass(frozen=True, slots=True)
class ChatState:
    """Somebody types, records or stopped; `peer` is `to` of a client's stanza, `from` of the server's."""

    peer: Jid
    state: Typing
    participant: Jid | None = None


def build_presence(kind: Availability, name: str) -> Node:
    """Say that we are (not) there; the server wants to know a push name, and gets it without `@`, as from Baileys."""
    return Node("presence", {"type": kind, "name": name.replace("@", "")})


def build_subscribe(user: Jid, *, token: bytes | None = None) -> Node:
    """Ask to hear of a user's presence until the connection ends."""
    children = None if token is None else (Node("tctoken", {}, token),)
    return Node("presence", {"type": "subscribe", "to": user}, children)


def parse_sent_presence(node: Node) -> SentPresence:
    """Read a client's presence on the server's side. Raises `RemoteProtocolError`."""
    reader = node.reader()
    kind, name, to = reader.optional_string("type"), reader.optional_string("name"), reader.optional_jid("to")
    reader.check()
    kind = kind or "available"
    if kind not in _SENT or (kind.endswith("subscribe") and to is None):
        raise RemoteProtocolError("a presence that says nothing")
    return SentPresence(kind, None if name is None else name[:_MAX_NAME], to, content_of(node, "tctoken"))


def build_presence_update(update: PresenceUpdate) -> Node:
    """Tell a client of somebody's presence; of somebody absent without `last_seen` that is denied."""
    attrs: Attrs = {"from": update.source}
    if not update.is_available:
        attrs |= {"type": "unavailable", "last": "deny" if update.last_seen is None else str(update.last_seen)}
    return Node("presence", attrs)


def parse_presence_update(node: Node) -> PresenceUpdate:
    """Read somebody's presence. Raises `RemoteProtocolError`."""
    reader = node.reader()
    source = reader.jid("from")
    reader.check()
    return PresenceUpdate(source, reader.optional_string("type") != "unavailable", parse_unix(node, "last"))


def build_chat_state(to: Jid, state: Typing) -> Node:
    """Say what we do in a chat."""
    return Node("chatstate", {"to": to}, (_STATES[state],))


def build_chat_state_update(state: ChatState) -> Node:
    """Tell a client what somebody does in a chat."""
    attrs: Attrs = {"from": state.peer}
    if state.participant is not None:
        attrs["participant"] = state.participant
    return Node("chatstate", attrs, (_STATES[state.state],))


def parse_chat_state(node: Node) -> ChatState:
    """Read a chat state from either side. Raises `RemoteProtocolError`."""
    reader = node.reader()
    # Baileys writes both, with its own address as `from`.
    peer, participant = reader.jid("to" if "to" in node.attrs else "from"), reader.optional_jid("participant")
    reader.check()
    composing = node.child("composing")
    if composing is not None:
        return ChatState(peer, "recording" if composing.attrs.get("media") == "audio" else "composing", participant)
    if node.child("paused") is None:
        raise RemoteProtocolError("a chat state that says nothing")
    return ChatState(peer, "paused", participant)


_STATES: Final[dict[Typing, Node]] = {
    "composing": Node("composing"),
    "recording": Node("composing", {"media": "audio"}),
    "paused": Node("paused"),
}
