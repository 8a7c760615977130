"""What a further session's memory consists of: the gateway under tracemalloc, with one session and with all.

Rule: only the list of what dominates is to be quoted; tracemalloc itself takes time and memory.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import trio

from actors.sandbox import SandboxClient
from benchmarks.extras.profiled import growth, request_snapshot
from benchmarks.findings.figures import KIB
from benchmarks.live import Live, Options
from benchmarks.scenarios.connect import grow
from benchmarks.subjects.whatisup import WhatIsUp
from tests.processes import Sandbox

PROFILE_SIZE = 50
SHOWN_KIB = 0.25
_COMMAND = ("-m", "benchmarks.extras.profiled", "serve")


async def profile(size: int, folder: Path, say: Callable[[str], None]) -> str:
    """Connect one session, then all; what the further ones hold, by the component that allocated it."""
    gateway, sandbox = WhatIsUp(folder, command=_COMMAND), Sandbox(folder)
    try:
        ready = await sandbox.start()
        await gateway.start(ready)
        tls = ssl.create_default_context(cadata=ready["tls_certificate"])
        people = SandboxClient(ready["control_url"], ready["token"], tls=tls)
        live = Live(gateway, sandbox, people, size, folder, say, Options(), ready=ready)
        (process,) = gateway.processes()
        await grow(live, 1)
        first = await process.settle()
        before = await request_snapshot(process.pid, folder, "one")
        await grow(live, size)
        last = await process.settle(size)
        after = await request_snapshot(process.pid, folder, "all")
        return growth_text(growth(before, after, size - 1), (last - first) / (size - 1), size)
    finally:
        with trio.CancelScope(shield=True):
            await gateway.stop()
            await sandbox.kill()


def growth_text(found: dict[str, float], uss_each: float, size: int) -> str:
    """A line for each component, in KiB, and what Python did not allocate."""
    lines = [f"what a further session holds ({size} sessions, tracemalloc on), KiB:"]
    lines += [f"  {held / KIB:>7.1f}  {name}" for name, held in found.items() if held >= SHOWN_KIB * KIB]
    rest = uss_each - sum(found.values())
    lines.append(f"  {rest / KIB:>7.1f}  not Python's: OpenSSL, SQLite, allocator, tracemalloc's own")
    return "\n".join(lines)
