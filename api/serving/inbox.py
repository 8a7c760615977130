"""What a request's connection tells it: its body, piece by piece, and that the client has left.

Rule: nobody waits here for a request that does not read. What is kept of a body is one byte more than may come, which
is enough to refuse it, and whoever leaves ends the request at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio


class Inbox:
    """An ASGI `receive`, and a shorter way for those who want the body whole; `limit` is in bytes."""

    __slots__ = ("_arrived", "_body", "_has_ended", "_leave", "_limit", "has_left", "is_complete", "size")

    def __init__(self, limit: int) -> None:
        self.is_complete = False
        self.has_left = False
        self.size = 0
        """Bytes that have come."""
        self._limit = limit
        self._body = bytearray()
        self._has_ended = False
        self._leave: Callable[[], object] | None = None
        self._arrived: trio.Event | None = None

    @classmethod
    def holding(cls, body: bytes, limit: int) -> Inbox:
        """Make one of a request that is whole already."""
        made = cls(limit)
        made._keep(body)
        made.is_complete = True
        return made

    # --- for the connection ---------------------------------------------------------------------------------------

    async def put(self, message: Any) -> None:
        """Take an ASGI message: `http.request` or `http.disconnect`."""
        if message["type"] == "http.request":
            self._keep(message.get("body", b""))
            self.is_complete = not message.get("more_body", False)
        else:
            self.has_left = True
            if self._leave is not None:
                self._leave()
        if self._arrived is not None:
            self._arrived.set()

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._body += piece[: max(0, self._limit + 1 - self.size)]
            self.size += len(piece)

    # --- for the request ------------------------------------------------------------------------------------------

    def on_leave(self, end: Callable[[], object] | None) -> None:
        """Have `end` called when the client leaves, at once if it has left already; None takes that back."""
        self._leave = end
        if end is not None and self.has_left:
            end()

    @property
    def is_too_large(self) -> bool:
        """Whether more has come than may."""
        return self.size > self._limit

    async def whole(self) -> bytes:
        """Wait for the end of the body, or until it is too large."""
        while not self.is_complete and not self.is_too_large:
            await self._wait()
        return bytes(self._body)

    async def __call__(self) -> Any:
        """Give the next ASGI message."""
        while not self._body and not self.has_left and (self._has_ended or not self.is_complete):
            await self._wait()
        if self._body or (self.is_complete and not self._has_ended):
            piece = bytes(self._body)
            self._body.clear()
            self._has_ended = self.is_complete
            return {"type": "http.request", "body": piece, "more_body": not self.is_complete}
        return {"type": "http.disconnect"}

    async def _wait(self) -> None:
        self._arrived = trio.Event()
        await self._arrived.wait()
