"""The reconcile, both ways, and the timers that outlive a process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
from sqlalchemy import text

from actors.messages import RequestQr, Stop
from tests.integration.actors.house import ORIGIN, House, open_house, open_sandbox
from whatisup.control import FaultParams, FaultRequest, Scope
from whatisup.errors import AtCapacity
from whatisup.lifecycle import State
from whatisup.store import Instance, auth, instances


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_sandbox(tmp_path) as ready, open_house(tmp_path, ready) as house:
        yield house


async def sql(house: House, statement: str, **values: object) -> None:
    """Change rows behind everybody's back, as an operator with a database client would."""

    def run(tx: Any) -> None:
        tx.conn.execute(text(statement), values)

    await house.writer.call(run)


async def until(condition: Any, within_s: float = 10.0) -> None:
    with trio.fail_after(within_s):
        while not await condition():
            await trio.sleep(0.05)


async def test_a_row_that_should_run_and_does_not_is_started(house: House) -> None:
    instance_id, _ = await house.pair()
    await house.system.ask(instance_id, Stop(ORIGIN))

    async def is_gone() -> bool:
        return instance_id not in house.system.fleet.members

    await until(is_gone)
    await sql(house, "UPDATE instances SET status = 'reconnecting' WHERE id = :id", id=instance_id)
    await house.status(instance_id, State.CONNECTED)


async def test_an_actor_whose_row_was_stopped_by_hand_is_stopped(house: House) -> None:
    instance_id, _ = await house.pair()
    other, _ = await house.pair()
    await sql(house, "UPDATE instances SET status = 'disconnected', detail = 'by_hand' WHERE id = :id", id=instance_id)

    async def is_gone() -> bool:
        return instance_id not in house.system.fleet.members

    await until(is_gone)
    row = await house.row(instance_id)
    assert (row.status, row.detail) == (State.DISCONNECTED, "by_hand")
    assert (await house.row(other)).status is State.CONNECTED
    assert other in house.system.fleet.members


async def test_an_actor_whose_row_was_deleted_is_stopped_and_its_auth_wiped(house: House) -> None:
    instance_id, _ = await house.pair()
    await sql(house, "UPDATE instances SET deleted_at = 1 WHERE id = :id", id=instance_id)

    async def is_wiped() -> bool:
        has_auth = await house.database.read(auth.prekey_ids, instance_id, "uploaded")
        return instance_id not in house.system.fleet.members and not has_auth

    await until(is_wiped)


async def test_an_actor_owned_by_another_incarnation_is_replaced(house: House) -> None:
    instance_id, _ = await house.pair()
    before = house.system.fleet.members[instance_id]
    await house.writer.call(instances.bump_incarnation, instance_id)

    async def is_another() -> bool:
        member = house.system.fleet.members.get(instance_id)
        return member is not None and member is not before and member.row.status is State.CONNECTED

    await until(is_another)


async def test_an_actor_in_the_middle_of_a_commit_is_not_judged(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row may be ahead of what it knows: a farewell bumps the incarnation, and its actor learns it a bit later."""
    stopped: list[str] = []

    async def stop(key: str) -> None:
        stopped.append(key)

    instance_id, _ = await house.pair()
    monkeypatch.setattr(house.system._supervisor, "stop", stop)
    house.system.fleet.members[instance_id] = member = Member(await house.row(instance_id))
    await sql(house, "UPDATE instances SET incarnation = incarnation + 1 WHERE id = :id", id=instance_id)
    await house.system._heartbeat.beat()
    assert stopped == []
    member.revision += 1
    await house.system._heartbeat.beat()
    assert stopped == [instance_id]


@dataclass
class Member:
    """An actor as the heartbeat sees it, in the middle of a commit."""

    row: Instance
    last_frame_at: int | None = None
    revision: int = 1


async def test_last_seen_follows_the_frames_of_connected_instances(house: House) -> None:
    instance_id, _ = await house.pair()
    first = (await house.row(instance_id)).last_seen_at
    assert first is not None
    await house.sandbox.arm(FaultRequest("unknown-tag"))

    async def has_moved() -> bool:
        seen = (await house.row(instance_id)).last_seen_at
        return seen is not None and seen > first

    await until(has_moved)


async def test_a_temporary_ban_that_passed_resumes(house: House) -> None:
    instance_id, number = await house.pair()
    params = FaultParams(code=101, expire_s=2)
    await house.sandbox.arm(FaultRequest("temp-ban", Scope(number), params=params))
    await house.sandbox.arm(FaultRequest("drop", Scope(number)))
    banned = await house.status(instance_id, State.DISCONNECTED)
    assert (banned.detail, banned.has_account) == ("temp_banned", True)
    assert banned.expires_at is not None
    await house.status(instance_id, State.CONNECTED)


async def test_a_new_client_version_resumes_who_was_refused_as_outdated(tmp_path: Path) -> None:
    async with open_sandbox(tmp_path) as ready:
        async with open_house(tmp_path, ready) as house:
            instance_id, number = await house.pair()
            stays, other = await house.pair()
            for phone in (number, other):
                await house.sandbox.arm(FaultRequest("failure-405", Scope(phone)))
                await house.sandbox.arm(FaultRequest("drop", Scope(phone)))
            for outdated in (instance_id, stays):
                assert (await house.status(outdated, State.DISCONNECTED)).detail == "client_outdated"
            await trio.sleep(1.2)  # two beats, in which the same version must not try again
            assert (await house.row(instance_id)).status is State.DISCONNECTED
        async with open_house(tmp_path, ready, WHATISUP_CLIENT_VERSION="2.3000.2000000000") as house:
            await house.status(instance_id, State.CONNECTED)


async def test_the_process_cap_refuses_a_new_session_only(tmp_path: Path) -> None:

    async with open_sandbox(tmp_path) as ready, open_house(tmp_path, ready, MAX_SESSIONS_PER_WORKER="1") as house:
        instance_id, _ = await house.pair()
        second, _ = await house.create()
        with pytest.raises(AtCapacity):
            await house.system.ask(second, RequestQr(ORIGIN))
        assert (await house.row(second)).status is State.PENDING
        await house.system.ask(instance_id, Stop(ORIGIN))
        await house.system.ask(second, RequestQr(ORIGIN))
