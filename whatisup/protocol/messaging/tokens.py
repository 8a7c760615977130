"""Trusted-contact tokens: what a contact gave us so that we may write first, and when we last gave ours.

Rule: times are counted in buckets of a week; a token is good for four.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from whatisup.errors import LocalProtocolError
from whatisup.protocol.stanzas.tokens import is_issue_due, is_valid


@dataclass(frozen=True, slots=True, repr=False)
class TokenEntry:
    """A contact's token with its time `t` (unix seconds), and when we last issued ours to that contact."""

    token: bytes | None = None
    t: int = 0
    issued_at: int = 0

    def encode(self) -> bytes:
        """Return the bytes to keep."""
        return msgspec.msgpack.encode((self.token, self.t, self.issued_at))

    @classmethod
    def decode(cls, data: bytes) -> TokenEntry:
        """Read what `encode` wrote. Raises `LocalProtocolError`."""
        try:
            token, t, issued_at = msgspec.msgpack.decode(data, type=tuple[bytes | None, int, int])
        except (msgspec.DecodeError, ValueError):
            raise LocalProtocolError("a stored token cannot be read") from None
        return cls(token, t, issued_at)

    def usable(self, now: float) -> bytes | None:
        """Return the token where it is still good."""
        return self.token if self.token is not None and is_valid(self.t, now) else None

    def is_issue_due(self, now: float) -> bool:
        """Whether our own token should be given again: the last time lies in an earlier bucket."""
        return is_issue_due(self.issued_at or None, now)

    def received(self, token: bytes, t: int) -> TokenEntry:
        """Return the entry with a token that came, unless it is older than the one that is here."""
        return self if self.token is not None and t < self.t else replace(self, token=token, t=t)

    def issued(self, at: int) -> TokenEntry:
        """Return the entry after we gave ours at that time (unix seconds)."""
        return replace(self, issued_at=at)

    def __repr__(self) -> str:
        return f"TokenEntry(t={self.t}, issued_at={self.issued_at})"
