"""What a refused message means: the codes of the server's negative ack.

Rule: 463 and 475 are never tried again, since each try makes the restriction worse; 421 and 479 are encrypted anew
once, with fresh device lists; everything else is final.

Source: WhatsApp Web, as Baileys does it and field reports name the codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Refusal:
    """The slug and sentence of a failed message; `reseal` tries once more first, `restricts` tells of the account."""

    reason: str
    detail: str
    reseal: bool = False
    restricts: str | None = None


REFUSALS: Final[Mapping[int, Refusal]] = {
    400: Refusal("rejected", "WhatsApp refused the message as malformed or not permitted"),
    403: Refusal("rejected", "WhatsApp does not permit this message"),
    421: Refusal("stale_addressing", "WhatsApp refused the addressing of this message twice", reseal=True),
    463: Refusal(
        "account_restricted",
        "WhatsApp limits whom this account may write to first; write to people who wrote to you",
        restricts="reachout_timelock",
    ),
    475: Refusal(
        "new_chats_capped",
        "this account has used up its quota of new chats; write to people who wrote to you",
        restricts="message_capping",
    ),
    479: Refusal("invalid_stanza", "WhatsApp refused the addresses of this message twice", reseal=True),
}


def refusal_of(code: int) -> Refusal:
    """What a code means."""
    return REFUSALS.get(code) or Refusal("rejected", f"WhatsApp refused the message with code {code}")
