"""How a phone takes what is delivered to it: it decrypts, remembers, answers as it must, and does as its persona does.

Rule: every ciphertext ends as one row of the log, and every one gets the answer that a real phone gives.

A phone's own queue forgets a stanza with the transaction that holds what became of it: that stands for the acks which a
real phone sends.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from whatisup.errors import E2eeError, RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.content.normalise import Content, normalise, reveal
from whatisup.protocol.prekeys import Bundle
from whatisup.protocol.stanzas import receipt as receipts
from whatisup.protocol.stanzas.message import ChatKind, Enc, Envelope, parse_envelope
from whatisup.protocol.stanzas.notification import DevicesChanged, IdentityChanged, read_notification
from whatisup.protocol.stanzas.receipt import build_receipt, build_retry_receipt, parse_receipt
from whatisup.sandbox import phone
from whatisup.sandbox.accounts import Account
from whatisup.sandbox.people import mishaps, peer, persona, sender_keys, writing
from whatisup.sandbox.people.logs import Arrival, Verdict
from whatisup.sandbox.people.turn import Turn
from whatisup.wire import Node

MAX_RETRIES: Final = 5
"""How often a phone asks for one message again."""

ASKED: Final = "asked"
"""How often this phone asked for a message again, by id and device (a decimal number)."""

_OF_MANY: Final = frozenset({ChatKind.GROUP, ChatKind.STATUS, ChatKind.BROADCAST})

# What a receipt of others says about a message of this phone, as the log shows it.
_SHOWN: Final = {
    receipts.DELIVERED: "delivered",
    receipts.INACTIVE: "inactive",
    receipts.READ: "read",
    receipts.PLAYED: "played",
    receipts.SENDER: "sender",
}


@dataclass(frozen=True, slots=True, repr=False)
class _Letter:
    """A delivered message: what it says in the clear, whose it is, and the chat it belongs to (a number, or a JID)."""

    envelope: Envelope
    author: Account
    chat: str

    @property
    def device(self) -> Jid:
        """The sending device, by hidden id."""
        return self.author.lid_jid.with_device(self.envelope.sender.device)

    def is_last(self, enc: Enc) -> bool:
        """Whether that is the ciphertext of the content: one before it only hands over a key, and is not answered."""
        return enc.kind == self.envelope.encs[-1].kind


def take(turn: Turn, node: Node) -> None:
    """Let a phone take a stanza. Raises `RemoteProtocolError` for one that it cannot read."""
    match node.tag:
        case "message":
            _take_message(turn, node)
        case "receipt":
            _take_receipt(turn, node)
        case "notification":
            _take_notification(turn, node)


# messages


def _take_message(turn: Turn, node: Node) -> None:
    own = turn.account
    envelope = parse_envelope(node, own_pn=own.pn_jid, own_lid=own.lid_jid)
    if envelope.kind is ChatKind.NEWSLETTER:
        return  # not encrypted, and nobody's
    author = turn.person(envelope.sender)
    if author is None:
        raise RemoteProtocolError("a message of somebody who does not exist")
    letter = _Letter(envelope, author, _chat(turn, envelope))
    if not envelope.encs:
        _unreadable(turn, letter, b"", envelope.unavailable or "empty", 0)
    for enc in envelope.encs:
        _take_enc(turn, letter, enc)


def _chat(turn: Turn, envelope: Envelope) -> str:
    person = turn.person(envelope.chat) if envelope.chat.is_lid or envelope.chat.is_pn else None
    return str(envelope.chat) if person is None else person.number


def _take_enc(turn: Turn, letter: _Letter, enc: Enc) -> None:
    sha256 = hashlib.sha256(enc.ciphertext).digest()
    if turn.logs.was_read(turn.number, sha256):
        turn.logs.add(turn.number, _arrival(turn, letter, sha256, Verdict.DUPLICATE, count=enc.count))
        if letter.is_last(enc):
            _confirm(turn, letter.envelope)
        return
    enc = mishaps.before_reading(turn, letter.device, enc)
    if mishaps.strikes(turn, mishaps.SIMULTANEOUS):
        _write_at_the_same_time(turn, letter)
    if mishaps.strikes(turn, mishaps.RETRY_STORM):
        _storm(turn, letter, sha256)
        return
    try:
        content = _content(turn, letter, enc)
    except E2eeError as error:
        _unreadable(turn, letter, sha256, error.slug, error.retry_code, enc)
    except RemoteProtocolError:
        _unreadable(turn, letter, sha256, "garbage", 0, enc)
    else:
        _read(turn, letter, sha256, content, enc)


def _content(turn: Turn, letter: _Letter, enc: Enc) -> Content:
    plaintext = _plaintext(turn, letter, enc)
    content = normalise(plaintext, is_own=letter.envelope.is_from_me, is_own_phone=False)
    if content.skdm is not None and content.skdm[0] == str(letter.envelope.source):
        sender_keys.learn(turn, letter.envelope.source, letter.device, content.skdm[1])
    return _revealed(turn, letter, content) if content.addon is not None else content


def _plaintext(turn: Turn, letter: _Letter, enc: Enc) -> bytes:
    if enc.kind == "skmsg" and letter.envelope.kind in _OF_MANY:
        return sender_keys.read(turn, letter.envelope.source, letter.device, enc)
    return turn.ratchets.read(letter.device, enc).plaintext


def _revealed(turn: Turn, letter: _Letter, content: Content) -> Content:
    known = None if content.target is None else turn.logs.known(turn.number, letter.chat, content.target.wa_id)
    writer = None if known is None else turn.hub.state.account(known.author)
    if known is None or known.secret is None or writer is None:
        return content
    asked = normalise(known.message, is_own=False, is_own_phone=False).body or {}
    try:
        return reveal(
            content,
            secret=known.secret,
            senders=_names(writer),
            modifiers=_names(letter.author),
            options=asked.get("options", ()),
        )
    except RemoteProtocolError:
        return content


def _names(account: Account) -> tuple[str, str]:
    return str(account.lid_jid), str(account.pn_jid)


def _read(turn: Turn, letter: _Letter, sha256: bytes, content: Content, enc: Enc) -> None:
    envelope = letter.envelope
    is_of_others = envelope.kind is ChatKind.USER and not envelope.is_from_me
    is_new = is_of_others and persona.is_awake(turn)  # whoever does nothing need not know
    is_first = is_new and not turn.logs.has_read(turn.number, letter.author.number, envelope.id)
    arrival = _arrival(turn, letter, sha256, Verdict.READ, count=enc.count)
    turn.logs.add(
        turn.number,
        replace(arrival, kind=content.kind, body=content.body, message=content.message, secret=content.secret),
    )
    if letter.is_last(enc):
        _confirm(turn, envelope)
    if envelope.kind is ChatKind.PEER:
        peer.answer_peer(turn, envelope, letter.device, content)
    elif is_first:
        persona.react(turn, letter.author, content)


def _confirm(turn: Turn, envelope: Envelope) -> None:
    if envelope.kind is ChatKind.PEER:
        answer = build_receipt([envelope.id], envelope.source, kind=receipts.PEER_MSG)
    elif envelope.is_from_me:
        answer = build_receipt(
            [envelope.id],
            envelope.source,
            kind=receipts.SENDER,
            participant=envelope.participant,
            recipient=envelope.recipient,
        )
    else:
        answer = build_receipt([envelope.id], envelope.source, participant=envelope.participant)
    turn.submit(answer)


def _unreadable(
    turn: Turn, letter: _Letter, sha256: bytes, reason: str, retry_code: int, enc: Enc | None = None
) -> None:
    count = 0 if enc is None else enc.count
    arrival = _arrival(turn, letter, sha256, Verdict.UNDECRYPTABLE, count=count)
    turn.logs.add(turn.number, replace(arrival, reason=reason))
    if enc is not None and letter.is_last(enc):
        asked = _asked(turn, letter) or count
        if asked < MAX_RETRIES:
            _ask_again(turn, letter, asked + 1, retry_code)


def _asked(turn: Turn, letter: _Letter) -> int:
    return int(turn.keys.get(ASKED, _asked_name(letter)) or b"0")


def _asked_name(letter: _Letter) -> str:
    return f"{letter.envelope.id} {letter.device}"


def _ask_again(turn: Turn, letter: _Letter, count: int, retry_code: int) -> None:
    turn.keys.put(ASKED, _asked_name(letter), str(count).encode())
    stanza = build_retry_receipt(
        letter.envelope,
        count=count,
        error=retry_code,
        registration_id=turn.account.registration_id,
        keys=_retry_keys(turn) if count > 1 else None,
    )
    turn.submit(stanza)


def _retry_keys(turn: Turn) -> Bundle:
    key_id = turn.hub.state.next_phone_prekey(turn.number)
    prekey = key_id, phone.one_time_prekey(turn.account, key_id).public
    return Bundle(phone.public_identity(turn.account, turn.entropy), prekey)


def _arrival(turn: Turn, letter: _Letter, sha256: bytes, verdict: Verdict, *, count: int) -> Arrival:
    envelope = letter.envelope
    return Arrival(
        id=envelope.id,
        chat=letter.chat,
        author=letter.author.number,
        lid=letter.author.lid,
        device=envelope.sender.device,
        is_own=envelope.is_from_me,
        sha256=sha256,
        verdict=verdict,
        t=envelope.unix_t,
        at=turn.hub.unix_ms,
        as_lid=envelope.sender.is_lid,
        count=max(count, _asked(turn, letter)),
    )


# mishaps that need more than a ratchet


def _write_at_the_same_time(turn: Turn, letter: _Letter) -> None:
    bundle = turn.bundle(letter.device)
    if bundle is not None:
        turn.ratchets.start(letter.device, bundle)
        message_id = persona.say(turn, letter.author, {"type": "text", "text": "simultaneous"})
        writing.send(turn, message_id)


def _storm(turn: Turn, letter: _Letter, sha256: bytes) -> None:
    arrival = _arrival(turn, letter, sha256, Verdict.UNDECRYPTABLE, count=0)
    turn.logs.add(turn.number, replace(arrival, reason=mishaps.RETRY_STORM))
    for count in range(1, mishaps.STORM + 1):
        _ask_again(turn, letter, count, 0)


# receipts


def _take_receipt(turn: Turn, node: Node) -> None:
    receipt = parse_receipt(node)
    if receipt.kind == receipts.RETRY:
        if receipt.retry is not None:
            writing.resend(turn, receipt, receipt.retry)
        return
    shown, source = _SHOWN.get(receipt.kind), receipt.participant or receipt.source
    reader = turn.person(source)
    if shown is None or reader is None or receipt.is_lid_incapable:
        return
    if receipt.recipient is not None and receipt.kind != receipts.SENDER:
        # Another device of this account looked at them.
        chat = turn.person(receipt.recipient)
        if chat is not None:
            turn.logs.mark_seen(turn.number, chat.number, receipt.ids)
        return
    for message_id in receipt.ids:
        turn.logs.receipt(turn.number, message_id, reader.number, source.device, shown, turn.hub.unix_ms)


# notifications


def _take_notification(turn: Turn, node: Node) -> None:
    notice = read_notification(node)
    if not isinstance(notice, IdentityChanged | DevicesChanged):
        return
    person = turn.person(notice.user)
    if person is None:
        return
    if isinstance(notice, IdentityChanged):
        turn.ratchets.drop_user(person.lid_jid)
    elif notice.action == "remove":
        for device, _ in notice.devices:
            turn.ratchets.drop(person.lid_jid.with_device(device))
