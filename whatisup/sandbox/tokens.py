"""Privacy tokens: an account says that it trusts another, which hears of it and shows the token from then on.

Rule: the newest token of an issuer to a holder is the one that counts.

Source: WhatsApp Web, as whatsmeow and Baileys do it; a token's length is the sandbox's choice.
"""

from __future__ import annotations

from typing import Final

from whatisup.protocol.stanzas.tokens import Token, build_tokens_notification
from whatisup.sandbox.accounts import Account
from whatisup.sandbox.directory import devices_of
from whatisup.sandbox.hub import Hub
from whatisup.sandbox.posting import hand_over

TOKEN_LENGTH: Final = 32


def issue_token(hub: Hub, issuer: Account, holder: Account, token: bytes, t: int) -> None:
    """Keep the token (`TOKEN_LENGTH` bytes, of unix seconds `t`), and hand it to the holder's devices."""
    with hub.state.unit():
        hub.ledger.issue_token(issuer.number, holder.number, token, t)
        notification = build_tokens_notification(
            hub.next_id(), issuer.pn_jid, issuer.lid_jid, holder.lid_jid, [Token(token, t)], unix_t=hub.unix
        )
        for device in devices_of(hub.state, holder):
            hand_over(hub, device, notification)
