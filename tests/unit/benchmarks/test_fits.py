"""Exponents and slopes, against lines that are known."""

from __future__ import annotations

import random

import pytest

from benchmarks.findings.fits import drift, exponent, line


def test_line_through_points_is_found() -> None:
    assert line([1, 2, 3], [5, 7, 9]) == (2.0, 3.0)


@pytest.mark.parametrize("xs", [[], [1], [2, 2]])
def test_line_needs_two_different_places(xs: list[float]) -> None:
    assert line(xs, xs) is None


@pytest.mark.parametrize("power", [-0.5, 0.0, 0.1, 1.0])
def test_exponent_of_a_power_law_is_its_power(power: float) -> None:
    assert exponent({size: 7 * size**power for size in (10, 50, 200, 1000)}) == pytest.approx(power)


def test_exponent_leaves_out_what_a_process_costs_by_itself() -> None:
    assert exponent({1: 900.0, 10: 5.0, 1000: 5.0}) == pytest.approx(0.0)
    assert exponent({10: 900.0, 50: 5.0, 1000: 5.0}) == pytest.approx(0.0)
    assert exponent({1: 8.0, 50: 4.0}) == pytest.approx(-0.177, abs=0.001)


def test_exponent_of_one_size_or_no_cost_is_none() -> None:
    assert exponent({50: 3.0}) is None
    assert exponent({50: 3.0, 200: 0.0}) is None


def test_drift_of_noise_holds_zero_and_of_a_leak_does_not() -> None:
    dice = random.Random(3)
    times = [10.0 * index for index in range(180)]
    noise = [dice.gauss(0, 1) for _ in times]
    flat, leak = drift(times, noise), drift(times, [level + 0.01 * at for at, level in zip(times, noise, strict=True)])
    assert flat is not None
    assert leak is not None
    assert flat.low < 0 < flat.high
    assert leak.low > 0.008
    assert leak.value == pytest.approx(flat.value + 0.01)


def test_drift_trusts_samples_less_that_are_like_their_neighbours() -> None:
    dice = random.Random(5)
    level, walk = 0.0, []
    for _ in range(180):
        level = 0.95 * level + dice.gauss(0, 1)
        walk.append(level)
    shuffled = random.Random(1).sample(walk, len(walk))
    times = [float(index) for index in range(180)]
    alike, apart = drift(times, walk), drift(times, shuffled)
    assert alike is not None
    assert apart is not None
    assert alike.high - alike.low > 3 * (apart.high - apart.low)


def test_drift_of_a_few_samples_is_none_and_of_a_constant_exact() -> None:
    assert drift([1, 2, 3, 4], [1, 2, 3, 4]) is None
    found = drift([1, 2, 3, 4, 5], [2, 2, 2, 2, 2])
    assert found is not None
    assert (found.low, found.value, found.high) == (0, 0, 0)
