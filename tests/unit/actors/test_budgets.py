"""Token buckets: how much at once, how fast after that, and no limit at all."""

from __future__ import annotations

import pytest

from actors.instance.messaging.budgets import Bucket


def test_bucket_gives_its_burst_and_then_its_pace() -> None:
    bucket = Bucket(per_s=2.0, burst=3, now=100.0)
    assert bucket.available(100.0, 10) == 3
    bucket.take(100.0, 3)
    assert bucket.available(100.0, 10) == 0
    assert bucket.wait_s(100.0) == pytest.approx(0.5)
    assert bucket.available(100.5, 10) == 1


def test_bucket_never_holds_more_than_its_burst() -> None:
    bucket = Bucket(per_s=100.0, burst=5, now=0.0)
    assert bucket.available(3600.0, 50) == 5


def test_bucket_without_a_pace_has_no_limit() -> None:
    bucket = Bucket(per_s=0.0, burst=1, now=0.0)
    bucket.take(0.0, 1000)
    assert (bucket.available(0.0, 64), bucket.wait_s(0.0)) == (64, 0.0)


def test_bucket_makes_who_overdrew_wait_for_all_of_it() -> None:
    bucket = Bucket(per_s=1.0, burst=1, now=0.0)
    bucket.take(0.0, 3)
    assert bucket.wait_s(0.0) == pytest.approx(3.0)
