"""The timer that is reckoned: it sees what one of 10 ms would see that runs on the loop."""

from __future__ import annotations

import time

import pytest
import trio

from benchmarks.probes.lateness import Lateness, LoopWatch


def test_a_loop_that_waits_is_punctual() -> None:
    lateness = Lateness()
    for turn in range(1000):
        lateness.waited(turn * 0.010)
        lateness.worked(turn * 0.010 + 0.0001)
    assert lateness.longest_s < 0.0002
    assert lateness.p99_s() < 0.0002


def test_one_long_turn_is_one_late_tick() -> None:
    lateness = Lateness()
    lateness.waited(0.0)
    lateness.worked(0.5)  # due at 0.01
    lateness.waited(10.0)
    assert lateness.longest_s == pytest.approx(0.49)
    assert sum(lateness.buckets) == 1
    assert lateness.punctual == 950, "the next was due at 0.51, and from there on all waited for"


def test_p99_is_what_one_tick_of_a_hundred_exceeds() -> None:
    lateness, now = Lateness(), 0.0
    for turn in range(1000):
        lateness.waited(now)
        now += 0.110 if turn % 50 == 0 else 0.012
        lateness.worked(now)
    assert lateness.p99_s() == pytest.approx(0.100, rel=0.04)
    assert lateness.said()["max_ms"] == pytest.approx(100.0, abs=0.1)


def test_many_short_turns_do_not_hide_a_long_one() -> None:
    # Of the turns one in a thousand is long, but it takes half of the time.
    lateness, now = Lateness(), 0.0
    for turn in range(100_000):
        lateness.waited(now)
        now += 0.100 if turn % 1000 == 0 else 0.0001
        lateness.worked(now)
    assert 0.089 < lateness.p99_s() <= 0.100


def test_restart_forgets() -> None:
    lateness = Lateness()
    lateness.waited(0.0)
    lateness.worked(0.5)
    lateness.restart()
    assert lateness.said() == {"p99_ms": 0.0, "max_ms": 0.0}


async def test_watch_sees_a_loop_that_is_held() -> None:
    lateness = Lateness()
    watch = LoopWatch(lateness)
    trio.lowlevel.add_instrument(watch)
    try:
        await trio.sleep(0.03)
        begun_at = time.perf_counter()
        while time.perf_counter() < begun_at + 0.1:
            pass
        await trio.sleep(0.03)
    finally:
        trio.lowlevel.remove_instrument(watch)
    assert 0.08 < lateness.longest_s < 1.0
