"""The harm that a plan asks for, one after the other, while the traffic flows.

Rule: whatever was broken is whole again before the next harm, so that a run can only end in order.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

import trio

from actors.sandbox import SandboxClient
from tests.chaos.plan import Harm, Trouble
from tests.chaos.stage import Stage
from tests.chaos.traffic import Traffic
from whatisup.control import FaultName, FaultRequest

MISHAPS_AT_ONCE = 2


class Mayhem:
    """Does the harm; `done` counts what was done."""

    def __init__(self, stage: Stage, traffic: Traffic) -> None:
        self._stage = stage
        self._traffic = traffic
        self.done: Counter[Harm] = Counter()

    async def run(self) -> None:
        """Do everything that the plan has, each at its time."""
        deeds = {
            Harm.KILL: self._kill,
            Harm.CUT: self._cut,
            Harm.SANDBOX: self._restart_sandbox,
            Harm.FULL: self._fill,
            Harm.SERVER: self._kill_server,
            Harm.MISHAP: self._mishap,
        }
        for place, trouble in enumerate(self._stage.plan.troubles):
            await self._traffic.reached(trouble.at)
            await self._stage.turn(self._stage.plan.switches_at(place))
            await trio.sleep(trouble.delay_s)
            await deeds[trouble.harm](trouble)
            self.done[trouble.harm] += 1

    async def _kill(self, trouble: Trouble) -> None:
        await self._stage.kill_gateway()
        await trio.sleep(trouble.outage_s)
        await self._stage.start_gateway()
        if trouble.again_s is not None:
            await trio.sleep(trouble.again_s)
            await self._stage.kill_gateway()
            await self._stage.start_gateway()
        await self._stage.gateway.wait_ready()

    async def _cut(self, trouble: Trouble) -> None:
        await self._stage.ask_people(partial(_arm, FaultRequest(FaultName.DROP)))

    async def _restart_sandbox(self, trouble: Trouble) -> None:
        await self._stage.world.sandbox.kill()
        await trio.sleep(trouble.outage_s)
        await self._stage.world.sandbox.start()

    async def _fill(self, trouble: Trouble) -> None:
        self._stage.database.fill()
        try:
            await self._endure(trouble)
        finally:
            self._stage.database.empty()
        await self._revive(trouble)

    async def _kill_server(self, trouble: Trouble) -> None:
        self._stage.database.kill()
        await self._endure(trouble)
        await self._stage.database.start()
        await self._revive(trouble)

    async def _mishap(self, trouble: Trouble) -> None:
        assert trouble.fault is not None
        await self._stage.ask_people(partial(_arm, FaultRequest(trouble.fault, times=MISHAPS_AT_ONCE)))
        await self._endure(trouble)
        await self._revive(trouble)

    async def _endure(self, trouble: Trouble) -> None:
        await trio.sleep(trouble.outage_s)
        if trouble.kills_within:
            await self._stage.kill_gateway()

    async def _revive(self, trouble: Trouble) -> None:
        """Start the gateway if it was killed: a gateway without its database ends, and says so, instead of serving."""
        if trouble.kills_within:
            await self._stage.start_gateway()
        await self._stage.gateway.wait_ready()


async def _arm(fault: FaultRequest, people: SandboxClient) -> None:
    await people.arm(fault)
