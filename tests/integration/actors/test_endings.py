"""What may cross an ending: commands behind a delete, askers behind a pairing, timers that have passed by."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from actors.messages import Delete, RequestPairCode, RequestQr, Stop, Wake
from tests.integration.actors.house import ORIGIN, House, open_house, open_sandbox
from whatisup.control import FaultParams, FaultRequest
from whatisup.errors import AtCapacity, SessionExists, UnknownInstance
from whatisup.lifecycle import State, Trigger


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_sandbox(tmp_path) as ready, open_house(tmp_path, ready) as house:
        yield house


async def test_nothing_that_waits_behind_a_delete_revives_the_instance(house: House) -> None:
    instance_id, _ = await house.create()
    mailbox = house.system.ensure(instance_id).mailbox
    deleted, revived = mailbox.post(Delete(ORIGIN)), mailbox.post(RequestQr(ORIGIN))
    with trio.fail_after(10):
        await deleted.wait()
        with pytest.raises(UnknownInstance):
            await revived.wait()
    log = [event.data and event.data.get("status") for event in await house.events(instance_id)]
    assert log == ["disconnected", "disconnected"], "status and disconnected, and then silence"


async def test_who_asks_for_a_code_while_the_phone_scans_is_told_at_once(house: House, nursery: trio.Nursery) -> None:
    instance_id, number = await house.create()
    qr = await house.system.ask(instance_id, RequestQr(ORIGIN))
    await house.sandbox.arm(FaultRequest("no-answer", times=1, params=FaultParams(iq="md")))
    told = trio.Event()

    async def ask() -> None:
        with pytest.raises(SessionExists):
            await house.system.ask(instance_id, RequestPairCode(ORIGIN, number))
        told.set()

    nursery.start_soon(ask)
    with trio.fail_after(10):
        while not any(fault.hits for fault in await house.sandbox.faults()):
            await trio.sleep(0.05)
    await house.sandbox.scan(number, qr.code)
    await house.status(instance_id, State.CONNECTED)
    with trio.fail_after(1):
        await told.wait()


@pytest.mark.parametrize("trigger", [Trigger.BAN_EXPIRED, Trigger.VERSION_CHANGED])
async def test_a_timer_that_was_overtaken_starts_no_instance_that_was_stopped(house: House, trigger: Trigger) -> None:
    instance_id, _ = await house.pair()
    mailbox = house.system.ensure(instance_id).mailbox
    stopped, woken = mailbox.post(Stop(ORIGIN)), mailbox.post(Wake(trigger))
    with trio.fail_after(10):
        await stopped.wait()
        await woken.wait()
    row = await house.row(instance_id)
    assert (row.status, row.detail) == (State.DISCONNECTED, "stopped")


async def test_the_last_place_goes_to_one_of_many_who_want_it_at_once(tmp_path: Path) -> None:
    async with open_sandbox(tmp_path) as ready, open_house(tmp_path, ready, MAX_SESSIONS_PER_WORKER="2") as house:
        crowd = [(await house.create())[0] for _ in range(8)]
        replies = [house.system.ensure(instance_id).mailbox.post(RequestQr(ORIGIN)) for instance_id in crowd]
        refused = 0
        with trio.fail_after(15):
            for reply in replies:
                try:
                    await reply.wait()
                except AtCapacity:
                    refused += 1
        assert refused == len(crowd) - 2
