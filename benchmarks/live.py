"""Everything that runs in a lap: the subject with its sessions, the sandbox, and the people in it.

Rule: a scenario asks these and keeps nothing here; what it leaves behind is n connected sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import trio

from actors.sandbox import SandboxClient
from benchmarks.probes.process import Memory, Process
from benchmarks.subjects.subject import Pair, Subject
from benchmarks.subjects.whatisup import WhatIsUp
from tests.processes import Sandbox

POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much of it. `growth_messages` is 0 where growth is not looked at."""

    is_full: bool = False
    flood_in: int = 2000
    """Messages offered at once, over all sessions."""
    flood_out: int = 2000
    growth_messages: int = 0
    idle_s: float = 20.0
    paced_s: float = 12.0
    """How long messages are offered at a fixed rate."""
    soak_s: float = 1800.0
    seed: int = 1
    database: str = field(default="", repr=False)
    """The URL of a PostgreSQL server on which WhatIsUp's database is made; without it there is a SQLite file."""


@dataclass(slots=True)
class Live:
    """A running lap."""

    subject: Subject
    sandbox: Sandbox
    people: SandboxClient
    size: int
    folder: Path
    say: Callable[[str], None]
    options: Options
    pairs: list[Pair] = field(default_factory=list)
    ready: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What the sandbox said when it first listened; it is the same at each start."""
    are_friends: bool = False
    """Whether both sides of every pair have written to each other."""

    @property
    def whatisup(self) -> WhatIsUp:
        """The subject, where a scenario is about our own API.

        Raises:
            RuntimeError: it is another one.
        """
        if not isinstance(self.subject, WhatIsUp):
            raise RuntimeError(f"{self.subject.name} has no API")
        return self.subject

    @property
    def sandbox_process(self) -> Process:
        """The sandbox as it is now."""
        if self.sandbox.process is None:
            raise RuntimeError("the sandbox is not running")
        return Process(self.sandbox.process.pid)

    def cpu_s(self) -> tuple[float, float]:
        """CPU seconds of the subject and of the sandbox so far, since each was started."""
        return sum(process.cpu_s for process in self.subject.processes()), self.sandbox_process.cpu_s

    def memory(self) -> Memory:
        """What the subject holds now."""
        return Memory.of(self.subject.processes())

    async def settled(self) -> Memory:
        """What the subject holds once it has been quiet for a few seconds."""
        for process in self.subject.processes():
            await process.settle(self.size)
        await self.subject.settle()
        return self.memory()

    async def until(self, is_done: Callable[[], bool], within_s: float, what: str) -> None:
        """Wait for something that is read from outside; the longer reading takes, the less often it is read.

        Raises:
            RuntimeError: it took longer than `within_s`.
        """
        with trio.move_on_after(within_s):
            while True:
                asked_at = trio.current_time()
                if is_done():
                    return
                await trio.sleep(max(POLL_S, 5 * (trio.current_time() - asked_at)))
        raise RuntimeError(f"not within {within_s:g} s: {what}")
