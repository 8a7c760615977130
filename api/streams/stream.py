"""One open stream: where it stands, what it waits for, and why it ends.

Rule: a stream keeps a position and the one piece it is sending, and nothing else; whoever does not take that piece in
time is cut, and goes on later from the last id it saw.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import trio

from api.streams.frames import RETRY, Wanted, cut
from api.streams.line import Line, NoLine

STUCK_S: Final = 0.25
"""A send that takes longer is not waited for by others."""


class Ending(StrEnum):
    """Why we end a stream."""

    DRAINING = "draining"
    KEY_ENDED = "key_ended"
    SLOW_READER = "slow_reader"
    CURSOR_EXPIRED = "cursor_expired"
    TOO_MANY_STREAMS = "too_many_streams"
    FAILED = "internal_error"


class Stream:
    """An open stream of `key_id`; `expires_at` is the key's end in unix milliseconds."""

    __slots__ = (
        "_bell",
        "ending",
        "expires_at",
        "has_turn",
        "is_waiting",
        "key_id",
        "last_event_id",
        "line",
        "position",
        "sending_since",
        "spoke_at",
        "wanted",
    )

    def __init__(
        self, wanted: Wanted, position: int, *, key_id: str, expires_at: int | None, line: Line | None = None
    ) -> None:
        self.wanted = wanted
        self.position = position
        self.key_id = key_id
        self.expires_at = expires_at
        self.line = NoLine() if line is None else line
        self.ending: Ending | None = None
        self.last_event_id: str | None = None
        self.sending_since: float | None = None
        self.spoke_at = trio.current_time()
        self.has_turn = False
        self.is_waiting = False
        self._bell = trio.Event()

    # --- waiting ------------------------------------------------------------------------------------------------

    def take_turn(self) -> None:
        """Be woken to send."""
        self.has_turn = True
        self._bell.set()

    def end(self, ending: Ending) -> None:
        """Be told to end; the first reason stands."""
        if self.ending is None:
            self.ending = ending
            self._bell.set()

    async def wait(self, deadline: float) -> None:
        """Wait for a turn or the end, but not beyond the deadline."""
        self.is_waiting = True
        try:
            with trio.move_on_at(deadline):
                await self._bell.wait()
        finally:
            self.is_waiting = False
            self._bell = trio.Event()

    # --- sending ------------------------------------------------------------------------------------------------

    def begin_send(self) -> None:
        """Note that a piece is on its way."""
        self.sending_since = self.spoke_at = trio.current_time()

    def finish_send(self, stall_s: float) -> None:
        """Note that it was taken, and end if that was longer than it may take."""
        if self.send_age_s > stall_s:
            self.end(Ending.SLOW_READER)
        self.sending_since = None

    @property
    def send_age_s(self) -> float:
        """How long the piece at hand has been on its way; 0 when there is none."""
        return 0.0 if self.sending_since is None else trio.current_time() - self.sending_since

    @property
    def is_stuck(self) -> bool:
        """Whether nobody should wait for this stream."""
        return self.send_age_s > STUCK_S

    def farewell(self) -> bytes:
        """The last words: why, and when to come back."""
        if self.ending is None or self.ending is Ending.DRAINING:
            return RETRY
        return cut(self.ending, self.last_event_id) + (RETRY if self.ending is Ending.SLOW_READER else b"")
