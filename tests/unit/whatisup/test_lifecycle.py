"""The state table against design: every row, every state reachable, total and pure."""

from __future__ import annotations

import itertools

import pytest

from whatisup.lifecycle import (
    CONNECTED,
    DISCONNECTED,
    LINKED,
    OFFERING,
    PENDING,
    RECONNECTING,
    SITUATIONS,
    TRANSITIONS,
    UNLINKED,
    Auth,
    Reason,
    Situation,
    State,
    Trigger,
    mermaid,
    should_run,
    step,
)

T = Trigger

# Written out by hand from the design, row by row, independently of how `ROWS` spells it.
TRANSIENT = [T.CONNECTION_LOST, T.SERVER_UNAVAILABLE, T.RESTART_REQUIRED]
REBIRTH = [T.PROCESS_RESTARTED, T.ACTOR_CRASHED]
WIPING = [T.LOGGED_OUT, T.DEVICE_REMOVED, T.FORCED_LOGOUT, T.ACCOUNT_LOCKED, T.BANNED]
KEEPING = [T.REPLACED, T.TEMP_BANNED, T.CLIENT_OUTDATED, T.BAD_USER_AGENT, T.CONNECT_FAILURE, T.WRONG_SERVER]

EXPECTED: list[tuple[list[Situation], list[Trigger], Situation, Auth]] = [
    ([PENDING, UNLINKED], [T.PAIR], OFFERING, Auth.NEW),
    ([OFFERING], [T.PAIRING_GAVE_UP, T.STOP, T.LOG_OUT, *REBIRTH], PENDING, Auth.WIPED),
    ([OFFERING], [*WIPING, *KEEPING, T.BAD_CERTIFICATE, T.CERTIFICATE_REFUSED], UNLINKED, Auth.WIPED),
    ([OFFERING], [T.PAIR, *TRANSIENT], OFFERING, Auth.KEPT),
    ([OFFERING], [T.ACCOUNT_LINKED], LINKED, Auth.KEPT),
    ([LINKED, RECONNECTING], [T.LOGIN_SUCCEEDED], CONNECTED, Auth.KEPT),
    ([LINKED, CONNECTED, RECONNECTING], [*TRANSIENT, *REBIRTH], RECONNECTING, Auth.KEPT),
    ([RECONNECTING], [T.CERTIFICATE_REFUSED, T.LOGIN_REFUSED_ONCE], RECONNECTING, Auth.KEPT),
    ([LINKED, CONNECTED, RECONNECTING], WIPING, UNLINKED, Auth.WIPED),
    ([LINKED, CONNECTED, RECONNECTING], [*KEEPING, T.BAD_CERTIFICATE], DISCONNECTED, Auth.KEPT),
    ([CONNECTED, RECONNECTING], [T.STOP], DISCONNECTED, Auth.KEPT),
    ([DISCONNECTED], [T.START, T.BAN_EXPIRED, T.VERSION_CHANGED], RECONNECTING, Auth.KEPT),
    ([CONNECTED, RECONNECTING, DISCONNECTED], [T.LOG_OUT], UNLINKED, Auth.WIPED),
    (list(SITUATIONS), [T.DELETE], UNLINKED, Auth.WIPED),
]
CASES = [(s, t, target, auth) for sources, ts, target, auth in EXPECTED for s in sources for t in ts]


@pytest.mark.parametrize(("source", "trigger", "target", "auth"), CASES, ids=str)
def test_step_follows_the_design(source: Situation, trigger: Trigger, target: Situation, auth: Auth) -> None:
    taken = step(source.state, source.has_account, trigger)
    assert (taken.is_legal, taken.situation, taken.auth) == (True, target, auth)


def test_step_is_total_and_an_illegal_trigger_changes_nothing() -> None:
    for situation, trigger in itertools.product(SITUATIONS, Trigger):
        taken = step(situation.state, situation.has_account, trigger)
        if (situation, trigger) not in TRANSITIONS:
            assert not taken.is_legal
            assert (taken.situation, taken.auth) == (situation, Auth.KEPT)


def test_every_situation_is_reachable_and_every_trigger_is_used() -> None:
    reached, frontier = {PENDING}, {PENDING}
    while frontier:
        frontier = {target for (source, _), (target, _) in TRANSITIONS.items() if source in frontier} - reached
        reached |= frontier
    assert reached == set(SITUATIONS)
    assert {trigger for _, trigger in TRANSITIONS} == set(Trigger)


def test_nothing_is_wiped_by_trouble_that_may_pass() -> None:
    for situation, trigger in itertools.product((LINKED, CONNECTED, RECONNECTING, DISCONNECTED), Trigger):
        taken = step(situation.state, situation.has_account, trigger)
        if taken.auth is Auth.WIPED:
            assert trigger in {*WIPING, T.LOG_OUT, T.DELETE}


def test_an_account_exists_exactly_where_the_states_say_so() -> None:
    assert {s for s in SITUATIONS if s.state in (State.CONNECTED, State.RECONNECTING)} == {CONNECTED, RECONNECTING}
    for target, auth in TRANSITIONS.values():
        assert not (auth is Auth.WIPED and target.has_account)


@pytest.mark.parametrize(
    ("trigger", "reason", "detail"),
    [
        (T.LOGGED_OUT, Reason.LOGOUT, "logged_out"),
        (T.DEVICE_REMOVED, Reason.LOGOUT, "logged_out"),
        (T.FORCED_LOGOUT, Reason.LOGOUT, "logged_out"),
        (T.LOG_OUT, Reason.LOGOUT, "logged_out"),
        (T.DELETE, Reason.LOGOUT, "deleted"),
        (T.REPLACED, Reason.KICKED_OTHER_DEVICE, "replaced"),
        (T.ACCOUNT_LOCKED, Reason.SESSION_INVALIDATED, "account_locked"),
        (T.BANNED, Reason.SESSION_INVALIDATED, "banned"),
        (T.TEMP_BANNED, Reason.SESSION_INVALIDATED, "temp_banned"),
        (T.CLIENT_OUTDATED, Reason.SESSION_INVALIDATED, "client_outdated"),
        (T.BAD_USER_AGENT, Reason.SESSION_INVALIDATED, "bad_user_agent"),
        (T.CONNECT_FAILURE, Reason.SESSION_INVALIDATED, "connect_failure"),
        (T.WRONG_SERVER, Reason.SESSION_INVALIDATED, "wrong_server"),
        (T.BAD_CERTIFICATE, Reason.SESSION_INVALIDATED, "bad_certificate"),
        (T.STOP, Reason.NETWORK, "stopped"),
        (T.CONNECTION_LOST, Reason.NETWORK, "connection_lost"),
        (T.SERVER_UNAVAILABLE, Reason.NETWORK, "server_unavailable"),
        (T.RESTART_REQUIRED, Reason.NETWORK, "restart_required"),
    ],
)
def test_step_names_reason_and_detail(trigger: Trigger, reason: Reason, detail: str) -> None:
    taken = step(State.CONNECTED, True, trigger)
    assert (taken.reason, taken.detail) == (reason, detail)


def test_a_well_instance_has_no_reason() -> None:
    taken = step(State.RECONNECTING, True, T.LOGIN_SUCCEEDED)
    assert (taken.reason, taken.detail) == (None, None)


def test_should_run_is_what_owns_a_socket() -> None:
    assert [state for state in State if should_run(state)] == [State.QR_REQUIRED, State.CONNECTED, State.RECONNECTING]


def test_mermaid_shows_every_state() -> None:
    drawing = mermaid()
    assert all(f" {state} " in drawing or f"> {state}" in drawing for state in State)
