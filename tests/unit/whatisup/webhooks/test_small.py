"""Ladder, filters and headers: small rules, each with its edges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatisup.webhooks.filters import MAX_PATTERNS, check_patterns, matches
from whatisup.webhooks.headers import MAX_HEADERS, check_headers
from whatisup.webhooks.ladder import delay_s
from whatisup.webhooks.refusals import EventsRefused, HeadersRefused

DELAYS = (10.0, 60.0, 300.0, 1800.0, 7200.0)
KNOWN = ("message.received", "message.sent", "instance.connected", "qr.updated", "webhook.test")


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
        ["message.recieved"],
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


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer a.b-c"}, {"X-Tenant": "7", "x-other": "a b"}, {"Cookie": "a=1; b=2"}, {"X": "!"}],
)
def test_headers_are_taken(headers: dict[str, str]) -> None:
    assert check_headers(headers) == headers


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "hOST",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Upgrade",
        "Expect",
        "Proxy-Authorization",
        "Proxy-Connection",
        "Content-Type",
        "Content-Encoding",
        "Accept-Encoding",
        "User-Agent",
        "webhook-id",
        "Webhook-Anything",
        "X-WhatIsUp-Signature",
        "x-whatisup-x",
        "",
        "two words",
        "colon:",
        "new\nline",
        "CR\r",
        "Name\0",
        "Näme",
        "n" * 65,
    ],
)
def test_header_names_are_refused(name: str) -> None:
    with pytest.raises(HeadersRefused) as refused:
        check_headers({name: "value"})
    assert refused.value.field == "headers"


@pytest.mark.parametrize(
    "value", ["", " ", "a ", " a", "a\r\nHost: b", "a\nb", "a\rb", "a\0b", "a\tb", "é", "a\x7f", "\x85", "v" * 2049]
)
def test_header_values_are_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(HeadersRefused) as refused:
        check_headers({"X-Secret": value})
    assert "Host:" not in str(refused.value)


def test_headers_are_counted_and_compared_without_case() -> None:
    assert len(check_headers({f"X-{n}": "v" for n in range(MAX_HEADERS)})) == MAX_HEADERS
    for headers in (
        {f"X-{n}": "v" for n in range(MAX_HEADERS + 1)},
        {"X-A": "1", "x-a": "2"},
        {f"X-{n}": "v" * 2000 for n in range(5)},
    ):
        with pytest.raises(HeadersRefused):
            check_headers(headers)
