"""From a body to the protobuf message that says it, and what the stanza around it must tell.

Rule: the same arguments give the same bytes; nothing is fetched, and nothing is padded or encrypted here.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from whatisup.errors import LocalProtocolError
from whatisup.jid import Jid
from whatisup.protocol.content.bodies import Body

StanzaType: TypeAlias = Literal["text", "reaction", "poll", "media"]


class CannotCompose(LocalProtocolError):
    """The body cannot be said in this chat or about this target. `field` is the body's field that is to blame."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Target:
    """The message that a body is about.

    `from_me` tells whether our account wrote it; `author` is its author's non-device JID (`None` in a 1:1 chat, where
    `from_me` tells it). `message` is the original's serialized `Message`, for quoting, if we still have it.
    """

    wa_id: str
    from_me: bool
    author: str | None = None
    message: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Composed:
    """A serialized `Message` without padding, and what its stanza must tell.

    `stanza_type` is the stanza's `type`, `edit` its `edit`; `mediatype` and `hide` (`decrypt-fail="hide"`) belong to
    every `enc`; `meta` are the attributes of its `<meta>` child (none if empty). `secret` is the message secret inside
    `message` (32 bytes), or `None` where none is due; where there is one, a reporting token is sent.
    """

    message: bytes = field(repr=False)
    stanza_type: StanzaType = "text"
    edit: str | None = None
    mediatype: str | None = None
    hide: bool = False
    meta: dict[str, str] = field(default_factory=dict)
    secret: bytes | None = field(default=None, repr=False)


def compose(body: Body, *, chat: Jid, own: Jid, target: Target | None, secret: bytes, unix_ms: int) -> Composed:
    """Say `body` in `chat`: `own` is our non-device JID in the chat's addressing, `secret` has 32 random bytes.

    Raises `CannotCompose`.
    """
    raise NotImplementedError


def wrap_device_sent(message: bytes, destination: Jid) -> bytes:
    """Return what our own other devices get: the message, and which chat it went to. Raises `RemoteProtocolError`."""
    raise NotImplementedError


def skdm_only(group: str, skdm: bytes) -> bytes:
    """Return a message that hands over a sender key (a Signal-level distribution message) and says nothing."""
    raise NotImplementedError


def add_skdm(message: bytes, group: str, skdm: bytes) -> bytes:
    """Return the message with a sender key added. Raises `RemoteProtocolError`."""
    raise NotImplementedError
