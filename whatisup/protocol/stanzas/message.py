"""`message` stanzas: what a client sends, and what the server delivers of it.

    client: build_message(Outgoing) -> Node            parse_envelope(node) -> Envelope
    server: parse_message(node) -> Outgoing            build_delivery(outgoing, ...) -> Node, device by device

Rule: what one side builds, the other reads back as it was.

Source: WhatsApp Web, as whatsmeow and Baileys do it; the order of children as whatsmeow writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import field
from msgspec.structs import replace

from whatisup.crypto import Secret
from whatisup.errors import RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.stanzas.enc import MAX_ENCS, Enc, content_of, enc_node, parse_enc, parse_encs, parse_meta
from whatisup.protocol.stanzas.envelope import PLAIN_UNAVAILABLE, ChatKind, Envelope, parse_envelope, plain
from whatisup.protocol.stanzas.iq import Attrs, parse_unix
from whatisup.protocol.stanzas.keys import parse_device_identity
from whatisup.wire import Node

__all__ = [
    "MAX_ENCS",
    "MAX_PARTICIPANTS",
    "PLAIN_UNAVAILABLE",
    "ChatKind",
    "Enc",
    "Envelope",
    "Outgoing",
    "build_delivery",
    "build_message",
    "mark_offline",
    "parse_envelope",
    "parse_message",
    "plain",
    "weigh",
]

MAX_PARTICIPANTS: Final = 8192
"""Most devices one sent message is encrypted for: a group of 1024 with all their companions."""

# Rough, on 64 bits: the object, its dictionary, and a short text or address.
_NODE_SIZE: Final = 250
_ATTR_SIZE: Final = 150


class Outgoing(Secret, frozen=True, kw_only=True):
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
    device_identity: bytes | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    reporting: bytes | None = None
    tctoken: bytes | None = None
    cstoken: bytes | None = None
    phash: str | None = None
    category: str | None = None
    push_priority: str | None = None
    addressing_mode: str | None = None
    recipient: Jid | None = None
    participant: Jid | None = None
    unix_t: int | None = None
    device_fanout: bool | None = None
    plaintext: bytes | None = None
    biz: Node | None = None


def build_message(message: Outgoing) -> Node:
    """Build what a client sends."""
    attrs: Attrs = {"id": message.id, "to": message.to, "type": message.type}
    for key in _OPTIONAL:
        value = getattr(message, key)
        if value is not None:
            attrs[key] = value
    if message.unix_t is not None:
        attrs["t"] = str(message.unix_t)
    if message.device_fanout is not None:
        attrs["device_fanout"] = "true" if message.device_fanout else "false"
    children = [
        *_participants(message),
        *(() if message.direct is None else (enc_node(message.direct),)),
        *(() if message.plaintext is None else (Node("plaintext", {}, message.plaintext),)),
        *_about(message),
        *(_reporting(message.reporting) if message.reporting is not None else ()),
        *(Node(tag, {}, token) for tag, token in _tokens(message)),
    ]
    return Node("message", attrs, tuple(children) or None)


def parse_message(node: Node) -> Outgoing:
    """Read what a client sent, on the server's side. Raises `RemoteProtocolError`."""
    if node.tag != "message":
        raise RemoteProtocolError(f"<{node.tag[:32]}> is no message")
    reader = node.reader()
    message_id, to = reader.string("id"), reader.jid("to")
    recipient, participant = reader.optional_jid("recipient"), reader.optional_jid("participant")
    peer_recipient_pn = reader.optional_jid("peer_recipient_pn")
    reader.check()
    encs, fanout = parse_encs(node), reader.optional_string("device_fanout")
    if len(encs) > 1:
        raise RemoteProtocolError("a message with several direct ciphertexts")
    return Outgoing(
        id=message_id,
        to=to,
        type=reader.optional_string("type") or "text",
        edit=reader.optional_string("edit"),
        peer_recipient_pn=peer_recipient_pn,
        participants=_parse_participants(node),
        direct=encs[0] if encs else None,
        device_identity=parse_device_identity(node),
        meta=parse_meta(node),
        reporting=_parse_reporting(node),
        tctoken=content_of(node, "tctoken"),
        cstoken=content_of(node, "cstoken"),
        phash=reader.optional_string("phash"),
        category=reader.optional_string("category"),
        push_priority=reader.optional_string("push_priority"),
        addressing_mode=reader.optional_string("addressing_mode"),
        recipient=recipient,
        participant=participant,
        unix_t=parse_unix(node),
        device_fanout=None if fanout is None else fanout != "false",
        plaintext=content_of(node, "plaintext"),
        biz=node.child("biz"),
    )


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
    `participant_lid` or `-pn`. `encs` are this device's; `offline` marks a queued delivery. `device-identity` comes
    along where one of `encs` starts a session. An `unavailable` of `plain` is written without its type.
    """
    attrs: Attrs = {"id": message.id, "from": source, "type": message.type, "t": str(unix_t)}
    optional: dict[str, str | Jid | None] = {
        "participant": participant,
        "recipient": recipient,
        "notify": push_name,
        "edit": message.edit,
        "category": message.category,
        "addressing_mode": message.addressing_mode,
        _family("sender" if participant is None else "participant", sender_alt): sender_alt,
        _family("peer_recipient", chat_alt): chat_alt,
        "server_id": None if server_id is None else str(server_id),
        "offline": None if offline is None else str(offline),
    }
    attrs |= {key: value for key, value in optional.items() if value is not None}
    children = [enc_node(enc) for enc in encs]
    if message.plaintext is not None:
        children.append(Node("plaintext", {}, message.plaintext))
    if unavailable is not None:
        children.append(Node("unavailable", {} if unavailable == PLAIN_UNAVAILABLE else {"type": unavailable}))
    starts = any(enc.kind == "pkmsg" for enc in encs)
    children += _about(message if starts else replace(message, device_identity=None))
    return Node("message", attrs, tuple(children) or None)


def mark_offline(delivery: Node, count: int) -> Node:
    """Return a delivered stanza of any tag as the queue delivers it once more."""
    return Node(delivery.tag, {**delivery.attrs, "offline": str(count)}, delivery.content)


def weigh(node: Node) -> int:
    """Return roughly how many bytes a stanza holds in memory."""
    content = node.content
    size = _NODE_SIZE + _ATTR_SIZE * len(node.attrs)
    if isinstance(content, tuple):
        return size + sum(weigh(child) for child in content)
    return size + (0 if content is None else len(content))


_OPTIONAL: Final = (
    "edit",
    "peer_recipient_pn",
    "phash",
    "category",
    "push_priority",
    "addressing_mode",
    "recipient",
    "participant",
)
"""Fields of `Outgoing` that are attributes of the same name."""


def _family(name: str, jid: Jid | None) -> str:
    return f"{name}_{'lid' if jid is not None and jid.is_lid else 'pn'}"


def _participants(message: Outgoing) -> tuple[Node, ...]:
    if not message.participants:
        return ()
    devices = tuple(Node("to", {"jid": device}, (enc_node(enc),)) for device, enc in message.participants)
    return (Node("participants", {}, devices),)


def _parse_participants(node: Node) -> tuple[tuple[Jid, Enc], ...]:
    participants = node.child("participants")
    devices = () if participants is None else participants.children("to")
    if len(devices) > MAX_PARTICIPANTS:
        raise RemoteProtocolError(f"a message for {len(devices)} devices")
    return tuple(_parse_participant(device) for device in devices)


def _parse_participant(device: Node) -> tuple[Jid, Enc]:
    reader = device.reader()
    jid, enc = reader.jid("jid"), device.child("enc")
    reader.check()
    if enc is None:
        raise RemoteProtocolError("a device without a ciphertext")
    return jid, parse_enc(enc)


def _about(message: Outgoing) -> tuple[Node, ...]:
    """What comes after the ciphertexts, and reaches the receiver as it is."""
    parts: list[Node] = []
    if message.device_identity is not None:
        parts.append(Node("device-identity", {}, message.device_identity))
    if message.meta:
        parts.append(Node("meta", dict(message.meta)))
    if message.biz is not None:
        parts.append(message.biz)
    return tuple(parts)


def _reporting(token: bytes) -> tuple[Node, ...]:
    return (Node("reporting", {}, (Node("reporting_token", {"v": "2"}, token),)),)


def _parse_reporting(node: Node) -> bytes | None:
    reporting = node.child("reporting")
    return None if reporting is None else content_of(reporting, "reporting_token")


def _tokens(message: Outgoing) -> tuple[tuple[str, bytes], ...]:
    tokens = (("tctoken", message.tctoken), ("cstoken", message.cstoken))
    return tuple((tag, token) for tag, token in tokens if token is not None)
