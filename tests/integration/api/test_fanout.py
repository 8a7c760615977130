"""Many readers of one log over real sockets: each sees every event once and in order, whatever else goes on.

Rule: readers run in a process of their own, so that what is measured here is the server's. `WHATISUP_EVENTS` makes the
long test shorter or longer.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from sqlalchemy import select

from api.serving.edge import wall_clock_ms
from tests.integration.api.followers import KEY
from tests.integration.api.front import Holder, open_front
from tests.integration.api.test_http import STATUS, Served, serving
from whatisup.store import AppendEvent, Unit, tables

EVENTS: Final = int(os.environ.get("WHATISUP_EVENTS", "100000"))
READERS: Final = 20
VISITS: Final = 12
"""How often each reader comes, on average."""
WRITERS: Final = 4
BATCH: Final = 50
SUBSCRIBERS: Final = 500
ROOT: Final = Path(__file__).parents[3]


@dataclass
class Followers:
    """The process that reads, and what it says."""

    process: trio.Process
    said: bytes = b""

    async def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        while b"\n" not in self.said:
            chunk = await self.process.stdout.receive_some()
            assert chunk, f"the readers ended: {self.said!r}"
            self.said += chunk
        line, _, self.said = self.said.partition(b"\n")
        return dict(json.loads(line))


@asynccontextmanager
async def following(served: Served, holder: Holder, *, count: int, total: int, mean: int) -> AsyncIterator[Followers]:
    """Readers of `total` events each, who hang up after `mean` of them on average (0 = never)."""
    words = ["127.0.0.1", str(served.port), str(count), str(total), str(mean), "1"]
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.integration.api.followers", *words],
        env={**os.environ, KEY: holder.key},
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        yield Followers(process)
    finally:
        process.kill()
        await process.wait()
        assert process.stdout is not None
        await process.stdout.aclose()


async def write(
    served: Served, writer: int, instance_id: str, count: int, *, batch: int = BATCH, pause_s: float = 0.0
) -> None:
    """Append a writer's numbered events, so many in a transaction."""
    for start in range(0, count, batch):
        numbers = range(start, min(start + batch, count))
        told = [AppendEvent(STATUS, {"w": writer, "n": n, "at": time.time()}, wall_clock_ms()) for n in numbers]
        await served.front.edge.system.writer.submit(Unit(instance_id, 0, tuple(told)))
        await trio.sleep(pause_s)


def digest_of_log(conn: Any, _vault: Any) -> str:
    digest = hashlib.sha256()
    for event_id in conn.execute(select(tables.events.c.id).order_by(tables.events.c.position)).scalars():
        digest.update(event_id.encode())
    return digest.hexdigest()


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_readers_that_come_and_go_see_every_event_once_and_in_order(folder: Path) -> None:
    async with open_front(folder, RATE_LIMIT_PER_S_TEST="0") as front, serving(front) as served:
        alice = await front.holder()
        instances = [await alice.create(str(n)) for n in range(WRITERS)]
        async with following(served, alice, count=READERS, total=EVENTS, mean=EVENTS // VISITS) as followers:
            assert (await followers.line())["open"] == READERS
            async with trio.open_nursery() as writing:
                for number, instance_id in enumerate(instances):
                    writing.start_soon(write, served, number, instance_id, EVENTS // WRITERS)
            with trio.fail_after(60 + EVENTS / 100):
                found = await followers.line()
        assert found["wrong"] == []
        assert found["seen"] == [EVENTS] * READERS
        assert found["digests"] == [front.store.read(digest_of_log)]
        assert found["opened"] > 3 * READERS
        with trio.fail_after(10):
            while len(front.edge.streams):
                await trio.sleep(0.02)
        assert front.edge.streams.tail_bytes == 0


@pytest.mark.slow
async def test_five_hundred_subscribers_do_not_stall_the_loop(folder: Path) -> None:
    """Every event reaches all of them, and meanwhile the event loop answers as if there were a few."""
    async with open_front(folder, RATE_LIMIT_PER_S_TEST="0") as front, serving(front) as served:
        alice = await front.holder()
        instance_id = await alice.create()
        total, gaps = 40, list[float]()

        async def feel() -> None:
            while True:
                due = trio.current_time() + 0.005
                await trio.sleep_until(due)
                gaps.append(trio.current_time() - due)

        async with following(served, alice, count=SUBSCRIBERS, total=total, mean=0) as followers:
            with trio.fail_after(60):
                assert (await followers.line())["open"] == SUBSCRIBERS
            with trio.fail_after(5):
                while len(front.edge.streams) < SUBSCRIBERS:
                    await trio.sleep(0.02)
            begun_at = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(feel)
                await write(served, 0, instance_id, total, batch=1, pause_s=0.1)
                with trio.fail_after(60):
                    found = await followers.line()
                nursery.cancel_scope.cancel()
        assert found["wrong"] == []
        assert found["seen"] == [total] * SUBSCRIBERS
        # All 500 at once would stop the loop for some 60 ms with each event, which is most of the time.
        stalled_s = sum(gap for gap in gaps if gap > 0.04)
        assert stalled_s < 0.3 * (trio.current_time() - begun_at)
