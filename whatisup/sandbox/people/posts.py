"""How a phone writes to many: into a group, as a status, to a broadcast list, or into a newsletter.

Rule: a group's message and a status are encrypted once, and the key goes to each device that lacks it; a list's message
is encrypted for each device; a newsletter's for nobody.

How the phone's own companions hear of what goes to a list is not known: here they do not.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from whatisup.errors import LocalProtocolError, RemoteProtocolError
from whatisup.jid import BROADCAST_SERVER, GROUP_SERVER, NEWSLETTER_SERVER, STATUS_BROADCAST, Jid
from whatisup.protocol.content.bodies import parse_body
from whatisup.protocol.content.compose import Composed, compose, skdm_only
from whatisup.protocol.stanzas.message import Enc, Outgoing
from whatisup.sandbox.accounts import Account, device_hash
from whatisup.sandbox.people import mishaps, sender_keys
from whatisup.sandbox.people.logs import Sealed
from whatisup.sandbox.people.tasks import PostTask
from whatisup.sandbox.people.turn import Turn
from whatisup.sandbox.people.writing import Shape, encrypted_for, note_ack
from whatisup.sandbox.spreading import LID_MODE

_STATUS_META: Final = {"status_setting": "contacts"}


@dataclass(frozen=True, slots=True, repr=False)
class _Post:
    """A message to many on its way; `members` may have this phone's own account among them."""

    id: str
    chat: Jid
    members: tuple[Account, ...]
    composed: Composed
    gives_keys: bool


def send(turn: Turn, task: PostTask) -> None:
    """Send what the phone was told to send to many."""
    sent = turn.logs.sent_one(turn.number, task.id)
    if sent is None or sent.acked_at is not None:
        return
    try:
        chat = Jid.parse(sent.chat)
        composed = compose(
            parse_body(sent.body or {}),
            chat=chat,
            own=turn.account.lid_jid,
            target=None,
            secret=turn.entropy(32),
            unix_ms=turn.hub.unix_ms,
        )
        post = _Post(task.id, chat, _members(turn, chat, task), composed, task.gives_keys)
        _submit(turn, post, _WAYS[chat.server if chat != STATUS_BROADCAST else GROUP_SERVER](turn, post))
    except (LocalProtocolError, RemoteProtocolError) as error:
        turn.logs.failed(turn.number, task.id, str(error))


def _members(turn: Turn, chat: Jid, task: PostTask) -> tuple[Account, ...]:
    """Say who belongs to the chat, as whoever made it would have; return them."""
    turn.hub.circles.gather(turn.account, chat, (*task.members, turn.number))
    return tuple(turn.hub.circles.members(turn.account, chat))


def _submit(turn: Turn, post: _Post, stanza: Outgoing) -> None:
    composed = post.composed
    shape = Shape(composed.stanza_type, composed.edit, composed.mediatype, composed.hide)
    kept = msgspec.json.encode(shape)
    sealed = Sealed(post.id, turn.hub.unix, composed.message, kept, composed.secret)
    is_accepted = note_ack(turn, sealed, stanza)
    if is_accepted and stanza.direct is not None:
        sender_keys.mark_given(turn, post.chat, _devices(turn, post.members))


def _devices(turn: Turn, members: tuple[Account, ...]) -> list[Jid]:
    return [device for account in members for device in turn.devices(account)]


def _once(turn: Turn, post: _Post) -> Outgoing:
    """Write into a group, or a status: one ciphertext, and our key for those who lack it."""
    chat, composed, devices = post.chat, post.composed, _devices(turn, post.members)
    lacking = sender_keys.prepare(turn, chat, devices)
    if not post.gives_keys:
        lacking = []
    mishaps.before_writing(turn, lacking)
    key = sender_keys.distribution(turn, chat) or b""  # before the message, so that it can be read with it
    participants = _for_each(turn, lacking, skdm_only(str(chat), key))
    is_group = chat.server == GROUP_SERVER
    return Outgoing(
        id=post.id,
        to=chat,
        type=composed.stanza_type,
        participants=participants,
        direct=sender_keys.write(turn, chat, composed.message),
        meta=composed.meta if is_group else {**composed.meta, **_STATUS_META},
        phash=device_hash([turn.account.lid_jid, *devices]) if is_group else None,
        addressing_mode=LID_MODE if is_group else None,
    )


def _to_each(turn: Turn, post: _Post) -> Outgoing:
    """Write to a list: everybody gets a ciphertext of their own."""
    others = _devices(turn, tuple(member for member in post.members if member.number != turn.number))
    mishaps.before_writing(turn, others)
    participants = _for_each(turn, others, post.composed.message)
    return Outgoing(id=post.id, to=post.chat, type=post.composed.stanza_type, participants=participants)


def _in_the_clear(turn: Turn, post: _Post) -> Outgoing:
    """Write into a newsletter."""
    return Outgoing(id=post.id, to=post.chat, type=post.composed.stanza_type, plaintext=post.composed.message)


def _for_each(turn: Turn, devices: list[Jid], plaintext: bytes) -> tuple[tuple[Jid, Enc], ...]:
    encs = [(device, encrypted_for(turn, device, plaintext)) for device in devices]
    return tuple((device, enc) for device, enc in encs if enc is not None)


_WAYS: Final[Mapping[str, Callable[[Turn, _Post], Outgoing]]] = {
    GROUP_SERVER: _once,
    BROADCAST_SERVER: _to_each,
    NEWSLETTER_SERVER: _in_the_clear,
}
