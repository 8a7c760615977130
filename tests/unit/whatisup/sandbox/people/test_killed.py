"""A sandbox that is killed in the middle of a conversation comes back, loses nothing of it and says nothing twice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from actors.sandbox import SandboxClient
from tests.unit.whatisup.sandbox.test_run import process
from whatisup import control

ADA = "999000000001"
BOB = "999000000002"
COUNT = 200
KILLS = 2
PATIENCE_S = 30.0


@asynccontextmanager
async def sandbox(state: Path) -> AsyncIterator[SandboxClient]:
    """A sandbox in a process of its own, killed at the end."""
    async with process("--state", str(state), "--seed", "1") as (_, ready):
        yield SandboxClient(ready.control_url, ready.token)


async def read_of(client: SandboxClient, number: str) -> list[control.ReceivedMessage]:
    rows: list[control.ReceivedMessage] = []
    while page := await client.received(number, after=rows[-1].position if rows else 0):
        rows += page
    return rows


async def test_killed_sandbox_loses_and_doubles_nothing(tmp_path: Path) -> None:
    seed = random.Random(7)
    state = tmp_path / "sandbox.db"
    async with sandbox(state) as client:
        await client.create_account(ADA)
        await client.create_account(BOB)
        for number, to in ((ADA, BOB), (BOB, ADA)):
            await client.burst(number, control.BurstRequest(to, COUNT, None, f"of {number}"))
    for _ in range(KILLS):
        async with sandbox(state):
            await trio.sleep(seed.uniform(0.0, 0.15))
    async with sandbox(state) as client:
        with trio.fail_after(PATIENCE_S):
            for number in (ADA, BOB):
                while len(await read_of(client, number)) < COUNT:
                    await trio.sleep(0.05)
        for number, other in ((ADA, BOB), (BOB, ADA)):
            rows = await read_of(client, number)
            assert [row.text for row in rows] == [f"of {other} {index}" for index in range(1, COUNT + 1)]
            assert {row.verdict for row in rows} == {"read"}
            assert set(Counter(row.id for row in rows).values()) == {1}
