"""`message` stanzas: what a client sends, what the server delivers, and what a delivered one says about itself.

    client: build_message(Outgoing) -> Node            parse_envelope(node) -> Envelope
    server: parse_message(node) -> Outgoing            build_delivery(outgoing, ...) -> Node, device by device

Rule: nothing here looks into a ciphertext, and what a stanza claims about its sender is the server's word.

Source: WhatsApp Web, as whatsmeow and Baileys do it; follow whatsmeow where they differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from whatisup.jid import Jid
from whatisup.wire import Node

MAX_ENCS: Final = 8
"""Most ciphertexts of one delivered message: honest ones have at most a pairwise one and a group's."""

MAX_PARTICIPANTS: Final = 8192
"""Most devices one sent message is encrypted for: a group of 1024 with all their companions."""

PLAIN_UNAVAILABLE: Final = "plain"
"""What an `<unavailable/>` without a type reads as."""

ENC_VERSION: Final = 2

# Measured on 64 bits, strings and addresses that are not shared included.
_NODE_SIZE: Final = 250
_ATTR_SIZE: Final = 150


class ChatKind(Enum):
    """What kind of chat a delivered message belongs to; it decides how it is answered."""

    USER = "user"  # 1:1, in either direction
    OWN_NOTE = "own_note"  # from an own device, to ourselves
    PEER = "peer"  # from an own device, for the client rather than for the user
    GROUP = "group"
    STATUS = "status"
    BROADCAST = "broadcast"
    NEWSLETTER = "newsletter"


@dataclass(frozen=True, slots=True)
class Enc:
    """One ciphertext: `kind` is pkmsg, msg, skmsg or msmsg, `count` what a retry answer counts.

    `hide`: show nothing where decryption fails. `version` is 2; 3 is Messenger's, unpadded and not supported.
    """

    kind: str
    ciphertext: bytes = field(repr=False)
    count: int = 0
    mediatype: str | None = None
    hide: bool = False
    version: int = ENC_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What a delivered message says in the clear.

    `chat`: without device, hosted forms read as the plain ones. `sender`: the author's device as written. `source`:
    the raw `from`. `sender_alt` and `chat_alt`: the same under the other family (PN or LID), `sender_alt` with the
    sender's device. `pairs`: every (PN, LID) of users that the stanza tells, without device. `unavailable`: why there
    is no ciphertext (`plain` where it does not say). `plaintext`: a newsletter's, unpadded. `addressing_mode`: lid or
    pn, from the sender where the stanza does not say.
    """

    id: str
    chat: Jid
    sender: Jid
    source: Jid
    participant: Jid | None
    recipient: Jid | None
    sender_alt: Jid | None
    chat_alt: Jid | None
    kind: ChatKind
    is_from_me: bool
    unix_t: int
    type: str
    push_name: str | None
    is_offline: bool
    edit: str | None
    category: str | None
    encs: tuple[Enc, ...]
    plaintext: bytes | None = field(repr=False)
    unavailable: str | None
    device_identity: bytes | None = field(repr=False)
    addressing_mode: str | None
    pairs: tuple[tuple[Jid, Jid], ...]
    meta: Mapping[str, str]
    server_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message as its sender writes it; the server reads it back from the stanza.

    Pairwise ciphertexts by device are `participants`; `direct` is a group's, a peer message's or a retry answer's.
    `reporting` is the token (16 bytes), `unix_t` and `recipient` belong to retry answers. `biz` passes through.
    """

    id: str
    to: Jid
    type: str
    edit: str | None = None
    peer_recipient_pn: Jid | None = None
    participants: tuple[tuple[Jid, Enc], ...] = ()
    direct: Enc | None = None
    device_identity: bytes | None = field(default=None, repr=False)
    meta: Mapping[str, str] = field(default_factory=dict)
    reporting: bytes | None = field(default=None, repr=False)
    tctoken: bytes | None = field(default=None, repr=False)
    cstoken: bytes | None = field(default=None, repr=False)
    phash: str | None = None
    category: str | None = None
    push_priority: str | None = None
    addressing_mode: str | None = None
    recipient: Jid | None = None
    participant: Jid | None = None
    unix_t: int | None = None
    device_fanout: bool | None = None
    plaintext: bytes | None = field(default=None, repr=False)
    biz: Node | None = None


def parse_envelope(node: Node, *, own_pn: Jid, own_lid: Jid | None) -> Envelope:
    """Read a delivered message on the client's side. Raises `RemoteProtocolError`."""
    raise NotImplementedError


def build_message(message: Outgoing) -> Node:
    """Build what a client sends."""
    raise NotImplementedError


def parse_message(node: Node) -> Outgoing:
    """Read what a client sent, on the server's side. Raises `RemoteProtocolError`."""
    raise NotImplementedError


def build_delivery(
    message: Outgoing,
    *,
    source: Jid,
    unix_t: int,
    encs: tuple[Enc, ...] = (),
    push_name: str | None = None,
    participant: Jid | None = None,
    recipient: Jid | None = None,
    sender_alt: Jid | None = None,
    chat_alt: Jid | None = None,
    offline: int | None = None,
    unavailable: str | None = None,
    server_id: int | None = None,
) -> Node:
    """Build what one device receives of `message`.

    1:1: `source` is the sender's device, `sender_alt` its user in the other family (`sender_lid` or `sender_pn`). An
    own other device also gets `recipient`, the chat, and `chat_alt`, that in the other family (`peer_recipient_lid` or
    `-pn`). Group, status: `source` is the group, `participant` the sender's device and `sender_alt` becomes
    `participant_lid` or `-pn`. `encs` are this device's; `offline` marks a queued delivery.
    """
    raise NotImplementedError


def mark_offline(delivery: Node, count: int) -> Node:
    """Return a delivered stanza of any tag as the queue delivers it once more."""
    raise NotImplementedError


def weigh(node: Node) -> int:
    """Return roughly how many bytes a stanza holds in memory."""
    content = node.content
    size = _NODE_SIZE + _ATTR_SIZE * len(node.attrs)
    if isinstance(content, tuple):
        return size + sum(weigh(child) for child in content)
    return size + (0 if content is None else len(content))
