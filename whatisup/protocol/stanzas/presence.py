"""Presence and chat states: who is there, and who is typing. Nothing here is ever acknowledged.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from whatisup.jid import Jid
from whatisup.wire import Node

Availability: TypeAlias = Literal["available", "unavailable"]
Typing: TypeAlias = Literal["composing", "recording", "paused"]


@dataclass(frozen=True, slots=True)
class SentPresence:
    """What a client says: `kind` is available, unavailable or subscribe (to `to`, with a token where it has one)."""

    kind: str
    name: str | None = None
    to: Jid | None = None
    token: bytes | None = None


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
    """Say that we are (not) there; the server wants to know a push name."""
    raise NotImplementedError


def build_subscribe(user: Jid, *, token: bytes | None = None) -> Node:
    """Ask to hear of a user's presence until the connection ends."""
    raise NotImplementedError


def parse_sent_presence(node: Node) -> SentPresence:
    """Read a client's presence on the server's side. Raises `RemoteProtocolError`."""
    raise NotImplementedError


def build_presence_update(update: PresenceUpdate) -> Node:
    """Tell a client of somebody's presence; without `last_seen` it is denied."""
    raise NotImplementedError


def parse_presence_update(node: Node) -> PresenceUpdate:
    """Read somebody's presence. Raises `RemoteProtocolError`."""
    raise NotImplementedError


def build_chat_state(to: Jid, state: Typing) -> Node:
    """Say what we do in a chat."""
    raise NotImplementedError


def build_chat_state_update(state: ChatState) -> Node:
    """Tell a client what somebody does in a chat."""
    raise NotImplementedError


def parse_chat_state(node: Node) -> ChatState:
    """Read a chat state from either side. Raises `RemoteProtocolError`."""
    raise NotImplementedError
