"""Frames of an event stream, as bytes ready to be sent.

Rule: an event is rendered once, however many streams show it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from msgspec import json

from api.schemas.replies import EventEnvelope
from whatisup.store import Event, Mode

# What a browser waits before it comes back, milliseconds: the first line of a stream, and the last one when we drain.
RETRY: Final = b"retry: 2000\n\n"
KEEPALIVE: Final = b": keepalive\n\n"

Draw: TypeAlias = Callable[[Callable[[], list[EventEnvelope]]], Awaitable[list[EventEnvelope]]]
"""Runs something that draws pictures away from the event loop."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One event on its way to streams; `data` is its whole frame."""

    position: int
    event_id: str
    instance_id: str | None
    type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose events, and which of them; `types` are names, `instance.*` or `*`, and none means all."""

    customer_id: str
    mode: Mode
    instance_id: str | None = None
    types: tuple[str, ...] = ()
    _names: frozenset[str] = field(init=False, repr=False, compare=False)
    _prefixes: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_names", frozenset(name for name in self.types if not name.endswith("*")))
        prefixes = tuple(name.removesuffix("*") for name in self.types if name.endswith("*"))
        object.__setattr__(self, "_prefixes", prefixes)

    @property
    def filters(self) -> Mapping[str, Any]:
        """The same as arguments of the store's reading functions."""
        return {
            "customer_id": self.customer_id,
            "mode": self.mode,
            "instance_id": self.instance_id,
            "types": self.types,
        }

    def takes(self, frame: Frame) -> bool:
        """Whether a frame of this customer and mode is wanted."""
        if self.instance_id is not None and frame.instance_id != self.instance_id:
            return False
        return not self.types or frame.type in self._names or frame.type.startswith(self._prefixes)


async def envelopes(events: Sequence[Event], draw: Draw) -> list[EventEnvelope]:
    """Render events, away from the event loop where pictures are to be drawn."""
    if any(event.type == "qr.updated" for event in events):
        return await draw(lambda: [EventEnvelope.of(event) for event in events])
    return [EventEnvelope.of(event) for event in events]


async def frames_of(events: Sequence[Event], draw: Draw) -> list[Frame]:
    """Render events as frames."""
    rendered = await envelopes(events, draw)
    return [_frame(event, envelope) for event, envelope in zip(events, rendered, strict=True)]


def _frame(event: Event, envelope: EventEnvelope) -> Frame:
    data = b"id: %b\ndata: %b\n\n" % (event.id.encode(), json.encode(envelope))
    return Frame(event.position, event.id, event.instance_id, event.type, data)


def cut(reason: str, last_event_id: str | None) -> bytes:
    """The last frame of a stream that we end before its client does; it has no id, so that resuming skips nothing."""
    return b"event: cut\ndata: %b\n\n" % json.encode({"reason": reason, "last_event_id": last_event_id})
