"""Token buckets: what a burst may hold, how it comes back, and how many there may be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from api.serving.buckets import Buckets
from whatisup.store import Mode, RateLimit

LIMITS = {Mode.LIVE: RateLimit(3, 0.5), Mode.TEST: RateLimit(1, 0)}


class Clock:
    def __init__(self) -> None:
        self.at = 1_000_000.25

    def __call__(self) -> float:
        return self.at


def make(limit: RateLimit | None = None, max_buckets: int = 10) -> tuple[Buckets, Clock]:
    clock = Clock()
    limits = LIMITS if limit is None else {Mode.LIVE: limit, Mode.TEST: limit}
    return Buckets(limits, clock, max_buckets=max_buckets), clock


def taken(buckets: Buckets, whose: str = "a", mode: Mode = Mode.LIVE, own: RateLimit | None = None) -> bool:
    return buckets.take(whose, mode, own)[0]


def test_burst_passes_and_then_a_token_comes_back_in_time() -> None:
    buckets, clock = make()
    assert [taken(buckets) for _ in range(4)] == [True, True, True, False]
    _, standing = buckets.take("a", Mode.LIVE, None)
    assert standing is not None
    assert (standing.limit, standing.remaining, standing.retry_after_s, standing.full_in_s) == (3, 0, 2, 6)
    clock.at += 1.9
    assert not taken(buckets)
    clock.at += 0.1
    assert [taken(buckets), taken(buckets)] == [True, False]


def test_a_bucket_holds_no_more_than_its_burst() -> None:
    buckets, clock = make()
    taken(buckets)
    clock.at += 1e6
    assert [taken(buckets) for _ in range(4)] == [True, True, True, False]


def test_refusals_cost_nothing_and_neither_do_looks() -> None:
    buckets, clock = make()
    for _ in range(50):
        taken(buckets)
        buckets.look("a", Mode.LIVE, None)
    clock.at += 2
    assert taken(buckets)


def test_customers_do_not_share_and_modes_do_not_either() -> None:
    buckets, _ = make(RateLimit(1, 1))
    assert taken(buckets, "a")
    assert not taken(buckets, "a")
    assert taken(buckets, "b")
    assert taken(buckets, "a", Mode.TEST)


def test_zero_a_second_is_no_limit() -> None:
    buckets, _ = make()
    assert all(taken(buckets, mode=Mode.TEST) for _ in range(100))
    assert buckets.look("a", Mode.TEST, None) is None
    assert len(buckets) == 0
    assert all(taken(buckets, own=RateLimit(1, 0)) for _ in range(10))


def test_own_limit_goes_first_and_a_smaller_one_counts_at_once() -> None:
    buckets, _ = make()
    assert [taken(buckets, own=RateLimit(5, 1)) for _ in range(6)] == [True] * 5 + [False]
    buckets, _ = make(RateLimit(100, 1))
    for _ in range(50):
        taken(buckets)
    standing = buckets.look("a", Mode.LIVE, RateLimit(10, 1))
    assert standing is not None
    assert standing.remaining == 0


def test_full_buckets_are_forgotten_and_others_only_when_there_are_too_many() -> None:
    buckets, clock = make(RateLimit(10, 1), max_buckets=3)
    for whose in "abc":
        taken(buckets, whose)
    clock.at += 1
    taken(buckets, "d")
    assert len(buckets) == 1
    for whose in "ddaab":
        taken(buckets, whose)
    taken(buckets, "e")  # b is the fullest
    assert len(buckets) == 3
    left = [standing.remaining for whose in "abde" if (standing := buckets.look(whose, Mode.LIVE, None))]
    assert left == [8, 10, 7, 9]


@given(st.lists(st.floats(0, 3), max_size=200), st.integers(1, 20), st.sampled_from([0.3, 1.0, 7.0, 200.0]))
def test_never_more_than_burst_and_rate_allow(pauses: list[float], burst: int, per_s: float) -> None:
    buckets, clock = make(RateLimit(burst, per_s))
    start, passed = clock.at, 0
    for pause in pauses:
        clock.at += pause
        passed += taken(buckets)
        standing = buckets.look("a", Mode.LIVE, None)
        assert standing is not None
        assert 0 <= standing.remaining <= burst
        assert passed <= burst + (clock.at - start) * per_s + 1e-3
