"""Each named fault of the sandbox leads to the state, reason, auth outcome and events that the design's table gives.

One gateway process, one sandbox process, one instance per row; the rows run side by side, as instances do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.e2e.world import Number, World, open_world
from whatisup.control import FaultRequest

RESUMES = "resumes"
STAYS = "stays"
KEPT = "kept"
WIPED = "wiped"


@dataclass(frozen=True)
class Case:
    """A fault on a connected instance and what must come of it."""

    fault: str
    outcome: str
    detail: str | None = None
    reason: str | None = None
    # What strikes only at a login needs the connection to end first.
    needs_login: bool = False
    params: dict[str, Any] = field(default_factory=dict)
    within_s: float = 30.0

    def __str__(self) -> str:
        return "-".join([self.fault, *map(str, self.params.values())])


CASES: Sequence[Case] = (
    Case("stream-515", RESUMES, detail="restart_required"),
    Case("stream-503", RESUMES, detail="server_unavailable"),
    Case("drop", RESUMES, detail="connection_lost"),
    Case("garbage", RESUMES, detail="connection_lost"),
    Case("half-open", RESUMES, detail="connection_lost", within_s=75.0),
    Case("no-answer", RESUMES, needs_login=True, params={"params": {"iq": "encrypt"}}),
    Case("no-answer", STAYS, params={"params": {"iq": "w:p"}}, within_s=45.0),
    Case("conflict-replaced", KEPT, "replaced", "kicked_other_device"),
    Case("device-removed", WIPED, "logged_out", "logout"),
    Case("failure-401", WIPED, "logged_out", "logout", needs_login=True, params={"times": 2}),
    Case("failure-403", WIPED, "account_locked", "session_invalidated", needs_login=True),
    Case("failure-406", WIPED, "banned", "session_invalidated", needs_login=True),
    Case("failure-405", KEPT, "client_outdated", "session_invalidated", needs_login=True),
    Case("failure-409", KEPT, "bad_user_agent", "session_invalidated", needs_login=True),
    Case("failure-400", KEPT, "connect_failure", "session_invalidated", needs_login=True),
    Case("failure-500", RESUMES, needs_login=True),
    Case("failure-503", RESUMES, needs_login=True),
    Case("temp-ban", KEPT, "temp_banned", "session_invalidated", needs_login=True,
         params={"params": {"code": 101, "expire_s": 3600}}),
    Case("bad-certificate", RESUMES, needs_login=True, params={"params": {"variant": "expired"}}),
    Case("bad-certificate", RESUMES, needs_login=True, params={"params": {"variant": "wrong-leaf-key"}}),
    Case("bad-certificate", RESUMES, needs_login=True, params={"params": {"variant": "wrong-root"}}),
)  # fmt: skip


async def play(case: Case, number: Number, failures: dict[str, str]) -> None:
    try:
        await strike(case, number)
    except (AssertionError, KeyError, Exception) as error:  # collected, so that one row does not hide the others
        failures[str(case)] = f"{type(error).__name__}: {error}"


async def strike(case: Case, number: Number) -> None:
    world = number.world
    since = world.journal.mark()
    fault = await number.fault(case.fault, **case.params)
    if case.needs_login:
        await number.fault("drop")
    if case.outcome == STAYS:
        # One ping goes unanswered within this time; the second, sent at once, saves the connection.
        await trio.sleep(case.within_s)
        assert [seen.name for seen in number.events() if seen in world.journal.entries[since:]] == []
        await number.status("connected")
        listed = (await world.api.call("GET", "/v1/sandbox/faults"))["data"]
        assert [armed["hits"] for armed in listed if armed["id"] == fault["id"]] == [1]
        return
    if case.outcome == RESUMES:
        lost = await number.seen("instance.status", since=since, within_s=case.within_s, status="reconnecting")
        if case.detail is not None:
            assert lost.data["detail"] == case.detail
        assert lost.data["reason"] == "network"
        gone = await number.seen("instance.disconnected", since=since, status="reconnecting")
        assert gone.data["reason"] == "network"
        await number.seen("instance.connected", since=since, within_s=60.0, phone_number=number.number)
        row = await number.status("connected")
        assert (row["reason"], row["detail"]) == (None, None)
        assert world.auth_rows(number) > 800
        return
    row = await number.status("disconnected", within_s=case.within_s, detail=case.detail)
    assert row["reason"] == case.reason
    assert (row["expires_at"] is not None) == (case.fault == "temp-ban")
    told = await number.seen("instance.disconnected", since=since, status="disconnected")
    assert (told.data["reason"], told.data["detail"]) == (case.reason, case.detail)
    if case.outcome == WIPED:
        assert world.auth_rows(number) == 0
        assert row["phone_number"] is None
        refused = await world.api.ask("POST", f"/v1/instances/{number.instance_id}/start", {})
        assert (refused.status, refused.json()["error"]["code"]) == (409, "invalid_lifecycle_transition")
    else:
        assert world.auth_rows(number) > 800
        assert row["phone_number"] == number.number
        await number.act("start")
        await number.status("connected")


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_each_fault_leads_where_the_table_says(tmp_path: Path) -> None:
    failures: dict[str, str] = {}
    async with open_world(tmp_path) as world:
        numbers = await world.pair_many(len(CASES))
        with trio.fail_after(150):
            async with trio.open_nursery() as nursery:
                for case, number in zip(CASES, numbers, strict=True):
                    nursery.start_soon(play, case, number, failures)
    assert failures == {}


async def check_harmless(world: World) -> None:
    """Faults that a connection survives: malformed and unknown stanzas, latency, a silent answer."""
    number = await world.pair()
    since = world.journal.mark()
    for name in ("malformed-node", "unknown-tag"):
        await number.fault(name)
    await number.fault("slow", seconds=2, params={"latency_ms": 50})
    await trio.sleep(2.5)
    await number.status("connected")
    assert [seen.data for seen in number.events() if seen.name == "instance.disconnected"] == []
    assert world.journal.mark() == since


async def check_rounds(world: World) -> None:
    """A QR that expires is followed by another; pairing by code works while a QR is on offer."""
    number = await world.create()
    await world.api.call("GET", f"/v1/instances/{number.instance_id}/qr")
    first = await number.seen("qr.updated")
    since = world.journal.mark()
    await world.control().arm(FaultRequest("refs-expired"))  # who is not linked yet has no number to aim at
    second = await number.seen("qr.updated", since=since)
    assert first.data["code"] != second.data["code"]
    code = await number.act("pair-code", {"phone_number": number.number})
    assert code["status"] == "qr_required"
    await number.phone("scan")
    await number.status("connected")


async def check_stop_and_start(world: World) -> None:
    number = await world.pair()
    await number.act("stop")
    row = await number.status("disconnected")
    assert (row["reason"], row["detail"]) == ("network", "stopped")
    refused = await world.api.ask("GET", f"/v1/instances/{number.instance_id}/qr")
    assert (refused.status, refused.json()["error"]["code"]) == (409, "session_exists")
    await number.act("start")
    await number.status("connected")


async def check_logout_and_pair_again(world: World) -> None:
    number = await world.pair()
    answer = await number.act("logout")
    assert answer["unlinked"] is True
    row = await number.status("disconnected")
    assert (row["reason"], row["detail"], row["phone_number"]) == ("logout", "logged_out", None)
    assert world.auth_rows(number) == 0
    await world.api.call("GET", f"/v1/instances/{number.instance_id}/qr")
    await number.phone("scan")
    await number.status("connected")


async def check_logout_without_a_socket(world: World) -> None:
    """A stopped instance logs in once more, so that the phone forgets the device."""
    number = await world.pair()
    await number.act("stop")
    answer = await number.act("logout")
    assert answer["unlinked"] is True
    assert world.auth_rows(number) == 0


async def check_delete(world: World) -> None:
    number = await world.pair()
    reply = await world.api.ask("DELETE", f"/v1/instances/{number.instance_id}")
    assert reply.status == 204
    assert (await world.api.ask("GET", f"/v1/instances/{number.instance_id}")).status == 404
    assert world.auth_rows(number) == 0


async def check_unlink_on_the_phone(world: World) -> None:
    number = await world.pair()
    await number.phone("unlink")
    await number.status("disconnected", detail="logged_out")
    assert world.auth_rows(number) == 0


async def check_ban_expiry(world: World) -> None:
    """A temporary ban that passes resumes by itself: the heartbeat sees it."""
    number = await world.pair()
    await number.fault("temp-ban", params={"code": 101, "expire_s": 3})
    await number.fault("drop")
    await number.status("disconnected", detail="temp_banned")
    await number.status("connected", within_s=20.0)


CHECKS = (
    check_harmless,
    check_rounds,
    check_stop_and_start,
    check_logout_and_pair_again,
    check_logout_without_a_socket,
    check_delete,
    check_unlink_on_the_phone,
    check_ban_expiry,
)


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_life_goes_as_the_design_says(tmp_path: Path) -> None:
    failures: dict[str, str] = {}
    async with open_world(tmp_path) as world:
        for check in CHECKS:
            with trio.move_on_after(60) as scope:
                try:
                    await check(world)
                except Exception as error:  # collected, so that one check does not hide the others
                    failures[check.__name__] = f"{type(error).__name__}: {error}"
            if scope.cancelled_caught:
                failures[check.__name__] = "took longer than 60 s"
    assert failures == {}
