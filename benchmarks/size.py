"""One size: so many instances, from nothing to connected, idle, and back after both kinds of restart.

Rule: each size has processes, a store and a folder of its own; within it, the first instance alone is the base, so
that what is loaded once is not counted as an instance's cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from api.demo.client import Client
from api.demo.gateway import HOST, Gateway
from benchmarks.fleet import Fleet
from benchmarks.measure import Process
from benchmarks.processes import Sandbox, gateway_for
from benchmarks.profiled import growth, request_snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one size gave, in bytes and seconds; `uss_all_resumed` is of a gateway that resumed and never paired."""

    instances: int
    uss_idle: int
    uss_one: int
    uss_all: int
    uss_all_resumed: int
    connect_all_s: float
    idle_window_s: float
    idle_cpu_s: float
    gateway_serving_s: float
    gateway_resume_s: float
    sandbox_resume_s: float
    growth: dict[str, float] | None = None

    @property
    def uss_per_further(self) -> float | None:
        """Bytes per further instance, in the process that paired them."""
        return None if self.instances < 2 else (self.uss_all - self.uss_one) / (self.instances - 1)


async def measure(size: int, folder: Path, *, idle_s: float, is_profiled: bool, say: Callable[[str], None]) -> Figures:
    """Run one size from beginning to end."""
    sandbox = Sandbox(folder)
    gateway: Gateway | None = None
    try:
        say("starting sandbox and gateway")
        gateway = gateway_for(folder, await sandbox.start(), is_profiled=is_profiled)
        await gateway.start()
        await gateway.wait_ready()
        async with trio.open_nursery() as nursery:
            run = Run(size, sandbox, gateway, Fleet(Client(HOST, gateway.port, await gateway.test_key()), say), say)
            await nursery.start(run.fleet.journal.follow)
            figures = await run.play(idle_s=idle_s, is_profiled=is_profiled)
            nursery.cancel_scope.cancel()
        return figures
    finally:
        if gateway is not None:
            await gateway.stop()
        await sandbox.kill()


@dataclass(slots=True)
class Run:
    """The running size."""

    size: int
    sandbox: Sandbox
    gateway: Gateway
    fleet: Fleet
    say: Callable[[str], None]

    @property
    def process(self) -> Process:
        """The gateway as it is now."""
        if self.gateway.process is None:
            raise RuntimeError("the gateway is not running")
        return Process(self.gateway.process.pid)

    async def play(self, *, idle_s: float, is_profiled: bool) -> Figures:
        """Connect, idle, restart the gateway, restart the sandbox."""
        process = self.process
        uss_idle = await process.settle()
        self.say("connecting the first")
        connect_all_s = await self.fleet.grow(1)
        uss_one = await process.settle()
        folder = self.gateway.folder
        before = await request_snapshot(process.pid, folder, "one") if is_profiled else None
        if self.size > 1:
            self.say(f"connecting {self.size - 1} more")
            connect_all_s += await self.fleet.grow(self.size)
            self.say("settling")
        uss_all = await process.settle()
        after = await request_snapshot(process.pid, folder, "all") if is_profiled else None
        self.say(f"idle for {idle_s:.0f} s")
        idle_cpu_s = await process.cpu_over(idle_s)
        gateway_serving_s, gateway_resume_s = await self._restart_gateway()
        uss_all_resumed = await self.process.settle()
        return Figures(
            instances=self.size,
            uss_idle=uss_idle,
            uss_one=uss_one,
            uss_all=uss_all,
            uss_all_resumed=uss_all_resumed,
            connect_all_s=connect_all_s,
            idle_window_s=idle_s,
            idle_cpu_s=idle_cpu_s,
            gateway_serving_s=gateway_serving_s,
            gateway_resume_s=gateway_resume_s,
            sandbox_resume_s=await self._restart_sandbox(),
            growth=growth(before, after, self.size - 1) if before and after and self.size > 1 else None,
        )

    async def _restart_gateway(self) -> tuple[float, float]:
        """SIGKILL and start; seconds from the start until it serves, and until everyone is connected."""
        self.say("killing and starting the gateway")
        self.fleet.expect_resume()
        await self.gateway.kill()
        started_at = trio.current_time()
        await self.gateway.start()
        await self.gateway.wait_ready()
        serving_s = trio.current_time() - started_at
        await self.fleet.resumed()
        return serving_s, trio.current_time() - started_at

    async def _restart_sandbox(self) -> float:
        """SIGKILL and start; seconds from the moment it listens until everyone is connected."""
        self.say("killing and starting the sandbox")
        self.fleet.expect_resume()
        await self.sandbox.kill()
        await self.sandbox.start()
        started_at = trio.current_time()
        await self.fleet.resumed()
        return trio.current_time() - started_at
