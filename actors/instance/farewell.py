"""Leaving for good: a logout or a delete under way, who waits for it, and by when it ends.

Rule: bounded. Whatever WhatsApp does or does not answer, the keys are destroyed at `deadline`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.mailbox import ReplySlot
from actors.messages import LogoutOutcome
from whatisup.errors import CommandRefused
from whatisup.store import Intent

UNLINK_S = 5.0
LOGIN_S = 15.0


@dataclass(slots=True)
class Farewell:
    """One departure. `deadline` is monotonic seconds."""

    intent: Intent
    deadline: float
    _logouts: list[ReplySlot[LogoutOutcome]] = field(default_factory=list)
    _deletes: list[ReplySlot[None]] = field(default_factory=list)

    @classmethod
    def begin(cls, intent: Intent, now: float, *, previous: Farewell | None) -> Farewell:
        """Start leaving; who waited for a logout that a delete overtakes is kept."""
        farewell = cls(intent, now + UNLINK_S)
        if previous is not None:
            farewell._logouts, farewell._deletes = previous._logouts, previous._deletes
        return farewell

    def await_login(self, now: float) -> None:
        """Allow for one login, because there is no socket to unlink through."""
        self.deadline = now + LOGIN_S

    def await_unlink(self, now: float) -> None:
        """Allow for the answer to the unlink."""
        self.deadline = now + UNLINK_S

    def join_logout(self, reply: ReplySlot[LogoutOutcome]) -> None:
        """Let one more asker know how the logout ends."""
        self._logouts.append(reply)

    def join_delete(self, reply: ReplySlot[None]) -> None:
        """Let one more asker know when the instance is gone."""
        self._deletes.append(reply)

    def answer(self, outcome: LogoutOutcome) -> None:
        """Tell everybody that the keys are destroyed."""
        for logout in self._logouts:
            logout.answer(outcome)
        for delete in self._deletes:
            delete.answer(None)

    def refuse(self, refusal: CommandRefused) -> None:
        """Tell everybody that the actor ended first; the wish is on record and will be carried out."""
        for logout in self._logouts:
            logout.refuse(refusal)
        for delete in self._deletes:
            delete.refuse(refusal)
