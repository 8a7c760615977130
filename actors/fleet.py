"""Who runs right now: the members of one process's fleet, and the room there is for more.

Rule: a member enters itself when it lives and leaves when it ends; everybody else only reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from whatisup.errors import AtCapacity
from whatisup.lifecycle import should_run
from whatisup.store import Instance


class Member(Protocol):
    """What the fleet shows of a running actor."""

    @property
    def row(self) -> Instance:
        """The instance as last committed."""

    @property
    def last_frame_at(self) -> int | None:
        """When the last frame came (unix milliseconds)."""

    @property
    def revision(self) -> int:
        """Grows with every commit begun or done, so that a reader can tell whether a row it read is still current."""


class Fleet:
    """The running actors by instance id, and the room there is for more."""

    def __init__(self, max_sessions: int) -> None:
        self.max_sessions = max_sessions
        self.members: dict[str, Member] = {}
        self._entering: set[str] = set()

    @contextmanager
    def joined(self, key: str, member: Member) -> Iterator[None]:
        """Count `member` in for the block's time."""
        self.members[key] = member
        try:
            yield
        finally:
            if self.members.get(key) is member:
                del self.members[key]

    def sessions(self) -> int:
        """How many members own a socket, are trying to get one, or are about to."""
        running = {key for key, member in self.members.items() if should_run(member.row.status)}
        return len(running | self._entering)

    @contextmanager
    def entering(self, key: str) -> Iterator[None]:
        """Hold a place for the block's time, in which `key` becomes a session: many may want the last one at once.

        Raises:
            AtCapacity: `MAX_SESSIONS_PER_WORKER` sessions run already.
        """
        if self.sessions() >= self.max_sessions:
            raise AtCapacity(
                f"this process runs {self.max_sessions} sessions, its MAX_SESSIONS_PER_WORKER; stop one or raise it"
            )
        self._entering.add(key)
        try:
            yield
        finally:
            self._entering.discard(key)
