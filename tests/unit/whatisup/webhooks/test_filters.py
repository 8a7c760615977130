"""Which events a pattern means, and which patterns are refused."""

from __future__ import annotations

import pytest

from whatisup.webhooks.filters import MAX_PATTERNS, check_patterns, matches
from whatisup.webhooks.refusals import EventsRefused

KNOWN = ("message.received", "message.sent", "instance.connected", "qr.updated", "webhook.test")


@pytest.mark.parametrize(
    ("pattern", "name", "is_meant"),
    [
        ("*", "qr.updated", True),
        ("message.received", "message.received", True),
        ("message.received", "message.received.again", False),
        ("message.*", "message.received", True),
        ("message.*", "messages.received", False),
        ("message.*", "message", False),
        (".*", "message.received", False),
        (".*", ".hidden", False),
        ("message", "message.received", False),
        ("mess*", "message.received", False),
        ("", "message.received", False),
    ],
)
def test_pattern_means(pattern: str, name: str, is_meant: bool) -> None:
    assert matches([pattern], name) is is_meant
    assert matches(["no.match", pattern], name) is is_meant


def test_no_pattern_means_nothing() -> None:
    assert not matches([], "qr.updated")


def test_patterns_come_back_once_each_in_order() -> None:
    assert check_patterns(["qr.updated", "message.*", "qr.updated", "*"], KNOWN) == ("qr.updated", "message.*", "*")


@pytest.mark.parametrize(
    "patterns",
    [
        [],
        ["message.receive"],
        ["messages.*"],
        ["message.received", "nothing"],
        [""],
        [".*"],
        ["**"],
        ["Message.*"],
        [f"x{n}" for n in range(MAX_PATTERNS + 1)],
    ],
)
def test_patterns_that_could_never_match_are_refused(patterns: list[str]) -> None:
    with pytest.raises(EventsRefused):
        check_patterns(patterns, KNOWN)
