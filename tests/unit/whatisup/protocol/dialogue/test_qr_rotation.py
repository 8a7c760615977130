"""Which ref is shown when."""

from __future__ import annotations

from whatisup.protocol.dialogue.qr_rotation import QrRotation


def test_first_ref_lives_60_seconds_later_ones_20() -> None:
    rotation = QrRotation(("a", "b", "c"), 1000.0)
    shown = []
    for second in range(0, 101, 10):
        rotation.advance(1000.0 + second)
        shown.append(rotation.ref)
    assert shown == ["a"] * 6 + ["b"] * 2 + ["c"] * 2 + [None]


def test_advance_says_whether_the_ref_changed() -> None:
    rotation = QrRotation(("a", "b"), 0.0)
    assert [rotation.advance(now) for now in (59.9, 60.0, 60.0, 80.0, 90.0)] == [False, True, False, True, False]


def test_a_late_timer_skips_what_has_expired() -> None:
    rotation = QrRotation(("a", "b", "c"), 0.0)
    assert rotation.advance(85.0)
    assert (rotation.ref, rotation.deadline_at) == ("c", 100.0)
