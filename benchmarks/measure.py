"""Memory and CPU of another process, read when it is quiet.

Rule: USS (memory that would be freed if the process ended) and CPU seconds only; wall time is the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass

import psutil
import trio

QUIET_SHARE = 0.10
QUIET_SAMPLES = 4
SETTLE_S = 45.0


@dataclass(frozen=True, slots=True)
class Process:
    """A process under measurement, by id."""

    pid: int

    @property
    def uss_bytes(self) -> int:
        """Unique set size now."""
        return int(psutil.Process(self.pid).memory_full_info().uss)

    @property
    def cpu_s(self) -> float:
        """CPU seconds, user and system, since it started."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    async def settle(self) -> int:
        """Wait until it has used little CPU for a few seconds (at most `SETTLE_S`), and give its USS then."""
        quiet = 0
        with trio.move_on_after(SETTLE_S):
            while quiet < QUIET_SAMPLES:
                used_s = await self.cpu_over(1.0)
                quiet = quiet + 1 if used_s < QUIET_SHARE else 0
        return self.uss_bytes

    async def cpu_over(self, window_s: float) -> float:
        """CPU seconds used during the next `window_s` seconds."""
        before_s = self.cpu_s
        await trio.sleep(window_s)
        return self.cpu_s - before_s
