"""Memory, CPU and switches of another process, read from outside.

Rule: nothing is asked of the process itself; wall time is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psutil
import trio

QUIET_SHARE = 0.10
QUIET_SHARE_EACH = 0.0002
"""So much of a core is quiet, of a process without sessions and for each session."""
QUIET_SAMPLES = 5
SAMPLE_S = 0.5
SETTLE_S = 45.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. USS would be freed if the process ended; RSS counts what is shared in full, PSS its share of it."""

    uss: int
    rss: int
    pss: int

    @classmethod
    def of(cls, processes: Iterable[Process]) -> Memory:
        """The sum over processes."""
        found = [process.memory for process in processes]
        return cls(sum(one.uss for one in found), sum(one.rss for one in found), sum(one.pss for one in found))


@dataclass(frozen=True, slots=True)
class Process:
    """A process under measurement, by id."""

    pid: int

    @property
    def memory(self) -> Memory:
        """What it holds now."""
        info = psutil.Process(self.pid).memory_full_info()
        return Memory(int(info.uss), int(info.rss), int(info.pss))

    @property
    def uss_bytes(self) -> int:
        """Unique set size now."""
        return self.memory.uss

    @property
    def cpu_s(self) -> float:
        """CPU seconds, user and system, since it started."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    @property
    def switches(self) -> int:
        """Voluntary context switches since it started: how often a thread of it went to wait for something."""
        return int(psutil.Process(self.pid).num_ctx_switches().voluntary)

    @property
    def fds(self) -> int:
        """File descriptors that are open now."""
        return int(psutil.Process(self.pid).num_fds())

    async def settle(self, sessions: int = 0) -> int:
        """Wait until it has used little CPU for a few seconds (at most `SETTLE_S`), and give its USS then.

        With `sessions` idle ones it may use a little more and still be quiet.
        """
        quiet, share = 0, QUIET_SHARE + QUIET_SHARE_EACH * sessions
        with trio.move_on_after(SETTLE_S):
            while quiet < QUIET_SAMPLES:
                used_s = await self.cpu_over(SAMPLE_S)
                quiet = quiet + 1 if used_s < share * SAMPLE_S else 0
        return self.uss_bytes

    async def cpu_over(self, window_s: float) -> float:
        """CPU seconds used during the next `window_s` seconds."""
        before_s = self.cpu_s
        await trio.sleep(window_s)
        return self.cpu_s - before_s
