"""What a delivered message says in the clear: who wrote it, where, when, and what it holds.

Rule: nothing here looks into a ciphertext, and what a stanza claims about its sender is the server's word.

Source: WhatsApp Web, as whatsmeow and Baileys do it; whatsmeow's way where they differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from msgspec import Struct

from whatisup.crypto import Secret
from whatisup.errors import RemoteProtocolError
from whatisup.jid import (
    BOT_SERVER,
    BROADCAST_SERVER,
    GROUP_SERVER,
    HOSTED_LID_SERVER,
    HOSTED_SERVER,
    INTEROP_SERVER,
    LID_SERVER,
    MESSENGER_SERVER,
    NEWSLETTER_SERVER,
    PN_SERVER,
    STATUS_BROADCAST,
    Jid,
)
from whatisup.protocol.stanzas.enc import Enc, content_of, parse_encs, parse_meta
from whatisup.protocol.stanzas.iq import is_message_id, parse_unix, readable
from whatisup.protocol.stanzas.keys import parse_device_identity
from whatisup.wire import AttrReader, Node

PLAIN_UNAVAILABLE: Final = "plain"
"""What an `<unavailable/>` without a type reads as."""

_PLAIN_SERVERS: Final = {HOSTED_SERVER: PN_SERVER, HOSTED_LID_SERVER: LID_SERVER}
_OTHER_HOSTED: Final = {HOSTED_SERVER: HOSTED_LID_SERVER, HOSTED_LID_SERVER: HOSTED_SERVER}
_OTHER_USERS: Final = frozenset({BOT_SERVER, MESSENGER_SERVER, INTEROP_SERVER})
_PEER: Final = ("peer", "peer_msg")  # whichever of category and type says it


class ChatKind(Enum):
    """What kind of chat a delivered message belongs to; it decides how it is answered."""

    USER = "user"  # 1:1, in either direction
    OWN_NOTE = "own_note"  # from an own device, to ourselves
    PEER = "peer"  # from an own device, for the client rather than for the user
    GROUP = "group"
    STATUS = "status"
    BROADCAST = "broadcast"
    NEWSLETTER = "newsletter"


_LIST_KINDS: Final = {GROUP_SERVER: ChatKind.GROUP, BROADCAST_SERVER: ChatKind.BROADCAST}


class Envelope(Secret, frozen=True, kw_only=True):
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
    plaintext: bytes | None
    unavailable: str | None
    device_identity: bytes | None
    addressing_mode: str | None
    pairs: tuple[tuple[Jid, Jid], ...]
    meta: Mapping[str, str]
    server_id: int | None = None


def plain(jid: Jid) -> Jid:
    """Return the user behind a device: no device, and a hosted address as the plain one."""
    jid = jid.normalised
    server = _PLAIN_SERVERS.get(jid.server)
    return jid if server is None else Jid(jid.user, server)


def parse_envelope(node: Node, *, own_pn: Jid, own_lid: Jid | None) -> Envelope:
    """Read a delivered message on the client's side; `own_pn` and `own_lid` may carry a device.

    Raises `RemoteProtocolError`.
    """
    if node.tag != "message":
        raise RemoteProtocolError(f"<{node.tag[:32]}> is no message")
    reader = node.reader()
    addresses = _addresses(reader, _Own.of(own_pn, own_lid))
    device_identity, unavailable = parse_device_identity(node), _unavailable(node)
    unix_t = parse_unix(node)
    message_id, server_id = reader.string("id"), reader.optional_integer("server_id")
    reader.check()
    if unix_t is None:
        raise RemoteProtocolError("a message without its time")
    if not is_message_id(message_id):
        raise RemoteProtocolError("a message whose id no device makes")
    name, mode = reader.optional_string("notify"), reader.optional_string("addressing_mode")
    return Envelope(
        id=message_id,
        chat=addresses.chat,
        sender=addresses.sender,
        source=addresses.source,
        participant=addresses.participant,
        recipient=addresses.recipient,
        sender_alt=addresses.sender_alt,
        chat_alt=addresses.chat_alt,
        kind=addresses.kind,
        is_from_me=addresses.is_from_me,
        unix_t=unix_t,
        type=reader.optional_string("type") or "",
        push_name=readable(name),
        is_offline="offline" in node.attrs,
        edit=reader.optional_string("edit"),
        category=reader.optional_string("category"),
        encs=parse_encs(node),
        plaintext=content_of(node, "plaintext"),
        unavailable=unavailable,
        device_identity=device_identity,
        addressing_mode=mode or ("lid" if addresses.sender.is_lid else "pn"),
        pairs=addresses.pairs,
        meta=parse_meta(node),
        server_id=server_id,
    )


class _Own(Struct, frozen=True):
    """Our account's two names, without device."""

    pn: Jid
    lid: Jid | None

    @classmethod
    def of(cls, pn: Jid, lid: Jid | None) -> _Own:
        return cls(plain(pn), None if lid is None else plain(lid))

    def is_own(self, jid: Jid) -> bool:
        return plain(jid) in (self.pn, self.lid)

    def other_form(self, jid: Jid) -> Jid | None:
        """The same own device in the other family."""
        other = self.pn if jid.is_lid else self.lid
        return None if other is None else _same_device(other, jid)


class _Addresses(Struct, frozen=True, kw_only=True):
    """Who wrote what to whom, as far as the attributes tell."""

    source: Jid
    chat: Jid
    sender: Jid
    kind: ChatKind
    is_from_me: bool
    participant: Jid | None
    recipient: Jid | None
    sender_alt: Jid | None
    chat_alt: Jid | None
    pairs: tuple[tuple[Jid, Jid], ...]


def _addresses(reader: AttrReader, own: _Own) -> _Addresses:
    source, participant = reader.jid("from"), reader.optional_jid("participant")
    recipient = reader.optional_jid("recipient")
    reader.check()
    if source.server == NEWSLETTER_SERVER:
        return _in_newsletter(source, participant)
    kind = ChatKind.STATUS if source == STATUS_BROADCAST else _LIST_KINDS.get(source.server)
    if kind is not None:
        return _in_list(reader, own, source, participant, kind)
    if not (source.is_pn or source.is_lid or source.server in _OTHER_USERS) or not source.user:
        raise RemoteProtocolError("a message from nobody that can write")
    if own.is_own(source):
        return _from_me(reader, own, source, participant, recipient)
    sender_alt = _other_form(reader, source, "sender")
    return _Addresses(
        source=source,
        chat=plain(source),
        sender=source,
        kind=ChatKind.USER,
        is_from_me=False,
        participant=participant,
        recipient=recipient,
        sender_alt=sender_alt,
        chat_alt=None if sender_alt is None else plain(sender_alt),
        pairs=_pairs((source, sender_alt)),
    )


def _from_me(reader: AttrReader, own: _Own, source: Jid, participant: Jid | None, recipient: Jid | None) -> _Addresses:
    is_peer = recipient is None and any(reader.optional_string(key) in _PEER for key in ("category", "type"))
    chat = plain(source if recipient is None else recipient)
    kind = ChatKind.PEER if is_peer else ChatKind.OWN_NOTE if own.is_own(chat) else ChatKind.USER
    if kind is ChatKind.USER:
        chat_alt = _other_form(reader, chat, "peer_recipient", "recipient")
    else:
        chat_alt = own.other_form(chat)
    return _Addresses(
        source=source,
        chat=chat,
        sender=source,
        kind=kind,
        is_from_me=True,
        participant=participant,
        recipient=recipient,
        sender_alt=own.other_form(source),
        chat_alt=chat_alt,
        pairs=_pairs((chat, chat_alt)),
    )


def _in_list(reader: AttrReader, own: _Own, source: Jid, participant: Jid | None, kind: ChatKind) -> _Addresses:
    if participant is None or not participant.user:
        raise RemoteProtocolError("a message to many without its author")
    is_from_me = own.is_own(participant)
    alt = own.other_form(participant) if is_from_me else _other_form(reader, participant, "participant", "sender")
    return _Addresses(
        source=source,
        chat=source,
        sender=participant,
        kind=kind,
        is_from_me=is_from_me,
        participant=participant,
        recipient=reader.optional_jid("recipient"),
        sender_alt=alt,
        chat_alt=None,
        pairs=_pairs((participant, alt)),
    )


def _in_newsletter(source: Jid, participant: Jid | None) -> _Addresses:
    return _Addresses(
        source=source,
        chat=source,
        sender=source,
        kind=ChatKind.NEWSLETTER,
        is_from_me=False,
        participant=participant,
        recipient=None,
        sender_alt=None,
        chat_alt=None,
        pairs=(),
    )


def _other_form(reader: AttrReader, jid: Jid, *names: str) -> Jid | None:
    """The address in the other family, with the same device; one of the wrong family counts as absent."""
    suffix = "pn" if jid.is_lid else "lid"
    for name in names:
        other = reader.optional_jid(f"{name}_{suffix}")
        if other is not None and other.user and (other.is_pn if jid.is_lid else other.is_lid and jid.is_pn):
            return _same_device(other, jid)
    return None


def _same_device(user: Jid, device: Jid) -> Jid:
    """That user's device of the same number; a hosted one is hosted under either name."""
    user = plain(user)
    return Jid(user.user, _OTHER_HOSTED.get(device.server, user.server), device.device)


def _pairs(*forms: tuple[Jid, Jid | None]) -> tuple[tuple[Jid, Jid], ...]:
    pairs = [(plain(one), plain(other)) for one, other in forms if other is not None]
    return tuple((one, other) if other.is_lid else (other, one) for one, other in pairs)


def _unavailable(node: Node) -> str | None:
    child = node.child("unavailable")
    return None if child is None else (child.reader().optional_string("type") or PLAIN_UNAVAILABLE)
