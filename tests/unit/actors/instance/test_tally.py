"""What repeated trouble means."""

from __future__ import annotations

import pytest

from actors.instance.tally import (
    MAX_CERTIFICATE_REFUSALS,
    MAX_PAIRING_LOSSES,
    MAX_ROUNDS,
    MAX_UNKNOWN_FAILURES,
    Tally,
    Verdict,
    Wait,
)
from whatisup.lifecycle import Trigger


def judge(tally: Tally, trigger: Trigger, code: int | None = None, *, has_account: bool = True) -> Verdict:
    return tally.judge(trigger, code=code, has_account=has_account)


def test_a_401_is_confirmed_by_one_more_login() -> None:
    tally = Tally()
    assert judge(tally, Trigger.LOGGED_OUT, 401) == Verdict(Trigger.LOGIN_REFUSED_ONCE, Wait.NONE)
    assert judge(tally, Trigger.LOGGED_OUT, 401).trigger is Trigger.LOGGED_OUT


def test_an_ambiguous_401_never_wipes_by_itself() -> None:
    tally = Tally()
    for _ in range(5):
        assert judge(tally, Trigger.LOGIN_REFUSED_ONCE, 401).trigger is Trigger.LOGIN_REFUSED_ONCE
    assert judge(tally, Trigger.LOGGED_OUT, 401).trigger is Trigger.LOGGED_OUT


def test_a_login_in_between_forgives() -> None:
    tally = Tally()
    judge(tally, Trigger.LOGGED_OUT, 401)
    tally.reset()
    assert judge(tally, Trigger.LOGGED_OUT, 401).trigger is Trigger.LOGIN_REFUSED_ONCE


@pytest.mark.parametrize("trigger", [Trigger.DEVICE_REMOVED, Trigger.FORCED_LOGOUT, Trigger.BANNED, Trigger.REPLACED])
def test_what_is_certain_is_believed_at_once(trigger: Trigger) -> None:
    assert judge(Tally(), trigger, 401).trigger is trigger


def test_certificates_are_refused_five_times() -> None:
    tally = Tally()
    verdicts = [judge(tally, Trigger.CERTIFICATE_REFUSED).trigger for _ in range(MAX_CERTIFICATE_REFUSALS)]
    assert verdicts == [*[Trigger.CERTIFICATE_REFUSED] * (MAX_CERTIFICATE_REFUSALS - 1), Trigger.BAD_CERTIFICATE]


def test_unknown_failures_are_final_at_the_third() -> None:
    tally = Tally()
    verdicts = [judge(tally, Trigger.SERVER_UNAVAILABLE, 599).trigger for _ in range(MAX_UNKNOWN_FAILURES)]
    assert verdicts[-1] is Trigger.CONNECT_FAILURE
    assert verdicts[:-1] == [Trigger.SERVER_UNAVAILABLE] * (MAX_UNKNOWN_FAILURES - 1)


def test_a_server_that_is_down_is_never_final() -> None:
    tally = Tally()
    assert {judge(tally, Trigger.SERVER_UNAVAILABLE, 503).trigger for _ in range(50)} == {Trigger.SERVER_UNAVAILABLE}


def test_the_experimental_failure_waits_long() -> None:
    assert judge(Tally(), Trigger.SERVER_UNAVAILABLE, 501).wait is Wait.LONG


def test_a_restart_waits_on_request() -> None:
    assert judge(Tally(), Trigger.RESTART_REQUIRED, 515).wait is Wait.ON_REQUEST


def test_pairing_gives_up_after_three_rounds_or_many_losses() -> None:
    tally = Tally()
    rounds = [tally.end_round() for _ in range(MAX_ROUNDS)]
    assert rounds[-1].trigger is Trigger.PAIRING_GAVE_UP
    assert rounds[0] == Verdict(Trigger.CONNECTION_LOST, Wait.NONE)
    losses = [judge(Tally(pairing_losses=n), Trigger.CONNECTION_LOST, has_account=False).trigger for n in range(8)]
    assert losses.index(Trigger.PAIRING_GAVE_UP) == MAX_PAIRING_LOSSES - 1


def test_tally_of_a_flood_takes_few_lines() -> None:
    tally = Tally()
    lines = [number for number in range(1, 10_001) if tally.is_worth_a_line("frame_dropped")]
    assert lines == [2**power for power in range(14)]
    assert tally.is_worth_a_line("phone_too_old")
    tally.reset()
    assert not tally.is_worth_a_line("frame_dropped")
