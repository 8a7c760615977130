"""Which headers a customer may add: none that changes what is sent, or where."""

from __future__ import annotations

import pytest

from whatisup.webhooks.headers import MAX_HEADERS, check_headers
from whatisup.webhooks.refusals import HeadersRefused


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
