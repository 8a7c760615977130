"""The chats that wait, each for answers of the server or for a time, while the others go on.

Rule: an answer releases who waited for it and nobody else, so that no question is asked twice for want of another's
answer; and nobody waits for ever, since every wait has an end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from whatisup.jid import Jid

NEVER: Final = float("inf")

Question: TypeAlias = tuple[Literal["devices", "bundle"], Jid]
"""Which devices a user has, or the bundle of one device."""


@dataclass(slots=True)
class _Wait:
    """Until when, in monotonic seconds, and for which answers; for none where only the time counts."""

    until: float
    on: frozenset[Question]


class Waits:
    """The waiting chats, as their rows name them. Times are monotonic seconds."""

    __slots__ = ("_waits",)

    def __init__(self) -> None:
        self._waits: dict[str, _Wait] = {}

    def __len__(self) -> int:
        return len(self._waits)

    def __contains__(self, chat: str) -> bool:
        return chat in self._waits

    @property
    def chats(self) -> tuple[str, ...]:
        """Every chat that waits."""
        return tuple(self._waits)

    @property
    def deadline(self) -> float:
        """When the first wait ends by itself."""
        return min(wait.until for wait in self._waits.values()) if self._waits else NEVER

    def rest(self, chat: str, until: float) -> None:
        """Let a chat wait for a time."""
        self._waits[chat] = _Wait(until, frozenset())

    def expect(self, chat: str, on: Iterable[Question], until: float) -> None:
        """Let a chat wait for answers, at most that long."""
        self._waits[chat] = _Wait(until, frozenset(on))

    def awaits(self, question: Question) -> bool:
        """Whether somebody waits for this answer."""
        return any(question in wait.on for wait in self._waits.values())

    def answered(self, questions: Collection[Question]) -> bool:
        """Release who waited for these answers alone; whether that was anybody."""
        return self._end(chat for chat, wait in self._concerned(questions) if self._has_all(wait, questions))

    def failed(self, questions: Collection[Question], until: float) -> bool:
        """Let who waited for any of these rest instead; whether that was anybody."""
        concerned = self._concerned(questions)
        for chat, _ in concerned:
            self.rest(chat, until)
        return bool(concerned)

    def end_due(self, now: float) -> bool:
        """Release who has waited long enough; whether that was anybody."""
        return bool(self._waits) and self._end(chat for chat, wait in self._waits.items() if wait.until <= now)

    def end_rests(self) -> bool:
        """Release who only waits for a time; whether that was anybody."""
        return self._end(chat for chat, wait in self._waits.items() if not wait.on)

    def _concerned(self, questions: Collection[Question]) -> list[tuple[str, _Wait]]:
        return [(chat, wait) for chat, wait in self._waits.items() if not wait.on.isdisjoint(questions)]

    @staticmethod
    def _has_all(wait: _Wait, questions: Collection[Question]) -> bool:
        wait.on = wait.on.difference(questions)
        return not wait.on

    def _end(self, chats: Iterable[str]) -> bool:
        ended = list(chats)
        for chat in ended:
            del self._waits[chat]
        return bool(ended)
