"""What a phone and its own companions tell each other: keys for the app state, history, messages that were unreadable.

Rule: these are protocol messages between devices of one account, `category="peer"`, never wrapped and never shown.

Source: WhatsApp Web, as whatsmeow and Baileys receive them.
"""

from __future__ import annotations

from typing import Final

from whatisup.jid import Jid, JidError
from whatisup.protocol.content import ids, peer
from whatisup.protocol.content.normalise import Content
from whatisup.protocol.stanzas.message import Envelope, Outgoing, build_message
from whatisup.sandbox.people.turn import Turn
from whatisup.sandbox.spreading import SERVERS
from whatisup.wire.message import AppStateSyncKeyFingerprint, HistorySyncType

APP_STATE: Final = "app_state"
MAX_RESENDS: Final = 64
"""Most messages that one request is answered for."""

_KEY_ID_LENGTH: Final = 6


def send_peer(turn: Turn, device: Jid, message: bytes) -> None:
    """Send a protocol message to a companion of this phone's account; nothing where it is gone."""
    enc = turn.write(device, message)
    if enc is not None:
        stanza = Outgoing(
            id=ids.new_message_id(turn.hub.unix, turn.number, turn.entropy),
            to=turn.account.pn_jid.with_device(device.device),
            type="text",
            direct=enc,
            category="peer",
            push_priority="high",
            meta={"appdata": "default"},
        )
        turn.submit(build_message(stanza))


def greet(turn: Turn, device: Jid) -> None:
    """Give a new companion what every phone gives one: the app state key, then an empty history."""
    share_app_state_key(turn, device)
    notice = peer.HistoryNotice(
        HistorySyncType.INITIAL_BOOTSTRAP, chunk_order=1, progress=100, inline=peer.empty_history()
    )
    send_peer(turn, device, peer.history_notification(notice))


def share_app_state_key(turn: Turn, device: Jid) -> None:
    """Send the account's app state key to a companion."""
    kept = turn.keys.get(APP_STATE, "key")
    if kept is None:
        kept = turn.entropy(_KEY_ID_LENGTH + 32)
        turn.keys.put(APP_STATE, "key", kept)
    fingerprint = AppStateSyncKeyFingerprint(rawId=turn.account.raw_id, currentIndex=0, deviceIndexes=[0])
    key = peer.AppStateKey(
        kept[:_KEY_ID_LENGTH],
        kept[_KEY_ID_LENGTH:],
        timestamp=turn.account.created_at,
        fingerprint=fingerprint.SerializeToString(),
    )
    send_peer(turn, device, peer.app_state_key_share([key]))


def answer_peer(turn: Turn, envelope: Envelope, device: Jid, content: Content) -> None:
    """Carry out what a companion asks of the phone. Raises `RemoteProtocolError`."""
    if content.kind == "app_state_key_request":
        share_app_state_key(turn, device)
    elif content.kind == "peer_request":
        request = peer.read_peer_request(content.message)
        if request.kind == "placeholder_resend":
            found = [_remembered(turn, name) for name in request.wanted[:MAX_RESENDS]]
            known = [message for message in found if message is not None]
            send_peer(turn, device, peer.placeholder_resend_response(envelope.id, known))


def _remembered(turn: Turn, name: peer.MessageName) -> peer.ResentMessage | None:
    known = None if (chat := _chat(turn, name.chat)) is None else turn.logs.known(turn.number, chat, name.wa_id)
    if known is None:
        return None
    author = turn.hub.state.account(known.author)
    as_we_name_it = peer.MessageName(name.chat, known.author == turn.number, name.wa_id, name.participant)
    push_name = None if author is None else author.name
    return peer.ResentMessage(as_we_name_it, known.message, known.t, push_name, known.secret)


def _chat(turn: Turn, name: str) -> str | None:
    """What this phone's logs call a chat: a number, or the JID of one of many."""
    try:
        jid = Jid.parse(name)
    except JidError:
        return None
    if jid.server in SERVERS:
        return name
    person = turn.person(jid)
    return None if person is None else person.number
