"""Linking codes that were handed out for test instances, so that a simulated phone can type them.

Rule: only the latest code of an instance counts, expired ones are forgotten, and nothing here is needed for truth: a
code that has become void is refused by the sandbox.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LinkingCode:
    """A code for the phone with this number, valid until `expires_at` (unix milliseconds)."""

    number: str
    code: str = field(repr=False)
    expires_at: int


class Offers:
    """The codes by instance."""

    def __init__(self) -> None:
        self._codes: dict[str, LinkingCode] = {}

    def remember(self, instance_id: str, code: LinkingCode, now: int) -> None:
        """Keep a code that was just handed out."""
        self._codes = {key: kept for key, kept in self._codes.items() if kept.expires_at > now}
        self._codes[instance_id] = code

    def take(self, instance_id: str, number: str, now: int) -> str | None:
        """Take the code that the phone with this number would type for this instance, if there is one."""
        code = self._codes.get(instance_id)
        if code is None or code.number != number or code.expires_at <= now:
            return None
        return self._codes.pop(instance_id).code
