"""When a delivery is tried again: each step, both ends of the jitter, and the end of the ladder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatisup.webhooks.ladder import delay_s

DELAYS = (10.0, 60.0, 300.0, 1800.0, 7200.0)


@pytest.mark.parametrize(("tries", "delay"), list(enumerate(DELAYS, 1)))
def test_ladder_in_the_middle_of_the_jitter_is_the_setting(tries: int, delay: float) -> None:
    assert delay_s(tries, DELAYS, 0.5) == delay


@pytest.mark.parametrize("tries", [6, 7, 1000])
def test_ladder_gives_up_past_its_end(tries: int) -> None:
    assert delay_s(tries, DELAYS, 0.5) is None


def test_ladder_without_steps_gives_up_at_once() -> None:
    assert delay_s(1, (), 0.5) is None


def test_ladder_is_not_climbed_without_a_failure() -> None:
    with pytest.raises(ValueError, match="starts at 1"):
        delay_s(0, DELAYS, 0.5)


@given(st.integers(1, 5), st.floats(0, 1))
def test_jitter_stays_within_a_tenth(tries: int, jitter: float) -> None:
    delay = delay_s(tries, DELAYS, jitter)
    assert delay is not None
    assert 0.9 * DELAYS[tries - 1] <= delay <= 1.1 * DELAYS[tries - 1] + 1e-9


def test_jitter_reaches_both_ends() -> None:
    assert (delay_s(1, DELAYS, 0.0), delay_s(1, DELAYS, 1.0)) == (9.0, 11.0)
