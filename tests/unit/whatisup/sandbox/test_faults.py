from __future__ import annotations

import pytest

from whatisup.control import FAULT_NAMES, FaultParams, FaultRequest, Scope
from whatisup.protocol.profile import ClientVersion
from whatisup.sandbox import faults as faults_module
from whatisup.sandbox.faults import KINDS, Faults, Moment, Target
from whatisup.sandbox.strikes import STRIKES

ADA, BOB = Target("999000000001", 1), Target("999000000002", 1)
ADAS_SECOND = Target("999000000001", 2)
NEWCOMER = Target()


def hits(faults: Faults, target: Target, moment: Moment = Moment.LIVE, now: float = 0.0) -> int:
    return len(list(faults.strike(moment, target, now)))


def test_every_name_has_a_row_and_every_row_a_name() -> None:
    assert set(KINDS) == set(FAULT_NAMES)


def test_every_live_fault_has_a_strike() -> None:
    assert {name for name, kind in KINDS.items() if kind.moment is Moment.LIVE} == set(STRIKES)


def test_fault_strikes_once_unless_told_otherwise() -> None:
    faults = Faults()
    faults.arm(FaultRequest("drop"), 0.0)
    assert [hits(faults, ADA), hits(faults, ADA)] == [1, 0]


def test_fault_strikes_as_often_as_told() -> None:
    faults = Faults()
    faults.arm(FaultRequest("drop", times=2), 0.0)
    assert [hits(faults, ADA), hits(faults, BOB), hits(faults, ADA)] == [1, 1, 0]


def test_fault_for_a_time_strikes_until_it_is_over() -> None:
    faults = Faults()
    faults.arm(FaultRequest("drop", seconds=10), 100.0)
    assert [hits(faults, ADA, now=now) for now in (100.0, 105.0, 109.9, 110.0)] == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("scope", "targets"),
    [
        (Scope(), [ADA, ADAS_SECOND, BOB, NEWCOMER]),
        (Scope("999000000001"), [ADA, ADAS_SECOND]),
        (Scope("999000000001", 2), [ADAS_SECOND]),
    ],
)
def test_fault_strikes_within_its_scope_only(scope: Scope, targets: list[Target]) -> None:
    faults = Faults()
    faults.arm(FaultRequest("drop", scope, seconds=10), 0.0)
    assert [target for target in (ADA, ADAS_SECOND, BOB, NEWCOMER) if hits(faults, target)] == targets


def test_fault_strikes_at_its_moment_only() -> None:
    faults = Faults()
    faults.arm(FaultRequest("failure-403"), 0.0)
    assert hits(faults, ADA, Moment.LIVE) == 0
    assert hits(faults, ADA, Moment.ANSWER) == 1


def test_fault_for_companions_spares_newcomers_and_the_other_way_round() -> None:
    faults = Faults()
    faults.arm(FaultRequest("device-removed", seconds=10), 0.0)
    assert (hits(faults, ADA), hits(faults, NEWCOMER)) == (1, 0)
    faults.clear(Scope())
    faults.arm(FaultRequest("refs-expired", seconds=10), 0.0)
    assert (hits(faults, ADA), hits(faults, NEWCOMER)) == (0, 1)


def test_no_answer_can_choose_its_request() -> None:
    faults = Faults()
    faults.arm(FaultRequest("no-answer", params=FaultParams(iq="encrypt")), 0.0)
    assert hits(faults, Target("1", 1, iq="w:p"), Moment.IQ) == 0
    assert hits(faults, Target("1", 1, iq="encrypt"), Moment.IQ) == 1


def test_failure_405_can_be_for_older_clients_alone() -> None:
    faults = Faults()
    faults.arm(FaultRequest("failure-405", seconds=10, params=FaultParams(below_version="2.3000.10")), 0.0)
    versions = [ClientVersion(2, 3000, 9), ClientVersion(2, 3000, 10), None]
    assert [hits(faults, Target(version=version), Moment.ANSWER) for version in versions] == [1, 0, 0]


def test_strike_one_leaves_the_other_faults_their_rounds() -> None:
    faults = Faults()
    faults.arm(FaultRequest("failure-403"), 0.0)
    faults.arm(FaultRequest("failure-500"), 0.0)
    names = []
    while (armed := faults.strike_one(Moment.ANSWER, ADA, 0.0)) is not None:
        names.append(armed.request.name)
    assert names == ["failure-403", "failure-500"]


def test_disarmed_fault_strikes_no_more() -> None:
    faults = Faults()
    armed = faults.arm(FaultRequest("drop"), 0.0)
    assert armed is not None
    assert faults.disarm(armed.id)
    assert not faults.disarm(armed.id)
    assert hits(faults, ADA) == 0


def test_clear_disarms_what_lies_within_the_scope() -> None:
    faults = Faults()
    for scope in (Scope(), Scope(ADA.number), Scope(ADA.number, 1), Scope(BOB.number)):
        faults.arm(FaultRequest("drop", scope), 0.0)
    assert faults.clear(Scope(ADA.number)) == 2
    assert [armed.request.scope for armed in faults.listed(0.0)] == [Scope(), Scope(BOB.number)]
    assert faults.clear(Scope()) == 2


def test_spent_fault_is_still_shown_with_its_hits() -> None:
    faults = Faults()
    faults.arm(FaultRequest("drop"), 0.0)
    hits(faults, ADA)
    (shown,) = [armed.view(5.0) for armed in faults.listed(5.0)]
    assert (shown.times_left, shown.hits, shown.expires_in_s) == (0, 1, None)


def test_faults_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults_module, "MAX_ARMED", 2)
    faults = Faults()
    assert faults.arm(FaultRequest("drop"), 0.0)
    assert faults.arm(FaultRequest("drop"), 0.0)
    assert faults.arm(FaultRequest("drop"), 0.0) is None
