"""Privacy tokens: who has one of a contact's may write to that contact without counting as a stranger.

A token lives in buckets of a week: it is valid in its own and in the three that follow.

Source: WhatsApp Web, as whatsmeow and Baileys do it; tokens are issued to the LID, as whatsmeow does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from whatisup.jid import Jid
from whatisup.wire import Node

TOKENS_XMLNS: Final = "privacy"
TRUSTED_CONTACT: Final = "trusted_contact"
BUCKET_S: Final = 604_800
BUCKETS: Final = 4

MAX_TOKENS: Final = 64
"""Most tokens of one stanza."""

MAX_TOKEN: Final = 1024
"""Most bytes of a token that we keep."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token that a contact issued to us at `unix_t`."""

    token: bytes = field(repr=False)
    unix_t: int


def is_valid(unix_t: int, now: float) -> bool:
    """Whether a token of that time may be attached at `now` (unix seconds both)."""
    raise NotImplementedError


def is_issue_due(issued_at: float | None, now: float) -> bool:
    """Whether we should issue to a contact at `now`, having last done so at `issued_at`."""
    raise NotImplementedError


def build_token_issue(request_id: str, user: Jid, unix_t: int) -> Node:
    """Issue a token to a contact."""
    raise NotImplementedError


def parse_token_issue(request: Node) -> tuple[tuple[Jid, int], ...]:
    """Read to whom tokens are issued, and of which time, on the server's side. Raises `RemoteProtocolError`."""
    raise NotImplementedError


def build_tokens_notification(
    notification_id: str, issuer: Jid, issuer_lid: Jid | None, receiver: Jid, tokens: Sequence[Token], *, unix_t: int
) -> Node:
    """Hand tokens to the contact they were issued to; `issuer` is a PN, `receiver` the contact's own address."""
    raise NotImplementedError


def parse_tokens(notification: Node) -> tuple[Token, ...]:
    """Read the trusted-contact tokens of a notification. Raises `RemoteProtocolError`."""
    raise NotImplementedError
