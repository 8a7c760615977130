"""Who is asking: header forms, key format, and what makes an operator."""

from __future__ import annotations

import pytest
from werkzeug.datastructures import Headers

from api.auth import PROXY_HEADERS, AuthRefused, api_key, bearer_token, is_loopback, is_operator

KEY = "zpk_test_" + "A" * 43
TOKEN = "t" * 32


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "auth_missing"),
        ("", "auth_missing"),
        ("   ", "auth_missing"),
        ("Bearer", "auth_malformed"),
        (f"Basic {KEY}", "auth_malformed"),
        (KEY, "auth_malformed"),
    ],
)
def test_bearer_token_refuses(header: str | None, code: str) -> None:
    with pytest.raises(AuthRefused) as refused:
        bearer_token(header)
    assert refused.value.code == code


@pytest.mark.parametrize("header", [f"Bearer {KEY}", f"bearer {KEY}", f" Bearer   {KEY} "])
def test_bearer_token_takes(header: str) -> None:
    assert bearer_token(header) == KEY


@pytest.mark.parametrize(
    "token", ["", "zpk_test_", KEY[:-1], KEY + "AA", KEY + "\n", "zpk_prod_" + "A" * 43, KEY[:-1] + "é"]
)
def test_api_key_refuses_other_formats(token: str) -> None:
    with pytest.raises(AuthRefused) as refused:
        api_key(token)
    assert refused.value.code == "auth_malformed"
    assert token.removeprefix("zpk_test_")[:20] not in str(refused.value) or len(token) < 30


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("<local>", False),
        (None, False),
        ("127.0.0.1.evil", False),
    ],
)
def test_is_loopback(peer: str | None, expected: bool) -> None:
    assert is_loopback(peer) is expected


def test_operator_is_a_loopback_peer() -> None:
    assert is_operator("127.0.0.1", "1.1", Headers(), None)


@pytest.mark.parametrize("header", PROXY_HEADERS)
def test_operator_is_not_who_comes_through_a_proxy(header: str) -> None:
    assert not is_operator("127.0.0.1", "1.1", Headers({header.lower(): "203.0.113.9"}), None)


def test_operator_is_nobody_behind_a_tunnel_of_http2() -> None:
    """A proxy that forwards `Upgrade: h2c` adds its headers to the first request alone."""
    assert not is_operator("127.0.0.1", "2", Headers(), None)
    assert is_operator("127.0.0.1", "2", Headers({"Authorization": f"Bearer {TOKEN}"}), TOKEN)


def test_operator_is_whoever_holds_the_token() -> None:
    assert is_operator("203.0.113.9", "1.1", Headers({"Authorization": f"Bearer {TOKEN}"}), TOKEN)
    assert not is_operator("203.0.113.9", "1.1", Headers({"Authorization": f"Bearer {TOKEN}x"}), TOKEN)
    assert not is_operator("203.0.113.9", "1.1", Headers({"Authorization": "Bearer "}), None)
    assert not is_operator("203.0.113.9", "1.1", Headers({"Authorization": "Bearer é"}), TOKEN)
