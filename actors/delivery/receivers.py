"""Where deliveries go, remembered for a few seconds: the endpoints' rows with their secrets.

Rule: what was changed while it was read is not believed. Whoever changes an endpoint says so, and the next look finds
the change; a change that nobody told of is seen within `BELIEVED_S`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from whatisup.store import Receiver

BELIEVED_S: Final = 5.0
KEPT: Final = 1024

Look = Callable[[str], Awaitable[Receiver | None]]
"""Reads an endpoint's row."""


class Receivers:
    """Endpoints by id."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._known: OrderedDict[str, tuple[float, Receiver]] = OrderedDict()
        self._changed: OrderedDict[str, object] = OrderedDict()
        """Endpoints that were changed lately, each with a mark of the last change."""

    def forget(self, endpoint_id: str) -> None:
        """Believe nothing about an endpoint any more: it was changed."""
        self._changed.pop(endpoint_id, None)
        self._changed[endpoint_id] = object()
        if len(self._changed) > KEPT:
            self._changed.popitem(last=False)
        self._known.pop(endpoint_id, None)

    async def get(self, endpoint_id: str) -> Receiver | None:
        """An endpoint, or None if there is none."""
        now = trio.current_time()
        known = self._known.get(endpoint_id)
        if known is not None and known[0] > now:
            return known[1]
        receiver = await self._read(endpoint_id)
        self._known.pop(endpoint_id, None)
        if receiver is not None:
            self._known[endpoint_id] = now + BELIEVED_S, receiver
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        return receiver

    async def _read(self, endpoint_id: str) -> Receiver | None:
        while True:
            change = self._changed.get(endpoint_id)
            receiver = await self._look(endpoint_id)
            if self._changed.get(endpoint_id) is change:
                return receiver
