"""Two hundred instances in one process, a few of them sick: nobody else notices."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.e2e.world import open_world
from whatisup.control import FaultRequest, Scope

CROWD = 200


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_two_hundred_connect_and_the_sick_disturb_nobody(tmp_path: Path) -> None:
    async with open_world(tmp_path, WHATISUP_PACE_TEST="10000") as world:
        with trio.fail_after(150):
            numbers = await world.pair_many(CROWD)
        looping, flooded, *healthy = numbers
        since = world.journal.mark()
        await flooded.fault("garbage", seconds=8)
        # A row that no actor can live with: its auth state is another's, so every rebuild fails to open it.
        await world.sicken(looping)
        await world.control().arm(FaultRequest("drop", Scope(looping.number)))
        await flooded.seen("instance.disconnected", since=since)
        await trio.sleep(8)
        restless = [
            seen.event["instance_id"]
            for seen in world.journal.entries[since:]
            if seen.name == "instance.disconnected"
            and seen.event["instance_id"] not in (looping.instance_id, flooded.instance_id)
        ]
        assert restless == []
        rows = (await world.api.call("GET", "/v1/instances?limit=100"))["data"]
        assert len(rows) == 100
        assert world.log_count("instance.crashed", looping) >= 3
        assert world.log_count("instance.crashed") == world.log_count("instance.crashed", looping)
        await flooded.status("connected", within_s=60)
        for number in healthy[:5]:
            assert (await number.row())["status"] == "connected"
