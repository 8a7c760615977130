"""SIGKILL, for real: a fleet comes back without a scan, and every arrow of pairing, logout and delete converges."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from api.demo.client import Refused, Unreachable
from tests.e2e.world import Number, World, open_world

DOOMED = str(Path(__file__).with_name("doomed.py"))
# Every arrow takes a few seconds, so a run takes a spread of them; `WHATISUP_ALL_ARROWS=1` takes all.
ALL = bool(os.environ.get("WHATISUP_ALL_ARROWS"))
PAIRING_ARROWS = range(1, 60) if ALL else (2, 7, 12, 14, 16, 22)
LEAVING_ARROWS = range(1, 16) if ALL else (1, 3, 5)


@pytest.mark.slow
async def test_twenty_connected_instances_survive_a_sigkill_without_a_scan(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        numbers = await world.pair_many(20)
        before = {number.instance_id: world.auth_rows(number) for number in numbers}
        since = world.journal.mark()
        await world.gateway.kill()
        await world.restart_gateway()
        for number in numbers:
            await number.seen("instance.connected", since=since)
            assert (await number.row())["status"] == "connected"
        assert {number.instance_id: world.auth_rows(number) for number in numbers} == before
        moves = [seen.data["status"] for seen in world.journal.entries[since:] if seen.name == "instance.status"]
        assert sorted(moves) == ["connected"] * 20 + ["reconnecting"] * 20
        for number in numbers:
            positions = [seen.event["event_id"] for seen in number.events()]
            assert len(positions) == len(set(positions))


class Bomb:
    """Arms and reads one doomed gateway."""

    def __init__(self, world: World, at: int) -> None:
        self.armed = world.folder / f"armed-{at}"
        self.log = world.folder / f"arrows-{at}"
        doom = {"DOOM_ARMED": str(self.armed), "DOOM_LOG": str(self.log), "DOOM_AT": str(at)}
        self.gateway = replace(
            world.gateway, settings={**world.gateway.settings, **doom}, command=(DOOMED, "serve"), process=None
        )

    async def start(self) -> None:
        await self.gateway.start()
        await self.gateway.wait_ready()

    async def exploded(self, within_s: float) -> bool:
        assert self.gateway.process is not None
        with trio.move_on_after(within_s):
            await self.gateway.process.wait()
            return True
        return False


async def attempt(world: World, method: str, path: str, body: dict[str, object] | None = None) -> None:
    """Ask for something of a gateway that may die at any moment."""
    with suppress(Unreachable, Refused):
        await world.api.call(method, path, body)


async def devices(world: World, number: Number) -> int:
    phones = (await world.api.call("GET", "/v1/sandbox/phones?limit=100"))["data"]  # one per arrow tried
    return next(len(phone["devices"]) for phone in phones if phone["number"] == number.number)


async def kill_while_pairing(world: World, at: int) -> str:
    """Kill at the `at`-th arrow of pairing; the last arrow passed, and the state it converged to."""
    number = await world.create()
    await world.gateway.stop()
    bomb = Bomb(world, at)
    try:
        await bomb.start()
        bomb.armed.touch()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt, world, "GET", f"/v1/instances/{number.instance_id}/qr")

            async def scan_when_there_is_a_qr() -> None:
                for _ in range(200):
                    if bomb.gateway.process is None or bomb.gateway.process.poll() is not None:
                        return
                    if any(seen.name == "qr.updated" for seen in number.events()):
                        break
                    await trio.sleep(0.05)
                await attempt(
                    world, "POST", f"/v1/sandbox/phones/{number.number}/scan", {"instance_id": number.instance_id}
                )

            nursery.start_soon(scan_when_there_is_a_qr)
            await bomb.exploded(8.0)
            nursery.cancel_scope.cancel()
    finally:
        await bomb.gateway.kill()
    await world.restart_gateway()
    await settled_after_pairing(world, number)
    return bomb.log.read_text().splitlines()[-1]


async def settled_after_pairing(world: World, number: Number) -> None:
    """Either the phone lists the device and we are connected, or neither, with no auth state left; then pair."""
    row = {}
    with trio.move_on_after(20):
        while True:
            row = await number.row()
            if row["status"] in ("connected", "pending", "disconnected"):
                break
            await trio.sleep(0.05)
    if row["status"] == "connected":
        assert await devices(world, number) == 1
        return
    assert row["status"] in ("pending", "disconnected"), row
    assert row["detail"] in (None, "logged_out", "process_restarted"), row
    assert world.auth_rows(number) == 0
    assert await devices(world, number) == 0
    await world.api.call("GET", f"/v1/instances/{number.instance_id}/qr")
    await number.phone("scan")
    await number.status("connected")


async def kill_while_leaving(world: World, how: str, at: int) -> str:
    """Kill at the `at`-th arrow of a logout or a delete; the last arrow passed."""
    number = await world.pair()
    await world.gateway.stop()
    bomb = Bomb(world, at)
    try:
        await bomb.start()
        await number.status("connected")
        bomb.armed.touch()
        path = f"/v1/instances/{number.instance_id}"
        async with trio.open_nursery() as nursery:
            if how == "delete":
                nursery.start_soon(attempt, world, "DELETE", path)
            else:
                nursery.start_soon(attempt, world, "POST", f"{path}/logout", {})
            await bomb.exploded(8.0)
            nursery.cancel_scope.cancel()
    finally:
        await bomb.gateway.kill()
    arrows = bomb.log.read_text().splitlines()
    bomb.armed.unlink()
    wished = any("after call" in arrow for arrow in arrows)
    await world.restart_gateway()
    await (settled_after_delete if how == "delete" else settled_after_logout)(world, number, wished)
    return arrows[-1]


async def settled_after_logout(world: World, number: Number, wished: bool) -> None:
    if not wished and (await number.row())["status"] != "disconnected":
        # Killed before or while the wish was committed: either nothing happened or all of it.
        with trio.move_on_after(10):
            while (await number.row())["status"] not in ("connected", "disconnected"):
                await trio.sleep(0.05)
        if (await number.row())["status"] == "connected":
            return
    await number.status("disconnected", detail="logged_out")
    assert world.auth_rows(number) == 0
    assert await devices(world, number) == 0


async def settled_after_delete(world: World, number: Number, wished: bool) -> None:
    path = f"/v1/instances/{number.instance_id}"
    with trio.move_on_after(20):
        while True:
            status = (await world.api.ask("GET", path)).status
            if status == 404 and world.auth_rows(number) == 0:
                return
            if not wished and status == 200 and (await number.row())["status"] == "connected":
                return
            await trio.sleep(0.05)
    raise AssertionError("the delete neither happened nor was forgotten")


async def at_each(arrows: Sequence[int], world: World, what: str) -> dict[str, str]:
    failures: dict[str, str] = {}
    for at in arrows:
        last = "?"
        try:
            last = await (kill_while_pairing(world, at) if what == "pair" else kill_while_leaving(world, what, at))
        except Exception as error:  # collected, so that one arrow does not hide the others
            failures[f"{what} at arrow {at} ({last})"] = f"{type(error).__name__}: {error}"
            if world.gateway.process is None or world.gateway.process.poll() is not None:
                await world.restart_gateway()
    return failures


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("what", "arrows"), [("pair", PAIRING_ARROWS), ("logout", LEAVING_ARROWS), ("delete", LEAVING_ARROWS)]
)
async def test_a_sigkill_at_an_arrow_converges(tmp_path: Path, what: str, arrows: Sequence[int]) -> None:
    async with open_world(tmp_path) as world:
        assert await at_each(arrows, world, what) == {}
