"""What a message secret opens: votes, encrypted reactions and edits, and the token for reports.

Rule: a secret (32 bytes) belongs to one message; every key is derived from it for one use by one person.

Source: WhatsApp Web, as whatsmeow and Baileys do it; the reporting token as whatsmeow.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from whatisup.crypto import Entropy


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
    """An encrypted part of a message about message `wa_id`: `payload` (its tag of 16 bytes included), `iv` (12 bytes)."""

    use_case: UseCase
    wa_id: str
    payload: bytes = field(repr=False)
    iv: bytes = field(repr=False)


def derive(secret: bytes, wa_id: str, original_sender: str, modifier: str, use_case: str) -> bytes:
    """Return the key (32 bytes) for one use of a message's secret; the JIDs are non-device strings."""
    raise NotImplementedError


def seal_addon(
    use_case: UseCase, plaintext: bytes, *, secret: bytes, wa_id: str, sender: str, modifier: str, entropy: Entropy
) -> Addon:
    """Encrypt an add-on to message `wa_id` of `sender` as `modifier`, with 12 bytes of entropy."""
    raise NotImplementedError


def open_addon(addon: Addon, *, secret: bytes, senders: Iterable[str], modifiers: Iterable[str]) -> bytes:
    """Return the plaintext, trying every sender with every modifier. Raises `AuthenticationFailed`."""
    raise NotImplementedError


def reporting_token(message: bytes, secret: bytes, wa_id: str, own: str, chat: str) -> bytes | None:
    """Return the token (16 bytes, version 2) of an unpadded message; `None` if nothing in it is reported.

    `own` is our non-device JID in the chat's addressing. Raises `RemoteProtocolError` if `message` is none.
    """
    raise NotImplementedError


def content_for_report(message: bytes) -> bytes:
    """Return the part of an unpadded message that a report covers, perhaps empty. Raises `RemoteProtocolError`."""
    raise NotImplementedError
