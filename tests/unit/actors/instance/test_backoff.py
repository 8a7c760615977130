"""Backoff as arithmetic."""

from __future__ import annotations

from actors.instance.backoff import BASE_S, CAP_S, FREE_RESTART_EVERY_S, LONG_CAP_S, STABLE_S, Backoff


def test_backoff_doubles_up_to_the_cap() -> None:
    backoff = Backoff(lambda: 1.0)
    waits = [backoff.after_loss(0) for _ in range(10)]
    assert waits[:4] == [BASE_S, 2 * BASE_S, 4 * BASE_S, 8 * BASE_S]
    assert waits[-1] == CAP_S


def test_backoff_is_full_jitter() -> None:
    assert Backoff(lambda: 0.0).after_loss(0) == 0.0


def test_backoff_forgets_after_a_stable_minute_only() -> None:
    backoff = Backoff(lambda: 1.0)
    for _ in range(5):
        backoff.after_loss(0)
    backoff.connected(100)
    assert backoff.after_loss(100 + STABLE_S - 1) == 32 * BASE_S
    backoff.connected(200)
    assert backoff.after_loss(200 + STABLE_S) == BASE_S


def test_backoff_grants_a_requested_restart_at_once_but_not_in_a_loop() -> None:
    backoff = Backoff(lambda: 1.0)
    assert backoff.after_request(0) == 0.0
    assert backoff.after_request(1) > 0.0
    assert backoff.after_request(1 + FREE_RESTART_EVERY_S) == 0.0


def test_backoff_waits_long_when_told_so() -> None:
    assert Backoff(lambda: 1.0).after_loss(0, is_long=True) == LONG_CAP_S
