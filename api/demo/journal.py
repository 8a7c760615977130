"""The event log of one customer, followed over the stream and kept, so that a step can wait for what it wants.

Rule: the stream may break at any time (the tour kills the gateway); it is opened again after the last event seen, and
nothing is missed or seen twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from api.demo.client import Client, Json, Refused, Unreachable

_REOPEN_S = 0.2


@dataclass(frozen=True, slots=True)
class Seen:
    """An event and when it reached us (Trio's clock, seconds)."""

    event: Json
    at: float

    @property
    def name(self) -> str:
        """The event's type."""
        return str(self.event["event"])

    @property
    def data(self) -> Json:
        """What happened."""
        return self.event["data"] or {}

    def is_status(self, status: str) -> bool:
        """Whether this is the transition to `status`."""
        return self.name == "instance.status" and self.data["status"] == status


@dataclass(slots=True)
class Journal:
    """Everything seen so far, oldest first; `on_event` is told of each as it comes."""

    client: Client
    on_event: Callable[[Seen], None]
    names: str = "instance.*"
    entries: list[Seen] = field(default_factory=list)
    reopened: int = 0
    _changed: trio.Event = field(default_factory=trio.Event)

    async def follow(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the stream for ever; ready once it was opened for the first time."""
        opened = 0

        def on_open() -> None:
            nonlocal opened
            opened += 1
            self.reopened = opened - 1
            if opened == 1:
                task_status.started()

        while True:
            after = self.entries[-1].event["event_id"] if self.entries else None
            try:
                await self.client.stream_events(self._add, after=after, on_open=on_open, names=self.names)
            except (Unreachable, Refused):
                if not opened:
                    raise
            await trio.sleep(_REOPEN_S)

    def _add(self, event: Json) -> None:
        seen = Seen(event, trio.current_time())
        self.entries.append(seen)
        self.on_event(seen)
        self._changed.set()
        self._changed = trio.Event()

    def mark(self) -> int:
        """A place in the log: only what comes later counts for a `first` from here."""
        return len(self.entries)

    async def first(self, wanted: Callable[[Seen], bool], *, since: int) -> Seen:
        """Wait for the first event after `since` that is `wanted`; the caller bounds the time."""
        while True:
            for seen in self.entries[since:]:
                if wanted(seen):
                    return seen
            await self._changed.wait()
