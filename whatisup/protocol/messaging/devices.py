"""Which devices a user has, as it is kept: asked for by usync, changed by notifications.

Rule: a list that a notification does not fit is dropped and asked for again, never patched up.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from whatisup.jid import Jid

FRESH_MS: Final = 24 * 3600 * 1000
"""How long a list is good without being asked for again."""


@dataclass(frozen=True, slots=True)
class DeviceListEntry:
    """A user's devices as (number, key index), when they were fetched (unix ms), and the server's hash of them."""

    devices: tuple[tuple[int, int | None], ...]
    fetched_at: int
    hash: str | None = None

    def encode(self) -> bytes:
        """Return the bytes to keep."""
        raise NotImplementedError

    @classmethod
    def decode(cls, data: bytes) -> DeviceListEntry:
        """Read what `encode` wrote. Raises `LocalProtocolError`."""
        raise NotImplementedError

    def is_fresh(self, now_ms: int) -> bool:
        """Whether this may be used without asking again."""
        raise NotImplementedError

    def jids(self, user: Jid) -> tuple[Jid, ...]:
        """Return the devices of this user, in that user's form."""
        raise NotImplementedError
