"""What a message secret opens: votes, encrypted reactions and edits, and the token for reports.

Rule: a secret (32 bytes) belongs to one message; every key is derived from it for one use by one person.

Source: WhatsApp Web, as whatsmeow and Baileys do it; the reporting token as whatsmeow.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from typing import Final

from whatisup.crypto import (
    GCM_TAG_LENGTH,
    AuthenticationFailed,
    Entropy,
    aes_gcm_decrypt,
    aes_gcm_encrypt,
    hkdf_sha256,
    hmac_sha256,
)
from whatisup.protocol.content.report import reportable

SECRET_LENGTH: Final = 32
IV_LENGTH: Final = 12
TOKEN_LENGTH: Final = 16


class UseCase(StrEnum):
    """What a key is derived for; the value goes into the derivation."""

    POLL_VOTE = "Poll Vote"
    EVENT_RESPONSE = "Event Response"
    REACTION = "Enc Reaction"
    COMMENT = "Enc Comment"
    EVENT_EDIT = "Event Edit"
    MESSAGE_EDIT = "Message Edit"
    POLL_EDIT = "Poll Edit"
    REPORT_TOKEN = "Report Token"  # noqa: S105 -- the name of a use, not a token


@dataclass(frozen=True, slots=True)
class Addon:
    """An encrypted part of a message, about message `wa_id`: `payload` (with its tag of 16 bytes), `iv` (12 bytes)."""

    use_case: UseCase
    wa_id: str
    payload: bytes = field(repr=False)
    iv: bytes = field(repr=False)


# The other uses authenticate nothing beside the ciphertext.
_BOUND_TO_MODIFIER: Final = frozenset({UseCase.POLL_VOTE, UseCase.EVENT_RESPONSE})


def derive(secret: bytes, wa_id: str, original_sender: str, modifier: str, use_case: str) -> bytes:
    """Return the key (32 bytes) for one use of a message's secret; the JIDs are non-device strings."""
    info = f"{wa_id}{original_sender}{modifier}{use_case}".encode()
    return hkdf_sha256(secret, info=info, length=SECRET_LENGTH)


def seal_addon(
    use_case: UseCase, plaintext: bytes, *, secret: bytes, wa_id: str, sender: str, modifier: str, entropy: Entropy
) -> Addon:
    """Encrypt an add-on to message `wa_id` of `sender` as `modifier`, with 12 bytes of entropy."""
    key, iv = derive(secret, wa_id, sender, modifier, use_case), entropy(IV_LENGTH)
    return Addon(use_case, wa_id, aes_gcm_encrypt(key, iv, plaintext, _aad(use_case, wa_id, modifier)), iv)


def open_addon(addon: Addon, *, secret: bytes, senders: Iterable[str], modifiers: Iterable[str]) -> bytes:
    """Return the plaintext, trying every sender with every modifier. Raises `AuthenticationFailed`."""
    if len(addon.iv) == IV_LENGTH and len(addon.payload) >= GCM_TAG_LENGTH:
        for sender, modifier in product(tuple(senders), tuple(modifiers)):
            key = derive(secret, addon.wa_id, sender, modifier, addon.use_case)
            try:
                return aes_gcm_decrypt(key, addon.iv, addon.payload, _aad(addon.use_case, addon.wa_id, modifier))
            except AuthenticationFailed:
                continue
    raise AuthenticationFailed("nobody named here made this add-on")


def reporting_token(message: bytes, secret: bytes, wa_id: str, own: str, chat: str) -> bytes | None:
    """Return the token (16 bytes, version 2) of an unpadded message; `None` if nothing in it is reported.

    `own` is our non-device JID in the chat's addressing. Raises `RemoteProtocolError` if `message` is none.
    """
    content = content_for_report(message)
    if not content:
        return None
    return hmac_sha256(derive(secret, wa_id, own, chat, UseCase.REPORT_TOKEN), content)[:TOKEN_LENGTH]


def content_for_report(message: bytes) -> bytes:
    """Return the part of an unpadded message that a report covers, perhaps empty. Raises `RemoteProtocolError`."""
    return reportable(message)


def _aad(use_case: UseCase, wa_id: str, modifier: str) -> bytes:
    return f"{wa_id}\0{modifier}".encode() if use_case in _BOUND_TO_MODIFIER else b""
