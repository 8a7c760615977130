"""Scenario `resume`: the subject is killed with n stored sessions and started again.

Rule: the clock runs from the start of the process, so what it reads and prepares before it connects is in it.
"""

from __future__ import annotations

from collections.abc import Mapping

import trio

from benchmarks.live import Live
from benchmarks.scenarios.connect import within_s


async def resume(live: Live) -> Mapping[str, float]:
    """Kill it by SIGKILL, start it, and wait until everyone is connected."""
    live.say(f"killing {live.subject.name}, and starting it with its {live.size} sessions")
    await live.subject.kill()
    live.subject.watch()
    begun_at = trio.current_time()
    await live.subject.start(live.ready)
    serving_s = trio.current_time() - begun_at
    connected = live.subject.connected
    await live.until(lambda: connected() >= live.size, within_s(live), f"{live.size} sessions resumed")
    took_s, cpu_s = trio.current_time() - begun_at, live.cpu_s()[0]
    stall = await live.subject.stall()
    memory = await live.settled()
    return {
        "resume_s": took_s,
        "resume_serving_s": serving_s,
        "resume_cpu_s": cpu_s,
        "resume_stall_p99_ms": stall.p99_ms,
        "resume_stall_max_ms": stall.max_ms,
        "resume_uss": memory.uss,
    }
