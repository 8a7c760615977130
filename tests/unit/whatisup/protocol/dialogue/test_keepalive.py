"""The liveness clock."""

from __future__ import annotations

import pytest

from tests.playbook import seeded
from whatisup.protocol.dialogue.keepalive import Beat, Keepalive


@pytest.mark.parametrize(("filler", "interval"), [(b"\x00", 20.0), (b"\xff", 30.0)])
def test_interval_is_between_20_and_30_seconds(filler: bytes, interval: float) -> None:
    assert Keepalive(lambda n: filler * n, 100.0).deadline_at == 100.0 + interval


def test_intervals_vary() -> None:
    entropy = seeded(1)
    assert len({Keepalive(entropy, 0.0).deadline_at for _ in range(20)}) > 15


def test_connections_ping_together_on_the_quarters_of_a_second() -> None:
    entropy = seeded(2)
    for n in range(50):
        now = 100.0 + n * 0.013
        deadline_at = Keepalive(entropy, now).deadline_at
        assert deadline_at * 4 == round(deadline_at * 4) or deadline_at == now + 20.0
        assert now + 20.0 <= deadline_at <= now + 30.0


def test_silence_is_two_pings_and_the_end_within_50_seconds() -> None:
    clock = Keepalive(lambda n: b"\xff" * n, 0.0)
    assert clock.beat(29.9) is Beat.QUIET
    assert clock.beat(30.0) is Beat.PING
    assert clock.beat(39.9) is Beat.QUIET
    assert clock.beat(40.0) is Beat.PING
    assert clock.beat(49.9) is Beat.QUIET
    assert clock.beat(50.0) is Beat.LOST


@pytest.mark.parametrize("pings", [1, 2])
def test_any_frame_after_a_ping_is_a_sign_of_life(pings: int) -> None:
    clock = Keepalive(lambda n: bytes(n), 0.0)
    for n in range(pings):
        assert clock.beat(20.0 + 10 * n) is Beat.PING
    clock.heard(45.0)
    assert clock.deadline_at == 65.0
    assert clock.beat(65.0) is Beat.PING
    assert clock.beat(75.0) is Beat.PING


def test_frames_do_not_put_the_ping_off() -> None:
    clock = Keepalive(lambda n: bytes(n), 0.0)
    clock.heard(19.0)
    assert clock.beat(20.0) is Beat.PING


def test_a_late_timer_does_not_take_silence_for_granted() -> None:
    clock = Keepalive(lambda n: bytes(n), 0.0)
    assert clock.beat(500.0) is Beat.PING
    assert clock.beat(509.0) is Beat.QUIET


def test_shift_stands_still() -> None:
    clock = Keepalive(lambda n: bytes(n), 0.0)
    clock.shift(100.0)
    assert clock.beat(119.0) is Beat.QUIET
    assert clock.beat(120.0) is Beat.PING
