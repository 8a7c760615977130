"""From one content field of a `Message` to what a customer reads: a table of field names and readers.

Rule: nothing here is trusted. Texts are cut, lists are cut, addresses that are none are left out, numbers that JSON
cannot say become null; keys and paths of media never leave. A body that was cut says `"truncated": true`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from google.protobuf.message import Message as AnyMessage

from whatisup.jid import Jid, JidError
from whatisup.protocol.content.secrets import Addon, UseCase
from whatisup.wire.message import ContextInfo, MessageKey, SecretEncryptedMessage

MAX_LONG: Final = 65_536
"""Longest text, caption or vCard in a body, in characters."""

MAX_SHORT: Final = 1_024
"""Longest name, address, option or other short text in a body, in characters."""

MAX_BODY: Final = 262_144
"""Most characters in all texts of a body together."""

MAX_ID: Final = 128
"""Longest message id in a body, in characters; a longer one, or one that is not printable ASCII, is no id."""

MAX_MENTIONS: Final = 1_024
MAX_CONTACTS: Final = 100
MAX_OPTIONS: Final = 100

Body: TypeAlias = dict[str, Any]

_WA_ID: Final = re.compile(r"[!-~]+")
_WAID: Final = re.compile(r"waid=([0-9]{5,15})\b")


@dataclass(frozen=True, slots=True)
class Key:
    """The message that a content is about, as its sender names it.

    `from_me` is true where the *sender* of the content wrote the original. `author` is who did, a JID as written, in
    groups and never trusted; `chat` likewise.
    """

    wa_id: str
    from_me: bool
    author: str | None = None
    chat: str | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What a content field says: its kind, its body (`None`: nothing to show), what it is about, what is encrypted."""

    kind: str
    body: Body | None = field(default=None, repr=False)
    target: Key | None = None
    addon: Addon | None = field(default=None, repr=False)


class Reader:
    """Cuts what is too long, alone or together with the rest of its body, and remembers that it did."""

    __slots__ = ("_left", "is_cut")

    def __init__(self) -> None:
        self.is_cut = False
        self._left = MAX_BODY

    def text(self, value: str, limit: int = MAX_SHORT) -> str:
        """Return at most `limit` characters."""
        limit = min(limit, self._left)
        if len(value) > limit:
            self.is_cut, value = True, value[:limit]
        self._left -= len(value)
        return value

    def items(self, values: Any, limit: int) -> list[Any]:
        """Return at most `limit` items of a repeated field."""
        if len(values) > limit:
            self.is_cut = True
        return list(values[:limit])


def describe(name: str, value: Any) -> Said:
    """Read the content field `name` of a `Message` (not a wrapper, not a protocol message)."""
    reader = Reader()
    describer = _DESCRIBERS.get(name)
    said = describer(value, reader) if describer is not None else unknown(name)
    if said.body is not None:
        if isinstance(value, AnyMessage) and "contextInfo" in value.DESCRIPTOR.fields_by_name:
            _add_context(said.body, value, reader)
        if reader.is_cut:
            said.body["truncated"] = True
    return said


def unknown(name: str) -> Said:
    """Return what stands for a content that we do not read; `name` is its field's."""
    return Said("unknown", {"type": "unknown", "kind": name})


def read_key(key: MessageKey) -> Key | None:
    """Return the key, or `None` if it names no message."""
    if len(key.id) > MAX_ID or _WA_ID.fullmatch(key.id) is None:
        return None
    return Key(key.id, key.fromMe, _jid(key.participant), _jid(key.remoteJid))


def _jid(text: str) -> str | None:
    # Whoever gets a JID from here may parse it again without fear.
    if not text:
        return None
    try:
        jid = Jid.parse(text).normalised
    except JidError:
        return None
    return str(jid) if jid.user else None


def _add_context(body: Body, value: Any, reader: Reader) -> None:
    if not value.HasField("contextInfo"):
        return
    context: ContextInfo = value.contextInfo
    if len(context.stanzaId) <= MAX_ID and _WA_ID.fullmatch(context.stanzaId):
        body["reply_to"] = {"wa_message_id": context.stanzaId, "from": _jid(context.participant)}
    if context.mentionedJid:
        mentioned = (_jid(text) for text in reader.items(context.mentionedJid, MAX_MENTIONS))
        body["mentions"] = [jid for jid in mentioned if jid is not None]
    if context.nonJidMentions:
        body["mentions_everyone"] = True
    if context.isForwarded:
        body["forwarded"] = True


def _conversation(value: str, reader: Reader) -> Said:
    return Said("text", {"type": "text", "text": reader.text(value, MAX_LONG)})


def _extended_text(value: Any, reader: Reader) -> Said:
    return _conversation(value.text, reader)


# Field of a media message -> key of the body. Each is left out where it is absent.
_MEDIA_TEXTS: Final = {"caption": "caption", "mimetype": "mime_type", "fileName": "file_name", "title": "title"}
_MEDIA_NUMBERS: Final = {
    "fileLength": "size",
    "seconds": "seconds",
    "width": "width",
    "height": "height",
    "pageCount": "page_count",
}
_MEDIA_FLAGS: Final = {
    "ptt": "voice_note",
    "gifPlayback": "gif",
    "isAnimated": "animated",
    "isLottie": "animated",
    "viewOnce": "view_once",
}


def _media(kind: str, **flags: bool) -> Callable[[Any, Reader], Said]:
    def read(value: Any, reader: Reader) -> Said:
        body: Body = {"type": kind}
        for descriptor, item in value.ListFields():
            name = descriptor.name
            if name in _MEDIA_TEXTS:
                body[_MEDIA_TEXTS[name]] = reader.text(item, MAX_LONG if name == "caption" else MAX_SHORT)
            elif name in _MEDIA_NUMBERS:
                body[_MEDIA_NUMBERS[name]] = item
            elif name in _MEDIA_FLAGS and item:
                body[_MEDIA_FLAGS[name]] = True
        body |= flags
        body["downloadable"] = False  # the file itself is not fetched yet
        return Said(kind, body)

    return read


def _location(value: Any, reader: Reader) -> Said:
    body: Body = {
        "type": "location",
        "latitude": _degrees(value.degreesLatitude, 90),
        "longitude": _degrees(value.degreesLongitude, 180),
    }
    if value.name:
        body["name"] = reader.text(value.name)
    if value.address:
        body["address"] = reader.text(value.address)
    if value.isLive:
        body["live"] = True
    return Said("location", body)


def _live_location(value: Any, reader: Reader) -> Said:
    body: Body = {
        "type": "location",
        "latitude": _degrees(value.degreesLatitude, 90),
        "longitude": _degrees(value.degreesLongitude, 180),
        "live": True,
    }
    if value.caption:
        body["caption"] = reader.text(value.caption, MAX_LONG)
    return Said("location", body)


def _degrees(value: float, limit: int) -> float | None:
    return value if math.isfinite(value) and -limit <= value <= limit else None


def _contact(value: Any, reader: Reader) -> Said:
    return Said("contact", {"type": "contact", "contacts": [_card(value, reader)]})


def _contacts(value: Any, reader: Reader) -> Said:
    cards = [_card(contact, reader) for contact in reader.items(value.contacts, MAX_CONTACTS)]
    return Said("contact", {"type": "contact", "contacts": cards})


def _card(value: Any, reader: Reader) -> Body:
    card: Body = {"name": reader.text(value.displayName), "vcard": reader.text(value.vcard, MAX_LONG)}
    number = _WAID.search(card["vcard"])
    if number is not None:
        card["phone_number"] = number.group(1)
    return card


def _poll(value: Any, reader: Reader) -> Said:
    options = [reader.text(option.optionName) for option in reader.items(value.options, MAX_OPTIONS)]
    body = {
        "type": "poll",
        "name": reader.text(value.name),
        "options": options,
        "selectable_count": value.selectableOptionsCount,
    }
    return Said("poll", body)


def _album(value: Any, _: Reader) -> Said:
    return Said("album", {"type": "album", "images": value.expectedImageCount, "videos": value.expectedVideoCount})


def _reaction(value: Any, reader: Reader) -> Said:
    target = read_key(value.key)
    if target is None:
        return unknown("reactionMessage")
    body = {"type": "reaction", "message_id": target.wa_id, "emoji": reader.text(value.text, MAX_ID)}
    return Said("reaction", body, target)


def _encrypted_reaction(value: Any, _: Reader) -> Said:
    target = read_key(value.targetMessageKey)
    if target is None:
        return unknown("encReactionMessage")
    body = {"type": "reaction", "message_id": target.wa_id, "emoji": None}
    return Said("reaction", body, target, _addon(UseCase.REACTION, target, value))


def _vote(value: Any, _: Reader) -> Said:
    target = read_key(value.pollCreationMessageKey)
    if target is None:
        return unknown("pollUpdateMessage")
    body = {"type": "poll_vote", "poll": target.wa_id, "options": None}
    return Said("poll_vote", body, target, _addon(UseCase.POLL_VOTE, target, value.vote))


def _encrypted_secret(value: Any, _: Reader) -> Said:
    target = read_key(value.targetMessageKey)
    if target is None or value.secretEncType != SecretEncryptedMessage.MESSAGE_EDIT:
        return unknown("secretEncryptedMessage")
    body = {"type": "edit", "message_id": target.wa_id, "text": None}
    return Said("edit", body, target, _addon(UseCase.MESSAGE_EDIT, target, value))


def _addon(use_case: UseCase, target: Key, value: Any) -> Addon:
    return Addon(use_case, target.wa_id, value.encPayload, value.encIv)


def _each(names: Iterable[str], describer: Callable[[Any, Reader], Said]) -> dict[str, Callable[[Any, Reader], Said]]:
    return dict.fromkeys(names, describer)


_DESCRIBERS: Final[dict[str, Callable[[Any, Reader], Said]]] = {
    "conversation": _conversation,
    "extendedTextMessage": _extended_text,
    "imageMessage": _media("image"),
    "videoMessage": _media("video"),
    "ptvMessage": _media("video", video_note=True),
    "audioMessage": _media("audio"),
    "documentMessage": _media("document"),
    "stickerMessage": _media("sticker"),
    "albumMessage": _album,
    "locationMessage": _location,
    "liveLocationMessage": _live_location,
    "contactMessage": _contact,
    "contactsArrayMessage": _contacts,
    "reactionMessage": _reaction,
    "encReactionMessage": _encrypted_reaction,
    **_each(("pollCreationMessage", "pollCreationMessageV2", "pollCreationMessageV3", "pollCreationMessageV5"), _poll),
    "pollUpdateMessage": _vote,
    "secretEncryptedMessage": _encrypted_secret,
}
