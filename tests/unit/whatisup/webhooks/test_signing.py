"""Signatures, proven by code that is not ours and by the ten lines that a receiver would write."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from whatisup.webhooks.refusals import SecretRefused
from whatisup.webhooks.signing import check_secret, mint_secret, sign

BODY = '{"event":"message.received","data":{"text":"Grüße 🎉"}}'.encode()
OLD = mint_secret(lambda length: b"\1" * length)
NEW = mint_secret(lambda length: b"\2" * length)


def signed(
    *secrets: str, body: bytes = BODY, at: int | None = None, correlation_id: str | None = None
) -> dict[str, str]:
    return sign(
        body,
        secrets=secrets,
        event="message.received",
        event_id="evt_01J",
        correlation_id=correlation_id,
        at=int(time.time()) if at is None else at,
        version="0.1.0",
    )


def own_verifier(body: bytes, header: str, secret: str, now: float) -> bool:
    """What a receiver writes from the documentation."""
    parts = [part.split("=", 1) for part in header.split(",")]
    stamp = next(value for name, value in parts if name == "t")
    if abs(now - int(stamp)) > 300:
        return False
    expected = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return any(hmac.compare_digest(expected, value) for name, value in parts if name == "v1")


def test_headers_of_a_delivery() -> None:
    headers = signed(NEW, at=1_700_000_000, correlation_id="req_01J")
    assert headers.pop("X-WhatIsUp-Signature").startswith("t=1700000000,v1=")
    assert headers.pop("webhook-signature").startswith("v1,")
    assert headers == {
        "Content-Type": "application/json",
        "User-Agent": "whatisup-webhooks/0.1.0",
        "X-WhatIsUp-Event": "message.received",
        "X-WhatIsUp-Event-Id": "evt_01J",
        "X-WhatIsUp-Correlation-Id": "req_01J",
        "webhook-id": "evt_01J",
        "webhook-timestamp": "1700000000",
    }


def test_signature_of_known_bytes() -> None:
    # printf '1700000000.{}' | openssl dgst -sha256 -hmac 0123456789abcdef
    headers = signed("0123456789abcdef", body=b"{}", at=1_700_000_000)
    expected = "e4f8e2ecae2295b2ddb2f0b5584c8275e226c0ebe9b3b819e70156bb67122e3e"
    assert headers["X-WhatIsUp-Signature"] == f"t=1700000000,v1={expected}"


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_both_secrets_verify_during_the_overlap(secret: str) -> None:
    headers = signed(NEW, OLD)
    assert Webhook(secret).verify(BODY, headers)["event"] == "message.received"
    assert own_verifier(BODY, headers["X-WhatIsUp-Signature"], secret, time.time())


def test_newest_secret_signs_first() -> None:
    alone = signed(NEW, at=1)["X-WhatIsUp-Signature"]
    assert signed(NEW, OLD, at=1)["X-WhatIsUp-Signature"].startswith(alone + ",v1=")


@pytest.mark.parametrize("body", [BODY + b" ", BODY[:-1], b""])
def test_other_bytes_do_not_verify(body: bytes) -> None:
    headers = signed(NEW)
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(body, headers)
    assert not own_verifier(body, headers["X-WhatIsUp-Signature"], NEW, time.time())


def test_a_replay_after_five_minutes_does_not_verify() -> None:
    headers = signed(NEW, at=int(time.time()) - 301)
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(BODY, headers)
    assert not own_verifier(BODY, headers["X-WhatIsUp-Signature"], NEW, time.time())


@pytest.mark.parametrize("secret", ["a plain secret of words", "x" * 16, "пароль из многих букв"])
def test_a_secret_of_another_form_signs_standard_with_its_characters(secret: str) -> None:
    headers = signed(check_secret(secret))
    assert Webhook(secret.encode()).verify(BODY, headers)
    assert own_verifier(BODY, headers["X-WhatIsUp-Signature"], secret, time.time())


@given(st.binary(min_size=24, max_size=64), st.booleans())
def test_a_custom_standard_secret_verifies_padded_or_not(key: bytes, is_padded: bool) -> None:
    text = base64.b64encode(key).decode()
    secret = check_secret("whsec_" + (text if is_padded else text.rstrip("=")))
    assert Webhook(key).verify(BODY, signed(secret))


def test_minted_secrets_are_taken_and_differ() -> None:
    first, second = mint_secret(os.urandom), mint_secret(os.urandom)
    assert first != second
    assert check_secret(first) == first
    assert len(base64.b64decode(first.removeprefix("whsec_"))) == 32


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "short",
        "x" * 15,
        "x" * 257,
        "whsec_",
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_" + "!" * 40,
        "whsec_" + "A" * 41,
        "whsec_" + "A" * 100_000,
        "whsec_" + base64.b64encode(bytes(32)).decode() + "\n",
        "a line\nand another one",
        "a tab\tin a long secret",
        "a null\0in a long secret",
        "\ud800 lone surrogates here",
    ],
)
def test_secrets_are_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(SecretRefused) as refused:
        check_secret(secret)
    assert not secret.strip() or len(secret) < 10 or secret not in str(refused.value)


@pytest.mark.parametrize("given", [None, "", "with\r\nX-Evil: 1", "spaces in it", "ümlaut", "x" * 129])
def test_correlation_ids_that_no_header_can_hold_give_way_to_the_event(given: str | None) -> None:
    assert signed(NEW, correlation_id=given)["X-WhatIsUp-Correlation-Id"] == "evt_01J"


def test_nothing_goes_out_unsigned() -> None:
    with pytest.raises(ValueError, match="at least one"):
        signed()
