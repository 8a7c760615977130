"""From a body to the protobuf message that says it, and what the stanza around it must tell.

Rule: the same arguments give the same bytes; nothing is fetched, and nothing is padded or encrypted here.

Source: WhatsApp Web, as whatsmeow and Baileys do it. An edit is sent bare, as Baileys does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from msgspec import field as struct_field

from whatisup.crypto import Entropy, Secret
from whatisup.errors import LocalProtocolError
from whatisup.jid import GROUP_SERVER, PN_SERVER, STATUS_BROADCAST, Jid
from whatisup.protocol.content.bodies import (
    Body,
    ContactBody,
    ContactCard,
    EditBody,
    LocationBody,
    PollBody,
    ReactionBody,
    RevokeBody,
    TextBody,
)
from whatisup.protocol.content.quote import quotable
from whatisup.protocol.content.secrets import UseCase, seal_addon
from whatisup.wire.message import (
    ContactMessage,
    ContextInfo,
    Message,
    MessageContextInfo,
    MessageKey,
    PollCreationMessage,
    PollUpdateMessage,
    PollVoteMessage,
    ProtocolMessage,
    parse,
)

StanzaType: TypeAlias = Literal["text", "reaction", "poll", "media"]

EDITED: Final = "1"
REVOKED: Final = "7"
REVOKED_BY_ADMIN: Final = "8"

_LINK: Final = re.compile(r"https?://[^\s<>\"]{1,2048}", re.IGNORECASE)


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


class Composed(Secret, frozen=True):
    """A serialized `Message` without padding, and what its stanza must tell.

    `stanza_type` is the stanza's `type`, `edit` its `edit`; `mediatype` and `hide` (`decrypt-fail="hide"`) belong to
    every `enc`; `meta` are the attributes of its `<meta>` child (none if empty). `secret` is the message secret inside
    `message` (32 bytes), or `None` where none is due; where there is one, a reporting token is sent.
    """

    message: bytes
    stanza_type: StanzaType = "text"
    edit: str | None = None
    mediatype: str | None = None
    hide: bool = False
    meta: dict[str, str] = struct_field(default_factory=dict)
    secret: bytes | None = None


class _Saying(Secret, frozen=True):
    """Where, by whom and when a body is said."""

    chat: Jid
    own: Jid
    target: Target | None
    secret: bytes
    unix_ms: int

    def finish(self, message: Message, **stanza: Any) -> Composed:
        message.messageContextInfo.CopyFrom(MessageContextInfo(messageSecret=self.secret))
        return Composed(message.SerializeToString(), secret=self.secret, **stanza)

    def wanted(self, field: str = "message_id") -> Target:
        if self.target is None:
            raise CannotCompose(field, "there is no such message in this chat")
        return self.target

    def key(self) -> MessageKey:
        """The target as the sender of this message names it."""
        target = self.wanted()
        key = MessageKey(remoteJid=str(self.chat), fromMe=target.from_me, id=target.wa_id)
        if self.has_authors and not target.from_me:
            key.participant = self.author("message_id")
        return key

    def author(self, field: str) -> str:
        target = self.wanted(field)
        if target.from_me:
            return str(self.own)
        if target.author is not None:
            return target.author
        if self.has_authors:
            raise CannotCompose(field, "nobody knows who wrote that message")
        return str(self.chat)

    @property
    def has_authors(self) -> bool:
        """Whether several people write into this chat."""
        return self.chat.server == GROUP_SERVER or self.chat == STATUS_BROADCAST


def compose(body: Body, *, chat: Jid, own: Jid, target: Target | None, secret: bytes, unix_ms: int) -> Composed:
    """Say `body` in `chat`: `own` is our non-device JID in the chat's addressing, `secret` has 32 random bytes.

    `link_preview` fetches nothing: it marks the first link in the text, without title and picture. Raises
    `CannotCompose`.
    """
    return _COMPOSERS[type(body)](body, _Saying(chat, own, target, secret, unix_ms))


def compose_vote(
    poll: Target, chosen: Sequence[str], *, chat: Jid, own: Jid, poll_secret: bytes, unix_ms: int, entropy: Entropy
) -> Composed:
    """Vote for option names of a poll, whose message secret (32 bytes) is `poll_secret`; none takes the vote back.

    Takes 12 bytes of entropy. Raises `CannotCompose`.
    """
    saying = _Saying(chat, own, poll, poll_secret, unix_ms)
    vote = PollVoteMessage(selectedOptions=[hashlib.sha256(name.encode()).digest() for name in chosen])
    addon = seal_addon(
        UseCase.POLL_VOTE,
        vote.SerializeToString(),
        secret=poll_secret,
        wa_id=poll.wa_id,
        sender=saying.author("message_id"),
        modifier=str(own),
        entropy=entropy,
    )
    update = PollUpdateMessage(pollCreationMessageKey=saying.key(), senderTimestampMs=unix_ms)
    update.vote.encPayload, update.vote.encIv = addon.payload, addon.iv
    message = Message(pollUpdateMessage=update).SerializeToString()
    return Composed(message, stanza_type="poll", hide=True, meta={"polltype": "vote"})


def wrap_device_sent(message: bytes, destination: Jid) -> bytes:
    """Return what our own other devices get: the message, and which chat it went to. Raises `RemoteProtocolError`."""
    inner, outer = parse(Message, message), Message()
    outer.deviceSentMessage.destinationJid = str(destination)
    outer.deviceSentMessage.message.CopyFrom(inner)
    if inner.HasField("messageContextInfo"):
        outer.messageContextInfo.CopyFrom(inner.messageContextInfo)
    return outer.SerializeToString()


def skdm_only(group: str, skdm: bytes) -> bytes:
    """Return a message that hands over a sender key (a Signal-level distribution message) and says nothing."""
    return add_skdm(b"", group, skdm)


def add_skdm(message: bytes, group: str, skdm: bytes) -> bytes:
    """Return the message with a sender key added. Raises `RemoteProtocolError`."""
    result = parse(Message, message)
    result.senderKeyDistributionMessage.groupId = group
    result.senderKeyDistributionMessage.axolotlSenderKeyDistributionMessage = skdm
    return result.SerializeToString()


def _text(body: TextBody, saying: _Saying) -> Composed:
    message = Message()
    link = _LINK.search(body.text) if body.link_preview else None
    if body.reply_to is None and not body.mentions and link is None:
        message.conversation = body.text
        return saying.finish(message)
    message.extendedTextMessage.text = body.text
    if body.reply_to is not None or body.mentions:
        _add_context(message.extendedTextMessage.contextInfo, body, saying)
    if link is not None:
        message.extendedTextMessage.matchedText = link.group()
    return saying.finish(message)


def _add_context(context: ContextInfo, body: TextBody, saying: _Saying) -> None:
    if body.reply_to is not None:
        target = saying.wanted("reply_to")
        context.stanzaId, context.participant = target.wa_id, saying.author("reply_to")
        context.quotedMessage.CopyFrom(quotable(target.message))
    context.mentionedJid.extend(_mention(text) for text in body.mentions)


def _mention(text: str) -> str:
    return text if "@" in text else f"{text.removeprefix('+')}@{PN_SERVER}"


def _reaction(body: ReactionBody, saying: _Saying) -> Composed:
    message = Message()
    message.reactionMessage.key.CopyFrom(saying.key())
    message.reactionMessage.text = body.emoji
    message.reactionMessage.senderTimestampMs = saying.unix_ms
    # Taking a reaction back is marked as a revoke by whatsmeow, not by Baileys.
    edit = None if body.emoji else REVOKED
    return Composed(message.SerializeToString(), stanza_type="reaction", edit=edit, hide=True)


def _edit(body: EditBody, saying: _Saying) -> Composed:
    if not saying.wanted().from_me:
        raise CannotCompose("message_id", "only a message of our own can be edited")
    message = Message()
    protocol = message.protocolMessage
    protocol.key.CopyFrom(saying.key())
    protocol.type = ProtocolMessage.MESSAGE_EDIT
    protocol.editedMessage.conversation = body.text
    protocol.timestampMs = saying.unix_ms
    return saying.finish(message, edit=EDITED, hide=True)


def _revoke(_: RevokeBody, saying: _Saying) -> Composed:
    is_own = saying.wanted().from_me
    if not is_own and not saying.has_authors:
        raise CannotCompose("message_id", "a message of somebody else can be revoked in groups only, by an admin")
    message = Message()
    message.protocolMessage.key.CopyFrom(saying.key())
    message.protocolMessage.type = ProtocolMessage.REVOKE
    return saying.finish(message, edit=REVOKED if is_own else REVOKED_BY_ADMIN, hide=True)


def _location(body: LocationBody, saying: _Saying) -> Composed:
    message = Message()
    place = message.locationMessage
    place.degreesLatitude, place.degreesLongitude = body.latitude, body.longitude
    if body.name is not None:
        place.name = body.name
    if body.address is not None:
        place.address = body.address
    return saying.finish(message)


def _contact(body: ContactBody, saying: _Saying) -> Composed:
    message = Message()
    cards = [ContactMessage(displayName=card.name, vcard=card.vcard or _vcard(card)) for card in body.contacts]
    if len(cards) == 1:
        message.contactMessage.CopyFrom(cards[0])
        return saying.finish(message, stanza_type="media", mediatype="vcard")
    message.contactsArrayMessage.displayName = f"{len(cards)} contacts"
    message.contactsArrayMessage.contacts.extend(cards)
    return saying.finish(message, stanza_type="media", mediatype="contact_array")


def _vcard(card: ContactCard) -> str:
    """A vCard 3.0; `waid` is what makes the number a contact that can be written to."""
    digits = (card.phone_number or "").removeprefix("+")
    name = re.sub(r"([\\,;])", r"\\\1", " ".join(card.name.split()))
    lines = (f"FN:{name}", f"N:;{name};;;", f"TEL;type=CELL;type=VOICE;waid={digits}:+{digits}")
    return "\n".join(("BEGIN:VCARD", "VERSION:3.0", *lines, "END:VCARD"))


def _poll(body: PollBody, saying: _Saying) -> Composed:
    poll = PollCreationMessage(name=body.name, selectableOptionsCount=body.selectable_count)
    for option in body.options:
        poll.options.add(optionName=option)
    # Polls with a single choice have a field of their own since clients know how to show them.
    single = body.selectable_count == 1
    message = Message(pollCreationMessageV3=poll) if single else Message(pollCreationMessage=poll)
    return saying.finish(message, stanza_type="poll", meta={"polltype": "creation"})


_COMPOSERS: Final[dict[type, Callable[[Any, _Saying], Composed]]] = {
    TextBody: _text,
    ReactionBody: _reaction,
    EditBody: _edit,
    RevokeBody: _revoke,
    LocationBody: _location,
    ContactBody: _contact,
    PollBody: _poll,
}
