"""How a phone sends: a message to every device of a chat and to its own companions, and again to who could not read it.

Rule: one id is encrypted for one device once; again only when that device asks, at most `MAX_RESENDS` times.

Source: WhatsApp Web, as whatsmeow does it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from whatisup.errors import E2eeError, LocalProtocolError, RemoteProtocolError
from whatisup.jid import GROUP_SERVER, Jid
from whatisup.protocol.content.bodies import Body, parse_body, target_of
from whatisup.protocol.content.compose import Composed, Target, add_skdm, compose, wrap_device_sent
from whatisup.protocol.content.secrets import UseCase, seal_addon
from whatisup.protocol.stanzas.ack import parse_message_ack
from whatisup.protocol.stanzas.message import Enc, Outgoing, build_message
from whatisup.protocol.stanzas.receipt import Receipt, RetryRequest
from whatisup.sandbox.accounts import Account
from whatisup.sandbox.directory import jid_of
from whatisup.sandbox.people import mishaps, sender_keys
from whatisup.sandbox.people.logs import Sealed, Sent
from whatisup.sandbox.people.turn import Turn
from whatisup.sandbox.spreading import LID_MODE
from whatisup.wire import message as proto

MAX_RESENDS: Final = 5
"""How often one device gets one message again."""

VOTE: Final = "poll_vote"


class Shape(msgspec.Struct, array_like=True, frozen=True):
    """How a sent message's stanza looks, for when it is sent again."""

    type: str
    edit: str | None
    mediatype: str | None
    hide: bool


@dataclass(frozen=True, slots=True, repr=False)
class _Letter:
    """A message on its way: to whom, what it says, and whether the stanza names people by hidden id."""

    id: str
    chat: Account
    composed: Composed
    as_lid: bool = True


def send(turn: Turn, message_id: str) -> None:
    """Send what the phone was told to send under that id."""
    sent = turn.logs.sent_one(turn.number, message_id)
    if sent is None or sent.acked_at is not None:
        return
    chat = turn.hub.state.account(sent.chat)
    try:
        if chat is None or chat.tenant != turn.account.tenant:
            raise LocalProtocolError("there is no such number")
        _send(turn, _letter(turn, sent, chat))
    except (LocalProtocolError, RemoteProtocolError) as error:
        turn.logs.failed(turn.number, message_id, str(error))


def _letter(turn: Turn, sent: Sent, chat: Account) -> _Letter:
    said: dict[str, Any] = sent.body or {}
    if said.get("type") == VOTE:
        return _vote(turn, sent.id, chat, said)
    body = parse_body(said)
    composed = compose(
        body,
        chat=chat.lid_jid,
        own=turn.account.lid_jid,
        target=_target(turn, chat, body),
        secret=turn.entropy(32),
        unix_ms=turn.hub.unix_ms,
    )
    return _Letter(sent.id, chat, composed)


def _target(turn: Turn, chat: Account, body: Body) -> Target | None:
    message_id = target_of(body)
    if message_id is None:
        return None
    known = turn.logs.known(turn.number, chat.number, message_id)
    if known is None:
        raise LocalProtocolError("it is about a message that this phone does not know")
    author = turn.hub.state.account(known.author)
    from_me = known.author == turn.number
    return Target(message_id, from_me, None if author is None else str(author.lid_jid), known.message)


def _vote(turn: Turn, message_id: str, chat: Account, said: dict[str, Any]) -> _Letter:
    poll = turn.logs.known(turn.number, chat.number, said["poll"])
    author = None if poll is None else turn.hub.state.account(poll.author)
    if poll is None or poll.secret is None or author is None:
        raise LocalProtocolError("it is about a poll that this phone does not know")
    # A vote is sealed with the names under which the poll was asked, and goes out under the same.
    addon = seal_addon(
        UseCase.POLL_VOTE,
        _selected(said["options"]).SerializeToString(),
        secret=poll.secret,
        wa_id=poll.id,
        sender=str(jid_of(author, as_lid=poll.as_lid)),
        modifier=str(jid_of(turn.account, as_lid=poll.as_lid)),
        entropy=turn.entropy,
    )
    message = proto.Message()
    update = message.pollUpdateMessage
    key = update.pollCreationMessageKey
    key.remoteJid, key.fromMe, key.id = str(jid_of(chat, as_lid=poll.as_lid)), author.number == turn.number, poll.id
    update.vote.encPayload, update.vote.encIv = addon.payload, addon.iv
    update.senderTimestampMs = turn.hub.unix_ms
    composed = Composed(message.SerializeToString(), "poll", hide=True, meta={"polltype": "vote"})
    return _Letter(message_id, chat, composed, poll.as_lid)


def _selected(options: list[str]) -> proto.PollVoteMessage:
    return proto.PollVoteMessage(selectedOptions=[hashlib.sha256(option.encode()).digest() for option in options])


def _send(turn: Turn, letter: _Letter) -> None:
    composed, chat = letter.composed, letter.chat
    is_note = chat.number == turn.number
    others = () if is_note else tuple((device, composed.message) for device in turn.devices(chat))
    to = jid_of(chat, as_lid=letter.as_lid)
    copy = wrap_device_sent(composed.message, to)
    own = tuple((device, copy) for device in turn.devices(turn.account))
    mishaps.before_writing(turn, [device for device, _ in others])
    written = [(device, encrypted_for(turn, device, plain)) for device, plain in (*others, *own)]
    participants = [(device, _dressed(enc, composed)) for device, enc in written if enc is not None]
    stanza = Outgoing(
        id=letter.id,
        to=to,
        type=composed.stanza_type,
        edit=composed.edit,
        peer_recipient_pn=chat.pn_jid if letter.as_lid else None,
        participants=tuple((_named(turn, device, letter), enc) for device, enc in participants),
        meta=composed.meta,
    )
    shape = Shape(composed.stanza_type, composed.edit, composed.mediatype, composed.hide)
    kept = msgspec.json.encode(shape)
    note_ack(turn, Sealed(letter.id, turn.hub.unix, composed.message, kept, composed.secret), stanza)


def _named(turn: Turn, device: Jid, letter: _Letter) -> Jid:
    account = letter.chat if device.user == letter.chat.lid else turn.account
    return jid_of(account, device.device, as_lid=letter.as_lid)


def note_ack(turn: Turn, sealed: Sealed, stanza: Outgoing) -> bool:
    """Hand a message to the server, keep it and the server's word on it; return whether that took it."""
    answer = turn.submit(build_message(stanza))
    if answer is None:
        turn.logs.went_out(turn.number, sealed, None, None)
        return False
    ack = parse_message_ack(answer)
    sealed = sealed if ack.unix_t is None else replace(sealed, t=ack.unix_t)
    turn.logs.went_out(turn.number, sealed, turn.hub.unix_ms, ack.error)
    return ack.error is None


def encrypted_for(turn: Turn, device: Jid, plaintext: bytes) -> Enc | None:
    """Encrypt for a device, None where that cannot be done."""
    try:
        return turn.write(device, plaintext)
    except E2eeError:
        # A device with keys that are none: everybody else gets the message.
        return None


def _dressed(enc: Enc, shape: Composed | Shape) -> Enc:
    return replace(enc, mediatype=shape.mediatype, hide=shape.hide)


# resends


def resend(turn: Turn, receipt: Receipt, request: RetryRequest) -> None:
    """Answer a retry receipt with another copy for the one device that asks.

    Raises `E2eeError` for keys that are none.
    """
    asking = receipt.participant or receipt.source
    person = turn.person(asking)
    sent = turn.logs.sent_one(turn.number, request.wa_id)
    if person is None or sent is None or sent.message is None or sent.stanza is None:
        return
    if not _is_for(turn, sent, person):
        return
    device = person.lid_jid.with_device(asking.device)
    times = turn.logs.retry(turn.number, sent.id, person.number, asking.device, turn.hub.unix_ms)
    if times > MAX_RESENDS or not _renewed(turn, device, request):
        return
    shape = msgspec.json.decode(sent.stanza, type=Shape)
    answer = _to_many if turn.hub.state.account(sent.chat) is None else _to_one
    stanza = answer(turn, sent, asking, device, sent.message)
    if stanza is not None and stanza.direct is not None:
        direct = replace(_dressed(stanza.direct, shape), count=request.count)
        turn.submit(build_message(replace(stanza, type=shape.type, edit=shape.edit, direct=direct)))


def _is_for(turn: Turn, sent: Sent, person: Account) -> bool:
    if person.number in (sent.chat, turn.number):
        return True
    is_of_many = turn.hub.state.account(sent.chat) is None
    return is_of_many and person in turn.hub.circles.members(turn.account, Jid.parse(sent.chat))


def _to_one(turn: Turn, sent: Sent, asking: Jid, device: Jid, message: bytes) -> Outgoing | None:
    chat = turn.hub.state.account(sent.chat)
    is_copy = device.user == turn.account.lid and chat is not None
    plaintext = wrap_device_sent(message, chat.lid_jid) if is_copy and chat is not None else message
    enc = turn.write(device, plaintext)
    recipient = chat.lid_jid if is_copy and chat is not None else None
    if enc is None:
        return None
    return Outgoing(id=sent.id, to=asking, type="", direct=enc, unix_t=sent.t, recipient=recipient, device_fanout=False)


def _to_many(turn: Turn, sent: Sent, asking: Jid, device: Jid, message: bytes) -> Outgoing | None:
    """What one of many could not read goes to its device alone, with our key where there is one."""
    chat = Jid.parse(sent.chat)
    key = sender_keys.distribution(turn, chat)
    enc = turn.write(device, message if key is None else add_skdm(message, sent.chat, key))
    mode = LID_MODE if chat.server == GROUP_SERVER else None
    if enc is None:
        return None
    return Outgoing(id=sent.id, to=chat, type="", participant=asking, direct=enc, unix_t=sent.t, addressing_mode=mode)


def _renewed(turn: Turn, device: Jid, request: RetryRequest) -> bool:
    """Open a new session where the old one is to blame; False where none can be had."""
    ratchets = turn.ratchets
    if request.keys is not None:
        ratchets.start(device, request.keys)
        return True
    is_same = ratchets.can_write_to(device) and ratchets.registration_id(device) == request.registration_id
    if is_same and request.count < 2:
        return True
    bundle = turn.bundle(device)
    if bundle is not None:
        ratchets.start(device, bundle)
    return bundle is not None
