"""Names that are made by hashing: of a message, of a set of devices, of what a message says.

Rule: pure functions of their arguments; time and entropy are passed in.

Source: WhatsApp Web, as whatsmeow and Baileys do it; the device hash as whatsmeow.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Final

from whatisup.crypto import Entropy
from whatisup.jid import Jid
from whatisup.wire.message import Message, parse

ID_PREFIX: Final = "3EB0"

# Neither the keys that ride along nor the context (a secret, device lists, padding) are part of what is said; a resend
# may have them added, renewed or left out.
_NOT_CONTENT: Final = (
    "senderKeyDistributionMessage",
    "fastRatchetKeySenderKeyDistributionMessage",
    "messageContextInfo",
)


def new_message_id(unix_s: int, own_pn_user: str, entropy: Entropy) -> str:
    """Return a new id of 22 characters, from 16 bytes of entropy and who makes it when."""
    seed = unix_s.to_bytes(8, "big") + f"{own_pn_user}@c.us".encode() + entropy(16)
    return ID_PREFIX + hashlib.sha256(seed).hexdigest()[:18].upper()


def phash(devices: Iterable[Jid]) -> str:
    """Return the hash of a set of devices, `2:` and 8 characters: every device, our own and device 0 included."""
    names = sorted(f"{jid.user}.0:{jid.device}@{jid.server}".encode() for jid in devices)
    return "2:" + base64.b64encode(hashlib.sha256(b"".join(names)).digest()[:6]).decode()


def plaintext_hash(message: bytes) -> bytes:
    """Return 32 bytes that are the same for every sending of one content, and differ between contents.

    `message` is unpadded. A device-sent wrapper, sender keys and the context of the message do not count. Raises
    `RemoteProtocolError`.
    """
    content = parse(Message, message)
    if content.HasField("deviceSentMessage") and content.deviceSentMessage.HasField("message"):
        content = content.deviceSentMessage.message
    for name in _NOT_CONTENT:
        content.ClearField(name)
    return hashlib.sha256(content.SerializeToString(deterministic=True)).digest()
