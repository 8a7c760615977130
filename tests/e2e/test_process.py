"""The process as its operator sees it: one owner, orderly shutdown, a wrong server that wipes nothing."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from api.demo.gateway import free_port
from tests.e2e.world import open_world


@pytest.mark.slow
async def test_a_second_serve_on_the_same_store_waits_for_the_first(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        second = replace(world.gateway, port=free_port(), process=None)
        number = await world.pair()
        try:
            await second.start()
            await trio.sleep(3)
            assert second.process is not None
            assert second.process.poll() is None
            assert b"wait" in second.log.read_bytes()
            assert (await number.row())["status"] == "connected"
            await world.gateway.stop()
            await second.wait_ready()
        finally:
            await second.stop()


@pytest.mark.slow
async def test_sigterm_drains_within_its_deadline(tmp_path: Path) -> None:
    async with open_world(tmp_path, WHATISUP_SHUTDOWN_S="10") as world:
        numbers = await world.pair_many(3)
        process = world.gateway.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        with trio.fail_after(10):
            assert await process.wait() == 0
        log = world.gateway.log.read_text()
        order = [log.index(word) for word in ("front.stopped", "instances.stopped", "storage.stopped")]
        assert order == sorted(order)
        await world.restart_gateway()
        for number in numbers:
            await number.status("connected")


@pytest.mark.slow
async def test_a_wrong_root_key_wipes_nothing(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        number = await world.pair()
        rows = world.auth_rows(number)
        await world.gateway.stop()
        right = world.gateway.settings
        world.gateway.settings = {**right, "WHATISUP_SANDBOX_ROOT_KEY": "11" * 32}
        await world.restart_gateway()
        row = await number.status("disconnected", detail="wrong_server")
        assert row["reason"] == "session_invalidated"
        assert world.auth_rows(number) >= rows
        await world.gateway.stop()
        world.gateway.settings = right
        await world.restart_gateway()
        await number.act("start")
        await number.status("connected")


@pytest.mark.slow
async def test_a_sandbox_restart_under_a_live_fleet_resumes(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        numbers = await world.pair_many(5)
        since = world.journal.mark()
        await world.sandbox.kill()
        await world.sandbox.start()
        for number in numbers:
            await number.seen("instance.connected", since=since, within_s=60)
