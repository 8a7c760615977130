"""The name under which a session with one device is kept.

Rule: two JIDs have one address only if they are the same device; the server's part is in the name.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from whatisup.jid import DOMAIN_SERVERS, LEGACY_PN_SERVER, Jid, JidError

_DOMAINS: Final = {server: domain for domain, server in DOMAIN_SERVERS.items()} | {LEGACY_PN_SERVER: 0}


class SignalAddress(Struct, frozen=True):
    """One device: `name` is the user, with `_N` behind it for a server of domain N other than 0; and its number.

    Source: WhatsApp Web, as Baileys and whatsmeow name their sessions.
    """

    name: str
    device: int

    @classmethod
    def of(cls, jid: Jid) -> SignalAddress:
        """Return the address of a user's device. Raises `JidError` for a JID that is no user's."""
        domain = _DOMAINS.get(jid.server)
        if domain is None or not jid.user or jid.agent:
            raise JidError("only a user's device has a Signal address")
        return cls(f"{jid.user}_{domain}" if domain else jid.user, jid.device)

    def __str__(self) -> str:
        return f"{self.name}.{self.device}"
