"""Who and where, as rows and events name it: canonical JIDs, and the digits of both families where they are known.

Rule: a name is looked up in the keyring of the batch, so that what the batch has just learned counts already.
"""

from __future__ import annotations

from whatisup.jid import Jid
from whatisup.protocol.messaging.keyring import KeyNotLoaded, Keyring, Own
from whatisup.protocol.stanzas.message import Envelope
from whatisup.store import AppendEvent, Identity


def user_of(jid: Jid) -> Jid:
    """The user behind a device, in the plain form of its family."""
    return jid.normalised


def forms(ring: Keyring, jid: Jid) -> tuple[str, str | None, str | None]:
    """The canonical text of a chat or user, its phone number and its LID (digits), as far as they are known."""
    user = user_of(jid)
    if not (user.is_pn or user.is_lid):
        return str(user), None, None
    try:
        phone, lid = ring.pn_of(user), ring.lid_of(user)
    except KeyNotLoaded:
        phone, lid = (user, None) if user.is_pn else (None, user)
    return str(lid or user), _digits(phone), _digits(lid)


def _digits(user: Jid | None) -> str | None:
    return None if user is None else user.user


def identity_of(ring: Keyring, own: Own, envelope: Envelope) -> Identity:
    """Which message an envelope carries."""
    author = own.lid if envelope.is_from_me else envelope.sender
    return named(ring, envelope.id, envelope.chat, author)


def named(ring: Keyring, wa_id: str, chat: Jid, author: Jid) -> Identity:
    """Which message is meant by an id, a chat and an author."""
    chat_text, chat_phone, chat_lid = forms(ring, chat)
    if user_of(author) == user_of(chat):
        return Identity(wa_id, chat_text, chat_text, chat_phone, chat_lid, chat_phone, chat_lid)
    author_text, author_phone, author_lid = forms(ring, author)
    return Identity(wa_id, chat_text, author_text, chat_phone, chat_lid, author_phone, author_lid)


def identity_changed(ring: Keyring, device: Jid, now_ms: int) -> AppendEvent:
    """What is told when a device (0: the phone, or all of a user's) has another key than we knew."""
    _, phone, lid = forms(ring, user_of(device))
    return AppendEvent("contact.identity_changed", {"phone": phone, "lid": lid, "device": device.device}, now_ms)
