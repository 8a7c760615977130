"""The gate in front of every connection: how many logins a second, and how many at a time.

Rule: a place is held for as long as a login is work for us, and never longer than `LOGIN_S`: a server that hangs holds
up nobody.
"""

from __future__ import annotations

from typing import Final

import trio

LOGINS_AT_ONCE: Final = 8
"""How many logins may be under way through one gate: each is milliseconds of CPU, and all that are ready run before
the loop looks at anything else."""
LOGIN_S: Final = 2.0
"""After this long a login holds up nobody any more: it waits for its server."""


class Passage:
    """One login attempt under way; `leave` when it is over, in whatever way."""

    __slots__ = ("_gate", "until")

    def __init__(self, gate: ConnectGate, until: float) -> None:
        self._gate = gate
        self.until = until

    def leave(self) -> None:
        """Let the next one through; only the first call counts."""
        self._gate.left(self)


class ConnectGate:
    """A token bucket over login attempts, first come first served, so that a thousand instances do not storm.

    `rate` is attempts a second; up to one second's worth may go at once, but no more than `at_once` are under way. Only
    who goes through takes a token: someone who asks and gives up again and again delays nobody.
    """

    __slots__ = ("_at_once", "_next_at", "_period_s", "_room_came", "_slack_s", "_turn", "_under_way")

    def __init__(self, rate: float, at_once: int = LOGINS_AT_ONCE) -> None:
        self._period_s = 1.0 / rate
        self._slack_s = 1.0
        self._next_at = float("-inf")
        self._turn = trio.Lock()  # it serves who waits in order
        self._at_once = at_once
        self._under_way: dict[Passage, None] = {}  # oldest first
        self._room_came = trio.Event()

    async def enter(self) -> Passage:
        """Take the next token, waiting until it is due and there is room."""
        async with self._turn:
            self._next_at = max(self._next_at, trio.current_time() - self._slack_s)
            await trio.sleep_until(self._next_at)
            while len(self._under_way) >= self._at_once:
                await self._wait_for_room(next(iter(self._under_way)))
            self._next_at += self._period_s
            passage = Passage(self, trio.current_time() + LOGIN_S)
            self._under_way[passage] = None
            return passage

    def left(self, passage: Passage) -> None:
        """A login is over: connected, lost, or given up."""
        if passage in self._under_way:
            del self._under_way[passage]
            self._room_came.set()

    async def _wait_for_room(self, oldest: Passage) -> None:
        self._room_came = trio.Event()
        with trio.move_on_at(oldest.until) as patience:
            await self._room_came.wait()
        if patience.cancelled_caught:
            self._under_way.pop(oldest, None)
