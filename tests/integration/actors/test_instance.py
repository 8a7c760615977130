"""An instance in this process against a sandbox: its whole life, and a crash at every arrow of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from actors.instance.actor import InstanceActor
from actors.messages import Delete, Logout, RequestPairCode, RequestQr, Start, Stop
from tests.integration.actors.arrows import Bug, until_no_arrow_is_left
from tests.integration.actors.house import ORIGIN, House, open_house, open_sandbox
from whatisup.control import FaultRequest, Scope
from whatisup.errors import (
    CommandRefused,
    Fenced,
    InvalidTransition,
    PairingEnded,
    SessionExists,
    StoreUnavailable,
    UnknownInstance,
    WhatIsUpError,
)
from whatisup.lifecycle import Reason, State
from whatisup.store import PutAuth, SetStatus, Unit, auth, instances


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_sandbox(tmp_path) as ready, open_house(tmp_path, ready) as house:
        yield house


async def auth_rows(house: House, instance_id: str) -> int:
    uploaded = await house.database.read(auth.prekey_ids, instance_id, "uploaded")
    offered = await house.database.read(auth.prekey_ids, instance_id, "offered")
    own = [await house.database.read(auth.get, instance_id, kind, "own") for kind in ("credentials", "account")]
    return len(uploaded) + len(offered) + sum(value is not None for value in own)


async def test_pairing_by_qr_tells_its_story_in_events(house: House) -> None:
    instance_id, number = await house.pair()
    row = await house.row(instance_id)
    assert (row.phone_number, row.has_account, row.reason, row.detail) == (number, True, None, None)
    assert row.last_seen_at is not None
    log = [event for event in await house.events(instance_id) if event.type != "qr.updated"]
    assert [(event.type, event.data and event.data.get("status")) for event in log] == [
        ("instance.status", "qr_required"),
        ("instance.status", "reconnecting"),
        ("instance.status", "connected"),
        ("instance.connected", None),
    ]
    everything = await house.events(instance_id)
    assert [event.seq for event in everything] == list(range(1, len(everything) + 1))
    uploaded = await house.database.read(auth.prekey_ids, instance_id, "uploaded")
    assert len(uploaded) in (811, 812)  # the phone's greeting uses one up


async def test_pairing_by_linking_code(house: House) -> None:
    instance_id, number = await house.create()
    code = await house.system.ask(instance_id, RequestPairCode(ORIGIN, number))
    assert len(code.code) == 9
    assert code.code[4] == "-"
    linked = await house.sandbox.enter_link_code(number, code.code)
    assert linked.number == number
    row = await house.status(instance_id, State.CONNECTED)
    assert row.phone_number == number


async def test_a_wrong_linking_code_leaves_pairing_open(house: House) -> None:
    instance_id, number = await house.create()
    await house.system.ask(instance_id, RequestPairCode(ORIGIN, number))
    with pytest.raises(CommandRefused):
        await house.sandbox.enter_link_code(number, "1111-1111")
    row = await house.row(instance_id)
    assert row.status is State.QR_REQUIRED
    qr = await house.system.ask(instance_id, RequestQr(ORIGIN))
    await house.sandbox.scan(number, qr.code)
    await house.status(instance_id, State.CONNECTED)


async def test_commands_that_the_state_forbids_are_refused_and_harm_nothing(house: House) -> None:
    instance_id, _ = await house.create()
    for command in (Start(ORIGIN), Stop(ORIGIN), Logout(ORIGIN)):
        with pytest.raises(InvalidTransition):
            await house.system.ask(instance_id, command)  # type: ignore[arg-type]  # a union of commands
    assert (await house.row(instance_id)).status is State.PENDING
    with pytest.raises(UnknownInstance):
        await house.system.ask("inst_00000000000000000000000000", Stop(ORIGIN))
    paired, _ = await house.pair()
    with pytest.raises(SessionExists):
        await house.system.ask(paired, RequestQr(ORIGIN))
    with pytest.raises(InvalidTransition):
        await house.system.ask(paired, Start(ORIGIN))
    assert (await house.row(paired)).status is State.CONNECTED


async def test_stop_while_pairing_gives_the_pairing_up_and_tells_who_waits(house: House) -> None:
    instance_id, _ = await house.create()
    await house.system.ask(instance_id, RequestQr(ORIGIN))
    await house.system.ask(instance_id, Stop(ORIGIN))
    row = await house.row(instance_id)
    assert (row.status, row.has_account) == (State.PENDING, False)
    assert await auth_rows(house, instance_id) == 0


async def test_delete_refuses_who_waits_for_a_qr(house: House, nursery: trio.Nursery) -> None:
    instance_id, _ = await house.create()
    await house.system.ask(instance_id, RequestQr(ORIGIN))
    await house.sandbox.arm(FaultRequest("half-open", seconds=5))
    refused = trio.Event()

    async def wait_for_code() -> None:
        with pytest.raises((PairingEnded, CommandRefused)):
            await house.system.ask(instance_id, RequestPairCode(ORIGIN, "999000000000"))
        refused.set()

    nursery.start_soon(wait_for_code)
    await trio.sleep(0.3)
    await house.system.ask(instance_id, Delete(ORIGIN))
    with trio.fail_after(5):
        await refused.wait()
    with pytest.raises(UnknownInstance):
        await house.system.ask(instance_id, RequestQr(ORIGIN))


async def test_a_single_401_wipes_nothing(house: House) -> None:
    instance_id, number = await house.pair()
    await house.sandbox.arm(FaultRequest("failure-401", Scope(number), times=1))
    since = len(await house.events(instance_id))
    await house.sandbox.arm(FaultRequest("drop", Scope(number)))
    await house.went_through(instance_id, State.RECONNECTING, State.CONNECTED, since=since)
    assert await auth_rows(house, instance_id) > 800


async def test_a_certificate_refused_five_times_needs_a_person(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.instance.backoff.CAP_S", 0.05)
    instance_id, number = await house.pair()
    await house.sandbox.arm(FaultRequest("bad-certificate", seconds=15))
    await house.sandbox.arm(FaultRequest("drop", Scope(number)))
    row = await house.status(instance_id, State.DISCONNECTED)
    assert (row.detail, row.reason, row.has_account) == ("bad_certificate", Reason.SESSION_INVALIDATED, True)


async def test_an_actor_killed_with_a_unit_queued_never_overwrites_its_successor(house: House) -> None:
    """The unit of a dead incarnation reaches the writer after its successor was born, and is refused."""
    instance_id, _ = await house.pair()
    dead = await house.row(instance_id)
    await house.writer.call(instances.bump_incarnation, instance_id)
    stale = Unit(
        instance_id,
        dead.incarnation,
        (SetStatus(State.PENDING, has_account=False), PutAuth("credentials", "own", b"of the dead")),
    )
    with pytest.raises(Fenced):
        await house.writer.submit(stale)
    row = await house.row(instance_id)
    assert row.status is not State.PENDING
    await house.status(instance_id, State.CONNECTED)


async def devices(house: House, number: str) -> int:
    return len((await house.sandbox.account(number)).devices)


async def scan_when_offered(house: House, instance_id: str, number: str) -> None:
    """Pair as a person would: ask for a QR until there is one to scan, and stop when it went through or is over."""
    with suppress(WhatIsUpError):
        qr = await house.system.ask(instance_id, RequestQr(ORIGIN))
        await house.sandbox.scan(number, qr.code)


async def consistent(house: House, instance_id: str, number: str) -> State:
    """Wait until gateway and server agree: both have the device, or neither has, with no auth state left."""
    with trio.move_on_after(15):
        while True:
            row = await house.row(instance_id)
            linked = await devices(house, number)
            if row.status is State.CONNECTED and linked == 1:
                return row.status
            if row.status in (State.PENDING, State.DISCONNECTED) and linked == 0:
                assert await auth_rows(house, instance_id) == 0
                return row.status
            await trio.sleep(0.02)
    raise AssertionError(f"never agreed: {row.status} {row.detail}, {linked} devices")


"""Arrows tried side by side; each instance has a bug of its own, so they do not disturb each other."""


@pytest.mark.slow
async def test_a_crash_at_every_arrow_of_pairing_converges(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    bug = Bug(monkeypatch)
    outcomes: set[State] = set()

    async def try_arrow(at: int) -> bool:
        instance_id, number = await house.create()
        plan = bug.arm(instance_id, at)
        await scan_when_offered(house, instance_id, number)
        outcome = await consistent(house, instance_id, number)
        outcomes.add(outcome)
        if outcome is not State.CONNECTED:
            await scan_when_offered(house, instance_id, number)
            await house.status(instance_id, State.CONNECTED)
        return plan.has_struck

    assert await until_no_arrow_is_left(try_arrow, stride=2) > 10
    assert {State.CONNECTED, State.PENDING} <= outcomes


@pytest.mark.slow
@pytest.mark.parametrize("farewell", [Logout(ORIGIN), Delete(ORIGIN)], ids=["logout", "delete"])
async def test_a_crash_at_every_arrow_of_leaving_converges(
    house: House, monkeypatch: pytest.MonkeyPatch, farewell: Logout | Delete
) -> None:
    bug = Bug(monkeypatch)

    async def try_arrow(at: int) -> bool:
        instance_id, number = await house.pair()
        plan = bug.arm(instance_id, at, since="begin_farewell")
        with suppress(CommandRefused):
            await house.system.ask(instance_id, farewell)  # type: ignore[arg-type]  # either command
        if at == 1:  # before the wish was committed: nothing happened, and nothing must
            await house.status(instance_id, State.CONNECTED)
            return True
        assert await has_left(house, instance_id), (at, await house.database.read(instances.get, instance_id))
        if isinstance(farewell, Logout):
            assert await devices(house, number) == 0
        return plan.has_struck

    assert await until_no_arrow_is_left(try_arrow) > 3


async def has_left(house: House, instance_id: str) -> bool:
    """Whether, within bounds, the keys are destroyed and the row says so."""
    with trio.move_on_after(8):
        while True:
            row = await house.database.read(instances.get, instance_id)
            is_gone = row is None or (row.status is State.DISCONNECTED and row.intent is None)
            if is_gone and await auth_rows(house, instance_id) == 0:
                return True
            await trio.sleep(0.02)
    return False


async def test_a_crash_disturbs_no_sibling(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    siblings = [(await house.pair())[0] for _ in range(3)]
    before = [len(await house.events(sibling)) for sibling in siblings]
    bug = Bug(monkeypatch)
    instance_id, number = await house.pair()
    plan = bug.arm(instance_id, 1)
    since = len(await house.events(instance_id))
    await house.sandbox.arm(FaultRequest("stream-503", Scope(number)))
    await house.went_through(instance_id, State.RECONNECTING, State.CONNECTED, since=since)
    assert plan.has_struck
    assert [len(await house.events(sibling)) for sibling in siblings] == before


async def test_a_store_that_was_away_ends_no_pairing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The actor dies with the store and is reborn when it is back; the phone can still scan what comes then."""
    monkeypatch.setattr("actors.supervisor.STORE_PROBE_S", 0.01)
    instance_id, number = await house.create()
    await house.system.ask(instance_id, RequestQr(ORIGIN))
    first = house.system.fleet.members[instance_id]
    assert isinstance(first, InstanceActor)

    async def fail(*_: object) -> None:
        raise StoreUnavailable("away for a moment")

    first.commit = fail  # type: ignore[method-assign]  # the outage, as this one actor sees it
    await house.sandbox.arm(FaultRequest("refs-expired"))
    with trio.fail_after(10):
        while house.system.fleet.members.get(instance_id) in (first, None):
            await trio.sleep(0.02)
    qr = await house.system.ask(instance_id, RequestQr(ORIGIN))
    await house.sandbox.scan(number, qr.code)
    await house.status(instance_id, State.CONNECTED)
    moves = [
        event.data and event.data["status"]
        for event in await house.events(instance_id)
        if event.type == "instance.status"
    ]
    assert moves == ["qr_required", "reconnecting", "connected"]
