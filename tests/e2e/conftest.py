"""Two processes that the tests of one worker share: each test has instances, phones and contacts of its own in them.

Rule: whoever changes what all share (the sandbox's switches) puts it back.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from api.demo.client import Client
from api.demo.gateway import HOST
from api.demo.journal import Journal
from tests.e2e.world import BEAT_MS, World
from tests.processes import Sandbox, gateway_for

# At this level everything that is ever logged is: `test_messages_secrecy.py` reads it.
LOG_LEVEL = "debug"


@pytest.fixture(scope="session")
def _processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Both processes, started once for a worker; not followed yet."""
    folder: Path = tmp_path_factory.mktemp("world")
    sandbox = Sandbox(folder)
    ready = trio.run(sandbox.start)
    gateway = gateway_for(folder, ready)
    gateway.settings = {**gateway.settings, "HEARTBEAT_INTERVAL_MS": BEAT_MS, "WHATISUP_LOG_LEVEL": LOG_LEVEL}

    async def start() -> World:
        await gateway.start()
        await gateway.wait_ready()
        world = World(folder, sandbox, gateway, ready)
        world.api = Client(HOST, gateway.port, await gateway.test_key())
        return world

    async def stop() -> None:
        await gateway.stop()
        await sandbox.kill()

    try:
        yield trio.run(start)
    finally:
        trio.run(stop)


@pytest.fixture
async def world(_processes: World, nursery: trio.Nursery) -> World:
    """The shared processes, and a journal of what happens from now on."""
    _processes.journal = Journal(_processes.api, lambda seen: None, names="*")
    await nursery.start(_processes.journal.follow)
    return _processes
