"""What one connection is sent of its device's queue, and when: windows, the end of the backlog, live stanzas between.

Positions only; the hub reads the stanzas and writes them.

Rule: stanzas of one sender keep their order; a stanza that was not written to this connection cannot be answered on it.

A client that is passive gets nothing. Once it is active the backlog flows, marked `offline`: five stanzas, then as many
as the client asks for each time. One that never asks is served after a silence, as whatsmeow is; with `pull-queue`
never, with `push-queue` at once. Source: reports of users of other clients.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable
from typing import Final

from whatisup.control import Switch

PRIME: Final = 5
"""How many stanzas of the backlog come unasked."""

PATIENCE_S: Final = 2.0
"""After that long without a request a client counts as one that never asks."""

_ENDLESS: Final = 2**31


def _user(peer: str) -> str:
    return peer.partition("@")[0].partition(":")[0]


class Outbox:
    """One connection's share of its device's queue. `backlog`: (position, whom it is from), oldest first."""

    __slots__ = ("_active_since", "_backlog", "_credit", "_is_draining", "_offered", "_peers", "_switches", "written")

    def __init__(self, backlog: Iterable[tuple[int, str]], switches: Collection[str]) -> None:
        self._switches = switches
        self._backlog = deque((position, _user(peer)) for position, peer in backlog)
        self._peers = Counter(peer for _, peer in self._backlog)
        self._credit = _ENDLESS if Switch.PUSH_QUEUE in switches else PRIME
        self._is_draining = True
        self._offered = 0
        self._active_since: float | None = None
        self.written: set[int] = set()
        """Positions written to this connection and not answered yet."""

    @property
    def is_draining(self) -> bool:
        """Whether the end of the backlog has not been announced yet."""
        return self._is_draining

    def activate(self, now: float) -> None:
        """The client wants stanzas."""
        self._active_since = now

    def rest(self) -> None:
        """The client wants no stanzas."""
        self._active_since = None

    def ask(self, count: int, now: float) -> None:
        """The client wants that many more of the backlog."""
        if Switch.PUSH_QUEUE not in self._switches:
            self._credit = count
        if self._active_since is not None:
            self._active_since = now

    def wait(self, now: float) -> None:
        """Lose patience with a client that does not ask."""
        if Switch.PULL_QUEUE in self._switches or self._active_since is None or self._credit > 0:
            return
        if now - self._active_since >= PATIENCE_S:
            self._credit = _ENDLESS

    def offer(self, position: int, peer: str) -> bool:
        """Take note of a new stanza; True: it may be written at once, as a live one."""
        user = _user(peer)
        if self._active_since is not None and not self._backlog:
            return True
        is_held = Switch.LIVE_HELD_BACK in self._switches or self._peers[user] > 0
        if self._active_since is not None and not is_held:
            return True
        self._backlog.append((position, user))
        self._peers[user] += 1
        return False

    def next(self, now: float) -> tuple[int, int | None] | None:
        """Return the position that is due and its number in the backlog (None: it goes out as a live one)."""
        if self._active_since is None or not self._backlog or (self._is_draining and self._credit == 0):
            return None
        position, user = self._backlog.popleft()
        self._peers[user] -= 1
        if not self._peers[user]:
            del self._peers[user]
        if not self._is_draining:
            return position, None
        self._credit -= 1
        self._active_since = now
        self._offered += 1
        return position, self._offered - 1

    def end(self) -> int | None:
        """Return how many stanzas the backlog had where it is over now, once."""
        if not self._is_draining or self._backlog:
            return None
        self._is_draining = False
        return self._offered
