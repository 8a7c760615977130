from __future__ import annotations

from collections.abc import Iterator

import pytest

from whatisup.sandbox import ledger as ledger_module
from whatisup.sandbox.ledger import REMEMBERED_S, Ledger, Sent
from whatisup.sandbox.state import State

ADA, BOB, EVE = "999000000001", "999000000002", "999000000003"


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    state = State.open(None)
    yield Ledger(state)
    state.close()


def test_id_is_remembered_with_the_first_time_and_the_last_devices(ledger: Ledger) -> None:
    ledger.remember(ADA, 1, "M1", Sent(100, {f"{BOB}.0": b"x"}))
    ledger.remember(ADA, 1, "M1", Sent(200, {f"{BOB}.0": b"x", f"{BOB}.1": b"y"}))
    assert ledger.sent(ADA, 1, "M1") == Sent(100, {f"{BOB}.0": b"x", f"{BOB}.1": b"y"})
    assert ledger.sent(ADA, 2, "M1") is None
    assert ledger.sent(ADA, 1, "M2") is None


def test_id_is_forgotten_after_two_weeks(ledger: Ledger) -> None:
    ledger.remember(ADA, 1, "old", Sent(100, {}))
    ledger.remember(ADA, 1, "new", Sent(101, {}))
    ledger.expire(100 + REMEMBERED_S)
    assert ledger.sent(ADA, 1, "old") is None
    assert ledger.sent(ADA, 1, "new") is not None


def test_ids_are_bounded_in_number(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "MAX_SENT", 2)
    for number in range(4):
        ledger.remember(ADA, 1, f"M{number}", Sent(100, {}))
    ledger.expire(101)
    assert [ledger.sent(ADA, 1, f"M{number}") is not None for number in range(4)] == [False, False, True, True]


def test_expiry_of_nothing_is_nothing(ledger: Ledger) -> None:
    ledger.expire(10**9)


def test_acquaintances_are_those_of_either_direction(ledger: Ledger) -> None:
    ledger.note_written(ADA, BOB)
    ledger.note_written(EVE, ADA)
    ledger.note_written(ADA, BOB)
    assert ledger.acquaintances(ADA) == [BOB, EVE]
    assert ledger.acquaintances(BOB) == [ADA]
    assert (ledger.has_written(ADA, BOB), ledger.has_written(BOB, ADA)) == (True, False)


def test_what_was_taken_back_is_not_remembered(ledger: Ledger) -> None:
    def write_and_fail() -> None:
        with ledger._state.writing():
            ledger.note_written(ADA, BOB)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    assert not ledger.has_written(ADA, BOB)


def test_token_is_good_for_four_buckets_and_its_holder_alone(ledger: Ledger) -> None:
    week = 7 * 24 * 3600
    ledger.issue_token(BOB, ADA, b"first", 5)
    ledger.issue_token(BOB, ADA, b"second", week)
    assert not ledger.has_token(BOB, ADA, b"first", week)
    assert ledger.has_token(BOB, ADA, b"second", 5 * week - 1)
    assert not ledger.has_token(BOB, ADA, b"second", 5 * week)
    assert not ledger.has_token(BOB, EVE, b"second", week)


def test_block_list_is_kept(ledger: Ledger) -> None:
    ledger.block(ADA, BOB, is_blocked=True)
    ledger.block(ADA, BOB, is_blocked=True)
    assert (ledger.blocked(ADA), ledger.has_blocked(ADA, BOB), ledger.has_blocked(BOB, ADA)) == ([BOB], True, False)
    ledger.block(ADA, BOB, is_blocked=False)
    assert ledger.blocked(ADA) == []
