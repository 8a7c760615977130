"""What a step writes: status, auth and events agree, for every row of the lifecycle's table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actors.instance.transition import Transition, iso, transition
from whatisup.lifecycle import SITUATIONS, TRANSITIONS, Auth, Situation, State, Trigger, step
from whatisup.store import AppendEvent, Instance, Mode, NewAuth, SetStatus, Touch, WipeAuth

NOW = 1_767_225_600_123

ROW = Instance(
    id="inst_1",
    customer_id="cust_1",
    mode=Mode.TEST,
    name="one",
    metadata={},
    phone_number="999000000001",
    lid="100000000000001@lid",
    status=State.CONNECTED,
    has_account=True,
    reason=None,
    detail=None,
    expires_at=None,
    intent=None,
    incarnation=3,
    last_seen_at=NOW - 5,
    created_at=1,
    updated_at=1,
    deleted_at=None,
)


def take(situation: Situation, trigger: Trigger, **more: int) -> Transition:
    phone = "999000000001" if situation.has_account else None
    row = replace(ROW, status=situation.state, has_account=situation.has_account, phone_number=phone)
    return transition(row, step(situation.state, situation.has_account, trigger), now_ms=NOW, **more)


def events(change: Transition) -> list[str]:
    return [op.type for op in change.ops if isinstance(op, AppendEvent)]


@pytest.mark.parametrize(("source", "trigger"), TRANSITIONS, ids=str)
def test_transition_writes_what_the_table_says(source: Situation, trigger: Trigger) -> None:
    target, auth = TRANSITIONS[source, trigger]
    change = take(source, trigger)
    assert (change.after.status, change.after.has_account) == (target.state, target.has_account)
    assert (NewAuth() in change.ops) == (auth is Auth.NEW)
    assert (WipeAuth() in change.ops) == (auth is Auth.WIPED)
    moved = source.state is not target.state
    assert ("instance.status" in events(change)) == (moved or (auth is Auth.WIPED and source.has_account))
    assert ("instance.connected" in events(change)) == (moved and target.state is State.CONNECTED)
    left_or_entered = moved and (source.state is State.CONNECTED or target.state is State.DISCONNECTED)
    assert ("instance.disconnected" in events(change)) or not left_or_entered
    if auth is Auth.WIPED:
        assert (change.after.phone_number, change.after.lid) == (None, None)


def test_a_repeated_loss_writes_nothing() -> None:
    once = take(Situation(State.RECONNECTING, has_account=True), Trigger.CONNECTION_LOST)
    again = transition(once.after, step(State.RECONNECTING, True, Trigger.CONNECTION_LOST), now_ms=NOW + 1000)
    assert again.ops == ()


def test_another_reason_to_reconnect_is_kept_without_an_event() -> None:
    once = take(Situation(State.RECONNECTING, has_account=True), Trigger.CONNECTION_LOST)
    other = transition(once.after, step(State.RECONNECTING, True, Trigger.SERVER_UNAVAILABLE), now_ms=NOW + 1000)
    assert [type(op) for op in other.ops] == [SetStatus]
    assert other.after.detail == "server_unavailable"


def test_connecting_touches_and_tells_the_number() -> None:
    change = take(Situation(State.RECONNECTING, has_account=True), Trigger.LOGIN_SUCCEEDED)
    assert Touch(NOW) in change.ops
    told = next(op for op in change.ops if isinstance(op, AppendEvent) and op.type == "instance.connected")
    assert told.data == {"phone_number": "999000000001"}


def test_a_ban_carries_its_end_and_loses_it_when_it_is_over() -> None:
    banned = take(Situation(State.CONNECTED, has_account=True), Trigger.TEMP_BANNED, expires_at=NOW + 60_000)
    assert banned.after.expires_at == NOW + 60_000
    told = next(op for op in banned.ops if isinstance(op, AppendEvent) and op.type == "instance.disconnected")
    assert told.data == {
        "status": "disconnected",
        "reason": "session_invalidated",
        "detail": "temp_banned",
        "expires_at": "2026-01-01T00:01:00.123Z",
    }
    resumed = transition(banned.after, step(State.DISCONNECTED, True, Trigger.BAN_EXPIRED), now_ms=NOW)
    assert resumed.after.expires_at is None


def test_every_situation_can_be_deleted_for_good() -> None:
    for situation in SITUATIONS:
        change = take(situation, Trigger.DELETE)
        assert WipeAuth() in change.ops
        assert not change.after.has_account


def test_iso_is_utc_with_milliseconds() -> None:
    assert iso(NOW) == "2026-01-01T00:00:00.123Z"
    assert iso(None) is None
