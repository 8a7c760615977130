"""Sender keys: what a phone encrypts once for many with, who has been given it, and those that others gave this phone.

Rule: a key is given before the first message that needs it, and made anew when somebody who has it no longer belongs.

Source: WhatsApp Web, as the official client does it; whatsmeow hands its key over with every message.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from whatisup import e2ee
from whatisup.errors import NoSenderKey
from whatisup.jid import Jid
from whatisup.protocol.stanzas.message import Enc
from whatisup.sandbox.people.turn import Turn

SENDER_KEY: Final = "sender_key"
"""Our own keys, by chat."""
GIVEN: Final = "sender_key_given"
"""Who has our newest key, by chat and device."""
MEMBER_KEY: Final = "member_key"
"""The keys of others, by chat and device."""


# our own


def write(turn: Turn, chat: Jid, plaintext: bytes) -> Enc:
    """Encrypt for all who have our key, or will get it. Raises `NoSenderKey` where `prepare` never made one."""
    kept = turn.keys.get(SENDER_KEY, str(chat))
    if kept is None:
        raise NoSenderKey("this phone has no key of its own for that chat")
    padded = e2ee.pad(plaintext, turn.entropy)
    record, ciphertext = e2ee.encrypt_group(e2ee.SenderKeyRecord.decode(kept), padded, turn.entropy)
    turn.keys.put(SENDER_KEY, str(chat), record.encode())
    return Enc("skmsg", ciphertext)


def prepare(turn: Turn, chat: Jid, devices: Iterable[Jid]) -> list[Jid]:
    """See to it that there is a key which nobody but these devices has; return those that lack it."""
    wanted = {_name(chat, device): device for device in devices}
    given = set(turn.keys.names(GIVEN, f"{chat} "))
    if turn.keys.get(SENDER_KEY, str(chat)) is None or given - wanted.keys():
        for name in given:
            turn.keys.delete(GIVEN, name)
        given = set()
        turn.keys.put(SENDER_KEY, str(chat), e2ee.create_sender_key(turn.entropy).encode())
    return [device for name, device in wanted.items() if name not in given]


def distribution(turn: Turn, chat: Jid) -> bytes | None:
    """Return what lets a device read all that we write from now on, None where we have no key for that chat."""
    kept = turn.keys.get(SENDER_KEY, str(chat))
    return None if kept is None else e2ee.distribution_message(e2ee.SenderKeyRecord.decode(kept))


def mark_given(turn: Turn, chat: Jid, devices: Iterable[Jid]) -> None:
    """Remember that these devices have our key."""
    for device in devices:
        turn.keys.put(GIVEN, _name(chat, device), b"\x01")


# those of others


def learn(turn: Turn, chat: Jid, device: Jid, offered: bytes) -> None:
    """Keep the key that a device hands us. Raises `E2eeError` for what is none."""
    record = e2ee.process_distribution(_of(turn, chat, device), offered)
    turn.keys.put(MEMBER_KEY, _name(chat, device), record.encode())


def read(turn: Turn, chat: Jid, device: Jid, enc: Enc) -> bytes:
    """Decrypt what a device wrote for many; return it unpadded. Raises `E2eeError`, and then nothing changed."""
    record, padded = e2ee.decrypt_group(_of(turn, chat, device), enc.ciphertext)
    plaintext = e2ee.unpad(padded)
    turn.keys.put(MEMBER_KEY, _name(chat, device), record.encode())
    return plaintext


def _of(turn: Turn, chat: Jid, device: Jid) -> e2ee.SenderKeyRecord | None:
    kept = turn.keys.get(MEMBER_KEY, _name(chat, device))
    return None if kept is None else e2ee.SenderKeyRecord.decode(kept)


def _name(chat: Jid, device: Jid) -> str:
    return f"{chat} {device}"
