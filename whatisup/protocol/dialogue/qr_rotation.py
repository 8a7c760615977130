"""Which ref's QR code is shown now: the first for 60 s, every later one for 20 s.

Rule: refs age on the server's clock from the moment they arrive, so a late timer skips what has expired meanwhile.

Source: WhatsApp Web, as Baileys does it.
"""

from __future__ import annotations

from typing import Final

FIRST_S: Final = 60.0
LATER_S: Final = 20.0


class QrRotation:
    """The refs of one `pair-device`, in order."""

    __slots__ = ("_ends_at", "_refs")

    def __init__(self, refs: tuple[str, ...], now: float) -> None:
        self._refs = refs
        self._ends_at = now + FIRST_S

    @property
    def deadline_at(self) -> float:
        """When the ref shown now expires, in monotonic seconds."""
        return self._ends_at

    @property
    def ref(self) -> str | None:
        """The ref to show, `None` when all have expired."""
        return self._refs[0] if self._refs else None

    def advance(self, now: float) -> bool:
        """Drop what has expired; True when that changed the ref to show."""
        changed = False
        while self._refs and self._ends_at <= now:
            self._refs = self._refs[1:]
            self._ends_at += LATER_S
            changed = True
        return changed
