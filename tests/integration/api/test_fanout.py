"""Many readers of one log over real sockets: each sees every event once and in order, whatever else goes on.

Rule: readers run in a process of their own, so that what is measured here is the server's. `WHATISUP_EVENTS` says how
many events the long test writes; the issue's own number is 100000.
"""

from __future__ import annotations

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

from tests.integration.api.followers import KEY
from tests.integration.api.front import Holder, open_front
from tests.integration.api.test_http import STATUS, Served, serving
from whatisup.store import Tx

EVENTS: Final = int(os.environ.get("WHATISUP_EVENTS", "8000"))
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


class Chronicle:
    """Writes events that are numbered in the order of the log, whoever writes them."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._next = 0

    def _append(self, tx: Tx, instance_id: str, count: int) -> None:
        for _ in range(count):
            tx.append_event(instance_id, STATUS, {"n": self._next, "at": time.time()})
            self._next += 1

    async def write(self, instance_id: str, count: int, *, batch: int = BATCH, pause_s: float = 0.0) -> None:
        for start in range(0, count, batch):
            await self._served.front.write(self._append, instance_id, min(batch, count - start))
            await trio.sleep(pause_s)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_readers_that_come_and_go_see_every_event_once_and_in_order(folder: Path) -> None:
    async with open_front(folder, RATE_LIMIT_PER_S_TEST="0") as front, serving(front) as served:
        alice = await front.holder()
        instances = [await alice.create(str(n)) for n in range(WRITERS)]
        chronicle = Chronicle(served)
        async with following(served, alice, count=READERS, total=EVENTS, mean=EVENTS // VISITS) as followers:
            assert (await followers.line())["open"] == READERS
            async with trio.open_nursery() as writing:
                for instance_id in instances:
                    writing.start_soon(chronicle.write, instance_id, EVENTS // WRITERS)
            with trio.fail_after(60 + EVENTS / 100):
                found = await followers.line()
        assert found["wrong"] == []
        assert found["seen"] == [EVENTS] * READERS
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
            async with trio.open_nursery() as nursery:
                nursery.start_soon(feel)
                await Chronicle(served).write(instance_id, total, batch=1, pause_s=0.1)
                with trio.fail_after(60):
                    found = await followers.line()
                nursery.cancel_scope.cancel()
        assert found["wrong"] == []
        assert found["seen"] == [total] * SUBSCRIBERS
        gaps.sort()
        # All 500 at once would take a tenth of a second each time, and be half of what is felt.
        assert gaps[len(gaps) * 9 // 10] < 0.06
