"""What a subject can be asked to do, whatever it is made of.

Rule: the subject's own processes are what is measured; whatever asks them, and whatever simulates the world, is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks.probes.process import Process


@dataclass(frozen=True, slots=True)
class Pair:
    """A session (an instance), the number of its account, and the number of the contact that it talks with."""

    instance_id: str
    number: str
    contact: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that came in: WhatsApp's id, the session, and when it was there for good, in unix milliseconds.

    `read_at_ms` is when the subject had read it from the socket, if it notes that.
    """

    wa_id: str
    instance_id: str
    at_ms: float
    read_at_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Messages so far: came in for good, taken by the server, and delivered to the contact's phone."""

    received: int
    acked: int
    delivered: int


@dataclass(frozen=True, slots=True)
class Stall:
    """How late a timer of 10 ms was on the subject's event loop since the last `mark_stall`, in milliseconds."""

    p99_ms: float
    max_ms: float
    tasks: int = 0
    """Tasks that live on the loop; 0 where there is no such thing."""


@dataclass(slots=True)
class Posted:
    """What was asked to be sent: by WhatsApp's id the session and when (unix ms), and how long the answers took."""

    begun_at: dict[str, tuple[str, float]] = field(default_factory=dict)
    accepted_ms: list[float] = field(default_factory=list)


class Subject(Protocol):
    """A program that holds sessions. Whatever waits is bounded by its caller."""

    @property
    def name(self) -> str:
        """`whatisup` or `baileys`."""
        ...

    @property
    def conditions(self) -> str:
        """What its durability is, in words; known once it has started."""
        ...

    def processes(self) -> list[Process]:
        """Its own processes, as they are now."""
        ...

    async def start(self, ready: Mapping[str, str]) -> None:
        """Start it at the sandbox that said `ready`; back once it serves. Stored sessions connect by themselves."""
        ...

    async def kill(self) -> None:
        """End it by SIGKILL."""
        ...

    async def stop(self) -> None:
        """End it, whatever happens."""
        ...

    async def new_session(self) -> tuple[str, str]:
        """Begin a session; its id, and the text of its QR."""
        ...

    def watch(self) -> None:
        """From now on count who connects."""
        ...

    def connected(self) -> int:
        """How many sessions have connected since `watch`."""
        ...

    def mark(self) -> int:
        """A place between two messages, for `counts` and `arrivals`."""
        ...

    def counts(self, since: int) -> Counts:
        """The messages behind a mark."""
        ...

    async def arrivals(self, since: int) -> list[Arrival]:
        """What came in behind a mark."""
        ...

    async def send(self, pairs: Sequence[Pair], each: int, rate: float | None) -> Posted:
        """Have each session send `each` texts, at `rate` a second or flat out; back when the last was accepted."""
        ...

    async def mark_stall(self) -> None:
        """Begin anew to note how late the loop is."""
        ...

    async def stall(self) -> Stall:
        """How late the loop has been since the mark, or since it started."""
        ...

    async def settle(self) -> None:
        """Let go of what can be let go, before memory is read."""
        ...
